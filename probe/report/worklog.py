"""What a worklog says beside the figures: what was asked, who answered, what to do next.

The rule: what was asked is told by the checks that were made of it, so that nothing stands there
that was not judged; a next step names a place in the service's own log only where a witness has
one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from probe.check.verdict import Outcome
from probe.report import figures, views
from probe.report.facts import facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.verdict import Check, Finding, Judgement, Witness

HELD_MAX: Final = 12
ASKED_HEADER: Final = ("stage", "activity", "clients planned", "held to")
_OF_ALL: Final = "run"
_PEER: Final = (
    "kind", "name", "url", "address", "port", "tls", "cipher", "certificate_sha256", "server",
    "revision",
)  # fmt: skip


def asked_rows(judgement: Judgement) -> list[list[str]]:
    """A row for each stage, and one for checks of none; see ASKED_HEADER."""
    stages = [row for row in views.rows(facts_of(judgement).stages) if row.get("name")]
    names = [str(row["name"]) for row in stages]
    rows = [
        [name, _activity(row), figures.cell("n", row.get("clients_planned")),
         _held_to([check for check in judgement.checks if check.stage == name])]
        for name, row in zip(names, stages, strict=True)
    ]  # fmt: skip
    rest = [check for check in judgement.checks if check.stage not in {*names, _OF_ALL}]
    return rows + [[check.stage, figures.MISSING, figures.MISSING, _held_to([check])]
                   for check in rest]  # fmt: skip


def _activity(row: Mapping[str, Any]) -> str:
    words = str(row.get("activity") or figures.MISSING)
    trials = row.get("trials_planned")
    if row.get("anchor") == "restart":
        words += f", after each of {trials} restarts"
    return words


def _held_to(checks: Sequence[Check]) -> str:
    if not checks:
        return "nothing: it is not judged"
    held = [_expectation(check) for check in checks[:HELD_MAX]]
    more = len(checks) - HELD_MAX
    return "; ".join(held + ([f"and {more:,} more"] if more > 0 else []))


def _expectation(check: Check) -> str:
    name = check.id.removeprefix(f"{check.stage}.")
    limit = "" if check.limit is None else f" {figures.amount(check.limit, check.unit)}"
    return f"{name}{limit}{'' if check.required else ' (not required)'}"


def peer_rows(peers: object) -> tuple[list[str], list[list[str]]]:
    """Who answered, as (header, rows); columns that say nothing of anybody are left out."""
    told = [p for p in (peers if isinstance(peers, list | tuple) else ()) if isinstance(p, Mapping)]
    keys = [key for key in _PEER if any(peer.get(key) for peer in told)]
    header = [figures.words(key.removesuffix("_sha256")) for key in keys]
    return header, [[figures.cell(key, peer.get(key)) for key in keys] for peer in told]


def next_step(finding: Finding, verdict: Outcome | None) -> str:
    """What to do about it, in a sentence; `verdict` is that of its check, None for none."""
    where = _where(finding.witness[0]) if finding.witness else ""
    if finding.accepted is not None and not finding.accepted.ended:
        return f"somebody lives with it: {finding.accepted.owner}, until {finding.accepted.until}"
    if finding.severity == "info":
        return "none is needed"
    if finding.evidence != "witness" and verdict is not Outcome.FAIL:
        return f"it is not proven: run it again, with more of the same{where and f'; {where}'}"
    mend = "mend what caused it, then run just this again"
    return f"{where}; {mend}" if where else mend


def _where(witness: Witness) -> str:
    """Where the service's own log would have it: the instant of what the case is about."""
    # It began with the dial; steps of a race count from an action, and the dial came before.
    dialled_s = next((s.at_s for s in witness.steps if s.what.startswith("dial ")), 0.0)
    at_s = next((step.at_s for step in witness.steps if step.point), dialled_s) - dialled_s
    try:
        began = datetime.fromisoformat(witness.began) + timedelta(seconds=at_s)
        moment = began.isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        moment = witness.began
    return f"look into the service's log, endpoint {witness.endpoint}, about {moment}"
