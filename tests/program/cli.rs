//! The program as a person or a supervisor sees it: one line for what is wrong, exit status 2, and
//! a help that says everything.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

/// The program, deaf to the environment of the tests.
fn wsloop(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    command.env_clear().envs(env.iter().copied()).args(args).stdin(Stdio::null());
    command
}

/// How it ends. What it should refuse and takes makes it serve, and then it is killed.
fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = wsloop(args, env);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program runs");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("a child");
            break;
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("a child")
}

/// The one line that a wrong use is answered with, without the program's name.
#[track_caller]
pub fn complaint(args: &[&str], env: &[(&str, &str)]) -> String {
    let Output { status, stdout, stderr } = run(args, env);
    let stderr = String::from_utf8(stderr).expect("UTF-8");
    assert_eq!(status.code(), Some(2), "{args:?} {env:?}: {stderr}");
    assert!(stdout.is_empty(), "{args:?} {env:?} writes to standard output");
    let line = stderr.strip_prefix("wsloop: ").expect(&stderr);
    let line = line.strip_suffix('\n').expect("the line ends");
    assert!(!line.contains('\n'), "{args:?} {env:?} says more than a line: {stderr}");
    line.to_owned()
}

/// Every flag with a value that will not do, and words of what is said about it. Only the heartbeat
/// may be any text.
const WRONG: &[(&str, &str, &str)] = &[
    ("--config", "/nowhere/wsloop.toml", "cannot be read"),
    ("--listen", "8080", "HOST:PORT"),
    ("--tls-cert", "/nowhere/cert.pem", "cannot be read"),
    ("--tls-key", "/nowhere/key.pem", "cannot be read"),
    ("--redis", "https://h", "rediss:// for TLS"),
    ("--redis-replica", "redis://h", "is a replica of --redis; give that, too"),
    ("--redis-ca", "/nowhere/ca.pem", "cannot be read"),
    ("--redis-cert", "/nowhere/cert.pem", "cannot be read"),
    ("--redis-key", "/nowhere/key.pem", "cannot be read"),
    ("--redis-server-name", "localhost", "spoken with --redis rediss://"),
    ("--redis-sharded", "yes", "none of off, both and on"),
    ("--redis-sentinel-user", "somebody", "named with --redis redis+sentinel://"),
    ("--redis-sentinel-password", "/nowhere/password", "cannot be read"),
    ("--workers", "two", "write a number, or auto"),
    ("--endpoint", "/chat/", "it has no ="),
    ("--endpoint-lost", "wait", "write close or keep"),
    ("--upstream", "127.0.0.1:8000", "write http://host:port"),
    ("--upstream-timeout", "0", "give 0.001 to"),
    ("--upstream-websocket-timeout", "0", "give 0.001 to"),
    ("--upstream-patience", "long", "such as"),
    ("--upstream-connections", "0", "give 1 to"),
    ("--upstream-idle", "few", "such as 1000"),
    ("--upstream-waiting", "0", "give 1 to"),
    ("--keep-alive-timeout", "0", "give 0.001 to"),
    ("--resp", "0.0.0.0:6380", "not loopback"),
    ("--resp-password", "/nowhere", "cannot be read"),
    ("--url-prefix", "ws", "write \"/ws/\""),
    ("--prefix", "site:", "write \"site\""),
    ("--expire", "1h", "such as 3600"),
    ("--history", "chat", "as in chat/*=100/300"),
    ("--history-limit", "lots", "such as 65536"),
    ("--ping-interval", "-1", "such as 30 or 0.5"),
    ("--pong-timeout", "0", "give 0.001 to 31536000 seconds"),
    ("--handshake-timeout", "0", "give 0.001 to"),
    ("--drain", "slowly", "such as 30 or 0.5"),
    ("--drain-delay", "-1", "such as 30 or 0.5"),
    ("--shutdown-timeout", "soon", "such as 30 or 0.5"),
    ("--close-timeout", "5s", "such as 30 or 0.5"),
    ("--max-message-size", "1MB", "1MiB"),
    ("--max-session-size", "64MiB", "give 1 to 16MiB"),
    ("--max-fragments", "0", "give 1 to"),
    ("--compression", "on", "off, shared or dedicated"),
    ("--compression-min", "small", "such as 65536"),
    ("--compression-window", "255", "give 256 to"),
    ("--max-head-size", "1", "give 256 to 1MiB"),
    ("--outbox-limit", "1MiB", "give at least 2MiB, or lower --max-message-size"),
    ("--overflow", "drop", "neither close nor latest"),
    ("--unsent-limit", "1GiB", "give 0 to 16MiB"),
    ("--memory-limit", "half", "such as 65536"),
    ("--max-connections", "0", "give at least 1"),
    ("--max-handshakes", "many", "such as 1000"),
    ("--socket-mode", "rw", "such as 660"),
    ("--trusted-proxies", "localhost", "is no address"),
    ("--forwarded-headers", "x-real-ip", "x-forwarded or forwarded"),
    ("--proxy-protocol", "on", "name them with --trusted-proxies"),
    ("--max-per-address", "many", "such as 1000"),
    ("--message-rate", "few", "such as 1000"),
    ("--handshake-rate", "-1", "such as 1000"),
    ("--max-subscriptions", "0", "give 1 to"),
    ("--max-commands", "0", "give 1 to"),
    ("--max-names-size", "0", "give 1 to 16MiB"),
    ("--store-limit", "lots", "such as 65536"),
    ("--redis-timeout", "0", "give 0.001 to"),
    ("--redis-window-size", "0", "give 1 to"),
    ("--redis-buffer-limit", "1MiB", "give at least 4MiB"),
    ("--allow", "everything", "subscribe-broadcast"),
    ("--require-login", "perhaps", "on nor off"),
    ("--token-key-file", "/nowhere/key.pem", "cannot be read"),
    ("--token-algorithm", "none", "is none of HS256, RS256, ES256, EdDSA"),
    ("--token-audience", "app", "give --token-key-file as well"),
    ("--token-leeway", "301", "give 0, or 0.001 to 300 seconds"),
    ("--session-key", "session", "such as session:{}"),
    ("--session-cookie", "a b", "such as sessionid"),
    ("--session-format", "xml", "none of django, django-pickle, json, express"),
    ("--session-secret-file", "/nowhere/secret", "cannot be read"),
    ("--session-user", "name", "give --session-key as well"),
    ("--session-groups", "groups", "give --session-key as well"),
    ("--auth-url", "https://h", "TLS to the application is not spoken"),
    ("--auth-timeout", "soon", "such as 30 or 0.5"),
    ("--auth-connections", "0", "give 1 to"),
    ("--auth-keep-alive", "perhaps", "on nor off"),
    ("--allowed-hosts", "https://h", "without scheme and port"),
    ("--allowed-origins", "example.com", "https://example.com"),
    ("--subprotocols", "a b", "commas between"),
    ("--refuse", "never", "status or close"),
    ("--compression-for", "me", "all or browsers"),
    ("--demo", "perhaps", "on nor off"),
    ("--metrics", "metrics", "/metrics"),
    ("--health", "up", "/health"),
    ("--admin", "0.0.0.0:9090", "give --admin-token-file"),
    ("--admin-token-file", "/nowhere/token", "cannot be read"),
    ("--echo", "echo", "/echo"),
    ("--log-format", "xml", "text, logfmt or json"),
    ("--access-log", "perhaps", "on nor off"),
    ("--log", "loud", "error, warn, info, debug or trace"),
];

