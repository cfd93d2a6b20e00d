"""One row of the table of defects; the rows stand in `table` and in `table_*`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Defect:
    """One row.

    `default` stands in for a value that is not given. `settable` is "any" time, or "start"
    for a defect that shapes the boot and comes too late once the process runs. One of
    `all_users` looks at all users at once, or holds all of them up, and so needs them in one
    process.
    """

    name: str
    meaning: str
    unit: Literal["rate", "switch", "count", "duration", "window"] = "rate"
    default: str = "1.0"
    drawn: str = ""
    targets: tuple[str, ...] = ()
    settable: Literal["any", "start"] = "any"
    all_users: bool = False
