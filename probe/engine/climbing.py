"""A climb: level after level of a capacity stage, as whoever judges asks for.

The rule: which level comes next is asked for when everything of the one before is on disk, and
each is begun and over in rows of its own. How its load is brought is another's: clients that
come and go (`stage`), or connections that stay and are asked (`standing`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from probe.engine.gauge import Gauge
from probe.history.records import MICRO, Kind, Level

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import numpy as np
    from numpy.typing import NDArray

    from probe.engine.site import Site
    from probe.model.plan import StagePlan


class Load(Protocol):
    """What a level consists of."""

    def under_way(self) -> int:
        """How many clients, or questions without an answer, there are just now."""

    async def play(self, number: int, level: float, rows: NDArray[np.void]) -> int:
        """Play one level with these clients; its time zero, 0 where it was stopped before it."""

    async def over(self) -> None:
        """There is no further level."""


@dataclass(frozen=True, slots=True)
class Comers:
    """Clients that come, play their script and go: `play_out` plays a trial of them."""

    site: Site
    play_out: Callable[[int, NDArray[np.void]], Awaitable[int]]

    def under_way(self) -> int:
        """How many there are."""
        return self.site.live.alive

    async def play(self, number: int, level: float, rows: NDArray[np.void]) -> int:  # noqa: ARG002 -- a Load's
        """One trial."""
        return await self.play_out(number, rows)

    async def over(self) -> None:
        """All have gone by then."""


async def climbed(
    site: Site,
    stage: StagePlan,
    place: int,
    seed: int,
    load: Load,
    ask: Callable[[], Awaitable[float | None]],
    why_stop: Callable[[], Awaitable[str]],
) -> str:
    """Play what is asked for, of the stage at `place`; why it ended early, or ""."""
    capacity, journal, live, number = stage.stage.capacity, site.journal, site.live, 0
    assert capacity is not None
    try:
        while not (why := await why_stop()):
            level = await ask()
            if level is None:
                break
            live.stage, live.trial = f"{stage.name} {capacity.shown(level)}", number + 1
            journal.note(Kind.LEVEL, number, Level.BEGUN, place, round(level * MICRO))
            rows = stage.level(level, number, seed)
            async with Gauge(load.under_way) as gauge:
                zero = await load.play(number, level, rows)
            measured = zero + capacity.settle, zero + capacity.span_ns(level)
            if (there := gauge.mean(*measured)) is not None:
                journal.note(Kind.LEVEL, number, Level.OVER, place, round(there * MICRO))
            await asyncio.sleep(capacity.pause / 1e9)
            number += 1
    finally:
        await load.over()
    return why
