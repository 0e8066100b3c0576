//! What browsers publish by plain HTTP, on its way to the broker, and what comes behind it.

use super::Server;
use crate::access::proxies::Via;
use crate::broker::{PublishOutcome, Receipt, Status};
use crate::link::{LinkId, Output};

impl Server {
    /// Publishes the message of a conn whose request is that; it waits while the broker is dialed.
    #[inline(never)]
    pub(super) fn publish_post(&mut self, link: LinkId) {
        let Some(conn) = self.table.peek_conn(link) else { return };
        match self.broker.status_of_all(conn.needed_channels()) {
            Status::Up => {}
            status => {
                let down = status == Status::Down;
                return self.on_conn(link, |conn, cx| conn.on_no_broker(link, down, cx));
            }
        }
        let Some(conn) = self.table.conn(link) else { return };
        let Some((channels, message)) = conn.take_message() else { return };
        let receipt = Some(Receipt { conn: link, number: 0 });
        for channel in &channels {
            self.said.braces(&self.cx.settings.history, channel);
            let done = self.broker.publish(channel, &message, None, receipt, self.cx.now);
            self.cx.metrics.publishes_total += u64::from(done.is_ok());
            self.cx.metrics.publishes_dropped_total += u64::from(done.is_err());
            if let Err(error) = done {
                self.said.undelivered(error);
                let outcome = PublishOutcome::Failed;
                self.on_conn(link, |conn, cx| conn.on_published(link, 0, outcome, cx));
            }
        }
    }

    /// A conn has its answer and may ask for more, of which these bytes are there. Whoever asked
    /// need not be who asks next.
    #[inline(never)]
    pub(super) fn rest(&mut self, link: LinkId, mut behind: Vec<u8>) {
        self.relay.owners.unsubscribe(link.index, |_, ()| {});
        let Some(conn) = self.table.conn(link) else { return };
        let (Some(network), Some((_, (_, via), _))) = (conn.stranger(), conn.whence()) else {
            return;
        };
        self.strangers.enter(link, network, self.cx.now.tick());
        if via == Via::Forwarding {
            self.cx.crowds.leave(link);
        }
        if !behind.is_empty() {
            self.browser_received(link, &mut behind);
            self.table.put(Output::Resume(link));
        }
        self.after(link);
    }
}
