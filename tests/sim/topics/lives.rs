//! Redis starts anew: without what it had, or as it was a while ago. Its link breaks when that is
//! so: what is asked over the next is answered in that life.

use super::Game;

impl Game<'_, '_> {
    /// A Redis comes back in another life.
    pub(super) fn another_life(&mut self) {
        let node = if self.redis() > 1 { self.dice.below(self.redis()) } else { 0 };
        self.read_histories();
        match self.dice.below(3) {
            0 => {
                self.say(|| format!("Redis {node} saves"));
                return self.world.node(node).histories.save();
            }
            1 => {
                self.say(|| format!("Redis {node} comes back as it was"));
                self.world.node(node).histories.load();
                self.world.cut_node(node);
            }
            _ => {
                self.say(|| format!("Redis {node} forgets"));
                self.world.node(node).histories.forget();
                self.world.cut_node(node);
            }
        }
        let own = self.channels.iter().copied().zip(self.nodes.clone());
        for (name, _) in own.filter(|(_, at)| *at == node) {
            let there = self.redis_of(name).timed_history(&format!("broadcast:{name}"));
            let log = self.logs.get_mut(name).expect("a log");
            log.restart(|text| there.iter().any(|(_, known)| known == text));
        }
    }
}
