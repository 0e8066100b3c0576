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
        assert_eq!(places("?", "?").len(), 1, "nobody can reach it");
        // Only the node itself is told without a name, as it does not know under which it is known.
        assert_eq!(places("", "10.0.0.2"), [asked.clone(), asked.clone()]);
        assert_eq!(places("?", ""), [asked.clone(), asked.clone()]);
    }
}

/// Slots that lie in ranges of so many, which two masters have in turn.
fn in_turn(ranges_of: u16) -> Vec<Shard> {
    let slots = |first: u16| {
        let firsts = (first..16_384).step_by(2 * usize::from(ranges_of));
        firsts.map(|at| (at, at + ranges_of - 1)).collect()
    };
    let shard = |first, nodes: [u16; 3]| {
        let (slots, nodes) = (slots(first), nodes.to_vec());
        Shard { slots, nodes, failed: false }
    };
    vec![shard(0, [0, 2, 3]), shard(ranges_of, [1, 3, 2])]
}

/// That is so from now on, and told in that form.
fn tell(world: &mut World, shards: &[Shard], by_ranges: bool) {
    learn(world, 2, shards);
    let of = |node: &mut FakeRedis| node.cluster.as_mut().expect("a node").by_ranges = by_ranges;
    (0..4).for_each(|node| of(world.node(node)));
}

/// The number of ranges grows with each resharding, up to one for each slot.
const WIDTHS: [u16; 4] = [32, 8, 4, 1];

#[test]
fn a_map_of_many_ranges_is_read() {
    for (width, by_ranges) in WIDTHS.into_iter().flat_map(|width| [(width, false), (width, true)]) {
        let mut world = world_of(with_cluster(4, Sharding::Off));
        tell(&mut world, &in_turn(width), by_ranges);
        (0..2).for_each(|node| world.cut_node(node));
        world.pass(3_000);
        assert_eq!(world.metrics().broker_up, 1, "{} ranges, {by_ranges}", 16_384 / width);
        let first = world.open(&both(FIRST));
        let owner = usize::from(slot(&channel(FIRST)) / width % 2);
        assert_eq!(world.node(owner).subscribed(), [channel(FIRST)]);
        world.say(first, "heard");
        assert_eq!(world.texts(first), ["heard"]);
    }
}

/// It is up and serves when its slots become so many ranges.
#[test]
fn a_map_that_becomes_one_of_many_ranges_costs_no_link() {
    for (width, by_ranges) in WIDTHS.into_iter().flat_map(|width| [(width, false), (width, true)]) {
        let mut world = world(Sharding::Off);
        let first = world.open(&both(FIRST));
        let shards = in_turn(width);
        tell(&mut world, &shards, by_ranges);
        world.pass(10_000);
        let late = world.open(&hears(SECOND));
        let owner = usize::from(slot(&channel(SECOND)) / width % 2);
        let heard = world.node(owner).subscribed();
        assert!(heard.contains(&channel(SECOND)), "it is followed: {heard:?}");
        world.publish_at(owner, &channel(SECOND), "live");
        assert_eq!(world.texts(late), ["live"]);
        let ranges = 16_384 / width;
        assert_eq!(world.metrics().broker_lost_total, 0, "{ranges} ranges, {by_ranges}");
        assert_eq!(world.texts(first), [""; 0], "and no gap");
    }
}

/// 64 with a master and five replicas each, of which Redis says seven things.
#[test]
fn a_cluster_of_as_many_shards_as_there_may_be_is_read() {
    let mut world = world(Sharding::Off);
    let mut shards = split(100, &[0, 2, 10, 11, 12, 13], &[1, 3, 14, 15, 16, 17]);
    let more = (2..64).map(|shard| (20 + 6 * shard..26 + 6 * shard).collect());
    shards.extend(more.map(|nodes| Shard { slots: Vec::new(), nodes, failed: false }));
    tell(&mut world, &shards, false);
    world.cut_node(0);
    world.pass(3_000);
    assert_eq!((world.metrics().broker_up, world.metrics().broker_lost_total), (1, 1));
    world.open(&hears(FIRST));
    assert_eq!(world.node(1).subscribed(), [channel(FIRST)], "it is followed");
}

/// Its place among the replies is right, so that none is taken for another.
#[test]
fn a_map_that_makes_no_sense_is_counted_and_costs_no_link() {
    let long: &str = format!("*1\r\n{}", bulk(&"x".repeat(2 << 20))).leak();
    for nonsense in ["*0\r\n", "*1\r\n*2\r\n:7\r\n:9\r\n", "%1\r\n+slots\r\n:7\r\n", long] {
        let mut world = world(Sharding::Off);
        let first = world.open(&both(FIRST));
        let say = |world: &mut World, nonsense| {
            let of = |node: &mut FakeRedis| {
                node.cluster.as_mut().expect("a node").nonsense = nonsense;
            };
            (0..4).for_each(|node| of(world.node(node)));
        };
        say(&mut world, Some(nonsense));
        world.pass(10_000);
        assert!(world.metrics().broker_errors_total > 5, "{}", world.metrics().broker_errors_total);
        say(&mut world, None);
        learn(&mut world, 2, &split(100, &[0, 2], &[1, 3]));
        world.pass(2_000);
        world.say(first, "said");
        let now_ms = world.now_ms;
        let stored = world.node(1).stored(0, &channel(FIRST), now_ms);
        assert_eq!(stored, Some(&b"said"[..]), "what makes sense is followed");
        assert_eq!(world.texts(first), ["said"]);
        assert_eq!((world.metrics().broker_lost_total, world.metrics().broker_up), (0, 1));
    }
}

/// A reply that is no aggregate was meant for somebody else: what follows might be, too.
#[test]
fn what_has_not_even_the_form_of_a_map_ends_the_link() {
    let mut world = world(Sharding::Off);
    world.open(&hears(FIRST));
    world.node(0).cluster.as_mut().expect("a node").nonsense = Some(":7\r\n");
    world.pass(3_000);
    assert!(world.metrics().broker_lost_total > 0);
}
