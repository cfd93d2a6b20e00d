"""A climb as it is told while it goes on: its level, which repeat, and what is proven so far."""

from types import SimpleNamespace
from typing import Any

from probe.check.climb import Climbing
from probe.cli.asking import Climbed, next_rate
from probe.cli.progress import Course, now_of
from probe.engine.site import Live
from probe.history.columns import History
from probe.model.capacity import Capacity
from tests.test_check_capacity import played, story


def course(climbed=None, **capacity):
    stage = SimpleNamespace(name="climb", stage=SimpleNamespace(capacity=Capacity(**capacity)))
    order: Any = SimpleNamespace(plan=SimpleNamespace(stages=[stage]))
    return Course(order, climbed or Climbed())


def test_a_level_tells_which_repeat_it_is_and_how_long_it_lasts():
    found = course(Climbed("climb", "75/s within", "75/s", "112.5/s"), lasts="20s", settle="1s")
    assert found.now() is None
    for level in (75.0, 112.5, 92.0, 112.5):
        found.asked("climb", level)
    now = found.now()
    assert (now.shown, now.again, now.repeats) == ("112.5/s", 2, 3)
    assert now.span_ns == 21_000_000_000
    assert (now.last, now.within, now.beyond) == ("75/s within", "75/s", "112.5/s")


def test_no_climb_or_one_that_is_over_has_no_level():
    found = course()
    found.asked("climb", 50.0)
    found.asked("climb", None)
    assert found.now() is None
    assert now_of(Live(stage="load"), found, stopping=False).level is None


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
