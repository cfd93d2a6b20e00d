"""What of a message, a head or a URL is likely to be a secret, though nobody declared it.

The rule: it is better to mask a word too much. What stands under a name of a secret, in a header
that carries credentials or in a query is told to the redactor before anything is shown or
written; a JSON Web Token every redactor knows by sight.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST: Final = 6
PAYLOADS_MAX: Final = 20_000
PAYLOAD_MAX: Final = 1 << 20
DEPTH_MAX: Final = 20
_OFFER_MAX: Final = 24  # a longer subprotocol is rather a token than the name of a protocol
_RANDOM_MIN: Final = 8
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*")
_NAMES: Final = re.compile(
    r"token|passw|passcode|secret|authori[sz]ation|\bauth\b|credential|cookie|jwt|bearer|"
    r"api_?-?key|access_?-?key|private_?-?key|session_?-?key|signature|\bsig\b",
    re.IGNORECASE,
)
_HEADERS: Final = re.compile(r"authorization|cookie|token|api-?key|secret|auth", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is likely to be a secret."""
    return _NAMES.search(name) is not None


def is_credential_header(name: str) -> bool:
    """Whether a header of this name carries credentials."""
    lower = name.lower()
    return _HEADERS.search(name) is not None and not lower.startswith("sec-websocket-")


def looks_secret(text: str) -> bool:
    """Whether a word of the command line is, or holds, a credential by its looks."""
    return _JWT.search(text) is not None or re.search(r"\bBearer\s+[^{\s]\S{5,}", text) is not None


def of_message(value: Any) -> Iterator[str]:
    """Texts under names of secrets, anywhere in decoded JSON."""
    for _, secret in named(value):
        yield secret


def named(value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """The same with their names."""
    if depth > DEPTH_MAX:
        return
    if isinstance(value, list):
        for inner in value:
            yield from named(inner, depth + 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, str) and is_secret_name(name):
                yield from ((name, secret) for secret in _worth(inner))
            else:
                yield from named(inner, depth + 1)


def in_payloads(payloads: Iterable[bytes]) -> Iterator[str]:
    """The same in messages that hold JSON, also behind a prefix; the first of very many."""
    for payload in islice(payloads, PAYLOADS_MAX):
        at = min((i for i in map(payload.find, (b"{", b"[")) if i >= 0), default=-1)
        if at < 0 or len(payload) > PAYLOAD_MAX:
            continue
        try:
            value = msgspec.json.decode(payload[at:])
        except (ValueError, RecursionError):
            continue
        yield from of_message(value)


def of_url(url: str) -> Iterator[str]:
    """Passwords, and values of the query that are likely to be secrets, as written and as meant."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    for secret in (parts.password, parts.username):
        if secret:
            yield from _worth(secret)
            yield from _worth(unquote(secret))
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        # A plain word in a query, such as a room's name, may be a word of the messages too.
        if is_secret_name(name) or len(value) >= _OFFER_MAX or _looks_random(value):
            yield from _worth(value)
            yield from _worth(unquote(value))


def of_headers(headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Credentials, with their scheme and without, and what is like one among subprotocols."""
    for name, value in headers:
        if name.lower() == "sec-websocket-protocol":
            for offer in value.split(","):
                for part in (offer.strip(), offer.strip().partition(".")[2]):
                    if len(part) > _OFFER_MAX:
                        yield part
        elif is_credential_header(name):
            yield from _worth(value)
            for part in re.split(r"[;,\s]+", value):
                yield from _worth(part)
                yield from _worth(part.partition("=")[2])


def _looks_random(text: str) -> bool:
    return len(text) >= _RANDOM_MIN and any(map(str.isdigit, text)) and not text.isdigit()


def _worth(text: str) -> Iterator[str]:
    if len(text) >= SHORTEST:
        yield text
