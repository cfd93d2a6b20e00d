"""Findings for a page: what broke, its likely cause, the command, and each case as a sequence.

The rule: a case is shown frame by frame as it stood on the wire. Where there is room for few
lines, those stay that it is about, and what was left out is counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.check.words import counted
from probe.report import figures
from probe.report.views import gravest_first, witness_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.verdict import Finding, Judgement, Step, Witness

FIRST_MAX: Final = 2
FINDINGS_MAX: Final = 50
WITNESSES_MAX: Final = 3
STEPS_MAX: Final = 80
FEW: Final = 10
Line = dict[str, Any]


def first_findings(judgement: Judgement) -> list[dict[str, Any]]:
    """The gravest one or two, with one case each, cut to what it is about."""
    grave = [each for each in gravest_first(judgement.findings) if each.severity != "info"]
    return [_shown(each, 1, FEW) for each in grave[:FIRST_MAX]]


def all_findings(judgement: Judgement) -> list[dict[str, Any]]:
    """Every finding up to FINDINGS_MAX, gravest first."""
    ranked = gravest_first(judgement.findings)[:FINDINGS_MAX]
    return [_shown(each, WITNESSES_MAX, STEPS_MAX) for each in ranked]


def _shown(finding: Finding, cases_max: int, steps_max: int) -> dict[str, Any]:
    cases = [_case(each, steps_max) for each in finding.witness[:cases_max]]
    more = len(finding.witness) - cases_max
    return {
        "kind": "finding",
        "code": finding.code,
        "severity": finding.severity,
        "head": f"evidence: {finding.evidence}; seen {finding.count:,} times"
        + (f"; check {finding.check}" if finding.check else ""),
        "message": finding.message,
        "cause": finding.cause or "not known",
        "again": finding.reproduce,
        "cases": cases,
        "more": f"In verdict.json: {counted(more, 'more case')}." if more > 0 else "",
    }


def _case(witness: Witness, steps_max: int) -> dict[str, Any]:
    lines = _lines(witness.steps)
    shown = kept(lines, steps_max)
    left_out = len(lines) - len(shown)
    words = f"{left_out:,} of {counted(len(lines), 'step')} left out here." if left_out else ""
    return {"head": witness_head(witness), "steps": shown, "left_out": words}


def kept(lines: list[Line], most: int) -> list[Line]:
    """At most `most` lines: what the case is about with what stands beside it, else its end."""
    if len(lines) <= most:
        return lines
    points = [k for k, line in enumerate(lines) if line["point"]]
    if not points:
        return [lines[0], *lines[len(lines) - most + 1 :]]
    near = sorted(range(len(lines)), key=lambda k: (min(abs(k - p) for p in points), k))
    return [lines[k] for k in sorted(near[:most])]


def _lines(steps: Sequence[Step]) -> list[Line]:
    """The steps; a message that follows what it was, at the same instant, says more of that."""
    lines: list[Line] = []
    before: Step | None = None
    for step in steps:
        same = before is not None and (before.at_s, before.who) == (step.at_s, step.who)
        if same and step.what.startswith("{") and not step.point and not lines[-1]["more"]:
            lines[-1]["more"] = step.what
        else:
            line = {"at": figures.offset(step.at_s), "who": step.who, "what": step.what,
                    "more": "", "point": step.point}  # fmt: skip
            lines.append(line)
        before = step
    return lines
