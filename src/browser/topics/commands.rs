//! L2: what a client of `wsloop.1` wants, and what it is answered.
//!
//! It knows commands and what may become of each. What is no command closes the conn; what cannot
//! be done is refused.

use std::borrow::Cow;

use super::asking::{Act, Grantee};
use super::{Publications, Publishing, Subscription, Topic, Topics, Unfit, Unheard, Wants};
use super::{badness, largest_payload, words_of};
use crate::access::channel::{self, Allow, Audience, Direction, Options};
use crate::broker::PublishOutcome;
use crate::browser::conn::{Conn, Life, Publication};
use crate::browser::context::Context;
use crate::browser::effect::{Effect, Hear, Said};
use crate::browser::handshake::MAX_FACILITY_BYTES;
use crate::browser::names;
use crate::link::LinkId;
use crate::link::timers::TICK_MS;
use crate::proto::sse;
use crate::proto::topics::{NO_COMMAND, TopicCommand, TopicHeader, Verb};
use crate::proto::ws::frame::{self, Opcode};

/// What a command has come to so far.
enum Done {
    /// All that there is to do.
    Now,
    /// It is answered later.
    Later,
    /// It is said to the broker.
    Said,
}

impl Conn {
    /// The channels that what it says goes to.
    pub(crate) fn publications(&self) -> &[Publication] {
        match &self.life {
            Life::Open(member) => member.publications.fixed(),
            Life::Closing(closing) => closing.speaker().map_or(&[], |it| it.publications.fixed()),
            _ => &[],
        }
    }

    /// Whether it speaks `wsloop.1`, or hears channels with positions all the same.
    pub(crate) fn has_topics(&self) -> bool {
        let member = match &self.life {
            Life::Open(member) => member,
            Life::Joining(joining) => &joining.member,
            _ => return false,
        };
        member.is_placed() || matches!(member.publications, Publications::Topics(_))
    }

    /// Whether it waits for the answer to something that it has said.
    pub(in crate::browser) fn waits_for_answers(&self) -> bool {
        let Life::Open(member) = &self.life else { return false };
        match &member.publications {
            Publications::Fixed(_) => false,
            Publications::Topics(topics) => {
                topics.commands.values().any(|command| matches!(command.wants, Wants::Say(_)))
            }
        }
    }

    /// It is open: if it speaks `wsloop.1`, it is told so, and its limits. A stream, which hears
    /// comments in the place of beats, subscribes to what its URL names.
    pub(in crate::browser) fn welcome(&mut self, link: LinkId, cx: &mut Context) {
        if !self.has_topics() || self.is_placed() {
            return;
        }
        let (settings, beats) = (&cx.settings, cx.pace.idle.map(|(ticks, _)| ticks));
        let beat = if self.is_stream() { cx.pace.comments() } else { beats };
        let limits = [
            ("subscriptions", settings.max_subscriptions as u64),
            ("commands", settings.max_commands as u64),
            ("names", settings.max_names_size as u64),
            ("message", largest_payload(settings) as u64),
            ("beat", beat.map_or(0, |ticks| (u64::from(ticks) * TICK_MS).div_ceil(1000))),
        ];
        self.say(&TopicHeader::Welcome(&limits), cx);
        self.subscribe_listed(link, cx);
    }

    /// It has heard nothing for a while.
    pub(in crate::browser) fn send_beat(&mut self, cx: &mut Context) {
        cx.metrics.heartbeats_total += 1;
        self.say(&TopicHeader::Beat, cx);
    }

