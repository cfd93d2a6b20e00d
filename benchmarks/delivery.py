"""How long the judging of delivery takes, and how much memory, by number of receipts.

    python -m benchmarks.delivery [--receipts N]

Each size is judged in a process of its own, since peak memory never falls. The history is
made of arrays: sessions of 20 runs of 10 events each, in time order as a journal has them,
with one receipt in a thousand missing, doubled or swapped.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from probe.check.judge import judge
from probe.history.columns import History
from probe.history.records import DTYPE, NOBODY, Kind, Outcome, Phase, Run
from probe.model.dialect import Dialect
from probe.model.resolved import Resolved
from probe.model.scenario import Scenario

SIZES = (10**5, 10**6, 10**7)
RUNS, EVENTS, ODD = 20, 10, 1000
MS = 1_000_000
DIALECT = Dialect.model_validate(
    {
        "title": "benchmark",
        "present": {"default": {}},
        "ready": {"event": "hello"},
        "run": {
            "start": "{run} {size}",
            "events": [
                "started",
                {"type": "thinking", "times": "1..*"},
                "tool",
                "done",
                "completed",
            ],
        },
        "promises": {"numbered": True},
    }
)
TYPES = np.array([2] + [3] * (EVENTS - 4) + [4, 5, 6])


def synthetic(receipts: int) -> History:
    """A history with about so many receipts of events of runs."""
    sessions = max(receipts // (RUNS * EVENTS), 1)
    rng = np.random.default_rng(1)
    session = np.repeat(np.arange(sessions), RUNS)
    number = np.tile(np.arange(RUNS), sessions)
    key = (session.astype(np.int64) << 32) | number
    start = 1_000 * MS + session * (MS // 10) + number * 50 * MS

    def rows(n: int, kind: int, **columns: object) -> np.ndarray:
        out = np.zeros(n, dtype=DTYPE)
        out["kind"] = kind
        for name, value in columns.items():
            out[name] = value
        return out

    each = np.arange(sessions)
    first, last = start[::RUNS], start[RUNS - 1 :: RUNS] + 100 * MS
    dial = first - 5 * MS - rng.integers(0, MS, sessions)
    at = np.repeat(start, EVENTS) + np.tile(np.arange(1, EVENTS + 1), len(key)) * MS
    got = rows(
        len(at), Kind.GOT, t=at, session=np.repeat(session, EVENTS),
        flag=np.tile(TYPES, len(key)), a=np.tile(np.arange(1, EVENTS + 1), len(key)),
        b=np.repeat(key, EVENTS),
    )  # fmt: skip
    swapped = np.arange(ODD, len(got) - 1, 3 * ODD)
    got["a"][swapped], got["a"][swapped + 1] = got["a"][swapped + 1], got["a"][swapped].copy()
    doubled = got[2 * ODD :: 3 * ODD]
    got = np.delete(got, np.arange(0, len(got), 3 * ODD))
    parts = [
        rows(2, Kind.STAGE, t=[MS, int(last.max()) + 1000 * MS], session=NOBODY, flag=[0, 1]),
        rows(sessions, Kind.INTENDED, t=dial - 1000, session=each, b=each),
        rows(sessions, Kind.DIAL, t=dial, session=each),
        rows(sessions, Kind.TCP, t=dial + 1000, session=each),
        rows(sessions, Kind.HEAD, t=dial + 2000, session=each, a=101),
        rows(sessions, Kind.READY, t=first - MS, session=each),
        rows(len(key), Kind.RUN, t=start, session=session, flag=Run.BEGUN, a=EVENTS - 4, b=key),
        rows(len(key), Kind.RUN, t=start + 11 * MS, session=session, flag=Run.ENDED, b=key),
        got, doubled,
        rows(sessions, Kind.SENTINEL, t=last, session=each, flag=0),
        rows(sessions, Kind.SENTINEL, t=last + MS, session=each, flag=1),
        rows(sessions, Kind.TRAFFIC, t=last + 2 * MS, session=each, flag=1, a=1, b=1000),
        rows(sessions, Kind.END, t=last + 2 * MS, session=each, flag=Phase.READY, a=Outcome.NORMAL),
        rows(sessions, Kind.DONE, t=last + 3 * MS, session=each),
    ]  # fmt: skip
    whole = np.concatenate(parts)
    del parts, got, at
    whole = whole[np.argsort(whole["t"], kind="stable")]
    meta = {
        "schema": 2, "anchor": {"mono_ns": 0, "wall_ns": 0}, "complete": True,
        "ended": "complete", "types": list(DIALECT.types), "endpoints": ["main"],
    }  # fmt: skip
    return History(whole, meta)


def measure(receipts: int) -> str:
    """Judge once, and say how it went."""
    history = synthetic(receipts)
    made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    expect = {"delivery": {}, "runs": {"rate": "99%"}}
    stage = {"populations": {"users": {"shape": {"clients": 1}}}, "expect": expect}
    scenario = Scenario.model_validate({"title": "benchmark", "stages": {"load": stage}})
    resolved = Resolved("benchmark", scenario, DIALECT, {"name": "none"})
    begin = time.perf_counter()
    judgement = judge(history, resolved)
    took = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    totals = judgement.summary["delivery"]["load"]["totals"]
    seen = {name: totals[name] for name in ("delivered", "lost", "duplicated", "reordered")}
    return (
        f"{receipts:>12,} receipts: {took:6.2f} s, peak {peak:,.0f} MiB "
        f"({made:,.0f} MiB when the history was made), {seen}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--receipts", type=int, help="judge so many in this process")
    receipts = parser.parse_args().receipts
    if receipts:
        print(measure(receipts))
        return
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.delivery", "--receipts", str(size)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
