//! What holds for the README and every page of the book: what they point to is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::markdown::{self, Step};
use crate::place::ROOT;
use crate::support::Wsloop;
use crate::support::client::Response;

/// Pages that tests follow.
const FOLLOWED: [&str; 20] = [
    "access.md",
    "channels.md",
    "clients.md",
    "flags.md",
    "history.md",
    "htmx.md",
    "library.md",
    "one-port.md",
    "tls.md",
    "operations.md",
    "protocol.md",
    "sockets.md",
    "start/django.md",
    "start/express.md",
    "start/flask.md",
    "start/php.md",
    "start/rails.md",
    "streams.md",
    "turbo.md",
    "ws4redis.md",
];
/// Pages that are followed on a machine where wsloop is not installed, by `tests/packages`.
const INSTALLED: [&str; 1] = ["install.md"];
/// Pages without a block: there is nothing that could be followed.
const PROSE: [&str; 4] = ["architecture.md", "index.md", "security.md", "troubleshooting.md"];
/// `start/index.md` has one command, which the README has as well and its test runs.
const AS_THE_README: [&str; 1] = ["start/index.md"];

/// The README and the pages, by their paths in the repository.
pub fn all() -> Vec<(String, String)> {
    let mut pages = vec!["README.md".to_owned()];
    collect(&Path::new(ROOT).join("docs/src"), &mut pages);
    pages.sort();
    let read = |page: String| {
        let text = fs::read_to_string(Path::new(ROOT).join(&page)).expect("a text");
        (page, text)
    };
    pages.into_iter().map(read).collect()
}

fn collect(folder: &Path, pages: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let path = path.strip_prefix(ROOT).expect("a path in the repository");
            pages.push(path.to_str().expect("a path in UTF-8").to_owned());
        }
    }
}

#[test]
fn every_page_is_in_the_summary_and_is_followed() {
    let summary = fs::read_to_string(Path::new(ROOT).join("docs/src/SUMMARY.md"));
    let listed: BTreeSet<String> =
        markdown::links(&summary.expect("a summary")).into_iter().collect();
    let pages = all().into_iter().filter_map(|(page, text)| {
        let page = page.strip_prefix("docs/src/").filter(|page| *page != "SUMMARY.md")?;
        Some((page.to_owned(), text))
    });
    let pages: Vec<(String, String)> = pages.collect();
    assert_eq!(pages.iter().map(|(page, _)| page.clone()).collect::<BTreeSet<_>>(), listed);
    for (page, text) in &pages {
        let steps = markdown::steps(text).unwrap_or_else(|why| panic!("{page}: {why}"));
        let blocks = steps.iter().filter(|step| matches!(step, Step::Block(_))).count();
        let known = [&FOLLOWED[..], &PROSE, &AS_THE_README, &INSTALLED].concat();
        assert!(known.contains(&page.as_str()), "nothing follows {page}");
        if PROSE.contains(&page.as_str()) {
            assert_eq!(blocks, 0, "{page}: nothing follows its blocks");
        }
        if AS_THE_README.contains(&page.as_str()) {
            let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("a text");
            let has = |step: &Step| match step {
                Step::Block(block) => block
                    .commands()
                    .iter()
                    .all(|line| line.starts_with("cd ~/") || readme.contains(line)),
                Step::Open(_) => false,
            };
            assert!(blocks > 0 && steps.iter().all(has), "{page} differs from the README");
        }
    }
}

#[test]
fn what_a_page_points_to_is_there() {
    let mut counted = 0;
    for (page, text) in all() {
        let folder = Path::new(ROOT).join(&page).parent().expect("a folder").to_owned();
        for link in markdown::links(&text) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = match file {
                "" => Path::new(ROOT).join(&page),
                file => folder.join(file),
            };
            assert!(path.is_file(), "{page} points to {link}");
            // The book holds nothing but what is below its source.
            let book = Path::new(ROOT).join("docs/src");
            let leaves = page.starts_with("docs/") && !real(&path).starts_with(real(&book));
            assert!(!leaves, "{page}, a page of the book, points out of it: {link}");
            if !anchor.is_empty() {
                let text = fs::read_to_string(&path).expect("a text");
                let ids: Vec<String> = markdown::headings(&text).iter().map(|h| id(h)).collect();
                assert!(ids.contains(&anchor.to_owned()), "{page} points to {link}: {ids:?}");
            }
            counted += 1;
        }
    }
    assert!(counted > 60, "only {counted} links");
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().expect("a path")
}

