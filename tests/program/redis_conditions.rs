//! A real Redis through what it goes through in its life, under load: busy, loading, demoted,
//! cutting, pausing, full. No browser is closed, and no news are lost: what is stored reaches
//! everybody, also when its publication was in vain.

use std::thread;

use crate::support::client::Client;
use crate::support::redis::{RedisClient, RedisServer, Value};
use crate::support::{Wsloop, eventually, free_port};

const HEAR: &str = "subscribe-broadcast";
const SAY: &str = "publish-broadcast";
/// Facilities, each with browsers that hear it.
const ROOMS: usize = 8;
/// Browsers of each.
const HEARERS: usize = 4;

/// A server, its browsers, and the application that publishes.
struct Scene {
    redis: RedisServer,
    server: Wsloop,
    browsers: Vec<Vec<Client>>,
    published: usize,
}

impl Scene {
    fn new(redis: RedisServer, args: &[&str]) -> Scene {
        let url = redis.url();
        let server = Wsloop::start(&[&["--redis", &url, "--allow", "all"], args].concat());
        server.expect_metric("broker_up", |up| up == 1);
        let room = |room| (0..HEARERS).map(|_| server.connect(&format!("{room}?{HEAR}"))).collect();
        let browsers = (0..ROOMS).map(room).collect();
        Scene { redis, server, browsers, published: 0 }
    }

    /// The application publishes in every room, and stores what it has published.
    fn publish(&mut self, app: &mut RedisClient) -> String {
        self.published += 1;
        let text = format!("news {}", self.published);
        for room in 0..ROOMS {
            let channel = format!("broadcast:{room}");
            app.pipeline(&[
                vec![b"SET", channel.as_bytes(), text.as_bytes(), b"EX", b"600"],
                vec![b"PUBLISH", channel.as_bytes(), text.as_bytes()],
            ]);
        }
        text
    }

    /// Publishes a few times, and shows that everybody has the last of it.
    #[track_caller]
    fn expect_news(&mut self) {
        let mut app = self.redis.connect();
        let is_well = |value| !matches!(value, Value::Error(_));
        eventually("Redis answers", || is_well(app.command(&["GET", "x"])).then_some(()));
        let mut last = String::new();
        for _ in 0..5 {
            last = self.publish(&mut app);
        }
        self.expect(&last);
    }

    /// Shows that everybody hears this, whatever comes before it, and that nobody is closed.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        for browser in self.browsers.iter_mut().flatten() {
            browser.expect_among(text);
        }
        assert!(self.server.metric("conns_open") >= (ROOMS * HEARERS) as u64);
        assert_eq!(self.server.metric("slow_total") + self.server.metric("pong_timeouts_total"), 0);
    }

    /// How often the log has a line with these words.
    fn said(&self, words: &str) -> usize {
        self.server.log().lines().filter(|line| line.contains(words)).count()
    }
}

/// Keeps Redis busy with a script until that is killed, after all that hear have been cut, perhaps.
fn busy(redis: &RedisServer, cut: bool, during: impl FnOnce()) {
    let mut victim = redis.connect();
    let spinning = thread::spawn(move || {
        let kill = vec![&b"CLIENT"[..], b"KILL", b"TYPE", b"pubsub"];
        let spin = vec![&b"EVAL"[..], b"while true do end", b"0"];
        victim.pipeline(&if cut { vec![kill, spin] } else { vec![spin] })
    });
    let mut killer = redis.connect();
    let is_busy = |value| matches!(value, Value::Error(error) if error.starts_with("BUSY"));
    eventually("Redis is busy", || is_busy(killer.command(&["PING"])).then_some(()));
    during();
    killer.ok(&["SCRIPT", "KILL"]);
    spinning.join().expect("it was killed");
}

