//! The stream of one facility goes on behind what it heard last, where its channels have a history.

use super::topics::*;
use super::*;
use wsloop::{Overflows, Settings};

const CHAT: &str = "/ws/chat/42?subscribe-broadcast";

#[test]
fn it_hears_what_a_websocket_of_the_same_url_does_and_each_event_has_an_id() {
    for mut world in worlds() {
        let socket = world.open(CHAT);
        let id = stream(&mut world, CHAT);
        assert!(last_id(&world, id).starts_with("b chat/42 @"), "nothing is heard yet");
        assert_eq!(world.heard(id), []);
        let mut ids = vec![last_id(&world, id)];
        for text in ["one", "two\nlines", "a\rcr", "\n", "id: x\n\ndata: y"] {
            keep(&mut world, CHAT_CHANNEL, &[text]);
            assert_eq!(world.texts(id), [text]);
            ids.push(last_id(&world, id));
        }
        assert_eq!(world.texts(socket).len(), 5);
        ids.dedup();
        assert_eq!(ids.len(), 6, "{ids:?}");
        store(&mut world, CHAT_CHANNEL, "id: x\n\ndata: y");
        let late = stream(&mut world, CHAT);
        assert_eq!(
            (world.texts(late), last_id(&world, late)),
            (vec!["id: x\n\ndata: y".to_owned()], last_id(&world, id))
        );
        let binary = stream(&mut world, "/ws/chat/42?subscribe-broadcast&binary");
        assert!(matches!(&world.heard(binary)[..], [Heard::Binary(_)]));
        assert_eq!((world.metrics().streams, world.metrics().subscriptions), (3, 0));
        assert_eq!(world.metrics().channels, 2, "each kind by itself");
        for id in [id, late, binary, socket] {
            world.hang_up(id);
        }
        assert_eq!((world.metrics().streams, world.metrics().channels), (0, 0));
        world.server.check_invariants();
    }
}

#[test]
fn whoever_comes_back_has_exactly_what_it_missed() {
    for mut world in worlds() {
        let id = stream(&mut world, CHAT);
        keep(&mut world, CHAT_CHANNEL, &["one"]);
        let last = last_id(&world, id);
        world.hang_up(id);
        keep(&mut world, CHAT_CHANNEL, &["two", "three"]);
        let id = resume(&mut world, CHAT, &last);
        let url = format!("{CHAT}&since={}", last.replace(' ', "+"));
        let other = stream(&mut world, &url);
        keep(&mut world, CHAT_CHANNEL, &["four"]);
        assert_eq!(world.texts(id), ["two", "three", "four"]);
        assert_eq!(world.texts(other), ["two", "three", "four"]);
        let last_of_all = last_id(&world, other);
        let id = resume(&mut world, CHAT, &last_of_all);
        assert_eq!(world.heard(id), []);
        for _ in 0..MOST {
            keep(&mut world, CHAT_CHANNEL, &["more"]);
        }
        store(&mut world, CHAT_CHANNEL, "more");
        let id = resume(&mut world, CHAT, &last);
        assert_eq!(world.texts(id), ["gap broadcast chat/42", "more"]);
        let fresh = resume(&mut world, CHAT, "no vector");
        assert_eq!(world.texts(fresh), ["more"]);
        assert_eq!(last_id(&world, id), last_id(&world, fresh));
    }
}

#[test]
fn each_of_its_channels_has_a_position() {
    let mut world = World::new(kept(by_session()));
    world.redis.set("session:johns-key", br#"{"wsloop:username":"john"}"#);
    let target = "/ws/chat/42?subscribe-broadcast&subscribe-user";
    let cookie = "Cookie: sessionid=johns-key";
    let id = world.ask(&asks(target, &[cookie]));
    assert_eq!(world.status(id), Some(200));
    keep(&mut world, "user:john:chat/42", &["mine"]);
    keep(&mut world, CHAT_CHANNEL, &["everybody's"]);
    assert_eq!(world.texts(id), ["mine", "everybody's"]);
    let last = last_id(&world, id);
    assert_eq!(last.split(' ').count(), 6, "{last}");
    world.hang_up(id);
    keep(&mut world, "user:john:chat/42", &["mine too"]);
    let id = world.ask(&asks(target, &[cookie, &format!("Last-Event-ID: {last}")]));
    assert_eq!(world.texts(id), ["mine too"]);
    world.hang_up(id);
    // It is nobody's any more, and what it knew of John is of no use to it.
    let id = resume(&mut world, "/ws/chat/42?subscribe-broadcast", &last);
    let words = last_id(&world, id);
    assert_eq!((words.split(' ').count(), world.heard(id)), (3, vec![]), "{words}");
}

#[test]
fn a_channel_without_a_history_has_no_id() {
    for mut world in worlds() {
        let id = resume(&mut world, "/ws/news?subscribe-broadcast", "broadcast news 1-0");
        publish(&mut world, "broadcast:news", "hello");
        assert_eq!((world.texts(id), last_id(&world, id)), (vec!["hello".to_owned()], "".into()));
    }
}

#[test]
fn it_opens_when_it_hears_and_is_refused_when_it_cannot() {
    let mut world = World::new(kept(with_redis()));
    world.redis.paused = true;
    let id = world.ask(&asks(CHAT, &[]));
    assert_eq!(world.status(id), None);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.status(id), Some(200));
    for denied in [("SUBSCRIBE", CHAT_CHANNEL), ("EVAL", "wsloop:history:{broadcast:chat/42}")] {
        world.hang_up(id);
        world.redis.deny(denied.0, denied.1.to_owned());
        let refused = world.ask(&asks(CHAT, &[]));
        assert_eq!(world.status(refused), Some(503), "{denied:?}");
        world.redis.allow_all();
    }
    world.kill_redis();
    world.pass(20_000);
    let id = world.ask(&asks(CHAT, &[]));
    world.pass(20_000);
    assert_eq!(world.response(id).header("Retry-After"), Some("5"));
    world.server.check_invariants();
}

