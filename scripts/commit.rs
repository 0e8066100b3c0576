//! The build script: tells the program which commit it is built from, for `wsloop --version`.
//!
//! The commit is the first of these that is there: what the variable `WSLOOP_COMMIT` says, for who
//! builds a copy without git, as in a container; what `cargo package` wrote down; HEAD, where this
//! folder is a repository. A tarball has none of them, and its version stands alone. Nothing else
//! goes in, not even whether there are changes that are in no commit. So a build can be repeated to
//! the byte, and is only repeated by cargo when HEAD moves.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Digits of a commit that are shown.
const DIGITS: usize = 10;

fn main() {
    println!("cargo::rerun-if-changed=scripts/commit.rs");
    println!("cargo::rerun-if-env-changed=WSLOOP_COMMIT");
    let commit = given().or_else(packaged).or_else(head).unwrap_or_default();
    let commit = commit.get(..DIGITS).unwrap_or(&commit);
    let version = env!("CARGO_PKG_VERSION");
    let version = match commit {
        "" => version.to_owned(),
        commit => format!("{version} ({commit})"),
    };
    println!("cargo::rustc-env=BUILT_COMMIT={commit}");
    println!("cargo::rustc-env=BUILT_VERSION={version}");
}

fn given() -> Option<String> {
    env::var("WSLOOP_COMMIT").ok().filter(|commit| is_commit(commit))
}

/// A crate says where it comes from: `{"git":{"sha1":"…"}, …}`.
fn packaged() -> Option<String> {
    const FILE: &str = ".cargo_vcs_info.json";
    let text = fs::read_to_string(FILE).ok()?;
    println!("cargo::rerun-if-changed={FILE}");
    let (_, rest) = text.split_once("\"sha1\"")?;
    rest.split('"').nth(1).filter(|commit| is_commit(commit)).map(str::to_owned)
}

/// HEAD of this folder's own repository; a tarball may have been unpacked inside another one.
fn head() -> Option<String> {
    fs::exists(".git").ok().filter(|there| *there)?;
    // The log of HEAD grows whenever HEAD moves; HEAD itself only says on which branch it is.
    let asked = ["rev-parse", "HEAD", "--git-path", "HEAD", "--git-path", "logs/HEAD"];
    let output = Command::new("git").args(asked).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    let commit = lines.next().filter(|commit| is_commit(commit))?.to_owned();
    // Of a file that is not there cargo believes that it has changed, each time.
    for path in lines.filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    Some(commit)
}

fn is_commit(text: &str) -> bool {
    text.len() >= DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
