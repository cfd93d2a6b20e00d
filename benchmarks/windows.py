"""Does the search find race windows, and do its intervals hold the truth? A simulation.

    python -m benchmarks.windows [--repeats N] [--cells w50-p1-b0-s5,...] [--jobs N]
                                 [--policy probe|plain] [--seed N] [--store FILE] [--table]

A cell is one kind of truth: a window of 5, 20, 50 or 200 ms, anomaly probability 1 or 0.3 inside
and 0 or 1 % outside, jitter 0, 1 or 5 ms, anywhere within 2 s; besides, cells without a window,
and steps. A simulated trial falls 0.3 ms (sd) beside its plan, which is measured, and the jitter
beside that, which is not. Each repeat draws its own place for the window, and is one line of
JSON in the store, so that a study that was cut off goes on where it was.

`--policy plain` is the reference: the same posterior, but a trial of stage 3 at an edge of a
window drawn from it (Thompson sampling), stopped on the nominal interval. docs/windows.md has
the results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import special

from probe.stats import window_fit, window_search
from probe.stats.rates import clopper_pearson
from probe.stats.window import LN_BF_FOUND, Space
from probe.stats.window_search import Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probe.stats.window import Fit, Kind
    from probe.stats.window_grid import Grid

MS = 1_000_000
RANGE_MS = 2_000
TRIALS_MAX = 6_000
RELEASE_MS = 0.3  # how far the measured offset falls from the plan
GOAL_MS = {"window": 3, "step": 5}
PEAK_MIN = 0.3
SLACK = 0.001  # 0.3 but for what a wide window leaves out
STORE = Path("results/windows.jsonl")

Policy = Literal["probe", "plain"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of truth; widths and jitter in ms. A width of 0 is a step, none is none."""

    width: float | None
    p1: float
    p0: float
    s: float

    @property
    def name(self) -> str:
        width = "none" if self.width is None else f"w{self.width:g}" if self.width else "step"
        return f"{width}-p{self.p1:g}-b{self.p0:g}-s{self.s:g}"

    @property
    def peak(self) -> float:
        """The most that the rate exceeds the background, jitter and all."""
        if self.width is None:
            return 0.0
        if not self.width or not self.s:
            return self.p1 - self.p0
        inside = float(special.erf(self.width / 2 / self.s / np.sqrt(2)))
        return (self.p1 - self.p0) * inside


WINDOWS = [
    Cell(width, p1, p0, s)
    for width in (5, 20, 50, 200)
    for p1 in (1, 0.3)
    for p0 in (0, 0.01)
    for s in (0, 1, 5)
]
NONE = [Cell(None, 0, p0, s) for p0 in (0, 0.01) for s in (0, 1, 5)]
STEPS = [Cell(0, p1, p0, s) for p1 in (1, 0.3) for p0 in (0, 0.01) for s in (0, 1, 5)]
# A rate that is near to "always", which the prior has a place for, and is not.
NEARLY = [Cell(width, 0.9, 0, s) for width in (20, 50, 200) for s in (0, 5)]
CELLS = {cell.name: cell for cell in (*WINDOWS, *NEARLY, *NONE, *STEPS)}


class Plain(Search):
    """The reference: an edge of a window drawn from the posterior."""

    def _informative(self, grid: Grid) -> float:
        _, cell = grid.draw(self._rng, 1)
        edges = [grid.cells.a[cell[0]]]
        if self.space.kind == "window":
            edges.append(grid.cells.b[cell[0]])
        return float(self._rng.choice(edges))


def plainly() -> None:
    """Take back what the probe adds to the plain recipe; for this process."""
    for module in (window_fit, window_search):
        vars(module).update(
            LASTING=1, HITS_MIN=5, STRETCH=1.0, STRETCH_ALWAYS={"window": 1.0, "step": 1.0}
        )


