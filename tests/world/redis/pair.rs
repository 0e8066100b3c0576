//! A Redis and its replica: what either says of that, and how the one comes to have what the other
//! has.

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
}
