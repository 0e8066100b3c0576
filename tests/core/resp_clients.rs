//! Redis clients of the embedded broker, without sockets: what they are answered, what they hear,
//! and that they harm nobody.

mod commands;
mod histories;
mod limits;
mod password;

use crate::world::{World, settings, with_redis};
use wsloop::Cause;

const HEARS: &str = "/ws/foo?subscribe-broadcast";
const SPEAKS: &str = "/ws/foo?publish-broadcast";
const CHANNEL: &str = "broadcast:foo";

/// Asks line by line, each of which is answered with what stands below it up to the next `> `.
#[track_caller]
fn converse(script: &str) {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    converse_as(&mut world, id, script);
}

#[track_caller]
fn converse_as(world: &mut World, id: usize, script: &str) {
    for part in script.split("> ").skip(1) {
        let (line, expected) = part.split_once('\n').expect("a line and its answer");
        let expected: String =
            expected.split_inclusive('\n').map(|line| line.trim_start_matches(' ')).collect();
        assert_eq!(world.ask_for(id, line), expected, "{line}");
    }
}

#[test]
fn who_is_who() {
    converse(
        "> PING
        +PONG
        > ping 'a b'
        $3
        a b
        > ECHO x
        $1
        x
        > AUTH secret
        +OK
        > AUTH user secret
        +OK
        > SELECT 15
        +OK
        > SELECT 16
        -ERR DB index is out of range
        > CLIENT GETNAME
        $-1
        > CLIENT SETNAME me
        +OK
        > CLIENT GETNAME
        $2
        me
        > CLIENT SETNAME 'a b'
        -ERR Client names cannot contain spaces, newlines or special characters.
        > CLIENT SETINFO LIB-NAME x
        +OK
        > CLIENT ID
        :1
        > COMMAND COUNT
        :45
        > COMMAND DOCS
        *0
        > COMMAND
        *0
        > HELLO 4
        -NOPROTO unsupported protocol version
        > HELLO 3 AUTH default x SETNAME you
        %7
        $6
        server
        $6
        wsloop
        $7
        version
        $5
        7.0.0
        $5
        proto
        :3
        $2
        id
        :1
        $4
        mode
        $10
        standalone
        $4
        role
        $6
        master
        $7
        modules
        *0
        > CLIENT GETNAME
        $3
        you
        > GET nothing
        _
        > COMMAND DOCS
        %0
        > HELLO 3 SETNAME
        -ERR syntax error
        ",
    );
}

#[test]
fn what_is_stored() {
    converse(
        "> SET a 1
        +OK
        > GET a
        $1
        1
        > SET a 2 NX
        $-1
        > SET b 2 XX
        $-1
        > SET a 3 XX EX 100
        +OK
        > TTL a
        :100
        > SET a 4 KEEPTTL
        +OK
        > TTL a
        :100
        > SET a 5
        +OK
        > TTL a
        :-1
        > TTL b
        :-2
        > SET b '' PX 1500 NX
        +OK
        > TTL b
        :2
        > MGET a b c
        *3
        $1
        5
        $0

        $-1
        > SETEX c 7 x
        +OK
        > TTL c
        :7
        > EXISTS a b c d a
        :4
        > EXPIRE a 50
        :1
        > TTL a
        :50
        > EXPIRE d 50
        :0
        > EXPIRE a -1
        :1
        > DEL a b d
        :1
        > KEYS *
        *1
        $1
        c
        > SET x 1 EX 0
        -ERR invalid expire time in 'set' command
        > SETEX x -1 1
        -ERR invalid expire time in 'setex' command
        > SET x 1 EX soon
        -ERR value is not an integer or out of range
        > SET x 1 EX 9223372036854775807
        -ERR invalid expire time in 'set' command
        > SET x 1 EX
        -ERR syntax error
        > SET x 1 EX 1 KEEPTTL
        -ERR syntax error
        > SET x 1 NX XX
        -ERR syntax error
        > SET x 1 GETS
        -ERR syntax error
        > EXPIRE c 9223372036854775807
        -ERR invalid expire time in 'expire' command
        > SCAN x
        -ERR invalid cursor
        > SCAN 0 COUNT 0
        -ERR syntax error
        > SCAN 0 MATCH
        -ERR syntax error
        > SCAN 0 MATCH c* COUNT 5
        *2
        $1
        0
        *1
        $1
        c
        ",
    );
}

