"""What a judgement is made of, and how outcomes fold into one verdict.

The fold: an unfit probe first turns every load-sensitive check INCONCLUSIVE (a witness
stands); then any FAIL gives FAIL; else a required ERROR gives ERROR; else an unfit run
gives INVALID; else any required check that is not PASS gives INCONCLUSIVE; else PASS. No
required check, or one with no samples, is never PASS. A check that fails by accepted findings
alone stays FAIL and does not decide; where nothing else passed, that is no PASS, and to be no
worse than another run is not enough for one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

SCHEMA = 1


class Outcome(StrEnum):
    """Of a check, and of a run (which alone can be INVALID)."""

    PASS = "PASS"  # noqa: S105 -- an outcome, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    SKIPPED = "SKIPPED"
    ERROR = "ERROR"
    INVALID = "INVALID"


Evidence = Literal["witness", "bound", "absence", "comparison"]
EXIT_CODES = {
    Outcome.PASS: 0,
    Outcome.FAIL: 1,
    Outcome.INCONCLUSIVE: 3,
    Outcome.SKIPPED: 3,
    Outcome.INVALID: 4,
    Outcome.ERROR: 5,
}
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who lives with a finding, until when (an ISO date, that day included), and why.

    `ended`: it was over on the day of the run, and accepts nothing.
    """

    owner: str
    until: str
    why: str
    ended: bool = False

    @property
    def said(self) -> str:
        """In words, which go before what is accepted."""
        if self.ended:
            return f"no longer accepted: that ended on {self.until}, owner {self.owner}"
        return f"accepted until {self.until}, owner {self.owner}"


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation, judged.

    `id` is `<stage>.<what>[.<population>]`; `n` the units of replication that were seen;
    `estimate`, `interval` and `limit` share `unit` ("s", "rate", "count"); an interval end is
    None where it is unbounded or unknown; `smallest` is the smallest effect that this n could have
    seen, in words; `control` names the control that shows the check can see at all. `accepted`:
    it fails by findings that somebody has accepted, and by no others.
    """

    id: str
    stage: str
    required: bool
    verdict: Outcome
    evidence: Evidence
    n: int
    message: str
    estimate: float | None = None
    interval: tuple[float | None, float | None] | None = None
    limit: float | None = None
    unit: str = ""
    load_sensitive: bool = False
    smallest: str = ""
    control: str = "none"
    p_value: float | None = None
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a witness: when (s since the witness began), who, what was on the wire.

    `point`: it is what the case is about, and is shown where there is room for few lines.
    """

    at_s: float
    who: Literal["probe", "server", "note"]
    what: str
    point: bool = False


@dataclass(frozen=True, slots=True)
class Witness:
    """One case, as it stood on the wire; strings are redacted."""

    session: int
    attempt: int
    stage: str
    endpoint: str
    began: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken expectation. `code` is stable and stands in the catalogue."""

    code: str
    severity: Literal["critical", "major", "minor", "info"]
    evidence: Evidence
    count: int
    message: str
    cause: str
    witness: tuple[Witness, ...] = ()
    reproduce: str = ""
    check: str = ""
    accepted: Acceptance | None = None


@dataclass(frozen=True, slots=True)
class Fitness:
    """Whether the generator was fit to judge; `taints` veto timings, `invalid` the run.

    Of the stages `by_level` nothing is said here: their checks judge each level by itself. Where
    no other stage was played, `whole` is False.
    """

    taints: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    by_level: tuple[str, ...] = ()
    whole: bool = field(default=True, kw_only=True)

    @property
    def fit(self) -> bool:
        """Neither tainted nor invalid."""
        return not self.taints and not self.invalid

    @property
    def said(self) -> str:
        """In words, where nothing was found against it."""
        parts = ["the probe's machine was fit to judge"] if self.whole else []
        if self.by_level:
            names = ", ".join(self.by_level)
            parts.append(f"each level of {names} is judged by itself, and left out where unfit")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that reports are made from; a pure function of the run's files.

    `accepted` tells, a line each, what was accepted, what no longer is, and what matched nothing.
    """

    verdict: Outcome
    run: dict[str, Any]
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    fitness: Fitness
    authenticity: dict[str, Any]
    summary: dict[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    interrupted: bool = False
    accepted: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """130 where the user interrupted, else by verdict."""
        return EXIT_INTERRUPTED if self.interrupted else EXIT_CODES[self.verdict]

    @property
    def headline(self) -> str:
        """The verdict as it is always shown: the lab's is marked, and so is what was accepted."""
        mark = " (embedded lab)" if self.run.get("embedded") else ""
        lived_with = self._lived_with()
        if self.verdict is Outcome.PASS and lived_with:
            n, until = len(lived_with), min(each.until for each in lived_with)
            mark += f" but for {n} finding{'s' if n > 1 else ''} accepted until {until}"
        return f"{self.verdict}{mark}"

    def _lived_with(self) -> list[Acceptance]:
        """The acceptances without which the run had failed."""
        failed = {check.id for check in self.checks if check.accepted}
        found = [f.accepted for f in self.findings if f.check in failed and f.severity != "info"]
        return [each for each in found if each is not None]


def taint(checks: tuple[Check, ...], fitness: Fitness) -> tuple[Check, ...]:
    """The veto: an unfit probe's timings, rates and absences are INCONCLUSIVE."""
    if fitness.fit:
        return checks
    why = "; ".join(fitness.invalid + fitness.taints)
    return tuple(
        replace(
            c, verdict=Outcome.INCONCLUSIVE, message=f"{c.message} (the probe was unfit: {why})"
        )
        if c.load_sensitive and c.verdict in {Outcome.PASS, Outcome.FAIL}
        else c
        for c in checks
    )


def fold(checks: tuple[Check, ...], fitness: Fitness) -> tuple[Outcome, tuple[str, ...]]:
    """The run's verdict and the reasons for it, as ids with their messages."""
    required = [check for check in checks if check.required]
    failed = [c for c in checks if c.verdict is Outcome.FAIL and not c.accepted]
    if failed:
        return Outcome.FAIL, tuple(f"{c.id}: {c.message}" for c in failed)
    errors = [check for check in required if check.verdict is Outcome.ERROR]
    if errors:
        return Outcome.ERROR, tuple(f"{c.id}: {c.message}" for c in errors)
    if fitness.invalid:
        return Outcome.INVALID, fitness.invalid
    judged = [check for check in required if not check.accepted]
    open_ = [check for check in judged if check.verdict is not Outcome.PASS or check.n == 0]
    if open_:
        return Outcome.INCONCLUSIVE, tuple(f"{c.id}: {c.message}" for c in open_)
    why = "" if required else "no required check was executed: nothing was judged"
    lived_with = len(judged) < len(required)
    if lived_with and all(check.evidence == "comparison" for check in judged):
        why = "every required check failed by accepted findings: nothing passed"
    return (Outcome.INCONCLUSIVE, (why,)) if why else (Outcome.PASS, ())
