//! L2: what passes between a guest and its upstream.

use super::desk::AtDesk;
use super::request::passes_as_trailer;
use super::response::{self, Plan};
use super::{Errand, Guest, HIGH, LOW, MAX_HEAD, Proxy, Stage, State};
use crate::link::Metrics;
use crate::proto::http::body::{self, BodyReader, Framing};
use crate::proto::http::message::{ResponseHead, parse_response};

/// How a head of a response is gone on with.
enum Read {
    /// It is not whole.
    Partly,
    /// So many bytes of it were taken.
    Taken(usize),
    /// It is of no use, for that reason.
    Bad(String),
}

impl Proxy {
    /// Bytes arrived from a guest.
    pub(crate) fn guest_received(&mut self, at: usize, bytes: &[u8], metrics: &mut Metrics) {
        let moved = self.now;
        let Some(guest) = self.guests.get_mut(at) else { return };
        let mut input = bytes;
        match guest.stage {
            Stage::Tunnel(_) => guest.up.bytes.extend_from_slice(input),
            Stage::Done if !guest.body.is_done() => return,
            _ => {
                let before = guest.up.len();
                if let Err(error) = guest.take_body(&mut input) {
                    let text = format!("{}: {error}.", "The request cannot be read");
                    return self.fail(at, 400, &text, "", metrics);
                }
                guest.early.extend_from_slice(input);
                if let Stage::Desk(AtDesk::Arriving) = guest.stage {
                    return self.arrived_at_desk(at, metrics);
                }
                if guest.up.len() > before {
                    guest.moved = moved;
                }
            }
        }
        let uplink = guest.uplink().and_then(|up| self.uplinks[up].link);
        if !guest.up.is_empty() {
            self.errands.extend(uplink.map(Errand::Flush));
        }
    }

    /// The kernel took `n` bytes of a guest's. Returns whether nothing waits any more.
    pub(crate) fn guest_advance(&mut self, at: usize, n: usize) -> bool {
        let moved = self.now;
        let Some(guest) = self.guests.get_mut(at) else { return true };
        let before = guest.down.len();
        guest.down.advance(n);
        guest.moved = moved;
        let sent = guest.down.is_empty();
        if guest.stage == Stage::Done {
            if sent {
                self.give_back(at);
            }
        } else if before >= LOW && guest.down.len() < LOW {
            let uplink = guest.uplink().and_then(|up| self.uplinks[up].link);
            self.errands.extend(uplink.map(Errand::Resume));
        }
        sent
    }

    /// The same for an upstream's link.
    pub(crate) fn uplink_advance(&mut self, at: usize, n: usize) -> bool {
        let Some(State::Serving { guest }) = self.uplinks.get(at).map(|uplink| uplink.state) else {
            return true;
        };
        let moved = self.now;
        let guest = &mut self.guests[guest];
        let before = guest.up.len();
        guest.up.advance(n);
        guest.moved = moved;
        if before >= LOW && guest.up.len() < LOW {
            self.errands.push_back(Errand::Resume(guest.link));
        }
        guest.up.is_empty()
    }

    /// Bytes arrived from an upstream.
    pub(crate) fn uplink_received(&mut self, at: usize, bytes: &[u8], metrics: &mut Metrics) {
        let Some(State::Serving { guest }) = self.uplinks.get(at).map(|uplink| uplink.state) else {
            // It says what nobody asked: its next answer would not be to the next request.
            if self.uplinks.contains(at) {
                self.drop_uplink(at);
            }
            return;
        };
        self.guests[guest].moved = self.now;
        self.guests[guest].up.settle();
        let mut input = bytes;
        loop {
            if let Stage::Tunnel(_) = self.guests[guest].stage {
                self.guests[guest].down.bytes.extend_from_slice(input);
                break;
            }
            if self.uplinks[at].body.is_none() {
                match self.read_head(at, guest, input, metrics) {
                    Read::Partly => break,
                    Read::Taken(length) => input = &input[length..],
                    Read::Bad(why) => {
                        let text = "The application's answer cannot be passed on.";
                        return self.fail(guest, 502, text, &why, metrics);
                    }
                }
                if input.is_empty() && self.uplinks[at].body.is_none() {
                    break;
                }
                continue;
            }
            let guest_there = &mut self.guests[guest];
            let uplink = &mut self.uplinks[at];
            match uplink
                .body
                .as_mut()
                .map(|(reader, plan)| pass(reader, plan, &mut input, guest_there))
            {
                Some(Ok(true)) => return self.answered(at, guest, input.is_empty(), metrics),
                Some(Ok(false)) => break,
                Some(Err(error)) => {
                    let why = format!("{error}");
                    let text = "The application's answer cannot be passed on.";
                    return self.fail(guest, 502, text, &why, metrics);
                }
                None => break,
            }
        }
        let guest = &self.guests[guest];
        if !guest.down.is_empty() {
            self.errands.push_back(Errand::Flush(guest.link));
        }
    }

    /// An upstream has ended its side: perhaps that is the end of its answer.
    pub(super) fn end_of_answer(&mut self, at: usize, guest: usize, metrics: &mut Metrics) -> bool {
        let Some((reader, plan)) = &mut self.uplinks[at].body else { return false };
        if reader.ended().is_err() {
            return false;
        }
        body::push_end(&mut self.guests[guest].down.bytes, plan.out, &[]);
        self.answered(at, guest, false, metrics);
        true
    }

