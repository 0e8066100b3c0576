//! The program with a real Redis, real sessions, real tokens and an application that is asked: what
//! is for somebody reaches that one and nobody else.

mod application;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::client::{Client, Event, Response, upgrade};
use crate::support::redis::{RedisClient, RedisServer};
use crate::support::{Folder, Wsloop, eventually};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

const ALL: &str = "room?subscribe-broadcast&subscribe-group&subscribe-user&subscribe-session";
const SECRET: &str = "a secret of more than thirty-two bytes";

/// A server at that Redis which grants everything, and is up.
#[track_caller]
fn relay(redis: &RedisServer, args: &[&str]) -> Wsloop {
    let url = redis.url();
    let server = Wsloop::start(&[&["--redis", &url, "--allow", "all"], args].concat());
    server.expect_metric("broker_up", |up| up == 1);
    server
}

/// Tries to connect with more header lines, each with its CR LF.
#[track_caller]
fn try_with(server: &Wsloop, path: &str, more: &str) -> Result<Client, Response> {
    Client::open(server.address(), &upgrade(path, server.address(), more))
}

#[track_caller]
fn with(server: &Wsloop, path: &str, more: &str) -> Client {
    try_with(server, path, more).unwrap_or_else(|response| panic!("{path} {more}: {response:?}"))
}

#[track_caller]
fn with_cookie(server: &Wsloop, path: &str, cookie: &str) -> Client {
    with(server, path, &format!("Cookie: {cookie}\r\n"))
}

/// A session as JSON.
fn session(redis: &mut RedisClient, key: &str, user: &str, groups: &[&str]) {
    let session = serde_json::json!({"wsloop:username": user, "ws4redis:memberof": groups});
    redis.ok(&["SETEX", &format!("session:{key}"), "60", &session.to_string()]);
}

const JSON: [&str; 4] = ["--session-key", "session:{}", "--session-format", "json"];

// Sessions.

/// What real frameworks have stored.
struct Vector {
    from: String,
    format: String,
    secret: Option<String>,
    cookie: String,
    key: String,
    redis_key: String,
    stored: Vec<u8>,
    entries: [String; 2],
    groups: Vec<String>,
}

/// One of each format, of which the user is john, a member of two groups.
fn vectors() -> Vec<Vector> {
    let all: Vec<Value> =
        serde_json::from_str(include_str!("../sessions/vectors.json")).expect("JSON");
    let mut chosen: Vec<Vector> = Vec::new();
    for vector in &all {
        let text = |name: &str| vector[name].as_str().map(str::to_owned);
        let must = |name: &str| text(name).expect(name);
        let names = vector["groups"].as_array().expect("a list").iter();
        let groups: Vec<String> = names.map(|name| name.as_str().expect("a name").into()).collect();
        let john = vector["user"] == "john" && groups.len() == 2;
        if !john || chosen.iter().any(|known| known.format == vector["format"]) {
            continue;
        }
        chosen.push(Vector {
            from: must("from"),
            format: must("format"),
            secret: text("secret"),
            cookie: must("cookie"),
            key: must("key"),
            redis_key: must("redis_key"),
            stored: STANDARD.decode(must("stored")).expect("base64"),
            entries: [must("user_entry"), must("groups_entry")],
            groups,
        });
    }
    assert_eq!(chosen.len(), 4, "each format");
    chosen
}

