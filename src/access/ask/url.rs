//! L1: the URL of the question: where to dial, and what to ask for there.
//!
//! `http://host[:port][/path][?query]`, and `unix:/path/to/socket[:/path[?query]]` as proxies
//! write it. What is wrong is said without repeating any part of the URL, in which there may be a
//! secret.

use crate::link::Target;
use crate::link::authority;

const FORM: &str = "write http://host[:port]/path or unix:/path/of/socket:/path";
const DEFAULT_PORT: u16 = 80;

/// Reads a URL: where to dial, the Host header, and the path with the query.
pub(crate) fn auth_url(text: &str) -> Result<(Target, String, String), String> {
    if text.is_empty() {
        return Err(format!("the URL is empty; {FORM}"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "the URL has white space or other than ASCII in it";
        return Err(format!("{why}; {FORM}, with %20 for a space"));
    }
    if text.contains('#') {
        return Err("the URL has a # in it; leave the fragment out, or write %23".to_owned());
    }
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    match scheme.to_ascii_lowercase().as_str() {
        "unix" => unix(rest),
        "http" => match rest.strip_prefix("//") {
            Some(rest) => http(rest),
            None => Err(format!("the URL has no // after http:; {FORM}")),
        },
        "https" => Err("TLS to the application is not spoken; use http:// to the application \
                        itself, on this machine or a private network, or to a proxy here that \
                        speaks TLS to it, such as nginx with proxy_pass https://… or stunnel"
            .to_owned()),
        _ => Err(format!("the URL's scheme is neither http nor unix; {FORM}")),
    }
}

fn http(rest: &str) -> Result<(Target, String, String), String> {
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("the URL has a user in it, but the question carries the Authorization of the \
                    browser; let the application trust the address of wsloop, or a secret in the \
                    URL's query"
            .to_owned());
    }
    let target = authority::tcp(authority, DEFAULT_PORT);
    let target = target.map_err(|why| format!("{why}; {FORM}"))?;
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((target, authority.to_owned(), path))
}

fn unix(rest: &str) -> Result<(Target, String, String), String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (socket, path) = match rest.split_once(":/") {
        Some((socket, path)) => (socket, format!("/{path}")),
        None => (rest, "/".to_owned()),
    };
    if socket.contains(['?', ':']) {
        let why = "the path of the socket is followed by something else than :/path";
        return Err(format!("{why}; {FORM}"));
    }
    let target = authority::unix(socket.as_bytes().to_vec());
    let target = target.map_err(|why| format!("{why}; {FORM}"))?;
    Ok((target, "localhost".to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::path::PathBuf;

    #[test]
    fn urls_that_make_sense() {
        let tcp = |host: &str, port| Target::Tcp { host: host.to_owned(), port };
        let unix = |path: &str| Target::Unix(PathBuf::from(path));
        let cases = [
            ("http://app/ws-auth", tcp("app", 80), "app", "/ws-auth"),
            ("http://app", tcp("app", 80), "app", "/"),
            ("HTTP://app:8000/a/?b=c/@:d", tcp("app", 8000), "app:8000", "/a/?b=c/@:d"),
            ("http://app?b", tcp("app", 80), "app", "/?b"),
            ("http://127.0.0.1:65535/", tcp("127.0.0.1", 65535), "127.0.0.1:65535", "/"),
            ("http://[::1]/a", tcp("::1", 80), "[::1]", "/a"),
            ("http://[::1]:81/a", tcp("::1", 81), "[::1]:81", "/a"),
            ("unix:/run/app.sock", unix("/run/app.sock"), "localhost", "/"),
            ("unix:/run/app.sock:/a?b=:/c", unix("/run/app.sock"), "localhost", "/a?b=:/c"),
            ("unix:///run/app.sock:/a", unix("/run/app.sock"), "localhost", "/a"),
        ];
        for (url, target, host, path) in cases {
            assert_eq!(auth_url(url), Ok((target, host.to_owned(), path.to_owned())), "{url}");
        }
    }

    #[test]
    fn urls_that_make_none_say_why_and_nothing_of_themselves() {
        let cases = [
            ("", "empty"),
            ("hush", "neither http nor unix"),
            ("hush:8000", "neither http nor unix"),
            ("https://hush/a", "proxy here that speaks TLS"),
            ("ftp://hush/a", "neither http nor unix"),
            ("http:/hush", "no // after"),
            ("http://", "host is missing"),
            ("http:///hush", "host is missing"),
            ("http://u:hush@h/", "carries the Authorization of the browser"),
            ("http://h/ hush", "white space"),
            ("http://h/\r\nhush", "white space"),
            ("http://h/hüsh", "ASCII"),
            ("http://h/#hush", "fragment"),
            ("http://h:hush/", "no number up to 65535"),
            ("http://h:0/", "the port is 0"),
            ("http://h:/", "no number up to 65535"),
            ("http://h:65536/", "no number up to 65535"),
            ("http://::1/", "brackets"),
            ("http://[hush]/", "no IPv6 address"),
            ("http://[::1/", "not closed"),
            ("http://[::1]80/", "a colon must follow"),
            ("http://hu%73h/", "that no name has"),
            ("http://300.0.0.1/", "no IPv4 address"),
            ("unix:hush.sock", "begin with a slash"),
            ("unix:", "begin with a slash"),
            ("unix:/", "names none"),
            ("unix:/:/hush", "names none"),
            ("unix:/hush?a", "something else"),
            ("unix:/hush:80", "something else"),
        ];
        for (url, words) in cases {
            let why = auth_url(url).expect_err(url);
            assert!(why.contains(words), "{url}: {why}");
            assert!(!why.contains("hush") && !why.contains('\n'), "{url}: {why}");
        }
        let long = format!("unix:/{}", "x".repeat(107));
        assert!(auth_url(&long).expect_err("too long").contains("107 bytes"));
        assert!(auth_url(&long[..long.len() - 1]).is_ok());
    }
}
