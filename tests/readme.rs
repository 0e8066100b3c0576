//! The README, held to its word.
//!
//! Its commands are run as they stand, in the order in which they stand there, in a network
//! namespace of their own: the default ports are free in it, and nothing else can answer. What a
//! command promises is looked at from outside, by a WebSocket and by a browser. A block in a
//! language that nobody here can run is a failure, as is a command whose promise is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

const README: &str = include_str!("../README.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where the README's commands serve.
const SERVER: &str = "127.0.0.1:8080";
/// Where the README's Redis is.
const REDIS: &str = "127.0.0.1:6379";
/// Where nginx listens with the README's block.
const PROXY: &str = "127.0.0.1:8081";
/// What the README's page listens to, and its channel.
const TARGET: &str = "/ws/foobar?subscribe-broadcast";
const CHANNEL: &str = "broadcast:foobar";
/// Longest wait for what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait for a server that has to be compiled first.
const COMPILING: Duration = Duration::from_secs(1800);
/// Set for the test that runs inside the namespace.
const INSIDE: &str = "README_NAMESPACE";

#[test]
#[ignore = "needs redis-server, nginx, chromium, node, python3, ruby and php with Redis clients, ip"]
fn every_block_does_what_it_says() {
    if env::var_os(INSIDE).is_none() {
        return run_in_a_namespace("every_block_does_what_it_says");
    }
    let blocks = blocks(README).expect("known languages");
    let mut stage = Stage::default();
    for (language, text) in &blocks {
        match language {
            Language::Sh => text.lines().for_each(|line| stage.run(line)),
            Language::Js => stage.listen(text),
            Language::Nginx => stage.proxy(text),
            Language::Toml => stage.configure(text),
        }
    }
    let programs = ["redis-cli", "python3", "ruby", "node", "php"];
    assert_eq!(stage.publishers, programs.map(str::to_owned).into(), "who has published");
    let tried = (stage.served, stage.stored, stage.proxied, stage.loaded, stage.configured);
    assert_eq!(tried, (2, 1, 1, 1, 1), "what has been tried");
    assert_eq!(stage.looked, 7, "what has been looked at");
}

#[test]
fn a_block_in_an_unknown_language_is_noticed() {
    let known = [
        (
            "a\n```sh\nb\n\nc\n```\nd\n```js\n```",
            vec![(Language::Sh, "b\n\nc\n"), (Language::Js, "")],
        ),
        ("```nginx\nlocation / {\n}\n```\n", vec![(Language::Nginx, "location / {\n}\n")]),
        ("`sh`", Vec::new()),
    ];
    for (text, expected) in known {
        let expected = expected.into_iter().map(|(language, text)| (language, text.to_owned()));
        assert_eq!(blocks(text), Ok(expected.collect()), "{text}");
    }
    for text in ["```\n```", "```yaml\n```", "~~~sh\n~~~", " ```ruby\n ```", "```sh\n", "    sh\n"]
    {
        assert!(blocks(text).is_err(), "{text:?}");
    }
    assert!(blocks(README).is_ok_and(|blocks| blocks.len() > 8), "{:?}", blocks(README));
}

#[test]
fn what_a_command_publishes_is_told_from_its_text() {
    let cases = [
        ("redis-cli PUBLISH broadcast:foobar 'a b'", Some("a b")),
        ("redis-cli SET broadcast:foobar 'a, b' EX 3600", Some("a, b")),
        (r#"x -c "f('broadcast:foobar', 'it is')""#, Some("it is")),
        (r#"x -r '$r->f("broadcast:foobar", "it'"#, None),
        (r#"x -r '$r->f("broadcast:foobar", "it");'"#, Some("it")),
        ("redis-cli PUBLISH broadcast:foobar bare", None),
        ("redis-cli PUBLISH broadcast:other 'a b'", None),
    ];
    for (line, text) in cases {
        assert_eq!(published(line), text, "{line}");
    }
}

#[test]
fn the_table_of_flags_is_that_of_the_help() {
    let readme = table_of_flags(README);
    let output = Command::new(env!("CARGO_BIN_EXE_wsloop")).arg("--help").env_clear().output();
    let help = flags_of_the_help(&text_of(output.expect("the program runs")));
    assert!(help.len() > 20, "{help:?}");
    let named: BTreeSet<&String> = readme.keys().chain(help.keys()).collect();
    for flag in named {
        let in_readme = readme.get(flag).unwrap_or_else(|| panic!("the README has no {flag}"));
        let in_help = help.get(flag).unwrap_or_else(|| panic!("the help has no {flag}"));
        let in_help = other_words(flag, in_help);
        assert_eq!(*in_readme, in_help, "the default of {flag}");
    }
}

/// What is named in the running text: files, and commands that are run as a matter of course.
#[test]
fn what_the_text_points_to_is_there() {
    let prose = prose(README);
    let targets: Vec<&str> = prose
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().expect("a first part"))
        .filter(|target| !target.starts_with("https://"))
        .collect();
    assert!(targets.iter().any(|target| target.ends_with(".png")), "no picture in {targets:?}");
    for target in targets {
        assert!(Path::new(ROOT).join(target).is_file(), "there is no {target}");
    }
    let run = read(".ci/run") + &read("scripts/test");
    let spans = prose.split('`').skip(1).step_by(2);
    let commands: Vec<&str> = spans.filter(|span| span.starts_with("cargo ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        assert!(run.contains(command), "neither .ci/run nor scripts/test runs {command}");
    }
}

/// The README is no different from a script: what comes later builds on what came before.
#[derive(Default)]
struct Stage {
    redis: Option<Process>,
    server: Option<Process>,
    /// The command without Redis.
    chat: Option<String>,
    page: Option<Page>,
    listener: Option<Client>,
    /// The last command that published.
    publisher: String,
    /// The programs that have published.
    publishers: BTreeSet<String>,
    served: usize,
    stored: usize,
    proxied: usize,
    loaded: usize,
    configured: usize,
    /// Commands to redis-cli besides those that publish and store for the page.
    looked: usize,
}

impl Stage {
    /// Runs one command, and sees that it does what the README says of it.
    fn run(&mut self, line: &str) {
        eprintln!("$ {line}");
        if line.starts_with("cargo run ") && line.contains(" stress ws://") {
            // It fails when a message is lost.
            finish(line);
            self.loaded += 1;
        } else if line.starts_with("cargo run ") {
            self.serve(line);
            self.served += 1;
        } else if line == "scripts/test" {
            // This is running inside of it, so that all that remains is who runs it.
            let ends = format!(" {line}");
            let runs = read(".ci/run").lines().any(|run| run.ends_with(&ends));
            assert!(runs, ".ci/run does not run {line}");
        } else if line.starts_with("redis-cli -p 6380 ") {
            self.look(line, "redis-cli -p 6380 ");
        } else if ["KEYS", "GET", "SUBSCRIBE"]
            .iter()
            .any(|word| line.split(' ').nth(1) == Some(word))
        {
            self.look(line, "redis-cli ");
        } else if line.starts_with("redis-cli SET ") {
            self.store(line);
        } else {
            self.publish(line);
            let program = line.split(' ').next().expect("a first word");
            self.publishers.insert(program.to_owned());
        }
    }

    /// Serves from now on; what served before ends as it should.
    fn serve(&mut self, line: &str) {
        self.end();
        if line.contains("--redis") {
            self.redis.get_or_insert_with(start_redis);
        } else {
            self.chat = Some(line.to_owned());
        }
        let mut server = Process::start(&mut shell(line));
        server.wait_for(SERVER, COMPILING);
        self.server = Some(server);
        if !line.contains("--redis") {
            let front = get(SERVER, "/");
            assert!(front.contains("\r\nLocation: /chat/\r\n"), "{front}");
            let chat = get(SERVER, "/chat/");
            assert!(chat.starts_with("HTTP/1.1 200 "), "{chat}");
            two_people_chat(SERVER);
        }
    }

    /// Whoever serves, and is served, ends as it should.
    fn end(&mut self) {
        if let Some(page) = self.page.take() {
            page.close();
        }
        if let Some(server) = self.server.take() {
            assert_eq!(server.terminate().code(), Some(0), "the end of the server");
        }
    }

    /// Runs the page's script in a browser, and listens beside it.
    fn listen(&mut self, script: &str) {
        // Whoever comes before the server has reached Redis is told to come again.
        self.listener = Some(eventually(|| Client::connect(SERVER, TARGET)));
        let page = Page::open(script);
        assert_eq!(page.next(), "handshake 101");
        self.page = Some(page);
    }

    fn publish(&mut self, line: &str) {
        let text = published(line).unwrap_or_else(|| panic!("what does this promise? {line}"));
        let page = self.page.as_ref().expect("a page listens before something is published");
        let listener = self.listener.as_mut().expect("the page does not listen alone");
        finish(line);
        assert_eq!(listener.text(), text, "{line}");
        assert_eq!(page.next(), format!("log {text}"), "{line}");
        line.clone_into(&mut self.publisher);
    }

    /// Who comes later gets what is stored, first and alone; who was there gets none of it.
    fn store(&mut self, line: &str) {
        let text = published(line).unwrap_or_else(|| panic!("what does this store? {line}"));
        finish(line);
        let mut latecomer = eventually(|| Client::connect(SERVER, TARGET));
        assert_eq!(latecomer.text(), text, "{line}");
        let publisher = self.publisher.clone();
        self.publish(&publisher);
        assert_eq!(Some(latecomer.text().as_str()), published(&publisher));
        self.stored += 1;
    }

    /// Looks into the broker, or speaks to the embedded one, as nobody else does at that time.
    fn look(&mut self, line: &str, client: &str) {
        self.looked += 1;
        let (command, args) = line[client.len()..].split_once(' ').expect("a command");
        let output = || text_of(shell(line).output().expect("a shell"));
        let quoted = args.split('\'').nth(1);
        match command {
            "KEYS" => assert!(output().lines().any(|key| key == CHANNEL), "{line}"),
            "GET" => {
                let mut latecomer = Client::connect(SERVER, TARGET).expect("a 101");
                assert_eq!(output().trim_end(), latecomer.text(), "{line}");
            }
            "SET" => assert_eq!(output(), "OK\n", "{line}"),
            "PUBLISH" => {
                let mut listener = Client::connect(SERVER, TARGET).expect("a 101");
                assert_eq!(output(), "1\n", "{line}");
                assert_eq!(Some(listener.text().as_str()), quoted, "{line}");
            }
            "SUBSCRIBE" => {
                let mut process = Process::start(shell(line).stdout(Stdio::piped()));
                let stdout = process.0.stdout.take().expect("a pipe");
                let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
                let mut expect = |expected: [&str; 3]| {
                    assert!(expected.iter().all(|line| lines.next().as_deref() == Some(line)));
                };
                expect(["subscribe", CHANNEL, "1"]);
                let publisher = self.publisher.clone();
                self.publish(&publisher);
                expect(["message", CHANNEL, published(&publisher).expect("a text")]);
            }
            _ => panic!("what does this promise? {line}"),
        }
    }

    /// Lets two people chat through nginx, who has the server's `Origin` to keep to.
    fn proxy(&mut self, block: &str) {
        let chat = self.chat.clone().expect("the README begins with the chat");
        self.serve(&chat);
        let nginx = start_nginx(block);
        two_people_chat(PROXY);
        nginx.terminate();
        let (host, rest): (Vec<&str>, Vec<&str>) =
            block.lines().partition(|line| line.trim_start().starts_with("proxy_set_header Host "));
        assert_eq!(host.len(), 1, "{block}");
        let nginx = start_nginx(&rest.join("\n"));
        assert_eq!(Client::connect(PROXY, TARGET).err(), Some(403), "without {}", host[0]);
        nginx.terminate();
        self.proxied += 1;
    }

    /// Serves with the block as the configuration file, which names the Redis that is there, and
    /// looks at what somebody is granted who has not logged in.
    fn configure(&mut self, block: &str) {
        let file = empty_folder("toml").join("wsloop.toml");
        fs::write(&file, block).expect("a file");
        self.end();
        self.redis.get_or_insert_with(start_redis);
        let program = env!("CARGO_BIN_EXE_wsloop");
        let mut server = Process::start(Command::new(program).arg("--config").arg(file));
        server.wait_for(SERVER, PATIENCE);
        self.server = Some(server);
        for (facility, granted) in
            [("news", "subscribe-broadcast"), ("chat/1", "subscribe-broadcast"), ("admin/1", "")]
        {
            let target = format!("/ws/{facility}?subscribe-broadcast&publish-broadcast");
            let (_, head) = eventually(|| Client::shake_hands(SERVER, &target));
            let header = format!("\r\nX-Wsloop-Granted: {granted}\r\n");
            assert!(head.contains(&header), "{target}: {head}");
        }
        self.configured += 1;
    }
}

/// What stands in a block of its own, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Sh,
    Js,
    Nginx,
    Toml,
}

/// The fenced blocks; an error says which cannot be run.
fn blocks(text: &str) -> Result<Vec<(Language, String)>, String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let language = match line.trim_start() {
            "```sh" => Language::Sh,
            "```js" => Language::Js,
            "```nginx" => Language::Nginx,
            "```toml" => Language::Toml,
            fence if fence.starts_with("```") || fence.starts_with("~~~") => {
                return Err(format!("nothing here can run {fence}"));
            }
            // Markdown has another way to write a block, which says no language.
            _ if line.starts_with("    ") => {
                return Err(format!("a block without a fence: {line}"));
            }
            _ => continue,
        };
        let mut block = String::new();
        loop {
            match lines.next() {
                Some("```") => break,
                Some(line) => block.extend([line, "\n"]),
                None => return Err(format!("a block without an end:\n{block}")),
            }
        }
        blocks.push((language, block));
    }
    Ok(blocks)
}

/// The text without its blocks, in one line.
fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split("\n```").step_by(2).collect();
    parts.join(" ").replace('\n', " ")
}

