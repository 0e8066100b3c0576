//! What is heard, in which order, and when no more.

use super::*;
use wsloop::{HistoryRule, HistoryRules};

const HEARS: &str = "/ws/chat?subscribe-broadcast";
const CHANNEL: &str = "broadcast:chat";
const DEFLATE: &str = "Sec-WebSocket-Extensions: permessage-deflate";

/// Somebody else publishes, to whichever broker there is.
fn publish(world: &mut World, with_redis: bool, text: &str) {
    if with_redis {
        return world.publish(CHANNEL, text);
    }
    let speaker = world.open("/ws/chat?publish-broadcast");
    world.say(speaker, text);
    world.hang_up(speaker);
}

/// A world with one of the brokers.
fn worlds() -> [(World, bool); 2] {
    [(World::new(settings()), false), (World::new(with_redis()), true)]
}

fn count_subscribed(world: &World) -> usize {
    world.redis.subscribed().iter().filter(|name| *name == CHANNEL).count()
}

#[test]
fn each_message_comes_with_its_channel_and_facility() {
    for (mut world, with_redis) in worlds() {
        let id = open(&mut world, &[]);
        world.say(id, "subscribe 1 broadcast chat");
        assert_eq!(world.texts(id), ["subscribed broadcast chat -", "ok 1"]);
        publish(&mut world, with_redis, "hello\nyou");
        assert_eq!(world.texts(id), ["message broadcast chat -\nhello\nyou"]);
        // Its own comes back.
        world.send_frame(id, Opcode::Binary, b"publish 2 broadcast chat\n\xff");
        let mut heard = world.heard(id);
        heard.sort_by_key(|heard| matches!(heard, Heard::Text(_)));
        let binary = Heard::Binary(b"message broadcast chat -\n\xff".to_vec());
        assert_eq!(heard, [binary, Heard::Text("ok 2".to_owned())]);
        // Another has another, and this one nothing of it.
        world.say(id, "publish 3 broadcast elsewhere\nhello");
        assert_eq!(world.texts(id), ["ok 3"]);
        assert_eq!(answer(&mut world, id, "unsubscribe 4 broadcast chat"), "ok 4");
        publish(&mut world, with_redis, "nobody is there");
        assert_eq!(world.texts(id), [""; 0]);
        assert_eq!(world.metrics().channels, 0);
    }
}

#[test]
fn what_is_stored_comes_before_what_is_live() {
    for (mut world, with_redis) in worlds() {
        publish(&mut world, with_redis, "stored");
        let id = open(&mut world, &[]);
        world.say(id, "subscribe 1 broadcast chat");
        let expected = ["subscribed broadcast chat -", "stored broadcast chat -\nstored", "ok 1"];
        assert_eq!(world.texts(id), expected);
        // Who was away and knows no position is told of the gap.
        let id = open(&mut world, &[]);
        world.say(id, "subscribe 1 broadcast chat broadcast -");
        let expected = [
            "subscribed broadcast chat -",
            "gap broadcast chat -",
            "stored broadcast chat -\nstored",
            "ok 1",
        ];
        assert_eq!(world.texts(id), expected);
    }
}

#[test]
fn what_comes_while_the_stored_message_is_asked_for_is_held_and_not_sent_twice() {
    let mut world = World::new(with_redis());
    world.publish(CHANNEL, "old");
    let id = open(&mut world, &[]);
    world.redis.paused = true;
    world.say(id, "subscribe 1 broadcast chat");
    world.redis.serve(1);
    world.run();
    assert_eq!(world.texts(id), [""; 0], "the channel alone is confirmed");
    world.publish(CHANNEL, "one");
    world.publish(CHANNEL, "two");
    world.redis.paused = false;
    world.run();
    let expected = [
        "subscribed broadcast chat -",
        "message broadcast chat -\none",
        "message broadcast chat -\ntwo",
        "ok 1",
    ];
    assert_eq!(world.texts(id), expected, "the stored message is one of them");
}

#[test]
fn each_group_is_a_channel_of_its_own() {
    let mut world = World::new(by_session());
    let john = r#"{"wsloop:username":"john","ws4redis:memberof":["a b","c"]}"#;
    world.redis.set("session:johns-key", john);
    let id = open(&mut world, &["Cookie: sessionid=johns-key"]);
    world.publish("group:c:chat", "stored");
    world.say(id, "subscribe 1 group chat group:c -");
    let texts = world.texts(id);
    for line in [
        "subscribed group:a%20b chat -",
        "subscribed group:c chat -",
        "gap group:c chat -",
        "stored group:c chat -\nstored",
    ] {
        assert!(texts.iter().any(|text| text == line), "{line:?} is not in {texts:?}");
    }
    assert_eq!((texts.len(), texts.last().map(String::as_str)), (5, Some("ok 1")));
    world.publish("group:a b:chat", "hello");
    assert_eq!(world.texts(id), ["message group:a%20b chat -\nhello"]);
    assert_eq!(answer(&mut world, id, "unsubscribe 2 group chat"), "ok 2");
    assert_eq!(world.redis.subscribed(), ["wsloop:control"]);
}

