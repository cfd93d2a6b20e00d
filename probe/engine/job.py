"""What the workers of a run are told before it begins, and of each trial.

The rule: models, a seed and secrets, and no plan: each makes it by itself. Both go between two
processes of ours (`link`) and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from probe.model.dialect import Dialect
    from probe.model.scenario import Scenario
    from probe.model.target import Target

FIRST_PROCESS: Final = 2  # of the first worker in rows; see `records`

Person = tuple[int, str, str, float | None, tuple[bytes, ...]]
"""Index, user, token, when it expires, and what its redactor knows."""


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a run are told; `ceilings` and `index` say what is this one's own."""

    run_id: str
    history: Path
    target: Target
    dialect: Dialect
    scenario: Scenario
    seed: int
    digest: str
    lab: str
    keep: int
    count: int
    ceilings: tuple[int, ...] | None
    secrets: tuple[bytes, ...] = field(repr=False)
    here: tuple[int, ...] = ()
    """The workers that share a host which is not the driver's, so that its limits are theirs."""
