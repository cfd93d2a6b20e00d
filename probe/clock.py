"""One monotonic clock for every stamp.

`time.perf_counter_ns` reads CLOCK_MONOTONIC on Linux, so stamps of processes on one
host compare directly. The event loop's own clock is not used for stamps: uvloop caches
it per iteration. Wall time is read once per run (`Anchor`) and only ever derived after.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

now_ns = time.perf_counter_ns


@dataclass(frozen=True, slots=True)
class Anchor:
    """One moment told by both clocks: `mono_ns` monotonic, `wall_ns` since 1970 (UTC)."""

    mono_ns: int
    wall_ns: int

    @classmethod
    def take(cls) -> Anchor:
        """Read both clocks now."""
        return cls(now_ns(), time.time_ns())

    def wall(self, mono_ns: int) -> datetime:
        """The UTC wall time of a monotonic stamp of the same boot."""
        return datetime.fromtimestamp((self.wall_ns + mono_ns - self.mono_ns) / 1e9, tz=UTC)