#[test]
fn what_it_does_not_have_names_a_real_redis() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    for (line, words) in [
        ("LPUSH a b", "-ERR unknown command 'LPUSH': the embedded broker of wsloop has only"),
        ("FLUSHALL", "use a real Redis (--redis)\n"),
        ("CLIENT KILL 1", "-ERR unknown subcommand 'KILL' of CLIENT"),
        ("COMMAND GETKEYS", "use a real Redis"),
        ("\"\\x1b[2J\\r\\n\" x", "-ERR unknown command '\\x1b[2J\\r\\n'"),
        ("GET", "-ERR wrong number of arguments for 'get' command\n"),
        ("publish a", "-ERR wrong number of arguments for 'publish' command\n"),
        ("EXEC", "-ERR EXEC without MULTI\n"),
        ("DISCARD", "-ERR DISCARD without MULTI\n"),
    ] {
        let answer = world.ask_for(id, line);
        assert!(answer.starts_with('-') && answer.contains(words), "{line}: {answer}");
        assert_eq!(answer.matches('\n').count(), 1, "{answer}");
    }
    assert_eq!(world.ask_for(id, "PING"), "+PONG\n");
}

#[test]
fn info_says_what_it_is_and_what_is_there() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    world.ask_for(id, "SET a 1\nSETEX b 5 1");
    let info = world.ask_for(id, "INFO");
    for line in ["redis_version:7.0.0", "server_name:wsloop", "loading:0", "db0:keys=2,expires=1,"]
    {
        assert!(info.contains(&format!("\n{line}")), "{line}: {info}");
    }
}

#[test]
fn messages_go_to_browsers_and_come_from_them() {
    let mut world = World::new(settings());
    let (reader, speaker) = (world.open(HEARS), world.open(SPEAKS));
    let (publisher, listener) = (world.connect_resp(), world.connect_resp());
    assert_eq!(world.ask_for(publisher, "PUBLISH broadcast:foo one"), ":1\n");
    assert_eq!(world.texts(reader), ["one"]);
    assert_eq!(world.ask_for(publisher, "PUBLISH broadcast:bar one"), ":0\n");

    let confirmed = "*3\n$9\nsubscribe\n$13\nbroadcast:foo\n:1\n";
    assert_eq!(world.ask_for(listener, "SUBSCRIBE broadcast:foo"), confirmed);
    assert_eq!(world.ask_for(publisher, "PUBLISH broadcast:foo two"), ":2\n");
    let message =
        |text: &str| format!("*3\n$7\nmessage\n$13\nbroadcast:foo\n${}\n{text}\n", text.len());
    assert_eq!(world.answers(listener), message("two"));
    world.say(speaker, "three");
    assert_eq!(world.answers(listener), message("three"));
    assert_eq!(world.texts(reader), ["two", "three"]);

    // What a browser says is stored, and what a RESP client stores is for browsers.
    assert_eq!(world.ask_for(publisher, "GET broadcast:foo"), "$5\nthree\n");
    assert_eq!(world.ask_for(publisher, "TTL broadcast:foo"), ":3600\n");
    assert_eq!(world.ask_for(publisher, "SET broadcast:foo four EX 10"), "+OK\n");
    let late = world.open(HEARS);
    assert_eq!(world.texts(late), ["four"]);
    world.pass(10_000);
    assert_eq!(world.ask_for(publisher, "GET broadcast:foo"), "$-1\n");
    assert_eq!(world.metrics().resp_clients, 2);
}

#[test]
fn a_browser_with_no_echo_hears_what_resp_clients_say_in_its_words() {
    let mut world = World::new(settings());
    let browser = world.open("/ws/foo?subscribe-broadcast&publish-broadcast");
    let client = world.connect_resp();
    world.say(browser, "same");
    world.ask_for(client, "PUBLISH broadcast:foo same");
    assert_eq!(world.texts(browser), ["same"]);
}

#[test]
fn subscriptions_in_both_versions() {
    converse(
        "> PSUBSCRIBE b* ?a
        *3
        $10
        psubscribe
        $2
        b*
        :1
        *3
        $10
        psubscribe
        $2
        ?a
        :2
        > SUBSCRIBE ba
        *3
        $9
        subscribe
        $2
        ba
        :3
        > PING
        *2
        $4
        pong
        $0

        > GET x
        -ERR Can't execute 'GET': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT are allowed in this context
        > PUNSUBSCRIBE
        *3
        $12
        punsubscribe
        $2
        ?a
        :2
        *3
        $12
        punsubscribe
        $2
        b*
        :1
        > UNSUBSCRIBE no ba
        *3
        $11
        unsubscribe
        $2
        no
        :1
        *3
        $11
        unsubscribe
        $2
        ba
        :0
        > UNSUBSCRIBE
        *3
        $11
        unsubscribe
        $-1
        :0
        > PING
        +PONG
        ",
    );
    let mut world = World::new(settings());
    let id = world.connect_resp();
    world.ask_for(id, "HELLO 3");
    assert_eq!(world.ask_for(id, "SUBSCRIBE a"), ">3\n$9\nsubscribe\n$1\na\n:1\n");
    world.ask_for(id, "PSUBSCRIBE ? *");
    assert_eq!(
        world.ask_for(id, "PUBLISH a x"),
        ">3\n$7\nmessage\n$1\na\n$1\nx\n>4\n$8\npmessage\n$1\n*\n$1\na\n$1\nx\n\
         >4\n$8\npmessage\n$1\n?\n$1\na\n$1\nx\n:3\n"
    );
    assert!(world.ask_for(id, "HELLO 2").starts_with("-ERR"), "it could not tell them apart");
}

