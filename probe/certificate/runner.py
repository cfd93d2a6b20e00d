"""One run as a process of its own: `probe run`, and what it left on disk.

The rule: nothing of the run happens in this process, and nothing is asked of it but its
files: verdict.json for what the probe says, lab.ledger.ndjson for what the lab did. The
run has a folder of its own as its current one, so that it takes scenarios, targets and
dialects from the package and no `.env`. It has a deadline, after which it is stopped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from probe.certificate.result import Result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from threading import Event

    from probe.certificate.case import Order

DEADLINE_S: Final = 120.0
_POLL_S: Final = 0.05
_STOP_S: Final = 10.0
_USAGE: Final = 2
_TOLD_MAX: Final = 300
# What would change a run from outside: another target, another page, another secret.
_LEFT_OUT: Final = ("CI", "GITHUB_STEP_SUMMARY", "NO_COLOR", "FORCE_COLOR", "COLUMNS")
# A cold start's defects have no lines of their own: what was done to a handshake tells.
_HANDSHAKES: Final = {
    "closed_1011": "cold_start_1011",
    "hung": "cold_start_hang",
    "dropped": "cold_start_drop",
}


class Stopped(Exception):  # noqa: N818 -- no error: somebody asked for it
    """The run was broken off because `stop` was set; it left no result."""


def run(
    order: Order, folder: Path, version: str, stop: Event, *, deadline_s: float = DEADLINE_S
) -> Result:
    """Run `order` in `folder`, which is made and ought to be new; raises Stopped."""
    folder.mkdir(parents=True)
    began, at = time.monotonic(), datetime.now(UTC)
    words = [sys.executable, "-m", "probe", *order.words, "--out", ".", "--quiet"]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own words
            words,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at the terminal is for us, who stop it in order
        )
        try:
            error = _wait(process, began + deadline_s, deadline_s, stop)
        finally:
            _end(process)
    verdict, hits, told = _read(folder)
    if not verdict:
        error = error or f"exit {process.returncode} without a verdict: {told}"
    return Result(
        version=version,
        case=order.case,
        level=order.level,
        seed=order.seed,
        command=order.command,
        verdict=str(verdict.get("verdict", "")),
        exit_code=process.returncode,
        codes=_codes(verdict, info=False),
        notes=_codes(verdict, info=True),
        hits=hits,
        unfit=tuple(
            str(why)
            for kind in ("invalid", "taints")
            for why in verdict.get("fitness", {}).get(kind, ())
        ),
        error=error,
        why=next((str(why)[:_TOLD_MAX] for why in verdict.get("reasons", ())), ""),
        wall_s=round(time.monotonic() - began, 3),
        at=at.isoformat(timespec="seconds"),
    )


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in _LEFT_OUT and not name.startswith("PROBE_")
    }


def _wait(process: subprocess.Popen[bytes], until: float, within_s: float, stop: Event) -> str:
    """Until it ends, "" then; or the deadline, in words. Raises Stopped."""
    while process.poll() is None:
        if stop.is_set():
            raise Stopped
        if time.monotonic() > until:
            return f"no end within {within_s:g} s"
        time.sleep(_POLL_S)
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asked first, since it then stops its lab and writes what it has; then killed."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, int], str]:
    """(verdict.json or {}, the ledger's hits, the end of what it printed) of the run in there."""
    printed = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
    told = " ".join(printed.split())[-_TOLD_MAX:] or "it printed nothing"
    verdict: dict[str, Any] = {}
    hits: dict[str, int] = {}
    for path in folder.glob("*/verdict.json"):
        if not path.parent.is_symlink():
            verdict = json.loads(path.read_text(encoding="utf-8"))
    for path in folder.glob("*/lab.ledger.ndjson"):
        if not path.parent.is_symlink():
            with path.open(encoding="utf-8") as stream:
                hits = hits_of(json.loads(line) for line in stream if line.endswith("\n"))
    return verdict, hits, told


def hits_of(lines: Iterable[dict[str, Any]]) -> dict[str, int]:
    """How often each defect was done, from the lines of a ledger."""
    hits: Counter[str] = Counter()
    for line in lines:
        if line["event"] == "hit":
            hits[line["defect"]] += 1
        elif line["event"] == "handshake" and line["outcome"] in _HANDSHAKES:
            hits[_HANDSHAKES[line["outcome"]]] += 1
    return dict(sorted(hits.items()))


def _codes(verdict: dict[str, Any], *, info: bool) -> dict[str, int]:
    """Codes of findings with the sum of their counts; those of severity info apart."""
    found: Counter[str] = Counter()
    for each in verdict.get("findings", ()):
        if (each["severity"] == "info") is info:
            found[each["code"]] += int(each["count"])
    return dict(sorted(found.items()))
