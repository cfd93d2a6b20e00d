"""The process that shows a run while it goes on, as the run sees it.

The rule: what the loop spends on it is a line four times a second into a pipe that never blocks;
where the pipe is full, that line is left out. To draw, to serve and to wait for a terminal is the
business of that process (`probe.dashboard`), which is started before the run and ends with it; if
it dies, the run goes on and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import signal
import subprocess
import sys
import tempfile
from typing import IO, TYPE_CHECKING, Final, Self

from probe.cli.progress import now_of
from probe.clock import now_ns
from probe.dashboard.told import STOP, Facts, Judged, Over, line

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from probe.cli.progress import Course, Log
    from probe.dashboard.door import Door
    from probe.dashboard.told import Mode, Told
    from probe.engine.site import Live
    from probe.redact import Redactor

TICK_S: Final = 0.25
END_WITHIN_S: Final = 4.0
REASONS_MAX: Final = 3


def mode_of(screen: Console, *, quiet: bool) -> Mode:
    """A block where it can be rewritten in place, else lines; nothing where that was asked for."""
    if quiet or _descriptor(screen) is None:
        return "none"
    return "block" if screen.is_terminal and not screen.is_dumb_terminal else "lines"


def _descriptor(screen: Console) -> int | None:
    """Where the console writes; None where that is no file of the system's."""
    try:
        return screen.file.fileno()
    except (OSError, io.UnsupportedOperation):
        return None


class Onlooker:
    """The process that shows the run, as a context around the run and its judgement.

    There is none where nothing is to be shown; then every call does nothing.
    """

    def __init__(
        self, facts: Facts, screen: Console, redactor: Redactor, door: Door | None = None
    ) -> None:
        self._facts = facts
        self._screen = screen
        self._redactor = redactor
        self._door = door
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._pipe = self._words = -1
        self._rest = b""
        self._heard = b""

    def __enter__(self) -> Self:
        if self._facts.mode != "none" or self._door is not None:
            self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _start(self) -> None:
        self._words, theirs = os.pipe()
        passed = [theirs] + ([self._door.sock.fileno()] if self._door is not None else [])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `_end`
        shown = _descriptor(self._screen) if self._facts.mode != "none" else None
        # A Ctrl-C is for us, from its first moment on: a mask is inherited, and it keeps it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- ours
                [sys.executable, "-m", "probe.dashboard", *map(str, passed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if shown is None else shown,
                stderr=self._errors,
                pass_fds=passed,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
            if self._door is not None:
                self._door.sock.close()  # it is the onlooker's from here on
        assert self._process.stdin is not None
        self._pipe = self._process.stdin.fileno()
        os.set_blocking(self._pipe, False)
        os.set_blocking(self._words, False)
        self._put(line(self._facts))

    async def feed(
        self, live: Live, course: Course, log: Log, stopping: Callable[[], bool]
    ) -> None:
        """Tell how far the run is, until cancelled."""
        try:
            while True:
                await asyncio.sleep(TICK_S)
                log.changes(live)
                self.tell(now_of(live, course, stopping=stopping()))
                if self._process is not None and self._process.poll() is not None:
                    self._died(log)
        finally:
            if self._process is not None:
                self._last(line(now_of(live, course, stopping=stopping())))

    def tell(self, told: Told) -> None:
        """Pass it on if there is room; what was not whole the last time goes first."""
        if self._process is None:
            return
        if self._rest:
            self._put(b"")
        if not self._rest:
            self._put(line(told))

    def _put(self, data: bytes) -> None:
        self._rest += data
        try:
            self._rest = self._rest[os.write(self._pipe, self._rest) :]
        except BlockingIOError:
            pass
        except OSError:
            self._rest = b""  # it is gone, which `feed` sees

    def hear(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Have `stop` called, once, when it is asked for on the page."""
        if self._process is None:
            return

        def heard() -> None:
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._words, 64)
                self._heard += data
                if not data:
                    loop.remove_reader(self._words)
            if STOP in self._heard:
                loop.remove_reader(self._words)
                stop()

        loop.add_reader(self._words, heard)

    def deaf(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop ends: nobody can stop the run any more."""
        if self._process is not None:
            loop.remove_reader(self._words)

    def _died(self, log: Log) -> None:
        """It is gone before its time: the run goes on unseen, and that is told."""
        assert self._process is not None
        assert self._errors is not None
        self._errors.seek(0)
        said = self._redactor.redact(self._errors.read()[-2000:]).decode("utf-8", "replace")
        last = said.strip().rpartition("\n")[2] or f"exit code {self._process.returncode}"
        log.write("onlooker", ended=last)
        if self._facts.mode != "none":
            self._screen.print(f"  the live view has ended ({last}); the run goes on", markup=False)
        self.deaf(asyncio.get_running_loop())
        self._end()

    def over(self, how: str) -> None:
        """The run has ended; it is judged now."""
        if self._process is not None:
            self._last(line(Over(how)))

    def judged(self, verdict: str, headline: str, reasons: tuple[str, ...]) -> None:
        """What came of it, for whoever looks on still."""
        if self._process is not None:
            self._last(line(Judged(verdict, headline, reasons[:REASONS_MAX])))

    def _last(self, data: bytes) -> None:
        """What must be told, now that nothing is measured any more; within a second."""
        self._put(data)
        deadline = now_ns() + 1_000_000_000
        while self._rest and (left := deadline - now_ns()) > 0:
            select.select([], [self._pipe], [], left / 1e9)
            self._put(b"")

    def _end(self) -> None:
        """It ends with its pipe, or is ended."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(self._words)
        if self._errors is not None:
            self._errors.close()
