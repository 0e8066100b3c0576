//! L2: a conn whose request is answered elsewhere, which takes its link over for that time.

use std::net::IpAddr;

use super::conn::{Closing, Conn, Head, Life, Whence};
use super::context::Context;
use super::effect::Effect;
use crate::access::proxies::Via;
use crate::link::timers::Tick;
use crate::link::{LinkId, Outbox};

impl Conn {
    /// A conn whose request was answered elsewhere, of which it is known where it comes from: it
    /// may ask for more, or its end is shut.
    pub(crate) fn returned(
        link: LinkId,
        (address, via, wake): (Option<IpAddr>, Via, Tick),
        stays: bool,
        cx: &mut Context,
    ) -> Self {
        let (began, rest) = (cx.now.tick(), Vec::new());
        let life = match stays {
            true => {
                cx.metrics.handshakes_pending += 1;
                let whence = Whence { address, via, unserved: None, operator: false };
                Life::Head(Head { began, whence, rested: true, rest })
            }
            false => {
                cx.put(link, Effect::Finish);
                Life::Closing(Closing { since: began, lingers: true, ..Closing::default() })
            }
        };
        Conn { outbox: Outbox::default(), wake, life }
    }

    /// Where a conn comes from whose request is answered elsewhere.
    pub(crate) fn whence(&self) -> Option<(Option<IpAddr>, Via, Tick)> {
        match &self.life {
            Life::Head(head) => Some((head.whence.address, head.whence.via, self.wake)),
            _ => None,
        }
    }
}
