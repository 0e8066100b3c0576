//! L1: the application that is asked who somebody is: the questions and the links they go over.
//!
//! It knows which question is on which link; it has no socket and no clock: the owner dials and
//! closes when told to, hands in what arrives and sends what waits. Its rules:
//! * a link has one question at a time. It has another only after a whole answer that ends where it
//!   says it does; whatever else arrives on it, or does not in time, closes it, for the next answer
//!   on such a link might be another browser's;
//! * a question that found its link closed before a byte of an answer came is asked once more, on
//!   a link that was dialed since, if the first one had rested: that the application closes what
//!   rests is no error;
//! * every question has its verdict by its deadline, once, unless its asker has gone. The answer
//!   to a question whose asker has gone is awaited and thrown away, so that who comes and goes
//!   does not have links dialed;
//! * an answer to a question from before somebody was disconnected does not let that one in again;
//! * after a dial that failed there is a pause. When no link is left, nobody waits for its end.

mod url;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

pub use url::auth_url;
pub use verdict::{Failure, Granted, Verdict, Wrong};

use crate::link::LinkId;
use crate::link::Target;
use crate::proto::http::Head;
use crate::proto::http::answer::{self, Answer, Reader};

/// A link that rests for so long is closed. Most applications close it earlier.
const REST_MS: u64 = 30_000;
/// Between a dial that failed and the next.
const PAUSE_MS: u64 = 200;
/// The application gave up waiting for a question just when it was sent (RFC 9110, 15.5.9).
const REQUEST_TIMEOUT: u16 = 408;
const REVOKED: &str = "This connection may no longer be here.";

/// Where to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What to dial.
    pub target: Target,
    /// The Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Milliseconds from a question to its verdict at the latest, and for a dial.
    pub timeout_ms: u64,
    /// Most links, at least 1.
    pub connections: usize,
    /// Most questions that wait for a link, at least 1. Each is about as large as the browser's
    /// request head.
    pub waiting: usize,
}

/// Too many questions wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What the owner is to do about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Name one, say so with [`Auth::dialing`] before anything else, and dial it.
    Dial,
    /// Close it: it is forgotten here.
    Close(LinkId),
}

/// The application, as who asks it sees it.
#[derive(Debug)]
pub struct Auth {
    settings: Settings,
    /// In the order in which they were dialed.
    links: Vec<Link>,
    /// Which question is whose, until the verdict is taken.
    askers: BTreeMap<(u32, u32), u64>,
    /// Questions without a link by number, which is the order of their deadlines, too.
    waiting: BTreeMap<u64, Question>,
    /// Questions ever asked.
    asked: u64,
    /// A dial failed; there is none before that time.
    paused_until_ms: Option<u64>,
    verdicts: VecDeque<(LinkId, u64, Verdict)>,
    /// Owners that were disconnected, and how many questions had been asked by then.
    revoked: BTreeMap<String, u64>,
    /// The same, and when all those questions have their verdicts.
    revocations: VecDeque<(u64, String, u64)>,
    to_close: VecDeque<LinkId>,
    to_flush: VecDeque<LinkId>,
}

#[derive(Debug)]
struct Question {
    who: LinkId,
    number: u64,
    bytes: Vec<u8>,
    deadline_ms: u64,
    /// It was asked before, on a link that turned out to be closed.
    again: bool,
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    state: State,
    /// It has neither rested nor brought an answer yet.
    fresh: bool,
}

#[derive(Debug)]
enum State {
    Dialing { deadline_ms: u64 },
    Resting { until_ms: u64 },
    Asked(Box<Asked>),
}

#[derive(Debug)]
struct Asked {
    question: Question,
    sent: usize,
    reader: Reader,
}

impl Auth {
    /// Nobody has asked yet, and nothing is dialed before.
    pub fn new(settings: Settings) -> Self {
        Auth {
            settings,
            links: Vec::new(),
            askers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            asked: 0,
            paused_until_ms: None,
            verdicts: VecDeque::new(),
            revoked: BTreeMap::new(),
            revocations: VecDeque::new(),
            to_close: VecDeque::new(),
            to_flush: VecDeque::new(),
        }
    }

    /// Where it is to be dialed.
    pub fn target(&self) -> &Target {
        &self.settings.target
    }

