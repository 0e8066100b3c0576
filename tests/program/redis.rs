//! The program with a real Redis: what the application publishes reaches the browsers, one
//! connection serves them all, and they stay when Redis goes away and comes back.

use crate::support::client::{Client, Event, frame_bytes};
use crate::support::redis::{RedisServer, Value};
use crate::support::{Wsloop, assert_all_equal, eventually, scenarios};
use wsloop::proto::ws::frame::Opcode;

const HEAR: &str = "subscribe-broadcast";
const BOTH: &str = "subscribe-broadcast&publish-broadcast&echo";

/// A Redis, and a server that relays from and to it and grants everything.
fn relay(args: &[&str]) -> (RedisServer, Wsloop) {
    let redis = RedisServer::start();
    let server = relay_to(&redis.url(), args);
    server.expect_metric("broker_up", |up| up == 1);
    (redis, server)
}

fn relay_to(url: &str, args: &[&str]) -> Wsloop {
    Wsloop::start(&[&["--redis", url, "--allow", "all"], args].concat())
}

/// A handshake is refused with 503 and the time after which to come again.
#[track_caller]
fn expect_unavailable(server: &Wsloop, path: &str) {
    let response = server.try_connect(path).expect_err("a 503");
    assert_eq!(response.status, 503);
    assert!(response.header("retry-after").is_some(), "{response:?}");
    assert!(response.body.contains("broker"), "{response:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn redis_does_what_a_broker_is_to_do() {
    let redis = RedisServer::start();
    let url = redis.url();
    scenarios::play_all(&Wsloop::start(&[&scenarios::ARGS[..], &["--redis", &url]].concat()));
}

#[test]
#[ignore = "needs redis-server"]
fn what_the_application_publishes_reaches_the_browsers() {
    let (redis, server) = relay(&[]);
    let mut app = redis.connect();
    let mut browsers: Vec<Client> =
        (0..3).map(|_| server.connect(&format!("room?{HEAR}"))).collect();
    let mut elsewhere = server.connect(&format!("elsewhere?{HEAR}"));
    assert_eq!(app.publish("broadcast:room", "one"), 1, "wsloop hears it once for all browsers");
    let channel = b"broadcast:room".as_slice();
    app.pipeline(&[
        vec![b"PUBLISH", channel, b"two"],
        vec![b"SET", channel, b"two", b"EX", b"60"],
        vec![b"PUBLISH", channel, b""],
        vec![b"PUBLISH", channel, "Grüße".as_bytes()],
        vec![b"PUBLISH", channel, &[0x00, 0x12, 0xaa]],
    ]);
    for browser in &mut browsers {
        browser.expect(&["one", "two", "Grüße"]);
        assert_eq!(browser.message(), Event::Binary(vec![0x00, 0x12, 0xaa]));
    }
    let mut late = server.connect(&format!("room?{HEAR}"));
    late.expect(&["two"]);
    assert_eq!(app.publish("broadcast:elsewhere", "here"), 1);
    elsewhere.expect(&["here"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_pipelined_burst_arrives_whole_and_in_order() {
    let (redis, server) = relay(&[]);
    let mut app = redis.connect();
    let mut browser = server.connect(&format!("room?{HEAR}"));
    for round in 0..50 {
        let texts: Vec<String> = (0..16).map(|n| format!("{round}, {n}")).collect();
        let publish = |text| vec![&b"PUBLISH"[..], b"broadcast:room", str::as_bytes(text)];
        let commands: Vec<_> = texts.iter().map(|text| publish(text)).collect();
        app.pipeline(&commands);
        let got: Vec<String> = (0..16).map(|_| browser.text()).collect();
        assert_all_equal(&got, &texts);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_stored_message_comes_before_what_is_published_later() {
    let (redis, server) = relay(&[]);
    let mut app = redis.connect();
    app.ok(&["SETEX", "broadcast:room", "60", "stored"]);
    let mut browser = server.connect(&format!("room?{HEAR}"));
    app.publish("broadcast:room", "live");
    browser.expect(&["stored", "live"]);
    app.ok(&["SETEX", "broadcast:expired", "1", "soon gone"]);
    eventually("it expires", || {
        (app.command(&["GET", "broadcast:expired"]) == Value::Nil).then_some(())
    });
    let mut browser = server.connect(&format!("expired?{HEAR}"));
    app.publish("broadcast:expired", "first");
    browser.expect(&["first"]);
    app.command(&["LPUSH", "broadcast:list", "not a string"]);
    let mut browser = server.connect(&format!("list?{HEAR}"));
    app.publish("broadcast:list", "all the same");
    browser.expect(&["all the same"]);
}

#[test]
#[ignore = "needs redis-server"]
fn what_a_browser_publishes_is_stored_for_as_long_as_asked_under_its_name() {
    let (redis, server) = relay(&["--expire", "77", "--prefix", "site"]);
    let mut app = redis.connect();
    let mut browser = server.connect(&format!("some/Room?{BOTH}"));
    browser.send_binary(&[0x00, 0x12, 0xaa]);
    assert_eq!(browser.message(), Event::Binary(vec![0x00, 0x12, 0xaa]));
    let name = "site:broadcast:some/Room";
    let stored = eventually("it is stored", || match app.command(&["GET", name]) {
        Value::Bulk(stored) => Some(stored),
        _ => None,
    });
    assert_eq!(stored, [0x00, 0x12, 0xaa]);
    app.expect_ttl(name, 77);
    assert_eq!(app.channels(), [name]);
}

#[test]
#[ignore = "needs redis-server"]
fn what_was_said_before_a_close_is_stored_when_the_close_is_answered() {
    let (redis, server) = relay(&[]);
    let mut app = redis.connect();
    for round in 0..200 {
        let mut browser = server.connect("room?publish-broadcast");
        let text = format!("round {round}");
        let mut bytes = frame_bytes(true, Opcode::Text, text.as_bytes());
        bytes.extend(frame_bytes(true, Opcode::Close, &1000u16.to_be_bytes()));
        browser.raw(&bytes);
        assert_eq!(browser.next(), Event::Close(Some(1000), String::new()));
        assert_eq!(app.command(&["GET", "broadcast:room"]), Value::Bulk(text.into_bytes()));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn without_an_expiry_nothing_is_stored() {
    let (redis, server) = relay(&["--expire", "0"]);
    let mut browser = server.connect(&format!("room?{BOTH}"));
    browser.send("volatile");
    browser.send("as well");
    browser.expect(&["volatile", "as well"]);
    assert_eq!(redis.connect().command(&["EXISTS", "broadcast:room"]), Value::Integer(0));
}

#[test]
#[ignore = "needs redis-server"]
fn stored_messages_are_in_the_database_that_was_named() {
    let redis = RedisServer::start();
    let server = relay_to(&format!("{}?db=3", redis.url()), &[]);
    let mut app = redis.connect();
    app.ok(&["SETEX", "broadcast:room", "60", "in database 0"]);
    app.ok(&["SELECT", "3"]);
    app.ok(&["SETEX", "broadcast:room", "60", "in database 3"]);
    let mut browser = server.connect(&format!("room?{BOTH}"));
    browser.expect(&["in database 3"]);
    browser.send("from a browser");
    browser.expect(&["from a browser"]);
    eventually("it is stored", || {
        let stored = app.command(&["GET", "broadcast:room"]);
        (stored == Value::Bulk(b"from a browser".to_vec())).then_some(())
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_host_name_is_looked_up_and_a_database_named_behind_the_port() {
    let (redis, port) = RedisServer::start_on_tcp();
    let mut app = redis.connect();
    app.ok(&["SELECT", "3"]);
    app.ok(&["SETEX", "broadcast:room", "60", "stored"]);
    for host in ["localhost", "127.0.0.1"] {
        let server = relay_to(&format!("redis://{host}:{port}/3"), &[]);
        let mut browser = server.connect(&format!("room?{HEAR}"));
        browser.expect(&["stored"]);
        app.publish("broadcast:room", "live");
        browser.expect(&["live"]);
    }
    let nowhere = relay_to(&format!("redis://no-such-host.invalid:{port}"), &[]);
    expect_unavailable(&nowhere, &format!("room?{HEAR}"));
    nowhere.expect_log(&["WARN", "no-such-host.invalid", "cannot be used"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_password_is_given_and_a_wrong_one_is_said() {
    let (redis, port) = RedisServer::start_on_tcp();
    redis.connect().ok(&["CONFIG", "SET", "requirepass", "open sesame"]);
    let server = relay_to(&format!("redis://:open%20sesame@127.0.0.1:{port}"), &[]);
    let mut browser = server.connect(&format!("room?{BOTH}"));
    browser.send("I am in");
    browser.expect(&["I am in"]);
    let cases = [(":wrong@", "WRONGPASS"), ("", "NOAUTH"), ("nobody:open%20sesame@", "WRONGPASS")];
    for (who, words) in cases {
        let server = relay_to(&format!("redis://{who}127.0.0.1:{port}"), &[]);
        expect_unavailable(&server, &format!("room?{HEAR}"));
        server.expect_log(&["WARN", words, "password"]);
        assert!(!server.log().contains("sesame"), "{}", server.log());
        // What needs nothing of Redis is not refused.
        server.connect("room").close();
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_user_that_may_not_hear_a_channel_is_told_so() {
    let redis = RedisServer::start();
    let rules = ["on", ">secret", "~*", "resetchannels", "&broadcast:open*", "+@all"];
    redis.connect().ok(&[&["ACL", "SETUSER", "relay"], &rules[..]].concat());
    let url = redis.url().replace("//", "//relay:secret@");
    let server = relay_to(&url, &[]);
    let mut browser = server.connect(&format!("open?{BOTH}"));
    expect_unavailable(&server, &format!("closed?{HEAR}"));
    server.expect_log(&["ERROR", "broadcast:closed", "NOPERM", "ACL SETUSER"]);
    // A batch with both of them is what a reconnect asks for.
    let mut app = redis.connect();
    let mut second = server.connect(&format!("open/2?{BOTH}"));
    app.command(&["CLIENT", "KILL", "USER", "relay"]);
    server.expect_metric("broker_lost_total", |n| n == 1);
    server.expect_metric("broker_up", |up| up == 1);
    for browser in [&mut browser, &mut second] {
        browser.send("still open");
        browser.expect(&["still open"]);
    }
    // A right that is taken away while a browser counts on it.
    app.ok(&["ACL", "SETUSER", "relay", "resetchannels", "&broadcast:open"]);
    second.expect_close(1011, "");
    browser.send("again");
    browser.expect(&["again"]);
    // What may not be published is counted, and the link stays.
    let mut mute = server.connect("closed?publish-broadcast");
    let before = server.metric("broker_errors_total");
    mute.send("nobody hears this");
    server.expect_metric("broker_errors_total", |n| n > before);
    server.expect_log(&["ERROR", "Redis refused a", "NOPERM"]);
    browser.send("once more");
    browser.expect(&["once more"]);
}

#[test]
#[ignore = "needs redis-server"]
fn one_connection_serves_all_browsers_and_channels_come_and_go_with_them() {
    let (redis, server) = relay(&["--prefix", "site"]);
    let mut app = redis.connect();
    assert_eq!(app.channels(), [""; 0]);
    let path = |n: usize| format!("room{n}?{BOTH}");
    let mut browsers: Vec<(usize, Client)> =
        (0..20).map(|n| (n % 3, server.connect(&path(n % 3)))).collect();
    let names = ["site:broadcast:room0", "site:broadcast:room1", "site:broadcast:room2"];
    assert_eq!(app.channels(), names, "each is subscribed when its first 101 has come");
    let mut clients = app.client_names();
    clients.sort();
    assert_eq!(clients, ["", "wsloop"]);
    for (_, browser) in &mut browsers {
        browser.send("hello");
    }
    // Room 2 empties, partly without a goodbye; in room 1 one stays.
    let (mut gone, mut kept) = browsers.into_iter().partition::<Vec<_>, _>(|(n, _)| *n == 2);
    let (_, mut polite) = gone.pop().expect("a browser in room 2");
    polite.frame(true, Opcode::Close, &[]);
    while polite.next() != Event::End {}
    drop(gone);
    let last = kept.iter().position(|(n, _)| *n == 1).expect("a browser in room 1");
    let last = kept.remove(last);
    kept.retain(|(n, _)| *n == 0);
    eventually("room 2 is given up", || (app.channels() == names[..2]).then_some(()));
    drop(kept);
    eventually("room 0 is given up", || (app.channels() == [names[1]]).then_some(()));
    drop(last);
    eventually("nothing is listened to", || app.channels().is_empty().then_some(()));
    let mut again = server.connect(&path(2));
    assert_eq!(app.channels(), [names[2]]);
    again.expect(&["hello"]);
}

#[test]
#[ignore = "needs redis-server"]
fn browsers_stay_when_redis_is_killed_and_hear_what_they_missed() {
    let (mut redis, server) = relay(&[]);
    let mut john = server.connect(&format!("room?{BOTH}"));
    let mut mary = server.connect(&format!("room?{HEAR}"));
    let mut other = server.connect(&format!("other?{HEAR}"));
    john.send("before");
    john.expect(&["before"]);
    mary.expect(&["before"]);
    redis.connect().publish("broadcast:other", "known");
    other.expect(&["known"]);

    redis.kill();
    server.expect_log(&["WARN", "is lost", "browsers stay"]);
    expect_unavailable(&server, &format!("room?{HEAR}"));
    server.expect_metric("broker_up", |up| up == 0);
    john.send("into the void");
    john.send("and this");
    for browser in [&mut john, &mut mary, &mut other] {
        assert_eq!(browser.arrived(), [], "nobody is closed and nothing is made up");
    }
    server.expect_metric("publishes_dropped_total", |n| n == 2);
    server.expect_log(&["WARN", "messages from browsers are dropped", "Redis cannot be reached"]);
    let said = server.log().matches("messages from browsers are dropped").count();
    assert_eq!(said, 1, "{}", server.log());
    server.connect("room").close();

    redis.revive(|app| {
        app.ok(&["SETEX", "broadcast:room", "60", "missed"]);
        app.ok(&["SETEX", "broadcast:other", "60", "known"]);
    });
    mary.expect(&["missed"]);
    john.expect(&["missed"]);
    let mut app = redis.connect();
    assert_eq!(app.publish("broadcast:other", "new"), 1);
    other.expect(&["new"]);
    john.send("after");
    john.expect(&["after"]);
    mary.expect(&["after"]);
    server.expect_metric("broker_up", |up| up == 1);
    // Who comes now has missed nothing that is not stored.
    server.connect(&format!("room?{HEAR}")).expect(&["after"]);
    let names = app.client_names();
    assert_eq!(names.iter().filter(|name| *name == "wsloop").count(), 1, "{names:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn a_link_that_is_cut_is_made_again_at_once() {
    let (redis, server) = relay(&[]);
    let mut app = redis.connect();
    let mut browsers: Vec<Client> =
        (0..50).map(|n| server.connect(&format!("room{n}?{BOTH}"))).collect();
    for round in 1..=3 {
        assert_eq!(app.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), Value::Integer(1));
        eventually("all channels are back", || (app.channels().len() == 50).then_some(()));
        for browser in &mut browsers {
            browser.send(&format!("round {round}"));
            browser.expect(&[&format!("round {round}")]);
        }
        server.expect_metric("broker_lost_total", |n| n == round);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_does_not_answer_is_given_up_and_taken_back() {
    let redis = RedisServer::start();
    let server = relay_to(&redis.url(), &["--redis-timeout", "0.5"]);
    let mut browser = server.connect(&format!("room?{BOTH}"));
    redis.process().signal("STOP");
    server.expect_log(&["WARN", "is lost", "did not answer in time"]);
    expect_unavailable(&server, &format!("room?{HEAR}"));
    assert_eq!(browser.arrived(), []);
    redis.process().signal("CONT");
    server.expect_metric("broker_up", |up| up == 1);
    browser.send("awake");
    browser.expect(&["awake"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_does_not_read_keeps_nobody_waiting() {
    let redis = RedisServer::start();
    let server = relay_to(&redis.url(), &["--redis-timeout", "1"]);
    let mut speaker = server.connect("room?publish-broadcast");
    let mut browser = server.connect(&format!("other?{BOTH}"));
    redis.process().signal("STOP");
    // More than the kernel takes for Redis.
    for _ in 0..4 {
        speaker.send(&"x".repeat(1 << 20));
    }
    assert_eq!(speaker.arrived(), []);
    assert_eq!(browser.arrived(), []);
    server.expect_log(&["WARN", "is lost", "did not answer in time"]);
    redis.process().signal("CONT");
    server.expect_metric("broker_up", |up| up == 1);
    browser.send("awake");
    browser.expect(&["awake"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_is_not_there_yet_is_waited_for() {
    let mut redis = RedisServer::absent();
    let server = relay_to(&redis.url(), &[]);
    server.expect_log(&["WARN", "cannot be used", "redis.sock"]);
    expect_unavailable(&server, &format!("room?{HEAR}"));
    let mut early = server.connect("room");
    redis.revive(|app| app.ok(&["SETEX", "broadcast:room", "60", "welcome"]));
    let path = format!("room?{HEAR}");
    let mut browser = eventually("Redis is found", || server.try_connect(&path).ok());
    browser.expect(&["welcome"]);
    server.expect_log(&["INFO", "Redis is up"]);
    assert_eq!(early.arrived(), []);
    let said = server.log().matches("cannot be used").count();
    assert_eq!(said, 1, "{}", server.log());
}

#[test]
#[ignore = "needs redis-server"]
fn a_message_that_is_too_large_is_skipped_and_the_link_stays() {
    let (redis, server) = relay(&["--max-message-size", "1000"]);
    let mut app = redis.connect();
    let mut browser = server.connect(&format!("room?{HEAR}"));
    let large = "x".repeat(3 << 20);
    let full = "y".repeat(1000);
    for text in ["before", &large, &full, "after"] {
        assert_eq!(app.publish("broadcast:room", text), 1);
    }
    browser.expect(&["before", &full, "after"]);
    server.expect_metric("deliveries_skipped_total", |n| n == 1);
    server.expect_log(&["WARN", "facility \"room\"", "skipped", "--max-message-size"]);
    app.ok(&["SETEX", "broadcast:stored", "60", &large]);
    let mut late = server.connect(&format!("stored?{HEAR}"));
    app.publish("broadcast:stored", "live");
    late.expect(&["live"]);
    server.expect_metric("stored_unreadable_total", |n| n == 1);
    server.expect_metric("broker_lost_total", |n| n == 0);
}

#[test]
#[ignore = "needs redis-server"]
fn a_slow_browser_keeps_neither_redis_nor_others_waiting() {
    let limits = ["--max-message-size", "64KiB", "--outbox-limit", "128KiB"];
    let (redis, server) = relay(&limits);
    let mut app = redis.connect();
    let slow = server.connect(&format!("room?{HEAR}"));
    let mut fast = server.connect(&format!("room?{HEAR}"));
    let text = "z".repeat(60_000);
    let mut sent = 0;
    while server.metric("slow_total") == 0 {
        for _ in 0..20 {
            app.publish("broadcast:room", &text);
            assert!(fast.text() == text);
            sent += 1;
        }
        assert!(sent < 2000, "the slow browser takes more than 100 MB");
    }
    server.expect_log(&["WARN", "too slowly", "--outbox-limit"]);
    app.publish("broadcast:room", "and on");
    fast.expect(&["and on"]);
    server.expect_metric("broker_lost_total", |n| n == 0);
    drop(slow);
}

#[test]
#[ignore = "needs redis-server"]
fn a_shutdown_says_goodbye_and_leaves_nothing_behind_in_redis() {
    let (redis, mut server) = relay(&[]);
    let mut browser = server.connect(&format!("room?{BOTH}"));
    browser.send("last words");
    server.process().signal("TERM");
    let mut events = vec![browser.next()];
    if events[0] == Event::Text("last words".to_owned()) {
        events[0] = browser.next();
    }
    assert!(matches!(&events[0], Event::Close(Some(1001), _)), "{events:?}");
    drop(browser);
    assert!(server.wait().success());
    let mut app = redis.connect();
    assert_eq!(app.command(&["GET", "broadcast:room"]), Value::Bulk(b"last words".to_vec()));
    eventually("its connection is gone", || (app.client_names() == [""]).then_some(()));
}
