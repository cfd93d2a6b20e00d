"""Clients of other users while one user floods: whether they are served as ever.

The rule: a bystander is a client of another user that flooded nothing and that sent a sentinel
or began a run while a limit was met, or within two seconds after. It is hit if it was told to be
over a limit then, if a sentinel of it had no answer though its connection lived on, or if a run
of it was refused or nothing ever came of it. Where the journal dropped rows only what was told
counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.rows import among, connection, lived_until, of_stage, place
from probe.history.records import Kind, Put, Run

if TYPE_CHECKING:
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

AFTER_NS: Final = 2_000_000_000
_LIVED_NS: Final = 1_000_000_000
Sessions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """Numbers of sessions: who spoke, and of those who was hit, and how."""

    spoke: Sessions
    limited: Sessions
    unanswered: Sessions
    broken: Sessions

    @property
    def hit(self) -> Sessions:
        """Everybody who was hit."""
        return np.unique(np.concatenate([self.limited, self.unanswered, self.broken]))


def meanwhile(
    view: StageView, flooders: Sessions, times: list[tuple[int, int]], refusing: list[int]
) -> Meanwhile:
    """Bystanders of floods; `times` (ns) are when each began and ended."""
    sessions = view.sessions
    users = sessions["identity"][among(sessions["session"], flooders)]
    puts = of_stage(view, Kind.PUT)
    loud = puts["session"][puts["flag"] == Put.FLOOD]
    others = sessions["session"][~np.isin(sessions["identity"], users)]
    others = others[~np.isin(others, loud)]
    runs = view.runs[among(view.runs["session"], others)]
    apart = view.history.clock_bound_ns
    runs = runs[_during(runs["begun"], times, apart)]
    marks = of_stage(view, Kind.SENTINEL)
    marks = marks[among(marks["session"], others)]
    sent = marks[(marks["flag"] == 0) & _during(marks["t"], times, apart)]
    got = of_stage(view, Kind.GOT)
    got = got[among(got["session"], others)]
    told = got[np.isin(got["flag"], refusing) & _during(got["t"], times, apart)]
    # A run that began and then hung has met no limit.
    mute = (runs["outcome"] == Run.GIVEN_UP) & ~np.isin(runs["key"], got["b"])
    mute &= not view.history.lost
    broken = mute | (runs["outcome"] == Run.REFUSED)
    return Meanwhile(
        _who(runs["session"], sent["session"], told["session"]),
        _who(told["session"]),
        _who(sent["session"][_unanswered(view, sent, marks[marks["flag"] == 1])]),
        _who(runs["session"][broken]),
    )


def _during(t: NDArray[np.int64], times: list[tuple[int, int]], apart: int) -> Mask:
    """For sure: clocks of hosts are known to `apart` ns."""
    out = np.zeros(len(t), dtype=np.bool_)
    for began, until in times:
        out |= (t >= began + apart) & (t <= until + AFTER_NS - apart)
    return out


def _unanswered(view: StageView, sent: Rows, back: Rows) -> Mask:
    both = np.stack(
        [
            np.concatenate([sent["session"], back["session"]]).astype(np.int64),
            np.concatenate([sent["b"], back["b"]]),
        ],
        axis=1,
    )
    _, which = np.unique(both, axis=0, return_inverse=True)
    which = which.reshape(-1)
    answered = np.isin(which[: len(sent)], which[len(sent) :])
    attempts = view.attempts
    at, found = place(connection(attempts, "attempt"), connection(sent))
    if not len(attempts) or view.history.lost:
        return np.zeros(len(sent), dtype=np.bool_)
    lived = lived_until(view, attempts)[at] - sent["t"] >= _LIVED_NS
    return np.asarray(found & lived & ~answered)


def _who(*sessions: NDArray[np.uint32]) -> Sessions:
    return np.unique(np.concatenate(sessions)).astype(np.int64)
