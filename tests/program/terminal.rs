//! What the commands print on a terminal, where what somebody published does not steer it; and the
//! server in one, which ends with it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, upgrade};
use crate::support::{Process, Wsloop, eventually};

/// Of a terminal's title, of its direction, and of its controls in one character.
const STEERS: &str = "a\u{1b}]0;owned\u{7}b\rc\u{9b}2Jd\u{202e}e\tf\u{7f}";
const SHOWN: &str = "a\\u001b]0;owned\\u0007b\\u000dc\\u009b2Jd\\u202ee\tf\\u007f";

/// The first line that a command prints on a terminal, or into a pipe, that has a mark in it. What
/// it waits for is published by then.
fn first_line(server: &Wsloop, json: bool, to_terminal: bool) -> String {
    let url = format!("ws://{}/ws/t?subscribe-broadcast", server.address());
    let mut words = vec![env!("CARGO_BIN_EXE_wsloop"), "listen", "--once"];
    words.extend(json.then_some("--json"));
    words.push(&url);
    let mut command = match to_terminal {
        true => {
            let mut script = Command::new("script");
            script.args(["-qec", &words.join(" ").replace('?', "\\?"), "/dev/null"]);
            script
        }
        false => {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        }
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process::spawn(&mut command);
    let lines = BufReader::new(process.stdout()).split(b'\n').map_while(Result::ok);
    let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let line = lines.find(|line| line.contains("owned")).expect("a message");
    line.strip_suffix('\r').unwrap_or(&line).to_owned()
}

#[test]
fn a_message_does_not_steer_the_terminal_that_it_is_listened_to_on() {
    let server = Wsloop::start(&[]);
    let mut speaker: Client = server.connect("t?publish-broadcast");
    speaker.send(STEERS);
    server.expect_metric("publishes_total", |n| n == 1);
    assert_eq!(first_line(&server, false, true), SHOWN);
    let json = first_line(&server, true, true);
    assert!(json.ends_with(&format!("\"data\":\"{}\"}}", as_json(SHOWN))), "{json}");
    // A script gets what was published, to the byte.
    assert_eq!(first_line(&server, false, false), STEERS);
    speaker.close();
}

/// A shown text as it is in JSON, which has names of its own for some controls.
fn as_json(shown: &str) -> String {
    shown.replace("\\u000d", "\\r").replace('\t', "\\t")
}

/// A terminal that closes sends SIGHUP, and the shell in it once more, which is not impatience.
#[test]
fn a_terminal_that_closes_ends_the_server_in_it() {
    let words = [env!("CARGO_BIN_EXE_wsloop"), "--listen=127.0.0.1:0", "--resp=off"].join(" ");
    let mut script = Command::new("env");
    // Whoever runs this may ignore it, as nohup does.
    script.args([
        "--default-signal=HUP",
        "script",
        "-qec",
        &format!("exec {words} --close-timeout=3600"),
        "/dev/null",
    ]);
    let mut script = Process::spawn(script.stdout(Stdio::piped()).stderr(Stdio::null()));
    let lines = BufReader::new(script.stdout()).lines().map_while(Result::ok);
    let place = |line: String| {
        line.trim_end().split_once("listening on http://").map(|(_, at)| at.to_owned())
    };
    let place = lines.filter_map(place).next().expect("it listens");
    let host = place.parse().expect("an address");
    let children = format!("/proc/{0}/task/{0}/children", script.id());
    let children = std::fs::read_to_string(children).expect("proc");
    let server = children.split_whitespace().next().expect("a child");
    let mut client = Client::open(host, &upgrade("room", host, "")).expect("a 101");
    script.signal("KILL");
    client.hear_close(1001, "shutting down");
    let signal = |name| Command::new("kill").args([name, server]).status().expect("kill runs");
    assert!(signal("-HUP").success());
    thread::sleep(Duration::from_millis(200));
    let process = format!("/proc/{server}/exe");
    assert!(Path::new(&process).exists(), "the silent client has an hour");
    assert!(signal("-TERM").success());
    eventually("it ends", || (!Path::new(&process).exists()).then_some(()));
}
