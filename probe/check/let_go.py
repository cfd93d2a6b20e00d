"""What the gates of a race let go: steps where the scenario has them, else by their own rows.

Theory of operation. Of an actor written in Python no steps are stored. But the ACTION of what
could be prepared carries the very stamp of what was written (a PUT, a SENT), a request over HTTP
that of its answer; and of everything else the row of what was done comes right behind it.

The rule: an action is what the session's own first row from the ACTION's stamp on says. One
that left no row is taken for what followed it, whose answer came no sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.rows import of_stage
from probe.history.records import Credential, Kind, Put
from probe.model import script
from probe.model.script import Gate, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.race import Race
    from probe.model.script import Step

_OWN: Final = (Kind.PUT, Kind.SENT, Kind.PING, Kind.CLOSE, Kind.VANISH, Kind.CREDENTIAL)
_PUT: Final[Mapping[int, Step]] = {
    Put.START: script.Run(do="run"),
    Put.SENTINEL: script.Settle(do="settle"),
    Put.FLOOD: script.Settle(do="settle"),
    Put.REFRESH: script.Refresh(do="refresh"),
}
_MESSAGE: Final = script.Send(do="send", text="")
_CREDENTIAL: Final[Mapping[int, Step]] = {
    Credential.REVOKED: script.Revoke(do="revoke"),
    Credential.LOGGED_OUT: script.Logout(do="logout"),
}
_REST: Final[Mapping[int, Step]] = {
    Kind.SENT: script.Connect(do="connect"),
    Kind.PING: script.Ping(do="ping"),
    Kind.CLOSE: script.Close(do="close"),
    Kind.VANISH: script.Vanish(do="vanish"),
}


def let_go(view: StageView, race: Race, name: str, gate: int) -> list[tuple[Step, Rows]]:
    """What one gate of an actor let go, each with the ACTION rows of it; [] for nothing."""
    acts = _actions(view, name, gate)
    steps = race.actors[name].steps
    if steps:
        place = [k for k, step in enumerate(steps) if isinstance(step, Gate)][gate]
        behind = next(step for step in steps[place:] if not isinstance(step, Gate | Token))
        return [(behind, acts)]
    found: dict[str, tuple[Step, list[int]]] = {}
    for number, step in enumerate(_by_rows(view, acts)):
        if step is not None:
            found.setdefault(step.do, (step, []))[1].append(number)
    return [(step, acts[numbers]) for step, numbers in found.values()]


def _actions(view: StageView, name: str, gate: int) -> Rows:
    """The ACTION rows of one gate of an actor."""
    groups = [k for k, group in view.groups.items() if group.name == name]
    mine = view.sessions[np.isin(view.sessions["population"], groups)]["session"]
    rows = of_stage(view, Kind.ACTION)
    out: Rows = rows[(rows["flag"] == gate) & np.isin(rows["session"], mine) & (rows["t"] > 0)]
    return out


def _by_rows(view: StageView, acts: Rows) -> list[Step | None]:
    """Of each action the step that does as much; None where no row of its session follows."""
    own: dict[int, list[tuple[int, Step]]] = {}
    for row in of_stage(view, *_OWN):
        step = _step(int(row["kind"]), int(row["flag"]))
        if step is not None:
            own.setdefault(int(row["session"]), []).append((int(row["t"]), step))
    out: list[Step | None] = []
    for act in acts:
        after = [each for each in own.get(int(act["session"]), ()) if each[0] >= act["t"]]
        out.append(min(after, key=lambda each: each[0])[1] if after else None)
    return out


def _step(kind: int, flag: int) -> Step | None:
    """The step that leaves such a row when it acts."""
    match kind:
        case Kind.PUT:
            return _PUT.get(flag, _MESSAGE)
        case Kind.CREDENTIAL:
            return _CREDENTIAL.get(flag)
        case Kind.CLOSE if flag:
            return None
        case _:
            return _REST[kind]
