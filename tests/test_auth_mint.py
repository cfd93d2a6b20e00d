"""Minted tokens, verified by the receiving side of pyjwt with the public keys."""

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from probe.auth.describe import describe, looks_like_jwt
from probe.auth.mint import key_text, mint, signer
from probe.errors import ConfigError
from probe.model.auth import MintAuth

NOW = 1_800_000_000.75
SECRET = "an-hmac-secret-" + "s3" * 30
RSA = rsa.generate_private_key(65537, 2048)
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
PRIVATE: dict[str, Any] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA),
    **{name: ec.generate_private_key(curve) for name, curve in CURVES.items()},
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def pem(key, encryption=None, form=PrivateFormat.PKCS8):
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption()).decode()


def table(**fields):
    return MintAuth.model_validate({"source": "mint", **fields})


def verified(token, key, algorithm, **options):
    # Time is judged against the real clock by pyjwt, so only the signature is left to it.
    lax: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
    return jwt.decode(token, key, [algorithm], options=lax, **options)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac_tokens_verify(algorithm):
    token = mint(table(algorithm=algorithm, key=SECRET), 2, seed=5, now_s=NOW)
    assert verified(token, SECRET, algorithm)["sub"] == "probe-2"
    with pytest.raises(jwt.InvalidSignatureError):
        verified(token, SECRET[::-1], algorithm)


@pytest.mark.parametrize("algorithm", sorted(PRIVATE))
def test_private_key_tokens_verify(algorithm):
    key = PRIVATE[algorithm]
    token = mint(table(algorithm=algorithm, key=pem(key)), 2, seed=5, now_s=NOW)
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert verified(token, key.public_key(), algorithm)["sub"] == "probe-2"
    with pytest.raises(jwt.InvalidSignatureError):
        verified(token[:-12] + "AAAAAAAAAAAA", key.public_key(), algorithm)


def test_other_spellings_of_a_key_serve_too():
    edwards = ed448.Ed448PrivateKey.generate()
    token = mint(table(algorithm="EdDSA", key=pem(edwards)), 0, seed=0, now_s=NOW)
    assert verified(token, edwards.public_key(), "EdDSA")
    old = pem(RSA, form=PrivateFormat.TraditionalOpenSSL)
    assert mint(table(algorithm="RS256", key=old), 0, seed=0, now_s=NOW)


def test_claims_are_the_configured_ones():
    auth = table(
        key=SECRET,
        key_id="k1",
        issuer="probe",
        audience=["api", "ws"],
        subject="user-{n}-{seed}",
        claims={"role": "tester", "deep": {"who": ["{n}", 1, None]}, "jti": "own-{n}"},
        lifetime="15m",
        skew="30s",
    )
    token = mint(auth, 7, seed=42, now_s=NOW)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": "k1"}
    assert verified(token, SECRET, "HS256") == {
        "sub": "user-7-42",
        "iss": "probe",
        "aud": ["api", "ws"],
        "iat": 1_799_999_970,
        "nbf": 1_799_999_970,
        "exp": 1_800_000_900,
        "jti": "own-7",
        "role": "tester",
        "deep": {"who": ["7", 1, None]},
    }


def test_two_tokens_of_one_second_are_two():
    made = signer(table(key=SECRET), SECRET)
    assert len({made.mint(1, 0, NOW) for _ in range(50)}) == 50
    assert made.expires_at_s(NOW) == verified(made.mint(1, 0, NOW), SECRET, "HS256")["exp"]


def test_a_fresh_token_is_accepted_and_an_aged_one_is_not():
    auth = table(key=SECRET)
    assert jwt.decode(mint(auth, 0, seed=0, now_s=time.time()), SECRET, ["HS256"])
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(mint(auth, 0, seed=0, now_s=time.time() - 901), SECRET, ["HS256"])


