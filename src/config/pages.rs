//! L4: the pages and scripts that the program carries in itself.
//!
//! The scripts are what any page needs and are always served; the chat only as the demo.

use std::borrow::Cow;

use crate::browser::settings::{Page, PageContent};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const CHAT: &str = include_str!("../../clients/js/chat/index.html");
/// Where the chat's page has room for `--url-prefix`.
const URL_PREFIX_META: &str = r#"<meta name="wsloop-url-prefix" content="/ws/">"#;
/// Where the chat's page has room for `--heartbeat`.
const HEARTBEAT_META: &str = r#"<meta name="wsloop-heartbeat" content="">"#;

/// What plain GET requests are answered with.
pub fn pages(demo: bool, url_prefix: &str, heartbeat: &str) -> Vec<Page> {
    let mut pages = vec![
        file("/wsloop.js", SCRIPT, include_bytes!("../../clients/js/wsloop.js")),
        file("/wsloop.mjs", SCRIPT, include_bytes!("../../clients/js/wsloop.mjs")),
    ];
    if demo {
        let chat = chat(url_prefix, heartbeat).into_bytes();
        let content = PageContent::Body { content_type: HTML, body: Cow::Owned(chat) };
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

/// The chat's page, told where the WebSockets are and what the heartbeat is.
fn chat(url_prefix: &str, heartbeat: &str) -> String {
    let meta = |name, content| format!(r#"<meta name="{name}" content="{}">"#, escaped(content));
    // The heartbeat comes last: it may be any text, even one that looks like the other element.
    CHAT.replace(URL_PREFIX_META, &meta("wsloop-url-prefix", url_prefix))
        .replace(HEARTBEAT_META, &meta("wsloop-heartbeat", heartbeat))
}

/// Text as it goes into an HTML attribute in double quotes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(pages: &[Page]) -> Vec<&'static str> {
        pages.iter().map(|page| page.path).collect()
    }

    #[test]
    fn scripts_are_always_there_and_the_chat_only_as_the_demo() {
        let scripts = ["/wsloop.js", "/wsloop.mjs"];
        let chat = ["/", "/chat", "/chat/", "/chat/chat.js", "/chat/chat.css"];
        assert_eq!(paths(&pages(false, "/ws/", "")), scripts);
        assert_eq!(paths(&pages(true, "/ws/", "")), [&scripts[..], &chat[..]].concat());
    }

    #[test]
    fn the_chat_has_room_for_what_it_is_told() {
        assert_eq!(CHAT.matches(URL_PREFIX_META).count(), 1);
        assert_eq!(CHAT.matches(HEARTBEAT_META).count(), 1);
        assert_eq!(chat("/ws/", ""), CHAT);
    }

    #[test]
    fn the_chat_is_told_in_escaped_html() {
        let page = chat("/a&b/", URL_PREFIX_META);
        assert!(page.contains(r#"<meta name="wsloop-url-prefix" content="/a&amp;b/">"#), "{page}");
        let heartbeat =
            r#"content="&lt;meta name=&quot;wsloop-url-prefix&quot; content=&quot;/ws/&"#;
        assert!(page.contains(heartbeat), "{page}");
        assert!(!page.contains(URL_PREFIX_META), "{page}");
        assert!(!page.contains(HEARTBEAT_META), "{page}");
    }
}
