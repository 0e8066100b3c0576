//! The core without sockets: what was asked about a browser, and what comes between that and the
//! answer.

use crate::world::*;
use wsloop::Settings;

const ALL: &str =
    "/ws/foo?subscribe-broadcast&subscribe-group&subscribe-user&subscribe-session&publish-user";
const YES: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\nX-Wsloop-Groups: staff,all\r\n\
    X-Wsloop-Session: johns-key\r\n\r\n";
/// Somebody who shares no name with the other.
const MARY: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: mary\r\n\
    X-Wsloop-Groups: guests\r\nX-Wsloop-Session: marys-key\r\n\r\n";
/// All that can be said of the first.
const WHOM: [&str; 4] =
    [r#""user": "john""#, r#""group": "staff""#, r#""group": "all""#, r#""session": "johns-key""#];

/// The application, or the operator, says this to the servers.
fn disconnect(world: &mut World, whom: &str) {
    let (message, now_ms) = (format!(r#"{{"disconnect": {{{whom}}}}}"#), world.now_ms);
    world.redis.publish("wsloop:control", message, 0, now_ms);
    world.run();
}

/// Two browsers that the application is asked about, on its two links.
fn ask_about_two(world: &mut World) -> [BrowserId; 2] {
    let ids = [world.knock(ALL), world.knock(ALL)];
    assert_eq!(world.app.questions().len(), 2);
    ids
}

/// The application answers what it was asked first and second.
fn answer_both(world: &mut World) {
    world.app.say(0, YES);
    world.app.say(1, MARY);
    world.run();
}

#[test]
fn whoever_is_disconnected_while_the_application_is_asked_is_not_let_in_by_its_answer() {
    for whom in WHOM {
        // At once, and when the answer comes in the last millisecond.
        for (before_ms, behind_ms) in [(0, 0), (1_000, 1_000), (0, AUTH_TIMEOUT_MS - 1)] {
            let mut world = World::new(by_application());
            let [john, mary] = ask_about_two(&mut world);
            world.pass(before_ms);
            disconnect(&mut world, whom);
            world.pass(behind_ms);
            answer_both(&mut world);
            let case = format!("{whom}, {before_ms} and {behind_ms} ms");
            assert_eq!((world.status(john), world.status(mary)), (Some(403), Some(101)), "{case}");
            assert!(world.response(john).text().contains("no longer"), "{case}");
            // He has logged in again, and is asked about anew.
            let again = world.knock(ALL);
            world.answer(YES);
            assert_eq!(world.status(again), Some(101), "{case}");
        }
    }
}

/// The second disconnect is about a question that the first one is not, and outlives it.
#[test]
fn a_second_disconnect_does_not_end_with_the_first() {
    let mut world = World::new(by_application());
    let first = world.knock(ALL);
    disconnect(&mut world, WHOM[0]);
    world.pass(AUTH_TIMEOUT_MS - 500);
    let second = world.knock(ALL);
    disconnect(&mut world, WHOM[0]);
    // The first question has had its time, and its answer would come too late.
    world.pass(1_000);
    assert_eq!((world.status(first), world.status(second)), (Some(503), None));
    world.answer(YES);
    assert_eq!(world.status(second), Some(403));
}

#[test]
fn whoever_was_disconnected_is_let_in_when_all_that_was_asked_before_is_answered() {
    let mut world = World::new(by_application());
    let [john, mary] = ask_about_two(&mut world);
    WHOM.iter().for_each(|whom| disconnect(&mut world, whom));
    answer_both(&mut world);
    assert_eq!((world.status(john), world.status(mary)), (Some(403), Some(101)));
    world.pass(2 * AUTH_TIMEOUT_MS);
    let again = world.knock(ALL);
    world.answer(YES);
    assert_eq!(world.status(again), Some(101));
    WHOM.iter().for_each(|whom| disconnect(&mut world, whom));
    assert_eq!(world.metrics().conns_open, 1, "john is sent away, and mary is not");
}

/// Wherever Redis breaks off its answers, and whoever has gone by then: a session is handed to the
/// browser whose cookie named it, and to none that has come to another's place.
#[test]
fn sessions_never_change_hands_however_redis_is_lost() {
    let names = ["anna", "bert", "cleo"];
    let mut lost = 0;
    for cut in 0..240 {
        for gone in 0..names.len() {
            let mut world = World::new(by_session());
            for name in [&names[..], &["dora"]].concat() {
                let stored = format!(r#"{{"wsloop:username": "{name}"}}"#);
                world.redis.set(&format!("session:{name}s-key"), stored);
            }
            world.redis.held = true;
            let mut ids = names.map(|name| knock(&mut world, name)).to_vec();
            world.vanish(ids[gone]);
            // Whoever comes now gets the place of the one that has gone.
            let dora = knock(&mut world, "dora");
            let place = |id: BrowserId| world.browsers[id].link.index;
            assert_eq!(place(dora), place(ids[gone]));
            world.redis.cut_after = Some(cut);
            world.redis.held = false;
            world.pass(5_000);
            lost += world.metrics().broker_lost_total;
            ids[gone] = dora;
            let mut expected = names;
            expected[gone] = "dora";
            for name in expected {
                world.publish(&format!("user:{name}:foo"), format!("for {name}"));
            }
            for (id, name) in ids.into_iter().zip(expected) {
                let case = format!("{name}, cut after {cut}, {} gone", names[gone]);
                assert_eq!(world.status(id), Some(101), "{case}");
                assert_eq!(world.texts(id), [format!("for {name}")], "{case}");
            }
        }
    }
    assert!(lost > 500, "it broke off {lost} times");
}

/// A browser with a session of that name.
fn knock(world: &mut World, name: &str) -> BrowserId {
    world.ask(&upgrade("/ws/foo?subscribe-user", &[&format!("Cookie: sessionid={name}s-key")]))
}

/// In one turn two links are lost, and another is dialed before they are closed: it gets the place
/// of one of them, in the server as in the loop.
#[test]
fn what_is_dialed_gets_a_place_that_was_given_up_in_the_same_turn() {
    let mut world = World::new(Settings { prefix: "p".to_owned(), ..with_redis() });
    world.pass(2_000);
    let [first, second] = [(); 2].map(|()| world.open("/ws/foo?subscribe-broadcast"));
    let places = world.browsers[second].link.index + 1;
    for id in [first, second] {
        world.browsers[id].ending = Some(Cause::Failed("Connection reset by peer".to_owned()));
    }
    world.cut_redis();
    world.pass(100);
    let link = world.redis_link().expect("it was up for long, and is dialed at once");
    assert!(link.index < places, "{link:?}");
    assert_eq!((world.metrics().broker_up, world.metrics().conns), (1, 0));
    let id = world.open("/ws/foo?subscribe-broadcast");
    world.publish("p:broadcast:foo", "live");
    assert_eq!(world.texts(id), ["live"]);
}

/// The same of the application's links: the one that is closed, and the one for its question.
#[test]
fn a_question_is_asked_again_over_a_link_at_another_place() {
    let mut world = World::new(on_kept_links());
    let john = world.knock(ALL);
    world.answer(YES);
    assert_eq!(world.status(john), Some(101));
    for round in 0..3 {
        // The link has rested, and is closed in the turn in which a question goes out on it, in
        // which john goes as well.
        let mary = world.accept();
        world.send(mary, &upgrade(ALL, &[]));
        world.browsers[john].ending = Some(Cause::Ended);
        world.turn();
        let asked = world.question().0;
        world.app.hang_up(asked, Cause::Ended);
        world.run();
        assert_eq!(world.question().0, asked + 1, "over a new link");
        world.answer(MARY);
        assert_eq!(world.status(mary), Some(101), "round {round}");
        world.vanish(mary);
    }
    assert_eq!(world.metrics().conns, 0);
}
