//! L2: a stream of topics: what its URL names is subscribed to as commands would do it, and what it
//! hears says where its channels stand. So does what the stream of one facility hears, if some of
//! its channels have a history.
//!
//! It knows the URL, the limits, and the positions that were said. Its rules:
//! * topics have the numbers of their places in the URL, and each is answered as a command;
//! * no more of them are under way at a time than commands may be;
//! * a position that the page gives is kept until the channel says another, so that a page that is
//!   cut off while it comes back loses nothing;
//! * positions take no more room than the request for the stream leaves, as the page says them with
//!   the same one when it comes back: a topic past that is refused, so that no channel is heard
//!   without its position.

use std::collections::{BTreeSet, VecDeque};

use super::commands::topic;
use super::{Publications, Topic, Topics, Unfit, Unheard, words_of};
use crate::access::channel::{Audience, Options};
use crate::browser::conn::{Conn, Life, Member};
use crate::browser::context::Context;
use crate::browser::effect::{Effect, Hear};
use crate::browser::settings::Settings;
use crate::fanout::encoded::GoesAs;
use crate::link::{Frame, LinkId};
use crate::proto::http::Head;
use crate::proto::topics::{Moved, Stand, Standing, TopicCommand, Vector, Verb, pair};

/// Bytes of a stream's positions at most, as they are written.
const VECTOR_BYTES: usize = 4 << 10;
/// Bytes that are left for what a page says besides when it comes back.
const SLACK_BYTES: usize = 512;
/// Bytes that a position takes, unless somebody chooses ids of entries of his own.
const POSITION_BYTES: usize = 24;
/// A space behind each of the two.
const SPACES: usize = 2;

/// What the URL of a stream of topics names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::browser) struct Listed {
    /// Audiences and facilities.
    topics: Vec<(String, String)>,
    since: Vector,
    /// Bytes that positions may take.
    room: usize,
}

/// What a stream of topics has besides what it hears. What each delivery looks at is first, in one
/// line of the processor's caches: of thousands of streams none is there from the last delivery.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Listing {
    /// Where channels stand that are heard.
    stand: Standing,
    /// The positions that the page gave, of topics that are not heard yet.
    given: Vector,
    /// What is not subscribed to yet, under which number.
    wanted: VecDeque<(u64, (String, String))>,
    /// Bytes that positions of channels that are heard may take.
    reserved: usize,
    /// The most that those and what is given may.
    room: usize,
    /// It is the stream of one facility, and hears what is published alone.
    is_placed: bool,
}

impl Listed {
    /// Whether a query names topics.
    pub(in crate::browser) fn is_in(query: &str) -> bool {
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "topic")
    }

    /// What the request for the stream of a facility says of positions.
    pub(in crate::browser) fn since(head: &Head<'_>, settings: &Settings) -> Listed {
        let mut since = None;
        for (name, value) in form_urlencoded::parse(head.query.as_bytes()) {
            if name == "since" {
                since = Vector::parse(&value);
            }
        }
        let room = room(head, settings);
        Listed { topics: Vec::new(), since: last_event(head, since), room }
    }

    /// Reads a request, or says what is wrong with it.
    pub(in crate::browser) fn read(head: &Head<'_>, settings: &Settings) -> Result<Self, String> {
        if Options::read(head.query) != Ok(Options::default()) {
            let text = "A stream of topics has no options in its URL: it hears what each topic= \
                        names, as in topic=broadcast+chat/42.";
            return Err(text.to_owned());
        }
        let (mut topics, mut since) = (Vec::new(), None);
        for (name, value) in form_urlencoded::parse(head.query.as_bytes()) {
            match &*name {
                "topic" => topics.push(read_topic(&value)?),
                "since" => since = Vector::parse(&value),
                _ => {}
            }
        }
        let most = settings.max_subscriptions;
        if topics.len() > most {
            let text = format!(
                "A stream hears at most {most} topics (see --max-subscriptions): open another."
            );
            return Err(text);
        }
        Ok(Listed { topics, since: last_event(head, since), room: room(head, settings) })
    }

    /// Bytes that it takes besides itself.
    pub(in crate::browser) fn held_bytes(&self) -> usize {
        let words = |(audience, facility): &(String, String)| audience.len() + facility.len();
        self.topics.iter().map(words).sum::<usize>() + self.since.written_bytes()
    }
}

