//! The publisher against a real Redis, and against servers that do what no Redis should.

mod cluster;
mod redis;
mod sentinels;
mod several;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::redis::{RedisServer, Value};
use crate::support::{PATIENCE, Wsloop, free_port};
use wsloop::{Audience, Expire, Published, Publisher, PublisherError as Error};

/// A timeout that is to be waited for.
const SHORT: Duration = Duration::from_millis(300);

/// What a server does with one connection.
type Part = fn(&mut Guest);

/// A server that is no Redis: it does as it is told, connection by connection.
struct Fake {
    url: String,
    /// Says when a connection is played to its end and closed.
    closed: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Fake {
    /// Accepts as many connections as there are parts, and plays one part on each.
    fn playing(parts: Vec<Part>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let (sender, closed) = mpsc::channel();
        let thread = thread::spawn(move || {
            for part in parts {
                let (stream, _) = listener.accept().expect("a connection");
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
                let mut guest = Guest(BufReader::new(stream));
                part(&mut guest);
                // A process that another test is just starting holds a copy of the socket until it
                // has become its program, and would put off the end that dropping brings.
                let _ = guest.0.get_ref().shutdown(Shutdown::Write);
                // The test may not care.
                let _ = sender.send(());
            }
            listener.set_nonblocking(true).expect("a socket");
            assert!(listener.accept().is_err(), "there are more connections than expected");
        });
        Fake { url, closed, thread }
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(&self.url).expect("a URL").timeout(PATIENCE)
    }

    /// Shows that it saw what it expected.
    fn finish(self) {
        self.thread.join().expect("the fake saw what it expected");
    }
}

/// The connection of a publisher, as a fake sees it.
struct Guest(BufReader<TcpStream>);

impl Guest {
    /// The next command, its words joined by blanks; nothing at the end.
    fn command(&mut self) -> Option<String> {
        let count = self.number('*')?;
        let words: Vec<String> = (0..count)
            .map(|_| {
                let length = self.number('$').expect("a whole command");
                let mut word = vec![0; length + 2];
                self.0.read_exact(&mut word).expect("a whole command");
                word.truncate(length);
                String::from_utf8(word).expect("a text")
            })
            .collect();
        Some(words.join(" "))
    }

    fn number(&mut self, kind: char) -> Option<usize> {
        let mut line = String::new();
        // Whoever goes without having read all that came resets the connection.
        match self.0.read_line(&mut line) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            read => read.expect("a publisher"),
        };
        let line = line.strip_suffix("\r\n")?;
        Some(line.strip_prefix(kind).and_then(|n| n.parse().ok()).expect("a header"))
    }

    fn expect(&mut self, commands: &[&str]) {
        for command in commands {
            assert_eq!(self.command().as_deref(), Some(*command));
        }
    }

    fn say(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).expect("a publisher");
    }

    fn greet(&mut self) {
        self.expect(&["HELLO 3"]);
        self.say("%1\r\n+proto\r\n:3\r\n");
    }

    /// One publish without storing, heard by so many.
    fn publish(&mut self, text: &str, heard: u32) {
        self.expect(&[&format!("PUBLISH broadcast:f {text}")]);
        self.say(&format!(":{heard}\r\n"));
    }

    fn expect_end(&mut self) {
        assert_eq!(self.command(), None);
    }
}

fn send(publisher: &mut Publisher, text: &str) -> Result<u64, Error> {
    let published = publisher.to("f").broadcast().publish(text, Expire::Unstored)?;
    assert_eq!(published.channels, 1);
    Ok(published.receivers)
}

#[test]
fn a_connection_is_kept_and_replaced_when_it_was_closed() {
    let fake = Fake::playing(vec![
        |guest| {
            guest.greet();
            guest.publish("one", 1);
            guest.publish("two", 2);
        },
        |guest| {
            guest.greet();
            guest.publish("three", 3);
            guest.expect_end();
        },
    ]);
    let mut publisher = fake.publisher();
    assert_eq!(send(&mut publisher, "one"), Ok(1));
    assert_eq!(send(&mut publisher, "two"), Ok(2));
    fake.closed.recv_timeout(PATIENCE).expect("a closed connection");
    assert_eq!(send(&mut publisher, "three"), Ok(3));
    drop(publisher);
    fake.finish();
}

