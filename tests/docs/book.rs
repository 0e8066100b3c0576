//! The pages of the book that have nothing to be looked at in a browser: each is followed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::browser::Browsers;
use crate::follow::Reader;
use crate::markdown::{self, Step};
use crate::place;
use crate::support::client::{Client, Event, upgrade};
use crate::support::eventually;

#[test]
#[ignore = "needs ip, redis-server and redis-cli"]
fn channels_is_followed() {
    follow("book::channels_is_followed", include_str!("../../docs/src/channels.md"), &[]);
}

#[test]
#[ignore = "needs ip, curl and redis-cli"]
fn streams_is_followed() {
    let page = include_str!("../../docs/src/streams.md");
    // `tests/browser` has a page like it.
    let skipped = ["const url = '/ws/orders/42?subscribe-broadcast&publish-broadcast';"];
    follow("book::streams_is_followed", page, &skipped);
}

#[test]
#[ignore = "needs ip, openssl, redis-cli, python3 with venv and PyPI"]
fn access_is_followed() {
    let page = include_str!("../../docs/src/access.md");
    // Part of a page; the browsers of `clients/python/deployed` run its like.
    let skipped = ["loop.close();"];
    let Some(mut reader) = follow("book::access_is_followed", page, &skipped) else { return };
    // The rules of the page, beside its token.
    let serve = "wsloop --config wsloop.toml --token-key-file token.key --resp off";
    reader.launch(&format!("{serve} --listen 127.0.0.1:8090"));
    let token = reader.run("python3 sign.py john");
    let address = "127.0.0.1:8090".parse().expect("an address");
    let granted = |facility: &str, header: &str| {
        let path = format!("{facility}?subscribe-broadcast&publish-broadcast");
        let client = Client::open(address, &upgrade(&path, address, header)).expect("a 101");
        client.response.header("x-wsloop-granted").expect("a header").to_owned()
    };
    let john = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(granted("news", ""), "subscribe-broadcast");
    assert_eq!(granted("chat/1", ""), "subscribe-broadcast");
    assert_eq!(granted("chat/1", &john), "subscribe-broadcast,publish-broadcast");
    assert_eq!(granted("admin/1", &john), "");
}

#[test]
#[ignore = "needs chromium, node, ip, redis-cli, PyPI, python3, ruby and php with redis"]
fn clients_is_followed() {
    let page = include_str!("../../docs/src/clients.md");
    if !place::is_inside("book::clients_is_followed", page) {
        return;
    }
    // Part of a page; `clients/js/test` and `tests/browser` run its like.
    let mut reader = Reader::of(page).skip(&["const loop = new WSLoop('/ws/');"]);
    let url = reader.go_on().expect("an address");
    let mut browsers = Browsers::start();
    browsers.ask(&["somebody", "open", &url]);
    browsers.ask(&["somebody", "sees", "open"]);
    browsers.expect_no_problems("somebody");
    // On the way there wsloop is started again, which is no problem but one to the console.
    let url = reader.go_on().expect("another address");
    browsers.ask(&["somebody", "sees", "hello, page"]);
    browsers.ask(&["another", "open", &url]);
    browsers.ask(&["another", "sees", "news is open"]);
    browsers.ask(&["another", "sees", "weather is open"]);
    assert_eq!(reader.go_on(), None);
    browsers.ask(&["another", "sees", "news: one socket"]);
    browsers.ask(&["another", "sees", "weather: two topics"]);
    browsers.expect_no_problems("another");
}

#[test]
#[ignore = "needs ip, redis-server, redis-cli and curl"]
fn operations_is_followed() {
    let page = include_str!("../../docs/src/operations.md");
    let skipped = [
        // `proxy.rs` has it.
        "location /ws/ {",
        // Needs systemd as the first process, and a wsloop in /usr/local.
        "[Unit]",
    ];
    let test = "book::operations_is_followed";
    let Some(mut reader) = follow(test, page, &skipped) else { return };
    // The rights are those that it needs.
    let target = "news?subscribe-broadcast&publish-broadcast&echo";
    let address = "127.0.0.1:8080".parse().expect("an address");
    let mut client = Client::open(address, &upgrade(target, address, "")).expect("a 101");
    client.send("hello");
    client.expect(&["hello"]);
    // What is stored is so after what is published.
    while reader.run("redis-cli GET shop:broadcast:news") != "\"hello\"" {}
}

#[test]
#[ignore = "needs ip, redis-cli, and python3, ruby, node, php and perl with redis"]
fn history_is_followed() {
    // A part of a file. What is to be compiled is run by `compiled.rs`.
    let page = include_str!("../../docs/src/history.md");
    follow("book::history_is_followed", page, &["[[history]]"]);
}

