"""Known findings that a team lives with: by code, with an owner, a last day and a reason.

The rule: what is accepted stays a finding and its check stays FAIL; it only does not decide the
verdict. A check is let through where all its findings are accepted, never one that measured
nothing or in which nobody got through, and never a probe that was unfit. The day that counts is
the run's own (UTC), so that the same files are judged alike for ever. What is over accepts
nothing, and says so; an entry that was meant for this run and matched nothing is told.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Final

import tomli_w
from pydantic import BeforeValidator, Field, field_validator

from probe.check.catalogue import CATALOGUE, entry_of
from probe.check.verdict import Acceptance, Outcome
from probe.errors import ConfigError, Problem
from probe.history.folder import ACCEPTED
from probe.model.base import Strict
from probe.model.reading import build, nearest, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probe.check.verdict import Check, Finding

ANY: Final = "*"
ENTRIES_MAX: Final = 1_000
# Where these are found there was no service to judge: to accept them would be to pass unseen.
NOTHING_MEASURED: Final = ("target.", "service.gone")
# Some clients may fail. Where all of them do, it is an outage and not what somebody lives with.
OF_CLIENTS: Final = "session.failed"


def _day(value: object) -> object:
    """A number would be read as seconds since 1970."""
    if isinstance(value, datetime) or not isinstance(value, date | str):
        raise ValueError(f"not a day; found {value!r}; allowed: a date such as 2026-12-31")  # noqa: TRY004 -- pydantic wants it
    return value


class Entry(Strict):
    """One accepted finding; patterns are as in file names (`*`, `?`, `[ab]`)."""

    code: str
    """The code of the finding, as reports show it."""
    scenario: str = ANY
    """Only in these scenarios."""
    target: str = ANY
    """Only at these targets; the embedded lab has to be named."""
    stage: str = ANY
    """Only in these stages."""
    check: str = ANY
    """Only where it breaks these checks, by their ids."""
    at_most: Annotated[int, Field(ge=1)] | None = None
    """Only up to so many cases, as reports count them; more are accepted by nobody."""
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    """Who has accepted it, and mends it."""
    until: Annotated[date, BeforeValidator(_day)]
    """The last day on which it is accepted."""
    why: Annotated[str, Field(min_length=1, max_length=2_000)]
    """Why it can be lived with until then; best with the number of an issue."""

    @field_validator("code")
    @classmethod
    def _known(cls, code: str) -> str:
        try:
            entry_of(code)
        except KeyError:
            hint = nearest(code, CATALOGUE)
            told = f"there is no such finding{f' ({hint})' if hint else ''}"
            raise ValueError(f"{told}; found {code!r}") from None
        if code.startswith(NOTHING_MEASURED):
            why = "where nothing could be measured there is nothing to accept"
            raise ValueError(f"{why}; found {code!r}")
        return code

    @field_validator("owner", "why")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("this is blank")
        return text

    def meant_for(self, scenario: str, target: str, *, embedded: bool) -> bool:
        """Whether it speaks of a run of this scenario against this target.

        The embedded lab has no findings that a team lives with: it is meant only if it is named.
        """
        if embedded and self.target == ANY:
            return False
        return fnmatchcase(scenario, self.scenario) and fnmatchcase(target, self.target)

    def covers(self, found: Finding) -> bool:
        """Whether it speaks of this finding."""
        stage = found.check.partition(".")[0]
        return (
            self.code == found.code
            and fnmatchcase(stage, self.stage)
            and fnmatchcase(found.check, self.check)
        )

    def bears(self, found: Finding) -> bool:
        """Whether it was not seen more often than is accepted."""
        return self.at_most is None or found.count <= self.at_most


class Accepted(Strict):
    """The file: `[[accepted]]`, as often as there are entries."""

    accepted: Annotated[tuple[Entry, ...], Field(max_length=ENTRIES_MAX)] = ()

    def meant_for(self, scenario: str, target: str, *, embedded: bool) -> tuple[Entry, ...]:
        """The entries that speak of a run of this scenario against this target."""
        mine = (e for e in self.accepted if e.meant_for(scenario, target, embedded=embedded))
        return tuple(mine)

    def to_toml(self, safe: Callable[[str], str] = str) -> str:
        """The text that is kept with a run; every string goes through `safe` first."""
        entries = [
            {
                key: safe(value) if isinstance(value, str) else value
                for key, value in entry.model_dump(exclude_none=True).items()
            }
            for entry in self.accepted
        ]
        return tomli_w.dumps({"accepted": entries})


def read_accepted(text: str, origin: str) -> Accepted:
    """The file's text as entries; ConfigError with every mistake in it."""
    return build(Accepted, parse(text, origin), origin)


