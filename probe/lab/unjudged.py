"""A session whose token is judged late: the defect `auth_after_accept`.

The session is made ready for the user whom the token names, unverified, and what it says
inside the window is served. At the end of the window the token is judged: a good one
changes nothing, and what was said outside the window is served then; a bad one is closed
with 1008. The ledger is told only of messages served for a bad token, since for a good one
nothing went wrong; for that the token is looked at beforehand, and nothing else follows
from the look.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.lab.admission import admit
from probe.lab.claims import TokenError
from probe.lab.messages import ids_in
from probe.lab.windows import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import WSMessage

    from probe.lab.claims import Claims
    from probe.lab.state import State

HELD_MAX: Final = 1_000  # messages that wait for the judgement; more are not served


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A token, "" for none, that nobody has looked at yet."""

    token: str = field(repr=False)


class LateJudgement:
    """What stands between the messages of an unjudged session and their answers.

    `answer` serves a message, `begin` takes the claims of a good token, `dismiss` closes.
    `accepted_ns` is the time of the 101.
    """

    def __init__(
        self,
        state: State,
        who: Unjudged,
        ids: dict[str, str],
        accepted_ns: int,
        *,
        answer: Callable[[WSMessage], None],
        begin: Callable[[Claims, int], None],
        dismiss: Callable[[int, str], None],
    ) -> None:
        self._state = state
        self._who = who
        self._ids = ids
        self._accepted_ns = accepted_ns
        self._answer = answer
        self._begin = begin
        self._dismiss = dismiss
        window = state.defects.window("auth_after_accept")
        # Without a window any more, the token is judged at once.
        self._opened = AT_ONCE if window is None else window.opened()
        self._held: list[WSMessage] = []
        self._verdict: bool | None = None
        self._is_bad = _is_bad(state, who)
        left_s = self._opened.left_s(time.perf_counter_ns() - accepted_ns)
        self._timer = asyncio.get_running_loop().call_later(left_s, self._judge)

    def take(self, message: WSMessage) -> None:
        """Serve a message of the client, hold it, or (after a bad verdict) forget it."""
        after_ns = time.perf_counter_ns() - self._accepted_ns
        if self._verdict is None and self._opened.hits(after_ns):
            if self._is_bad:
                told = {**self._ids, **ids_in(message)}
                self._state.ledger.hit("auth_after_accept", after_ns=after_ns, **told)
            self._answer(message)
        elif self._verdict is None and len(self._held) < HELD_MAX:
            self._held.append(message)
        elif self._verdict:
            self._answer(message)

    def over(self) -> None:
        """The session is over."""
        self._timer.cancel()

    def _judge(self) -> None:
        try:
            claims = admit(self._state, self._who.token, self._ids["connection_id"])
        except TokenError as error:
            self._verdict = False
            self._dismiss(1008, error.code)
            return
        self._verdict = True
        self._begin(claims, self._accepted_ns)
        for message in self._held:
            self._answer(message)
        self._held.clear()


def _is_bad(state: State, who: Unjudged) -> bool:
    try:
        return state.revocations.is_revoked(state.keys.verify(who.token))
    except TokenError:
        return True