#[test]
fn an_outage_is_mended_or_said_to_be_a_gap() {
    let mut world = World::new(kept(with_redis()));
    let id = stream(&mut world, CHAT);
    keep(&mut world, CHAT_CHANNEL, &["one"]);
    world.kill_redis();
    world.redis.publish_kept(CHAT_CHANNEL, "two", MOST);
    world.revive_redis();
    keep(&mut world, CHAT_CHANNEL, &["three"]);
    assert_eq!(world.texts(id), ["one", "two", "three"]);
    world.kill_redis();
    world.redis.histories.forget();
    world.redis.publish_kept(CHAT_CHANNEL, "four", MOST);
    world.redis.set(CHAT_CHANNEL, "five");
    world.revive_redis();
    assert_eq!(world.texts(id), ["gap broadcast chat/42", "five"]);
}

/// Where it is cut off makes no difference: what is stored comes behind the gap, or again.
#[test]
fn a_stream_that_is_cut_off_in_a_gap_has_what_is_stored_when_it_is_back() {
    for target in [CHAT, "/ws/?topic=broadcast+chat/42"] {
        let mut before = 0;
        for appetite in 0..400 {
            let mut world = World::new(kept(with_redis()));
            let id = stream(&mut world, target);
            keep(&mut world, CHAT_CHANNEL, &["one"]);
            world.heard(id);
            world.stall(id, appetite);
            world.kill_redis();
            world.redis.histories.forget();
            world.redis.set(CHAT_CHANNEL, "five");
            world.revive_redis();
            let (heard, last) = (world.texts(id), last_id(&world, id));
            world.hang_up(id);
            let again = resume(&mut world, target, &last);
            let has_it = |texts: &[String]| texts.iter().any(|text| text.ends_with("five"));
            let (was, is) = (has_it(&heard), has_it(&world.texts(again)));
            assert!(was != is, "{target} {appetite}: {heard:?}");
            before += usize::from(was);
        }
        assert!((1..400).contains(&before), "{target}");
    }
}

/// Topics with long names leave little room in a request.
#[test]
fn a_page_comes_back_with_all_that_a_stream_of_many_topics_has_told_it() {
    for (count, size, most) in
        [(40, 8 << 10, 40), (60, 8 << 10, 52), (80, 8 << 10, 36), (10, 1_500, 9)]
    {
        let mut world = World::new(Settings { max_head_size: size, ..kept(settings()) });
        let topic = |n: usize| format!("topic=broadcast+chat%2F{n:036}");
        let topics: Vec<String> = (0..count).map(topic).collect();
        let target = format!("/ws/?{}", topics.join("&"));
        let id = stream(&mut world, &target);
        let hears = |texts: &[String]| texts.iter().filter(|text| text.starts_with("ok ")).count();
        let (heard, last) = (hears(&world.texts(id)), last_id(&world, id));
        assert_eq!(heard, most, "of {count}");
        let last_line = format!("Last-Event-ID: {last}");
        let cookie = format!("Cookie: sessionid={}", "a".repeat(32));
        let url = format!("{target}&since={}", last.replace(' ', "+").replace('/', "%2F"));
        for (target, more) in [(&target, &[&last_line, &cookie[..]][..]), (&url, &[&cookie[..]])] {
            let id = world.ask(&asks(target, more));
            assert_eq!(world.status(id), Some(200), "{heard} of {count}");
            assert_eq!(hears(&world.texts(id)), heard, "{heard} of {count}");
        }
    }
}

#[test]
fn who_skips_stands_where_it_was_told_last() {
    let overflows = Overflows::parse("latest").expect("a list");
    for settings in [kept(with_redis()), kept(settings())] {
        let overflows = overflows.clone();
        let mut world = World::new(Settings { outbox_limit: 1_000, overflows, ..settings });
        for appetite in (0..300).step_by(11) {
            let id = stream(&mut world, CHAT);
            world.heard(id);
            world.stall(id, appetite);
            let texts: Vec<String> = (0..15).map(|n| format!("{n} {}", "x".repeat(90))).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            keep(&mut world, CHAT_CHANNEL, &texts);
            world.resume(id);
            let heard = world.texts(id);
            assert_eq!(heard.last().map(String::as_str), texts.last().copied(), "{appetite}");
            assert!(heard.len() < texts.len(), "{appetite}");
            let last = last_id(&world, id);
            let again = resume(&mut world, CHAT, &last);
            assert_eq!(world.heard(again), [], "{appetite}");
            world.hang_up(again);
            world.hang_up(id);
        }
        assert!(world.metrics().superseded_total > 100);
    }
}

