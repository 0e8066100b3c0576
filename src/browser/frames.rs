//! L2: what an open conn sends.
//!
//! A go is one pass over a conn's input. Its rules: it takes a bounded number of frames and keeps
//! the rest for the next go; its replies, pongs above all, are queued as one frame; a close is
//! answered once.

use std::borrow::Cow;

use super::conn::{Awaited, Conn, Life, Member};
use super::context::Context;
use super::effect::{Effect, Said};
use super::endpoint::Addressee;
use super::endpoint_conn::tell;
use crate::fanout::encoded::{Encoded, Form};
use crate::link::timers::Tick;
use crate::link::{Frame, LinkId};
use crate::proto::ws::frame::{self, Opcode, ProtocolError};
use crate::proto::ws::message::{Event, Kind, Limits};

/// Messages that are larger go out by themselves, because joining them is copying them.
const JOINED_MESSAGE: usize = 4 << 10;
/// Messages from so many bytes on go out of a buffer of their own, because making a frame is
/// copying them, and zeroing it before.
const OWN_BUFFER: usize = 16 << 10;

impl Conn {
    /// Takes the frames at the front of `input` until one of them concerns others; `None` when all
    /// are taken or not wanted any more, or when this go has taken as many as it may: then the
    /// rest stays in `input`.
    pub(super) fn frames<'i>(
        &mut self,
        link: LinkId,
        input: &mut &'i mut [u8],
        cx: &mut Context,
    ) -> Option<Said<'i>> {
        let said = self.next_said(link, input, cx);
        self.send_replies(cx);
        said
    }

    fn next_said<'i>(
        &mut self,
        link: LinkId,
        input: &mut &'i mut [u8],
        cx: &mut Context,
    ) -> Option<Said<'i>> {
        loop {
            if input.len() > JOINED_MESSAGE && self.echo_whole(link, input, cx) {
                continue;
            }
            let (member, last) = match &mut self.life {
                Life::Open(member) => (member, false),
                Life::Closing(closing) => match closing.speaker_mut() {
                    Some(member) => (member, true),
                    None => return None,
                },
                _ => return None,
            };
            if cx.frames_left == 0 || cx.is_full() {
                return None;
            }
            let limits = Limits { compression: member.form.window_bits > 0, ..cx.limits };
            let frames = &mut cx.frames_left;
            cx.inflater.begin_windows(member.client_bits);
            match member.reader.next_of(input, &limits, &mut cx.inflater, frames) {
                Ok(None) => {
                    if limits.compression {
                        cx.took(member.reader.held_bytes());
                    }
                    return None;
                }
                Ok(Some(Event::Message { kind, data })) => {
                    if limits.compression {
                        cx.inflated(data.len());
                    }
                    if last {
                        if let Some(said) = self.on_last_words(data, cx) {
                            return Some(said);
                        }
                    } else if is_hasty(link, &data, cx) {
                        self.close_hasty(link, cx);
                    } else if let Some(said) = self.on_data(link, kind, data, cx) {
                        return Some(said);
                    }
                }
                Ok(Some(Event::Ping(_))) if last => {}
                Ok(Some(Event::Ping(payload))) => {
                    member.pongs += (payload.len() + frame::MAX_HEADER) as u32;
                    cx.queued(1);
                    frame::append(Opcode::Pong, &payload, &mut cx.replies);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(_))) if last => {
                    *input = &mut [];
                    self.end_last_words(link, false, cx);
                }
                Err(error) if last => self.end_last_words(link, !error.is_of_a_close(), cx),
                Ok(Some(Event::Close(close))) => self.on_close(link, close, cx),
                Err(error) => self.on_broken(link, &error, cx),
            }
        }
    }

    /// Sends a large message back from where it lies, if what comes next is one and has come whole,
    /// is not to be compressed, and is to be sent back at all. Whether a frame was taken.
    fn echo_whole(&mut self, link: LinkId, input: &mut &mut [u8], cx: &mut Context) -> bool {
        let Life::Open(member) = &mut self.life else { return false };
        let ends_here = cx.frames_left == 0 || cx.is_full();
        if ends_here || member.to != Addressee::Itself || member.form.window_bits > 0 {
            return false;
        }
        let whole = match member.reader.whole(input, &cx.limits, JOINED_MESSAGE + 1) {
            Ok(None) => return false,
            Ok(Some(whole)) => whole,
            Err(error) => {
                self.on_broken(link, &error, cx);
                return true;
            }
        };
        cx.frames_left -= 1;
        if is_hasty(link, whole.payload(), cx) {
            self.close_hasty(link, cx);
            return true;
        }
        member.speaks(cx.now.tick());
        cx.metrics.messages_in_total += 1;
        cx.metrics.messages_out_total += 1;
        cx.queued(1);
        cx.queued_bytes(whole.frame.len());
        cx.took(whole.frame.len());
        self.send_replies(cx);
        self.outbox.push(Frame::from(whole.frame));
        true
    }

    /// A message of an open conn, which goes to whom its messages are for.
    #[inline]
    fn on_data<'i>(
        &mut self,
        link: LinkId,
        kind: Kind,
        data: Cow<'i, [u8]>,
        cx: &mut Context,
    ) -> Option<Said<'i>> {
        let Life::Open(member) = &mut self.life else { return None };
        match member.to {
            Addressee::Itself => {
                let form = member.speaks(cx.now.tick());
                self.echo(link, kind, data, form, cx);
            }
            Addressee::Endpoint(to) => tell(link, to, kind, data, cx),
            Addressee::Topics => return self.on_command(link, data, cx),
            Addressee::Broker | Addressee::Decided(_) => return self.on_message(data, cx),
        }
        None
    }

    #[cold]
    fn on_broken(&mut self, link: LinkId, error: &ProtocolError, cx: &mut Context) {
        cx.metrics.protocol_errors_total += 1;
        let (code, why) = (Some(error.close_code()), error.to_string());
        match error.is_of_a_close() {
            true => self.answer_close(link, code, &why, cx),
            false => self.close(link, code, &why, cx),
        }
    }

    /// A message that a browser says when the server has said goodbye: it is published as before,
    /// and nothing is answered.
    #[cold]
    fn on_last_words<'i>(&mut self, data: Cow<'i, [u8]>, cx: &mut Context) -> Option<Said<'i>> {
        if cx.settings.heartbeat.as_deref() == Some(&data[..]) {
            return None;
        }
        cx.metrics.messages_in_total += 1;
        (!data.is_empty()).then_some(Said::Message(data))
    }

    /// What is left of last words when they end: nothing, or, behind what breaks the protocol, the
    /// close frame that is still awaited.
    #[cold]
    fn end_last_words(&mut self, link: LinkId, broken: bool, cx: &mut Context) {
        let Life::Closing(closing) = &mut self.life else { return };
        let skim = closing.speaker().filter(|_| broken).map(|member| member.reader.skim());
        closing.awaited = skim.map(|skim| Box::new(Awaited::Close(skim)));
        if closing.awaited.is_none() && self.outbox.is_empty() {
            cx.put(link, Effect::Drop);
        }
    }

    fn on_message<'i>(&mut self, data: Cow<'i, [u8]>, cx: &mut Context) -> Option<Said<'i>> {
        if cx.settings.heartbeat.as_deref() == Some(&data[..]) {
            self.send_heartbeat(cx);
            return None;
        }
        cx.metrics.messages_in_total += 1;
        (!data.is_empty()).then_some(Said::Message(data))
    }

    /// When a browser reads the answer to its close, what it published before is published and
    /// stored.
    fn on_close(&mut self, link: LinkId, close: Option<(u16, Cow<'_, str>)>, cx: &mut Context) {
        let (code, reason) = close.unzip();
        self.note_last_words(code, &reason.unwrap_or_default(), cx);
        let published = !self.publications().is_empty() || self.waits_for_answers();
        cx.figures.left(code);
        cx.access_log.closed(link, code.unwrap_or(1005), false);
        self.answer_close(link, code, "", cx);
        if published && let Life::Closing(closing) = &mut self.life {
            closing.held = true;
            cx.put(link, Effect::Settle);
        }
    }

    /// Sends the heartbeat text.
    pub(super) fn send_heartbeat(&mut self, cx: &mut Context) {
        let (Some(text), Life::Open(member)) = (&cx.settings.heartbeat, &mut self.life) else {
            return;
        };
        member.spoken = cx.now.tick();
        cx.metrics.heartbeats_total += 1;
        let frame = Encoded::new(text).frame(false);
        cx.queued(1);
        self.send_replies(cx);
        self.outbox.push(frame);
    }

    /// Sends a message back: with those before it while all are small, and not compressed.
    fn echo(
        &mut self,
        link: LinkId,
        kind: Kind,
        data: Cow<'_, [u8]>,
        form: Form,
        cx: &mut Context,
    ) {
        cx.metrics.messages_in_total += 1;
        cx.metrics.messages_out_total += 1;
        cx.queued(1);
        let compressed = form.window_bits > 0 && data.len() >= cx.settings.compression_min;
        let opcode = if kind == Kind::Text { Opcode::Text } else { Opcode::Binary };
        if !compressed && data.len() <= JOINED_MESSAGE {
            return frame::append(opcode, &data, &mut cx.replies);
        }
        cx.queued_bytes(data.len());
        if !compressed && data.len() >= OWN_BUFFER {
            cx.took(data.len());
            self.send_replies(cx);
            return self.outbox.push_own(opcode, data.into_owned());
        }
        let frame = cx.encoder.frame(&mut Encoded::of(kind, &data), link.index, form);
        cx.metrics.compressions_total = cx.encoder.compressions();
        self.send_replies(cx);
        self.outbox.push(frame);
    }

    /// Puts what answers the frames of this go into the outbox.
    pub(super) fn send_replies(&mut self, cx: &mut Context) {
        if !cx.replies.is_empty() {
            cx.queued_bytes(cx.replies.len());
            self.outbox.push(Frame::from(&cx.replies[..]));
            cx.replies.clear();
        }
    }
}

impl Member {
    /// Something is queued for it now; in what form that goes out.
    #[inline]
    fn speaks(&mut self, now: Tick) -> Form {
        self.spoken = now;
        self.form
    }
}

/// Whether a conn says more than it may, heartbeats aside.
#[inline]
fn is_hasty(link: LinkId, data: &[u8], cx: &mut Context) -> bool {
    cx.message_rates.is_on()
        && cx.settings.heartbeat.as_deref() != Some(data)
        && !cx.message_rates.allows(link, cx.now)
}
