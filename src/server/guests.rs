//! L2: browsers whose requests are with upstreams: how a conn becomes a guest and a guest a conn
//! again, and the links to upstreams.

use super::Server;
use super::table::Party;
use crate::access::crowds::Network;
use crate::access::proxies::Via;
use crate::browser::Conn;
use crate::browser::endpoint::SocketEvent;
use crate::link::timers::Tick;
use crate::link::{LinkId, Output};
use crate::web::upstream::{Errand, Forwarded, PlainAnswer, RequestId, Returned};

impl Server {
    /// A conn's request is to be answered by an upstream.
    #[inline(never)]
    pub(super) fn forward(&mut self, link: LinkId, request: Forwarded) {
        let Some(conn) = self.table.conn(link) else { return };
        let (Some(whence), Some(stranger)) = (conn.whence(), conn.stranger()) else { return };
        self.cx.metrics.handshakes_pending -= 1;
        self.proxy.set_now(self.cx.now.tick());
        // Between these two the link is nobody's.
        if let Some(slot) = self.table.get(link) {
            slot.party = Party::Guest(usize::MAX);
        }
        let at = self.proxy.welcome(link, whence, request, &mut self.cx.metrics);
        if let Some(slot) = self.table.get(link) {
            slot.party = Party::Guest(at);
        }
        self.met(stranger);
        self.after_guest(link);
    }

    /// What is to be done about guests and about links to upstreams.
    #[inline]
    pub(super) fn run_upstream_errands(&mut self) {
        // This is asked after every message of every browser.
        if self.proxy.has_errands() {
            self.run_all_upstream_errands();
        }
    }

    #[inline(never)]
    fn run_all_upstream_errands(&mut self) {
        while let Some(errand) = self.proxy.next_errand() {
            match errand {
                Errand::Dial(at, target) => self.table.dial(Party::Uplink(at), target),
                Errand::Flush(link) => self.table.stand(link, 1),
                Errand::Resume(link) => self.table.put(Output::Resume(link)),
                Errand::Wake(link) => self.after_guest(link),
                Errand::Close(link) => self.table.close(link),
                Errand::Return(returned) => self.take_back(returned),
                Errand::Tell(endpoint) => self.tell_requests(endpoint),
            }
        }
    }

    /// A guest is a conn again.
    fn take_back(&mut self, returned: Returned) {
        let Returned { link, address, via, wake, mut early, stays } = returned;
        let stays = stays && !self.ending.has_begun();
        let Some(slot) = self.table.get(link) else { return };
        let conn = Conn::returned(link, (address, via, wake), stays, &mut self.cx);
        slot.party = Party::Browser(conn);
        if stays {
            self.strangers.enter(link, Network::of(address), self.cx.now.tick());
            if via.1 == Via::Forwarding {
                // The next request may be another client's.
                self.cx.crowds.leave(link);
            }
            if !early.is_empty() {
                self.browser_received(link, &mut early);
                self.table.put(Output::Resume(link));
            }
        }
        self.after(link);
        self.route_effects();
    }

    /// Something has happened to a guest or to a link to an upstream: its timer is to fire no later
    /// than its deadline.
    pub(super) fn after_guest(&mut self, link: LinkId) {
        match self.party(link) {
            Some(Party::Guest(at)) => {
                let at = *at;
                if let Some(deadline) = self.proxy.guest_deadline(at) {
                    let wake = self.wheel.schedule(deadline, link.index);
                    self.proxy.guest_wakes(at, wake);
                }
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                if let Some(deadline) = self.proxy.uplink_deadline(at) {
                    let wake = self.wheel.schedule(deadline, link.index);
                    self.proxy.uplink_wakes(at, wake);
                }
            }
            _ => {}
        }
    }

