"""What came of each run, event by event: a matrix that shows where events went missing.

The rule: the classes are those of the checks (`probe.check.delivery`). Where there are more runs
than columns, a column stands for several and is filled by how many went how: one that lost an
event is always seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.delivery.rules import rules_of
from probe.check.delivery.units import GAP_LOST, LOST, STALLED, UNKNOWN, Units, units_of
from probe.history.records import Kind
from probe.report.breakdowns import delivery_tables
from probe.report.page.blocks import Block, figure, table, words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from probe.report.page.recorded import Recorded

COLUMNS_MAX: Final = 150
MESSAGES_MAX: Final = 3_000_000
# By what is worst; the page names them in this order.
STATES: Final = ("not due", "came", "unknown", "not read by us", "missed while away", "lost")
_WORST: Final = {UNKNOWN: 2, STALLED: 3, GAP_LOST: 4, LOST: 5}


def completeness(recorded: Recorded, summary: Mapping[str, Any]) -> list[Block]:
    """A matrix for each stage with runs, and the tables of what was delivered; [] without runs."""
    tables = [
        table(each.title, each.header, each.cells, folded=True)
        for each in delivery_tables(summary.get("delivery"))
    ]
    rules = rules_of(recorded.resolved.dialect)
    if rules is None or not any(len(view.runs) for view in recorded.views):
        return tables
    if len(recorded.history.places(Kind.GOT)) > MESSAGES_MAX:
        said = f"The matrix is left out: there are more than {MESSAGES_MAX:,} messages."
        return [words(said, "quiet"), *tables]
    drawn = [_matrix(units_of(v, rules), v.name) for v in recorded.views if len(v.runs)]
    return [*drawn, *tables]


def _matrix(units: Units, stage: str) -> Block:
    names = units.rules.names[:-1]
    runs = len(units.runs)
    state = (units.seen[:, :-1] > 0).astype(np.int64)
    for what, worst in _WORST.items():
        rows = units.lacking(what)
        rows = rows[rows["type"] < len(names)]
        np.maximum.at(state, (rows["run"], rows["type"]), worst)
    order = np.argsort(units.runs["begun"], kind="stable")
    each = -(-runs // COLUMNS_MAX)
    column = np.empty(runs, dtype=np.int64)
    column[order] = np.arange(runs) // each
    width = len(STATES)
    cells = [
        np.bincount(column * width + state[:, k], minlength=-(-runs // each) * width)
        for k in range(len(names))
    ]
    held = f"is {each:,} runs, filled by how many went how" if each > 1 else "is one run"
    note = f"{runs:,} runs in the order in which they began; a column {held}."
    data = {
        "names": list(names),
        "states": list(STATES),
        "each": each,
        "runs": runs,
        "cells": [row.reshape(-1, width).tolist() for row in cells],
    }
    totals = [np.bincount(state[:, k], minlength=len(STATES)) for k in range(len(names))]
    shown = [k for k in range(len(STATES)) if k == 1 or any(row[k] for row in totals)]
    header = ["event", *(f"{STATES[k]} (runs)" for k in shown)]
    body = [
        [name, *(f"{int(row[k]):,}" for k in shown)]
        for name, row in zip(names, totals, strict=True)
    ]
    behind = table(f"{stage}: runs by event as numbers", header, body)
    return figure("matrix", f"{stage}: what came of each run", note, data, behind)
