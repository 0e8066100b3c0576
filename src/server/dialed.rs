//! L2: links that are dialed: Redis's, its sentinels', and those to applications.

use super::Server;
use super::table::Party;
use crate::link::LinkId;

impl Server {
    /// Whether a link is read before those of browsers, however much there is to read.
    pub(crate) fn comes_first(&self, link: LinkId) -> bool {
        let party = self.table.peek(link).map(|slot| &slot.party);
        matches!(party, Some(Party::Redis(_) | Party::Sentinel(..) | Party::App(_)))
    }

    /// Whether what a link's peer has said matters still when it takes no more: an application may
    /// answer before it has read a request to its end, and close then.
    pub(crate) fn may_have_answered(&self, link: LinkId) -> bool {
        matches!(self.table.peek(link).map(|slot| &slot.party), Some(Party::Uplink(_)))
    }

    /// A link that was dialed is made.
    pub(super) fn on_connected(&mut self, link: LinkId) {
        let now_ms = self.cx.now.mono_ms;
        match self.party(link) {
            Some(Party::Redis(node)) => {
                let node = *node;
                self.broker.redis(node).into_iter().for_each(|redis| redis.connected(now_ms));
            }
            Some(Party::Sentinel(node, at)) => {
                let (node, at) = (*node, *at);
                self.on_sentinels(node, |watch, now_ms| watch.connected(at, now_ms));
            }
            Some(Party::App(at)) => {
                let at = *at;
                self.application.iter_mut().for_each(|app| app.connected(at, now_ms));
            }
            Some(Party::Handler(at)) => {
                let at = *at;
                self.handlers[at].connected(now_ms);
                self.table.stand(link, 1);
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.set_now(self.cx.now.tick());
                self.proxy.connected(at, &mut self.cx.metrics);
                self.after_guest(link);
            }
            _ => {}
        }
    }

    /// A link has its name and is being dialed.
    pub(super) fn on_dialing(&mut self, link: LinkId) {
        let now_ms = self.cx.now.mono_ms;
        match self.party(link) {
            Some(Party::Redis(node)) => {
                let node = *node;
                self.nodes.dialing(node, link);
            }
            Some(Party::Sentinel(node, at)) => {
                let (node, at) = (*node, *at);
                self.on_sentinels(node, |watch, _| watch.dialing(at, link));
            }
            Some(Party::App(at)) => {
                let at = *at;
                self.application.iter_mut().for_each(|app| app.dialing(at, link, now_ms));
            }
            Some(Party::Handler(at)) => {
                let at = *at;
                self.handlers[at].dialing(link, now_ms);
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.set_now(self.cx.now.tick());
                self.proxy.dialing(at, link);
                self.after_guest(link);
            }
            _ => {}
        }
    }

    /// The name of a dialed link is being looked up, or was.
    pub(super) fn on_lookup(&mut self, link: LinkId, begins: bool) {
        let now_ms = self.cx.now.mono_ms;
        match self.party(link) {
            Some(Party::Redis(node)) => {
                let node = *node;
                let redis = self.broker.redis(node).into_iter();
                redis.for_each(|redis| redis.on_lookup(begins, now_ms));
            }
            Some(Party::Sentinel(node, at)) => {
                let (node, at) = (*node, *at);
                self.on_sentinels(node, |watch, now_ms| watch.on_lookup(at, begins, now_ms));
            }
            Some(Party::App(at)) => {
                let at = *at;
                self.application.iter_mut().for_each(|app| app.on_lookup(at, begins, now_ms));
            }
            Some(Party::Uplink(at)) => {
                let at = *at;
                self.proxy.set_now(self.cx.now.tick());
                self.proxy.on_lookup(at, begins);
                self.after_guest(link);
            }
            _ => {}
        }
    }
}
