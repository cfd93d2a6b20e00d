"""What the run tells its onlooker: one JSON object per line, in the order of the classes here.

`Facts` once, before the run; `Now` again and again; `Over` when the run has ended; `Judged` when
its verdict stands. All times are of one clock (`probe.clock`), which both processes read.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Mode = Literal["block", "lines", "none"]


class StageFacts(msgspec.Struct, frozen=True):
    """What is known of a stage beforehand; times in ns.

    `span_ns`: until its last client is due, of one trial; 0 where that is found out on the way.
    """

    name: str
    activity: str
    anchor: str
    trials: int
    clients: int
    budget_ns: int
    span_ns: int
    patience_ns: int


class Facts(msgspec.Struct, frozen=True, tag="facts"):
    """What is run, and how it is to be shown. `history` and `report` are paths.

    `every_s`: how often a line is written. `token`: what the stop button must show; "" for none.
    """

    title: str
    target: str
    run_id: str
    seed: int
    history: str
    report: str
    stages: tuple[StageFacts, ...]
    mode: Mode
    every_s: float
    began_ns: int
    colours: bool = False
    token: str = ""


class LevelNow(msgspec.Struct, frozen=True):
    """The level of a climb that is under way, the how manyeth time, and what is proven so far."""

    shown: str
    again: int
    repeats: int
    span_ns: int
    last: str = ""
    within: str = ""
    beyond: str = ""


class Now(msgspec.Struct, frozen=True, tag="now"):
    """The live counters at `t_ns`; all are sums over the run, of all its workers.

    `anomalies`: trials of a race that went wrong; None: there is no race. `unfit`: what of this
    machine is over a limit.
    """

    t_ns: int
    stage: str
    trial: int
    trials: int
    launched: int
    alive: int
    ready: int
    failed: int
    messages: int
    runs: int
    lag_ns_max: int
    anomalies: int | None
    level: LevelNow | None
    unfit: tuple[str, ...]
    stopping: bool


class Over(msgspec.Struct, frozen=True, tag="over"):
    """The run has ended, and `how`; what follows is its judgement."""

    how: str


class Judged(msgspec.Struct, frozen=True, tag="judged"):
    """The verdict, as reports show it, with its first reasons."""

    verdict: str
    headline: str
    reasons: tuple[str, ...]


Told = Facts | Now | Over | Judged

STOP = b"stop\n"
"""What the onlooker says when somebody wants the run to end."""


def line(told: Told) -> bytes:
    """One line of the pipe."""
    return msgspec.json.encode(told) + b"\n"


READ = msgspec.json.Decoder(Told)
"""Reads one line; msgspec.ValidationError for anything else."""
