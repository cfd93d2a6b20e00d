"""Progress while a run is under way, and the run's log.

On a terminal one block that is rewritten in place; elsewhere a plain line every five
seconds. Both only read the live counters: nothing here is measured or judged.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.live import Live as Display
from rich.markup import escape
from rich.table import Table

from probe.clock import now_ns
from probe.report.visible import visible

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from probe.cli.asking import Climbed
    from probe.engine.site import Live
    from probe.redact import Redactor

_TICK_S = 0.2
_PLAIN_EVERY_S = 5.0


class Log:
    """`log.ndjson`: one JSON object per line, redacted, written as it happens."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self._stream = path.open("a", encoding="utf-8", buffering=1)
        self._redactor = redactor

    def write(self, event: str, **facts: Any) -> None:
        """One line with the wall time."""
        line = json.dumps({"time": datetime.now(UTC).isoformat(), "event": event, **facts})
        self._stream.write(self._redactor.text(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Progress:
    """Shows `live` until cancelled."""

    def __init__(
        self, console: Console, live: Live, log: Log, *, quiet: bool, climbed: Climbed | None = None
    ) -> None:
        self._console = console
        self._live = live
        self._log = log
        self._quiet = quiet
        self._climbed = climbed
        self._began = now_ns()
        self._last: tuple[str, int] = ("", 0)
        self._unfit: set[str] = set()  # what the log has been told

    async def show(self) -> None:
        """Until cancelled; the last state stays on the screen's scrollback."""
        if self._quiet or not self._console.is_terminal:
            await self._plain()
            return
        display = Display(self._block(), console=self._console, auto_refresh=False, transient=True)
        with display:
            while True:
                await asyncio.sleep(_TICK_S)
                self._log_changes()
                display.update(self._block(), refresh=True)

    async def _plain(self) -> None:
        shown = 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            self._log_changes()
            elapsed = self._elapsed()
            if not self._quiet and elapsed - shown >= _PLAIN_EVERY_S:
                shown = elapsed
                line = f"{elapsed:6.1f} s  {self._words()}"
                self._console.print(line, markup=False, soft_wrap=True)

    def _log_changes(self) -> None:
        now = (self._live.stage, self._live.trial)
        if now != self._last:
            self._last = now
            self._log.write("trial", stage=now[0], trial=now[1], clients=self._live.launched)
        for name, words in self._live.unfit.items():
            if name not in self._unfit:
                self._unfit.add(name)
                self._log.write("unfit", why=words)

    def _elapsed(self) -> float:
        return (now_ns() - self._began) / 1e9

    def _where(self) -> str:
        live = self._live
        if not live.stage:
            return "starting"
        counted = live.trials > 1 and live.anomalies is None
        return f"{live.stage} {live.trial}/{live.trials}" if counted else live.stage

    def _words(self) -> str:
        live = self._live
        failures = ", ".join(f"{name} {count}" for name, count in live.outcomes.most_common(4))
        if live.anomalies is not None:
            words = f"{self._raced()}, {live.launched} clients"
        elif climb := self._climb():
            words = f"{', '.join(climb)}; {live.launched} clients, {live.alive} now"
        else:
            words = (
                f"{live.launched} clients, {live.alive} now, {live.ready} ready, "
                f"{live.runs} runs, {live.messages} messages"
            )
        unfit = f"; UNFIT: {', '.join(live.unfit.values())}" if live.unfit else ""
        return f"{self._where()}: {words}" + (f"; {failures}" if failures else "") + unfit

    def _raced(self) -> str:
        """How far a race has come: the search may need fewer trials than there are at most."""
        live = self._live
        return f"{live.trial} of at most {live.trials} trials, {live.anomalies} went wrong"

    def _climb(self) -> tuple[str, str, str] | None:
        """The level that was played last, and between which two the knee lies so far."""
        climbed = self._climbed
        if climbed is None or not climbed.last:
            return None
        if not self._live.stage.startswith(f"{climbed.stage} "):
            return None  # another stage is under way by now
        low, high = climbed.within, climbed.beyond
        return (
            f"last {climbed.last}",
            f"within up to {low}" if low else "none within yet",
            f"beyond from {high}" if high else "none beyond yet",
        )

    def _block(self) -> Table:
        live = self._live
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            f"[bold]{escape(self._where())}[/]", f"{self._elapsed():.0f} s",
            f"lag {live.lag_ns_max / 1e6:.1f} ms at most",
        )  # fmt: skip
        grid.add_row(f"clients {live.launched}", f"now {live.alive}", f"became ready {live.ready}")
        if live.anomalies is not None:
            most = f"of at most {live.trials}"
            grid.add_row(f"trials {live.trial}", most, f"went wrong {live.anomalies}")
        elif climb := self._climb():
            grid.add_row(*climb)
        else:
            grid.add_row(
                f"runs {live.runs}", f"messages {live.messages}", f"sessions failed {live.failed}"
            )
        for name, count in live.outcomes.most_common(3):
            grid.add_row(f"[yellow]{escape(name)}[/]", str(count), "")
        for words in live.unfit.values():
            grid.add_row("[magenta]unfit[/]", f"[magenta]{escape(words)}[/]", "")
        if live.newest:
            grid.add_row("[dim]newest[/]", "", f"[dim]{escape(visible(live.newest)[:60])}[/]")
        return grid
