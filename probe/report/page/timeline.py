"""The run over time: who came, who was in, what was said, stages and restarts.

The rule: counts of narrow bins, which the page adds up to what its width can show; the width of a
bin is a round one, and told. A client is in from its ready to its end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.view import good
from probe.history.records import Kind
from probe.report import figures
from probe.report.page.blocks import Block, figure, nothing, table

if TYPE_CHECKING:
    from probe.report.page.recorded import Recorded

BINS_MAX: Final = 2_400
RESTARTS_MAX: Final = 400
ROWS: Final = 24
_LEVEL: Final = "clients inside"
_STEPS: Final = (1, 2, 5)
Ints = NDArray[np.int64]


def timeline(recorded: Recorded) -> Block:
    """The figure with its table; "nothing measured" where no client was dialled."""
    attempts = recorded.history.attempts
    got = recorded.history.rows["t"][recorded.history.places(Kind.GOT)]
    if not len(attempts) and not len(got):
        return nothing("no client was dialled, and nothing was received")
    width = bin_width(recorded.end - recorded.zero)
    n = (recorded.end - recorded.zero) // width + 1
    there = good(attempts)
    sent = recorded.history.rows["t"][recorded.history.places(Kind.PUT)]

    def binned(stamps: Ints) -> Ints:
        return np.bincount(np.clip((stamps - recorded.zero) // width, 0, n - 1), minlength=n)

    ready = attempts["ready"] > 0
    lost = ready & (attempts["end"] > 0)
    inside = np.cumsum(binned(attempts["ready"][ready]) - binned(attempts["end"][lost]))
    counts = {
        "dialled": binned(attempts["dial"]),
        "got in": binned(attempts["ready"][there]),
        "did not get in": binned(attempts["end"][~there & (attempts["end"] > 0)]),
        "messages received": binned(got),
        "messages sent": binned(sent),
        _LEVEL: inside,
    }
    data = {
        "bin_s": width / 1e9,
        "series": {name: column.tolist() for name, column in counts.items()},
        "stages": [_stage(recorded, view.name, view.begun, view.ended) for view in recorded.views],
        "restarts": _restarts(recorded),
    }
    note = (
        f"Counted in bins of {figures.duration(width / 1e9)}, added up to what fits the width. "
        "Drag, or use the buttons, to look closer."
    )
    return figure("timeline", "The run over time", note, data, _behind(counts, width))


def bin_width(span_ns: int) -> int:
    """The narrowest round width (1, 2 or 5 times a power of ten, ns) that needs few enough bins."""
    power = 1_000_000
    while True:
        for step in _STEPS:
            if span_ns // (step * power) < BINS_MAX:
                return step * power
        power *= 10


def _stage(recorded: Recorded, name: str, begun: int, ended: int) -> dict[str, Any]:
    return {
        "name": name,
        "from_s": (begun - recorded.zero) / 1e9,
        "to_s": (ended - recorded.zero) / 1e9,
    }


def _restarts(recorded: Recorded) -> list[float]:
    """Time zero of each restart, s; at most RESTARTS_MAX of them."""
    at = [trial.zero for view in recorded.views for trial in view.trials]
    return [(each - recorded.zero) / 1e9 for each in at[:RESTARTS_MAX]]


def _behind(counts: dict[str, Ints], width: int) -> Block:
    n = len(next(iter(counts.values())))
    edges = np.unique(np.linspace(0, n, min(ROWS, n) + 1).astype(np.int64))
    rows = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        span = f"{figures.duration(low * width / 1e9)} to {figures.duration(high * width / 1e9)}"
        here = {name: column[low:high] for name, column in counts.items()}
        cells = [f"{(c.max() if name == _LEVEL else c.sum()):,}" for name, c in here.items()]
        rows.append([span, *cells])
    header = ["since the start", *counts]
    header[-1] = f"{_LEVEL}, at most"
    return table("The run over time as numbers", header, rows)
