"""`probe selftest`: the probe against its own lab, defect by defect, and what it saw of each.

Every run is a `probe run` of its own. What is done is kept at once, so that a selftest that
was broken off goes on where it stopped. A run that shows nothing, because the machine was
busy or there was no verdict, is tried again: at once, and by the next selftest.
"""

from __future__ import annotations

import json
import shutil
import signal
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Final

import typer

import probe
from probe.certificate import pages
from probe.certificate.case import HEALTHY, Order, orders
from probe.certificate.cases import CASES
from probe.certificate.matrix import matrix
from probe.certificate.runner import Stopped, run
from probe.certificate.screen import tables
from probe.certificate.sight import Sight, complaints, sight
from probe.certificate.sound import SOUND
from probe.certificate.store import Store, version_of
from probe.cli.console import console
from probe.errors import ConfigError, Problem
from probe.model.reading import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from probe.certificate.case import Case, Level, Sound
    from probe.certificate.matrix import Matrix
    from probe.certificate.result import Result

EXIT_WRONG: Final = 1
EXIT_OPEN: Final = 3
EXIT_INTERRUPTED: Final = 130
TRIES_MAX: Final = 3
RUNS: Final = "runs.ndjson"
JSON: Final = "matrix.json"
PAGE: Final = "certificate.md"
SHOWN_MAX: Final = 20