#[test]
fn plain_conns_of_the_channel_hear_as_they_always_do() {
    let mut world = World::new(with_redis());
    let plain = world.open(HEARS);
    let id = open(&mut world, &[]);
    assert_eq!(answer(&mut world, id, "subscribe 1 broadcast chat"), "ok 1");
    world.publish(CHANNEL, "hello");
    assert_eq!(world.texts(plain), ["hello"]);
    assert_eq!(world.texts(id), ["message broadcast chat -\nhello"]);
    // Redis is told when both have gone, whoever goes first.
    world.hang_up(plain);
    assert_eq!(count_subscribed(&world), 1);
    world.publish(CHANNEL, "again");
    assert_eq!(world.texts(id), ["message broadcast chat -\nagain"]);
    let plain = world.open(HEARS);
    assert_eq!(world.texts(plain), ["again"]);
    world.hang_up(id);
    assert_eq!(count_subscribed(&world), 1);
    world.publish(CHANNEL, "and again");
    assert_eq!(world.texts(plain), ["and again"]);
    world.hang_up(plain);
    assert_eq!(count_subscribed(&world), 0);
    assert_eq!(world.metrics().channels, 0);
}

#[test]
fn a_message_is_compressed_once_for_all() {
    let mut world = World::new(settings());
    let ids: Vec<BrowserId> = (0..3).map(|_| open(&mut world, &[DEFLATE])).collect();
    for id in &ids {
        assert_eq!(answer(&mut world, *id, "subscribe 1 broadcast chat"), "ok 1");
    }
    let text = "words ".repeat(1000);
    publish(&mut world, false, &text);
    for id in ids {
        assert_eq!(world.texts(id), [format!("message broadcast chat -\n{text}")]);
    }
    assert_eq!(world.metrics().compressions_total, 1);
}

#[test]
fn a_message_with_a_position_is_compressed_once_as_well() {
    let rules = vec![HistoryRule::parse("chat=20/60").expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    for (base, is_redis) in [(settings(), false), (with_redis(), true)] {
        let mut world = World::new(Settings { history: history.clone(), ..base });
        let ids: Vec<BrowserId> = (0..3).map(|_| open(&mut world, &[DEFLATE])).collect();
        let command = "subscribe 1 broadcast chat broadcast @0.0";
        ids.iter().for_each(|id| world.say(*id, command));
        ids.iter().for_each(|id| assert_eq!(world.texts(*id).pop().as_deref(), Some("ok 1")));
        for text in ["words ".repeat(1000), "more ".repeat(1000)] {
            match is_redis {
                true => world.redis.publish_kept(CHANNEL, &text, 20),
                false => publish(&mut world, false, &text),
            }
            world.run();
            let texts: Vec<_> = ids.iter().map(|id| world.texts(*id)).collect();
            let (header, payload) = texts[0][0].split_once('\n').expect("a payload");
            assert!(payload == text && !header.ends_with(" -"), "{header}");
            assert!(texts.iter().all(|of| *of == texts[0]));
        }
        assert_eq!(world.metrics().compressions_total, 2, "with Redis: {is_redis}");
    }
}

#[test]
fn after_a_loss_of_redis_there_is_a_gap_and_what_is_stored_then() {
    let mut world = World::new(with_redis());
    let id = open(&mut world, &[]);
    assert_eq!(answer(&mut world, id, "subscribe 1 broadcast chat"), "ok 1");
    world.kill_redis();
    let now_ms = world.now_ms;
    world.redis.publish(CHANNEL, "missed", EXPIRE_S, now_ms);
    assert_eq!(world.texts(id), [""; 0]);
    world.revive_redis();
    assert_eq!(
        world.texts(id),
        ["gap broadcast chat -", "stored broadcast chat -\nmissed"],
        "and its socket has stayed"
    );
    world.publish(CHANNEL, "live");
    assert_eq!(world.texts(id), ["message broadcast chat -\nlive"]);
}

#[test]
fn who_wishes_to_hear_while_redis_is_away_waits_and_is_refused_in_the_end() {
    let mut world = World::new(with_redis());
    let id = open(&mut world, &[]);
    world.cut_redis();
    world.say(id, "subscribe 1 broadcast chat");
    world.pass(2_000);
    assert_eq!(world.texts(id), ["subscribed broadcast chat -", "ok 1"], "it came back");
    world.redis.reach = Reach::Silent;
    world.cut_redis();
    world.pass(1_000);
    world.say(id, "subscribe 2 broadcast other");
    assert_eq!(world.texts(id), [""; 0]);
    world.pass(REDIS_TIMEOUT_MS);
    let texts = world.texts(id);
    assert!(texts.len() == 1 && texts[0].starts_with("refused 2 503 "), "{texts:?}");
    world.redis.reach = Reach::Refuses;
    world.pass(20_000);
    assert_eq!(refusal(&mut world, id, "subscribe 3 broadcast other"), 503);
    assert_eq!(world.metrics().subscriptions, 1);
    world.redis.reach = Reach::Answers;
    world.pass(6_000);
    assert_eq!(world.texts(id), ["gap broadcast chat -"]);
    assert_eq!(answer(&mut world, id, "subscribe 4 broadcast other"), "ok 4");
}

#[test]
fn what_redis_denies_to_hear_is_refused() {
    let mut world = World::new(with_redis());
    world.redis.deny("SUBSCRIBE", CHANNEL.to_owned());
    let id = open(&mut world, &[]);
    assert_eq!(refusal(&mut world, id, "subscribe 1 broadcast chat"), 503);
    assert_eq!(answer(&mut world, id, "subscribe 2 broadcast other"), "ok 2");
    assert_eq!(world.metrics().subscriptions, 1);
}

#[test]
fn who_leaves_before_it_hears_overtakes_its_wish() {
    let mut world = World::new(with_redis());
    let id = open(&mut world, &[]);
    world.redis.paused = true;
    world.say(id, "subscribe 1 broadcast chat");
    world.say(id, "unsubscribe 2 broadcast chat");
    world.say(id, "subscribe 3 broadcast chat");
    let texts = world.texts(id);
    assert!(texts[0].starts_with("refused 1 409 "), "{texts:?}");
    assert_eq!(texts[1..], ["ok 2"]);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.texts(id), ["subscribed broadcast chat -", "ok 3"]);
    assert_eq!(count_subscribed(&world), 1);
    world.hang_up(id);
    assert_eq!(count_subscribed(&world), 0);
}

