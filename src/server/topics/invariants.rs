//! L2: what must be true of the topics whenever the server rests.
//!
//! It looks, and changes nothing.

use std::collections::BTreeSet;

use super::Topics;
use crate::browser::Conn;
use crate::server::table::Table;

impl Topics {
    /// Panics when what is counted and indexed disagrees with what is there.
    pub(in crate::server) fn check_invariants(&self, table: &Table) {
        self.hub.check_invariants();
        assert!(self.slow.is_empty(), "somebody was forgotten");
        for index in self.hub.conns() {
            let conn = table.conn_at(index).expect("only conns hear");
            assert!(conn.has_topics(), "a conn hears that does not speak wsloop.1");
        }
        for (channel, _) in self.hub.channels() {
            let hears: Vec<u32> = self.hub.subscribers(channel).collect();
            let topic = self.hub.peek(channel);
            assert!(topic.floors.keys().all(|index| hears.contains(index)));
            let is_stream = |index: &u32| table.conn_at(*index).is_some_and(Conn::is_stream);
            let streams = hears.iter().copied().filter(is_stream);
            assert!(topic.streams.iter().copied().eq(streams.collect::<BTreeSet<_>>()));
            for one in &topic.resting {
                let conn = table.peek_conn(one.link).expect("only conns rest");
                let mut others = self.hub.channels_of(one.link.index);
                let waits = others.any(|at| self.hub.peek(at).awaits_since(one.link).is_some());
                assert!(conn.is_awaited() || waits, "nothing wakes a conn that rests");
            }
            assert!(topic.absent().iter().all(|index| hears.contains(index)));
            assert!(topic.looking.is_none_or(|number| self.asked.contains_key(&number)));
        }
    }

    /// Panics when a question is kept that nobody answers: one about a channel of a node that owes
    /// no answer, and that does not wait to be asked there.
    pub(in crate::server) fn check_asked(&self, owes_nothing: impl Fn(usize) -> bool) {
        for (number, (_, name)) in &self.asked {
            let node = self.spread.reads(name);
            let waits = self.to_ask[node].iter().any(|(waiting, ..)| waiting == number);
            assert!(waits || !owes_nothing(node), "a question about {name} is never answered");
        }
    }
}