def command(
    full: Annotated[
        bool,
        typer.Option(
            "--full/--quick",
            help="Full: ten runs at each dose, and ten or more of every healthy scenario. "
            "Quick: one at full dose, one healthy.",
        ),
    ] = False,
    repeats: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How often each run is made.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A defect, or a scenario for its healthy runs (repeatable)."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="Runs at a time; each keeps two cores busy.")
    ] = 1,
    out: Annotated[Path, typer.Option(help="Where it is all kept.")] = Path("results/certificate"),
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Run every defect of the lab, and the healthy lab, and tell what the probe saw."""
    cases, sound = _chosen(only or [])
    levels: tuple[Level, ...] = ("full", "least", "healthy") if full else ("full", "healthy")
    planned = orders(cases, sound, levels=levels, repeats=repeats or (None if full else 1))
    version = version_of(Path(probe.__file__).parent.parent)
    try:
        store = Store(out / RUNS, version)
    except OSError as error:
        raise ConfigError(
            Problem("--out", "", f"cannot be written: {error.strerror}", str(out))
        ) from None
    screen = console(no_color=no_color)
    work = _Work(screen, store, out / "runs", {case.defect: case for case in cases})
    interrupted = work.all(planned, jobs)
    whole = matrix(cases, sound, planned, work.results(planned), version)
    _write(out, whole)
    _show(screen, whole, out)
    if interrupted and whole.missing:
        screen.print(
            f"stopped with {whole.missing:,} of {len(planned):,} runs to be made; the same command "
            "goes on from here",
            markup=False,
        )
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(EXIT_WRONG if whole.wrong else EXIT_OPEN if whole.open_ else 0)


def _chosen(only: Sequence[str]) -> tuple[tuple[Case, ...], tuple[Sound, ...]]:
    """What `--only` names; all of it where nothing is named. ConfigError for a wrong name."""
    if not only:
        return CASES, SOUND
    known = [*(case.defect for case in CASES), *(each.scenario for each in SOUND)]
    problems = [
        Problem("--only", "", "no defect and no scenario of that name", name, ", ".join(known),
                nearest(name, known))
        for name in only if name not in known
    ]  # fmt: skip
    if problems:
        raise ConfigError(*problems)
    cases = tuple(case for case in CASES if case.defect in only)
    return cases, tuple(each for each in SOUND if each.scenario in only)


@dataclass(frozen=True, slots=True)
class _Work:
    """Does what is still to be done; a line for each."""

    screen: Console
    store: Store
    folder: Path
    cases: dict[str, Case]

    def results(self, planned: Sequence[Order]) -> list[Result]:
        return [found for order in planned if (found := self.store.get(order)) is not None]

    def all(self, planned: Sequence[Order], jobs: int) -> bool:
        """Whether it was interrupted: then what was under way is stopped and not kept."""
        left = [order for order in planned if not self._shown(order)]
        done = len(planned) - len(left)
        there = f", {done:,} of them are there" if done else ""
        self.screen.print(
            f"{len(planned):,} runs{there}; version {self.store.version}", markup=False
        )
        stop = Event()
        before = {
            number: signal.signal(number, lambda *_: stop.set())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            for result in self._each(left, jobs, stop):
                done += 1
                self.store.add(result)
                self._say(result, done, len(planned))
            return stop.is_set()
        finally:
            for number, action in before.items():
                signal.signal(number, action)

    def _each(self, left: Sequence[Order], jobs: int, stop: Event) -> Iterator[Result]:
        """The results as they come, at most `jobs` at a time; after `stop` no more are begun."""
        queue = iter(left)
        with ThreadPoolExecutor(jobs) as pool:
            going: set[Future[Result | None]] = set()
            try:
                while True:
                    while len(going) < jobs and not stop.is_set():
                        order = next(queue, None)
                        if order is None:
                            break
                        going.add(pool.submit(self._one, order, stop))
                    if not going:
                        return
                    finished, going = wait(going, return_when=FIRST_COMPLETED)
                    for each in finished:
                        if (result := each.result()) is not None:
                            yield result
            except BaseException:
                stop.set()  # so that those under way end, too
                raise

    def _shown(self, order: Order) -> bool:
        """Whether it was done, and showed something: what did not is made again."""
        result = self.store.get(order)
        if result is None:
            return False
        return sight(self._case(result), result) not in {Sight.UNFIT, Sight.BROKEN}

    def _case(self, result: Result) -> Case | None:
        return None if result.level == HEALTHY else self.cases[result.case]

    def _one(self, order: Order, stop: Event) -> Result | None:
        """One order, again where the machine was unfit; None where it was stopped."""
        folder = self.folder / order.name
        for tries in range(1, TRIES_MAX + 1):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                result = replace(run(order, folder, self.store.version, stop), tries=tries)
            except Stopped:
                shutil.rmtree(folder, ignore_errors=True)
                return None
            if sight(self._case(result), result) is not Sight.UNFIT:
                break
        wrong, unsure = complaints(self._case(result), result)
        if not wrong and not unsure:
            shutil.rmtree(folder, ignore_errors=True)  # what is as expected needs no evidence
        return result

    def _say(self, result: Result, done: int, planned: int) -> None:
        case = self._case(result)
        wrong, unsure = complaints(case, result)
        what = sight(case, result)
        codes = ", ".join(f"{code} {count:,}" for code, count in result.codes.items())
        more = codes or ("" if result.verdict == "PASS" else result.why)
        words = "; ".join((*wrong, *unsure)) or f"{what}  {result.verdict}  {more}".rstrip()
        hits = "" if case is None else result.hits.get(case.defect)
        counted = f"  (ledger {hits:,})" if hits else ""
        mark = "  !" if wrong else "  ?" if unsure else "   "
        self.screen.print(
            f"{mark}{done:>4}/{planned}  {result.name:<34} {result.wall_s:5.1f} s  "
            f"{words}{counted}",
            markup=False,
            soft_wrap=True,
        )


def _write(out: Path, whole: Matrix) -> None:
    made = datetime.now(UTC).isoformat(timespec="minutes").replace("+00:00", "Z")
    text = json.dumps(pages.as_json(whole, made), indent=2, allow_nan=False)
    (out / JSON).write_text(text + "\n", encoding="utf-8")
    (out / PAGE).write_text(pages.markdown(whole, made), encoding="utf-8")


def _show(screen: Console, whole: Matrix, out: Path) -> None:
    for table in tables(whole):
        screen.print()
        screen.print(table)
    screen.print()
    for title, each in (("not as expected", whole.wrong), ("not judged", whole.open_)):
        if each:
            screen.print(f"{title}:", markup=False)
        for words in each[:SHOWN_MAX]:
            screen.print(f"  {words}", markup=False, soft_wrap=True)
        if len(each) > SHOWN_MAX:
            screen.print(f"  and {len(each) - SHOWN_MAX:,} more", markup=False)
    screen.print(pages.conclusion(whole), markup=False, soft_wrap=True)
    screen.print(f"{out / PAGE}, {out / JSON}; runs in {out / RUNS}", markup=False, soft_wrap=True)
