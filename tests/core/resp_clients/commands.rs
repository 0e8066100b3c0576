//! What clients expect of a Redis besides publishing.

use super::*;

#[test]
fn values_and_their_times() {
    converse(
        "> SETNX a 1
        :1
        > SETNX a 2
        :0
        > TYPE a
        +string
        > TYPE b
        +none
        > DBSIZE
        :1
        > PTTL a
        :-1
        > PTTL b
        :-2
        > PEXPIRE a 1500
        :1
        > PTTL a
        :1500
        > TTL a
        :2
        > PSETEX b 2500 x
        +OK
        > PTTL b
        :2500
        > PSETEX b 0 x
        -ERR invalid expire time in 'psetex' command
        > EXPIRE a 100 NX
        :0
        > EXPIRE a 1 GT
        :0
        > EXPIRE a 100 LT
        :0
        > EXPIRE a 100 XX GT
        :1
        > TTL a
        :100
        > SET c x
        +OK
        > EXPIRE c 100 XX
        :0
        > EXPIRE c 100 GT
        :0
        > EXPIRE c 100 LT
        :1
        > PEXPIRE c 100 NX XX
        -ERR syntax error
        > EXPIRE c 100 SOON
        -ERR syntax error
        > SET a new GET
        $1
        1
        > SET d first GET
        $-1
        > SET a newer NX GET
        $3
        new
        > GET a
        $3
        new
        > SET e x EXAT 1800000100
        +OK
        > TTL e
        :100
        > SET e x PXAT 1800000050000
        +OK
        > PTTL e
        :50000
        > SET e x EXAT 1800000100 EX 5
        -ERR syntax error
        > SET e x EXAT 5
        +OK
        > GET e
        $-1
        > UNLINK a b nothing
        :2
        > SCAN 0 TYPE string
        *2
        $1
        0
        *2
        $1
        d
        $1
        c
        > SCAN 0 TYPE list
        *2
        $1
        0
        *0
        > FLUSHDB SOMETIMES
        -ERR syntax error
        > FLUSHDB
        +OK
        > DBSIZE
        :0
",
    );
}

#[test]
fn who_hears_what() {
    let mut world = World::new(settings());
    let (one, other) = (world.connect_resp(), world.connect_resp());
    world.open(HEARS);
    world.open(HEARS);
    world.ask_for(one, "SUBSCRIBE broadcast:foo news:a");
    world.ask_for(one, "PSUBSCRIBE news:* x*");
    world.ask_for(other, "HELLO 3");
    world.ask_for(other, "PSUBSCRIBE news:*");
    let asks = world.connect_resp();
    converse_as(
        &mut world,
        asks,
        "> PUBSUB NUMSUB broadcast:foo news:a nobody
        *6
        $13
        broadcast:foo
        :2
        $6
        news:a
        :1
        $6
        nobody
        :0
        > PUBSUB CHANNELS
        *2
        $13
        broadcast:foo
        $6
        news:a
        > PUBSUB CHANNELS n*
        *1
        $6
        news:a
        > PUBSUB NUMPAT
        :2
        > PUBSUB NUMSUB
        *0
        > MULTI
        +OK
        > PUBSUB NUMPAT
        +QUEUED
        > EXEC
        *1
        :2
        > PUBSUB SHARDCHANNELS
        -ERR unknown subcommand 'SHARDCHANNELS' of PUBSUB: the embedded broker of wsloop has only what publishing and listening need; use a real Redis (--redis)
",
    );
}
