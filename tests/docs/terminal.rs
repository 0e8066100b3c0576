//! A terminal: a shell that keeps its folder and variables from one command to the next, and a
//! program that goes on running in it.
//!
//! All that a terminal has started ends with it.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait for what takes a moment on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for a command; one of them compiles wsloop.
const COMMAND: Duration = Duration::from_secs(1800);
/// What nothing prints but the shell, before the status of a command.
const MARK: &str = "\u{1}done ";

pub struct Terminal {
    shell: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// What the running program has printed and nobody has looked at.
    unread: VecDeque<String>,
    /// What has been typed and printed so far.
    log: String,
}

impl Terminal {
    /// Opens one in a folder, with these variables and no others.
    pub fn open(home: &str, environment: &[(String, String)]) -> Terminal {
        let mut command = Command::new("bash");
        command.args(["--norc", "--noprofile"]).current_dir(home);
        command.env_clear().envs(environment.iter().cloned()).process_group(0);
        let mut shell =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bash starts");
        let mut stdin = shell.stdin.take().expect("a pipe");
        stdin.write_all(b"exec 2>&1\n").expect("the shell reads");
        let mut stdout = BufReader::new(shell.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
                if sender.send(text).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Terminal { shell, stdin, lines, unread: VecDeque::new(), log: String::new() }
    }

    /// Types a command and waits for its end, which has to be a good one. Returns what it printed.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> String {
        let (status, printed) = self.run_anyhow(command);
        assert_eq!(status, "0", "$ {command}\n{printed}");
        printed
    }

    /// The same for one that may fail. Returns its status as well.
    #[track_caller]
    pub fn run_anyhow(&mut self, command: &str) -> (String, String) {
        self.type_in(command);
        // What was printed without a newline at its end must not hide the mark.
        self.stdin.write_all(b"printf '\\n\\001done %s\\n' $?\n").expect("the shell reads");
        let mut printed = Vec::new();
        let status = loop {
            let line = self.next_line(COMMAND).unwrap_or_else(|| panic!("no end of: {command}"));
            match line.strip_prefix(MARK) {
                Some(status) => break status.to_owned(),
                None => printed.push(line),
            }
        };
        (status, printed.join("\n").trim_end_matches('\n').to_owned())
    }

    /// Types a command that goes on running, and returns when it is ready: when it listens on a
    /// port or at a path, or has connected to a port.
    pub fn launch(&mut self, command: &str) {
        let before = sockets();
        self.type_in(command);
        self.stdin.write_all(b"printf '\\n\\001done %s\\n' $?\n").expect("the shell reads");
        let deadline = Instant::now() + PATIENCE;
        while sockets() <= before {
            if let Some(line) = self.next_line(Duration::from_millis(20)) {
                assert!(!line.starts_with(MARK), "it has ended: {command}\n{}", self.log);
                self.unread.push_back(line);
            }
            assert!(Instant::now() < deadline, "it does not begin: {command}\n{}", self.log);
        }
        // A server's second port comes right after its first, and a client's answer after that.
        let settled = Instant::now() + Duration::from_millis(300);
        while let Some(line) = self.next_line(settled.saturating_duration_since(Instant::now())) {
            self.unread.push_back(line);
        }
    }

    /// The next so many lines that the running program prints, without those that are empty.
    #[track_caller]
    pub fn next_lines(&mut self, count: usize) -> String {
        let mut lines = Vec::new();
        while lines.len() < count {
            let line = self.unread.pop_front().or_else(|| self.next_line(PATIENCE));
            let line = line.unwrap_or_else(|| panic!("{count} lines, not {lines:?}"));
            if !line.is_empty() {
                lines.push(line);
            }
        }
        lines.join("\n")
    }

    fn next_line(&mut self, patience: Duration) -> Option<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.log.extend([&line, "\n"]);
                Some(line)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the shell has ended:\n{}", self.log),
        }
    }

    /// A command does not read what is typed after it, and stays in this shell: `cd` changes it.
    fn type_in(&mut self, command: &str) {
        self.log.extend(["$ ", command, "\n"]);
        let quoted = command.replace('\'', r"'\''");
        writeln!(self.stdin, "eval '{quoted}' </dev/null").expect("the shell reads");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let group = format!("kill -TERM -{0} 2>/dev/null", self.shell.id());
        let kill = |signal: &str| {
            let line = group.replace("TERM", signal);
            let _ = Command::new("sh").args(["-c", &line]).status();
        };
        kill("TERM");
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && group_is_there(self.shell.id()) {
            let _ = self.shell.try_wait();
            thread::sleep(Duration::from_millis(20));
        }
        kill("KILL");
        let _ = self.shell.wait();
        if thread::panicking() {
            self.log.extend(self.lines.try_iter().flat_map(|line| [line, "\n".to_owned()]));
            eprintln!("== a terminal\n{}", self.log);
        }
    }
}

fn group_is_there(group: u32) -> bool {
    let line = format!("kill -0 -{group} 2>/dev/null");
    Command::new("sh").args(["-c", &line]).status().is_ok_and(|status| status.success())
}

/// How many sockets of this namespace listen, or are connected.
fn sockets() -> usize {
    const ESTABLISHED: &str = "01";
    const LISTENING: &str = "0A";
    /// The flags of a Unix socket that listens.
    const ACCEPTS: &str = "00010000";
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let rows = tables.map(|table| fs::read_to_string(table).unwrap_or_default()).concat();
    let states = rows.lines().filter_map(|row| row.split_whitespace().nth(3));
    let ports = states.filter(|state| [ESTABLISHED, LISTENING].contains(state)).count();
    let paths = fs::read_to_string("/proc/self/net/unix").unwrap_or_default();
    let flags = paths.lines().filter_map(|row| row.split_whitespace().nth(3));
    ports + flags.filter(|flags| *flags == ACCEPTS).count()
}
