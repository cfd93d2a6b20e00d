"""Every trial of a race as a row: where it was aimed, where it fell, what came of it, and why.

The rule: what was measured and what it tells are those that the race is judged by. The planned
offset is that of the two instants at which the gates were to let go; what is measured adds how
far each fell from its instant, and of a request over HTTP the time to its answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probe.check.rows import of_stage
from probe.history.records import Kind

if TYPE_CHECKING:
    from probe.check.race_trials import Trials
    from probe.check.view import StageView


def made(view: StageView, found: Trials) -> dict[str, list[Any]]:
    """The trials as columns of one length, by number.

    Offsets are in ms; None where one of the two gates was not passed.
    """
    race = found.race
    aimed = _aims(view, race.swept, race.swept_gate())
    name, gate = race.reference()
    against = _aims(view, name, gate)
    planned = []
    for trial in found.every:
        # Who belongs to no one trial has the number of the first of its release.
        first = trial.number if race.own(name) else trial.number // race.comb * race.comb
        swept, other = aimed.get(trial.number), against.get(first)
        planned.append(None if swept is None or other is None else swept - other)
    return {
        "trial": [trial.number for trial in found.every],
        "planned_ms": [_ms(each) for each in planned],
        "measured_ms": [_ms(trial.offset_ns) for trial in found.every],
        "outcome": [trial.told for trial in found.every],
        "stage": [trial.why for trial in found.every],
    }


def _aims(view: StageView, name: str, gate: int) -> dict[int, int]:
    """The offsets that a gate of an actor was meant to let go at, ns, by trial."""
    groups = [k for k, group in view.groups.items() if group.name == name]
    mine = view.sessions[np.isin(view.sessions["population"], groups)]["session"]
    rows = of_stage(view, Kind.ACTION)
    rows = rows[(rows["flag"] == gate) & np.isin(rows["session"], mine)]
    return {int(row["a"]): int(row["b"]) for row in rows}


def _ms(ns: int | None) -> float | None:
    return None if ns is None else round(ns / 1e6, 6)
