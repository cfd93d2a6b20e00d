"""The `[auth]` table: what is refused and how, and that nothing shows a secret."""

import pickle

import pytest
from pydantic import ConfigDict, SecretStr, TypeAdapter, ValidationError

from probe.errors import ConfigError
from probe.model.auth import Auth, CsvAuth, EnvAuth, FetchAuth, MintAuth, NoAuth, render, secrets
from probe.model.base import Strict
from probe.model.reading import build

AUTH = TypeAdapter(Auth, config=ConfigDict(hide_input_in_errors=True))


class Holder(Strict):
    auth: Auth


KEY = "k3y-that-is-long-enough-for-any-hmac-of-rfc-7518-" + "x9" * 10
FETCH = {
    "source": "fetch",
    "url": "https://auth.example.org/token",
    "client_id": "probe",
    "client_secret": "cl13nt-s3cret-value",
}


def refusal(**table):
    with pytest.raises(ValidationError) as caught:
        AUTH.validate_python(table)
    return str(caught.value)


def test_source_chooses_the_table():
    assert AUTH.validate_python({"source": "none"}) == NoAuth()
    minted = AUTH.validate_python({"source": "mint", "key": KEY, "lifetime": "5m"})
    assert isinstance(minted, MintAuth)
    assert minted.lifetime == 300_000_000_000
    assert minted.algorithm == "HS256"
    fetched = AUTH.validate_python(FETCH)
    assert isinstance(fetched, FetchAuth)
    assert (fetched.attempts, fetched.timeout, fetched.token_path) == (
        3,
        10_000_000_000,
        "access_token",
    )
    assert isinstance(AUTH.validate_python({"source": "env", "token": "abc"}), EnvAuth)
    assert isinstance(AUTH.validate_python({"source": "csv", "file": "u.csv"}), CsvAuth)
    assert "source" in refusal(source="vault")


@pytest.mark.parametrize(("algorithm", "least"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_hmac_key_is_as_long_as_its_hash(algorithm, least):
    AUTH.validate_python({"source": "mint", "algorithm": algorithm, "key": "k" * least})
    text = refusal(source="mint", algorithm=algorithm, key="s" * (least - 1))
    assert f"at least {least} bytes (RFC 7518, section 3.2); this one has {least - 1}" in text


def test_hmac_key_is_counted_in_bytes():
    AUTH.validate_python({"source": "mint", "key": "é" * 16})


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"source": "mint"}, "one of `key` and `key_file`"),
        ({"source": "mint", "key": KEY, "key_file": "a.pem"}, "one of `key` and `key_file`"),
        ({"source": "mint", "key_file": "a.pem"}, "takes its shared secret from `key`"),
        ({"source": "mint", "key": " "}, "is its environment variable set"),
        ({"source": "mint", "algorithm": "none", "key": KEY}, "HS256"),
        ({"source": "mint", "algorithm": "RS256", "key": KEY}, "private key in PEM"),
        (
            {"source": "mint", "algorithm": "ES256", "key": "-----BEGIN PUBLIC KEY-----\nAAAA"},
            "no private key",
        ),
        ({"source": "mint", "key": "-----BEGIN PRIVATE KEY-----\n" + KEY}, "this is a PEM"),
        ({"source": "mint", "key": KEY, "lifetime": "1500ms"}, "whole seconds"),
        ({"source": "mint", "key": KEY, "lifetime": "0"}, "never be valid"),
        ({"source": "mint", "key": KEY, "subject": "u-{m}"}, "unknown placeholder {m}"),
        ({"source": "mint", "key": KEY, "claims": {"a": {"b": ["{x}"]}}}, "placeholder {x}"),
        ({"source": "mint", "key": KEY, "claims": {"exp": 1}}, "set by `lifetime`"),
        ({"source": "mint", "key": KEY, "identities": 0}, "greater than or equal to 1"),
        ({"source": "mint", "key": KEY, "secret": "x"}, "Extra inputs"),
        ({**FETCH, "url": "ftp://x/"}, "found no URL"),
        ({**FETCH, "url": "https:///token"}, "found no URL"),
        ({**FETCH, "url": "https://u:cl13nt-s3cret-value@h/"}, "found credentials in the URL"),
        ({**FETCH, "url": "https://h:99999/"}, "found no URL"),
        ({**FETCH, "client_secret": None}, "needs `client_secret`"),
        ({**FETCH, "client_secret": ""}, "`client_secret` is empty"),
        ({**FETCH, "username": "u"}, "does not send `username`"),
        ({**FETCH, "grant": "password"}, "needs `username` and `password`"),
        ({**FETCH, "grant": "custom"}, "does not send `client_id` and `client_secret`"),
        ({"source": "fetch", "url": "http://h/", "grant": "custom"}, "there are none"),
        ({**FETCH, "headers": {"X Key": "abc"}}, "header 1 is no header name"),
        ({**FETCH, "headers": {"X-Key": "cl13nt\r\ns3cret-value"}}, "`X-Key` is no legal"),
        ({**FETCH, "fields": {"a": ["cl13nt-s3cret-value"]}}, "found a list or table"),
        ({**FETCH, "timeout": "0"}, "more than 0"),
        ({**FETCH, "attempts": 11}, "less than or equal to 10"),
        ({"source": "env", "token": ""}, "is its environment variable set"),
        ({"source": "env", "token": "cl13nt-s3cret-value\n"}, "line break around the token"),
    ],
)
def test_refusals_say_why_and_show_no_secret(table, why):
    text = refusal(**table)
    assert why in text
    with pytest.raises(ConfigError) as caught:
        build(Holder, {"auth": table}, "target.toml")
    for shown in (text, str(caught.value), repr(caught.value)):
        assert KEY not in shown
        assert "s3cret-value" not in shown


