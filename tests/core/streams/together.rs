//! Messages of a channel with positions that come together go out together, and each event still
//! says where its stream stands.

use super::topics::*;
use super::*;
use wsloop::{Overflows, Settings};

const ONE: &str = "/ws/chat/42?subscribe-broadcast";
const TOPIC: &str = "/ws/?topic=broadcast+chat/42";
const TOPICS: &str = "/ws/?topic=broadcast+chat/42&topic=broadcast+chat/43";

/// Somebody publishes messages that are kept, all of which one read brings.
fn keep_together(world: &mut World, texts: &[&str]) {
    if is_redis(world) {
        return keep(world, CHAT_CHANNEL, texts);
    }
    let client = world.connect_resp();
    let commands = texts.iter().flat_map(|text| written(&["PUBLISH", CHAT_CHANNEL, text]));
    let commands: Vec<u8> = commands.collect();
    world.tell(client, commands);
    world.end_resp(client, wsloop::Cause::Ended);
    world.run();
}

/// Messages, and in how many pieces they go out to who hears nothing else and to who does.
fn tables() -> Vec<(Vec<String>, usize, usize)> {
    let small = |count: usize| (0..count).map(|n| format!("small {n}")).collect::<Vec<_>>();
    let large = |n: usize| format!("large {n} {}", "x".repeat(5_000));
    let middle = (0..3).map(|n| format!("middle {n} {}", "x".repeat(3_000))).collect();
    vec![
        // The line of each stream, and the rest of each event.
        (small(1), 1, 2),
        (small(16), 1, 32),
        (middle, 1, 6),
        (vec![large(0), "small".into(), large(1)], 3, 6),
    ]
}

#[test]
fn what_comes_together_goes_out_as_one_and_is_shared() {
    for (texts, alone, besides) in tables() {
        for mut world in worlds() {
            let ids = [ONE, TOPIC, TOPICS].map(|target| stream(&mut world, target));
            keep(&mut world, "broadcast:chat/43", &["of the other"]);
            ids.iter().for_each(|id| world.stall(*id, 0));
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            keep_together(&mut world, &texts);
            assert_eq!(ids.map(|id| world.pieces(id)), [alone, alone, besides], "{}", texts.len());
            ids.iter().for_each(|id| world.resume(*id));
            assert_eq!(world.texts(ids[0]), texts);
            assert_eq!(said(&mut world, ids[1]), texts);
            assert_eq!(said(&mut world, ids[2])[1..], texts);
        }
    }
}

#[test]
fn whoever_is_cut_off_anywhere_in_it_has_each_message_once() {
    for (texts, ..) in tables() {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let length: usize = texts.iter().map(|text| text.len() + 60).sum();
        for after in (0..length).step_by(length / 50) {
            for mut world in worlds() {
                for target in [ONE, TOPIC, TOPICS] {
                    let id = stream(&mut world, target);
                    world.stall(id, after);
                    keep_together(&mut world, &texts);
                    let heard = |world: &mut World, id| match target {
                        ONE => world.texts(id),
                        _ => said(world, id),
                    };
                    let mut all = heard(&mut world, id);
                    let last = last_id(&world, id);
                    world.hang_up(id);
                    let id = resume(&mut world, target, &last);
                    all.extend(heard(&mut world, id));
                    assert_eq!(all, texts, "{target} cut after {after}");
                    world.hang_up(id);
                }
            }
        }
    }
}

#[test]
fn each_event_says_its_position_behind_those_of_other_channels() {
    let mut world = World::new(kept(with_redis()));
    let id = stream(&mut world, TOPICS);
    let one = stream(&mut world, ONE);
    keep(&mut world, "broadcast:chat/43", &["first"]);
    let last = last_id(&world, id);
    let other = last.split(" b ").last().expect("a channel");
    keep(&mut world, CHAT_CHANNEL, &["a", "b", "c"]);
    let last = last_id(&world, id);
    let of_one = last_id(&world, one);
    assert_eq!(last, format!("b {other} {of_one}"));
    assert_eq!(of_one.split(' ').count(), 3);
    assert!(of_one.starts_with("b chat/42 "));
}

#[test]
fn whoever_skips_has_the_last_of_what_comes_together() {
    let overflows = Overflows::parse("latest").expect("a list");
    let mut world = World::new(Settings { overflows, outbox_limit: 1 << 10, ..kept(with_redis()) });
    let id = stream(&mut world, ONE);
    world.stall(id, 0);
    let texts: Vec<String> = (0..18).map(|n| format!("{n} {}", "x".repeat(100))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    keep_together(&mut world, &texts[..16]);
    assert_eq!(world.metrics().superseded_total, 15);
    keep_together(&mut world, &texts[16..]);
    assert_eq!(world.metrics().superseded_total, 17);
    world.resume(id);
    assert_eq!(world.texts(id), [texts[17]]);
    let last = last_id(&world, id);
    let id = resume(&mut world, ONE, &last);
    assert_eq!(world.heard(id), []);
}

#[test]
fn each_stream_stands_where_its_own_channels_do() {
    for mut world in worlds() {
        let one = stream(&mut world, TOPIC);
        let two = stream(&mut world, TOPICS);
        let same = stream(&mut world, TOPIC);
        keep(&mut world, "broadcast:chat/43", &["first"]);
        keep(&mut world, CHAT_CHANNEL, &["one"]);
        let ids = [one, two, same].map(|id| last_id(&world, id));
        assert_eq!(ids.each_ref().map(|id| id.split(' ').count()), [3, 6, 3], "{ids:?}");
        assert_eq!(ids[0], ids[2]);
        assert!(ids[1].ends_with(&ids[0]), "{ids:?}");
    }
}

#[test]
fn two_audiences_of_one_facility_have_a_position_each() {
    let mut world = World::new(kept(by_session()));
    world.redis.set("session:johns-key", br#"{"wsloop:username":"john"}"#);
    let target = "/ws/?topic=broadcast+chat/42&topic=user+chat/42";
    let cookie = "Cookie: sessionid=johns-key";
    let id = world.ask(&asks(target, &[cookie]));
    keep(&mut world, "user:john:chat/42", &["mine"]);
    keep(&mut world, CHAT_CHANNEL, &["everybody's"]);
    let last = last_id(&world, id);
    world.hang_up(id);
    keep(&mut world, "user:john:chat/42", &["mine too"]);
    keep(&mut world, CHAT_CHANNEL, &["everybody's too"]);
    let id = world.ask(&asks(target, &[cookie, &format!("Last-Event-ID: {last}")]));
    let mut heard = said(&mut world, id);
    heard.sort();
    assert_eq!(heard, ["everybody's too", "mine too"]);
}
