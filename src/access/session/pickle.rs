//! L1: pickles of plain data, protocols 0 to 5, read without running what they say.
//!
//! A pickle is a program for a stack machine. This one makes texts, whole numbers, lists and maps,
//! and one value that stands for everything else: nothing is imported, called or built, so that a
//! session with a date in it is readable and the date is not.
//!
//! - Values live in one array and refer to each other by index. A reference costs what it costs in
//!   the pickle, whatever it refers to, and maps that hold themselves do no harm.
//! - Nothing recurses, neither here nor when it is freed.
//! - What is made is bounded by the length of the pickle and by [`MAX_VALUES`].
//!
//! The crates there are copy what is referred to for each reference, and a pickle of some hundred
//! bytes can refer to references until memory ends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{SessionError, Tree, View};

/// Most values of one pickle, and most of its memo.
const MAX_VALUES: usize = 1 << 16;

/// Where in the array a value is.
type Place = u32;

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Plain<'a>>,
    root: Place,
}

#[derive(Debug)]
enum Plain<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    /// A list, a tuple or a set.
    List(Vec<Place>),
    Map(Vec<(Place, Place)>),
    /// Truth values, bytes, fractions, huge numbers and objects.
    Other,
}

/// A value of a pickle.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pickle: &'a Pickle<'a>,
    place: Place,
}

impl<'a> Pickle<'a> {
    /// Reads to the pickle's end; what follows it does not matter, as it does not to Python.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, SessionError> {
        let mut machine = Machine {
            rest: bytes,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        };
        loop {
            let opcode = machine.byte()?;
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok(Self { values: machine.values, root });
            }
            machine.step(opcode)?;
        }
    }

    /// What was pickled.
    pub(super) fn root(&'a self) -> Node<'a> {
        Node { pickle: self, place: self.root }
    }
}

impl<'a> Node<'a> {
    /// Whether it is a map.
    pub(super) fn is_map(self) -> bool {
        matches!(self.plain(), Plain::Map(_))
    }

    fn plain(self) -> &'a Plain<'a> {
        &self.pickle.values[self.place as usize]
    }
}

impl<'a> Tree<'a> for Node<'a> {
    fn entry(self, key: &str) -> Option<Self> {
        let Plain::Map(entries) = self.plain() else { return None };
        let at = |place| Node { place, ..self };
        let is_key = |place| matches!(at(place).plain(), Plain::Text(text) if text == key);
        // Of two entries of one key, Python's dictionary has the later.
        let (_, value) = entries.iter().rev().find(|(name, _)| is_key(*name))?;
        Some(at(*value))
    }

    fn view(self) -> View<'a, Self> {
        match self.plain() {
            Plain::Null => View::Null,
            Plain::Text(text) => View::Text(text),
            Plain::Integer(integer) => View::Integer((*integer).into()),
            Plain::List(items) => {
                View::List(items.iter().map(|&place| Node { place, ..self }).collect())
            }
            Plain::Map(_) | Plain::Other => View::Other,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    values: Vec<Plain<'a>>,
    stack: Vec<Place>,
    /// Heights of the stack that opcodes go back to.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Place>,
}

