"""The watch on ourselves: whether this process and machine were fit to measure.

Rows, never corrections: a heartbeat every 10 ms whose lag is the event loop's, and once a
second the CPU of our process and of the lab's, the share of time that the hypervisor took
(steal), memory and swap, and the limits that a run can hit; every pause of the garbage
collector. What crosses a limit (`probe.stats.fit`) is told at once in `Live.unfit`.

Theory of operation, garbage. A session's memory is freed by reference counts, and the
collector is there for circles alone. Left to itself it goes through everything that lives, in
pauses that grow with the connections that are open (0.1 s at 15,000). So it is off while
something is measured, and has its turn between trials (`rest`). Where memory grows by
`_GROWN` all the same, a script has left circles behind, and one collection goes through all
that is new: a pause in the midst of a stage, which is recorded and judged like any other.
"""

from __future__ import annotations

import contextlib
import gc
import os
from typing import TYPE_CHECKING, Any, Final

from probe.clock import now_ns
from probe.engine import machine
from probe.history.records import Kind, Memory
from probe.stats import fit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from probe.engine.site import Live
    from probe.history.journal import Journal

BEAT_NS: Final = fit.BEAT_NS
_GROWN: Final = 256 * 1024 * 1024  # bytes
_CPU_NS: Final = 1_000_000_000
_FLUSH_EVERY: Final = 10  # beats: 100 ms
PROBE, LAB = 0, 1


