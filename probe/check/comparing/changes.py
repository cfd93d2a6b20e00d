"""Findings before and now: new, still there, not seen now.

The rule: where a finding's check was judged now and passed, the finding is not seen now; that
one run did not show it does not say that it is gone. Where nothing looked for it, that is said.
A new witness makes a comparison worse, since one case is enough; a bound that was just kept and
is just broken does not, since the rows say how much really changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probe.check.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.comparing.taken import Taken
    from probe.check.verdict import Finding

State = Literal["new", "still there", "not seen now", "not looked for now"]


@dataclass(frozen=True, slots=True)
class Change:
    """One finding, by its code and the check that it broke; in how many runs of each arm."""

    code: str
    check: str
    severity: str
    evidence: str
    message: str
    state: State
    before: int
    now: int
    accepted: bool = False


def changes(before: Sequence[Taken], now: Sequence[Taken]) -> list[Change]:
    """All findings of either arm but remarks, new ones first."""
    found: dict[tuple[str, str], list[dict[int, list[Finding]]]] = {}
    for place, arm in enumerate((before, now)):
        for number, taken in enumerate(arm):
            for each in taken.findings:
                if each.severity != "info":
                    runs = found.setdefault((each.code, each.check), [{}, {}])[place]
                    runs.setdefault(number, []).append(each)
    out = []
    for (code, check), (old, new) in found.items():
        cases = [each for run in (new or old).values() for each in run]
        latest = cases[-1]
        state = _state(check, bool(old), bool(new), now)
        out.append(
            Change(
                code, check, latest.severity, latest.evidence, latest.message, state,
                len(old), len(new),
                all(each.accepted is not None and not each.accepted.ended for each in cases),
            )
        )  # fmt: skip
    order = ("new", "still there", "not seen now", "not looked for now")
    return sorted(out, key=lambda each: (order.index(each.state), each.check, each.code))


def proven_new(change: Change) -> bool:
    """A grave case that was seen now and not before, and that nobody has accepted."""
    grave = change.severity in ("critical", "major") and not change.accepted
    return change.state == "new" and grave and change.evidence in ("witness", "absence")


def _state(check: str, old: bool, new: bool, now: Sequence[Taken]) -> State:
    if new:
        return "still there" if old else "new"
    passed = [taken.checks.get(check) is Outcome.PASS for taken in now]
    return "not seen now" if all(passed) else "not looked for now"
