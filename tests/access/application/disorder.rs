//! The application under many who ask, come and go.

use super::*;

#[test]
fn a_dial_that_hangs_is_given_up() {
    let mut world = World::new(1, 10);
    world.ask(1);
    world.at(TIMEOUT_MS - 1);
    world.ask(2);
    world.at(TIMEOUT_MS);
    let reason = Failure::Unreachable("the dial took too long".to_owned());
    let verdicts = [(1, unavailable(reason.clone())), (2, unavailable(reason))];
    assert_eq!((world.verdicts(), world.got()), (verdicts.to_vec(), vec![]));
}

#[test]
fn an_asker_that_has_gone_gets_nothing_and_harms_nobody() {
    let mut world = World::new(1, 10);
    world.ask(1);
    world.ask(2);
    world.ask(3);
    let link = world.named;
    world.connected(link);
    // In question, and waiting.
    world.forget(1);
    world.forget(2);
    world.received(link, YES);
    assert_eq!(world.got(), [(link, "[1][3]")]);
    // Answered already.
    world.auth.received(world.at_link(link), YES.as_bytes(), 0);
    world.forget(3);
    world.turn();
    assert_eq!((world.verdicts(), world.dials), (vec![], 1));
    // Its question is not asked again.
    world.ask(4);
    world.forget(4);
    world.hung_up(link, None);
    assert_eq!((world.got(), world.dials), (vec![], 1));
    // Neither does it get the verdict on the question before.
    world.ask(5);
    world.connected(world.named);
    world.forget(5);
    world.ask(5);
    world.received(world.named, YES);
    assert_eq!(world.verdicts(), []);
    world.received(world.named, "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(world.verdicts(), [(5, Verdict::Refused { status: 403, text: String::new() })]);
    world.forget(99);
}

#[test]
fn ten_thousand_wait_in_order_and_one_more_does_not() {
    const WAITING: u32 = 10_000;
    let mut world = World::new(8, WAITING as usize);
    for who in 0..WAITING {
        world.ask(who);
    }
    assert_eq!(world.auth.ask(id(WAITING), Vec::new(), 0), Err(Full));
    assert_eq!(world.dials, 8);
    let links: Vec<u32> = world.links.keys().copied().collect();
    for link in &links {
        world.connected(*link);
    }
    for _ in 0..WAITING / 8 {
        for link in &links {
            world.received(*link, YES);
        }
    }
    let whose: Vec<u32> = world.verdicts().iter().map(|(who, _)| *who).collect();
    assert_eq!((whose, world.dials), ((0..WAITING).collect(), 8));
    // All at once are late, or have gone.
    for who in 0..WAITING {
        world.ask(who);
    }
    for who in (0..WAITING).step_by(2) {
        world.forget(who);
    }
    world.at(TIMEOUT_MS);
    let mut whose: Vec<u32> = world.verdicts().iter().map(|(who, _)| *who).collect();
    whose.sort_unstable();
    assert_eq!(whose, (0..WAITING).skip(1).step_by(2).collect::<Vec<_>>());
}

struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// An answer that names the question it answers, however the application behaves.
fn answer_to(question: &str, lcg: &mut Lcg) -> String {
    let who = question.trim_matches(['[', ']']);
    match lcg.below(5) {
        0 => format!("HTTP/1.0 200 OK\r\nX-Wsloop-User: {who}\r\nContent-Length: 0\r\n\r\n"),
        1 => format!("HTTP/1.1 200 OK\r\nX-Wsloop-User: {who}\r\nContent-Length: 2\r\n\r\nokk"),
        _ => format!("HTTP/1.1 204 No\r\nX-Wsloop-User: {who}\r\n\r\n"),
    }
}

#[test]
fn whatever_happens_each_has_one_verdict_in_time_and_it_is_its_own() {
    for seed in 0..300 {
        let mut lcg = Lcg(seed);
        let mut world = World::new(1 + lcg.below(4), 1 + lcg.below(12));
        let mut open: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut who, mut granted) = (0, 0);
        for _ in 0..400 {
            let links: Vec<u32> = world.links.keys().copied().collect();
            let link = links.get(lcg.below(links.len().max(1))).copied().unwrap_or(0);
            match lcg.below(12) {
                0..4 => {
                    who += 1;
                    let question = format!("[{who}]").into_bytes();
                    if world.try_ask(who, question).is_ok() {
                        open.insert(who, world.now_ms + TIMEOUT_MS);
                    }
                }
                4..6 => world.connected(link),
                6..9 => {
                    let got = world.links.get(&link).map_or("", |got| got.as_str());
                    let last = got.rfind('[').map(|at| got[at..].to_owned());
                    if let Some(question) = last {
                        let text = answer_to(&question, &mut lcg);
                        let cut = lcg.below(text.len());
                        world.received(link, &text[..cut]);
                        if lcg.below(8) > 0 {
                            world.received(link, &text[cut..]);
                        }
                    }
                }
                9 => world.hung_up(link, [None, Some("reset")][lcg.below(2)]),
                10 => {
                    let gone = who.saturating_sub(lcg.below(4) as u32);
                    world.forget(gone);
                    open.remove(&gone);
                }
                _ => world.at(world.now_ms + lcg.below(1_500) as u64),
            }
            world.turn();
            for (who, verdict) in world.verdicts() {
                let deadline_ms = open.remove(&who).expect("one verdict, to one who waits");
                assert!(world.now_ms <= deadline_ms + 1_500, "seed {seed}");
                if let Verdict::Granted(Granted { identity, .. }) = verdict {
                    assert_eq!(identity.user, Some(who.to_string()), "seed {seed}");
                    assert!(world.now_ms < deadline_ms, "seed {seed}");
                    granted += 1;
                }
            }
            let late =
                open.values().any(|deadline_ms| world.auth.deadline_ms() > Some(*deadline_ms));
            assert!(!late, "seed {seed}: it would sleep through a deadline");
        }
        world.at(world.now_ms + TIMEOUT_MS);
        for (who, _) in world.verdicts() {
            open.remove(&who).expect("one verdict, to one who waits");
        }
        assert!(open.is_empty() && granted > 0, "seed {seed}: {open:?}, {granted}");
    }
}

#[test]
fn who_was_disconnected_is_not_let_in_by_an_answer_to_a_question_from_before() {
    let grant = |verdict: &Verdict| matches!(verdict, Verdict::Granted(_));
    let mut world = World::new(4, 4);
    let ids: Vec<u32> = (1..=4).collect();
    world.auth.revoke("user:john", 0);
    for who in &ids {
        world.ask(*who);
    }
    let links: Vec<u32> = world.links.keys().copied().collect();
    links.iter().for_each(|link| world.connected(*link));
    for owner in ["user:mary", "group:john", "session:john", "user:joh"] {
        world.auth.revoke(owner, 0);
    }
    world.received(links[0], YES);
    assert!(grant(&world.verdicts[0].1), "none of those was he");
    world.auth.revoke("user:john", 0);
    world.received(links[1], YES);
    let refused = &world.verdicts[1].1;
    assert!(matches!(refused, Verdict::Refused { status: 403, .. }), "{refused:?}");
    world.received(links[2], YES.replace("john", "paul"));
    assert!(grant(&world.verdicts[2].1));
    // The link that rests is asked a question from after that.
    world.ask(5);
    world.received(links[0], YES);
    assert!(grant(&world.verdicts[3].1), "he has logged in again");
}
