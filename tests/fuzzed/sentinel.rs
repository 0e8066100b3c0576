//! Any bytes from a sentinel: nothing panics, it does not depend on how the bytes arrived, and what
//! is believed of them is an address.

use wsloop::internals::broker::Watch;
use wsloop::{LinkId, Sentinels, Target};

const LINK: LinkId = LinkId { index: 1, generation: 1 };

/// Panics when what a sentinel says is read wrongly. The first byte says how it is cut.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = believed(stream, stream.len().max(1));
    assert_eq!(whole, believed(stream, usize::from(cut) + 1), "cut into pieces of {cut} + 1");
    assert_eq!(whole, believed(stream, 1), "byte by byte");
    if let Some(Target::Tcp { host, port }) = whole {
        assert!(!host.is_empty() && host.len() <= 255 && port != 0, "{host:?}, {port}");
        assert!(host.bytes().all(|byte| byte.is_ascii_graphic()), "{host:?}");
    }
}

/// Where Redis is after a stream that arrives in pieces of that size.
fn believed(stream: &[u8], piece: usize) -> Option<Target> {
    let targets = vec![Target::Tcp { host: "sentinel".to_owned(), port: 26379 }];
    let settings = Sentinels { name: "main".to_owned(), targets, user: None, password: None };
    let mut watch = Watch::new(&settings, 5_000, 1);
    watch.tick(0);
    watch.dialing(0, LINK);
    watch.connected(0, 0);
    for input in stream.chunks(piece) {
        watch.received(0, input, 0);
    }
    watch.target()
}
