"""Tokens made by PyJWT, good and bad, as one JSON object; tests/identity_tokens.rs judges them."""

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = 1_800_000_000
SECRET = "a secret of more than thirty-two bytes\n"[:-1]
FULL = {"sub": "john", "groups": ["chat", "staff"], "sid": "abc123", "allow": "subscribe-user"}


def text(part):
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header, claims, secret):
    """A token signed with HMAC whatever its header says, which PyJWT refuses to make."""
    body = text(header) + "." + text(claims)
    mac = hmac.new(secret, body.encode(), hashlib.sha256).digest()
    return body + "." + text(mac)


def private_pem(key):
    none = serialization.NoEncryption()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, none
    ).decode()


def public_pem(key, form=serialization.PublicFormat.SubjectPublicKeyInfo):
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


private = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
other = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
keys = {name: public_pem(key) for name, key in private.items()}
keys["RS256 of PKCS 1"] = public_pem(private["RS256"], serialization.PublicFormat.PKCS1)
keys["HS256"] = SECRET
bad_keys = {
    "private RS256": private_pem(private["RS256"]),
    "private ES256": private_pem(private["ES256"]),
    "private EdDSA": private_pem(private["EdDSA"]),
    "short RSA": public_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
    "P-384": public_pem(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": public_pem(ec.generate_private_key(ec.SECP256K1())),
    "DER": base64.b64encode(
        private["ES256"]
        .public_key()
        .public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).decode(),
}
tokens = []


def add(name, key, token, result, audience=None):
    tokens.append(
        {"name": name, "key": key, "token": token, "audience": audience, "result": result}
    )


def hs(name, claims, result, audience=None):
    add(name, "HS256", jwt.encode(claims, SECRET, "HS256"), result, audience)


for name in ["RS256", "ES256", "EdDSA", "HS256"]:
    sign = private.get(name, SECRET)
    good = jwt.encode({**FULL, "exp": NOW + 60}, sign, name)
    add("good", name, good, "good")
    add("without a signature", name, good.rsplit(".", 1)[0] + ".", "signature")
    head, body, signature = good.split(".")
    add("cut short", name, good[:-4], "signature")
    add("cut in the claims", name, head + "." + body[:-4], "malformed")
    forged = text({**FULL, "sub": "mary", "exp": NOW + 60})
    add("other claims", name, head + "." + forged + "." + signature, "signature")
    wrong = other.get(name, SECRET[::-1])
    add("another's key", name, jwt.encode(FULL, wrong, name), "signature")
    none = jwt.encode(FULL, None, "none")
    add("none", name, none, "algorithm")
    add("none with a signature", name, none + signature, "algorithm")
    for spelling in ["None", "NONE", "nOnE", "", "hs256"]:
        add("alg " + spelling, name, text({"alg": spelling}) + "." + body + "." + signature,
            "algorithm")
    for another in ["RS256", "ES256", "EdDSA", "HS256", "HS384", "HS512"]:
        if another != name and another in ["HS384", "HS512"]:
            token = jwt.encode(FULL, SECRET * 2, another)
            add("signed with " + another, name, token, "algorithm")
        elif another != name:
            token = jwt.encode(FULL, private.get(another, SECRET), another)
            add("signed with " + another, name, token, "algorithm")
for form in ["RS256", "RS256 of PKCS 1", "ES256", "EdDSA"]:
    for secret in [keys[form].encode(), keys[form].strip().encode()]:
        hmac_with_public = signed({"alg": "HS256", "typ": "JWT"}, FULL, secret)
        add("HS256 with the public key for a secret", form, hmac_with_public, "algorithm")
    add("RSA's PSS", form, jwt.encode(FULL, private["RS256"], "PS256"), "algorithm")
add("good", "RS256 of PKCS 1", jwt.encode(FULL, private["RS256"], "RS256"), "good")

hs("exp far away", {**FULL, "exp": 1e300}, "milliseconds exp")
hs("exp in milliseconds", {**FULL, "exp": NOW * 1000 + 600_000}, "milliseconds exp")
hs("nbf in milliseconds", {**FULL, "nbf": NOW * 1000 - 600_000}, "milliseconds nbf")
hs("exp in the year 9999", {**FULL, "exp": 253_402_300_799}, "good")
hs("without exp", FULL, "good")
hs("exp in a fraction of a second", {**FULL, "exp": NOW + 0.001}, "good")
hs("exp now", {**FULL, "exp": NOW}, "expired")
hs("exp a fraction of a second ago", {**FULL, "exp": NOW - 0.001}, "expired")
hs("exp below zero", {**FULL, "exp": -1}, "expired")
hs("nbf now", {**FULL, "nbf": NOW}, "good")
hs("nbf in a fraction of a second", {**FULL, "nbf": NOW + 0.001}, "not yet")
hs("nbf tomorrow", {**FULL, "nbf": NOW + 86400}, "not yet")
hs("iat tomorrow", {**FULL, "iat": NOW + 86400}, "good")
hs("aud that nobody configured", {**FULL, "aud": "push"}, "audience")
hs("empty aud that nobody configured", {**FULL, "aud": []}, "audience")
hs("no aud", FULL, "audience", "push")
hs("the aud", {**FULL, "aud": "push"}, "good", "push")
hs("the aud among others", {**FULL, "aud": ["other", "push"]}, "good", "push")
hs("another aud", {**FULL, "aud": "pusher"}, "audience", "push")
hs("other auds", {**FULL, "aud": ["a", "b"]}, "audience", "push")
hs("empty aud", {**FULL, "aud": []}, "audience", "push")
hs("aud as a map", {**FULL, "aud": {"push": 1}}, "claim aud", "push")
hs("auds with a number", {**FULL, "aud": ["push", 1]}, "claim aud", "push")
for claim, values in {
    "sub": [7, None, ["john"], True],
    "groups": ["chat", None, 7, ["chat", 7], {"chat": 1}],
    "sid": [7, None, []],
    "allow": [7, None, ["subscribe-user"], "subscribe-everything"],
    "exp": [None, [NOW], True],
    "nbf": [None, "soon", True],
}.items():
    for value in values:
        token = signed({"alg": "HS256"}, {**FULL, claim: value}, SECRET.encode())
        add("%s: %r" % (claim, value), "HS256", token, "claim " + claim)
add("exp as text", "HS256", signed({"alg": "HS256"}, {**FULL, "exp": str(NOW + 9)},
    SECRET.encode()), "claim exp")
add("claims as a list", "HS256", signed({"alg": "HS256"}, [FULL], SECRET.encode()), "malformed")
add("claims as text", "HS256", signed({"alg": "HS256"}, b"sub=john", SECRET.encode()), "malformed")
add("a header to understand", "HS256",
    signed({"alg": "HS256", "crit": ["b64"], "b64": False}, FULL, SECRET.encode()), "critical")
add("a header of much depth", "HS256",
    signed(b'{"alg":"HS256","x":' + b"[" * 1000 + b"]" * 1000 + b"}", FULL, SECRET.encode()),
    "malformed")
add("claims of much depth", "HS256",
    signed({"alg": "HS256"}, b'{"x":' + b"[" * 1000 + b"]" * 1000 + b"}", SECRET.encode()),
    "malformed")
hs("too long", {**FULL, "more": "x" * 8192}, "too long")
print(json.dumps({"now_ms": NOW * 1000, "keys": keys, "bad_keys": bad_keys, "tokens": tokens},
    indent=1))
