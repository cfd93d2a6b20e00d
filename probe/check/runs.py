"""Runs: all that a stage has to say of them, from one reading of its receipts.

The checks of `expect.delivery`, `expect.runs`, `expect.replay` and `expect.broadcast`, the
findings of each class once, and summary["delivery"].
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.check.bound import Part, unmeasured
from probe.check.broadcast import broadcast
from probe.check.delivery.breakdown import breakdown
from probe.check.delivery.checks import delivery_checks, names_of, runs_check
from probe.check.delivery.findings import delivery_findings
from probe.check.delivery.rules import rules_of
from probe.check.delivery.units import units_of
from probe.check.replay import replay

if TYPE_CHECKING:
    from probe.check.delivery.units import Units
    from probe.check.view import StageView


def runs(view: StageView) -> Part:
    """`<stage>.delivery.*`, `<stage>.runs`, `<stage>.replay`, `<stage>.broadcast`."""
    rules = rules_of(view.resolved.dialect)
    units = units_of(view, rules) if rules is not None and len(view.runs) else None
    part = Part()
    if units is not None:
        part.summary["delivery"] = {view.name: breakdown(units)}
    _held(view, units, part)
    for more in (replay(view, units), broadcast(view, units)):
        part.checks += more.checks
        part.findings += more.findings
    return part


def _held(view: StageView, units: Units | None, part: Part) -> None:
    delivery, sessions = view.stage.expect.delivery, view.stage.expect.runs
    if units is None:
        why = "no run was begun"
        if delivery is not None:
            for name in names_of(view):
                check = unmeasured(view, name, "absence", why, required=delivery.required)
                part.checks.append(check)
        if sessions is not None:
            check = unmeasured(view, "runs", "bound", why, required=sessions.required)
            part.checks.append(check)
        return
    if delivery is not None:
        part.checks += delivery_checks(units, delivery)
    if sessions is not None:
        part.checks.append(runs_check(units, sessions))
    by_name = {check.id.removeprefix(f"{view.name}."): check for check in part.checks}
    part.findings += delivery_findings(units, by_name)