@pytest.mark.parametrize(
    ("algorithm", "key", "why"),
    [
        ("RS256", PRIVATE["ES256"], "RS256 needs an RSA key"),
        ("ES256", RSA, "ES256 needs an elliptic-curve key"),
        ("ES256", PRIVATE["ES384"], "needs the curve secp256r1; this is secp384r1"),
        ("EdDSA", RSA, "EdDSA needs an Ed key"),
        ("PS256", PRIVATE["EdDSA"], "PS256 needs an RSA key"),
        ("RS256", rsa.generate_private_key(65537, 1024), "at least 2048 bits"),
        ("RS256", dsa.generate_private_key(1024), "signs no token"),
    ],
)
def test_a_key_of_another_kind_is_refused(algorithm, key, why):
    with pytest.raises(ConfigError, match=why) as caught:
        mint(table(algorithm=algorithm, key=pem(key)), 0, seed=0, now_s=NOW)
    assert pem(key)[60:100] not in str(caught.value)


def test_an_encrypted_or_broken_key_is_refused_without_showing_it():
    locked = pem(RSA, BestAvailableEncryption(b"pw"))
    with pytest.raises(ConfigError, match="encrypted"):
        mint(table(algorithm="RS256", key=locked), 0, seed=0, now_s=NOW)
    broken = pem(RSA)[:300] + "\n-----END PRIVATE KEY-----\n"
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        mint(table(algorithm="RS256", key=broken), 0, seed=0, now_s=NOW)
    assert broken[60:100] not in str(caught.value)
    assert caught.value.__suppress_context__


def test_key_files(tmp_path):
    (tmp_path / "key.pem").write_text(pem(RSA))
    (tmp_path / "public.pem").write_text("-----BEGIN PUBLIC KEY-----\nMIIB\n")
    (tmp_path / "bytes.pem").write_bytes(b"\xff\xfe\x00")
    good = table(algorithm="RS256", key_file="key.pem")
    token = mint(good, 0, seed=0, now_s=NOW, folder=tmp_path)
    assert verified(token, RSA.public_key(), "RS256")
    for name, why in (
        ("public.pem", "no private key"),
        ("bytes.pem", "no PEM file"),
        ("none.pem", "No such file"),
        (".", "directory"),
    ):
        with pytest.raises(ConfigError, match=why) as caught:
            key_text(table(algorithm="RS256", key_file=name), "t.toml", tmp_path)
        (problem,) = caught.value.problems
        assert (problem.origin, problem.path) == ("t.toml", "auth.key_file")


def test_signer_shows_no_key():
    assert SECRET not in repr(signer(table(key=SECRET), SECRET))


def test_describe_tells_all_but_the_signature():
    token = mint(table(key=SECRET, key_id="k1"), 1, seed=0, now_s=NOW)
    told = describe(token, NOW)
    assert told.is_jwt
    assert told.header["kid"] == "k1"
    assert told.claims["sub"] == "probe-1"
    assert told.expires_in_s == pytest.approx(899.25)
    signature = token.rpartition(".")[2]
    assert len(told.signature) == len(signature)
    assert set(told.signature) <= set("xX0-_")
    assert signature not in repr(told)
    assert describe(token, NOW + 1000).expires_in_s == pytest.approx(-100.75)


@pytest.mark.parametrize(
    "token", ["", "opaque", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.bm90anNvbg.x", "é.é.é", "x" * 100_000]
)
def test_describe_of_anything_else_says_only_its_length(token):
    told = describe(token, NOW)
    assert (told.is_jwt, told.length, told.claims) == (False, len(token), {})


@pytest.mark.parametrize("exp", [True, "soon", float("nan"), 2.0**60, None])
def test_an_expiry_that_is_no_time_is_unknown(exp):
    token = jwt.api_jws.encode(f'{{"exp": {_json(exp)}}}'.encode(), SECRET, "HS256")
    told = describe(token, NOW)
    assert told.is_jwt
    assert told.expires_in_s is None


def _json(value):
    return {True: "true", None: "null"}.get(value, f'"{value}"' if value == "soon" else "NaN")


def test_what_looks_like_a_jwt():
    assert looks_like_jwt(mint(table(key=SECRET), 1, seed=0, now_s=NOW))
    assert not looks_like_jwt("eyJhbGciOiJIUzI1NiJ9")
    assert not looks_like_jwt("opaque.token.here")