/// The table of flags has no other than these.
#[test]
fn every_flag_has_a_wrong_value() {
    let output = run(&["--flags-as-markdown"], &[]);
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `"));
    let flags = rows.map(|row| row.split([' ', '[', '`']).next().expect("a first part"));
    let mut flags: Vec<&str> = flags.filter(|flag| *flag != "--heartbeat").collect();
    flags.sort_unstable();
    let mut wrong: Vec<&str> = WRONG.iter().map(|(flag, ..)| *flag).collect();
    wrong.sort_unstable();
    assert_eq!(flags, wrong);
}

fn variable(flag: &str) -> String {
    flag.replacen("--", "WSLOOP-", 1).replace('-', "_").to_uppercase()
}

#[test]
fn a_wrong_value_is_one_line_with_the_way_to_mend_it_from_flag_and_environment_alike() {
    for (flag, value, words) in WRONG.iter().copied() {
        let variable = variable(flag);
        let by_flag = complaint(&[&format!("{flag}={value}")], &[]);
        assert!(by_flag.starts_with(&format!("{flag}: ")), "{by_flag}");
        assert!(by_flag.contains(words), "{by_flag}");
        let by_command = complaint(&["serve", &format!("{flag}={value}")], &[]);
        assert_eq!(by_command, by_flag);
        for args in [&[][..], &["serve"]] {
            let by_variable = complaint(args, &[(&variable, value)]);
            assert_eq!(by_variable.replacen(&variable, flag, 1), by_flag);
        }
    }
}

