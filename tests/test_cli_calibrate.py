"""`probe calibrate`: what is found is true, kept, quoted, held against plans, or told as none."""

import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from probe.check import fidelity
from probe.check.verdict import Fitness
from probe.cli import calibrate, calibration
from probe.cli.calibration import Calibration, Level, Quote, Repeat, beyond, carried
from probe.errors import ConfigError
from probe.history.records import Kind, Outcome, Phase
from probe.model.dialect import Dialect
from probe.model.plan import make_plan
from probe.model.scenario import Scenario
from probe.model.target import Target
from tests.histories import LOAD, Story
from tests.servers import Server, echo

MS = 1_000_000
TARGET = Target.model_validate({"title": "t", "endpoints": {"main": {"url": "ws://127.0.0.1:9"}}})
DIALECT = Dialect.model_validate({"title": "d", "present": {"default": {}}})


def repeat(why="", error_ms=4.0):
    return Repeat(why=why, error_ns=int(error_ms * MS), achieved=1.0, cpu_percent=10.0)


def level(rate, *whys, error_ms=4.0):
    return Level(rate=rate, repeats=[repeat(why, error_ms) for why in whys or ("",)])


def made(**more):
    fields: dict[str, Any] = {
        "made": "2026-11-21T20:00:00+00:00",
        "machine": calibration.machine(),
        "within_ns": 10 * MS,
        "connects": [level(125), level(250, "", error_ms=6.2), level(500, "", "too late")],
        "messages": [level(1000)],
        "gated": 100,
        "gates_ns": [(900_000, 1_000_000), (1_300_000, 1_500_000)],
        "launch_each_ns": 80_000,
    }
    return Calibration(**(fields | more))


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "probe" / "calibration.json"


# What is found.


def test_errors_are_told_against_what_the_echo_says_it_did():
    story = Story({"all": LOAD}).stage()
    for k in range(100):
        intended, who = 1000 + k * 10, (k, 0)
        story.row(intended, Kind.INTENDED, k, 0, 0, 0, k)
        story.row(intended + 2, Kind.DIAL, *who)
        story.row(intended + 3, Kind.SENT, *who)
        held_us = 50_000
        late = 9 if k == 99 else 1  # the upgrade phase is that much longer than the truth
        story.row(intended + 53 + late, Kind.HEAD, *who, a=101)
        story.row(intended + 53 + late, Kind.GOT, *who, 1, held_us, -1)
        story.row(intended + 53 + late, Kind.READY, *who)
        story.row(intended + 60 + late, Kind.END, *who, Phase.READY, Outcome.NORMAL)
    found = fidelity.connects(story.history())
    assert (found.planned, found.good) == (100, 100)
    assert (found.upgrade.p50_ns, found.upgrade.p99_ns) == (1 * MS, 1 * MS)
    assert found.whole.p50_ns == 4 * MS
    story.rows = [r for r in story.rows if not (r[1] == 7 and r[3] == Kind.END)]
    assert fidelity.connects(story.history()).good == 99
    assert fidelity.connects(Story({"all": LOAD}).stage().history()).upgrade.p99_ns is None


def test_a_herds_launch_is_the_median_gap_of_those_due_together():
    story = Story({"all": LOAD}).stage()
    for k in range(9):
        story.row(1000, Kind.INTENDED, k, 0, 0, 0, k)
        story.row(1000 + k * 0.08 + (30 if k > 6 else 0), Kind.DIAL, k)
    assert fidelity.connects(story.history()).launch_ns == 80_000


def test_the_stamp_of_a_message_is_held_against_when_it_was_written():
    story = Story({"all": LOAD}).stage()
    start_ns = 10_000_000_000 + 500 * MS
    for k in range(100):
        written_us = 1000 * (k + 1)
        story.row(500 + written_us / 1000 + 2.5, Kind.GOT, 0, 0, 3, written_us, 0)
        story.row(500, Kind.GOT, 0, 0, 4, 1, 0)  # of another type
    found = fidelity.messages(story.history(), 3, 120, start_ns)
    assert (found.planned, found.got) == (120, 100)
    assert found.stamp.p99_ns == int(2.5 * MS)
    assert found.rate == pytest.approx(1000)


def test_the_climb_ends_at_the_first_rate_that_is_not_carried():
    asked = []

    def once(rate):
        asked.append(rate)
        return repeat("too late" if rate == 400 else "")

    screen = Console(quiet=True)
    levels = calibrate.climb(once, (100, 200, 400, 800), 3, screen, "connects/s")
    assert asked == [100] * 3 + [200] * 3 + [400]
    assert [each.carried for each in levels] == [True, True, False]
    assert carried(levels) == levels[1]


