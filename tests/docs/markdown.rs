//! A page as a reader follows it: what to write into which file, what to type, what that prints,
//! and which address to open.
//!
//! The reader and this go by the same words, those of the paragraph before a block (its *lead*):
//! - A block of any language whose lead ends in a name, as "the application, `app.py`:", is that
//!   file. "Add to the end of" in the lead appends instead of writing it anew.
//! - A block of `sh` is typed, line by line. "terminal of its own" in the lead opens a new
//!   terminal,
//!   in which the last line goes on running. "again in its terminal" stops what runs there before.
//! - A block of `text` is what the commands before it print, an ellipsis standing for anything. Its
//!   lead may name what else has printed it, as in "`wsloop listen` prints:".
//! - A block of `ascii` is a picture.
//! - A paragraph that begins with "Open <http…>" is for somebody with a browser.

use std::fmt;

/// A block of code with what leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The paragraph before it, in one line.
    pub lead: String,
    pub language: String,
    pub text: String,
    /// The number of its first line.
    pub line: usize,
}

/// What a reader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Block(Block),
    /// To open this address in a browser.
    Open(String),
}

impl Block {
    /// The file that this block is, if it is one.
    pub fn file(&self) -> Option<&str> {
        let lead = self.lead.strip_suffix(':').filter(|_| !self.is_shell() && !self.is_output())?;
        let name = lead.strip_suffix('`')?.rsplit('`').next()?;
        (name.contains('.') && !name.contains(' ')).then_some(name)
    }

    pub fn appends(&self) -> bool {
        self.lead.contains("to the end of")
    }

    pub fn is_shell(&self) -> bool {
        self.language == "sh"
    }

    pub fn is_output(&self) -> bool {
        self.language == "text"
    }

    pub fn is_picture(&self) -> bool {
        self.language == "ascii"
    }

    pub fn has_own_terminal(&self) -> bool {
        self.lead.contains("terminal of its own") || self.is_again()
    }

    pub fn is_again(&self) -> bool {
        self.lead.contains("again in its terminal")
    }

    /// The commands, those that are broken over several lines in one.
    pub fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        joined.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} ({}):\n{}", self.line, self.language, self.text)
    }
}

/// What a reader does, in this order; an error is a block that no reader could follow.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut paragraph = String::new();
    let mut ended = true;
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            if language.is_empty() {
                return Err(format!("line {number}: a block in no language"));
            }
            let text = block_text(&mut lines)
                .ok_or_else(|| format!("line {number}: a block without an end"))?;
            let (lead, language) = (std::mem::take(&mut paragraph), language.to_owned());
            steps.push(Step::Block(Block { lead, language, text, line: number }));
            ended = true;
            continue;
        }
        // Markdown has more ways to write a block, which say no language or hide in a list.
        if line.starts_with("~~~") || line.starts_with("    ") || line.trim().starts_with("```") {
            return Err(format!("line {number}: a block that cannot be followed: {line}"));
        }
        if line.is_empty() {
            ended = true;
            continue;
        }
        if std::mem::take(&mut ended) {
            paragraph.clear();
            steps.extend(address(line).map(|url| Step::Open(url.to_owned())));
        } else {
            paragraph.push(' ');
        }
        paragraph.push_str(line);
    }
    Ok(steps)
}

fn block_text<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    let mut text = String::new();
    loop {
        match lines.next()?.1 {
            "```" => return Some(text),
            line => text.extend([line, "\n"]),
        }
    }
}

fn address(paragraph: &str) -> Option<&str> {
    Some(paragraph.strip_prefix("Open <")?.split_once('>')?.0)
}

/// The text without its blocks, each paragraph in one line.
pub fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split("\n```").step_by(2).collect();
    parts.join("\n").replace("\n\n", "\0").replace('\n', " ").replace('\0', "\n")
}

/// What the prose points to, in brackets or as a picture.
pub fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// What the prose has between backticks.
pub fn spans(text: &str) -> Vec<String> {
    let prose = prose(text);
    let lines = prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    lines.map(str::to_owned).collect()
}

/// The headings, without their marks.
pub fn headings(text: &str) -> Vec<String> {
    let parts = text.split("\n```").step_by(2);
    let lines = parts.flat_map(str::lines).filter(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim().to_owned()).collect()
}

/// Whether something was printed, `…` in the expected standing for anything within a line.
pub fn is_as_expected(expected: &str, printed: &str) -> bool {
    let (expected, printed): (Vec<&str>, Vec<&str>) =
        (expected.trim_end().lines().collect(), printed.trim_end().lines().collect());
    let same = |(line, printed): (&&str, &&str)| is_like(line, printed);
    expected.len() == printed.len() && expected.iter().zip(&printed).all(same)
}

fn is_like(expected: &str, printed: &str) -> bool {
    let mut parts = expected.trim_end().split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.trim_end().strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    // An ellipsis at the end takes all that is left; what stands after the last one is the end.
    rest.is_empty() || last.is_some_and(|part| part.is_empty() || rest.ends_with(part))
}

#[test]
fn a_page_is_read_as_its_reader_reads_it() {
    let page = "# A\n\nWrite\n`a/b.py`:\n\n```python\nx\n\ny\n```\n\nIn a terminal of its own:\n\n\
                ```sh\na \\\n  b\nc\n```\n```text\nd…\n```\nOpen <http://a:1/b> and\nlook.\n";
    let steps = steps(page).expect("a page");
    let Step::Block(file) = &steps[0] else { panic!("{steps:?}") };
    let Step::Block(shell) = &steps[1] else { panic!("{steps:?}") };
    let Step::Block(output) = &steps[2] else { panic!("{steps:?}") };
    assert_eq!((file.file(), file.text.as_str(), file.line), (Some("a/b.py"), "x\n\ny\n", 6));
    assert_eq!((shell.file(), shell.has_own_terminal()), (None, true));
    assert_eq!(shell.commands(), ["a    b", "c"]);
    assert_eq!((output.lead.as_str(), output.is_output()), ("", true));
    assert_eq!(steps[3..], [Step::Open("http://a:1/b".to_owned())]);
    for page in ["```\n```", "~~~sh\n~~~", " ```sh\n ```", "```sh\n", "    sh\n"] {
        assert!(super::markdown::steps(page).is_err(), "{page:?}");
    }
}

#[test]
fn prose_is_what_is_no_block() {
    let page = "# A `b`\nc [d](e)\nf\n\n```sh\n[g](h) `i`\n# no heading\n```\n\n![j](k.png) `l`\n";
    assert_eq!(links(page), ["e", "k.png"]);
    assert_eq!(spans(page), ["b", "l"]);
    assert_eq!(headings(page), ["A `b`"]);
}

#[test]
fn an_ellipsis_stands_for_anything() {
    let same =
        [("a\nb\n", "a\nb"), ("a…", "abc"), ("…c", "abc"), ("a…c…", "abcd"), ("a…b", "ab b")];
    let other = [("a\n", "a\nb"), ("a…c", "abd"), ("a", "ab"), ("b…", "ab"), ("a…b", "abc")];
    assert!(same.iter().all(|(expected, printed)| is_as_expected(expected, printed)));
    assert!(!other.iter().any(|(expected, printed)| is_as_expected(expected, printed)));
}
