"""Which tokens were revoked, and the sessions that are told of it at once.

A token is revoked by itself (RFC 7009) or with all others of its user by a logout. A logout
cannot know tokens that were never shown here, so it covers those by their `iat`: revoked is
what was issued in an earlier second or does not say when, and of those of the same second
what was known before. A revocation is forgotten when its token would no longer be good by
itself; there is a bound, beyond which nothing more is revoked rather than something
forgotten too early.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from probe.lab.claims import LEEWAY_S, LIFETIME_S_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.lab.claims import Claims
    from probe.lab.ledger import Ledger

    Told = Callable[[], None]

REVOKED_MAX: Final = 10_000
KNOWN_MAX: Final = 10_000


class FullError(Exception):
    """No more can be revoked for now; nothing was."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """Revoked at `at_ns` (`perf_counter_ns`); to be kept until `until_s` (since 1970)."""

    at_ns: int
    until_s: float


@dataclass(frozen=True, slots=True)
class _Logout:
    """What was issued before `second` is revoked."""

    mark: _Mark
    second: int

    def covers(self, claims: Claims) -> bool:
        return claims.issued_at_s is None or claims.issued_at_s < self.second


class Revocations:
    """The revoked tokens, the known ones, and who waits to hear."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._tokens: dict[str, _Mark] = {}
        self._logouts: dict[str, _Logout] = {}
        self._known: dict[str, Claims] = {}  # by token id, the longest known first
        # By user, and in it by token id and callback.
        self._waiting: dict[str, dict[tuple[str, Told], Claims]] = {}

    def know(self, claims: Claims) -> None:
        """A good token was shown or minted; of too many the longest known is forgotten."""
        self._known.setdefault(claims.token_id, claims)
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def revoked_ns(self, claims: Claims) -> int | None:
        """When that token was revoked, None when it was not."""
        marks = []
        if (mark := self._tokens.get(claims.token_id)) is not None:
            marks.append(mark.at_ns)
        logout = self._logouts.get(claims.subject)
        if logout is not None and logout.covers(claims):
            marks.append(logout.mark.at_ns)
        return min(marks, default=None)

    def is_revoked(self, claims: Claims) -> bool:
        """Whether that token was revoked."""
        return self.revoked_ns(claims) is not None

    def revoke(self, claims: Claims, now_ns: int) -> None:
        """Revoke one token, and tell who waits for it; FullError at the bound."""
        self._make_room(1)
        self._ledger.revocation("token", claims.subject)
        self._mark(claims, now_ns)
        self._tell(claims.subject)

    def revoke_user(self, user_id: str, now_ns: int) -> None:
        """Revoke all tokens of a user, and tell who waits for them; FullError at the bound."""
        now_s = time.time()
        logout = _Logout(_Mark(now_ns, now_s + LIFETIME_S_MAX + LEEWAY_S), math.floor(now_s))
        held = {claims.token_id: claims for claims in self._waiting.get(user_id, {}).values()}
        known = {key: claims for key, claims in self._known.items() if claims.subject == user_id}
        named = [claims for claims in (known | held).values() if not logout.covers(claims)]
        self._make_room(len(named) + 1)
        self._ledger.revocation("user", user_id)
        self._logouts[user_id] = logout
        for claims in named:
            self._mark(claims, now_ns)
        self._tell(user_id)

    def register(self, claims: Claims, told: Told) -> None:
        """Call `told` once, within the revocation of that token; not for one that is past."""
        self._waiting.setdefault(claims.subject, {})[claims.token_id, told] = claims

    def unregister(self, claims: Claims, told: Told) -> None:
        """Do not call that any more; what is not registered does no harm."""
        waiting = self._waiting.get(claims.subject, {})
        waiting.pop((claims.token_id, told), None)
        if not waiting:
            self._waiting.pop(claims.subject, None)

    def _mark(self, claims: Claims, now_ns: int) -> None:
        self._tokens.setdefault(claims.token_id, _Mark(now_ns, claims.expires_at_s + LEEWAY_S))

    def _make_room(self, more: int) -> None:
        if len(self._tokens) + len(self._logouts) + more <= REVOKED_MAX:
            return
        now_s = time.time()
        self._tokens = {key: mark for key, mark in self._tokens.items() if mark.until_s > now_s}
        self._logouts = {
            user_id: logout
            for user_id, logout in self._logouts.items()
            if logout.mark.until_s > now_s
        }
        if len(self._tokens) + len(self._logouts) + more > REVOKED_MAX:
            raise FullError

    def _tell(self, user_id: str) -> None:
        for (token_id, told), claims in list(self._waiting.get(user_id, {}).items()):
            # The one before may have had this one unregistered.
            waits = (token_id, told) in self._waiting.get(user_id, {})
            if waits and self.is_revoked(claims):
                self.unregister(claims, told)
                told()
