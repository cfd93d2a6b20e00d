"""A relay: what stands on another host between the driver and one worker there.

Theory of operation. The worker is the same process as on the driver's host, with nothing of the
cluster in it. The relay is the actor that started it: bytes for its pipe come by `say`; bytes of
its pipe, its counters, what is new in its journal and its end go back by `hear`, which the driver
calls again and again, with the stamps of each exchange; what the worker says comes behind all rows
that it had put on disk by then. The journal lies in a folder of its own
on this host until all of it has been fetched.

The rule: pieces are bounded, a row never leaves before the texts that it refers to, and the word
that a journal is complete leaves last. What nobody has fetched is never deleted: only `leave`
deletes, and the driver calls it when it has all, or when the start came to nothing. Nobody
outlives the driver: where it does not call for `FORSAKEN_NS`, the worker is killed, and the relay
ends. A worker of whose words more than `OUT_MAX` wait to be heard is killed, with that as its last
one. Secrets come by `say` alone, and are passed on to a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

from probe.clock import now_ns
from probe.engine.counters import Counters
from probe.engine.reach import is_stopped
from probe.history.merging import WORKER
from probe.history.records import ROW, SCHEMA

PIECE_BYTES: Final = 8 * 1024 * 1024
WORDS_MAX: Final = 2_000
OUT_MAX: Final = 64 * 1024 * 1024
FORSAKEN_NS: Final = 20_000_000_000
START_WITHIN_NS: Final = 60_000_000_000
_LOOK_S: Final = 0.01
_FORSAKEN_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a relay is. `kernel` is the same for all that share a host's ports and memory."""

    host: str
    kernel: str
    folder: str
    probe: str
    python: str
    schema: int


def here(folder: str = "") -> Place:
    """This host."""
    return Place(
        socket.gethostname(),
        _kernel(),
        folder,
        version("probe"),
        platform.python_version(),
        SCHEMA,
    )


def _kernel() -> str:
    """The boot and the network that this process sees; the host's name where that is hidden."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/net').readlink()}"
    except OSError:
        return socket.gethostname()


@dataclass(frozen=True, slots=True)
class Heard:
    """What is new. `came_ns`, `left_ns`: this host's clock when it was asked and answered.

    `code`: how the worker ended, None as long as it lives; `more`: not all of the journal fitted.
    """

    came_ns: int
    left_ns: int
    out: bytes
    line: bytes
    rows: bytes
    texts: bytes
    meta: bytes
    code: int | None
    stopped: bool
    stderr: bytes
    more: bool


class Relay:
    """The actor; its methods are coroutines, so that they take turns on one loop."""

    def __init__(self, index: int, count: int) -> None:
        self._index = index
        self._counters = Counters(count)
        self._folder = Path(tempfile.mkdtemp(prefix="probe-relay-"))
        self._journal = self._folder / f"{WORKER}{index + 1}"
        self._out = bytearray()
        self._stderr = bytearray()
        self._rows = self._texts = 0
        self._meta = b""
        self._asked_ns = now_ns()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def place(self) -> Place:
        """Where this is; the worker is started."""
        self._asked_ns = now_ns() + START_WITHIN_NS  # the other relays may take their time
        loop = asyncio.get_running_loop()
        numbers = (self._index, len(self._counters), self._counters.fd, os.getpid())
        self._process = process = subprocess.Popen(  # noqa: ASYNC220, S603 -- ours, once, at the start
            [sys.executable, "-m", "probe.engine", *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(self._counters.fd,),
            start_new_session=True,
        )
        assert process.stdin is not None
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), process.stdin
        )
        self._writer = asyncio.StreamWriter(transport, protocol, None, loop)
        for pipe, kept, most in (
            (process.stdout, self._out, None),
            (process.stderr, self._stderr, WORDS_MAX),
        ):
            reader = asyncio.StreamReader()
            await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), pipe)
            self._tasks.append(asyncio.ensure_future(self._keep(reader, kept, most)))
        self._tasks.append(asyncio.ensure_future(self._end_forsaken()))
        return here(str(self._folder))

    async def _keep(self, reader: asyncio.StreamReader, kept: bytearray, most: int | None) -> None:
        while data := await reader.read(65536):
            kept += data
            if most is not None:
                del kept[:-most]
            elif len(kept) > OUT_MAX:
                self._stderr += f"\nmore than {OUT_MAX} bytes of its words wait".encode()
                self._kill()
                break
            self._news.set()

    async def say(self, data: bytes) -> None:
        """Bytes for the worker's pipe, in the order of calling."""
        assert self._writer is not None
        with contextlib.suppress(OSError):  # it is gone, which `hear` tells
            self._writer.write(data)
            await self._writer.drain()

    async def hear(self, named: bool, hold_s: float) -> Heard:
        """What is new, at once if the worker has said something, else after `hold_s`.

        `named`: what the counters of all hosts say of it. What was given out once is not
        given again.
        """
        came = self._asked_ns = now_ns()
        if named:
            self._counters.tell_named(self._index)
        assert self._process is not None
        code = self._process.poll()
        until = came + round(hold_s * 1e9)
        while code is None and not self._out and now_ns() < until:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK_S)
            code = self._process.poll()
        if code is not None:
            await asyncio.wait(self._tasks[:2], timeout=1.0)  # the last words
        rows, texts, meta, more = self._new()
        out = b""
        if not more:  # a word stands behind the rows that were there when it was said
            out = bytes(self._out)
            self._out.clear()
        line = self._counters.line(self._index)
        stderr = bytes(self._stderr) if code is not None else b""
        stopped = is_stopped(self._process.pid)
        return Heard(came, now_ns(), out, line, rows, texts, meta, code, stopped, stderr, more)

    def _new(self) -> tuple[bytes, bytes, bytes, bool]:
        """A piece of the journal: rows, texts, its meta file, and whether there is more."""
        try:  # looked at first what is written last
            meta = (self._journal / "meta.json").read_bytes()
            whole = (self._journal / "rows.bin").stat().st_size // ROW.size * ROW.size
        except OSError:
            return b"", b"", b"", False
        texts = _piece(self._journal / "texts.bin", self._texts, PIECE_BYTES)
        self._texts += len(texts)
        rows = b""
        if len(texts) < PIECE_BYTES:
            size = min(whole - self._rows, PIECE_BYTES)
            rows = _piece(self._journal / "rows.bin", self._rows, size)
            self._rows += len(rows)
        more = len(texts) == PIECE_BYTES or self._rows < whole
        if meta == self._meta or (more and self._meta):
            return rows, texts, b"", more
        self._meta = meta
        return rows, texts, meta, more

    async def end(self) -> None:
        """Kill the worker, if it still lives; what it recorded can be heard afterwards."""
        self._kill()

    async def leave(self) -> None:
        """Forget all: the worker, and what it recorded."""
        self._kill()
        for task in self._tasks:
            task.cancel()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    async def _end_forsaken(self) -> None:
        while now_ns() - self._asked_ns < FORSAKEN_NS:  # noqa: ASYNC110 -- it is a silence
            await asyncio.sleep(_FORSAKEN_LOOK_S)
        self._kill()
        with contextlib.suppress(OSError):
            self._folder.rmdir()  # only an empty one: what was recorded stays
        os._exit(1)


def _piece(path: Path, at: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(size)