/// The text that a command publishes or stores: what is quoted behind the channel's name.
fn published(line: &str) -> Option<&str> {
    const QUOTES: [char; 2] = ['\'', '"'];
    let (_, rest) = line.split_once(CHANNEL)?;
    let rest = rest.strip_prefix(QUOTES).unwrap_or(rest).trim_start_matches([',', ' ']);
    let quote = rest.chars().next().filter(|quote| QUOTES.contains(quote))?;
    Some(rest[1..].split_once(quote)?.0)
}

/// Flags with the names of their values, and defaults, as the README has them.
fn table_of_flags(readme: &str) -> BTreeMap<String, String> {
    let rows = readme.lines().filter(|line| line.starts_with("| `--"));
    rows.map(|row| {
        let row = row.replace(r"\|", "\n").replace('`', "");
        let cells: Vec<String> =
            row.split('|').map(|cell| cell.trim().replace('\n', "|")).collect();
        let [_, flag, default, _, _] = &cells[..] else {
            panic!("a row has a flag, a default and a meaning: {row}");
        };
        (flag.clone(), default.clone())
    })
    .collect()
}

/// Flags with the names of their values, and defaults, as `--help` has them.
fn flags_of_the_help(help: &str) -> BTreeMap<String, String> {
    const INDENT: &str = "\n      --";
    let entries = help.split(INDENT).skip(1);
    entries
        .map(|entry| {
            let flag = entry.split("  ").next().expect("a first part").trim();
            let words: Vec<&str> = entry.split_whitespace().collect();
            let words = words.join(" ");
            let default = words.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
            let (default, _) = default.unwrap_or_else(|| panic!("no default: {words}"));
            (format!("--{}", flag.replace(['<', '>'], "")), default.to_owned())
        })
        .collect()
}

