//! The README: it is followed as any page, is short, and has the figures of BENCHMARKS.md.

use std::fs;
use std::os::unix::fs::symlink;

use crate::browser::Browsers;
use crate::follow::Reader;
use crate::markdown::{self, Step};
use crate::place::{self, ROOT};

const README: &str = include_str!("../../README.md");
const BENCHMARKS: &str = include_str!("../../BENCHMARKS.md");
const MOST_WORDS: usize = 1500;

#[test]
#[ignore = "needs chromium, node, ip, redis-server, redis-cli, PyPI, ruby and php with redis"]
fn the_readme_is_followed() {
    if !place::is_inside("readme::the_readme_is_followed", README) {
        return;
    }
    let mut reader = Reader::of(README);
    // This one builds wsloop, so the reader has all of the repository.
    let checkout = reader.home.join("wsloop");
    fs::remove_dir_all(&checkout).expect("it can be removed");
    symlink(ROOT, &checkout).expect("a link");
    let mut browsers = Browsers::start();

    let chat = reader.go_on().expect("the address of the chat");
    enter(&mut browsers, &chat, "1");
    say(&mut browsers, "Message", "Good morning!");
    for who in ["john", "mary"] {
        browsers.expect_no_problems(who);
    }
    let shop = reader.go_on().expect("the address of the page");
    // The chat was open while wsloop was started again.
    for who in ["john", "mary"] {
        browsers.ask(&[who, "problems"]);
    }
    enter(&mut browsers, &shop, "2");
    say(&mut browsers, "New order", "a cup of tea");
    assert_eq!(reader.go_on(), None);

    let mut expected = vec!["a cup of tea".to_owned()];
    expected.extend(published());
    assert_eq!(expected.len(), 7, "{expected:?}");
    heard(&mut browsers, "mary", &expected);
    // Who comes later has the last one, which was stored.
    browsers.ask(&["latecomer", "open", &shop]);
    heard(&mut browsers, "latecomer", &expected[6..]);

    for who in ["john", "mary", "latecomer"] {
        browsers.expect_no_problems(who);
    }

    // The same lines with a Redis.
    reader.launch("redis-server --save ''");
    reader.restart("wsloop --redis redis://127.0.0.1 --allowed-origins http://127.0.0.1:5000");
    browsers.ask(&["guest", "open", &shop]);
    browsers.ask(&["guest", "listens", "1"]);
    for line in publishers() {
        reader.run(&line.replace("6380", "6379").replace("wsloop publish", REDIS));
    }
    heard(&mut browsers, "guest", &expected[1..]);
    browsers.expect_no_problems("guest");
}

const REDIS: &str = "WSLOOP_REDIS=redis://127.0.0.1 wsloop publish";

/// Two people open a page, and listen.
fn enter(browsers: &mut Browsers, url: &str, sockets: &str) {
    for who in ["john", "mary"] {
        browsers.ask(&[who, "open", url]);
        browsers.ask(&[who, "listens", sockets]);
    }
}

fn say(browsers: &mut Browsers, label: &str, text: &str) {
    browsers.ask(&["john", "fill", label, text]);
    browsers.ask(&["john", "press", "Send"]);
    for who in ["john", "mary"] {
        browsers.ask(&[who, "sees", text]);
    }
}

/// Somebody's page has these orders and no others.
fn heard(browsers: &mut Browsers, who: &str, orders: &[String]) {
    browsers.ask(&[who, "sees", orders.last().expect("an order")]);
    assert_eq!(browsers.texts(who, "#orders li"), orders, "{who}");
}

/// The commands that publish, a line each.
fn publishers() -> Vec<String> {
    let steps = markdown::steps(README).expect("a page that can be followed");
    let commands = steps.iter().flat_map(|step| match step {
        Step::Block(block) if block.is_shell() => block.commands(),
        _ => Vec::new(),
    });
    commands.filter(|line| line.to_lowercase().contains("publish")).collect()
}

/// What they publish: the last text in quotes.
fn published() -> Vec<String> {
    let text = |line: &String| {
        let quoted: Vec<&str> = line.split(['\'', '"']).collect();
        let text = quoted.iter().rev().find(|text| text.contains("from ") || text.contains("for "));
        text.expect("a text").to_string()
    };
    publishers().iter().map(text).collect()
}

#[test]
fn the_readme_is_short() {
    let words = README.split_whitespace().count();
    assert!(words <= MOST_WORDS, "it has {words} words, not {MOST_WORDS}");
}

#[test]
fn the_figures_are_those_of_the_benchmarks() {
    let rows = README.lines().filter(|line| line.starts_with("| ") && line.contains("| "));
    let mut counted = 0;
    for row in rows.filter(|row| row.split('|').nth(2).is_some_and(is_figure)) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        for figure in cells[2..].iter().filter(|cell| is_figure(cell)) {
            let measured = BENCHMARKS.lines().any(|line| {
                line.starts_with(&format!("| {} |", cells[1]))
                    && line.split('|').any(|cell| cell.trim().split(' ').next() == Some(*figure))
            });
            assert!(measured, "BENCHMARKS.md has no {figure} for {}", cells[1]);
            counted += 1;
        }
    }
    assert_eq!(counted, 21, "seven servers and three figures of each");
}

/// What a browser costs, and a thousand, on the page about operations.
#[test]
fn the_sizes_are_those_of_the_benchmarks() {
    const OPERATIONS: &str = include_str!("../../docs/src/operations.md");
    let measured = |figure: &str| {
        let ours = BENCHMARKS.lines().filter(|line| {
            line.starts_with("| wsloop |") || line.starts_with("| full handshake") || {
                line.starts_with("| CPU while 10,000")
            }
        });
        let mut cells = ours.flat_map(|line| line.split('|'));
        let is_there = cells.any(|cell| cell.trim().split([' ', ';']).next() == Some(figure));
        assert!(is_there, "BENCHMARKS.md has no {figure} of wsloop");
    };
    let (_, section) = OPERATIONS.split_once("## How large a machine").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let mut counted = 0;
    for row in section.lines().filter(|row| row.split('|').nth(2).is_some_and(is_figure)) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (one, unit) = cells[2].split_once(' ').expect("a figure and its unit");
        let larger = if unit == "bytes" { "KB" } else { "ms" };
        measured(one);
        assert_eq!(cells[3], format!("{one} {larger}"), "{row}");
        counted += 1;
    }
    assert_eq!(counted, 5, "memory, three kinds of CPU, and TLS");
    for figure in ["0.253", "0.354"] {
        assert!(section.contains(&format!(" {figure} ")), "the page has no {figure}");
        measured(figure);
    }
}

fn is_figure(cell: &str) -> bool {
    cell.trim().starts_with(|c: char| c.is_ascii_digit())
}
