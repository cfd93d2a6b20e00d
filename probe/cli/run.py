"""`probe run`: from files to a plan, to a run directory, to a verdict."""

from __future__ import annotations

import contextlib
import os
import secrets as random_source
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probe.cli.accepting import accepted_of, keep
from probe.cli.again import only
from probe.cli.baseline import FailOption, RunOption, baseline_of, keep_baseline
from probe.cli.calibration import beyond, quote
from probe.cli.checking import LAB_ADDRESS, check_defects, check_ways
from probe.cli.comparing import show_comparison
from probe.cli.console import console
from probe.cli.drawing import understood
from probe.cli.files import Loaded, load, variables
from probe.cli.judging import judge_run
from probe.cli.options import (
    SEED_MAX,
    AcceptedOption,
    AddressOption,
    AtOption,
    DefectOption,
    DryRunOption,
    EngineOption,
    RestartsOption,
    SeedOption,
    SetsOption,
    ShrinkOption,
    StageOption,
    TargetOption,
    TrialsOption,
    UntilOption,
    VerboseOption,
    WorkersOption,
)
from probe.cli.ordering import order_of, redactor_of
from probe.cli.outputs import ExportOption, export_all, outputs
from probe.cli.playing import PortOption, looking_on, played, say_where
from probe.cli.showing import planned, show_plan
from probe.cli.spread import LOCAL, cluster_of, spread
from probe.cli.until import limited
from probe.dashboard.door import open_door
from probe.engine.lab import SECRET_VARIABLE
from probe.engine.limits import fit, foretold
from probe.engine.routes import make_routes
from probe.errors import ConfigError, Problem
from probe.history.folder import new_run
from probe.model.plan import Plan, ceilings, make_plan
from probe.report.document import document, json_bytes
from probe.report.terminal import show
from probe.report.views import why
from probe.report.writer import write_reports

if TYPE_CHECKING:
    from rich.console import Console

    from probe.check.verdict import Judgement
    from probe.dashboard.door import Door
    from probe.engine.run import Ended, Order


