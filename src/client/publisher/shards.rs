//! L4: the nodes of a Redis Cluster, for a program that may block: each command goes to who has the
//! slot of its channel.
//!
//! It knows links to nodes and what they say of the cluster, and not what a command does. Its
//! rules:
//! - A command that was answered by MOVED, ASK, TRYAGAIN or CLUSTERDOWN was not done, and is sent
//!   again where it belongs, as long as the timeout allows. One that may have been done is not,
//!   unless it is repeatable.
//! - The nodes are asked in turn who has which slots, and the newest of what they say counts. One
//!   that says that it cannot serve is believed only while nothing else is known.
//! - A node that does not answer is left alone for a while, as long as others do.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::link::{Fault, Link};
use super::node::Exchange;
use crate::broker::RedisSettings;
use crate::broker::cluster::{Map, of_info, of_redirection};
use crate::broker::spread::SLOTS;
use crate::link::Target;
use crate::net::ClientTls;
use crate::proto::resp::{self, Reply, Tree};

/// After so long the cluster is asked about itself again, when something is published.
const EVERY: Duration = Duration::from_secs(1);
/// So long a node that did not answer is not asked about the cluster.
const LEFT_ALONE: Duration = Duration::from_secs(10);
/// Longest that a node is waited for at first. What has nobody else to go to waits twice as long
/// each time.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// Redirections that are followed without a pause.
const MOST_HOPS: u32 = 3;
/// Bytes of what a node says of the cluster.
const MAP_BYTES: usize = 4 << 20;

/// A cluster.
#[derive(Debug)]
pub(super) struct Shards {
    seeds: Vec<Target>,
    /// All nodes of the newest map: its masters, then the others.
    members: Vec<Target>,
    /// Who has each slot that somebody has.
    owners: Vec<Option<Target>>,
    epoch: u64,
    is_known: bool,
    links: Vec<(Target, Link)>,
    left_alone: Vec<(Target, Instant)>,
    /// When the cluster is to be asked about itself.
    due: Option<Instant>,
    /// How often it was.
    asked: usize,
}

/// What is needed to reach a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access<'a> {
    pub settings: &'a RedisSettings,
    pub tls: Option<&'a ClientTls>,
    /// For each exchange.
    pub timeout: Duration,
    pub deadline: Instant,
}

/// What a node says of the cluster.
#[derive(Debug)]
struct Said {
    map: Map,
    epoch: u64,
    serves: bool,
}

/// A command that is not done yet.
#[derive(Clone, Debug)]
struct Left {
    at: usize,
    /// Who takes it before it has the slot.
    asking: Option<Target>,
    /// What it was answered.
    refused: Option<String>,
}

/// What has become of an exchange so far.
#[derive(Debug, Default)]
struct Course {
    /// There are answers.
    is_answered: bool,
    /// Why something may have been done, or not.
    lost: Option<String>,
    /// Why a node was not reached.
    missed: Option<Fault>,
}

impl Shards {
    /// It connects when it is first used.
    pub(super) fn new(seeds: &[Target]) -> Shards {
        Shards {
            seeds: seeds.to_vec(),
            members: Vec::new(),
            owners: vec![None; SLOTS],
            epoch: 0,
            is_known: false,
            links: Vec::new(),
            left_alone: Vec::new(),
            due: None,
            asked: 0,
        }
    }

