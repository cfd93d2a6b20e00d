"""A tool while it runs: a process and its descendants, on one core.

What is counted as a tool's processor time: user and system time of all threads of the process and
of the descendants it has waited for (`wait4`) if it ended by itself; otherwise that of the living
processes by their CPU clocks (`clock_getcpuclockid`, ns), read right before they are killed. Not
counted: the kernel's work in interrupts, and a descendant that left the tree. Memory is the
resident set of every living process of the tree (`/proc/PID/statm`), shared pages counted in each.

`others_s` is how long the tool's core was busy with anything else (`/proc/stat`): what the
neighbours did to the numbers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.peers.work import Command

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024
END_S = 10


class Tree:
    """A started tool; `cpu_s` is its processor time so far, `ended` whether it is over."""

    def __init__(self, process: subprocess.Popen[bytes], core: int) -> None:
        self._process = process
        self._core = core
        self._begin_s = time.perf_counter()
        self._busy_s = _busy_s(core)
        self._final_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the process is over; its processor time is then final."""
        if self._final_s is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._final_s = usage.ru_utime + usage.ru_stime
        return self._final_s is not None

    @property
    def code(self) -> int | None:
        """The exit code, once it has ended; negative if a signal ended it."""
        return self._process.returncode

    @property
    def wall_s(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._begin_s

    def cpu_s(self) -> float:
        """Processor time so far, or of the whole life."""
        if self.ended:
            assert self._final_s is not None
            return self._final_s
        return sum(_clock_s(pid) for pid in self._pids())

    def others_s(self) -> float:
        """How long its core was busy with other processes since the start; ticks of 10 ms."""
        return max(0.0, _busy_s(self._core) - self._busy_s - self.cpu_s())

    def rss_kb(self) -> float:
        """Resident memory of the living tree."""
        return sum(_rss_kb(pid) for pid in self._pids())

    def kill(self) -> None:
        """End the tree, and whatever of its process group has outlived the process itself."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        deadline_s = time.perf_counter() + END_S
        while not self.ended and time.perf_counter() < deadline_s:
            time.sleep(0.005)

    def _pids(self) -> list[int]:
        if self.ended:
            return []
        found = [self._process.pid]
        for pid in found:
            found += _children(pid)
        return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, path.read_text(encoding="ascii").split())
    return found


def _clock_s(pid: int) -> float:
    try:
        # clock_getcpuclockid(3): the scheduler's clock of a whole process, not of one thread.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it is just gone
        return 0


def _rss_kb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_KB
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _busy_s(core: int) -> float:
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        word, *ticks = line.split()
        if word == f"cpu{core}":
            user, nice, system = map(int, ticks[:3])
            return (user + nice + system) * TICK_S
    raise RuntimeError(f"/proc/stat does not tell of core {core}")


@contextlib.contextmanager
def started(command: Command, folder: Path, core: int) -> Iterator[Tree]:
    """The tool on `core`, in `folder`; all it prints is in `folder`/printed. Gone at the end."""
    mine = os.sched_getaffinity(0)
    with (folder / "printed").open("wb") as printed:
        # Pinned before it starts: Go, Node and Erlang count their cores once.
        os.sched_setaffinity(0, {core})
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=folder,
                env={**os.environ, "HOME": str(folder), **command.env},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            os.sched_setaffinity(0, mine)
    tree = Tree(process, core)
    try:
        yield tree
    finally:
        tree.kill()
