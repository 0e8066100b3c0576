//! Commands of Redis clients to values: what a server reads.
//!
//! This file knows how a command is framed: an array of bulk strings as libraries send it, or
//! words on a line as people type it. It does not know which commands there are. Its rules:
//!
//! - A command that is whole in the input is borrowed from it. An incomplete one is kept, grows
//!   with what arrives whatever it declares, and is scanned on from where the scanning stopped.
//! - Everything has a limit, which is judged before anything is kept for it.
//! - An error is fatal: after it nobody can say where the next command begins. It is worded as
//!   Redis words it, because clients have been reading that for years.
//! - What a browser can be made to send is no command: a web page may reach every port of its
//!   reader's machine, but only with HTTP.

use std::fmt;
use std::ops::Range;

/// Most arguments of a command, its name included.
pub const MAX_ARGS: usize = 1024;
/// Most bytes of a line of words.
const MAX_LINE: usize = 64 << 10;
/// Most bytes of a line that holds a length.
const MAX_LENGTH_LINE: usize = 32;
/// Bytes of capacity that are kept between commands.
const IDLE_CAPACITY: usize = 4096;

/// Why the stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The number of arguments is no number or more than [`MAX_ARGS`].
    BadCount,
    /// The length of an argument is no number, or passes the limit of the command.
    BadLength,
    /// Something else where a bulk string was to begin.
    NoBulk(u8),
    /// A bulk string does not end in CR LF.
    BadEnd,
    /// A length takes too many digits.
    LongLength,
    /// A line of words is too long.
    LongLine,
    /// A quote is not closed, or something follows it at once.
    Quotes,
    /// A control character in a line of words: no person types it, and what comes is something
    /// else than commands.
    Control,
    /// HTTP: a browser, which is to get no answer.
    Http,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            RequestError::BadCount => "invalid multibulk length",
            RequestError::BadLength => "invalid bulk length",
            RequestError::NoBulk(byte) => {
                return write!(f, "expected '$', got '{}'", byte.escape_ascii());
            }
            RequestError::BadEnd => "expected CR LF after a bulk string",
            RequestError::LongLength => "too big mbulk count string",
            RequestError::LongLine => "too big inline request",
            RequestError::Quotes => "unbalanced quotes in request",
            RequestError::Control => "control character in inline request",
            RequestError::Http => "HTTP is not spoken here",
        })
    }
}

impl std::error::Error for RequestError {}

/// Cuts a stream of bytes into commands.
#[derive(Debug)]
pub struct Requests {
    /// Most bytes of a command.
    limit: usize,
    /// What arrived and was not whole, or was not yet asked for.
    kept: Vec<u8>,
    /// Bytes at the front of `kept` that were commands.
    taken: usize,
    scan: Scan,
    /// The words of the last line, without quotes.
    words: Vec<u8>,
    failed: Option<RequestError>,
}

impl Requests {
    /// The start of a stream; `limit` is the most bytes that a command may have.
    pub fn new(limit: usize) -> Self {
        Requests {
            limit,
            kept: Vec::new(),
            taken: 0,
            scan: Scan::default(),
            words: Vec::new(),
            failed: None,
        }
    }

    /// Takes the next command from the front of what was kept and of `input`: its arguments, at
    /// least one. `None` when no whole one is left; then all of `input` is taken.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Vec<&'a [u8]>>, RequestError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.kept_bytes() > 0 {
            self.keep(std::mem::take(input));
        } else {
            self.forget();
        }
        loop {
            let borrowed = self.kept.is_empty();
            let bytes = if borrowed { *input } else { &self.kept[self.taken..] };
            let whole = self.scan.run(bytes, self.limit);
            if !whole.inspect_err(|error| self.failed = Some(*error))? {
                if borrowed {
                    self.keep(std::mem::take(input));
                }
                return Ok(None);
            }
            let Scan { at: used, args, words, .. } = std::mem::take(&mut self.scan);
            let from = self.taken;
            let mut raw: &[u8] = &[];
            if borrowed {
                (raw, *input) = input.split_at(used);
            } else {
                self.taken += used;
            }
            if args.is_empty() {
                continue;
            }
            if let Some(words) = words {
                self.words = words;
                raw = &self.words;
            } else if !borrowed {
                raw = &self.kept[from..from + used];
            }
            return Ok(Some(args.into_iter().map(|arg| &raw[arg]).collect()));
        }
    }

    /// Keeps bytes until commands are asked for again.
    pub fn keep(&mut self, bytes: &[u8]) {
        self.kept.drain(..std::mem::take(&mut self.taken));
        self.kept.extend_from_slice(bytes);
    }

    /// How many bytes are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept.len() - self.taken
    }

    /// Everything that was kept has been taken.
    fn forget(&mut self) {
        (self.taken, self.words) = (0, Vec::new());
        self.kept.clear();
        if self.kept.capacity() > IDLE_CAPACITY {
            self.kept = Vec::new();
        }
    }
}

