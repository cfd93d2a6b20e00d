"""What this machine tells of itself: time, memory and descriptors, as the kernel counts them.

The rule: what a system does not tell is None (or 0 for a process that is gone), never a
guess. Sources: proc(5); the kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_STEAL: Final = 8  # field of the cpu line of /proc/stat, the label being 0
_UNLIMITED: Final = 1 << 60  # what control groups of version 1 write where there is no limit
PROC: Final = Path("/proc")
GROUPS: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Spent:
    """Of one process: CPU time (ns), resident bytes, major page faults (own process only)."""

    cpu_ns: int
    resident: int
    faults: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """Memory: how much there is, and how much of it is left, in bytes."""

    whole: int
    left: int

    @property
    def permille(self) -> int:
        """What is left, of a thousand."""
        return self.left * 1000 // self.whole if self.whole > 0 else 0


def process(pid: int) -> Spent:
    """What a process has used; zeros when it is gone."""
    if pid == os.getpid():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return Spent(int((used.ru_utime + used.ru_stime) * 1e9), _resident(pid), used.ru_majflt)
    fields = _text(PROC / str(pid) / "stat").rpartition(")")[2].split()
    if len(fields) < 13:  # noqa: PLR2004 -- utime and stime are its 14th and 15th, proc(5)
        return Spent(0, 0)
    ticks = int(fields[11]) + int(fields[12])
    return Spent(ticks * 1_000_000_000 // _TICKS, _resident(pid))


def stolen() -> tuple[int, int]:
    """(stolen ticks, all ticks) of the machine since boot; zeros where it is not told."""
    fields = [int(f) for f in _text(PROC / "stat").partition("\n")[0].split()[1:] if f.isdigit()]
    return (fields[_STEAL - 1] if len(fields) >= _STEAL else 0), sum(fields[:_STEAL])


def descriptors() -> tuple[int, int] | None:
    """(in use, allowed) of this process."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = (PROC / "self" / "fd").stat().st_size  # their number, since Linux 6.2
        if not used:
            # Listing thousands of them would hold up the loop. The lowest free number will do.
            used = lowest = os.open(os.devnull, os.O_RDONLY)
            os.close(lowest)
    except OSError:
        return None
    return used, allowed


def local_ports() -> int | None:
    """How many ports a connection may be made from."""
    fields = _text(PROC / "sys/net/ipv4/ip_local_port_range").split()
    return int(fields[1]) - int(fields[0]) + 1 if len(fields) == 2 else None  # noqa: PLR2004 -- a pair


def memory() -> Room | None:
    """The machine's."""
    found = _fields(_text(PROC / "meminfo"))
    if "MemTotal:" not in found or "MemAvailable:" not in found:
        return None
    return Room(found["MemTotal:"] * 1024, found["MemAvailable:"] * 1024)


def swapped() -> int:
    """Bytes of this process that are in swap."""
    return _fields(_text(PROC / "self" / "status")).get("VmSwap:", 0) * 1024


def swaps() -> bool:
    """Whether this machine has any swap."""
    return _fields(_text(PROC / "meminfo")).get("SwapTotal:", 0) > 0


class Group:
    """The memory that the control groups of this process leave it; looked up once."""

    def __init__(self) -> None:
        self._limits = [limit for limit in _limits() if limit.stands]

    def room(self) -> Room | None:
        """Of the group with the least left; None where none has a limit.

        Files that can be dropped at any time are no use of memory.
        """
        rooms = [room for limit in self._limits if (room := limit.room()) is not None]
        return min(rooms, key=lambda room: room.left, default=None)


@dataclass(frozen=True, slots=True)
class _Limit:
    """One group's files."""

    folder: Path
    most: str
    used: str
    idle: str

    @property
    def stands(self) -> bool:
        """Whether there is a limit at all."""
        most = _text(self.folder / self.most).strip()
        return most.isdigit() and int(most) < _UNLIMITED

    def room(self) -> Room | None:
        """What this limit leaves now."""
        most = _text(self.folder / self.most).strip()
        used = _text(self.folder / self.used).strip()
        if not (most.isdigit() and used.isdigit()):
            return None
        idle = _fields(_text(self.folder / "memory.stat")).get(self.idle, 0)
        return Room(int(most), max(int(most) - max(int(used) - idle, 0), 0))


def _limits() -> list[_Limit]:
    found = []
    for line in _text(PROC / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            root, names = GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = GROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Within a container the path may be the host's, of which only the root is to be seen.
        own = root / path.lstrip("/")
        folders = [own, *own.parents]
        folders = folders[: folders.index(root) + 1] if root in folders else [root]
        found += [_Limit(folder, *names) for folder in folders]
    return found


def _resident(pid: int) -> int:
    fields = _text(PROC / str(pid) / "statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0


def _fields(text: str) -> dict[str, int]:
    """Lines such as `MemTotal:  1024 kB` by their first word."""
    split = (line.split() for line in text.splitlines())
    return {words[0]: int(words[1]) for words in split if len(words) > 1 and words[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
