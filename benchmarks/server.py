"""Builds `server.c` on demand and runs it as a process of its own.

The rule: a fresh server for every measurement, so that no measurement inherits ports in TIME_WAIT,
memory or counters from the one before. It ends when its standard input ends, so it cannot outlive
the process that started it, however that one dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SOURCE = HERE / "server.c"
BINARY = HERE / ".build" / "server"
ANSWER_S = 10


class CompilerMissingError(RuntimeError):
    """There is no C compiler; the message names the package that brings one."""


class BuildError(RuntimeError):
    """The compiler refused the source; the message holds what it said."""


def build() -> Path:
    """Compile the server if it is older than its source; the path of the binary."""
    if BINARY.exists() and BINARY.stat().st_mtime_ns > SOURCE.stat().st_mtime_ns:
        return BINARY
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CompilerMissingError(
            "the benchmark's server is C and no C compiler (cc) was found; "
            "on Debian: apt install build-essential"
        )
    BINARY.parent.mkdir(exist_ok=True)
    # Compiled beside and renamed: two runs at once must not start half a binary.
    fresh = BINARY.with_name(f"server.{os.getpid()}")
    command = [compiler, "-O2", "-o", str(fresh), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stderr}")
    fresh.replace(BINARY)
    return BINARY


def wait_s(pid: int) -> float:
    """Seconds this process was ready to run and its core was another's; 0 if not told."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except FileNotFoundError:  # a kernel without scheduler statistics
        return 0


class Server:
    """A running server; `port` is where it listens on 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._begin_s = time.perf_counter()
        word, _, port = self._line().partition(" ")
        if word != "port":
            raise BuildError(f"the server began with {word!r} and not with its port")
        self.port = int(port)

    def stats(self) -> dict[str, Any]:
        """What the server counted so far.

        `delay_ns` is the truth about its delays; `wait_s` how long it was kept from its core, of
        the `life_s` since its start.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("stats\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._line())
        life_s = time.perf_counter() - self._begin_s
        return {**told, "wait_s": wait_s(self._process.pid), "life_s": life_s}

    def _line(self) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], ANSWER_S)[0]:
            raise TimeoutError(f"the server said nothing for {ANSWER_S} s")
        return self._process.stdout.readline()


@contextlib.contextmanager
def running(
    *, delay_ms: float = 0, core: int | None = None, share: int | None = None
) -> Iterator[Server]:
    """A server on a free port of loopback, pinned to `core`, gone when the block ends.

    `share`: it listens there together with others; on this port, or of 0 on a free one.
    """
    command = [str(build()), "--delay-ms", str(delay_ms)]
    if share is not None:
        command += ["--share", "--port", str(share)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        yield Server(process)
    finally:
        process.kill()
        process.communicate(timeout=ANSWER_S)


@contextlib.contextmanager
def sharing(count: int) -> Iterator[list[Server]]:
    """So many servers on one port, among which the kernel deals out connections."""
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []
        for _ in range(count):
            port = servers[0].port if servers else 0
            servers.append(stack.enter_context(running(share=port)))
        yield servers
