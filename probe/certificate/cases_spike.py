"""The table of cases, continued: a service that a spike leaves broken.

Rows of the table of `cases`; its rule holds here, too. The lab has a true capacity of 100
connects/s, clients wait half a second and come again on the retry ladder: what the spike leaves
behind is 3 s of work. With a queue of 20 places it is refused at once, and the lab is back within
seconds; without a bound the servers work for clients who have given up.
"""

from __future__ import annotations

from typing import Final

from probe.certificate.case import Case, Count, Dose

_SHAPE: Final = "stages.spike.populations.clients.shape"
_RULE: Final = "stages.spike.expect.after_spike"
SHORT: Final = (
    "target.lab.capacity=2/20ms",
    "target.lab.capacity_queue=20/10s",
    "dialect.ready.within=500ms",
    f"{_SHAPE}.spike.base=30/s",
    f"{_SHAPE}.spike.peak=300/s",
    f"{_SHAPE}.spike.at=3s",
    f"{_SHAPE}.spike.hold=1500ms",
    f"{_SHAPE}.lasts=20s",
    f"{_RULE}.least=15s",
    "stages.spike.patience=2s",
)

SPIKES: Final = (
    Case(
        "endless_queue",
        "spike",
        ("spike.metastable",),
        Dose("1", "a switch; some 450 clients come in the spike, and 450 after it"),
        None,
        Count(None, None, "the queue has no bound from the start: there are no hits"),
        SHORT,
        ("service.gone",),
        drawn=False,
    ),
)
