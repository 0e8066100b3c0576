//! The links to the application: kept, closed, dialed anew.

use super::*;

#[test]
fn a_link_is_kept_only_after_a_clean_answer() {
    for (text, kept) in [
        (YES, true),
        ("HTTP/1.1 204 No\r\nX-Wsloop-User: john\r\nConnection: close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nX-Wsloop-User: john\r\nContent-Length: 0\r\n\r\n", false),
        ("HTTP/1.1 204 No\r\nX-Wsloop-User: john\r\nContent-Length: 3\r\n\r\n", false),
    ] {
        assert_eq!(answered(text), (john(), kept), "{text:?}");
    }
    for (text, behind) in [
        ("HTTP/1.1 200 OK\r\nX-Wsloop-User: john\r\nContent-Length: 3\r\n\r\nbod", "y"),
        (YES, YES),
        (YES, "\r\n"),
    ] {
        for cut in 0..=text.len() + behind.len() {
            let all = [text, behind].concat();
            let mut world = World::new(1, 10);
            world.ask(1);
            world.ask(2);
            let link = world.named;
            world.connected(link);
            world.sends = false;
            world.received(link, &all[..cut]);
            world.received(link, &all[cut..]);
            assert!(!world.links.contains_key(&link), "{all:?} cut at {cut}");
            world.sends = true;
            let second = world.named;
            world.connected(second);
            assert_eq!(world.got(), [(second, "[2]")], "{all:?} cut at {cut}");
            world.received(second, YES);
            assert_eq!(world.verdicts(), [(1, john()), (2, john())], "{all:?} cut at {cut}");
        }
    }
}