#[test]
fn what_was_sent_and_not_answered_is_not_sent_again() {
    let cases: [(Part, &str); 5] = [
        (|_| {}, "closed"),
        (|guest| guest.say(":1"), "closed"),
        (|guest| guest.say("?"), "not RESP3"),
        (|guest| guest.say(":1\r\n:1\r\n"), "too many"),
        (
            |guest| {
                guest.say(":1");
                guest.expect_end();
            },
            "too long",
        ),
    ];
    for (ends, words) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("redis://{}", listener.local_addr().expect("an address"));
        let fake = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a connection");
            let mut guest = Guest(BufReader::new(stream));
            guest.greet();
            guest.publish("one", 1);
            guest.expect(&["PUBLISH broadcast:f two"]);
            ends(&mut guest);
            // The end, and not a reset that overtakes what was said.
            let _ = guest.0.get_mut().shutdown(Shutdown::Write);
            guest.expect_end();
            drop(guest);
            // The next connection begins with what is asked for next.
            let (stream, _) = listener.accept().expect("a connection");
            let mut guest = Guest(BufReader::new(stream));
            guest.greet();
            guest.publish("three", 3);
        });
        let timeout = if words == "too long" { SHORT } else { PATIENCE };
        let mut publisher = Publisher::new(&url).expect("a URL").timeout(timeout);
        assert_eq!(send(&mut publisher, "one"), Ok(1));
        match send(&mut publisher, "two") {
            Err(Error::MaybePublished(why)) if why.contains(words) => {}
            other => panic!("not {words:?}: {other:?}"),
        }
        let mut publisher = publisher.timeout(PATIENCE);
        assert_eq!(send(&mut publisher, "three"), Ok(3));
        fake.join().expect("the fake saw what it expected");
    }
}

#[test]
fn what_was_only_asked_for_is_asked_again() {
    let fake = Fake::playing(vec![
        |guest| {
            guest.greet();
            guest.publish("one", 1);
            guest.expect(&["GET user:u:f", "GET broadcast:f"]);
            guest.say("$4\r\nst");
        },
        |guest| {
            guest.greet();
            guest.expect(&["GET user:u:f", "GET broadcast:f"]);
            guest.say("$0\r\n\r\n$3\r\nnew\r\n");
            guest.expect(&["GET broadcast:f"]);
        },
        |guest| {
            guest.greet();
            guest.expect(&["GET broadcast:f"]);
        },
    ]);
    let mut publisher = fake.publisher();
    assert_eq!(send(&mut publisher, "one"), Ok(1));
    let fetched = publisher.to("f").broadcast().users(["u"]).fetch();
    assert_eq!(fetched, Ok(Some(b"new".to_vec())));
    let closed = Err(Error::Unanswered("the connection was closed".to_owned()));
    assert_eq!(publisher.to("f").broadcast().fetch(), closed);
    fake.finish();
}

#[test]
fn an_error_names_the_first_channel_and_the_connection_stays() {
    let fake = Fake::playing(vec![|guest| {
        guest.greet();
        guest.expect(&["PUBLISH user:a:f m", "PUBLISH user:b:f m", "PUBLISH user:c:f m"]);
        guest.say(":1\r\n-NOPERM b\r\n-NOPERM c\r\n");
        guest.expect(&["PUBLISH broadcast:f m", "SET broadcast:f m EX 7"]);
        guest.say(":1\r\n-OOM full\r\n");
        guest.expect(&["GET session:s:f", "GET user:a:f"]);
        guest.say("-WRONGTYPE no text\r\n$1\r\nx\r\n");
        guest.expect(&["GET broadcast:f"]);
        guest.say("*0\r\n");
        guest.publish("on", 1);
        guest.expect_end();
    }]);
    let refused = |channel: &str, reason: &str| Error::Refused {
        channel: channel.to_owned(),
        reason: reason.to_owned(),
    };
    let mut publisher = fake.publisher();
    let users = publisher.to("f").users(["a", "b", "c"]).publish("m", Expire::Unstored);
    assert_eq!(users, Err(refused("user:b:f", "NOPERM b")));
    let stored = publisher.to("f").broadcast().publish("m", Expire::Seconds(7));
    assert_eq!(stored, Err(refused("broadcast:f", "OOM full")));
    let fetched = publisher.to("f").users(["a"]).sessions(["s"]).fetch();
    assert_eq!(fetched, Err(refused("session:s:f", "WRONGTYPE no text")));
    let fetched = publisher.to("f").broadcast().fetch();
    assert_eq!(fetched, Err(refused("broadcast:f", "the answer is none to this command")));
    assert_eq!(send(&mut publisher, "on"), Ok(1));
    drop(publisher);
    fake.finish();
}

