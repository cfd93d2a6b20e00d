"""The plan as people read it before they let it loose."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.table import Table

from probe.cli.drawing import drawn, understood
from probe.model.auth import FetchAuth
from probe.model.plan import peak
from probe.model.resolved import shown_url
from probe.units import format_duration

if TYPE_CHECKING:
    from rich.console import Console

    from probe.cli.files import Loaded
    from probe.model.capacity import Capacity
    from probe.model.plan import Plan
    from probe.model.target import Safety


def planned(plan: Plan) -> str:
    """How many clients a run has."""
    words = f"{plan.clients:,} at most"
    if any(stage.climbers is not None for stage in plan.stages):
        return "as many as the levels take" if not plan.clients else f"{words} beside the levels"
    return words


def _levels(climb: Capacity, safety: Safety) -> str:
    most = climb.highest(safety.rate_max, safety.clients_max)
    words = f"{climb.shown(min(climb.begin, most))} to {climb.shown(most)}"
    return words if most == climb.most else f"{words}, the target's ceiling"


def show_plan(screen: Console, loaded: Loaded, plan: Plan) -> None:
    """How many clients, at what rate, for how long, against which addresses."""
    out = screen.print
    out(f"{loaded.scenario.title} ({loaded.scenario_path})", markup=False)
    out(f"  target   {loaded.target.title} ({loaded.target_path})", markup=False)
    for name, endpoint in loaded.target.endpoints.items():
        out(f"           {name}: {shown_url(endpoint.url)}", markup=False)
    for name, service in loaded.target.services.items():
        out(f"           {name}: {shown_url(service.url)}", markup=False)
    if isinstance(loaded.target.auth, FetchAuth):
        out(f"           tokens: {shown_url(loaded.target.auth.url)}", markup=False)
    if loaded.target.restart.command:
        out(f"  restart  {shlex.join(loaded.target.restart.command)}", markup=False)
    out(f"  dialect  {loaded.dialect.title} ({loaded.dialect_path})", markup=False)
    out(f"  clients  {planned(plan)}, {plan.identities:,} identities", markup=False)
    out(f"  seed     {plan.seed}; plan {plan.digest[:16]}", markup=False)
    table = Table("stage", "activity", "trials", "clients", "arrivals/s", "at a time", "lasts")
    for stage in plan.stages:
        top = peak(stage, plan.groups)
        rule = stage.stage
        if rule.capacity is not None:
            rates = _levels(rule.capacity, loaded.target.safety)
            budget = f"all within {format_duration(rule.budget)}"
            table.add_row(stage.name, rule.activity, "by level", "by level", rates, "", budget)
            continue
        each = max(len(stage.clients) // max(stage.trials, 1), 1)
        lasts = format_duration(min(stage.span_ns + rule.patience, rule.budget))
        budget = f", all within {format_duration(rule.budget)}" if stage.trials > 1 else ""
        table.add_row(
            stage.name,
            rule.activity + (" after a restart" if rule.anchor == "restart" else ""),
            str(stage.trials),
            f"{each:,} each" if stage.trials > 1 else f"{each:,}",
            f"{top.rate:g}",
            f"{top.clients:,}",
            f"at most {lasts} each{budget}" if stage.trials > 1 else f"at most {lasts}",
        )
    out(table)
    for line in drawn(plan):
        out(f"  {line}", markup=False, soft_wrap=True)
    for line in understood(loaded.scenario):
        out(f"  {line}", markup=False, soft_wrap=True)
    if any(stage.stage.anchor == "restart" for stage in plan.stages):
        out("  a trial ends early once the target has settled, so fewer clients may be let go")
