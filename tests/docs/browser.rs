//! People with browsers; see `browser.mjs`.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::place::ROOT;

pub struct Browsers {
    driver: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Browsers {
    pub fn start() -> Browsers {
        let mut command = Command::new("node");
        command.arg("tests/docs/browser.mjs").current_dir(ROOT);
        let mut driver =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node starts");
        let stdin = driver.stdin.take();
        let stdout = BufReader::new(driver.stdout.take().expect("a pipe"));
        Browsers { driver, stdin, stdout }
    }

    /// Has somebody do something, as `["john", "press", "Send"]`; an error is a failure of the
    /// test.
    #[track_caller]
    pub fn ask(&mut self, command: &[&str]) -> Value {
        eprintln!("{command:?}");
        let mut stdin = self.stdin.as_ref().expect("it was not closed");
        writeln!(stdin, "{}", json!(command)).expect("the driver reads");
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).expect("a pipe");
        let mut answer: Value = serde_json::from_str(&answer).expect("an answer");
        assert_eq!(answer.get("error"), None, "{}", answer["error"]);
        answer["ok"].take()
    }

    /// The texts of the elements of a selector.
    #[track_caller]
    pub fn texts(&mut self, who: &str, selector: &str) -> Vec<String> {
        serde_json::from_value(self.ask(&[who, "texts", selector])).expect("texts")
    }

    /// Nothing has gone wrong on somebody's page.
    #[track_caller]
    pub fn expect_no_problems(&mut self, who: &str) {
        assert_eq!(self.ask(&[who, "problems"]), json!([]), "{who}");
    }

    /// Pictures for somebody who wants to look at them: DOCS_PICTURES names a folder.
    pub fn pictures(&mut self, who: &str, name: &str) {
        let folder = env::var("DOCS_PICTURES");
        let folder = folder.unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").to_owned());
        self.ask(&[who, "pictures", &format!("{folder}/{name}")]);
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.driver.wait();
    }
}
