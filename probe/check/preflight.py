"""Preflight: every endpoint lets a client in; what services say of themselves is in `health`.

The rule: all tries at every endpoint have to get in; some of them only is `connect.flaky`,
none at all is a `target.…` finding with its cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probe.check.bound import NOTHING, Part, unmeasured
from probe.check.catalogue import finding
from probe.check.target import diagnose
from probe.check.verdict import Check, Outcome
from probe.check.view import decided, good, labels
from probe.check.witness import witnesses
from probe.check.words import counted, of

if TYPE_CHECKING:
    from probe.check.verdict import Finding
    from probe.check.view import StageView


def connects(view: StageView) -> Part:
    """`<stage>.connect`, and `<stage>.target` where a stage without it never got in.

    The latter only where no other stage did either: else the address is right, and what
    the stage saw is for its own checks to judge.
    """
    part = Part()
    expected = view.stage.expect.connects
    check = f"{view.name}.connect" if expected else f"{view.name}.target"
    rows = view.welcome
    rows = rows[decided(rows)]
    lost = not good(view.history.attempts).any()
    found = _findings(view, check) if expected or lost else []
    if expected:
        part.checks.append(_connect_check(view, check))
    elif found and view.stage.activity == "load":
        message = "; ".join(each.message for each in found)
        part.checks.append(
            Check(check, view.name, True, Outcome.FAIL, "witness", len(rows), message)
        )
    else:
        return part
    part.findings.extend(found)
    return part


def _connect_check(view: StageView, check: str) -> Check:
    rows = view.welcome
    rows = rows[decided(rows)]
    n, lost = len(rows), len(view.welcome) - len(rows)
    if not n:
        why = "no attempt was made, or none that the target could answer"
        return unmeasured(view, "connect", "witness", why)
    tried = set(rows["endpoint"].tolist())
    names = view.history.names("endpoints")
    untried = [name for index, name in enumerate(names) if index not in tried]
    in_ = int(good(rows).sum())
    message = f"{of(in_, n, 'attempt')} at {counted(len(tried), 'endpoint')} got in"
    verdict = Outcome.PASS if in_ == n else Outcome.FAIL
    if verdict is Outcome.FAIL:
        others = ", ".join(f"{number} {label}" for label, number in labels(rows[~good(rows)]))
        message += f"; the others: {others}"
    elif untried or lost:
        verdict = Outcome.INCONCLUSIVE
        left = f"{', '.join(untried)} not tried" if untried else f"{lost} without an outcome"
        message += f"; {left}: {NOTHING} there"
    return Check(check, view.name, True, verdict, "witness", n, message)


def _findings(view: StageView, check: str) -> list[Finding]:
    found = diagnose(view, check)
    rows = view.welcome
    rows = rows[decided(rows)]
    for endpoint in np.unique(rows["endpoint"]).tolist() if view.stage.expect.connects else []:
        mine = rows[rows["endpoint"] == endpoint]
        fine = good(mine)
        if fine.any() and not fine.all():
            bad = mine[~fine]
            others = ", ".join(f"{number} {label}" for label, number in labels(bad))
            message = (
                f"{of(int(fine.sum()), len(mine), 'attempt')} at {view.endpoint(endpoint)} got "
                f"in; the others: {others}"
            )
            found.append(
                finding("connect.flaky", check, len(bad), message, witness=witnesses(view, bad))
            )
    return found