#[test]
#[ignore = "needs redis-server"]
fn busy_and_dialed_while_it_is() {
    let redis = RedisServer::start_with(&["--busy-reply-threshold", "50"]);
    let mut scene = Scene::new(redis, &[]);
    let mut speaker = scene.server.connect(&format!("0?{SAY}"));
    for (cut, words) in [(false, "does not take"), (true, "in no state to answer")] {
        for round in 1..=2 {
            let server = &scene.server;
            let before = (scene.said("answers again"), server.metric("broker_dials_total"));
            busy(&scene.redis, cut, || {
                match cut {
                    false => speaker.send("in vain"),
                    true => server.expect_metric("broker_dials_total", |n| n > before.1 + 2),
                }
                eventually("it is said", || (scene.said(words) == round).then_some(()));
            });
            scene.expect_news();
            let answers = || (scene.said("answers again") == before.0 + 1).then_some(());
            eventually("that is said, too", answers);
        }
    }
    assert_eq!(scene.said("Redis is up"), 3, "{}", scene.server.log());
    speaker.send("at last");
    for browser in &mut scene.browsers[0] {
        browser.expect_among("at last");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn loading_its_data_from_disk() {
    let mut scene = Scene::new(RedisServer::start(), &[]);
    scene.expect_news();
    let mut app = scene.redis.connect();
    for number in 0..1500 {
        app.ok(&["SET", &format!("filler:{number}"), &"x".repeat(1000)]);
    }
    app.ok(&["SAVE"]);
    scene.redis.kill();
    // Two milliseconds a key.
    let slowly = ["--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024"];
    scene.redis.revive_with(&slowly);
    scene.server.expect_log(&["in no state to answer: LOADING"]);
    scene.server.expect_log(&["Redis answers again"]);
    assert_eq!(scene.said("in no state to answer"), 1, "{}", scene.server.log());
    assert!(scene.said("Redis is up") <= 2, "{}", scene.server.log());
    scene.expect_news();
}

#[test]
#[ignore = "needs redis-server"]
fn demoted_and_made_a_master_again() {
    for expire in ["600", "0"] {
        let other = RedisServer::start_on_tcp();
        let mut scene = Scene::new(RedisServer::start(), &["--expire", expire]);
        let mut speaker = scene.server.connect(&format!("0?{SAY}"));
        let mut app = scene.redis.connect();
        let port = other.1.to_string();
        app.ok(&["REPLICAOF", "127.0.0.1", &port]);
        // With nothing stored nobody says READONLY; it is asked for.
        if expire != "0" {
            speaker.send("refused");
        }
        scene.server.expect_log(&["has become a replica"]);
        scene.server.expect_log(&["Redis is a replica: what browsers publish"]);
        let dials = scene.server.metric("broker_dials_total");
        speaker.send("heard all the same");
        for browser in &mut scene.browsers[0] {
            browser.expect_among("heard all the same");
        }
        app.ok(&["REPLICAOF", "NO", "ONE"]);
        scene.server.expect_log(&["Redis is a master again"]);
        assert_eq!(scene.server.metric("broker_dials_total"), dials);
        scene.expect_news();
    }
}

#[test]
#[ignore = "needs redis-server"]
fn killing_its_clients_under_load() {
    let mut scene = Scene::new(RedisServer::start(), &[]);
    let mut app = scene.redis.connect();
    let mut last = String::new();
    for _ in 0..50 {
        last = scene.publish(&mut app);
        app.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    }
    scene.expect(&last);
    scene.expect_news();
}

#[test]
#[ignore = "needs redis-server"]
fn pausing_its_clients() {
    let mut scene = Scene::new(RedisServer::start(), &["--redis-timeout", "1"]);
    let mut app = scene.redis.connect();
    let last = scene.publish(&mut app);
    app.ok(&["CLIENT", "PAUSE", "2500", "ALL"]);
    scene.server.expect_log(&["did not answer in time"]);
    scene.expect(&last);
    scene.expect_news();
}

#[test]
#[ignore = "needs redis-server"]
fn out_of_memory() {
    let mut scene = Scene::new(RedisServer::start(), &[]);
    let mut app = scene.redis.connect();
    let mut speaker = scene.server.connect(&format!("0?{SAY}"));
    for round in 1..=2 {
        app.ok(&["CONFIG", "SET", "maxmemory", "1"]);
        speaker.send(&format!("not stored {round}"));
        eventually("it is said", || (scene.said("OOM") == round).then_some(()));
        speaker.send(&format!("nor this {round}"));
        for browser in &mut scene.browsers[0] {
            browser.expect_among(&format!("nor this {round}"));
        }
        app.ok(&["CONFIG", "SET", "maxmemory", "0"]);
        speaker.send(&format!("stored {round}"));
        eventually("it is said", || (scene.said("stores again") == round).then_some(()));
    }
    assert_eq!(scene.server.metric("broker_lost_total"), 0);
    scene.expect_news();
}

#[test]
#[ignore = "needs redis-server"]
fn having_too_many_clients() {
    let mut scene = Scene::new(RedisServer::start(), &[]);
    let mut app = scene.redis.connect();
    let _other = scene.redis.connect();
    app.ok(&["CONFIG", "SET", "maxclients", "2"]);
    app.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    scene.server.expect_metric("broker_lost_total", |lost| lost == 1);
    scene.server.expect_log(&["cannot be used"]);
    app.ok(&["CONFIG", "SET", "maxclients", "100"]);
    scene.expect_news();
}

/// Redis's limit is as small as it gets, and what is stored is many times that.
#[test]
#[ignore = "needs redis-server"]
fn limiting_what_may_wait_for_its_clients() {
    let redis =
        RedisServer::start_with(&["--client-output-buffer-limit", "pubsub", "2mb", "1mb", "60"]);
    let args = ["--redis-window-size", "64KiB", "--max-message-size", "128KiB"];
    let mut scene = Scene::new(redis, &args);
    let mut app = scene.redis.connect();
    let names: Vec<String> = (0..200).map(|number| format!("large{number}")).collect();
    let mut browsers: Vec<Client> =
        names.iter().map(|name| scene.server.connect(&format!("{name}?{HEAR}"))).collect();
    for round in 0..3 {
        let large = format!("{round}{}", "x".repeat(60_000));
        app.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        for name in &names {
            app.command(&["SET", &format!("broadcast:{name}"), &large]);
        }
        app.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        for browser in &mut browsers {
            browser.expect_among(&large);
        }
    }
    assert!(scene.server.metric("broker_lost_total") <= 6, "{}", scene.server.log());
    scene.expect_news();
}

/// wsloop was told to expect more than Redis lets wait: the log names the limit.
#[test]
#[ignore = "needs redis-server"]
fn cutting_for_a_limit_names_it() {
    let limit = ["--client-output-buffer-limit", "pubsub", "1mb", "1mb", "60"];
    let scene = Scene::new(RedisServer::start_with(&limit), &["--redis-window-size", "64MiB"]);
    let names: Vec<String> = (0..32).map(|number| format!("large{number}")).collect();
    let _browsers: Vec<Client> =
        names.iter().map(|name| scene.server.connect(&format!("{name}?{HEAR}"))).collect();
    let mut app = scene.redis.connect();
    for name in &names {
        app.ok(&["SET", &format!("broadcast:{name}"), &"x".repeat(1 << 20)]);
    }
    app.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    scene.server.expect_log(&["client-output-buffer-limit for pubsub", "--redis-window-size"]);
}

#[test]
#[ignore = "needs redis-server"]
fn being_a_node_of_a_cluster() {
    let bus = free_port().to_string();
    let (redis, _) =
        RedisServer::start_on_tcp_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    let server = Wsloop::start(&["--redis", &redis.url()]);
    server.expect_log(&["node of a cluster", "all slots"]);
    let refused = server.try_connect(&format!("room?{HEAR}")).expect_err("a 503");
    assert_eq!(refused.status, 503);
    redis.connect().ok(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let mut app = redis.connect();
    eventually("it has them", || (app.command(&["GET", "x"]) == Value::Nil).then_some(()));
    server.expect_metric("broker_up", |up| up == 1);
    let mut browser = server.connect(&format!("room?{HEAR}"));
    redis.connect().publish("broadcast:room", "all slots are here");
    browser.expect(&["all slots are here"]);
}
