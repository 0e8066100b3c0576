//! The core without sockets: one WebSocket for all topics of a page, `wsloop.1`.

mod alive;
mod asked;
mod hearing;
mod hostile;
mod pages;
mod positions;

use crate::world::*;
use wsloop::proto::ws::frame::Opcode;
use wsloop::{Allow, HistoryRule, HistoryRules, Settings};

const OFFER: &str = "Sec-WebSocket-Protocol: wsloop.1";

/// A page asks for such a WebSocket.
fn ask(world: &mut World, target: &str, headers: &[&str]) -> BrowserId {
    world.ask(&upgrade(target, &[&[OFFER], headers].concat()))
}

/// One that is open, and was welcomed.
#[track_caller]
fn open(world: &mut World, headers: &[&str]) -> BrowserId {
    let id = ask(world, "/ws/", headers);
    assert_eq!(world.status(id), Some(101));
    let welcome = world.texts(id);
    assert!(welcome.len() == 1 && welcome[0].starts_with("welcome "), "{welcome:?}");
    id
}

/// Channels that keep what that rule says, with both brokers.
fn with_history(rule: &str) -> [World; 2] {
    let rules = vec![HistoryRule::parse(rule).expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    let allow = Allow::parse("all").expect("all");
    let kept = |settings| Settings { history: history.clone(), allow, ..settings };
    [World::new(kept(with_redis())), World::new(kept(settings()))]
}

fn is_redis(world: &World) -> bool {
    world.redis.has_client()
}

/// Somebody publishes a message that is kept, with so many others.
fn keep(world: &mut World, channel: &str, text: &str, most: usize) {
    match is_redis(world) {
        true => world.redis.publish_kept(channel, text, most),
        false => {
            let client = world.connect_resp();
            let mut command = b"*3\r\n".to_vec();
            for word in ["PUBLISH", channel, text] {
                command.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
            }
            world.tell(client, command);
            world.end_resp(client, wsloop::Cause::Ended);
        }
    }
    world.run();
}

/// What is answered to a command, alone.
#[track_caller]
fn answer(world: &mut World, id: BrowserId, command: &str) -> String {
    world.say(id, command);
    let mut texts = world.texts(id);
    texts.retain(|text| !text.starts_with("subscribed ") && !text.starts_with("message "));
    assert_eq!(texts.len(), 1, "{command:?}: {texts:?}");
    texts.remove(0)
}

/// The status of a refusal of that command.
#[track_caller]
fn refusal(world: &mut World, id: BrowserId, command: &str) -> u16 {
    let answer = answer(world, id, command);
    let mut words = answer.split(' ');
    assert_eq!(words.next(), Some("refused"), "{command:?}: {answer}");
    assert_eq!(words.next(), command.split_ascii_whitespace().nth(1), "{command:?}: {answer}");
    let status = words.next().and_then(|status| status.parse().ok());
    assert!(words.next().is_some(), "it says why: {answer}");
    status.unwrap_or_else(|| panic!("{answer}"))
}

#[track_caller]
fn closed_with(world: &mut World, id: BrowserId) -> (Option<u16>, String) {
    match world.heard(id).pop() {
        Some(Heard::Close(code, why)) => (code, why),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_prefix_itself_speaks_it_to_who_offers_it() {
    let mut world = World::new(Settings {
        subprotocols: Some(vec!["chat".to_owned()]),
        max_message_size: 10_000,
        ..settings()
    });
    let id = ask(&mut world, "/ws/", &[]);
    assert_eq!(world.status(id), Some(101));
    let response = world.response(id);
    assert_eq!(response.header("sec-websocket-protocol"), Some("wsloop.1"));
    assert_eq!(response.header("x-wsloop-granted"), None);
    let welcome = "welcome subscriptions=1000 commands=64 names=131072 message=7952 beat=0";
    assert_eq!(world.texts(id), [welcome]);
    assert_eq!(answer(&mut world, id, "ping 7"), "ok 7");
    // Everything else is as it was.
    for (target, headers, protocol) in [
        ("/ws/", "Sec-WebSocket-Protocol: chat", Some("chat")),
        ("/ws/", "X: y", None),
        ("/ws/foo", OFFER, None),
        ("/ws/?subscribe-broadcast", "X: y", None),
    ] {
        let id = world.ask(&upgrade(target, &[headers]));
        assert_eq!(world.status(id), Some(101), "{target}");
        assert_eq!(world.response(id).header("sec-websocket-protocol"), protocol);
        assert_eq!(world.heard(id), [], "{target} {headers}");
    }
}

#[test]
fn it_is_refused_as_any_other_is() {
    let mut world = World::new(settings());
    let elsewhere = "Origin: http://elsewhere.com";
    let id = ask(&mut world, "/ws/", &[elsewhere]);
    assert_eq!(world.status(id), Some(403));
    let id = ask(&mut world, "/ws/?subscribe-broadcast", &[]);
    assert_eq!(world.status(id), Some(400));
    assert!(world.response(id).text().contains("no options"));
    let id = world.ask(&request("GET", "/ws/", &["Host: example.com", OFFER]));
    assert_eq!(world.status(id), Some(426), "a plain GET is told as before");
    let mut world = World::new(Settings { require_login: true, ..settings() });
    let id = ask(&mut world, "/ws/", &[]);
    assert_eq!(world.status(id), Some(403));
}

#[test]
fn a_topic_is_heard_and_left_again() {
    let mut world = World::new(settings());
    let id = open(&mut world, &[]);
    assert_eq!(answer(&mut world, id, "subscribe 1 broadcast chat/42"), "ok 1");
    assert_eq!(world.metrics().subscriptions, 1);
    assert_eq!(refusal(&mut world, id, "subscribe 2 broadcast chat/42"), 409);
    assert_eq!(answer(&mut world, id, "subscribe 3 broadcast chat%2F42%20"), "ok 3");
    assert_eq!(refusal(&mut world, id, "unsubscribe 4 broadcast chat"), 404);
    assert_eq!(answer(&mut world, id, "unsubscribe 5 broadcast chat/42"), "ok 5");
    assert_eq!(refusal(&mut world, id, "unsubscribe 6 broadcast chat/42"), 404);
    assert_eq!(answer(&mut world, id, "subscribe 7 broadcast chat/42"), "ok 7");
    assert_eq!(world.metrics().subscriptions, 2);
    world.hang_up(id);
    assert_eq!(world.metrics().subscriptions, 0);
}

#[test]
fn what_is_granted_is_what_the_url_form_would_be() {
    let mut world = World::new(Settings { prefix: "site".to_owned(), ..by_session() });
    let john = br#"{"wsloop:username":"john","ws4redis:memberof":["a","b c"]}"#;
    world.redis.set("session:johns-key", john);
    let id = open(&mut world, &["Cookie: sessionid=johns-key"]);
    let stranger = open(&mut world, &[]);
    for (n, audience) in ["broadcast", "user", "session", "group"].into_iter().enumerate() {
        let command = format!("subscribe {} {audience} foo", n + 1);
        assert_eq!(answer(&mut world, id, &command), format!("ok {}", n + 1));
        let publish = format!("publish {} {audience} foo\nhello", n + 1);
        match audience {
            "broadcast" => assert_eq!(answer(&mut world, stranger, &publish), "ok 1"),
            _ => assert_eq!(refusal(&mut world, stranger, &publish), 403, "{publish}"),
        }
    }
    assert_eq!(refusal(&mut world, id, "subscribe 5 user a:b"), 400);
    assert_eq!(answer(&mut world, id, "subscribe 6 broadcast a:b"), "ok 6");
    assert_eq!(refusal(&mut world, id, "subscribe 7 everybody foo"), 400);
}

#[test]
fn what_neither_list_nor_rule_allows_is_refused() {
    let allow = Allow::parse("subscribe-broadcast").expect("a list");
    let mut world = World::new(Settings { allow, ..settings() });
    let id = open(&mut world, &[]);
    assert_eq!(answer(&mut world, id, "subscribe 1 broadcast foo"), "ok 1");
    let denied = answer(&mut world, id, "publish 2 broadcast foo\nhello");
    assert!(denied.starts_with("refused 2 403 publish-broadcast is denied"), "{denied}");
    assert_eq!(refusal(&mut world, id, "subscribe 3 user foo"), 403);
    let metrics = world.metrics();
    assert_eq!((metrics.options_denied_total, metrics.commands_refused_total), (2, 2));
    assert_eq!((metrics.commands_total, metrics.publishes_total), (3, 0));
}

#[test]
fn what_is_published_reaches_others_and_is_stored_and_acknowledged() {
    for with_redis in [false, true] {
        let mut world =
            World::new(if with_redis { crate::world::with_redis() } else { settings() });
        let plain = world.open("/ws/chat?subscribe-broadcast");
        let id = open(&mut world, &[]);
        assert_eq!(answer(&mut world, id, "publish 9 broadcast chat\ntwo\nlines"), "ok 9");
        assert_eq!(world.texts(plain), ["two\nlines"], "{with_redis}");
        world.send_frame(id, Opcode::Binary, b"publish 10 broadcast chat\n\xff\0");
        assert_eq!(world.texts(id), ["ok 10"]);
        assert_eq!(world.heard(plain), [Heard::Binary(b"\xff\0".to_vec())]);
        let late = world.open("/ws/chat?subscribe-broadcast");
        assert_eq!(world.heard(late), [Heard::Binary(b"\xff\0".to_vec())], "the stored message");
        assert_eq!(refusal(&mut world, id, "publish 11 broadcast chat\n"), 400);
        assert_eq!(world.heard(plain), []);
    }
}

#[test]
fn a_publish_is_dropped_when_redis_goes_before_it_answers_and_waits_while_it_is_away() {
    let mut world = World::new(with_redis());
    let id = open(&mut world, &[]);
    world.redis.paused = true;
    world.say(id, "publish 1 broadcast chat\nhello");
    assert_eq!(world.texts(id), [""; 0], "nothing is known yet");
    world.kill_redis();
    assert_eq!(world.texts(id), ["dropped 1"]);
    world.say(id, "publish 2 broadcast chat\nhello");
    assert_eq!(world.texts(id), [""; 0]);
    world.pass(6_000);
    assert_eq!(world.texts(id), ["dropped 2"], "it was given up");
}