/// How far the command at the front has been looked at.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes of it that were looked at for good.
    at: usize,
    /// Arguments to come, once their number is known.
    left: Option<usize>,
    /// Length of the argument that comes, once it is known.
    length: Option<usize>,
    /// Where the arguments are: in the command, or in `words`.
    args: Vec<Range<usize>>,
    words: Option<Vec<u8>>,
}

impl Scan {
    /// Looks at the command at the front of `bytes`, which begin where they began the last time.
    /// True when it is whole: then it has `at` bytes.
    fn run(&mut self, bytes: &[u8], limit: usize) -> Result<bool, RequestError> {
        loop {
            let left = match (self.left, bytes.first()) {
                (Some(0), _) => return Ok(true),
                (Some(left), _) => left,
                (None, None) => return Ok(false),
                (None, Some(b'*')) => {
                    let Some(line) = self.length_line(bytes)? else { return Ok(false) };
                    let count = number(&line[1..]).ok_or(RequestError::BadCount)?;
                    let count = usize::try_from(count).unwrap_or(0);
                    if count > MAX_ARGS {
                        return Err(RequestError::BadCount);
                    }
                    self.left = Some(count);
                    continue;
                }
                (None, Some(_)) => return self.line_of_words(bytes),
            };
            let length = match self.length {
                Some(length) => length,
                None => match bytes.get(self.at) {
                    None => return Ok(false),
                    Some(b'$') => {
                        let Some(line) = self.length_line(bytes)? else { return Ok(false) };
                        let length = number(&line[1..]).and_then(|n| usize::try_from(n).ok());
                        let fits = |n: &usize| self.at.saturating_add(*n) <= limit;
                        let length = length.filter(fits).ok_or(RequestError::BadLength)?;
                        *self.length.insert(length)
                    }
                    Some(byte) => return Err(RequestError::NoBulk(*byte)),
                },
            };
            let end = self.at + length;
            match bytes.get(end..end + 2) {
                None => return Ok(false),
                Some(b"\r\n") => {}
                Some(_) => return Err(RequestError::BadEnd),
            }
            self.args.push(self.at..end);
            (self.at, self.length, self.left) = (end + 2, None, Some(left - 1));
        }
    }

    /// The line that begins here, without its end.
    fn length_line<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, RequestError> {
        let rest = &bytes[self.at..];
        let rest = &rest[..rest.len().min(MAX_LENGTH_LINE)];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            let whole = rest.len() < MAX_LENGTH_LINE;
            return if whole { Ok(None) } else { Err(RequestError::LongLength) };
        };
        self.at += end + 1;
        Ok(Some(rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])))
    }

    fn line_of_words(&mut self, bytes: &[u8]) -> Result<bool, RequestError> {
        let rest = &bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..end.unwrap_or(rest.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = &line[..line.len().min(MAX_LINE.saturating_sub(self.at))];
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(RequestError::Control);
        }
        let Some(end) = end else {
            // A CR may be the first half of the line's end.
            self.at = bytes.len() - usize::from(bytes.ends_with(b"\r"));
            return if self.at <= MAX_LINE { Ok(false) } else { Err(RequestError::LongLine) };
        };
        let line = &bytes[..self.at + end];
        self.at = line.len() + 1;
        if line.len() > MAX_LINE {
            return Err(RequestError::LongLine);
        }
        let (words, args) = split(line.strip_suffix(b"\r").unwrap_or(line))?;
        if is_http(&words, &args) {
            return Err(RequestError::Http);
        }
        (self.words, self.args) = (Some(words), args);
        Ok(true)
    }
}

/// Whether a line is the first one of an HTTP request, which ends in the version, or looks enough
/// like one or like its `Host` header.
fn is_http(words: &[u8], args: &[Range<usize>]) -> bool {
    let word = |at: usize| args.get(at).map_or(&[][..], |word| &words[word.clone()]);
    let first = word(0).to_ascii_lowercase();
    first == b"post" || first.starts_with(b"host:") || word(2).starts_with(b"HTTP/")
}

