"""A gate of `stats` put into a Check: rates over units, and absences.

The rule (docs/methods.md, Verdict): PASS when the 95 % bound keeps the limit, FAIL when the
opposite bound breaks it, else INCONCLUSIVE with the number of units it would take. A limit
of 100 % cannot be proven by counting, so it is an Absence: one case breaks it, and a PASS
prints the bound. Nothing measured is INCONCLUSIVE with n = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from probe.check.verdict import Check, Evidence, Finding, Outcome
from probe.check.words import at_least, at_most, between, counted, of, percent
from probe.stats.rates import clopper_pearson, gate_rate, zero_bound

if TYPE_CHECKING:
    from probe.check.view import StageView
    from probe.stats.rates import Gate

VERDICTS: Final = {
    "pass": Outcome.PASS,
    "fail": Outcome.FAIL,
    "undecided": Outcome.INCONCLUSIVE,
}
NOTHING: Final = "nothing was measured"


@dataclass(slots=True)
class Part:
    """What one topic has to say about one stage; `summary` is merged by key."""

    checks: list[Check] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def unmeasured(
    view: StageView, what: str, evidence: Evidence, why: str, *, required: bool = True
) -> Check:
    """INCONCLUSIVE with n = 0."""
    return Check(
        id=f"{view.name}.{what}",
        stage=view.name,
        required=required,
        verdict=Outcome.INCONCLUSIVE,
        evidence=evidence,
        n=0,
        message=f"{NOTHING}: {why}",
    )


def absence(
    view: StageView,
    what: str,
    message: str,
    noun: str,
    *,
    bad: int,
    n: int,
    units: int | None = None,
    missing: bool = False,
    required: bool = True,
    load_sensitive: bool = False,
    control: str = "none",
) -> Check:
    """`bad` of `n` cases: one fails, and none passes where the journal has no gap.

    `units` are the independent ones among the n, where there are fewer. `missing`: a case
    is something that did not come, which rows lost by the journal would also make.
    """
    units = n if units is None else units
    verdict = Outcome.FAIL if bad else Outcome.PASS
    check = Check(
        id=f"{view.name}.{what}",
        stage=view.name,
        required=required,
        verdict=verdict,
        evidence="witness" if bad and not missing else "absence",
        n=n,
        message=message,
        estimate=bad / n if n else None,
        interval=None if bad else (0.0, zero_bound(units)),
        unit="rate",
        load_sensitive=load_sensitive,
        smallest=smallest(units, noun),
        control=control,
    )
    return withheld(view, check) if missing or not bad else check


def withheld(view: StageView, check: Check) -> Check:
    """The same, left open where the journal dropped rows: for what rests on something missing."""
    lost = view.history.lost
    if not lost or check.verdict not in (Outcome.PASS, Outcome.FAIL):
        return check
    message = f"{check.message}; but {counted(lost, 'row')} of the journal were lost"
    return replace(check, verdict=Outcome.INCONCLUSIVE, message=message)


def rate_check(
    view: StageView,
    what: str,
    sentence: str,
    noun: str,
    *,
    k: int,
    n: int,
    limit: float,
    unknown: int = 0,
    required: bool = True,
    load_sensitive: bool = True,
    control: str = "none",
    nothing: str = "",
) -> Check:
    """`k` of `n` units `noun` did `sentence`, `unknown` more may have; at least `limit` must."""
    if not n:
        return unmeasured(view, what, "bound", nothing or f"no {noun}", required=required)
    absence = limit >= 1
    if absence or limit <= 0:
        # Neither limit is a matter of counting: of 100 % one case decides, 0 % always holds.
        bad = n - k - unknown
        verdict = Outcome.FAIL if bad and absence else Outcome.PASS
        if unknown and absence and not bad:
            verdict = Outcome.INCONCLUSIVE
        gate, p_value = None, None
    else:
        gate = gate_rate(k, n, at_least=limit, unknown=unknown)
        verdict, p_value = VERDICTS[gate.decision], gate.p_fail
    interval = (clopper_pearson(k, n).low, clopper_pearson(k + unknown, n).high)
    message = f"{of(k, n, noun)}{_bounds(gate, interval, n)} {sentence}; limit {percent(limit)}"
    if gate is not None and gate.decision == "undecided":
        message = f"{missing(gate, noun)}: {message}"
    if unknown:
        message += f"; of {counted(unknown, noun)} it is not known"
    return Check(
        id=f"{view.name}.{what}",
        stage=view.name,
        required=required,
        verdict=verdict,
        evidence="absence" if absence else "bound",
        n=n,
        message=message,
        estimate=k / n,
        interval=interval,
        limit=limit,
        unit="rate",
        load_sensitive=load_sensitive,
        smallest=smallest(n, noun),
        control=control,
        p_value=p_value,
    )


def _bounds(gate: Gate | None, interval: tuple[float, float], n: int) -> str:
    """What the count says of the rate, as an insertion: ", at least 86 % (95 %),"."""
    if gate is None:
        return f" (no case of {n:,} would be {at_most(zero_bound(n))})"
    match gate.decision:
        case "pass":
            return f", {at_least(gate.low)},"
        case "fail":
            return f", {at_most(gate.high)},"
        case _:
            return f", {between(*interval)},"


def missing(gate: Gate, noun: str) -> str:
    """What an undecided gate would take of its units, in words."""
    if gate.n_needed is None:
        return "more of the same would not decide it"
    needed = counted(gate.n_needed, noun)
    return f"to decide it would take about {needed}, there are {gate.n:,}"


def smallest(n: int, noun: str) -> str:
    """The smallest effect that n units could have seen."""
    return f"what befalls {percent(zero_bound(n))} of all {noun}s or more would have shown (95 %)"