class Watch:
    """Writes the fitness rows of one process of a run, and keeps the journal flushed.

    `process` is its number in rows (`probe.history.records`): 0, or from 2 on a worker's.
    """

    def __init__(
        self,
        journal: Journal,
        live: Live,
        lab_pids: Callable[[], tuple[int, ...]],
        *,
        process: int = PROBE,
    ) -> None:
        self._journal = journal
        self._live = live
        self._lab_pids = lab_pids
        self._process = process
        self._beats = 0
        self._due = 0
        self._cpu_due = 0
        self._last: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        self._stat = machine.stolen()
        self._group = machine.Group()
        self._swaps = machine.swaps()
        self._faults = machine.process(os.getpid()).faults
        self._gc_began = 0
        self._collects = gc.isenabled()
        self._resident = 0  # after the last collection
        self._rested = False
        self._timer: asyncio.TimerHandle | None = None
        self._told = _Told(live.unfit)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; what exists now is frozen, so that no collection pays for it."""
        self._collects = gc.isenabled()
        gc.disable()
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._on_gc)
        self._loop = loop
        now = now_ns()
        self._due = now + BEAT_NS
        self._told.begin(now)
        self._sample(now)
        self._timer = loop.call_later(BEAT_NS / 1e9, self._beat)

    def rest(self) -> None:
        """Between trials, when nothing is measured: the time for a full collection."""
        gc.callbacks.remove(self._on_gc)
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._on_gc)
        self._resident = 0
        now = now_ns()
        self._due = now + BEAT_NS
        if not self._rested:  # what came before is the start, in which nothing is measured
            self._rested = True
            self._live.lag_ns_max = 0
            self._told.begin(now)

    def stop(self) -> None:
        """End, with a last sample."""
        if self._timer is not None:
            self._timer.cancel()
        self._sample(now_ns())
        with contextlib.suppress(ValueError):
            gc.callbacks.remove(self._on_gc)
        gc.unfreeze()
        if self._collects:
            gc.enable()

    def _beat(self) -> None:
        now = now_ns()
        lag = max(now - self._due, 0)
        self._journal.note(Kind.LAG, self._process, b=lag)
        self._live.lag_ns_max = max(self._live.lag_ns_max, lag)
        self._told.lag(lag)
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
        for number, pids in ((self._process, (os.getpid(),)), (LAB, self._lab_pids())):
            spent = [machine.process(pid) for pid in pids]
            if not any(each.resident for each in spent):
                continue
            cpu_ns = sum(each.cpu_ns for each in spent)
            resident = sum(each.resident for each in spent)
            last = self._last.get(number)
            if last is not None and last[2] == pids and now > last[0]:
                permille = max(cpu_ns - last[1], 0) * 1000 // (now - last[0])
                self._journal.note(Kind.CPU, number, a=permille, b=resident)
                if number != LAB:
                    self._told.cpu(permille, now - last[0])
                    self._collect(resident)
            self._last[number] = (now, cpu_ns, pids)
        before, self._stat = self._stat, machine.stolen()
        total = self._stat[1] - before[1]
        if total > 0:
            permille = (self._stat[0] - before[0]) * 1000 // total
            self._journal.note(Kind.STEAL, self._process, a=permille)
            self._told.steal(permille)
        self._limits()
        self._memory()
        self._told.sum_up(now)

    def _collect(self, resident: int) -> None:
        """Go through what is new, if memory has grown; see the module."""
        self._resident = self._resident or resident
        if resident > self._resident + _GROWN:
            gc.collect()
            self._resident = 0

    def _limits(self) -> None:
        found = machine.descriptors()
        if found is not None:
            self._journal.note(Kind.LIMIT, self._process, 0, *found)
            self._told.descriptors(*found)
        ports = machine.local_ports()
        if ports is not None:
            self._journal.note(Kind.LIMIT, self._process, 1, 0, ports)

    def _memory(self) -> None:
        rooms = {Memory.MACHINE: machine.memory(), Memory.GROUP: self._group.room()}
        for flag, room in rooms.items():
            if room is not None:
                self._journal.note(Kind.MEMORY, self._process, flag, room.permille, room.left)
                self._told.memory(room.permille)
        if self._swaps:
            faults = machine.process(os.getpid()).faults
            new, self._faults = faults - self._faults, faults
            swapped = machine.swapped()
            self._journal.note(Kind.MEMORY, self._process, Memory.SWAPPED, new, swapped)
            self._told.swapped(swapped)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_began = now_ns()
        elif self._gc_began:
            pause = now_ns() - self._gc_began
            self._journal.note(Kind.GC, info["generation"], self._process, b=pause)
            self._told.pause(pause)


class _Told:
    """What is over a limit by now, in a few words each; `unfit` is who watches' own map.

    The check judges by the rows; this is so that nobody waits an hour for it.
    """

    def __init__(self, unfit: dict[str, str]) -> None:
        self._unfit = unfit
        self._began = 0
        self._late_ns = 0
        self._stood_ns = 0
        self._busy = dict.fromkeys((fit.CPU_TAINT, fit.CPU_INVALID), 0)
        self._steal = [0, 0]
        self._pause_ns = 0

    def begin(self, now: int) -> None:
        self._began, self._late_ns = now, 0
        for name in ("lag", "stall"):
            self._unfit.pop(name, None)

    def lag(self, lag_ns: int) -> None:
        self._late_ns += max(lag_ns - fit.LAG_TAINT_NS, 0)
        if lag_ns > fit.STALL_NS:
            self._stood_ns = max(self._stood_ns, lag_ns)
            self._unfit["stall"] = f"stood still for {self._stood_ns / 1e9:.1f} s"

    def cpu(self, permille: int, for_ns: int) -> None:
        for level, held in self._busy.items():
            self._busy[level] = held + for_ns if permille > level else 0
            if self._busy[level] >= fit.CPU_FOR_NS:
                self._unfit["cpu"] = f"CPU over {level // 10} %"

    def steal(self, permille: int) -> None:
        self._steal = [self._steal[0] + permille, self._steal[1] + 1]
        mean = self._steal[0] / self._steal[1]
        self._set("steal", f"steal {mean / 10:.1f} %", over=mean > fit.STEAL_TAINT)

    def pause(self, pause_ns: int) -> None:
        if pause_ns > max(fit.PAUSE_TAINT_NS, self._pause_ns):
            self._pause_ns = pause_ns
            self._unfit["gc"] = f"garbage collection {pause_ns / 1e6:.0f} ms"

    def descriptors(self, used: int, allowed: int) -> None:
        if allowed - used < fit.DESCRIPTORS_LEFT:
            self._unfit["descriptors"] = f"descriptors {used:,} of {allowed:,}"

    def memory(self, permille: int) -> None:
        if permille < fit.MEMORY_LEFT:
            self._unfit["memory"] = f"memory left {permille / 10:.1f} %"

    def swapped(self, swapped: int) -> None:
        if swapped:
            self._unfit["swap"] = f"{swapped / 2**20:.0f} MiB in swap"

    def sum_up(self, now: int) -> None:
        """Of lag: p99 is over the limit where it was for more than a hundredth of the time."""
        share = self._late_ns / max(now - self._began, 1)
        limit = fit.LAG_TAINT_NS // fit.MS
        self._set("lag", f"lag over {limit} ms for {share:.1%} of the time", over=share > 1 / 100)

    def _set(self, name: str, words: str, *, over: bool) -> None:
        if over:
            self._unfit[name] = words
        else:
            self._unfit.pop(name, None)
