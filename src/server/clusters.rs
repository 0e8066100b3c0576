//! L2: what follows here when the nodes of a cluster say that it is otherwise than before: more
//! nodes, links that are left, channels that are heard, read and written elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Server;
use super::brokering::{Loss, answered};
use crate::broker::spread::Spread;
use crate::broker::{Ask, Lost, Status, Turned};

impl Server {
    /// Lets time pass for the cluster.
    pub(super) fn tick_cluster(&mut self) {
        let now_ms = self.cx.now.mono_ms;
        if self.cluster_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        self.end_overlaps();
        self.relay.end_reheard(now_ms);
        let Some(nodes) = self.broker.cluster() else { return };
        nodes.tick_cluster(now_ms);
        let turned = nodes.retry(now_ms);
        self.broker.pass_echoes(now_ms);
        self.on_turned(turned);
    }

    /// When [`Server::tick_cluster`] has something to do.
    pub(super) fn cluster_ms(&self) -> Option<u64> {
        let leave_ms = self.relay.overlaps.leave_ms().unwrap_or(u64::MAX);
        let goes_on = !self.ending.has_begun() || !self.broker.is_settled();
        let at_ms = self.broker.cluster_ms().filter(|_| goes_on);
        at_ms.map(|at_ms| at_ms.min(leave_ms))
    }

    /// Acts on what a node has said of the cluster, and on what it has said belongs elsewhere.
    pub(super) fn on_cluster_news(&mut self, node: usize) {
        let now_ms = self.cx.now.mono_ms;
        let Some(nodes) = self.broker.cluster() else { return };
        let turned = nodes.take_news(node, now_ms);
        self.on_turned(turned);
    }

    fn on_turned(&mut self, turned: Turned) {
        if turned.is_spread {
            self.respread();
        }
        let mut left = turned.left;
        if turned.is_followed
            && let Some(nodes) = self.broker.cluster()
        {
            left.extend(nodes.leave_idle(self.cx.now.mono_ms));
        }
        for node in left {
            if !self.overlaps(node) {
                self.leave_moved(node);
            }
        }
        for ask in turned.given_up {
            self.on_given_up(ask);
        }
        let spread = self.broker.spread();
        for name in turned.hear {
            if !self.is_confirmed(&name) && self.broker.can_hear(&name) {
                self.hear_at(spread.hears(&name), vec![name]);
            }
        }
        self.bring_on();
    }

    /// Publishes what waited while slots moved, behind what is to be heard of it.
    fn bring_on(&mut self) {
        let Some(nodes) = self.broker.cluster() else { return };
        for conn in nodes.bring_on(self.cx.now.mono_ms) {
            self.on_conn(conn, |conn, _| conn.settled());
        }
    }

    /// Leaves the link of a node that is elsewhere.
    pub(super) fn leave_moved(&mut self, node: usize) {
        if self.broker.status_at(node) == Status::Up {
            self.cx.metrics.broker_found_total += 1;
            let name = self.said.name_of(node);
            tracing::info!(
                "{name} is left: the cluster has its slots elsewhere, or says that it failed"
            );
        }
        self.on_broker_lost(node, Loss::Moved);
    }

    /// A node has ceased to have the messages of a channel. Where it is to be heard from now on is
    /// asked for; whoever comes meanwhile waits until it is.
    pub(super) fn on_unheard(&mut self, node: usize, name: Arc<str>) {
        if self.broker.spread().hears(&name) != node {
            return;
        }
        self.relay.unconfirm(&name);
        self.topics.unconfirm(&name);
        if self.control.as_ref() == Some(&name) {
            self.nodes.lost_control(node, &mut self.cx.metrics);
        }
        let now_ms = self.cx.now.mono_ms;
        if self.nodes.may_repeat {
            self.relay.overlaps.slots.unheard(&name, node, now_ms);
        }
        self.broker.cluster().into_iter().for_each(|nodes| {
            nodes.on_unheard(node, name.clone(), now_ms);
        });
    }

    /// Whether the broker has said that a channel is heard, as far as anybody hears it.
    pub(super) fn is_confirmed(&self, name: &Arc<str>) -> bool {
        let is_heard = self.control.as_ref() != Some(name)
            || self.nodes.hears_control(self.broker.spread().hears(name));
        is_heard && self.relay.is_confirmed(name) && self.topics.is_confirmed(name)
    }