/// What an opcode does, or why it cannot.
type Step = Result<(), SessionError>;

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Step {
        match opcode {
            // Protocol and frames: their lengths are about reading, not about what is read.
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => self.pop_mark().map(drop),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'p' | b'q' | b'r' | 0x94 => self.remember(opcode),
            b'g' | b'h' | b'j' => self.recall(opcode),
            b'N' => self.push(Plain::Null),
            b'I' | b'L' | b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(opcode),
            b'V' | b'X' | 0x8c | 0x8d => self.text(opcode),
            b']' | b'l' | b')' | b't' | 0x85..=0x87 | 0x8f | 0x91 => self.list(opcode),
            b'a' | b'e' | 0x90 => self.append(opcode),
            b'}' | b'd' | b's' | b'u' => self.map(opcode),
            _ => self.other(opcode),
        }
    }

    /// Gives the top of the stack a number in the memo.
    fn remember(&mut self, opcode: u8) -> Step {
        let top = self.top()?;
        let number = match opcode {
            b'p' => parse(self.line()?)?,
            b'q' => self.byte()?.into(),
            b'r' => self.u32()?,
            // The bound on the memo is far below what a place can be.
            _ => self.memo.len() as u32,
        };
        self.memo.insert(number, top);
        if self.memo.len() > MAX_VALUES { Err(SessionError::TooLarge) } else { Ok(()) }
    }

    fn recall(&mut self, opcode: u8) -> Step {
        let number = match opcode {
            b'g' => parse(self.line()?)?,
            b'h' => self.byte()?.into(),
            _ => self.u32()?,
        };
        self.stack.push(*self.memo.get(&number).ok_or(SessionError::NotPickle)?);
        Ok(())
    }

    fn integer(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'I' => match self.line()? {
                // This is how protocol 0 writes truth values.
                b"00" | b"01" => Plain::Other,
                line => decimal(line)?,
            },
            b'L' => {
                let line = self.line()?;
                decimal(line.strip_suffix(b"L").unwrap_or(line))?
            }
            b'J' => Plain::Integer(i32::from_le_bytes(self.array()?).into()),
            b'K' => Plain::Integer(self.byte()?.into()),
            b'M' => Plain::Integer(u16::from_le_bytes(self.array()?).into()),
            0x8a => {
                let length = self.byte()?;
                long(self.take(length.into())?)
            }
            _ => {
                let length = self.u32()?;
                long(self.take(length as usize)?)
            }
        };
        self.push(value)
    }

    fn text(&mut self, opcode: u8) -> Step {
        if opcode == b'V' {
            let line = self.line()?;
            return self.push(unescaped(line));
        }
        let bytes = self.counted(opcode)?;
        // Python's strings may hold halves of characters, which no name does.
        self.push(std::str::from_utf8(bytes).map_or(Plain::Other, |text| Plain::Text(text.into())))
    }

    fn list(&mut self, opcode: u8) -> Step {
        let items = match opcode {
            b']' | b')' | 0x8f => Vec::new(),
            0x85..=0x87 => self.pop_several(usize::from(opcode - 0x84))?,
            _ => self.pop_mark()?,
        };
        self.push(Plain::List(items))
    }

    fn append(&mut self, opcode: u8) -> Step {
        let more = if opcode == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
        match self.top_value()? {
            Plain::List(items) => items.extend(more),
            Plain::Other => {}
            _ => return Err(SessionError::NotPickle),
        }
        Ok(())
    }

    fn map(&mut self, opcode: u8) -> Step {
        let flat = match opcode {
            b'}' => Vec::new(),
            b's' => self.pop_several(2)?,
            _ => self.pop_mark()?,
        };
        if flat.len() % 2 != 0 {
            return Err(SessionError::NotPickle);
        }
        let more = flat.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        if matches!(opcode, b'}' | b'd') {
            return self.push(Plain::Map(more.collect()));
        }
        match self.top_value()? {
            Plain::Map(entries) => entries.extend(more),
            Plain::Other => {}
            _ => return Err(SessionError::NotPickle),
        }
        Ok(())
    }

    /// Takes what an opcode takes whose outcome is of no use, and puts a stand-in in its place.
    fn other(&mut self, opcode: u8) -> Step {
        match opcode {
            // True and False.
            0x88 | 0x89 => {}
            // Fractions, and strings of Python 2.
            b'F' | b'S' => drop(self.line()?),
            b'G' => drop(self.take(8)?),
            // Bytes, byte arrays and strings of Python 2.
            b'B' | b'C' | b'T' | b'U' | 0x8e | 0x96 => drop(self.counted(opcode)?),
            // Globals, by name, from the stack and by number.
            b'c' => drop((self.line()?, self.line()?)),
            0x93 => drop(self.pop_several(2)?),
            0x82 => drop(self.take(1)?),
            0x83 => drop(self.take(2)?),
            0x84 => drop(self.take(4)?),
            // Calls and new objects. Only what has come of a global can be called.
            b'R' | 0x81 => return self.call(1),
            0x92 => return self.call(2),
            b'i' => drop((self.line()?, self.line()?, self.pop_mark()?)),
            b'o' => drop(self.pop_mark()?),
            // The state of an object that is there already.
            b'b' => return self.call(1),
            _ => return Err(SessionError::NotPickle),
        }
        self.push(Plain::Other)
    }

    /// Takes that many arguments away; what stands for the called object stays.
    fn call(&mut self, arguments: usize) -> Step {
        self.pop_several(arguments)?;
        match self.top_value()? {
            Plain::Other => {
                // A new value: the object that was called may be called again.
                self.pop()?;
                self.push(Plain::Other)
            }
            _ => Err(SessionError::NotPickle),
        }
    }

    fn push(&mut self, value: Plain<'a>) -> Step {
        if self.values.len() == MAX_VALUES {
            return Err(SessionError::TooLarge);
        }
        self.stack.push(self.values.len() as Place);
        self.values.push(value);
        Ok(())
    }

    fn top(&self) -> Result<Place, SessionError> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        self.stack[bottom..].last().copied().ok_or(SessionError::NotPickle)
    }

    fn top_value(&mut self) -> Result<&mut Plain<'a>, SessionError> {
        let top = self.top()?;
        Ok(&mut self.values[top as usize])
    }

    fn pop(&mut self) -> Result<Place, SessionError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// The last so many of the stack, the topmost last.
    fn pop_several(&mut self, count: usize) -> Result<Vec<Place>, SessionError> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(from) if from >= bottom => Ok(self.stack.split_off(from)),
            _ => Err(SessionError::NotPickle),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Place>, SessionError> {
        // The stack is never lower than the topmost mark.
        self.marks.pop().map(|mark| self.stack.split_off(mark)).ok_or(SessionError::NotPickle)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], SessionError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SessionError::NotPickle)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SessionError> {
        self.take(N)?.try_into().map_err(|_| SessionError::NotPickle)
    }

    fn byte(&mut self) -> Result<u8, SessionError> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, SessionError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Bytes after their count, which is as long as the opcode says.
    fn counted(&mut self, opcode: u8) -> Result<&'a [u8], SessionError> {
        let count = match opcode {
            b'C' | b'U' | 0x8c => self.byte()?.into(),
            b'B' | b'T' | b'X' => self.u32()?.into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        self.take(usize::try_from(count).map_err(|_| SessionError::NotPickle)?)
    }

    /// What comes before the next newline, which is taken too.
    fn line(&mut self) -> Result<&'a [u8], SessionError> {
        let newline = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(newline.ok_or(SessionError::NotPickle)?)?;
        self.take(1)?;
        Ok(line)
    }
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Result<T, SessionError> {
    let digits = std::str::from_utf8(digits).ok();
    digits.and_then(|digits| digits.parse().ok()).ok_or(SessionError::NotPickle)
}