impl Listing {
    fn of(Listed { topics, mut since, room }: Listed) -> Box<Listing> {
        // A page may name many of both.
        let written = topics.iter().map(|(audience, facility)| pair(audience, facility));
        let written: BTreeSet<String> = written.collect();
        let is_listed = |pair: &str| {
            let topic = topic_of(pair).map(|(audience, facility)| format!("{audience} {facility}"));
            topic.is_some_and(|topic| written.contains(&topic))
        };
        let given = since.take(is_listed);
        let wanted = (1..).zip(topics).collect();
        Box::new(Listing { wanted, given, room, ..Listing::default() })
    }

    /// Bytes that it takes.
    pub(super) fn held_bytes(&self) -> usize {
        let wanted = self.wanted.iter();
        let wanted = wanted.map(|(_, (audience, facility))| audience.len() + facility.len());
        let vectors = self.given.written_bytes() + self.stand.written_bytes();
        size_of::<Listing>() + wanted.sum::<usize>() + vectors
    }

    /// The channels of a topic are going to be heard, behind what the page gave of them.
    fn begin(
        &mut self,
        is_given: impl FnMut(&str) -> bool,
        channels: &[String],
        settings: &Settings,
    ) -> Result<(), Unfit> {
        let (histories, prefix) = (&settings.history, &settings.prefix);
        let placed = channels.iter().filter(|channel| histories.of(channel).is_some());
        let pairs = placed.map(|channel| {
            let (channel, facility) = words_of(channel, prefix);
            pair(&channel, &facility)
        });
        let pairs: Vec<String> = pairs.collect();
        let given = self.given.take(is_given);
        let needed = pairs.iter().map(|pair| pair.len() + POSITION_BYTES + SPACES).sum::<usize>();
        // The slack is for who comes back.
        let room = self.room + if given.is_empty() { 0 } else { slack(settings) };
        if self.reserved + self.given.written_bytes() + needed > room {
            let text = "the positions of its channels take too much room: more streams have more";
            return Err(Unfit::new(413, text));
        }
        self.reserved += needed;
        for (pair, position) in given.iter().filter(|(pair, _)| pairs.iter().any(|it| it == pair)) {
            self.stand.set(&Stand::new(pair, position), &mut None);
        }
        Ok(())
    }
}

impl Topics {
    /// Those of a stream that is to hear what its URL names.
    pub(in crate::browser) fn listed(mut self: Box<Self>, listed: Listed) -> Box<Self> {
        self.listing = Some(Listing::of(listed));
        self
    }

    /// Those of the stream of one facility, if some of these channels have a history.
    pub(in crate::browser) fn of_channels(
        channels: &[String],
        listed: &Listed,
        settings: &Settings,
    ) -> Result<Option<Box<Self>>, String> {
        if !channels.iter().any(|channel| settings.history.of(channel).is_some()) {
            return Ok(None);
        }
        let mut listing = Listing { is_placed: true, room: listed.room, ..Listing::default() };
        listing.given = listed.since.clone();
        listing.begin(|_| true, channels, settings).map_err(|unfit| unfit.text)?;
        Ok(Some(Box::new(Topics { listing: Some(Box::new(listing)), ..Topics::default() })))
    }

    /// Whether they are those of the stream of one facility.
    pub(in crate::browser) fn is_placed(&self) -> bool {
        self.listing.as_ref().is_some_and(|listing| listing.is_placed)
    }