def test_the_climb_has_an_end(monkeypatch):
    monkeypatch.setattr(calibrate, "CLIMB_NS", -1)
    screen = Console(quiet=True)
    assert len(calibrate.climb(lambda _: repeat(), (1, 2, 3), 1, screen, "x")) == 1


def test_a_level_is_carried_only_if_all_of_its_repeats_are():
    assert not level(1, "", "no", "").carried
    assert not Level(rate=1, repeats=[]).carried
    lowest = level(1)
    assert carried([lowest, level(2, "no"), level(4)]) is lowest  # what is above is luck
    assert carried([level(1, "no")]) is None


@pytest.mark.parametrize(
    ("steals", "played", "stolen"), [([0], 1, False), ([30, 10], 2, False), ([30, 30, 30], 3, True)]
)
def test_what_the_host_took_is_played_again_but_not_for_ever(monkeypatch, steals, played, stolen):
    fits = [
        Fitness((f"{each} (steal)",) * (each > 20), (), {"steal_percent_of_machine": each / 10})
        for each in steals
    ]
    left = iter(fits)
    history = Story({"all": LOAD}).stage().history()
    levels = calibrate._Levels(None, None, 10 * MS)  # type: ignore[arg-type]  # it plays nothing
    monkeypatch.setattr(levels, "_play", lambda _: (history, next(left)), raising=True)
    _, fit = levels._undisturbed({})
    assert fit is fits[played - 1]
    assert bool(fit.taints) == stolen


# What is kept and quoted.


def test_it_is_kept_and_quoted(state):
    assert calibration.keep(made()) == state
    known = calibration.quote()
    assert known.calibration == made()
    assert known.words == (
        "up to 250 connects/s within 6.2 ms, 1,000 messages/s within 4 ms, "
        "100 upgrades let go within 1.3 ms (measured 2026-11-21)"
    )
    assert known.facts == {"words": known.words, "launch_each_ns": 80_000}


def test_none_is_said_and_never_assumed(state):
    known = calibration.quote()
    assert known.calibration is None
    assert "none of this machine" in known.words
    assert known.facts["launch_each_ns"] is None
    state.parent.mkdir(parents=True)
    for text in ("", "{", '{"made":"x"}', "\xff"):
        state.write_text(text, encoding="latin-1")
        assert calibration.quote().calibration is None
        assert "cannot be read and is not used" in calibration.quote().words


@pytest.mark.parametrize("name", ["cpu", "cores", "kernel", "python", "uvloop", "probe"])
def test_that_of_another_machine_or_version_is_not_used_and_that_is_said(state, name):
    calibration.keep(made(machine=calibration.machine() | {name: "another"}))
    known = calibration.quote()
    assert known.calibration is None
    assert f"{name} was another, is {calibration.machine()[name]}" in known.words
    assert "is not used" in known.words


def test_a_folder_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="XDG_STATE_HOME"):
        calibration.keep(made())


# What it is held against.


def plan_of(shape, **more):
    stages = {"users": {"populations": {"users": {"shape": shape}}}}
    scenario = Scenario.model_validate({"title": "s", "stages": stages, **more})
    return scenario, make_plan(scenario, TARGET, DIALECT, 1)


KNOWN = Quote("up to 250 connects/s", made())
FAST = {"rate": "300/s", "lasts": "1s", "arrivals": "even"}


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        (FAST, True),
        ({**FAST, "rate": "250/s"}, False),
        ({"clients": 251}, True),
        ({"clients": 250}, False),
    ],
)
def test_a_plan_beyond_it_is_told_or_refused(shape, told):
    scenario, plan = plan_of(shape)
    words = beyond(scenario, plan, KNOWN)
    assert bool(words) == told
    assert beyond(scenario, plan, Quote("none")) == []
    scenario, plan = plan_of(shape, beyond="refuse")
    if not told:
        assert beyond(scenario, plan, KNOWN) == []
        return
    assert "calibrated up to 250 connects/s" in words[0]
    with pytest.raises(ConfigError, match="calibrated up to 250"):
        beyond(scenario, plan, KNOWN)


def test_that_several_processes_carry_more_was_not_measured_and_is_told():
    scenario, plan = plan_of(FAST, beyond="refuse")
    (words,) = beyond(scenario, plan, KNOWN, 2)
    assert "of one process; 2 together were not measured" in words
    scenario, plan = plan_of({**FAST, "rate": "501/s"}, beyond="refuse")
    with pytest.raises(ConfigError, match="calibrated up to 250"):
        beyond(scenario, plan, KNOWN, 2)


