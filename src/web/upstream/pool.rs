//! L2: the links to upstreams: which exchange is on which, when one is dialed, kept or closed.

use super::{App, Errand, Proxy, Stage, State, Uplink};
use crate::link::Metrics;
use crate::link::timers::{self, Tick};

/// The idle time after which a link is closed. Most applications close it earlier.
pub(super) const REST_MS: u64 = 60_000;
/// A request that may not be sent twice goes only over a link that has rested for less: an
/// application that closes its links after some seconds is not about to.
const FRESH_MS: u64 = 1_000;
/// An application whose link is still open so long after its answer keeps its links. There are such
/// that announce no end and close each at once (uWSGI's `--http-socket`): what was sent over one of
/// those before its end is seen, is lost.
const KEPT_MS: u64 = 250;

impl Proxy {
    /// Gives waiting guests of an upstream their links, and has links dialed for the others.
    pub(super) fn serve(&mut self, to: usize, metrics: &mut Metrics) {
        while let Some(guest) = self.apps[to].waiting.front().copied() {
            let Some(at) = self.rested(to, guest) else { break };
            self.apps[to].waiting.pop_front();
            self.assign(guest, at);
        }
        let most = match self.apps[to].away {
            None => usize::MAX,
            Some(again) => usize::from(again <= self.now),
        };
        while self.apps[to].dialing < self.apps[to].waiting.len().min(most) {
            if self.apps[to].links >= self.connections {
                // One that has rested too long for who waits makes room.
                let Some(at) = self.apps[to].resting.first().copied() else { break };
                self.drop_uplink(at);
            }
            self.dial(to, metrics);
        }
    }

    /// Takes a link that rests and may be used for this guest.
    fn rested(&mut self, to: usize, guest: usize) -> Option<usize> {
        let first = &self.uplinks[*self.apps[to].resting.first()?];
        self.apps[to].keeps_links |= first.used && self.rests_for(first, KEPT_MS);
        let at = *self.apps[to].resting.last()?;
        let uplink = &self.uplinks[at];
        let guest = &self.guests[guest];
        let is_fresh = !self.rests_for(uplink, FRESH_MS) && self.apps[to].keeps_links;
        let will_do = match guest.again {
            true => !uplink.used,
            false => guest.up.keeps || !uplink.used || is_fresh,
        };
        will_do.then(|| self.apps[to].resting.pop()).flatten()
    }

    /// Whether this one has rested for that long.
    fn rests_for(&self, uplink: &Uplink, ms: u64) -> bool {
        matches!(uplink.state, State::Resting { since } if since + timers::ticks(ms) <= self.now)
    }

    /// A link that rests has ended.
    pub(super) fn rested_for_good(&mut self, at: usize) {
        let uplink = &self.uplinks[at];
        if uplink.used && !self.rests_for(uplink, FRESH_MS) {
            self.apps[uplink.to].keeps_links = false;
        }
        self.drop_uplink(at);
    }

    fn assign(&mut self, guest: usize, at: usize) {
        self.uplinks[at].state = State::Serving { guest };
        let moved = self.now;
        let guest = &mut self.guests[guest];
        (guest.stage, guest.moved) = (Stage::On(at), moved);
        self.errands.extend(self.uplinks[at].link.map(Errand::Flush));
    }

    fn dial(&mut self, to: usize, metrics: &mut Metrics) {
        metrics.upstream_dials_total += 1;
        let app = &mut self.apps[to];
        (app.links, app.dialing) = (app.links + 1, app.dialing + 1);
        let state = State::Dialing { until: Tick::MAX };
        let (link, head, body) = (None, Vec::new(), None);
        let uplink = Uplink { link, to, state, wake: 0, used: false, head, body };
        let at = self.uplinks.insert(uplink);
        self.errands.push_back(Errand::Dial(at, app.settings.target.clone()));
    }

    /// A dial succeeded.
    pub(crate) fn connected(&mut self, at: usize, metrics: &mut Metrics) {
        let now = self.now;
        let Some(uplink) = self.uplinks.get_mut(at) else { return };
        if let State::Dialing { .. } = uplink.state {
            let to = uplink.to;
            uplink.state = State::Resting { since: now };
            let app = &mut self.apps[to];
            (app.dialing, app.away) = (app.dialing - 1, None);
            app.resting.push(at);
            self.serve(to, metrics);
            self.bound_rest(to);
        }
    }

    /// The exchange on a link has ended in order on both sides: it may have another.
    pub(super) fn release(&mut self, at: usize, metrics: &mut Metrics) {
        if self.ending {
            return self.drop_uplink(at);
        }
        let (now, uplink) = (self.now, &mut self.uplinks[at]);
        let to = uplink.to;
        self.apps[to].keeps_links |= uplink.used;
        (uplink.used, uplink.state) = (true, State::Resting { since: now });
        self.apps[to].resting.push(at);
        self.serve(to, metrics);
        self.bound_rest(to);
    }

    fn bound_rest(&mut self, to: usize) {
        while self.apps[to].resting.len() > self.idle {
            let app = &self.apps[to];
            // The first shows whether the application keeps its links.
            let next = usize::from(!app.keeps_links).min(app.resting.len() - 1);
            self.drop_uplink(app.resting[next]);
        }
    }

    /// Closes a link that is dialed and forgets it; whoever was on it is seen to before.
    pub(super) fn drop_uplink(&mut self, at: usize) {
        let uplink = self.uplinks.remove(at);
        let app: &mut App = &mut self.apps[uplink.to];
        app.links -= 1;
        app.dialing -= usize::from(matches!(uplink.state, State::Dialing { .. }));
        app.resting.retain(|resting| *resting != at);
        self.errands.extend(uplink.link.map(Errand::Close));
    }
}
