"""Success: the share of intended clients that completed their script.

The rule: every intended client counts; one that we stopped ourselves, or whose end was not
recorded, is unknown, never left out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, rate_check
from probe.check.catalogue import finding
from probe.check.verdict import Outcome
from probe.check.witness import witnesses
from probe.check.words import escaped, of
from probe.model.script import steps_of

if TYPE_CHECKING:
    from probe.check.view import StageView
    from probe.history.columns import Rows

COMPLETE: Final = 0
FAILED: Final = 1


def success(view: StageView) -> Part:
    """`<stage>.success`."""
    part = Part()
    limit = view.stage.expect.success
    if limit is None:
        return part
    rows = view.sessions[view.wanted(view.sessions)]
    done, failed = rows["outcome"] == COMPLETE, rows["outcome"] == FAILED
    check = rate_check(
        view,
        "success",
        "completed the script",
        "client",
        k=int(done.sum()),
        n=len(rows),
        unknown=int((~done & ~failed).sum()),
        limit=limit.rate,
        required=limit.required,
        nothing="no client was launched",
    )
    part.checks.append(check)
    if failed.any() and check.verdict is not Outcome.PASS:
        part.findings.append(_failed(view, check.id, rows[failed], len(rows)))
    return part


def _failed(view: StageView, check: str, rows: Rows, n: int) -> Any:
    kinds = Counter((int(r["population"]), int(r["step"]), view.text(r["why"])) for r in rows)
    (population, step, why), number = min(kinds.items(), key=lambda pair: (-pair[1], pair[0]))
    said = f": {escaped(why)}" if why else ""
    message = (
        f"{of(len(rows), n, 'client')} failed; most often ({number}) at "
        f"{_step_words(view, population, step)}{said}"
    )
    attempts = view.attempts[np.isin(view.attempts["session"], rows["session"])]
    last = np.append(attempts["session"][1:] != attempts["session"][:-1], True)
    cases = witnesses(view, attempts[last]) if len(attempts) else ()
    return finding("session.failed", check, len(rows), message, witness=cases)


def _step_words(view: StageView, population: int, step: int) -> str:
    """`step 2 (run)`, counted from 1; by number alone for a Python script."""
    script = view.groups[population].population.script
    steps = steps_of(script, runs=view.resolved.dialect.run is not None)
    if isinstance(steps, tuple) and 0 <= step < len(steps):
        return f"step {step + 1} ({steps[step].do})"
    return f"step {step + 1}"
