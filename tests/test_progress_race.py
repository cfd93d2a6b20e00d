"""The live lines of a race: its trials and its anomalies so far, and nothing of runs."""

import asyncio
import io
import re

from rich.console import Console

from probe.cli.progress import Log, Progress
from probe.engine.site import Live
from probe.redact import Redactor


def shown(tmp_path, live):
    """What stands on a terminal after a moment."""
    stream = io.StringIO()
    screen = Console(file=stream, force_terminal=True, width=80, legacy_windows=False)
    log = Log(tmp_path / "log.ndjson", Redactor())

    async def moment():
        task = asyncio.ensure_future(Progress(screen, live, log, quiet=False).show())
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(asyncio.wait_for(moment(), 20))
    log.close()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_a_race_tells_its_trials_and_what_went_wrong(tmp_path):
    live = Live(stage="refresh", trial=60, trials=180, launched=72, anomalies=11)
    told = shown(tmp_path, live)
    assert "trials 60" in told
    assert "of at most 180" in told
    assert "went wrong 11" in told
    assert "runs" not in told
    assert "refresh 60/180" not in told


def test_any_other_stage_tells_its_runs(tmp_path):
    told = shown(tmp_path, Live(stage="load", runs=7))
    assert "runs 7" in told
    assert "went wrong" not in told