@dataclass(frozen=True, slots=True)
class Truth:
    """What happens in one repeat of a cell; ms."""

    cell: Cell
    centre: float
    rising: bool

    def rate(self, at: float) -> float:
        """P(anomaly) at an offset as the service sees it."""
        match self.cell.width:
            case None:
                inside = False
            case 0:
                inside = (at > self.centre) == self.rising
            case width:
                inside = abs(at - self.centre) < width / 2
        return self.cell.p1 if inside else self.cell.p0


def simulate(cell: Cell, repeat: int, seed: int, policy: Policy) -> dict[str, Any]:
    """One search: what it said, and what was true."""
    rng = np.random.default_rng([seed, repeat, *cell.name.encode()])
    room = (cell.width or 0) / 2 + 6 * cell.s + 10
    centre = float(rng.uniform(room, RANGE_MS - room))
    truth = Truth(cell, centre, bool(rng.random() < 1 / 2))
    kind: Kind = "step" if cell.width == 0 else "window"
    space = Space(
        0, RANGE_MS * MS, round(cell.s * MS), kind=kind, goal_ns=GOAL_MS[kind] * MS,
        p0_zero=cell.p0 == 0,
    )  # fmt: skip
    if policy == "plain":
        plainly()
    search = (Search if policy == "probe" else Plain)(space, repeat, trials_max=TRIALS_MAX)
    found, searched, began = 0, 0, time.process_time()
    while (trial := search.next()) is not None:
        measured = trial.offset_ns / MS + rng.normal(0, RELEASE_MS)
        hit = bool(rng.random() < truth.rate(measured + rng.normal(0, cell.s)))
        search.tell(round(measured * MS), hit, trial.stage)
        if trial.stage in {"sweep", "localise"}:
            searched += 1
            if not found and search.ln_bf > LN_BF_FOUND:
                found = searched
    fitted = search.fitted
    assert fitted is not None
    return {
        "cell": cell.name, "repeat": repeat, "seed": seed, "policy": policy,
        "state": search.state, "found_at": found, "n": searched, "truth": centre,
        "cpu_s": round(time.process_time() - began, 3), "ln_bf": round(fitted.ln_bf, 3),
        **_said(fitted, truth),
    }  # fmt: skip


def _said(fitted: Fit, truth: Truth) -> dict[str, Any]:
    """What the fit says, as far as it says something: times in ms."""
    spans = {
        "centre_ns": (fitted.centre_ns, MS), "width_ns": (fitted.width_ns, MS),
        "exposure_ns": (fitted.exposure_ns, MS), "p1": (fitted.p1, 1), "p0": (fitted.p0, 1),
        "rate": (fitted.rate, 1),
    }  # fmt: skip
    out: dict[str, Any] = {
        key: [round(v / unit, 5) for v in (span.value, span.low, span.high)]
        for key, (span, unit) in spans.items()
        if span is not None
    }
    if fitted.exposure_most_ns is not None:
        out["exposure_most"] = round(fitted.exposure_most_ns / MS, 3)
    if fitted.confirm is not None:
        test = fitted.confirm
        out["confirm"] = [test.k1, test.n1, test.k0, test.n0]
    if fitted.rising is not None:
        out["direction_right"] = fitted.rising == truth.rising
    return out


