"""Refreshes: a new good token on an open connection is taken, and keeps it.

The rule: the unit is the message that showed a good token of the same user. It is dropped
where the service ends the connection before it answers, refused where an error comes first,
and lost where it was answered and the connection ends within two seconds of the old token's
expiry all the same. What was cut short by us says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.authentication import witnessed
from probe.check.rows import UNASKED, of_stage
from probe.check.view import gone_at
from probe.check.words import of
from probe.history.records import Kind, Put
from probe.model.bad_tokens import FRESH, TOKEN_CASES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.check.shown import Shown
    from probe.check.verdict import Finding
    from probe.check.view import StageView
    from probe.history.columns import Rows

_AT_EXPIRY_NS: Final = 2_000_000_000
_WORDS: Final = {
    "refresh.dropped": "ended the open connection that showed them",
    "refresh.refused": "were answered by an error",
    "refresh.unanswered": "got no answer",
    "refresh.lost": "were taken, and the connection ended at the old one's expiry all the same",
}


@dataclass
class _Seen:
    """Refreshes of a population by what became of them: places of their attempts."""

    total: int = 0
    places: dict[str, list[int]] = field(default_factory=dict)

    def add(self, code: str, place: int) -> None:
        self.places.setdefault(code, []).append(place)


def refreshes(
    view: StageView, what: str, attempts: Rows, tokens: Mapping[int, list[Shown]]
) -> list[Finding]:
    """The findings about refreshes on these connections."""
    rule = view.resolved.dialect.refresh
    puts = of_stage(view, Kind.PUT)
    puts = puts[puts["flag"] == Put.REFRESH]
    if rule is None or not len(puts):
        return []
    seen = _Seen()
    for place, attempt in enumerate(attempts):
        session, number = int(attempt["session"]), int(attempt["attempt"])
        mine = puts[(puts["session"] == session) & (puts["op"] == number)]
        for put in mine:
            if _is_good(tokens.get(session, []), int(put["t"])):
                seen.total += 1
                code = _fate(view, attempt, int(put["t"]), tokens.get(session, []))
                if code:
                    seen.add(code, place)
    out = []
    for code, places in sorted(seen.places.items()):
        rows = attempts[np.array(places)]
        words = f"{of(len(places), seen.total, 'new token')} {_WORDS[code]}"
        out.append(witnessed(view, code, what, rows, words))
    return out


def _is_good(mine: list[Shown], stamp: int) -> bool:
    """Whether the token that was sent at that time is a good one of the same user."""
    before = [each for each in mine if each.renewed and each.since <= stamp]
    case = before[-1].case if before else ""
    return case == FRESH or (case in TOKEN_CASES and TOKEN_CASES[case].expect == "accepted")


def _fate(view: StageView, attempt: Any, stamp: int, mine: list[Shown]) -> str:
    """What became of one refresh: the code of a finding, or "" for nothing to tell."""
    dialect = view.resolved.dialect
    assert dialect.refresh is not None
    answer = dialect.types.index(dialect.refresh.answer) + 1
    errors = [dialect.types.index(name) + 1 for name in dialect.errors]
    rows = view.history.frames(int(attempt["session"]), int(attempt["attempt"]))
    got = rows[(rows["kind"] == Kind.GOT) & (rows["t"] >= stamp)]
    answered = got["t"][got["flag"] == answer]
    refused = got["t"][np.isin(got["flag"], errors) & (got["b"] < 0)]
    ended = int(gone_at(attempt.reshape(1))[0])
    theirs = int(attempt["outcome"]) in UNASKED
    if len(answered):
        old = [each.expiry for each in mine if each.since < stamp and not each.renewed]
        near = bool(old) and abs(ended - old[-1]) <= _AT_EXPIRY_NS and old[-1] > 0
        return "refresh.lost" if theirs and near else ""
    if len(refused):
        return "refresh.refused"
    if theirs:
        return "refresh.dropped"
    waited = ended - stamp if ended else 0
    return "refresh.unanswered" if waited >= dialect.ready.within else ""
