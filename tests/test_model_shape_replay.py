"""Replay: a recording is read as it stands, kept with the run, and wrong lines are told."""

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import ConfigError
from probe.model import replay
from probe.model.plan import make_plan
from probe.model.recordings import with_recordings
from probe.model.replay import BadRowError, recorded
from probe.model.resolved import Resolved
from probe.model.scenario import Scenario
from probe.model.shape import Shape
from tests.test_plan import dialect, target

MS = 1_000_000
S = 1_000 * MS
ARRIVALS = "time_s\n12.5\n12.75\n12.75\n14\n"
CURVE = "time_s,rate_per_s\n0,10\n2,30\n2,5\n10,5\n"


def scenario(**words):
    populations = {"users": {"shape": {"replay": words}}}
    return Scenario.model_validate({"title": "s", "stages": {"load": {"populations": populations}}})


def starts(text, seed=7, **more):
    stages = {"load": {"populations": {"users": {"shape": {"replay": {"text": text}} | more}}}}
    made = make_plan(
        Scenario.model_validate({"title": "s", "stages": stages}), target(), dialect(), seed
    )
    return made.stages[0].clients["offset_ns"]


def reader(**files):
    def read(name):
        if name not in files:
            raise AssertionError(name)
        return files[name], f"somewhere/{name}"

    return read


def test_a_row_of_time_alone_is_one_arrival_at_that_time():
    assert starts(ARRIVALS).tolist() == [0, 250 * MS, 250 * MS, 1500 * MS]
    assert starts(ARRIVALS, seed=8).tolist() == starts(ARRIVALS).tolist()
    assert starts(ARRIVALS, after="1s").tolist() == [S, 1250 * MS, 1250 * MS, 2500 * MS]


def test_time_and_rate_are_points_of_a_curve():
    shape = Shape.model_validate({"replay": {"text": CURVE}})
    assert shape.curve().points == ((0, 10.0), (2 * S, 30.0), (2 * S, 5.0), (10 * S, 5.0))
    even = starts(CURVE, arrivals="even")
    assert len(even) == 40 + 40
    assert (even < 2 * S).sum() == 40
    drawn = starts(CURVE)
    assert drawn.tolist() != even.tolist()
    assert abs(len(drawn) - 80) < 5 * np.sqrt(80)


@pytest.mark.parametrize(
    ("head", "cells"),
    [
        ("time_s", ["1.5", "2", "2.000000001"]),
        ("time_ms", ["1500", "2000", "2000.000001"]),
        ("time_us", ["1500000", "2e6", "2000000.001"]),
        ("time_ns", ["1500000000", "2000000000", "2000000001"]),
        ("time", ["1500ms", "2s", "2000000001ns"]),
    ],
)
def test_the_unit_stands_in_the_name_of_the_column_or_with_the_value(head, cells):
    assert starts("\n".join([head, *cells])).tolist() == [0, S // 2, S // 2 + 1]


def test_instants_of_a_log_count_from_the_first():
    text = "time\n2026-03-01T23:59:59.5Z\n2026-03-02T01:00:00+01:00\n2026-03-02T00:00:01Z\n"
    assert starts(text).tolist() == [0, S // 2, 3 * S // 2]


def test_rates_have_a_unit_of_their_own_or_in_the_name():
    text = "time_s,rate\n0,60/min\n10,1/s\n"
    assert Shape.model_validate({"replay": {"text": text}}).curve().points == (
        (0, 1.0), (10 * S, 1.0),
    )  # fmt: skip


TIMES = st.lists(st.integers(0, 10**13), min_size=1, max_size=50).map(sorted)


@settings(deadline=None, max_examples=80)
@given(TIMES, st.sampled_from(["s", "ms", "us", "ns", ""]))
def test_what_was_recorded_arrives_to_the_nanosecond(times, unit):
    places = {"s": 9, "ms": 6, "us": 3, "ns": 0}
    if unit:
        scale = 10 ** places[unit]
        rows = [
            f"{t // scale}.{t % scale:0{places[unit]}d}" if scale > 1 else f"{t}" for t in times
        ]
        text = "\n".join([f"time_{unit}", *rows])
    else:
        text = "\n".join(["time", *(f"{t}ns" for t in times)])
    want = [t - times[0] for t in times]
    assert starts(text).tolist() == want


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20).map(sorted))
def test_instants_are_read_to_the_microsecond(micros):
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [(begin + timedelta(microseconds=m)).isoformat() for m in micros]
    want = [(m - micros[0]) * 1000 for m in micros]
    assert starts("\n".join(["time", *rows])).tolist() == want


