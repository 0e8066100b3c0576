//! L4: the pages and scripts that the program carries in itself.
//!
//! The scripts are what any page needs and are always served; the chat only as the demo.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};

use crate::broker::{BrokerKind, RedisAddress, RedisSettings};
use crate::browser::settings::Settings;
use crate::link::Target;
use crate::web::{Page, PageContent};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const CHAT: &str = include_str!("../../clients/js/chat/index.html");
/// Where the chat's page has room for `--url-prefix`.
const URL_PREFIX_META: &str = r#"<meta name="wsloop-url-prefix" content="/ws/">"#;
/// Where the chat's page has room for `--heartbeat`.
const HEARTBEAT_META: &str = r#"<meta name="wsloop-heartbeat" content="">"#;

/// Where the chat's page has room for `--prefix`.
const PREFIX_META: &str = r#"<meta name="wsloop-prefix" content="">"#;
/// Where the chat's page has room for how redis-cli reaches the broker.
const REDIS_CLI_META: &str = r#"<meta name="wsloop-redis-cli" content="redis-cli">"#;

/// The port that redis-cli takes unless it is told another.
const REDIS_PORT: u16 = 6379;

/// What the chat's page is told.
#[derive(Default)]
pub(super) struct Chat {
    url_prefix: String,
    heartbeat: String,
    prefix: String,
    /// None is the embedded broker.
    redis: Vec<RedisSettings>,
}

/// What plain GET requests are answered with. The embedded broker answers Redis clients at `resp`.
pub(super) fn pages(chat: Option<&Chat>, resp: &[SocketAddr]) -> Vec<Page> {
    let mut pages = vec![
        file("/wsloop.js", SCRIPT, include_bytes!("../../clients/js/wsloop.js")),
        file("/wsloop.mjs", SCRIPT, include_bytes!("../../clients/js/wsloop.mjs")),
    ];
    if let Some(chat) = chat {
        let body = Cow::Owned(chat.html(resp).into_bytes());
        let content = PageContent::Body { content_type: HTML, body };
        pages.extend([
            Page { path: "/", content: PageContent::Redirect("/chat/") },
            Page { path: "/chat", content: PageContent::Redirect("/chat/") },
            Page { path: "/chat/", content },
            file("/chat/chat.js", SCRIPT, include_bytes!("../../clients/js/chat/chat.js")),
            file("/chat/chat.css", STYLE, include_bytes!("../../clients/js/chat/chat.css")),
        ]);
    }
    pages
}

fn file(path: &'static str, content_type: &'static str, body: &'static [u8]) -> Page {
    Page { path, content: PageContent::Body { content_type, body: Cow::Borrowed(body) } }
}

impl Chat {
    /// What is in the settings for it.
    pub(super) fn of(settings: &Settings) -> Chat {
        let heartbeat = settings.heartbeat.as_deref().unwrap_or_default();
        Chat {
            url_prefix: settings.url_prefix.clone(),
            heartbeat: String::from_utf8_lossy(heartbeat).into_owned(),
            prefix: settings.prefix.clone(),
            redis: match &settings.broker.kind {
                BrokerKind::Redis(redis) => redis.clone(),
                BrokerKind::Local { .. } => Vec::new(),
            },
        }
    }

