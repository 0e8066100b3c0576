//! L2: the application is asked about each topic of a conn that it has let in, as it would be about
//! the URL form of that topic.
//!
//! It knows the question about the conn, and what each answer is about. Its rules:
//! * the same question is asked, about another URL: with the credentials of the request that opened
//!   the WebSocket, which only such a conn keeps;
//! * an answer that is about somebody else than the conn's own ends the conn;
//! * of what is to be said on one topic the first is asked about, and the rest waits for that
//!   answer, so that all of it keeps its order;
//! * what was answered about hearing holds as long as it is heard, and what was answered about
//!   publishing as long as the conn lives.

use super::{Publications, Topic, Topics, UnderWay, Unfit, Wants};
use crate::access::ask::{Failure, Granted, Verdict, question_about};
use crate::access::channel::{self, Allow, Direction};
use crate::access::identity::Named;
use crate::access::identity::{Identity, Refused};
use crate::access::sources::Known;
use crate::browser::conn::{Conn, Life};
use crate::browser::context::Context;
use crate::browser::effect::Effect;
use crate::link::LinkId;
use crate::link::figures::{AskKind, AskOutcome};

/// The close code of an answer about somebody else.
const SOMEBODY_ELSE: u16 = 4001;

/// What is to be done when the application has answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub topic: Topic,
    pub act: Act,
    /// The number of the question, once it is asked.
    question: u64,
    /// It waits for the answer about another command.
    follows: bool,
    /// It is wanted no more, and was answered.
    pub is_overtaken: bool,
    asked_ms: u64,
}

/// What a conn wants to do on a topic.
#[derive(Debug)]
pub(super) enum Act {
    /// To hear it, from these positions on.
    Hear(Vec<(String, String)>),
    /// To say this.
    Say(Vec<u8>),
}

/// Who is let in, and what for.
pub(super) struct Grantee<'a> {
    pub identity: &'a Identity,
    pub refused: &'a [Refused],
    pub narrowed_by: Option<Allow>,
}

impl Act {
    pub(super) fn direction(&self) -> Direction {
        match self {
            Act::Hear(_) => Direction::Subscribe,
            Act::Say(_) => Direction::Publish,
        }
    }
}

impl Topics {
    /// Keeps the question that was asked about the conn.
    pub(in crate::browser) fn keep_question(&mut self, question: Vec<u8>) {
        self.question = Some(question.into());
    }

    /// Whether the application is to be asked about what is not known.
    pub(super) fn asks(&self) -> bool {
        self.question.is_some()
    }

    /// Has the application asked about something that the conn wants to do under this number.
    pub(super) fn ask(
        &mut self,
        link: LinkId,
        number: u64,
        topic: Topic,
        act: Act,
        cx: &mut Context,
    ) -> Result<(), Unfit> {
        let question = match &act {
            Act::Say(_) if self.is_asking_to_say(&topic) => None,
            act => Some(self.question_about(&topic, act.direction(), cx)?),
        };
        if let Act::Say(payload) = &act
            && self.asked_bytes() + payload.len() > cx.settings.max_message_size
        {
            return Err(Unfit::new(429, "too much waits for the application's answers"));
        }
        let asked_ms = cx.now.mono_ms;
        let (follows, is_overtaken) = (question.is_none(), false);
        let asked = Asked { topic, act, question: 0, follows, is_overtaken, asked_ms };
        let command = self.begin(number, 1, Wants::Ask(Box::new(asked)));
        if let Some(question) = question {
            cx.put(link, Effect::AskAboutTopic { command, question });
        }
        Ok(())
    }

    fn question_about(
        &self,
        topic: &Topic,
        direction: Direction,
        cx: &Context,
    ) -> Result<Vec<u8>, Unfit> {
        let option = Allow::of(&[topic.audience], &[direction]).options();
        let path = channel::path_of(&topic.facility, &cx.settings.url_prefix);
        let question = self.question.as_deref();
        let question = question.and_then(|it| question_about(it, &format!("{path}?{option}")));
        question.ok_or(Unfit::new(400, "the application cannot be asked"))
    }

    /// Whether the application is being asked whether that may be heard.
    pub(super) fn is_asking_to_hear(&self, topic: &Topic) -> bool {
        let is_it = |asked: &Asked| asked.topic == *topic && !asked.is_overtaken;
        self.asked().any(|asked| is_it(asked) && matches!(asked.act, Act::Hear(_)))
    }

