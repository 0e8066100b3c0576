//! The histories of channels, as Redis clients of the embedded broker write and read them.

use super::*;
use wsloop::{HistoryRule, HistoryRules, Settings};

const STREAM: &str = "wsloop:history:{broadcast:foo}";

/// Settings by which the channels of these rules keep their last messages.
fn keeping(rules: &[&str]) -> Settings {
    let rules = rules.iter().map(|rule| HistoryRule::parse(rule).expect("a rule")).collect();
    Settings { history: HistoryRules { prefix: String::new(), rules }, ..settings() }
}

/// The messages of a stream, in order.
#[track_caller]
fn kept(world: &mut World, id: usize, stream: &str) -> Vec<String> {
    let answer = world.ask_for(id, &format!("XRANGE {stream} - +"));
    assert!(answer.starts_with('*'), "{answer}");
    let lines: Vec<&str> = answer.lines().collect();
    let fields = lines.iter().enumerate().filter(|(_, line)| **line == "message");
    fields.map(|(at, _)| lines[at + 2].to_owned()).collect()
}

#[test]
fn whoever_publishes_and_however_a_message_is_recorded_once() {
    let mut world = World::new(keeping(&["foo=4/60"]));
    let (id, other) = (world.connect_resp(), world.connect_resp());
    let (hears, speaks) = (world.open(HEARS), world.open(SPEAKS));
    world.say(speaks, "one");
    world.ask_for(other, "PUBLISH broadcast:foo two");
    world.ask_for(other, "PUBLISH broadcast:foo ''");
    world.ask_for(other, "PUBLISH broadcast:bar elsewhere");
    assert_eq!(kept(&mut world, id, STREAM), ["one", "two"]);
    let answer = world.ask_for(
        id,
        &format!(
            "MULTI\nXADD {STREAM} MAXLEN 4 * message three\nPEXPIRE {STREAM} 60000\n\
             PUBLISH {CHANNEL} three\nEXEC"
        ),
    );
    assert!(answer.contains("*3\n$") && answer.ends_with("\n:1\n:1\n"), "{answer}");
    // The same again without XADD is another message.
    world.ask_for(id, &format!("PUBLISH {CHANNEL} three"));
    assert_eq!(kept(&mut world, id, STREAM), ["one", "two", "three", "three"]);
    world.say(speaks, "four");
    assert_eq!(kept(&mut world, id, STREAM), ["two", "three", "three", "four"]);
    assert_eq!(world.texts(hears), ["one", "two", "three", "three", "four"]);
    assert_eq!(world.ask_for(id, &format!("XLEN {STREAM}")), ":4\n");
}

/// Lines that no line of words can have are sent as arrays.
fn command(words: &[&str]) -> String {
    let words: String = words.iter().map(|w| format!("${}\r\n{w}\r\n", w.len())).collect();
    format!("*{}\r\n{words}", words.matches('$').count())
}

#[test]
fn the_script_of_the_book_records_and_publishes_and_there_is_no_other() {
    let mut world = World::new(keeping(&["foo=9/60"]));
    let (id, hears) = (world.connect_resp(), world.open(HEARS));
    let script = include_str!("../../../src/broker/history/publish.lua");
    let mut run = |words: &[&str]| {
        world.tell(id, command(words));
        world.answers(id)
    };
    let words = ["1", STREAM, CHANNEL, "one", "9", "60000"];
    assert_eq!(run(&[&["EVAL", script][..], &words].concat()), ":1\n");
    for text in [script, script.trim_end()] {
        let hash = run(&["SCRIPT", "LOAD", text]);
        let hash = hash.strip_prefix("$40\n").expect("a hash").trim_end();
        assert_eq!(run(&[&["EVALSHA", hash][..], &words].concat()), ":1\n");
        assert_eq!(run(&["SCRIPT", "EXISTS", hash, &"0".repeat(40)]), "*2\n:1\n:0\n");
    }
    let other = ["1", "wsloop:history:{broadcast:bar}", "broadcast:bar", "x", "9", "60000"];
    for (words, expected) in [
        (&["EVAL", "return 1", "0"][..], "-ERR the embedded broker of wsloop runs no script but"),
        (&["SCRIPT", "LOAD", "return 1"], "-ERR the embedded broker of wsloop runs no script but"),
        (&["SCRIPT", "KILL"], "-ERR unknown subcommand 'KILL' of SCRIPT"),
        (&["EVALSHA", "abc", "0"], "-NOSCRIPT "),
        (&["EVAL", script, "0"], "-ERR this script is called with 1 key"),
        (&["EVAL", script, "1", STREAM, "broadcast:b", "x", "9", "9"], "-ERR this script is"),
        (&["EVAL", script, "1", STREAM, CHANNEL, "x", "0", "9"], "-ERR this script is"),
        (&[&["EVAL", script][..], &other].concat(), "-ERR no rule of --history fits"),
    ] {
        let answer = run(words);
        assert!(answer.starts_with(expected), "{words:?}: {answer}");
    }
    assert_eq!(kept(&mut world, id, STREAM), ["one"; 3]);
    assert_eq!(world.texts(hears), ["one"; 3]);
}

