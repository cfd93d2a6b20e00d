"""The one exception tree.

    ProbeError                  anything this package raises on purpose
    +-- ConfigError             the user's files, options or environment are wrong: exit code 2
    +-- AuthError               no token could be had; names the source, never the secret
    +-- RestartError            the target could not be restarted or did not become ready
    +-- HistoryError            a run directory cannot be read as one
    +-- WorkerError             a process of the run died or hung, and with it the run

An error says whose fault it was: ConfigError is the user's, AuthError and RestartError
are the target's, everything else that escapes is ours and ends in exit code 5. A failed
connection is no exception at all: it is an outcome, written to the history.
"""

from __future__ import annotations

from dataclasses import dataclass


class ProbeError(Exception):
    """Root of the tree."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the user's input, with all that it takes to mend it.

    `origin` is the file or option, `path` the dotted key in it ("" for the whole),
    `found` what stands there ("" when nothing does), `allowed` what may stand there,
    `hint` the nearest valid name or the command to run ("" when there is none).
    """

    origin: str
    path: str
    message: str
    found: str = ""
    allowed: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.origin}: {self.path}" if self.path else self.origin
        parts = [f"{place}: {self.message}"]
        if self.found:
            parts.append(f"found {self.found}")
        if self.allowed:
            parts.append(f"allowed: {self.allowed}")
        if self.hint:
            parts.append(self.hint)
        return "; ".join(parts)


class ConfigError(ProbeError):
    """Every mistake that was found, at once, so that one edit mends them all."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class AuthError(ProbeError):
    """No token for an identity; the message names source and reason, redacted."""


class RestartError(ProbeError):
    """The target was not restarted, or not ready within its deadline."""


class HistoryError(ProbeError):
    """A stored run cannot be opened, and why."""


class WorkerError(ProbeError):
    """A worker of a run is gone, and why; its machine, or we, are at fault, never the target."""
