//! What conns of `wsloop.1` are told of positions: live, when they come back, and after an outage.

use super::*;

const CHANNEL: &str = "broadcast:chat/42";
const MOST: usize = 20;

/// A history of twenty messages, with both brokers.
fn worlds() -> [World; 2] {
    with_history("chat/*=20/60")
}

/// Somebody publishes messages that are kept.
fn keep(world: &mut World, texts: &[&str]) {
    for text in texts {
        super::keep(world, CHANNEL, text, MOST);
    }
}

/// A page that hears the channel, and the position it has.
struct Page {
    id: BrowserId,
    position: String,
    /// What it has heard, gaps as `gap`, stored ones after `stored`.
    heard: Vec<String>,
}

impl Page {
    fn open(world: &mut World) -> Page {
        let id = super::open(world, &[]);
        let mut page = Page { id, position: String::new(), heard: Vec::new() };
        page.subscribe(world, "");
        page
    }

    /// Comes back on another socket.
    fn reopen(&mut self, world: &mut World) {
        self.id = super::open(world, &[]);
        let since = format!(" broadcast {}", self.position);
        self.subscribe(world, &since);
    }

    fn subscribe(&mut self, world: &mut World, since: &str) {
        world.say(self.id, &format!("subscribe 1 broadcast chat/42{since}"));
        self.hear(world);
    }

    /// Takes what has arrived.
    fn hear(&mut self, world: &mut World) {
        for text in world.texts(self.id) {
            let (head, payload) = text.split_once('\n').unwrap_or((&text, ""));
            let words: Vec<&str> = head.split(' ').collect();
            match words[..] {
                ["ok", _] => {}
                [verb @ ("subscribed" | "message" | "gap"), "broadcast", "chat/42", position] => {
                    if position != "-" {
                        self.position = position.to_owned();
                    }
                    match verb {
                        "message" => self.heard.push(payload.to_owned()),
                        "gap" => self.heard.push(verb.to_owned()),
                        _ => {}
                    }
                }
                ["stored", "broadcast", "chat/42", "-"] => {
                    self.heard.push(format!("stored {payload}"));
                }
                _ => panic!("{text:?}"),
            }
        }
    }

    #[track_caller]
    fn has_heard(&mut self, world: &mut World, expected: &[&str]) {
        self.hear(world);
        assert_eq!(std::mem::take(&mut self.heard), expected, "with Redis: {}", is_redis(world));
    }
}

#[test]
fn whoever_comes_back_has_what_it_missed_and_then_what_is_live() {
    for mut world in worlds() {
        let (mut page, mut other) = (Page::open(&mut world), Page::open(&mut world));
        keep(&mut world, &["one", "two"]);
        page.has_heard(&mut world, &["one", "two"]);
        world.hang_up(page.id);
        keep(&mut world, &["three", "four"]);
        page.reopen(&mut world);
        keep(&mut world, &["five"]);
        page.has_heard(&mut world, &["three", "four", "five"]);
        page.reopen(&mut world);
        page.has_heard(&mut world, &[]);
        other.has_heard(&mut world, &["one", "two", "three", "four", "five"]);
        assert_eq!(page.position, other.position, "the history says the positions");
        assert_eq!(world.metrics().recovered_total, 2);
        assert_eq!(world.metrics().gaps_total, 0);
    }
}

#[test]
fn an_empty_channel_has_a_position_too() {
    for mut world in worlds() {
        let mut page = Page::open(&mut world);
        assert!(page.position.starts_with('@'), "{}", page.position);
        world.hang_up(page.id);
        keep(&mut world, &["one"]);
        page.reopen(&mut world);
        page.has_heard(&mut world, &["one"]);
        let mut other = Page::open(&mut world);
        other.position = "@17.dead".to_owned();
        other.reopen(&mut world);
        other.has_heard(&mut world, &["gap"]);
    }
}

/// Time passes, at the broker as well.
fn pass(world: &mut World, ms: u64) {
    world.redis.histories.ms += ms;
    world.pass(ms);
}

