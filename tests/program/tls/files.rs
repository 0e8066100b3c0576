//! Certificates and keys that will not do, and what is said of them.

use std::fs;
use std::process::Command;

use super::NAMES;
use crate::support::tls::{Authority, Files, openssl};

/// What a check says of these arguments: its lines of complaint, and whether it is content.
fn checked(args: &[&str]) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    let output = command.arg("check").args(args).output().expect("the program");
    (String::from_utf8(output.stderr).expect("UTF-8"), output.status.success())
}

fn listening(cert: &str, key: &str) -> (String, bool) {
    checked(&["--listen", "https://127.0.0.1:0", "--tls-cert", cert, "--tls-key", key])
}

#[test]
#[ignore = "needs openssl"]
fn files_that_will_not_do_are_named() {
    let authority = Authority::new();
    let Files { cert, key } = authority.issue("own", NAMES);
    assert_eq!(listening(&cert, &key), (String::new(), true));
    let other = authority.issue("other", NAMES);
    let file = |name: &str, text: String| {
        let path = authority.path(name);
        fs::write(&path, text).expect("a file");
        path
    };
    let read = |path: &str| fs::read_to_string(path).expect("a file");
    let reversed = file("reversed", read(&authority.root()) + &read(&cert));
    let both = file("both", read(&cert) + &read(&key));
    assert_eq!(listening(&both, &both), (String::new(), true), "one file has both");
    let encrypted = authority.path("encrypted");
    openssl(&["pkey", "-in", &key, "-aes128", "-passout", "pass:x", "-out", &encrypted]);
    let cut = file("cut", read(&cert).lines().take(3).collect::<Vec<_>>().join("\n"));
    let cases = [
        ("/nowhere", &*key, "--tls-cert: \"/nowhere\" cannot be read"),
        (&cert, "/nowhere", "--tls-key: \"/nowhere\" cannot be read"),
        (&key, &key, "has no certificate; give a PEM file with BEGIN CERTIFICATE in it"),
        (&cert, &cert, "has no private key; give a PEM file with BEGIN PRIVATE KEY in it"),
        (&cert, &other.key, "is not the key of the certificate in"),
        (&reversed, &key, "is in the wrong order: the certificate of the key"),
        (&cert, &encrypted, "is encrypted; decrypt it with: openssl pkey -in FILE"),
        (&cut, &key, "is no PEM"),
    ];
    for (cert, key, words) in cases {
        let (line, content) = listening(cert, key);
        assert!(!content && line.lines().count() == 1 && line.contains(words), "{words}: {line}");
    }
}

#[test]
#[ignore = "needs openssl"]
fn what_is_probably_a_mistake_is_warned_about() {
    let authority = Authority::new();
    let expired = authority.issue_expired("expired");
    let (line, content) = listening(&expired.cert, &expired.key);
    assert!(content && line.contains("expired") && line.contains("SIGHUP"), "{line}");
    // Two that do not lead to each other, behind the one of the key.
    let own = authority.issue("own", NAMES);
    let other = authority.issue("other", NAMES);
    let mixed = [&own.cert, &other.cert].map(|path| fs::read_to_string(path).expect("a file"));
    let path = authority.path("mixed");
    fs::write(&path, mixed.concat()).expect("a file");
    let (line, content) = listening(&path, &own.key);
    assert!(content && line.contains("are in the wrong order"), "{line}");
    let led = [&own.cert, &authority.root()].map(|path| fs::read_to_string(path).expect("a file"));
    fs::write(&path, led.concat()).expect("a file");
    assert_eq!(listening(&path, &own.key), (String::new(), true));
}

#[test]
#[ignore = "needs openssl"]
fn flags_that_belong_together_are_given_together() {
    let authority = Authority::new();
    let Files { cert, key } = authority.issue("own", NAMES);
    let listen = "--listen=https://127.0.0.1:0";
    let cases: [(&[&str], &str); 6] = [
        (&[listen], "--listen: https://127.0.0.1:0 needs a certificate and its key"),
        (&["--tls-cert", &cert, "--tls-key", &key], "--tls-cert: is for TLS, and no --listen"),
        (&["--tls-key", &key], "--tls-key: is for --listen https://"),
        (&[listen, "--tls-cert", &cert], "1 certificates and 0 keys"),
        (&["--listen=http://h:1"], "https://HOST:PORT where TLS is to be spoken"),
        (&["--listen=https://h"], "has no port"),
    ];
    for (args, words) in cases {
        let (line, content) = checked(args);
        assert!(!content && line.contains(words), "{args:?}: {line}");
    }
}
