"""`--until`: the limit of a capacity stage from the command line, or why there is none."""

import pytest

from probe.cli.files import load
from probe.cli.until import limited
from probe.engine.lab import SECRET_VARIABLE
from probe.errors import ConfigError

SECRET = {SECRET_VARIABLE: "s" * 40}
CLIMB = """
[stages.climb]
activity = "capacity"
[stages.climb.capacity]
begin = "50/s"
script = [{ do = "connect" }, { do = "close" }]
"""
TWO = CLIMB + CLIMB.replace("climb", "again")
LOAD = """
[stages.load.populations.users]
shape = { clients = 1 }
[stages.load.expect]
success = { rate = "100%" }
"""


def asked(probe, body, *words):
    return probe.inside("run", probe.scenario(body), "--dry-run", *words)


def test_the_limit_of_the_only_climb_is_that_of_the_command_line(probe, monkeypatch):
    monkeypatch.chdir(probe.cwd)
    loaded = load(probe.scenario(LOAD + CLIMB), None, [], SECRET)
    found = limited(loaded, "p95 < 200ms").scenario.stages
    climb, before = found["climb"].capacity, loaded.scenario.stages["climb"].capacity
    assert climb is not None
    assert before is not None
    assert (climb.quantile, climb.within) == (0.95, 200_000_000)
    assert found["load"] == loaded.scenario.stages["load"]
    assert before.within == 500_000_000
    assert limited(loaded, None) is loaded


def test_a_limit_is_written_into_the_run(probe):
    done = asked(probe, CLIMB, "--until", "p99<200ms")
    assert done.code == 0, done.told


def test_one_of_several_climbs_is_named(probe):
    done = asked(probe, TWO, "--until", "p99<200ms", "--stage", "again")
    assert done.code == 0, done.told


@pytest.mark.parametrize(
    ("body", "words", "told"),
    [
        (LOAD, ("p99<200ms",), "take the scenario `capacity`"),
        (TWO, ("p99<200ms",), "allowed: climb, again; name it by --stage"),
        (CLIMB, ("p99<200",), "as in 'p99<500ms'"),
        (CLIMB, ("200ms",), "as in 'p99<500ms'"),
        (CLIMB, ("p99<0ms",), "no answer comes within 0 s"),
        (LOAD + CLIMB, ("p99<200ms", "--stage", "load"), "has no stage"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(probe, body, words, told):
    done = asked(probe, body, "--until", *words)
    assert done.code == 2, done.told
    assert told in done.err, done.told


def test_a_word_that_nobody_reads_is_no_limit(probe, monkeypatch):
    monkeypatch.chdir(probe.cwd)
    with pytest.raises(ConfigError, match="which stage"):
        limited(load(probe.scenario(TWO), None, [], SECRET), "p99<1s")
