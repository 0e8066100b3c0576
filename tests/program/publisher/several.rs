//! The publisher and several Redis.

use super::*;

use std::process::Command;

const USERS: usize = 30;
/// Some at each of three.
const FACILITIES: [&str; 8] = ["chat", "news", "game", "board", "orders", "staff", "lobby", "desk"];

/// Three of them, and their URLs.
fn three() -> (Vec<RedisServer>, Vec<String>) {
    let all: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
    let urls = all.iter().map(RedisServer::url).collect();
    (all, urls)
}

fn over(urls: &[String]) -> Publisher {
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    Publisher::over(&urls).expect("URLs").timeout(PATIENCE)
}

fn users() -> impl Iterator<Item = String> {
    (0..USERS).map(|number| format!("user{number}"))
}

/// The names that are there, in their order.
fn names(redis: &RedisServer) -> Vec<String> {
    let Value::Array(names) = redis.connect().command(&["KEYS", "*"]) else { panic!("no names") };
    let mut names: Vec<String> = names
        .into_iter()
        .map(|name| match name {
            Value::Bulk(name) => String::from_utf8(name).expect("a text"),
            other => panic!("{other:?}"),
        })
        .collect();
    names.sort();
    names
}

#[test]
#[ignore = "needs redis-server"]
fn each_message_goes_where_its_channel_is_and_the_server_hears_it() {
    let (all, urls) = three();
    // It hears whom to disconnect where it can tell people apart.
    let mut args = vec!["--session-key", "session:{}"];
    args.extend(urls.iter().flat_map(|url| ["--redis", url]));
    let server = Wsloop::start(&args);
    let mut sockets =
        FACILITIES.map(|to| (to, server.connect(&format!("{to}?subscribe-broadcast"))));
    let mut publisher = over(&urls);
    for (facility, socket) in &mut sockets {
        let text = format!("for {facility}");
        let published = publisher.to(*facility).broadcast().publish(&text, Expire::Default);
        assert_eq!(published, Ok(Published { channels: 1, receivers: 1 }));
        socket.expect(&[text.as_str()]);
        let stored = publisher.to(*facility).broadcast().fetch();
        assert_eq!(stored, Ok(Some(text.into_bytes())));
    }
    let there: Vec<usize> = all.iter().map(|redis| names(redis).len()).collect();
    assert!(there.iter().sum::<usize>() == 8 && there.iter().all(|n| *n > 0), "{there:?}");

    // The command does the same.
    let program = |command: &str, args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        program.arg(command).args(args).env("WSLOOP_REDIS", urls.join(" "));
        let output = program.output().expect("the program");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("UTF-8"))
    };
    for (facility, socket) in &mut sockets {
        let (code, said) = program("publish", &[facility, "by command", "--broadcast"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.ends_with("heard by 1 subscriber\n"), "{said}");
        socket.expect(&["by command"]);
        let (code, said) = program("fetch", &[facility, "--broadcast"]);
        assert_eq!((code, said.trim()), (Some(0), "by command"));
    }
    assert_eq!(publisher.disconnect(Audience::User, "john", 4403, ""), Ok(1));
}

#[test]
#[ignore = "needs redis-server"]
fn one_that_is_gone_keeps_nothing_from_the_others() {
    let (mut all, urls) = three();
    let mut publisher = over(&urls);
    let to = publisher.to("f").users(users());
    let published = to.publish("before", Expire::Default).expect("all are there");
    assert_eq!(published.channels, USERS);
    let expected: Vec<Vec<String>> = all.iter().map(names).collect();
    assert!(expected.iter().all(|names| names.len() > 2), "{expected:?}");
    all[1].kill();
    let error = publisher.to("f").users(users()).publish("after", Expire::Default);
    assert!(matches!(error, Err(Error::MaybePublished(_))), "{error:?}");
    for at in [0, 2] {
        for name in &expected[at] {
            let stored = all[at].connect().command(&["GET", name]);
            assert_eq!(stored, Value::Bulk(b"after".to_vec()), "{name}");
        }
    }
    // Where nothing was done, it says so.
    let of_gone: Vec<&str> =
        expected[1].iter().map(|name| name.split(':').nth(1).expect("a user")).collect();
    let error = publisher.to("f").users(of_gone).publish("after", Expire::Default);
    assert!(matches!(error, Err(Error::Unreachable { .. })), "{error:?}");
    // The order to close is heard from whichever is there.
    let mut publisher = over(&[urls[1].clone(), urls[0].clone()]);
    assert_eq!(publisher.disconnect(Audience::User, "john", 4403, ""), Ok(0));
}

#[test]
fn several_that_make_no_sense() {
    for (urls, words) in [
        (&[][..], "there is no URL"),
        (&["redis://h", "redis://u:hush@h/1"], "URL 2: h:6379 is URL 1 too"),
        (&["redis://h", "hush"], "URL 2: the URL has no scheme"),
    ] {
        let why = Publisher::over(urls).expect_err("it makes no sense").to_string();
        assert!(why.contains(words) && !why.contains("hush"), "{why}");
    }
}