#[test]
fn what_is_no_flag_is_one_line_too() {
    let cases: [(&[&str], &str); 13] = [
        (&["--lissten=a:1"], "tip: a similar argument exists: '--listen'"),
        (&["serve", "--redi", "redis://h"], "tip: a similar argument exists: '--redis'"),
        (&["serv"], "there is no command \"serv\"; the nearest is serve, and wsloop --help lists"),
        (&["chek"], "there is no command \"chek\"; the nearest is check, and wsloop --help lists"),
        (&["serve", "check"], "unexpected argument 'check' found"),
        (&["--redis"], "a value is required for '--redis <URL>'"),
        (&["--heartbeat"], "a value is required for '--heartbeat <TEXT>'"),
        (&["--expire=1", "--expire=2"], "cannot be used multiple times"),
        (&["--expire=1", "serve"], "cannot be used with '--expire <SECONDS>'"),
        (
            &["--allow", "echo", "binary"],
            "unexpected argument \"binary\"; a command comes before all flags, and lists are \
             separated by commas",
        ),
        (&["extra"], "there is no command \"extra\""),
        (&["--ping-interval", "-1"], "no number of seconds"),
        (&["--max-connections=99999999999999"], "ulimit -n"),
    ];
    for (args, words) in cases {
        let line = complaint(args, &[]);
        assert!(line.contains(words), "{args:?}: {line}");
    }
}

#[test]
fn a_flag_beats_the_environment_and_an_empty_variable_is_none() {
    let line = complaint(&["--expire=flag"], &[("WSLOOP_EXPIRE", "variable")]);
    assert!(line.starts_with("--expire: \"flag\""), "{line}");

    // All of these would be complained about if they were not unset, and the address is taken.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let variables: Vec<String> = WRONG.iter().map(|(flag, ..)| variable(flag)).collect();
    let mut env: Vec<_> = variables.iter().map(|name| (name.as_str(), "")).collect();
    let line = complaint(&["--listen", &address], &env);
    assert!(line.contains(&address), "{line}");
    env.retain(|(name, _)| *name != "WSLOOP_LISTEN");
    env.push(("WSLOOP_LISTEN", &address));
    assert_eq!(complaint(&[], &env), line);
}

#[test]
fn a_replica_is_one_redis_and_behind_another() {
    for (redis, replica, words) in [
        ("redis://a", "redis+sentinel://b/main", "is one Redis; write redis://HOST:PORT"),
        ("redis://a", "redis+cluster://b", "is one Redis; write redis://HOST:PORT"),
        ("redis+cluster://a", "redis://b", "is beside a cluster"),
        ("redis://a redis://b", "redis://c", "there are 2"),
    ] {
        let line = complaint(&["--redis", redis, "--redis-replica", replica], &[]);
        assert!(line.starts_with("--redis-replica: ") && line.contains(words), "{line}");
    }
}

/// A file with this text, which is removed when it is dropped.
struct TomlFile(PathBuf);

