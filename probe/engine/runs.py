"""Runs of one session: which were begun, how far each came, and how each ended.

A run is complete when its events came in the dialect's order, each exactly once, up to
the last one. The rows tell every event; the state here only decides when to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.history.records import Kind

if TYPE_CHECKING:
    from probe.engine.site import Site
    from probe.model.dialect import RunRule

BEGUN, COMPLETE, INCOMPLETE, LATE, CUT_OFF = range(5)
_OVER: Final = -1


class Runs:
    """The runs that one session has begun; numbers count from 0 within the session."""

    __slots__ = ("_journal", "_live", "_numbers", "_order", "_prefix", "_seen", "_session",
                 "_stage", "bad", "pending")  # fmt: skip

    def __init__(self, site: Site, rule: RunRule, session: int) -> None:
        self._journal = site.journal
        self._live = site.live
        self._session = session
        self._prefix = f"{site.nonce}-{session}-"
        first = site.dialect.types.index(rule.events[0]) + 1
        self._order = range(first, first + len(rule.events))
        self._numbers: dict[str, int] = {}
        self._stage: list[int] = []  # events in order so far, _OVER when it has ended
        self._seen: list[int] = []
        self.pending = 0
        self.bad = 0

    def begin(self, t_ns: int, op: int) -> tuple[int, str]:
        """A new run: its number and its id."""
        number = len(self._stage)
        run_id = f"{self._prefix}{number}"
        self._numbers[run_id] = number
        self._stage.append(0)
        self._seen.append(0)
        self.pending += 1
        self._journal.row(t_ns, self._session, op, Kind.RUN, BEGUN, 0, number)
        return number, run_id

    def number_of(self, run_id: str) -> int:
        """The run's number, -1 for an id that is none of ours."""
        return self._numbers.get(run_id, -1)

    def event(self, t_ns: int, run: int, kind: int, op: int) -> None:
        """One message of a run; the last event of the order ends it."""
        stage = self._stage[run]
        if stage == _OVER or kind not in self._order:
            return  # other messages may name a run too, and are none of its events
        self._seen[run] += 1
        if kind == self._order[stage]:
            self._stage[run] = stage + 1
        if kind == self._order[-1]:
            whole = self._stage[run] == len(self._order) == self._seen[run]
            self._end(t_ns, run, op, COMPLETE if whole else INCOMPLETE)

    def late(self, t_ns: int, op: int) -> None:
        """The deadline has passed for all that is pending."""
        self._end_pending(t_ns, op, LATE)

    def cut_off(self, t_ns: int, op: int) -> None:
        """The connection is gone, and what is pending with it."""
        self._end_pending(t_ns, op, CUT_OFF)

    def _end_pending(self, t_ns: int, op: int, outcome: int) -> None:
        if self.pending:
            for run, stage in enumerate(self._stage):
                if stage != _OVER:
                    self._end(t_ns, run, op, outcome)

    def _end(self, t_ns: int, run: int, op: int, outcome: int) -> None:
        self._stage[run] = _OVER
        self.pending -= 1
        self.bad += outcome != COMPLETE
        self._live.runs += 1
        self._journal.row(t_ns, self._session, op, Kind.RUN, outcome, self._seen[run], run)
