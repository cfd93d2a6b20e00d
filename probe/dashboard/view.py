"""The view: all that is shown at one moment, the same for terminal, lines and page.

Numbers are already in the words they are read in, and what a peer wrote is already made visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from probe.dashboard.light import State

Phase = Literal["starting", "running", "stopping", "judging", "judged"]


class Quantile(msgspec.Struct, frozen=True):
    """One percentile of connect; `between` its interval, "" where there is none."""

    name: str
    words: str
    between: str


class Trouble(msgspec.Struct, frozen=True):
    """One kind of failure: how often, how long ago the newest was met, and its words."""

    name: str
    count: int
    ago: str
    newest: str


class View(msgspec.Struct, frozen=True):
    """See the module. `shares`: of the run that is over, None where nobody knows."""

    state: Phase
    title: str
    target: str
    run_id: str
    seed: int
    report: str
    elapsed: str
    stage: str
    activity: str
    place: str
    details: tuple[str, ...]
    left: tuple[str, ...]
    share: float | None
    clients: tuple[str, ...]
    rates: tuple[str, ...]
    connect_of: str
    connect: tuple[Quantile, ...]
    connect_on: tuple[str, ...]
    fit: State
    reasons: tuple[str, ...]
    lag: str
    troubles: tuple[Trouble, ...]
    kinds: int
    series: dict[str, list[float]]
    verdict: str = ""
    headline: str = ""
    why: tuple[str, ...] = ()
    ended: str = ""