impl TomlFile {
    fn new(name: &str, text: &str) -> TomlFile {
        let name = format!("wsloop-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a file");
        TomlFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TomlFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_wrong_in_the_file_is_one_line_with_file_and_line() {
    for (flag, value, words) in WRONG.iter().copied() {
        let key = flag.trim_start_matches("--");
        let file = TomlFile::new(key, &format!("# A comment.\n\n{key} = \"{value}\"\n"));
        let path = file.path();
        if flag == "--config" {
            let line = complaint(&["--config", path], &[]);
            assert!(line.starts_with(&format!("{path}:3: config cannot be a key")), "{line}");
            continue;
        }
        let by_flag = complaint(&[&format!("{flag}={value}")], &[]);
        let by_file = complaint(&["--config", path], &[]);
        assert_eq!(by_file.replacen(&format!("{path}:3: {key}"), flag, 1), by_flag);
        assert!(by_file.starts_with(path) && by_file.contains(words), "{by_file}");
        assert_eq!(complaint(&["serve", "--config", path], &[]), by_file);
        assert_eq!(complaint(&[], &[("WSLOOP_CONFIG", path)]), by_file);
    }
    for (name, text, words) in [
        (
            "key",
            "log = 'info'\nexpires = 1",
            ":2: there is no key \"expires\"; did you mean expire?",
        ),
        ("type", "expire = true", ":1: expire: it is true or false, and must be a number"),
        ("twice", "expire = 1\nexpire = 2", ":2: duplicate key"),
        ("broken", "\n\nexpire = = 1", ":3: "),
        ("rule", "[[allow]]\nwho = 'me'", ":2: [[allow]] who: \"me\" is nobody"),
    ] {
        let file = TomlFile::new(name, text);
        let line = complaint(&["--config", file.path()], &[]);
        assert!(line.starts_with(&format!("{}{words}", file.path())), "{line}");
    }
}

#[test]
fn environment_and_flags_beat_the_file() {
    let file = TomlFile::new("beaten", "expire = \"file\"\ndemo = false\nlisten = [\"no port\"]\n");
    let config = ["--config", file.path()];
    let line = complaint(&config, &[("WSLOOP_EXPIRE", "variable"), ("WSLOOP_LISTEN", "h:1")]);
    assert!(line.starts_with("WSLOOP_EXPIRE: \"variable\""), "{line}");
    let line = complaint(&[&config[..], &["--expire=flag", "--listen=h:1"]].concat(), &[]);
    assert!(line.starts_with("--expire: \"flag\""), "{line}");
    // An empty variable is none, so that the file's value counts.
    let line = complaint(&[&config[..], &["--listen=h:1"]].concat(), &[("WSLOOP_EXPIRE", "")]);
    assert!(line.starts_with(&format!("{}:1: expire: \"file\"", file.path())), "{line}");
    let line = complaint(&config, &[]);
    assert!(line.starts_with(&format!("{}:3: listen: ", file.path())), "{line}");
}

#[test]
fn what_is_probably_a_mistake_is_a_warning_at_the_start() {
    let file = TomlFile::new("nobody", "\n[[allow]]\nwho = \"group:staff\"\n");
    let args = ["--listen=127.0.0.1:0", "--resp=off", "--log=warn", "--require-login"];
    let args = [&args[..], &["--config", file.path()]].concat();
    // The token is for another command, in an environment that both have.
    let variables = [("WSLOOP_NOTHING", ""), ("WSLOOP_TOKEN", "t"), ("WSLOOP_TTL", "60")];
    let mut command = wsloop(&args, &variables);
    let mut serving =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let stderr = BufReader::new(serving.stderr.take().expect("a pipe"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
    let warnings: Vec<String> = (0..3).map_while(|_| lines.recv_timeout(PATIENCE).ok()).collect();
    serving.kill().expect("a child");
    serving.wait().expect("a child");
    let rule = format!("{}:2: [[allow]] who = \"group:staff\" fits nobody", file.path());
    for words in ["every handshake is refused with 403", &rule, "WSLOOP_TTL is no setting"] {
        let found = warnings.iter().any(|line| line.contains("WARN") && line.contains(words));
        assert!(found, "no {words:?} in {warnings:#?}");
    }
}

#[test]
fn a_port_in_use_is_one_line_with_the_way_to_mend_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    // The heartbeat begins with dashes and is taken as written.
    let line = complaint(&["--heartbeat", "--heartbeat--", "--listen", &address], &[]);
    assert!(line.contains(&address) && line.contains("--listen"), "{line}");
}

#[test]
fn too_few_open_files_are_one_line_with_the_way_to_mend_it() {
    let script = "ulimit -n 60 && exec \"$0\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_wsloop")])
        .env_clear()
        .output()
        .expect("a shell");
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("the limit of 60 open files") && line.contains("ulimit -n"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

/// Nobody reads standard error, and its pipe is full: the program ends all the same.
#[test]
fn a_full_pipe_does_not_keep_the_program_from_ending() {
    const CAPACITY: usize = 64 * 1024;
    let (mut unread, mut stderr) = std::io::pipe().expect("a pipe");
    stderr.write_all(&[b'.'; CAPACITY]).expect("a pipe takes its capacity");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut child = wsloop(&["--listen", &address], &[]).stderr(stderr).spawn().expect("it runs");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        child.kill().expect("a child");
        child.wait().expect("a child");
    }
    assert_eq!(status.and_then(|status| status.code()), Some(2));
    let mut written = Vec::new();
    unread.read_to_end(&mut written).expect("a pipe");
    assert!(written.starts_with(&[b'.'; CAPACITY]));
}

#[test]
fn check_serves_nobody_and_says_all_that_is_wrong() {
    let output = run(&["check", "--expire=60"], &[("WSLOOP_PREFIX", "shop")]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows: Vec<Vec<&str>> = text.lines().map(|row| row.split_whitespace().collect()).collect();
    assert!(rows.contains(&vec!["expire", "60", "the", "command", "line"]), "{text}");
    assert!(rows.contains(&vec!["prefix", "shop", "WSLOOP_PREFIX"]), "{text}");
    let output = run(&["check", "--expire=soon"], &[("WSLOOP_PREFIX", "broadcast")]);
    assert_eq!(output.status.code(), Some(2));
    let lines = String::from_utf8(output.stderr).expect("UTF-8");
    let starts: Vec<&str> = lines.lines().map(|line| line.split(' ').nth(1).expect(line)).collect();
    assert_eq!(starts, ["WSLOOP_PREFIX:", "--expire:"], "{lines}");
}

#[test]
fn help_names_every_flag_with_its_variable_default_and_unit() {
    let units = [
        ("SECONDS", &["drain", "delay", "expire", "interval", "timeout", "leeway", "patience"][..]),
        ("BYTES", &["size", "limit", "min", "window"]),
        (
            "COUNT",
            &[
                "fragments",
                "connections",
                "handshakes",
                "address",
                "rate",
                "idle",
                "waiting",
                "subscriptions",
                "commands",
            ],
        ),
    ];
    for args in [&["--help"][..], &["-h"], &["serve", "--help"]] {
        let output = run(args, &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        let help = String::from_utf8(output.stdout).expect("UTF-8");
        let words: Vec<&str> = help.split_whitespace().collect();
        let help = words.join(" ");
        let flags = WRONG.iter().map(|(flag, ..)| *flag).chain(["--heartbeat"]);
        for flag in flags {
            let with_value = [format!(" {flag} <"), format!(" {flag}[=<")];
            let start = with_value.iter().find_map(|flag| help.find(flag)).expect(flag);
            let variable = format!("[env: {}]", variable(flag));
            let end = help[start..].find(&variable).expect(&variable) + start;
            let entry = &help[start..end];
            assert!(entry.matches("[default: ").count() == 1, "{flag}: {entry}");
            let value = entry.split(['<', '>']).nth(1).expect("a value's name");
            for (unit, names) in units {
                let last = flag.rsplit('-').next().expect("a last word");
                assert_eq!(value == unit, names.contains(&last), "{flag}: {entry}");
            }
        }
    }
}

#[test]
fn help_tells_no_secret_of_the_environment() {
    let output = run(&["--help"], &[("WSLOOP_REDIS", "redis://:hush@h")]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("hush"));
    let line = complaint(&[], &[("WSLOOP_REDIS", "redis://u:hush@h:port")]);
    assert!(line.starts_with("WSLOOP_REDIS: ") && !line.contains("hush"), "{line}");
}

#[test]
fn version_is_the_name_the_number_and_the_commit() {
    let output = run(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let number = format!("wsloop {}", env!("CARGO_PKG_VERSION"));
    let rest = text.strip_prefix(&number).and_then(|rest| rest.strip_suffix('\n')).expect(&text);
    // A tarball has no commit.
    if !rest.is_empty() {
        let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')')).expect(&text);
        let is_digit = |digit: u8| b"0123456789abcdef".contains(&digit);
        assert!(commit.len() == 10 && commit.bytes().all(is_digit), "{text}");
    }
}
