//! Any bytes as a stream from Redis: the items do not depend on how the bytes arrived, what is held
//! is bounded, and what is decoded is what redis-protocol decodes.

use std::ops::Not;

use redis_protocol::resp3::decode::complete::decode;
use redis_protocol::resp3::types::{OwnedFrame, Resp3Frame};
use wsloop::proto::resp::{Decoder, Item, Push, Reply};

const MAX_VALUE: usize = 64;

/// Panics when the stream is decoded wrongly. The first byte says how it is cut.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = items(stream, stream.len().max(1));
    assert_eq!(whole, items(stream, usize::from(cut) + 1), "cut into pieces of {cut} + 1");
    assert_eq!(whole, items(stream, 1), "byte by byte");
    against_redis_protocol(stream);
}

/// The items of a stream that arrives in pieces of that size, as text, and the error that ends it.
fn items(stream: &[u8], piece: usize) -> Vec<String> {
    let mut decoder = Decoder::new(MAX_VALUE);
    let mut items = Vec::new();
    for piece in stream.chunks(piece) {
        let mut input = piece;
        loop {
            match decoder.next(&mut input) {
                Ok(Some(item)) => items.push(format!("{item:?}")),
                Ok(None) => break,
                Err(error) => {
                    items.push(format!("{error:?}"));
                    return items;
                }
            }
        }
        assert!(input.is_empty(), "the decoder left bytes behind");
    }
    items
}

/// Decodes item by item with both, as far as redis-protocol can be trusted with it: it recurses, so
/// only items are shown to it that the decoder has accepted.
fn against_redis_protocol(stream: &[u8]) {
    let mut decoder = Decoder::new(MAX_VALUE);
    let mut rest = stream;
    loop {
        let before = rest;
        let item = match decoder.next(&mut rest) {
            Ok(Some(item)) => item,
            Ok(None) | Err(_) => return,
        };
        let taken = &before[..before.len() - rest.len()];
        if !matches!(item, Item::Reply(Reply::TooLarge) | Item::Push(Push::TooLarge)) {
            compare(&item, taken);
        }
    }
}

fn compare(item: &Item<'_>, taken: &[u8]) {
    // RESP2's nulls are streams to redis-protocol, so they are not shown to it.
    let nil = matches!(item, Item::Reply(Reply::Null));
    let aggregate = matches!(item, Item::Reply(Reply::Aggregate) | Item::Push(Push::Other));
    // An error may quote bytes that are not UTF-8: the decoder cuts, redis-protocol refuses them.
    let quoting = matches!(item, Item::Reply(Reply::Error(_))) && taken.is_ascii().not();
    if nil || aggregate || quoting {
        return;
    }
    let (frame, length) = decode(taken)
        .unwrap_or_else(|error| panic!("{item:?}: redis-protocol says {error}"))
        .unwrap_or_else(|| panic!("{item:?}: redis-protocol wants more"));
    assert_eq!(length, taken.len(), "{item:?}");
    match (item, &frame) {
        (Item::Reply(Reply::Status(a)), OwnedFrame::SimpleString { data, .. }) => {
            assert_eq!(a.as_bytes(), data);
        }
        (Item::Reply(Reply::Error(a)), OwnedFrame::SimpleError { data, .. }) => {
            assert!(data.starts_with(a));
        }
        (Item::Reply(Reply::Error(a)), OwnedFrame::BlobError { data, .. }) => {
            assert!(data.starts_with(a.as_bytes()));
        }
        (Item::Reply(Reply::Integer(a)), OwnedFrame::Number { data, .. }) => assert_eq!(a, data),
        (Item::Reply(Reply::Bulk(a)), OwnedFrame::BlobString { data, .. }) => assert_eq!(a, data),
        (Item::Reply(Reply::Bulk(a)), OwnedFrame::VerbatimString { data, .. }) => {
            assert_eq!(a, data);
        }
        (Item::Reply(Reply::Other), _) => {}
        (Item::Push(push), OwnedFrame::Push { data, .. }) => compare_push(push, data),
        (item, frame) => panic!("{item:?} against {frame:?}"),
    }
}

fn compare_push(push: &Push<'_>, data: &[OwnedFrame]) {
    let bytes = |at: usize| data[at].as_bytes().expect("a string");
    match push {
        Push::Message { channel, payload, is_sharded } => {
            assert_eq!(bytes(0), if *is_sharded { &b"smessage"[..] } else { b"message" });
            assert_eq!((bytes(1), bytes(2)), (*channel, *payload));
        }
        Push::Subscribed { channel } => {
            assert!(matches!(bytes(0), b"subscribe" | b"ssubscribe"));
            assert_eq!(bytes(1), *channel);
        }
        Push::Unsubscribed { channel } => {
            assert_eq!((bytes(0), bytes(1)), (&b"unsubscribe"[..], *channel));
        }
        Push::ShardUnsubscribed { channel } => {
            assert_eq!((bytes(0), bytes(1)), (&b"sunsubscribe"[..], *channel));
        }
        Push::TooLarge | Push::Other => {}
    }
}
