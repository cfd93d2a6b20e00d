"""One coarse wheel of deadlines per event loop.

The rule: nothing fires early; it fires at most one tick (8 ms) and the loop's own lag late.
Adding and cancelling cost O(1) and no timer of the loop: a herd of ten thousand connects
must not make ten thousand heap entries whose only fate is to be cancelled. While nothing
is pending the loop has no timer at all.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from probe.clock import now_ns

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

TICK_NS: Final = 8_000_000


class Deadline:
    """One pending call; `cancel` is idempotent, also after it has fired."""

    __slots__ = ("_bucket", "callback")

    def __init__(self, callback: Callable[[], object], bucket: set[Deadline]) -> None:
        self.callback = callback
        self._bucket = bucket

    def cancel(self) -> None:
        """Forget the call; nothing happens when it is too late."""
        self._bucket.discard(self)


class Wheel:
    """Deadlines of one loop; not thread-safe. Take it by `wheel_of`."""

    __slots__ = ("__weakref__", "_at", "_buckets", "_loop", "_running")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weakly: a value that held its key would keep the entry of `_WHEELS` for ever.
        self._loop = ref(loop)
        self._buckets: defaultdict[int, set[Deadline]] = defaultdict(set)
        self._at = 0
        self._running = False

    def add(self, deadline_ns: int, callback: Callable[[], object]) -> Deadline:
        """Call `callback` once `deadline_ns` (of `now_ns`) has passed, never within `add`."""
        tick = deadline_ns // TICK_NS + 1
        if not self._running:
            self._at = now_ns() // TICK_NS
            self._running = True
            self._again()
        if tick <= self._at:
            tick = self._at + 1  # long past: due at the next turn
        bucket = self._buckets[tick]
        entry = Deadline(callback, bucket)
        bucket.add(entry)
        return entry

    def _turn(self) -> None:
        now = now_ns() // TICK_NS
        buckets = self._buckets
        for tick in range(self._at + 1, now + 1):
            bucket = buckets.pop(tick, None)
            self._at = tick
            while bucket:
                # Popped one by one: a callback may cancel others of the same tick.
                entry = bucket.pop()
                try:
                    entry.callback()
                except Exception as error:  # noqa: BLE001  one bad callback must not stop the rest
                    self._report(error)
        self._running = bool(buckets)
        if buckets:
            self._again()

    def _again(self) -> None:
        loop = self._loop()
        assert loop is not None
        loop.call_later(TICK_NS / 1e9, self._turn)

    def _report(self, error: Exception) -> None:
        loop = self._loop()
        assert loop is not None
        loop.call_exception_handler({"message": "a deadline's callback failed", "exception": error})


_WHEELS: WeakKeyDictionary[asyncio.AbstractEventLoop, Wheel] = WeakKeyDictionary()


def wheel_of(loop: asyncio.AbstractEventLoop) -> Wheel:
    """The one wheel of `loop`, made on first use."""
    wheel = _WHEELS.get(loop)
    if wheel is None:
        wheel = _WHEELS[loop] = Wheel(loop)
    return wheel