/// A default of the help in the words of the README's narrower column.
fn other_words(flag: &str, default: &str) -> String {
    const WORDS: [(&str, &str, &str); 5] = [
        ("--resp ", "127.0.0.1:6380, unless it is taken", "127.0.0.1:6380"),
        ("--redis ", "none, an embedded broker", "embedded broker"),
        ("--max-connections ", "the descriptor limit less 64", "descriptors − 64"),
        ("--allow ", "every subscribe- option, no publish- option", "subscribe-…"),
        ("--subprotocols ", "the first one offered", "first offered"),
    ];
    let same = |(name, help, _): &&(&str, &str, &str)| flag.starts_with(name) && default == *help;
    match WORDS.iter().find(same) {
        Some((.., readme)) => (*readme).to_owned(),
        None => default.replace("KiB", " KiB").replace("MiB", " MiB"),
    }
}

/// Runs this program's test of that name again, where nothing but loopback is to be reached.
fn run_in_a_namespace(test: &str) {
    let user = Command::new("id").arg("-u").output().expect("id");
    let mut command = Command::new("unshare");
    command.arg("--net");
    if text_of(user).trim() != "0" {
        command.arg("--map-root-user");
    }
    command.args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(env::current_exe().expect("a path"));
    command.args([test, "--exact", "--include-ignored", "--nocapture"]);
    // Nothing that is said to the user's own servers and clients is for those of the README.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("WSLOOP_") && text != "WSLOOP_CHROMIUM" || text.starts_with("REDIS") {
            command.env_remove(name);
        }
    }
    // Debian keeps ip and nginx where only root's PATH looks.
    let path = env::var("PATH").expect("a PATH");
    let path = format!("{}:{path}:/usr/sbin:/sbin", interpreters().display());
    command.env(INSIDE, "1").env("CARGO_NET_OFFLINE", "true").env("PATH", path);
    command.env("NODE_PATH", Path::new(ROOT).join("tests/readme/node_modules"));
    let output = command.stdin(Stdio::null()).output().expect("unshare");
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && out.contains(" 1 passed"), "{out}\n{err}");
}