def table(rows: list[dict[str, Any]]) -> None:
    """The results by cell, and over all, as Markdown."""
    by: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by[row["cell"], row["policy"]].append(row)
    print(
        "| cell | peak | found | in trials | localised | in trials | centre held | confirmed "
        "| plain: in trials | held | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name, cell in CELLS.items():
        if (name, "probe") not in by:
            continue
        ours, plain = by[name, "probe"], by[name, "plain"]
        local, reference = [r for r in ours if _localised(r)], [r for r in plain if _localised(r)]
        at = [row["found_at"] for row in ours if row["found_at"]]
        # On the same repeats, whose windows are the same.
        same = {r["repeat"] for r in reference}
        ratio = _median(r["n"] for r in local if r["repeat"] in same) / _median(
            r["n"] for r in reference
        )
        cells = [
            name, f"{cell.peak:.2f}", f"{len(at)} of {len(ours)}", f"{_median(at):.0f}",
            str(len(local)), f"{_median(r['n'] for r in local):.0f}", _share(local, _centre_held),
            str(sum(row["state"] == "confirmed" for row in ours)),
            f"{_median(r['n'] for r in reference):.0f}", _share(reference, _centre_held),
            f"{ratio:.2f}",
        ]  # fmt: skip
        print("| " + " | ".join(cells).replace("nan", "") + " |")
    local = [
        row
        for row in rows
        if row["policy"] == "probe" and _localised(row) and CELLS[row["cell"]].width
    ]
    whole = [row for row in local if CELLS[row["cell"]] not in NEARLY]
    strong = [row for row in whole if CELLS[row["cell"]].peak >= PEAK_MIN - SLACK]
    wide = [row for row in local if "width_ns" in row]
    told = [row for row in local if "exposure_ns" in row]
    print(f"\n- centre held, peak at least {PEAK_MIN}: {_share(strong, _centre_held)}")
    print(f"- centre held, wherever localised: {_share(local, _centre_held)}")
    shares = [
        np.mean([_centre_held(row) for row in local if row["cell"] == name])
        for name in {row["cell"] for row in local}
    ]
    print(f"- centre held, mean over {len(shares)} cells: {_mean(shares):.1%}")
    print(f"- width held, where one is told: {_share(wide, _width_held)}")
    print(f"- exposure held: {_share(told, _exposure_held)}")


def _mean(values: list[Any]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _median(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.median(listed)) if listed else float("nan")


def _share(rows: list[dict[str, Any]], holds: Callable[[dict[str, Any]], bool]) -> str:
    """How many, with the rate and its interval where there are enough."""
    if not rows:
        return ""
    k = sum(map(holds, rows))
    if len(rows) <= 100:
        return f"{k} of {len(rows)}"
    span = clopper_pearson(k, len(rows))
    return f"{k} of {len(rows)}, {k / len(rows):.1%} ({span.low:.1%} to {span.high:.1%})"


def _centre_held(row: dict[str, Any]) -> bool:
    return bool(row["centre_ns"][1] <= row["truth"] <= row["centre_ns"][2])


def _width_held(row: dict[str, Any]) -> bool:
    return bool(row["width_ns"][1] <= CELLS[row["cell"]].width <= row["width_ns"][2])


def _exposure_held(row: dict[str, Any]) -> bool:
    cell = CELLS[row["cell"]]
    return bool(
        row["exposure_ns"][1] <= (cell.p1 - cell.p0) * (cell.width or 0) <= row["exposure_ns"][2]
    )


def _localised(row: dict[str, Any]) -> bool:
    return row["state"] in {"confirmed", "not_confirmed"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--cells", default=",".join(CELLS), help="names, or their beginnings")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--policy", choices=("probe", "plain"), default="probe")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--table", action="store_true", help="print what is stored, run nothing")
    args = parser.parse_args()
    stored = (
        [json.loads(line) for line in args.store.read_text(encoding="utf-8").splitlines()]
        if args.store.exists()
        else []
    )
    stored = [row for row in stored if row["seed"] == args.seed]
    if args.table:
        table(stored)
        return
    done = {(row["cell"], row["repeat"]) for row in stored if row["policy"] == args.policy}
    wanted = tuple(args.cells.split(","))
    # Repeats first: a study that was cut off has some of every cell.
    todo = [
        (cell, repeat, args.seed, args.policy)
        for repeat in range(args.repeats)
        for cell in CELLS.values()
        if cell.name.startswith(wanted) and (cell.name, repeat) not in done
    ]
    args.store.parent.mkdir(parents=True, exist_ok=True)
    with args.store.open("a", encoding="utf-8") as file, ProcessPoolExecutor(args.jobs) as pool:
        for i, row in enumerate(pool.map(simulate, *zip(*todo, strict=True))):
            stored.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            if sys.stderr.isatty():
                print(f"\r{i + 1} of {len(todo)}", end="", file=sys.stderr)
    table(stored)


if __name__ == "__main__":
    main()