    /// A message of a conn that speaks `wsloop.1`. What is returned is to be published: see
    /// [`Conn::take_publishing`].
    #[inline(never)]
    pub(in crate::browser) fn on_command<'i>(
        &mut self,
        link: LinkId,
        data: Cow<'i, [u8]>,
        cx: &mut Context,
    ) -> Option<Said<'i>> {
        cx.metrics.messages_in_total += 1;
        let command = match TopicCommand::parse(&data) {
            Ok(command) => command,
            Err(error) => {
                cx.metrics.protocol_errors_total += 1;
                self.close(link, Some(NO_COMMAND), &error.to_string(), cx);
                return None;
            }
        };
        cx.metrics.commands_total += 1;
        let number = command.number;
        let length = data.len();
        match self.topics()?.act(link, command, length, cx) {
            Ok(Done::Now) => self.reply(&TopicHeader::Ok(number), cx),
            Ok(Done::Later) => {}
            Ok(Done::Said) => return Some(Said::Message(data)),
            Err(Unfit { status, text }) => {
                cx.metrics.commands_refused_total += 1;
                self.reply(&TopicHeader::Refused(number, status, &text), cx);
            }
        }
        None
    }

    /// Takes where the message goes that was returned last.
    pub(crate) fn take_publishing(&mut self) -> Option<Publishing> {
        self.topics()?.publishing.take()
    }

    /// A channel is heard that it has wished for under that number, or is not: called once for each
    /// [`Hear`], behind what says from which position.
    pub(crate) fn on_heard(
        &mut self,
        link: LinkId,
        number: u64,
        _channel: &str,
        outcome: Result<(), Unheard>,
        cx: &mut Context,
    ) {
        if self.is_pending() {
            return self.on_joined_channel(link, outcome, cx);
        }
        let Some(topics) = self.topics() else { return };
        let note = |wants: &mut Wants| {
            if let (Wants::Hear(_, unheard), Err(why)) = (wants, outcome) {
                *unheard = Some(why);
            }
        };
        let Some(done) = topics.answered(number, note) else { return };
        let Wants::Hear(topic, unheard) = done.wants else { return };
        match unheard {
            None => {
                let subscription = topics.heard.get_mut(&topic);
                subscription.into_iter().for_each(|subscription| subscription.command = None);
                self.say(&TopicHeader::Ok(done.number), cx);
            }
            Some(why) => {
                topics.forget(&topic, link, cx);
                let why = match why {
                    Unheard::Denied => "the server may not hear this channel",
                    Unheard::Unavailable => BROKER_AWAY,
                };
                self.refuse_command(done.number, 503, why, cx);
            }
        }
        self.subscribe_listed(link, cx);
    }

    /// What became of something that it has said under that number, on one channel.
    pub(crate) fn on_published(
        &mut self,
        link: LinkId,
        number: u64,
        outcome: PublishOutcome,
        cx: &mut Context,
    ) {
        if self.awaits_broker() {
            return self.on_posted(link, outcome, cx);
        }
        let Some(topics) = self.topics() else { return };
        let note = |wants: &mut Wants| {
            if let Wants::Say(worst) = wants
                && badness(outcome) > badness(*worst)
            {
                *worst = outcome;
            }
        };
        let Some(done) = topics.answered(number, note) else { return };
        let Wants::Say(worst) = done.wants else { return };
        match worst {
            PublishOutcome::Accepted => self.say(&TopicHeader::Ok(done.number), cx),
            PublishOutcome::Denied => {
                self.refuse_command(done.number, 503, "the server may not publish there", cx);
            }
            PublishOutcome::Failed => self.refuse_command(done.number, 503, BROKER_AWAY, cx),
            PublishOutcome::Dropped => {
                cx.metrics.commands_refused_total += 1;
                self.say(&TopicHeader::Dropped(done.number), cx);
            }
        }
    }

    pub(super) fn refuse_command(&mut self, number: u64, status: u16, why: &str, cx: &mut Context) {
        cx.metrics.commands_refused_total += 1;
        self.say(&TopicHeader::Refused(number, status, why), cx);
    }

    /// Says something behind what waits for it.
    fn say(&mut self, header: &TopicHeader<'_>, cx: &mut Context) {
        self.reply(header, cx);
        self.send_replies(cx);
    }

    /// Says something with the other replies of this go. A conn that does not read them is not
    /// read either, as with pongs.
    fn reply(&mut self, header: &TopicHeader<'_>, cx: &mut Context) {
        let Life::Open(member) = &mut self.life else { return };
        let text = header.to_string();
        member.spoken = cx.now.tick();
        member.pongs = member.pongs.saturating_add((text.len() + frame::MAX_HEADER) as u32);
        cx.queued(1);
        match member.is_stream() {
            false => frame::append(Opcode::Text, text.as_bytes(), &mut cx.replies),
            true => cx.replies.extend(sse::event(text.as_bytes(), true)),
        }
    }

    pub(super) fn topics(&mut self) -> Option<&mut Topics> {
        let Life::Open(member) = &mut self.life else { return None };
        match &mut member.publications {
            Publications::Fixed(_) => None,
            Publications::Topics(topics) => Some(topics),
        }
    }
}

impl Topics {
    /// Does what is wanted in a message of so many bytes.
    fn act(
        &mut self,
        link: LinkId,
        command: TopicCommand<'_>,
        length: usize,
        cx: &mut Context,
    ) -> Result<Done, Unfit> {
        let TopicCommand { number, verb } = command;
        match verb {
            Verb::Ping => Ok(Done::Now),
            Verb::Subscribe { audience, facility, since } => {
                let topic = topic(audience, &facility)?;
                self.subscribe(link, number, topic, since, cx)?;
                Ok(Done::Later)
            }
            Verb::Unsubscribe { audience, facility } => {
                self.unsubscribe(link, &topic(audience, &facility)?, cx)
            }
            Verb::Publish { audience, facility, payload } => {
                let topic = topic(audience, &facility)?;
                self.publish(link, number, topic, payload, length, cx)
            }
        }
    }

