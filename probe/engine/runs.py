"""Runs of one session: which were begun, and whether each is over.

A run is over when the event that ends it came, when an error or a limit refused it, when it
was given up, or when the session ended before it. Whether all of its events came, once and
in order, is for the checks to say: the rows tell every event, and what is kept here only
decides when to go on, and whether ids of one run agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probe.history.records import Kind, Run, run_key

if TYPE_CHECKING:
    from probe.engine.site import Site
    from probe.model.dialect import RunRule


@dataclass(slots=True)
class Begun:
    """One run. `gap`: the session was away while it was under way.

    `doubted_ns`: when an error came that may mean this run, and nothing of it since; else 0.
    """

    key: int
    begun_ns: int
    last_ns: int
    seen: int = 0
    repeated: int = 0
    thread: str | None = None
    user: str | None = None
    gap: bool = False
    doubted_ns: int = 0
    over: bool = False


class Runs:
    """The runs that one session has begun; numbers count from 0 within the session.

    `ids` has the run of every id that is known, `pending` those by key that are not over, `hung`
    and `refused` count those that fail the session, and `unbound` is the run whose id the
    service has yet to tell.
    """

    __slots__ = (
        "_number", "_prefix", "_rule", "_session", "_site", "hung", "ids", "pending", "refused",
        "unbound",
    )  # fmt: skip

    def __init__(self, site: Site, rule: RunRule, session: int) -> None:
        self._site = site
        self._rule = rule
        self._session = session
        self._prefix = f"{site.nonce}-{session}-"
        self.ids: dict[str, Begun] = {}
        self._number = 0
        self.pending: dict[int, Begun] = {}
        self.unbound: Begun | None = None
        self.hung = 0
        self.refused = 0

    def begin(self, t_ns: int, op: int, size: int = 1, *, held: bool = False) -> tuple[Begun, str]:
        """A new run and its id (our own, also where the service will name another).

        `held`: its start waits for a gate, and `started` tells when it was let go.
        """
        number = self._number
        self._number += 1
        run_id = f"{self._prefix}{number}"
        key = run_key(self._session, number)
        run = self.pending[key] = Begun(key, t_ns, t_ns)
        if self._site.words.named:
            self.ids[run_id] = run
        else:
            self.unbound = run
        if not held:
            self.started(t_ns, run, op, size)
        return run, run_id

    def started(self, t_ns: int, run: Begun, op: int, size: int) -> None:
        """Its start has been sent."""
        run.begun_ns = run.last_ns = t_ns
        self._site.journal.row(t_ns, self._session, op, Kind.RUN, Run.BEGUN, size, run.key)

    def named(self, run_id: str, kind: int) -> Begun | None:
        """The run of this session that has this id; None for any other id.

        Where the service names the runs, the first unknown id of an event names the one
        that has no name yet.
        """
        run = self.ids.get(run_id)
        waiting = self.unbound
        if run is not None or waiting is None or kind not in self._site.words.events:
            return run
        if run_id in self._site.bound:
            return None
        self.unbound = None
        self.ids[run_id] = waiting
        self._site.bound[run_id] = waiting.key
        return waiting

    def event(self, t_ns: int, run: Begun, kind: int, op: int) -> None:
        """One event of a run; the one that ends it does so whatever is missing."""
        words = self._site.words
        run.seen += 1
        run.last_ns = t_ns
        run.doubted_ns = 0
        if kind == words.repeated:
            run.repeated += 1
        if kind == words.last and not run.over:
            self._over(t_ns, run, op, Run.ENDED)

    def refuse(self, t_ns: int, run: Begun, op: int) -> None:
        """The service says that it will not do it, or not go on."""
        if not run.over:
            self.refused += 1
            self._over(t_ns, run, op, Run.REFUSED)

    def doubt(self, t_ns: int, *, named: bool) -> None:
        """An error that names none of our runs: the only one pending may be meant.

        If it was, silence follows; what goes on was not meant. `named`: it has an id that
        nobody knows, which can but be that of a run whose name was yet to be told.
        """
        if len(self.pending) == 1:
            (alone,) = self.pending.values()
            if not named or alone is self.unbound:
                alone.doubted_ns = t_ns

    def give_up(self, t_ns: int, op: int) -> None:
        """No pending run is waited for any longer.

        Of a run that went on while the session was away it is not known that it hangs: its
        end may have come then. One that fell silent with an error was refused.
        """
        for run in list(self.pending.values()):
            if run.doubted_ns:
                self.refuse(t_ns, run, op)
            else:
                self.hung += not run.gap
                self._over(t_ns, run, op, Run.GIVEN_UP)

    def drop(self, t_ns: int, run: Begun, op: int) -> None:
        """Give up one run whose end was perhaps dropped: under pressure that is no hang."""
        if not run.over:
            self._over(t_ns, run, op, Run.REFUSED if run.doubted_ns else Run.GIVEN_UP)

    def cut_off(self, t_ns: int, op: int) -> None:
        """The session is over, and what is pending with it."""
        for run in list(self.pending.values()):
            self._over(t_ns, run, op, Run.CUT_OFF)

    def away(self) -> None:
        """The connection is gone while runs go on."""
        for run in self.pending.values():
            run.gap = True

    def hopeless_ns(self) -> int:
        """From when on no pending run need be waited for: silent for long, past its deadline."""
        return max(map(self._awaited_ns, self.pending.values())) + self._rule.quiet

    def _awaited_ns(self, run: Begun) -> int:
        due = max(run.begun_ns + self._rule.within, run.last_ns)
        return min(due, run.doubted_ns) if run.doubted_ns else due

    def _over(self, t_ns: int, run: Begun, op: int, how: Run) -> None:
        run.over = True
        del self.pending[run.key]
        if self.unbound is run:
            self.unbound = None
        self._site.live.runs += 1
        self._site.journal.row(t_ns, self._session, op, Kind.RUN, how, run.seen, run.key)