#[test]
fn what_is_added_first_and_published_later_is_the_same_message_and_only_that_clients() {
    let mut world = World::new(keeping(&["foo=9/60"]));
    let (id, other) = (world.connect_resp(), world.connect_resp());
    for text in ["a", "b"] {
        world.ask_for(id, &format!("XADD {STREAM} MAXLEN = 9 * message {text}"));
    }
    world.ask_for(other, &format!("PUBLISH {CHANNEL} a"));
    world.ask_for(id, &format!("PUBLISH {CHANNEL} b\nPUBLISH {CHANNEL} a"));
    assert_eq!(kept(&mut world, id, STREAM), ["a", "b", "a"]);
    world.ask_for(id, &format!("PUBLISH {CHANNEL} a"));
    assert_eq!(kept(&mut world, id, STREAM), ["a", "b", "a", "a"]);
}

#[test]
fn a_history_is_forgotten_after_its_time_and_on_demand() {
    let mut world = World::new(keeping(&["foo=9/60"]));
    let (id, speaks) = (world.connect_resp(), world.open(SPEAKS));
    world.say(speaks, "one");
    world.pass(59_000);
    assert_eq!(world.ask_for(id, &format!("TTL {STREAM}\nPTTL {STREAM}")), ":1\n:1000\n");
    assert_eq!(world.ask_for(id, &format!("TYPE {STREAM}\nEXISTS {STREAM} x")), "+stream\n:1\n");
    world.say(speaks, "two");
    world.pass(59_999);
    assert_eq!(kept(&mut world, id, STREAM), ["one", "two"]);
    world.pass(1);
    assert_eq!(world.ask_for(id, &format!("XRANGE {STREAM} - +\nTTL {STREAM}")), "*0\n:-2\n");
    assert_eq!(world.ask_for(id, &format!("TYPE {STREAM}\nEXISTS {STREAM}")), "+none\n:0\n");
    for forget in [format!("DEL x {STREAM}"), "FLUSHDB".to_owned(), format!("PEXPIRE {STREAM} 0")] {
        world.say(speaks, "three");
        assert_eq!(world.ask_for(id, &format!("XLEN {STREAM}")), ":1\n");
        assert!(!world.ask_for(id, &forget).starts_with('-'));
        assert_eq!(world.ask_for(id, &format!("XLEN {STREAM}")), ":0\n", "{forget}");
    }
    world.say(speaks, "four");
    assert_eq!(world.ask_for(id, &format!("EXPIRE {STREAM} 5")), ":1\n");
    world.pass(5_000);
    assert_eq!(world.ask_for(id, &format!("XLEN {STREAM}\nEXPIRE {STREAM} 5")), ":0\n:0\n");
}

