//! L1: a replica that is heard and read in the place of its master: what both say of it, and
//! whether it is of use.
//!
//! It knows what INFO says, and no link. Its rules:
//! * a master tells its replica in order what is published and stored, so that who hears and reads
//!   at one that is whole misses nothing and has everything in order, a little later;
//! * a replica that is a master, or another's, or says nothing of that, is of no use;
//! * one that is to be used has what its master had said before, so that it does not say again what
//!   was heard at that: as long as the master is up and has not said what it has, that is waited
//!   for, and when it does not let itself be asked, no replica of it is of use;
//! * one that has lost its master hears nothing and says nothing of it. It is of no use as long as
//!   the master can be heard itself, a few seconds after that is seen; when it has its master again
//!   before that, some may be missing;
//! * one that has no master when it is to be used is of no use: it may never have had one, and then
//!   it has nothing of what is stored either. While the master cannot be reached, one that had it
//!   before is of use nevertheless: it has what is stored.

use std::fmt;

/// How long a replica may be without its master, or behind it.
const PATIENCE_MS: u64 = 5_000;
const MOST_BEHIND_MS: u64 = 10_000;
/// How often in a row it names another master before that is believed: one of the two answers may
/// be older than the other.
const MISMATCHES: u32 = 2;

/// The longest name of a history, in bytes. Redis has 40.
const MOST_HISTORY: usize = 64;

/// What a Redis says in its answer to INFO replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// It is a master.
    pub is_master: bool,
    /// Whether a replica has its master.
    pub is_linked: bool,
    /// The history that it has: a master and its replicas have one. At most 64 bytes.
    pub history: String,
    /// Bytes of that.
    pub offset: u64,
}

impl Replication {
    /// What the answer says, if it is one.
    pub fn parse(text: &[u8]) -> Option<Replication> {
        let text = std::str::from_utf8(text).ok()?;
        let value =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let is_master = match value("role")? {
            "master" => true,
            "slave" | "replica" => false,
            _ => return None,
        };
        let offset = if is_master { "master_repl_offset" } else { "slave_repl_offset" };
        Some(Replication {
            is_master,
            is_linked: value("master_link_status") == Some("up"),
            history: value("master_replid").filter(|id| id.len() <= MOST_HISTORY)?.to_owned(),
            // One that has no master yet has -1.
            offset: value(offset)?.parse().unwrap_or(0),
        })
    }
}

/// Why a replica is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Useless {
    /// It does not say what it is.
    Silent(String),
    /// It is a master.
    Master,
    /// It has another master.
    Strange,
    /// It has no link to its master.
    Lost,
    /// It does not keep up with it.
    Behind,
    /// Its master does not say what it has.
    Mute(String),
}

/// What follows from what was said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing.
    Quiet,
    /// It is of use, as far as is known.
    Useful,
    /// It is, as soon as it has what its master has by now.
    Early,
    /// The master has said what that is.
    Level,
    /// It has its master again, and may have missed something.
    Again,
    /// It is not, and is to be left.
    Useless(Useless),
}

/// What is known of a replica.
#[derive(Debug, Default)]
pub(in crate::broker) struct Replica {
    master: Master,
    /// The history that it had when it was last asked.
    history: Option<String>,
    /// The history that it last had of its master, whatever becomes of the links.
    synced: Option<String>,
    /// Since when it has been without its master; with no such time when it is not any more, and
    /// that is to be made up for.
    lost_ms: Option<u64>,
    /// What the master had at some time, which it is to have, too.
    mark: Option<(u64, u64)>,
    mismatches: u32,
    level: Level,
}

/// What is known of its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Master {
    /// It cannot be reached.
    #[default]
    Away,
    /// It is up, and has not answered yet.
    Unasked,
    /// It answers with an error.
    Mute(String),
    Said(Replication),
}

/// What a replica is to have before it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Level {
    #[default]
    Unknown,
    /// The master is asked.
    Asked,
    At(u64),
}

impl Replica {
    /// The link to the master is up.
    pub(in crate::broker) fn master_is_up(&mut self) {
        if self.master == Master::Away {
            self.master = Master::Unasked;
        }
    }

    /// The link to the master is lost.
    pub(in crate::broker) fn master_lost(&mut self) {
        (self.master, self.mark, self.mismatches) = (Master::Away, None, 0);
        self.level = Level::Unknown;
        // From now on it stays without it, until the master is there again.
        self.lost_ms = self.lost_ms.map(|_| u64::MAX);
    }

    /// The link to the replica is lost. One that was behind still is when it is back.
    pub(in crate::broker) fn lost(&mut self) {
        (self.history, self.lost_ms, self.mismatches) = (None, None, 0);
        self.level = Level::Unknown;
    }

