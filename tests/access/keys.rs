//! Key files: each is what it is said to be, or it is refused, and no public key is ever a secret.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wsloop::internals::access::token::{Judge, TokenError, verify};
use wsloop::{KeyError, TokenAlgorithm, TokenKeys};

const SECRET: &str = "a secret of more than thirty-two bytes";
const HS256: &[TokenAlgorithm] = &[TokenAlgorithm::Hs256];

fn vectors() -> Value {
    serde_json::from_str(include_str!("../sessions/tokens.json")).unwrap()
}

fn read(file: impl AsRef<[u8]>) -> Result<TokenKeys, KeyError> {
    TokenKeys::from_file_bytes(file.as_ref(), &[])
}

/// The public key of that algorithm in PEM.
fn pem(name: &str) -> String {
    vectors()["keys"][name].as_str().unwrap().to_owned()
}

/// The DER in a PEM.
fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

/// A good token of that key.
fn token(name: &str) -> String {
    let vectors = vectors();
    let good = |token: &&Value| token["name"] == "good" && token["key"] == name;
    let token = vectors["tokens"].as_array().unwrap().iter().find(good).unwrap();
    token["token"].as_str().unwrap().to_owned()
}

fn judge(token: &str, keys: &TokenKeys) -> Result<(), TokenError> {
    let now_ms = vectors()["now_ms"].as_u64().unwrap();
    verify(token, &Judge { keys, audience: None, leeway_ms: 0 }, now_ms).map(|_| ())
}

/// A token signed with a secret, with that header.
fn signed(header: &str, secret: &[u8]) -> String {
    let body = [header, r#"{"sub":"admin"}"#].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    let tag = aws_lc_rs::hmac::sign(&key, body.as_bytes());
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn utf16(text: &str, big: bool, marked: bool) -> Vec<u8> {
    let mark = marked.then_some('\u{feff}').into_iter();
    let units: String = mark.chain(text.chars()).collect();
    let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
    units.encode_utf16().flat_map(bytes).collect()
}

fn hex(bytes: &[u8], between: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(between)
}

/// The blob that ssh-keygen makes of an Ed25519 key.
fn ssh_blob(kind: &str) -> String {
    let part = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    STANDARD.encode([part(kind.as_bytes()), part(&[7; 32])].concat())
}

/// What `openssl pkey -pubin -text_pub -noout` prints of a key.
fn printed(title: &str, der: &[u8]) -> String {
    let lines: Vec<_> = der.chunks(15).map(|line| format!("    {}", hex(line, ":"))).collect();
    format!("{title}\npub:\n{}\n", lines.join(":\n"))
}

/// A public key in the forms in which people have it, none of which is read.
fn disguises(name: &str) -> Vec<Vec<u8>> {
    let pem = pem(name);
    let der = der(&pem);
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let jwk = jwk(name).to_string();
    let mut all: Vec<Vec<u8>> = vec![
        der.clone(),
        [&der[..], b"\n"].concat(),
        [&der[..], b"\r\n"].concat(),
        [b"\xef\xbb\xbf", &der[..]].concat(),
        pem.replace("-----", "----").into_bytes(),
        pem.replace("-----", "---- ").into_bytes(),
        pem.replace("-----", "\u{2013}\u{2013}").into_bytes(),
        pem.replace("-----", "").into_bytes(),
        pem.replace("-----", "").replace('\n', " ").into_bytes(),
        pem.to_lowercase().into_bytes(),
        pem.replace('\n', "\\n").into_bytes(),
        format!("\"{}\"", pem.replace('\n', "\\n")).into_bytes(),
        STANDARD.encode(pem.as_bytes()).into_bytes(),
        STANDARD.encode(STANDARD.encode(&pem)).into_bytes(),
        hex(pem.as_bytes(), "").into_bytes(),
        format!("[{jwk}]").into_bytes(),
        STANDARD.encode(&jwk).into_bytes(),
        URL_SAFE_NO_PAD.encode(&jwk).into_bytes(),
        jwk.replace('}', ",}").into_bytes(),
        json!({"realm": "r", "public_key": body}).to_string().into_bytes(),
        json!({"kid": pem}).to_string().into_bytes(),
        printed("Public-Key: (256 bit)", &der).into_bytes(),
        printed("ED25519 Public-Key:", &der).into_bytes(),
        format!("ssh-ed25519 {} me@here\n", ssh_blob("ssh-ed25519")).into_bytes(),
        format!("{}\n", ssh_blob("ssh-rsa")).into_bytes(),
        format!("here {}\n", ssh_blob("ecdsa-sha2-nistp256")).into_bytes(),
        b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n".to_vec(),
        b"sk-ssh-ed25519@openssh.com AAAA\n".to_vec(),
        token(name).into_bytes(),
    ];
    for text in [&pem, &body, &jwk, &hex(&der, "")] {
        for (big, marked) in [(false, false), (false, true), (true, false), (true, true)] {
            all.push(utf16(text, big, marked));
            all.push([utf16(text, big, marked), b"\n".to_vec()].concat());
        }
    }
    for between in ["", ":", " ", "\n", ", 0x", "\\x"] {
        let text = format!("{}{}", between.trim_matches([' ', ',']), hex(&der, between));
        all.push(text.to_uppercase().replace('X', "x").into_bytes());
        all.push(text.into_bytes());
    }
    for text in [body.clone(), body.replace('=', ""), URL_SAFE_NO_PAD.encode(&der)] {
        all.extend(
            [text.clone(), format!("\u{feff}{text}"), format!(" {text}\r\n")]
                .map(String::into_bytes),
        );
        all.push(
            pem.lines().filter(|l| !l.starts_with('-')).collect::<Vec<_>>().join("\r\n").into(),
        );
    }
    all
}

/// The same key as a JWK.
fn jwk(name: &str) -> Value {
    let der = der(&pem(name));
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match name {
        "ES256" => {
            let point = &der[der.len() - 64..];
            json!({"kty": "EC", "crv": "P-256", "x": text(&point[..32]), "y": text(&point[32..])})
        }
        "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": text(&der[der.len() - 32..])}),
        _ => {
            let exponent = &der[der.len() - 3..];
            let modulus = &der[der.len() - 5 - 256..der.len() - 5];
            json!({"kty": "RSA", "n": text(modulus), "e": text(exponent)})
        }
    }
}

