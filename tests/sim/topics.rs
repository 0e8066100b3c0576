//! Pages that speak `wsloop.1` or hear the same by a stream, in disorder drawn from seeds: they
//! subscribe, publish, read slowly, go and come back with the positions that they have, while
//! others publish and Redis is cut, stops, forgets what it had or the last of it; or with the
//! embedded broker.
//! Or there are several Redis, of which each does that by itself, and dies and comes back as well;
//! then others hear a channel by its URL, see `ears`.
//!
//! What is checked: of a channel with a history each page hears what was recorded from where it
//! stands, each once and in the order of the history, or is told of a gap, and of a gap only where
//! one is due; in the end it has all; what it was told is published is recorded once; and no
//! message without a position comes twice.

mod ears;
mod hearing;
mod lives;
mod log;

use std::collections::{BTreeMap, BTreeSet};

use wsloop::proto::topics::Vector;
use wsloop::{Allow, Cause, HistoryRule, HistoryRules, Settings};

use super::server::sim::Dice;
use super::server::world::{
    BrowserId, FakeRedis, Heard, Reach, RespClientId, World, request, settings, upgrade,
    with_redis, with_several,
};
use ears::Ear;
use log::{Id, Log};

/// The first two where there is one broker; of several Redis each has one of all.
const CHANNELS: [&str; 4] = ["kept/a", "kept/b", "kept/c", "kept/d"];
/// Most messages of a history, and the seconds for which it is kept.
const MOST: usize = 40;
const KEPT_MS: u64 = 60_000;

/// What a page knows of a channel.
#[derive(Debug, Default)]
struct Stand {
    subscribed: bool,
    /// As it was told.
    position: String,
    /// The place in the log behind which it stands, once that is known.
    next: Option<usize>,
    /// It has heard a message with a position.
    told: bool,
    /// What it has heard without a position.
    plain: BTreeSet<String>,
    /// Where it stood before a gap behind which a stored message is due: a stream that is cut off
    /// in between says that position, and is told of both again.
    before_gap: Vec<(String, Option<usize>)>,
}

#[derive(Debug)]
struct Page {
    browser: BrowserId,
    /// It hears by a stream, and says nothing.
    streams: bool,
    number: usize,
    heard: BTreeMap<&'static str, Stand>,
    /// What it publishes, by the numbers of its commands.
    said: BTreeMap<usize, String>,
    /// What it wants to hear and has no answer about, by the numbers of its commands.
    wished: BTreeMap<usize, &'static str>,
}

struct Game<'d, 's> {
    dice: &'d mut Dice<'s>,
    world: World,
    trace: bool,
    /// A RESP client that looks at the histories of the embedded broker.
    eye: Option<RespClientId>,
    channels: &'static [&'static str],
    /// The Redis that has each, in their order.
    nodes: Vec<usize>,
    pages: Vec<Page>,
    ears: Vec<Ear>,
    /// What pages have published, or tried to.
    said_by_pages: BTreeSet<String>,
    /// All that was ever recorded, by channel.
    logs: BTreeMap<&'static str, Log>,
    accepted: BTreeSet<String>,
    texts: usize,
}

/// Plays the script of a seed, with one broker.
pub fn play(dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let is_redis = dice.below(3) > 0;
    play_with(dice, steps, trace, usize::from(is_redis));
}

/// The same with two or three Redis, whose links come and go apart.
pub fn play_several(dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let redis = 2 + dice.below(2);
    play_with(dice, steps, trace, redis);
}

