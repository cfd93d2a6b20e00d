"""How often does a comparison see a difference where there is none, and where there is one?

    python -m benchmarks.aa_pairs [--pairs 100] [--slowed 10] [--blocks 4] [--again]
    python -m benchmarks.aa_pairs --simulate 200

Each pair is a real `probe duet` of short blocks on the lab: the same against the same (A/A), and,
as often as `--slowed` says, against a lab whose pauses between the events of a run are 10 % and
30 % longer, by turns. One line each in `results/aa_pairs.jsonl`: what was cut off goes on, and
`--again` begins anew. From the same blocks single runs are compared as well: each a with the b of
its pair, with nothing known of how much such runs differ, and with the runs before as its course.

The exit code is 0 where at most 9 in 100 A/A pairs were called better or worse, no pair slowed by
10 % was called same or better, and every pair slowed by 30 % was worse. Pairs whose times were
vetoed count for nothing, and where none is left of a kind, that is no success.

`--simulate` plays the same with numbers: service times, waves within a run and a drift from run to
run of so many per cent, in every way of comparing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.foreign import ROOT
from probe.check.comparing.comparison import compare
from probe.check.comparing.figures import Figure
from probe.check.comparing.rows import Arms, rows_of
from probe.check.comparing.taken import Taken
from probe.check.verdict import Outcome
from probe.cli.arms import taken
from probe.cli.blocks import resumed
from probe.stats.quantiles import smallest_n
from probe.stats.sides import blocks_of, quantile_side, rate_side

if TYPE_CHECKING:
    from collections.abc import Sequence

STORE = ROOT / "results" / "aa_pairs.jsonl"
DEADLINE_S: Final = 1800
PACE_US: Final = 20_000
FALSE_MAX: Final = 0.09
DIFFERENT: Final = ("worse", "better")
TIMED: Final = "run p50"
Row = dict[str, Any]

SCENARIO = """
title = "A block"
[stages.load]
patience = "5s"
expect.success = { rate = "90%" }
[stages.load.populations.users]
shape = { rate = "30/s", lasts = "3s" }
script = [{ do = "connect" }, { do = "run" }, { do = "close" }]
"""


def measured(number: int, slow: int, blocks: int) -> Row:
    """One duet, in a folder that is gone afterwards."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="probe-") as name:
        scenario = Path(name, "block.toml")
        scenario.write_text(SCENARIO)
        pace = [
            f"target.lab.pace={PACE_US}us",
            f"target.lab.pace={PACE_US * (100 + slow) // 100}us",
        ]
        out = Path(name, "out")
        done = subprocess.run(
            [
                sys.executable, "-m", "probe", "duet", str(scenario), "--a", "lab", "--b", "lab",
                "--blocks", str(blocks), "--set-a", pace[0], "--set-b", pace[1], "--json",
                "--quiet", "--out", str(out), "--seed", str(1000 + number),
            ],
            check=False, capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        row: Row = {"pair": number, "slow": slow, "blocks": blocks, "exit": done.returncode}
        if done.returncode in (0, 1, 3) and done.stdout:
            told = json.loads(done.stdout)
            row |= {"said": told["said"], "rows": _rows(told), **_single(out)}
        else:
            row |= {"said": "not played", "error": done.stderr[-300:]}
        shutil.rmtree(out, ignore_errors=True)
    return {**row, "took_s": round(time.monotonic() - begun, 1)}


def _rows(told: Row) -> Row:
    """Of each figure that was judged: how much, and what was said."""
    return {
        row["name"]: [round(row["change"], 4), row["said"]]
        for row in told["rows"]
        if not row["why"] and row["change"] is not None
    }


def _single(out: Path) -> Row:
    """Each pair's runs as if there were no others, and with the runs of a before as the course."""
    folder = next(out.glob("*-duet-*"))
    pairs = [(taken(a), taken(b)) for a, b in resumed(folder).pairs()]
    alone = [compare([a], [b], across=True).said for a, b in pairs]
    fit = [a for a, _ in pairs if not a.why_not]
    last = pairs[-1] if pairs else None
    known = compare([last[0]], [last[1]], course=fit, across=True).said if last else "not played"
    unfit = sum(bool(a.why_not or b.why_not) for a, b in pairs)
    return {"alone": dict(Counter(alone)), "with_course": known, "unfit_pairs": unfit}


def tell(rows: Sequence[Row]) -> int:
    """The table, and the exit code."""
    print(f"{'slowed':>7} {'pairs':>6} {'worse':>6} {'better':>7} {'same':>5} {'undecided':>10} "
          f"{'vetoed':>7}   single runs: worse or better / compared")  # fmt: skip
    good = True
    for slow in (0, 10, 30):
        every = [row for row in rows if row["slow"] == slow]
        # Where the probe's machine was too busy for its times, a pair says nothing.
        mine = [row for row in every if TIMED in row.get("rows", {})]
        said = Counter(row["said"] for row in mine)
        alone: Counter[str] = Counter()
        for row in mine:
            alone.update(row.get("alone", {}))
        single = sum(n for word, n in alone.items() if word != "nothing compared")
        wrong = sum(alone[word] for word in DIFFERENT)
        print(f"{slow:>5} % {len(mine):>6} {said['worse']:>6} {said['better']:>7} "
              f"{said['same']:>5} {said['undecided']:>10} {len(every) - len(mine):>7}   "
              f"{wrong} / {single}")  # fmt: skip
        good &= bool(mine)
        if slow == 0:
            good &= sum(said[word] for word in DIFFERENT) <= FALSE_MAX * max(len(mine), 1)
        elif slow == 10:
            good &= not said["better"] and not said["same"]
        else:
            good &= said["worse"] == len(mine)
    return 0 if good else 1


def simulated(rng: np.random.Generator, n: int, slower: float, drift: float) -> Taken:
    """One run: exponential service times, waves that last some samples, a drift of its own."""
    waves = np.zeros(n)
    noise = rng.normal(0, 0.1, n)
    for k in range(1, n):
        waves[k] = 0.5 * waves[k - 1] + noise[k]
    took = (2e6 + rng.exponential(20e6, n) * slower) * np.exp(rng.normal(0, drift) + waves)
    event = took * 1.5 + rng.exponential(5e6, n)
    figures = {}
    for name, values, quantiles in (
        ("connect", took, (0.5, 0.95, 0.99)),
        ("first event", event, (0.5, 0.95)),
    ):
        for q in quantiles:
            side = quantile_side(values, blocks_of(n), q)
            each = n >= smallest_n(q, side="upper")
            figure = Figure(
                "s", f"{name} p{q * 100:g}", "log", side, n, each=each, samples=(values, q)
            )
            figures[figure.id] = figure
    good = np.ones(n, dtype=np.int64)
    share = Figure(
        "s", "success", "share", rate_side(good, good), n, more_is_worse=False, counts=(good, good)
    )
    figures[share.id] = share
    return Taken(
        "", "", {}, "", Outcome.PASS, "", "", {}, {}, {}, figures=figures, findings=()
    )  # fmt: skip


def ways(rng: np.random.Generator, n: int, slower: float, drift: float) -> dict[str, Arms]:
    """Every way of comparing, each with runs of its own."""

    def some(count: int, scale: float = 1.0) -> list[Taken]:
        return [simulated(rng, n, scale, drift) for _ in range(count)]

    return {
        "single": Arms(some(1), some(1, slower)),
        "single, 8 before": Arms(some(1), some(1, slower), some(8)),
        "3 and 3": Arms(some(3), some(3, slower)),
        "8 and 8": Arms(some(8), some(8, slower)),
        "duet of 4": Arms(some(4), some(4, slower), paired=True),
        "duet of 12": Arms(some(12), some(12, slower), paired=True),
    }


def whole(arms: Arms) -> str:
    """What the rows come to."""
    words = {row.said for row in rows_of([("s", arms)]) if row.judged}
    return next((word for word in (*DIFFERENT, "undecided") if word in words), "same")


def simulate(times: int, seed: int) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    print(f"of {times} comparisons each; in a run 300 or 1,000 samples")
    print(f"{'way':<18}{'samples':>8}{'drift':>7}   A/A false   10 % worse/same   30 % worse")
    for n in (300, 1000):
        for drift in (0.02, 0.05, 0.1):
            counts: dict[str, dict[float, Counter[str]]] = {}
            for slower in (1.0, 1.1, 1.3):
                for _ in range(times):
                    for way, arms in ways(rng, n, slower, drift).items():
                        by = counts.setdefault(
                            way, {1.0: Counter(), 1.1: Counter(), 1.3: Counter()}
                        )
                        by[slower][whole(arms)] += 1
            for way, by in counts.items():
                false = sum(by[1.0][word] for word in DIFFERENT)
                print(f"{way:<18}{n:>8}{drift:>6.0%}    {false / times:>9.1%}"
                      f"{by[1.1]['worse'] / times:>11.0%} /{by[1.1]['same'] / times:>4.0%}"
                      f"{by[1.3]['worse'] / times:>13.0%}", flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=100, help="A/A pairs")
    parser.add_argument("--slowed", type=int, default=10, help="pairs of each slower lab")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--simulate", type=int, default=0, metavar="TIMES")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.simulate:
        simulate(options.simulate, options.seed)
        return 0
    if options.again:
        STORE.unlink(missing_ok=True)
    rows = [json.loads(line) for line in STORE.read_text().splitlines()] if STORE.exists() else []
    done = {(row["slow"], row["pair"]) for row in rows}
    wanted = sorted(
        [(k / options.pairs, 0, k) for k in range(options.pairs)]
        + [(k / options.slowed, slow, k) for slow in (10, 30) for k in range(options.slowed)]
    )
    for _, slow, number in wanted:
        if (slow, number) in done:
            continue
        row = measured(number, slow, options.blocks)
        rows.append(row)
        with STORE.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        print(f"{slow:>3} %  pair {number}: {row['said']}  {row['took_s']} s", flush=True)
    return tell(rows)


if __name__ == "__main__":
    sys.exit(main())