def test_comments_blank_lines_quotes_and_a_byte_order_mark_are_passed_over():
    text = '\ufeff# of the gate\n\n"time_s", rate_per_s\r\n 0 ,"10"\r\n\n# more\n2, 30\n'
    assert recorded(text).times_ns == (0, 2 * S)
    assert recorded(text).rates == (10.0, 30.0)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "empty"),
        ("# only a comment\n", 1, "empty"),
        ("0\n1\n", 1, "the first line names the columns; found '0'; allowed: time_s"),
        ("time_s,rate,more\n", 1, "the first line names the columns"),
        ("time_s,rates\n0,1\n", 1, "no such column; found 'rates'; allowed: rate, rate_per_s"),
        ("time_s\n", 1, "too few rows; found 0"),
        ("time_s,rate\n0,5/s\n", 1, "too few rows; found 1"),
        ("time_s\n0\n\n#\nx\n", 5, "not a number; found 'x'"),
        ("time_s\n0\nnan\n", 3, "not a number; found 'nan'"),
        ("time_s\n0\n1e30\n", 3, "beyond what 64 bits of nanoseconds hold"),
        ("time_s\n0\n1,2\n", 3, "not 1 cells; found '1,2'; allowed: time_s"),
        ("time_s,rate\n0,5/s\n1\n", 3, "not 2 cells"),
        ("time_s\n2\n3\n2.999\n", 4, "time goes backward; found '2.999'"),
        ("time\n0\n5\n", 3, "a duration needs a unit: '5s'; found '5'; allowed: "),
        ("time\n0\n5\n", 3, "name the column time_s"),
        ("time_s,rate\n0,5\n1,5\n", 2, "a rate needs a unit"),
        ("time_s,rate_per_s\n0,-1\n1,5\n", 2, "a rate is 0 or 1e-9 to 1e9"),
        ("time_s,rate_per_s\n0,0\n1,0\n", 1, "brings no clients"),
        ("time_s,rate_per_s\n1,5\n1,9\n", 1, "brings no clients"),
        ('time_s\n"0\n', 2, "this is not CSV"),
        ("time\n20260301\n", 2, "a duration needs a unit"),
        ("time\n2026-13-01T00:00:00Z\n", 2, "not an instant; found '2026-13-01T00:00:00Z'"),
        ("time\n2026-03-01T00:00:00Z\n5s\n", 3, "found a duration and an instant with a zone"),
        ("time\n2026-03-01 00:00:00\n2026-03-01T00:00:00Z\n", 3, "no common beginning"),
    ],
)
def test_a_line_that_is_wrong_is_named_with_what_would_be_right(text, line, told):
    with pytest.raises(BadRowError) as caught:
        recorded(text)
    assert caught.value.line == line
    assert told in str(caught.value)


def test_a_recording_is_bounded(monkeypatch):
    monkeypatch.setattr(replay, "ROWS_MAX", 3)
    assert recorded("time_s\n0\n1\n3\n").times_ns
    with pytest.raises(BadRowError, match="line 5: more than 3 rows, write a curve"):
        recorded("time_s\n0\n1\n2\n4\n")
    monkeypatch.setattr(replay, "BYTES_MAX", 10)
    with pytest.raises(BadRowError, match="more than 10 bytes"):
        recorded("time_s\n0\n1000")


def test_the_file_is_read_once_and_stands_in_the_scenario_from_then_on():
    named = scenario(file="a.csv")
    assert named.stages["load"].populations["users"].shape.unread
    read = with_recordings(named, "s.toml", reader(**{"a.csv": "# of whom\n" + ARRIVALS}))
    shape = read.stages["load"].populations["users"].shape
    assert shape.replay is not None
    assert shape.replay.file == "a.csv"
    assert shape.replay.text == ARRIVALS, "what a comment says is not kept"
    assert with_recordings(read, "s.toml", reader()) is read
    stored = Resolved("s", read, dialect(), {"name": "t"})
    again = Resolved.from_toml(stored.to_toml(), "f")
    assert again == stored
    plans = [make_plan(each, target(), dialect(), 7).digest for each in (read, again.scenario)]
    assert plans[0] == plans[1]


def test_what_stands_in_the_file_is_part_of_the_plan():
    def digest(text):
        read = with_recordings(scenario(file="a.csv"), "s.toml", reader(**{"a.csv": text}))
        return make_plan(read, target(), dialect(), 7).digest

    assert digest(ARRIVALS) == digest(ARRIVALS + "\n# the same\n")
    assert digest(ARRIVALS) != digest(ARRIVALS.replace("12.75", "12.76"))
    assert digest(CURVE) != digest(CURVE.replace("30", "31"))