    /// The timer entry of whoever is there has fired at that tick.
    #[inline(never)]
    pub(super) fn guest_fired(&mut self, link: LinkId, fired: Tick) {
        self.proxy.set_now(self.cx.now.tick());
        match self.party(link) {
            Some(Party::Guest(at)) => {
                let at = *at;
                self.proxy.guest_due(at, fired, &mut self.cx.metrics);
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.uplink_due(at, fired, &mut self.cx.metrics);
            }
            _ => return,
        }
        self.run_upstream_errands();
        self.after_guest(link);
    }

    /// Bytes arrived from a guest or from an upstream.
    pub(super) fn upstream_received(&mut self, link: LinkId, bytes: &[u8]) {
        self.proxy.set_now(self.cx.now.tick());
        match self.party(link) {
            Some(Party::Guest(at)) => {
                let at = *at;
                self.proxy.guest_received(at, bytes, &mut self.cx.metrics);
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.uplink_received(at, bytes, &mut self.cx.metrics);
            }
            _ => {}
        }
        self.after_guest(link);
    }

    /// The kernel took bytes of a guest's or of an upstream's link.
    pub(super) fn upstream_advance(&mut self, link: LinkId, n: usize) {
        self.proxy.set_now(self.cx.now.tick());
        let sent = match self.party(link) {
            Some(Party::Guest(at)) => {
                let at = *at;
                self.proxy.guest_advance(at, n)
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.uplink_advance(at, n)
            }
            _ => true,
        };
        if let Some(slot) = self.table.get(link) {
            slot.blocked &= !sent;
        }
        self.run_upstream_errands();
    }

    /// A guest's or an upstream's link has ended or failed.
    #[inline(never)]
    pub(super) fn upstream_hung_up(&mut self, link: LinkId, failure: Option<&str>) {
        self.proxy.set_now(self.cx.now.tick());
        match self.party(link) {
            Some(Party::Guest(at)) => {
                let at = *at;
                self.proxy.guest_hung_up(at, failure.is_none(), &mut self.cx.metrics);
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.uplink_hung_up(at, failure, &mut self.cx.metrics);
            }
            _ => {}
        }
    }

    /// Tells the application what that endpoint is asked, as far as there is room for it.
    #[inline(never)]
    pub(super) fn tell_requests(&mut self, endpoint: usize) {
        while let Some(queue) = self.cx.endpoints.get(endpoint)
            && !queue.is_full()
            && let Some((id, request)) = self.proxy.next_asked(endpoint)
        {
            self.cx.tell(endpoint as u8, SocketEvent::Request { id, request });
        }
    }

    /// The application answers what it was asked; what is over is no longer there to be answered.
    pub(super) fn answer_request(&mut self, id: RequestId, answer: &PlainAnswer) {
        if let Some(Party::Guest(at)) = self.party(id.link) {
            let at = *at;
            self.proxy.set_now(self.cx.now.tick());
            if self.proxy.answer(at, id.number, answer) {
                self.cx.access_log.answered(id.link, answer.status);
                self.cx.took(answer.body.len());
                self.run_upstream_errands();
                self.after_guest(id.link);
            }
        }
    }

    /// Nobody answers what that endpoint is asked any more.
    pub(super) fn end_requests(&mut self, endpoint: usize) {
        self.proxy.set_now(self.cx.now.tick());
        self.proxy.end_desk(endpoint, &mut self.cx.metrics);
        self.run_upstream_errands();
    }

    /// Closes whoever is there, if it is a guest.
    pub(super) fn drop_guest(&mut self, link: LinkId) {
        if let Some(Party::Guest(at)) = self.party(link) {
            let at = *at;
            self.proxy.drop_guest(at, &mut self.cx.metrics);
            self.run_upstream_errands();
        }
    }

    /// Closes all guests at once.
    pub(super) fn drop_guests(&mut self) {
        for at in self.proxy.all() {
            self.proxy.drop_guest(at, &mut self.cx.metrics);
        }
        self.run_upstream_errands();
    }
}
