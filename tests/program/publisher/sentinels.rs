//! The publisher and a Redis that sentinels watch.

use super::*;

use std::collections::BTreeSet;
use std::process::Command;

use crate::support::eventually;
use crate::support::sentinels::{NAME, SentinelServer, Sentinels};

/// How long it may fail after the sentinels have decided.
pub(super) const AT_ONCE: Duration = Duration::from_secs(5);

/// Publishes numbers until told to end, and says which was accepted when.
pub(super) fn publishing(
    url: String,
) -> (mpsc::Sender<()>, Receiver<(Instant, String)>, JoinHandle<()>) {
    let (end, ended) = mpsc::channel();
    let (sender, accepted) = mpsc::channel();
    let thread = thread::spawn(move || {
        let publisher = Publisher::new(&url).expect("a URL").timeout(Duration::from_secs(2));
        // What was published is in the history, be it twice.
        let mut publisher = publisher.history("f=9999/60").expect("a rule");
        for number in 0.. {
            let text = format!("{number}");
            if send(&mut publisher, &text).is_ok() && sender.send((Instant::now(), text)).is_err() {
                return;
            }
            if ended.recv_timeout(Duration::from_millis(10)) != Err(mpsc::RecvTimeoutError::Timeout)
            {
                return;
            }
        }
    });
    (end, accepted, thread)
}

/// What is in the history there, each once.
pub(super) fn kept(redis: &RedisServer) -> BTreeSet<String> {
    let stream = "wsloop:history:{broadcast:f}";
    let entries = redis.connect().command(&["XRANGE", stream, "-", "+"]);
    let Value::Array(entries) = entries else { panic!("{entries:?}") };
    let mut kept = BTreeSet::new();
    for entry in &entries {
        let Value::Array(entry) = entry else { panic!("{entry:?}") };
        let Value::Array(fields) = &entry[1] else { panic!("{entry:?}") };
        let Value::Bulk(text) = &fields[1] else { panic!("{fields:?}") };
        let text = String::from_utf8_lossy(text).into_owned();
        assert!(kept.insert(text.clone()), "{text} was published twice");
    }
    kept
}

