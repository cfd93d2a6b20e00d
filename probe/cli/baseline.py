"""`--baseline`: a run is compared with another one, and whoever judges it again says the same.

The rule: what it is compared with, and the runs that tell how much such runs differ, are chosen
before a socket opens and kept in the run directory (`baseline.json`), so that the comparison is
a function of stored files. Where those are gone, the comparison that was stored stands, and is
said to be of then. With `--fail-on` it is a check, `run.compared`, and part of the verdict.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from probe.check.comparing.comparison import compare
from probe.check.comparing.rows import SMALL
from probe.check.verdict import Check, Outcome, fold
from probe.cli.arms import (
    course_of,
    readable,
    runs_at,
    same_course,
    stored,
    taken,
    taken_all,
    told_of,
)
from probe.cli.comparing import FailOn
from probe.errors import ConfigError, HistoryError, Problem
from probe.history.folder import LATEST
from probe.report.comparison import (
    NAME,
    comparison_document,
    headline,
    smallest,
    unsettled,
    worst,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probe.check.verdict import Judgement
    from probe.cli.files import Loaded

REQUEST: Final = "baseline.json"
CHECK: Final = "run.compared"
SCHEMA: Final = 1
_OPEN: Final = Check(
    CHECK, "run", False, Outcome.SKIPPED, "comparison", 0,
    "no run of this scenario and target had passed yet: there was nothing to compare with",
)  # fmt: skip
RunOption = Annotated[
    str | None,
    typer.Option(help="Compare with this run or directory; `latest`: the last that passed."),
]
FailOption = Annotated[
    FailOn | None,
    typer.Option("--fail-on", help="With --baseline: fail where it is worse, or undecided."),
]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What a run is compared with: run directories, and those that tell the spread."""

    before: tuple[Path, ...]
    known: tuple[Path, ...]
    fail_on: FailOn | None


def baseline_of(
    name: str | None, fail_on: FailOn | None, out: Path, loaded: Loaded
) -> tuple[Baseline | None, list[str]]:
    """The baseline, and what is to be said of it. A first run has none, and that is said."""
    if name is None:
        if fail_on is not None:
            raise ConfigError(Problem("--fail-on", "", "goes with --baseline"))
        return None, []
    if name != LATEST:
        folders = runs_at(out, name)
        taken_all(folders)  # what cannot be read is better told now than after the run
    else:
        folders = _last_good(out, loaded.name, loaded.target_name)
        if not folders:
            origin = f"{loaded.name} -> {loaded.target_name}"
            # A gate that was asked for and stood open is told in the run as well.
            none = None if fail_on is None else Baseline((), (), fail_on)
            return none, [f"no run of {origin} has passed yet: there is nothing to compare with"]
    known = course_of(folders, ())
    told = f"compared with {folders[-1].name}"
    if len(folders) > 1:
        told = f"compared with {len(folders)} runs, the last {folders[-1].name}"
    if headline := told_of(folders[-1]).get("headline"):
        told += f", which ended {headline}"
    return Baseline(tuple(folders), tuple(known), fail_on), [told]


def keep_baseline(folder: Path, baseline: Baseline | None) -> None:
    """Write down in the run directory what it is to be compared with."""
    if baseline is None:
        return
    whole = {
        "schema": SCHEMA,
        "before": _relative(folder, baseline.before),
        "known": _relative(folder, baseline.known),
        "small": SMALL,
        "fail_on": baseline.fail_on,
    }
    (folder / REQUEST).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def compared(judgement: Judgement, folder: Path) -> Judgement:
    """The judgement with its comparison, where the run was to be compared with something."""
    request = _read(folder / REQUEST)
    if request is None:
        return judgement
    if not request.get("before"):
        return replace(judgement, checks=(*judgement.checks, _OPEN))
    told = _told(folder, request)
    summary = {**judgement.summary, "comparison": told}
    if request.get("fail_on") is None:
        return replace(judgement, summary=summary)
    checks = (*judgement.checks, _check(told, FailOn(request["fail_on"])))
    verdict, reasons = fold(checks, judgement.fitness)
    if verdict is Outcome.PASS and not any(check.required for check in judgement.checks):
        # That it is no worse than something says nothing of a run in which nothing was judged.
        verdict, reasons = judgement.verdict, judgement.reasons
    return replace(judgement, checks=checks, verdict=verdict, reasons=reasons, summary=summary)


def baselines(folders: Sequence[Path]) -> set[Path]:
    """The runs that any of these is compared with."""
    found = set()
    for folder in folders:
        request = _read(folder / REQUEST) or {}
        found |= {(folder / name).resolve() for name in request.get("before", [])}
    return found


def _last_good(out: Path, scenario: str, target: str) -> list[Path]:
    for folder in reversed(stored(out)):
        told = told_of(folder)
        found = told.get("scenario"), told.get("target"), told.get("verdict")
        if found == (scenario, target, Outcome.PASS) and readable(folder):
            return [folder]
    return []


def _relative(folder: Path, others: Sequence[Path]) -> list[str]:
    """So that results can be moved as a whole."""
    return [os.path.relpath(other.resolve(), folder.resolve()) for other in others]


def _told(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    before, known = (
        [(folder / name).resolve() for name in request.get(key, [])] for key in ("before", "known")
    )
    gone = [path.name for path in (*before, *known) if not readable(path)]
    if gone:
        stood = _read(folder / NAME)
        if stood is not None:
            note = f"as it was compared when {gone[0]} could still be read"
            notes = stood["notes"]
            return {**stood, "notes": notes if note in notes else [*notes, note]}
        if not all(map(readable, before)):
            raise HistoryError(
                f"{folder.name}: the run it is compared with is gone, or of another version of the "
                f"probe ({gone[0]}), and it was never compared; remove {REQUEST} from it to judge "
                "it alone"
            )
    first = taken_all(before)
    # A run that only told the spread may have gone while this one was played.
    course = same_course(first[-1], filter(readable, known))
    small = float(request.get("small", SMALL))
    return comparison_document(compare(first, [taken(folder)], course=course, small=small))


def _check(told: dict[str, Any], fail_on: FailOn) -> Check:
    judged = [row for row in told["rows"] if not row["why"]]
    match told["said"]:
        case "worse":
            verdict = Outcome.FAIL
        case "nothing compared":
            verdict = Outcome.INCONCLUSIVE
        case _ if fail_on is FailOn.UNDECIDED and unsettled(told):
            verdict = Outcome.INCONCLUSIVE
        case _:
            verdict = Outcome.PASS
    against = told["before"][-1] if told["before"] else "no run"
    return Check(
        id=CHECK,
        stage="run",
        required=True,
        verdict=verdict,
        evidence="comparison",
        n=len(judged) + len(told["findings"]),
        message="; ".join(filter(None, (f"against {against}: {headline(told)}", worst(told)))),
        smallest=smallest(told),
        control="runs of the same thing" if told["known"] else "none",
    )


def _read(path: Path) -> dict[str, Any] | None:
    """A file of ours; None where there is none. HistoryError where it cannot be read."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise HistoryError(f"{path}: cannot be read ({error})") from None
    if not isinstance(told, dict) or told.get("schema") != SCHEMA:
        raise HistoryError(f"{path}: schema is not {SCHEMA}; use the probe that wrote it")
    return told
