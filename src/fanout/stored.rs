//! L1: the stored messages and sessions that were asked for, and who waits for them.
//!
//! It knows channels by id, conns by link and messages by hash. The broker answers fetches in the
//! order they were made, so they need no numbers on the wire. Its rules:
//! * a conn gets a channel's stored message once, unless the channel delivered something to it
//!   first: then that was newer, or the same;
//! * a conn's stored messages come in the order of its channels;
//! * conns that come while a fetch is under way share it, as long as nothing was delivered since;
//! * after an outage a stored message goes to everyone who hears the channel, unless it is one that
//!   was delivered before, or another one has been since it was asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::fanout::hub::ChannelId;
use crate::link::LinkId;

/// What is kept for each channel that somebody hears.
#[derive(Debug, Default)]
pub struct ChannelState {
    /// Whether the broker has confirmed the subscription.
    pub confirmed: bool,
    /// Counts deliveries, so that who joined before one can be told from who joined after.
    deliveries: u32,
    /// Hash of the last message delivered, 0 for none.
    last_delivered: u64,
    /// Hash of the last stored message seen, 0 for none.
    last_stored: u64,
    /// The fetch that a conn which comes now may share, 0 for none.
    shared_fetch: u64,
}

/// The fetches that are not answered yet, oldest first.
#[derive(Debug, Default)]
pub struct Fetches {
    waiting: VecDeque<Asked>,
    /// The number of the last fetch made; the first is 1.
    made: u64,
}

/// What was asked for.
#[derive(Debug)]
pub enum Asked {
    /// A channel's stored message.
    Message(Fetch),
    /// The session of a conn that wants to open.
    Session(LinkId),
}

/// One question for a channel's stored message.
#[derive(Debug)]
pub struct Fetch {
    /// The channel's id when it was asked.
    pub channel: ChannelId,
    /// Its name: the id may have come to name another.
    pub name: Arc<str>,
    /// The channel's deliveries when it was asked for everyone who hears it, after an outage.
    catch_up: Option<u32>,
    waiters: Vec<(LinkId, u32)>,
}

impl ChannelState {
    /// Notes that a message of that hash went to everyone who hears the channel.
    pub fn delivered(&mut self, hash: u64) {
        self.deliveries = self.deliveries.wrapping_add(1);
        self.last_delivered = hash;
        self.shared_fetch = 0;
    }

    /// Notes a stored message; true when it is news to those who hear the channel.
    pub fn is_news(&mut self, hash: u64) -> bool {
        let known = [self.last_delivered, self.last_stored].contains(&hash);
        self.last_stored = hash;
        !known
    }
}

impl Fetches {
    /// Lets `link` wait for the channel's stored message. Returns the fetch it waits for, which
    /// comes after fetch `after`, and whether that has yet to be asked of the broker.
    pub fn wait(
        &mut self,
        link: LinkId,
        channel: ChannelId,
        name: &Arc<str>,
        state: &mut ChannelState,
        after: u64,
    ) -> (u64, bool) {
        let waiter = (link, state.deliveries);
        if state.shared_fetch > after
            && let Some(fetch) = self.message(state.shared_fetch)
        {
            fetch.waiters.push(waiter);
            return (state.shared_fetch, false);
        }
        let number = self.ask(channel, name.clone(), None, vec![waiter]);
        state.shared_fetch = number;
        (number, true)
    }

    /// Notes a fetch made for everyone who hears the channel.
    pub fn catch_up(&mut self, channel: ChannelId, name: Arc<str>, state: &mut ChannelState) {
        let asked = Some(state.deliveries);
        state.shared_fetch = self.ask(channel, name, asked, Vec::new());
    }

    /// Notes that the session of a conn was asked for.
    pub fn look_up(&mut self, link: LinkId) {
        self.made += 1;
        self.waiting.push_back(Asked::Session(link));
    }

    /// The oldest fetch: it is answered.
    pub fn answered(&mut self) -> Option<Asked> {
        self.waiting.pop_front()
    }

    /// Forgets the fetches that a broker which went away will not answer, and returns those of
    /// messages. Who waits for a session asks again.
    pub fn forgotten(&mut self) -> Vec<Fetch> {
        let message = |asked| match asked {
            Asked::Message(fetch) => Some(fetch),
            Asked::Session(_) => None,
        };
        std::mem::take(&mut self.waiting).into_iter().filter_map(message).collect()
    }

    /// Lets those who waited for a forgotten fetch wait for the one that was made in its place.
    pub fn wait_again(&mut self, forgotten: Fetch, state: &ChannelState) {
        if let Some(fetch) = self.message(state.shared_fetch) {
            fetch.waiters.extend(forgotten.waiters);
        }
    }

    /// The fetch of a message that has that number, unless it is answered.
    fn message(&mut self, number: u64) -> Option<&mut Fetch> {
        let answered = self.made - self.waiting.len() as u64;
        let at = number.checked_sub(answered + 1)?;
        match self.waiting.get_mut(at as usize)? {
            Asked::Message(fetch) => Some(fetch),
            Asked::Session(_) => None,
        }
    }