    /// Sends each command to who has its slot, and hands over each reply with its place.
    pub(super) fn exchange(
        &mut self,
        exchange: &Exchange<'_>,
        access: Access<'_>,
        mut on_reply: impl FnMut(usize, Reply<'_>),
    ) -> Result<(), Fault> {
        let all = 0..exchange.commands.count();
        let mut left: Vec<Left> = all.map(Left::again).collect();
        let mut course = Course::default();
        let mut patience = PATIENCE;
        for hop in 0.. {
            if let Err(fault) = self.look(access) {
                course.missed = Some(fault);
            }
            let before = left.len();
            if self.is_known {
                left = self.round(left, exchange, access, patience, &mut course, &mut on_reply);
            }
            let is_final = matches!(course.missed, Some(Fault::Login(_)));
            let is_late = Instant::now() + PAUSE >= access.deadline;
            if left.is_empty() || is_final || is_late {
                break;
            }
            if hop >= MOST_HOPS || left.len() == before && left.iter().all(|one| !one.is_sent_on())
            {
                sleep(PAUSE);
                patience = (patience * 2).min(access.timeout.max(PATIENCE));
            }
        }
        course.end(left, on_reply)
    }

    /// Asks who has which slots, when that is due. Nothing is wrong while it is known.
    fn look(&mut self, access: Access<'_>) -> Result<(), Fault> {
        let now = Instant::now();
        if self.is_known && self.due.is_some_and(|due| now < due) {
            return Ok(());
        }
        self.left_alone.retain(|(_, until)| *until > now);
        self.due = Some(now + EVERY);
        self.asked += 1;
        let (mut others, mut whys) = (Vec::new(), Vec::new());
        let candidates = self.candidates();
        for target in &candidates {
            match self.said(target, access) {
                Ok(said) if said.serves && said.epoch >= self.epoch => {
                    self.adopt(said);
                    return Ok(());
                }
                Ok(said) => others.push(said),
                Err(fault) => {
                    self.left_alone.push((target.clone(), Instant::now() + LEFT_ALONE));
                    whys.push((target.clone(), fault));
                }
            }
        }
        // Set up anew, when most know nothing newer than what is older than before.
        let is_anew = others.len() * 2 > candidates.len() && others.iter().any(|one| one.serves);
        let newest = others.into_iter().max_by_key(|said| (said.serves, said.epoch));
        match newest {
            Some(said) if is_anew || !self.is_known => self.adopt(said),
            _ if self.is_known => {}
            _ => return Err(nobody_says(whys)),
        }
        Ok(())
    }

    /// Whom to ask about the cluster, the next first.
    fn candidates(&self) -> Vec<Target> {
        let mut all = self.members.clone();
        if !all.is_empty() {
            let first = self.asked % all.len();
            all.rotate_left(first);
        }
        all.extend(self.seeds.iter().filter(|seed| !self.members.contains(seed)).cloned());
        let is_awake = |target: &Target| self.left_alone.iter().all(|(other, _)| other != target);
        let awake: Vec<Target> = all.iter().filter(|target| is_awake(target)).cloned().collect();
        if awake.is_empty() { all } else { awake }
    }

    /// What one node says.
    fn said(&mut self, target: &Target, access: Access<'_>) -> Result<Said, Fault> {
        let deadline = access.deadline.min(Instant::now() + PATIENCE);
        let (target, mut link) = self.take(target, access, deadline)?;
        let mut answer = |command: &[&[u8]]| match link.long_answer(command, MAP_BYTES, deadline) {
            Ok(answer) => Ok(answer),
            Err(Fault::Lost(why) | Fault::Untaken(why)) => Err(Fault::Unreachable(why)),
            Err(fault) => Err(fault),
        };
        let info = answer(&[b"CLUSTER", b"INFO"])?.map_err(Fault::Login)?;
        let map = match answer(&[b"CLUSTER", b"SHARDS"])? {
            Ok(shards) => Map::of_shards(&shards, &target),
            // It has it from 7.0 on.
            Err(_) => {
                let slots = answer(&[b"CLUSTER", b"SLOTS"])?.map_err(Fault::Login)?;
                Map::of_slots(&slots, &target)
            }
        };
        self.links.push((target, link));
        let (serves, epoch) = state(&info)
            .ok_or_else(|| Fault::Unreachable("this is no answer of a cluster".to_owned()))?;
        let map = map.ok_or_else(|| Fault::Unreachable("nobody has any slots there".to_owned()))?;
        Ok(Said { map, epoch, serves })
    }

    fn adopt(&mut self, said: Said) {
        (self.epoch, self.is_known) = (said.epoch, true);
        let shards = &said.map.shards;
        for shard in shards {
            let Some(master) = shard.master() else { continue };
            for (first, last) in &shard.slots {
                let slots = usize::from(*first)..=usize::from(*last);
                self.owners[slots].fill(Some(master.at.clone()));
            }
        }
        let members = || shards.iter().flat_map(|shard| &shard.members);
        let masters = members().filter(|member| member.is_master);
        let others = members().filter(|member| !member.is_master);
        self.members = masters.chain(others).map(|member| member.at.clone()).collect();
        let is_there =
            |target: &Target| self.members.contains(target) || self.seeds.contains(target);
        self.links.retain(|(target, _)| is_there(target));
    }

    /// Sends what is left, node by node: what is left then.
    fn round(
        &mut self,
        left: Vec<Left>,
        exchange: &Exchange<'_>,
        access: Access<'_>,
        patience: Duration,
        course: &mut Course,
        on_reply: &mut impl FnMut(usize, Reply<'_>),
    ) -> Vec<Left> {
        let (mut groups, mut later) = (BTreeMap::<String, (Target, Vec<Left>)>::new(), Vec::new());
        for one in left {
            let owner = &self.owners[usize::from(exchange.commands.slot(one.at))];
            match one.asking.as_ref().or(owner.as_ref()) {
                Some(target) => {
                    let group = groups.entry(target.to_string());
                    group.or_insert_with(|| (target.clone(), Vec::new())).1.push(one);
                }
                None => later.push(one),
            }
        }
        if !later.is_empty() {
            self.due = None;
            let why = "nobody has the slot of the channel".to_owned();
            course.missed = Some(Fault::Unreachable(why));
        }
        for (target, group) in groups.into_values() {
            let deadline = Instant::now() + patience.min(access.timeout);
            match self.take(&target, access, deadline) {
                Ok((target, link)) => {
                    let link = (target, link);
                    later.extend(self.sent(link, group, exchange, course, on_reply));
                }
                Err(fault) => {
                    self.due = None;
                    self.left_alone.push((target, Instant::now() + LEFT_ALONE));
                    course.missed = Some(fault);
                    later.extend(group.into_iter().map(|one| Left::again(one.at)));
                }
            }
        }
        later.sort_by_key(|one| one.at);
        later
    }

    /// Sends commands to one node: what of them is left.
    fn sent(
        &mut self,
        (target, mut link): (Target, Link),
        group: Vec<Left>,
        exchange: &Exchange<'_>,
        course: &mut Course,
        on_reply: &mut impl FnMut(usize, Reply<'_>),
    ) -> Vec<Left> {
        let mut bytes = Vec::new();
        // Which command each reply is to; none is of an ASKING.
        let mut replies = Vec::new();
        for (place, one) in group.iter().enumerate() {
            if one.asking.is_some() {
                resp::command(&mut bytes, &[b"ASKING"]);
                replies.push(None);
            }
            bytes.extend_from_slice(exchange.commands.one(one.at));
            replies.push(Some(place));
        }
        let (mut answered, mut later) = (vec![false; group.len()], Vec::new());
        let done = link.exchange(&bytes, replies.len(), |at, reply| {
            let Some(place) = replies[at] else { return };
            answered[place] = true;
            let at = group[place].at;
            match reply {
                Reply::Error(why) if is_not_done(why) => {
                    later.push(self.sent_on(at, why, &target));
                }
                reply => {
                    course.is_answered = true;
                    on_reply(at, reply);
                }
            }
        });
        let unanswered = group.into_iter().zip(answered).filter(|(_, answered)| !answered);
        let unanswered = unanswered.map(|(one, _)| Left::again(one.at));
        match done {
            Ok(()) => self.links.push((target, link)),
            Err(fault) => {
                self.due = None;
                match fault {
                    Fault::Lost(why) if !exchange.repeatable => course.lost = Some(why),
                    fault => {
                        course.missed = Some(fault);
                        later.extend(unanswered);
                    }
                }
            }
        }
        later
    }

    /// A command that was answered so by the node at `target`, and not done.
    fn sent_on(&mut self, at: usize, why: &str, target: &Target) -> Left {
        self.due = None;
        let mut asking = None;
        if let Some((slot, elsewhere)) = of_redirection(why, target) {
            match why.starts_with("ASK ") {
                true => asking = Some(elsewhere),
                false => self.owners[usize::from(slot)] = Some(elsewhere),
            }
        }
        Left { at, asking, refused: Some(why.to_owned()) }
    }

    /// The kept link to a node if it is alive, or else a new one.
    fn take(
        &mut self,
        target: &Target,
        access: Access<'_>,
        deadline: Instant,
    ) -> Result<(Target, Link), Fault> {
        if let Some(at) = self.links.iter().position(|(other, _)| other == target) {
            let (target, mut link) = self.links.swap_remove(at);
            if link.is_alive_by(deadline) {
                return Ok((target, link));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let link = Link::dial(target, access.settings, access.tls, left)?;
        Ok((target.clone(), link.with_timeout(access.timeout)))
    }
}

impl Left {
    /// It is to be sent to who has its slot.
    fn again(at: usize) -> Left {
        Left { at, asking: None, refused: None }
    }

    /// It was answered with another place.
    fn is_sent_on(&self) -> bool {
        let refused = self.refused.as_deref().unwrap_or_default();
        refused.starts_with("MOVED ") || refused.starts_with("ASK ")
    }
}

impl Course {
    /// What the exchange comes to, when this is not done.
    fn end(self, left: Vec<Left>, mut on_reply: impl FnMut(usize, Reply<'_>)) -> Result<(), Fault> {
        let mut is_missed = false;
        for one in left {
            match one.refused {
                Some(why) => on_reply(one.at, Reply::Error(&why)),
                None => is_missed = true,
            }
        }
        match (self.lost, self.missed) {
            (Some(why), _) => Err(Fault::Lost(why)),
            (None, Some(fault)) if is_missed => Err(match fault {
                Fault::Unreachable(why) | Fault::Login(why) | Fault::Untaken(why)
                    if self.is_answered =>
                {
                    Fault::Lost(why)
                }
                fault => fault,
            }),
            _ => Ok(()),
        }
    }
}

/// What a node says of itself, and not of the slots.
fn state(answer: &[u8]) -> Option<(bool, u64)> {
    let tree = Tree::parse(answer)?;
    let text = tree.text()?;
    // From Redis 6 on it says what kind of text that is.
    of_info(text.strip_prefix(b"txt:").unwrap_or(text))
}

/// Whether a node that answers so has not done what it was told.
fn is_not_done(why: &str) -> bool {
    let word = why.split(' ').next().unwrap_or_default();
    matches!(word, "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "LOADING" | "MASTERDOWN")
}

/// Why it is not known who has which slots.
fn nobody_says(whys: Vec<(Target, Fault)>) -> Fault {
    let is_final = whys.iter().all(|(_, fault)| matches!(fault, Fault::Login(_)));
    let whys = whys.into_iter().map(|(target, fault)| match fault {
        Fault::Unreachable(why) | Fault::Login(why) | Fault::Untaken(why) | Fault::Lost(why) => {
            format!("{target}: {why}")
        }
    });
    let why = whys.collect::<Vec<_>>().join("; ");
    if is_final { Fault::Login(why) } else { Fault::Unreachable(why) }
}