def run_day(started_at: object) -> date:
    """The day of a run; ConfigError where the run does not tell it."""
    try:
        return datetime.fromisoformat(str(started_at)).date()
    except ValueError:
        why = "the run does not tell when it began, so that no acceptance can be dated"
        raise ConfigError(Problem(ACCEPTED, "", why)) from None


def accept(
    checks: tuple[Check, ...],
    findings: tuple[Finding, ...],
    entries: Sequence[Entry],
    day: date,
) -> tuple[tuple[Check, ...], tuple[Finding, ...], tuple[str, ...]]:
    """Checks and findings with what is accepted of them, and what is to be told of it.

    `entries` are those that are meant for this run.
    """
    nobody = {check.id for check in checks if check.unit == "rate" and check.estimate == 0}
    outages = [f for f in findings if f.code == OF_CLIENTS and f.check in nobody]
    marked = tuple(
        f if f in outages else replace(f, accepted=_acceptance(f, entries, day)) for f in findings
    )
    told = [
        f"not accepted, since nobody got through: {f.code} at {f.check}"
        for f in outages
        if _acceptance(f, entries, day) is not None
    ]
    told += [
        f"not accepted: {f.code} at {f.check}: {f.count:,} seen, and {_named(e)} bears "
        f"{e.at_most:,}"
        for f in marked
        if f.accepted is None and f not in outages
        for e in entries
        if e.at_most is not None and e.covers(f)
    ]
    told += [
        f"{f.accepted.said}: {f.code} at {f.check}: {f.accepted.why}"
        for f in marked
        if f.accepted is not None
    ]
    for entry in entries:
        if not any(entry.covers(found) for found in findings):
            ended = f", which ended on {entry.until}," if entry.until < day else ""
            told.append(f"the acceptance of {_named(entry)}{ended} matched nothing in this run")
    return tuple(_marked(check, marked) for check in checks), marked, tuple(told)


def _acceptance(found: Finding, entries: Sequence[Entry], day: date) -> Acceptance | None:
    """Of several entries that which lasts longest."""
    mine = [entry for entry in entries if entry.covers(found) and entry.bears(found)]
    if not mine:
        return None
    entry = max(mine, key=lambda each: each.until)
    return Acceptance(entry.owner, entry.until.isoformat(), entry.why, ended=entry.until < day)


def _marked(check: Check, findings: Sequence[Finding]) -> Check:
    """A FAIL says of its acceptance; it is accepted if nothing else was found against it."""
    mine = [f for f in findings if f.check == check.id and f.severity != "info"]
    if check.verdict is not Outcome.FAIL or not any(f.accepted for f in mine):
        return check
    said = list(dict.fromkeys(f"{f.code} {f.accepted.said}" for f in mine if f.accepted))
    left = [f.code for f in mine if f.accepted is None]
    words = "; ".join([*said, *([f"{', '.join(left)} is not accepted"] if left else [])])
    fully = check.n > 0 and all(f.accepted and not f.accepted.ended for f in mine)
    return replace(check, accepted=fully, message=f"({words}) {check.message}")


def _named(entry: Entry) -> str:
    """Code, patterns that narrow it, owner: what finds the entry in its file."""
    narrow: dict[str, Any] = entry.model_dump(include={"scenario", "target", "stage", "check"})
    where = [f"{key} {value}" for key, value in narrow.items() if value != ANY]
    return f"{entry.code} ({', '.join([*where, f'owner {entry.owner}'])})"