/// A folder with the interpreters that have Debian's packages, to come first on PATH: others of
/// their names may hide them.
fn interpreters() -> PathBuf {
    let folder = empty_folder("bin");
    for name in ["python3", "ruby", "php"] {
        symlink(Path::new("/usr/bin").join(name), folder.join(name)).expect("a link");
    }
    folder
}

fn start_redis() -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "::1", "--save", "", "--dir"]).arg(empty_folder("redis"));
    let mut redis = Process::start(command.stdout(Stdio::null()));
    redis.wait_for(REDIS, PATIENCE);
    redis
}

/// nginx with the block in a server of its own and nothing else. It stays root and one process, for
/// the namespace of somebody who is not root has no other user to become.
fn start_nginx(block: &str) -> Process {
    let folder = empty_folder("nginx");
    let bodies = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let bodies: String = bodies.map(|name| format!("{name}_temp_path {name};\n")).concat();
    let config = format!(
        "user root;\ndaemon off;\nmaster_process off;\npid pid;\nevents {{}}\n\
         http {{\naccess_log off;\n{bodies}server {{\nlisten {PROXY};\n{block}\n}}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), config).expect("a file");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    let mut nginx = Process::start(&mut command);
    nginx.wait_for(PROXY, PATIENCE);
    nginx
}

/// Two people hear each other, and neither hears an echo.
fn two_people_chat(address: &str) {
    let target = format!("/ws/{address}?subscribe-broadcast&publish-broadcast");
    let [mut first, mut second] = [(); 2].map(|()| {
        Client::connect(address, &target)
            .unwrap_or_else(|status| panic!("{status} from {address}{target}"))
    });
    first.say("Good morning! Anybody here?");
    assert_eq!(second.text(), "Good morning! Anybody here?");
    second.say("Yes, in the second window.");
    assert_eq!(first.text(), "Yes, in the second window.");
}

/// The README's page in a browser; see `tests/readme/page.mjs`.
struct Page {
    process: Process,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Page {
    fn open(script: &str) -> Page {
        let mut command = Command::new("node");
        command.arg("tests/readme/page.mjs").args([&format!("http://{SERVER}/wsloop.mjs"), script]);
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = process.0.stdin.take().expect("a pipe");
        let stdout = BufReader::new(process.0.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|l| sender.send(l))
        });
        Page { process, stdin, lines }
    }

    /// The next thing that happens on the page.
    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("something happens on the page")
    }

    /// Closes the browser, in which nothing else has happened.
    fn close(mut self) {
        drop(self.stdin);
        assert!(self.process.wait().success(), "the end of the browser");
        assert_eq!(self.lines.iter().collect::<Vec<String>>(), [""; 0]);
    }
}

