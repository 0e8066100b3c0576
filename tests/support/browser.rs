//! Runs the tests in `tests/browser`, which drive real browsers.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Has a test of `tests/browser` run against who serves that URL.
pub fn browse_at(test: &str, url: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new("node");
    command.args(["--test", test]).env("WSLOOP_URL", url).envs(environment.iter().copied());
    run_in_turn(&mut command);
}

/// Runs a program among the browser tests. There is one browser at a time, and the packages are
/// installed once.
pub fn run_in_turn(command: &mut Command) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    if !folder.join("node_modules").exists() {
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder));
    }
    // Debian keeps ip where only root's PATH looks.
    let path = std::env::var("PATH").expect("a PATH");
    run(command.current_dir(&folder).env("PATH", format!("{path}:/usr/sbin:/sbin")));
}

/// Runs a program to its end, and shows all that it said if it fails.
fn run(command: &mut Command) {
    let name = format!("{:?}", command.get_program());
    let Output { status, stdout, stderr } = command.output().expect(&name);
    let said = [stdout, stderr].concat();
    assert!(status.success(), "{name} fails, {status}:\n{}", String::from_utf8_lossy(&said));
}