    fn is_asking_to_say(&self, topic: &Topic) -> bool {
        self.asked().any(|asked| asked.topic == *topic && matches!(asked.act, Act::Say(_)))
    }

    /// A conn wants to hear that no more about which the application is being asked: the number of
    /// the command.
    pub(super) fn overtake(&mut self, topic: &Topic) -> Option<u64> {
        let all = self.commands.values_mut().filter_map(|command| match &mut command.wants {
            Wants::Ask(asked) => Some((command.number, asked)),
            _ => None,
        });
        let mut all = all.filter(|(_, asked)| asked.topic == *topic && !asked.is_overtaken);
        let (number, asked) = all.find(|(_, asked)| matches!(asked.act, Act::Hear(_)))?;
        asked.is_overtaken = true;
        Some(number)
    }

    /// Takes what waits for the answer about a command on the same topic.
    fn take_followers(&mut self, topic: &Topic) -> Vec<(u64, Act)> {
        let follows = |asked: &Asked| asked.follows && asked.topic == *topic;
        let all = self.commands.iter().filter_map(|(at, command)| match &command.wants {
            Wants::Ask(asked) if follows(asked) => Some(*at),
            _ => None,
        });
        let all: Vec<u64> = all.collect();
        let followers = all.into_iter().filter_map(|at| self.commands.remove(&at));
        let followers = followers.filter_map(|command| match command.wants {
            Wants::Ask(asked) => Some((command.number, asked.act)),
            _ => None,
        });
        followers.collect()
    }

    /// Bytes of what waits for answers.
    pub(super) fn asked_bytes(&self) -> usize {
        let bytes = |asked: &Asked| match &asked.act {
            Act::Hear(since) => since.iter().map(|(name, at)| name.len() + at.len()).sum(),
            Act::Say(payload) => payload.len(),
        };
        self.asked().map(bytes).sum()
    }

    /// Says what was asked about, and what has waited for that; returns what is not to be said.
    fn say_all(
        &mut self,
        link: LinkId,
        topic: Topic,
        first: (u64, Act),
        granted: Result<Vec<String>, Unfit>,
        cx: &mut Context,
    ) -> Vec<(u64, Unfit)> {
        let followers = self.take_followers(&topic);
        if let Ok(channels) = &granted {
            self.remember(topic, channels, cx);
        }
        let mut refused = Vec::new();
        for (number, act) in std::iter::once(first).chain(followers) {
            let command = granted.clone().and_then(|channels| {
                self.say(number, &channels, cx).map(|command| (command, channels))
            });
            match (command, act) {
                (Ok((command, channels)), Act::Say(payload)) => {
                    cx.put(link, Effect::Say { command, channels, payload });
                }
                (Err(unfit), _) => refused.push((number, unfit)),
                (Ok(_), Act::Hear(_)) => unreachable!("nobody hears by saying something"),
            }
        }
        refused
    }

    fn asked(&self) -> impl Iterator<Item = &Asked> {
        self.commands.values().filter_map(|command| match &command.wants {
            Wants::Ask(asked) => Some(&**asked),
            _ => None,
        })
    }

    fn asked_mut(&mut self, command: u64) -> Option<&mut Asked> {
        match &mut self.commands.get_mut(&command)?.wants {
            Wants::Ask(asked) => Some(asked),
            _ => None,
        }
    }

    /// Takes what the question of that number is about.
    fn take_asked(&mut self, question: u64) -> Option<(u64, Box<Asked>)> {
        let is_it = |wants: &Wants| match wants {
            Wants::Ask(asked) => asked.question == question,
            _ => false,
        };
        let command = *self.commands.iter().find(|(_, command)| is_it(&command.wants))?.0;
        match self.commands.remove(&command)? {
            UnderWay { number, wants: Wants::Ask(asked), .. } => Some((number, asked)),
            _ => None,
        }
    }
}

impl Conn {
    /// The questions about its topics that are not answered.
    pub(crate) fn topic_questions(&self) -> Vec<u64> {
        let Life::Open(member) = &self.life else { return Vec::new() };
        match &member.publications {
            Publications::Fixed(_) => Vec::new(),
            Publications::Topics(topics) => {
                let numbers = topics.asked().map(|asked| asked.question);
                numbers.filter(|number| *number > 0).collect()
            }
        }
    }

