//! The build script, `scripts/commit.rs`: which commit it finds, in each kind of folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Folder;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const GIVEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// The script, built by itself.
fn built(folder: &Folder) -> PathBuf {
    let program = folder.join("script");
    let source = Path::new(ROOT).join("scripts/commit.rs");
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "-o"]).arg(&program).arg(source);
    let output = rustc.env("CARGO_PKG_VERSION", VERSION).output().expect("rustc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// What it tells cargo about a folder: the version, and what it is run again for.
fn told(script: &Path, folder: &Path, given: &str) -> (String, Vec<String>) {
    let mut command = Command::new(script);
    let output = command.current_dir(folder).env("WSLOOP_COMMIT", given).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let of = |key: &str| {
        let key = format!("cargo::{key}=");
        text.lines().filter_map(|line| line.strip_prefix(&key).map(str::to_owned)).collect()
    };
    let variables: Vec<String> = of("rustc-env");
    let version = variables.iter().find_map(|variable| variable.strip_prefix("BUILT_VERSION="));
    (version.expect(&text).to_owned(), of("rerun-if-changed"))
}

fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(args);
    let output = command.current_dir(folder).output().expect("git");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

#[test]
fn a_folder_without_git_has_a_version_alone_or_what_it_is_told() {
    let folder = Folder::new();
    let script = built(&folder);
    let place = Path::new(folder.path());
    let always = ["scripts/commit.rs"];
    let (version, watched) = told(&script, place, "");
    assert_eq!((version.as_str(), &watched[..]), (VERSION, &always.map(str::to_owned)[..]));
    assert_eq!(told(&script, place, "no commit").0, VERSION);
    assert_eq!(told(&script, place, GIVEN).0, format!("{VERSION} (0123456789)"));
    // As `cargo package` writes it.
    let packaged = "{\n  \"git\": {\n    \"sha1\": \"fedcba98765432100123456789\"\n  }\n}";
    fs::write(folder.join(".cargo_vcs_info.json"), packaged).expect("a file");
    let (version, watched) = told(&script, place, "");
    assert_eq!(version, format!("{VERSION} (fedcba9876)"));
    assert!(watched.contains(&".cargo_vcs_info.json".to_owned()), "{watched:?}");
    assert_eq!(told(&script, place, GIVEN).0, format!("{VERSION} (0123456789)"));
}

#[test]
#[ignore = "needs git"]
fn a_repository_says_its_head_and_is_looked_at_again_when_that_moves() {
    let folder = Folder::new();
    let script = built(&folder);
    let repository = folder.join("repository");
    let commit = || {
        git(&repository, &["commit", "--quiet", "--allow-empty", "--message", "A"]);
        git(&repository, &["rev-parse", "HEAD"])
    };
    let version = |head: &str| format!("{VERSION} ({})", &head[..10]);
    fs::create_dir(&repository).expect("a folder");
    git(&repository, &["init", "--quiet"]);
    assert_eq!(told(&script, &repository, "").0, VERSION, "nothing is committed yet");
    let first = commit();
    let (found, watched) = told(&script, &repository, "");
    assert_eq!(found, version(&first));
    // All that is watched is there; else cargo would build anew each time.
    let contents = || {
        let read = |path: &String| fs::read(repository.join(path)).unwrap_or_default();
        let watched = watched.iter().filter(|path| *path != "scripts/commit.rs");
        watched.map(read).collect::<Vec<_>>()
    };
    let before = contents();
    assert!(!before.is_empty() && before.iter().all(|text| !text.is_empty()), "{watched:?}");
    assert_eq!(contents(), before);
    let head = commit();
    assert_ne!(contents(), before, "HEAD moved, and none of {watched:?} has changed");
    assert_eq!(told(&script, &repository, "").0, version(&head));
    // Another tree of the same repository has its own HEAD; a tarball in it has none.
    let tree = folder.join("tree");
    git(&repository, &["worktree", "add", "--quiet", "--detach", tree.to_str().expect("UTF-8")]);
    let other = commit();
    assert_eq!(told(&script, &repository, "").0, version(&other));
    assert_eq!(told(&script, &tree, "").0, version(&head));
    fs::create_dir(repository.join("unpacked")).expect("a folder");
    assert_eq!(told(&script, &repository.join("unpacked"), "").0, VERSION);
}

#[test]
#[ignore = "needs git"]
fn this_program_says_the_commit_of_this_repository() {
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).arg("--version").output();
    let text = String::from_utf8(output.expect("it runs").stdout).expect("UTF-8");
    let root = Path::new(ROOT);
    let expected = match root.join(".git").exists() {
        true => format!("wsloop {VERSION} ({})\n", &git(root, &["rev-parse", "HEAD"])[..10]),
        false => format!("wsloop {VERSION}\n"),
    };
    assert_eq!(text, expected);
}