#[test]
fn a_time_is_good_for_the_seconds_of_the_rule_and_an_entry_while_it_is_there() {
    for mut world in worlds() {
        let mut page = Page::open(&mut world);
        world.hang_up(page.id);
        let time = page.position.clone();
        pass(&mut world, 59_000);
        page.reopen(&mut world);
        page.has_heard(&mut world, &[]);
        assert!(page.position.starts_with('@') && page.position != time, "{}", page.position);
        world.hang_up(page.id);
        let time = page.position.clone();
        pass(&mut world, 60_000);
        page.reopen(&mut world);
        page.has_heard(&mut world, &["gap"]);
        assert!(page.position.starts_with('@') && page.position != time, "{}", page.position);
        keep(&mut world, &["one"]);
        page.has_heard(&mut world, &["one"]);
        world.hang_up(page.id);
        pass(&mut world, 59_000);
        page.reopen(&mut world);
        page.has_heard(&mut world, &[]);
        // The history is forgotten, and what is stored is not.
        world.say(page.id, "publish 2 broadcast chat/42\nsaid");
        page.has_heard(&mut world, &["said"]);
        world.hang_up(page.id);
        pass(&mut world, 60_500);
        if is_redis(&world) {
            world.redis.histories.forget();
        }
        page.reopen(&mut world);
        page.has_heard(&mut world, &["gap", "stored said"]);
        assert!(page.position.starts_with('@'), "{}", page.position);
    }
}

#[test]
fn what_is_deleted_in_the_embedded_broker_is_a_gap_for_who_has_heard_nothing() {
    let expire = "PEXPIRE wsloop:history:{broadcast:chat/42} 500";
    for delete in ["DEL wsloop:history:{broadcast:chat/42}", "FLUSHDB", expire] {
        let [_, mut world] = worlds();
        let mut page = Page::open(&mut world);
        world.hang_up(page.id);
        pass(&mut world, 1_000);
        keep(&mut world, &["one"]);
        let client = world.connect_resp();
        assert!(!world.ask_for(client, delete).starts_with('-'));
        pass(&mut world, 1_000);
        page.reopen(&mut world);
        page.has_heard(&mut world, &["gap"]);
        // From there on it is as ever.
        world.hang_up(page.id);
        keep(&mut world, &["two"]);
        page.reopen(&mut world);
        page.has_heard(&mut world, &["two"]);
    }
}

#[test]
fn what_is_not_there_any_more_is_a_gap_for_who_needs_it_and_for_nobody_else() {
    for mut world in worlds() {
        let mut late = Page::open(&mut world);
        keep(&mut world, &["one"]);
        late.has_heard(&mut world, &["one"]);
        let mut page = Page::open(&mut world);
        world.hang_up(late.id);
        for _ in 0..MOST {
            keep(&mut world, &["more"]);
        }
        page.hear(&mut world);
        page.heard.clear();
        world.hang_up(page.id);
        keep(&mut world, &["last"]);
        // Both come at once.
        let (first, second) = (super::open(&mut world, &[]), super::open(&mut world, &[]));
        world.redis.held = true;
        for (page, id) in [(&mut late, first), (&mut page, second)] {
            page.id = id;
            let since = format!("subscribe 1 broadcast chat/42 broadcast {}", page.position);
            world.say(id, &since);
        }
        world.redis.held = false;
        world.run();
        late.has_heard(&mut world, &["gap"]);
        page.has_heard(&mut world, &["last"]);
        assert_eq!(late.position, page.position);
    }
}

#[test]
fn a_plain_publish_is_no_gap_and_a_message_of_a_page_is_kept() {
    let [mut world, _] = worlds();
    let (mut page, mut other) = (Page::open(&mut world), Page::open(&mut world));
    let third = super::open(&mut world, &[]);
    world.say(third, "subscribe 1 broadcast chat/42");
    world.texts(third);
    world.redis.publish(CHANNEL, "plain", 0, 0);
    world.run();
    assert_eq!(world.texts(third), ["message broadcast chat/42 -\nplain"]);
    keep(&mut world, &["one"]);
    world.say(page.id, "publish 2 broadcast chat/42\nsaid");
    world.redis.publish(CHANNEL, "plain too", 0, 0);
    world.run();
    page.has_heard(&mut world, &["plain", "one", "said", "plain too"]);
    other.has_heard(&mut world, &["plain", "one", "said", "plain too"]);
    page.reopen(&mut world);
    page.has_heard(&mut world, &[]);
    assert_eq!(world.redis.history(CHANNEL), ["one", "said"]);
}

