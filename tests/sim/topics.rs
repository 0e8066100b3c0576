//! Pages that speak `wsloop.1` or hear the same by a stream, in disorder drawn from seeds: they
//! subscribe, publish, read slowly, go and come back with the positions that they have, while
//! others publish and Redis is cut, stops, or forgets what it had; or with the embedded broker.
//!
//! What is checked: of a channel with a history each page hears what was recorded from where it
//! stands, each once and in the order of the history, or is told of a gap, and of a gap only where
//! one is due; in the end it has all; what it was told is published is recorded once; and no
//! message without a position comes twice.

use std::collections::{BTreeMap, BTreeSet};

use wsloop::{Allow, Cause, HistoryRule, HistoryRules, Settings};

use super::server::sim::Dice;
use super::server::world::{
    BrowserId, Heard, RespClientId, World, request, settings, upgrade, with_redis,
};

const CHANNELS: [&str; 2] = ["kept/a", "kept/b"];
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
    before_gap: Option<(String, Option<usize>)>,
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
    pages: Vec<Page>,
    /// All that was ever recorded, by channel.
    log: BTreeMap<&'static str, Vec<String>>,
    /// When the last was.
    recorded_ms: BTreeMap<&'static str, u64>,
    /// Where each position is in the log.
    places: BTreeMap<String, usize>,
    accepted: BTreeSet<String>,
    texts: usize,
    /// How much of each log was forgotten.
    forgotten: BTreeMap<&'static str, usize>,
}