#[test]
#[ignore = "needs redis-server"]
fn johns_tabs_get_johns_messages_whatever_framework_he_logged_in_with() {
    for vector in vectors() {
        let (redis, folder) = (RedisServer::start(), Folder::new());
        let mut app = redis.connect();
        app.ok(&[b"SET", vector.redis_key.as_bytes(), &vector.stored]);
        let template = vector.redis_key.replace(&vector.key, "{}");
        let (cookie, _) = vector.cookie.split_once('=').expect("a cookie");
        let [user, groups] = &vector.entries;
        let mut args = vec!["--session-key", &template, "--session-format", &vector.format];
        args.extend([
            "--session-cookie",
            cookie,
            "--session-user",
            user,
            "--session-groups",
            groups,
        ]);
        let secret = folder.join("secret");
        if let Some(text) = &vector.secret {
            fs::write(&secret, format!("{text}\n")).expect("a file");
            args.extend(["--session-secret-file", secret.to_str().expect("UTF-8")]);
        }
        let server = relay(&redis, &args);
        let mut john = with_cookie(&server, ALL, &vector.cookie);
        let mut second = with_cookie(&server, ALL, &format!("a=b; {}; c=d", vector.cookie));
        let mut nobody = server.connect(ALL);
        let forged = vector.cookie.replacen(&vector.key[..4], "AAAA", 1);
        let mut forger = with_cookie(&server, ALL, &forged);
        let mut names = vec!["user:john:room".to_owned(), format!("session:{}:room", vector.key)];
        names.extend(vector.groups.iter().map(|group| format!("group:{group}:room")));
        for name in &names {
            assert_eq!(app.publish(name, name), 1, "{}", vector.from);
            john.expect(&[name]);
            second.expect(&[name]);
        }
        app.publish("broadcast:room", "for everybody");
        for browser in [&mut john, &mut second, &mut nobody, &mut forger] {
            browser.expect(&["for everybody"]);
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_signed_by_somebody_else_is_anonymous() {
    for vector in vectors().into_iter().filter(|vector| vector.secret.is_some()) {
        let (redis, folder) = (RedisServer::start(), Folder::new());
        redis.connect().ok(&[b"SET", vector.redis_key.as_bytes(), &vector.stored]);
        let template = vector.redis_key.replace(&vector.key, "{}");
        let (cookie, _) = vector.cookie.split_once('=').expect("a cookie");
        let secret = folder.join("secret");
        let mut args = vec!["--session-key", &template, "--session-format", &vector.format];
        args.extend(["--session-cookie", cookie, "--session-user", &vector.entries[0]]);
        args.extend(["--session-secret-file", secret.to_str().expect("UTF-8")]);
        fs::write(&secret, "somebody else's").expect("a file");
        let server = relay(&redis, &args);
        let nobody = with_cookie(&server, ALL, &vector.cookie);
        assert_eq!(nobody.response.header("x-wsloop-granted"), Some("subscribe-broadcast"));
        let refused = ["cookies_refused_total", "sessions_refused_total"];
        assert_eq!(refused.map(|name| server.metric(name)).iter().sum::<u64>(), 1);
        server.expect_log(&["WARN", "not believed"]);
        assert!(!server.log().contains(&vector.key), "{}", server.log());
    }
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_for_john_is_not_for_mary() {
    let redis = RedisServer::start();
    let mut app = redis.connect();
    session(&mut app, "johns-key", "john", &["both", "his"]);
    session(&mut app, "marys-key", "mary", &["both", "hers"]);
    let server = relay(&redis, &JSON);
    let options = "&publish-user&publish-group&publish-session&echo";
    let mut john = with_cookie(&server, &format!("{ALL}{options}"), "sessionid=johns-key");
    let granted = john.response.header("x-wsloop-granted").expect("it is said").to_owned();
    assert!(granted.ends_with("publish-group,publish-user,publish-session,echo"), "{granted}");
    let mut mary = with_cookie(&server, ALL, "sessionid=marys-key");
    for (name, is_hers) in [
        ("user:john:room", false),
        ("user:mary:room", true),
        ("group:his:room", false),
        ("group:hers:room", true),
        ("session:johns-key:room", false),
        ("session:marys-key:room", true),
        ("group:both:room", true),
    ] {
        app.publish(name, name);
        if is_hers {
            mary.expect(&[name]);
        }
        if !is_hers || name.contains("both") {
            john.expect(&[name]);
        }
    }
    // John publishes to his two groups, to himself and to his session.
    john.send("from john");
    john.expect(&["from john"; 4]);
    mary.expect(&["from john"]);
    assert_eq!((john.arrived(), mary.arrived()), (vec![], vec![]));
    // What is stored comes in the order broadcast, groups, user, session.
    app.ok(&["SET", "broadcast:room", "zeroth"]);
    app.ok(&["SET", "group:both:room", "first"]);
    app.ok(&["SET", "group:his:room", "second"]);
    app.ok(&["SET", "user:john:room", "third"]);
    app.ok(&["SET", "session:johns-key:room", "fourth"]);
    let mut late = with_cookie(&server, ALL, "sessionid=johns-key");
    late.expect(&["zeroth", "first", "second", "third", "fourth"]);
    // A session that has ended is nobody's.
    app.command(&["DEL", "session:johns-key"]);
    let late = with_cookie(&server, ALL, "sessionid=johns-key");
    assert_eq!(late.response.header("x-wsloop-granted"), Some("subscribe-broadcast"));
}

#[test]
#[ignore = "needs redis-server"]
fn a_page_of_another_origin_gets_nothing_for_johns_cookie() {
    let redis = RedisServer::start();
    session(&mut redis.connect(), "johns-key", "john", &[]);
    let server =
        relay(&redis, &[&JSON[..], &["--allowed-origins", "https://partner.example"]].concat());
    let host = server.address();
    for origin in
        ["http://evil.example", "null", "http://127.0.0.1", "https://partner.example.evil"]
    {
        let more = format!("Origin: {origin}\r\nCookie: sessionid=johns-key\r\n");
        let response = try_with(&server, ALL, &more).expect_err(origin);
        assert_eq!(response.status, 403, "{origin}");
    }
    for origin in [format!("http://{host}"), "https://partner.example".to_owned()] {
        let more = format!("Origin: {origin}\r\nCookie: sessionid=johns-key\r\n");
        let john = with(&server, ALL, &more);
        assert!(john.response.header("x-wsloop-granted").expect("said").contains("subscribe-user"));
    }
}

// Tokens.

fn unix_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// A token with these claims, signed with [`SECRET`].
fn token(claims: &Value) -> String {
    let parts = [r#"{"alg":"HS256"}"#.to_owned(), claims.to_string()];
    let [header, claims] = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
    let body = format!("{header}.{claims}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn key_file(folder: &Folder, key: &str) -> PathBuf {
    let path = folder.join("key");
    fs::write(&path, key).expect("a file");
    path
}

#[test]
#[ignore = "needs redis-server"]
fn tokens_that_are_forged_cut_short_or_of_another_algorithm_are_refused() {
    let vectors: Value =
        serde_json::from_str(include_str!("../sessions/tokens.json")).expect("JSON");
    let redis = RedisServer::start();
    let mut kinds = std::collections::BTreeSet::new();
    for algorithm in ["RS256", "ES256", "EdDSA", "HS256"] {
        let folder = Folder::new();
        let path = key_file(&folder, vectors["keys"][algorithm].as_str().expect("a key"));
        let server = relay(&redis, &["--token-key-file", path.to_str().expect("UTF-8")]);
        let all = vectors["tokens"].as_array().expect("a list").iter();
        let mut refused = 0;
        for vector in
            all.filter(|vector| vector["key"] == algorithm && vector["audience"].is_null())
        {
            // Those are judged by the clock, which is another one here.
            let result = vector["result"].as_str().expect("a text");
            let text = vector["token"].as_str().expect("a text");
            if !matches!(result, "algorithm" | "signature" | "malformed") || text.len() > 4000 {
                continue;
            }
            let bearer = format!("Authorization: Bearer {text}\r\n");
            let response = try_with(&server, ALL, &bearer).expect_err(result);
            assert_eq!(response.status, 401, "{vector}");
            kinds.insert(result.to_owned());
            refused += 1;
        }
        assert!(refused >= 15, "{algorithm}: {refused}");
        server.expect_metric("tokens_refused_total", |n| n == refused);
        server.connect(ALL).close();
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn a_token_is_good_until_it_expires_and_then_its_browser_is_closed() {
    let (redis, folder) = (RedisServer::start(), Folder::new());
    let mut app = redis.connect();
    session(&mut app, "marys-key", "mary", &[]);
    let path = key_file(&folder, SECRET);
    let args = [&JSON[..], &["--token-key-file", path.to_str().expect("UTF-8")]].concat();
    let server = relay(&redis, &args);
    let ends = unix_s() + 1.5;
    let short = token(&serde_json::json!({"sub": "john", "groups": ["staff"], "exp": ends}));
    let mut john = server.connect(&format!("{ALL}&token={short}"));
    for name in ["user:john:room", "group:staff:room"] {
        app.publish(name, name);
        john.expect(&[name]);
    }
    john.expect_close(4401, "expired");
    let late = unix_s() - ends;
    assert!((0.0..1.0).contains(&late), "closed {late} s after it has expired");
    for claims in [
        serde_json::json!({"sub": "john", "exp": ends}),
        serde_json::json!({"sub": "john", "nbf": unix_s() + 3600.0}),
    ] {
        // Not even with a session that is good.
        let path = format!("{ALL}&token={}", token(&claims));
        let response =
            try_with(&server, &path, "Cookie: sessionid=marys-key\r\n").expect_err("no good");
        assert_eq!(response.status, 401);
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
        assert!(!server.log().contains(&token(&claims)), "{}", server.log());
    }
    let good = token(&serde_json::json!({"sub": "john", "sid": "phone"}));
    let protocols = format!("Sec-WebSocket-Protocol: bearer.{good}, chat\r\n");
    let mut john = with(&server, ALL, &protocols);
    assert_eq!(john.response.header("sec-websocket-protocol"), Some("chat"));
    app.publish("session:phone:room", "ring");
    john.expect(&["ring"]);
    let mut mary = with_cookie(&server, ALL, "sessionid=marys-key");
    app.publish("user:mary:room", "for mary");
    mary.expect(&["for mary"]);
    assert_eq!(john.arrived(), []);
}

// Revocation.

#[test]
#[ignore = "needs redis-server"]
fn a_disconnect_closes_in_every_process_within_a_second() {
    let redis = RedisServer::start();
    let mut app = redis.connect();
    session(&mut app, "johns-key", "john", &["staff"]);
    session(&mut app, "marys-key", "mary", &["staff"]);
    let servers = [relay(&redis, &JSON), relay(&redis, &JSON)];
    let open = |cookie: &str| -> Vec<Client> {
        let paths = [ALL, "room?subscribe-broadcast", "room"];
        let each = |path| servers.iter().map(move |server| with_cookie(server, path, cookie));
        paths.into_iter().flat_map(each).collect()
    };
    let (johns, mut marys) = (open("sessionid=johns-key"), open("sessionid=marys-key"));
    app.publish("user:john:room", "goodbye");
    let message = r#"{"disconnect": {"user": "john"}, "code": 4001, "reason": "logged out"}"#;
    let since = Instant::now();
    assert_eq!(app.publish("wsloop:control", message), 2, "each process hears it");
    for (n, mut john) in johns.into_iter().enumerate() {
        if n < servers.len() {
            assert_eq!(john.next(), Event::Text("goodbye".to_owned()));
        }
        john.expect_close(4001, "logged out");
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    for mary in &mut marys {
        assert_eq!(mary.arrived(), []);
    }
    for server in &servers {
        server.expect_metric("disconnected_total", |n| n == 3);
    }
    app.publish("wsloop:control", "what?");
    for server in &servers {
        server.expect_metric("controls_refused_total", |n| n == 1);
        server.expect_log(&["WARN", "wsloop:control", "not understood"]);
    }
    app.publish("wsloop:control", r#"{"disconnect": {"session": "marys-key"}}"#);
    for mut mary in marys {
        mary.expect_close(4403, "");
    }
    // Whoever still has a session may come again.
    with_cookie(&servers[0], ALL, "sessionid=johns-key").close();
}