/// The words of a line, one after another, and where each is. Quotes are as in Redis: between
/// double ones a backslash escapes, between single ones only the single quote can be escaped.
fn split(line: &[u8]) -> Result<(Vec<u8>, Vec<Range<usize>>), RequestError> {
    let (mut words, mut args) = (Vec::new(), Vec::new());
    let mut rest = line.trim_ascii_start();
    while !rest.is_empty() {
        let from = words.len();
        rest = word(rest, &mut words)?.trim_ascii_start();
        args.push(from..words.len());
        if args.len() > MAX_ARGS {
            return Err(RequestError::BadCount);
        }
    }
    Ok((words, args))
}

/// Appends the word at the front, and returns what comes behind it.
fn word<'l>(mut rest: &'l [u8], into: &mut Vec<u8>) -> Result<&'l [u8], RequestError> {
    let mut quote = None;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (quote, byte) {
            (None, byte) if byte.is_ascii_whitespace() => return Ok(rest),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if *byte == open => {
                let apart = rest.first().is_none_or(u8::is_ascii_whitespace);
                return if apart { Ok(rest) } else { Err(RequestError::Quotes) };
            }
            (Some(b'\''), b'\\') if rest.first() == Some(&b'\'') => {
                into.push(b'\'');
                rest = &rest[1..];
            }
            (Some(b'"'), b'\\') => {
                let (byte, after) = escaped(rest).ok_or(RequestError::Quotes)?;
                into.push(byte);
                rest = after;
            }
            (_, byte) => into.push(*byte),
        }
    }
    if quote.is_none() { Ok(rest) } else { Err(RequestError::Quotes) }
}

/// The byte that is meant behind a backslash, and what follows.
fn escaped(rest: &[u8]) -> Option<(u8, &[u8])> {
    if let [b'x', digits @ ..] = rest
        && let Some(digits) = digits.get(..2).and_then(|two| std::str::from_utf8(two).ok())
        && let Ok(byte) = u8::from_str_radix(digits.trim_start_matches('+'), 16)
        && !digits.starts_with('+')
    {
        return Some((byte, &rest[3..]));
    }
    let (byte, after) = rest.split_first()?;
    let byte = match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        byte => *byte,
    };
    Some((byte, after))
}

