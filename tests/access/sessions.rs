//! Sessions as real frameworks store them, read and misread.
//!
//! tests/sessions/vectors.json is made by scripts/session-vectors. Of each session it says which
//! framework made it (`from`), what it left in Redis (`stored`, base64, under `redis_key`), the
//! `cookie` that came with it, the entries where the names are, and what they are.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wsloop::internals::access::identity::{Identity, MAX_GROUPS, NameError, Named, Refused};
use wsloop::internals::access::session::{MAX_STORED, SessionError, decode, session_key};
use wsloop::{Audience, Entries, Format};

struct Vector {
    from: String,
    format: Format,
    secret: Option<Vec<u8>>,
    cookie: String,
    key: String,
    stored: Vec<u8>,
    entries: Entries,
    identity: Identity,
}

impl Vector {
    fn decode(&self, stored: &[u8], secret: Option<&[u8]>) -> Result<Named, SessionError> {
        decode(self.format, stored, &all(secret), &self.key, &self.entries)
    }

    fn named(&self) -> Named {
        Named { identity: self.identity.clone(), refused: vec![] }
    }
}

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../sessions/vectors.json")).unwrap();
    let text = |vector: &Value, name: &str| vector[name].as_str().map(str::to_owned);
    let read = |vector: &Value| Vector {
        from: text(vector, "from").unwrap(),
        format: Format::parse(vector["format"].as_str().unwrap()).unwrap(),
        secret: text(vector, "secret").map(String::into_bytes),
        cookie: text(vector, "cookie").unwrap(),
        key: text(vector, "key").unwrap(),
        stored: STANDARD.decode(vector["stored"].as_str().unwrap()).unwrap(),
        entries: Entries { user: text(vector, "user_entry"), groups: text(vector, "groups_entry") },
        identity: Identity {
            session: text(vector, "key"),
            user: text(vector, "user"),
            groups: vector["groups"]
                .as_array()
                .unwrap()
                .iter()
                .map(|group| group.as_str().unwrap().to_owned())
                .collect(),
        },
    };
    vectors.iter().map(read).collect()
}

/// All secrets: that one, if there is one.
fn all(secret: Option<&[u8]>) -> Vec<Vec<u8>> {
    secret.map(<[u8]>::to_vec).into_iter().collect()
}