    /// Whether the master is to be asked what it has.
    pub(in crate::broker) fn asks_level(&self) -> bool {
        self.level == Level::Asked
    }

    /// It has begun anew, and what it has missed is made up for.
    pub(in crate::broker) fn began_anew(&mut self) {
        (self.history, self.lost_ms) = (None, None);
    }

    /// The master has said this.
    pub(in crate::broker) fn on_master(
        &mut self,
        said: Result<Replication, String>,
        now_ms: u64,
    ) -> Judgement {
        let said = match said {
            Ok(said) => said,
            Err(reason) => {
                self.master = Master::Mute(reason);
                return Judgement::Quiet;
            }
        };
        let offset = said.offset;
        self.master = Master::Said(said);
        self.mark.get_or_insert((offset, now_ms));
        if self.level != Level::Asked {
            return Judgement::Quiet;
        }
        self.level = Level::At(offset);
        Judgement::Level
    }

    /// The replica has said this, which is in use or is to be.
    pub(in crate::broker) fn on_replica(
        &mut self,
        said: Result<Replication, String>,
        in_use: bool,
        now_ms: u64,
    ) -> Judgement {
        let said = match said {
            Ok(said) if said.is_master => return Judgement::Useless(Useless::Master),
            Ok(said) => said,
            Err(reason) => return Judgement::Useless(Useless::Silent(reason)),
        };
        if let Master::Mute(reason) = &self.master {
            return Judgement::Useless(Useless::Mute(reason.clone()));
        }
        if !said.is_linked {
            self.mark = None;
            return self.on_unlinked(&said.history, in_use, now_ms);
        }
        // It has begun anew, however short it was without its master.
        let is_anew = self.history.as_ref().is_some_and(|history| *history != said.history);
        if is_anew || self.lost_ms.is_some() {
            self.lost_ms = Some(u64::MAX);
        }
        let is_strange = match &self.master {
            Master::Said(master) => master.history != said.history,
            _ => false,
        };
        self.mismatches = if is_strange { self.mismatches + 1 } else { 0 };
        if is_strange && (!in_use || self.mismatches >= MISMATCHES) {
            return Judgement::Useless(Useless::Strange);
        }
        if !is_strange {
            self.mark = self.mark.filter(|(offset, _)| said.offset < *offset);
        }
        if !is_strange && self.synced.as_ref() != Some(&said.history) {
            self.synced = Some(said.history.clone());
        }
        self.history = Some(said.history);
        let is_level = match self.level {
            _ if self.master == Master::Away => true,
            Level::At(offset) => said.offset >= offset,
            Level::Unknown | Level::Asked => false,
        };
        match self.mark {
            Some((_, at_ms)) if now_ms > at_ms + MOST_BEHIND_MS => {
                Judgement::Useless(Useless::Behind)
            }
            _ if !in_use && is_level => Judgement::Useful,
            _ if !in_use => {
                self.level = if self.level == Level::Unknown { Level::Asked } else { self.level };
                Judgement::Early
            }
            _ if !is_strange && self.lost_ms.take().is_some() => Judgement::Again,
            _ => Judgement::Quiet,
        }
    }

    fn on_unlinked(&mut self, history: &String, in_use: bool, now_ms: u64) -> Judgement {
        if self.master == Master::Away && (in_use || self.synced.as_ref() == Some(history)) {
            self.lost_ms = Some(u64::MAX);
            return if in_use { Judgement::Quiet } else { Judgement::Useful };
        }
        let since_ms = self.lost_ms.filter(|since_ms| *since_ms <= now_ms).unwrap_or(now_ms);
        self.lost_ms = Some(since_ms);
        match !in_use || now_ms >= since_ms + PATIENCE_MS {
            true => Judgement::Useless(Useless::Lost),
            false => Judgement::Quiet,
        }
    }
}

