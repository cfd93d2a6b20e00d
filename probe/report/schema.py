"""The shape of verdict.json, version 1: what a CI job, a dashboard or a later probe reads.

The structs below are the schema: documents are built through them, and the JSON Schema is
derived from them, so that neither can drift from the other. The rule for change: a new
field may come within a version; a field that goes, or means something else, needs the next.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "SKIPPED", "ERROR", "INVALID"]
ExitCode = Literal[0, 1, 3, 4, 5, 130]
Evidence = Literal["witness", "bound", "absence", "comparison"]
Count = Annotated[int, Meta(ge=0)]


class CheckEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One expectation, judged; estimate, interval and limit share the unit."""

    id: str
    stage: str
    required: bool
    verdict: Verdict
    evidence: Evidence
    n: Annotated[Count, Meta(description="Units of replication that were seen.")]
    estimate: float | None
    interval: Annotated[
        Annotated[list[float | None], Meta(min_length=2, max_length=2)] | None,
        Meta(description="95 % interval; an end is null where it is unbounded or unknown."),
    ]
    limit: float | None
    unit: Annotated[str, Meta(description='"s", "rate", "count", or "" where there is none.')]
    p_value: float | None
    smallest: Annotated[str, Meta(description="The smallest effect this n could have seen.")]
    control: Annotated[str, Meta(description='The control that shows it can see, or "none".')]
    message: str
    accepted: Annotated[
        bool, Meta(description="It fails by accepted findings alone, and does not fail the run.")
    ]


class StepEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of a witness."""

    at_s: Annotated[
        float | None,
        Meta(
            description="Seconds since the dial; of a race since the action that offsets count "
            "from, and below zero before it."
        ),
    ]
    who: Literal["probe", "server", "note"]
    what: str
    point: Annotated[bool, Meta(description="Whether it is what the case is about.")]


class WitnessEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One case, as it stood on the wire; secrets are masked."""

    session: int
    attempt: int
    stage: str
    endpoint: str
    began: str
    steps: list[StepEntry]


class AcceptanceEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who has accepted a finding, the last day of that, and why; `ended`: no longer."""

    owner: str
    until: Annotated[str, Meta(description="ISO 8601 date; that day is included.")]
    why: str
    ended: bool


class FindingEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A broken expectation; `code` is stable, `check` the id of the check it broke or ""."""

    code: str
    severity: Literal["critical", "major", "minor", "info"]
    evidence: Evidence
    count: Count
    message: str
    cause: str
    witness: list[WitnessEntry]
    reproduce: str
    check: str
    accepted: AcceptanceEntry | None


class FitnessEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether the probe's own machine was fit to judge, and its figures.

    The checks of the stages `by_level` judge each of their levels by itself; where no other was
    played, `whole` is false, and `fit` says nothing of them.
    """

    fit: bool
    whole: bool
    by_level: list[str]
    taints: list[str]
    invalid: list[str]
    figures: dict[str, Any]


class VerdictDocument(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """verdict.json: one run, judged."""

    schema: Literal[1]
    verdict: Verdict
    headline: Annotated[
        str,
        Meta(description="The verdict, marked where the lab was judged or findings accepted."),
    ]
    exit_code: ExitCode
    run_id: str
    scenario: str
    target: str
    embedded: Annotated[bool, Meta(description="Whether the target was the embedded lab.")]
    seed: int | None
    started: Annotated[str, Meta(description="ISO 8601, UTC.")]
    duration_s: float | None
    complete: Annotated[bool, Meta(description="Whether the run's files are whole.")]
    interrupted: bool
    reasons: list[str]
    checks: list[CheckEntry]
    findings: list[FindingEntry]
    fitness: FitnessEntry
    authenticity: dict[str, Any]
    accepted: Annotated[
        list[str],
        Meta(description="What was accepted, what no longer is, what matched nothing."),
    ]


def verdict_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of verdict.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:probe:verdict:1",
        **msgspec.json.schema(VerdictDocument),
    }
