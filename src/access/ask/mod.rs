//! L1: the application that is asked who somebody is: the questions and the links they go over.
//!
//! It knows which question is on which link; it has no socket and no clock: the owner dials and
//! closes when told to, hands in what arrives and sends what waits. A question has a number, and
//! the answer comes back with the number and with who asked. Its rules:
//! * a link has one question, so that an application which answers twice cannot have one browser
//!   let in as another. Where it may have more (`keep_alive`), it has the next only after a whole
//!   answer that ends where it says it does;
//! * whatever else arrives on a link, or does not in time, closes it: nobody has asked for that;
//! * an application may close an idle link at any time. A question that was sent on such a link and
//!   got no byte of an answer is sent once more on a new one;
//! * every question has its verdict by its deadline, once, unless its asker has gone. The answer
//!   to a question whose asker has gone is awaited and thrown away, so that who comes and goes
//!   does not have links dialed;
//! * an answer to a question from before somebody was disconnected does not let that one in again;
//! * after a dial that failed there is a pause. When no link is left, nobody waits for its end.

mod question;
mod url;
mod verdict;

use std::collections::{BTreeMap, VecDeque};

pub use question::question;
pub(crate) use question::question_about;
pub(crate) use url::auth_url;
pub use verdict::{Failure, Granted, Verdict, Wrong};

use crate::link::{LOOKUP_MS, LinkId, Target};
use crate::proto::http::answer::{Answer, AnswerReader};

/// The idle time after which a link is closed. Most applications close it earlier.
const REST_MS: u64 = 30_000;
/// Between a dial that failed and the next.
const PAUSE_MS: u64 = 200;
/// The application gave up waiting for a question just when it was sent (RFC 9110, 15.5.9).
const REQUEST_TIMEOUT: u16 = 408;
const REVOKED: &str = "This connection may no longer be here.";

/// Where to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskSettings {
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
    /// Whether a link may have one question after another: for an application that never answers
    /// one twice.
    pub keep_alive: bool,
    /// Most questions that wait for a link, at least 1. Each is about as large as the browser's
    /// request head.
    pub waiting: usize,
}

/// Too many questions wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What the owner is to do about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Dial a link, and say what it is called with [`Application::dialing`], by this number.
    Dial(usize),
    /// Close it: it is forgotten here.
    Close(LinkId),
}

/// The application, as who asks it sees it.
#[derive(Debug)]
pub struct Application {
    settings: AskSettings,
    /// By their numbers, which is the order in which they were dialed.
    links: BTreeMap<usize, Link>,
    /// Links ever dialed.
    dialed: usize,
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
    to_flush: VecDeque<usize>,
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
    /// Its name, once it is being dialed.
    id: Option<LinkId>,
    state: State,
    /// It has neither rested nor brought an answer yet.
    fresh: bool,
}

#[derive(Debug)]
enum State {
    Dialing { deadline_ms: u64 },
    Resting { until_ms: u64 },
    Asked(Box<Exchange>),
}

#[derive(Debug)]
struct Exchange {
    question: Question,
    sent: usize,
    reader: AnswerReader,
    /// Nobody waits for the answer any more.
    forgotten: bool,
}

impl Application {
    /// Bytes of questions that wait for a link.
    pub fn held_bytes(&self) -> usize {
        self.waiting.values().map(|question| question.bytes.capacity()).sum()
    }

