"""One sequence: a population of a load stage, what its script turns on, and its tokens.

The rule: at a connection the token is in force that was shown last before it was dialled, until
a step chooses another one; what its script turns on is read from its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from probe.model.bad_tokens import is_bad
from probe.model.script import Connect, Gone, Run, Send, Token

if TYPE_CHECKING:
    from probe.check.shown import Shown
    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.plan import Group

LATEST: Final = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Sequence:
    """One population of a stage, with what its script turns on."""

    view: StageView
    index: int
    group: Group
    tokens: dict[int, list[Shown]]

    @property
    def steps(self) -> tuple[object, ...]:
        """Its steps; none of a Python script."""
        script = self.group.population.script
        return script if isinstance(script, tuple) else ()

    @cached_property
    def sessions(self) -> Rows:
        """Its clients."""
        rows: Rows = self.view.sessions[self.view.sessions["population"] == self.index]
        return rows

    @cached_property
    def attempts(self) -> Rows:
        """Its connections."""
        rows: Rows = self.view.attempts[self.view.attempts["population"] == self.index]
        return rows

    @property
    def early(self) -> bool:
        """Whether it says something before the service is ready."""
        for number, step in enumerate(self.steps):
            if isinstance(step, Connect):
                after = self.steps[number + 1 : number + 2]
                hasty = not step.ready and any(isinstance(s, Run | Send) for s in after)
                if step.early or hasty:
                    return True
        return False

    @property
    def again(self) -> bool:
        """Whether it shows a token in a message of its own, on an open connection."""
        return any(isinstance(step, Send) and "{token}" in step.text for step in self.steps)

    @property
    def unshown(self) -> bool:
        """Whether it waits to be thrown out for showing no token."""
        none = any(isinstance(s, Token) and s.case == "absent" for s in self.steps)
        return none and any(isinstance(step, Gone) for step in self.steps)

    def expiries(self, rows: Rows) -> list[int]:
        """When the token that each connection was opened with expires, ns; 0 for unknown."""
        out = []
        for row in rows:
            before = self._at(int(row["session"]), int(row["dial"]))
            out.append(before.expiry if before is not None and not self._renewed(row) else 0)
        return out

    def bad_until(self, rows: Rows) -> list[int]:
        """Up to when a bad token is in force on each connection, ns; 0 where it never is."""
        out = []
        for row in rows:
            session, dial = int(row["session"]), int(row["dial"])
            before = self._at(session, dial)
            later = [s.since for s in self.tokens.get(session, ()) if s.since > dial]
            bad = before is not None and is_bad(before.case)
            out.append(min(later, default=LATEST) if bad else 0)
        return out

    def _at(self, session: int, stamp: int) -> Shown | None:
        before = [s for s in self.tokens.get(session, ()) if s.since <= stamp]
        return before[-1] if before else None

    def _renewed(self, row: Rows) -> bool:
        since, until = int(row["dial"]), int(row["end"]) or LATEST
        return any(s.renewed and since < s.since <= until for s in self.tokens[int(row["session"])])
