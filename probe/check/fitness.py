"""Was the generator fit to judge: a veto, never a correction.

The rule (docs/methods.md, Fitness): what taints makes timings, rates and absences INCONCLUSIVE;
what invalidates makes the run INVALID. Every figure that was compared is told, with its unit
in its name, and what `probe calibrate` found of this machine is quoted beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probe.check.fitness_held import held
from probe.check.fitness_load import load
from probe.check.fitness_machine import OWN, Notes, machine
from probe.check.verdict import Fitness
from probe.check.words import counted
from probe.history.records import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.view import StageView
    from probe.history.columns import History, Rows
    from probe.model.resolved import Resolved


def fitness(
    history: History, resolved: Resolved, views: Sequence[StageView], *, window: bool = False
) -> Fitness:
    """Judge the generator over the stages in `views`; `window`: over their time alone."""
    notes = Notes()
    # The levels of a capacity stage are judged one by one: the last may well be too much.
    begun = [view for view in views if not view.skipped and view.stage.capacity is None]
    climbed = [view for view in views if not view.skipped and view.stage.capacity is not None]
    low = min((view.begun for view in begun), default=0) if window else 0
    high = max((view.ended for view in begun), default=0) if window else 2**63 - 1
    rows = history.of(*OWN)
    rows = rows[(rows["t"] >= low) & (rows["t"] <= high)]
    rows = _measuring(rows, begun)
    for view in climbed:
        rows = rows[(rows["t"] < view.begun) | (rows["t"] > view.ended)]
    if begun or not climbed:
        machine(notes, rows, _smallest_limit(views))
        load(notes, history, resolved, begun)
    held(notes, rows, begun)
    lost = history.lost
    notes.figures["journal_rows_lost"] = lost
    if lost:
        notes.taints.append(f"the journal lost {counted(lost, 'row')}")
    told = history.meta.get("calibration")
    if isinstance(told, dict) and told.get("words"):
        notes.figures["calibration"] = str(told["words"])
    names = tuple(view.name for view in climbed)
    whole = bool(begun) or not climbed
    return Fitness(tuple(notes.taints), tuple(notes.invalid), notes.figures, names, whole=whole)


def _measuring(rows: Rows, views: Sequence[StageView]) -> Rows:
    """Lags and pauses only as far as a stage was under way: else nothing was measured."""
    rows = rows.copy()
    timed = np.isin(rows["kind"], (Kind.LAG, Kind.GC))
    since = rows["t"] - rows["b"]
    kept = ~timed
    for view in views:
        mine = timed & (rows["t"] >= view.begun) & (since <= view.ended)
        rows["b"][mine] = np.minimum(rows["b"][mine], rows["t"][mine] - view.begun)
        kept |= mine
    measuring: Rows = rows[kept]
    return measuring


def _smallest_limit(views: Sequence[StageView]) -> int | None:
    limits = [limit.within for v in views for limit in v.stage.expect.latency if limit.required]
    return min(limits, default=None)
