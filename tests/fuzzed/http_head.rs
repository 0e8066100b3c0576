//! Any bytes as a request head: the outcome does not depend on how they arrived, and whatever is
//! accepted is sound.

use wsloop::internals::access::channel;
use wsloop::proto::http;
use wsloop::proto::ws::upgrade;

const MAX_HEAD: usize = 512;

/// Panics when the head is judged wrongly.
pub fn check(data: &[u8]) {
    let whole = http::parse_head(data, MAX_HEAD);
    for cut in 0..data.len() {
        match http::parse_head(&data[..cut], MAX_HEAD) {
            // Incomplete, or as good as the whole: a head does not change by what follows it.
            Ok(None) => {}
            early => assert_eq!(early, whole, "cut at {cut}"),
        }
    }
    let Ok(Some((head, length))) = whole else { return };
    assert!(length <= MAX_HEAD && data[..length].ends_with(b"\n"));
    assert!(head.path.starts_with('/') && !head.path.contains('?'));
    if let Some(facility) = channel::facility(head.path, "/ws/") {
        assert!(facility.len() <= head.path.len() * 3);
    }
    let Ok(upgrade) = upgrade::check(&head) else { return };
    assert_eq!(head.method, "GET");
    assert!(!upgrade.host.is_empty());
    let protocol = upgrade::choose_protocol(upgrade.protocols(), None);
    let accepted = upgrade::accepted(&upgrade.accept, protocol, None, &[]);
    let text = std::str::from_utf8(&accepted).expect("the 101 is ASCII");
    assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\n"));
    assert_eq!(text.matches("\r\n\r\n").count(), 1, "a header came in from outside");
    if let Some(origin) = upgrade.origin {
        let list = upgrade::AllowedOrigins::Listed(Vec::new());
        if list.permits(origin, upgrade.host) {
            let host = origin.split("://").nth(1).expect("only URLs are the host's own");
            assert!(!host.contains(['/', '@', '?', '#', ' ']), "{origin}");
        }
    }
}
