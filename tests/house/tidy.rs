//! The house rules that a machine can check, by looking at text alone.
//!
//! Every rule is a function from one file to complaints. Its test first shows that the rule catches
//! an example of what it forbids, then holds it against the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::code::code;

/// First segment of a module's path, and its layer: a file imports its own layer or a lower one.
const LAYERS: [(&str, u8); 15] = [
    ("proto", 0),
    ("access", 1),
    ("broker", 1),
    ("fanout", 1),
    ("link", 1),
    ("browser", 2),
    ("handler", 2),
    ("server", 2),
    ("web", 2),
    ("net", 3),
    ("client", 4),
    ("config", 4),
    ("internals", 4),
    ("main", 4),
    ("tool", 4),
];
/// The layer that owns sockets, threads and the clock.
const IO_LAYER: u8 = 3;
const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_COLUMNS: usize = 100;

/// What only [`IO_LAYER`] and above may name.
const NEEDS_IO: [&str; 12] = [
    "mio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime",
    "std::thread",
    "thread::spawn",
];
/// What no file of the program may name.
const NOWHERE: [&str; 5] = ["unsafe", "todo!", "unimplemented!", "Rc<RefCell", "static mut"];
/// Files that may say the first of these: one with the measurement that pays for it, and one for
/// what nothing safe does.
const MEASURED: &str = "src/net/heap.rs";
const NEEDED: &str = "src/net/system.rs";
/// What no text in the repository may contain. (Put together here, for this file is one of them.)
const WORDS: [&str; 3] = [concat!("/wo", "rk/"), concat!("TO", "DO"), concat!("FIX", "ME")];

#[test]
fn imports_point_downwards() {
    let caught = [
        ("src/proto/frame.rs", "use crate::access::Allow;"),
        ("src/proto/frame.rs", "use super::super::access::Allow;"),
        ("src/proto/mod.rs", "use super::access::Allow;"),
        ("src/fanout/hub.rs", "use super::super::{link::Outbox, browser};"),
        ("src/fanout/hub.rs", "fn f(conn: &crate::browser::Conn) {}"),
        ("src/broker/redis.rs", "use crate::{\n    fanout::Hub, server,\n    net,\n};"),
        ("src/server/mod.rs", "use crate::config::Config;"),
        ("src/net/link.rs", "mod tests {\n    use crate::config;\n}"),
        ("src/somewhere.rs", ""),
        ("src/fanout/hub.rs", "use crate::somewhere;"),
    ];
    let passed = [
        ("src/proto/frame.rs", "use super::http;\nuse crate::proto::message;"),
        ("src/proto/frame.rs", "// use crate::net;\nlet text = \"crate::net\";"),
        ("src/fanout/hub.rs", "use crate::{link::{self, conn}, proto};"),
        ("src/fanout/hub.rs", "#[cfg(test)]\nmod tests {\n    use super::Hub;\n}"),
        ("src/config/values.rs", "use super::Config;\nuse crate::net;"),
        ("src/main.rs", "use wsloop::net;"),
        ("src/lib.rs", "pub use crate::config::Config;"),
    ];
    check(imports, &caught, &passed, &program());
}

#[test]
fn no_two_folders_import_each_other() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let straight = [
        file("src/server/mod.rs", "use crate::broker::Broker;"),
        file("src/broker/mod.rs", "use crate::link::LinkId;\n// crate::server\n"),
        file("src/link/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::server::Server;\n}"),
    ];
    assert_eq!(circle(&straight), None);
    let mut round = straight.into_iter().collect::<Vec<_>>();
    round.push(file("src/link/target.rs", "fn f(server: &crate::{proto, server::Server}) {}"));
    let found = circle(&round).expect("link imports server, which imports broker");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(circle(&program()), None, "these folders import each other in a circle");
}

#[test]
fn no_two_public_types_have_one_name() {
    let names = |text: &str| public_types(text).map(str::to_owned).collect::<Vec<_>>();
    let text = "pub struct Link {}\npub(crate) enum Link {}\n    pub type Key = u8;\npub fn f() {}";
    assert_eq!(names(text), ["Link", "Key"]);
    let mut seen = BTreeMap::new();
    for File { path, text } in program() {
        for name in names(split_tests(&code(&text)).0) {
            let before = seen.insert(name.clone(), path.clone());
            assert!(before.is_none(), "{name} is in {path} and in {before:?}");
        }
    }
    assert!(seen.len() > 30, "the program was not found");
}

