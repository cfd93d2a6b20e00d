"""Findings for a page: what broke, its likely cause, the command, and each case as a sequence.

The rule: a case is shown frame by frame as it stood on the wire: at first the lines that it is
about, with gaps that can be seen, and folded below them the whole. A finding stands on the page
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.check.verdict import Outcome
from probe.check.words import counted
from probe.report import figures
from probe.report.views import gravest_first, witness_head

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probe.check.verdict import Finding, Judgement, Step, Witness

FIRST_MAX: Final = 2
FINDINGS_MAX: Final = 50
FEW: Final = 10
Line = dict[str, Any]


def found(judgement: Judgement) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The one or two that stand at the top, and the rest up to FINDINGS_MAX.

    First those whose check failed by them, the gravest before others; at the end what is accepted.
    """
    verdicts = {check.id: check.verdict for check in judgement.checks}

    def rank(finding: Finding) -> tuple[bool, bool]:
        lived_with = finding.accepted is not None and not finding.accepted.ended
        return lived_with, verdicts.get(finding.check, Outcome.FAIL) is not Outcome.FAIL

    ranked = sorted(gravest_first(judgement.findings), key=rank)
    top = [k for k, each in enumerate(ranked) if each.severity != "info"][:FIRST_MAX]
    rest = [k for k in range(len(ranked)) if k not in top][:FINDINGS_MAX]
    shown = [[_shown(ranked[k], verdicts) for k in places] for places in (top, rest)]
    return shown[0], shown[1]


def _shown(finding: Finding, verdicts: Mapping[str, Outcome]) -> dict[str, Any]:
    seen = "seen once" if finding.count == 1 else f"seen {finding.count:,} times"
    verdict, accepted = verdicts.get(finding.check), finding.accepted
    check = f"; check {finding.check}{f': {verdict}' if verdict else ''}" if finding.check else ""
    return {
        "kind": "finding",
        "code": finding.code,
        "severity": finding.severity,
        "head": f"evidence: {finding.evidence}; {seen}{check}",
        "accepted": f"{accepted.said}: {accepted.why}" if accepted else "",
        "message": finding.message,
        "cause": finding.cause or "not known",
        "again": finding.reproduce,
        "cases": [_case(each) for each in finding.witness],
    }


def _case(witness: Witness) -> dict[str, Any]:
    """All lines of a case; `near` are the places of those shown where there is room for few."""
    lines = _lines(witness.steps)
    near = kept(lines, FEW)
    words = f"The whole case, {counted(len(lines), 'line')}" if len(near) < len(lines) else ""
    return {"head": witness_head(witness), "steps": lines, "near": near, "whole": words}


def kept(lines: Sequence[Line], most: int) -> list[int]:
    """Places of at most `most` lines: the points and what is beside them, else the end."""
    if len(lines) <= most:
        return list(range(len(lines)))
    points = [k for k, line in enumerate(lines) if line["point"]]
    if not points:
        return [0, *range(len(lines) - most + 1, len(lines))]
    near = sorted(range(len(lines)), key=lambda k: (min(abs(k - p) for p in points), k))
    return sorted(near[:most])


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
