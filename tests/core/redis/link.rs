//! Life and death of Redis's link.

use super::*;

// Life and death of the link.

#[test]
fn an_idle_link_is_pinged_and_silence_is_down() {
    let mut world = World::new(with_redis());
    let start_ms = world.now_ms;
    world.pass(60_000);
    let pings = world.redis.take_commands();
    assert!(pings.len() >= 10 && pings.iter().all(|command| command == "PING"), "{pings:?}");
    assert_eq!(world.metrics().broker_lost_total, 0);

    // A link on which something arrives is not idle.
    for _ in 0..60 {
        world.pass(1_000);
        world.redis.blurt(b">2\r\n+invalidate\r\n_\r\n");
        world.run();
    }
    assert!(world.redis.take_commands().len() <= 1);

    world.redis.paused = true;
    world.pass(2 * REDIS_TIMEOUT_MS + 100);
    assert_eq!(world.metrics().broker_lost_total, 1, "{} ms", world.now_ms - start_ms);
    assert_eq!(world.metrics().broker_up, 0);
    world.redis.paused = false;
    world.revive_redis();
}

#[test]
fn slow_answers_are_not_silence() {
    let mut world = World::new(with_redis());
    world.redis.paused = true;
    let ids: Vec<BrowserId> = (0..10).map(|n| world.knock(&hears(n))).collect();
    for _ in 0..20 {
        world.redis.serve(1);
        world.run();
        world.pass(REDIS_TIMEOUT_MS / 10);
    }
    assert_eq!(world.metrics().broker_lost_total, 0);
    assert!(ids.into_iter().all(|id| world.status(id) == Some(101)));
}

#[test]
fn what_redis_may_not_say_ends_the_link_and_the_next_one_is_fresh() {
    for nonsense in [
        &b"+OK\r\n"[..],
        b"$5\r\nhello\r\n",
        b"-ERR out of the blue\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$13\r\nbroadcast:foo\r\n:1\r\n",
        b">3\r\n$11\r\nunsubscribe\r\n$13\r\nbroadcast:foo\r\n:1\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"|1\r\n+a\r\n+b\r\n",
        b">3\r\n$7\r\nmessage\r\n$-5\r\n",
    ] {
        let mut world = World::new(with_redis());
        let id = world.open(BOTH);
        world.redis.blurt(nonsense);
        world.run();
        assert_eq!(world.metrics().broker_lost_total, 1, "{}", nonsense.escape_ascii());
        world.pass(5_000);
        assert_eq!(world.metrics().broker_up, 1);
        world.publish(CHANNEL, "live");
        assert_eq!(world.texts(id), ["live"]);
    }
}

#[test]
fn a_reply_that_does_not_fit_its_command_ends_the_link() {
    for reply in [&b":1\r\n"[..], b"%1\r\n+a\r\n+b\r\n", b"+QUEUED\r\n"] {
        let mut world = World::new(with_redis());
        world.redis.paused = true;
        let id = world.knock(HEARS);
        world.redis.serve(1);
        world.run();
        world.redis.blurt(reply);
        world.run();
        assert_eq!(world.metrics().broker_lost_total, 1, "{}", reply.escape_ascii());
        world.redis.paused = false;
        world.pass(5_000);
        world.publish(CHANNEL, "live");
        assert_eq!(world.texts(id), ["live"]);
    }
}

/// The link breaks after every byte of a conversation: afterwards all is as if it had not.
#[test]
fn a_link_that_breaks_anywhere_leaves_nothing_behind() {
    let mut after = 0;
    loop {
        let mut world = World::new(with_redis());
        world.redis.set(CHANNEL, "stored");
        world.redis.cut_after = Some(after);
        let (id, twin) = (world.knock(BOTH), world.knock(BOTH));
        world.say(id, "said");
        world.pass(10_000);
        let cut = world.metrics().broker_lost_total;
        world.redis.cut_after = None;
        assert_eq!(
            (world.metrics().broker_up, world.redis.subscribed()),
            (1, vec![CHANNEL.into()])
        );
        assert_eq!([id, twin].map(|id| world.status(id)), [Some(101); 2], "after {after}");
        let texts = world.texts(twin);
        assert!(
            [&["said"][..], &["stored", "said"], &["said", "stored"], &["stored"]]
                .iter()
                .any(|some| texts == *some),
            "after {after}: {texts:?}"
        );
        world.heard(id);
        world.publish(CHANNEL, "said");
        assert_eq!(world.texts(id), ["said"], "after {after}: from somebody else");
        assert_eq!(world.texts(twin), ["said"]);
        assert_eq!(world.metrics().conns_open, 2);
        if cut == 0 {
            break;
        }
        after += 1;
    }
    assert!(after > 100, "it was cut nowhere");
}