    /// Whether there is room for the positions of these channels, if they have to be said.
    pub(super) fn begin_listed(
        &mut self,
        topic: &Topic,
        channels: &[String],
        cx: &Context,
    ) -> Result<(), Unfit> {
        match &mut self.listing {
            Some(listing) => {
                let (audience, facility) = (topic.audience.word(), facility_word(&topic.facility));
                let is_given = |pair: &str| topic_of(pair) == Some((audience, &facility));
                listing.begin(is_given, channels, &cx.settings)
            }
            None => Ok(()),
        }
    }

    /// The next topic that is to be subscribed to, under its number, if there may be one more under
    /// way.
    fn next_listed(&mut self, cx: &Context) -> Option<(u64, (String, String))> {
        let has_room = self.commands.len() < cx.settings.max_commands;
        let wanted = &mut self.listing.as_mut().filter(|_| has_room)?.wanted;
        let next = wanted.pop_front();
        if wanted.is_empty() {
            *wanted = VecDeque::new();
        }
        next
    }

    fn subscribe_listed(
        &mut self,
        link: LinkId,
        number: u64,
        (audience, facility): &(String, String),
        cx: &mut Context,
    ) -> Result<(), Unfit> {
        let topic = topic(audience, facility)?;
        let given = self.listing.iter().flat_map(|listing| listing.given.iter());
        let word = facility_word(facility);
        let given = given.filter(|(pair, _)| topic_of(pair) == Some((audience, &word)));
        let given: Vec<(String, String)> = given.map(read_given).collect();
        let given = given.iter().map(|(channel, at)| (channel.as_str().into(), &at[..]));
        self.subscribe(link, number, topic, given.collect(), cx)
    }

    /// Bytes of what its URL names.
    pub(super) fn listed_bytes(&self) -> usize {
        self.listing.as_ref().map_or(0, |listing| listing.held_bytes())
    }
}

impl Conn {
    /// Whether it is the stream of one facility that hears its channels with positions.
    pub(crate) fn is_placed(&self) -> bool {
        match &self.life {
            Life::Open(member) => member.is_placed(),
            Life::Joining(joining) => joining.member.is_placed(),
            _ => false,
        }
    }

    /// Begins to hear these channels behind what its page knows of each, and opens when it does.
    pub(in crate::browser) fn join_placed(
        &mut self,
        link: LinkId,
        channels: Vec<String>,
        cx: &mut Context,
    ) {
        let Life::Joining(joining) = &mut self.life else { return };
        let Publications::Topics(topics) = &joining.member.publications else { return };
        joining.awaiting = channels.len() as u16;
        let histories = &cx.settings.history;
        let placed = channels.iter().filter(|channel| histories.of(channel).is_some()).count();
        for channel in channels {
            let (word, facility) = words_of(&channel, &cx.settings.prefix);
            let pair = pair(&word, &facility);
            let since = topics.listing.as_ref().and_then(|listing| listing.stand.of(&pair));
            cx.put(link, Effect::Hear(Hear { number: 0, channel, since }));
        }
        // Of one channel alone each event says all that there is to be said.
        if placed == 1 {
            joining.member.publications = Publications::default();
        }
    }

    /// A channel of a stream that is about to open is heard, or is not.
    pub(super) fn on_joined_channel(
        &mut self,
        link: LinkId,
        outcome: Result<(), Unheard>,
        cx: &mut Context,
    ) {
        match outcome {
            Ok(()) => self.on_confirmed(link, cx),
            Err(_) => self.on_denied(link, cx),
        }
    }

    /// Subscribes to what the URL of a stream names, as far as that may be under way at a time.
    pub(in crate::browser) fn subscribe_listed(&mut self, link: LinkId, cx: &mut Context) {
        while let Some(topics) = self.topics()
            && let Some((number, words)) = topics.next_listed(cx)
        {
            cx.metrics.commands_total += 1;
            if let Err(Unfit { status, text }) = topics.subscribe_listed(link, number, &words, cx) {
                self.refuse_command(number, status, &text, cx);
            }
        }
    }
}