#[test]
fn a_part_of_a_history_is_read_by_its_places() {
    let mut world = World::new(keeping(&["foo=9/60"]));
    let id = world.connect_resp();
    let mut places = Vec::new();
    for text in ["a", "b", "c"] {
        let answer = world.ask_for(id, &format!("XADD {STREAM} * message {text}"));
        places.push(answer.lines().nth(1).expect("an id").to_owned());
    }
    let second = &places[1];
    for (range, expected) in [
        (format!("XRANGE {STREAM} ({second} +"), "c"),
        (format!("XRANGE {STREAM} - ({second}"), "a"),
        (format!("XRANGE {STREAM} {second} {second}"), "b"),
        (format!("XRANGE {STREAM} - + COUNT 2"), "ab"),
        (format!("XREVRANGE {STREAM} + - COUNT 2"), "cb"),
        (format!("XREVRANGE {STREAM} {second} -"), "ba"),
        (format!("XRANGE {STREAM} + -"), ""),
        (format!("XRANGE {STREAM} - + COUNT 0"), ""),
    ] {
        let answer = world.ask_for(id, &range);
        let found: String = answer.lines().filter(|line| ["a", "b", "c"].contains(line)).collect();
        assert_eq!(found, expected, "{range}");
        assert!(answer.starts_with(&format!("*{}\n", expected.len())), "{range}: {answer}");
    }
}

#[test]
fn what_is_no_history_is_refused_with_the_way_to_mend_it() {
    let mut world = World::new(keeping(&["foo=9/60"]));
    let id = world.connect_resp();
    for (command, expected) in [
        ("XADD STREAM * message", "-ERR wrong number of arguments for 'xadd' command"),
        ("XADD STREAM * data x", "-ERR an entry of a history is written as XADD NAME MAXLEN"),
        ("XADD STREAM 5-0 message x", "-ERR an entry of a history is written as"),
        ("XADD STREAM * message x more y", "-ERR an entry of a history is written as"),
        ("XADD STREAM * message ''", "-ERR an entry of a history is written as"),
        ("XADD STREAM MAXLEN x * message x", "-ERR value is not an integer"),
        ("XADD STREAM MAXLEN -1 * message x", "-ERR syntax error"),
        ("XADD other * message x", "-ERR the embedded broker of wsloop has streams for the"),
        ("XADD wsloop:history:{broadcast:bar} * message x", "-ERR no rule of --history fits"),
        ("XADD wsloop:history:{broadcast:foo} * message x", "$15"),
        ("XRANGE STREAM x +", "-ERR Invalid stream ID"),
        ("XRANGE STREAM - + LIMIT 1", "-ERR syntax error"),
        ("XLEN other", "-ERR the embedded broker of wsloop has streams for the"),
        ("SET STREAM x", "-WRONGTYPE"),
        ("GET STREAM", "-WRONGTYPE"),
        ("MGET a STREAM", "-WRONGTYPE"),
        ("SET a STREAM", "+OK"),
        ("EXPIRE STREAM 5 NX", "-ERR syntax error"),
        ("XREAD STREAMS a 0", "-ERR unknown command"),
    ] {
        let answer = world.ask_for(id, &command.replace("STREAM", STREAM));
        assert!(answer.starts_with(expected), "{command}: {answer}");
    }
    let mut world = World::new(settings());
    let id = world.connect_resp();
    let answer = world.ask_for(id, &format!("XADD {STREAM} * message x"));
    assert!(answer.ends_with("no channel has one: give --history\n"), "{answer}");
    assert_eq!(world.ask_for(id, &format!("SET {STREAM} x\nGET {STREAM}")), "+OK\n$1\nx\n");
}

#[test]
fn past_its_limit_history_gives_way() {
    let mut world = World::new(Settings { history_limit: 4096, ..keeping(&["*=1000/60"]) });
    let id = world.connect_resp();
    for n in 0..100 {
        world.ask_for(id, &format!("PUBLISH {CHANNEL} {n:0100}"));
    }
    let kept = kept(&mut world, id, STREAM);
    assert!((20..30).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().expect("some"), &format!("{:0100}", 99));
    world.pass(1000);
    assert_eq!(world.metrics().history_evicted_total, 100 - kept.len() as u64);
}
