//! Any bytes from a Redis client: nothing panics, what is held is bounded, and the answers do not
//! depend on how the bytes arrived.

use wsloop::internals::broker::client::{Heard, PubSub, RespClient, Step};
use wsloop::internals::broker::{Broker, Uses};
use wsloop::proto::resp::{Decoder, Item};
use wsloop::{BrokerKind, BrokerSettings, HistoryRule, HistoryRules, Now};

const MAX_MESSAGE: usize = 256;
const STORE_LIMIT: usize = 4096;
const HISTORY_LIMIT: usize = 4096;
const NOW: Now = Now { mono_ms: 1000, unix_ms: 1000 };
/// More than what is answered to an input of the fuzzer's size, most of which are KEYS and MGET.
const MOST_BYTES: usize = 64 << 20;

/// Panics when a RESP client is treated wrongly. The first byte says how the bytes are cut.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = answers(stream, stream.len().max(1));
    assert_eq!(whole, answers(stream, usize::from(cut) + 1), "cut into pieces of {cut} + 1");
    assert_eq!(whole, answers(stream, 1), "byte by byte");
    // What is written is RESP3 if that was asked for first; RESP2 is a part of it.
    let mut decoder = Decoder::new(MOST_BYTES);
    let mut input = &whole[..];
    loop {
        match decoder.next(&mut input) {
            Ok(Some(Item::Reply(_) | Item::Push(_))) => {}
            Ok(None) => break,
            Err(error) => panic!("{error}: {}", whole.escape_ascii()),
        }
    }
}

/// What is answered to a stream that arrives in pieces of that size.
fn answers(stream: &[u8], piece: usize) -> Vec<u8> {
    let kind = BrokerKind::Local { store_limit: STORE_LIMIT };
    let uses = Uses { max_message: MAX_MESSAGE, max_session: MAX_MESSAGE, publishes: true };
    let mut broker = Broker::new(BrokerSettings { expire_s: 1, kind }, uses, 0);
    let rules = vec![HistoryRule::parse("*=3/1000").expect("a rule")];
    broker.keep_histories(HistoryRules { prefix: String::new(), rules }, HISTORY_LIMIT);
    let mut client = RespClient::new(7, MAX_MESSAGE, None);
    let mut sent = Vec::new();
    for mut input in stream.chunks(piece) {
        loop {
            let local = broker.local().expect("the embedded one");
            match client.step(&mut input, local, NOW) {
                Step::Done => {}
                Step::Publish { channel, payload, recorded } => {
                    assert!(payload.len() <= MAX_MESSAGE);
                    let ears = client.ears(&channel);
                    let heard = client.hear(&channel, &payload);
                    assert_eq!(ears > 0, heard > 0);
                    local.announce(channel, payload, recorded, NOW);
                    client.published(ears);
                }
                Step::PubSub(question) => client.told(&match question {
                    PubSub::Channels(_) => Heard::Channels(Vec::new()),
                    PubSub::Receivers(names) => {
                        Heard::Receivers(names.into_iter().map(|name| (name, 0)).collect())
                    }
                    PubSub::Patterns => Heard::Patterns(0),
                }),
                Step::Idle if client.has_more() => {}
                Step::Idle => break,
            }
            take(&mut client, &mut sent);
        }
        assert!(input.is_empty(), "bytes are left behind");
        take(&mut client, &mut sent);
        while broker.next(0, &mut &[][..], 1000).is_some() {}
        let local = broker.local().expect("the embedded one");
        assert!(local.store(1000).bytes() <= STORE_LIMIT);
        assert!(local.history_bytes() <= HISTORY_LIMIT);
        if client.is_done(true) {
            break;
        }
    }
    sent
}

fn take(client: &mut RespClient, sent: &mut Vec<u8>) {
    sent.extend_from_slice(client.unsent());
    assert!(sent.len() < MOST_BYTES);
    client.advance(client.unsent().len());
}
