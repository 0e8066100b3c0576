//! L1: what a node of a cluster says of the cluster: who has which slots.
//!
//! It reads the answers to CLUSTER SHARDS, which Redis has from 7.0 on, and to CLUSTER SLOTS. They
//! are a peer's bytes: what makes no sense is left out, and a map without a single slot is none.

use crate::broker::spread::SLOTS;
use crate::link::Target;
use crate::proto::resp::Tree;

/// Longest name of a host (RFC 1035, section 2.3.4), and of a node.
const MAX_NAME: usize = 255;
/// Shards that are read of one answer.
const MOST_SHARDS: usize = 1_024;
/// Nodes that are read of one shard.
const MOST_MEMBERS: usize = 64;

/// Who has which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Shards, those without a slot included where they are known.
    pub shards: Vec<Shard>,
}

/// A master with its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// The first and the last slot of each range that it has.
    pub slots: Vec<(u16, u16)>,
    /// Its nodes.
    pub members: Vec<Member>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is called in the cluster, as long as it is there.
    pub id: String,
    /// Where it listens.
    pub at: Target,
    /// Others may write to it.
    pub is_master: bool,
    /// It is not known to have failed.
    pub is_online: bool,
}

impl Shard {
    /// Who is its master, if it has one.
    pub fn master(&self) -> Option<&Member> {
        let mut masters = self.members.iter().filter(|member| member.is_master);
        let first = masters.next();
        first
            .filter(|member| member.is_online)
            .or(masters.find(|member| member.is_online))
            .or(first)
    }
}

impl Map {
    /// What CLUSTER SHARDS has answered who was asked at that place.
    pub fn of_shards(answer: &[u8], asked: &Target) -> Option<Map> {
        let tree = Tree::parse(answer)?;
        let shard = |shard: &Tree<'_>| Shard {
            slots: ranges(shard.value("slots").map_or(&[], Tree::list)),
            members: match shard.value("nodes") {
                Some(nodes) => {
                    let members = nodes.list().iter().take(MOST_MEMBERS);
                    members.filter_map(|node| member(node, asked)).collect()
                }
                None => Vec::new(),
            },
        };
        Map::of(tree.list().iter().take(MOST_SHARDS).map(shard).collect())
    }

    /// The same of CLUSTER SLOTS, which names the master of each range first.
    pub fn of_slots(answer: &[u8], asked: &Target) -> Option<Map> {
        let mut shards: Vec<Shard> = Vec::new();
        for range in Tree::parse(answer)?.list().iter().take(SLOTS) {
            let [first, last, nodes @ ..] = range.list() else { continue };
            let slots = ranges(&[clone(first)?, clone(last)?]);
            let mut members = Vec::new();
            for (at, node) in nodes.iter().take(MOST_MEMBERS).enumerate() {
                let [endpoint, port, id, more @ ..] = node.list() else { continue };
                let ip = more.first().and_then(|more| more.value("ip")?.text());
                let host = host(endpoint.text(), ip);
                let place = host.and_then(|host| place(host, port.number(), None, asked));
                let id = id.text().and_then(name);
                let Some((id, place)) = id.zip(place) else { continue };
                members.push(Member { id, at: place, is_master: at == 0, is_online: true });
            }
            let Some(master) = members.first() else { continue };
            match shards.iter().position(|shard| shard.members[0].id == master.id) {
                Some(at) => shards[at].slots.extend(slots),
                None if shards.len() < MOST_SHARDS => shards.push(Shard { slots, members }),
                None => {}
            }
        }
        Map::of(shards)
    }

    /// Who has which slots, in an order that does not depend on who says it.
    pub(super) fn masters(&self) -> Vec<(String, Vec<(u16, u16)>)> {
        let slotted = self.shards.iter().filter(|shard| !shard.slots.is_empty());
        let master = |shard: &Shard| {
            let name = shard.master().map(|master| master.id.clone()).unwrap_or_default();
            (name, shard.slots.clone())
        };
        let mut masters: Vec<_> = slotted.map(master).collect();
        masters.sort();
        masters
    }

    fn of(shards: Vec<Shard>) -> Option<Map> {
        let usable = shards.into_iter().filter(|shard| shard.master().is_some());
        let shards: Vec<Shard> = usable.collect();
        shards.iter().any(|shard| !shard.slots.is_empty()).then_some(Map { shards })
    }
}