#[test]
fn a_message_goes_to_who_subscribed_before_it_and_to_nobody_else() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    world.ask_for(id, "HELLO 3");
    let answers = world
        .ask_for(id, "PUBLISH a early\nSUBSCRIBE a\nPUBLISH a live\nUNSUBSCRIBE a\nPUBLISH a late");
    assert_eq!(
        answers,
        ":0\n>3\n$9\nsubscribe\n$1\na\n:1\n>3\n$7\nmessage\n$1\na\n$4\nlive\n:1\n\
         >3\n$11\nunsubscribe\n$1\na\n:0\n:0\n"
    );
}

#[test]
fn transactions() {
    let mut world = World::new(settings());
    let (id, other) = (world.connect_resp(), world.connect_resp());
    let browser = world.open(HEARS);
    converse_as(
        &mut world,
        id,
        "> MULTI
        +OK
        > PUBLISH broadcast:foo hello
        +QUEUED
        > SET broadcast:foo hello EX 60
        +QUEUED
        > LLEN nothing-here
        -ERR unknown command 'LLEN': the embedded broker of wsloop has only what publishing and listening need; use a real Redis (--redis)
        > EXEC
        -EXECABORT Transaction discarded because of previous errors.
        > MULTI
        +OK
        > MULTI
        -ERR MULTI calls can not be nested
        > WATCH a
        -ERR WATCH inside MULTI is not allowed
        > PUBLISH broadcast:foo hello
        +QUEUED
        > SET a x EX 0
        +QUEUED
        > GET broadcast:foo
        +QUEUED
        > EXEC
        *3
        :1
        -ERR invalid expire time in 'set' command
        $-1
        > MULTI
        +OK
        > SET a 1
        +QUEUED
        > DISCARD
        +OK
        > EXISTS a
        :0
        > MULTI
        +OK
        > SUBSCRIBE a
        -ERR 'SUBSCRIBE' is not allowed in transactions
        > EXEC
        -EXECABORT Transaction discarded because of previous errors.
        > MULTI
        +OK
        > EXEC
        *0
        ",
    );
    assert_eq!(world.texts(browser), ["hello"]);
    for (meanwhile, expected) in
        [("PING", "*1\n$1\n1\n"), ("SET w 1", "*-1\n"), ("EXPIRE w 5", "*-1\n"), ("DEL w", "*-1\n")]
    {
        world.ask_for(other, "SET w 1");
        world.ask_for(id, "WATCH w\nMULTI\nGET w");
        world.ask_for(other, meanwhile);
        assert_eq!(world.ask_for(id, "EXEC"), expected, "{meanwhile}");
    }
    world.ask_for(id, "WATCH w\nUNWATCH\nMULTI");
    world.ask_for(other, "SET w 2");
    assert_eq!(world.ask_for(id, "GET w\nEXEC"), "+QUEUED\n*1\n$1\n2\n");
}

#[test]
fn a_web_page_that_posts_commands_is_cut_off_without_an_answer() {
    for head in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:6380\r\n\r\nPUBLISH broadcast:foo evil\r\n",
        "GET /x HTTP/1.1\r\nHost: 127.0.0.1:6380\r\n\r\nPUBLISH broadcast:foo evil\r\n",
        "PUBLISH broadcast:foo HTTP/1.1\r\nHost: x\r\n\r\n",
        "Host: x\r\nPUBLISH broadcast:foo evil\r\n",
    ] {
        let mut world = World::new(settings());
        let (id, browser) = (world.connect_resp(), world.open(HEARS));
        world.tell(id, head);
        assert_eq!(
            (world.answers(id).as_str(), world.resp_clients[id].closed),
            ("", true),
            "{head}"
        );
        assert!(world.texts(browser).is_empty(), "{head}");
    }
}

#[test]
fn what_breaks_the_protocol_is_told_and_closed() {
    let mut world = World::new(settings());
    for (bytes, words) in [
        ("*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
        ("*x\r\n", "Protocol error: invalid multibulk length"),
        ("PING\r\nset 'a\r\nPING\r\n", "Protocol error: unbalanced quotes in request"),
        ("*1\r\n$99999999\r\n", "Protocol error: invalid bulk length"),
    ] {
        let id = world.connect_resp();
        world.tell(id, bytes);
        let answer = world.answers(id);
        assert!(answer.ends_with(&format!("-ERR {words}\n")), "{answer}");
        assert!(world.resp_clients[id].closed);
    }
    let id = world.connect_resp();
    assert_eq!(world.ask_for(id, "QUIT\nPING"), "+OK\n");
    assert!(world.resp_clients[id].closed);
    assert_eq!(world.metrics().resp_clients, 0);
}
