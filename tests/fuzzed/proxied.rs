//! Any bytes as what a proxy says: before a connection, and in the headers of a request.

use wsloop::proto::http::{forwarded, parse_head, x_forwarded};
use wsloop::proto::proxy::parse_proxy;

/// Panics when the outcome depends on how the bytes are cut, or more is found than was said.
pub fn check(data: &[u8]) {
    let whole = parse_proxy(data);
    if let Ok(Some((_, length))) = whole {
        assert!(length <= data.len() && length <= 16 + 4096);
        assert_eq!(parse_proxy(&data[..length]), whole);
        assert_eq!(parse_proxy(&data[..length - 1]), Ok(None));
    } else {
        for end in 0..data.len() {
            let part = parse_proxy(&data[..end]);
            assert!(part == Ok(None) || part == whole, "cut at {end}");
        }
    }
    let lines = [
        b"GET / HTTP/1.1\r\nForwarded: ".as_slice(),
        data,
        b"\r\nX-Forwarded-For: ",
        data,
        b"\r\n\r\n",
    ];
    let bytes = lines.concat();
    if let Ok(Some((head, _))) = parse_head(&bytes, 64 << 10) {
        let commas = data.iter().filter(|byte| **byte == b',').count();
        // The data may end its line, and have lines of its own.
        let most = (commas + 1) * 2 + data.len();
        assert!(x_forwarded(&head).len() <= most);
        for hop in forwarded(&head) {
            assert!(hop.host.is_none_or(|host| host.len() <= data.len()));
        }
    }
}
