//! What conns of `wsloop.1` are told of more than one answer of the broker may have: it comes a
//! page at a time.

use super::*;

const CHANNEL: &str = "broadcast:chat/42";
const MOST: usize = 200;
const LARGE: usize = 64 << 10;

/// A history of 200 messages, with both brokers.
fn worlds() -> [World; 2] {
    with_history("*=200/60")
}

/// Somebody publishes a message that is kept.
fn keep(world: &mut World, channel: &str, text: &str) {
    super::keep(world, channel, text, MOST);
}

/// Messages of these numbers are published, each of so many bytes.
fn keep_all(world: &mut World, numbers: std::ops::Range<usize>, bytes: usize) {
    numbers.for_each(|n| keep(world, CHANNEL, &numbered(n, bytes)));
}

fn numbered(n: usize, bytes: usize) -> String {
    format!("{n} {}", "x".repeat(bytes))
}

/// A page that hears the channel.
struct Page {
    id: BrowserId,
    position: String,
    /// The numbers of the messages that it has heard, and of what else there was the verb.
    heard: Vec<String>,
}

impl Page {
    fn open(world: &mut World) -> Page {
        let id = super::open(world, &[]);
        let mut page = Page { id, position: "-".to_owned(), heard: Vec::new() };
        world.say(id, "subscribe 1 broadcast chat/42");
        page.has_heard(world, &["subscribed", "ok"]);
        page
    }

    /// Comes back on another socket, and has not been answered yet.
    fn reopen(&mut self, world: &mut World) {
        world.hang_up(self.id);
        self.id = super::open(world, &[]);
        let since = format!(" broadcast {}", self.position);
        world.say(self.id, &format!("subscribe 1 broadcast chat/42{since}"));
    }

    fn hear(&mut self, world: &mut World) {
        for text in world.texts(self.id) {
            let (head, payload) = text.split_once('\n').unwrap_or((&text, ""));
            let words: Vec<&str> = head.split(' ').collect();
            if let [verb, "broadcast", _, position] = words[..] {
                if position != "-" {
                    self.position = position.to_owned();
                }
                if verb == "message" {
                    let number = payload.split(' ').next().unwrap_or_default();
                    self.heard.push(number.to_owned());
                    continue;
                }
            }
            self.heard.push(words[0].to_owned());
        }
    }

    #[track_caller]
    fn has_heard(&mut self, world: &mut World, expected: &[&str]) {
        self.hear(world);
        assert_eq!(std::mem::take(&mut self.heard), expected, "with Redis: {}", is_redis(world));
    }

    /// It has heard that it goes on, messages of these numbers, and that it hears.
    #[track_caller]
    fn has_resumed(&mut self, world: &mut World, numbers: std::ops::Range<usize>) {
        let numbers: Vec<String> = numbers.map(|n| n.to_string()).collect();
        let numbers = numbers.iter().map(String::as_str);
        let all: Vec<&str> = ["subscribed"].into_iter().chain(numbers).chain(["ok"]).collect();
        self.has_heard(world, &all);
    }
}

#[test]
fn five_mebibytes_that_were_missed_come_all_in_order_before_what_is_live() {
    for mut world in worlds() {
        let mut page = Page::open(&mut world);
        keep_all(&mut world, 0..1, 1);
        page.has_heard(&mut world, &["0"]);
        world.hang_up(page.id);
        keep_all(&mut world, 1..81, LARGE);
        world.redis.paused = true;
        page.reopen(&mut world);
        for n in 81..87 {
            world.redis.serve(usize::from(is_redis(&world)));
            keep_all(&mut world, n..n + 1, 1);
        }
        world.redis.paused = false;
        world.run();
        page.hear(&mut world);
        let ok = page.heard.iter().position(|heard| heard == "ok").expect("it is answered");
        page.heard.remove(ok);
        assert!(ok > 80, "an answer at {ok}");
        let all = ["subscribed".to_owned()].into_iter().chain((1..87).map(|n| n.to_string()));
        assert_eq!(page.heard, all.collect::<Vec<_>>());
        assert_eq!((world.metrics().gaps_total, world.metrics().resumed_total), (0, 1));
    }
}

#[test]
fn what_is_trimmed_between_two_pages_is_a_gap() {
    let [mut world, _] = worlds();
    let mut page = Page::open(&mut world);
    world.say(page.id, "publish 2 broadcast chat/42\n0 said");
    page.has_heard(&mut world, &["ok", "0"]);
    world.hang_up(page.id);
    keep_all(&mut world, 1..41, LARGE);
    world.redis.paused = true;
    page.reopen(&mut world);
    // SUBSCRIBE and the first page.
    world.redis.serve(2);
    world.run();
    page.hear(&mut world);
    assert_eq!((page.heard.len(), page.heard[15].as_str()), (16, "15"), "{:?}", page.heard);
    page.heard.clear();
    (0..MOST).for_each(|_| world.redis.histories.keep(CHANNEL.as_bytes(), b"trims", MOST));
    world.redis.paused = false;
    world.run();
    page.has_heard(&mut world, &["gap", "stored", "ok"]);
    keep_all(&mut world, 50..51, 1);
    page.has_heard(&mut world, &["50"]);
    page.reopen(&mut world);
    page.has_heard(&mut world, &["subscribed", "ok"]);
}