impl Member {
    /// Whether it is the stream of one facility that hears its channels with positions.
    pub(crate) fn is_placed(&self) -> bool {
        self.form.goes_as == GoesAs::PlacedEvents
    }

    /// It is told where a channel stands: how the line begins that says so of all its channels, if
    /// there are others than that one. What that became for the stream before may be known.
    pub(crate) fn stand_behind(
        &mut self,
        stand: &Stand,
        known: &mut Option<Moved>,
    ) -> Option<Frame> {
        let Publications::Topics(topics) = &mut self.publications else { return None };
        let listing = topics.listing.as_mut()?;
        listing.stand.set(stand, known);
        match listing.given.is_empty() {
            true => listing.stand.before().cloned(),
            false => Some(listing.stand.behind(&listing.given.to_string())),
        }
    }
}

/// Where a page stands: EventSource says with each request what it was told last, and the URL stays
/// as it was.
fn last_event(head: &Head<'_>, in_url: Option<Vector>) -> Vector {
    let last = head.header("last-event-id").filter(|last| !last.is_empty());
    let since = match last {
        Some(last) => std::str::from_utf8(last).ok().and_then(Vector::parse),
        None => in_url,
    };
    since.unwrap_or_default()
}

/// A topic as it is in a URL.
fn read_topic(text: &str) -> Result<(String, String), String> {
    let command = format!("subscribe 1 {text}");
    let command = TopicCommand::parse(command.as_bytes()).map(|command| command.verb);
    match command {
        Ok(Verb::Subscribe { audience, facility, since }) if since.is_empty() => {
            Ok((audience.to_owned(), facility.into_owned()))
        }
        _ => Err(format!(
            "The topic {text:?} is none: it is an audience and a facility with one space between, \
             as in topic=broadcast+chat/42; positions are in since=."
        )),
    }
}

/// A channel of a vector without its facility, as a command names it, and its position.
fn read_given((pair, position): (&str, &str)) -> (String, String) {
    let channel = pair.split(' ').next().unwrap_or_default();
    let channel = percent_encoding::percent_decode_str(channel).decode_utf8_lossy();
    (channel.into_owned(), position.to_owned())
}

/// The topic of a channel of that pair of words: its audience, and its facility as it is in a
/// vector.
fn topic_of(pair: &str) -> Option<(&str, &str)> {
    let (channel, facility) = pair.split_once(' ')?;
    let audience = channel.split(':').next().unwrap_or(channel);
    let has_name = audience.len() < channel.len();
    let is_group = audience == Audience::Group.word();
    (has_name == is_group).then_some((audience, facility))
}

/// A facility as it is in a vector.
fn facility_word(facility: &str) -> String {
    pair("", facility).split_off(1)
}

/// Bytes that the positions may take with which a page asks for the same again, in the header or in
/// place of those in the URL.
fn room(head: &Head<'_>, settings: &Settings) -> usize {
    let lines = head.lines().filter(|(name, _)| !name.eq_ignore_ascii_case("last-event-id"));
    let lines = lines.map(|(name, value)| name.len() + value.len() + ": \r\n".len());
    let since = head.query.split('&').filter(|part| part.starts_with("since="));
    let target = head.target.len() - since.map(str::len).sum::<usize>();
    let taken = head.method.len() + target + "  HTTP/1.1\r\n\r\n".len() + lines.sum::<usize>();
    settings.max_head_size.saturating_sub(taken + slack(settings)).min(VECTOR_BYTES)
}

/// Bytes by which a request may be longer when its page comes back, positions aside. Who permits
/// little has less of it.
fn slack(settings: &Settings) -> usize {
    SLACK_BYTES.min(settings.max_head_size / 16)
}