/// With a Redis where the page has the embedded broker: what it says of both is so.
#[test]
#[ignore = "needs ip, redis-server, redis-cli, and python3, ruby, node, php and perl with redis"]
fn history_is_followed_with_redis() {
    let page = include_str!("../../docs/src/history.md");
    if !place::is_inside("book::history_is_followed_with_redis", page) {
        return;
    }
    let serve = "wsloop --allow all --history";
    assert!(page.contains(serve), "what the page starts is another command");
    let page = page.replace(serve, "wsloop --allow all --redis redis://127.0.0.1:6380 --history");
    // A plain PUBLISH is in no history there.
    let (before, rest) = page.split_once("**To the embedded broker**").expect("its part");
    let (_, rest) = rest.split_once("**To Redis**").expect("the part of Redis");
    let page = format!("{before}\n**To Redis**{rest}");
    let mut reader = Reader::of(&page).skip(&["[[history]]"]);
    reader.launch("redis-server --port 6380 --save ''");
    eventually("a Redis", || (reader.run("redis-cli -p 6380 PING") == "PONG").then_some(()));
    assert_eq!(reader.go_on(), None);
    // In a cluster it is SPUBLISH, in both: who hears the shard alone hears it, and it is kept.
    let channel = "broadcast:chat/sharded";
    let stream = format!("wsloop:history:{{{channel}}}");
    reader.launch(&format!("redis-cli -p 6380 SSUBSCRIBE {channel}"));
    let heard = format!("redis-cli -p 6380 PUBSUB SHARDNUMSUB {channel} | tail -n 1");
    eventually("a listener", || reader.run(&heard).contains('1').then_some(()));
    reader.run("sed -i 's/PUBLISH/SPUBLISH/; s!chat/42!chat/sharded!' publish.lua keep.redis");
    let answer = reader.run("redis-cli -p 6380 <keep.redis");
    assert!(answer.ends_with("3) (integer) 1"), "{answer}");
    let words = format!("{stream} , {channel} sharded 100 300000");
    let answer = reader.run(&format!("redis-cli -p 6380 --eval publish.lua {words}"));
    assert_eq!(answer, "(integer) 1");
    assert_eq!(reader.run(&format!("redis-cli -p 6380 XLEN {stream}")), "(integer) 2");
}

#[test]
#[ignore = "needs ip, redis-cli, python3 with venv and PyPI"]
fn protocol_is_followed() {
    follow("book::protocol_is_followed", include_str!("../../docs/src/protocol.md"), &[]);
}

#[test]
#[ignore = "needs ip, python3 and curl"]
fn one_port_is_followed() {
    // The applications of these routes are the reader's.
    let skipped = ["upstream = \"http://127.0.0.1:8000\""];
    follow("book::one_port_is_followed", include_str!("../../docs/src/one-port.md"), &skipped);
}

#[test]
#[ignore = "needs ip, nginx, openssl and curl"]
fn tls_is_followed() {
    let page = include_str!("../../docs/src/tls.md");
    // It is a file that is tried with nginx.
    let site = include_str!("../../examples/deploy/nginx/tls.conf");
    let site: Vec<&str> = site.lines().skip_while(|line| line.starts_with('#')).collect();
    assert!(page.contains(&site.join("\n")), "the site of the page is not the one that is tried");
    if !place::is_inside_own_system("book::tls_is_followed", page) {
        return;
    }
    let mut reader = Reader::of(page).skip(&["server {"]);
    // nginx is installed, nobody else is root here, and systemd is not there.
    for (name, does) in [
        ("sudo", "exec \"$@\""),
        ("apt-get", "test \"$*\" = 'install --yes nginx'"),
        ("systemctl", "test \"$*\" = 'restart nginx' && nginx </dev/null"),
    ] {
        let file = reader.home.join("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{does}\n")).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    // Where the caller is not root, there is no user but root.
    reader.run("sed -i 's/^user .*/user root;/' /etc/nginx/nginx.conf");
    assert_eq!(reader.go_on(), None);
}

#[test]
#[ignore = "needs ip"]
fn flags_is_followed() {
    follow("book::flags_is_followed", include_str!("../../docs/src/flags.md"), &[]);
}

#[test]
#[ignore = "needs ip"]
fn ws4redis_is_followed() {
    // Lines for a project that the reader has; `tests/dropin` and `clients/python` run their like.
    let skipped = ["@receiver(user_logged_in)", "from wsloop.django.views import auth"];
    let page = include_str!("../../docs/src/ws4redis.md");
    follow("book::ws4redis_is_followed", page, &skipped);
}

#[test]
#[ignore = "needs ip, python3 with venv, PyPI, ruby and perl"]
fn sockets_is_followed() {
    let page = include_str!("../../docs/src/sockets.md");
    let Some(_reader) = follow("book::sockets_is_followed", page, &[]) else { return };
    for (port, path) in
        [(8080, "echo"), (8080, "uwsgi"), (8080, "aio"), (8090, "py"), (8090, "rb"), (8090, "pl")]
    {
        let address = format!("127.0.0.1:{port}").parse().expect("an address");
        let request = upgrade("", address, "").replace("/ws/", &format!("/{path}/room"));
        let mut client = eventually("an application", || Client::open(address, &request).ok());
        for size in [0, 1, 1 << 16] {
            client.send(&"x".repeat(size));
            assert_eq!(client.text().len(), size, "{path}");
        }
        if path != "uwsgi" {
            // Its calls know no kinds: what is sent is text.
            client.send_binary(b"\xff\0");
            assert_eq!(client.message(), Event::Binary(vec![255, 0]), "{path}");
        }
        client.close();
    }
}

#[test]
fn the_clients_of_the_framing_are_short() {
    let page = include_str!("../../docs/src/sockets.md");
    let steps = markdown::steps(page).expect("a page that can be followed");
    let mut lengths = steps.iter().filter_map(|step| match step {
        Step::Block(block) => {
            let name = block.lead.split('`').nth(1).filter(|name| name.starts_with("raw."))?;
            Some((name.to_owned(), block.text.lines().count()))
        }
        Step::Open(_) => None,
    });
    for expected in ["raw.py", "raw.rb", "raw.pl"] {
        let (name, lines) = lengths.next().expect("a client");
        assert_eq!(name, expected);
        assert!(lines <= 60, "{name} has {lines} lines");
    }
}

/// Follows a page to its end, but for the blocks that begin with these lines. Outside the namespace
/// there is nobody to return.
fn follow(test: &str, page: &str, skipped: &[&'static str]) -> Option<Reader> {
    place::is_inside(test, page).then(|| {
        let mut reader = Reader::of(page).skip(skipped);
        assert_eq!(reader.go_on(), None);
        reader
    })
}