#[test]
fn a_conn_that_ends_or_leaves_between_two_pages_is_forgotten() {
    for ends in [true, false] {
        let [mut world, _] = worlds();
        let mut page = Page::open(&mut world);
        keep_all(&mut world, 0..41, LARGE);
        page.hear(&mut world);
        page.heard.clear();
        let mut fresh = Page::open(&mut world);
        let first = page.position.clone();
        world.hang_up(page.id);
        keep_all(&mut world, 41..82, LARGE);
        fresh.hear(&mut world);
        world.redis.paused = true;
        page.reopen(&mut world);
        world.redis.serve(1);
        world.run();
        match ends {
            true => world.hang_up(page.id),
            false => world.say(page.id, "unsubscribe 2 broadcast chat/42"),
        }
        world.redis.paused = false;
        world.run();
        fresh.heard.clear();
        keep_all(&mut world, 82..83, 1);
        fresh.has_heard(&mut world, &["82"]);
        if !ends {
            page.hear(&mut world);
            assert_eq!(page.heard.split_off(16), ["refused", "ok"]);
            page.heard.clear();
        }
        page.position = first;
        page.reopen(&mut world);
        page.has_resumed(&mut world, 41..83);
    }
}

#[test]
fn a_crowd_with_different_positions_has_its_part_of_each_page() {
    for mut world in worlds() {
        let mut pages: Vec<Page> = Vec::new();
        for n in 0..60 {
            if n % 10 == 0 {
                pages.push(Page::open(&mut world));
            }
            keep_all(&mut world, n..n + 1, LARGE);
            pages.iter_mut().for_each(|page| page.hear(&mut world));
            if n % 10 == 0 {
                world.hang_up(pages[n / 10].id);
            }
        }
        world.redis.take_commands();
        world.redis.paused = true;
        for page in &mut pages {
            page.heard.clear();
            page.reopen(&mut world);
        }
        let mut fresh = super::open(&mut world, &[]);
        world.say(fresh, "subscribe 1 broadcast chat/42");
        world.redis.paused = false;
        world.run();
        for (at, page) in pages.iter_mut().enumerate() {
            page.has_resumed(&mut world, at * 10 + 1..60);
        }
        fresh = world.texts(fresh).len();
        assert_eq!(fresh, 2);
        let looks = world.redis.take_commands();
        let looks = looks.iter().filter(|line| line.starts_with("EVAL")).count();
        // It is read once, and once more from where those stand who came behind the first look.
        assert!(looks <= 10, "{looks} looks");
    }
}

#[test]
fn who_has_missed_little_does_not_wait_for_who_has_missed_much() {
    let [mut world, _] = worlds();
    let (mut early, mut late) = (Page::open(&mut world), Page::open(&mut world));
    world.hang_up(early.id);
    keep_all(&mut world, 0..150, LARGE);
    late.hear(&mut world);
    late.heard.clear();
    world.hang_up(late.id);
    keep_all(&mut world, 150..151, LARGE);
    world.redis.paused = true;
    early.reopen(&mut world);
    world.redis.serve(2);
    world.run();
    late.reopen(&mut world);
    // The next page of the other is on its way.
    world.redis.serve(2);
    world.run();
    late.has_resumed(&mut world, 150..151);
    // Nobody waits too long while the broker answers, however long that takes altogether.
    for _ in 0..12 {
        world.pass(4_000);
        world.redis.serve(1);
        world.run();
    }
    early.has_resumed(&mut world, 0..151);
}

#[test]
fn a_redis_that_is_lost_between_two_pages_goes_on_where_it_was() {
    let [mut world, _] = worlds();
    let mut page = Page::open(&mut world);
    keep_all(&mut world, 0..1, LARGE);
    page.has_heard(&mut world, &["0"]);
    world.hang_up(page.id);
    keep_all(&mut world, 1..61, LARGE);
    world.redis.paused = true;
    page.reopen(&mut world);
    world.redis.serve(2);
    world.run();
    world.kill_redis();
    world.redis.paused = false;
    world.redis.publish_kept(CHANNEL, "61", MOST);
    world.revive_redis();
    page.has_resumed(&mut world, 1..62);
}

