"""What a page draws from beside the judgement: the run's history and what it was held to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from probe.check.view import StageView, views
from probe.history.columns import History
from probe.history.folder import HISTORY, RESOLVED
from probe.model.resolved import Resolved

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Recorded:
    """One run's files. `text` is `scenario.resolved.toml` as it was stored."""

    history: History
    resolved: Resolved
    text: str

    @classmethod
    def of(cls, folder: Path) -> Recorded | None:
        """What a run directory holds; None where there is no history. Raises ProbeError, OSError.

        A judgement can be written without one, and then nothing is drawn.
        """
        if not (folder / HISTORY).is_dir():
            return None
        path = folder / RESOLVED
        text = path.read_text(encoding="utf-8")
        return cls(History.open(folder / HISTORY), Resolved.from_toml(text, str(path)), text)

    @cached_property
    def views(self) -> tuple[StageView, ...]:
        """The stages that began, in order."""
        return tuple(v for v in views(self.history, self.resolved) if not v.skipped)

    @cached_property
    def zero(self) -> int:
        """Where the page's time begins: the first stage's begin, or the first row (ns)."""
        begun = [view.begun for view in self.views]
        rows = self.history.rows
        return min(begun) if begun else int(rows["t"].min()) if len(rows) else 0

    @cached_property
    def end(self) -> int:
        """The last row (ns), at least a millisecond after the first."""
        rows = self.history.rows
        return max(int(rows["t"].max()) if len(rows) else 0, self.zero + 1_000_000)
