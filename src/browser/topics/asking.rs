//! L2: the application is asked about each topic of a conn that it has let in, as it would be about
//! the URL form of that topic.
//!
//! It knows the question about the conn, and what each answer is about. Its rules:
//! * the same question is asked, about another URL: with the credentials of the request that opened
//!   the WebSocket, which only such a conn keeps;
//! * an answer that is about somebody else than the conn's own ends the conn;
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
        let option = Allow::of(&[topic.audience], &[act.direction()]).options();
        let path = channel::path_of(&topic.facility, &cx.settings.url_prefix);
        let question = self.question.as_deref();
        let question = question.and_then(|it| question_about(it, &format!("{path}?{option}")));
        let question = question.ok_or(Unfit::new(400, "the application cannot be asked"))?;
        if let Act::Say(payload) = &act
            && self.asked_bytes() + payload.len() > cx.settings.max_message_size
        {
            return Err(Unfit::new(429, "too much waits for the application's answers"));
        }
        let asked_ms = cx.now.mono_ms;
        let asked = Box::new(Asked { topic, act, question: 0, asked_ms });
        let command = self.begin(number, 1, Wants::Ask(asked));
        cx.put(link, Effect::AskAboutTopic { command, question });
        Ok(())
    }

    /// Whether the application is being asked whether that may be heard.
    pub(super) fn is_asking_to_hear(&self, topic: &Topic) -> bool {
        self.asked().any(|asked| asked.topic == *topic && matches!(asked.act, Act::Hear(_)))
    }

    /// Bytes of what waits for answers.
    pub(super) fn asked_bytes(&self) -> usize {
        let bytes = |asked: &Asked| match &asked.act {
            Act::Hear(since) => since.iter().map(|(name, at)| name.len() + at.len()).sum(),
            Act::Say(payload) => payload.len(),
        };
        self.asked().map(bytes).sum()
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
        let is_it = |command: &UnderWay| match &command.wants {
            Wants::Ask(asked) => asked.question == question,
            _ => false,
        };
        let command = *self.commands.iter().find(|(_, command)| is_it(command))?.0;
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
    pub(crate) fn on_topic_unasked(&mut self, command: u64, cx: &mut Context) {
        let Some(topics) = self.topics() else { return };
        if topics.asked_mut(command).is_some()
            && let Some(UnderWay { number, .. }) = topics.commands.remove(&command)
        {
            cx.metrics.questions_failed_total += 1;
            self.refuse_command(number, 503, &Failure::Busy.to_string(), cx);
        }
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
                    Err(_) => return self.on_no_topic_verdict(number, cx),
                }
            }
            Verdict::Refused { status, text } => {
                return self.refuse_command(number, status, &text, cx);
            }
            Verdict::Unavailable { .. } => return self.on_no_topic_verdict(number, cx),
        };
        let Known { identity, refused, .. } =
            Known::by_names(Named { identity, refused }, &mut cx.metrics);
        let Some(topics) = self.topics() else { return };
        let own = (&topics.identity.user, &topics.identity.session);
        if own != (&identity.user, &identity.session) {
            let why = "the application says that you are somebody else";
            return self.close(link, Some(SOMEBODY_ELSE), why, cx);
        }
        let Asked { topic, act, .. } = *asked;
        let to = Grantee { identity: &identity, refused: &refused, narrowed_by: allow };
        let done =
            topics.granted(act.direction(), &topic, &to, cx).and_then(|channels| match act {
                Act::Hear(since) => topics.hear(link, number, topic, channels, &since, true, cx),
                Act::Say(payload) => {
                    topics.remember(topic, &channels, cx);
                    let command = topics.say(number, &channels, cx)?;
                    cx.put(link, Effect::Say { command, channels, payload });
                    Ok(())
                }
            });
        if let Err(Unfit { status, text }) = done {
            self.refuse_command(number, status, &text, cx);
        }
    }

    fn on_no_topic_verdict(&mut self, number: u64, cx: &mut Context) {
        cx.metrics.questions_failed_total += 1;
        self.refuse_command(number, 503, "the application cannot be asked at the moment", cx);
    }
}
