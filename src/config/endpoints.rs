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
    pub path: String,
    pub target: Target,
    /// Whether its conns are kept for the next application, where that is said of it alone.
    pub keeps: Option<bool>,
    /// Where it stands, if that is a table of the file.
    pub place: Option<String>,
}

/// What `PATH=unix:SOCKET` says.
fn endpoint(text: &str) -> Result<DialedEndpoint, String> {
    match text.split_once('=') {
        Some((path, socket)) => dialed(path, socket),
        None => Err(wrong(text, "it has no =")),
    }
}

/// The endpoint at that path, whose application listens at `unix:` and a path.
pub(super) fn dialed(path: &str, socket: &str) -> Result<DialedEndpoint, String> {
    if !path.starts_with('/') {
        return Err(wrong(path, "the path begins without a slash"));
    }
    let file = socket.strip_prefix(UNIX).ok_or_else(|| wrong(socket, "it has no unix:"))?;
    let target = authority::unix(file.as_bytes().to_vec()).map_err(|why| wrong(socket, why))?;
    Ok(DialedEndpoint { path: path.to_owned(), target, keeps: None, place: None })
}

fn wrong(text: &str, why: &str) -> String {
    format!("{}: {why}; write a path and a socket, as /chat/ and unix:/run/chat.sock", quoted(text))
}

/// What `close` and `keep` say.
pub(super) fn keeps(text: &str) -> Result<bool, String> {
    match text {
        "close" => Ok(false),
        "keep" => Ok(true),
        _ => Err(format!("{} is neither; write close or keep", quoted(text))),
    }
}

/// Puts the endpoints into the settings.
pub(super) fn finish(draft: &mut ServerDraft, tables: &[DialedEndpoint]) -> Result<(), Wrong> {
    let ServerDraft { settings, endpoints, endpoints_keep, .. } = draft;
    let endpoints = [std::mem::take(endpoints), tables.to_vec()].concat();
    if endpoints.len() > MOST {
        return Err(Wrong { flag: "endpoint", why: format!("there may be {MOST} at most") });
    }
    for DialedEndpoint { path, target, keeps, place } in endpoints {
        if settings.endpoints.iter().any(|known| known.path == path) {
            let path = quoted(&path);
            let why = format!("{path} is there twice; give each application a path of its own");
            let (flag, why) = match place {
                Some(place) => ("config", format!("{place}: [[endpoint]] path: {why}")),
                None => ("endpoint", why),
            };
            return Err(Wrong { flag, why });
        }
        let keeps = keeps.unwrap_or(*endpoints_keep);
        let endpoint = settings.endpoints.len() as u8;
        settings.endpoints.push(Endpoint { path, ..Endpoint::default() });
        settings.handlers.push(HandlerSettings { endpoint, target, keeps });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::File;

    #[test]
    fn a_path_and_a_socket() {
        let known = endpoint("/chat/=unix:/run/a=b.sock").expect("an endpoint");
        let target = Target::Unix("/run/a=b.sock".into());
        assert_eq!((known.path.as_str(), known.target), ("/chat/", target));
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
    fn a_table_of_the_file() {
        let read = |text: &str| File::parse("w.toml", text);
        let (file, faults) = read(
            "[[endpoint]]\npath = \"/a=b/\"\nsocket = \"unix:/run/a\"\nlost = \"keep\"\n\
             [[endpoint]]\npath = \"/c/\"\nsocket = \"unix:/run/c\"\n",
        );
        assert_eq!(faults, Vec::<String>::new());
        let known = |at: usize| {
            let DialedEndpoint { path, keeps, place, .. } = file.endpoints[at].clone();
            (path, keeps, place.expect("a place"))
        };
        assert_eq!(known(0), ("/a=b/".to_owned(), Some(true), "w.toml:1".to_owned()));
        assert_eq!(known(1), ("/c/".to_owned(), None, "w.toml:5".to_owned()));
        for (text, why) in [
            ("path = \"/a\"", "w.toml:1: [[endpoint]]: an endpoint has both"),
            ("path = \"a\"\nsocket = \"unix:/b\"", "begins without a slash"),
            ("path = \"/a\"\nsocket = \"/b\"", "it has no unix:"),
            ("path = 7", "w.toml:2: [[endpoint]] path: it is a number"),
            ("lost = \"wait\"", "write close or keep"),
            ("lots = \"keep\"", "there is no key \"lots\""),
        ] {
            let (_, faults) = read(&format!("[[endpoint]]\n{text}\n"));
            assert!(faults.len() == 1 && faults[0].contains(why), "{faults:?}");
        }
        let (file, faults) = read("endpoint = [\"/a=unix:/run/a\"]\n");
        assert!(faults.is_empty() && file.endpoints.is_empty(), "a list is the flag's");
    }

    #[test]
    fn each_has_a_path_of_its_own() {
        let of = |texts: &[&str]| {
            let endpoints = texts.iter().map(|text| endpoint(text).expect(text)).collect();
            let mut draft = ServerDraft { endpoints, endpoints_keep: true, ..ServerDraft::new() };
            let table =
                DialedEndpoint { keeps: Some(false), ..endpoint("/t=unix:/run/t").unwrap() };
            finish(&mut draft, &[table]).map(|()| draft.settings)
        };
        let settings = of(&["/a=unix:/run/a", "/b=unix:/run/a"]).expect("two");
        assert_eq!(settings.handlers[1].endpoint, 1);
        assert_eq!(settings.endpoints[1].path, "/b");
        let keeps: Vec<bool> = settings.handlers.iter().map(|handler| handler.keeps).collect();
        assert_eq!(keeps, [true, true, false], "a table says it for itself");
        assert!(of(&["/t=unix:/run/a"]).is_err());
        assert!(of(&["/a=unix:/run/a", "/a=unix:/run/b"]).is_err());
    }
}
