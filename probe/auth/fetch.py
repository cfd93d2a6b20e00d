"""Tokens from a token endpoint (RFC 6749, section 4, or any that answers in JSON).

The rule: what can pass (429, 5xx, a broken connection, silence) is tried again, with
exponential backoff and jitter and never before a Retry-After; what cannot (400, 401, 403,
a redirect, an answer without a token) ends it at once. An error names the endpoint, the
status and the remedy. Of an answer that should have held a token only its shape is told,
of any other a redacted excerpt. Secrets never follow a redirect.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeGuard
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from probe.auth.describe import describe, expiry_s, seconds, subject
from probe.errors import AuthError
from probe.model.auth import FetchAuth, render, token_fault
from probe.units import format_duration

if TYPE_CHECKING:
    import ssl

    from probe.redact import Redactor

_BODY_BYTES_MAX = 64 * 1024
_TOKEN_CHARS_MAX = 16 * 1024
_EXCERPT_CHARS_MAX = 200
_KEYS_SHOWN_MAX = 10
_DIGITS_MAX = 12
_BACKOFF_S = 0.2
_BACKOFF_S_MAX = 5.0
_RETRY_AFTER_S_MAX = 30.0
_TOO_MANY = 429
_REMEDIES = {
    400: "check `auth.grant`, `auth.encoding` and the fields",
    401: "check the credentials in the environment",
    403: "check that these credentials may have a token",
    404: "check `auth.url`",
    405: "check `auth.method`",
    415: "check `auth.encoding`",
    _TOO_MANY: "lower `auth.parallel`, or share with `auth.identities`",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """A token; `expires_at_s` is wall time in seconds, None for unknown."""

    token: str = field(repr=False)
    expires_at_s: float | None
    subject: str


@dataclass(frozen=True, slots=True)
class _Refused:
    """An attempt without a token: what was seen, and whether another may help."""

    seen: str
    again: bool
    remedy: str = ""
    wait_s: float = 0.0


class Endpoint:
    """A token endpoint, at most `auth.parallel` requests at once. An async context."""

    __slots__ = ("_auth", "_place", "_seed", "_session", "_slots", "_tls")

    def __init__(self, auth: FetchAuth, seed: int, tls: ssl.SSLContext | None = None) -> None:
        self._auth = auth
        self._seed = seed
        self._tls = tls
        self._slots = asyncio.Semaphore(auth.parallel)
        self._session: aiohttp.ClientSession | None = None
        parts = urlsplit(auth.url)
        # A query may hold a key, so it is never shown.
        self._place = f"{auth.method} {parts.scheme}://{parts.netloc}{parts.path}"

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # The bound is our own semaphore, so that waiting for it costs no timeout.
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._auth.timeout / 1e9),
            headers={n: v.get_secret_value() for n, v in self._auth.headers.items()},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def user(self, index: int) -> str:
        """The name that identity `index` asks under; "" when only the client has one."""
        return render(self._auth.username or "", index, self._seed)

    async def fetch(self, index: int, redactor: Redactor) -> Fetched:
        """A token for identity `index`. Raises AuthError, redacted by `redactor`."""
        jitter = random.Random(f"{self._seed}:{index}")  # noqa: S311 - spreads retries only
        attempt = 0
        while True:
            attempt += 1
            async with self._slots:
                outcome = await self._attempt(index, redactor)
            if isinstance(outcome, Fetched):
                return outcome
            if not outcome.again or attempt >= self._auth.attempts:
                raise AuthError(self._message(index, outcome, attempt))
            backoff_s = min(_BACKOFF_S_MAX, _BACKOFF_S * 2 ** (attempt - 1))
            await asyncio.sleep(outcome.wait_s + backoff_s * jitter.uniform(0.5, 1.0))

    def _message(self, index: int, refused: _Refused, attempts: int) -> str:
        who = f"identity {index}" + (f" ({self.user(index)})" if self.user(index) else "")
        tries = f" ({attempts} attempts)" if attempts > 1 else ""
        remedy = f"; {refused.remedy}" if refused.remedy else ""
        return (
            f"auth source fetch: no token for {who}: {self._place}: {refused.seen}{tries}{remedy}"
        )

    def _fields(self, index: int) -> dict[str, str | bool | int | float]:
        auth, user = self._auth, self.user(index)
        fields: dict[str, str | bool | int | float] = {}
        if auth.grant != "custom":
            fields["grant_type"] = auth.grant
            for name in ("client_id", "client_secret", "password", "scope"):
                value = getattr(auth, name)
                if value is not None:
                    secret = isinstance(value, SecretStr)
                    fields[name] = value.get_secret_value() if secret else value
            if auth.username is not None:
                fields["username"] = user
        for name, extra in auth.fields.items():
            if isinstance(extra, SecretStr):
                fields[name] = render(extra.get_secret_value(), index, self._seed, user)
            else:
                fields[name] = extra
        return fields

    def _body(self, index: int) -> dict[str, Any]:
        fields = self._fields(index)
        if self._auth.encoding == "json" and self._auth.method != "GET":
            return {"json": fields}
        text = {n: v if isinstance(v, str) else json.dumps(v) for n, v in fields.items()}
        return {"params": text} if self._auth.method == "GET" else {"data": text}

    async def _attempt(self, index: int, redactor: Redactor) -> Fetched | _Refused:
        assert self._session is not None, "an Endpoint is used inside `async with`"
        sent_s = time.time()
        try:
            async with self._session.request(
                self._auth.method, self._auth.url, allow_redirects=False, **self._body(index)
            ) as answer:
                body = await _bounded(answer.content)
                status, headers = answer.status, answer.headers
        except TimeoutError:
            took = format_duration(self._auth.timeout)
            return _Refused(f"no answer within {took}", again=True, remedy="see `auth.timeout`")
        except (aiohttp.ClientError, OSError) as error:
            return _broken(error, redactor)
        if body is None:
            return _Refused(f"status {status} with more than {_BODY_BYTES_MAX} bytes", again=False)
        if 200 <= status < 300:  # noqa: PLR2004 - RFC 9110, section 15.3
            return self._token(body, headers.get("Content-Type", ""), sent_s, redactor)
        return _refusal(status, headers.get("Retry-After"), body, redactor)

    def _token(
        self, body: bytes, kind: str, sent_s: float, redactor: Redactor
    ) -> Fetched | _Refused:
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            label = _ascii(redactor.text(kind))[:60] or "no content type"
            seen = f"the answer is not JSON: {len(body)} bytes of {label}"
            return _Refused(seen, again=False, remedy="check `auth.url`")
        token = _at(answer, self._auth.token_path)
        if not _is_token(token):
            held = _unusable(token)
            seen = f"the answer has {held} at `{self._auth.token_path}`, it is {_shape(answer)}"
            return _Refused(redactor.text(seen), again=False, remedy="check `auth.token_path`")
        claims = describe(token, sent_s).claims
        told = _at(answer, self._auth.expires_path)
        # RFC 6749 wants a number; some services write it as text.
        lives_s = seconds(int(told) if _is_digits(told) else told)
        # Counted from the request, so that the token is never held for longer lived.
        expires_at_s = expiry_s(claims) if lives_s is None else sent_s + lives_s
        return Fetched(token, expires_at_s, subject(claims))


def _is_token(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= _TOKEN_CHARS_MAX


def _unusable(value: object) -> str:
    """What is wrong with what stands where the token ought to; never itself."""
    if value is None:
        return "nothing"
    if not isinstance(value, str) or not value:
        return "no usable text"
    if len(value) > _TOKEN_CHARS_MAX:
        return f"no usable text (it is longer than {_TOKEN_CHARS_MAX} characters)"
    return f"no usable text (it {token_fault(value) or 'holds what is not printable'})"


def _is_digits(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isdecimal() and len(value) <= _DIGITS_MAX


def _ascii(text: str) -> str:
    """A peer's text made fit for any terminal."""
    return text.encode("ascii", "backslashreplace").decode()


