//! L4: one of the Redis that a publisher publishes through: where it is, and the link that is kept
//! to it. A cluster is one of them too, and has its own links.
//!
//! It does not know which channels are there. Its rules:
//! - A kept link is used while it is alive and where Redis is; else a new one is made.
//! - What sentinels name is asked for its role before anything is sent to it, and until there is a
//!   master they are asked again, as long as a link may take to be made.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::commands::Commands;
use super::error::Error;
use super::link::{Fault, Link};
use super::secured::RedisTls;
use super::sentinels::{Guide, Missed};
use super::shards::{Access, Shards};
use crate::broker::{RedisAddress, RedisSettings, Sharding};
use crate::link::Target;
use crate::net::ClientTls;
use crate::proto::resp::{Reply, scalars};

/// Between two attempts to find a master.
const PAUSE: Duration = Duration::from_millis(100);

/// One Redis.
#[derive(Debug)]
pub(super) struct Node {
    settings: RedisSettings,
    /// What its sentinels say, where there are some.
    guide: Option<Guide>,
    /// Who has which channels, where that is a cluster.
    shards: Option<Shards>,
    link: Option<(Target, Link)>,
}

impl Node {
    /// It connects when it is first used.
    pub(super) fn new(settings: RedisSettings) -> Node {
        let guide = match &settings.address {
            RedisAddress::Fixed(_) | RedisAddress::Replica(_) | RedisAddress::Cluster(_) => None,
            RedisAddress::Watched(sentinels) => Some(Guide::new(sentinels)),
        };
        let shards = match &settings.address {
            RedisAddress::Cluster(cluster) => Some(Shards::new(&cluster.seeds)),
            _ => None,
        };
        Node { settings, guide, shards, link: None }
    }

    /// In a cluster, whether only the shard of a channel is to be told.
    pub(super) fn sharded(&mut self, is_sharded: bool) {
        if let RedisAddress::Cluster(cluster) = &mut self.settings.address {
            cluster.form = if is_sharded { Sharding::On } else { Sharding::Off };
        }
    }

    /// Whether only the shard of a channel is told.
    pub(super) fn is_sharded(&self) -> bool {
        match &self.settings.address {
            RedisAddress::Cluster(cluster) => cluster.form.is_sharded(),
            _ => false,
        }
    }

    /// Its sentinels are to take us for somebody.
    pub(super) fn sentinel_login(&mut self, user: Option<&str>, password: &str) {
        if let RedisAddress::Watched(sentinels) = &mut self.settings.address {
            sentinels.user = user.map(str::to_owned);
            sentinels.password = Some(password.to_owned());
            self.guide = Some(Guide::new(sentinels));
        }
    }

    /// Sends commands on the kept link if it is alive, or else on a new one. Those that are
    /// `repeatable` are sent again when the kept one fails.
    pub(super) fn exchange(
        &mut self,
        exchange: &Exchange<'_>,
        tls: &mut Option<ClientTls>,
        mut on_reply: impl FnMut(usize, Reply<'_>),
    ) -> Result<(), Fault> {
        let Exchange { commands, repeatable, timeout } = *exchange;
        if tls.is_none() && self.settings.address.is_tls() {
            *tls = Some(RedisTls::default().read().map_err(Fault::Unreachable)?);
        }
        if let Some(shards) = &mut self.shards {
            let (settings, tls) = (&self.settings, tls.as_ref());
            let access = Access { settings, tls, timeout, deadline: Instant::now() + timeout };
            return shards.exchange(exchange, access, on_reply);
        }
        let mut is_replica = false;
        let mut on_reply = |at: usize, reply: Reply<'_>| {
            is_replica |= matches!(reply, Reply::Error(why) if why.contains("READONLY"));
            on_reply(at, reply);
        };
        if let Some((at, mut link)) = self.kept(tls.as_ref(), timeout)
            && link.is_alive()
        {
            match link.exchange(commands.bytes(), commands.count(), &mut on_reply) {
                Err(Fault::Untaken(_)) => {}
                Err(Fault::Lost(_)) if repeatable => {}
                done => {
                    self.keep(at, link, is_replica || done.is_err());
                    return done;
                }
            }
        }
        let (at, mut link) = self.dial(tls.as_ref(), timeout)?;
        let done = link.exchange(commands.bytes(), commands.count(), on_reply);
        self.keep(at, link, is_replica || done.is_err());
        done
    }

