"""Shapes: each short form is the curve that it says, and plans what its integral says."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.engine.shard import shard
from probe.errors import ConfigError
from probe.model.curve import Curve, Track
from probe.model.plan import Peak, make_plan, peak
from probe.model.scenario import Population, Scenario
from probe.model.shape import FORMS, Shape
from tests.test_plan import dialect, target

S = 1_000_000_000


def shape(**words):
    return Shape.model_validate(words)


def scenario(**populations):
    stages = {"load": {"populations": populations}}
    return Scenario.model_validate({"title": "s", "stages": stages})


def plan(seed=7, **populations):
    return make_plan(scenario(**populations), target(), dialect(), seed)


def one(seed=7, **words):
    return plan(seed, users={"shape": words}).stages[0].clients


def level(curve, at_s):
    """The curve at these seconds, by its lines themselves; at a step what follows it."""
    times, levels = (np.array(each, dtype=float) for each in zip(*curve.points, strict=True))
    at = np.asarray(at_s) * S
    i = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    width = times[i + 1] - times[i]
    share = np.divide(at - times[i], width, out=np.zeros_like(at, float), where=width > 0)
    return levels[i] + (levels[i + 1] - levels[i]) * share


def refused(**words):
    with pytest.raises(ValueError, match="Shape") as caught:
        shape(**words)
    return str(caught.value)


RAMP: dict[str, Any] = {"ramp": {"from": "10/s", "to": "50/s", "over": "10s"}, "lasts": "20s"}
STAIRS: dict[str, Any] = {
    "stairs": {"from": "10/s", "to": "40/s", "steps": 4, "each": "5s", "rise": "1s"}
}
SPIKE: dict[str, Any] = {
    "spike": {
        "base": "5/s", "peak": "100/s", "at": "8s", "rise": "1s", "hold": "2s", "fall": "4s",
    },
    "lasts": "20s",
}  # fmt: skip
SINE: dict[str, Any] = {"sine": {"mean": "50/s", "swing": "30/s", "period": "20s"}, "lasts": "60s"}
SOAK: dict[str, Any] = {"soak": {"level": "30/s", "rise": "2s", "fall": "3s"}, "lasts": "20s"}


def test_each_form_has_the_points_that_it_says():
    assert shape(**RAMP).curve().points == ((0, 10.0), (10 * S, 50.0), (20 * S, 50.0))
    full = RAMP | {"ramp": {"from": 0, "to": "50/s"}}
    assert shape(**full).curve().points == ((0, 0.0), (20 * S, 50.0))
    stairs = shape(**STAIRS).curve().points
    assert stairs[:4] == ((0, 10.0), (5 * S, 10.0), (6 * S, 20.0), (11 * S, 20.0))
    assert stairs[-1] == (23 * S, 40.0)
    spike = shape(**SPIKE).curve().points
    assert spike == (
        (0, 5.0), (8 * S, 5.0), (9 * S, 100.0), (11 * S, 100.0), (15 * S, 5.0), (20 * S, 5.0),
    )  # fmt: skip
    soak = shape(**SOAK).curve().points
    assert soak == ((0, 0.0), (2 * S, 30.0), (17 * S, 30.0), (20 * S, 0.0))
    assert shape(soak={"level": "5/s"}, lasts="9s").curve().points == ((0, 5.0), (9 * S, 5.0))


def test_stairs_go_down_as_well_and_end_on_their_last_level():
    stairs = {"from": "0.3/s", "to": "0.1/s", "steps": 3, "each": "10s"}
    levels = [level for _, level in shape(stairs=stairs).curve().points]
    assert levels == pytest.approx([0.3, 0.3, 0.2, 0.2, 0.1, 0.1])
    assert levels[-1] == 0.1


def test_a_number_is_clients_and_a_rate_is_arrivals():
    open_, closed = shape(**RAMP), shape(ramp={"from": 0, "to": 50}, lasts="20s")
    assert (open_.curve().open, closed.curve().open) == (True, False)
    assert closed.curve().expected == 50
    for words in (
        {"stairs": {"from": 1, "to": 4, "steps": 4, "each": "5s"}},
        {"spike": {"base": 2, "peak": 9, "at": "1s", "hold": "1s"}, "lasts": "5s"},
        {"sine": {"mean": 20, "swing": 10, "period": "10s"}, "lasts": "20s"},
        {"soak": {"level": 7}, "lasts": "5s"},
    ):
        assert not shape(**words).curve().open
    mixed = refused(ramp={"from": "5/s", "to": 50}, lasts="20s")
    assert "mixed: '5/s' and 50" in mixed


@pytest.mark.parametrize("error", ["10%", "1%", "0.1%", "0.01%"])
@pytest.mark.parametrize("phase", ["0%", "75%", "10%"])
def test_a_sine_is_as_near_to_the_sine_as_it_states(error, phase):
    words = SINE["sine"] | {"error": error, "phase": phase}
    curve = shape(sine=words, lasts="50s").curve()
    begins, allowed = float(phase[:-1]) / 100, float(error[:-1]) / 100 * 30
    at = np.linspace(0, 49.999, 9973)
    truth = 50 + 30 * np.sin(2 * math.pi * (at / 20 + begins))
    off = np.abs(level(curve, at) - truth)
    # A point of the curve is on a whole nanosecond.
    assert off.max() <= allowed + 1e-6
    assert off.max() > allowed / 100, "and no nearer than it takes"
    assert max(curve.points)[0] == 50 * S


@pytest.mark.parametrize("phase", ["0%", "75%"])
def test_whole_periods_of_a_sine_have_its_mass_and_its_extremes(phase):
    curve = shape(sine=SINE["sine"] | {"error": "5%", "phase": phase}, lasts="60s").curve()
    assert curve.mass == pytest.approx(50 * 60, rel=1e-9)
    assert {20.0, 80.0} <= {level for _, level in curve.points}
    assert min(level for _, level in curve.points) == 20.0
    assert curve.top == 80.0


def test_a_sine_of_clients_brings_new_ones_each_time_it_rises():
    words = {"sine": {"mean": 20, "swing": 10, "period": "10s"}, "lasts": "30s", "once": False}
    clients = one(**words)
    # 20 at first, 10 more to the first top, 20 from each of two lows to a top, 10 at the end.
    assert len(clients) == shape(**words).curve().expected == 20 + 10 + 2 * 20 + 10
    assert (clients["stop_ns"] >= clients["offset_ns"]).all()
    curve = shape(**words).curve()
    for at_s in np.linspace(0.037, 29.9, 61):
        there = (clients["offset_ns"] <= at_s * S) & (clients["stop_ns"] > at_s * S)
        assert there.sum() == math.floor(level(curve, at_s))


OPEN = [RAMP, STAIRS, SPIKE, SINE, SOAK]


@pytest.mark.parametrize("words", OPEN, ids=lambda words: next(iter(words)))
def test_even_arrivals_are_where_the_integral_says(words):
    curve = shape(**words).curve()
    times = one(**words, arrivals="even")["offset_ns"] / S
    assert len(times) == math.ceil(curve.mass - 0.5)
    grid = np.linspace(0, curve.span_ns / S, 200_001)
    mass = np.concatenate([[0], np.cumsum(level(curve, grid[:-1]))]) * grid[1]
    found = np.interp(times, grid, mass)
    assert np.abs(found - (np.arange(len(times)) + 0.5)).max() < 0.02


@pytest.mark.parametrize("words", OPEN, ids=lambda words: next(iter(words)))
def test_poisson_arrivals_have_the_mass_and_are_the_same_for_a_seed(words):
    expected = shape(**words).curve().mass
    counts = [len(one(seed, **words)) for seed in range(40)]
    # Fixed seeds: this test is no lottery. Four standard errors of the mean of 40.
    assert abs(np.mean(counts) - expected) < 4 * math.sqrt(expected / 40)
    assert 0.4 < np.var(counts) / expected < 2.5
    assert one(3, **words).tobytes() == one(3, **words).tobytes()
    assert one(3, **words).tobytes() != one(4, **words).tobytes()


LEVELS = st.integers(0, 40).map(lambda rate: f"{rate}/s")
SECONDS = st.integers(1, 8)
FORMS_DRAWN = st.one_of(
    st.builds(
        lambda a, b, over, more: {
            "ramp": {"from": a, "to": b, "over": f"{over}s"}, "lasts": f"{over + more}s"
        },
        LEVELS, LEVELS, SECONDS, SECONDS,
    ),
    st.builds(
        lambda a, b, steps, each, rise: {
            "stairs": {"from": a, "to": b, "steps": steps, "each": f"{each}s", "rise": f"{rise}s"}
        },
        LEVELS, LEVELS, st.integers(2, 6), SECONDS, st.integers(0, 3),
    ),
    st.builds(
        lambda a, b, at, rise, hold: {
            "spike": {"base": a, "peak": b, "at": f"{at}s", "rise": f"{rise}s", "hold": f"{hold}s"},
            "lasts": f"{at + rise + hold + 1}s",
        },
        LEVELS, LEVELS, SECONDS, st.integers(0, 3), SECONDS,
    ),
    st.builds(
        lambda mean, share, period, lasts: {
            "sine": {"mean": f"{mean}/s", "swing": f"{mean * share}/s", "period": f"{period}s"},
            "lasts": f"{lasts}s",
        },
        st.integers(1, 40), st.sampled_from([0.25, 0.5, 1.0]), SECONDS, SECONDS,
    ),
    st.builds(
        lambda level, rise, lasts: {
            "soak": {"level": f"{level}/s", "rise": f"{rise}s"}, "lasts": f"{rise + lasts}s"
        },
        st.integers(1, 40), st.integers(0, 3), SECONDS,
    ),
)  # fmt: skip


def brings_some(words):
    return "brings no clients" not in (refused_or_not(words) or "")


def refused_or_not(words):
    try:
        shape(**words)
    except ValueError as error:
        return str(error)
    return None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(FORMS_DRAWN.filter(brings_some), min_size=1, max_size=3),
    st.booleans(), st.integers(0, 2**32), st.integers(1, 5),
)  # fmt: skip
def test_shapes_mix_and_shards_are_the_plan(forms, even, seed, count):
    spacing = {"arrivals": "even"} if even else {}
    parts = {f"p{k}": {"shape": words | spacing} for k, words in enumerate(forms)}
    whole = plan(seed, **parts)
    rows = whole.stages[0].clients
    assert (np.diff(rows["offset_ns"]) >= 0).all()
    for k, words in enumerate(forms):
        curve = shape(**words).curve()
        mine = rows["offset_ns"][rows["population"] == k]
        assert ((mine >= 0) & (mine <= curve.span_ns)).all()
        slack = 0.5 + 1e-6 if even else 7 * math.sqrt(curve.mass) + 8
        assert abs(len(mine) - curve.mass) <= slack
    again = plan(seed, **parts)
    assert again.digest == whole.digest
    # As other processes do it: from the files and the seed alone.
    shards = [shard(again, index, count).stages[0].clients for index in range(count)]
    put_together = np.concatenate(shards)
    assert np.sort(put_together, order="session").tobytes() == rows.tobytes()


def test_populations_of_one_stage_have_shapes_and_scripts_of_their_own():
    mixed = scenario(
        visitors={"shape": SINE},
        crowd={"shape": {"herd": 30, "after": "5s"}, "script": [{"do": "connect"}]},
        idle={"shape": {"soak": {"level": 10, "rise": "5s"}, "lasts": "60s", "once": False},
              "script": [{"do": "connect"}, {"do": "hold", "lasts": "1s"}]},
    )  # fmt: skip
    made = make_plan(mixed, target(), dialect(), 7)
    rows = made.stages[0].clients
    count = np.bincount(rows["population"])
    assert count[1:].tolist() == [30, 10]
    assert abs(count[0] - 3000) < 7 * math.sqrt(3000)
    assert (rows["offset_ns"][rows["population"] == 1] == 5 * S).all()
    assert (rows["stop_ns"][rows["population"] == 2] == 60 * S).all()
    assert [group.population.shape.form for group in made.groups] == ["sine", "herd", "soak"]
    assert made.stages[0].span_ns == 60 * S


def test_a_herd_is_on_the_retry_ladder_by_what_it_is():
    herd = Population.model_validate({"shape": {"herd": 20, "after": "100ms"}})
    assert herd.retry
    assert herd.shape.curve().points == ((0, 20.0), (0, 20.0))
    plain = Population.model_validate({"shape": {"clients": 20, "after": "100ms"}})
    assert not plain.retry
    rows = [plan(users=each.model_dump(by_alias=True, mode="json", exclude_none=True))
            for each in (herd, plain)]  # fmt: skip
    assert rows[0].digest == rows[1].digest
    assert Population(shape=shape(herd=2)).retry
    with pytest.raises(ValueError, match="a herd climbs the retry ladder: drop `retry`"):
        Population.model_validate({"shape": {"herd": 20}, "retry": False})


def test_a_herd_needs_a_ladder():
    with pytest.raises(ConfigError, match="a herd climbs the retry ladder, and 'd' has none"):
        make_plan(scenario(users={"shape": {"herd": 3}}), target(), dialect(retry=[]), 7)


def top(**words):
    made = plan(users={"shape": words})
    return peak(made.stages[0], made.groups)


def test_the_ceilings_see_what_a_form_asks_for_at_most():
    assert top(**SPIKE).rate == 100
    assert top(**SINE).rate == pytest.approx(80)
    assert top(herd=40) == Peak(40.0, 40)
    burst = [{"atOnceUsers": 40}, {"nothingFor": 5}, {"constantUsersPerSec": 10, "during": 5}]
    assert top(gatling=burst).rate == 50  # 40 within one second, beside the 10 of the rate
    recorded = "".join(f"{k * 10}\n" for k in range(100))
    assert top(replay={"text": f"time_ms\n{recorded}"}).rate == 100


def test_flat_is_what_never_changes():
    words: dict[str, Any]
    for words in ({"rate": "5/s", "lasts": "1s"}, {"clients": 5}, {"herd": 5},
                  {"soak": {"level": "5/s"}, "lasts": "9s"}):  # fmt: skip
        assert shape(**words).curve().flat
    for words in (RAMP, STAIRS, SPIKE, SINE, SOAK, {"replay": {"text": "time_s\n0\n1\n"}},
                  {"gatling": [{"rampUsers": 5, "during": 5}]}):  # fmt: skip
        assert not shape(**words).curve().flat


def test_a_shape_is_written_one_way():
    assert "a shape is one of: rate, " in refused()
    both = refused(rate="5/s", lasts="1s", herd=3)
    assert "found rate, herd" in both
    assert set(FORMS) == set(Shape.model_fields) - {"lasts", "after", "arrivals", "once"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"ramp": {"from": "5/s", "to": "6/s"}}, "how long does this ramp last"),
        ({"ramp": {"from": "5/s", "to": "6/s", "over": "2s"}, "lasts": "1s"}, "shorten `over`"),
        ({"ramp": {"from": 0, "to": 0}, "lasts": "1s"}, "brings no clients"),
        ({"ramp": {"from": "5/s", "to": 1.5}, "lasts": "1s"}, "a rate such as '50/s', or a number"),
        ({"stairs": {"from": 5, "to": 10, "steps": 4, "each": "1s"}}, "is 1.66667 each"),
        ({"stairs": {"from": 5, "to": 10, "steps": 6, "each": "1s"}, "lasts": "9s"}, "`each`"),
        ({"spike": {"base": 1, "peak": 5, "at": "1s"}, "lasts": "9s"}, "takes no time"),
        ({"spike": {"base": 1, "peak": 5, "at": "9s", "hold": "1s"}, "lasts": "9s"}, "ends after"),
        ({"sine": {"mean": 5, "swing": 6, "period": "1s"}, "lasts": "9s"}, "at most `mean`"),
        ({"sine": {"mean": 5, "swing": 5, "period": "1us"}, "lasts": "9s"}, "more than 100,000"),
        ({"soak": {"level": 5, "rise": "6s", "fall": "6s"}, "lasts": "9s"}, "lengthen `lasts`"),
        ({"soak": {"level": 5}}, "how long does this soak last"),
        ({"sine": {"mean": 5, "swing": 5, "period": "0"}, "lasts": "9s"}, "takes no time"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(words, told):
    assert told in refused(**words)


PIECES = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6
)


@given(PIECES)
def test_a_track_keeps_every_level_and_drops_no_step(pieces):
    track = Track()
    for lasts, start, end in pieces:
        track.line(lasts * S, float(start), float(end))
    curve = Curve(open=True, points=track.points())
    whole = sum(lasts * (start + end) / 2 for lasts, start, end in pieces)
    assert curve.mass == pytest.approx(whole)
    assert curve.points[-1][0] == sum(lasts for lasts, _, _ in pieces) * S
    assert curve.top == max(max(start, end) for _, start, end in pieces)
