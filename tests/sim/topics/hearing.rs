//! What pages hear, held against what they are to hear.

use super::{Game, KEPT_MS, MOST, log};

impl Game<'_, '_> {
    pub(super) fn look_at(&mut self, at: usize, text: &str) {
        let (head, payload) = text.split_once('\n').unwrap_or((text, ""));
        let words: Vec<&str> = head.split(' ').collect();
        match words[..] {
            ["welcome", ..] | ["beat"] => {}
            ["stored", _, name, _] => {
                let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
                heard.before_gap.clear();
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
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        if heard.position != position {
            // It is new, or nothing is missing.
            let next = self.logs[name].before(position);
            let is_next = heard.next.is_none() || self.logs[name].goes_on(heard, next);
            assert!(is_next, "{at} is at {position} of {name}, {next}: {heard:?}");
            heard.next = Some(next);
        } else if let Some(next) = &mut heard.next {
            // What it had of trimmed entries is there again when Redis has come back as it was.
            *next = (*next).min(self.logs[name].before(position));
        }
        heard.subscribed = true;
        heard.position = position.to_owned();
    }

    fn on_message(&mut self, at: usize, name: &'static str, position: &str, text: &str) {
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        let log = &self.logs[name];
        let place = log.place_of(text);
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
        assert!(log.goes_on(heard, place), "{at} hears {text}: {heard:?}, {log:?}");
        assert_eq!(log.before(position), place + 1, "{position} of {text} is another's: {log:?}");
        (heard.next, heard.told) = (Some(place + 1), true);
        heard.before_gap.clear();
        heard.position = position.to_owned();
    }

    fn on_gap(&mut self, at: usize, name: &'static str, position: &str) {
        let (broker_ms, there) = (self.broker_ms(name), self.history(name));
        let heard = self.pages[at].heard.get_mut(name).expect("it wants to");
        let log = &self.logs[name];
        let before = heard.next.expect("it stands somewhere");
        // Of what was before another life nobody can tell where it ended.
        let is_due = before <= log.restarted
            || match log::time_of(&heard.position) {
                Some(ms) => {
                    let is_trimmed = log.len() - before >= MOST;
                    is_trimmed || before <= log.expired || broker_ms >= ms + KEPT_MS
                }
                None => {
                    let id = log::id(&heard.position);
                    !there.iter().any(|(known, _)| *known == id)
                }
            };
        assert!(is_due, "{at} has a gap on {name}: {heard:?}, {log:?}");
        let next = Some(log.before(position));
        let position = std::mem::replace(&mut heard.position, position.to_owned());
        let before = (position, std::mem::replace(&mut heard.next, next));
        heard.before_gap.push(before);
    }

    /// The time at the broker of a channel.
    fn broker_ms(&mut self, name: &str) -> u64 {
        match self.eye {
            Some(_) => self.world.unix_ms(),
            None => self.redis_of(name).histories.ms,
        }
    }
}