    /// The page, told where the WebSockets are, what the heartbeat is, and how a shell publishes.
    fn html(&self, resp: &[SocketAddr]) -> String {
        let redis_cli = self.redis_cli(resp);
        let metas = [
            (URL_PREFIX_META, "wsloop-url-prefix", &self.url_prefix),
            (HEARTBEAT_META, "wsloop-heartbeat", &self.heartbeat),
            (PREFIX_META, "wsloop-prefix", &self.prefix),
            (REDIS_CLI_META, "wsloop-redis-cli", &redis_cli),
        ];
        // What is put in has no `<`, so that nothing of it is taken for the room of another.
        metas.into_iter().fold(CHAT.to_owned(), |html, (room, name, content)| {
            html.replace(room, &format!(r#"<meta name="{name}" content="{}">"#, escaped(content)))
        })
    }

    /// The beginning of a command line for the broker, ready for a shell. It is empty where nothing
    /// answers, or several Redis do. A page is for everybody to read, so redis-cli asks for the
    /// password.
    fn redis_cli(&self, resp: &[SocketAddr]) -> String {
        let mut words = vec!["redis-cli".to_owned()];
        let mut option = |name: &str, value: &str| words.extend([name.to_owned(), quoted(value)]);
        match &self.redis[..] {
            [RedisSettings { address: RedisAddress::Fixed(target), .. }] => match target {
                Target::Unix(path) => option("-s", &path.to_string_lossy()),
                Target::Tcp { host, port } => place(host, *port, option),
                Target::Tls { host, port } => {
                    place(host, *port, option);
                    words.push("--tls".to_owned());
                }
            },
            // Which it is, or where it is now, is not known.
            [_, ..] => return String::new(),
            [] => {
                let local = resp.iter().find(|address| address.ip() == Ipv4Addr::LOCALHOST);
                let Some(address) = local.or(resp.first()) else { return String::new() };
                place(&address.ip().to_string(), address.port(), option);
            }
        }
        if let [RedisSettings { user, password, .. }] = &self.redis[..] {
            if let Some(user) = user {
                words.extend(["--user".to_owned(), quoted(user)]);
            }
            if user.is_some() || password.is_some() {
                words.push("--askpass".to_owned());
            }
        }
        words.join(" ")
    }
}

/// The options that name a host and a port, where they are not what redis-cli takes anyway.
fn place(host: &str, port: u16, mut option: impl FnMut(&str, &str)) {
    if host != Ipv4Addr::LOCALHOST.to_string() {
        option("-h", host);
    }
    if port != REDIS_PORT {
        option("-p", &port.to_string());
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+-".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Text as it goes into an HTML attribute in double quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::redis_url;

    fn paths(pages: &[Page]) -> Vec<&'static str> {
        pages.iter().map(|page| page.path).collect()
    }

    fn told() -> Chat {
        Chat { url_prefix: "/ws/".to_owned(), ..Chat::default() }
    }

    #[test]
    fn scripts_are_always_there_and_the_chat_only_as_the_demo() {
        let scripts = ["/wsloop.js", "/wsloop.mjs"];
        let chat = ["/", "/chat", "/chat/", "/chat/chat.js", "/chat/chat.css"];
        assert_eq!(paths(&pages(None, &[])), scripts);
        assert_eq!(paths(&pages(Some(&told()), &[])), [&scripts[..], &chat[..]].concat());
    }

    #[test]
    fn the_chat_has_room_for_what_it_is_told() {
        for room in [URL_PREFIX_META, HEARTBEAT_META, PREFIX_META, REDIS_CLI_META] {
            assert_eq!(CHAT.matches(room).count(), 1, "{room}");
        }
        assert_eq!(told().html(&["127.0.0.1:6379".parse().expect("an address")]), CHAT);
    }

    #[test]
    fn the_chat_is_told_in_escaped_html() {
        let chat = Chat {
            url_prefix: "/a&b/".to_owned(),
            heartbeat: URL_PREFIX_META.to_owned(),
            prefix: "\"shop\"".to_owned(),
            ..told()
        };
        let page = chat.html(&[]);
        for told in [
            r#"<meta name="wsloop-url-prefix" content="/a&amp;b/">"#,
            r#"content="&lt;meta name=&quot;wsloop-url-prefix&quot; content=&quot;/ws/&"#,
            r#"<meta name="wsloop-prefix" content="&quot;shop&quot;">"#,
            r#"<meta name="wsloop-redis-cli" content="">"#,
        ] {
            assert!(page.contains(told), "{told} is not in {page}");
        }
        assert!(!page.contains(URL_PREFIX_META), "{page}");
        assert!(!page.contains(HEARTBEAT_META), "{page}");
    }

    #[test]
    fn the_command_line_reaches_the_broker_and_has_no_password() {
        let redis = |url| redis_url::parse(url).expect("a URL");
        for (url, expected) in [
            ("redis://127.0.0.1", "redis-cli"),
            ("redis://127.0.0.1:6400/3", "redis-cli -p 6400"),
            ("redis://localhost", "redis-cli -h localhost"),
            ("redis://[::1]:1", "redis-cli -h ::1 -p 1"),
            ("redis://:hush@h", "redis-cli -h h --askpass"),
            ("redis://it's:hush@h", r"redis-cli -h h --user 'it'\''s' --askpass"),
            ("unix:///run/a%20b.sock?db=2", "redis-cli -s '/run/a b.sock'"),
        ] {
            let chat = Chat { redis: vec![redis(url)], ..told() };
            assert_eq!(chat.redis_cli(&[]), expected, "{url}");
        }
        for (resp, expected) in [
            ("", ""),
            ("127.0.0.1:6380", "redis-cli -p 6380"),
            ("127.0.0.1:6379", "redis-cli"),
            ("[::1]:6380 127.0.0.1:6380", "redis-cli -p 6380"),
            ("[::1]:6380", "redis-cli -h ::1 -p 6380"),
        ] {
            let resp = resp.split_whitespace().map(|address| address.parse().expect("one"));
            assert_eq!(told().redis_cli(&resp.collect::<Vec<_>>()), expected);
        }
    }
}
