//! A password, which is said before anything is done.

use super::*;
use wsloop::Settings;

fn locked() -> World {
    World::new(Settings { resp_password: Some(b"p w".to_vec()), ..settings() })
}

#[test]
fn nothing_works_before_the_password() {
    for command in [
        "PING",
        "PUBLISH broadcast:foo x",
        "SUBSCRIBE broadcast:foo",
        "GET a",
        "SET a 1",
        "MULTI",
        "INFO",
        "KEYS *",
        "CLIENT SETNAME x",
        "SELECT 1",
        "FLUSHDB",
    ] {
        let mut world = locked();
        let (id, browser) = (world.connect_resp(), world.open(HEARS));
        assert_eq!(world.ask_for(id, command), "-NOAUTH Authentication required.\n", "{command}");
        assert!(world.texts(browser).is_empty());
    }
}

#[test]
fn a_wrong_password_is_an_error_and_the_right_one_opens() {
    let mut world = locked();
    let id = world.connect_resp();
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.\n";
    for command in
        ["AUTH p", "AUTH \"p w \"", "AUTH ''", "AUTH john 'p w'", "HELLO 3 AUTH default x"]
    {
        assert_eq!(world.ask_for(id, command), wrong, "{command}");
        assert!(world.ask_for(id, "PING").starts_with("-NOAUTH"), "{command}");
    }
    assert!(world.ask_for(id, "HELLO 3").starts_with("-NOAUTH HELLO must be called"));
    assert_eq!(world.ask_for(id, "AUTH 'p w'"), "+OK\n");
    assert_eq!(world.ask_for(id, "PING"), "+PONG\n");
    // Who is in stays in.
    assert_eq!(world.ask_for(id, "AUTH wrong"), wrong);
    assert_eq!(world.ask_for(id, "PING"), "+PONG\n");

    for command in ["AUTH default 'p w'", "HELLO 2 AUTH default 'p w'"] {
        let id = world.connect_resp();
        assert!(!world.ask_for(id, command).starts_with('-'), "{command}");
        assert_eq!(world.ask_for(id, "PING"), "+PONG\n");
    }
    let id = world.connect_resp();
    assert_eq!(world.ask_for(id, "QUIT"), "+OK\n");
}

#[test]
fn without_a_password_any_is_taken() {
    let mut world = World::new(settings());
    let id = world.connect_resp();
    assert_eq!(world.ask_for(id, "AUTH anything"), "+OK\n");
    assert_eq!(world.ask_for(id, "AUTH somebody anything"), "+OK\n");
}
