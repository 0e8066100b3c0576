//! L2: one browser: Head -> Asking -> Waiting -> Joining -> Open -> Closing.
//!
//! A conn knows its own life, its times, what waits for it and what it may do. It does not know
//! other conns, the hub or the broker: what it wants of them it says as an [`Effect`]. Its rules:
//! * what only one state has is a field of that state;
//! * open and idle, it owns nothing outside its own few cache lines;
//! * every state has a deadline, except Open with pings and heartbeats off;
//! * when it begins to close, it is removed from the hub and the owners, and its asks are dropped.
//!
//! [`handshake`](super::handshake) decides about a request, `opening` is about the states up to
//! Open, `frames` about what an open conn sends, `life` about deadlines and the end.

use std::io::IoSlice;
use std::net::IpAddr;
use std::sync::Arc;

use super::context::Context;
use super::effect::{Effect, Left, Source};
use super::endpoint::{Addressee, Knock};
use super::handshake::Request;
use super::posting::{Post, Posting};
use super::topics::Publications;
use crate::access::crowds::Network;
use crate::access::proxies::{Transport, Via};
use crate::access::sources::Lookup;
use crate::fanout::encoded::Form;
use crate::fanout::overflow::Overflow;
use crate::link::timers::Tick;
use crate::link::{Frame, Gathered, LinkId, Outbox, Wish};
use crate::proto::ws::message::Reader;
use crate::proto::ws::skim::Skim;

/// One browser connection, from its first byte to its last.
#[derive(Debug)]
pub(crate) struct Conn {
    /// The bytes that wait for it.
    pub outbox: Outbox,
    /// The tick at which its timer entry fires; another one is stale.
    pub wake: Tick,
    pub(super) life: Life,
}

/// Where a conn is in its life, with what it needs there.
#[derive(Debug)]
pub(super) enum Life {
    /// Its request head is not complete.
    Head(Head),
    /// Its request is good; it is being found out who asks.
    Asking(Box<Asking>),
    /// It is known who asks; the conn waits until the broker can be asked for its channels.
    Waiting(Waiting),
    /// It is subscribed; its 101 is queued, and held until the broker has confirmed its channels.
    Joining(Box<Joining>),
    /// Its request publishes, and is answered when the broker has the message.
    Posting(Box<Posting>),
    /// It sends and hears.
    Open(Member),
    /// The last bytes are queued or sent; input is discarded.
    Closing(Closing),
}

/// Why a conn is accepted only to be told that it is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// There are as many conns as may be.
    Full,
    /// There are as many conns of its address as may be.
    Crowded,
    /// Conns come from its address faster than they may.
    Hasty,
    /// The server ends.
    Ending,
}

#[derive(Debug)]
pub(super) struct Head {
    pub began: Tick,
    pub whence: Whence,
    /// It was answered before, and may take its time to ask for more.
    pub rested: bool,
    /// The incomplete head.
    pub rest: Vec<u8>,
}

/// Where a conn comes from, as far as is known before its request is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whence {
    /// Its address; none by a Unix socket.
    pub address: Option<IpAddr>,
    /// Who is there.
    pub via: Via,
    /// How its bytes come.
    pub way: Transport,
    /// It was accepted to be told that it is not served, and why.
    pub unserved: Option<Unserved>,
    /// It has come where operators do.
    pub operator: bool,
}

/// What a handshake has from its head on until its 101 goes out.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub since: Tick,
    /// What came behind the head.
    pub early: Vec<u8>,
    /// In its place, if that is a body to be published.
    pub post: Option<Box<Post>>,
}

#[derive(Debug)]
pub(super) struct Asking {
    pub begun: Begun,
    pub request: Request<'static>,
    /// When the one who is asked was.
    pub asked_ms: u64,
    pub lookup: Lookup,
    /// Who is asked at the moment; nobody while the broker is being dialed.
    pub asked: Option<Source>,
    /// What the application was asked, if it is to be asked about each topic too.
    pub question: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    /// The channels that it is to hear.
    pub subscribe: Vec<String>,
    /// So many of them, the last ones, are heard without what is stored.
    pub live: u32,
    /// What it goes on with when it joins.
    pub joining: Box<Joining>,
    /// An application is to let it in.
    pub knock: Option<Box<Knock>>,
}

