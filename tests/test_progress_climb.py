"""The live lines of a climb: the level that was played last, and where the knee lies so far."""

import pytest
from rich.console import Console

from probe.check.climb import Climbing
from probe.cli.asking import Climbed, next_rate
from probe.cli.progress import Log, Progress
from probe.engine.site import Live
from probe.history.columns import History
from probe.redact import Redactor
from tests.test_check_capacity import played, story


@pytest.fixture
def watched(tmp_path):
    """The words of one line, for a climb that has come so far."""

    log = Log(tmp_path / "log.ndjson", Redactor())

    def words(climbed, stage):
        live = Live(stage=stage, launched=1_500, alive=7)
        return Progress(Console(), live, log, quiet=True, climbed=climbed)._words()

    yield words
    log.close()


def test_a_climb_tells_its_last_level_and_both_ends(watched):
    climbed = Climbed("climb", "75/s within", "75/s", "112.5/s")
    told = watched(climbed, "climb 92/s")
    assert told == (
        "climb 92/s: last 75/s within, within up to 75/s, beyond from 112.5/s; 1500 clients, 7 now"
    )
    assert "none beyond yet" in watched(Climbed("climb", "50/s open"), "climb 50/s")


@pytest.mark.parametrize("climbed", [Climbed(), Climbed("climb", "75/s within", "75/s")])
def test_no_climb_or_one_that_is_over_tells_of_runs(watched, climbed):
    assert "runs" in watched(climbed, "load")


def test_what_is_shown_is_what_the_search_was_told(tmp_path, monkeypatch):
    told, climbed, climbing = story(), Climbed("climb"), Climbing("climb")
    monkeypatch.setattr(History, "open", lambda _: told.history())
    (tmp_path / "scenario.resolved.toml").write_text(told.resolved.to_toml())
    rates = []
    while (rate := next_rate(tmp_path, climbing, climbed)) is not None:
        rates.append(rate)
        played(told, len(rates) - 1, rate, took=300.0 if rate > 1_300 else 5.0)
        assert len(rates) < 40
    assert climbed.last.startswith(f"{rates[-1]:g}/s ")
    assert float(climbed.within.removesuffix("/s")) <= 1_300
    assert float(climbed.beyond.removesuffix("/s")) > 1_300
