"""Runs of one pytest session: each made once, by whichever worker comes first.

The rule: equal words, one run. With xdist the first worker to ask locks the words, plays and leaves
what came of it in the folder that all share; the lock goes with its process, so that nobody waits
for a worker that has died. Every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from probe.plugin.result import ProbeRun, ProbeRunError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import IO

OUT: Final = "results"  # where the probe itself puts runs, unless told
GRACE_S: Final = 20.0  # to end in order, once interrupted
POLL_S: Final = 0.1
TOLD_CHARS_MAX: Final = 4_000


def words_of(
    scenario: str,
    target: str | None,
    sets: Mapping[str, object] | Sequence[str] = (),
    args: Sequence[str] = (),
) -> tuple[str, ...]:
    """The words behind `probe run`."""
    pairs = sets
    if isinstance(sets, Mapping):
        pairs = [f"{key}={_toml(value)}" for key, value in sets.items()]
    words = [scenario, *(["--target", target] if target else [])]
    return (*words, *(word for pair in pairs for word in ("--set", pair)), *map(str, args))


def _toml(value: object) -> str:
    """JSON of booleans, numbers, strings in lists is TOML as well; a bare string stays bare."""
    return value if isinstance(value, str) else json.dumps(value)


class Store:
    """`folder`: where runs are played; `shared`: where workers tell each other of them."""

    def __init__(self, folder: Path, out: str, shared: Path | None) -> None:
        self._folder, self._out, self._shared = folder, out, shared
        self._told: dict[tuple[str, ...], dict[str, Any]] = {}

    def run(self, words: tuple[str, ...], timeout_s: float) -> ProbeRun:
        """What came of these words; ProbeRunError where they left no verdict."""
        if words not in self._told:
            self._told[words] = self._once(words, timeout_s)
        told = self._told[words]
        if told["document"] is None:
            raise ProbeRunError(told["error"])
        folder = self._folder / self._out / str(told["document"]["run_id"])
        return ProbeRun(folder, told["document"])

    def _once(self, words: tuple[str, ...], timeout_s: float) -> dict[str, Any]:
        if self._shared is None:
            return self._play(words, timeout_s)
        key = hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
        left = self._shared / f"{key}.json"
        with (self._shared / f"{key}.lock").open("w") as lock, _locked(lock, timeout_s):
            if not left.exists():
                part = left.with_suffix(".part")
                part.write_text(json.dumps(self._play(words, timeout_s)), encoding="utf-8")
                part.replace(left)
            told: dict[str, Any] = json.loads(left.read_text(encoding="utf-8"))
            return told

    def _play(self, words: tuple[str, ...], timeout_s: float) -> dict[str, Any]:
        """The document of verdict.json, or the error that there was instead of one."""
        if any(word == "--out" or word.startswith("--out=") for word in words):
            return _no_verdict(words, "--probe-out says where runs go, and not --out")
        out = [] if self._out == OUT else ["--out", self._out]
        # -P: a folder `probe` of the project under test is not this package.
        command = [sys.executable, "-P", "-m", "probe", "run", *words, *out, "--json"]
        process = subprocess.Popen(  # noqa: S603 -- this package, without a shell
            command, cwd=self._folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches it once, by `_end`, and so ends it in order
        )  # fmt: skip
        try:
            told, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end(process)
            return _no_verdict(words, f"it had not ended after {timeout_s:g} s")
        except BaseException:
            _end(process)
            raise
        with contextlib.suppress(ValueError):
            document: dict[str, Any] = json.loads(told)
            if document["exit_code"] == process.returncode:  # else something failed behind it
                return {"document": document, "error": ""}
        said = err.decode(errors="replace").strip()[-TOLD_CHARS_MAX:]
        return _no_verdict(words, f"exit code {process.returncode}\n{said}")


def _no_verdict(words: Sequence[str], why: str) -> dict[str, Any]:
    """Told by the scenario alone: other words may hold what a test has read from a secret."""
    return {"document": None, "error": f"probe run {words[0]}: no verdict: {why}"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """In order if it can be, so that what was recorded is kept; at the end nothing is left.

    Also where a second Ctrl-C comes while this waits: nobody else would end it then.
    """
    try:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE_S)
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its workers and its lab
            process.wait(timeout=GRACE_S)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def _locked(file: IO[str], timeout_s: float) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s + GRACE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ProbeRunError("another worker did not end the run that it began") from None
            time.sleep(POLL_S)
        else:
            break
    yield  # the lock goes when the file is closed
