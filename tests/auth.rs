//! The application as who asks it sees it: on a fake clock, with a scripted application at the
//! other end of the links.

use std::collections::BTreeMap;

use wsloop::internals::access::ask::{Application, Errand, Failure, Full, Granted, Verdict, Wrong};
use wsloop::internals::access::identity::Identity;
use wsloop::proto::http::answer::AnswerError;
use wsloop::{AskSettings, LinkId, Target};

const TIMEOUT_MS: u64 = 3_000;
const YES: &str = "HTTP/1.1 204 No Content\r\nX-Wsloop-User: john\r\n\r\n";

/// The pool, and who drives it.
struct World {
    auth: Application,
    now_ms: u64,
    named: u32,
    /// Links that were dialed and not closed, in that order: what the application got on them.
    links: BTreeMap<u32, String>,
    dials: usize,
    /// Whether everything that waits is sent at once.
    sends: bool,
    verdicts: Vec<(u32, Verdict)>,
    /// The number of the last question of each asker.
    questions: BTreeMap<u32, u64>,
    /// The numbers of links, by their names.
    numbers: BTreeMap<u32, usize>,
}

fn id(number: u32) -> LinkId {
    LinkId { index: number % 7, generation: number }
}

impl World {
    fn new(connections: usize, waiting: usize) -> Self {
        let auth = Application::new(AskSettings {
            target: Target::Unix("/app.sock".into()),
            host: "app".to_owned(),
            path: "/auth".to_owned(),
            timeout_ms: TIMEOUT_MS,
            connections,
            waiting,
        });
        let links = BTreeMap::new();
        let verdicts = Vec::new();
        let (questions, numbers) = (BTreeMap::new(), BTreeMap::new());
        let (now_ms, named, dials, sends) = (0, 1_000_000, 0, true);
        World { auth, now_ms, named, links, dials, sends, verdicts, questions, numbers }
    }

    /// The number of a link; one that never was has one, too.
    fn at_link(&self, link: u32) -> usize {
        self.numbers.get(&link).copied().unwrap_or(usize::MAX)
    }

    /// An asker has gone.
    fn forget(&mut self, who: u32) {
        self.auth.forget(self.questions.remove(&who).unwrap_or(u64::MAX));
    }

    /// An asker asks, if there is room.
    fn try_ask(&mut self, who: u32, question: Vec<u8>) -> Result<(), Full> {
        let number = self.auth.ask(id(who), question, self.now_ms)?;
        self.questions.insert(who, number);
        Ok(())
    }

    /// Does what is to be done.
    fn turn(&mut self) {
        while let Some(wish) = self.auth.next_wish() {
            match wish {
                Errand::Dial(at) => {
                    self.named += 1;
                    self.dials += 1;
                    self.links.insert(self.named, String::new());
                    self.numbers.insert(self.named, at);
                    self.auth.dialing(at, id(self.named), self.now_ms);
                }
                Errand::Close(link) => {
                    self.links.remove(&link.generation).expect("only what is open is closed");
                }
            }
        }
        while let Some(link) = self.auth.next_flush().filter(|_| self.sends) {
            let at = self.at_link(link.generation);
            let unsent = self.auth.unsent(at).to_vec();
            let got = self.links.get_mut(&link.generation).expect("only what is open is flushed");
            got.push_str(std::str::from_utf8(&unsent).expect("these questions are text"));
            assert!(self.auth.advance(at, unsent.len()));
        }
        while let Some((who, number, verdict)) = self.auth.next_answer() {
            assert_eq!(
                self.questions.remove(&who.generation),
                Some(number),
                "an answer of its own"
            );
            self.verdicts.push((who.generation, verdict));
        }
    }

    fn ask(&mut self, who: u32) {
        self.try_ask(who, format!("[{who}]").into_bytes()).expect("room");
        self.turn();
    }

    fn connected(&mut self, link: u32) {
        self.auth.connected(self.at_link(link), self.now_ms);
        self.turn();
    }

