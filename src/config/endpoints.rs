//! L4: WebSockets that applications in other processes handle: the flags that say where those are.

use super::draft::ServerDraft;
use super::table::Absent::{Value, Words};
use super::table::Takes::{Entries, Text};
use super::table::{Flag, Wrong, put};
use super::values::{UNIX, quoted};
use crate::browser::endpoint::Endpoint;
use crate::browser::settings::HandlerSettings;
use crate::link::{Target, authority};

pub(super) const FLAG: Flag<ServerDraft> = Flag {
    name: "endpoint",
    variable: "WSLOOP_ENDPOINT",
    takes: Entries("PATH=unix:SOCKET", |draft, text| {
        endpoint(text).map(|endpoint| draft.endpoints.push(endpoint))
    }),
    default: Words("none"),
    help: "WebSockets whose paths begin with PATH are handled by the application that listens at \
           that socket, in whichever language; repeatable, or separated by commas",
};
pub(super) const LOST: Flag<ServerDraft> = Flag {
    name: "endpoint-lost",
    variable: "WSLOOP_ENDPOINT_LOST",
    takes: Text("close|keep", |draft, text| put(&mut draft.endpoints_keep, keeps(text))),
    default: Value("close"),
    help: "What becomes of the conns of such an application that goes away: they are closed with \
           1012, or kept for the next one at its socket",
};

/// Most endpoints.
const MOST: usize = 255;

/// A path, and where its application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DialedEndpoint {
    path: String,
    target: Target,
}

fn endpoint(text: &str) -> Result<DialedEndpoint, String> {
    let wrong = |why: &str| {
        let text = quoted(text);
        format!("{text}: {why}; write a path and a socket, as /chat/=unix:/run/chat.sock")
    };
    let (path, address) = text.split_once('=').ok_or_else(|| wrong("it has no ="))?;
    if !path.starts_with('/') {
        return Err(wrong("the path begins without a slash"));
    }
    let socket = address.strip_prefix(UNIX).ok_or_else(|| wrong("behind the = is no unix:"))?;
    let target = authority::unix(socket.as_bytes().to_vec()).map_err(wrong);
    Ok(DialedEndpoint { path: path.to_owned(), target: target? })
}

fn keeps(text: &str) -> Result<bool, String> {
    match text {
        "close" => Ok(false),
        "keep" => Ok(true),
        _ => Err(format!("{} is neither; write close or keep", quoted(text))),
    }
}

/// Puts the endpoints into the settings.
pub(super) fn finish(draft: &mut ServerDraft) -> Result<(), Wrong> {
    let ServerDraft { settings, endpoints, endpoints_keep, .. } = draft;
    let (endpoints, keeps) = (std::mem::take(endpoints), *endpoints_keep);
    if endpoints.len() > MOST {
        return Err(Wrong { flag: "endpoint", why: format!("there may be {MOST} at most") });
    }
    for DialedEndpoint { path, target } in endpoints {
        if settings.endpoints.iter().any(|known| known.path == path) {
            let path = quoted(&path);
            let why = format!("{path} is there twice; give each application a path of its own");
            return Err(Wrong { flag: "endpoint", why });
        }
        let endpoint = settings.endpoints.len() as u8;
        settings.endpoints.push(Endpoint { path, ..Endpoint::default() });
        settings.handlers.push(HandlerSettings { endpoint, target, keeps });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_socket() {
        let known = endpoint("/chat/=unix:/run/a=b.sock").expect("an endpoint");
        let target = Target::Unix("/run/a=b.sock".into());
        assert_eq!(known, DialedEndpoint { path: "/chat/".to_owned(), target });
        for (text, why) in [
            ("/chat/", "no ="),
            ("chat=unix:/run/chat.sock", "without a slash"),
            ("/chat/=/run/chat.sock", "no unix:"),
            ("/chat/=unix:", "write a path"),
            ("/chat/=unix:run/chat.sock", "write a path"),
        ] {
            let error = endpoint(text).expect_err(text);
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn each_has_a_path_of_its_own() {
        let of = |texts: &[&str]| {
            let endpoints = texts.iter().map(|text| endpoint(text).expect(text)).collect();
            let mut draft = ServerDraft { endpoints, endpoints_keep: true, ..ServerDraft::new() };
            finish(&mut draft).map(|()| draft.settings)
        };
        let settings = of(&["/a=unix:/run/a", "/b=unix:/run/a"]).expect("two");
        assert_eq!(settings.handlers[1].endpoint, 1);
        assert_eq!(settings.endpoints[1].path, "/b");
        assert!(settings.handlers.iter().all(|handler| handler.keeps));
        assert!(of(&["/a=unix:/run/a", "/a=unix:/run/b"]).is_err());
    }
}