    /// The question about this request; see [`answer::question`].
    pub fn question(&self, head: &Head<'_>, address: IpAddr) -> Option<Vec<u8>> {
        answer::question(&self.settings.host, &self.settings.path, head, address)
    }

    /// Asks. An asker has one question at a time.
    pub fn ask(&mut self, who: LinkId, question: Vec<u8>, now_ms: u64) -> Result<(), Full> {
        if self.waiting.len() >= self.settings.waiting {
            return Err(Full);
        }
        self.asked += 1;
        let (number, deadline_ms) = (self.asked, now_ms + self.settings.timeout_ms);
        let before = self.askers.insert(key(who), number);
        assert!(before.is_none(), "{who} asks while it waits for an answer");
        let question = Question { who, number, bytes: question, deadline_ms, again: false };
        self.waiting.insert(number, question);
        self.hand_out(now_ms);
        Ok(())
    }

    /// The asker has gone, or needs no answer any more.
    pub fn forget(&mut self, who: LinkId) {
        if let Some(number) = self.askers.remove(&key(who)) {
            self.waiting.remove(&number);
        }
    }

    /// The conns of `owner`, named as in [`Granted::identity`]'s owners, were closed just now.
    /// Whoever the application is being asked about may turn out to be one of them: it may have
    /// answered when it still thought otherwise.
    pub fn revoke(&mut self, owner: &str, now_ms: u64) {
        if !self.askers.is_empty() {
            let until_ms = now_ms + self.settings.timeout_ms;
            self.revoked.insert(owner.to_owned(), self.asked);
            self.revocations.push_back((until_ms, owner.to_owned(), self.asked));
        }
    }

    /// The next verdict, and whom it is about.
    pub fn next_answer(&mut self) -> Option<(LinkId, Verdict)> {
        while let Some((who, number, verdict)) = self.verdicts.pop_front() {
            if self.is_awaited(who, number) {
                self.askers.remove(&key(who));
                return Some((who, self.unless_revoked(number, verdict)));
            }
        }
        None
    }

    /// The number of those who wait for a verdict.
    pub fn askers(&self) -> usize {
        self.askers.len()
    }

    /// Whether somebody waits for a verdict.
    pub fn is_asked_about(&self, who: LinkId) -> bool {
        self.askers.contains_key(&key(who))
    }

    /// What the owner is to do next.
    pub fn next_wish(&mut self) -> Option<Wish> {
        if let Some(link) = self.to_close.pop_front() {
            return Some(Wish::Close(link));
        }
        let dialing = self.links.iter().filter(|link| link.is_dialing()).count();
        let room = self.links.len() < self.settings.connections;
        let wanted = room && dialing < self.waiting.len() && self.paused_until_ms.is_none();
        wanted.then_some(Wish::Dial)
    }

    /// The next link for which bytes wait: see [`Auth::unsent`].
    pub fn next_flush(&mut self) -> Option<LinkId> {
        while let Some(link) = self.to_flush.pop_front() {
            if !self.unsent(link).is_empty() {
                return Some(link);
            }
        }
        None
    }

    /// Whether the link is one of those to the application.
    pub fn is_mine(&self, link: LinkId) -> bool {
        self.place(link).is_some()
    }

    /// A link that was wished for is being dialed, under this name.
    pub fn dialing(&mut self, link: LinkId, now_ms: u64) {
        let deadline_ms = now_ms + self.settings.timeout_ms;
        self.links.push(Link { id: link, state: State::Dialing { deadline_ms }, fresh: true });
    }

    /// The dial succeeded.
    pub fn connected(&mut self, link: LinkId, now_ms: u64) {
        let Some(at) = self.place(link).filter(|at| self.links[*at].is_dialing()) else { return };
        self.links[at].state = State::Resting { until_ms: now_ms + REST_MS };
        self.hand_out(now_ms);
        if let State::Resting { .. } = self.links[at].state {
            self.links[at].fresh = false;
        }
    }

