"""How far off the truth the probe's stamps are, by an echo that tells it.

The rule: pure; one history of a calibration's level in, figures out. The echo reads the same
clock, and its `at` stands in the sequence of its messages (see `probe.engine.echo`). What is
found holds the echo's own lateness and the loopback as well, and so bounds the probe's error
from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.history.records import Kind, Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.history.columns import History

US = 1_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Of errors without their signs, ns; None for none."""

    p50_ns: int | None
    p99_ns: int | None
    n: int


@dataclass(frozen=True, slots=True)
class Connects:
    """One level of connects; `good` of `planned` clients came in and left in order.

    `upgrade` is the error of the upgrade phase; `whole` that of the headline, from the
    intended start to ready; `launch_ns` the median gap between dials that were due together.
    """

    planned: int
    good: int
    upgrade: Spread
    whole: Spread
    launch_ns: int | None


@dataclass(frozen=True, slots=True)
class Messages:
    """One level of messages; `stamp` is the error of the stamp of their arrival."""

    planned: int
    got: int
    rate: float
    stamp: Spread


def connects(history: History) -> Connects:
    """Of a level of connects, or of a herd."""
    rows = history.attempts
    good = rows[(rows["ready"] > 0) & (rows["outcome"] == Outcome.NORMAL)]
    hello = history.of(Kind.GOT)
    held = dict(zip(hello["session"].tolist(), hello["a"].tolist(), strict=True))
    truth = np.array([held.get(session, 0) for session in good["session"].tolist()], np.int64) * US
    good, truth = good[truth > 0], truth[truth > 0]
    return Connects(
        planned=len(history.sessions),
        good=len(good),
        upgrade=_spread(good["head"] - good["sent"] - truth),
        whole=_spread(good["ready"] - good["intended"] - truth),
        launch_ns=_launch(history),
    )


def messages(history: History, beat: int, planned: int, start_ns: int) -> Messages:
    """Of a level of messages of type `beat`; `start_ns` is where the echo's `at` counts from."""
    rows = history.of(Kind.GOT)
    rows = rows[(rows["flag"] == beat) & (rows["a"] > 0)]
    times = np.sort(rows["t"])
    took = int(times[-1] - times[0]) if len(times) > 1 else 0
    written = start_ns + rows["a"].astype(np.int64) * US
    return Messages(
        planned=planned,
        got=len(rows),
        rate=(len(rows) - 1) * 1e9 / took if took else 0.0,
        stamp=_spread(rows["t"] - written),
    )


def _spread(errors_ns: NDArray[np.int64] | Any) -> Spread:
    if not len(errors_ns):
        return Spread(None, None, 0)
    ordered = np.sort(np.abs(errors_ns))
    at = [int(ordered[max(int(np.ceil(len(ordered) * q)) - 1, 0)]) for q in (0.5, 0.99)]
    return Spread(at[0], at[1], len(ordered))


def _launch(history: History) -> int | None:
    rows = history.sessions[history.sessions["dial"] > 0]
    rows = rows[np.lexsort((rows["dial"], rows["intended"]))]
    together = rows["intended"][1:] == rows["intended"][:-1]
    gaps = np.diff(rows["dial"])[together]
    return int(np.median(gaps)) if len(gaps) else None
