"""A climb in messages against the real lab, from the command line to the judgement."""

from __future__ import annotations

import numpy as np
import pytest

from probe.check.climb import Climbing, climb
from probe.check.view import views
from probe.cli.files import read
from probe.history.columns import History
from probe.history.folder import RESOLVED
from probe.history.records import Kind, Level
from probe.model.resolved import Resolved

pytestmark = pytest.mark.alone

SEED = 5
QUICK = """
until = "p50<2s"
goodput = "60%"
settle = "100ms"
lasts = "400ms"
pause = "10ms"
patience = "1s"
opening = "1000/s"
repeats = 1
factor = 2
closeness = 2
"""


def stage(table, budget="5s"):
    return f"""
[stages.climb]
activity = "capacity"
budget = "{budget}"
[stages.climb.capacity]
{QUICK}
{table}
"""


def opened(done):
    resolved = Resolved.from_toml(read(done.folder / RESOLVED), "resolved")
    history = History.open(done.folder / "history")
    return history, resolved, views(history, resolved)[0]


def asked_of(history, number):
    rows = history.of(Kind.LEVEL)
    return rows[(rows["flag"] == Level.ASKED) & (rows["a"] == number)]


def check_asked_as_planned(history, view):
    """Every level that came to its end: its questions are those of the plan, at its instants."""
    found = climb(view)
    assert found.runs
    anchors = {int(row["op"]): int(row["b"]) for row in history.of(Kind.ANCHOR)}
    for run in found.runs:
        rows = asked_of(history, run.number)
        if "cut off" in run.unfit:
            continue
        offsets, whom = found.rule.questions(run.rate_per_s, (SEED, 0, run.number))
        assert (rows["t"] - anchors[run.number]).tolist() == offsets.tolist()
        asked = rows["session"].tolist()
        assert len(set(zip(whom.tolist(), asked, strict=True))) == len(set(asked))
        assert run.n > 0
    return found


def test_messages_go_over_connections_that_stay_at_the_instants_of_the_plan(probe):
    probe.scenario(stage('of = "messages"\nbegin = "40/s"\nmost = "160/s"\nconnections = 8'))
    sets = ("target.lab.capacity=4/10ms", 'target.lab.capacity_of=["messages"]')
    words = [word for each in sets for word in ("--set", each)]
    done = probe.run("small", *words, "--seed", SEED, target="lab")
    history, resolved, view = opened(done)
    found = check_asked_as_planned(history, view)
    # The same eight from the first level to the last, and they leave in order.
    assert len(history.sessions) == 8
    assert set(history.sessions["outcome"].tolist()) == {0}
    whole = [run for run in found.runs if "cut off" not in run.unfit]
    assert all((run.lost, run.late) == (0, 0) for run in whole)
    # The lab serves one for 10 ms on average, and tells what it has served.
    took = np.concatenate([run.measured.latency_ns for run in whole])
    served = [row for row in done.ledger() if row.get("of") == "messages"]
    assert len(served) >= len(took) > 20
    assert took.mean() > 0.5 * np.mean([row["service_ns"] for row in served])
    # Told level by level it comes to the same as told at once.
    climbing = Climbing("climb")
    for place in [*np.flatnonzero(history.rows["kind"] == Kind.LEVEL), len(history.rows)]:
        if place < len(history.rows) and history.rows["flag"][place] != Level.BEGUN:
            continue
        part = History(history.rows[:place], history.meta, history.texts)
        told = climbing.climb(part, resolved)
    assert [run.measured.latency_ns.tolist() for run in told.runs] == [
        run.measured.latency_ns.tolist() for run in found.runs
    ]
    assert told.search.next() == found.search.next()
