//! A crowd that comes, speaks and leaves while three Redis go, hesitate and come back, as drawn
//! from a seed. What is expected of each conn follows from its own Redis alone.

use super::super::world::*;
use super::several::Draw;

const FACILITIES: usize = 8;

/// Somebody in the crowd.
struct Member {
    id: BrowserId,
    facility: usize,
    /// What was said on its facility since it opened and its Redis was lost last, and what of that
    /// it has heard.
    due: Vec<String>,
    got: Vec<String>,
    /// How often its Redis had been lost then, and what had been said at all.
    losses: usize,
    since: usize,
}

struct Crowd {
    world: World,
    /// The Redis that has each facility.
    nodes: Vec<usize>,
    /// Whether each is there and answers.
    up: [bool; 3],
    paused: [bool; 3],
    /// How often each was lost.
    losses: [usize; 3],
    members: Vec<Member>,
    said: usize,
    refused: usize,
    heard: usize,
}

impl Crowd {
    fn new() -> Crowd {
        let mut world = World::new(with_several(3));
        let mut nodes = Vec::new();
        for facility in 0..FACILITIES {
            let id = world.open(&format!("/ws/f{facility}?subscribe-broadcast"));
            let name = format!("broadcast:f{facility}");
            let node = (0..3).find(|node| world.node(*node).subscribed().contains(&name));
            nodes.push(node.expect("it is heard"));
            world.vanish(id);
        }
        let (up, paused, losses) = ([true; 3], [false; 3], [0; 3]);
        let members = Vec::new();
        Crowd { world, nodes, up, paused, losses, members, said: 0, refused: 0, heard: 0 }
    }

    fn act(&mut self, draw: &mut Draw) {
        let node = draw.below(3);
        match draw.below(16) {
            0 if self.up[node] => {
                self.world.kill_node(node);
                self.up[node] = false;
                self.losses[node] += 1;
            }
            0 | 1 => {
                self.revive(node);
            }
            2 => {
                self.paused[node] = true;
                self.world.node(node).paused = true;
            }
            3 | 4 => self.unpause(node),
            5..=8 => self.come(draw.below(FACILITIES as u64)),
            9 if !self.members.is_empty() => {
                let gone = self.members.swap_remove(draw.below(self.members.len() as u64));
                self.world.vanish(gone.id);
            }
            _ => self.say(draw.below(FACILITIES as u64)),
        }
        self.look();
    }

    fn unpause(&mut self, node: usize) {
        self.paused[node] = false;
        self.world.node(node).paused = false;
        self.world.run();
    }

    /// It is there again when as much time has passed as another need not wait for an answer.
    fn revive(&mut self, node: usize) {
        self.unpause(node);
        for other in 0..3 {
            if self.paused[other] {
                self.up[other] = false;
                self.losses[other] += 1;
            }
        }
        self.world.revive_node(node);
        self.up[node] = true;
    }

    fn come(&mut self, facility: usize) {
        let id = self.world.knock(&format!("/ws/f{facility}?subscribe-broadcast"));
        let losses = self.losses[self.nodes[facility]];
        let (due, got) = Default::default();
        self.members.push(Member { id, facility, due, got, losses, since: 0 });
    }

    /// The application says something, which is stored nowhere.
    fn say(&mut self, facility: usize) {
        self.said += 1;
        let (text, node) = (self.said.to_string(), self.nodes[facility]);
        let is_heard = self.up[node];
        self.world.node(node).publish(&format!("broadcast:f{facility}"), &text, 0, 0);
        self.world.run();
        for member in &mut self.members {
            let is_open = self.world.status(member.id) == Some(101);
            if member.facility == facility && is_heard && is_open {
                member.due.push(text.clone());
            }
        }
    }

    /// Nobody is closed that was let in, and nobody refused whose Redis is there.
    fn look(&mut self) {
        let Crowd { world, nodes, up, losses, members, said, refused, heard, .. } = self;
        members.retain_mut(|member| {
            let node = nodes[member.facility];
            let was_lost = !up[node] || losses[node] > member.losses;
            match world.status(member.id) {
                Some(101) => {
                    assert_eq!(world.browsers[member.id].closed_ms, None, "an open one was closed");
                    let texts = world.texts(member.id);
                    *heard += texts.len();
                    // What waited for an answer that was lost may come later.
                    let is_new = |text: &String| text.parse::<usize>().unwrap() > member.since;
                    member.got.extend(texts.into_iter().filter(is_new));
                    let Member { got, due, .. } = member;
                    match was_lost {
                        false => assert!(due.starts_with(got), "{got:?} {due:?}"),
                        true => {
                            assert!(got.is_sorted_by_key(|text| text.parse::<usize>().unwrap()));
                            (*got, *due) = Default::default();
                            (member.losses, member.since) = (losses[node], *said);
                        }
                    }
                    true
                }
                Some(status) => {
                    assert_eq!((status, was_lost), (503, true), "of {node}");
                    *refused += 1;
                    false
                }
                None => true,
            }
        });
    }
}

#[test]
fn what_becomes_of_a_conn_is_a_matter_of_its_own_redis() {
    let (mut heard, mut refused, mut losses) = (0, 0, 0);
    for seed in 0..40 {
        let (mut crowd, mut draw) = (Crowd::new(), Draw(seed));
        for _ in 0..150 {
            crowd.act(&mut draw);
        }
        for node in 0..3 {
            crowd.revive(node);
        }
        crowd.look();
        for Member { id, due, got, .. } in &crowd.members {
            assert_eq!((crowd.world.status(*id), due), (Some(101), got), "seed {seed}");
        }
        heard += crowd.heard;
        refused += crowd.refused;
        losses += crowd.losses.iter().sum::<usize>();
    }
    assert!(heard > 1_500 && refused > 200 && losses > 200, "{heard}, {refused}, {losses}");
}