def test_a_wrong_file_is_told_with_its_line_and_an_unread_one_is_no_plan():
    files = {"a.csv": "time_s\n0\n1\nx\n", "b.csv": "time_s\n3\n2\n"}
    shapes = {name: {"shape": {"replay": {"file": f"{name}.csv"}}} for name in ("a", "b")}
    both = Scenario.model_validate({"title": "s", "stages": {"load": {"populations": shapes}}})
    with pytest.raises(ConfigError) as caught:
        with_recordings(both, "s.toml", reader(**files))
    origins = [problem.origin for problem in caught.value.problems]
    assert origins == ["somewhere/a.csv:4", "somewhere/b.csv:3"]
    with pytest.raises(ConfigError, match="what was recorded has not been read"):
        make_plan(both, target(), dialect(), 7)


def test_recorded_arrivals_are_not_spaced_anew():
    with pytest.raises(ValueError, match="drop `arrivals`: every arrival was recorded"):
        Shape.model_validate({"replay": {"text": ARRIVALS}, "arrivals": "even"})
    curve = Shape.model_validate({"replay": {"text": CURVE}, "arrivals": "even"})
    assert curve.curve().even
    read = with_recordings(scenario(file="a.csv"), "s.toml", reader(**{"a.csv": ARRIVALS}))
    late = read.stages["load"].populations["users"].model_dump(by_alias=True, mode="json")
    late["shape"]["replay"]["text"] = ""
    late["shape"]["arrivals"] = "even"
    stages = {"load": {"populations": {"users": late}}}
    unread = Scenario.model_validate({"title": "s", "stages": stages})
    with pytest.raises(ConfigError, match=r"s\.toml: stages\.load.*drop `arrivals`"):
        with_recordings(unread, "s.toml", reader(**{"a.csv": ARRIVALS}))


def test_the_command_line_finds_the_file_beside_the_scenario(probe):
    probe.write("scenarios/day/arrivals.csv", ARRIVALS)
    body = '[stages.load.populations.users]\nshape = { replay = { file = "arrivals.csv" } }\n'
    path = probe.write("scenarios/day/day.toml", f'title = "day"\n{body}')
    shown = probe.inside("run", path, "--dry-run", "--seed", 1)
    assert shown.code == 0, shown.told
    assert "replay of arrivals.csv for 1.5 s; 4 arrivals, each at its own instant" in shown.out
    probe.write("scenarios/day/arrivals.csv", ARRIVALS + "13\n")
    wrong = probe.inside("validate", path)
    assert wrong.code == 2
    assert "scenarios/day/arrivals.csv:6: time goes backward; found '13'" in wrong.err
    (probe.cwd / "scenarios/day/arrivals.csv").unlink()
    gone = probe.inside("run", path, "--dry-run")
    assert gone.code == 2
    assert "scenarios/day/arrivals.csv: cannot be read: No such file" in gone.err
    assert "populations.users.shape.replay.file" in gone.err


def test_what_a_run_was_held_to_is_run_again_without_the_file(probe):
    read = with_recordings(scenario(file="a.csv"), "s.toml", reader(**{"a.csv": ARRIVALS}))
    stored = Resolved("s", read, dialect(), {"name": "t"}).to_toml()
    path = probe.write("results/some/scenario.resolved.toml", stored)
    shown = probe.inside("run", path, "--target", "lab", "--dry-run", "--seed", 1)
    assert "replay of a.csv for 1.5 s; 4 arrivals, each at its own instant" in shown.out, shown.told
    assert probe.inside("validate", path).code == 0


def test_a_scenario_in_python_has_its_recordings_beside_it(probe):
    probe.write("scenarios/arrivals.csv", ARRIVALS)
    shape = '{"shape": {"replay": {"file": "arrivals.csv"}}}'
    stages = f'{{"load": {{"populations": {{"users": {shape}}}}}}}'
    probe.write("scenarios/day.py", f'scenario = {{"title": "day", "stages": {stages}}}\n')
    shown = probe.inside("run", "day", "--dry-run", "--seed", 1)
    assert "4 arrivals, each at its own instant" in shown.out, shown.told


def test_a_recording_that_is_too_large_is_not_read(probe):
    probe.write("scenarios/large.csv", "time_s\n" + "0\n" * (2 * 1024 * 1024))
    body = '[stages.load.populations.users]\nshape = { replay = { file = "large.csv" } }\n'
    probe.scenario(body, "large")
    told = probe.inside("validate", "large")
    assert told.code == 2
    os.mkfifo(probe.cwd / "scenarios/pipe.csv")
    probe.scenario(body.replace("large", "pipe"), "pipe")
    assert "pipe.csv: is no plain file" in probe.inside("validate", "pipe").err
    assert "large.csv: is too large; found 4,194,311 bytes; allowed: at most 4,194,304" in told.err