#[test]
fn a_stale_name_of_redis_link_does_no_harm() {
    let mut world = World::new(with_redis());
    let old = world.redis_link().expect("it is up");
    world.cut_redis();
    world.pass(1_000);
    let id = world.open(HEARS);
    assert_ne!(world.redis_link(), Some(old));
    let mut bytes = *b"+OK\r\n";
    for input in [
        Input::Received { link: old, bytes: &mut bytes },
        Input::Connected { link: old },
        Input::HungUp { link: old, cause: Cause::Ended },
    ] {
        world.server.handle(input, world.now());
    }
    world.publish(CHANNEL, "live");
    assert_eq!(world.texts(id), ["live"]);
    assert_eq!(world.metrics().broker_lost_total, 1);
}

#[test]
fn a_redis_that_comes_and_goes_is_not_dialed_in_a_loop() {
    let mut world = World::new(with_redis());
    let id = world.open(HEARS);
    for _ in 0..200 {
        world.cut_redis();
        world.pass(100);
    }
    assert!(world.dials_ms.len() <= 30, "{} dials in 20 s", world.dials_ms.len());
    world.pass(10_000);
    world.publish(CHANNEL, "live");
    assert_eq!(world.texts(id), ["live"]);
}

#[test]
fn a_close_is_answered_when_what_was_said_before_it_is_stored() {
    let mut world = World::new(with_redis());
    let (id, silent) = (world.open(SPEAKS), world.open(HEARS));
    world.redis.paused = true;
    world.say(id, "last words");
    world.send_frame(id, Opcode::Close, &1000u16.to_be_bytes());
    world.send_frame(silent, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(world.heard(silent).len(), 1, "who publishes nothing does not wait");
    // PUBLISH alone is not enough.
    world.redis.serve(1);
    world.run();
    assert_eq!(world.heard(id), []);
    world.redis.paused = false;
    world.run();
    assert_eq!(world.heard(id), [Heard::Close(Some(1000), String::new())]);
}

#[test]
fn a_close_is_answered_when_redis_goes_away_instead() {
    let mut world = World::new(with_redis());
    let id = world.open(SPEAKS);
    world.redis.paused = true;
    world.say(id, "last words");
    world.send_frame(id, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(world.heard(id), []);
    world.kill_redis();
    assert_eq!(world.heard(id), [Heard::Close(Some(1000), String::new())]);
}

/// A confirmation is for the SUBSCRIBE that it answers: two that were overtaken by an UNSUBSCRIBE
/// let nobody in, who would miss what is published before the third.
#[test]
fn who_joins_a_channel_that_was_left_twice_waits_for_its_own_confirmation() {
    let mut world = World::new(with_redis());
    world.redis.paused = true;
    for _ in 0..2 {
        let id = world.knock(HEARS);
        world.vanish(id);
    }
    let last = world.knock(HEARS);
    // SUBSCRIBE and GET, and UNSUBSCRIBE, both times.
    for answered in 0..6 {
        world.redis.serve(1);
        world.run();
        assert_eq!(world.status(last), None, "after {} answers", answered + 1);
    }
    world.redis.serve(1);
    world.run();
    assert_eq!(world.status(last), Some(101));
    assert_eq!(
        names(&world.redis.take_commands()),
        [
            "SUBSCRIBE",
            "GETRANGE",
            "UNSUBSCRIBE",
            "SUBSCRIBE",
            "GETRANGE",
            "UNSUBSCRIBE",
            "SUBSCRIBE"
        ]
    );
}
