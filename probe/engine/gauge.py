"""A gauge: how much is under way, read at even times while a level is played.

The rule: it is counted by itself, from no stamp of a row, so that Little's law can check the
accounting of the rows against it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Self

from probe.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_S: Final = 0.01


class Gauge:
    """As an async context; `mean` is for afterwards. `count` tells how much it is just now."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._readings: list[tuple[int, int]] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _read(self) -> None:
        while True:
            self._readings.append((now_ns(), self._count()))
            await asyncio.sleep(EVERY_S)

    def mean(self, from_ns: int, to_ns: int) -> float | None:
        """Over [from, to); each reading holds until the next. None where none falls into it.

        After the last reading, which comes when all is over, nothing is left.
        """
        stamps = [t for t, _ in self._readings]
        if not any(from_ns <= t < to_ns for t in stamps):
            return None
        whole = 0
        for (t, count), until in zip(self._readings, stamps[1:], strict=False):
            whole += count * max(min(until, to_ns) - max(t, from_ns), 0)
        return whole / (to_ns - from_ns)