#[test]
fn sockets_threads_and_the_clock_stay_in_net() {
    let caught = [
        ("src/proto/frame.rs", "use mio::Token;"),
        ("src/fanout/hub.rs", "use std::net::{IpAddr, TcpStream};"),
        ("src/browser/conn.rs", "let now = std::time::Instant::now();"),
        ("src/server/mod.rs", "SystemTime::now()"),
        ("src/broker/local.rs", "use std::thread;"),
    ];
    let passed = [
        (
            "src/browser/conn.rs",
            "use std::net::{IpAddr, SocketAddr};\nfn f(now: std::time::Instant) {}",
        ),
        ("src/fanout/hub.rs", "// not mio::Token, \nlet mion = \"mio::Token\";"),
        ("src/net/reactor.rs", "use mio::Token;"),
        ("src/main.rs", "use std::thread;"),
    ];
    check(io, &caught, &passed, &program());
}

#[test]
fn nothing_unsafe_unfinished_or_shared_behind_the_back() {
    let caught = [
        ("src/fanout/hub.rs", "unsafe { f() }"),
        ("src/net/mod.rs", "todo!()"),
        (MEASURED, "todo!()"),
        (NEEDED, "static mut CONNS: u8 = 0;"),
        ("src/main.rs", "fn f() -> u8 { unimplemented!(\"later\") }"),
        ("src/server/mod.rs", "conns: Rc<RefCell<Conns>>"),
        ("src/server/mod.rs", "static mut CONNS: u8 = 0;"),
    ];
    let passed = [("src/lib.rs", "#![deny(unsafe_code)]\n/* unsafe */\nlet text = r#\"todo!\"#;")];
    check(nowhere, &caught, &passed, &program());
}

#[test]
fn files_are_short_begin_with_their_purpose_and_fit_the_screen() {
    let long = format!("//! A.\n{}", "\n".repeat(500));
    let tested = format!("//! A.\n{}#[cfg(test)]\n{}", "\n".repeat(400), "\n".repeat(400));
    let wide = format!("//! A.\n//{}", "é".repeat(99));
    let full = format!("//! A.\n//{}\n/// | {} |", "é".repeat(98), "a".repeat(99));
    let caught = [
        ("src/fanout/hub.rs", long.as_str()),
        ("src/fanout/hub.rs", wide.as_str()),
        ("src/fanout/hub.rs", "use crate::proto;\n//! A."),
        ("src/fanout/hub.rs", ""),
    ];
    let passed = [("src/fanout/hub.rs", tested.as_str()), ("src/fanout/hub.rs", full.as_str())];
    check(shape, &caught, &passed, &program());
    // What a test expects of a program to print is a line as it is.
    let mut tests = tests();
    for file in &mut tests {
        let lines = file.text.lines().map(|line| if is_printed(line) { "" } else { line });
        file.text = lines.collect::<Vec<_>>().join("\n");
    }
    check(shape, &caught, &passed, &tests);
}

#[test]
fn functions_are_short() {
    let function =
        |lines: usize| format!("fn f(a: [u8; 2]) {{\n{}}}\n", "a();\n".repeat(lines - 2));
    let nested = format!("impl A {{\n{}{}}}\n", function(9), function(71));
    let strings = function(71).replacen("a();", "\"}\"; '}'; '\\''; r#\"\"}\"#; f::<'_>();", 1);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(90));
    let declared = format!("trait A {{\nfn g(&self) -> [u8; 2];\n}}\n{}", function(70).repeat(2));
    let caught = [
        ("src/fanout/hub.rs", function(71)),
        ("src/fanout/hub.rs", nested),
        ("src/fanout/hub.rs", strings),
        ("src/fanout/hub.rs", format!("pub const {}", function(71))),
    ];
    let passed = [
        ("src/fanout/hub.rs", function(70)),
        ("src/fanout/hub.rs", tests),
        ("src/fanout/hub.rs", declared),
    ];
    check(functions, &borrowed(&caught), &borrowed(&passed), &program());
}

