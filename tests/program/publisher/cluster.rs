//! The publisher and a Redis Cluster.

use super::sentinels::{AT_ONCE, kept, publishing};
use super::*;

use std::process::Command;

use crate::support::eventually;
use crate::support::shards::RedisCluster;

const FACILITIES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn publisher(url: &str) -> Publisher {
    Publisher::new(url).expect("a URL").timeout(PATIENCE)
}

/// What is stored at the owner of the channel's slot.
fn stored(cluster: &RedisCluster, channel: &str) -> Value {
    cluster.nodes[cluster.owner(channel)].0.connect().command(&["GET", channel])
}

#[test]
#[ignore = "needs redis-server"]
fn everything_is_where_the_slot_of_its_channel_is() {
    let cluster = RedisCluster::start();
    let mut publisher = publisher(&cluster.url()).history("*=10/60").expect("a rule");
    let mut owners = Vec::new();
    for facility in FACILITIES {
        let to = publisher.to(facility).broadcast().users(["x", "y", "z"]);
        let sent = to.publish(facility, Expire::Default).expect("it is published");
        assert_eq!((sent.channels, sent.receivers), (4, 0));
        for channel in [format!("broadcast:{facility}"), format!("user:z:{facility}")] {
            owners.push(cluster.owner(&channel));
            assert_eq!(stored(&cluster, &channel), Value::Bulk(facility.into()));
            let stream = format!("wsloop:history:{{{channel}}}");
            let owner = &cluster.nodes[cluster.owner(&channel)].0;
            assert_eq!(owner.connect().command(&["XLEN", &stream]), Value::Integer(1));
        }
        // The user's is another slot's than everybody's.
        let fetched = publisher.to(facility).broadcast().users(["nobody"]).fetch();
        assert_eq!(fetched, Ok(Some(facility.into())));
    }
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners.len(), 3, "all masters have some");
}

#[test]
#[ignore = "needs redis-server"]
fn any_node_hears_it_and_where_it_is_sharded_only_the_shard_does() {
    let cluster = RedisCluster::start();
    let owner = cluster.owner("broadcast:f");
    let other = (0..6).find(|place| *place != owner).expect("another");
    let mut plain = cluster.nodes[other].0.connect();
    plain.command(&["SUBSCRIBE", "broadcast:f"]);
    let mut sharded = cluster.nodes[owner].0.connect();
    sharded.command(&["SSUBSCRIBE", "broadcast:f"]);
    let push = |kind: &str, text: &str| {
        let words = [kind, "broadcast:f", text].map(|word| Value::Bulk(word.into()));
        Value::Array(words.into())
    };
    for (is_sharded, heard, kind) in
        [(false, &mut plain, "message"), (true, &mut sharded, "smessage")]
    {
        for rules in ["", "f=10/60"] {
            let publisher = publisher(&cluster.url()).sharded(is_sharded);
            let mut publisher = publisher.history(rules).expect("a rule");
            assert_eq!(send(&mut publisher, rules), Ok(u64::from(is_sharded)));
            assert_eq!(heard.value(), push(kind, rules));
        }
    }
    let command = |words: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_wsloop"));
        program.args(words).args(["--redis", &cluster.url(), "--redis-sharded", "both"]);
        let output = program.output().expect("the program");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8")
    };
    let said = command(&["publish", "f", "by command", "--broadcast"]);
    assert!(said.ends_with("heard by 1 subscriber\n"), "{said}");
    assert_eq!(sharded.value(), push("smessage", "by command"));
    assert_eq!(command(&["fetch", "f", "--broadcast"]), "by command\n");
    let control = cluster.owner("wsloop:control");
    let mut control = cluster.nodes[control].0.connect();
    control.command(&["SSUBSCRIBE", "wsloop:control"]);
    let said = command(&["disconnect", "--user", "john", "--json"]);
    assert_eq!(said, "{\"receivers\":1}\n");
}

#[test]
#[ignore = "needs redis-server"]
fn a_slot_that_moves_loses_and_doubles_nothing() {
    let cluster = RedisCluster::start();
    let from = cluster.owner("broadcast:f");
    let to = FACILITIES.map(|facility| cluster.owner(&format!("user:z:{facility}")));
    let to = to.into_iter().find(|owner| *owner != from).expect("not all are at one master");
    let mut publisher = publisher(&cluster.url()).history("f=99/60").expect("a rule");
    publisher = publisher.sharded(true);
    let mut numbers = 0u32..;
    let mut all_publish = |publisher: &mut Publisher| {
        for _ in 0..3 {
            let text = numbers.next().expect("there are many").to_string();
            let sent = publisher.to("f").broadcast().publish(text, Expire::Default);
            assert_eq!(sent.expect("it is published").channels, 1);
        }
    };
    all_publish(&mut publisher);
    cluster.begin_move("broadcast:f", from, to);
    all_publish(&mut publisher);
    // Some of it is there already, and who has the slot still says so.
    cluster.move_keys(from, to, &["broadcast:f"]);
    all_publish(&mut publisher);
    cluster.move_keys(from, to, &["wsloop:history:{broadcast:f}"]);
    all_publish(&mut publisher);
    cluster.end_move("broadcast:f", from, to);
    all_publish(&mut publisher);
    assert_eq!(cluster.owner("broadcast:f"), to);
    let there = kept(&cluster.nodes[to].0);
    assert_eq!(there.len(), 15, "{there:?}");
    assert_eq!(stored(&cluster, "broadcast:f"), Value::Bulk("14".into()));
}

