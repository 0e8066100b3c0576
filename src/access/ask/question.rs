//! L1: the question to the application about a browser's request.
//!
//! It knows which headers are repeated and which say where the request comes from. Its rule: what
//! goes into a question came out of a parsed request, and is still looked at for line ends.

use super::AskSettings;
use crate::access::proxies::Client;
use crate::proto::http::Head;

/// What of the browser's request is repeated as it came.
const REPEATED: [&str; 3] = ["Authorization", "Origin", "User-Agent"];

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
    push_line(&mut out, "X-Original-URI", uri.as_bytes())?;
    if let Some(address) = client.address {
        let address = address.to_canonical().to_string();
        push_line(&mut out, "X-Real-IP", address.as_bytes())?;
        push_line(&mut out, "X-Forwarded-For", address.as_bytes())?;
    }
    if let Some(scheme) = client.scheme {
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

fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Option<()> {
    if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
    Some(())
}
