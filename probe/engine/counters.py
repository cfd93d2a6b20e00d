"""Counters that workers write and the driver reads, in memory that they share.

The rule: each worker writes its own line alone, and nothing in it is judged: it is for who
watches, and to see that a worker still lives. Only `named` also goes the other way, whether the
service was seen to call a user as we do (see `everybody`).
"""

from __future__ import annotations

import mmap
import tempfile
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.clock import now_ns
from probe.history.records import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.engine.site import Live, Site

SUMS: Final = ("launched", "alive", "ready", "completed", "failed", "messages", "runs")
WAYS: Final = (*(outcome.name.lower() for outcome in Outcome), "stopped")
_BEAT, _NAMED, _LAG = range(3)
_FIRST: Final = 3
_WIDTH: Final = 64


class Counters:
    """A line of int64 for each of `count` workers. `fd` is inherited by them."""

    def __init__(self, count: int, fd: int | None = None) -> None:
        size = count * _WIDTH * 8
        self._file = None
        if fd is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `close`
            self._file.truncate(size)
            fd = self._file.fileno()
        self.fd = fd
        self._memory = mmap.mmap(fd, size)
        self._lines: NDArray[np.int64] = np.frombuffer(self._memory, np.int64)
        self._lines = self._lines.reshape(count, _WIDTH)
        self._seen = self._lines.copy()

    def write(self, index: int, site: Site) -> None:
        """A worker's own line, with the stamp of now."""
        line, live = self._lines[index], site.live
        values = [getattr(live, name) for name in SUMS]
        values += [live.outcomes.get(name, 0) for name in WAYS]
        line[_FIRST : _FIRST + len(values)] = values
        line[_LAG] = live.lag_ns_max
        line[_NAMED] = site.everybody.named = site.everybody.named or self.named
        line[_BEAT] = now_ns()

    def __len__(self) -> int:
        """How many workers."""
        return len(self._lines)

    def beat(self, index: int) -> int:
        """When a worker wrote last, monotonic ns; 0 never."""
        return int(self._lines[index, _BEAT])

    @property
    def named(self) -> bool:
        """Whether any worker has seen the service call a user as we do."""
        return bool(self._lines[:, _NAMED].any())

    def line(self, index: int) -> bytes:
        """One worker's line, for a host that does not share this memory."""
        return bytes(self._lines[index].tobytes())

    def put(self, index: int, line: bytes) -> None:
        """The line of a worker of another host."""
        self._lines[index] = np.frombuffer(line, np.int64)

    def tell_named(self, index: int) -> None:
        """Tell worker `index` that another host's has seen it."""
        others = np.arange(len(self._lines)) != index
        self._lines[others, _NAMED] = 1

    def add_to(self, live: Live) -> None:
        """Add what has been counted since the last time."""
        lines = self._lines.copy()
        more = (lines - self._seen).sum(axis=0)[_FIRST:].tolist()
        self._seen = lines
        for name, number in zip(SUMS, more, strict=False):
            setattr(live, name, getattr(live, name) + number)
        for name, number in zip(WAYS, more[len(SUMS) :], strict=False):
            if number:
                live.outcomes[name] += number
        live.lag_ns_max = max(live.lag_ns_max, int(lines[:, _LAG].max()))

    def close(self) -> None:
        """Give the memory back to the driver's system."""
        if self._file is not None:
            self._file.close()