#[derive(Debug)]
pub(super) struct Joining {
    pub begun: Begun,
    /// The 101, in case the conn is refused after all.
    pub accepted: Frame,
    /// Channels that the broker has not confirmed.
    pub awaiting: u16,
    pub member: Member,
}

/// A conn that hears and speaks, or is about to.
#[derive(Debug, Default)]
pub(crate) struct Member {
    /// Its frames on their way to become messages.
    pub(super) reader: Reader,
    /// What it has sent that a turn had no time for.
    pub(super) kept: Option<Box<Kept>>,
    /// Where its messages go.
    pub publications: Publications,
    /// The moment of the day at which it may stay no longer, in ticks of a
    /// [`DayClock`](crate::link::DayClock); 0 is none.
    pub(super) expires: Tick,
    /// When a byte last came from it.
    pub(super) heard: Tick,
    /// When a message was last queued for it. Pages do not see pings and pongs.
    pub spoken: Tick,
    /// When the ping was sent that is still unanswered; 0 is none.
    pub(super) pinged: Tick,
    /// Bytes of pongs queued since nothing waited for it.
    pub(super) pongs: u32,
    /// What form its messages go out in.
    pub form: Form,
    /// What is done when it lets more wait than it may.
    pub overflow: Overflow,
    /// It skips to the latest messages until nothing waits for it any more.
    pub skips: bool,
    /// Whom its messages are for.
    pub(super) to: Addressee,
    /// It is to be told of outages of the broker.
    pub(super) gaps: bool,
    /// The application does not want it read.
    pub(super) paused: bool,
    /// Something waits until nothing waits for it any more.
    pub(super) is_awaited: bool,
    /// What its compressed messages may refer to, as a power of two; 0 is nothing.
    pub(super) client_bits: u8,
}

/// Bytes that were read, and how many of them were looked at.
#[derive(Debug)]
pub(crate) struct Kept {
    /// All of them.
    pub bytes: Vec<u8>,
    /// Those that were looked at.
    pub done: usize,
}

#[derive(Debug, Default)]
pub(super) struct Closing {
    pub since: Tick,
    /// The peer's end of the socket is shut.
    pub ended: bool,
    /// The peer may still send, so that a socket that is closed would be reset, and with it what
    /// is on its way: its end alone is shut, and what comes is read for a while.
    pub lingers: bool,
    /// The answer to the browser's close waits for the broker's to what it published last.
    pub held: bool,
    /// What is awaited of the browser; nothing when its close frame has come, or none is to come.
    pub awaited: Option<Box<Awaited>>,
}

/// What is awaited of a browser behind our close.
#[derive(Debug)]
pub(super) enum Awaited {
    /// Its close frame; the frames before it are passed over.
    Close(Skim),
    /// The same, when the server ends for no fault of the browser's: what it says before that is
    /// published.
    Words(Member),
}

impl Closing {
    /// Who is heard until its own close frame.
    pub(super) fn speaker(&self) -> Option<&Member> {
        match self.awaited.as_deref() {
            Some(Awaited::Words(member)) => Some(member),
            _ => None,
        }
    }

    /// The same, to be heard.
    pub(super) fn speaker_mut(&mut self) -> Option<&mut Member> {
        match self.awaited.as_deref_mut() {
            Some(Awaited::Words(member)) => Some(member),
            _ => None,
        }
    }
}

/// What the last bytes of a conn are, and so what is done behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// A response to plain HTTP: when it is sent our end is shut.
    Response,
    /// The answer to the browser's close, behind which it sends nothing: when it is sent the socket
    /// is closed.
    Answer,
    /// A close frame of ours: when the browser's has come too the socket is closed. To a browser
    /// that has not said its own the close would else be unclean.
    Close,
    /// The same, to a browser that has done nothing wrong: the server ends.
    Goodbye,
}

/// A channel that a conn publishes to.
#[derive(Debug)]
pub(crate) struct Publication {
    /// Its name.
    pub channel: Arc<str>,
    /// Whether the conn hears it too and does not want its own messages back.
    pub withhold: bool,
    /// It wants them back.
    pub echo: bool,
}

/// Bytes of pongs that may wait for a conn before it is not read any more.
const PONGS_LIMIT: u32 = 64 << 10;

