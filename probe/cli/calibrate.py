"""`probe calibrate`: what this machine can honestly measure, found beforehand.

Runs of the engine against an echo in its own process, which tells the truth (`probe.engine.
echo`), at rates that double. A rate is carried where every repeat of it was: fit by the same
veto as a run, nobody lost, under 80 % of a core, and 99 of 100 errors within the limit. The
highest one up to which all were carried is the answer; the one above is told with its reason.
What the host takes (steal) is no trait of this machine: a repeat in which it took more than a
run may lose is played again, twice at most.

The rule: a machine that is not fit at the lowest rate, before or after, is not calibrated at
all: nothing is stored, and the exit code is that of INVALID.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer
from rich.table import Table

from probe.check import fidelity
from probe.check.fitness import fitness
from probe.check.verdict import EXIT_CODES, Outcome
from probe.check.view import views
from probe.check.words import percent
from probe.cli import calibration as store
from probe.cli.calibration import Calibration, Level, Repeat
from probe.cli.console import console
from probe.clock import now_ns
from probe.engine import calibration as play
from probe.history.columns import History
from probe.history.folder import HISTORY
from probe.model.resolved import Resolved, target_facts
from probe.stats.fit import CPU_TAINT, STEAL_TAINT
from probe.units import duration_ns, format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from probe.check.verdict import Fitness

RATES: Final = (125, 250, 500, 1_000, 2_000, 4_000, 8_000)
MESSAGE_RATES: Final = (1_000, 4_000, 16_000, 64_000, 256_000)
HERD: Final = 200
REPEATS: Final = 3
GATES: Final = 10
AGAIN: Final = 2
CLIMB_NS: Final = 30_000_000_000
"""No level is begun later than this after the first of its kind, so that it ends in a minute."""
WITHIN: Final = "10ms"
Once = Callable[[int], Repeat]


def command(
    within: Annotated[
        str, typer.Option(help="The error that 99 of 100 measurements must be within.")
    ] = WITHIN,
    show: Annotated[
        bool, typer.Option("--show", help="Tell what is known, and measure nothing.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few low rates, once each; nothing is stored.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON on stdout.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Find out what this machine can honestly measure (a minute); later runs quote it."""
    screen = console(no_color=no_color, stderr=json)
    if show:
        known = store.quote()
        screen.print(f"calibration: {known.words}", markup=False, soft_wrap=True)
        if json and known.calibration is not None:
            sys.stdout.buffer.write(_json(known.calibration))
        return
    try:
        limit_ns = duration_ns(within)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--within") from None
    screen.print(
        "measuring against an echo on this machine, which knows how long all really took. A rate "
        f"is carried if nothing was lost, and 99 of 100 times were off by at most {within}. For "
        f"{'some seconds' if quick else 'about a minute'} nothing else should run here",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    found, unfit = measure(screen, limit_ns, quick=quick)
    if found is None:
        screen.print(
            f"INVALID  this machine is not fit to be calibrated now: {unfit}",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        raise typer.Exit(EXIT_CODES[Outcome.INVALID])
    _show(screen, found)
    if json:
        sys.stdout.buffer.write(_json(found))
    if quick:
        screen.print("nothing is stored of a quick look", markup=False)
    else:
        screen.print(f"stored in {store.keep(found)}", markup=False, soft_wrap=True)


def measure(
    screen: Console, within_ns: int, *, quick: bool = False
) -> tuple[Calibration | None, str]:
    """All of it; None and why where the machine was not fit."""
    rates, message_rates = (RATES[:2], MESSAGE_RATES[:1]) if quick else (RATES, MESSAGE_RATES)
    repeats, gates = (1, 2) if quick else (REPEATS, GATES)
    with tempfile.TemporaryDirectory(prefix="probe-calibrate-") as name:
        echo = play.start_echo()
        try:
            level = _Levels(echo, Path(name), within_ns)
            connects = climb(level.connects, rates, repeats, screen, "connects/s")
            if not connects[0].carried:
                return None, f"{connects[0].rate} connects/s: {connects[0].why}"
            messages = climb(level.messages, message_rates, repeats, screen, "messages/s")
            if not messages[0].carried:
                return None, f"{messages[0].rate:,} messages/s: {messages[0].why}"
            launch = level.herd(HERD)
            released = play.let_go(echo, Path(name) / "gate", gates)
            after = level.connects(rates[0])
            if after.why:
                return None, f"{rates[0]} connects/s, once more at the end: {after.why}"
        finally:
            echo.stop()
    made = Calibration(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=store.machine(),
        within_ns=within_ns,
        connects=connects,
        messages=messages,
        gated=play.GATED,
        gates_ns=released,
        launch_each_ns=launch,
    )
    return made, ""


def climb(
    once: Once, rates: tuple[int, ...], repeats: int, screen: Console, noun: str
) -> list[Level]:
    """Each rate in turn, up to the first that is not carried; the time is bounded."""
    levels: list[Level] = []
    began = now_ns()
    for rate in rates:
        made = []
        for _ in range(repeats):
            made.append(once(rate))
            if made[-1].why:
                break
        levels.append(Level(rate=rate, repeats=made))
        level = levels[-1]
        screen.print(f"  {rate:,} {noun}: {level.why or 'carried'}", markup=False, soft_wrap=True)
        if not level.carried or now_ns() - began > CLIMB_NS:
            break
    return levels


class _Levels:
    """Plays levels, each into a folder of its own, and judges them."""

    def __init__(self, echo: play.Echo, folder: Path, within_ns: int) -> None:
        self._echo = echo
        self._folder = folder
        self._within_ns = within_ns
        self._played = 0

    def connects(self, rate: int) -> Repeat:
        history, fit = self._undisturbed(play.connects(rate))
        found = fidelity.connects(history)
        why = _why(fit) or _lost(found.good, found.planned, "connects")
        return self._repeat(why, found.whole, found.good, fit, found.upgrade)

    def messages(self, rate: int) -> Repeat:
        history, fit = self._undisturbed(play.messages(rate))
        planned = max(rate // play.STREAMS, 1) * play.STREAMS
        found = fidelity.messages(history, play.BEAT, planned, self._echo.start_ns)
        why = _why(fit) or _lost(found.got, found.planned, "messages")
        return self._repeat(why, found.stamp, found.rate, fit)

    def herd(self, clients: int) -> int | None:
        history, _ = self._play(play.herd(clients))
        return fidelity.connects(history).launch_ns

    def _repeat(
        self,
        why: str,
        error: fidelity.Spread,
        achieved: float,
        fit: Fitness,
        upgrade: fidelity.Spread | None = None,
    ) -> Repeat:
        p99 = error.p99_ns
        if not why and (p99 is None or p99 > self._within_ns):
            off = "nothing" if p99 is None else f"an error of {format_duration(p99)} (p99)"
            why = f"{off}, and {format_duration(self._within_ns)} is the limit"
        cpu = fit.figures.get("cpu_max_percent_of_core")
        if not why and cpu is not None and cpu * 10 > CPU_TAINT:
            why = f"it took {percent(cpu / 100)} of a core"
        return Repeat(
            why=why,
            error_ns=p99,
            upgrade_error_ns=upgrade.p99_ns if upgrade is not None else None,
            achieved=round(achieved, 3),
            cpu_percent=cpu,
        )

    def _undisturbed(self, stages: dict[str, object]) -> tuple[History, Fitness]:
        for _ in range(AGAIN):
            history, fit = self._play(stages)
            if not _stolen(fit):
                return history, fit
        return self._play(stages)

    def _play(self, stages: dict[str, object]) -> tuple[History, Fitness]:
        self._played += 1
        folder = self._folder / str(self._played)
        folder.mkdir()
        _, scenario = play.play(self._echo, stages, folder)
        history = History.open(folder / HISTORY)
        facts = target_facts("echo", self._echo.target)
        resolved = Resolved("calibration", scenario, play.DIALECT, facts)
        return history, fitness(history, resolved, views(history, resolved))


def _stolen(fit: Fitness) -> bool:
    return float(fit.figures.get("steal_percent_of_machine", 0.0)) * 10 > STEAL_TAINT


def _why(fit: Fitness) -> str:
    return "; ".join(fit.invalid + fit.taints)


def _lost(good: int, planned: int, noun: str) -> str:
    return "" if good == planned else f"only {good:,} of {planned:,} {noun} succeeded"


def _show(screen: Console, found: Calibration) -> None:
    table = Table("rate", "off by at most (p99)", "upgrade alone", "CPU of a core", "")
    for levels, noun in ((found.connects, "connects/s"), (found.messages, "messages/s")):
        for level in levels:
            cpu = [each.cpu_percent for each in level.repeats if each.cpu_percent is not None]
            table.add_row(
                f"{level.rate:,} {noun}",
                _range(level.range_ns()),
                _range(level.range_ns(upgrade=True)),
                f"{max(cpu):.0f} %" if cpu else "",
                level.why or "carried",
            )
    screen.print(table)
    ends = [sorted(each[at] for each in found.gates_ns) for at in (0, 1)]
    left, arrived = (_range((spreads[0], spreads[-1])) for spreads in ends)
    screen.print(
        f"{found.gated} upgrades of a race, let go at one instant: they left within {left}, and "
        f"arrived within {arrived}",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    screen.print(f"this machine measures {found.words}", markup=False, soft_wrap=True)


def _range(ends: tuple[int, int] | None) -> str:
    if ends is None:
        return ""
    low, high = (format_duration(each) for each in ends)
    return low if low == high else f"{low} to {high}"


def _json(found: Calibration) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"
