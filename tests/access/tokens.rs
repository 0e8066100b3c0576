//! Tokens good and bad, and where they are found.
//!
//! tests/sessions/tokens.json is made with PyJWT by scripts/session-vectors. Of each token it says
//! which of the `keys` it is verified with, for which audience, and what the result must be.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use wsloop::internals::access::identity::{Identity, NameError, Named};
use wsloop::internals::access::token::{Claims, MAX_TOKEN, TokenError, find_token, verify};
use wsloop::{Allow, KeyError, TokenKey};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../sessions/tokens.json")).unwrap()
}

fn key(vectors: &Value, name: &str) -> TokenKey {
    TokenKey::from_file_bytes(vectors["keys"][name].as_str().unwrap().as_bytes()).unwrap()
}

fn john() -> Named {
    let identity = Identity {
        session: Some("abc123".into()),
        user: Some("john".into()),
        groups: vec!["chat".into(), "staff".into()],
    };
    Named { identity, refused: vec![] }
}

#[test]
fn tokens_of_pyjwt() {
    let vectors = vectors();
    let now_ms = vectors["now_ms"].as_u64().unwrap();
    let mut results = std::collections::BTreeSet::new();
    for token in vectors["tokens"].as_array().unwrap() {
        let [name, key_name, text, result] =
            ["name", "key", "token", "result"].map(|member| token[member].as_str().unwrap());
        let verified = verify(text, &key(&vectors, key_name), token["audience"].as_str(), now_ms);
        let said = match &verified {
            Ok(claims) => {
                assert_eq!(claims.named, john(), "{name} ({key_name})");
                assert_eq!(claims.allow, Allow::parse("subscribe-user").ok());
                assert!(claims.expires_ms.is_none_or(|expires_ms| expires_ms > now_ms));
                "good".to_owned()
            }
            Err(TokenError::Claim(claim)) => format!("claim {claim}"),
            Err(TokenError::NotYet) => "not yet".into(),
            Err(TokenError::TooLong) => "too long".into(),
            Err(error) => format!("{error:?}").to_lowercase(),
        };
        assert_eq!(said, result, "{name} ({key_name})");
        results.insert(said);
    }
    assert_eq!(results.len(), 16, "{results:?}");
}

#[test]
fn nothing_of_a_token_can_be_changed() {
    let vectors = vectors();
    let now_ms = vectors["now_ms"].as_u64().unwrap();
    let tokens = vectors["tokens"].as_array().unwrap();
    let mut good = 0;
    for token in tokens.iter().filter(|token| token["name"] == "good") {
        good += 1;
        let key = key(&vectors, token["key"].as_str().unwrap());
        let text = token["token"].as_str().unwrap();
        assert!(verify(text, &key, None, now_ms).is_ok());
        for at in 0..text.len() {
            assert!(verify(&text[..at], &key, None, now_ms).is_err());
            for other in ["A", "_", ".", "=", " "] {
                let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
                let verified = verify(&changed, &key, None, now_ms);
                assert!(changed == text || verified.is_err(), "{changed}");
            }
        }
        for more in ["A", ".", "=", " ", "\n", "\0"] {
            assert!(verify(&format!("{text}{more}"), &key, None, now_ms).is_err());
            assert!(verify(&format!("{more}{text}"), &key, None, now_ms).is_err());
        }
    }
    assert_eq!(good, 5);
}