impl Conn {
    /// A conn that was accepted from `address`, perhaps only to be told that it is not served.
    pub(crate) fn accepted(
        address: Option<IpAddr>,
        via: Via,
        unserved: Option<Unserved>,
        operator: bool,
        cx: &mut Context,
    ) -> Self {
        let (began, rest) = (cx.now.tick(), Vec::new());
        let whence = Whence { address, via, way: Transport::Plain, unserved, operator };
        cx.metrics.conns_accepted_total += 1;
        cx.metrics.conns += 1;
        cx.metrics.handshakes_pending += 1;
        let head = Head { began, whence, rested: false, rest };
        Conn { outbox: Outbox::default(), wake: 0, life: Life::Head(head) }
    }

    /// What the conn hears and how, from when it is subscribed until it begins to close.
    pub(crate) fn member(&mut self) -> Option<&mut Member> {
        match &mut self.life {
            Life::Open(member) => Some(member),
            Life::Joining(joining) => Some(&mut joining.member),
            _ => None,
        }
    }

    /// Its outbox together with [`Conn::member`], for the fan-out, and whether that may go out.
    #[inline]
    pub(crate) fn receiver(&mut self) -> Option<(&mut Outbox, &mut Member, bool)> {
        match &mut self.life {
            Life::Open(member) => Some((&mut self.outbox, member, true)),
            other => Some((&mut self.outbox, other.joining()?, false)),
        }
    }

    /// Whether it is open until a time of day.
    pub(crate) fn ends(&self) -> bool {
        matches!(&self.life, Life::Open(member) if member.expires > 0)
    }

    /// Whether its question is still to be put to the application.
    pub(crate) fn has_question(&self) -> bool {
        self.asked() == Some(Source::Application(0))
    }

    /// Whether the application has been asked about it.
    pub(crate) fn is_asked_about(&self) -> bool {
        matches!(self.asked(), Some(Source::Application(1..)))
    }

    /// Whether its handshake is under way.
    pub(crate) fn is_pending(&self) -> bool {
        !matches!(self.life, Life::Open(_) | Life::Closing(_))
    }

    /// Where it comes from while its request is not whole.
    pub(crate) fn stranger(&self) -> Option<Network> {
        match &self.life {
            Life::Head(head) => Some(Network::of(head.whence.address)),
            _ => None,
        }
    }

    /// Whether its request is not whole.
    pub(crate) fn is_stranger(&self) -> bool {
        matches!(self.life, Life::Head(_))
    }

    /// Whether it is a stranger that will be served.
    pub(crate) fn may_be_served(&self) -> bool {
        matches!(&self.life, Life::Head(head) if head.whence.unserved.is_none())
    }

