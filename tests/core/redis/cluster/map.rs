//! What nodes say of the cluster: it is read however large it is, and what makes no sense harms no
//! link.

use super::*;
use wsloop::Target;
use wsloop::internals::broker::cluster::Map;

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// A shard of one node as CLUSTER SHARDS tells it.
fn shard(id: &str, endpoint: &str, ip: &str, slots: (u16, u16)) -> String {
    let pairs = [("id", id), ("endpoint", endpoint), ("ip", ip), ("role", "master")];
    let pairs = pairs.map(|(key, value)| bulk(key) + &bulk(value)).concat();
    let node = format!("%5\r\n{pairs}{}:6379\r\n", bulk("port"));
    let slots = format!("*2\r\n:{}\r\n:{}\r\n", slots.0, slots.1);
    format!("%2\r\n{}{slots}{}*1\r\n{node}", bulk("slots"), bulk("nodes"))
}

/// The same as CLUSTER SLOTS tells it.
fn range(id: &str, endpoint: &str, ip: &str, slots: (u16, u16)) -> String {
    let more = format!("*2\r\n{}{}", bulk("ip"), bulk(ip));
    let node = format!("*4\r\n{}:6379\r\n{}{more}", bulk(endpoint), bulk(id));
    format!("*3\r\n:{}\r\n:{}\r\n{node}", slots.0, slots.1)
}

/// Two masters would be at one place, and one of them would never be reached.
#[test]
fn a_node_of_an_unknown_name_is_not_the_one_that_was_asked() {
    let tcp = |host: &str| Target::Tcp { host: host.to_owned(), port: 6379 };
    let asked = tcp("redis-1.example");
    type Read = fn(&[u8], &Target) -> Option<Map>;
    type Told = fn(&str, &str, &str, (u16, u16)) -> String;
    let forms: [(Read, Told); 2] = [(Map::of_shards, shard), (Map::of_slots, range)];
    for (read, told) in forms {
        let places = |endpoint: &str, ip: &str| {
            let own = told("a", "redis-1.example", "10.0.0.1", (0, 8_191));
            let other = told("b", endpoint, ip, (8_192, 16_383));
            let map = read(format!("*2\r\n{own}{other}").as_bytes(), &asked).expect("a map");
            let masters = map.shards.iter().filter_map(|shard| shard.master());
            masters.map(|master| master.at.clone()).collect::<Vec<_>>()
        };
        assert_eq!(places("?", "10.0.0.2"), [asked.clone(), tcp("10.0.0.2")]);
        assert_eq!(places("?", "?"), [asked.clone()], "nobody can reach it");
        // Only the node itself is told without a name, as it does not know under which it is known.
        assert_eq!(places("", "10.0.0.2"), [asked.clone(), asked.clone()]);
        assert_eq!(places("?", ""), [asked.clone(), asked.clone()]);
    }
}
