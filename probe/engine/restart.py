"""How a target is restarted, and where time zero lies.

The embedded lab is stopped first and time zero is the spawn of its next life. A command of
the target file is time zero by its start, since nobody can say when within it the service
goes down; it must end with 0, and then the service's health must say healthy, both within
the deadline. It gets no shell, and an error quotes the end of its output, redacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from probe.clock import now_ns
from probe.engine.http import HEALTHY
from probe.errors import RestartError
from probe.units import format_duration

if TYPE_CHECKING:
    from probe.engine.http import Http
    from probe.engine.lab import LabProcess
    from probe.model.target import Target
    from probe.redact import Redactor

_POLL_S = 0.1
_WORDS_MAX = 2000


class Restarter(Protocol):
    """Restarts a target."""

    async def begin(self) -> int:
        """Start a restart; the monotonic ns of time zero."""

    async def finish(self) -> None:
        """Wait until the restart itself is through; RestartError if it is not."""


class LabRestarter:
    """Restarts the embedded lab."""

    def __init__(self, lab: LabProcess, within_ns: int) -> None:
        self._lab = lab
        self._within_ns = within_ns

    async def begin(self) -> int:
        """Stop this life, spawn the next."""
        await self._lab.stop()
        if words := self._lab.died():
            raise RestartError(words)
        return self._lab.spawn()

    async def finish(self) -> None:
        """Until it listens; how ready it then is, the clients see for themselves."""
        await self._lab.announced(self._within_ns)


class CommandRestarter:
    """Restarts a service by the command of its target file."""

    def __init__(self, target: Target, http: Http, redactor: Redactor) -> None:
        self._rule = target.restart
        names = list(target.services)
        self._service = self._rule.ready or names[0]
        self._index = names.index(self._service)
        self._http = http
        self._redactor = redactor
        self._process: asyncio.subprocess.Process | None = None
        self._output: IO[bytes] | None = None
        self._deadline = 0

    async def begin(self) -> int:
        """Start the command; it counts from when it runs, our own forking is not the service's."""
        # A file and no pipe: the service that the command leaves behind mostly keeps it as its
        # own output. A pipe would be held open by it, and break it once we are gone.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by `finish`
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._rule.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._output.close()
            program = self._redactor.text(Path(self._rule.command[0]).name)
            raise RestartError(
                f"restart.command cannot be started: {program}: {error.strerror}"
            ) from None
        zero = now_ns()
        self._deadline = zero + self._rule.within
        return zero

    async def _healthy(self) -> bool:
        return (await self._http.health(self._index, self._service))[1] == HEALTHY

    async def finish(self) -> None:
        """Until the command has ended well and health says healthy."""
        process = self._process
        assert process is not None
        try:
            async with asyncio.timeout(max(self._deadline - now_ns(), 0) / 1e9):
                if await process.wait():
                    raise RestartError(
                        f"restart.command ended with {process.returncode}: {self._words()}"
                    )
                while not await self._healthy():  # noqa: ASYNC110 -- a poll
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            what = f"{self._service} was not healthy"
            if process.returncode is None:
                what = "restart.command did not end"
            within = format_duration(self._rule.within)
            raise RestartError(f"{what} within the deadline of {within}") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            if self._output is not None:
                self._output.close()

    def _words(self) -> str:
        """The end of what the command said, redacted."""
        assert self._output is not None
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(size - _WORDS_MAX, 0))
        said = self._redactor.redact(self._output.read(_WORDS_MAX))
        return said.decode("utf-8", "replace").strip()