    /// Bytes arrived.
    pub fn received(&mut self, link: LinkId, bytes: &[u8], now_ms: u64) {
        let Some(at) = self.place(link) else { return };
        let State::Asked(asked) = &mut self.links[at].state else {
            // It answers what nobody asked, so its next answer would not be to the next question.
            self.close(at);
            return;
        };
        if asked.question.deadline_ms <= now_ms {
            self.conclude(at, unavailable(Failure::Late));
        } else if asked.sent < asked.question.bytes.len() {
            self.fail(at, Failure::Early);
        } else {
            let mut input = bytes;
            match asked.reader.next(&mut input) {
                Ok(None) => {}
                Ok(Some(answer)) => self.answered(at, &answer, input.is_empty(), now_ms),
                Err(error) => self.conclude(at, unavailable(Failure::Answer(error))),
            }
        }
    }

    /// The link has ended in order, or failed, which `failure` says in the system's words; or could
    /// not be made. It is closed in either case.
    pub fn hung_up(&mut self, link: LinkId, failure: Option<&str>, now_ms: u64) {
        let Some(at) = self.place(link) else { return };
        let why = || failure.unwrap_or("it closed the connection").to_owned();
        match &mut self.links[at].state {
            State::Dialing { .. } => self.dial_failed(at, why(), now_ms),
            State::Resting { .. } => self.close(at),
            State::Asked(asked) if asked.question.deadline_ms <= now_ms => {
                self.conclude(at, unavailable(Failure::Late));
            }
            State::Asked(asked) if !asked.reader.is_begun() => {
                self.fail(at, Failure::HungUp(why()));
            }
            State::Asked(_) if failure.is_some() => {
                self.conclude(at, unavailable(Failure::HungUp(why())));
            }
            State::Asked(asked) => match asked.reader.ended() {
                Ok(answer) => self.answered(at, &answer, false, now_ms),
                Err(error) => self.conclude(at, unavailable(Failure::Answer(error))),
            },
        }
    }

    /// Lets time pass: what is overdue is given up.
    pub fn tick(&mut self, now_ms: u64) {
        let overdue = |link: &Link| link.deadline_ms() <= now_ms;
        while let Some(at) = self.links.iter().position(overdue) {
            match self.links[at].state {
                State::Dialing { .. } => {
                    self.dial_failed(at, "the dial took too long".to_owned(), now_ms);
                }
                State::Resting { .. } => self.close(at),
                State::Asked(_) => self.conclude(at, unavailable(Failure::Late)),
            }
        }
        self.give_up_waiting(now_ms);
        while self.revocations.front().is_some_and(|(until_ms, ..)| *until_ms < now_ms) {
            let Some((_, owner, asked)) = self.revocations.pop_front() else { break };
            if self.revoked.get(&owner) == Some(&asked) {
                self.revoked.remove(&owner);
            }
        }
    }

    /// When [`Auth::tick`] has something to do next.
    pub fn deadline_ms(&self) -> Option<u64> {
        let waiting = self.waiting.values().next().map(|question| question.deadline_ms);
        let pause = self.paused_until_ms.filter(|_| !self.waiting.is_empty());
        self.links.iter().map(Link::deadline_ms).chain(waiting).chain(pause).min()
    }

    /// Bytes that wait to be sent on this link.
    pub fn unsent(&self, link: LinkId) -> &[u8] {
        match self.place(link).map(|at| &self.links[at].state) {
            Some(State::Asked(asked)) => &asked.question.bytes[asked.sent..],
            _ => &[],
        }
    }

    /// Forgets the first `n` of them: they are sent.
    pub fn advance(&mut self, link: LinkId, n: usize) {
        let Some(at) = self.place(link) else { return };
        if let State::Asked(asked) = &mut self.links[at].state {
            asked.sent += n;
            assert!(asked.sent <= asked.question.bytes.len(), "more was sent than waited");
        }
    }

    /// Gives waiting questions to links that rest, to each the oldest that it may have.
    fn hand_out(&mut self, now_ms: u64) {
        self.give_up_waiting(now_ms);
        for link in &mut self.links {
            let State::Resting { .. } = link.state else { continue };
            // No more of them are asked again than links were lost, so this looks at few.
            let mut waiting = self.waiting.values();
            let next = waiting.find(|question| link.fresh || !question.again);
            let Some(number) = next.map(|question| question.number) else { continue };
            if let Some(question) = self.waiting.remove(&number) {
                let reader = Reader::new(verdict::WANTED);
                link.state = State::Asked(Box::new(Asked { question, sent: 0, reader }));
                self.to_flush.push_back(link.id);
            }
        }
    }

