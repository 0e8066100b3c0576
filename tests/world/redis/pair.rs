//! A Redis and its replica: what either says of that, and how the one comes to have what the other
//! has; and what is taken from either.

use super::FakeRedis;

impl FakeRedis {
    /// The answer to INFO replication.
    pub(super) fn replication(&self) -> String {
        let (role, offset) = match self.role {
            "master" => ("master", "master_repl_offset"),
            _ => ("slave", "slave_repl_offset"),
        };
        format!(
            "# Replication\r\nrole:{role}\r\nmaster_link_status:{}\r\nmaster_replid:{}\r\n\
             {offset}:{}\r\n",
            self.link, self.history, self.offset
        )
    }

    /// Repeats what its master has published since it was last asked, and has all that is stored
    /// there.
    pub fn repeat(&mut self, master: &mut FakeRedis) {
        for (channel, payload) in master.take_published() {
            if let Some(client) = &mut self.client {
                client.deliver(&channel, &payload, None);
            }
        }
        self.store = master.store.clone();
        self.offset = master.offset;
    }

    /// Takes channels and messages published since this was last called, in that order.
    pub fn take_published(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        std::mem::take(&mut self.published)
    }

    /// What is stored for a channel is forgotten.
    pub fn remove(&mut self, channel: &str) {
        self.store.remove(&(0, channel.as_bytes().to_vec()));
    }
}
