"""How a token is put before a service: a dialect's templates and an identity, filled in.

The rule: what would not be a legal handshake is refused here, so that a later rejection
is the service's and not ours; a refusal shows the template, never the token. One pass
fills a template, so a token is never read as one. Templates that need a token are left
out for an identity without one.

Sources: RFC 9110, sections 5.5 and 5.6.2 (field values, tokens), RFC 6455, section 4.1
(subprotocols are distinct tokens), RFC 6265, section 4.1.1 (cookies), RFC 3986 (query).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from probe.errors import ConfigError, Problem

if TYPE_CHECKING:
    from probe.model.dialect import Presentation

_PLACEHOLDER = re.compile(r"\{(token|user)\}")
_NOT_TOKEN = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
_NOT_VALUE = re.compile(r"[^\t\x20-\x7e]")
_NOT_COOKIE = re.compile(r"[^\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]")
_REMEDY = "present it in another way, such as a query parameter or a first message"


@dataclass(frozen=True, slots=True)
class Presented:
    """Parts of one handshake, filled in; none shows itself in a repr.

    `subprotocols` in the order offered; `headers` as name and value, a Cookie header last;
    `query` as name and value, both percent-encoded; `first_message` is text in UTF-8.
    """

    subprotocols: tuple[str, ...] = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    query: tuple[tuple[str, str], ...] = field(repr=False)
    first_message: bytes | None = field(repr=False)

    def resource(self, base: str) -> str | None:
        """`base` (path and query) with the own query appended; None where there is none."""
        if not self.query:
            return None
        pairs = "&".join(f"{name}={value}" for name, value in self.query)
        return f"{base}{'&' if '?' in base else '?'}{pairs}"


NOTHING: Final = Presented((), (), (), None)
"""What is shown where a presentation has nothing to show."""


def present(
    presentation: Presentation, token: str, user: str = "", origin: str = "dialect"
) -> Presented:
    """Fill `presentation` with one identity; `token` is "" for none.

    Nothing to show is `NOTHING`. Raises ConfigError with every mistake at once; `origin`
    names the dialect in it.
    """
    shows = presentation
    if not (shows.subprotocols or shows.headers or shows.cookies or shows.query):
        message = _message(shows.first_message, token, user)
        return NOTHING if message is None else Presented((), (), (), message)
    problems: list[Problem] = []

    def fill(path: str, template: str, bad: re.Pattern[str], what: str) -> str:
        filled = _filled(template, token, user)
        if problem := _illegal(template, filled, bad, what):
            problems.append(Problem(origin, path, problem, hint=_REMEDY))
        return filled

    def name(path: str, text: str) -> str:
        if problem := _illegal(text, text, _NOT_TOKEN, "name"):
            problems.append(Problem(origin, path, problem))
        return text

    def table(pairs: dict[str, str]) -> list[tuple[str, str]]:
        return [pair for pair in pairs.items() if token or "{token}" not in pair[1]]

    offers = [
        fill("subprotocols", template, _NOT_TOKEN, "subprotocol")
        for template in presentation.subprotocols
        if token or "{token}" not in template
    ]
    if len(set(offers)) < len(offers):
        problems.append(Problem(origin, "subprotocols", "one is offered twice"))
    headers = [
        (name("headers", key), fill(f"headers.{key}", template, _NOT_VALUE, "header value"))
        for key, template in table(presentation.headers)
    ]
    cookies = [
        name("cookies", key) + "=" + fill(f"cookies.{key}", template, _NOT_COOKIE, "cookie value")
        for key, template in table(presentation.cookies)
    ]
    if cookies:
        headers.append(("Cookie", "; ".join(cookies)))
    query = [
        (quote(key, safe=""), quote(_filled(template, token, user), safe=""))
        for key, template in table(presentation.query)
    ]
    if problems:
        raise ConfigError(*problems)
    message = _message(presentation.first_message, token, user)
    return Presented(tuple(offers), tuple(headers), tuple(query), message)


def _filled(template: str, token: str, user: str) -> str:
    return _PLACEHOLDER.sub(lambda match: token if match[1] == "token" else user, template)


def _illegal(template: str, filled: str, bad: re.Pattern[str], what: str) -> str:
    """What is illegal in a filled template, told without what was filled in; "" for nothing."""
    if not filled:
        return f"`{template}` is not a legal {what}: it is empty"
    found = bad.search(filled)
    if found is None:
        # RFC 9110, 5.5: blanks around a field value are no part of it, and would be lost.
        return f"`{template}` has blanks around it" if filled != filled.strip(" \t") else ""
    kind = {"header value": "visible ASCII", "cookie value": "cookie"}.get(what, "token")
    own = bad.search(_PLACEHOLDER.sub("", template))
    place = "" if own else " in what is put in"
    shown = repr(own[0] if own else found[0])
    return f"`{template}` is not a legal {what}: {shown}{place} is no {kind} character"


def _message(template: str | None, token: str, user: str) -> bytes | None:
    """The first message, with what is put in escaped for a JSON string."""
    if template is None or (not token and "{token}" in template):
        return None
    return _filled(template, json.dumps(token)[1:-1], json.dumps(user)[1:-1]).encode()
