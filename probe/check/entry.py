"""One row of the table of findings; the rows stand in `catalogue` and in `entries_*`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.check.verdict import Evidence

Severity = Literal["critical", "major", "minor", "info"]


@dataclass(frozen=True, slots=True)
class Entry:
    """See `catalogue`: severity, evidence, causes by pattern, source, control."""

    severity: Severity
    evidence: Evidence
    causes: Mapping[str, str]
    source: str
    control: str = "none"