/// Plays the script of a seed.
pub fn play(dice: &mut Dice<'_>, steps: usize, trace: bool) {
    let rules = vec![HistoryRule::parse("kept/*=40/60").expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    let allow = Allow::parse("all").expect("all");
    let is_redis = dice.below(3) > 0;
    let outbox_limit = dice.pick(&[2_000, 1 << 20]);
    let base = if is_redis { with_redis() } else { settings() };
    let mut world = World::new(Settings { history, allow, outbox_limit, ..base });
    world.run();
    let eye = (!is_redis).then(|| world.connect_resp());
    let mut game = Game {
        dice,
        world,
        trace,
        eye,
        pages: Vec::new(),
        log: BTreeMap::new(),
        recorded_ms: BTreeMap::new(),
        places: BTreeMap::new(),
        accepted: BTreeSet::new(),
        texts: 0,
        forgotten: BTreeMap::new(),
    };
    game.world.redis.push_first = game.dice.below(2) == 0;
    game.world.flushes = game.dice.pick(&[usize::MAX, usize::MAX, 1, 3]);
    for _ in 0..steps {
        game.step();
        game.look();
    }
    game.end();
}

impl Game<'_, '_> {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.world.now_ms, what());
        }
    }

    fn step(&mut self) {
        let is_redis = self.eye.is_none();
        match self.dice.below(30) {
            0..3 => self.come(),
            3..6 => self.subscribe(),
            6..13 => self.publish(true),
            13..15 if is_redis => self.publish(false),
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
            23 if is_redis => self.world.redis.cut_after = Some(self.dice.below(600)),
            24 if is_redis => self.world.redis.paused = self.dice.below(2) == 0,
            25 if is_redis => self.world.redis.serve(1 + self.dice.below(3)),
            26 if is_redis => self.world.redis.piece = 1 + self.dice.below(200),
            27 if is_redis && self.dice.once_in(6) => self.forget(),
            28 if self.dice.once_in(8) => {
                (0..MOST + self.dice.below(5)).for_each(|_| self.publish(true));
            }
            _ => {
                let ms = self.dice.pick(&[10, 300, 1_000, 6_000]);
                self.say(|| format!("{ms} ms pass"));
                self.world.pass(ms);
            }
        }
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
        let topics = CHANNELS.map(|name| format!("topic=broadcast+{name}")).join("&");
        let header = format!("Last-Event-ID: {last}");
        let headers = ["Host: example.com", "Accept: text/event-stream", &header];
        let headers = if last.is_empty() { &headers[..2] } else { &headers[..] };
        let browser = self.world.ask(&request("GET", &format!("/ws/?{topics}"), headers));
        if self.world.browsers[browser].last_id.is_empty() {
            self.world.browsers[browser].last_id = last.clone();
        }
        let at = back.unwrap_or(self.pages.len());
        self.say(|| format!("{at} comes by a stream behind {last:?}"));
        let wished = (1..).zip(CHANNELS).collect();
        match back {
            Some(at) => {
                let page = &mut self.pages[at];
                (page.browser, page.wished) = (browser, wished);
                // Of what its id does not name it has heard nothing, not even what was stored.
                let is_new = |name: &&str| !last.contains(&format!(" {name} "));
                for name in CHANNELS.into_iter().filter(is_new) {
                    let before = page.heard.insert(name, Stand::default());
                    let is_told = before.is_some_and(|stand| stand.told);
                    assert!(!is_told, "{at} stands nowhere on {name}: {last}");
                }
                for (name, stand) in &mut page.heard {
                    let Some((position, next)) = stand.before_gap.take() else { continue };
                    if format!("{last} ").contains(&format!(" {name} {position} ")) {
                        (stand.position, stand.next) = (position, next);
                    }
                }
            }
            None => {
                let heard = CHANNELS.map(|name| (name, Stand::default())).into();
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
        let name = self.dice.pick(&CHANNELS);
        let page = &mut self.pages[at];
        if page.heard.contains_key(name) || self.world.browsers[page.browser].ended {
            return;
        }
        page.heard.insert(name, Stand::default());
        self.say(|| format!("{at} subscribes to {name}"));
        self.wish(at, name);
    }

    fn publish(&mut self, kept: bool) {
        let name = self.dice.pick(&CHANNELS);
        let text = self.text();
        let channel = format!("broadcast:{name}");
        self.say(|| format!("{text} is published on {name}, kept: {kept}"));
        match self.eye {
            Some(eye) => self.world.tell(eye, format!("PUBLISH {channel} {text}\r\n")),
            None if kept => {
                self.world.redis.publish_kept(&channel, &text, MOST);
                self.note_recorded(name, text);
            }
            None => self.world.redis.publish(&channel, &text, 0, 0),
        }
        if self.dice.below(2) == 0 {
            self.world.run();
        }
    }

    fn publish_from_page(&mut self) {
        let Some(at) = self.any_page() else { return };
        let (name, text) = (self.dice.pick(&CHANNELS), self.text());
        let page = &mut self.pages[at];
        if page.streams || self.world.browsers[page.browser].ended {
            return;
        }
        page.number += 1;
        let (browser, number) = (page.browser, page.number);
        page.said.insert(number, text.clone());
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

    /// Redis comes back without what it had.
    fn forget(&mut self) {
        self.say(|| "Redis forgets".to_owned());
        self.world.cut_redis();
        self.read_histories();
        self.forgotten = CHANNELS.map(|name| (name, self.log[name].len())).into();
        self.world.redis.histories.forget();
    }

    fn text(&mut self) -> String {
        self.texts += 1;
        format!("m{}", self.texts)
    }

    fn note_recorded(&mut self, name: &'static str, text: String) {
        let now_ms = self.world.now_ms;
        let before_ms = self.recorded_ms.insert(name, now_ms);
        let log = self.log.entry(name).or_default();
        assert!(!log.contains(&text), "{text} is recorded twice");
        if before_ms.is_some_and(|before_ms| now_ms >= before_ms + KEPT_MS) {
            // All before it had expired.
            self.forgotten.insert(name, log.len());
        }
        log.push(text);
    }

    /// Notes what has come into the histories.
    fn read_histories(&mut self) {
        for name in CHANNELS {
            let channel = format!("broadcast:{name}");
            let there = match self.eye {
                None => self.world.redis.history(&channel),
                Some(eye) => {
                    self.world.run();
                    self.world.take_received(eye);
                    let ask = format!("XRANGE wsloop:history:{{{channel}}} - +\r\n");
                    self.world.tell(eye, ask);
                    self.world.run();
                    let answer = self.world.take_received(eye);
                    let answer = String::from_utf8_lossy(&answer).into_owned();
                    let is_text = |line: &&str| {
                        line.strip_prefix('m').is_some_and(|n| n.parse::<u32>().is_ok())
                    };
                    answer.split("\r\n").filter(is_text).map(str::to_owned).collect()
                }
            };
            let log = self.log.entry(name).or_default();
            let new: Vec<_> = there.into_iter().filter(|text| !log.contains(text)).collect();
            new.into_iter().for_each(|text| self.note_recorded(name, text));
        }
    }

    /// Compares what every page hears with what it is to hear.
    fn look(&mut self) {
        self.world.run();
        self.read_histories();
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
    }

    fn look_at(&mut self, at: usize, text: &str) {
        let (head, payload) = text.split_once('\n').unwrap_or((text, ""));
        let words: Vec<&str> = head.split(' ').collect();
        match words[..] {
            ["welcome", ..] | ["beat"] => {}
            ["stored", _, name, _] => {
                let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
                heard.before_gap = None;
            }
            ["ok", number] => {
                let number = number.parse().expect("a number");
                self.pages[at].wished.remove(&number);
                self.accepted.extend(self.pages[at].said.remove(&number));
            }
            ["refused", number, "503", ..] if self.has_wished(at, number) => {
                let wished = self.pages[at].wished.remove(&number.parse().expect("a number"));
                self.wish(at, wished.expect("it has wished for it"));
            }
            ["dropped", number] | ["refused", number, ..] => {
                let number = number.parse().expect("a number");
                assert!(self.pages[at].said.remove(&number).is_some(), "{at}: {head}");
            }
            [verb, "broadcast", name, position] => {
                let name = CHANNELS.into_iter().find(|known| *known == name).expect("a channel");
                match verb {
                    "subscribed" => self.on_subscribed(at, name, position),
                    "message" => self.on_message(at, name, position, payload),
                    "gap" => self.on_gap(at, name, position),
                    _ => panic!("{text:?}"),
                }
            }
            _ => panic!("{text:?}"),
        }
    }

    /// Whether that is the number of a wish to hear something.
    fn has_wished(&self, at: usize, number: &str) -> bool {
        self.pages[at].wished.contains_key(&number.parse().expect("a number"))
    }

    fn on_subscribed(&mut self, at: usize, name: &'static str, position: &str) {
        let place = self.places.get(&format!("{name} {position}")).copied();
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        if heard.position != position {
            // It is new, or nothing is missing.
            heard.next = heard.next.or(place);
        }
        heard.subscribed = true;
        heard.position = position.to_owned();
    }

    fn on_message(&mut self, at: usize, name: &'static str, position: &str, text: &str) {
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        let log = &self.log[name];
        let place = log.iter().position(|known| known == text);
        if position == "-" {
            assert!(heard.plain.insert(text.to_owned()), "{at} hears {text} twice");
            // It was trimmed before the history was looked at, and is heard in its order.
            let is_trimmed = |place: &usize| place + MOST < log.len();
            if let Some(place) = place.filter(is_trimmed).filter(|at| heard.next == Some(*at)) {
                heard.next = Some(place + 1);
            }
            return;
        }
        let place = place.unwrap_or_else(|| panic!("{text} is in no history"));
        assert!(
            heard.next.is_none_or(|next| next == place),
            "{at} hears {text}: {heard:?}, {log:?}"
        );
        (heard.next, heard.told, heard.before_gap) = (Some(place + 1), true, None);
        heard.position = position.to_owned();
        let known = self.places.insert(format!("{name} {position}"), place + 1);
        assert!(known.is_none_or(|known| known == place + 1), "{position} is of two messages");
    }

    fn on_gap(&mut self, at: usize, name: &'static str, position: &str) {
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        let log = self.log.get(name).map_or(0, Vec::len);
        let is_trimmed = heard.next.is_none_or(|next| log - next.min(log) >= MOST / 2);
        let recorded_ms = self.recorded_ms.get(name).copied().unwrap_or(0);
        let is_old = self.world.now_ms >= recorded_ms + KEPT_MS;
        let forgotten = self.forgotten.get(name).copied().unwrap_or(0);
        let is_due = is_trimmed || is_old || heard.next.is_some_and(|next| next <= forgotten);
        assert!(is_due, "{at} has a gap on {name}: {heard:?}");
        let next = self.places.get(&format!("{name} {position}")).copied();
        let position = std::mem::replace(&mut heard.position, position.to_owned());
        let before = (position, std::mem::replace(&mut heard.next, next));
        // Two gaps in a row are behind the same place.
        heard.before_gap.get_or_insert(before);
    }

    /// Everything is well again, and everybody comes back and reads.
    fn end(&mut self) {
        self.say(|| "the end".to_owned());
        (self.world.redis.paused, self.world.redis.cut_after) = (false, None);
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
        self.publish(true);
        self.world.pass(10_000);
        self.look();
        for (at, page) in self.pages.iter().enumerate() {
            for (name, heard) in &page.heard {
                let all = self.log.get(name).map_or(0, Vec::len);
                let has_all = heard.next.is_none_or(|next| next == all);
                assert!(heard.subscribed && has_all, "{at} lacks something of {name}: {heard:?}");
            }
            assert!(page.said.is_empty(), "{at} has no answer: {page:?}");
        }
        let recorded: BTreeSet<_> = self.log.values().flatten().cloned().collect();
        assert!(self.accepted.is_subset(&recorded), "something was not published");
        if let Some(eye) = self.eye {
            self.world.end_resp(eye, Cause::Ended);
        }
        for at in 0..self.pages.len() {
            self.world.vanish(self.pages[at].browser);
        }
        self.world.pass(20_000);
        let metrics = self.world.metrics();
        assert_eq!((metrics.conns, metrics.channels, metrics.subscriptions), (0, 0, 0));
    }
}