    fn received(&mut self, link: u32, bytes: impl AsRef<[u8]>) {
        self.auth.received(self.at_link(link), bytes.as_ref(), self.now_ms);
        self.turn();
    }

    fn hung_up(&mut self, link: u32, failure: Option<&str>) {
        self.auth.hung_up(self.at_link(link), failure, self.now_ms);
        self.turn();
    }

    fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.auth.tick(now_ms);
        self.turn();
        assert!(self.auth.deadline_ms().is_none_or(|at_ms| at_ms > now_ms), "it would spin");
    }

    /// The links, and what the application got on each.
    fn got(&self) -> Vec<(u32, &str)> {
        self.links.iter().map(|(link, text)| (*link, text.as_str())).collect()
    }

    fn verdicts(&mut self) -> Vec<(u32, Verdict)> {
        std::mem::take(&mut self.verdicts)
    }

    /// A question and its answer on one new link, which then rests if the answer lets it.
    fn rested() -> (Self, u32) {
        let mut world = World::new(1, 10);
        world.ask(1);
        let link = world.named;
        world.connected(link);
        world.received(link, YES);
        assert_eq!(world.verdicts(), [(1, john())]);
        (world, link)
    }
}

fn john() -> Verdict {
    let user = Some("john".to_owned());
    let identity = Identity { user, ..Identity::default() };
    Verdict::Granted(Granted { identity, allow: None })
}

fn unavailable(reason: Failure) -> Verdict {
    Verdict::Unavailable { reason }
}

/// What becomes of a question that is answered with this, and whether the link is kept.
fn answered(text: &str) -> (Verdict, bool) {
    let mut outcomes: Vec<(Verdict, bool)> = Vec::new();
    for cut in 0..text.len() {
        let mut world = World::new(1, 10);
        world.ask(1);
        let link = world.named;
        world.connected(link);
        world.received(link, &text.as_bytes()[..cut]);
        world.received(link, &text.as_bytes()[cut..]);
        let verdicts = world.verdicts();
        let [(1, verdict)] = &verdicts[..] else { panic!("{verdicts:?} of {text:?}") };
        outcomes.push((verdict.clone(), world.links.contains_key(&link)));
    }
    let first = outcomes.remove(0);
    assert!(outcomes.iter().all(|outcome| *outcome == first), "{text:?}");
    first
}

fn ok(headers: &str) -> Verdict {
    let (verdict, kept) = answered(&format!("HTTP/1.1 204 No Content\r\n{headers}\r\n"));
    assert!(kept);
    verdict
}

