"""Bad tokens: each is bad in the one way its row says, and what cannot be made is not made."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from probe.auth.bad import Source, forge
from probe.auth.keyset import published
from probe.auth.mint import signer
from probe.auth.public import parse, public_of
from probe.auth.tokens import Tokens
from probe.auth.unmade import UnmadeError
from probe.model.auth import EnvAuth, MintAuth
from probe.model.bad_tokens import BRIEF_S, TOKEN_CASES, expected, is_bad, lacking
from probe.model.dialect import Dialect
from probe.redact import Redactor

SECRET = "a-secret-of-the-tests-0123456789abcdefghij-0123456789abcdefghij!"
NOW_S = int(time.time())
OKP = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS: dict[str, Any] = {
    "EdDSA": OKP,
    "RS256": rsa.generate_private_key(65_537, 2048),
    "PS384": rsa.generate_private_key(65_537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
MADE = [name for name, row in TOKEN_CASES.items() if row.needs not in ("revoke", "user")]


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def auth(algorithm="HS256", **more):
    key = SECRET if algorithm.startswith("HS") else pem(KEYS[algorithm])
    base = {"source": "mint", "algorithm": algorithm, "key": key, "issuer": "us", "audience": "it"}
    return MintAuth.model_validate(base | more)


def source(algorithm="HS256", *, public=None, **more):
    made = signer(auth(algorithm, **more), SECRET if algorithm[0] == "H" else pem(KEYS[algorithm]))
    known = public or public_of(made)
    return Source(made.mint(3, 1, NOW_S), 3, 1, NOW_S, made, known)


def verify(token, algorithm="HS256", **options):
    asked: Any = {"require": ["sub", "exp"], **options}
    key = SECRET if algorithm.startswith("HS") else KEYS[algorithm].public_key()
    return jwt.decode(token, key, [algorithm], audience="it", issuer="us", options=asked)


def taken_apart(token):
    parts = jwt.decode_complete(token, options={"verify_signature": False})
    return parts["header"], parts["payload"], parts["signature"]


WRONG = {
    "expired": jwt.ExpiredSignatureError,
    "within_skew": jwt.ExpiredSignatureError,
    "not_yet_valid": jwt.ImmatureSignatureError,
    "wrong_audience": jwt.InvalidAudienceError,
    "wrong_issuer": jwt.InvalidIssuerError,
    "wrong_key": jwt.InvalidSignatureError,
    "unknown_key": jwt.InvalidSignatureError,
    "no_signature": jwt.InvalidSignatureError,
    "tampered": jwt.InvalidSignatureError,
    "alg_none": jwt.InvalidAlgorithmError,
    "alg_none_cased": jwt.InvalidAlgorithmError,
    "malformed": jwt.DecodeError,
    "missing_subject": jwt.MissingRequiredClaimError,
}


@pytest.mark.parametrize("algorithm", ["HS256", "HS512", *KEYS])
@pytest.mark.parametrize("case", WRONG)
def test_each_is_wrong_in_its_own_way(case, algorithm):
    given = source(algorithm)
    assert verify(given.good, algorithm)["sub"] == "probe-3"
    with pytest.raises(WRONG[case]) as caught:
        verify(forge(case, given).token, algorithm)
    assert type(caught.value) is WRONG[case]


@pytest.mark.parametrize("case", ["expired", "not_yet_valid", "wrong_audience", "wrong_issuer"])
def test_a_wrong_claim_stands_under_a_right_signature(case):
    forged = forge(case, source())
    off = {"verify_exp": False, "verify_nbf": False, "verify_aud": False, "verify_iss": False}
    claims = verify(forged.token, **off)
    assert claims["sub"] == "probe-3"
    assert forged.expires_at_s == claims["exp"]


@pytest.mark.parametrize("algorithm", ["HS384", *KEYS])
def test_what_is_signed_with_our_own_key_says_the_same_as_the_good_one(algorithm):
    given = source(algorithm, key_id="k1")
    header, payload, signature = taken_apart(given.good)
    for case, kid in (("wrong_key", "k1"), ("unknown_key", "nobody-has-this-key")):
        forged = taken_apart(forge(case, given).token)
        assert forged[0] == header | {"kid": kid}
        assert forged[1] == payload
        assert forged[2] != signature
        assert len(forged[2]) == len(signature) or algorithm.startswith("HS")


def test_an_embedded_key_is_the_one_that_signed_it():
    token = forge("embedded_key", source("RS256", key_id="k1")).token
    header, _, _ = taken_apart(token)
    assert "kid" not in header
    shown = jwt.PyJWK(header["jwk"])
    assert jwt.decode(token, shown.key, ["EdDSA"], audience="it")["sub"] == "probe-3"


@pytest.mark.parametrize(
    ("case", "said"), [("alg_none", "none"), ("alg_none_cased", "nOnE"), ("no_signature", "EdDSA")]
)
def test_without_a_signature_there_are_three_parts_all_the_same(case, said):
    given = source("EdDSA")
    token = forge(case, given).token
    head, payload, signature = token.split(".")
    assert signature == ""
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == said
    good = taken_apart(given.good)[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "==")) == good


@pytest.mark.parametrize("algorithm", list(KEYS))
def test_the_public_key_serves_as_the_secret_in_each_of_its_spellings(algorithm):
    given = source(algorithm, key_id="k1")
    public = given.public
    assert public is not None
    secrets = {
        "key_confusion_pem": public.pem,
        "key_confusion_raw": public.raw,
        "key_confusion_jwk": public.jwk,
    }
    assert len(set(secrets.values())) == 3
    assert public.pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")
    assert b"PRIVATE" not in public.pem + public.jwk
    for case, secret in secrets.items():
        token = forge(case, given).token
        signed, _, _ = token.rpartition(".")
        header, payload, signature = taken_apart(token)
        assert header["alg"] == "HS256"
        assert header["kid"] == "k1"
        assert payload == taken_apart(given.good)[1]
        assert signature == hmac.digest(secret, signed.encode(), hashlib.sha256)
    if algorithm == "EdDSA":
        assert public.raw == OKP.public_key().public_bytes_raw()


def test_what_lives_otherwise_long():
    now = time.time()
    brief, huge = (forge(case, source()) for case in ("brief", "huge_lifetime"))
    assert brief.expires_at_s == NOW_S + BRIEF_S
    assert huge.expires_at_s is not None
    assert huge.expires_at_s > now + 9 * 365 * 86_400
    verify(huge.token)
    unknown = forge("unknown_key_id", source(key_id="k1")).token
    assert taken_apart(unknown)[0]["kid"] == "nobody-has-this-key"
    verify(unknown)


def test_two_that_differ_are_the_good_one_and_another():
    given = source()
    forged = forge("two_that_differ", given)
    assert forged.token == given.good
    assert forged.beside not in ("", given.good)
    assert forge("absent", given).token == ""


def test_no_case_shows_the_same_token_as_another_and_none_shows_itself():
    public = parse(json.dumps({"keys": [jwk_of(OKP)]}).encode())
    given = source(public=public)
    made = {case: forge(case, given) for case in MADE}
    tokens = [each.token for case, each in made.items() if case != "two_that_differ"]
    assert len(set(tokens)) == len(tokens)
    assert given.good not in tokens
    for each in (*made.values(), given):
        assert "eyJ" not in repr(each)


# What cannot be made.


def test_without_the_key_only_what_can_be_made_of_a_good_token_is_made():
    given = source("RS256")
    poor = Source(given.good, 3, 1, NOW_S)
    made, missing = [], {}
    for case in MADE:
        try:
            made.append(forge(case, poor).token)
        except UnmadeError as error:
            missing[case] = str(error)
    assert set(missing) == {n for n in MADE if TOKEN_CASES[n].needs in ("key", "public_key")}
    assert "auth.jwks" in missing["key_confusion_pem"]
    assert "key that signs is not ours" in missing["expired"]
    assert not any("eyJ" in words for words in missing.values())


@pytest.mark.parametrize("good", ["a-token-of-another-kind", "a.b.c", "x"])
def test_of_a_token_that_is_no_jwt_only_the_text_is_altered(good):
    opaque = Source(good, 3, 1, NOW_S)
    made, words = {}, ""
    for case in MADE:
        try:
            made[case] = forge(case, opaque)
        except UnmadeError as error:
            words += str(error)
    assert good not in words or len(good) == 1
    assert set(made) == {"absent", "tampered", "malformed", "two_that_differ"}
    assert made["tampered"].token != good
    assert len(made["tampered"].token) == len(good)
    assert len(made["malformed"].token) < len(good) or len(good) == 1


def test_a_claim_that_the_target_does_not_name_cannot_be_wrong():
    bare = source(issuer=None, audience=None)
    for case in ("wrong_audience", "wrong_issuer"):
        with pytest.raises(UnmadeError, match="the target names no"):
            forge(case, bare)


def test_without_a_token_there_is_nothing_to_alter():
    with pytest.raises(UnmadeError, match="no token"):
        forge("tampered", Source("", 3, 1, NOW_S))


@pytest.mark.parametrize("algorithm", ["none", "HS1", "ES999"])
def test_an_algorithm_that_we_have_no_key_for_is_told(algorithm):
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=").decode()
    good = f"{head}.{source().good.split('.')[1]}.c2ln"
    with pytest.raises(UnmadeError, match="no key for the algorithm"):
        forge("wrong_key", Source(good, 3, 1, NOW_S))


# The table.


def test_the_table_says_what_each_service_may_do():
    spoken = {"title": "d", "present": {"default": {}}}
    plain = Dialect.model_validate(spoken)
    revoke = {"service": "backend", "path": "/revoke"}
    promising = Dialect.model_validate(
        spoken | {"revoke": revoke, "promises": {"revocation": "1s"}}
    )
    revoked, other = TOKEN_CASES["revoked"], TOKEN_CASES["another_user"]
    assert expected(revoked, plain) == "informational"
    assert expected(revoked, promising) == "rejected"
    assert "[revoke]" in lacking(revoked, plain.present["default"], plain)
    assert not lacking(revoked, promising.present["default"], promising)
    assert "{user}" in lacking(other, plain.present["default"], plain)
    for field in ("query", "headers", "cookies"):
        named = Dialect.model_validate(spoken | {"present": {"default": {field: {"u": "{user}"}}}})
        assert not lacking(other, named.present["default"], named)
    assert is_bad("expired")
    assert not any(map(is_bad, ("brief", "fresh", "huge_lifetime")))
    assert all(row.section.startswith("RFC ") for row in TOKEN_CASES.values())


# Tokens: what the session asks.


def opened(given, **more):
    return Tokens(given, seed=1, redactor=Redactor(), **more)


def run(main):
    async def bounded():
        async with asyncio.timeout(20):
            return await main()

    return asyncio.run(bounded())


def test_every_forged_token_is_known_to_the_redactor_of_its_identity():
    async def main():
        async with opened(auth("EdDSA")) as tokens:
            (mine,) = await tokens.identities([0])
            for case in MADE:
                forged = await tokens.forge(mine, case)
                for token in filter(None, (forged.token, forged.beside)):
                    assert token.encode() not in mine.redactor.redact(b"a " + token.encode())
            other = await tokens.forge(mine, "another_user")
            assert other.whose is not None
            assert other.whose.index != mine.index
            assert other.whose.user != mine.user
            assert other.token == other.whose.token
            assert other.token.encode() not in mine.redactor.redact(other.token.encode())
            assert tokens.renewable

    run(main)


def test_a_source_of_one_token_has_none_of_another_user():
    async def main():
        async with opened(EnvAuth.model_validate({"source": "env", "token": "a-token"})) as tokens:
            (mine,) = await tokens.identities([0])
            assert not tokens.renewable
            with pytest.raises(UnmadeError, match="only the source `mint`"):
                await tokens.forge(mine, "another_user")
            forged = await tokens.forge(mine, "malformed")
            assert mine.redactor.text(forged.token) != forged.token

    run(main)


# The public key.


def jwk_of(key):
    return jwt.get_algorithm_by_name("EdDSA").to_jwk(key.public_key(), as_dict=True)


class Keys(BaseHTTPRequestHandler):
    answers = ((200, b""),)
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        status, body = self.answers[-1]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def keys():
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Keys,), {"asked": []}))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(keys):
    return f"http://127.0.0.1:{keys.server_port}/jwks.json"


def test_a_published_key_is_asked_for_once_and_taken_as_it_stands(keys):
    shown = jwk_of(OKP) | {"kid": "lab-1", "use": "sig"}
    keys.RequestHandlerClass.answers = ((200, json.dumps({"keys": [shown]}).encode()),)

    async def main():
        async with opened(auth(jwks=url_of(keys))) as tokens:
            mine, other = await tokens.identities([0, 1])
            return [await tokens.forge(each, "key_confusion_jwk") for each in (mine, other)]

    for forged in run(main):
        signed, _, _ = forged.token.rpartition(".")
        header, _, signature = taken_apart(forged.token)
        assert header["kid"] == "lab-1"
        compact = json.dumps(shown, separators=(",", ":")).encode()
        assert signature == hmac.digest(compact, signed.encode(), hashlib.sha256)
    assert keys.RequestHandlerClass.asked == ["/jwks.json"]


def test_who_has_no_key_may_know_the_public_one_all_the_same(keys):
    keys.RequestHandlerClass.answers = ((200, json.dumps({"keys": [jwk_of(OKP)]}).encode()),)
    given = {"source": "env", "token": source().good, "jwks": url_of(keys)}

    async def main():
        async with opened(EnvAuth.model_validate(given)) as tokens:
            (mine,) = await tokens.identities([0])
            return await tokens.forge(mine, "key_confusion_raw")

    signed, _, _ = (token := run(main).token).rpartition(".")
    raw = OKP.public_key().public_bytes_raw()
    assert taken_apart(token)[2] == hmac.digest(raw, signed.encode(), hashlib.sha256)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"", "answered with 404"),
        (302, b"", "answered with 302"),
        (200, b"not JSON", "no set of public keys"),
        (200, b'{"keys":[]}', "no set of public keys"),
        (200, b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', "no set of public keys"),
        (200, b"[" * 60_000, "no set of public keys"),
    ],
)
def test_what_is_no_published_key_is_told_and_not_asked_for_again(keys, status, body, said):
    keys.RequestHandlerClass.answers = ((status, body),)

    async def main():
        async with opened(auth(jwks=url_of(keys))) as tokens:
            (mine,) = await tokens.identities([0])
            for case in ("key_confusion_pem", "key_confusion_raw"):
                with pytest.raises(UnmadeError, match=said):
                    await tokens.forge(mine, case)

    run(main)
    assert len(keys.RequestHandlerClass.asked) == 1


def test_where_nothing_listens_there_is_no_public_key():
    async def main():
        with pytest.raises(UnmadeError, match="could not be had"):
            await published("http://127.0.0.1:1/jwks.json", None)

    run(main)


@pytest.mark.parametrize("url", ["jwks.json", "ftp://host/x", "http://u:p@host/x", "http:///x"])
def test_what_is_no_address_of_keys_is_a_mistake(url):
    with pytest.raises(ValidationError):
        auth(jwks=url)