def command(
    scenario: Annotated[str, typer.Argument(help="Name or file of a scenario.")],
    target: TargetOption = None,
    sets: SetsOption = None,
    restarts: RestartsOption = None,
    stage: StageOption = None,
    at: AtOption = None,
    trials: TrialsOption = None,
    shrink: ShrinkOption = False,
    until: UntilOption = None,
    defect: DefectOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    engine: EngineOption = LOCAL,
    address: AddressOption = None,
    accepted: AcceptedOption = None,
    baseline: RunOption = None,
    fail_on: FailOption = None,
    out: Annotated[Path, typer.Option(help="Where run directories go.")] = Path("results"),
    export: ExportOption = None,
    dashboard: PortOption = None,
    dry_run: DryRunOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print verdict.json on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
    verbose: VerboseOption = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Run a scenario against a target and judge it."""
    exports = outputs(export or [], "--export", stdout=False)
    lab_secret = random_source.token_urlsafe(36)
    loaded = _load(scenario, target, sets or [], restarts, defect or [], lab_secret)
    loaded = limited(only(loaded, stage or [], at, trials, shrink=shrink), until)
    lived_with, told = accepted_of(accepted, loaded)
    against, said = baseline_of(baseline, fail_on, out, loaded)
    seed = random_source.randbelow(SEED_MAX) if seed is None else seed
    plan = make_plan(loaded.scenario, loaded.target, loaded.dialect, seed)
    screen = console(no_color=no_color, stderr=json)
    if dry_run:
        show_plan(screen, loaded, plan)
    ceilings(plan, loaded.target)
    known = quote()
    divided, notes = spread(loaded, plan, workers, known, cluster_of(engine, address))
    notes += told + said + beyond(loaded.scenario, plan, known, divided.count if divided else 1)
    check_ways(loaded)
    routes = make_routes(loaded.target, LAB_ADDRESS).values()
    if dry_run:
        _say(screen, [*notes, *foretold(plan, routes, divided)])
        return
    fit(plan, routes, divided)
    door = None if dashboard is None else open_door(dashboard)
    redactor = redactor_of(loaded.target, lab_secret, seed)
    folder = new_run(out, loaded.name, datetime.now(UTC))
    order = order_of(loaded, plan, folder, redactor, lab_secret, defect or [], divided, known)
    keep(folder, lived_with, redactor)
    keep_baseline(folder, against)
    if not quiet:
        _say_what(screen, loaded, plan, notes, verbose=verbose)
    say_where(door)
    ended, judgement = _run_and_judge(order, screen, door, quiet=quiet)
    if json:
        sys.stdout.buffer.write(json_bytes(document(judgement)))
    _tell(judgement, ended, None if quiet else screen, folder)
    export_all(exports, judgement, folder)
    raise typer.Exit(judgement.exit_code)


def _run_and_judge(
    order: Order, screen: Console, door: Door | None, *, quiet: bool
) -> tuple[Ended, Judgement]:
    with looking_on(order, screen, door, quiet=quiet) as onlooker:
        try:
            ended = played(order, onlooker)
        except Exception:
            with contextlib.suppress(Exception):
                _judge(order.folder)  # so that whoever reads verdict.json finds one
            raise
        judgement = _judge(order.folder)
        onlooker.judged(judgement.verdict, judgement.headline, tuple(why(judgement)))
    return ended, judgement


def _tell(judgement: Judgement, ended: Ended, screen: Console | None, folder: Path) -> None:
    """The verdict, or on no screen (`--quiet`) only why a run did not come to its end."""
    if screen is not None:
        show(judgement, screen, folder)
        show_comparison(judgement.summary.get("comparison"), screen)
    elif ended.error:
        sys.stderr.write(f"probe: the run was {ended.how}: {ended.error}\n")


def _load(
    scenario: str,
    target: str | None,
    sets: list[str],
    restarts: int | None,
    defects: list[str],
    lab_secret: str,
) -> Loaded:
    """The files, with what the command line says of them; ConfigError where it cannot be."""
    if os.environ.get("CI") and target is None:
        raise ConfigError(
            Problem("--target", "", "where CI is set, every run names its target, the lab too")
        )
    loaded = load(scenario, target, sets, variables() | {SECRET_VARIABLE: lab_secret})
    if defects and not loaded.target.embedded:
        message = f"{loaded.target_name!r} is no embedded lab, which alone has any"
        raise ConfigError(Problem("--defect", "", message))
    check_defects(defects)
    return _with_restarts(loaded, restarts)


def _say_what(
    screen: Console, loaded: Loaded, plan: Plan, notes: list[str], *, verbose: bool
) -> None:
    screen.print(
        f"{loaded.name} -> {loaded.target_name}  seed {plan.seed}  "
        f"clients planned: {planned(plan)}",
        markup=False,
    )
    _say(screen, [*understood(loaded.scenario), *notes])
    if verbose:
        for path in (loaded.scenario_path, loaded.target_path, loaded.dialect_path):
            screen.print(f"  {path}", markup=False)


def _say(screen: Console, notes: list[str]) -> None:
    for note in notes:
        screen.print(f"  {note}", markup=False, soft_wrap=True)


def _with_restarts(loaded: Loaded, restarts: int | None) -> Loaded:
    if restarts is None:
        return loaded
    if not any(stage.anchor == "restart" for stage in loaded.scenario.stages.values()):
        raise ConfigError(Problem("--restarts", "", f"{loaded.name!r} restarts nothing"))
    return replace(loaded, scenario=loaded.scenario.with_trials(restarts))


def _judge(folder: Path) -> Judgement:
    judgement = judge_run(folder)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    write_reports(judgement, folder, step_summary=Path(summary) if summary else None)
    return judgement