#[test]
fn servers_from_before_hello_are_logged_in_to() {
    let fake = Fake::playing(vec![
        |guest| {
            guest.expect(&["HELLO 3 AUTH default p"]);
            guest.say("-ERR unknown command `HELLO`, with args beginning with: `3`\r\n");
            guest.expect(&["AUTH p"]);
            guest.say("+OK\r\n");
            guest.expect(&["SELECT 4"]);
            guest.say("+OK\r\n");
            guest.publish("one", 1);
        },
        |guest| {
            guest.expect(&["HELLO 3 AUTH u p"]);
            guest.say("-NOPROTO unsupported protocol version\r\n");
            guest.expect(&["AUTH u p"]);
            guest.say("-WRONGPASS who are you\r\n");
            guest.expect_end();
        },
        |guest| {
            guest.expect(&["HELLO 3"]);
            guest.say("-DENIED protected mode\r\n");
            guest.expect_end();
        },
        |guest| {
            guest.greet();
            guest.expect(&["SELECT 99"]);
            guest.say("-ERR DB index is out of range\r\n");
            guest.expect_end();
        },
    ]);
    let address = fake.url.trim_start_matches("redis://").to_owned();
    let at = |userinfo: &str, db: &str| {
        let url = format!("redis://{userinfo}{address}{db}");
        let mut publisher = Publisher::new(&url).expect("a URL").timeout(PATIENCE);
        send(&mut publisher, "one")
    };
    let login =
        |reason: &str| Err(Error::Login { address: address.clone(), reason: reason.to_owned() });
    assert_eq!(at(":p@", "/4"), Ok(1));
    assert_eq!(at("u:p@", ""), login("WRONGPASS who are you"));
    assert_eq!(at("", ""), login("DENIED protected mode"));
    assert_eq!(at("", "/99"), login("ERR DB index is out of range"));
    fake.finish();
}

#[test]
fn nobody_there_is_said_in_time() {
    let refusing = format!("redis://127.0.0.1:{}", free_port());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = format!("redis://{}", silent.local_addr().expect("an address"));
    let missing = "unix:///nowhere/redis.sock".to_owned();
    let unknown = "redis://no-such-host.invalid".to_owned();
    for url in [refusing, silent, missing, unknown] {
        let began = Instant::now();
        let mut publisher = Publisher::new(&url).expect("a URL").timeout(SHORT);
        let published = send(&mut publisher, "one");
        assert!(matches!(published, Err(Error::Unreachable { .. })), "{url}: {published:?}");
        assert!(began.elapsed() < PATIENCE, "{url}: {:?}", began.elapsed());
    }
}

#[test]
fn a_server_that_drips_is_not_waited_for() {
    let fake = Fake::playing(vec![|guest| {
        guest.expect(&["HELLO 3"]);
        let stream = guest.0.get_mut();
        let drips = (0..1000).take_while(|_| {
            thread::sleep(Duration::from_millis(20));
            stream.write_all(b"+").is_ok() && stream.flush().is_ok()
        });
        assert!(drips.count() < 1000, "the publisher waits as long as something comes");
    }]);
    let mut publisher = fake.publisher().timeout(SHORT);
    let published = send(&mut publisher, "one");
    assert!(matches!(published, Err(Error::Unreachable { .. })), "{published:?}");
    fake.finish();
}

#[test]
fn names_that_could_be_taken_for_others_are_refused() {
    // Nobody listens there: whatever is sent fails otherwise.
    let new = |prefix: &str| {
        let url = format!("redis://127.0.0.1:{}", free_port());
        Publisher::new(&url).expect("a URL").prefix(prefix).timeout(SHORT)
    };
    let name = |audience, name: &str| Error::Name { audience, name: name.to_owned() };
    let facility = |facility: &str| Error::Facility(facility.to_owned());
    let long = "f".repeat(513);

    let mut publisher = new("");
    let mut to = |facility: &str, users: &[&str], groups: &[&str], sessions: &[&str]| {
        let to = publisher.to(facility).users(users.iter().copied());
        let to = to.groups(groups.iter().copied()).sessions(sessions.iter().copied());
        to.fetch().expect_err("it is refused")
    };
    assert_eq!(to("f", &["a", "a:b"], &[], &[]), name(Audience::User, "a:b"));
    assert_eq!(to("f", &[], &[":"], &[]), name(Audience::Group, ":"));
    assert_eq!(to("f", &["a"], &[], &[""]), name(Audience::Session, ""));
    assert_eq!(to("a:b", &["a"], &[], &[]), facility("a:b"));
    assert_eq!(to(&long, &["a"], &[], &[]), facility(&long));
    assert_eq!(to("f", &[], &[], &[]), Error::NoAudience);

    let both = publisher.to("a:b").broadcast().groups(["g"]).publish("m", Expire::Default);
    assert_eq!(both, Err(facility("a:b")));
    let alone = publisher.to("a:b").broadcast().publish("m", Expire::Default);
    assert!(matches!(alone, Err(Error::Unreachable { .. })), "{alone:?}");
    let ages = publisher.to("f").broadcast().publish("m", Expire::Seconds(u64::MAX));
    assert_eq!(ages, Err(Error::Expire(u64::MAX)));

    let wrong = ["site:", ":", "user", "a:broadcast:b", "a:session", "group:a", "wsloop:history:x"];
    for prefix in wrong {
        let refused = new(prefix).to("f").broadcast().fetch();
        assert_eq!(refused, Err(Error::Prefix(prefix.to_owned())));
        let refused = new(prefix).disconnect(Audience::User, "john", 4403, "");
        assert_eq!(refused, Err(Error::Prefix(prefix.to_owned())));
    }
    for prefix in ["", "a", "a:b", "users", "a:", "User"] {
        let fetched = new(prefix).to("f").broadcast().fetch();
        let good = prefix != "a:";
        assert_eq!(
            matches!(fetched, Err(Error::Unreachable { .. })),
            good,
            "{prefix}: {fetched:?}"
        );
    }
    let url = Publisher::new("rediss://:hush@h:x").expect_err("no port").to_string();
    assert!(url.contains("port") && !url.contains("hush"), "{url}");
    let password = format!("{:?}", Publisher::new("redis://:hush@h").expect("a URL"));
    assert!(!password.contains("hush"), "{password}");
}