    fn ask(
        &mut self,
        channel: ChannelId,
        name: Arc<str>,
        catch_up: Option<u32>,
        waiters: Vec<(LinkId, u32)>,
    ) -> u64 {
        self.made += 1;
        self.waiting.push_back(Asked::Message(Fetch { channel, name, catch_up, waiters }));
        self.made
    }
}

impl Fetch {
    /// Whether news are for everyone who hears the channel: they were asked for after an outage,
    /// and nothing has been delivered since that would be newer.
    pub fn is_for_everyone(&self, state: &ChannelState) -> bool {
        self.catch_up == Some(state.deliveries)
    }

    /// Who waited, and has had no delivery of the channel since.
    pub fn entitled(&self, state: &ChannelState) -> impl Iterator<Item = LinkId> {
        let deliveries = state.deliveries;
        self.waiters.iter().filter(move |(_, at)| *at == deliveries).map(|(link, _)| *link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32) -> LinkId {
        LinkId { index, generation: index }
    }

    fn entitled(fetch: &Fetch, state: &ChannelState) -> Vec<u32> {
        fetch.entitled(state).map(|link| link.index).collect()
    }

    fn answered(fetches: &mut Fetches) -> Fetch {
        match fetches.answered() {
            Some(Asked::Message(fetch)) => fetch,
            other => panic!("not a message: {other:?}"),
        }
    }

    #[test]
    fn a_session_keeps_its_place_among_the_messages() {
        let (mut fetches, mut state) = (Fetches::default(), ChannelState::default());
        let name = Arc::from("c");
        fetches.look_up(link(9));
        assert_eq!(fetches.wait(link(1), 0, &name, &mut state, 0), (2, true));
        fetches.look_up(link(8));
        assert_eq!(fetches.wait(link(2), 0, &name, &mut state, 0), (2, false));
        assert!(matches!(fetches.answered(), Some(Asked::Session(who)) if who == link(9)));
        assert_eq!(fetches.wait(link(3), 0, &name, &mut state, 0), (2, false));
        assert_eq!(entitled(&answered(&mut fetches), &state), [1, 2, 3]);
        assert!(matches!(fetches.answered(), Some(Asked::Session(who)) if who == link(8)));
        assert!(fetches.answered().is_none());
    }

    #[test]
    fn who_comes_while_a_fetch_is_under_way_shares_it() {
        let (mut fetches, mut state) = (Fetches::default(), ChannelState::default());
        let name = Arc::from("c");
        assert_eq!(fetches.wait(link(1), 0, &name, &mut state, 0), (1, true));
        assert_eq!(fetches.wait(link(2), 0, &name, &mut state, 0), (1, false));
        let fetch = answered(&mut fetches);
        assert_eq!(entitled(&fetch, &state), [1, 2]);
        assert_eq!(fetches.wait(link(3), 0, &name, &mut state, 0), (2, true), "it was answered");
    }

    #[test]
    fn a_delivery_takes_the_place_of_the_stored_message() {
        let (mut fetches, mut state) = (Fetches::default(), ChannelState::default());
        let name = Arc::from("c");
        fetches.wait(link(1), 0, &name, &mut state, 0);
        state.delivered(77);
        assert_eq!(fetches.wait(link(2), 0, &name, &mut state, 0), (2, true), "asked anew");
        let (old, new) = (answered(&mut fetches), answered(&mut fetches));
        assert_eq!((entitled(&old, &state), entitled(&new, &state)), (vec![], vec![2]));
    }

    #[test]
    fn a_conns_fetches_keep_the_order_of_its_channels() {
        let mut fetches = Fetches::default();
        let (mut a, mut b) = Default::default();
        let names: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
        fetches.wait(link(1), 1, &names[1], &mut b, 0);
        let (first, _) = fetches.wait(link(2), 0, &names[0], &mut a, 0);
        assert_eq!(first, 2);
        assert_eq!(fetches.wait(link(2), 1, &names[1], &mut b, first), (3, true));
    }

    #[test]
    fn after_an_outage_only_news_goes_to_everyone() {
        let mut state = ChannelState::default();
        state.delivered(1);
        assert!(!state.is_news(1));
        state.delivered(2);
        assert!(!state.is_news(1), "an older stored message that everyone has had");
        assert!(state.is_news(3));
    }

    #[test]
    fn who_waited_when_the_broker_went_waits_for_the_next_fetch() {
        let (mut fetches, mut state) = (Fetches::default(), ChannelState::default());
        let name: Arc<str> = Arc::from("c");
        fetches.wait(link(1), 0, &name, &mut state, 0);
        let forgotten = fetches.forgotten();
        fetches.catch_up(0, name, &mut state);
        forgotten.into_iter().for_each(|fetch| fetches.wait_again(fetch, &state));
        let fetch = answered(&mut fetches);
        assert!(fetch.is_for_everyone(&state) && entitled(&fetch, &state) == [1]);
        state.delivered(1);
        assert!(!fetch.is_for_everyone(&state) && entitled(&fetch, &state).is_empty());
    }
}