#[test]
fn a_public_key_in_any_disguise_is_no_secret() {
    for name in ["RS256", "ES256", "EdDSA"] {
        for file in disguises(name) {
            for named in [&[][..], HS256] {
                let Ok(keys) = TokenKeys::from_file_bytes(&file, named) else { continue };
                panic!("{} is taken for {keys:?} ({named:?})", file.escape_ascii());
            }
        }
    }
}

#[test]
fn nobody_is_let_in_who_signs_with_what_everybody_has() {
    // Whatever a file is taken for, its own bytes sign nothing.
    for name in ["RS256", "ES256", "EdDSA"] {
        let jwks = json!({"keys": [jwk(name)]}).to_string();
        let files = [pem(name), format!("\u{feff}{}", pem(name)), jwk(name).to_string(), jwks];
        for file in files.iter().map(String::as_bytes).chain(disguises(name).iter().map(|f| &f[..]))
        {
            let Ok(keys) = read(file) else { continue };
            for secret in [file, file.trim_ascii(), &der(&pem(name))] {
                let token = signed(r#"{"alg":"HS256"}"#, secret);
                assert_eq!(judge(&token, &keys), Err(TokenError::Algorithm));
            }
        }
    }
}

#[test]
fn what_is_no_secret_evidently_is_refused_with_a_sentence_unless_it_is_named_one() {
    for (file, why) in [
        (&b"short"[..], "shorter than 32 bytes"),
        (b"a secret of more than\nthirty-two bytes", "more than one line"),
        (b"a secret of more than thirty-two bytes\n\n", "more than one line"),
        (b"a secret of more than thirty-two bytes\r", "more than one line"),
        (b" a secret of more than thirty-two bytes", "begins or ends with a blank"),
        (b"a secret of more than thirty-two bytes \n", "begins or ends with a blank"),
        (b"a secret of more than thirty-two byt\xc3\xa9s", "not printable ASCII"),
        (b"\xef\xbb\xbfa secret of more than thirty-two bytes", "byte order mark"),
        (b"a secret\tof more than thirty-two bytes", "not printable ASCII"),
        (&[0x9c; 32], "not printable ASCII"),
        (b"\"a secret of more than thirty-two bytes\"", "it is JSON"),
        (b"[\"a secret of more than thirty-two bytes", "it is JSON"),
        (b"https://issuer.example.com/.well-known/jwks.json", "it is a URL"),
        (b"issuer.example.com/.well-known/openid-configuration", "it is a URL"),
        (b"data:application/octet-stream;base64,AAAAAAAAAAAA", "it is a URL"),
        (b"/etc/wsloop/keys/the-public-key-of-the-issuer.pem", "it is the name of a file"),
        (b"keys/of/another/machine/mounted/there/id_rsa.pub", "it is the name of a file"),
        (b"256 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me (ED25519)", "public key"),
        (b"2048 MD5:c9:61:f2:17:9e:e8:2a:ef:0c:4d:1c:52:c1:d8:0a:a3 me (RSA)", "public key"),
    ] {
        let error = read(file).expect_err("it is no secret");
        assert!(matches!(error, KeyError::NoSecret(_)), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(why) && said.contains("--token-algorithm HS256"), "{said}");
        let named = TokenKeys::from_file_bytes(file, HS256).expect(why);
        assert_eq!(named.algorithms(), ["HS256"]);
    }
    for file in ["", "\n", "\r\n"] {
        assert_eq!(read(file).unwrap_err(), KeyError::Empty);
        assert_eq!(
            TokenKeys::from_file_bytes(file.as_bytes(), HS256).unwrap_err(),
            KeyError::Empty
        );
    }
    let point = format!("04{}", "5a".repeat(64));
    let modulus = format!("c1{}01", "5a".repeat(254));
    for likely in [point, modulus] {
        assert_eq!(read(likely).unwrap_err(), KeyError::NoSecret("it may be a public key"));
    }
}

#[test]
fn secrets_are_secrets() {
    let hex = "3f".repeat(32);
    let random = "kFc0m5dJ0V1x8v3m3gq2c1y4B7o0kz9mJ5tq0a8s6Zw=";
    let django = "v7#p$1x!m@k3^&*(d-_=+9z2q0r8s6t4u5w1y3a7b9c0e2f4g6";
    for secret in [SECRET, &hex, random, django, &"x".repeat(32), &"12".repeat(20)] {
        for end in ["", "\n", "\r\n"] {
            let keys = read(format!("{secret}{end}")).expect(secret);
            assert_eq!((keys.algorithms(), keys.warning()), (vec!["HS256"], None), "{secret}");
            let token = signed(r#"{"alg":"HS256"}"#, secret.as_bytes());
            assert_eq!(judge(&token, &keys), Ok(()), "{secret}");
        }
    }
    // Named ones are their bytes, less one newline.
    let named = TokenKeys::from_file_bytes(b"sec\nret\r\n", HS256).unwrap();
    assert_eq!(judge(&signed(r#"{"alg":"HS256"}"#, b"sec\nret"), &named), Ok(()));
    assert!(named.warning().is_some(), "it is short");
}

#[test]
fn public_keys_as_people_keep_them() {
    let mut algorithms = vec![];
    for (name, text) in vectors()["keys"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let keys = read(text).unwrap();
        let [algorithm] = keys.algorithms()[..] else { panic!("{keys:?}") };
        assert!(name.starts_with(algorithm), "{name}");
        assert_eq!(keys.warning(), None, "{name}");
        let shown = format!("{keys:?}");
        assert!(shown.contains(algorithm) && shown.len() < 40, "{shown}");
        algorithms.push(algorithm);
        if algorithm == "HS256" {
            continue;
        }
        for text in [
            format!("our key:\n{text}"),
            text.replace('\n', "\r\n"),
            text.trim_end().to_owned(),
            format!("\u{feff}{text}"),
            format!("{}{text}", printed("Public-Key:", &der(text))),
        ] {
            assert_eq!(read(&text).unwrap().algorithms(), [algorithm], "{text:?}");
        }
        let cut = &text[..text.len() / 2];
        assert_eq!(read(cut).unwrap_err(), KeyError::Unreadable, "{cut}");
    }
    algorithms.sort_unstable();
    assert_eq!(algorithms, ["ES256", "EdDSA", "HS256", "RS256", "RS256"]);
}

#[test]
fn what_pem_holds_besides_public_keys_is_refused() {
    let vectors = vectors();
    let bad = |name: &str| vectors["bad_keys"][name].as_str().unwrap().to_owned();
    let block = |label: &str, body: &str| {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let off_the_curve = {
        let mut der = der(&pem("ES256"));
        *der.last_mut().unwrap() ^= 1;
        block("PUBLIC KEY", &STANDARD.encode(der))
    };
    for (file, error) in [
        (bad("private RS256"), KeyError::Private),
        (bad("private ES256"), KeyError::Private),
        (bad("private EdDSA"), KeyError::Private),
        (pem("ES256") + &bad("private ES256"), KeyError::Private),
        (block("OPENSSH PRIVATE KEY", "AAAA"), KeyError::Private),
        (bad("short RSA"), KeyError::Unsupported),
        (bad("P-384"), KeyError::Unsupported),
        (bad("secp256k1"), KeyError::Unsupported),
        (pem("ES256") + &bad("P-384"), KeyError::Unsupported),
        (off_the_curve, KeyError::Unsupported),
        (block("CERTIFICATE", "AAAA"), KeyError::Certificate),
        (pem("ES256") + &block("CERTIFICATE", "AAAA"), KeyError::Certificate),
        (block("PGP PUBLIC KEY BLOCK", "AAAA"), KeyError::Unreadable),
        (block("PUBLIC KEY", "AAAA"), KeyError::Unreadable),
        (block("PUBLIC KEY", ""), KeyError::Unreadable),
        (pem("ES256") + "-----BEGIN PUBLIC KEY-----", KeyError::Unreadable),
        ("-----BEGIN ".to_owned(), KeyError::Unreadable),
    ] {
        for named in [&[][..], HS256] {
            let read = TokenKeys::from_file_bytes(file.as_bytes(), named);
            assert_eq!(read.unwrap_err(), error, "{file}");
        }
    }
}

#[test]
fn a_new_key_beside_the_old_one_locks_nobody_out() {
    let [rsa, ec, ed] = ["RS256", "ES256", "EdDSA"].map(pem);
    let both = read(format!("{ec}\nthe old one:\n{rsa}{ed}")).unwrap();
    assert_eq!((both.count(), both.algorithms()), (3, vec!["RS256", "ES256", "EdDSA"]));
    for name in ["RS256", "ES256", "EdDSA"] {
        assert_eq!(judge(&token(name), &both), Ok(()), "{name}");
    }
    let old = "the old secret, of more than thirty-two bytes";
    let secrets = read(SECRET).unwrap().with(read(old).unwrap()).unwrap();
    for (secret, expected) in
        [(SECRET, Ok(())), (old, Ok(())), ("another", Err(TokenError::Signature))]
    {
        let token = signed(r#"{"alg":"HS256"}"#, secret.as_bytes());
        assert_eq!(judge(&token, &secrets), expected, "{secret}");
    }
    // A secret beside public keys is no secret of theirs.
    let mixed = secrets.with(read(&ec).unwrap()).unwrap();
    let forged = signed(r#"{"alg":"HS256"}"#, ec.as_bytes());
    assert_eq!(judge(&forged, &mixed), Err(TokenError::Signature));
    let many = ec.repeat(33);
    assert_eq!(read(&many).unwrap_err(), KeyError::TooMany);
    let half = read(ec.repeat(17)).unwrap();
    assert_eq!(half.clone().with(half).unwrap_err(), KeyError::TooMany);
}

#[test]
fn what_an_issuer_publishes_as_a_set_works_by_the_names_of_its_keys() {
    let named = |name: &str, kid: &str| {
        let mut key = jwk(name);
        key["kid"] = json!(kid);
        key["use"] = json!("sig");
        key["alg"] = json!(name);
        key
    };
    let foreign = [
        json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB", "kid": "enc"}),
        json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "new"}),
        json!({"kty": "RSA", "alg": "RS512", "n": jwk("RS256")["n"], "e": "AQAB"}),
        json!({"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": 7}),
        json!("what is this"),
    ];
    let keys = [named("RS256", "r"), named("ES256", "e"), named("EdDSA", "d")];
    let set = json!({"keys": keys.iter().chain(&foreign).collect::<Vec<_>>()}).to_string();
    for file in [set.clone(), format!("\u{feff}{set}"), format!("\n{set}\n")] {
        let keys = read(file).unwrap();
        assert_eq!((keys.count(), keys.algorithms()), (3, vec!["RS256", "ES256", "EdDSA"]));
        for name in ["RS256", "ES256", "EdDSA"] {
            assert_eq!(judge(&token(name), &keys), Ok(()), "a token that names no key");
        }
    }
    let keys = TokenKeys::from_file_bytes(set.as_bytes(), &[TokenAlgorithm::Es256]).unwrap();
    assert_eq!((keys.count(), keys.algorithms()), (1, vec!["ES256"]));
    for (set, error) in [
        (json!({"keys": []}), KeyError::NoKey),
        (json!({"keys": foreign}), KeyError::NoKey),
        (json!({"keys": {}}), KeyError::OtherForm("JSON")),
        (json!({"kty": "oct", "k": "AAAA"}), KeyError::NoKey),
        (json!({"realm": "r"}), KeyError::OtherForm("JSON")),
        (
            json!({"keys": [jwk("ES256"), {"kty": "EC", "crv": "P-256", "d": "AA"}]}),
            KeyError::Private,
        ),
    ] {
        assert_eq!(read(set.to_string()).unwrap_err(), error, "{set}");
    }
}

#[test]
fn a_token_is_held_against_the_key_that_it_names() {
    let secrets = ["one secret of more than thirty-two bytes", SECRET];
    let [one, other] = secrets.map(|secret| URL_SAFE_NO_PAD.encode(secret));
    let set = json!({"keys": [
        {"kty": "oct", "kid": "one", "k": one},
        {"kty": "oct", "kid": "other", "k": other},
    ]});
    let named = read(set.to_string()).unwrap();
    let nameless = read(SECRET).unwrap();
    for (header, keys, expected) in [
        (r#"{"alg":"HS256","kid":"other"}"#, &named, Ok(())),
        (r#"{"alg":"HS256"}"#, &named, Ok(())),
        (r#"{"alg":"HS256","kid":"one"}"#, &named, Err(TokenError::Signature)),
        (r#"{"alg":"HS256","kid":"none"}"#, &named, Err(TokenError::UnknownKey)),
        (r#"{"alg":"HS256","kid":"none"}"#, &nameless, Ok(())),
        (r#"{"alg":"HS256","kid":7}"#, &named, Err(TokenError::Claim("kid"))),
        (r#"{"alg":"RS256","kid":"other"}"#, &named, Err(TokenError::Algorithm)),
        (r#"{"kid":"other"}"#, &named, Err(TokenError::Algorithm)),
    ] {
        let token = signed(header, SECRET.as_bytes());
        assert_eq!(judge(&token, keys), expected, "{header}");
    }
}

#[test]
fn a_key_is_for_the_algorithm_that_is_named() {
    let name = |algorithm| TokenKeys::from_file_bytes(pem("ES256").as_bytes(), algorithm);
    assert_eq!(name(&[TokenAlgorithm::Es256]).unwrap().algorithms(), ["ES256"]);
    assert_eq!(name(&TokenAlgorithm::ALL).unwrap().algorithms(), ["ES256"]);
    for wrong in [HS256, &[TokenAlgorithm::Rs256, TokenAlgorithm::EdDsa]] {
        assert_eq!(name(wrong).unwrap_err(), KeyError::OtherAlgorithm(TokenAlgorithm::Es256));
    }
    let secret = TokenKeys::from_file_bytes(SECRET.as_bytes(), &[TokenAlgorithm::Es256]);
    let error = secret.unwrap_err();
    assert_eq!(error, KeyError::OtherAlgorithm(TokenAlgorithm::Hs256));
    assert!(error.to_string().contains("--token-algorithm"), "{error}");
}
