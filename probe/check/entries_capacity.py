"""Findings about capacity: what a service does beyond its knee; rows of `catalogue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOURCE: Final = "docs/methods.md, Capacity"
_WITHIN: Final = "the levels below, which are within"

CAPACITY: Final[Mapping[str, Entry]] = {
    "capacity.latency": Entry(
        "major", "bound",
        {"": "clients wait for something that is used up: workers, a pool, a lock, one core"},
        _SOURCE, _WITHIN,
    ),
    "capacity.errors": Entry(
        "major", "bound",
        {"": "clients are turned away or given up on: a queue, a limit or a timeout is too small"},
        _SOURCE, _WITHIN,
    ),
}  # fmt: skip