#[test]
fn what_is_granted() {
    let granted =
        |user: Option<&str>, groups: &[&str], session: Option<&str>, allow: Option<&str>| {
            Verdict::Granted(Granted {
                identity: Identity {
                    user: user.map(str::to_owned),
                    groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                    session: session.map(str::to_owned),
                },
                allow: allow.map(str::to_owned),
            })
        };
    for (headers, expected) in [
        ("", granted(None, &[], None, None)),
        ("X-Wsloop-User:\r\nX-Wsloop-Session: \r\n", granted(None, &[], None, None)),
        ("x-wsloop-user:  jürgen 😀\r\n", granted(Some("jürgen 😀"), &[], None, None)),
        ("X-Wsloop-User: a%3Ab,c\r\n", granted(Some("a%3Ab,c"), &[], None, None)),
        ("X-Wsloop-Session: s1\r\n", granted(None, &[], Some("s1"), None)),
        (
            "X-Wsloop-Groups: a b , ,c,\r\nX-Wsloop-Groups:\td\r\n",
            granted(None, &["a b", "c", "d"], None, None),
        ),
        ("X-Wsloop-Groups: ,\r\n", granted(None, &[], None, None)),
        ("X-Wsloop-Allow: \r\n", granted(None, &[], None, Some(""))),
        ("X-Wsloop-Allow: a, b\r\n", granted(None, &[], None, Some("a, b"))),
        ("X-Wsloop-Allow: a\r\nX-Wsloop-Allow: b\r\n", granted(None, &[], None, Some("a,b"))),
    ] {
        assert_eq!(ok(headers), expected, "{headers:?}");
    }
    let (verdict, _) = answered("HTTP/1.1 299 Fine\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(verdict, granted(None, &[], None, None));
}

#[test]
fn what_is_never_granted() {
    use Wrong::*;
    let (user, groups) = ("X-Wsloop-User", "X-Wsloop-Groups");
    let (session, allow) = ("X-Wsloop-Session", "X-Wsloop-Allow");
    let long = format!("X-Wsloop-User: {}\r\n", "x".repeat(256));
    for (headers, name, wrong) in [
        ("X-Wsloop-User: a\r\nX-Wsloop-User: a\r\n", user, Repeated),
        ("X-Wsloop-User:\r\nX-Wsloop-User: a\r\n", user, Repeated),
        ("X-Wsloop-Session: a\r\nx-wsloop-session: b\r\n", session, Repeated),
        ("X-Wsloop-User: a:b\r\n", user, Colon),
        ("X-Wsloop-User: a\tb\r\n", user, Control),
        ("X-Wsloop-User: a\u{85}b\r\n", user, Control),
        (&long, user, TooLong),
        ("X-Wsloop-User: =?utf-8?b?zqk=?=\r\n", user, EncodedWord),
        ("X-Wsloop-Session: a:b\r\n", session, Colon),
        ("X-Wsloop-User: a\r\nX-Wsloop-Groups: b,c:d\r\n", groups, Colon),
        ("X-Wsloop-Groups: =?utf-8?q?a=2Cb?=\r\n", groups, EncodedWord),
        ("X-Wsloop-Allow: =?utf-8?q?a?=\r\n", allow, EncodedWord),
    ] {
        assert_eq!(ok(headers), unavailable(Failure::Header { name, wrong }), "{headers:?}");
    }
    for name in [user, groups, session, allow] {
        let mut world = World::new(1, 10);
        world.ask(1);
        world.connected(world.named);
        let text = format!("HTTP/1.1 204 No\r\n{name}: j\u{fc}rgen\r\n\r\n");
        let latin: Vec<u8> = text.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect();
        world.received(world.named, latin);
        let expected = unavailable(Failure::Header { name, wrong: NotUtf8 });
        assert_eq!(world.verdicts(), [(1, expected)]);
    }
}

#[test]
fn what_is_refused() {
    let refused = |status, text: &str| Verdict::Refused { status, text: text.to_owned() };
    for (status, body, text) in [
        (403, "", ""),
        (401, "Log in first.", "Log in first."),
        (403, " a\r\nb\0\x1bc\n", "a  bc"),
        (403, &"é".repeat(600), &"é".repeat(512)),
        (403, &format!("x{}", "é".repeat(600)), &format!("x{}", "é".repeat(511))),
    ] {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} No\r\nX-Wsloop-User: root\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        assert_eq!(answered(&answer), (refused(status, text), true), "{body:?}");
    }
}

#[test]
fn what_means_neither_yes_nor_no() {
    for (status, words) in [
        (302, "a redirect"),
        (304, "a redirect"),
        (400, "ALLOWED_HOSTS"),
        (404, "path"),
        (407, "407"),
        (408, "408"),
        (500, "500"),
        (503, "503"),
    ] {
        let answer =
            format!("HTTP/1.1 {status} What\r\nX-Wsloop-User: root\r\nContent-Length: 0\r\n\r\n");
        let (verdict, _) = answered(&answer);
        assert_eq!(verdict, unavailable(Failure::Status(status)));
        assert!(Failure::Status(status).to_string().contains(words), "{status}");
    }
    for (text, error) in [
        ("220 smtp ESMTP\r\n", AnswerError::StatusLine),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", AnswerError::Length),
        ("HTTP/1.1 200 OK\r\nX-Wsloop-User : root\r\n", AnswerError::HeaderLine),
    ] {
        assert_eq!(answered(text), (unavailable(Failure::Answer(error)), false), "{text:?}");
    }
}

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
fn one_link_serves_one_question_after_another() {
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
