//! The publisher and a real Redis.

use super::*;

fn bulk(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_published_is_heard_and_stored_for_everybody_named() {
    let redis = RedisServer::start();
    let url = redis.url();
    let server = Wsloop::start(&["--redis", &url, "--prefix", "site"]);
    let mut browser = server.connect("chat?subscribe-broadcast");
    let mut app = redis.connect();
    let mut publisher = Publisher::new(&url).expect("a URL").prefix("site");

    let to = publisher.to("chat").broadcast().users(["john", "mary", "john"]);
    let to = to.groups(["staff"]).sessions([String::from("k")]);
    let published = to.publish("Grüße", Expire::Default);
    assert_eq!(published, Ok(Published { channels: 5, receivers: 1 }));
    browser.expect(&["Grüße"]);
    let channels = [
        "site:broadcast:chat",
        "site:user:john:chat",
        "site:user:mary:chat",
        "site:group:staff:chat",
        "site:session:k:chat",
    ];
    for channel in channels {
        assert_eq!(app.command(&["GET", channel]), bulk("Grüße"), "{channel}");
        app.expect_ttl(channel, 3600);
    }
    assert_eq!(app.command(&["DBSIZE"]), Value::Integer(5));

    let binary = [0, 0x12, 0xaa];
    let published = publisher.to("chat").broadcast().publish(binary, Expire::Seconds(60));
    assert_eq!(published, Ok(Published { channels: 1, receivers: 1 }));
    app.expect_ttl(channels[0], 60);
    for expire in [Expire::Unstored, Expire::Seconds(0)] {
        let published = publisher.to("chat").broadcast().publish("gone", expire);
        assert_eq!(published, Ok(Published { channels: 1, receivers: 1 }));
    }
    assert_eq!(publisher.to("chat").broadcast().fetch(), Ok(Some(binary.to_vec())));
    assert_eq!(publisher.to("other").broadcast().users(["john"]).fetch(), Ok(None));
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_fetched_is_the_sessions_then_the_users_then_the_groups_then_everybodys() {
    let redis = RedisServer::start();
    let mut publisher = Publisher::new(&redis.url()).expect("a URL");
    let mut app = redis.connect();
    let channels = ["broadcast:f", "group:h:f", "group:g:f", "user:v:f", "user:u:f", "session:s:f"];
    // More than are asked for at once, and nothing stored for most of them.
    let groups: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let mut fetch = || {
        let groups = ["g", "h"].into_iter().chain(groups.iter().map(String::as_str));
        let to = publisher.to("f").broadcast().groups(groups).users(["u", "v"]).sessions(["s"]);
        to.fetch().expect("an answer")
    };
    for channel in channels {
        let before = fetch();
        app.ok(&["SET", channel, ""]);
        assert_eq!(fetch(), before, "an empty {channel} is none");
        app.ok(&["SET", channel, channel]);
        assert_eq!(fetch(), Some(channel.as_bytes().to_vec()));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_large_message_to_many_arrives_everywhere() {
    let redis = RedisServer::start();
    let mut publisher = Publisher::new(&redis.url()).expect("a URL").timeout(PATIENCE);
    let mut app = redis.connect();
    for (size, users) in [(1 << 20, 20), (1000, 1000), (0, 1000)] {
        app.ok(&["FLUSHALL"]);
        let message = vec![b'm'; size];
        let names = (0..users).map(|n| format!("user {n}"));
        let published = publisher.to("f").users(names).publish(&message, Expire::Default);
        assert_eq!(published, Ok(Published { channels: users, receivers: 0 }));
        assert_eq!(app.command(&["DBSIZE"]), Value::Integer(users as i64));
        let last = format!("user:user {}:f", users - 1);
        assert_eq!(app.command(&["STRLEN", &last]), Value::Integer(size as i64));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_comes_back_is_found_again() {
    let mut redis = RedisServer::start();
    let mut publisher = Publisher::new(&redis.url()).expect("a URL");
    assert_eq!(send(&mut publisher, "one"), Ok(0));
    redis.kill();
    let gone = send(&mut publisher, "two");
    assert!(matches!(gone, Err(Error::Unreachable { .. })), "{gone:?}");
    redis.revive(|_| {});
    assert_eq!(send(&mut publisher, "three"), Ok(0));
    redis.kill();
    redis.revive(|_| {});
    assert_eq!(send(&mut publisher, "four"), Ok(0));
}

#[test]
#[ignore = "needs redis-server"]
fn urls_say_where_who_and_which_database() {
    let (redis, port) = RedisServer::start_on_tcp();
    let mut app = redis.connect();
    app.ok(&["ACL", "SETUSER", "john", "on", ">p@:/", "+@all", "~*", "&*"]);
    app.ok(&["CONFIG", "SET", "requirepass", "secret"]);
    let fetch = |url: &str| {
        let mut publisher = Publisher::new(url).expect("a URL");
        publisher.to("f").broadcast().publish(url, Expire::Default)?;
        publisher.to("f").broadcast().fetch()
    };
    let good = [
        format!("redis://:secret@127.0.0.1:{port}/3"),
        format!("redis://john:p%40%3A%2F@localhost:{port}"),
        format!("redis+unix://:secret@{}?db=5", redis.socket().display()),
    ];
    for url in &good {
        assert_eq!(fetch(url), Ok(Some(url.as_bytes().to_vec())));
    }
    app.ok(&["AUTH", "secret"]);
    for (db, url) in [("3", &good[0]), ("0", &good[1]), ("5", &good[2])] {
        app.ok(&["SELECT", db]);
        assert_eq!(app.command(&["GET", "broadcast:f"]), bulk(url));
    }
    for (url, words) in [
        (format!("redis://127.0.0.1:{port}"), "NOAUTH"),
        (format!("redis://:wrong@127.0.0.1:{port}"), "WRONGPASS"),
        (format!("redis://:secret@127.0.0.1:{port}/99"), "DB index is out of range"),
    ] {
        match fetch(&url) {
            Err(Error::Login { reason, .. }) if reason.contains(words) => {}
            other => panic!("{url}: {other:?}"),
        }
    }
    app.ok(&["ACL", "SETUSER", "john", "resetchannels", "&user:*"]);
    match fetch(&good[1]) {
        Err(Error::Refused { channel, reason }) if channel == "broadcast:f" => {
            assert!(reason.starts_with("NOPERM"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}