#[test]
fn an_outage_is_mended_from_the_history_or_said_to_be_a_gap() {
    let [mut world, _] = worlds();
    let mut page = Page::open(&mut world);
    keep(&mut world, &["one"]);
    world.kill_redis();
    world.redis.publish_kept(CHANNEL, "two", MOST);
    world.revive_redis();
    keep(&mut world, &["three"]);
    page.has_heard(&mut world, &["one", "two", "three"]);
    assert_eq!(world.metrics().gaps_total, 0);
    world.kill_redis();
    world.redis.histories.forget();
    world.redis.publish_kept(CHANNEL, "four", MOST);
    world.revive_redis();
    keep(&mut world, &["five"]);
    page.has_heard(&mut world, &["gap", "five"]);
    assert_eq!(world.metrics().gaps_total, 1);
    page.reopen(&mut world);
    page.has_heard(&mut world, &[]);
}

#[test]
fn whose_position_is_still_there_has_no_gap_where_others_have_one() {
    let [mut world, _] = worlds();
    let mut early = Page::open(&mut world);
    keep(&mut world, &["one"]);
    // Somebody records and does not publish: nothing makes the server look.
    for _ in 0..MOST + 1 {
        world.redis.histories.keep(CHANNEL.as_bytes(), b"unsaid", MOST);
    }
    let (mut late, mut later) = (Page::open(&mut world), Page::open(&mut world));
    world.redis.histories.keep(CHANNEL.as_bytes(), b"unsaid too", MOST);
    later.reopen(&mut world);
    early.has_heard(&mut world, &["one"]);
    later.has_heard(&mut world, &["unsaid too"]);
    world.kill_redis();
    world.redis.publish_kept(CHANNEL, "two", MOST);
    world.revive_redis();
    keep(&mut world, &["three"]);
    early.has_heard(&mut world, &["gap", "three"]);
    late.has_heard(&mut world, &["unsaid too", "two", "three"]);
    later.has_heard(&mut world, &["two", "three"]);
    assert_eq!((&early.position, &late.position), (&later.position, &later.position));
    assert_eq!(world.metrics().gaps_total, 1);
}

#[test]
fn a_time_of_a_life_that_redis_has_forgotten_is_a_gap_where_the_line_goes_on() {
    let [mut world, _] = worlds();
    let early = Page::open(&mut world);
    keep(&mut world, &["one"]);
    world.redis.histories.save();
    world.kill_redis();
    world.redis.histories.forget();
    // The channel is heard on, but by nobody who has heard the entry.
    let mut late = Page::open(&mut world);
    world.vanish(early.id);
    world.revive_redis();
    late.has_heard(&mut world, &[]);
    assert!(late.position.starts_with('@'), "{}", late.position);
    world.kill_redis();
    world.redis.publish_kept(CHANNEL, "two", MOST);
    world.redis.histories.load();
    world.redis.publish_kept(CHANNEL, "three", MOST);
    world.revive_redis();
    keep(&mut world, &["four"]);
    late.has_heard(&mut world, &["gap", "four"]);
    assert_eq!(world.metrics().gaps_total, 1);
}

#[test]
fn without_a_history_being_away_is_a_gap() {
    for mut world in worlds() {
        let id = super::open(&mut world, &[]);
        world.say(id, "subscribe 1 broadcast news");
        assert_eq!(world.texts(id), ["subscribed broadcast news -", "ok 1"]);
        world.say(id, "unsubscribe 2 broadcast news");
        world.say(id, "publish 3 broadcast news\nold");
        assert_eq!(world.texts(id), ["ok 2", "ok 3"]);
        world.say(id, "subscribe 4 broadcast news broadcast -");
        let stored = "stored broadcast news -\nold";
        let told = ["subscribed broadcast news -", "gap broadcast news -", stored, "ok 4"];
        assert_eq!(world.texts(id), told);
        if is_redis(&world) {
            world.cut_redis();
            world.pass(6_000);
            assert_eq!(world.texts(id), ["gap broadcast news -", stored]);
        }
    }
}

