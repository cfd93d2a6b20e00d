"""Witnesses of a race: one trial, with what each gate let go and where it went wrong.

The rule: times count from the action that offsets count from, so that the swept action stands at
its measured offset; where that action is not known they count from the dial. What a gate let go
is told for every actor of the trial, all else for the session that failed. A failure is told in
its own words, and at the latest instant at which it can have come: when the client left.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.let_go import let_go
from probe.check.lines import line_of
from probe.check.race_words import offset
from probe.check.rows import of_stage
from probe.check.verdict import Step
from probe.check.witness import witness_of, witnesses
from probe.check.words import duration, plain
from probe.history.records import Kind, Odd
from probe.model import script

if TYPE_CHECKING:
    from collections.abc import Collection

    from probe.check.race_trials import Trials
    from probe.check.verdict import Witness
    from probe.check.view import StageView
    from probe.history.columns import Rows

_FAILED: Final = 1  # DONE.flag
_BY_HTTP: Final = (script.Http, script.Revoke, script.Logout)
_DEADLINE: Final = ": deadline"
_ODD: Final = (Kind.ODD, Kind.FOREIGN)


def race_witnesses(
    view: StageView, found: Trials, sessions: Collection[int], near: dict[int, float] | None = None
) -> tuple[Witness, ...]:
    """Up to 3 trials by their failed sessions: the first, the one of the least `near`, the last."""
    rows = view.attempts[np.isin(view.attempts["session"], list(sessions))]
    if not len(rows):
        return ()
    last = np.append(np.diff(rows["session"].astype(np.int64)) != 0, [True])
    cases = rows[last]
    worst = None
    if near is not None:
        worst = np.array([-near.get(int(each), np.inf) for each in cases["session"]])
    return witnesses(view, cases, worst, tell=lambda case: _told(view, found, case))


def _told(view: StageView, found: Trials, case: Any) -> Witness:
    """The trial of one failed connection."""
    base = witness_of(view, case, without=(Kind.ACTION, *_ODD))
    acts = _actions(view, found, int(case["trial"]))
    name, gate = found.race.reference()
    zero = next((int(row["t"]) for who, row in acts if (who, int(row["flag"])) == (name, gate)), 0)
    zero = zero or int(case["dial"])
    moved = (int(case["dial"]) - zero) / 1e9
    points = [*_gates(view, found, acts, zero), *_odd(view, case, zero)]
    points += _failures(view, found, int(case["trial"]), zero)
    told = [replace(step, at_s=round(step.at_s + moved, 6)) for step in base.steps]
    # What was let go stands before the message that it is, since both have one stamp.
    steps = sorted([*points, *told], key=lambda step: step.at_s)
    return replace(base, steps=tuple(steps))


def _actions(view: StageView, found: Trials, trial: int) -> list[tuple[str, Any]]:
    """The ACTION rows of one trial by time, each with its actor."""
    race = found.race
    names = {k: group.name for k, group in view.groups.items()}
    # A smaller race is numbered as the whole one.
    comb = view.stage.race.comb if view.stage.race is not None else race.comb
    first = trial // comb * comb
    who = {
        int(row["session"]): names[int(row["population"])]
        for row in view.sessions[np.isin(view.sessions["trial"], (trial, first))]
        if names[int(row["population"])] in race.actors
        and int(row["trial"]) == (trial if race.own(names[int(row["population"])]) else first)
    }
    rows = of_stage(view, Kind.ACTION)
    rows = rows[np.isin(rows["session"], list(who)) & (rows["t"] > 0)]
    rows = rows[np.argsort(rows["t"], kind="stable")]
    return [(who[int(row["session"])], row) for row in rows]


def _gates(
    view: StageView, found: Trials, acts: list[tuple[str, Any]], zero: int
) -> list[Step]:  # fmt: skip
    """A line for each gate: what it let go, and of the swept one at which offset."""
    race, out = found.race, []
    aims = {(who, int(row["flag"])): int(row["b"]) for who, row in acts}
    against = aims.get(race.reference())
    for who, row in acts:
        gate, stamp = int(row["flag"]), int(row["t"])
        words = _what(view, found, who, row)
        words = words if len(race.actors) == 1 else f"{who}: {words}"
        if (who, gate) == (race.swept, race.swept_gate()) and against is not None:
            aim = int(row["b"]) - against
            words += f", measured {offset(stamp - zero)}, planned {offset(aim)}"
        out.append(Step(round((stamp - zero) / 1e9, 6), "probe", words, point=True))
    return out


def _what(view: StageView, found: Trials, who: str, row: Any) -> str:
    """The step that a gate let go, or its answer; the gate's number where no row tells."""
    gate = int(row["flag"])
    for step, rows in let_go(view, found.race, who, gate):
        if int(row["session"]) in rows["session"]:
            # A request over HTTP counts from its answer.
            return f"{step.do} {'answered' if isinstance(step, _BY_HTTP) else 'let go'}"
    return f"gate {gate + 1} let go"


def _odd(view: StageView, case: Any, zero: int) -> list[Step]:
    """What was odd on this connection, or another user's: a trial with any is an anomaly."""
    rows: Rows = of_stage(view, *_ODD)
    rows = rows[(rows["session"] == case["session"]) & (rows["op"] == case["attempt"])]
    out = []
    for row in rows:
        line = line_of(view, case, row)
        if line is not None:
            point = int(row["kind"]) == Kind.FOREIGN or int(row["flag"]) != Odd.SHAPE
            at_s = round((int(row["t"]) - zero) / 1e9, 6)
            out.append(Step(at_s, *line, point=point))
    return out


def _failures(view: StageView, found: Trials, trial: int, zero: int) -> list[Step]:
    """Where actors of the trial failed, and why."""
    race, out = found.race, []
    names = {k: group.name for k, group in view.groups.items()}
    rows = view.sessions[(view.sessions["trial"] == trial) & (view.sessions["outcome"] == _FAILED)]
    for row in rows:
        who = names[int(row["population"])]
        if who not in race.actors:
            continue
        steps = race.actors[who].steps
        number, why = int(row["step"]), plain(view.text(row["why"]).encode()) or "odd"
        step = steps[number] if number < len(steps) else None
        within = getattr(step, "within", None)
        if why.endswith(_DEADLINE) and isinstance(within, int):
            why = f"{why.removesuffix(_DEADLINE)} within {duration(within)}"
        words = f"{step.do} failed: {why}" if step is not None else f"failed: {why}"
        words = words if len(race.actors) == 1 else f"{who}: {words}"
        at = _left(view, int(row["session"]), closing=isinstance(step, script.Close))
        if race.actors[who].finally_ or not at:
            at = int(row["done"])
        out.append(Step(round((at - zero) / 1e9, 6), "note", words, point=True))
    return out


def _left(view: StageView, session: int, *, closing: bool) -> int:
    """When a client left its last connection: its own Close, else the end; 0 where there is none.

    `closing`: the Close was itself what failed.
    """
    rows = view.history.frames(session)
    ours = rows[(rows["kind"] == Kind.CLOSE) & (rows["flag"] == 0)]
    ends = rows[rows["kind"] == Kind.END]
    if len(ours) and not closing:
        return int(ours[-1]["t"])
    return int(ends[-1]["t"]) if len(ends) else 0
