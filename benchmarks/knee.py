"""Does the search for a knee hold the truth? A simulation of services whose knee is known.

    python -m benchmarks.knee [--runs N] [--cells 4x20-150,...] [--seconds S] [--arrivals N]
                              [--settle S] [--closeness RATIO] [--repeats-max N]
                              [--alpha A] [--seed N]

A cell is an M/M/c station and a limit on its p99: `4x20-150` is 4 servers of 20 ms and at
most 150 ms. The truth is the rate at which the p99 of the response crosses the limit in the
steady state. A run is one search from a first rate drawn between a tenth and a half of
capacity; each repeat is an idle station that is loaded for `--settle` seconds, and then
measured for `--seconds`, or until `--arrivals` have come if that is longer. Told are how
often the interval held the truth, on which side it did not, how wide it was, and what the
runs cost.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probe.stats.knee import Course, Search
from probe.stats.levels import ALPHA_LOOK, Limits, Measured
from probe.stats.queueing import Station
from probe.stats.rates import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from probe.stats.knee import Knee

MS = 1_000_000
Q = 0.99
CELLS = ("4x20-150", "4x20-250", "1x10-200", "2x20-120", "16x100-500")


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of truth."""

    name: str
    station: Station
    limit_ns: int

    @classmethod
    def parse(cls, name: str) -> Cell:
        match = re.fullmatch(r"(\d+)x(\d+)-(\d+)", name)
        if match is None:
            raise SystemExit(f"{name!r} is no cell; write SERVERSxMS-MS, like 4x20-150")
        servers, service, limit = (int(number) for number in match.groups())
        return cls(name, Station(servers, service * MS), limit * MS)

    @property
    def truth_per_s(self) -> float:
        rate = self.station.rate_at(self.limit_ns, Q)
        if rate is None:
            raise SystemExit(f"{self.name}: an idle station is slower than that limit")
        return rate


@dataclass(frozen=True, slots=True)
class Outcome:
    """One search: what it found, how many repeats it took and how long they were together."""

    knee: Knee
    repeats: int
    lasted_s: float


@dataclass(frozen=True, slots=True)
class Habits:
    """How the searches are run."""

    runs: int
    seconds: float
    arrivals: int
    settle_s: float
    closeness: float
    repeats_max: int
    alpha: float
    seed: int

    def lasts_s(self, rate_per_s: float) -> float:
        return max(self.seconds, self.arrivals / rate_per_s)


def responses(
    rng: np.random.Generator,
    station: Station,
    rates: Sequence[float],
    settle_s: float,
    lasts_s: Sequence[float],
) -> list[NDArray[np.int64]]:
    """One repeat at each of these rates, side by side: responses in ns, in order of arrival.

    The waiting times are those of Kiefer and Wolfowitz's recursion: the work that is left at
    each server, least first, less the time to the next arrival.
    """
    rate = np.asarray(rates, dtype=np.float64)
    ends = settle_s + np.asarray(lasts_s)
    most = float((rate * ends).max())
    n = int(most + 6 * np.sqrt(most) + 10)
    gaps = rng.exponential(1.0, (n, len(rate))) / rate
    services = rng.exponential(station.service_ns / 1e9, (n, len(rate)))
    work = np.zeros((len(rate), station.servers))
    took = np.empty_like(services)
    for i in range(n):
        work -= gaps[i][:, np.newaxis]
        np.maximum(work, 0, out=work)
        work.sort(axis=1)
        work[:, 0] += services[i]
        took[i] = work[:, 0]
    at = gaps.cumsum(axis=0)
    inside = (at >= settle_s) & (at < ends)
    return [np.round(took[inside[:, j], j] * 1e9).astype(np.int64) for j in range(len(rate))]


def searched(cell: Cell, habits: Habits) -> list[Outcome]:
    """So many searches of one cell, in step, each with draws of its own."""
    rng = np.random.default_rng(habits.seed)
    capacity = cell.station.capacity_per_s
    searches = [
        Search(
            Limits(cell.limit_ns, alpha=habits.alpha),
            Course(
                round(first, 1),
                4 * capacity,
                closeness=habits.closeness,
                repeats_max=habits.repeats_max,
            ),
        )
        for first in capacity * rng.uniform(0.1, 0.5, habits.runs)
    ]
    repeats, lasted_s = [0] * habits.runs, [0.0] * habits.runs
    while True:
        wanted = {i: rate for i, each in enumerate(searches) if (rate := each.next()) is not None}
        if not wanted:
            rows = zip(searches, repeats, lasted_s, strict=True)
            return [Outcome(search.knee(), n, seconds) for search, n, seconds in rows]
        rates = list(wanted.values())
        lasts_s = [habits.lasts_s(rate) for rate in rates]
        took = responses(rng, cell.station, rates, habits.settle_s, lasts_s)
        for i, latency_ns, seconds in zip(wanted, took, lasts_s, strict=True):
            searches[i].tell(Measured(wanted[i], latency_ns))
            repeats[i] += 1
            lasted_s[i] += habits.settle_s + seconds


def held(knee: Knee, truth_per_s: float) -> bool:
    """Whether the truth is where it is said to be; no bound on a side excludes nothing."""
    low = 0.0 if knee.low_per_s is None else knee.low_per_s
    return low <= truth_per_s <= (np.inf if knee.high_per_s is None else knee.high_per_s)


def told(cell: Cell, outcomes: list[Outcome]) -> str:
    """One row of the table."""
    truth = cell.truth_per_s
    knees = [outcome.knee for outcome in outcomes]
    found = [knee for knee in knees if knee.low_per_s is not None and knee.high_per_s is not None]
    good = sum(held(knee, truth) for knee in knees)
    span = clopper_pearson(good, len(knees))
    low = sum((knee.low_per_s or 0) > truth for knee in knees)
    wide = [(knee.high_per_s or 0) / (knee.low_per_s or 1) for knee in found]
    repeats = np.median([outcome.repeats for outcome in outcomes])
    minutes = np.median([outcome.lasted_s for outcome in outcomes]) / 60
    why = ", ".join(f"{word} {n}" for word, n in Counter(knee.why for knee in knees).most_common())
    return (
        f"| {cell.name} | {truth:.1f} | {truth / cell.station.capacity_per_s:.2f} | "
        f"{good} of {len(knees)} ({span.low:.1%} to {span.high:.1%}) | {low} | "
        f"{len(knees) - good - low} | {len(found)} | {np.median(wide) if wide else np.nan:.2f} | "
        f"{repeats:.0f} | {minutes:.1f} | {why} |"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--settle", type=float, default=2.0)
    parser.add_argument("--arrivals", type=int, default=1_000)
    parser.add_argument("--closeness", type=float, default=1.1)
    parser.add_argument("--repeats-max", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=ALPHA_LOOK)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    habits = Habits(
        args.runs,
        args.seconds,
        args.arrivals,
        args.settle,
        args.closeness,
        args.repeats_max,
        args.alpha,
        args.seed,
    )
    print(
        "| cell | knee/s | load | held | too high | too low | found | high/low | repeats | minutes "
        "| over because |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name in args.cells.split(","):
        cell = Cell.parse(name)
        print(told(cell, searched(cell, habits)), flush=True)


if __name__ == "__main__":
    main()