#[test]
fn nothing_is_left_to_do_and_no_path_of_one_machine() {
    let caught: Vec<_> = WORDS.iter().map(|word| ("README.md", format!("a\n({word}) b"))).collect();
    let passed = [("README.md", "to do, fix me, work/, photos\n")];
    check(words, &borrowed(&caught), &passed, &repository());
}

/// Complaints about one file, given its path in the repository and its text.
type Rule = fn(path: &str, text: &str) -> Vec<String>;

/// Shows that the rule tells the examples apart, then holds it against the files.
#[track_caller]
fn check(rule: Rule, caught: &[(&str, &str)], passed: &[(&str, &str)], files: &[File]) {
    for (path, text) in caught {
        assert!(!rule(path, text).is_empty(), "the rule misses this {path}:\n{text}");
    }
    for (path, text) in passed {
        let complaints = rule(path, text);
        assert!(complaints.is_empty(), "the rule wrongs this {path}:\n{text}\n{complaints:?}");
    }
    assert!(files.len() > 10, "the repository was not found");
    let mut report = String::new();
    for File { path, text } in files {
        for complaint in rule(path, text) {
            writeln!(report, "{path}: {complaint}").expect("a string takes all");
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

fn borrowed<'a>(examples: &'a [(&str, String)]) -> Vec<(&'a str, &'a str)> {
    examples.iter().map(|(path, text)| (*path, text.as_str())).collect()
}

fn imports(path: &str, text: &str) -> Vec<String> {
    let module = module(path);
    if module == ["lib"] {
        return Vec::new();
    }
    let Some(own) = layer(&module[0]) else {
        return vec![format!("{} has no layer; give it one in LAYERS", module[0])];
    };
    let code = code(text);
    // In the tests, `super` is the file itself: a module deeper than the path says.
    let (program, _) = split_tests(&code);
    let mut named: Vec<&str> = Vec::new();
    for (at, keyword) in code.match_indices("crate::") {
        named.extend(heads(&code[at + keyword.len()..]));
    }
    for (at, keyword) in program.match_indices("super::") {
        let before = &program[..at];
        let repeated = before.len() - before.trim_end_matches(keyword).len();
        let supers = 1 + repeated / keyword.len();
        if supers == module.len() {
            named.extend(heads(&program[at + keyword.len()..]));
        }
    }
    let mut complaints = Vec::new();
    for name in named.into_iter().filter(|name| !["super", "self"].contains(name)) {
        match layer(name) {
            None => complaints.push(format!("{name} has no layer; give it one in LAYERS")),
            Some(other) if other > own => {
                complaints.push(format!("layer {own} imports {name}, which is layer {other}"));
            }
            Some(_) => {}
        }
    }
    complaints
}

/// Folders that import each other in a circle, if any do.
fn circle(files: &[File]) -> Option<Vec<String>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for File { path, text } in files {
        let module = module(path);
        let code = code(text);
        let (program, _) = split_tests(&code);
        let heads =
            program.match_indices("crate::").flat_map(|(at, c)| heads(&program[at + c.len()..]));
        let others = heads.filter(|head| **head != module[0] && layer(head).is_some());
        imports.entry(module[0].clone()).or_default().extend(others.map(str::to_owned));
    }
    // Whoever imports nobody that is left is in no circle.
    loop {
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        let in_none = |others: &BTreeSet<String>| others.is_disjoint(&left);
        let gone = imports.iter().find(|(_, others)| in_none(others)).map(|(name, _)| name.clone());
        match gone {
            Some(name) => imports.remove(&name),
            None if left.is_empty() => return None,
            None => return Some(left.into_iter().collect()),
        };
    }
}

/// The names of the types that a file makes public.
fn public_types(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix("pub ")?;
        let kinds = ["struct ", "enum ", "type ", "trait "];
        let name = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
        Some(&name[..name.find(|c| !is_word(c)).unwrap_or(name.len())])
    })
}

fn io(path: &str, text: &str) -> Vec<String> {
    match layer(&module(path)[0]) {
        Some(layer) if layer < IO_LAYER => named(text, &NEEDS_IO),
        _ => Vec::new(),
    }
}