def test_a_table_by_itself_hides_its_input_too():
    with pytest.raises(ValidationError) as caught:
        EnvAuth.model_validate({"source": "env", "token": "cl13nt-s3cret-value\n"})
    assert "s3cret" not in str(caught.value)


def test_no_repr_dump_or_pickle_text_shows_a_secret():
    fetched = AUTH.validate_python(
        {
            **FETCH,
            "headers": {"X-Api-Key": "h3ader-key-value"},
            "fields": {"otp": "f1eld-otp-value", "ttl": 60, "deep": True},
        }
    )
    minted = AUTH.validate_python({"source": "mint", "key": KEY})
    env = AUTH.validate_python({"source": "env", "token": "t0ken-of-the-env"})
    assert isinstance(fetched, FetchAuth)
    for auth in (fetched, minted, env):
        shown = f"{auth!r} {auth} {auth.model_dump()} {auth.model_dump_json()}"
        assert secrets(auth)
        for secret in secrets(auth):
            assert secret not in shown
        assert pickle.loads(pickle.dumps(auth)) == auth
    assert fetched.fields["ttl"] == 60
    assert fetched.fields["deep"] is True
    assert isinstance(fetched.fields["otp"], SecretStr)


def test_secrets_are_all_credentials_and_no_ordinary_words():
    auth = AUTH.validate_python(
        {
            **FETCH,
            "headers": {
                "Authorization": "Basic cHJvYmU6c2VjcmV0",
                "Accept": "application/json",
                "X-Api-Key": "h3ader-key-value",
            },
            "fields": {"otp": "otp-{n}-{seed}", "audience": "api", "ttl": 60},
        }
    )
    assert set(secrets(auth, 3, 9)) == {
        "cl13nt-s3cret-value",
        "Basic cHJvYmU6c2VjcmV0",
        "cHJvYmU6c2VjcmV0",
        "h3ader-key-value",
        "otp-3-9",
    }
    assert secrets(NoAuth()) == ()
    assert secrets(CsvAuth(source="csv", file="a.csv")) == ()


def test_templates_are_filled_in_one_pass():
    assert render("u{n}-{seed}-{user}", 4, 7, "{n}") == "u4-7-{n}"
    assert render('{"a": {x}}', 4, 7) == '{"a": {x}}'


def test_schema_describes_every_field():
    for name, table in AUTH.json_schema()["$defs"].items():
        for field, schema in table.get("properties", {}).items():
            assert schema.get("description"), f"{name}.{field}"
    assert "FetchAuth" in AUTH.json_schema()["$defs"]
    mint = AUTH.json_schema()["$defs"]["MintAuth"]["properties"]
    assert mint["lifetime"]["type"] == "string"
    assert "password" in str(mint["key"])
