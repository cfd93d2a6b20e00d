"""From a run directory to a judgement: the roof reads the files, the judging wing judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.check.judge import judge
from probe.cli.accepting import kept
from probe.cli.baseline import compared
from probe.cli.files import read
from probe.history.columns import History
from probe.history.folder import HISTORY, RESOLVED
from probe.model.resolved import Resolved

if TYPE_CHECKING:
    from pathlib import Path

    from probe.check.verdict import Judgement


def judge_run(folder: Path, *, only_stage: str | None = None) -> Judgement:
    """Judge what is stored in a run directory; opens no socket, runs no stored code.

    A run that is to be compared with another one is, where it is judged as a whole.
    """
    resolved = Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
    history = History.open(folder / HISTORY)
    judgement = judge(history, resolved, only_stage=only_stage, accepted=kept(folder))
    return judgement if only_stage else compared(judgement, folder)
