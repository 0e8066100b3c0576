//! Tokens good and bad, and where they are found.
//!
//! tests/sessions/tokens.json is made with PyJWT by scripts/session-vectors. Of each token it says
//! which of the `keys` it is verified with, for which audience, and what the result must be.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use wsloop::internals::access::identity::{Identity, NameError, Named};
use wsloop::internals::access::token::{
    Claims, Judge, MAX_TOKEN, TokenError, find_token, verify as judged,
};
use wsloop::{Allow, TokenKeys};

/// What that key makes of a token, without leeway.
fn verify(
    token: &str,
    keys: &TokenKeys,
    audience: Option<&str>,
    now_ms: u64,
) -> Result<Claims, TokenError> {
    judged(token, &Judge { keys, audience, leeway_ms: 0 }, now_ms)
}

const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

fn vectors() -> Value {
    serde_json::from_str(include_str!("../sessions/tokens.json")).unwrap()
}

fn key(vectors: &Value, name: &str) -> TokenKeys {
    TokenKeys::from_file_bytes(vectors["keys"][name].as_str().unwrap().as_bytes(), &[]).unwrap()
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
            Err(TokenError::Milliseconds(claim)) => format!("milliseconds {claim}"),
            Err(TokenError::NotYet) => "not yet".into(),
            Err(TokenError::TooLong) => "too long".into(),
            Err(error) => format!("{error:?}").to_lowercase(),
        };
        assert_eq!(said, result, "{name} ({key_name})");
        results.insert(said);
    }
    assert_eq!(results.len(), 18, "{results:?}");
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
    let key = TokenKeys::from_file_bytes(SECRET, &[]).unwrap();
    let judge = |claims: &str, now_ms| verify(&signed(claims, SECRET), &key, None, now_ms);
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
    assert_eq!(judge("{}", 0).unwrap().expires_ms, None);
    assert_eq!(judge(r#"{"exp":-1e300}"#, 0), Err(TokenError::Expired));
    assert_eq!(judge(r#"{"exp":1e999}"#, 0), Err(TokenError::Malformed));
}

#[test]
fn names_that_may_not_be_are_lost_and_said() {
    let key = TokenKeys::from_file_bytes(SECRET, &[]).unwrap();
    let claims = r#"{"sub":"a:b","groups":["c","d:e",""],"sid":"\u0000"}"#;
    let Claims { named, allow, .. } = verify(&signed(claims, SECRET), &key, None, 0).unwrap();
    assert_eq!(named.identity, Identity { groups: vec!["c".into()], ..Identity::default() });
    let why: Vec<_> = named.refused.iter().map(|refused| refused.why).collect();
    let expected = [NameError::Control, NameError::Colon, NameError::Colon, NameError::Empty];
    assert_eq!(why, expected);
    assert_eq!(allow, None);
}

#[test]
fn tokens_are_bounded() {
    let key = TokenKeys::from_file_bytes(SECRET, &[]).unwrap();
    let long = |count: usize| signed(&format!(r#"{{"x":"{}"}}"#, "x".repeat(count)), SECRET);
    let fits = (0..MAX_TOKEN).rev().find(|count| long(*count).len() <= MAX_TOKEN).unwrap();
    assert!(verify(&long(fits), &key, None, 0).is_ok());
    assert_eq!(verify(&long(fits + 1), &key, None, 0), Err(TokenError::TooLong));
    assert_eq!(verify("", &key, None, 0), Err(TokenError::Malformed));
    assert_eq!(verify("..", &key, None, 0), Err(TokenError::Malformed));
}

#[test]
fn a_time_in_milliseconds_is_refused_as_such() {
    let key = TokenKeys::from_file_bytes(SECRET, &[]).unwrap();
    let judge = |claims: &str| verify(&signed(claims, SECRET), &key, None, 1_800_000_000_000);
    for (claims, name) in [
        (r#"{"exp":1800000600000}"#, "exp"),
        (r#"{"exp":1800000600000.5}"#, "exp"),
        (r#"{"exp":1800000600000000}"#, "exp"),
        (r#"{"exp":253402300800}"#, "exp"),
        (r#"{"exp":1e300}"#, "exp"),
        (r#"{"nbf":1799999999000}"#, "nbf"),
        (r#"{"exp":1800000600,"nbf":1799999999000}"#, "nbf"),
    ] {
        let error = judge(claims).expect_err(claims);
        assert_eq!(error, TokenError::Milliseconds(name), "{claims}");
        let said = format!("the token's claim {name} is in milliseconds; it must be seconds");
        assert_eq!(error.to_string(), said);
    }
    // The last second of the year 9999 is how some say that a token is good for ever.
    let ever = judge(r#"{"exp":253402300799}"#).unwrap();
    assert_eq!(ever.expires_ms, Some(253_402_300_799_000));
}

#[test]
fn a_claim_of_the_wrong_type_says_which_type_is_wanted() {
    let key = TokenKeys::from_file_bytes(SECRET, &[]).unwrap();
    for (claims, said) in [
        (r#"{"exp":"10"}"#, "exp must be a number of seconds since 1970"),
        (r#"{"exp":null}"#, "exp must be a number of seconds since 1970"),
        (r#"{"nbf":true}"#, "nbf must be a number of seconds since 1970"),
        (r#"{"sub":7}"#, "sub must be a text"),
        (r#"{"sid":["a"]}"#, "sid must be a text"),
        (r#"{"groups":"a,b"}"#, "groups must be a list of at most 1000 texts"),
        (r#"{"groups":["a",7]}"#, "groups must be a list of at most 1000 texts"),
        (r#"{"allow":["subscribe-user"]}"#, "allow must be a text such as subscribe-user"),
        (r#"{"allow":"listen"}"#, "allow must be a text such as subscribe-user"),
        (r#"{"aud":7}"#, "aud must be a text, or a list of texts"),
    ] {
        let error = verify(&signed(claims, SECRET), &key, None, 0).expect_err(claims);
        assert!(error.to_string().starts_with(&format!("the token's claim {said}")), "{error}");
    }
}

#[test]
fn a_leeway_is_given_on_both_sides_and_no_further() {
    let keys = &TokenKeys::from_file_bytes(SECRET, &[]).unwrap();
    let token = signed(r#"{"nbf":100,"exp":200}"#, SECRET);
    let judge = |now_ms, leeway_ms| {
        judged(&token, &Judge { keys, audience: None, leeway_ms }, now_ms)
            .map(|claims| claims.expires_ms)
    };
    for (now_ms, leeway_ms, expected) in [
        (99_999, 0, Err(TokenError::NotYet)),
        (95_000, 5_000, Ok(Some(205_000))),
        (94_999, 5_000, Err(TokenError::NotYet)),
        (204_999, 5_000, Ok(Some(205_000))),
        (205_000, 5_000, Err(TokenError::Expired)),
        (0, 300_000, Ok(Some(500_000))),
    ] {
        assert_eq!(judge(now_ms, leeway_ms), expected, "{now_ms} {leeway_ms}");
    }
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