    /// Nobody has asked yet, and nothing is dialed before.
    pub fn new(settings: AskSettings) -> Self {
        Application {
            settings,
            links: BTreeMap::new(),
            dialed: 0,
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

    /// Asks; the answer comes back with who asked and the number that is returned.
    pub fn ask(&mut self, who: LinkId, question: Vec<u8>, now_ms: u64) -> Result<u64, Full> {
        if self.waiting.len() >= self.settings.waiting {
            return Err(Full);
        }
        self.asked += 1;
        let (number, deadline_ms) = (self.asked, now_ms + self.settings.timeout_ms);
        let question = Question { who, number, bytes: question, deadline_ms, again: false };
        self.waiting.insert(number, question);
        self.hand_out(now_ms);
        Ok(number)
    }

    /// Whoever asked the question of that number has gone, or needs no answer any more.
    pub fn forget(&mut self, number: u64) {
        self.waiting.remove(&number);
        self.verdicts.retain(|(_, of, _)| *of != number);
        for link in self.links.values_mut() {
            if let State::Asked(asked) = &mut link.state
                && asked.question.number == number
            {
                asked.forgotten = true;
            }
        }
    }

    /// The conns of `owner`, named as in [`Granted::identity`]'s owners, were closed just now.
    /// Whoever the application is being asked about may turn out to be one of them: it may have
    /// answered when it still thought otherwise.
    pub fn revoke(&mut self, owner: &str, now_ms: u64) {
        if self.unanswered() > 0 {
            let until_ms = now_ms + self.settings.timeout_ms;
            self.revoked.insert(owner.to_owned(), self.asked);
            self.revocations.push_back((until_ms, owner.to_owned(), self.asked));
        }
    }

    /// The next verdict, with who asked and the number of the question.
    pub fn next_answer(&mut self) -> Option<(LinkId, u64, Verdict)> {
        let (who, number, verdict) = self.verdicts.pop_front()?;
        Some((who, number, self.unless_revoked(number, verdict)))
    }

    /// The number of questions that somebody waits for the answer of.
    pub fn unanswered(&self) -> usize {
        let asked = self.links.values().filter(|link| match &link.state {
            State::Asked(asked) => !asked.forgotten,
            _ => false,
        });
        self.waiting.len() + asked.count() + self.verdicts.len()
    }

    /// What the owner is to do next.
    pub fn next_wish(&mut self) -> Option<Errand> {
        if let Some(link) = self.to_close.pop_front() {
            return Some(Errand::Close(link));
        }
        let dialing = self.links.values().filter(|link| link.is_dialing()).count();
        let room = self.links.len() < self.settings.connections;
        let wanted = room && dialing < self.waiting.len() && self.paused_until_ms.is_none();
        wanted.then(|| {
            self.dialed += 1;
            let state = State::Dialing { deadline_ms: u64::MAX };
            self.links.insert(self.dialed, Link { id: None, state, fresh: true });
            Errand::Dial(self.dialed)
        })
    }

    /// The name of the next link for which bytes wait: see [`Application::unsent`].
    pub fn next_flush(&mut self) -> Option<LinkId> {
        while let Some(at) = self.to_flush.pop_front() {
            if !self.unsent(at).is_empty() {
                return self.links.get(&at)?.id;
            }
        }
        None
    }

    /// The name of the application is being looked up for the link of that number, or was.
    pub fn on_lookup(&mut self, at: usize, begins: bool, now_ms: u64) {
        let timeout_ms = if begins { LOOKUP_MS } else { self.settings.timeout_ms };
        if let Some(link) = self.links.get_mut(&at).filter(|link| link.is_dialing()) {
            link.state = State::Dialing { deadline_ms: now_ms + timeout_ms };
        }
    }

    /// The link of that number is being dialed, under this name.
    pub fn dialing(&mut self, at: usize, id: LinkId, now_ms: u64) {
        let deadline_ms = now_ms + self.settings.timeout_ms;
        if let Some(link) = self.links.get_mut(&at) {
            (link.id, link.state) = (Some(id), State::Dialing { deadline_ms });
        }
    }

    /// The dial succeeded.
    pub fn connected(&mut self, at: usize, now_ms: u64) {
        let Some(link) = self.links.get_mut(&at).filter(|link| link.is_dialing()) else { return };
        link.state = State::Resting { until_ms: now_ms + REST_MS };
        self.hand_out(now_ms);
        if let Some(link @ Link { state: State::Resting { .. }, .. }) = self.links.get_mut(&at) {
            link.fresh = false;
        }
    }

    /// Bytes arrived.
    pub fn received(&mut self, at: usize, bytes: &[u8], now_ms: u64) {
        let Some(link) = self.links.get_mut(&at) else { return };
        let State::Asked(asked) = &mut link.state else {
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
    pub fn hung_up(&mut self, at: usize, failure: Option<&str>, now_ms: u64) {
        let Some(link) = self.links.get_mut(&at) else { return };
        let why = || failure.unwrap_or("it closed the connection").to_owned();
        match &mut link.state {
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
        let overdue = |(at, link): (&usize, &Link)| (link.deadline_ms() <= now_ms).then_some(*at);
        while let Some(at) = self.links.iter().find_map(overdue) {
            match self.links[&at].state {
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

    /// When [`Application::tick`] has something to do next.
    pub fn deadline_ms(&self) -> Option<u64> {
        let waiting = self.waiting.values().next().map(|question| question.deadline_ms);
        let pause = self.paused_until_ms.filter(|_| !self.waiting.is_empty());
        self.links.values().map(Link::deadline_ms).chain(waiting).chain(pause).min()
    }

    /// Bytes that wait to be sent on this link.
    pub fn unsent(&self, at: usize) -> &[u8] {
        match self.links.get(&at).map(|link| &link.state) {
            Some(State::Asked(asked)) => &asked.question.bytes[asked.sent..],
            _ => &[],
        }
    }

    /// Forgets the first `n` of them: they are sent. True when that was all.
    pub fn advance(&mut self, at: usize, n: usize) -> bool {
        if let Some(link) = self.links.get_mut(&at)
            && let State::Asked(asked) = &mut link.state
        {
            asked.sent += n;
            assert!(asked.sent <= asked.question.bytes.len(), "more was sent than waited");
        }
        self.unsent(at).is_empty()
    }

    /// Gives waiting questions to links that rest, to each the oldest that it may have.
    fn hand_out(&mut self, now_ms: u64) {
        self.give_up_waiting(now_ms);
        for (at, link) in &mut self.links {
            let State::Resting { .. } = link.state else { continue };
            // No more of them are asked again than links were lost, so this looks at few.
            let mut waiting = self.waiting.values();
            let next = waiting.find(|question| link.fresh || !question.again);
            let Some(number) = next.map(|question| question.number) else { continue };
            if let Some(question) = self.waiting.remove(&number) {
                let reader = AnswerReader::new(verdict::WANTED);
                link.state = State::Asked(Box::new(Exchange {
                    question,
                    sent: 0,
                    reader,
                    forgotten: false,
                }));
                self.to_flush.push_back(*at);
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
        if !(alone && answer.keeps_alive && self.settings.keep_alive) {
            return self.conclude(at, verdict);
        }
        let Some(link) = self.links.get_mut(&at) else { return };
        let rest = State::Resting { until_ms: now_ms + REST_MS };
        link.fresh = false;
        if let State::Asked(asked) = std::mem::replace(&mut link.state, rest) {
            self.answer(*asked, verdict);
        }
        self.hand_out(now_ms);
    }

    /// The link is of no use, and it may be for having rested that its question has no answer:
    /// then that is asked again.
    fn fail(&mut self, at: usize, failure: Failure) {
        let Some(Link { state: State::Asked(mut asked), fresh, .. }) = self.remove(at) else {
            return;
        };
        if fresh || asked.question.again {
            self.answer(*asked, unavailable(failure));
        } else if !asked.forgotten {
            asked.question.again = true;
            self.waiting.insert(asked.question.number, asked.question);
        }
    }

    /// The question on this link has its verdict, and the link is closed.
    fn conclude(&mut self, at: usize, verdict: Verdict) {
        if let Some(Link { state: State::Asked(asked), .. }) = self.remove(at) {
            self.answer(*asked, verdict);
        }
    }

    fn answer(&mut self, asked: Exchange, verdict: Verdict) {
        if !asked.forgotten {
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

    fn remove(&mut self, at: usize) -> Option<Link> {
        let link = self.links.remove(&at)?;
        self.to_close.extend(link.id);
        Some(link)
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