/// A number as it stands in a line: digits, and perhaps a minus.
fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    /// The commands of a stream that arrives in pieces of that size, and how it ends.
    fn commands(stream: &[u8], piece: usize) -> (Vec<Vec<String>>, Option<RequestError>) {
        let mut requests = Requests::new(LIMIT);
        let mut commands = Vec::new();
        for mut input in stream.chunks(piece) {
            loop {
                match requests.next(&mut input) {
                    Ok(Some(args)) => {
                        let text = |arg: &&[u8]| arg.escape_ascii().to_string();
                        commands.push(args.iter().map(text).collect());
                    }
                    Ok(None) => break,
                    Err(error) => return (commands, Some(error)),
                }
            }
            assert!(input.is_empty());
        }
        (commands, None)
    }

    #[test]
    fn commands_are_read_however_they_arrive() {
        let cases: [(&[u8], &[&[&str]]); 12] = [
            (b"*1\r\n$4\r\nPING\r\n", &[&["PING"]]),
            (
                b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\n*1\r\n$1\r\nx\r\n",
                &[&["GET", "a\\r\\n"], &["x"]],
            ),
            (b"*2\r\n$0\r\n\r\n$0\r\n\r\n", &[&["", ""]]),
            (b"*0\r\n*-1\r\n\r\n\n*1\r\n$1\r\nx\r\n", &[&["x"]]),
            (b"PING\r\nPING\n", &[&["PING"], &["PING"]]),
            (b"  set  a\tb \r\n", &[&["set", "a", "b"]]),
            (b"set a \"b c\" 'd e'\r\n", &[&["set", "a", "b c", "d e"]]),
            (
                b"set \"\\x41\\n\\\"\\q\\xzz\" 'it\\'s\\n'\n",
                &[&["set", "A\\n\\\"qxzz", "it\\'s\\\\n"]],
            ),
            (b"set \"\" ''\n", &[&["set", "", ""]]),
            (b"get /a\nget a HTTP\n", &[&["get", "/a"], &["get", "a", "HTTP"]]),
            (b"PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", &[&["PING"], &["PING"], &["PING"]]),
            (b"*2\r\n$4\r\nPING\r\n", &[]),
        ];
        for (stream, expected) in cases {
            for piece in [1, 2, 3, 7, stream.len()] {
                let (got, error) = commands(stream, piece);
                assert_eq!((got.as_slice(), error), (&owned(expected)[..], None), "{piece}");
            }
        }
    }

    fn owned(expected: &[&[&str]]) -> Vec<Vec<String>> {
        expected.iter().map(|args| args.iter().map(|arg| arg.to_string()).collect()).collect()
    }

    #[test]
    fn what_is_no_command_is_an_error_and_stays_one() {
        let long = [b"x".repeat(MAX_LINE + 2), b"\n".to_vec()].concat();
        let many = b"a ".repeat(MAX_ARGS + 1);
        let cases: [(&[u8], RequestError); 19] = [
            (b"*x\r\n", RequestError::BadCount),
            (b"*\r\n", RequestError::BadCount),
            (b"*1025\r\n", RequestError::BadCount),
            (b"*1\r\n:1\r\n", RequestError::NoBulk(b':')),
            (b"*1\r\n$-1\r\n", RequestError::BadLength),
            (b"*1\r\n$+1\r\n", RequestError::BadLength),
            (b"*1\r\n$2000000\r\n", RequestError::BadLength),
            (b"*1\r\n$9223372036854775807\r\n", RequestError::BadLength),
            (b"*1\r\n$1\r\nab\r\n", RequestError::BadEnd),
            (b"*00000000000000000000000000000000001\r\n", RequestError::LongLength),
            (&long, RequestError::LongLine),
            (&[&many[..], b"\n"].concat(), RequestError::BadCount),
            (b"set \"a\n", RequestError::Quotes),
            (b"set \"a\\", RequestError::Quotes),
            (b"set 'a'b\n", RequestError::Quotes),
            (b"GET / HTTP/1.1\r\n", RequestError::Http),
            (b"POST /x\r\n", RequestError::Http),
            (b"host: 127.0.0.1:6380\r\n", RequestError::Http),
            (b"OPTIONS /x HTTP/1.1\r\n", RequestError::Http),
        ];
        for (stream, expected) in cases {
            for piece in [1, 1000, stream.len()] {
                let ended = [stream, b"\n"].concat();
                assert_eq!(commands(&ended, piece), (vec![], Some(expected)), "{expected}");
            }
        }
        let mut requests = Requests::new(LIMIT);
        assert!(requests.next(&mut &b"*x\r\n"[..]).is_err());
        assert_eq!(requests.next(&mut &b"PING\r\n"[..]), Err(RequestError::BadCount));
    }

    #[test]
    fn a_whole_command_is_borrowed_and_an_incomplete_one_is_kept_as_it_came() {
        let mut requests = Requests::new(LIMIT);
        let stream = b"*1\r\n$4\r\nPING\r\n*1\r\n$900000\r\nabc";
        let mut input = &stream[..];
        let args = requests.next(&mut input).unwrap().unwrap();
        assert!(stream.as_ptr_range().contains(&args[0].as_ptr()));
        assert_eq!(requests.next(&mut input), Ok(None));
        assert_eq!(requests.kept_bytes(), stream.len() - 14);
        assert!(requests.kept.capacity() < 100, "it is what arrived that is held");
        for piece in [b'x'; 899_997].chunks(5000) {
            assert_eq!(requests.next(&mut &piece[..]), Ok(None));
        }
        let mut input = &b"\r\nPING\r\n"[..];
        assert_eq!(requests.next(&mut input).unwrap().unwrap()[0].len(), 900_000);
        assert_eq!(requests.next(&mut input).unwrap().unwrap(), [b"PING"]);
        assert_eq!(requests.next(&mut input), Ok(None));
        assert_eq!(requests.kept.capacity(), 0);
    }

    #[test]
    fn what_was_not_asked_for_is_kept_in_order() {
        let mut requests = Requests::new(LIMIT);
        requests.keep(b"A\nB\n");
        requests.keep(b"C\n");
        assert_eq!(requests.next(&mut &b"D\n"[..]).unwrap().unwrap(), [b"A"]);
        requests.keep(b"E\n");
        for expected in [b"B", b"C", b"D", b"E"] {
            assert_eq!(requests.next(&mut &[][..]).unwrap().unwrap(), [expected]);
        }
        assert_eq!(requests.next(&mut &[][..]), Ok(None));
        assert_eq!(requests.kept_bytes(), 0);
    }
}