    /// Goes on with the head of a response at the beginning of `input`.
    fn read_head(&mut self, at: usize, guest: usize, input: &[u8], metrics: &mut Metrics) -> Read {
        let (uplink, guest) = (&mut self.uplinks[at], &mut self.guests[guest]);
        let held = uplink.head.len();
        let mut spilled = std::mem::take(&mut uplink.head);
        let whole = match held {
            0 => input,
            _ => {
                spilled.extend_from_slice(input);
                &spilled
            }
        };
        let (head, length) = match parse_response(whole, MAX_HEAD) {
            Err(error) => return Read::Bad(format!("its head is none of HTTP/1.x ({error:?})")),
            Ok(None) => {
                uplink.head = whole.to_vec();
                return Read::Partly;
            }
            Ok(Some(parsed)) => parsed,
        };
        let taken = length.saturating_sub(held);
        match head.status {
            101 => {
                if !guest.traits.upgrades {
                    return Read::Bad("it is 101, which was not asked for".to_owned());
                }
                guest.stage = Stage::Tunnel(at);
                guest.answered = true;
                response::push_switch(&mut guest.down.bytes, &head);
                // What came behind the request is for the other protocol.
                let early = std::mem::take(&mut guest.early);
                guest.up.bytes.extend_from_slice(&early);
                self.errands.extend(uplink.link.map(Errand::Flush));
                count(metrics, head.status);
                return Read::Taken(taken);
            }
            100..200 => {
                // Who speaks HTTP/1.0 knows of none.
                if guest.traits.minor_version > 0 && (head.status != 100 || guest.traits.expects) {
                    response::push_interim(&mut guest.down.bytes, &head);
                }
                return Read::Taken(taken);
            }
            _ => {}
        }
        match begin(guest, &head) {
            Ok(plan) => {
                uplink.body = Some((BodyReader::new(plan.framing), plan));
                self.apps[guest.to].said.ended();
                count(metrics, head.status);
                Read::Taken(taken)
            }
            Err(why) => Read::Bad(why),
        }
    }

    /// The answer is whole; `bare` when nothing came behind it.
    fn answered(&mut self, at: usize, guest: usize, bare: bool, metrics: &mut Metrics) {
        let Some((_, plan)) = self.uplinks[at].body.take() else { return };
        let there = &mut self.guests[guest];
        let asked = there.body.is_done() && there.up.is_empty();
        there.stage = Stage::Done;
        // What is left of the request has no end that would be waited for.
        there.closes |= !asked;
        let (link, is_sent) = (there.link, there.down.is_empty());
        let keeps = self.apps[there.to].settings.speaks == super::Speaks::Http;
        match plan.reusable && asked && bare && keeps {
            true => self.release(at, metrics),
            false => {
                let to = self.uplinks[at].to;
                self.drop_uplink(at);
                self.serve(to, metrics);
            }
        }
        match is_sent {
            true => self.give_back(guest),
            false => self.errands.push_back(Errand::Flush(link)),
        }
    }
}

impl Guest {
    /// Takes what is of its body from the front of `input`.
    fn take_body(&mut self, input: &mut &[u8]) -> Result<(), body::BodyError> {
        if self.body.is_done() {
            return Ok(());
        }
        while let Some(data) = self.body.next(input)? {
            body::push_data(&mut self.up.bytes, self.framing, data);
        }
        if self.body.is_done() {
            let mut trailers = self.body.trailers();
            trailers.retain(|(name, _)| passes_as_trailer(name));
            body::push_end(&mut self.up.bytes, self.framing, &trailers);
        }
        Ok(())
    }
}

/// Begins to pass a response on.
fn begin(guest: &mut Guest, head: &ResponseHead<'_>) -> Result<Plan, String> {
    let plan = response::plan(head, guest.traits, guest.closes)
        .map_err(|error| format!("its headers leave in doubt where it ends ({error:?})"))?;
    response::push_head(&mut guest.down.bytes, head, guest.traits, &plan);
    (guest.answered, guest.closes) = (true, plan.closes);
    Ok(plan)
}

/// Passes on what arrived of a body; whether it is whole.
fn pass(
    reader: &mut BodyReader,
    plan: &Plan,
    input: &mut &[u8],
    guest: &mut Guest,
) -> Result<bool, body::BodyError> {
    while let Some(data) = reader.next(input)? {
        body::push_data(&mut guest.down.bytes, plan.out, data);
    }
    let done = reader.is_done();
    if done && plan.framing != Framing::UntilEnd {
        let mut trailers = reader.trailers();
        trailers.retain(|(name, _)| passes_as_trailer(name));
        body::push_end(&mut guest.down.bytes, plan.out, &trailers);
    }
    debug_assert!(guest.down.len() < 4 * HIGH, "more than one read is never passed on at once");
    Ok(done)
}

fn count(metrics: &mut Metrics, status: u16) {
    match status {
        ..200 => metrics.upstream_1xx_total += 1,
        200..300 => metrics.upstream_2xx_total += 1,
        300..400 => metrics.upstream_3xx_total += 1,
        400..500 => metrics.upstream_4xx_total += 1,
        500.. => metrics.upstream_5xx_total += 1,
    }
}