/// Whether the answer to CLUSTER INFO says that the node can serve, and the epoch of what it knows.
pub fn of_info(text: &[u8]) -> Option<(bool, u64)> {
    let text = std::str::from_utf8(text).ok()?;
    let value = |key: &str| {
        let mut pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
        pairs.find_map(|(name, value)| (name == key).then_some(value))
    };
    Some((value("cluster_state")? == "ok", value("cluster_current_epoch")?.parse().ok()?))
}

/// Where the answer MOVED or ASK sends: the slot and the place.
pub fn of_redirection(reason: &str, asked: &Target) -> Option<(u16, Target)> {
    let mut words = reason.split(' ').skip(1);
    let slot: u16 = words.next()?.parse().ok()?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let port = port.parse().ok();
    let place = place(host.as_bytes(), port, None, asked)?;
    (usize::from(slot) < SLOTS).then_some((slot, place))
}

fn clone<'a>(plain: &Tree<'a>) -> Option<Tree<'a>> {
    plain.text().map(Tree::Text)
}

/// Pairs of a first and a last slot.
fn ranges(numbers: &[Tree<'_>]) -> Vec<(u16, u16)> {
    let range = |pair: &[Tree<'_>]| {
        let (first, last) = (pair[0].number::<u16>()?, pair[1].number::<u16>()?);
        (first <= last && usize::from(last) < SLOTS).then_some((first, last))
    };
    numbers.chunks_exact(2).take(SLOTS).filter_map(range).collect()
}

/// A node in the answer to CLUSTER SHARDS.
fn member(node: &Tree<'_>, asked: &Target) -> Option<Member> {
    let text = |key: &str| node.value(key).and_then(Tree::text);
    let number = |key: &str| node.value(key).and_then(Tree::number::<u16>);
    let host = host(text("endpoint").or(text("ip")), text("ip"))?;
    Some(Member {
        id: name(text("id")?)?,
        at: place(host, number("port"), number("tls-port"), asked)?,
        is_master: text("role")? == b"master",
        is_online: !matches!(text("health"), Some(b"fail" | b"failed")),
    })
}

/// The host of a node. `?` is some node that has no name, and its address has to do; where that is
/// not said either, the node cannot be reached, and is not the one that was asked.
fn host<'a>(endpoint: Option<&'a [u8]>, ip: Option<&'a [u8]>) -> Option<&'a [u8]> {
    match endpoint {
        Some(b"?") => ip,
        endpoint => Some(endpoint.unwrap_or_default()),
    }
}

/// Where a node listens, for one who asked there. A node that does not know by which name it is
/// reached says an empty one, and then has the one that was asked.
fn place(host: &[u8], port: Option<u16>, tls_port: Option<u16>, asked: &Target) -> Option<Target> {
    let own = match asked {
        Target::Tcp { host, .. } | Target::Tls { host, .. } => host.as_str(),
        Target::Unix(_) => return None,
    };
    let host = match host {
        b"" => own.to_owned(),
        b"?" => return None,
        host => name(host)?,
    };
    let is_tls = matches!(asked, Target::Tls { .. });
    let port = if is_tls { tls_port.or(port) } else { port };
    let port = port.filter(|port| *port != 0)?;
    Some(match is_tls {
        true => Target::Tls { host, port },
        false => Target::Tcp { host, port },
    })
}

fn name(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let is_name = |c: char| c.is_ascii_graphic();
    let fits = !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(is_name);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Target {
        Target::Tcp { host: host.to_owned(), port }
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn node(id: &str, endpoint: &str, port: u16, role: &str) -> String {
        let words = [
            bulk("id") + &bulk(id),
            bulk("port") + &format!(":{port}\r\n"),
            bulk("tls-port") + &format!(":{}\r\n", port + 1_000),
            bulk("ip") + &bulk("10.0.0.9"),
            bulk("endpoint") + &bulk(endpoint),
            bulk("role") + &bulk(role),
            bulk("health") + &bulk("online"),
        ];
        format!("%{}\r\n{}", words.len(), words.concat())
    }

    #[test]
    fn shards_are_read_with_their_nodes() {
        let nodes = node("a", "h", 1, "replica") + &node("b", "?", 2, "master");
        let slots = "*4\r\n:0\r\n:5\r\n:7\r\n:16383\r\n";
        let one = format!("%2\r\n{}{slots}{}*2\r\n{nodes}", bulk("slots"), bulk("nodes"));
        let empty = node("c", "h", 3, "master");
        let other = format!("%2\r\n{}*0\r\n{}*1\r\n{empty}", bulk("slots"), bulk("nodes"));
        let answer = format!("*2\r\n{one}{other}");
        let map = Map::of_shards(answer.as_bytes(), &tcp("seed", 9)).expect("a map");
        assert_eq!(map.shards[0].slots, [(0, 5), (7, 16_383)]);
        assert_eq!(map.shards[0].master().map(|one| &one.at), Some(&tcp("10.0.0.9", 2)));
        assert_eq!(map.shards[0].members[0].at, tcp("h", 1));
        assert_eq!((map.shards.len(), &map.shards[1].slots[..]), (2, &[][..]));
        let tls = Target::Tls { host: "seed".to_owned(), port: 9 };
        let map = Map::of_shards(answer.as_bytes(), &tls).expect("a map");
        let expected = Target::Tls { host: "h".to_owned(), port: 1_001 };
        assert_eq!(map.shards[0].members[0].at, expected);
        for length in 0..answer.len() {
            assert_eq!(Map::of_shards(&answer.as_bytes()[..length], &tls), None, "{length}");
        }
    }

    #[test]
    fn slots_are_read_range_by_range() {
        let node = |id: &str, port: u16| format!("*4\r\n$-1\r\n:{port}\r\n{}*0\r\n", bulk(id));
        let range = |first: u16, last: u16, id: &str, port: u16| {
            let replica = node("r", 9);
            format!("*4\r\n:{first}\r\n:{last}\r\n{}{replica}", node(id, port))
        };
        let (a, b, c) = (range(0, 5, "a", 1), range(6, 7, "b", 2), range(9, 9, "a", 1));
        let answer = format!("*3\r\n{a}{b}{c}");
        let map = Map::of_slots(answer.as_bytes(), &tcp("seed", 9)).expect("a map");
        assert_eq!(map.shards.len(), 2);
        assert_eq!(map.shards[0].slots, [(0, 5), (9, 9)]);
        assert_eq!(map.shards[1].master().map(|one| &one.at), Some(&tcp("seed", 2)));
        assert!(Map::of_slots(b"*0\r\n", &tcp("seed", 9)).is_none());
    }

    #[test]
    fn what_a_node_says_of_itself_and_where_it_sends() {
        let info = b"cluster_state:ok\r\ncluster_current_epoch:17\r\n";
        assert_eq!(of_info(info), Some((true, 17)));
        assert_eq!(of_info(b"cluster_state:fail\r\n"), None);
        let at = tcp("seed", 9);
        let moved = |reason| of_redirection(reason, &at);
        assert_eq!(moved("MOVED 3999 127.0.0.1:6381"), Some((3999, tcp("127.0.0.1", 6381))));
        assert_eq!(moved("ASK 1 ::1:7"), Some((1, tcp("::1", 7))));
        assert_eq!(moved("MOVED 1 :7"), Some((1, tcp("seed", 7))));
        for nonsense in
            ["MOVED", "MOVED 1 ?:7", "MOVED 16384 h:1", "MOVED 1 h", "MOVED 1 h:0", "MOVED x h:1"]
        {
            assert_eq!(moved(nonsense), None, "{nonsense}");
        }
    }
}
