"""`--stage`, `--at` and `--trials`: one stage alone, or one offset of its race."""

import pytest

RACES = """
[stages.load.populations.users]
shape = { clients = 1 }
[stages.load.expect]
success = { rate = "100%" }
[stages.one]
activity = "race"
expect = { race = true }
[stages.one.race]
range = ["0ms", "200ms"]
[stages.one.race.actors.client]
script = [{ do = "gate" }, { do = "connect" }, { do = "gate", offset = "swept" }, { do = "settle" }]
"""
ONE = "[stages.one]" + RACES.partition("[stages.one]")[2]
TWO = RACES + ONE.replace("stages.one", "stages.two")


def asked(probe, body, *words):
    return probe.inside("run", probe.scenario(body), "--dry-run", *words)


def test_a_stage_alone(probe):
    done = asked(probe, RACES, "--stage", "load")
    assert done.code == 0, done.told
    assert "load" in done.out
    assert "race" not in done.out.partition("stage")[2]


def test_the_only_race_at_one_offset(probe):
    done = asked(probe, RACES, "--at", "+12ms", "--trials", "5")
    assert done.code == 0, done.told
    # Ten trials, room for as many that tell nothing, and three releases that are not full.
    assert "25 at most" in done.out


@pytest.mark.parametrize(
    ("body", "words", "told"),
    [
        (RACES, ("--trials", "5"), "name it by --at"),
        (RACES, ("--stage", "lod"), "load"),
        (RACES, ("--stage", "load", "--at", "1ms"), "is no race"),
        (RACES, ("--at", "soon"), "--at"),
        (RACES, ("--at", "900ms"), "allowed: +0ms to +200ms"),
        (RACES, ("--at", "-5ms"), "outside of the range of the race"),
        (TWO, ("--at", "1ms"), "which race?"),
        (RACES.partition("[stages.one]")[0], ("--at", "1ms"), "has no race"),
    ],
)
def test_what_cannot_be_is_told(probe, body, words, told):
    done = asked(probe, body, *words)
    assert done.code == 2, done.told
    assert told in done.err


def test_several_stages(probe):
    done = asked(probe, TWO, "--stage", "one", "--stage", "two")
    assert done.code == 0, done.told
    assert "load" not in done.out.partition("stage")[2]


def test_what_does_not_fit_is_told_with_the_stages_that_do(probe):
    runs = '[stages.runs.populations.users]\nshape = { clients = 1 }\nscript = [{ do = "run" }]\n'
    done = asked(probe, RACES + runs, "--target", probe.target("ws://127.0.0.1:1/"))
    assert done.code == 2, done.told
    assert done.err.rstrip().endswith("the other stages fit: --stage load --stage one")