#[test]
fn plain_conns_hear_the_same_channel_as_always() {
    for mut world in worlds() {
        let plain = world.open("/ws/chat/42?subscribe-broadcast");
        let mut page = Page::open(&mut world);
        keep(&mut world, &["one"]);
        assert_eq!(world.texts(plain), ["one"]);
        page.has_heard(&mut world, &["one"]);
        world.hang_up(plain);
        keep(&mut world, &["two"]);
        page.has_heard(&mut world, &["two"]);
        let plain = world.open("/ws/chat/42?subscribe-broadcast");
        world.hang_up(page.id);
        keep(&mut world, &["three"]);
        assert_eq!(world.texts(plain).last().map(String::as_str), Some("three"));
    }
}

#[test]
fn a_history_that_may_not_be_read_is_refused_and_so_is_a_channel() {
    let [mut world, _] = worlds();
    let id = super::open(&mut world, &[]);
    world.redis.deny("EVAL", "wsloop:history:{broadcast:chat/42}".to_owned());
    assert_eq!(refusal(&mut world, id, "subscribe 1 broadcast chat/42"), 503);
    world.redis.allow_all();
    world.redis.deny("SUBSCRIBE", "broadcast:secret".to_owned());
    assert_eq!(refusal(&mut world, id, "subscribe 2 broadcast secret"), 503);
    assert_eq!(answer(&mut world, id, "subscribe 3 broadcast chat/42"), "ok 3");
}

#[test]
fn a_crowd_that_comes_back_asks_once() {
    let [mut world, _] = worlds();
    let mut pages: Vec<Page> = (0..200).map(|_| Page::open(&mut world)).collect();
    keep(&mut world, &["one"]);
    pages.iter_mut().for_each(|page| page.hear(&mut world));
    pages.iter().for_each(|page| world.hang_up(page.id));
    keep(&mut world, &["two"]);
    for page in &mut pages {
        page.id = super::open(&mut world, &[]);
        page.heard.clear();
    }
    world.redis.take_commands();
    world.redis.paused = true;
    for page in &mut pages {
        let since = format!(" broadcast {}", page.position);
        page.subscribe(&mut world, &since);
    }
    world.redis.paused = false;
    world.run();
    pages.iter_mut().for_each(|page| page.has_heard(&mut world, &["two"]));
    let asked = world.redis.take_commands().iter().filter(|line| line.starts_with("EVAL")).count();
    assert!(asked <= 3, "200 are answered by {asked} looks");
}

#[test]
fn a_crowd_of_channels_is_asked_about_a_window_at_a_time() {
    const CHANNELS: usize = 100;
    let rules = vec![HistoryRule::parse("chat/*=20/60").expect("a rule")];
    let history = HistoryRules { prefix: String::new(), rules };
    let mut world = World::new(Settings { history, max_commands: CHANNELS, ..with_redis() });
    let subscribe = |world: &mut World, since: &str| {
        let id = super::open(world, &[]);
        for n in 1..=CHANNELS {
            world.say(id, &format!("subscribe {n} broadcast chat/{n}{since}"));
        }
        id
    };
    // The channels are heard already: what is left is to look.
    subscribe(&mut world, "");
    world.redis.take_commands();
    world.redis.held = true;
    let id = subscribe(&mut world, " broadcast @1.dead");
    let asked = world.redis.take_commands().iter().filter(|line| line.starts_with("EVAL")).count();
    assert!((1..=64).contains(&asked), "{asked} are under way");
    world.redis.held = false;
    world.run();
    let texts = world.texts(id);
    assert_eq!(texts.iter().filter(|text| text.starts_with("ok ")).count(), CHANNELS);
}
