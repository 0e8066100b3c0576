//! A stream of topics says what a WebSocket of `wsloop.1` does, and goes on behind what it was told
//! last.

use std::collections::BTreeSet;

use super::*;
use wsloop::proto::topics::Vector;
use wsloop::{HistoryRule, HistoryRules, Settings};

const CHAT: &str = "/ws/?topic=broadcast+chat/42";
pub(super) const CHAT_CHANNEL: &str = "broadcast:chat/42";
pub(super) const MOST: usize = 20;

/// A history of twenty messages, with both brokers.
pub(super) fn worlds() -> [World; 2] {
    [World::new(kept(with_redis())), World::new(kept(settings()))]
}

pub(super) fn kept(settings: Settings) -> Settings {
    let rules = vec![HistoryRule::parse("chat/*=20/60").expect("a rule")];
    Settings { history: HistoryRules { prefix: String::new(), rules }, ..settings }
}

pub(super) fn is_redis(world: &World) -> bool {
    world.redis.has_client()
}

/// Somebody publishes messages that are kept.
pub(super) fn keep(world: &mut World, channel: &str, texts: &[&str]) {
    for text in texts {
        match is_redis(world) {
            true => world.redis.publish_kept(channel, text, MOST),
            false => command(world, &["PUBLISH", channel, text]),
        }
    }
    world.run();
}

/// Somebody stores a message.
pub(super) fn store(world: &mut World, channel: &str, text: &str) {
    match is_redis(world) {
        true => world.redis.set(channel, text),
        false => command(world, &["SET", channel, text]),
    }
    world.run();
}

/// Somebody publishes a message on a channel that keeps none.
pub(super) fn publish(world: &mut World, channel: &str, text: &str) {
    match is_redis(world) {
        true => world.publish(channel, text),
        false => command(world, &["PUBLISH", channel, text]),
    }
    world.run();
}

/// A client of the embedded broker says this.
fn command(world: &mut World, words: &[&str]) {
    let client = world.connect_resp();
    world.tell(client, written(words));
    world.end_resp(client, wsloop::Cause::Ended);
}

/// A command as it is sent.
pub(super) fn written(words: &[&str]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command += &format!("${}\r\n{word}\r\n", word.len());
    }
    command.into_bytes()
}

pub(super) fn last_id(world: &World, id: BrowserId) -> String {
    world.browsers[id].last_id.clone()
}

/// A stream that goes on behind that.
pub(super) fn resume(world: &mut World, target: &str, last: &str) -> BrowserId {
    let last = format!("Last-Event-ID: {last}");
    let id = world.ask(&asks(target, &[&last]));
    assert_eq!(world.status(id), Some(200), "{target}");
    id
}

/// What of it are messages, by what they say, and gaps.
pub(super) fn said(world: &mut World, id: BrowserId) -> Vec<String> {
    let mut said = Vec::new();
    for text in world.texts(id) {
        let (header, payload) = text.split_once('\n').unwrap_or((&text, ""));
        match header.split(' ').next() {
            Some("message") => said.push(payload.to_owned()),
            Some("stored") => said.push(format!("stored {payload}")),
            Some("gap") => said.push("gap".to_owned()),
            _ => {}
        }
    }
    said
}

#[test]
fn it_says_what_a_websocket_for_all_topics_does() {
    for mut world in worlds() {
        let socket = world.ask(&upgrade("/ws/", &["Sec-WebSocket-Protocol: wsloop.1"]));
        let id = stream(&mut world, &format!("{CHAT}&topic=broadcast+plain"));
        world.say(socket, "subscribe 1 broadcast chat/42");
        world.say(socket, "subscribe 2 broadcast plain");
        publish(&mut world, "broadcast:plain", "not kept");
        keep(&mut world, CHAT_CHANNEL, &["one", "two\nlines", "a\rcr", "\n", "id: x\n\ndata: y"]);
        world.say(socket, "publish 3 broadcast chat/42\nsaid");
        let mut told = world.texts(socket);
        told.retain(|text| text != "ok 3");
        let mut heard = world.texts(id);
        // The two came at two times.
        let began = [told.remove(1), heard.remove(1)];
        assert!(began.iter().all(|text| text.starts_with("subscribed broadcast chat/42 @")));
        assert_eq!(heard, told);
        assert_eq!(told.len(), 11, "{told:?}");
        let last = told.last().expect("a message").clone();
        let (_, position) = last.split('\n').next().expect("one").rsplit_once(' ').expect("four");
        let stands = Vector::parse(&format!("broadcast chat/42 {position}"));
        assert!(stands.is_some() && Vector::parse(&last_id(&world, id)) == stands);
        let metrics = world.metrics();
        assert_eq!((metrics.streams, metrics.conns_open, metrics.subscriptions), (1, 2, 4));
        world.hang_up(id);
        assert_eq!(world.metrics().subscriptions, 2);
        world.server.check_invariants();
    }
}