#[test]
fn a_slow_reader_has_it_as_it_reads_and_waits_for_nobody() {
    for mut world in worlds() {
        let (mut page, mut other) = (Page::open(&mut world), Page::open(&mut world));
        keep_all(&mut world, 0..1, LARGE);
        page.has_heard(&mut world, &["0"]);
        world.hang_up(page.id);
        keep_all(&mut world, 1..161, LARGE);
        world.stall(other.id, usize::MAX);
        page.reopen(&mut world);
        page.has_resumed(&mut world, 1..161);
        // The same again, without taking a byte for long.
        other.hear(&mut world);
        page.position = other.position.clone();
        other.heard.clear();
        world.hang_up(page.id);
        keep_all(&mut world, 161..321, LARGE);
        other.hear(&mut world);
        let id = super::open(&mut world, &[]);
        world.stall(id, 0);
        page.id = id;
        world.say(id, &format!("subscribe 1 broadcast chat/42 broadcast {}", page.position));
        world.pass(30_000);
        other.heard.clear();
        keep_all(&mut world, 321..330, 1);
        other.hear(&mut world);
        assert_eq!(other.heard.len(), 9, "{:?}", other.heard);
        let asked = world.metrics().recovered_total;
        assert!(asked < 160 + 60, "{asked} are read ahead");
        while world.browsers[id].taken < 160 * LARGE {
            let taken = world.browsers[id].taken;
            world.resume_for(id, 100_000);
            assert!(
                world.browsers[id].taken > taken,
                "it is forgotten: {taken}, {:?}",
                world
                    .heard(id)
                    .iter()
                    .map(|it| format!("{it:.40?}"))
                    .rev()
                    .take(12)
                    .collect::<Vec<_>>()
            );
        }
        world.resume(id);
        page.has_resumed(&mut world, 161..330);
    }
}

#[test]
fn an_outage_in_which_much_was_missed_is_mended_in_pages() {
    let [mut world, _] = worlds();
    let (mut page, mut slow) = (Page::open(&mut world), Page::open(&mut world));
    keep_all(&mut world, 0..1, LARGE);
    page.has_heard(&mut world, &["0"]);
    slow.has_heard(&mut world, &["0"]);
    world.stall(slow.id, 0);
    world.kill_redis();
    for n in 1..120 {
        world.redis.publish_kept(CHANNEL, numbered(n, LARGE), MOST);
    }
    world.redis.paused = true;
    world.redis.reach = Reach::Answers;
    world.pass(2_000);
    for n in 120..125 {
        world.redis.serve(3);
        keep_all(&mut world, n..n + 1, 1);
    }
    world.redis.paused = false;
    world.run();
    let all: Vec<String> = (1..125).map(|n| n.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    page.has_heard(&mut world, &all);
    for _ in 0..1_000 {
        world.resume_for(slow.id, 10_000);
    }
    world.resume(slow.id);
    slow.has_heard(&mut world, &all);
    keep_all(&mut world, 125..126, 1);
    slow.has_heard(&mut world, &["125"]);
    page.has_heard(&mut world, &["125"]);
    assert_eq!(world.metrics().gaps_total, 0);
}

#[test]
fn an_entry_as_large_as_a_message_may_be_comes_beside_a_stored_one_of_that_size() {
    for mut world in worlds() {
        let most = (1 << 20) - 64;
        let mut page = Page::open(&mut world);
        keep_all(&mut world, 0..1, 1);
        page.has_heard(&mut world, &["0"]);
        world.hang_up(page.id);
        let stored = "s".repeat(most);
        match is_redis(&world) {
            true => world.redis.publish(CHANNEL, &stored, 0, 60_000_000),
            false => {
                let client = world.connect_resp();
                let size = stored.len();
                let set = format!("*3\r\n$3\r\nSET\r\n$17\r\n{CHANNEL}\r\n${size}\r\n");
                world.tell(client, set + &stored + "\r\n");
            }
        }
        for n in 1..4 {
            let text = numbered(n, most - 2);
            keep_all(&mut world, n..n + 1, text.len() - 2);
        }
        page.reopen(&mut world);
        page.has_resumed(&mut world, 1..4);
    }
}

#[test]
fn many_channels_at_one_time_do_not_fill_the_outbox() {
    for mut world in worlds() {
        let name = |n: usize| format!("broadcast:chat/{n}");
        let id = super::open(&mut world, &[]);
        for n in 1..21 {
            world.say(id, &format!("subscribe {n} broadcast chat/{n}"));
        }
        let known = world.texts(id);
        let position = |n: usize| {
            let word = format!("subscribed broadcast chat/{n} ");
            let all: Vec<&str> = known.iter().filter_map(|it| it.strip_prefix(&word)).collect();
            all[0].to_owned()
        };
        world.hang_up(id);
        for n in 1..21 {
            (0..30).for_each(|at| keep(&mut world, &name(n), &numbered(at, LARGE)));
        }
        let id = super::open(&mut world, &[]);
        world.stall(id, 0);
        for n in 1..21 {
            let since = position(n);
            world.say(id, &format!("subscribe {n} broadcast chat/{n} broadcast {since}"));
        }
        world.pass(10_000);
        for _ in 0..2_000 {
            world.resume_for(id, 50_000);
        }
        world.resume(id);
        let texts = world.texts(id);
        for n in 1..21 {
            let word = format!("message broadcast chat/{n} ");
            let of = texts.iter().filter(|text| text.starts_with(&word));
            let numbers = of.map(|text| text.split('\n').nth(1).unwrap_or("").split(' ').next());
            let numbers: Vec<Option<&str>> = numbers.collect();
            let expected: Vec<String> = (0..30).map(|at| at.to_string()).collect();
            assert!(numbers.iter().copied().eq(expected.iter().map(|it| Some(it.as_str()))));
            assert_eq!(texts.iter().filter(|text| **text == format!("ok {n}")).count(), 1);
        }
    }
}
