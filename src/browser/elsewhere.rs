//! L2: a conn whose request is answered elsewhere, which takes its link over for that time.

use std::net::IpAddr;

use super::conn::{Closing, Conn, Head, Life, Whence};
use super::context::Context;
use super::effect::Effect;
use crate::access::proxies::{Transport, Via};
use crate::link::timers::Tick;
use crate::link::{LinkId, Outbox};

impl Conn {
    /// A conn whose request was answered elsewhere, of which it is known where it comes from: it
    /// may ask for more, or its end is shut.
    pub(crate) fn returned(
        link: LinkId,
        (address, (way, via), wake): (Option<IpAddr>, (Transport, Via), Tick),
        stays: bool,
        cx: &mut Context,
    ) -> Self {
        let (began, rest) = (cx.now.tick(), Vec::new());
        let life = match stays {
            true => {
                cx.metrics.handshakes_pending += 1;
                let whence = Whence { address, via, way, unserved: None, operator: false };
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
    pub(crate) fn whence(&self) -> Option<(Option<IpAddr>, (Transport, Via), Tick)> {
        match &self.life {
            Life::Head(Head { whence, .. }) => {
                Some((whence.address, (whence.way, whence.via), self.wake))
            }
            _ => None,
        }
    }
}