/// A token with these claims, signed with the secret.
fn signed(claims: &str, secret: &[u8]) -> String {
    let [header, claims] = [r#"{"alg":"HS256"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let body = format!("{header}.{claims}");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[test]
fn times_are_judged_to_the_millisecond() {
    let key = TokenKey::from_file_bytes(b"secret").unwrap();
    let judge = |claims: &str, now_ms| verify(&signed(claims, b"secret"), &key, None, now_ms);
    for (claims, good, bad) in [
        (r#"{"exp":10}"#, 9_999, 10_000),
        (r#"{"exp":10.0}"#, 9_999, 10_000),
        (r#"{"exp":10.0015}"#, 10_001, 10_002),
        (r#"{"exp":1.0e1}"#, 0, u64::MAX),
        (r#"{"nbf":10}"#, 10_000, 9_999),
        (r#"{"nbf":10.25}"#, 10_250, 10_249),
    ] {
        assert!(judge(claims, good).is_ok(), "{claims}");
        let error = if claims.contains("exp") { TokenError::Expired } else { TokenError::NotYet };
        assert_eq!(judge(claims, bad), Err(error), "{claims}");
    }
    assert_eq!(judge(r#"{"exp":10.25}"#, 0).unwrap().expires_ms, Some(10_250));
    assert_eq!(judge(r#"{"exp":1e300}"#, 0).unwrap().expires_ms, Some(u64::MAX));
    assert_eq!(judge("{}", 0).unwrap().expires_ms, None);
    assert_eq!(judge(r#"{"exp":-1e300}"#, 0), Err(TokenError::Expired));
    assert_eq!(judge(r#"{"exp":1e999}"#, 0), Err(TokenError::Malformed));
}

#[test]
fn names_that_may_not_be_are_lost_and_said() {
    let key = TokenKey::from_file_bytes(b"secret").unwrap();
    let claims = r#"{"sub":"a:b","groups":["c","d:e",""],"sid":"\u0000"}"#;
    let Claims { named, allow, .. } = verify(&signed(claims, b"secret"), &key, None, 0).unwrap();
    assert_eq!(named.identity, Identity { groups: vec!["c".into()], ..Identity::default() });
    let why: Vec<_> = named.refused.iter().map(|refused| refused.why).collect();
    let expected = [NameError::Control, NameError::Colon, NameError::Colon, NameError::Empty];
    assert_eq!(why, expected);
    assert_eq!(allow, None);
}

#[test]
fn tokens_are_bounded() {
    let key = TokenKey::from_file_bytes(b"secret").unwrap();
    let long = |count: usize| signed(&format!(r#"{{"x":"{}"}}"#, "x".repeat(count)), b"secret");
    let fits = (0..MAX_TOKEN).rev().find(|count| long(*count).len() <= MAX_TOKEN).unwrap();
    assert!(verify(&long(fits), &key, None, 0).is_ok());
    assert_eq!(verify(&long(fits + 1), &key, None, 0), Err(TokenError::TooLong));
    assert_eq!(verify("", &key, None, 0), Err(TokenError::Malformed));
    assert_eq!(verify("..", &key, None, 0), Err(TokenError::Malformed));
}

#[test]
fn keys() {
    let vectors = vectors();
    let mut algorithms = vec![];
    for (name, text) in vectors["keys"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let key = TokenKey::from_file_bytes(text.as_bytes()).unwrap();
        assert!(name.starts_with(key.algorithm()), "{name}");
        assert_eq!(key.warning(), None, "{name}");
        let shown = format!("{key:?}");
        assert!(shown.contains(key.algorithm()) && shown.len() < 40, "{shown}");
        algorithms.push(key.algorithm());
        // As people keep them: with text before, Windows' newlines, without the last one.
        if key.algorithm() != "HS256" {
            for text in [
                format!("our key:\n{text}"),
                text.replace('\n', "\r\n"),
                text.trim_end().to_owned(),
                format!("\u{feff}{text}"),
            ] {
                let again = TokenKey::from_file_bytes(text.as_bytes()).map(|key| key.algorithm());
                assert_eq!(again, Ok(key.algorithm()), "{text:?}");
            }
            let cut = &text[..text.len() / 2];
            let error = TokenKey::from_file_bytes(cut.as_bytes()).unwrap_err();
            assert_eq!(error, KeyError::Unreadable, "{cut}");
        }
    }
    algorithms.sort_unstable();
    assert_eq!(algorithms, ["ES256", "EdDSA", "HS256", "RS256", "RS256"]);

    let bad = |name: &str| vectors["bad_keys"][name].as_str().unwrap().as_bytes().to_vec();
    let public = vectors["keys"]["ES256"].as_str().unwrap();
    let both = [public.as_bytes(), &bad("private ES256")].concat();
    let der = STANDARD.decode(bad("DER")).unwrap();
    let off_the_curve = {
        let mut der = der.clone();
        *der.last_mut().unwrap() ^= 1;
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", STANDARD.encode(der))
    };
    for (file, error) in [
        (vec![], KeyError::Empty),
        (b"\n".to_vec(), KeyError::Empty),
        (b"\r\n".to_vec(), KeyError::Empty),
        (bad("private RS256"), KeyError::Private),
        (bad("private ES256"), KeyError::Private),
        (bad("private EdDSA"), KeyError::Private),
        (both, KeyError::Private),
        (bad("short RSA"), KeyError::Unsupported),
        (bad("P-384"), KeyError::Unsupported),
        (bad("secp256k1"), KeyError::Unsupported),
        (off_the_curve.into_bytes(), KeyError::Unsupported),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_vec(),
            KeyError::Unreadable,
        ),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".to_vec(),
            KeyError::Unreadable,
        ),
        (b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----".to_vec(), KeyError::Unreadable),
        (b"-----BEGIN ".to_vec(), KeyError::Unreadable),
        (der.clone(), KeyError::NotPem),
        // What Keycloak publishes, and whoever reads it could sign with if it were a secret.
        (STANDARD.encode(&der).into_bytes(), KeyError::NotPem),
        (format!(" {}\n", URL_SAFE_NO_PAD.encode(&der)).into_bytes(), KeyError::NotPem),
        (br#"{"realm":"r","public_key":"AAAA"}"#.to_vec(), KeyError::NotPem),
        (b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n".to_vec(), KeyError::NotPem),
        (b"sk-ssh-ed25519@openssh.com AAAA\n".to_vec(), KeyError::NotPem),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@here\n".to_vec(), KeyError::NotPem),
        (br#"{"kty":"oct","k":"AAAA"}"#.to_vec(), KeyError::NotPem),
    ] {
        assert_eq!(TokenKey::from_file_bytes(&file).unwrap_err(), error, "{}", file.escape_ascii());
    }
    for (secret, warned) in [(31, true), (32, false)] {
        let key = TokenKey::from_file_bytes(&[&vec![b'x'; secret][..], b"\n"].concat()).unwrap();
        assert_eq!((key.algorithm(), key.warning().is_some()), ("HS256", warned));
    }
    let token = signed("{}", b"sec\nret");
    let key = TokenKey::from_file_bytes(b"sec\nret\r\n").unwrap();
    assert!(verify(&token, &key, None, 0).is_ok());
}

#[test]
fn where_a_token_is() {
    let several = Err(TokenError::Several);
    for (query, protocols, authorization, expected) in [
        ("", "", "", Ok(None)),
        ("tokens=a&Token=a", "bearer,Bearer.a,x.bearer.a", "Basic a", Ok(None)),
        ("a=b&token=c.d-e_f&g", "", "", Ok(Some("c.d-e_f"))),
        ("%74oken=%61", "", "", Ok(Some("a"))),
        ("token", "", "", Ok(Some(""))),
        ("", "chat,bearer.a.b.c", "", Ok(Some("a.b.c"))),
        ("", "bearer.", "", Ok(Some(""))),
        ("", "", "Bearer a.b.c", Ok(Some("a.b.c"))),
        ("", "", " bEARER \t a.b.c ", Ok(Some("a.b.c"))),
        ("", "", "Bearer", Ok(Some(""))),
        ("", "", "Bearers a", Ok(None)),
        ("token=a&token=a", "bearer.a", "Bearer a", Ok(Some("a"))),
        ("token=a&token=b", "", "", several),
        ("token=a", "bearer.b", "", several),
        ("token=a", "", "Bearer b", several),
        ("", "bearer.a,bearer.b", "", several),
        ("token=", "bearer.a", "", several),
    ] {
        let protocols = protocols.split(',').filter(|name| !name.is_empty());
        let authorization = Some(authorization.as_bytes()).filter(|header| !header.is_empty());
        let found = find_token(query, protocols, authorization);
        let found = found.as_ref().map(|found| found.as_deref()).map_err(|error| *error);
        assert_eq!(found, expected, "{query}");
    }
    let headers = [b"Bearer a".as_slice(), b"Bearer b"];
    assert_eq!(find_token("", [], headers), Err(TokenError::Several));
    assert_eq!(find_token("", [], [b"Bearer \xff".as_slice()]), Err(TokenError::Malformed));
}