#[test]
fn a_disconnect_is_a_message_to_every_process() {
    let fake = Fake::playing(vec![|guest| {
        guest.greet();
        let message = r#"{"code":4403,"disconnect":{"user":"a\"b:c"},"reason":"Grüße\n"}"#;
        guest.expect(&[&format!("PUBLISH p:q:wsloop:control {message}")]);
        guest.say(":2\r\n");
        guest.expect_end();
    }]);
    let mut publisher = fake.publisher().prefix("p:q");
    assert_eq!(publisher.disconnect(Audience::User, "a\"b:c", 4403, "Grüße\n"), Ok(2));
    for (code, reason) in [(1005, ""), (999, ""), (5000, ""), (4403, &*"r".repeat(124))] {
        let refused = publisher.disconnect(Audience::Group, "g", code, reason);
        assert_eq!(refused, Err(Error::Close { code, reason: reason.to_owned() }));
    }
    for (audience, name) in [(Audience::Broadcast, "x"), (Audience::Session, "")] {
        let refused = publisher.disconnect(audience, name, 4403, "");
        assert_eq!(refused, Err(Error::Name { audience, name: name.to_owned() }));
    }
    drop(publisher);
    fake.finish();
}

/// What the Python package takes and refuses, too.
#[test]
fn the_rules_are_those_of_python() {
    let rules = include_str!("../../clients/python/tests/rules.json");
    let rules: serde_json::Value = serde_json::from_str(rules).expect("JSON");
    let numbers = |path: &str| -> Vec<u64> {
        let numbers = rules.pointer(path).and_then(serde_json::Value::as_array).expect("a list");
        numbers.iter().filter_map(serde_json::Value::as_u64).collect()
    };
    // Nobody listens there: what is taken fails otherwise.
    let url = format!("redis://127.0.0.1:{}", free_port());
    let mut publisher = Publisher::new(&url).expect("a URL").timeout(SHORT);
    for (path, is_taken) in [("/codes/taken", true), ("/codes/refused", false)] {
        // More does not fit into the argument.
        for code in numbers(path).into_iter().filter_map(|code| u16::try_from(code).ok()) {
            let done = publisher.disconnect(Audience::User, "john", code, "");
            assert_eq!(!matches!(done, Err(Error::Close { .. })), is_taken, "{code}");
        }
    }
    let paths = [("/bytes of a reason/taken", true), ("/bytes of a reason/refused", false)];
    for (path, is_taken) in paths {
        for bytes in numbers(path) {
            let reason = "r".repeat(bytes.try_into().expect("a small number"));
            let done = publisher.disconnect(Audience::User, "john", 4403, &reason);
            assert_eq!(!matches!(done, Err(Error::Close { .. })), is_taken, "{bytes}");
        }
    }
    for (path, is_taken) in [("/expire/taken", true), ("/expire/refused", false)] {
        for seconds in numbers(path) {
            let to = publisher.to("f").broadcast();
            let done = to.publish("hello", Expire::Seconds(seconds));
            assert_eq!(!matches!(done, Err(Error::Expire(_))), is_taken, "{seconds}");
        }
    }
}