    /// Whether the application is still to be asked about a command.
    pub(crate) fn has_topic_question(&mut self, command: u64) -> bool {
        self.topics().is_some_and(|topics| topics.asked_mut(command).is_some())
    }

    /// The application has been asked about it, under this number.
    pub(crate) fn on_topic_asked(&mut self, command: u64, question: u64) {
        if let Some(asked) = self.topics().and_then(|topics| topics.asked_mut(command)) {
            asked.question = question;
        }
    }

    /// It cannot be asked: too many questions wait already.
    pub(crate) fn on_topic_unasked(&mut self, link: LinkId, command: u64, cx: &mut Context) {
        let Some(topics) = self.topics() else { return };
        let Some(UnderWay { number, wants: Wants::Ask(asked), .. }) =
            topics.commands.remove(&command)
        else {
            return;
        };
        cx.metrics.questions_failed_total += 1;
        self.refuse_asked(number, *asked, 503, &Failure::Busy.to_string(), cx);
        self.subscribe_listed(link, cx);
    }

    /// The application's answer to a question about a topic.
    pub(in crate::browser) fn on_topic_verdict(
        &mut self,
        link: LinkId,
        question: u64,
        verdict: Verdict,
        cx: &mut Context,
    ) {
        let Some(topics) = self.topics() else { return };
        let Some((number, asked)) = topics.take_asked(question) else { return };
        let outcome = match &verdict {
            Verdict::Granted(_) => AskOutcome::Known,
            Verdict::Refused { .. } => AskOutcome::Refused,
            Verdict::Unavailable { .. } => AskOutcome::Failed,
        };
        let took_ms = cx.now.mono_ms.saturating_sub(asked.asked_ms);
        cx.figures.asked(AskKind::Application, outcome, took_ms);
        let (identity, refused, allow) = match verdict {
            Verdict::Granted(Granted { identity, refused, allow }) => {
                match allow.as_deref().map(Allow::parse).transpose() {
                    Ok(allow) => (identity, refused, allow),
                    Err(_) => return self.on_no_topic_verdict(number, *asked, cx),
                }
            }
            Verdict::Refused { status, text } => {
                let why = if text.is_empty() { "the application refuses it" } else { &text };
                return self.refuse_asked(number, *asked, status, why, cx);
            }
            Verdict::Unavailable { .. } => return self.on_no_topic_verdict(number, *asked, cx),
        };
        let Known { identity, refused, .. } =
            Known::by_names(Named { identity, refused }, &mut cx.metrics);
        let Some(topics) = self.topics() else { return };
        let own = (&topics.identity.user, &topics.identity.session);
        if own != (&identity.user, &identity.session) {
            let why = "the application says that you are somebody else";
            return self.close(link, Some(SOMEBODY_ELSE), why, cx);
        }
        if asked.is_overtaken {
            return;
        }
        let Asked { topic, act, .. } = *asked;
        let to = Grantee { identity: &identity, refused: &refused, narrowed_by: allow };
        let granted = topics.granted(act.direction(), &topic, &to, cx);
        let unfit = match (granted, act) {
            (Err(unfit), Act::Hear(_)) => vec![(number, unfit)],
            (Ok(channels), Act::Hear(since)) => {
                let done = topics.hear(link, number, topic, channels, &since, true, cx);
                done.err().map(|unfit| (number, unfit)).into_iter().collect()
            }
            (granted, act) => topics.say_all(link, topic, (number, act), granted, cx),
        };
        for (number, Unfit { status, text }) in unfit {
            self.refuse_command(number, status, &text, cx);
        }
    }

    fn on_no_topic_verdict(&mut self, number: u64, asked: Asked, cx: &mut Context) {
        cx.metrics.questions_failed_total += 1;
        let why = "the application cannot be asked at the moment";
        self.refuse_asked(number, asked, 503, why, cx);
    }

    /// Refuses what was asked about, and what has waited for the answer to that.
    fn refuse_asked(
        &mut self,
        number: u64,
        asked: Asked,
        status: u16,
        why: &str,
        cx: &mut Context,
    ) {
        let Some(topics) = self.topics() else { return };
        let followers = match asked.act {
            Act::Say(_) => topics.take_followers(&asked.topic),
            Act::Hear(_) => Vec::new(),
        };
        let first = (!asked.is_overtaken).then_some(number);
        for number in first.into_iter().chain(followers.into_iter().map(|(number, _)| number)) {
            self.refuse_command(number, status, why, cx);
        }
    }
}