/// The master goes by `fate`; what is published is soon at the next.
fn fails_over(fate: fn(&mut Sentinels)) {
    let mut sentinels = Sentinels::start();
    let before = sentinels.sentinels[2].master();
    let (end, accepted, thread) = publishing(sentinels.url());
    for _ in 0..10 {
        accepted.recv_timeout(PATIENCE).expect("it publishes");
    }
    fate(&mut sentinels);
    sentinels.decided(2, before);
    let decided = Instant::now();
    let next = &sentinels.redis[1].0;
    let mut since = Vec::new();
    let first = eventually("it publishes to the next master", || {
        since.extend(accepted.try_iter().filter(|(at, _)| *at > decided));
        let there = kept(next);
        since.iter().find(|(_, text)| there.contains(text)).map(|(at, _)| *at)
    });
    assert!(first - decided < AT_ONCE, "{:?}", first - decided);
    let last: Vec<String> =
        (0..10).map(|_| accepted.recv_timeout(PATIENCE).expect("it goes on").1).collect();
    end.send(()).expect("it runs");
    thread.join().expect("it ends");
    let there = kept(next);
    assert!(last.iter().all(|text| there.contains(text)), "{last:?} of {there:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn it_goes_on_when_the_master_is_killed() {
    fails_over(|sentinels| sentinels.redis[0].0.kill());
}

#[test]
#[ignore = "needs redis-server"]
fn it_goes_on_when_the_master_hangs() {
    fails_over(|sentinels| sentinels.redis[0].0.process().signal("STOP"));
}

#[test]
#[ignore = "needs redis-server"]
fn it_goes_on_when_the_master_is_another_by_order() {
    fails_over(|sentinels| {
        sentinels.sentinels[0].connect().ok(&["SENTINEL", "FAILOVER", NAME]);
    });
}

/// Answers as a sentinel would whose master is at the same address as itself.
fn sentinel(guest: &mut Guest) {
    guest.greet();
    guest.expect(&["SENTINEL MASTER main"]);
    let port = guest.0.get_ref().local_addr().expect("an address").port();
    let at = format!("+ip\r\n+127.0.0.1\r\n+port\r\n+{port}\r\n");
    guest.say(&format!("%4\r\n{at}+flags\r\n+master\r\n+config-epoch\r\n+1\r\n"));
}

fn role(guest: &mut Guest, answer: &str) {
    guest.greet();
    guest.expect(&["ROLE"]);
    guest.say(answer);
}

#[test]
fn what_is_no_master_gets_nothing_and_what_is_one_no_longer_is_left() {
    let fake = Fake::playing(vec![
        sentinel,
        |guest| {
            role(guest, "*1\r\n$5\r\nslave\r\n");
            guest.expect_end();
        },
        sentinel,
        |guest| {
            role(guest, "*1\r\n$6\r\nmaster\r\n");
            guest.publish("a", 1);
            guest.publish("b", 2);
            guest.expect(&["PUBLISH broadcast:f c", "SET broadcast:f c EX 3600"]);
            guest.say(":1\r\n-READONLY You can't write against a read only replica.\r\n");
            guest.expect_end();
        },
        sentinel,
        |guest| {
            role(guest, "-NOPERM User default has no permissions to run the 'role' command\r\n");
            guest.publish("d", 3);
        },
    ]);
    let url = format!("{}/main", fake.url.replace("redis:", "redis+sentinel:"));
    let mut publisher = Publisher::new(&url).expect("a URL").timeout(PATIENCE);
    assert_eq!(send(&mut publisher, "a"), Ok(1));
    assert_eq!(send(&mut publisher, "b"), Ok(2));
    let refused = publisher.to("f").broadcast().publish("c", Expire::Default);
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!(send(&mut publisher, "d"), Ok(3));
    fake.finish();
}

#[test]
#[ignore = "needs redis-server"]
fn sentinels_have_a_login_of_their_own_and_their_refusal_is_final() {
    let (redis, port) = RedisServer::start_on_tcp();
    let sentinel = SentinelServer::start(port, 1, "requirepass of-sentinels");
    let gone = free_port();
    let url = format!("redis+sentinel://127.0.0.1:{gone},127.0.0.1:{}/{NAME}", sentinel.port);
    let publisher = |url: &str| Publisher::new(url).expect("a URL").timeout(PATIENCE);
    let mut app = redis.connect();
    app.command(&["SUBSCRIBE", "broadcast:f"]);
    let mut known = publisher(&url).sentinel_login(None, "of-sentinels");
    assert_eq!(send(&mut known, "a"), Ok(1));
    // None of these is waited for.
    let one = format!("redis+sentinel://127.0.0.1:{}/{NAME}", sentinel.port);
    let began = Instant::now();
    for (mut publisher, words) in [
        (publisher(&one), "NOAUTH"),
        (publisher(&one).sentinel_login(None, "wrong"), "WRONGPASS"),
        (
            publisher(&one.replace(NAME, "other")).sentinel_login(None, "of-sentinels"),
            "No such master",
        ),
        (publisher(&format!("redis+sentinel://127.0.0.1:{port}/{NAME}")), "unknown command"),
    ] {
        let why = send(&mut publisher, "never").expect_err(words).to_string();
        assert!(why.contains(words), "{why}");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let mut nobody = Publisher::new(&format!("redis+sentinel://127.0.0.1:{gone}/{NAME}"))
        .expect("a URL")
        .timeout(SHORT);
    let why = send(&mut nobody, "never").expect_err("nobody is there").to_string();
    assert!(why.contains("no sentinel says where it is"), "{why}");

    let folder = crate::support::Folder::new();
    let file = folder.join("password");
    std::fs::write(&file, "of-sentinels\n").expect("a file");
    let mut program = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    program.args(["publish", "f", "by command", "--broadcast", "--redis", &url]);
    program.arg("--redis-sentinel-password").arg(&file);
    let output = program.output().expect("the program");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    assert!(output.status.success() && said.ends_with("heard by 1 subscriber\n"), "{said}");
}
