"""The embedded lab as what it is to us: another process, reached over sockets only.

The rule: the probe knows the lab's command line and its one line of output, nothing else
of it. It is started with a secret of its own for each run, ends with us (its standard
input is our pipe), and a lab that dies or cannot have its port is an error with its words.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.errors import ConfigError, Problem, RestartError
from probe.units import canonical_duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probe.model.target import Lab

SECRET_VARIABLE: Final = "PROBE_LAB_SECRET"  # noqa: S105 -- the name of a variable
_STOP_S: Final = 5.0
_POLL_S: Final = 0.02
_WRONG_OPTION: Final = 2
_STOPPED: Final = (0, -signal.SIGTERM)  # the latter before it minds signals, while it starts
_GATE: Final = 'read -r _ && exec "$@"'


class LabProcess:
    """One lab, started again and again on the same port."""

    def __init__(
        self,
        secret: str,
        settings: Lab | None,
        *,
        defects: Sequence[str] = (),
        seed: int = 0,
        ledger: Path | None = None,
        log: Path | None = None,
    ) -> None:
        self._secret = secret
        self._settings = settings
        self._defects = tuple(defects)
        self._seed = seed
        self._ledger = ledger
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._lives = 0
        self._ended = ""
        self.port = 0
        self.pids: tuple[int, ...] = ()
        """The processes of the life that was announced last, the one that listens first."""

    @property
    def address(self) -> str:
        """`host:port`, known after the first start."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process of the current life, 0 for none."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def _arguments(self) -> list[str]:
        words = ["--port", str(self.port), "--seed", str(self._seed), "--life", str(self._lives)]
        words.append("--exit-with-parent")
        for defect in self._defects:
            words += ["--defect", defect]
        if self._ledger is not None:
            words += ["--ledger", str(self._ledger)]
        if self._settings is not None:
            words += ["--pace", canonical_duration(self._settings.pace)]
            boot = self._settings.boot
            if boot:
                phases = ",".join(f"{k}={canonical_duration(v)}" for k, v in boot.items())
                words += ["--boot", phases]
            if self._settings.processes > 1:
                words += ["--processes", str(self._settings.processes)]
            if self._settings.limit is not None:
                words += ["--limit", self._settings.limit]
            if self._settings.capacity is not None:
                words += ["--capacity", self._settings.capacity]
                words += ["--capacity-of", ",".join(self._settings.capacity_of)]
                if self._settings.capacity_queue is not None:
                    words += ["--capacity-queue", self._settings.capacity_queue]
            if self._settings.idle is not None:
                words += ["--idle", canonical_duration(self._settings.idle)]
        return words

    def spawn(self) -> int:
        """Begin a new life and return its time zero (ns); `announced` waits for its socket.

        Forking a large process holds up the loop for milliseconds, just when clients are to
        arrive. So the process is made first and waits at a line of its standard input; that
        line is time zero.
        """
        self._lives += 1
        environment = {**os.environ, SECRET_VARIABLE: self._secret}
        log = None if self._log is None else self._log.open("ab")
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- our own words, no user's
                [
                    "/bin/sh",
                    "-c",
                    _GATE,
                    "sh",
                    sys.executable,
                    "-m",
                    "probe.lab",
                    *self._arguments(),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log or subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # a Ctrl-C at the terminal is for us, who end it in order
            )
        finally:
            if log is not None:
                log.close()
        assert self._process.stdin is not None
        zero = now_ns()
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return zero

    async def announced(self, within_ns: int) -> None:
        """Wait for the line that says on which port it listens; RestartError without it."""
        process = self._process
        assert process is not None
        assert process.stdout is not None
        reading = asyncio.ensure_future(asyncio.to_thread(process.stdout.readline))
        done, _ = await asyncio.wait({reading}, timeout=within_ns / 1e9)
        if not done:
            process.kill()  # which also lets the reading thread go
            await reading
            raise RestartError("the embedded lab did not listen in time")
        line = reading.result()
        if not line:
            code = await asyncio.to_thread(process.wait)
            if code == _WRONG_OPTION:
                raise ConfigError(Problem("embedded lab", "", self._words().removeprefix(": ")))
            raise RestartError(f"the embedded lab ended at its start (exit {code}){self._words()}")
        told = json.loads(line)
        self.port = int(told["port"])
        self.pids = (process.pid, *told.get("processes", ()))

    async def ready(self, within_ns: int) -> None:
        """Wait until its own ledger says `ready`: the state from which a first restart counts."""
        import aiohttp  # noqa: PLC0415 -- a run against another target needs none of it

        url = f"http://{self.address}/_lab/ledger"
        deadline = now_ns() + within_ns
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
            while now_ns() < deadline:
                if not self.pid:
                    raise RestartError(f"the embedded lab died{self._words()}")
                try:
                    async with http.get(url) as answer:
                        phases = (await answer.json()).get("phases", {})
                except (aiohttp.ClientError, TimeoutError, OSError):
                    phases = {}
                if "ready" in phases:
                    return
                await asyncio.sleep(_POLL_S)
        raise RestartError("the embedded lab did not become ready in time")

    async def stop(self) -> None:
        """End the current life: asked first, then killed; `died` tells if it was over before."""
        process = self._process
        if process is None:
            return
        killed = False
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, _STOP_S)
            except subprocess.TimeoutExpired:
                killed = True
                process.kill()
                await asyncio.to_thread(process.wait)
        # A signal that kills is felt by its clients before the process can be seen to be gone,
        # so the exit code is what tells: asked to stop, the lab ends with 0.
        if not killed and process.returncode not in _STOPPED:
            self._ended = f"the embedded lab died (exit {process.returncode}){self._words()}"
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def died(self) -> str:
        """What it said when a stopped life had ended by itself, or ""."""
        return self._ended

    def _words(self) -> str:
        if self._log is None or not self._log.exists():
            return ""
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return f": {text[-400:]}" if text else ""
