"""What one run came to: seen, missed, a false alarm, or nothing that counts either way.

The rule: a run counts for or against the probe only where the ledger says that the lab did
something and the machine was fit to judge it. Pure.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.certificate.case import Case
    from probe.certificate.result import Result


class Sight(StrEnum):
    """What one run came to."""

    SEEN = "seen"
    """A defect was seen as itself, and the verdict is FAIL."""
    MISSED = "missed"
    """The lab did something, and the probe did not say so."""
    IDLE = "idle"
    """The ledger says that nothing was done, and the probe said nothing: it shows nothing."""
    QUIET = "quiet"
    """The healthy lab, and no finding."""
    ALARM = "alarm"
    """A finding of a defect that the lab did not have."""
    UNFIT = "unfit"
    """The machine was too busy, and the probe said so: it shows nothing."""
    BROKEN = "broken"
    """There is no verdict."""


def sight(case: Case | None, result: Result) -> Sight:
    """What a run of `case`, or of the healthy lab (None), came to; strays are told apart."""
    if result.error or result.verdict in {"", "ERROR"}:
        return Sight.BROKEN
    if case is None:
        if result.codes or result.verdict == "FAIL":
            return Sight.ALARM
        return Sight.UNFIT if result.unfit and result.verdict != "PASS" else Sight.QUIET
    if case.drawn and not done(case, result):
        # As far as the ledger goes this was a healthy lab.
        return Sight.ALARM if result.codes or result.verdict == "FAIL" else Sight.IDLE
    if result.verdict == "FAIL" and any(code in result.codes for code in case.codes):
        return Sight.SEEN
    return Sight.UNFIT if result.unfit else Sight.MISSED


def strays(case: Case, result: Result) -> dict[str, int]:
    """Findings that have no place beside this defect."""
    return {code: n for code, n in result.codes.items() if code not in case.allowed}


def told(case: Case, result: Result) -> int:
    """How many the probe says there were: the counts of the case's codes."""
    return sum(result.codes.get(code, 0) for code in case.codes)


def done(case: Case, result: Result) -> int:
    """How many there were, as the ledger says."""
    return result.hits.get(case.defect, 0)


def complaints(case: Case | None, result: Result) -> tuple[list[str], list[str]]:
    """(what is wrong, what is open) with one run, in words; `case` None: the healthy lab."""
    wrong: list[str] = []
    open_: list[str] = []
    codes = ", ".join(f"{code} {count:,}" for code, count in result.codes.items())
    what = sight(case, result)
    who = f"the healthy lab under {result.case}" if case is None else case.defect
    hits = 0 if case is None else done(case, result)
    match what:
        case Sight.BROKEN:
            wrong.append(f"{who}: no verdict: {result.error or result.why}")
        case Sight.ALARM if case is None:
            wrong.append(f"{who}: a false alarm: {codes or result.why}")
        case Sight.ALARM:
            wrong.append(f"{who}: the ledger says that nothing was done, and found was {codes}")
        case Sight.MISSED:
            how = f"done {hits:,} times" if hits else "switched on"
            wrong.append(f"{who}: missed: {how}; {result.verdict}, {codes or result.why}")
        case Sight.UNFIT:
            open_.append(f"{who}: the machine was not fit: {'; '.join(result.unfit)}")
        case Sight.IDLE if result.level == "full":
            wrong.append(f"{who}: the ledger says that nothing was done")
    if case is not None and what is not Sight.BROKEN:
        stray = strays(case, result)
        if stray:
            also = ", ".join(f"{code} {count:,}" for code, count in stray.items())
            wrong.append(f"{who}: also found: {also}")
        count = told(case, result)
        if what is Sight.SEEN and not case.count.holds(count, hits):
            wrong.append(
                f"{who}: the probe counts {count:,}, the ledger {hits:,}; "
                f"expected {case.count.word}: {case.count.why}"
            )
    return wrong, open_