SMALL = """
{more}
[stages.all]
patience = "3s"
expect.success = {{ rate = "50%" }}
[stages.all.populations.clients]
shape = {{ rate = "300/s", lasts = "500ms", arrivals = "even" }}
"""


def test_a_run_warns_beforehand_and_quotes_it_in_its_verdict(probe, state):
    calibration.keep(made())
    kept = {"XDG_STATE_HOME": str(state.parent.parent)}
    probe.scenario(SMALL.format(more=""))
    with Server(echo) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", "--workers", "1", target=name, env=kept)
        words = ("run", "small", "--target", name, "--workers", "1")
        dry = probe.inside(*words, "--dry-run", env=kept)
        probe.scenario(SMALL.format(more='beyond = "refuse"'))
        refused = probe.inside(*words, env=kept)
    assert "plans up to 300 arrivals/s, and this machine is calibrated up to 250" in done.out
    assert "plans up to 300 arrivals/s" in dry.out
    assert dry.code == 0
    told = done.verdict["fitness"]["figures"]["calibration"]
    assert told.startswith("up to 250 connects/s")
    assert told in (done.folder / "report.md").read_text()
    assert refused.code == 2
    assert 'set beyond = "warn"' in refused.err
    assert server.accepted == 150  # of the one run that was let go


def test_a_run_without_one_says_so(probe, tmp_path):
    probe.scenario(SMALL.format(more=""))
    with Server(echo) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run("small", target=name, env={"XDG_STATE_HOME": str(tmp_path)})
    assert "calibration: none of this machine; `probe calibrate` makes one" in done.out


# The verb itself.


def test_what_is_known_can_be_shown(probe, state):
    kept = {"XDG_STATE_HOME": str(state.parent.parent)}
    assert "none of this machine" in probe.inside("calibrate", "--show", env=kept).out
    calibration.keep(made())
    assert "up to 250 connects/s" in probe.inside("calibrate", "--show", env=kept).out
    told = probe.inside("calibrate", "--show", "--json", env=kept)
    assert msgspec.json.decode(told.out, type=Calibration) == made()
    assert probe.inside("calibrate", "--within", "fast", env=kept).code == 2


@pytest.mark.timeout(240)
@pytest.mark.alone
@pytest.mark.long
def test_a_quick_look_measures_and_stores_nothing(probe, state):
    kept = {"XDG_STATE_HOME": str(state.parent.parent)}
    for _ in range(3):
        done = probe("calibrate", "--quick", "--within", "100ms", "--json", env=kept)
        if done.code == 0:
            break
    if done.code == 4:
        assert "INVALID  this machine is not fit to be calibrated now" in done.err
        pytest.skip("this machine is too busy to be calibrated")
    assert done.code == 0, done.told
    found = json.loads(done.out)
    first = found["connects"][0]
    assert first["rate"] == 125
    assert 0 < first["repeats"][0]["upgrade_error_ns"] < 100 * MS
    assert first["repeats"][0]["achieved"] == 125
    assert found["messages"][0]["repeats"][0]["achieved"] > 500
    assert len(found["gates_ns"]) == 2
    assert all(0 < released < 1000 * MS for released, _ in found["gates_ns"])
    assert found["launch_each_ns"] > 0
    assert not state.exists()


def test_an_unfit_machine_is_not_calibrated(probe, state):
    kept = {"XDG_STATE_HOME": str(state.parent.parent)}
    done = probe("calibrate", "--within", "1us", env=kept)  # no machine is that good
    assert done.code == 4, done.told
    assert "INVALID  this machine is not fit to be calibrated now: 125 connects/s" in done.out
    assert not state.exists()


@pytest.mark.long
def test_a_whole_calibration_is_stored_and_used(probe, state):
    kept = {"XDG_STATE_HOME": str(state.parent.parent)}
    done = probe("calibrate", "--within", "50ms", env=kept, within_s=110)
    if done.code == 4:
        pytest.skip(f"this machine is too busy to be calibrated: {done.out}")
    assert done.code == 0, done.told
    found = msgspec.json.decode(state.read_bytes(), type=Calibration)
    assert found.connects_per_s >= 125
    assert found.machine == calibration.machine()
    assert all(len(each.repeats) == 3 for each in found.connects if each.carried)
    assert len(found.gates_ns) == 10
