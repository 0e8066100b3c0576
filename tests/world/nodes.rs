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
    let node = |redis, target| Node { redis, target, link: None, news: None };
    if let RedisAddress::Cluster(cluster) = &all[0].address {
        let count = cluster.seeds.len() as u16;
        let seeds = (1..count).zip(&cluster.seeds[1..]);
        let of = |(number, seed): (u16, &Target)| {
            node(FakeRedis::of_cluster(number, count), seed.clone())
        };
        return seeds.map(of).collect();
    }
    let besides = |redis: &RedisSettings| {
        let (RedisAddress::Fixed(target) | RedisAddress::Replica(target)) = redis.address.clone()
        else {
            panic!("no sentinels are in this world");
        };
        let is_replica = matches!(redis.address, RedisAddress::Replica(_));
        let role = if is_replica { "replica" } else { "master" };
        node(FakeRedis::with(|redis| redis.role = role), target)
    };
    all[1..].iter().map(besides).collect()
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
        self.node(number).reach = Reach::Refuses;
        self.cut_node(number);
    }

    /// The link of that one breaks; it may be dialed again.
    pub fn cut_node(&mut self, number: usize) {
        if number == 0 {
            return self.cut_redis();
        }
        let node = &mut self.nodes[number - 1];
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
                    let Some((mut bytes, breaks)) = self.nodes[at].redis.speak() else { continue };
                    if !bytes.is_empty() {
                        self.handle_bytes(link, &mut bytes[..]);
                    }
                    let node = &mut self.nodes[at];
                    node.redis.take_arrived();
                    if breaks && node.link == Some(link) {
                        node.redis.disconnected();
                        node.news = Some(News::HungUp(Cause::Ended));
                    }
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
