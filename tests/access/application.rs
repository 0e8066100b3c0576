//! The application as who asks it sees it: on a fake clock, with a scripted application at the
//! other end of the links.

mod disorder;

mod links;
use std::collections::BTreeMap;

use wsloop::internals::access::ask::{Application, Errand, Failure, Full, Granted, Verdict, Wrong};
use wsloop::internals::access::identity::{Identity, NameError};
use wsloop::proto::http::answer::AnswerError;
use wsloop::{AskSettings, Audience, LinkId, Target};

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
    /// One that keeps its links.
    fn new(connections: usize, waiting: usize) -> Self {
        Self::keeping(true, connections, waiting)
    }

    fn keeping(keep_alive: bool, connections: usize, waiting: usize) -> Self {
        let auth = Application::new(AskSettings {
            target: Target::Unix("/app.sock".into()),
            host: "app".to_owned(),
            path: "/auth".to_owned(),
            timeout_ms: TIMEOUT_MS,
            connections,
            keep_alive,
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
    Verdict::Granted(Granted { identity, ..Granted::default() })
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
                refused: vec![],
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
fn a_name_that_is_encoded_is_what_it_stands_for_and_a_plain_one_is_what_it_is() {
    for (headers, user, groups, session) in [
        ("X-Wsloop-User-Encoded: j%C3%BCrgen\r\n", "jürgen", &[][..], ""),
        ("X-Wsloop-User: j%C3%BCrgen\r\n", "j%C3%BCrgen", &[], ""),
        ("X-Wsloop-User-Encoded: Doe%2C%20John\r\n", "Doe, John", &[], ""),
        ("X-Wsloop-User: Doe, John\r\n", "Doe, John", &[], ""),
        ("X-Wsloop-User-Encoded: a%2Bb%2525\r\n", "a+b%25", &[], ""),
        ("X-Wsloop-User-Encoded: \r\n", "", &[], ""),
        ("X-Wsloop-Groups-Encoded: a%2Cb, c%20d,,%E2%82%AC\r\n", "", &["a,b", "c d", "€"], ""),
        (
            "X-Wsloop-Groups-Encoded: a\r\nX-Wsloop-Groups-Encoded: b\r\nX-Wsloop-User: c\r\n",
            "c",
            &["a", "b"],
            "",
        ),
        ("X-Wsloop-Session-Encoded: s%31\r\nX-Wsloop-Groups: g%31\r\n", "", &["g%31"], "s1"),
    ] {
        let Verdict::Granted(Granted { identity, refused, .. }) = ok(headers) else {
            panic!("{headers:?}");
        };
        assert_eq!(identity.user.as_deref().unwrap_or(""), user, "{headers:?}");
        assert_eq!(identity.groups, groups, "{headers:?}");
        assert_eq!(identity.session.as_deref().unwrap_or(""), session, "{headers:?}");
        assert_eq!(refused, [], "{headers:?}");
    }
}

#[test]
fn a_name_that_cannot_stand_in_a_channel_is_left_out_and_said_and_the_rest_is_granted() {
    use Audience::{Group, Session, User};
    let long = "x".repeat(256);
    for (header, name, audience, why) in [
        ("User", "a:b", User, NameError::Colon),
        ("User", "a\tb", User, NameError::Control),
        ("User", "a\u{85}b", User, NameError::Control),
        ("User", &long, User, NameError::TooLong),
        ("User", "\u{a0}a", User, NameError::Blank),
        ("Session", "a:b", Session, NameError::Colon),
        ("Groups", "a:b", Group, NameError::Colon),
        ("User-Encoded", "a%3Ab", User, NameError::Colon),
        ("User-Encoded", "a%0D%0AX-Wsloop-Groups%3A%20staff", User, NameError::Colon),
        ("User-Encoded", "%20a", User, NameError::Blank),
        ("Session-Encoded", "a%00", Session, NameError::Control),
        ("Groups-Encoded", "a%20", Group, NameError::Blank),
    ] {
        for kept in ["X-Wsloop-Groups: kept\r\n", "X-Wsloop-User: kept\r\n"] {
            if kept.contains(header.trim_end_matches("-Encoded")) {
                continue;
            }
            let headers = format!("X-Wsloop-{header}: {name}\r\n{kept}");
            let Verdict::Granted(Granted { identity, refused, .. }) = ok(&headers) else {
                panic!("{headers:?}");
            };
            let [lost] = &refused[..] else { panic!("{refused:?} of {headers:?}") };
            assert_eq!((lost.audience, lost.why), (audience, why), "{headers:?}");
            let names = identity.user.iter().chain(&identity.groups).chain(&identity.session);
            assert_eq!(names.collect::<Vec<_>>(), ["kept"], "{headers:?}");
        }
    }
}

#[test]
fn what_is_never_granted() {
    use Wrong::*;
    let (user, groups) = ("X-Wsloop-User", "X-Wsloop-Groups");
    let (session, allow) = ("X-Wsloop-Session", "X-Wsloop-Allow");
    let user_encoded = "X-Wsloop-User-Encoded";
    for (headers, name, wrong) in [
        ("X-Wsloop-User: a\r\nX-Wsloop-User: a\r\n", user, Repeated),
        ("X-Wsloop-User:\r\nX-Wsloop-User: a\r\n", user, Repeated),
        ("X-Wsloop-Session: a\r\nx-wsloop-session: b\r\n", session, Repeated),
        ("X-Wsloop-User: a\r\nX-Wsloop-User-Encoded: a\r\n", user, Both),
        ("X-Wsloop-User-Encoded:\r\nX-Wsloop-User: a\r\n", user, Both),
        ("X-Wsloop-Groups: a\r\nX-Wsloop-Groups-Encoded: b\r\n", groups, Both),
        ("X-Wsloop-Session: a\r\nX-Wsloop-Session-Encoded: a\r\n", session, Both),
        ("X-Wsloop-User-Encoded: a\r\nX-Wsloop-User-Encoded: a\r\n", user_encoded, Repeated),
        ("X-Wsloop-User-Encoded: a+b\r\n", user_encoded, NotEncoded),
        ("X-Wsloop-User-Encoded: a b\r\n", user_encoded, NotEncoded),
        ("X-Wsloop-User-Encoded: 100%\r\n", user_encoded, NotEncoded),
        ("X-Wsloop-User-Encoded: %4\r\n", user_encoded, NotEncoded),
        ("X-Wsloop-User-Encoded: %+1\r\n", user_encoded, NotEncoded),
        ("X-Wsloop-User-Encoded: j\u{fc}rgen\r\n", user_encoded, NotEncoded),
        ("X-Wsloop-User-Encoded: j%FCrgen\r\n", user_encoded, NotUtf8),
        ("X-Wsloop-User-Encoded: %C0%BA\r\n", user_encoded, NotUtf8),
        ("X-Wsloop-Groups-Encoded: a,%\r\n", "X-Wsloop-Groups-Encoded", NotEncoded),
        ("X-Wsloop-Groups-Encoded: a%2,b\r\n", "X-Wsloop-Groups-Encoded", NotEncoded),
        ("X-Wsloop-User: =?utf-8?b?zqk=?=\r\n", user, EncodedWord),
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