/// The master of the channel goes by `fate`; what is published is soon at the next.
fn fails_over(cluster: &mut RedisCluster, fate: fn(&mut RedisCluster, usize)) -> usize {
    let master = cluster.owner("broadcast:f");
    let (end, accepted, thread) = publishing(cluster.url());
    for _ in 0..10 {
        accepted.recv_timeout(PATIENCE).expect("it publishes");
    }
    fate(cluster, master);
    let next = cluster.next_after(master, "broadcast:f");
    let decided = Instant::now();
    let next = &cluster.nodes[next].0;
    let mut since = Vec::new();
    let first = eventually("it publishes to the next master", || {
        since.extend(accepted.try_iter().filter(|(at, _)| *at > decided));
        let there = kept(next);
        since.iter().find(|(_, text)| there.contains(text)).map(|(at, _)| *at)
    });
    assert!(first - decided < AT_ONCE, "{:?}", first - decided);
    end.send(()).expect("it runs");
    thread.join().expect("it ends");
    next.connect().command(&["DEL", "wsloop:history:{broadcast:f}"]);
    master
}

#[test]
#[ignore = "needs redis-server"]
fn it_goes_on_whatever_becomes_of_a_master() {
    let mut cluster = RedisCluster::start();
    fails_over(&mut cluster, |cluster, master| {
        cluster.fail_over(master);
    });
    cluster.until_whole();
    let frozen = fails_over(&mut cluster, |cluster, master| {
        cluster.nodes[master].0.process().signal("STOP");
    });
    cluster.nodes[frozen].0.process().signal("CONT");
    cluster.until_whole();
    fails_over(&mut cluster, |cluster, master| cluster.nodes[master].0.kill());
}

/// The next command that is not about the cluster, to which the guest answers as a node that has
/// all slots.
fn beside_maps(guest: &mut Guest) -> Option<String> {
    let port = guest.0.get_ref().local_addr().expect("an address").port();
    loop {
        match guest.command()?.as_str() {
            "CLUSTER INFO" => {
                let info = "cluster_state:ok\r\ncluster_current_epoch:1\r\n";
                guest.say(&format!("${}\r\n{info}\r\n", info.len()));
            }
            "CLUSTER SHARDS" => guest.say("-ERR unknown subcommand 'SHARDS'\r\n"),
            "CLUSTER SLOTS" => {
                let node = format!("*3\r\n$0\r\n\r\n:{port}\r\n$1\r\na\r\n");
                guest.say(&format!("*1\r\n*3\r\n:0\r\n:16383\r\n{node}"));
            }
            other => return Some(other.to_owned()),
        }
    }
}

fn expect(guest: &mut Guest, command: &str, answer: &str) {
    assert_eq!(beside_maps(guest).as_deref(), Some(command));
    guest.say(answer);
}

#[test]
fn what_may_have_been_done_is_not_sent_again_and_what_was_refused_is() {
    let fake = Fake::playing(vec![
        |guest| {
            guest.greet();
            // It is published once, and stored when it can be.
            expect(guest, "PUBLISH broadcast:f a", ":1\r\n");
            for answer in ["-TRYAGAIN later\r\n", "-CLUSTERDOWN is down\r\n", "+OK\r\n"] {
                expect(guest, "SET broadcast:f a EX 3600", answer);
            }
            expect(guest, "PUBLISH broadcast:f b", ":2\r\n");
            expect(guest, "SET broadcast:f b EX 3600", "");
        },
        |guest| {
            guest.greet();
            expect(guest, "PUBLISH broadcast:f c", ":3\r\n");
            assert_eq!(beside_maps(guest), None);
        },
    ]);
    let mut publisher = publisher(&fake.url.replace("redis:", "redis+cluster:"));
    let mut publish = |text| publisher.to("f").broadcast().publish(text, Expire::Default);
    assert_eq!(publish("a"), Ok(Published { channels: 1, receivers: 1 }));
    let lost = publish("b");
    assert!(matches!(lost, Err(Error::MaybePublished(_))), "{lost:?}");
    assert_eq!(send(&mut publisher, "c"), Ok(3));
    drop(publisher);
    fake.finish();
}

#[test]
fn what_is_no_cluster_says_so_at_once() {
    let fake = Fake::playing(vec![|guest| {
        guest.greet();
        let why = "-ERR This instance has cluster support disabled\r\n";
        guest.expect(&["CLUSTER INFO"]);
        guest.say(why);
        guest.expect_end();
    }]);
    let mut publisher = publisher(&fake.url.replace("redis:", "redis+cluster:"));
    let why = send(&mut publisher, "never").expect_err("it is none").to_string();
    assert!(why.contains("cluster support disabled"), "{why}");
    drop(publisher);
    fake.finish();
}