#[test]
fn an_answer_that_comes_twice_is_never_the_answer_to_the_next_question() {
    const NOBODY: &str = "HTTP/1.1 204 No Content\r\n\r\n";
    // The second answer comes with the first, before the next question, and behind it.
    for when in ["with", "before", "behind"] {
        let mut world = World::keeping(false, 1, 10);
        world.ask(1);
        if when != "before" {
            world.ask(2);
        }
        let first = world.named;
        world.connected(first);
        match when {
            "with" => world.received(first, [YES, YES].concat()),
            _ => world.received(first, YES),
        }
        assert!(!world.links.contains_key(&first), "{when}: a link has one question");
        world.received(first, YES);
        if when == "before" {
            world.ask(2);
        }
        let second = world.named;
        world.connected(second);
        world.received(first, YES);
        assert_eq!(world.got(), [(second, "[2]")], "{when}");
        world.received(second, NOBODY);
        let nobody = Verdict::Granted(Granted::default());
        assert_eq!(world.verdicts(), [(1, john()), (2, nobody)], "{when}");
        assert_eq!(world.got(), [], "{when}");
        assert_eq!(world.dials, 2, "{when}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for_closes_its_link() {
    for keep_alive in [false, true] {
        // Who asked has gone before the link was there.
        let mut world = World::keeping(keep_alive, 1, 10);
        world.ask(1);
        let link = world.named;
        world.forget(1);
        world.connected(link);
        assert_eq!(world.got(), [(link, "")]);
        world.received(link, YES);
        assert_eq!(world.got(), []);
        world.ask(2);
        let next = world.named;
        assert_ne!(next, link);
        world.connected(next);
        world.received(next, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
        let refused = Verdict::Refused { status: 401, text: String::new() };
        assert_eq!(world.verdicts(), [(2, refused)]);
    }
    // It rests after an answer, and gets another one.
    let (mut world, link) = World::rested();
    world.received(link, YES);
    assert_eq!(world.got(), []);
    // The question is on its way when the answer comes.
    let mut world = World::keeping(false, 1, 10);
    world.ask(1);
    world.sends = false;
    world.connected(world.named);
    world.received(world.named, YES);
    assert_eq!(world.got(), []);
    assert_eq!(world.verdicts(), [(1, unavailable(Failure::Early))]);
}

#[test]
fn one_link_serves_one_question_after_another_where_that_is_chosen() {
    let (mut world, link) = World::rested();
    for who in 2..50 {
        world.ask(who);
        world.ask(who + 100);
        assert!(world.links[&link].ends_with(&format!("[{who}]")), "never two at a time");
        world.received(link, YES);
        world.received(link, YES);
        assert_eq!(world.verdicts(), [(who, john()), (who + 100, john())]);
        world.at(world.now_ms + 29_999);
    }
    assert_eq!((world.dials, world.got().len()), (1, 1));
    world.at(world.now_ms + 1);
    assert_eq!((world.got(), world.auth.deadline_ms()), (vec![], None));
}

#[test]
fn no_more_links_than_questions_and_than_may_be() {
    let mut world = World::new(3, 10);
    world.ask(1);
    world.ask(2);
    assert_eq!(world.dials, 2);
    world.ask(3);
    world.ask(4);
    world.ask(5);
    assert_eq!(world.dials, 3);
    let first = world.named - 2;
    for link in first..first + 3 {
        world.connected(link);
    }
    assert_eq!(world.got(), [(first, "[1]"), (first + 1, "[2]"), (first + 2, "[3]")]);
    world.received(first + 1, YES);
    world.received(first + 2, YES);
    world.received(first + 1, YES);
    assert_eq!(world.got(), [(first, "[1]"), (first + 1, "[2][4]"), (first + 2, "[3][5]")]);
    let whose: Vec<u32> = world.verdicts().iter().map(|(who, _)| *who).collect();
    assert_eq!((whose, world.dials), (vec![2, 3, 4], 3));
}

#[test]
fn an_answer_is_late_at_its_deadline_and_not_before() {
    for (early, verdict) in [(true, john()), (false, unavailable(Failure::Late))] {
        let mut world = World::new(1, 10);
        world.at(50);
        world.ask(1);
        let link = world.named;
        world.at(2_000);
        world.connected(link);
        world.received(link, "HTTP/1.1 204");
        assert_eq!(world.auth.deadline_ms(), Some(50 + TIMEOUT_MS));
        world.at(49 + TIMEOUT_MS);
        assert_eq!(world.verdicts(), []);
        // Whether the clock or the answer comes first in a turn makes no difference.
        world.now_ms += u64::from(!early);
        world.received(link, &YES["HTTP/1.1 204".len()..]);
        assert_eq!(world.verdicts(), [(1, verdict)]);
        assert_eq!(world.links.contains_key(&link), early);
    }
}

#[test]
fn an_application_that_never_answers_costs_each_its_time_and_no_more() {
    let mut world = World::new(1, 10);
    world.ask(1);
    world.connected(world.named);
    world.at(1_000);
    world.ask(2);
    world.ask(3);
    world.at(TIMEOUT_MS - 1);
    assert_eq!(world.verdicts(), []);
    world.at(TIMEOUT_MS);
    assert_eq!(world.verdicts(), [(1, unavailable(Failure::Late))]);
    let second = world.named;
    assert_eq!(world.got(), [(second, "")]);
    world.connected(second);
    assert_eq!(world.got(), [(second, "[2]")]);
    world.at(999 + TIMEOUT_MS);
    assert_eq!(world.verdicts(), []);
    world.at(1_000 + TIMEOUT_MS);
    let verdicts = [(2, unavailable(Failure::Late)), (3, unavailable(Failure::Busy))];
    assert_eq!(world.verdicts(), verdicts);
    assert_eq!((world.got(), world.auth.deadline_ms()), (vec![], None));
}

#[test]
fn a_link_that_was_closed_while_it_rested_is_no_error() {
    // Noticed at once.
    let (mut world, link) = World::rested();
    world.hung_up(link, None);
    world.ask(2);
    world.connected(world.named);
    world.received(world.named, YES);
    assert_eq!((world.verdicts(), world.dials), (vec![(2, john())], 2));
    // Noticed when something is asked: by an end, by an error, or told by a 408.
    for failure in [None, Some("Broken pipe")] {
        for sends in [true, false] {
            let (mut world, link) = World::rested();
            world.sends = sends;
            world.ask(2);
            world.hung_up(link, failure);
            world.sends = true;
            assert!(world.verdicts().is_empty() && world.dials == 2);
            world.ask(3);
            let second = world.named;
            world.connected(second);
            assert_eq!(world.got(), [(second, "[2]")], "first come, first served");
            world.received(second, YES);
            world.received(second, YES);
            assert_eq!(world.verdicts(), [(2, john()), (3, john())]);
        }
    }
    let (mut world, link) = World::rested();
    world.ask(2);
    world.received(link, "HTTP/1.1 408 Slow\r\nContent-Length: 0\r\n\r\n");
    world.connected(world.named);
    world.received(world.named, YES);
    assert_eq!((world.verdicts(), world.dials), (vec![(2, john())], 2));
}

#[test]
fn a_link_may_have_rested_before_its_first_question() {
    let mut world = World::new(1, 10);
    world.ask(1);
    world.forget(1);
    let link = world.named;
    world.connected(link);
    world.ask(2);
    assert_eq!(world.got(), [(link, "[2]")]);
    world.hung_up(link, None);
    world.connected(world.named);
    world.received(world.named, YES);
    assert_eq!((world.verdicts(), world.dials), (vec![(2, john())], 2));
}

#[test]
fn a_question_is_asked_twice_at_most_and_only_if_nothing_came() {
    let closed = || unavailable(Failure::HungUp("it closed the connection".to_owned()));
    let (mut world, link) = World::rested();
    world.ask(2);
    world.hung_up(link, None);
    world.connected(world.named);
    world.hung_up(world.named, None);
    assert_eq!(world.verdicts(), [(2, closed())]);
    // A new link has not rested.
    world.ask(3);
    world.connected(world.named);
    world.hung_up(world.named, None);
    assert_eq!(world.verdicts(), [(3, closed())]);
    // A byte of an answer has come.
    for (failure, reason) in [
        (None, Failure::Answer(AnswerError::Unfinished)),
        (Some("reset"), Failure::HungUp("reset".to_owned())),
    ] {
        let (mut world, link) = World::rested();
        world.ask(2);
        world.received(link, "H");
        world.hung_up(link, failure);
        assert_eq!(world.verdicts(), [(2, unavailable(reason))]);
    }
    // Its time is over, the first link's included.
    let (mut world, link) = World::rested();
    world.ask(2);
    world.at(TIMEOUT_MS - 1);
    world.hung_up(link, None);
    let second = world.named;
    world.connected(second);
    assert_eq!(world.got(), [(second, "[2]")]);
    world.at(TIMEOUT_MS);
    assert_eq!(world.verdicts(), [(2, unavailable(Failure::Late))]);
}

#[test]
fn a_question_that_is_asked_again_takes_no_link_that_rested() {
    let mut world = World::new(2, 10);
    world.ask(1);
    world.ask(2);
    let (first, second) = (world.named - 1, world.named);
    world.connected(first);
    world.connected(second);
    world.received(first, YES);
    world.received(second, YES);
    world.ask(3);
    world.hung_up(first, None);
    assert_eq!(world.dials, 3);
    world.ask(4);
    assert_eq!(world.got(), [(second, "[2][4]"), (world.named, "")]);
    world.connected(world.named);
    assert_eq!(world.got(), [(second, "[2][4]"), (world.named, "[3]")]);
}

#[test]
fn an_answer_that_ends_with_the_connection_must_end_in_order() {
    let answer = "HTTP/1.0 403 No\r\n\r\nGo away";
    for (failure, verdict) in [
        (None, Verdict::Refused { status: 403, text: "Go away".to_owned() }),
        (Some("reset"), unavailable(Failure::HungUp("reset".to_owned()))),
    ] {
        let mut world = World::new(1, 10);
        world.ask(1);
        world.connected(world.named);
        world.received(world.named, answer);
        assert_eq!(world.verdicts(), []);
        world.hung_up(world.named, failure);
        assert_eq!((world.verdicts(), world.got()), (vec![(1, verdict)], vec![]));
    }
}

#[test]
fn what_was_not_asked_yet_cannot_be_answered() {
    let mut world = World::new(1, 10);
    world.ask(1);
    world.sends = false;
    world.connected(world.named);
    assert!(!world.auth.advance(world.at_link(world.named), 1));
    world.received(world.named, YES);
    assert_eq!((world.verdicts(), world.got()), (vec![(1, unavailable(Failure::Early))], vec![]));
    // To a link that rested this is the answer to something else; it is asked on another.
    let (mut world, link) = World::rested();
    world.sends = false;
    world.ask(2);
    world.received(link, YES);
    world.sends = true;
    world.connected(world.named);
    assert_eq!((world.verdicts(), world.got()), (vec![], vec![(world.named, "[2]")]));
    // And nobody asked anything.
    let (mut world, link) = World::rested();
    world.received(link, YES);
    assert_eq!((world.verdicts(), world.got()), (vec![], vec![]));
}

#[test]
fn an_application_that_cannot_be_reached() {
    let refused = || unavailable(Failure::Unreachable("refused".to_owned()));
    let mut world = World::new(2, 10);
    for who in 1..=3 {
        world.ask(who);
    }
    let (first, second) = (world.named - 1, world.named);
    world.hung_up(first, Some("refused"));
    assert_eq!((world.verdicts(), world.dials), (vec![], 2), "the other may succeed");
    world.hung_up(second, Some("refused"));
    assert_eq!(world.verdicts(), [(1, refused()), (2, refused()), (3, refused())]);
    assert_eq!((world.got(), world.auth.deadline_ms()), (vec![], None));
    // Who comes now waits for the end of the pause, and no longer.
    world.at(100);
    world.ask(4);
    assert_eq!((world.dials, world.auth.deadline_ms()), (2, Some(200)));
    world.at(199);
    assert_eq!(world.dials, 2);
    world.at(200);
    assert_eq!(world.dials, 3);
    world.connected(world.named);
    world.received(world.named, YES);
    assert_eq!(world.verdicts(), [(4, john())]);
    // One that works is enough for all.
    let works = world.named;
    world.ask(5);
    world.ask(6);
    world.hung_up(world.named, Some("refused"));
    world.ask(7);
    assert_eq!(world.got(), [(works, "[4][5]")]);
    for _ in 5..=7 {
        world.received(works, YES);
    }
    assert_eq!(world.verdicts(), [(5, john()), (6, john()), (7, john())]);
}
