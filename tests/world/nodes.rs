//! The Redis besides the first, where channels are spread over several.

use wsloop::{BrokerKind, RedisAddress, RedisSettings, Settings, Target};

use super::contract::{Cause, Input, LinkId};
use super::redis::{FakeRedis, Reach};
use super::{EXPIRE_S, News, Party, World};

/// One of them.
pub(super) struct Node {
    pub(super) redis: FakeRedis,
    target: Target,
    link: Option<LinkId>,
    news: Option<News>,
}

/// What the settings have besides the first.
pub(super) fn besides_the_first(settings: &Settings) -> Vec<Node> {
    let BrokerKind::Redis(all) = &settings.broker.kind else { return Vec::new() };
    let target = |redis: &RedisSettings| match redis.address.clone() {
        RedisAddress::Fixed(target) | RedisAddress::Replica(target) => target,
        _ => panic!("no sentinels are in this world"),
    };
    let targets = match &all[0].address {
        RedisAddress::Cluster(cluster) => cluster.seeds[1..].to_vec(),
        _ => all[1..].iter().map(target).collect(),
    };
    let count = targets.len() as u16 + 1;
    let is_pair = matches!(all.get(1).map(|one| &one.address), Some(RedisAddress::Replica(_)));
    let redis = |number| match all[0].address {
        RedisAddress::Cluster(_) => FakeRedis::of_cluster(number, count),
        _ if is_pair => FakeRedis::with(|redis| redis.role = "replica"),
        _ => FakeRedis::new(),
    };
    let node = |(number, target)| Node { redis: redis(number), target, link: None, news: None };
    (1..).zip(targets).map(node).collect()
}

impl Node {
    pub(super) fn has_to_speak(&self) -> bool {
        self.news.is_some() || self.redis.has_to_speak()
    }
}

impl World {
    /// The Redis of that number.
    pub fn node(&mut self, number: usize) -> &mut FakeRedis {
        match number {
            0 => &mut self.redis,
            _ => &mut self.nodes[number - 1].redis,
        }
    }

    /// How many there are.
    pub fn nodes(&self) -> usize {
        1 + self.nodes.len()
    }

    /// What was published at one node of a cluster reaches the others.
    pub(super) fn run_bus(&mut self) {
        for from in 0..self.nodes() {
            for (channel, payload) in std::mem::take(&mut self.node(from).bus) {
                for to in (0..self.nodes()).filter(|to| *to != from) {
                    self.node(to).hear(&channel, &payload);
                }
            }
        }
    }

    /// Somebody else publishes and stores a message there.
    pub fn publish_at(&mut self, number: usize, channel: &str, payload: impl AsRef<[u8]>) {
        let now_ms = self.now_ms;
        self.node(number).publish(channel, payload, EXPIRE_S, now_ms);
        self.run();
    }

    /// The second repeats what the first has published since, and has what is stored there.
    pub fn replicate(&mut self) {
        self.nodes[0].redis.repeat(&mut self.redis);
        self.run();
    }

    /// That one dies.
    pub fn kill_node(&mut self, number: usize) {
        if number == 0 {
            return self.kill_redis();
        }
        let node = &mut self.nodes[number - 1];
        node.redis.reach = Reach::Refuses;
        if node.link.is_some() {
            node.redis.disconnected();
            node.news = Some(News::HungUp(Cause::Failed("Connection reset by peer".to_string())));
        }
        self.run();
    }

    /// It is there again, and enough time passes for it to be dialed.
    pub fn revive_node(&mut self, number: usize) {
        self.node(number).reach = Reach::Answers;
        self.pass(5_000);
    }

    /// Which of them a dial is for, if it is for one.
    pub(super) fn node_at(&self, target: &Target) -> Option<usize> {
        self.nodes.iter().position(|node| node.target == *target)
    }

    pub(super) fn dial_node(&mut self, at: usize, link: LinkId) {
        self.insert(link, Party::Node(at));
        let node = &mut self.nodes[at];
        node.redis.disconnected();
        node.link = Some(link);
        node.news = match node.redis.reach {
            Reach::Answers => Some(News::Connected),
            Reach::Refuses => Some(News::HungUp(Cause::Failed("Connection refused".to_string()))),
            Reach::Silent => None,
        };
    }

    pub(super) fn hear_nodes(&mut self) {
        for at in 0..self.nodes.len() {
            let Some(link) = self.nodes[at].link else { continue };
            match self.nodes[at].news.take() {
                Some(News::Connected) => {
                    self.nodes[at].redis.connected();
                    self.handle(Input::Connected { link });
                }
                Some(News::HungUp(cause)) => self.handle(Input::HungUp { link, cause }),
                None if !self.is_reading(link) => {}
                None => {
                    let Some((mut bytes, _)) = self.nodes[at].redis.speak() else { continue };
                    self.handle_bytes(link, &mut bytes[..]);
                    self.nodes[at].redis.take_arrived();
                }
            }
        }
    }

    /// The server has given up that link.
    pub(super) fn close_node(&mut self, at: usize, link: LinkId) {
        let node = &mut self.nodes[at];
        if node.link == Some(link) {
            node.redis.disconnected();
            (node.link, node.news) = (None, None);
        }
    }
}