fn decimal<'a>(digits: &[u8]) -> Result<Plain<'a>, SessionError> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.iter().all(u8::is_ascii_digit) {
        return Err(SessionError::NotPickle);
    }
    Ok(parse(digits).map_or(Plain::Other, Plain::Integer))
}

/// A little-endian number in two's complement.
fn long<'a>(bytes: &[u8]) -> Plain<'a> {
    if bytes.len() > 8 {
        return Plain::Other;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Plain::Integer(i64::from_le_bytes(whole))
}

/// Python's `raw-unicode-escape`: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
fn unescaped<'a>(mut line: &[u8]) -> Plain<'a> {
    let mut text = String::new();
    while let [first, rest @ ..] = line {
        let digits = match rest {
            [b'u', rest @ ..] if *first == b'\\' => rest.get(..4),
            [b'U', rest @ ..] if *first == b'\\' => rest.get(..8),
            _ => {
                text.push(char::from(*first));
                line = rest;
                continue;
            }
        };
        let character = digits
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .and_then(char::from_u32);
        let (Some(character), Some(digits)) = (character, digits) else { return Plain::Other };
        text.push(character);
        line = &rest[1 + digits.len()..];
    }
    Plain::Text(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was read, written like Python would; `...` for what is nothing here.
    fn shown(node: Node<'_>) -> String {
        match node.plain() {
            Plain::Map(entries) => {
                let shown_entry = |(key, value): &(Place, Place)| {
                    let [key, value] = [*key, *value].map(|place| shown(Node { place, ..node }));
                    format!("{key}: {value}")
                };
                format!("{{{}}}", entries.iter().map(shown_entry).collect::<Vec<_>>().join(", "))
            }
            _ => match node.view() {
                View::Null => "None".into(),
                View::Text(text) => format!("{text:?}"),
                View::Integer(integer) => integer.to_string(),
                View::List(items) => {
                    format!("[{}]", items.into_iter().map(shown).collect::<Vec<_>>().join(", "))
                }
                View::Other => "...".into(),
            },
        }
    }

    #[test]
    fn opcodes() {
        let expectations: [(&[u8], Result<&str, SessionError>); 48] = [
            (b"N.", Ok("None")),
            (b"N.more", Ok("None")),
            (b"\x80\x05\x95\0\0\0\0\0\0\0\0N.", Ok("None")),
            (b"I-12\n.", Ok("-12")),
            (b"I01\n.", Ok("...")),
            (b"I1e3\n.", Err(SessionError::NotPickle)),
            (b"I-\n.", Err(SessionError::NotPickle)),
            (b"I+1\n.", Err(SessionError::NotPickle)),
            (b"L9223372036854775807L\n.", Ok("9223372036854775807")),
            (b"L9223372036854775808L\n.", Ok("...")),
            (b"J\xfe\xff\xff\xff.", Ok("-2")),
            (b"M\x01\x02.", Ok("513")),
            (b"\x8a\0.", Ok("0")),
            (b"\x8a\x01\xff.", Ok("-1")),
            (b"\x8a\x02\xff\0.", Ok("255")),
            (b"\x8b\x09\0\0\0\x01\x01\x01\x01\x01\x01\x01\x01\x01.", Ok("...")),
            (b"\x8b\xff\xff\xff\xffN.", Err(SessionError::NotPickle)),
            (b"Va\\u20ac\\U0001f600\xe9\\n\n.", Ok("\"a€😀é\\\\n\"")),
            (b"Va\\ud800\n.", Ok("...")),
            (b"Va\\u20a\n.", Ok("...")),
            (b"Va\\u+123\n.", Ok("...")),
            (b"V\\\n.", Ok("\"\\\\\"")),
            (b"X\x02\0\0\0ab.", Ok("\"ab\"")),
            (b"X\x03\0\0\0\xed\xa0\x80.", Ok("...")),
            (b"X\xff\xff\xff\xffab.", Err(SessionError::NotPickle)),
            (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab.", Err(SessionError::NotPickle)),
            (b"\x88.", Ok("...")),
            (b"G\0\0\0\0\0\0\0\0.", Ok("...")),
            (b"(K\x01K\x02t.", Ok("[1, 2]")),
            (b"K\x01K\x02\x86.", Ok("[1, 2]")),
            (b"K\x01(K\x02\x86.", Err(SessionError::NotPickle)),
            (b"](K\x01K\x02eK\x03a.", Ok("[1, 2, 3]")),
            (b"\x8f(K\x01\x90.", Ok("[1]")),
            (b"K\x01K\x02a.", Err(SessionError::NotPickle)),
            (b"}\x8c\x01aK\x01s(\x8c\x01bNu.", Ok("{\"a\": 1, \"b\": None}")),
            (b"}(K\x01u.", Err(SessionError::NotPickle)),
            (b"}]K\x01as.", Err(SessionError::NotPickle)),
            (b"K\x01\x94K\x020h\0.", Ok("1")),
            (b"K\x01q\x07K\x02\x86r\x01\0\0\0p5\ng5\n.", Ok("[1, 2]")),
            (b"K\x01p5\n0g5\n.", Ok("1")),
            (b"h\0.", Err(SessionError::NotPickle)),
            (b"cos\nsystem\n(\x8c\x04trueetR.", Err(SessionError::NotPickle)),
            (b"cos\nsystem\n(\x8c\x04truetR.", Ok("...")),
            (b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R}b.", Ok("...")),
            (b"N\x8c\x04true\x85R.", Err(SessionError::NotPickle)),
            (b"}}b.", Err(SessionError::NotPickle)),
            (b"Pname\n.", Err(SessionError::NotPickle)),
            (b"", Err(SessionError::NotPickle)),
        ];
        for (bytes, expected) in expectations {
            let read = Pickle::read(bytes).map(|pickle| shown(pickle.root()));
            assert_eq!(
                read.as_deref().map_err(|error| *error),
                expected,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn references_to_references_cost_nothing() {
        // Each list holds the one before it twice: 2^1000 values if they were copied.
        let bytes = [b"]".as_slice(), &b"2\x86".repeat(1000), b"."].concat();
        assert_eq!(Pickle::read(&bytes).unwrap().values.len(), 1001);
        // A list in a list, as deep as may be, and a map that holds itself.
        let bytes = [b"]".repeat(60_000), b"a".repeat(59_999), b".".to_vec()].concat();
        assert_eq!(Pickle::read(&bytes).unwrap().values.len(), 60_000);
        let pickle = Pickle::read(b"}\x94\x8c\x01ah\0s.").unwrap();
        let inner = pickle.root().entry("a").and_then(|map| map.entry("a")).unwrap();
        assert_eq!(inner.place, pickle.root);
    }

    #[test]
    fn values_and_the_memo_are_bounded() {
        let many = |count| [b"N".repeat(count), b".".to_vec()].concat();
        assert!(Pickle::read(&many(MAX_VALUES)).is_ok());
        assert_eq!(Pickle::read(&many(MAX_VALUES + 1)).unwrap_err(), SessionError::TooLarge);
        let remembered = [b"N".to_vec(), b"\x94".repeat(MAX_VALUES + 1)].concat();
        assert_eq!(Pickle::read(&remembered).unwrap_err(), SessionError::TooLarge);
    }

    #[test]
    fn a_later_entry_wins() {
        let pickle = Pickle::read(b"}(\x8c\x01aK\x01\x8c\x01aK\x02u.").unwrap();
        assert!(matches!(pickle.root().entry("a").unwrap().view(), View::Integer(2)));
    }
}
