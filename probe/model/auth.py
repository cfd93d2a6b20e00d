"""Where the tokens of the identities come from: the `[auth]` table of a target file.

The rule: what is secret is a `SecretStr` (or a table of them), so that no repr, dump or
log shows it, and what cannot work is refused here, before a socket opens. Pure: key and
CSV files are only named, `probe.auth` reads them; `${PROBE_...}` is put in before.

A validation error of pydantic carries its input, and whoever prints one leaves that out:
`probe.model.reading` shows none where the message itself says what was found.

Sources: RFC 7518 (algorithms and key sizes), RFC 7519 (claims), RFC 6749 (token endpoint).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from probe.model.base import Duration, Strict

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip

_NS_PER_S = 1_000_000_000
_HMAC_BYTES_MIN = {"HS256": 32, "HS384": 48, "HS512": 64}
_OWN_CLAIMS = {
    "iss": "issuer", "sub": "subject", "aud": "audience",
    "exp": "lifetime", "iat": "skew", "nbf": "skew",
}  # fmt: skip
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
# Ordinary words stand here: masking "application/json" in all that is stored would blind
# the reports. Any other field or header may be a credential and is masked.
_PUBLIC_NAMES = frozenset([
    "accept", "accept-encoding", "accept-language", "content-type", "user-agent", "origin",
    "referer", "scope", "audience", "resource", "realm", "tenant", "grant_type",
    "response_type", "client_id", "username",
])  # fmt: skip

Filled = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


def _scalar(value: object) -> object:
    # Before the union, which would tell one mistake four times, each time with the value.
    if not isinstance(value, str | bool | int | float | SecretStr):
        raise ValueError("found a list or table; allowed: text, a number, true or false")  # noqa: TRY004 - pydantic reads ValueErrors
    return value


FieldValue = Annotated[
    SecretStr | bool | int | float, Field(union_mode="left_to_right"), BeforeValidator(_scalar)
]


def render(template: str, n: int, seed: int, user: str = "") -> str:
    """`template` with `{n}`, `{seed}` and `{user}` put in; all else stands as it is."""
    values = {"n": str(n), "seed": str(seed), "user": user}
    # One pass, so that what is put in is never read as a template itself.
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _known_placeholders(value: JsonValue) -> JsonValue:
    """The value, or a ValueError for a placeholder that nothing would fill."""
    if isinstance(value, str):
        for name in _PLACEHOLDER.findall(value):
            if name not in ("n", "seed"):
                raise ValueError(f"unknown placeholder {{{name}}}; allowed: {{n}}, {{seed}}")
    elif isinstance(value, dict):
        for item in value.values():
            _known_placeholders(item)
    elif isinstance(value, list):
        for item in value:
            _known_placeholders(item)
    return value


class _Source(Strict):
    model_config = ConfigDict(hide_input_in_errors=True)


class _TokenSource(_Source):
    jwks: Filled | None = None
    """Where the service publishes its public keys (RFC 7517): with one of them a bad token is
    made that no service may accept. Of a private key that mints the public half is known."""

    @field_validator("jwks")
    @classmethod
    def _plain_jwks(cls, url: str | None) -> str | None:
        return None if url is None else _plain_url(url, "https://auth.example.org/jwks.json")


class _ManySource(_TokenSource):
    identities: int | None = Field(default=None, ge=1)
    """Share this many identities round robin between the clients, on purpose. Without it
    every client has its own."""


class NoAuth(_Source):
    """No token: what a dialect would say with one is left out."""

    source: Literal["none"] = "none"
    """No token at all."""


class MintAuth(_ManySource):
    """Tokens signed here, with the key the service checks them with (RFC 7519)."""

    source: Literal["mint"]
    """Sign the tokens here."""
    algorithm: Algorithm = "HS256"
    """The `alg` of RFC 7518, section 3.1 (EdDSA: RFC 8037)."""
    key: SecretStr | None = None
    """The shared secret (HS) or a private key in PEM; from the environment, as `${PROBE_KEY}`."""
    key_file: Filled | None = None
    """Path of a private key in PEM, beside the target file; instead of `key`."""
    key_id: Filled | None = None
    """The `kid` of the header."""
    issuer: Filled | None = None
    """The `iss` claim."""
    audience: Filled | tuple[Filled, ...] | None = None
    """The `aud` claim: one, or a list."""
    subject: Filled = "probe-{n}"
    """The `sub` claim; `{n}` is the index of the identity, `{seed}` the seed of the run."""
    claims: dict[str, JsonValue] = Field(default_factory=dict)
    """Further claims; texts may use `{n}` and `{seed}`. A random `jti` is added unless given."""
    lifetime: Duration = 900 * _NS_PER_S
    """From now to `exp`, in whole seconds."""
    skew: Duration = 0
    """How far `iat` and `nbf` lie in the past, in whole seconds, for a service whose clock is
    behind."""

    @field_validator("subject", "claims")
    @classmethod
    def _templates(cls, value: JsonValue) -> JsonValue:
        return _known_placeholders(value)

    @field_validator("claims")
    @classmethod
    def _no_own_claims(cls, claims: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name, field in _OWN_CLAIMS.items():
            if name in claims:
                raise ValueError(f"`{name}` is set by `{field}`, not in `claims`")
        return claims

    @field_validator("lifetime", "skew")
    @classmethod
    def _whole_seconds(cls, ns: int) -> int:
        if ns % _NS_PER_S:
            raise ValueError("a token counts in whole seconds; allowed: such as '15m' or '30s'")
        return ns

    @model_validator(mode="after")
    def _key_fits(self) -> MintAuth:
        if self.lifetime == 0:
            raise ValueError("`lifetime` is 0: the token would never be valid")
        if (self.key is None) == (self.key_file is None):
            raise ValueError("give one of `key` and `key_file`")
        if self.key is None:
            if self.algorithm in _HMAC_BYTES_MIN:
                raise ValueError(f"{self.algorithm} takes its shared secret from `key`, not a file")
            return self
        check_key_text(self.algorithm, self.key.get_secret_value())
        return self


def check_key_text(algorithm: str, key: str) -> None:
    """Raise ValueError, which never shows the key, if `key` cannot belong to `algorithm`."""
    if not key.strip():
        raise ValueError("the key is empty; is its environment variable set?")
    pem = "-----BEGIN " in key
    least = _HMAC_BYTES_MIN.get(algorithm)
    if least is None:
        if not pem:
            raise ValueError(
                f"{algorithm} needs a private key in PEM (-----BEGIN PRIVATE KEY-----)"
            )
        if "PRIVATE KEY-----" not in key:
            raise ValueError("this PEM is no private key, and nothing else can sign")
        return
    if pem:
        raise ValueError(f"{algorithm} needs a shared secret, this is a PEM; allowed: RS, PS, ES")
    found = len(key.encode())
    if found < least:
        raise ValueError(
            f"{algorithm} needs a key of at least {least} bytes (RFC 7518, section 3.2); "
            f"this one has {found}"
        )


def token_fault(token: str) -> str:
    """Why no header could hold `token` (RFC 9110, 5.5), which is never shown; "" if one can."""
    found = _UNSENDABLE.search(token)
    if found is None:
        return ""
    what = {"\r": "a line break", "\n": "a line break", "\0": "a NUL"}.get(found[0])
    if what is None:
        surrogate = "\ud800" <= found[0] <= "\udfff"
        what = "bytes that are not UTF-8" if surrogate else "a control character"
    return f"holds {what}"


def check_token_text(token: str) -> None:
    """Raise ValueError with what `token_fault` says of `token`, if anything."""
    if fault := token_fault(token):
        raise ValueError(fault)


class FetchAuth(_ManySource):
    """Tokens asked for at a token endpoint (RFC 6749, or any that answers in JSON)."""

    source: Literal["fetch"]
    """Ask a token endpoint."""
    url: Filled
    """The token endpoint, http or https, without credentials in it."""
    method: Literal["POST", "PUT", "GET"] = "POST"
    """GET puts the fields into the query."""
    grant: Literal["client_credentials", "password", "custom"] = "client_credentials"
    """The grant of RFC 6749; `custom` sends `fields` alone."""
    encoding: Literal["form", "json"] = "form"
    """How the fields are written in the body."""
    client_id: Filled | None = None
    """The client; sent in the body."""
    client_secret: SecretStr | None = None
    """From the environment; sent in the body."""
    username: Filled | None = None
    """The user, as `probe-{n}`; with `custom` it is only put into `fields` as `{user}`."""
    password: SecretStr | None = None
    """From the environment; sent as it is, no placeholders."""
    scope: Filled | None = None
    """Scopes, separated by blanks."""
    fields: dict[Filled, FieldValue] = Field(default_factory=dict)
    """Further fields; texts may use `{n}`, `{seed}` and `{user}`. Taken for secret."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers of the request, such as `X-Api-Key`. Taken for secret."""
    token_path: Filled = "access_token"  # noqa: S105 - where the answer holds it, not a password
    """Where the answer holds the token: names (or list indices) joined by dots."""
    expires_path: str = "expires_in"
    """Where it holds the seconds the token lives; absent, the `exp` of a JWT counts."""
    timeout: Duration = 10 * _NS_PER_S
    """For each attempt, from dial to the last byte of the answer."""
    attempts: int = Field(default=3, ge=1, le=10)
    """Tries on 429, 5xx and connection errors; any other answer is final."""
    parallel: int = Field(default=16, ge=1, le=256)
    """Requests at once."""

    @field_validator("username")
    @classmethod
    def _templates(cls, value: JsonValue) -> JsonValue:
        return _known_placeholders(value)

    @field_validator("url")
    @classmethod
    def _endpoint(cls, url: str) -> str:
        return _plain_url(url, "https://auth.example.org/token")

    @field_validator("headers")
    @classmethod
    def _legal_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for position, (name, value) in enumerate(headers.items(), 1):
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError(f"the name of header {position} is no header name (RFC 9110)")
            if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(
                    f"the value of `{name}` is no legal header value: visible ASCII, not empty, "
                    "without line breaks"
                )
        return headers

    @field_validator("timeout")
    @classmethod
    def _some_time(cls, ns: int) -> int:
        if not 0 < ns <= 600 * _NS_PER_S:
            raise ValueError("allowed: more than 0, at most '10m'")
        return ns

    @model_validator(mode="after")
    def _grant_fits(self) -> FetchAuth:
        client, user = ("client_id", "client_secret"), ("username", "password")
        needed, refused = {
            "client_credentials": (client, user),
            "password": (user, ()),
            "custom": ((), (*client, "password", "scope")),
        }[self.grant]
        missing = [name for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"grant {self.grant} needs {_listed(missing)}")
        unused = [name for name in refused if getattr(self, name) is not None]
        if unused:
            raise ValueError(f"grant {self.grant} does not send {_listed(unused)}; see `fields`")
        if self.grant == "custom" and not self.fields:
            raise ValueError("grant custom sends `fields`, and there are none")
        for name in ("client_secret", "password"):
            secret: SecretStr | None = getattr(self, name)
            if secret is not None and not secret.get_secret_value():
                raise ValueError(f"`{name}` is empty; is its environment variable set?")
        return self