/// The same with so many Redis; 0 for the embedded broker.
fn play_with(dice: &mut Dice<'_>, steps: usize, trace: bool, redis: usize) {
    let rules = vec![HistoryRule::parse("kept/*=40/60").expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    let allow = Allow::parse("all").expect("all");
    let outbox_limit = dice.pick(&[2_000, 1 << 20]);
    // Of what one answer may have there are a few messages, or all of them.
    let max_message_size = dice.pick(&[400, 1 << 20]);
    let base = match redis {
        0 => settings(),
        1 => with_redis(),
        _ => with_several(redis as u16),
    };
    let mut world = World::new(Settings { history, allow, outbox_limit, max_message_size, ..base });
    world.run();
    let eye = (redis == 0).then(|| world.connect_resp());
    let channels = &CHANNELS[..if redis > 1 { CHANNELS.len() } else { 2 }];
    let nodes = match redis {
        0 | 1 => vec![0; channels.len()],
        _ => channels.iter().map(|name| node_of(name, redis, &mut world)).collect(),
    };
    let mut game = Game {
        dice,
        world,
        trace,
        eye,
        channels,
        nodes,
        pages: Vec::new(),
        ears: Vec::new(),
        said_by_pages: BTreeSet::new(),
        logs: channels.iter().map(|name| (*name, Log::default())).collect(),
        accepted: BTreeSet::new(),
        texts: 0,
    };
    for node in 0..redis.max(1) {
        let redis = game.world.node(node);
        redis.push_first = game.dice.below(2) == 0;
        redis.histories.expire_ms = Some(KEPT_MS);
    }
    game.world.flushes = game.dice.pick(&[usize::MAX, usize::MAX, 1, 3]);
    for _ in 0..steps {
        game.step();
        game.look();
    }
    game.end();
}

/// The one of so many Redis that has a channel: where it is heard.
fn node_of(name: &str, redis: usize, world: &mut World) -> usize {
    let browser = world.open(&format!("/ws/{name}?subscribe-broadcast"));
    let channel = format!("broadcast:{name}");
    let node = (0..redis).find(|node| world.node(*node).subscribed().contains(&channel));
    world.vanish(browser);
    node.expect("it is heard")
}

impl Game<'_, '_> {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.world.now_ms, what());
        }
    }

    fn step(&mut self) {
        let is_redis = self.eye.is_none();
        match self.dice.below(if self.redis() > 1 { 37 } else { 30 }) {
            0..3 => self.come(),
            3..6 => self.subscribe(),
            6..13 => _ = self.publish(true),
            13..15 if is_redis => _ = self.publish(false),
            15..19 => self.publish_from_page(),
            19 => self.leave(),
            20 => {
                if let Some(at) = self.any_page() {
                    let after = self.dice.below(300);
                    self.world.stall(self.pages[at].browser, after);
                }
            }
            21 | 22 => {
                if let Some(at) = self.any_page() {
                    self.world.resume(self.pages[at].browser);
                }
            }
            what @ (23..27 | 30..33) if is_redis => self.trouble(what),
            33..36 => self.come_by_url(),
            36.. => self.leave_by_url(),
            27 if is_redis && self.dice.once_in(6) => self.another_life(),
            28 if self.dice.once_in(8) => {
                (0..MOST + self.dice.below(5)).for_each(|_| _ = self.publish(true));
            }
            _ => {
                let most = if self.dice.once_in(10) { KEPT_MS } else { 6_000 };
                let ms = self.dice.pick(&[10, 300, 1_000, most]);
                self.say(|| format!("{ms} ms pass"));
                self.world.pass(ms);
            }
        }
    }

    /// How many Redis there are.
    fn redis(&self) -> usize {
        self.nodes.iter().max().map_or(1, |last| last + 1)
    }

    /// Something becomes of a Redis or of its link.
    fn trouble(&mut self, what: usize) {
        let node = if self.redis() > 1 { self.dice.below(self.redis()) } else { 0 };
        let (world, dice) = (&mut self.world, &mut *self.dice);
        let redis = world.node(node);
        match what {
            23 => redis.cut_after = Some(dice.below(600)),
            24 => redis.paused = dice.below(2) == 0,
            25 => redis.serve(1 + dice.below(3)),
            26 => redis.piece = 1 + dice.below(200),
            30 => world.kill_node(node),
            _ => redis.reach = Reach::Answers,
        }
        self.say(|| format!("trouble {what} of Redis {node}"));
    }

    fn any_page(&mut self) -> Option<usize> {
        (!self.pages.is_empty()).then(|| self.dice.below(self.pages.len()))
    }

    /// Somebody new comes, or somebody who has gone comes back and goes on from its positions.
    fn come(&mut self) {
        let gone = |page: &Page, world: &World| world.browsers[page.browser].ended;
        let back = self.pages.iter().position(|page| gone(page, &self.world));
        let streams = match back {
            Some(at) => self.pages[at].streams,
            None => self.dice.once_in(3),
        };
        if streams {
            return self.come_by_stream(back);
        }
        let head = upgrade("/ws/", &["Sec-WebSocket-Protocol: wsloop.1"]);
        let browser = self.world.ask(&head);
        let Some(at) = back else {
            self.say(|| format!("{} comes", self.pages.len()));
            let (heard, said, wished) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
            self.pages.push(Page { browser, streams, number: 0, heard, said, wished });
            return;
        };
        self.say(|| format!("{at} comes back"));
        let page = &mut self.pages[at];
        (page.browser, page.said, page.wished) = (browser, BTreeMap::new(), BTreeMap::new());
        let again: Vec<_> = page.heard.keys().copied().collect();
        again.into_iter().for_each(|name| self.wish(at, name));
    }

    /// The same for a page that names all channels in its URL, and gives the last id that it has.
    fn come_by_stream(&mut self, back: Option<usize>) {
        let last = back.map(|at| self.world.browsers[self.pages[at].browser].last_id.clone());
        let last = last.unwrap_or_default();
        let topics = self.channels.iter().map(|name| format!("topic=broadcast+{name}"));
        let topics = topics.collect::<Vec<_>>().join("&");
        let header = format!("Last-Event-ID: {last}");
        let headers = ["Host: example.com", "Accept: text/event-stream", &header];
        let headers = if last.is_empty() { &headers[..2] } else { &headers[..] };
        let browser = self.world.ask(&request("GET", &format!("/ws/?{topics}"), headers));
        if self.world.browsers[browser].last_id.is_empty() {
            self.world.browsers[browser].last_id = last.clone();
        }
        let at = back.unwrap_or(self.pages.len());
        self.say(|| format!("{at} comes by a stream behind {last:?}"));
        let channels = self.channels.iter().copied();
        let wished = (1..).zip(channels.clone()).collect();
        match back {
            Some(at) => {
                let page = &mut self.pages[at];
                (page.browser, page.wished) = (browser, wished);
                // Of what its id does not name it has heard nothing, not even what was stored.
                let stands = Vector::parse(&last).unwrap_or_default();
                let stands: Vec<_> = stands.iter().collect();
                let stand_of = |name: &str| {
                    let pair = format!("broadcast {name}");
                    stands.iter().find(|(known, _)| *known == pair).map(|(_, position)| *position)
                };
                for name in channels.filter(|name| stand_of(name).is_none()) {
                    let before = page.heard.insert(name, Stand::default());
                    let is_told = before.is_some_and(|stand| stand.told);
                    assert!(!is_told, "{at} stands nowhere on {name}: {last}");
                }
                for (name, stand) in &mut page.heard {
                    let mut before = std::mem::take(&mut stand.before_gap).into_iter();
                    let said = stand_of(name).unwrap_or_default();
                    if let Some(before) = before.find(|(position, _)| position == said) {
                        (stand.position, stand.next) = before;
                    }
                }
            }
            None => {
                let heard = channels.map(|name| (name, Stand::default())).collect();
                let (streams, said) = (true, BTreeMap::new());
                self.pages.push(Page { browser, streams, number: 0, heard, said, wished });
            }
        }
    }

    /// A page says that it wants to hear a channel, and from where on.
    fn wish(&mut self, at: usize, name: &'static str) {
        let page = &mut self.pages[at];
        if page.streams {
            // It comes again.
            return self.world.vanish(page.browser);
        }
        page.number += 1;
        page.wished.insert(page.number, name);
        let position = &page.heard[name].position;
        let since =
            if position.is_empty() { String::new() } else { format!(" broadcast {position}") };
        let command = format!("subscribe {} broadcast {name}{since}", page.number);
        self.world.say(page.browser, &command);
    }

    fn subscribe(&mut self) {
        let Some(at) = self.any_page() else { return };
        let name = self.dice.pick(self.channels);
        let page = &mut self.pages[at];
        if page.heard.contains_key(name) || self.world.browsers[page.browser].ended {
            return;
        }
        page.heard.insert(name, Stand::default());
        self.say(|| format!("{at} subscribes to {name}"));
        self.wish(at, name);
    }

    fn publish(&mut self, kept: bool) -> &'static str {
        let name = self.dice.pick(self.channels);
        let text = self.text();
        let channel = format!("broadcast:{name}");
        self.say(|| format!("{text} is published on {name}, kept: {kept}"));
        match self.eye {
            Some(eye) => self.world.tell(eye, format!("PUBLISH {channel} {text}\r\n")),
            None if kept => {
                let redis = self.redis_of(name);
                redis.publish_kept(&channel, &text, MOST);
                let ms = redis.histories.ms;
                self.note_recorded(name, text, (ms, 0));
            }
            None => self.redis_of(name).publish(&channel, &text, 0, 0),
        }
        if self.dice.below(2) == 0 {
            self.world.run();
        }
        name
    }

    fn publish_from_page(&mut self) {
        let Some(at) = self.any_page() else { return };
        let (name, text) = (self.dice.pick(self.channels), self.text());
        let page = &mut self.pages[at];
        if page.streams || self.world.browsers[page.browser].ended {
            return;
        }
        page.number += 1;
        let (browser, number) = (page.browser, page.number);
        page.said.insert(number, text.clone());
        self.said_by_pages.insert(text.clone());
        self.say(|| format!("{at} publishes {text} on {name}"));
        self.world.say(browser, &format!("publish {number} broadcast {name}\n{text}"));
    }

    fn leave(&mut self) {
        let Some(at) = self.any_page() else { return };
        let browser = self.pages[at].browser;
        if !self.world.browsers[browser].ended {
            self.say(|| format!("{at} is cut off"));
            self.world.vanish(browser);
        }
    }

    /// The Redis that has a channel.
    fn redis_of(&mut self, name: &str) -> &mut FakeRedis {
        let at = self.channels.iter().position(|known| *known == name).expect("a channel");
        self.world.node(self.nodes[at])
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        let digits = self.dice.pick(&[1, 1, 1, 100]);
        format!("m{:0digits$}", self.texts)
    }

    fn note_recorded(&mut self, name: &'static str, text: String, id: Id) {
        self.logs.get_mut(name).expect("a log").push(text, id);
    }

    /// Notes what has come into the histories.
    fn read_histories(&mut self) {
        for name in self.channels.iter().copied() {
            for (id, text) in self.history(name) {
                if !self.logs[name].contains(&text) {
                    self.note_recorded(name, text, id);
                }
            }
        }
    }

    /// What is in the history of a channel.
    fn history(&mut self, name: &str) -> Vec<(Id, String)> {
        let channel = format!("broadcast:{name}");
        let Some(eye) = self.eye else {
            let there = self.redis_of(name).timed_history(&channel);
            return there.into_iter().map(|(ms, text)| ((ms, 0), text)).collect();
        };
        self.world.run();
        self.world.take_received(eye);
        self.world.tell(eye, format!("XRANGE wsloop:history:{{{channel}}} - +\r\n"));
        self.world.run();
        let answer = String::from_utf8_lossy(&self.world.take_received(eye)).into_owned();
        let is_text = |line: &&str| !line.starts_with(['*', '$']);
        let lines: Vec<&str> = answer.split("\r\n").filter(is_text).collect();
        let (entries, _) = lines.as_chunks::<3>();
        entries.iter().map(|[at, _name, text]| (log::id(at), text.to_string())).collect()
    }

    /// Compares what every page hears with what it is to hear.
    fn look(&mut self) {
        self.world.run();
        self.read_histories();
        for node in 0..self.redis() {
            let own = |(_, at): &(_, &usize)| **at == node;
            let own = self.channels.iter().zip(&self.nodes).filter(own);
            let own: Vec<_> = own.map(|(name, _)| format!("broadcast:{name}")).collect();
            let heard = self.world.node(node).subscribed();
            assert!(heard.iter().all(|name| own.contains(name)), "{heard:?} of Redis {node}");
        }
        for at in 0..self.pages.len() {
            for heard in self.world.heard(self.pages[at].browser) {
                self.say(|| format!("{at} hears {heard:?}"));
                match heard {
                    Heard::Text(text) => self.look_at(at, &text),
                    Heard::Close(code, why) => assert_eq!(code, Some(1008), "{at}: {why}"),
                    other => panic!("{at} hears {other:?}"),
                }
            }
        }
        self.look_at_ears();
    }

    /// Everything is well again, and everybody comes back and reads.
    fn end(&mut self) {
        self.say(|| "the end".to_owned());
        for node in 0..self.redis() {
            let redis = self.world.node(node);
            (redis.paused, redis.cut_after, redis.reach) = (false, None, Reach::Answers);
        }
        self.world.flushes = usize::MAX;
        self.look();
        self.world.pass(10_000);
        for at in 0..self.pages.len() {
            self.world.resume(self.pages[at].browser);
            self.look();
        }
        for _ in 0..self.pages.len() {
            if self.pages.iter().any(|page| self.world.browsers[page.browser].ended) {
                self.come();
                self.look();
            }
        }
        let last = self.publish(true);
        self.world.pass(10_000);
        self.look();
        for (at, page) in self.pages.iter().enumerate() {
            for (name, heard) in &page.heard {
                let log = &self.logs[name];
                let has_all = log.goes_on(heard, log.len());
                assert!(heard.subscribed && has_all, "{at} lacks something of {name}: {heard:?}");
            }
            assert!(page.said.is_empty(), "{at} has no answer: {page:?}");
        }
        let recorded: BTreeSet<_> = self.logs.values().flat_map(Log::texts).cloned().collect();
        assert!(self.accepted.is_subset(&recorded), "something was not published");
        if let Some(eye) = self.eye {
            self.world.end_resp(eye, Cause::Ended);
        }
        self.end_ears(last);
        for at in 0..self.pages.len() {
            self.world.vanish(self.pages[at].browser);
        }
        self.world.pass(20_000);
        let metrics = self.world.metrics();
        assert_eq!((metrics.conns, metrics.channels, metrics.subscriptions), (0, 0, 0));
    }
}
