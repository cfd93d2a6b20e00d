"""How many may wait for the lab's capacity, and for how long.

Done right the queue is bounded by how long anybody would wait, and who finds it full is refused
at once, which costs nothing. With the defect endless_queue everybody is taken: after a spike
the servers work for clients who gave up long ago and have come again, and never catch up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from probe.lab.capacity import Capacity
    from probe.lab.defects import Defects

ENDLESS_QUEUE: Final = "endless_queue"
ENDLESS: Final = 1 << 30
ENDLESS_NS: Final = 86_400_000_000_000


def queued(capacity: Capacity | None, defects: Defects) -> Capacity | None:
    """The capacity with the queue that this life has."""
    if capacity is None or not defects.hits(ENDLESS_QUEUE):
        return capacity
    return replace(capacity, waiting_max=ENDLESS, deadline_ns=ENDLESS_NS)
