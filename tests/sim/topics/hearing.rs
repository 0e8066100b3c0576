//! What pages hear, held against what they are to hear.

use super::{Game, KEPT_MS, MOST};

impl Game<'_, '_> {
    pub(super) fn look_at(&mut self, at: usize, text: &str) {
        let (head, payload) = text.split_once('\n').unwrap_or((text, ""));
        let words: Vec<&str> = head.split(' ').collect();
        match words[..] {
            ["welcome", ..] | ["beat"] => {}
            ["stored", _, name, _] => {
                let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
                heard.before_gap = None;
            }
            ["ok", number] => {
                let number = number.parse().expect("a number");
                self.pages[at].wished.remove(&number);
                self.accepted.extend(self.pages[at].said.remove(&number));
            }
            ["refused", number, "503", ..] if self.has_wished(at, number) => {
                let wished = self.pages[at].wished.remove(&number.parse().expect("a number"));
                self.wish(at, wished.expect("it has wished for it"));
            }
            ["dropped", number] | ["refused", number, ..] => {
                let number = number.parse().expect("a number");
                assert!(self.pages[at].said.remove(&number).is_some(), "{at}: {head}");
            }
            [verb, "broadcast", name, position] => {
                let name = *self.channels.iter().find(|known| **known == name).expect("a channel");
                match verb {
                    "subscribed" => self.on_subscribed(at, name, position),
                    "message" => self.on_message(at, name, position, payload),
                    "gap" => self.on_gap(at, name, position),
                    _ => panic!("{text:?}"),
                }
            }
            _ => panic!("{text:?}"),
        }
    }

    /// Whether that is the number of a wish to hear something.
    fn has_wished(&self, at: usize, number: &str) -> bool {
        self.pages[at].wished.contains_key(&number.parse().expect("a number"))
    }

    fn on_subscribed(&mut self, at: usize, name: &'static str, position: &str) {
        let place = self.places.get(&format!("{name} {position}")).copied();
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        if heard.position != position {
            // It is new, or nothing is missing.
            heard.next = heard.next.or(place);
        }
        heard.subscribed = true;
        heard.position = position.to_owned();
    }

    fn on_message(&mut self, at: usize, name: &'static str, position: &str, text: &str) {
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        let log = &self.log[name];
        let place = log.iter().position(|known| known == text);
        if position == "-" {
            assert!(heard.plain.insert(text.to_owned()), "{at} hears {text} twice");
            // It was trimmed before the history was looked at, and is heard in its order.
            let is_trimmed = |place: &usize| place + MOST < log.len();
            if let Some(place) = place.filter(is_trimmed).filter(|at| heard.next == Some(*at)) {
                heard.next = Some(place + 1);
            }
            return;
        }
        let place = place.unwrap_or_else(|| panic!("{text} is in no history"));
        assert!(
            heard.next.is_none_or(|next| next == place),
            "{at} hears {text}: {heard:?}, {log:?}"
        );
        (heard.next, heard.told, heard.before_gap) = (Some(place + 1), true, None);
        heard.position = position.to_owned();
        let known = self.places.insert(format!("{name} {position}"), place + 1);
        assert!(known.is_none_or(|known| known == place + 1), "{position} is of two messages");
    }

    fn on_gap(&mut self, at: usize, name: &'static str, position: &str) {
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        let log = self.log.get(name).map_or(0, Vec::len);
        let is_trimmed = heard.next.is_none_or(|next| log - next.min(log) >= MOST);
        let recorded_ms = self.recorded_ms.get(name).copied().unwrap_or(0);
        let is_old = self.world.now_ms >= recorded_ms + KEPT_MS;
        let forgotten = self.forgotten.get(name).copied().unwrap_or(0);
        let is_due = is_trimmed || is_old || heard.next.is_some_and(|next| next <= forgotten);
        assert!(is_due, "{at} has a gap on {name}: {heard:?}");
        let next = self.places.get(&format!("{name} {position}")).copied();
        let position = std::mem::replace(&mut heard.position, position.to_owned());
        let before = (position, std::mem::replace(&mut heard.next, next));
        // Two gaps in a row are behind the same place.
        heard.before_gap.get_or_insert(before);
    }
}
