"""Findings about the way back from a spike; rows of `catalogue`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.check.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

SPIKE: Final[Mapping[str, Entry]] = {
    "spike.metastable": Entry(
        "critical",
        "bound",
        {
            "": "the service is kept busy by what the spike left behind: clients that gave up and "
            "come again, and a queue of requests for which nobody waits any more; bound the queue "
            "by how long clients wait, refuse early, let clients wait longer each time",
            "served": "after the spike fewer are served, though no more attempts come than before: "
            "something was used up and not given back, such as a pool, a breaker or a cache",
        },
        "docs/methods.md, After a spike; Bronson et al., HotOS 2021; Huang et al., OSDI 2022",
        "the same load, before the spike",
    ),
}