fn nowhere(path: &str, text: &str) -> Vec<String> {
    named(text, if [MEASURED, NEEDED].contains(&path) { &NOWHERE[1..] } else { &NOWHERE })
}

fn shape(_path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push("does not begin with what it is for".to_owned());
    }
    let lines = split_tests(text).0.lines().count();
    if lines > MAX_FILE_LINES {
        complaints.push(format!("has {lines} lines before its tests, not {MAX_FILE_LINES}"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        // The row of a table cannot be broken.
        let row = line.starts_with("//! |") || line.trim_start().starts_with("/// |");
        let columns = line.chars().count();
        if columns > MAX_COLUMNS && !row {
            complaints.push(format!("line {number} has {columns} columns, not {MAX_COLUMNS}"));
        }
    }
    complaints
}

fn functions(_path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let (program, _) = split_tests(&code);
    let mut complaints = Vec::new();
    for (at, _) in program.match_indices("fn ") {
        if program[..at].ends_with(is_word) {
            continue;
        }
        let Some(end) = body_end(&program[at..]) else {
            continue;
        };
        let lines = program[at..at + end].lines().count();
        if lines > MAX_FUNCTION_LINES {
            let name = program[at + 3..].split(|c| !is_word(c)).next().unwrap_or_default();
            complaints.push(format!("{name} has {lines} lines, not {MAX_FUNCTION_LINES}"));
        }
    }
    complaints
}

fn words(_path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for word in WORDS.iter().filter(|word| line.contains(*word)) {
            complaints.push(format!("line {number} contains {word}"));
        }
    }
    complaints
}

/// The path of a file's module: `src/broker/redis.rs` is `broker`, `redis`.
fn module(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// First segments of what a path goes on with: one name, or those in braces.
fn heads(rest: &str) -> Vec<&str> {
    fn word(text: &str) -> &str {
        &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
    }
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let mut depth = 0;
    let mut heads = vec![word(group.trim_start())];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(word(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Which of the names occur in the code, as words of their own.
fn named(text: &str, names: &[&str]) -> Vec<String> {
    let code = code(text);
    let occurs = |name: &str| {
        code.match_indices(name).any(|(at, name)| {
            let goes_on = name.ends_with(is_word) && code[at + name.len()..].starts_with(is_word);
            !code[..at].ends_with(is_word) && !goes_on
        })
    };
    let names = names.iter().filter(|name| occurs(name));
    names.map(|name| format!("names {name}")).collect()
}

/// Where the body of the function that begins here ends, if it has one.
fn body_end(code: &str) -> Option<usize> {
    let mut depth = 0;
    let mut in_body = false;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => {
                in_body |= c == '{' && depth == 0;
                depth += 1;
            }
            '}' | ')' | ']' => {
                depth -= 1;
                if in_body && depth == 0 {
                    return Some(at + 1);
                }
            }
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The program, and the tests below it.
fn split_tests(text: &str) -> (&str, &str) {
    text.split_at(text.find("#[cfg(test)]").unwrap_or(text.len()))
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A text file of the repository.
struct File {
    /// From the root of the repository, with slashes.
    path: String,
    text: String,
}

/// The files that the program is made of.
fn program() -> Vec<File> {
    let mut files = repository();
    files.retain(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    files
}

/// Whether a line of a test is a Redis error in full.
fn is_printed(line: &str) -> bool {
    line.trim_start().starts_with("-ERR ")
}

/// The files that its tests are made of.
fn tests() -> Vec<File> {
    let mut files = repository();
    files.retain(|file| file.path.starts_with("tests/") && file.path.ends_with(".rs"));
    files
}

/// Every text file of the repository, in the order of their names.
fn repository() -> Vec<File> {
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(directory: &Path, prefix: &str, files: &mut Vec<File>) {
    // What git does not keep.
    const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".venv"];
    for entry in fs::read_dir(directory).expect("the repository is readable") {
        let entry = entry.expect("the repository is readable");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let kind = entry.file_type().expect("the repository is readable");
        let path = format!("{prefix}{name}");
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).expect("the repository is readable");
            // Images and the like are no text.
            files.extend(String::from_utf8(bytes).ok().map(|text| File { path, text }));
        }
    }
}
