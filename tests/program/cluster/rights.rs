//! A cluster that gives wsloop a user of its own, with few rights, with the right ones, and with
//! less than it needs.

use super::{facility_at, readiness};
use crate::support::cluster::Cluster;
use crate::support::redis::{RedisServer, Value};
use crate::support::{Wsloop, eventually};

const ARGS: [&str; 4] = ["--allow", "all", "--admin", "127.0.0.1:0"];
/// What wsloop is to be let do.
const RIGHTS: [&str; 12] = [
    "on",
    ">w",
    "resetkeys",
    "resetchannels",
    "~broadcast:*",
    "&broadcast:*",
    "&wsloop:*",
    "+hello",
    "+ping",
    "+get",
    "+set",
    "+publish",
];
const MORE: [&str; 10] = [
    "+subscribe",
    "+unsubscribe",
    "+ssubscribe",
    "+sunsubscribe",
    "+spublish",
    "+cluster|myid",
    "+cluster|info",
    "+cluster|shards",
    "+asking",
    "+info",
];

fn set_user(cluster: &Cluster, rights: &[&str]) {
    for node in cluster.here() {
        node.connect().ok(&[&["ACL", "SETUSER", "wsloop"], rights].concat());
    }
}

fn server(cluster: &Cluster, sharded: &str) -> Wsloop {
    let url = cluster.url().replace("://", "://wsloop:w@");
    let args = ["--redis", &url, "--redis-timeout", "2", "--redis-sharded", sharded];
    Wsloop::start(&[&ARGS[..], &args].concat())
}

/// It has all it needs, and may do nothing else.
#[test]
#[ignore = "needs redis-server"]
fn a_user_of_few_rights_is_enough() {
    let cluster = Cluster::start();
    set_user(&cluster, &[&RIGHTS[..], &MORE].concat());
    for sharded in ["off", "both"] {
        let server = server(&cluster, sharded);
        readiness(&server, 200, "ready");
        for port in cluster.masters() {
            let facility = facility_at(&cluster, port, sharded);
            let path = format!("{facility}?subscribe-broadcast&publish-broadcast&echo");
            let mut browser = server.connect(&path);
            let channel = format!("broadcast:{facility}");
            cluster.at(port).connect().publish(&channel, "from the application");
            browser.expect(&["from the application"]);
            browser.send("own");
            browser.expect(&["own"]);
            let stored = eventually("it is stored", || {
                let stored = cluster.at(port).connect().command(&["GET", &channel]);
                (stored != Value::Nil).then_some(stored)
            });
            assert_eq!(stored, Value::Bulk(b"own".to_vec()));
        }
        assert_eq!(server.metric("broker_errors_total"), 0);
    }
}

/// Nobody can be let in: no more are to be sent here, until that is mended.
#[test]
#[ignore = "needs redis-server"]
fn who_may_not_subscribe_to_shards_is_not_ready() {
    let cluster = Cluster::start();
    set_user(&cluster, &[&RIGHTS[..], &MORE, &["-ssubscribe"]].concat());
    let server = server(&cluster, "on");
    readiness(&server, 200, "ready");
    let refused = server.try_connect("room?subscribe-broadcast").map(|_| ());
    assert_eq!(refused.expect_err("a 503").status, 503);
    readiness(&server, 503, "lets wsloop subscribe to nothing, see ACL SETUSER");
    set_user(&cluster, &["+ssubscribe"]);
    readiness(&server, 200, "ready");
    // What was asked for meanwhile is heard by nobody.
    let owner = cluster.home_of("broadcast:room");
    eventually("it is left", || {
        let told = owner.connect().command(&["SPUBLISH", "broadcast:room", "to nobody"]);
        (told == Value::Integer(0)).then_some(())
    });
    let mut browser = server.connect("room?subscribe-broadcast");
    owner.connect().command(&["SPUBLISH", "broadcast:room", "heard"]);
    browser.expect(&["heard"]);
}

#[test]
#[ignore = "needs redis-server"]
fn who_may_not_subscribe_to_a_single_redis_is_not_ready() {
    let redis = RedisServer::start();
    let set = |rights: &[&str]| {
        redis.connect().ok(&[&["ACL", "SETUSER", "wsloop"], rights].concat());
    };
    set(&[&RIGHTS[..], &["-subscribe"]].concat());
    let url = redis.url().replace("://", "://wsloop:w@");
    let server = Wsloop::start(&[&ARGS[..], &["--redis", &url]].concat());
    readiness(&server, 200, "ready");
    let connect = |path: &str| server.try_connect(path).map(|_| ());
    assert_eq!(connect("room?subscribe-broadcast").expect_err("a 503").status, 503);
    readiness(&server, 503, "Redis lets wsloop subscribe to nothing, see ACL SETUSER");
    // One channel alone that is denied is nobody else's matter.
    set(&["+subscribe", "+unsubscribe", "resetchannels", "&broadcast:room", "&wsloop:*"]);
    readiness(&server, 200, "ready");
    assert_eq!(connect("hall?subscribe-broadcast").expect_err("a 503").status, 503);
    readiness(&server, 200, "ready");
    connect("room?subscribe-broadcast").expect("a 101");
}
