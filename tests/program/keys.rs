//! Files with keys, as operators give them to the program.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Folder, Wsloop};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

pub const OLD: &str = "the old secret, of more than thirty-two bytes";
pub const NEW: &str = "the new secret, of more than thirty-two bytes";

fn file(folder: &Folder, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path: PathBuf = folder.join(name);
    fs::write(&path, bytes).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

/// The path at which john asks with a token that is signed with that secret.
pub fn by(secret: impl AsRef<[u8]>) -> String {
    let header = r#"{"alg":"HS256"}"#;
    let body = [header, r#"{"sub":"john"}"#].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_ref());
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    format!("room?subscribe-user&token={body}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Whether john is let in with a token that is signed with that secret.
pub fn lets_in(server: &Wsloop, secret: impl AsRef<[u8]>) -> bool {
    match server.try_connect(&by(secret)) {
        Ok(client) => {
            client.close();
            true
        }
        Err(response) => {
            assert_eq!(response.status, 401);
            false
        }
    }
}

/// What the program says before it ends.
#[track_caller]
fn complaint(args: &[&str], folder: &Folder) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wsloop"));
    let args = [&["--listen=127.0.0.1:0", "--resp=off"], args].concat();
    let output = command.env_clear().current_dir(folder.path()).args(args).output();
    let output = output.expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn a_new_secret_beside_the_old_one_locks_nobody_out() {
    let folder = Folder::new();
    let (new, old) = (file(&folder, "new", NEW), file(&folder, "old", format!("{OLD}\n")));
    let both = format!("{new},{old}");
    for args in
        [&["--token-key-file", &new, "--token-key-file", &old][..], &["--token-key-file", &both]]
    {
        let server = Wsloop::start(args);
        server.expect_log(&["tokens must be signed with HS256, by one of 2 keys"]);
        assert!(lets_in(&server, NEW) && lets_in(&server, OLD));
        assert!(!lets_in(&server, "another secret, of more than thirty-two bytes"));
    }
    let server = Wsloop::start(&["--token-key-file", &new]);
    assert!(lets_in(&server, NEW) && !lets_in(&server, OLD));
    // A comma in the name of a file is one.
    let odd = file(&folder, "new,old", NEW);
    assert!(lets_in(&Wsloop::start(&["--token-key-file", &odd]), NEW));
    let toml = format!("token-key-file = [{new:?}, {old:?}]\nlisten = \"127.0.0.1:0\"\n");
    let server = Wsloop::start(&["--config", &file(&folder, "wsloop.toml", toml)]);
    assert!(lets_in(&server, NEW) && lets_in(&server, OLD));
}

#[test]
fn a_file_that_names_another_is_not_taken_for_a_secret() {
    let folder = Folder::new();
    let long = "a-name-of-a-file-of-more-than-thirty-two-bytes";
    let named = file(&folder, long, "what is in it does not matter");
    for name in [named.as_str(), long, &format!("./{long}"), &format!("{long}\n")] {
        let key = file(&folder, "key", name);
        for path in [key.as_str(), "key", "./key"] {
            let said = complaint(&["--token-key-file", path], &folder);
            assert!(said.contains("the name of a file"), "{name}: {said}");
        }
    }
    let key = file(&folder, "key", format!("{named}-that-is-not-there"));
    let server = Wsloop::start(&["--token-key-file", &key]);
    assert!(lets_in(&server, format!("{named}-that-is-not-there")));
}

#[test]
fn raw_bytes_are_a_secret_only_where_they_are_named_one() {
    let folder = Folder::new();
    let raw: Vec<u8> = (0..32).map(|byte| byte * 7 + 1).collect();
    let key = file(&folder, "key", &raw);
    let said = complaint(&["--token-key-file", &key], &folder);
    assert!(said.contains("not printable ASCII") && said.contains("--token-algorithm"), "{said}");
    let server = Wsloop::start(&["--token-key-file", &key, "--token-algorithm", "HS256"]);
    assert!(lets_in(&server, &raw));
    let said = complaint(&["--token-key-file", &key, "--token-algorithm=RS256,ES256"], &folder);
    assert!(said.contains("neither a public key nor a secret"), "{said}");
}

#[test]
fn a_public_key_is_no_secret_of_sessions_either() {
    let folder = Folder::new();
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../sessions/tokens.json")).expect("JSON");
    let pem = vectors["keys"]["ES256"].as_str().expect("a key");
    let wide: Vec<u8> = NEW.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, words) in [
        (pem.as_bytes(), "not a secret"),
        (b"{\"kty\":\"EC\"}", "this is JSON"),
        (&wide, "UTF-16"),
        (b"\xef\xbb\xbfsecret", "byte order mark"),
        (b"\n", "is empty"),
    ] {
        let key = file(&folder, "key", bytes);
        let args = ["--session-key=session:{}", "--session-secret-file", &key];
        let said = complaint(&args, &folder);
        assert!(said.contains(words) && said.contains("--session-secret-file"), "{said}");
    }
    // It is the application's, and so of any length.
    let key = file(&folder, "key", "secret");
    Wsloop::start(&["--session-key=session:{}", "--session-secret-file", &key]);
}