    /// Ends a pause that is over, and the waiting of those whose time is.
    fn give_up_waiting(&mut self, now_ms: u64) {
        self.paused_until_ms = self.paused_until_ms.filter(|until_ms| *until_ms > now_ms);
        while let Some(oldest) = self.waiting.first_entry() {
            if oldest.get().deadline_ms > now_ms {
                break;
            }
            let question = oldest.remove();
            let verdict = unavailable(Failure::Busy);
            self.verdicts.push_back((question.who, question.number, verdict));
        }
    }

    /// A whole answer has come; `alone` is whether nothing came behind it.
    fn answered(&mut self, at: usize, answer: &Answer, alone: bool, now_ms: u64) {
        if answer.status == REQUEST_TIMEOUT {
            return self.fail(at, Failure::Status(REQUEST_TIMEOUT));
        }
        let verdict = verdict::verdict(answer);
        if !(alone && answer.keeps_alive) {
            return self.conclude(at, verdict);
        }
        let link = &mut self.links[at];
        let rest = State::Resting { until_ms: now_ms + REST_MS };
        link.fresh = false;
        if let State::Asked(asked) = std::mem::replace(&mut link.state, rest) {
            self.verdicts.push_back((asked.question.who, asked.question.number, verdict));
        }
        self.hand_out(now_ms);
    }

    /// The link is of no use, and it may be for having rested that its question has no answer:
    /// then that is asked again.
    fn fail(&mut self, at: usize, failure: Failure) {
        let link = self.remove(at);
        let State::Asked(asked) = link.state else { return };
        let mut question = asked.question;
        if link.fresh || question.again {
            self.verdicts.push_back((question.who, question.number, unavailable(failure)));
        } else if self.is_awaited(question.who, question.number) {
            question.again = true;
            self.waiting.insert(question.number, question);
        }
    }

    /// The question on this link has its verdict, and the link is closed.
    fn conclude(&mut self, at: usize, verdict: Verdict) {
        if let State::Asked(asked) = self.remove(at).state {
            self.verdicts.push_back((asked.question.who, asked.question.number, verdict));
        }
    }

    /// A dial has failed; if there is no link and no other dial, nobody need wait for the next.
    fn dial_failed(&mut self, at: usize, why: String, now_ms: u64) {
        self.close(at);
        self.paused_until_ms = Some(now_ms + PAUSE_MS);
        if self.links.is_empty() {
            for (number, question) in std::mem::take(&mut self.waiting) {
                let reason = Failure::Unreachable(why.clone());
                self.verdicts.push_back((question.who, number, unavailable(reason)));
            }
        }
    }

    fn close(&mut self, at: usize) {
        self.remove(at);
    }

    fn remove(&mut self, at: usize) -> Link {
        let link = self.links.remove(at);
        self.to_close.push_back(link.id);
        link
    }

    fn place(&self, link: LinkId) -> Option<usize> {
        self.links.iter().position(|known| known.id == link)
    }

    /// The verdict on that question, or a refusal of who was disconnected since it was asked.
    fn unless_revoked(&self, number: u64, verdict: Verdict) -> Verdict {
        let revoked = |owner: String| self.revoked.get(&owner).is_some_and(|at| *at >= number);
        match &verdict {
            Verdict::Granted(granted) if granted.identity.owners().any(revoked) => {
                Verdict::Refused { status: 403, text: REVOKED.to_owned() }
            }
            _ => verdict,
        }
    }

    fn is_awaited(&self, who: LinkId, number: u64) -> bool {
        self.askers.get(&key(who)) == Some(&number)
    }
}

impl Link {
    fn is_dialing(&self) -> bool {
        matches!(self.state, State::Dialing { .. })
    }

    fn deadline_ms(&self) -> u64 {
        match &self.state {
            State::Dialing { deadline_ms } => *deadline_ms,
            State::Resting { until_ms } => *until_ms,
            State::Asked(asked) => asked.question.deadline_ms,
        }
    }
}

fn unavailable(reason: Failure) -> Verdict {
    Verdict::Unavailable { reason }
}

fn key(who: LinkId) -> (u32, u32) {
    (who.index, who.generation)
}