class EnvAuth(_TokenSource):
    """One token out of the environment, shared by all clients on purpose."""

    source: Literal["env"]
    """One token from the environment."""
    token: SecretStr
    """As `${PROBE_TOKEN}`."""

    @field_validator("token")
    @classmethod
    def _whole(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value()
        if not text.strip():
            raise ValueError("the token is empty; is its environment variable set?")
        if text != text.strip():
            raise ValueError("found blanks or a line break around the token")
        if fault := token_fault(text):
            raise ValueError(f"the token {fault}: give the token alone, on one line")
        return token


class CsvAuth(_ManySource):
    """One identity in each row of a CSV file (UTF-8, first line names the columns)."""

    source: Literal["csv"]
    """A list of identities."""
    file: Filled
    """Path, beside the target file."""
    user: Filled = "user"
    """The column with the name of the user."""
    token: Filled = "token"  # noqa: S105 - the name of a column
    """The column with the token, or the password where the dialect presents one."""


Auth = Annotated[NoAuth | MintAuth | FetchAuth | EnvAuth | CsvAuth, Field(discriminator="source")]


def keys_url(auth: Auth) -> str | None:
    """Where the public keys of the service are, if the table says so."""
    return None if isinstance(auth, NoAuth) else auth.jwks


def secrets(auth: Auth, n: int = 0, seed: int = 0) -> tuple[str, ...]:
    """Every secret text the table holds, for a redactor; files are not read.

    `n` and `seed` fill templates, for what is sent on behalf of one identity.
    """
    match auth:
        case MintAuth(key=SecretStr() as secret) | EnvAuth(token=secret):
            return (secret.get_secret_value(),)
        case FetchAuth():
            return _fetch_secrets(auth, n, seed)
        case _:
            return ()


def _fetch_secrets(auth: FetchAuth, n: int, seed: int) -> tuple[str, ...]:
    user = render(auth.username or "", n, seed)
    found = [s.get_secret_value() for s in (auth.client_secret, auth.password) if s is not None]
    for name, value in auth.headers.items():
        if name.lower() not in _PUBLIC_NAMES:
            # "Basic abc" and "Bearer abc": the credential is secret without its scheme too.
            found += [value.get_secret_value(), value.get_secret_value().split()[-1]]
    for name, field in auth.fields.items():
        if isinstance(field, SecretStr) and name.lower() not in _PUBLIC_NAMES:
            found.append(render(field.get_secret_value(), n, seed, user))
    return tuple(found)


def _plain_url(url: str, example: str) -> str:
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        credentials = parts.username is not None or parts.password is not None
    except ValueError:
        named = credentials = False
    if credentials:
        raise ValueError("found credentials in the URL; put them into `headers` or `fields`")
    if not named or not url.isprintable() or " " in url:
        raise ValueError(f"found no URL; allowed: such as {example!r}")
    return url


def _listed(names: list[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)