/// A program that goes when the test goes.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Process {
        Process(
            command.current_dir(ROOT).spawn().unwrap_or_else(|why| panic!("{command:?}: {why}")),
        )
    }

    /// Waits until it listens.
    fn wait_for(&mut self, address: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        while TcpStream::connect(address).is_err() {
            let status = self.0.try_wait().expect("a child");
            assert_eq!(status, None, "it was to listen on {address}, and has ended");
            assert!(Instant::now() < deadline, "nothing listens on {address}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, as a supervisor does.
    fn terminate(mut self) -> ExitStatus {
        let kill = format!("kill -TERM {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        eventually(|| self.0.try_wait().expect("a child").ok_or("it goes on"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a process that has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A browser's WebSocket, without the browser.
struct Client(TcpStream);

impl Client {
    /// Connects from a page of the same host; an error is the status that it is refused with.
    fn connect(address: &str, target: &str) -> Result<Client, u16> {
        Client::shake_hands(address, target).map(|(client, _)| client)
    }

    /// The same, with the head of the 101.
    fn shake_hands(address: &str, target: &str) -> Result<(Client, String), u16> {
        let mut stream = connect(address);
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\n\
             Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .expect("a request is taken");
        let mut head = Vec::new();
        // Byte by byte: what follows the head is frames.
        while !head.ends_with(b"\r\n\r\n") {
            head.push(array::<1>(&mut stream)[0]);
        }
        let head = String::from_utf8(head).expect("a head in ASCII");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        match status.unwrap_or_else(|| panic!("no status: {head}")) {
            101 => Ok((Client(stream), head)),
            status => Err(status),
        }
    }

    fn say(&mut self, text: &str) {
        self.send(0x81, text.as_bytes());
    }

    /// The next message, which is a text.
    #[track_caller]
    fn text(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing but pings");
            let [first, length] = array(&mut self.0);
            assert!(length < 126, "nothing in the README is that long");
            let mut payload = vec![0; usize::from(length)];
            self.0.read_exact(&mut payload).expect("a payload");
            match first {
                0x81 => return String::from_utf8(payload).expect("a text"),
                0x89 => self.send(0x8A, &payload),
                _ => panic!("neither a text nor a ping: {first:#x} {payload:?}"),
            }
        }
    }

    /// Sends a frame whose mask is all zeros, and so leaves the payload as it is.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).expect("a short payload");
        assert!(length < 126);
        let frame = [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat();
        self.0.write_all(&frame).expect("a frame is taken");
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|why| panic!("{address}: {why}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

#[track_caller]
fn array<const N: usize>(stream: &mut impl Read) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).expect("something arrives");
    bytes
}

/// The whole response to a plain request.
fn get(address: &str, path: &str) -> String {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("a request is taken");
    io::read_to_string(stream).expect("a response")
}

/// A line as the README's reader gives it to the shell, which becomes the program instead of
/// waiting for it: whoever ends the process ends the program, and is told its status.
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {line}")]).stdin(Stdio::null());
    command
}

/// Runs a command that is to end well, and soon.
fn finish(line: &str) {
    let mut process = Process::start(&mut shell(line));
    assert!(process.wait().success(), "{line}");
}

/// What a program has written, which has ended well.
fn text_of(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn eventually<T, E: std::fmt::Debug>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(why) => assert!(Instant::now() < deadline, "still {why:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn empty_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("it can be removed");
    }
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}
