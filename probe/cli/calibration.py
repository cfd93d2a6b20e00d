"""What this machine was found to measure: kept, quoted in runs, and held against plans.

The rule: a calibration speaks of the machine and the versions that it was made with, and of
nothing else. Where there is none, or of another machine, that is said, and nothing is assumed
in its place. It lives in `$XDG_STATE_HOME/probe/calibration.json` (XDG Base Directory
specification; `~/.local/state` where the variable is not set).
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from probe.errors import ConfigError, Problem
from probe.model.plan import peak

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.model.plan import Plan
    from probe.model.scenario import Scenario

SCHEMA: Final = 1
MS: Final = 1e6


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """One level, played once; `why` it was not carried, "" where it was. Errors are p99, ns."""

    why: str
    error_ns: int | None
    upgrade_error_ns: int | None = None
    achieved: float
    cpu_percent: float | None


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """One rate (per second); carried where every repeat was."""

    rate: int
    repeats: list[Repeat]

    @property
    def carried(self) -> bool:
        """Whether all of them were within."""
        return bool(self.repeats) and not self.why

    @property
    def why(self) -> str:
        """Why not, by the first that was not."""
        return next((each.why for each in self.repeats if each.why), "")

    def range_ns(self, upgrade: bool = False) -> tuple[int, int] | None:
        """The smallest and the largest error of its repeats."""
        found = [e.upgrade_error_ns if upgrade else e.error_ns for e in self.repeats]
        known = [each for each in found if each is not None]
        return (min(known), max(known)) if known else None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The file. Gates are [released, arrived] within, ns; `launch_each_ns` is of a herd."""

    schema: int = SCHEMA
    made: str
    machine: dict[str, str]
    within_ns: int
    connects: list[Level]
    messages: list[Level]
    gated: int
    gates_ns: list[tuple[int, int]]
    launch_each_ns: int | None

    @property
    def words(self) -> str:
        """In one line, as it is quoted."""
        parts = []
        for levels, noun in ((self.connects, "connects/s"), (self.messages, "messages/s")):
            level = carried(levels)
            if level is not None and (found := level.range_ns()) is not None:
                parts.append(f"{level.rate:,} {noun} within {_ms(found[1])}")
        if self.gates_ns:
            widest = max(released for released, _ in self.gates_ns)
            parts.append(f"{self.gated} upgrades let go within {_ms(widest)}")
        return f"up to {', '.join(parts)} (measured {self.made[:10]})"

    @property
    def connects_per_s(self) -> int:
        """The highest rate that was carried."""
        level = carried(self.connects)
        return level.rate if level is not None else 0


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run says of its machine; `calibration` is None where none can be used."""

    words: str
    calibration: Calibration | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """For the history of a run."""
        found = self.calibration
        return {
            "words": self.words,
            "launch_each_ns": found.launch_each_ns if found is not None else None,
        }


def carried(levels: Sequence[Level]) -> Level | None:
    """The highest level up to which all were carried; levels go upwards."""
    last = None
    for level in levels:
        if not level.carried:
            break
        last = level
    return last


def machine() -> dict[str, str]:
    """What a calibration depends on, by name."""
    return {
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "probe": version("probe"),
    }


def where() -> Path:
    """The file."""
    state = os.environ.get("XDG_STATE_HOME", "")
    root = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return root / "probe" / "calibration.json"


def keep(calibration: Calibration) -> Path:
    """Write the file, whole or not at all; ConfigError where that cannot be."""
    path = where()
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(msgspec.json.format(msgspec.json.encode(calibration), indent=2) + b"\n")
        part.replace(path)
    except OSError as error:
        hint = "set XDG_STATE_HOME to a folder that can be written"
        why = f"cannot be written: {error.strerror}"
        raise ConfigError(Problem(str(path), "", why, hint=hint)) from None
    return path


def quote() -> Quote:
    """What is known of this machine, or why nothing is."""
    path = where()
    again = "`probe calibrate` makes one"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except FileNotFoundError:
        return Quote(f"none of this machine; {again}")
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Quote(f"{path} cannot be read and is not used; {again}")
    now = machine()
    other = [name for name in now if found.machine.get(name) != now[name]]
    if found.schema != SCHEMA or other:
        name = other[0] if other else "schema"
        was, is_ = found.machine.get(name, "another"), now.get(name, str(SCHEMA))
        return Quote(f"that of {found.made[:10]} is not used: {name} was {was}, is {is_}; {again}")
    return Quote(found.words, found)


def beyond(scenario: Scenario, plan: Plan, known: Quote, processes: int = 1) -> list[str]:
    """Where a plan asks for more than this machine was found to measure, in sentences.

    `processes` share it, which was not measured, and is told where it takes them. ConfigError
    where the scenario wants a plan beyond it refused. Without a calibration nobody knows, and
    nothing is told: that there is none stands in the verdict.
    """
    found = known.calibration
    if found is None:
        return []
    told, problems = [], []
    for stage in plan.stages:
        rate = peak(stage, plan.groups).rate if stage.stage.activity == "load" else 0.0
        if rate <= found.connects_per_s:
            continue
        why = (
            f"the stage {stage.name!r} plans up to {rate:,.0f} arrivals/s, and this machine is "
            f"calibrated {known.words}"
        )
        if rate <= found.connects_per_s * processes:
            told.append(f"{why}: of one process; {processes} together were not measured")
            continue
        told.append(why)
        hint = 'lower it, take more --workers, or set beyond = "warn" in the scenario'
        problems.append(Problem("scenario", f"stages.{stage.name}", why, hint=hint))
    if problems and scenario.beyond == "refuse":
        raise ConfigError(*problems)
    return told


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = (line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line)
    return next(names, "") or platform.processor() or platform.machine()


def _ms(ns: float) -> str:
    return f"{ns / MS:.2g} ms" if ns < 10 * MS else f"{ns / MS:,.0f} ms"