#[test]
fn whoever_is_disconnected_is_told_so_whatever_its_stream_hears() {
    let mut world = World::new(kept(by_session()));
    world.redis.set("session:johns-key", br#"{"wsloop:username":"john"}"#);
    let targets = [
        "/ws/chat/42?subscribe-broadcast",
        "/ws/chat/42?subscribe-broadcast&subscribe-user",
        "/ws/?topic=broadcast+chat/42",
        "/ws/?topic=user+chat/42",
        "/ws/",
    ];
    let johns = targets.map(|target| world.ask(&asks(target, &["Cookie: sessionid=johns-key"])));
    let nobodys = targets.map(|target| world.ask(&asks(target, &[])));
    for id in johns.into_iter().chain(nobodys) {
        world.heard(id);
    }
    let message = r#"{"disconnect": {"user": "john"}, "code": 4403, "reason": "logged out"}"#;
    world.redis.publish("wsloop:control", message, 0, world.now_ms);
    world.run();
    for (id, target) in johns.into_iter().zip(targets) {
        assert_eq!(world.heard(id), [Heard::Close(Some(4403), "logged out".into())], "{target}");
    }
    keep(&mut world, CHAT_CHANNEL, &["hello"]);
    assert_eq!(nobodys.map(|id| world.heard(id).len()), [1, 1, 1, 0, 0]);
    assert_eq!(world.metrics().disconnected_total, 5);
    world.server.check_invariants();
}

/// A message of some kilobytes, and its number.
fn large(n: usize) -> String {
    format!("{n} {}", "x".repeat(10_000))
}

#[test]
fn what_it_has_missed_comes_as_it_reads_on_each_of_its_channels() {
    let outbox_limit = 40_000;
    let mut world = World::new(Settings { outbox_limit, ..kept(by_session()) });
    world.redis.set("session:johns-key", br#"{"wsloop:username":"john"}"#);
    let target = "/ws/chat/42?subscribe-broadcast&subscribe-user";
    let cookie = "Cookie: sessionid=johns-key";
    let id = world.ask(&asks(target, &[cookie]));
    let last = last_id(&world, id);
    world.hang_up(id);
    for n in 0..MOST - 1 {
        keep(&mut world, CHAT_CHANNEL, &[&large(n)]);
        keep(&mut world, "user:john:chat/42", &[&large(100 + n)]);
    }
    let id = world.ask(&asks(target, &[cookie, &format!("Last-Event-ID: {last}")]));
    world.stall(id, 0);
    world.pass(10_000);
    let mut heard = Vec::new();
    for _ in 0..300 {
        world.resume_for(id, 3_000);
        heard.extend(world.texts(id));
    }
    world.resume(id);
    heard.extend(world.texts(id));
    let number = |text: &String| text.split(' ').next().and_then(|it| it.parse::<usize>().ok());
    let numbers: Vec<usize> = heard.iter().filter_map(number).collect();
    let (mine, everybodys): (Vec<usize>, Vec<usize>) = numbers.into_iter().partition(|n| *n >= 100);
    assert!(everybodys.into_iter().eq(0..MOST - 1));
    assert!(mine.into_iter().eq(100..99 + MOST));
    assert_eq!(world.metrics().gaps_total, 0);
    keep(&mut world, CHAT_CHANNEL, &["live"]);
    assert_eq!(world.texts(id), ["live"]);
}

#[test]
fn a_redis_that_is_lost_before_the_last_page_is_waited_for() {
    let outbox_limit = 80_000;
    let mut world = World::new(Settings { outbox_limit, ..kept(with_redis()) });
    let id = stream(&mut world, CHAT);
    let last = last_id(&world, id);
    world.hang_up(id);
    (0..MOST - 1).for_each(|n| keep(&mut world, CHAT_CHANNEL, &[&large(n)]));
    world.redis.paused = true;
    let id = world.ask(&asks(CHAT, &[&format!("Last-Event-ID: {last}")]));
    world.redis.serve(2);
    world.run();
    assert_eq!(world.status(id), Some(200), "it hears");
    world.kill_redis();
    world.pass(20_000);
    let mut heard = world.texts(id);
    assert!(!heard.is_empty() && heard.len() < MOST - 1);
    world.redis.paused = false;
    world.revive_redis();
    heard.extend(world.texts(id));
    let number = |text: &String| text.split(' ').next().and_then(|it| it.parse::<usize>().ok());
    assert!(heard.iter().filter_map(number).eq(0..MOST - 1));
    assert_eq!(world.metrics().gaps_total, 0);
    world.server.check_invariants();
}
