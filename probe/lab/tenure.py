"""Tenure: how long a session may last, by its token: to the expiry, or to the revocation.

At `exp` (no leeway) it is closed with 4401, when the token is revoked with 4403; a refresh
gives it another token of the same user and with it another expiry. The defects about the
end of a session have their moment here.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from probe.lab.admission import judge
from probe.lab.claims import TokenError
from probe.lab.lingering import LINGERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.lab.claims import Claims
    from probe.lab.state import State

EXPIRED: Final = 4401
REVOKED: Final = 4403
_SLEEP_S_MAX: Final = 3_600.0


class Tenure:
    """The term of one session.

    `ids` say in the ledger whose it is; `dismiss` closes the session with a code and a reason.
    """

    def __init__(
        self, state: State, ids: dict[str, str], dismiss: Callable[[int, str], None]
    ) -> None:
        self._state = state
        self._ids = ids
        self._dismiss = dismiss
        self._claims: Claims | None = None
        self._revoked_ns: int | None = None  # while the session lives on all the same
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, claims: Claims, accepted_ns: int) -> None:
        """The session has this token, which was accepted at that time."""
        self._claims = claims
        revoked_ns = self._state.revocations.revoked_ns(claims)
        if revoked_ns is None:
            self._state.revocations.register(claims, self._revoke)
            self._await_expiry()
        elif revoked_ns < accepted_ns and LINGERS in self._state.defects:
            self._tell(accepted_ns - revoked_ns, "handshake")
            self._linger(claims, revoked_ns)
        else:  # between the judgement and now
            self._revoke()

    def renew(self, token: str) -> bool:
        """Take another token of the same user; False when that one cannot be taken."""
        old = self._claims
        if old is None or self._revoked_ns is not None:
            return False
        try:
            new = judge(self._state, token, self._ids["connection_id"])
        except TokenError:
            return False
        if new.subject != old.subject or self._state.revocations.is_revoked(new):
            return False
        self._state.revocations.unregister(old, self._revoke)
        self._state.revocations.register(new, self._revoke)
        self._claims = new
        self._await_expiry()
        return True

    def note_message(self) -> None:
        """A message is served: if the token was revoked before it, that is a hit."""
        if self._revoked_ns is not None:
            self._tell(time.perf_counter_ns() - self._revoked_ns, "message")

    def end_now(self, code: int, reason: str) -> None:
        """Close the session for a reason of its own."""
        self.over()
        self._dismiss(code, reason)

    def over(self) -> None:
        """The session is over, whatever ended it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._claims is not None:
            self._state.revocations.unregister(self._claims, self._revoke)
        self._claims = self._revoked_ns = None

    def _await_expiry(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        assert self._claims is not None
        left_s = max(self._claims.expires_at_s - time.time(), 0.0)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(min(left_s, _SLEEP_S_MAX), self._expire)

    def _expire(self) -> None:
        assert self._claims is not None
        if self._claims.expires_at_s > time.time():  # timers of the loop may be early
            self._await_expiry()
        elif self._state.defects.hits("expiry_ignored"):
            self._state.ledger.hit("expiry_ignored", **self._ids)
        else:
            self.end_now(EXPIRED, "token expired")

    def _revoke(self) -> None:
        claims = self._claims
        assert claims is not None
        window = self._state.defects.window(LINGERS)
        revoked_ns = self._state.revocations.revoked_ns(claims)
        if window is None or revoked_ns is None:
            return self.end_now(REVOKED, "token revoked")
        opened = self._state.firsts.begin(window, claims.token_id, revoked_ns)
        if opened.ends_ns > 0 and opened.happens():
            self._linger(claims, revoked_ns)
        else:
            self.end_now(REVOKED, "token revoked")
        return None

    def _linger(self, claims: Claims, revoked_ns: int) -> None:
        """Live on to the end of the window."""
        self._revoked_ns = revoked_ns
        if self._timer is not None:
            self._timer.cancel()
        window = self._state.defects.window(LINGERS)
        left_s = 0.0
        if window is not None:
            opened = self._state.firsts.begin(window, claims.token_id, revoked_ns)
            left_s = opened.left_s(time.perf_counter_ns() - revoked_ns)
        self._timer = asyncio.get_running_loop().call_later(left_s, self._linger_over, revoked_ns)

    def _linger_over(self, revoked_ns: int) -> None:
        self._tell(time.perf_counter_ns() - revoked_ns, "session")
        self.end_now(REVOKED, "token revoked")

    def _tell(self, after_ns: int, what: str) -> None:
        self._state.ledger.hit(LINGERS, what=what, after_ns=after_ns, **self._ids)