    /// What a fault is that came before anything was done.
    pub(super) fn nothing_done(&self, fault: Fault) -> Error {
        let address = self.settings.address.to_string();
        match fault {
            Fault::Unreachable(reason) | Fault::Untaken(reason) => {
                Error::Unreachable { address, reason }
            }
            Fault::Login(reason) => Error::Login { address, reason },
            Fault::Lost(reason) => Error::Unanswered(reason),
        }
    }

    /// The kept link, unless Redis is somewhere else by now.
    fn kept(&mut self, tls: Option<&ClientTls>, timeout: Duration) -> Option<(Target, Link)> {
        let (at, link) = self.link.take()?;
        let is_there = match &mut self.guide {
            None => true,
            Some(guide) => guide.look(tls, Instant::now() + timeout).is_ok_and(|found| found == at),
        };
        is_there.then_some((at, link))
    }

    fn keep(&mut self, at: Target, link: Link, is_useless: bool) {
        match (&mut self.guide, is_useless) {
            (_, false) => self.link = Some((at, link)),
            (Some(guide), true) => guide.doubt(),
            (None, true) => {}
        }
    }

    fn dial(
        &mut self,
        tls: Option<&ClientTls>,
        timeout: Duration,
    ) -> Result<(Target, Link), Fault> {
        let (settings, deadline) = (&self.settings, Instant::now() + timeout);
        let guide = match (&mut self.guide, &settings.address) {
            (Some(guide), _) => guide,
            (None, RedisAddress::Fixed(target) | RedisAddress::Replica(target)) => {
                let link = Link::dial(target, settings, tls, timeout)?;
                return Ok((target.clone(), link));
            }
            (None, RedisAddress::Cluster(_)) => unreachable!("a cluster has its own links"),
            (None, RedisAddress::Watched(_)) => unreachable!("what sentinels watch has a guide"),
        };
        loop {
            let missed = match guide.look(tls, deadline) {
                Ok(target) => match master(&target, settings, tls, deadline) {
                    Ok(link) => return Ok((target, link.with_timeout(timeout))),
                    Err(fault) => {
                        guide.forget();
                        Missed { is_final: matches!(fault, Fault::Login(_)), fault }
                    }
                },
                Err(missed) => missed,
            };
            if missed.is_final || Instant::now() + PAUSE >= deadline {
                return Err(missed.fault);
            }
            sleep(PAUSE);
        }
    }
}

/// Commands, and how they are exchanged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange<'a> {
    pub commands: &'a Commands,
    /// They may be sent again.
    pub repeatable: bool,
    /// For making a link, and for each exchange.
    pub timeout: Duration,
}

/// A link to what says that it is a master, or that we may not ask.
fn master(
    target: &Target,
    settings: &RedisSettings,
    tls: Option<&ClientTls>,
    deadline: Instant,
) -> Result<Link, Fault> {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut link = Link::dial(target, settings, tls, left)?;
    let role = link.answer(&[b"ROLE"], deadline).map_err(|fault| match fault {
        Fault::Lost(why) | Fault::Untaken(why) => Fault::Unreachable(why),
        fault => fault,
    })?;
    let is_master = match role {
        Ok(role) => scalars(&role).next() == Some(&b"master"[..]),
        Err(why) => why.starts_with("NOPERM"),
    };
    match is_master {
        true => Ok(link),
        false => Err(Fault::Unreachable(format!("{target} is no master"))),
    }
}