impl fmt::Display for Useless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Useless::Silent(reason) => write!(
                f,
                "it does not say whose replica it is: {reason}; let the user ask: ACL SETUSER … \
                 +info"
            ),
            Useless::Master => f.write_str(
                "it is a master and no replica, so that it does not hear what is published at \
                 --redis; exchange the two URLs if that follows it, or let it follow that one: \
                 REPLICAOF HOST PORT",
            ),
            Useless::Strange => f.write_str(
                "it is a replica of another master than --redis; let it follow that one: \
                 REPLICAOF HOST PORT",
            ),
            Useless::Lost => f.write_str(
                "it has lost its master (master_link_status is down), so that it hears nothing; \
                 see its log, masterauth and INFO replication",
            ),
            Useless::Behind => f.write_str("it is more than 10 s behind its master"),
            Useless::Mute(reason) => write!(
                f,
                "its master at --redis does not say what it has, so that this one would say again \
                 what was heard there: {reason}; let the user there ask: ACL SETUSER … +info"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(history: &str, offset: u64) -> Result<Replication, String> {
        let text = format!(
            "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nmaster_replid:{history}\r\n\
             master_repl_offset:{offset}\r\nsecond_repl_offset:-1\r\n"
        );
        Replication::parse(text.as_bytes()).ok_or_else(String::new)
    }

    fn replica(link: &str, history: &str, offset: i64) -> Result<Replication, String> {
        let text = format!(
            "# Replication\r\nrole:slave\r\nmaster_host:h\r\nmaster_link_status:{link}\r\n\
             slave_repl_offset:{offset}\r\nmaster_replid:{history}\r\nmaster_repl_offset:7\r\n"
        );
        Replication::parse(text.as_bytes()).ok_or_else(String::new)
    }

    /// One that is in use, whose master has said where it is.
    fn in_use() -> Replica {
        let mut one = Replica::default();
        one.on_master(master("a", 100), 0);
        assert_eq!(one.on_replica(replica("up", "a", 100), false, 0), Judgement::Early);
        assert_eq!(one.on_master(master("a", 100), 0), Judgement::Level);
        assert_eq!(one.on_replica(replica("up", "a", 100), false, 0), Judgement::Useful);
        one
    }

    #[test]
    fn one_has_what_its_master_had_before_it_is_used() {
        let mut one = Replica::default();
        one.on_master(master("a", 100), 0);
        assert_eq!(one.on_replica(replica("up", "a", 100), false, 0), Judgement::Early);
        assert_eq!(one.on_replica(replica("up", "a", 100), false, 1), Judgement::Early);
        assert_eq!(one.on_master(master("a", 200), 2), Judgement::Level, "it has gone on");
        assert_eq!(one.on_master(master("a", 300), 2), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("up", "a", 199), false, 3), Judgement::Early);
        assert_eq!(one.on_replica(replica("up", "a", 200), false, 4), Judgement::Useful);
        one.lost();
        assert_eq!(one.on_replica(replica("up", "a", 900), false, 5), Judgement::Early, "anew");
        one.master_lost();
        assert_eq!(one.on_replica(replica("up", "a", 1), false, 6), Judgement::Useful);
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for text in ["", "role", "role:master", "role:sentinel\r\nmaster_replid:a", "\u{0}"] {
            assert_eq!(Replication::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Replication::parse(b"role:master\r\nmaster_replid:\xff"), None);
        assert_eq!(replica("down", "a", -1).map(|said| said.offset), Ok(0));
    }

    #[test]
    fn only_a_replica_of_this_master_is_of_use() {
        for (said, why) in [
            (master("a", 100), Useless::Master),
            (replica("up", "b", 100), Useless::Strange),
            (replica("down", "a", 100), Useless::Lost),
            (Err("NOPERM".to_owned()), Useless::Silent("NOPERM".to_owned())),
        ] {
            let mut one = Replica::default();
            one.on_master(master("a", 100), 0);
            assert_eq!(one.on_replica(said, false, 0), Judgement::Useless(why));
        }
        let mut one = Replica::default();
        assert_eq!(one.on_replica(replica("up", "b", 0), false, 0), Judgement::Useful, "so far");
    }

    #[test]
    fn one_whose_master_is_up_waits_for_what_that_says() {
        let mut one = Replica::default();
        one.master_is_up();
        for now_ms in [0, 10, 100 * PATIENCE_MS] {
            let judgement = one.on_replica(replica("up", "a", 100), false, now_ms);
            assert_eq!(judgement, Judgement::Early, "{now_ms}");
            assert!(one.asks_level());
        }
        let lost = Judgement::Useless(Useless::Lost);
        assert_eq!(one.on_replica(replica("down", "a", 100), false, 20), lost);
        assert_eq!(one.on_master(master("a", 200), 30), Judgement::Level);
        one.master_is_up();
        assert_eq!(one.on_replica(replica("up", "a", 100), false, 40), Judgement::Early);
        assert_eq!(one.on_replica(replica("up", "a", 200), false, 50), Judgement::Useful);
    }

    #[test]
    fn one_whose_master_does_not_let_itself_be_asked_is_of_no_use_while_that_is_up() {
        let mut one = in_use();
        let denied = || Err("NOPERM".to_owned());
        let mute = || Judgement::Useless(Useless::Mute("NOPERM".to_owned()));
        assert_eq!(one.on_master(denied(), 10), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("up", "a", 200), true, 10), mute());
        one.lost();
        assert_eq!(one.on_replica(replica("up", "a", 200), false, 20), mute());
        one.master_lost();
        assert_eq!(one.on_replica(replica("up", "a", 200), false, 30), Judgement::Useful);
        one.lost();
        one.master_is_up();
        assert_eq!(one.on_replica(replica("up", "a", 200), false, 40), Judgement::Early);
        assert_eq!(one.on_master(denied(), 50), Judgement::Quiet);
        assert_eq!(one.on_master(master("a", 200), 60), Judgement::Level, "it may be asked now");
        assert_eq!(one.on_replica(replica("up", "a", 200), false, 70), Judgement::Useful);
    }

    #[test]
    fn one_that_never_had_its_master_is_of_no_use() {
        let mut one = Replica::default();
        let lost = Judgement::Useless(Useless::Lost);
        for now_ms in [0, 10, 100 * PATIENCE_MS] {
            assert_eq!(one.on_replica(replica("down", "x", -1), false, now_ms), lost);
            one.lost();
        }
        assert_eq!(one.on_replica(replica("up", "a", 9), false, 20), Judgement::Useful);
    }

    #[test]
    fn one_that_had_its_master_is_of_use_again_while_nobody_reaches_that() {
        let mut one = in_use();
        one.master_lost();
        one.lost();
        assert_eq!(one.on_replica(replica("down", "a", 100), false, 10), Judgement::Useful);
        one.lost();
        let lost = Judgement::Useless(Useless::Lost);
        assert_eq!(one.on_replica(replica("down", "x", -1), false, 20), lost, "it is empty");
        one.on_master(master("a", 100), 30);
        assert_eq!(one.on_replica(replica("down", "a", 100), false, 30), lost);
    }

    #[test]
    fn another_history_is_believed_the_second_time() {
        let mut one = in_use();
        assert_eq!(one.on_replica(replica("up", "b", 100), true, 1), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("up", "a", 100), true, 2), Judgement::Again);
        assert_eq!(one.on_replica(replica("up", "b", 100), true, 3), Judgement::Quiet);
        let strange = Judgement::Useless(Useless::Strange);
        assert_eq!(one.on_replica(replica("up", "b", 100), true, 4), strange);
    }

    #[test]
    fn one_without_its_master_is_left_after_a_while_and_catches_up_before() {
        let mut one = in_use();
        assert_eq!(one.on_replica(replica("down", "a", 100), true, 10), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("up", "a", 100), true, 20), Judgement::Again);
        assert_eq!(one.on_replica(replica("up", "a", 100), true, 30), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("down", "a", 100), true, 40), Judgement::Quiet);
        let late = 40 + PATIENCE_MS;
        assert_eq!(one.on_replica(replica("down", "a", 100), true, late - 1), Judgement::Quiet);
        let lost = Judgement::Useless(Useless::Lost);
        assert_eq!(one.on_replica(replica("down", "a", 100), true, late), lost);
    }

    #[test]
    fn while_the_master_is_away_it_stays() {
        let mut one = in_use();
        one.master_lost();
        for now_ms in [10, 100 * PATIENCE_MS] {
            assert_eq!(one.on_replica(replica("down", "a", 9), true, now_ms), Judgement::Quiet);
        }
        let back = 200 * PATIENCE_MS;
        one.on_master(master("c", 0), back);
        assert_eq!(one.on_replica(replica("down", "a", 9), true, back), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("up", "c", 9), true, back + 1), Judgement::Again);
    }

    #[test]
    fn a_master_that_begins_anew_is_seen_though_nobody_saw_it_go() {
        let mut one = in_use();
        one.master_lost();
        one.on_master(master("b", 0), 10);
        assert_eq!(one.on_replica(replica("up", "b", 7), true, 20), Judgement::Again);
        assert_eq!(one.on_replica(replica("up", "b", 8), true, 30), Judgement::Quiet);
        one.on_master(master("c", 0), 40);
        assert_eq!(one.on_replica(replica("up", "b", 8), true, 50), Judgement::Quiet);
        assert_eq!(one.on_replica(replica("up", "c", 8), true, 60), Judgement::Again);
    }

    #[test]
    fn one_that_does_not_keep_up_is_left() {
        let mut one = in_use();
        one.on_master(master("a", 200), 10);
        one.on_master(master("a", 300), 20);
        let most = 10 + MOST_BEHIND_MS;
        assert_eq!(one.on_replica(replica("up", "a", 199), true, most), Judgement::Quiet);
        let behind = Judgement::Useless(Useless::Behind);
        assert_eq!(one.on_replica(replica("up", "a", 199), true, most + 1), behind);
        assert_eq!(one.on_replica(replica("up", "a", 200), true, most + 1), Judgement::Quiet);
    }
}