    /// The link of a node is lost: what it has not done is done elsewhere, what is heard there is
    /// heard at another, and others are asked where everybody is.
    pub(super) fn after_loss(&mut self, node: usize, mut lost: Lost, loss: &Loss<'_>) {
        let now_ms = self.cx.now.mono_ms;
        let Some(nodes) = self.broker.cluster() else { return };
        let mut turned = nodes.take_lost(node, &mut lost, now_ms);
        // One that is elsewhere is dialed there, if that is known.
        if !matches!(loss, Loss::Moved) || nodes.are_nowhere() {
            nodes.look_elsewhere(node);
        }
        turned.is_spread = true;
        self.on_turned(turned);
    }

    /// An ask was tried at several nodes, and none could answer it.
    fn on_given_up(&mut self, ask: Ask) {
        if let Ask::Session(link) = ask {
            return self.on_conn(link, |conn, cx| conn.on_no_broker(link, true, cx));
        }
        let rooms = (&mut self.relay, &mut self.topics);
        // Whichever node it is: no answer says anything of one.
        let touched = answered(0, ask, Err(()), rooms, &mut self.table, &mut self.cx);
        let mut touched: Vec<_> = touched.into_iter().collect();
        touched.extend(self.relay.take_slow());
        touched.append(&mut self.topics.take_slow());
        touched.into_iter().for_each(|link| self.after(link));
    }

    /// Spreads channels as the cluster has its slots now, and hears those elsewhere that are to be.
    pub(super) fn respread(&mut self) {
        let names = self.heard_names();
        let before = self.broker.spread();
        let Some(nodes) = self.broker.cluster() else { return };
        let (elsewhere, behind) = nodes.respread(names.iter(), self.cx.now.mono_ms);
        for node in 0..self.broker.nodes() {
            let place = self.broker.cluster().map(|nodes| nodes.place_of(node));
            self.said.name(node, &place.unwrap_or_default());
        }
        self.on_spread();
        if let Some(control) = &self.control {
            self.nodes.control_is_at(self.broker.spread().hears(control), &mut self.cx.metrics);
        }
        self.hear_behind(behind);
        self.note_moved(&before, &names);
        self.cx.metrics.broker_up = u64::from(self.broker.status() == Status::Up);
        for (node, mut names) in elsewhere {
            names.retain(|name| !self.relay.overlaps.is_passed_on(name, node));
            self.rehear(&names);
            self.hear_at(node, names);
        }
    }

    /// Notes which of these channels are heard elsewhere. Counts and says which slots have others
    /// than before; at first nobody is known who has any.
    fn note_moved(&mut self, before: &Spread, names: &[Arc<str>]) {
        let now = self.broker.spread();
        for name in names {
            let former = before.hears(name);
            if former != now.hears(name) && self.broker.status_at(former) == Status::Up {
                self.relay.note_moved(name);
            }
        }
        let (Some(old), Some(new)) = (before.owners(), now.owners()) else { return };
        if before.nodes() == 1 || old == new {
            return;
        }
        let mut moved = BTreeMap::new();
        for pair in old.iter().copied().zip(new.iter().copied()).filter(|(old, new)| old != new) {
            *moved.entry(pair).or_default() += 1;
        }
        self.cx.metrics.broker_found_total += 1;
        self.said.moved(&moved, self.cx.now.mono_ms);
    }

    /// All that is heard, what is our own included.
    pub(super) fn heard_names(&self) -> Vec<Arc<str>> {
        self.control.iter().cloned().chain(self.heard_by_conns()).collect()
    }

    /// All that conns hear, each once.
    pub(super) fn heard_by_conns(&self) -> Vec<Arc<str>> {
        let more = self.topics.names().filter(|name| !self.relay.hears(name));
        self.relay.names().chain(more).collect()
    }

    /// These channels are to be heard at a node that is up, as if it had come up for them.
    pub(super) fn hear_at(&mut self, node: usize, all: Vec<Arc<str>>) {
        let mut names = self.topics.catch_up_with(&all);
        names.retain(|name| !self.relay.hears(name));
        names.extend(self.relay.catch_up_some(node, &all, &mut self.table));
        names.extend(self.control.iter().filter(|name| all.contains(name)).cloned());
        self.broker.subscribe_at(node, names, self.cx.now.mono_ms);
        self.ask_for_stored();
    }
}