#[test]
fn its_head_is_that_of_a_stream_and_its_beat_is_a_comment() {
    let heartbeat = Some(b"hb".to_vec());
    let mut world = World::new(Settings { heartbeat, ..kept(settings()) });
    let id = stream(&mut world, CHAT);
    let response = world.response(id);
    assert_eq!(response.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(response.header("X-Wsloop-Granted"), None);
    let welcome = "welcome subscriptions=1000 commands=64 names=131072 message=1046528 beat=4";
    assert_eq!(world.texts(id)[0], welcome);
    world.pass(5_000);
    assert_eq!(world.heard(id), [Heard::Ping(Vec::new())], "a comment");
    let bare = world.accept();
    world.browsers[bare].bare = true;
    world.send(bare, &request("HEAD", CHAT, &[HOST, EVENTS]));
    world.run();
    assert_eq!(world.status(bare), Some(200));
    assert_eq!((world.metrics().streams, world.metrics().commands_total), (1, 1));
}

#[test]
fn whoever_comes_back_has_what_it_missed_and_then_what_is_live() {
    for in_url in [false, true] {
        for mut world in worlds() {
            let id = stream(&mut world, CHAT);
            keep(&mut world, CHAT_CHANNEL, &["one", "two"]);
            assert_eq!(said(&mut world, id), ["one", "two"]);
            let last = last_id(&world, id);
            world.hang_up(id);
            keep(&mut world, CHAT_CHANNEL, &["three", "four"]);
            let id = match in_url {
                false => resume(&mut world, &format!("{CHAT}&since=broadcast+chat/42+1-0"), &last),
                true => stream(&mut world, &format!("{CHAT}&since={}", last.replace(' ', "%20"))),
            };
            keep(&mut world, CHAT_CHANNEL, &["five"]);
            assert_eq!(said(&mut world, id), ["three", "four", "five"]);
            let last = last_id(&world, id);
            let id = resume(&mut world, CHAT, &last);
            assert_eq!(said(&mut world, id), [""; 0]);
            assert_eq!(last_id(&world, id), last, "who has heard nothing has it, too");
            assert_eq!((world.metrics().recovered_total, world.metrics().gaps_total), (2, 0));
        }
    }
}

#[test]
fn who_was_there_when_nothing_was_gets_everything() {
    for mut world in worlds() {
        let id = stream(&mut world, CHAT);
        let last = last_id(&world, id);
        assert!(last.starts_with("b chat/42 @"), "{last}");
        world.hang_up(id);
        keep(&mut world, CHAT_CHANNEL, &["one"]);
        let stands = Vector::parse(&last).expect("an id");
        let (pair, position) = stands.iter().next().expect("a channel");
        for last in [&last, &format!("{pair} {position}")] {
            let id = resume(&mut world, CHAT, last);
            assert_eq!(said(&mut world, id), ["one"], "{last}");
        }
    }
}

#[test]
fn what_is_not_there_any_more_or_never_was_is_a_gap_and_what_is_no_vector_is_nothing() {
    for mut world in worlds() {
        keep(&mut world, CHAT_CHANNEL, &["one"]);
        store(&mut world, CHAT_CHANNEL, "one");
        for (last, expected) in [
            ("broadcast chat/42 0-1", &["gap", "stored one"][..]),
            ("broadcast chat/42 @17.dead", &["gap", "stored one"]),
            ("broadcast chat/42 -", &["gap", "stored one"]),
            ("broadcast chat/42 never", &["gap", "stored one"]),
            ("b chat/42 'never", &["gap", "stored one"]),
            ("b chat/42 0-1", &["gap", "stored one"]),
            ("broadcast chat/43 1-0", &["stored one"]),
            ("user chat/42 1-0", &["stored one"]),
            ("group:chat chat/42 1-0", &["stored one"]),
            ("17", &["stored one"]),
            ("\u{e9}", &["stored one"]),
            ("broadcast chat/42", &["stored one"]),
        ] {
            let id = resume(&mut world, CHAT, last);
            assert_eq!(said(&mut world, id), expected, "{last}");
            let (given, last) = (last, last_id(&world, id));
            let is_time = last.contains('@');
            assert!(last.starts_with("b chat/42 ") && !is_time, "{given}: {last}");
            assert_eq!(last.split(' ').count(), 3, "{given}");
        }
        assert_eq!(world.metrics().gaps_total, 6);
    }
}

/// It hears the second channel later, and is cut off before.
#[test]
fn the_position_of_a_channel_that_is_not_heard_yet_is_kept() {
    let two = "/ws/?topic=broadcast+chat/42&topic=broadcast+chat/43";
    let mut world = World::new(kept(with_redis()));
    let id = stream(&mut world, two);
    keep(&mut world, CHAT_CHANNEL, &["one"]);
    keep(&mut world, "broadcast:chat/43", &["first"]);
    assert_eq!(said(&mut world, id), ["one", "first"]);
    let last = last_id(&world, id);
    assert_eq!(last.split(' ').count(), 6, "{last}");
    world.hang_up(id);
    keep(&mut world, "broadcast:chat/43", &["second"]);
    world.redis.deny("EVAL", "wsloop:history:{broadcast:chat/43}".to_owned());
    let id = resume(&mut world, two, &last);
    assert_eq!(said(&mut world, id), [""; 0]);
    let channels = |last: &str| {
        let words: Vec<&str> = last.split(' ').collect();
        words.chunks(3).map(|three| three.join(" ")).collect::<BTreeSet<String>>()
    };
    assert_eq!(channels(&last_id(&world, id)), channels(&last));
    keep(&mut world, CHAT_CHANNEL, &["two"]);
    let last = last_id(&world, id);
    world.hang_up(id);
    world.redis.allow_all();
    let id = resume(&mut world, two, &last);
    assert_eq!(said(&mut world, id), ["second"]);
}

/// It is cut off between the two: its channel stands nowhere before it has both.
#[test]
fn who_has_no_stored_message_yet_gets_it_again() {
    for mut world in worlds() {
        keep(&mut world, CHAT_CHANNEL, &["one"]);
        store(&mut world, CHAT_CHANNEL, "one");
        let whole = stream(&mut world, CHAT);
        let bytes = world.browsers[whole].taken;
        for taken in 0..bytes {
            let id = world.accept();
            world.stall(id, taken);
            world.send(id, &asks(CHAT, &[]));
            world.run();
            let told = said(&mut world, id);
            let last = last_id(&world, id);
            assert_eq!(last.is_empty(), told.is_empty(), "after {taken} bytes");
            world.vanish(id);
        }
    }
}

#[test]
fn a_topic_that_is_refused_is_told_and_the_others_are_heard() {
    let allow = wsloop::Allow::parse("subscribe-broadcast").expect("a list");
    let mut world = World::new(Settings { allow, ..kept(settings()) });
    let more = "&topic=user+foo&topic=all+foo&topic=broadcast+chat/42&topic=broadcast+foo";
    let id = stream(&mut world, &format!("{CHAT}{more}"));
    let told = world.texts(id);
    let begin = |text: &String| text.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let mut answers: Vec<String> = told.iter().map(begin).collect();
    answers.retain(|text| !text.starts_with("subscribed") && !text.starts_with("welcome"));
    answers.sort();
    assert_eq!(answers, ["ok 1", "ok 5", "refused 2 403", "refused 3 400", "refused 4 409"]);
    assert_eq!((world.metrics().streams, world.metrics().subscriptions), (1, 2));
}

#[test]
fn what_is_no_list_of_topics_is_refused_with_the_mend() {
    let mut world = World::new(Settings { max_subscriptions: 2, ..settings() });
    for (query, text) in [
        ("topic=", "one space between"),
        ("topic=broadcast", "one space between"),
        ("topic=broadcast++foo", "one space between"),
        ("topic=broadcast+foo+broadcast+1-0", "positions are in since="),
        ("topic=broadcast+%254", "one space between"),
        ("topic=broadcast+foo%0Abar", "one space between"),
        ("topic=broadcast+foo&subscribe-user", "no options"),
        ("topic=broadcast+foo&binary", "no options"),
        ("topic=broadcast+foo&subscribe-brodcast", "no options"),
        ("topic=user+a&topic=user+b&topic=user+c", "at most 2 topics"),
    ] {
        let id = world.ask(&asks(&format!("/ws/?{query}"), &[]));
        assert_eq!(world.status(id), Some(400), "{query}");
        assert!(world.response(id).text().contains(text), "{}", world.response(id).text());
    }
    // Who has options and no topics hears the facility of no name, as always.
    for query in ["subscribe-broadcast", "&binary&subscribe-broadcast&topics=broadcast+foo"] {
        let id = stream(&mut world, &format!("/ws/?{query}"));
        publish(&mut world, "broadcast:", "hello");
        assert_eq!(world.heard(id).len(), 1, "{query}");
    }
    let id = stream(&mut world, "/ws/foo?subscribe-broadcast&topic=user+foo");
    publish(&mut world, CHANNEL, "hello");
    assert_eq!(world.texts(id), ["hello"]);
}

#[test]
fn a_page_that_only_publishes_is_told_that_the_server_is_there() {
    for (ping_interval_ms, beat) in [(0, 0), (30_000, 30)] {
        let mut world = World::new(Settings { ping_interval_ms, ..settings() });
        for query in ["", "&", "since=broadcast+a+1-0&", "_=1"] {
            let id = stream(&mut world, &format!("/ws/?{query}"));
            let welcome = world.texts(id);
            assert!(welcome.len() == 1 && welcome[0].starts_with("welcome "), "{welcome:?}");
            assert!(welcome[0].ends_with(&format!(" beat={beat}")), "{welcome:?}");
            world.pass(35_000);
            assert_eq!(world.heard(id).len(), usize::from(beat > 0), "{query}");
        }
        world.shut_down();
    }
}

#[test]
fn no_more_topics_are_under_way_than_commands_may_be() {
    let mut world = World::new(Settings { max_commands: 3, ..kept(with_redis()) });
    let topics: Vec<String> = (0..50).map(|n| format!("topic=broadcast+chat/{n}")).collect();
    world.redis.held = true;
    let id = world.ask(&asks(&format!("/ws/?{}", topics.join("&")), &[]));
    assert_eq!((world.metrics().commands_total, world.metrics().subscriptions), (3, 3));
    world.redis.held = false;
    world.run();
    let answers = world.texts(id).into_iter().filter(|text| text.starts_with("ok ")).count();
    assert_eq!((answers, world.metrics().subscriptions), (50, 50));
}

#[test]
fn positions_that_take_too_much_room_are_refused_and_no_channel_is_without_its_own() {
    let mut world = World::new(kept(settings()));
    let topic = |n: usize| format!("topic=broadcast+chat/{n}");
    let topics: Vec<String> = (100..210).map(topic).collect();
    let id = stream(&mut world, &format!("/ws/?{}", topics.join("&")));
    let told = world.texts(id);
    let refused = told.iter().filter(|text| text.contains(" 413 ")).count();
    let heard = told.iter().filter(|text| text.starts_with("ok ")).count();
    assert_eq!((heard, refused), (93, 17));
    let last = last_id(&world, id);
    assert_eq!((last.split(' ').count(), last.len() < 4 << 10), (3 * heard, true), "{last}");
    let id = resume(&mut world, &format!("/ws/?{}", topics.join("&")), &last);
    let told = world.texts(id);
    assert_eq!(told.iter().filter(|text| text.starts_with("ok ")).count(), heard);
    // What has no positions takes no room.
    let topics: Vec<String> = (100..300).map(|n| format!("topic=user+{n}")).collect();
    let id = stream(&mut world, &format!("/ws/?{}", topics.join("&")));
    assert!(!world.texts(id).iter().any(|text| text.contains(" 413 ")));
}

#[test]
fn who_reads_too_slowly_is_told_why_it_ends_and_loses_nothing() {
    for mut world in [kept(with_redis()), kept(settings())]
        .map(|settings| World::new(Settings { outbox_limit: 1_000, ..settings }))
    {
        for appetite in (0..400).step_by(7) {
            let id = stream(&mut world, CHAT);
            said(&mut world, id);
            world.stall(id, appetite);
            let texts: Vec<String> = (0..15).map(|n| format!("{n} {}", "x".repeat(90))).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            keep(&mut world, CHAT_CHANNEL, &texts);
            world.resume(id);
            let heard = world.heard(id);
            let Some(Heard::Close(Some(1008), _)) = heard.last() else { panic!("{heard:?}") };
            let last = last_id(&world, id);
            let again = resume(&mut world, CHAT, &last);
            let messages = |heard: &[Heard]| {
                let text = |heard: &Heard| match heard {
                    Heard::Text(text) if text.starts_with("message") => Some(text.clone()),
                    _ => None,
                };
                heard.iter().filter_map(text).collect::<Vec<String>>()
            };
            let all = [messages(&heard), messages(&world.heard(again))].concat();
            let payloads: Vec<&str> =
                all.iter().filter_map(|text| text.split_once('\n')).map(|(_, text)| text).collect();
            assert_eq!(payloads, texts, "{appetite}");
            world.hang_up(again);
        }
    }
}

#[test]
fn an_outage_is_mended_from_the_history_or_said_to_be_a_gap() {
    let mut world = World::new(kept(with_redis()));
    let id = stream(&mut world, CHAT);
    keep(&mut world, CHAT_CHANNEL, &["one"]);
    world.kill_redis();
    world.redis.publish_kept(CHAT_CHANNEL, "two", MOST);
    world.revive_redis();
    keep(&mut world, CHAT_CHANNEL, &["three"]);
    assert_eq!(said(&mut world, id), ["one", "two", "three"]);
    let last = last_id(&world, id);
    world.kill_redis();
    world.redis.histories.forget();
    world.redis.publish_kept(CHAT_CHANNEL, "four", MOST);
    world.revive_redis();
    assert_eq!(said(&mut world, id), ["gap"]);
    assert_ne!(last_id(&world, id), last);
}

#[test]
fn the_application_is_asked_about_each_topic() {
    let mut world = World::new(Settings { max_commands: 1, ..by_application() });
    let target = "/ws/?topic=user+a%2520b&topic=broadcast+c";
    let id = world.ask(&asks(target, &["Cookie: sessionid=johns-key"]));
    for (path, answer) in [
        (target, "204 No Content\r\nX-Wsloop-User: john\r\n\r\n"),
        ("/ws/a%20b?subscribe-user", "204 No Content\r\nX-Wsloop-User: john\r\n\r\n"),
        ("/ws/c?subscribe-broadcast", "403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
    ] {
        let (_, question) = world.question();
        assert!(question.contains(&format!("X-Original-URI: {path}\r\n")), "{question}");
        world.answer(format!("HTTP/1.1 {answer}"));
    }
    let told = world.texts(id);
    assert_eq!(told[1..], ["subscribed user a%20b -", "ok 1", "refused 2 403 no"]);
    world.publish("user:john:a b", "hello");
    assert_eq!(world.texts(id), ["message user a%20b -\nhello"]);
    assert_eq!(last_id(&world, id), "", "no channel has a position");
}

#[test]
fn groups_have_positions_of_their_own_and_those_that_are_not_granted_are_forgotten() {
    let mut world = World::new(kept(by_session()));
    let john = br#"{"wsloop:username":"john","ws4redis:memberof":["a","b c"]}"#;
    world.redis.set("session:johns-key", john);
    let cookie = "Cookie: sessionid=johns-key";
    let id = world.ask(&asks("/ws/?topic=group+chat/42", &[cookie]));
    keep(&mut world, "group:b c:chat/42", &["one"]);
    let last = last_id(&world, id);
    assert_eq!(said(&mut world, id), ["one"]);
    world.hang_up(id);
    keep(&mut world, "group:b c:chat/42", &["two"]);
    keep(&mut world, "group:d:chat/42", &["three"]);
    let more = format!("Last-Event-ID: g:d chat/42 1 {last}");
    let id = world.ask(&asks("/ws/?topic=group+chat/42", &[cookie, &more]));
    assert_eq!(said(&mut world, id), ["two"]);
    let words: Vec<String> = last_id(&world, id).split(' ').map(str::to_owned).collect();
    assert_eq!((words.len(), &*words[0], &*words[3]), (6, "g:a", "g:b%20c"), "{words:?}");
}

#[test]
fn when_the_server_ends_it_is_told_and_comes_back() {
    let mut world = World::new(kept(with_redis()));
    let id = stream(&mut world, CHAT);
    world.shut_down();
    world.pass(1_000);
    assert!(matches!(world.heard(id).last(), Some(Heard::Close(Some(1001), _))));
    assert!(world.server.is_done());
}

/// The application has not answered about the second topic when the page is cut off.
#[test]
fn a_position_that_is_given_is_kept_until_its_topic_is_heard() {
    let mut world = World::new(Settings { max_commands: 1, ..kept(by_application()) });
    let given = "broadcast chat/42 0-1 broadcast chat/43 7-0 broadcast chat/44 8-0";
    let target = "/ws/?topic=broadcast+chat/42&topic=broadcast+chat/43";
    let cookie = "Cookie: sessionid=johns-key";
    let id = world.ask(&asks(target, &[cookie, &format!("Last-Event-ID: {given}")]));
    for _ in 0..2 {
        world.question();
        world.answer("HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n\r\n");
    }
    assert_eq!(said(&mut world, id), ["gap"]);
    let last = last_id(&world, id);
    assert!(last.starts_with("b chat/43 7 b chat/42 @"), "{last}");
    assert_eq!(last.split(' ').count(), 6, "{last}");
}