async def _bounded(content: aiohttp.StreamReader) -> bytes | None:
    """The whole body, or None when it is longer than the bound."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            return None
    return bytes(body)


def _broken(error: aiohttp.ClientError | OSError, redactor: Redactor) -> _Refused:
    """What a connection that failed is told as; a certificate does not mend itself."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            seen = redactor.text(str(error.certificate_error))[:_EXCERPT_CHARS_MAX]
            return _Refused(f"its certificate is not accepted: {seen}", False, "check `tls`")
        case aiohttp.ClientConnectorSSLError():
            return _Refused("the TLS handshake failed", False, "check `auth.url` and `tls`")
        case aiohttp.ClientConnectorDNSError():
            return _Refused("the name of the host does not resolve", True, "check `auth.url`")
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or type(error.os_error).__name__
            return _Refused(f"no connection: {reason}", True, "check `auth.url`; is it running?")
        case OSError():
            seen = f"the connection broke: {error.strerror or type(error).__name__}"
        case aiohttp.ServerDisconnectedError():
            seen = "the connection ended before an answer"
        case _:
            seen = f"no HTTP answer ({type(error).__name__})"
    return _Refused(seen, again=True)


def _refusal(status: int, retry_after: str | None, body: bytes, redactor: Redactor) -> _Refused:
    # Redacted whole and cut afterwards: a secret that is cut first may not be recognised.
    text = " ".join(redactor.redact(body).decode("utf-8", "replace").split())
    shown = text if len(text) <= _EXCERPT_CHARS_MAX else text[:_EXCERPT_CHARS_MAX] + "…"
    seen = f"status {status}" + (f", {shown!r}" if shown else "")
    if 300 <= status < 400:  # noqa: PLR2004 - RFC 9110, section 15.4
        return _Refused(seen, False, "it redirects, and secrets do not follow; check `auth.url`")
    wait_s = _retry_after_s(retry_after)
    if wait_s > _RETRY_AFTER_S_MAX:
        seen += f", asks to wait {wait_s:.0f} s, more than the {_RETRY_AFTER_S_MAX:.0f} s allowed"
        return _Refused(seen, False, _REMEDIES.get(status, ""))
    again = status == _TOO_MANY or status >= 500  # noqa: PLR2004 - RFC 9110, section 15.6
    return _Refused(seen, again, _REMEDIES.get(status, ""), wait_s)


def _retry_after_s(value: str | None) -> float:
    """Seconds told by Retry-After, a number or a date (RFC 9110, section 10.2.3); 0 for none."""
    if value is None:
        return 0.0
    if _is_digits(value.strip()):
        return float(value.strip())
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _at(answer: Any, path: str) -> Any:
    """What stands at a dotted path; None for nothing."""
    for part in path.split("."):
        if isinstance(answer, dict):
            answer = answer.get(part)
        elif isinstance(answer, list) and _is_digits(part) and int(part) < len(answer):
            answer = answer[int(part)]
        else:
            return None
    return answer


def _shape(answer: Any) -> str:
    """The outline of an answer; never its values, one of which may be the token."""
    if not isinstance(answer, dict):
        return f"a JSON {'array' if isinstance(answer, list) else 'value'}"
    keys = [_ascii(key)[:40] for key in list(answer)[:_KEYS_SHOWN_MAX]]
    more = ", …" if len(answer) > _KEYS_SHOWN_MAX else ""
    return f"an object with the keys {', '.join(keys)}{more}" if keys else "an empty object"
