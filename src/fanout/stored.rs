//! L1: the stored messages that were asked for, and who waits for them.
//!
//! It knows channels by id, conns by link and messages by hash. A fetch has a number, which comes
//! back with its answer; fetches are answered in the order of their numbers. Its rules:
//! * a conn gets a channel's stored message once, unless the channel delivered something to it
//!   first: then that was newer, or the same;
//! * a conn's stored messages come in the order of its channels;
//! * conns that come while a fetch is under way share it, as long as nothing was delivered since;
//! * after an outage a stored message goes to everyone who hears the channel, unless it is one that
//!   was delivered before, or another one has been since it was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hub::ChannelId;
use crate::link::LinkId;

/// What is kept for each channel that somebody hears.
#[derive(Debug, Default)]
pub(crate) struct ChannelState {
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

/// The fetches that are not answered yet, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    waiting: BTreeMap<u64, Fetch>,
    /// The number of the last fetch made; the first is 1.
    made: u64,
}

/// One question for a channel's stored message.
#[derive(Debug)]
pub(crate) struct Fetch {
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
    pub(crate) fn delivered(&mut self, hash: u64) {
        self.deliveries = self.deliveries.wrapping_add(1);
        self.last_delivered = hash;
        self.shared_fetch = 0;
    }

    /// Notes a stored message; true when it is news to those who hear the channel.
    pub(crate) fn is_news(&mut self, hash: u64) -> bool {
        let known = [self.last_delivered, self.last_stored].contains(&hash);
        self.last_stored = hash;
        !known
    }
}

impl Fetches {
    /// Lets `link` wait for the channel's stored message. Returns the fetch it waits for, which
    /// comes after fetch `after`, and whether that has yet to be asked of the broker.
    pub(crate) fn wait(
        &mut self,
        link: LinkId,
        channel: ChannelId,
        name: &Arc<str>,
        state: &mut ChannelState,
        after: u64,
    ) -> (u64, bool) {
        let waiter = (link, state.deliveries);
        if state.shared_fetch > after
            && let Some(fetch) = self.waiting.get_mut(&state.shared_fetch)
        {
            fetch.waiters.push(waiter);
            return (state.shared_fetch, false);
        }
        let number = self.ask(channel, name.clone(), None, vec![waiter]);
        state.shared_fetch = number;
        (number, true)
    }

    /// Makes a fetch for everyone who hears the channel, and returns its number.
    pub(crate) fn catch_up(
        &mut self,
        channel: ChannelId,
        name: Arc<str>,
        state: &mut ChannelState,
    ) -> u64 {
        let asked = Some(state.deliveries);
        state.shared_fetch = self.ask(channel, name, asked, Vec::new());
        state.shared_fetch
    }

    /// The fetch of that number: it is answered.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Fetch> {
        self.waiting.remove(&number)
    }

    /// Takes the fetches that a broker which went away has not answered.
    pub(crate) fn forgotten(&mut self) -> BTreeMap<u64, Fetch> {
        std::mem::take(&mut self.waiting)
    }

    /// Lets those who waited for a forgotten fetch wait for the one that was made in its place.
    pub(crate) fn wait_again(&mut self, forgotten: Fetch, state: &ChannelState) {
        if let Some(fetch) = self.waiting.get_mut(&state.shared_fetch) {
            fetch.waiters.extend(forgotten.waiters);
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
        self.waiting.insert(self.made, Fetch { channel, name, catch_up, waiters });
        self.made
    }
}

impl Fetch {
    /// Whether news are for everyone who hears the channel: they were asked for after an outage,
    /// and nothing has been delivered since that would be newer.
    pub(crate) fn is_for_everyone(&self, state: &ChannelState) -> bool {
        self.catch_up == Some(state.deliveries)
    }

    /// Who waited, and has had no delivery of the channel since.
    pub(crate) fn entitled(&self, state: &ChannelState) -> impl Iterator<Item = LinkId> {
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
        let oldest = *fetches.waiting.keys().next().expect("a fetch waits");
        fetches.answered(oldest).expect("it waits")
    }

    #[test]
    fn an_answer_is_for_the_fetch_of_its_number_whatever_came_before() {
        let (mut fetches, mut a, mut b) = <(Fetches, ChannelState, ChannelState)>::default();
        let names: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
        assert_eq!(fetches.wait(link(1), 0, &names[0], &mut a, 0), (1, true));
        assert_eq!(fetches.wait(link(2), 1, &names[1], &mut b, 0), (2, true));
        let later = fetches.answered(2).expect("it waits");
        assert_eq!((later.channel, entitled(&later, &b)), (1, vec![2]));
        assert!(fetches.answered(2).is_none(), "it was answered");
        assert_eq!(fetches.wait(link(3), 0, &names[0], &mut a, 0), (1, false));
        assert_eq!(entitled(&fetches.answered(1).expect("it waits"), &a), [1, 3]);
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
        forgotten.into_values().for_each(|fetch| fetches.wait_again(fetch, &state));
        let fetch = answered(&mut fetches);
        assert!(fetch.is_for_everyone(&state) && entitled(&fetch, &state) == [1]);
        state.delivered(1);
        assert!(!fetch.is_for_everyone(&state) && entitled(&fetch, &state).is_empty());
    }
}
