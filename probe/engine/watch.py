"""The watch on ourselves: whether this process and machine were fit to measure.

Rows, never corrections: a heartbeat every 10 ms whose lag is the event loop's, the CPU of
our process and of the lab's once a second, the share of time that the hypervisor took
(steal), every pause of the garbage collector, and the limits that a run can hit.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from probe.clock import now_ns
from probe.history.records import Kind

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from probe.engine.site import Live
    from probe.history.journal import Journal

BEAT_NS: Final = 10_000_000
_GC_RARE: Final = (50_000, 50, 1_000)
_CPU_NS: Final = 1_000_000_000
_FLUSH_EVERY: Final = 10  # beats: 100 ms
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_STEAL: Final = 8  # field of the cpu line of /proc/stat, the label being 0


class Watch:
    """Writes the fitness rows of one run, and keeps the journal flushed."""

    def __init__(self, journal: Journal, live: Live, lab_pid: Callable[[], int]) -> None:
        self._journal = journal
        self._live = live
        self._lab_pid = lab_pid
        self._beats = 0
        self._due = 0
        self._cpu_due = 0
        self._last: dict[int, tuple[int, int, int]] = {}
        self._stat = _machine()
        self._gc_began = 0
        self._thresholds = gc.get_threshold()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; what exists now is frozen, so that no collection pays for it.

        Full collections wait for `rest`: a session's garbage goes by reference counts, and
        a pause in the midst of a trial would be ours, not the target's.
        """
        self._thresholds = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_RARE)
        gc.callbacks.append(self._on_gc)
        self._limits()
        self._loop = loop
        self._due = now_ns() + BEAT_NS
        self._sample(now_ns())
        self._timer = loop.call_later(BEAT_NS / 1e9, self._beat)

    def rest(self) -> None:
        """Between trials, when nothing is measured: the time for a full collection."""
        gc.callbacks.remove(self._on_gc)
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._on_gc)
        self._due = now_ns() + BEAT_NS

    def stop(self) -> None:
        """End, with a last sample."""
        if self._timer is not None:
            self._timer.cancel()
        self._sample(now_ns())
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._on_gc)
        gc.unfreeze()
        gc.set_threshold(*self._thresholds)

    def _beat(self) -> None:
        now = now_ns()
        lag = max(now - self._due, 0)
        self._journal.note(Kind.LAG, b=lag)
        self._live.lag_ns_max = max(self._live.lag_ns_max, lag)
        self._beats += 1
        if self._beats % _FLUSH_EVERY == 0:
            self._journal.flush()
        if now >= self._cpu_due:
            self._sample(now)
        # A late beat is one late beat, not a row of them: the next is due from now.
        self._due = max(self._due + BEAT_NS, now + BEAT_NS // 2)
        self._timer = self._loop.call_later((self._due - now) / 1e9, self._beat)

    def _sample(self, now: int) -> None:
        self._cpu_due = now + _CPU_NS
        for number, pid in enumerate((os.getpid(), self._lab_pid())):
            if not pid:
                continue
            spent, resident = _process(pid)
            last = self._last.get(number)
            if last is not None and last[2] == pid and now > last[0]:
                permille = (spent - last[1]) * 1000 // (now - last[0])
                self._journal.note(Kind.CPU, op=number, a=permille, b=resident)
            self._last[number] = (now, spent, pid)
        before, self._stat = self._stat, _machine()
        total = self._stat[1] - before[1]
        if total > 0:
            permille = (self._stat[0] - before[0]) * 1000 // total
            self._journal.note(Kind.STEAL, a=permille)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_began = now_ns()
        elif self._gc_began:
            pause = now_ns() - self._gc_began
            self._journal.note(Kind.GC, op=info["generation"], b=pause)

    def _limits(self) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        fds = Path("/proc/self/fd")
        used = sum(1 for _ in fds.iterdir()) if fds.is_dir() else 0
        self._journal.note(Kind.LIMIT, flag=0, a=used, b=soft)
        with contextlib.suppress(OSError, ValueError):
            text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
            low, high = map(int, text.split())
            self._journal.note(Kind.LIMIT, flag=1, a=0, b=high - low + 1)


def _process(pid: int) -> tuple[int, int]:
    """CPU time (ns) and resident bytes of a process; zeros when it is gone."""
    if pid == os.getpid():
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int((used.ru_utime + used.ru_stime) * 1e9)
        return spent, _resident(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0, 0
    user, system = fields.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1_000_000_000 // _TICKS, _resident(pid)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _machine() -> tuple[int, int]:
    """(stolen ticks, all ticks) of the machine since boot; zeros where it is not told."""
    try:
        with Path("/proc/stat").open(encoding="ascii") as lines:
            fields = [int(field) for field in lines.readline().split()[1:]]
    except (OSError, ValueError):
        return 0, 0
    return (fields[_STEAL - 1] if len(fields) >= _STEAL else 0), sum(fields[:_STEAL])