    pub(super) fn subscribe(
        &mut self,
        link: LinkId,
        number: u64,
        topic: Topic,
        since: Vec<(Cow<'_, str>, &str)>,
        cx: &mut Context,
    ) -> Result<(), Unfit> {
        if self.heard.contains_key(&topic) || self.is_asking_to_hear(&topic) {
            return Err(Unfit::new(409, "this connection hears it already"));
        }
        self.has_room(cx)?;
        let owned = |(channel, position): &(Cow<'_, str>, &str)| {
            (channel.clone().into_owned(), (*position).to_owned())
        };
        let since: Vec<(String, String)> = since.iter().map(owned).collect();
        if self.asks() {
            is_unambiguous(Direction::Subscribe, &topic)?;
            return self.ask(link, number, topic, Act::Hear(since), cx);
        }
        let (identity, refused) = (self.identity.clone(), self.refused.clone());
        let narrowed_by = self.narrowed_by;
        let to = Grantee { identity: &identity, refused: &refused, narrowed_by };
        let channels = self.granted(Direction::Subscribe, &topic, &to, cx)?;
        self.hear(link, number, topic, channels, &since, false, cx)
    }

    /// Begins to hear the channels of a topic that it is granted; `others` may be those of other
    /// groups than the conn's own.
    #[allow(clippy::too_many_arguments, reason = "what a command says, and who says it")]
    pub(super) fn hear(
        &mut self,
        link: LinkId,
        number: u64,
        topic: Topic,
        channels: Vec<String>,
        since: &[(String, String)],
        others: bool,
        cx: &mut Context,
    ) -> Result<(), Unfit> {
        if self.heard.len() >= cx.settings.max_subscriptions {
            return Err(Unfit::new(429, "this connection hears as much as it may"));
        }
        let names = channels.iter().map(String::len).sum();
        if self.names + names > cx.settings.max_names_size {
            return Err(Unfit::new(
                413,
                format!("the names of its channels are {names} bytes, and too many with the rest"),
            ));
        }
        self.begin_listed(&topic, &channels, cx)?;
        self.names += names;
        cx.took(names + super::ENTRY_BYTES);
        cx.metrics.subscriptions += 1;
        let hear = Wants::Hear(topic.clone(), None);
        let command = self.begin(number, channels.len(), hear);
        let kept = others.then(|| channels.clone());
        self.heard.insert(topic, Subscription { names, command: Some(command), channels: kept });
        for channel in channels {
            let (word, _) = words_of(&channel, &cx.settings.prefix);
            let position = since.iter().rev().find(|(channel, _)| *channel == word);
            let since = position.map(|(_, position)| position.clone());
            cx.put(link, Effect::Hear(Hear { number: command, channel, since }));
        }
        Ok(())
    }

    /// Hears it no more. The command by which it is to be heard may be under way: it is refused,
    /// as it is overtaken.
    fn unsubscribe(
        &mut self,
        link: LinkId,
        topic: &Topic,
        cx: &mut Context,
    ) -> Result<Done, Unfit> {
        let overtaken = match self.overtake(topic) {
            Some(number) => Some(number),
            None => {
                let Some(subscription) = self.forget(topic, link, cx) else {
                    return Err(Unfit::new(404, "this connection does not hear it"));
                };
                let command = subscription.command.and_then(|it| self.commands.remove(&it));
                command.map(|command| command.number)
            }
        };
        if let Some(number) = overtaken {
            cx.metrics.commands_refused_total += 1;
            let why = "it was unsubscribed before it was heard";
            let text = TopicHeader::Refused(number, 409, why).to_string();
            cx.queued(1);
            frame::append(Opcode::Text, text.as_bytes(), &mut cx.replies);
        }
        Ok(Done::Now)
    }

    fn publish(
        &mut self,
        link: LinkId,
        number: u64,
        topic: Topic,
        payload: &[u8],
        length: usize,
        cx: &mut Context,
    ) -> Result<Done, Unfit> {
        if payload.is_empty() {
            return Err(Unfit::new(400, "an empty message is not published"));
        }
        let most = largest_payload(&cx.settings);
        if payload.len() > most {
            return Err(Unfit::new(413, format!("a message has at most {most} bytes")));
        }
        self.has_room(cx)?;
        let known = self.spoken.get(&topic).cloned();
        if self.asks() && known.is_none() {
            is_unambiguous(Direction::Publish, &topic)?;
            self.ask(link, number, topic, Act::Say(payload.to_vec()), cx)?;
            return Ok(Done::Later);
        }
        let channels = match known {
            Some(channels) => channels,
            None => {
                let (identity, refused) = (&self.identity, &self.refused[..]);
                let to = Grantee { identity, refused, narrowed_by: self.narrowed_by };
                self.granted(Direction::Publish, &topic, &to, cx)?
            }
        };
        let command = self.say(number, &channels, cx)?;
        let payload_at = length - payload.len();
        self.publishing = Some(Publishing { command, channels, payload_at });
        Ok(Done::Said)
    }

    /// Begins to say something on these channels.
    pub(super) fn say(
        &mut self,
        number: u64,
        channels: &[String],
        cx: &Context,
    ) -> Result<u64, Unfit> {
        let names: usize = channels.iter().map(String::len).sum();
        if names > cx.settings.max_names_size {
            let text = format!("the names of its channels are {names} bytes, and too many");
            return Err(Unfit::new(413, text));
        }
        Ok(self.begin(number, channels.len(), Wants::Say(PublishOutcome::Accepted)))
    }

    /// Remembers to which channels the application lets the conn publish, as far as there is room
    /// for names.
    pub(super) fn remember(&mut self, topic: Topic, channels: &[String], cx: &mut Context) {
        let names: usize = channels.iter().map(String::len).sum();
        if self.names + names <= cx.settings.max_names_size {
            self.names += names;
            cx.took(names + super::ENTRY_BYTES);
            self.spoken.insert(topic, channels.to_vec());
        }
    }

    /// Whether one more command may be under way.
    fn has_room(&self, cx: &Context) -> Result<(), Unfit> {
        match self.commands.len() < cx.settings.max_commands {
            true => Ok(()),
            false => Err(Unfit::new(429, "too many commands are not answered yet")),
        }
    }

    /// The channels of a topic, as the URL form of it would have them.
    pub(super) fn granted(
        &self,
        direction: Direction,
        topic: &Topic,
        to: &Grantee<'_>,
        cx: &mut Context,
    ) -> Result<Vec<String>, Unfit> {
        let Topic { audience, facility } = topic;
        let (settings, identity) = (&cx.settings, to.identity);
        let asked = Allow::of(&[*audience], &[direction]).options();
        is_unambiguous(direction, topic)?;
        if let Some(name) = names::needed(facility, asked, identity, to.refused, settings) {
            let text = format!("{} {}", names::whose(name.audience), name.why);
            return Err(Unfit::new(403, text));
        }
        let by_rule = settings.rules.granted(facility, asked, identity, settings.allow);
        let permitted = to.narrowed_by.map_or(by_rule, |allow| allow.permitted(by_rule));
        let grant = channel::channels(&settings.prefix, facility, asked, permitted, identity);
        if !grant.denied.is_empty() {
            cx.metrics.options_denied_total += 1;
            return Err(Unfit::new(403, denied(asked, by_rule)));
        }
        let channels =
            if direction == Direction::Subscribe { grant.subscribe } else { grant.publish };
        match channels.is_empty() {
            true => Err(Unfit::new(403, nobody(*audience))),
            false => Ok(channels),
        }
    }
}

const BROKER_AWAY: &str = "the message broker cannot do this at the moment; try again later";

/// The topic that these words name.
pub(super) fn topic(audience: &str, facility: &str) -> Result<Topic, Unfit> {
    let Some(audience) = Audience::of_word(audience) else {
        return Err(Unfit::new(400, "an audience is broadcast, user, session or group"));
    };
    if facility.len() > MAX_FACILITY_BYTES {
        return Err(Unfit::new(413, "the facility is over 512 bytes"));
    }
    Ok(Topic { audience, facility: facility.into() })
}

/// Whether no other topic has channels of the same names.
fn is_unambiguous(direction: Direction, topic: &Topic) -> Result<(), Unfit> {
    let asked = Allow::of(&[topic.audience], &[direction]).options();
    match channel::is_ambiguous(&topic.facility, asked) {
        false => Ok(()),
        true => {
            let text = "with user, group or session, the facility must have no colon in it";
            Err(Unfit::new(400, text))
        }
    }
}

/// What a client is told that may not do this.
fn denied(asked: Options, by_rule: Options) -> String {
    match by_rule.intersection(asked).is_empty() {
        true => format!("{asked} is denied: neither an [[allow]] rule nor --allow grants it"),
        false => format!("{asked} is denied: the token or the application allows less"),
    }
}

/// What a client is told who has no name in that audience.
fn nobody(audience: Audience) -> &'static str {
    match audience {
        Audience::Group => "nothing says that you are in a group",
        Audience::Session => "nothing says which session this is",
        Audience::User | Audience::Broadcast => "nothing says which user you are",
    }
}