#[test]
fn a_rotated_secret_logs_nobody_out() {
    let secrets = |of: &[&[u8]]| of.iter().map(|secret| secret.to_vec()).collect::<Vec<_>>();
    let mut seen = 0;
    for vector in vectors().iter().filter(|vector| vector.format.is_signed()) {
        let Some(own) = vector.secret.as_deref() else { continue };
        seen += 1;
        let read = |secrets: &[Vec<u8>]| {
            let (name, _) = vector.cookie.split_once('=').unwrap();
            let header = vector.cookie.as_bytes();
            let named = session_key([header], name, vector.format, secrets);
            let stored =
                decode(vector.format, &vector.stored, secrets, &vector.key, &vector.entries);
            named.and(stored)
        };
        for secrets in [secrets(&[b"new", own]), secrets(&[own, b"old"]), secrets(&[own])] {
            assert_eq!(read(&secrets), Ok(vector.named()), "{}", vector.from);
        }
        assert_eq!(read(&secrets(&[b"new", b"old"])), Err(SessionError::Signature));
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn what_frameworks_store_is_read() {
    let vectors = vectors();
    for vector in &vectors {
        let from = &vector.from;
        assert_eq!(vector.decode(&vector.stored, None), Ok(vector.named()), "{from}");
        let secret = vector.secret.as_deref();
        assert_eq!(vector.decode(&vector.stored, secret), Ok(vector.named()), "{from}");
        let (name, _) = vector.cookie.split_once('=').unwrap();
        for secret in [None, secret] {
            let header = vector.cookie.as_bytes();
            let key = session_key([header], name, vector.format, &all(secret));
            assert_eq!(key.as_ref(), Ok(&Some(vector.key.clone())), "{from}");
        }
    }
    for made_by in [
        "3.2",
        "4.2",
        "5.2",
        "RedisCache",
        "django-redis:",
        "zlib",
        "django-redis-sess",
        "before 3.1",
        "protocol 0",
        "protocol 4",
        "JSON",
        "with objects",
        "connect-redis",
    ] {
        let made = |vector: &&Vector| vector.from.contains(made_by);
        assert!(vectors.iter().any(|vector| made(&vector)), "none is made by {made_by}");
    }
}

#[test]
fn nothing_signed_can_be_changed() {
    for vector in vectors().iter().filter(|vector| vector.format == Format::Django) {
        let secret = vector.secret.as_deref();
        assert_eq!(vector.decode(&vector.stored, Some(b"another")), Err(SessionError::Signature));
        assert_eq!(vector.decode(&vector.stored, Some(b"")), Err(SessionError::Signature));
        for at in 0..vector.stored.len() {
            let mut changed = vector.stored.clone();
            changed[at] ^= 1;
            assert!(vector.decode(&changed, secret).is_err(), "{}, byte {at}", vector.from);
            assert!(vector.decode(&vector.stored[..at], secret).is_err(), "{}", vector.from);
        }
    }
}

/// In both forms of Django's: the MAC left out, cut short, one of another's, or one that fits any
/// number of bytes it is compared with.
#[test]
fn a_mac_is_there_whole_and_its_own() {
    let mut olds = 0;
    let vectors = vectors();
    let signed = vectors.iter().filter(|vector| vector.format == Format::Django);
    let signed: Vec<&Vector> = signed.filter(|vector| vector.secret.is_some()).collect();
    for vector in &signed {
        let stored = std::str::from_utf8(&vector.stored).unwrap();
        let is_old = !stored.contains(':');
        olds += usize::from(is_old);
        let text = if is_old { STANDARD.decode(stored).unwrap() } else { stored.into() };
        let at = |text: &[u8]| match is_old {
            true => text.iter().position(|byte| *byte == b':').unwrap(),
            false => text.iter().rposition(|byte| *byte == b':').unwrap(),
        };
        // The MAC comes first in the old form, and last in the new one.
        let with = |mac: &[u8]| {
            let (before, after) = (&text[..at(&text)], &text[at(&text) + 1..]);
            match is_old {
                true => STANDARD.encode([mac, b":", after].concat()).into_bytes(),
                false => [before, b":", mac].concat(),
            }
        };
        let own = match is_old {
            true => &text[..at(&text)],
            false => &text[at(&text) + 1..],
        };
        assert_eq!(with(own), vector.stored, "{}", vector.from);
        let zeros = vec![if is_old { b'0' } else { b'A' }; own.len()];
        for forged in [b"".as_slice(), &own[..own.len() - 4], &own[4..], &zeros, &own.repeat(2)] {
            let read = vector.decode(&with(forged), vector.secret.as_deref());
            assert_eq!(read, Err(SessionError::Signature), "{}", vector.from);
        }
    }
    assert!(olds > 0 && signed.len() > olds, "both forms are among them");
}

#[test]
fn what_is_cut_or_of_another_format_is_an_error() {
    for vector in vectors() {
        for cut in 0..vector.stored.len() {
            // What is signed and cut may be read when nobody checks; it must not be another's.
            match vector.decode(&vector.stored[..cut], None) {
                Ok(named) => assert_eq!((vector.format, named), (Format::Django, vector.named())),
                Err(error) => assert_ne!(error, SessionError::Signature),
            }
        }
        for format in Format::ALL {
            let json = [Format::Json, Format::Express];
            if format != vector.format && !(json.contains(&format) && json.contains(&vector.format))
            {
                let read = decode(format, &vector.stored, &[], &vector.key, &vector.entries);
                assert!(read.is_err(), "{} read as {format:?}", vector.from);
            }
        }
    }
}

fn entries(user: &str, groups: &str) -> Entries {
    let configured = |entry: &str| (!entry.is_empty()).then(|| entry.to_owned());
    Entries { user: configured(user), groups: configured(groups) }
}

#[test]
fn names_come_from_their_entries_and_no_others() {
    let refused = |audience, name: &str, why| Refused { audience, name: name.into(), why };
    let no_user = || vec![refused(Audience::User, "", NameError::NotText)];
    let no_group = || refused(Audience::Group, "", NameError::NotText);
    let user = |name: &'static str| (Some(name), vec![], vec![]);
    for (stored, (from_user, from_groups), (name, groups, lost)) in [
        (json!({}), ("user", "groups"), (None, vec![], vec![])),
        (json!({"user": "a", "name": "b"}), ("user", ""), user("a")),
        (json!({"user": "a", "name": "b"}), ("", ""), (None, vec![], vec![])),
        (json!({"name": "b", "_auth_user_id": "1"}), ("user", "groups"), (None, vec![], vec![])),
        (json!({"user": null, "groups": null}), ("user", "groups"), (None, vec![], vec![])),
        (json!({"a:b": "c"}), ("a:b", ""), user("c")),
        (json!({"a.b": "c", "a": {"b": "d"}}), ("a.b", ""), user("c")),
        (json!({"a.b": null, "a": {"b": "d"}}), ("a.b", ""), (None, vec![], vec![])),
        (json!({"a": {"b": {"c": "d"}}}), ("a.b.c", ""), user("d")),
        (json!({"a": {"b.c": "d"}}), ("a.b.c", ""), (None, vec![], vec![])),
        (json!({"a": ["b"]}), ("a.0", ""), (None, vec![], vec![])),
        (json!({"a": "b"}), ("a.b", ""), (None, vec![], vec![])),
        (json!({"": "b"}), (".", ""), (None, vec![], vec![])),
        (json!({"user": 7}), ("user", ""), user("7")),
        (json!({"user": -7}), ("user", ""), user("-7")),
        (json!({"user": u64::MAX}), ("user", ""), user("18446744073709551615")),
        (json!({"user": 7.0}), ("user", ""), (None, vec![], no_user())),
        (json!({"user": true}), ("user", ""), (None, vec![], no_user())),
        (json!({"user": ["a"]}), ("user", ""), (None, vec![], no_user())),
        (json!({"user": {"name": "a"}}), ("user", ""), (None, vec![], no_user())),
        (
            json!({"user": "a:b"}),
            ("user", ""),
            (None, vec![], vec![refused(Audience::User, "a:b", NameError::Colon)]),
        ),
        (
            json!({"user": ""}),
            ("user", ""),
            (None, vec![], vec![refused(Audience::User, "", NameError::Empty)]),
        ),
        (json!({"groups": ["b", "a", 3]}), ("", "groups"), (None, vec!["b", "a", "3"], vec![])),
        (json!({"groups": "a"}), ("", "groups"), (None, vec![], vec![no_group()])),
        (json!({"groups": {"a": 1}}), ("", "groups"), (None, vec![], vec![no_group()])),
        (
            json!({"groups": ["a", null, ["b"], "c:d"]}),
            ("", "groups"),
            (
                None,
                vec!["a"],
                vec![refused(Audience::Group, "c:d", NameError::Colon), no_group(), no_group()],
            ),
        ),
    ] {
        let expected = Named {
            identity: Identity {
                session: Some("the-key-of-it".into()),
                user: name.map(str::to_owned),
                groups: groups.into_iter().map(str::to_owned).collect(),
            },
            refused: lost,
        };
        let entries = entries(from_user, from_groups);
        let bytes = stored.to_string().into_bytes();
        for format in [Format::Json, Format::Express] {
            let read = decode(format, &bytes, &all(Some(b"secret")), "the-key-of-it", &entries);
            assert_eq!(read.as_ref(), Ok(&expected), "{stored}");
        }
    }
}

#[test]
fn a_session_key_is_a_name_too() {
    let read = decode(Format::Json, b"{}", &[], "a:b", &Entries::default()).unwrap();
    assert_eq!(read.identity, Identity::default());
    assert_eq!(read.refused.len(), 1);
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(bytes, 9)
}

#[test]
fn what_is_stored_is_bounded() {
    let read = |format, stored: &[u8]| decode(format, stored, &[], "key", &Entries::default());
    let blanks = |count: usize| [b"{}".to_vec(), vec![b' '; count - 2]].concat();
    assert!(read(Format::Json, &blanks(MAX_STORED)).is_ok());
    assert_eq!(read(Format::Json, &blanks(MAX_STORED + 1)), Err(SessionError::TooLarge));
    let signed = |json: &[u8]| format!(".{}:time:mac", URL_SAFE_NO_PAD.encode(zlib(json)));
    assert!(read(Format::Django, signed(&blanks(MAX_STORED)).as_bytes()).is_ok());
    let bomb = signed(&blanks(1 << 24));
    assert_eq!(read(Format::Django, bomb.as_bytes()), Err(SessionError::TooLarge));
    let bomb = zlib(&[0; 1 << 24]);
    assert_eq!(read(Format::DjangoPickle, &bomb), Err(SessionError::TooLarge));
    for cut in [zlib(b"}.").len() - 1, 3, 2, 1] {
        let cut = &zlib(b"}.")[..cut];
        assert_eq!(read(Format::DjangoPickle, cut), Err(SessionError::NotDeflated));
    }
    assert!(read(Format::DjangoPickle, &zlib(b"}.")).is_ok());
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert_eq!(read(Format::Json, &deep), Err(SessionError::NotJson));
}

#[test]
fn groups_are_bounded_and_so_is_what_they_refer_to() {
    let entries = entries("", "g");
    let read = |format, stored: &[u8]| decode(format, stored, &[], "key", &entries);
    let json = |count| json!({"g": vec!["x"; count]}).to_string().into_bytes();
    assert_eq!(read(Format::Json, &json(MAX_GROUPS)).unwrap().identity.groups.len(), MAX_GROUPS);
    assert_eq!(read(Format::Json, &json(MAX_GROUPS + 1)), Err(SessionError::TooManyGroups));
    // A thousand references to one text of half a megabyte.
    let text = "x".repeat(1 << 19);
    let length = u32::try_from(text.len()).unwrap().to_le_bytes();
    let list =
        [b"](X".as_slice(), &length, text.as_bytes(), b"\x94", &b"h\0".repeat(MAX_GROUPS - 1)];
    let stored = [b"}\x8c\x01g", list.concat().as_slice(), b"es."].concat();
    let named = read(Format::DjangoPickle, &stored).unwrap();
    let long = Refused { audience: Audience::Group, name: "x".repeat(80), why: NameError::TooLong };
    assert_eq!(named.refused, vec![long; MAX_GROUPS]);
}

#[test]
fn what_is_no_session_is_an_error() {
    let base64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for (format, stored, error) in [
        (Format::Django, String::new(), SessionError::NotDjango),
        (Format::Django, "{}".into(), SessionError::NotDjango),
        (Format::Django, "a:b".into(), SessionError::NotDjango),
        (Format::Django, "*:b:c".into(), SessionError::NotDjango),
        (Format::Django, format!(".{}:b:c", base64("{}")), SessionError::NotDeflated),
        (Format::Django, format!("{}:b:c", base64("[]")), SessionError::NotAMap),
        (Format::Django, format!("{}:b:c", base64("pickle")), SessionError::NotJson),
        (Format::Django, STANDARD.encode("no colon"), SessionError::NotDjango),
        (Format::Django, STANDARD.encode("mac:\x05"), SessionError::NotJson),
        (Format::DjangoPickle, "42".into(), SessionError::NotPickle),
        (Format::DjangoPickle, "K*.".into(), SessionError::NotAMap),
        (Format::DjangoPickle, "{}".into(), SessionError::NotPickle),
        (Format::Json, String::new(), SessionError::NotJson),
        (Format::Json, "[]".into(), SessionError::NotAMap),
        (Format::Json, "{} {}".into(), SessionError::NotJson),
        (Format::Express, "null".into(), SessionError::NotAMap),
    ] {
        let read = decode(format, stored.as_bytes(), &[], "key", &Entries::default());
        assert_eq!(read, Err(error), "{stored}");
    }
    let read = decode(Format::Django, b"\xff:b:c", &[], "key", &Entries::default());
    assert_eq!(read, Err(SessionError::NotDjango));
}

#[test]
fn cookies_are_read_as_frameworks_do() {
    let [first, last] = ["first-session", "last--session"];
    let both = format!("sid={first}; other=1; sid={last}");
    let long = format!("sid={}", "x".repeat(128));
    let too_long = format!("{long}x");
    let ok = |key: &str| Ok(Some(key.to_owned()));
    for (headers, format, expected) in [
        (vec![], Format::Django, Ok(None)),
        (vec![""], Format::Django, Ok(None)),
        (vec!["sid"], Format::Django, Ok(None)),
        (vec!["xsid=12345678; sidx=12345678; SID=12345678"], Format::Django, Ok(None)),
        (vec!["sid=12345678"], Format::Django, ok("12345678")),
        (vec!["a=b; c=\"d\";sid = \"12345678\" ;e"], Format::Django, ok("12345678")),
        (vec!["a=sid=87654321; sid=12345678"], Format::Json, ok("12345678")),
        (vec![&both], Format::Django, ok(last)),
        (vec![&both], Format::DjangoPickle, ok(last)),
        (vec![&both], Format::Json, ok(first)),
        (vec!["sid=12345678", "sid=87654321"], Format::Django, ok("87654321")),
        (vec!["sid=12345678", "sid=87654321"], Format::Json, ok("12345678")),
        (vec!["sid=; sid=87654321"], Format::Json, Err(SessionError::NotAKey)),
        (vec!["sid=12345678; sid="], Format::Django, Err(SessionError::NotAKey)),
        (vec!["sid=1234567"], Format::Json, Err(SessionError::NotAKey)),
        (vec![&long], Format::Json, ok(&"x".repeat(128))),
        (vec![&too_long], Format::Json, Err(SessionError::NotAKey)),
        (vec!["sid=abc_DEF-123"], Format::Json, ok("abc_DEF-123")),
        (vec!["sid=key:facility"], Format::Django, Err(SessionError::NotAKey)),
        (vec!["sid=key%3Afacility"], Format::Django, Err(SessionError::NotAKey)),
        (vec!["sid=s:key.facility"], Format::Json, Err(SessionError::NotAKey)),
        (vec!["sid=12345678*"], Format::Json, Err(SessionError::NotAKey)),
        (vec!["sid=jürgen-jürgen"], Format::Json, Err(SessionError::NotAKey)),
        (vec!["sid=\"12345678"], Format::Json, Err(SessionError::NotAKey)),
        (vec!["sid=12345678"], Format::Express, Err(SessionError::NotSigned)),
        (vec!["sid=s:12345678"], Format::Express, Err(SessionError::NotSigned)),
        (vec!["sid=s:12345678."], Format::Express, ok("12345678")),
        (vec!["sid=s%3A12345678.mac%2F"], Format::Express, ok("12345678")),
        (vec!["sid=s:12345678.87654321.mac"], Format::Express, Err(SessionError::NotAKey)),
        (vec!["sid=s%3akey%3afacility.mac"], Format::Express, Err(SessionError::NotAKey)),
        (vec!["sid=s:12345678%.mac"], Format::Express, Err(SessionError::NotAKey)),
    ] {
        let bytes = headers.iter().map(|header| header.as_bytes());
        let key = session_key(bytes, "sid", format, &[]);
        assert_eq!(key, expected, "{headers:?} {format:?}");
    }
    assert_eq!(
        session_key([b"sid=12345678\xff".as_slice()], "sid", Format::Json, &[]),
        Err(SessionError::NotAKey)
    );
}

#[test]
fn forged_express_cookies_are_refused() {
    let secret = b"keyboard cat";
    let sign = |id: &str| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), id.as_bytes());
        format!("sid=s:{id}.{}", STANDARD_NO_PAD.encode(tag))
    };
    let key = |cookie: &str, secret: &[u8]| {
        session_key([cookie.as_bytes()], "sid", Format::Express, &[secret.to_vec()])
    };
    let good = sign("12345678");
    assert_eq!(key(&good, secret), Ok(Some("12345678".into())));
    assert_eq!(key(&good, b"another"), Err(SessionError::Signature));
    assert_eq!(key(&good.replace("1234", "4321"), secret), Err(SessionError::Signature));
    assert_eq!(key(&good[..good.len() - 1], secret), Err(SessionError::Signature));
    assert_eq!(key(&format!("{good}="), secret), Err(SessionError::Signature));
    assert_eq!(key("sid=s:12345678.", secret), Err(SessionError::Signature));
    assert_eq!(key("sid=12345678", secret), Err(SessionError::NotSigned));
    // Signed, and no session all the same.
    assert_eq!(key(&sign("key:facility"), secret), Err(SessionError::NotAKey));
}

#[test]
fn formats_have_their_names() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.name()), Some(format));
    }
    let names: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
    assert_eq!(names, ["django", "django-pickle", "json", "express"]);
    assert_eq!(Format::parse("Django"), None);
    assert_eq!(Format::default(), Format::Django);
    let signed: Vec<_> = Format::ALL.into_iter().filter(|format| format.is_signed()).collect();
    assert_eq!(signed, [Format::Django, Format::Express]);
}