/// The id of a heading, as mdBook and GitHub make it.
fn id(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[test]
fn metrics_that_are_named_exist() {
    // Nobody is there, and figures are told all the same: a master's are those of one, and more.
    let redis = ["--workers", "2", "--redis", "redis://127.0.0.1:1 redis://127.0.0.1:2"];
    let server = Wsloop::start(&[&redis[..], &["--admin", "127.0.0.1:0"]].concat());
    let admin = server.admin();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    let metrics = Response::to(admin, &request).body;
    let mut counted = 0;
    for (page, text) in all() {
        for span in markdown::spans(&text) {
            // One of several may be named by its label.
            let span = span.split('{').next().unwrap_or_default();
            if span.starts_with("wsloop_") && span != "wsloop_auth" && !span.contains('.') {
                assert!(metrics.contains(&format!("\n# TYPE {span} ")), "{page} names {span}");
                counted += 1;
            }
        }
    }
    assert!(counted > 8, "only {counted} metrics");
}

/// Commands in the running text that are run as a matter of course.
#[test]
fn commands_of_cargo_that_are_named_are_run() {
    let run = [".ci/run", "scripts/test"]
        .map(|file| fs::read_to_string(Path::new(ROOT).join(file)).expect("a script"))
        .concat();
    for (page, text) in all() {
        for span in markdown::spans(&text).iter().filter(|span| span.starts_with("cargo ")) {
            assert!(run.contains(span.as_str()), "{page}: neither script runs {span}");
        }
    }
}

/// Folders and files of the repository that are named in the running text.
#[test]
fn files_that_are_named_exist() {
    const FOLDERS: [&str; 6] = ["clients/", "examples/", "tests/", "src/", "scripts/", "benches/"];
    let mut counted = 0;
    for (page, text) in all() {
        for span in markdown::spans(&text) {
            if FOLDERS.iter().any(|folder| span.starts_with(folder)) {
                assert!(Path::new(ROOT).join(&span).exists(), "{page} names {span}");
                counted += 1;
            }
        }
    }
    assert!(counted > 5, "only {counted} files");
}

/// What the page for troubles quotes is what wsloop says.
#[test]
fn lines_of_the_log_that_are_quoted_exist() {
    const TITLES: [&str; 1] = ["A user is taken for nobody"];
    const BROWSERS: [&str; 2] = ["insecure WebSocket", "MIME type"];
    let mut source = String::new();
    let mut folders = vec![Path::new(ROOT).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            match entry.expect("an entry").path() {
                path if path.is_dir() => folders.push(path),
                path => source += &fs::read_to_string(path).expect("a text"),
            }
        }
    }
    // A text that is broken over lines goes on behind the blanks.
    let mut parts = source.split("\\\n");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    whole.extend(parts.map(str::trim_start));
    let page = include_str!("../../docs/src/troubleshooting.md");
    let prose = markdown::prose(page);
    let quoted: Vec<&str> = prose.lines().flat_map(|l| l.split('"').skip(1).step_by(2)).collect();
    for text in quoted.iter().filter(|text| ![&TITLES[..], &BROWSERS].concat().contains(text)) {
        assert!(whole.contains(text), "wsloop never says {text:?}");
    }
    assert!(quoted.len() > 6, "{quoted:?}");
}

/// What an operator is to be woken for is what the rules have as such.
#[test]
fn alerts_that_are_named_are_those_that_page() {
    let rules = include_str!("../../examples/deploy/monitoring/alerts.yml");
    let mut paging: Vec<&str> = rules
        .split("- alert: ")
        .skip(1)
        .filter(|rule| rule.contains("severity: page"))
        .map(|rule| rule.lines().next().expect("a name"))
        .collect();
    let page = include_str!("../../docs/src/operations.md");
    let rows = page.lines().filter_map(|row| row.strip_prefix("| `Wsloop"));
    let mut named: Vec<&str> = rows.filter_map(|row| row.split('`').next()).collect();
    named.sort_unstable();
    paging.sort_unstable();
    let paging: Vec<&str> = paging.iter().filter_map(|name| name.strip_prefix("Wsloop")).collect();
    assert!(paging.len() > 3, "{paging:?}");
    assert_eq!(named, paging);
}

/// What records and publishes is one text, wherever it is written.
#[test]
fn there_is_one_script() {
    let script = include_str!("../../src/broker/history/publish.lua");
    for text in [
        include_str!("../../docs/src/history.md"),
        include_str!("../../clients/python/src/wsloop/_history.py"),
    ] {
        assert!(text.contains(script), "it is another there: {script}");
    }
}

#[test]
fn the_examples_of_the_library_are_as_they_are_tested() {
    let page = Path::new(ROOT).join("docs/src/library.md");
    let page = fs::read_to_string(page).expect("a page");
    let mut shown = 0;
    for step in markdown::steps(&page).expect("a page") {
        let Step::Block(block) = step else { continue };
        let name = block.file().unwrap_or_else(|| panic!("what is this? {block}"));
        let file = fs::read_to_string(Path::new(ROOT).join(name)).expect("a file");
        assert_eq!(block.text.trim_end(), file.trim_end(), "{name}");
        shown += 1;
    }
    assert!(shown >= 2, "nothing is shown");
    let named = page.split('`').filter(|part| part.starts_with("examples/"));
    for name in named {
        assert!(Path::new(ROOT).join(name).is_file(), "{name} is not there");
    }
}
