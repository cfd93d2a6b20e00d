"""Tokens and talk of the servers written in Python, without their sockets.

The rule: a token is checked by PyJWT and by nothing else, as its documentation shows it: the
algorithm fixed, audience and issuer given, the expiry required. PyJWT asks for no `sub`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import jwt

WHO = "probe"
SPOKEN = ("jwt-auth", "probe.v2")
THOUGHTS_MAX = 10_000
Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """What is checked: the key, and its one algorithm."""

    key: str
    algorithm: str

    def claims(self, token: object) -> Claims | None:
        """What a good token says; None for any other."""
        try:
            return jwt.decode(
                str(token), self.key, algorithms=[self.algorithm], audience=WHO, issuer=WHO,
                options={"require": ["exp"]},
            )  # fmt: skip
        except jwt.InvalidTokenError:
            return None

    def shown(self, offers: list[str], authorization: str, query: str) -> Claims | None:
        """The claims of the token of a handshake: of an offer, else a header, else the query."""
        token = next((each[4:] for each in offers if each.startswith("jwt.")), "")
        token = token or authorization.removeprefix("Bearer ")
        return self.claims(token or parse_qs(query).get("token", [""])[0])


def says_later(query: str) -> bool:
    """Whether the client shows its token in its first message."""
    return parse_qs(query).get("auth") == ["message"]


class Talk:
    """One connection's messages; `claims` is None until a good token was shown."""

    def __init__(self, door: Door, claims: Claims | None) -> None:
        self._door = door
        self._claims = claims

    def hello(self) -> list[str | bytes]:
        """What the server says first."""
        return [] if self._claims is None else [_said("connection_ready", **self._whose())]

    def answers(self, message: str | bytes) -> list[str | bytes] | None:
        """What the server says to a message; None: the token is no good, and it closes."""
        try:
            fields = json.loads(message)
            kind = fields.get("type")
        except (ValueError, AttributeError):
            fields, kind = {}, None
        if self._claims is not None:
            return self._answers(kind, fields) or [message]
        self._claims = self._door.claims(fields.get("token"))
        return None if self._claims is None else self.hello()

    def _answers(self, kind: object, fields: Any) -> list[str | bytes]:
        match kind:
            case "ping":
                return [_said("pong", id=fields.get("id"))]
            case "start_agent":
                ids = {name: fields.get(name) for name in ("run_id", "thread_id")}
                thoughts = ["thinking"] * min(int(fields.get("thoughts", 1)), THOUGHTS_MAX)
                events = ("started", *thoughts, "completed")
                return [_said(f"agent_{what}", **ids, **self._whose()) for what in events]
            case "refresh":
                return [self._refreshed(self._door.claims(fields.get("token")))]
            case "authenticate":
                return [_said("error", message="authenticated already")]
            case _:
                return []

    def _refreshed(self, claims: Claims | None) -> str:
        assert self._claims is not None
        if claims is None or claims.get("sub") != self._claims.get("sub"):
            return _said("error", message="no good token")
        self._claims = claims
        return _said("refreshed")

    def _whose(self) -> dict[str, object]:
        return {"user_id": (self._claims or {}).get("sub")}


def _said(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields})