    /// Whether it sends and hears.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.life, Life::Open(_))
    }

    /// Whether it is open and to be told of outages of the broker.
    pub(crate) fn asks_for_gaps(&self) -> bool {
        matches!(&self.life, Life::Open(member) if member.gaps)
    }

    /// Whether its last bytes are queued.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.life, Life::Closing(_))
    }

    /// The number of frames that wait for it and may go out.
    #[inline]
    pub(crate) fn unsent_frames(&self) -> usize {
        if self.life.may_send() { self.outbox.frames() } else { 0 }
    }

    /// What may go out, as [`Outbox::slices`] gives it.
    #[inline]
    pub(crate) fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        if self.life.may_send() { self.outbox.slices(into) } else { 0 }
    }

    /// What may go out, as [`Outbox::next_write`] gives it.
    #[inline]
    pub(crate) fn next_write<'a>(
        &'a self,
        into: &mut [IoSlice<'a>],
        gathered: &'a mut Gathered,
    ) -> usize {
        if self.life.may_send() { self.outbox.next_write(into, gathered) } else { 0 }
    }

    /// Whether it wants to be read. A conn that floods pings is not, until it has read its pongs.
    pub(crate) fn wish(&self) -> Wish {
        match &self.life {
            Life::Open(member) if member.kept.is_some() => Wish::GoOn,
            Life::Open(member) if member.pongs >= PONGS_LIMIT => Wish::Rest,
            Life::Open(member) if member.reader.wants_room() => Wish::Fill,
            Life::Closing(closing)
                if closing.speaker().is_some_and(|member| member.kept.is_some()) =>
            {
                Wish::GoOn
            }
            _ => Wish::Read,
        }
    }

    /// The kernel took `n` of its bytes. Returns whether nothing waits any more.
    #[inline(always)]
    pub(crate) fn advance(&mut self, link: LinkId, n: usize, cx: &mut Context) -> bool {
        self.outbox.advance(n);
        cx.sent(n);
        let sent = self.outbox.is_empty();
        if sent && let Life::Open(member) = &mut self.life {
            if member.pongs >= PONGS_LIMIT {
                cx.put(link, Effect::Resume);
            }
            if member.is_awaited {
                member.is_awaited = false;
                cx.put(link, Effect::Drained);
            }
            (member.skips, member.pongs) = (false, 0);
        } else if sent && let Life::Closing(closing) = &self.life {
            match closing {
                Closing { ended: true, .. } => cx.put(link, Effect::Drop),
                Closing { awaited: Some(_), .. } => {}
                Closing { lingers: true, .. } => cx.put(link, Effect::Finish),
                _ => cx.put(link, Effect::Drop),
            }
        }
        sent
    }

    /// A conn that is closing sends more: nothing of it is looked at but the answer to our close.
    pub(super) fn pass_over(&mut self, link: LinkId, bytes: &[u8], cx: &mut Context) {
        let Life::Closing(closing) = &mut self.life else { return };
        match closing.awaited.as_deref_mut() {
            Some(Awaited::Close(skim)) => {
                if skim.pass(bytes) {
                    closing.awaited = None;
                    if self.outbox.is_empty() {
                        cx.put(link, Effect::Drop);
                    }
                }
            }
            // Whoever sends behind its close may send more, and is to have the answer all the same.
            None => closing.lingers |= !bytes.is_empty(),
            Some(Awaited::Words(_)) => {}
        }
    }

    /// Whether it lets more wait than it may, when the kernel takes no more of it.
    pub(crate) fn is_over(&self, limit: usize) -> bool {
        self.outbox.cost() > limit
    }

    /// Where its frames are when it begins to close; `None` when a close frame has come already,
    /// behind what a turn had time for.
    fn unjudged(&self) -> Option<Skim> {
        let (mut skim, bytes) = match &self.life {
            Life::Open(member) => {
                let kept = member.kept.as_deref();
                (member.reader.skim(), kept.map_or(&[][..], |kept| &kept.bytes[kept.done..]))
            }
            Life::Asking(asking) => (Skim::default(), &asking.begun.early[..]),
            Life::Waiting(waiting) => (Skim::default(), &waiting.joining.begun.early[..]),
            Life::Joining(joining) => (Skim::default(), &joining.begun.early[..]),
            Life::Head(_) | Life::Posting(_) | Life::Closing(_) => (Skim::default(), &[][..]),
        };
        (!skim.pass(bytes)).then_some(skim)
    }

    fn asked(&self) -> Option<Source> {
        match &self.life {
            Life::Asking(asking) => asking.asked,
            _ => None,
        }
    }

    /// Leaves its present life for the closing one; what it leaves behind is said as an effect.
    pub(super) fn leave(&mut self, link: LinkId, last: Last, cx: &mut Context) {
        let released = self.part(link, cx);
        let questions = self.topic_questions();
        let ours = matches!(last, Last::Close | Last::Goodbye);
        let skim = ours.then(|| self.unjudged()).flatten();
        let awaited = skim.map(|skim| Box::new(Awaited::Close(skim)));
        let (since, lingers) = (cx.now.tick(), last == Last::Response);
        let closing = Closing { since, lingers, awaited, ..Closing::default() };
        let before = std::mem::replace(&mut self.life, Life::Closing(closing));
        let mut left = Left { released, questions, ..Left::default() };
        match before {
            Life::Closing(_) => unreachable!("a conn closes once"),
            Life::Head(head) => {
                let silent = last == Last::Answer && !head.rested;
                cx.metrics.conns_silent_total += u64::from(silent);
                left.stranger = Some(Network::of(head.whence.address));
            }
            Life::Asking(asking) => left.asked = asking.asked,
            Life::Waiting(_) | Life::Joining(_) | Life::Posting(_) => {}
            Life::Open(member) => {
                cx.metrics.streams -= u64::from(member.is_stream());
                cx.metrics.subscriptions -= member.publications.subscriptions();
                if let Life::Closing(closing) = &mut self.life
                    && last == Last::Goodbye
                    && !member.publications.fixed().is_empty()
                {
                    closing.awaited = Some(Box::new(Awaited::Words(member)));
                }
                cx.metrics.conns_open -= 1;
                return cx.put(link, Effect::Left(left));
            }
        }
        cx.metrics.handshakes_pending -= 1;
        cx.put(link, Effect::Left(left));
    }
}
