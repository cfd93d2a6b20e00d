"""What one finished run left behind, as the certificate keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `version` is that of the code which ran; `command` is the order's.

    `codes` are the findings with their counts, `notes` those of severity info, `hits` what
    the lab's ledger says was done, by defect. `unfit` is why the machine was not fit to
    judge, `error` why there is no verdict ("" where there is one), `why` the verdict's first
    reason. `tries` counts the runs that it took: an unfit one is made again.
    """

    version: str
    case: str
    level: str
    seed: int
    command: str
    verdict: str = ""
    exit_code: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    unfit: tuple[str, ...] = ()
    error: str = ""
    why: str = ""
    wall_s: float = 0.0
    tries: int = 1
    at: str = ""
    """UTC, as ISO 8601."""

    @property
    def name(self) -> str:
        """As `Order.name`."""
        return f"{self.case}-{self.level}-{self.seed}"
