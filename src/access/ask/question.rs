//! L1: the question to the application about a browser's request.
//!
//! It knows which headers are repeated and which say where the request comes from. Its rule: what
//! goes into a question came out of a parsed request, and is still looked at for line ends.

use super::AskSettings;
use crate::access::proxies::Client;
use crate::proto::http::Head;

/// What of the browser's request is repeated as it came.
const REPEATED: [&str; 3] = ["Authorization", "Origin", "User-Agent"];

/// The header that says what the browser has asked for.
const URI: &str = "X-Original-URI";

/// A GET of the URL of the settings, about the request of that client: with its Cookie,
/// Authorization, Origin and User-Agent as they came, its path and query as X-Original-URI, its
/// address as X-Real-IP and X-Forwarded-For (never what the browser says of that itself), and with
/// X-Forwarded-Proto if that is known, for applications that redirect what is not https. `None` if
/// a value could end its line, which none can that was parsed.
pub fn question(settings: &AskSettings, head: &Head<'_>, client: &Client<'_>) -> Option<Vec<u8>> {
    let AskSettings { host, path, .. } = settings;
    let mut out = Vec::with_capacity(1 << 10);
    out.extend_from_slice(b"GET ");
    if path.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return None;
    }
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    push_line(&mut out, "Host", host.as_bytes())?;
    if !settings.keep_alive {
        push_line(&mut out, "Connection", b"close")?;
    }
    push_line(&mut out, "Accept", b"*/*")?;
    push_line(&mut out, "Accept-Encoding", b"identity")?;
    // Never an authority: the application decides by what the path begins with.
    let query = if head.query.is_empty() { "" } else { "?" };
    let uri = [head.path, query, head.query].concat();
    push_line(&mut out, URI, uri.as_bytes())?;
    if let Some(address) = client.address {
        let address = address.to_canonical().to_string();
        push_line(&mut out, "X-Real-IP", address.as_bytes())?;
        push_line(&mut out, "X-Forwarded-For", address.as_bytes())?;
    }
    if let Some(scheme) = client.scheme(head) {
        push_line(&mut out, "X-Forwarded-Proto", scheme.as_str().as_bytes())?;
    }
    for name in REPEATED {
        for value in head.values(name) {
            push_line(&mut out, name, value)?;
        }
    }
    // Cookies may come in several lines (RFC 9113 section 8.2.3), but not to every framework.
    let cookies: Vec<&[u8]> = head.values("Cookie").collect();
    if !cookies.is_empty() {
        push_line(&mut out, "Cookie", &cookies.join(&b"; "[..]))?;
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// The same question about another path and query, which the same request might have had. `None` if
/// that could end its line.
pub(crate) fn question_about(question: &[u8], uri: &str) -> Option<Vec<u8>> {
    let line = [b"\r\n", URI.as_bytes(), b": "].concat();
    let begin = question.windows(line.len()).position(|bytes| bytes == line)? + 2;
    let length = question[begin..].windows(2).position(|bytes| bytes == b"\r\n")? + 2;
    let mut out = question[..begin].to_vec();
    push_line(&mut out, URI, uri.as_bytes())?;
    out.extend_from_slice(&question[begin + length..]);
    Some(out)
}

fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Option<()> {
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::proxies::Told;
    use crate::link::Target;
    use crate::proto::http::parse_head;

    #[test]
    fn a_question_about_another_path_differs_in_that_alone() {
        let settings = AskSettings {
            target: Target::Unix("/app.sock".into()),
            host: "app".to_owned(),
            path: "/who".to_owned(),
            timeout_ms: 5_000,
            connections: 1,
            keep_alive: true,
            waiting: 1,
        };
        let client = Client { address: None, scheme: Told::Known(None), host: None };
        let asked = |path: &str| {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: a\r\nCookie: a=b; X-Original-URI: c\r\n\
                 Authorization: Basic x\r\n\r\n"
            );
            let (head, _) = parse_head(head.as_bytes(), 1 << 10).expect("good").expect("whole");
            question(&settings, &head, &client).expect("a question")
        };
        let (one, other) = (asked("/ws/"), asked("/ws/chat/42?subscribe-user"));
        assert_eq!(question_about(&one, "/ws/chat/42?subscribe-user"), Some(other));
        assert_eq!(question_about(&one, "/ws/\r\nX-Real-IP: 1.2.3.4"), None);
        assert_eq!(question_about(b"GET / HTTP/1.1\r\n\r\n", "/"), None, "it has no such line");
    }
}
