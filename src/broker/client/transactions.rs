//! The transactions of a RESP client: MULTI, WATCH and EXEC.

use std::collections::VecDeque;

use super::commands::{self, Wrong};
use super::{MAX_MANY, OVERHEAD, ROOM, Session, Step};
use crate::broker::local::Local;
use crate::link::Now;
use crate::proto::resp::reply;

/// Commands between MULTI and EXEC.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) commands: VecDeque<Vec<Vec<u8>>>,
    pub(super) bytes: usize,
    pub(super) broken: bool,
}

impl Session {
    /// Does a command of the transaction, which has been found before.
    pub(super) fn execute(&mut self, args: &[&[u8]], local: &mut Local, now: Now) -> Step {
        if self.executing.is_empty() {
            self.undone = 0;
        }
        if self.unsent().len() > MAX_MANY {
            (self.over, self.executing, self.undone) = (true, VecDeque::new(), 0);
            return Step::Idle;
        }
        match commands::find(args) {
            Ok(command) => self.run(command, args, local, now),
            Err(wrong) => self.fail(&wrong),
        }
    }

    /// The end of a transaction: its commands are done from the next step on, and nothing else
    /// before them.
    pub(super) fn exec(&mut self, local: &mut Local, now_ms: u64) -> Step {
        let Some(transaction) = self.transaction.take() else { return Step::Done };
        let store = local.store(now_ms);
        let watched = std::mem::take(&mut self.watched);
        let changed = watched.iter().any(|(name, revision)| store.revision(name) != *revision);
        if transaction.broken {
            return self.fail(&Wrong::Aborted);
        } else if changed {
            reply::null_array(&mut self.out, self.version);
        } else {
            reply::array(&mut self.out, transaction.commands.len());
            (self.executing, self.undone) = (transaction.commands, transaction.bytes);
        }
        Step::Done
    }

    pub(super) fn watch(
        &mut self,
        names: &[&[u8]],
        local: &mut Local,
        now_ms: u64,
    ) -> Result<(), Wrong> {
        let bytes = self.watched.iter().map(|(name, _)| name.len() + OVERHEAD);
        if bytes.chain(names.iter().map(|name| name.len() + OVERHEAD)).sum::<usize>() > ROOM {
            return Err(Wrong::TooMuch);
        }
        let store = local.store(now_ms);
        let revisions = names.iter().map(|name| (name.to_vec(), store.revision(name)));
        self.watched.extend(revisions);
        reply::status(&mut self.out, "OK");
        Ok(())
    }
}
