"""What a run consults before it starts, and the defect that blocks the loop meanwhile.

Done right it costs nothing here. With blocking_dependency it is a driver that knows no
asyncio: it sleeps in the event loop's own thread, and all connections wait.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.lab.defects import Defects
    from probe.lab.ledger import Ledger


def consult(ledger: Ledger, defects: Defects, **ids: object) -> None:
    """Ask the dependency; `ids` say for which run, for the ledger."""
    block(ledger, defects, "blocking_dependency", **ids)


def block(ledger: Ledger, defects: Defects, defect: str, **ids: object) -> None:
    """Block the loop for the duration of that defect, when it is on; its line comes first."""
    delay_ns = defects.duration_ns(defect)
    if delay_ns is not None:
        ledger.hit(defect, delay_ns=delay_ns, **ids)
        time.sleep(delay_ns / 1e9)