#[test]
fn who_does_not_read_is_closed_and_nobody_else() {
    let limits = Settings { outbox_limit: 100_000, max_message_size: 50_000, ..settings() };
    let mut world = World::new(limits);
    let (slow, quick) = (open(&mut world, &[]), open(&mut world, &[]));
    for id in [slow, quick] {
        assert_eq!(answer(&mut world, id, "subscribe 1 broadcast chat"), "ok 1");
    }
    world.stall(slow, 0);
    for _ in 0..10 {
        publish(&mut world, false, &"x".repeat(20_000));
    }
    assert_eq!(world.texts(quick).len(), 10);
    assert_eq!(world.metrics().slow_total, 1);
    world.resume(slow);
    assert_eq!(closed_with(&mut world, slow).0, Some(1008));
}

#[test]
fn a_crowd_that_comes_at_once_asks_once() {
    let mut world = World::new(with_redis());
    world.publish(CHANNEL, "stored");
    let ids: Vec<BrowserId> = (0..50).map(|_| open(&mut world, &[])).collect();
    world.redis.take_commands();
    world.redis.paused = true;
    for id in &ids {
        world.browsers[*id].send_frame(Opcode::Text, b"subscribe 1 broadcast chat");
    }
    world.run();
    world.redis.paused = false;
    world.run();
    for id in ids {
        assert_eq!(world.texts(id).len(), 3, "subscribed, stored, ok");
    }
    let commands = world.redis.take_commands();
    assert_eq!(commands.iter().filter(|it| it.contains("GETRANGE")).count(), 1, "{commands:?}");
    assert_eq!(commands.iter().filter(|it| it.contains("SUBSCRIBE")).count(), 1, "{commands:?}");
}

/// As with a real Redis, whoever publishes is told how many hear it, and all conns are one.
#[test]
fn who_publishes_is_told_that_it_is_heard() {
    let mut world = World::new(settings());
    let app = world.connect_resp();
    assert_eq!(world.ask_for(app, "PUBLISH broadcast:foo one"), ":0\n");
    let id = open(&mut world, &[]);
    assert_eq!(answer(&mut world, id, "subscribe 1 broadcast foo"), "ok 1");
    assert_eq!(world.ask_for(app, "PUBLISH broadcast:foo two"), ":1\n");
    world.open("/ws/foo?subscribe-broadcast");
    assert_eq!(world.ask_for(app, "PUBLISH broadcast:foo three"), ":1\n");
    let channels = world.ask_for(app, "PUBSUB CHANNELS");
    assert_eq!(channels.matches("broadcast:foo").count(), 1, "{channels}");
    assert!(world.ask_for(app, "PUBSUB NUMSUB broadcast:foo").ends_with(":1\n"));
    assert_eq!(answer(&mut world, id, "unsubscribe 2 broadcast foo"), "ok 2");
}
