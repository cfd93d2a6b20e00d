"""Words of k6, Artillery and Gatling: the same load as there and told, or refused with a mend."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erfinv

from probe.model.plan import make_plan
from probe.model.resolved import Resolved
from probe.model.scenario import Scenario
from probe.model.shape import Shape
from tests.test_plan import dialect, target

S = 1_000_000_000
STOP = {"gracefulStop": "0s"}
DOWN = STOP | {"gracefulRampDown": "0s"}


def k6(executor, **words):
    return {"k6": {"executor": executor, **words}}


def shape(words):
    return Shape.model_validate(words)


def scenario(words, script="visit"):
    populations = {"users": {"shape": words, "script": script}}
    return Scenario.model_validate({"title": "s", "stages": {"load": {"populations": populations}}})


def clients(words, seed=7):
    return make_plan(scenario(words), target(), dialect(), seed).stages[0].clients


def seconds(words, seed=7):
    return (clients(words, seed)["offset_ns"] / S).tolist()


def refused(words):
    with pytest.raises(ValueError, match="Shape") as caught:
        shape(words)
    return str(caught.value)


def test_a_constant_arrival_rate_starts_an_iteration_at_each_tick():
    words = k6("constant-arrival-rate", rate=30, timeUnit="1m", duration="10s")
    assert seconds(words) == pytest.approx([0, 2, 4, 6, 8], abs=1e-8)
    said = shape(words).said()
    assert said.startswith(
        'k6\'s constant-arrival-rate is here rate = "0.5/s", lasts = "10s", arrivals = "even"; '
    )
    later = k6("constant-arrival-rate", rate=1, duration="3s", startTime="5s")
    assert seconds(later) == pytest.approx([5, 6, 7])
    drawn = words | {"arrivals": "poisson"}
    assert 'arrivals = "poisson"' in shape(drawn).said()
    assert seconds(drawn, 1) != seconds(drawn, 2)


STAGES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 9)).map(
        lambda each: {"duration": f"{each[0]}s", "target": each[1]}
    ),
    min_size=1, max_size=5,
)  # fmt: skip


def ramping(start, stages):
    """k6's own arithmetic (lib/executor/ramping_arrival_rate.go), in s."""
    found, done, end, begin, rate, i = [], 0.0, 0.0, 0.0, start, 1
    for stage in stages:
        lasts, to = float(stage["duration"][:-1]), stage["target"]
        end += lasts * ((to - rate) / 2 + rate)
        while i <= end:
            if to == rate:
                found.append(begin + (i - done) / to)
            else:
                root = lasts * (rate * rate * lasts + 2 * (i - done) * (to - rate))
                found.append(begin + (rate * lasts - math.sqrt(max(root, 0))) / (rate - to))
            i += 1
        done, rate, begin = end, to, begin + lasts
    return found


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 9), STAGES)
def test_a_ramping_arrival_rate_has_the_instants_of_k6(start, stages):
    want = ramping(start, stages)
    words = k6("ramping-arrival-rate", startRate=start, stages=stages)
    if not want:
        return
    found = seconds(words)
    assert len(found) == len(want)
    # A hair of mass takes its time where the rate is next to nothing.
    assert found == pytest.approx(want, abs=1e-3)


def test_vus_play_again_and_again_and_the_curve_ends_them():
    words = k6("constant-vus", vus=3, duration="10s", **STOP)
    rows = clients(words)
    assert rows["offset_ns"].tolist() == [0, 0, 0]
    assert rows["stop_ns"].tolist() == [10 * S] * 3
    assert shape(words).curve().loops
    assert 'is here clients = 3, lasts = "10s", once = false; ' in shape(words).said()
    stages = [{"duration": "4s", "target": 5}, {"duration": "5s", "target": 0}]
    rows = clients(k6("ramping-vus", stages=stages, **DOWN))
    assert sorted(rows["offset_ns"].tolist()) == [0, 1 * S, 2 * S, 3 * S, 4 * S]
    assert rows["stop_ns"].max() == 8 * S


def test_one_iteration_each_is_clients_that_play_once():
    words = k6("per-vu-iterations", vus=7, iterations=1)
    rows = clients(words)
    assert rows["offset_ns"].tolist() == [0] * 7
    assert not shape(words).curve().loops
    assert "is here clients = 7; " in shape(words).said()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (k6("constant-vus", vus=3, duration="5s"), 'write gracefulStop = "0s"'),
        (k6("constant-vus", vus=3, duration="5s", gracefulStop="3s"), 'gracefulStop = "0s"'),
        (
            k6("ramping-vus", stages=[{"duration": "1s", "target": 2}], **STOP),
            'write gracefulRampDown = "0s"',
        ),
        (k6("constant-arrival-rate", rate=1, duration="1s", preAllocatedVUs=5), "clients_max"),
        (k6("constant-arrival-rate", rate=1, duration="1s", maxVUs=5), "clients_max"),
        (k6("constant-arrival-rate", rate=1, duration="1s", gracefulStop="1s"), "`patience`"),
        (k6("constant-arrival-rate", rate=1, duration="1s", vus=3), "vus: constant-arrival-rate"),
        (k6("constant-arrival-rate", rate=1), "needs `duration`"),
        (k6("ramping-arrival-rate"), "needs `stages`"),
        (k6("per-vu-iterations", vus=2, iterations=5), "once = false"),
        (k6("per-vu-iterations", vus=2, maxDuration="5s"), "`budget`"),
        (k6("shared-iterations", vus=2, iterations=5), "write `clients`"),
        (k6("externally-controlled"), "write `clients_curve`"),
        (k6("constant-arrival-rate", rate=1, duration="1s") | {"lasts": "3s"}, "does not go"),
        ({"artillery": [{"duration": 5, "arrivalRate": 5, "maxVusers": 9}]}, "safety.clients_max"),
        ({"artillery": [{"arrivalRate": 5}]}, "`duration` goes with arrivalRate"),
        ({"artillery": [{"duration": 5}]}, "one of arrivalRate, arrivalCount, pause; found none"),
        ({"artillery": [{"pause": 5, "arrivalRate": 5}]}, "found arrivalRate, pause"),
        ({"artillery": [{"duration": 5, "arrivalCount": 5, "rampTo": 5}]}, "from which it ramps"),
        ({"artillery": [{"pause": 5}]}, "brings no clients"),
        ({"gatling": [{"constantConcurrentUsers": 5, "during": 5}]}, "once = false"),
        ({"gatling": [{"rampConcurrentUsers": 5, "to": 9, "during": 5}]}, "clients_curve"),
        ({"gatling": [{"rampUsers": 5}]}, "rampUsers needs `during`"),
        ({"gatling": [{"atOnceUsers": 5, "during": 5}]}, "`during` does not go with atOnceUsers"),
        ({"gatling": [{"atOnceUsers": 5, "rampUsers": 5}]}, "found atOnceUsers, rampUsers"),
        ({"gatling": [{"during": 5}]}, "found none"),
        ({"gatling": [{"rampUsers": 5, "during": 1.5}]}, "Gatling counts whole seconds"),
        ({"gatling": [{"constantUsersPerSec": 0.5, "during": 5}]}, "brings 2.5 users"),
        (
            {"gatling": [{"constantUsersPerSec": 1, "during": 5, "randomized": True},
                         {"constantUsersPerSec": 1, "during": 5}]},
            "write two populations",
        ),
        (
            {"gatling": [{"constantUsersPerSec": 1, "during": 5}], "arrivals": "poisson"},
            "its steps say `randomized`",
        ),
    ],
)  # fmt: skip
def test_what_is_not_the_same_here_is_refused_with_what_to_write(words, told):
    assert told in refused(words)


@pytest.mark.parametrize(
    ("word", "tool"),
    [
        ("executor", "k6"), ("stages", "k6"), ("phases", "artillery"), ("arrivalRate", "artillery"),
        ("atOnceUsers", "gatling"), ("constantConcurrentUsers", "gatling"), ("inject", "gatling"),
    ],
)  # fmt: skip
def test_a_borrowed_word_beside_its_table_is_sent_there(word, tool):
    told = refused({word: 5})
    assert f"{word} is a word of " in told
    assert f"shape = {{ {tool} = " in told


def test_artillery_phases_one_after_the_other():
    words = {
        "artillery": [
            {"duration": 4, "arrivalRate": 1, "name": "warm up"},
            {"pause": "2s"},
            {"duration": "5s", "arrivalCount": 2},
            {"duration": 2, "arrivalRate": 0},
            {"duration": 4, "arrivalRate": 0, "rampTo": 4},
        ]
    }
    found = seconds(words)
    assert found[:6] == pytest.approx([0.5, 1.5, 2.5, 3.5, 7.25, 9.75])
    assert len(found) == 6 + 8
    assert found[6:] == pytest.approx([13 + math.sqrt(2 * (k + 0.5)) for k in range(8)])
    assert shape(words).curve().span_ns == 17 * S
    assert "2 arrivals at instants of their own; a ramp is a straight line" in shape(words).said()
    drawn = words | {"arrivals": "poisson"}
    assert {7.25, 9.75} <= set(seconds(drawn))
    assert seconds(drawn) != found


def test_gatling_steps_one_after_the_other():
    words = {
        "gatling": [
            {"nothingFor": 4},
            {"atOnceUsers": 3},
            {"rampUsers": 2, "during": 5},
            {"constantUsersPerSec": 2, "during": "1s"},
            {"rampUsersPerSec": 1, "to": 3, "during": 2},
        ]
    }
    found = seconds(words)
    assert found[:7] == pytest.approx([4, 4, 4, 5.25, 7.75, 9.25, 9.75])
    assert len(found) == 3 + 2 + 2 + 4
    assert shape(words).curve().even
    assert "5 arrivals at instants of their own" in shape(words).said()
    random = {"gatling": [{"constantUsersPerSec": 20, "during": 50, "randomized": True}]}
    assert not shape(random).curve().even
    counts = {len(seconds(random, seed)) for seed in range(5)}
    assert len(counts) > 1


@pytest.mark.parametrize("users", [1, 2, 9, 1000])
def test_a_stress_peak_has_the_instants_of_gatlings_formula(users):
    found = seconds({"gatling": [{"nothingFor": 1}, {"stressPeakUsers": users, "during": 20}]})
    k = np.arange(1, users + 1)
    inverse = erfinv(2 * k / (users + 2) - 1)
    first = abs(inverse[0])
    assert found == pytest.approx((1 + (inverse + first) * 20 / (2 * first)).tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("more", "levels"),
    [
        ({}, [(4, 0, 0), (4, 5, 5), (4, 10, 10)]),
        ({"startingFrom": 10}, [(4, 10, 10), (4, 15, 15), (4, 20, 20)]),
        (
            {"separatedByRampsLasting": 2},
            [(2, 0, 5), (4, 5, 5), (2, 5, 10), (4, 10, 10), (2, 10, 15), (4, 15, 15)],
        ),
        (
            {"separatedByRampsLasting": 2, "startingFrom": 10},
            [(4, 10, 10), (2, 10, 15), (4, 15, 15), (2, 15, 20), (4, 20, 20)],
        ),
    ],
)
def test_gatlings_stairs_begin_and_climb_as_there(more, levels):
    step = {"incrementUsersPerSec": 5, "times": 3, "eachLevelLasting": 4, **more}
    if any((a + b) * s % 2 for s, a, b in levels):
        assert "whole ones" in refused({"gatling": [step]})
        return
    found = shape({"gatling": [step]}).gatling[0]
    assert list(found.lines()) == levels


SHAPES = st.sampled_from(
    [
        k6("constant-arrival-rate", rate=30, timeUnit="1m", duration="10s"),
        k6("ramping-arrival-rate", stages=[{"duration": "9s", "target": 5}]),
        k6("constant-vus", vus=3, duration="10s", **STOP),
        k6("ramping-vus", stages=[{"duration": "4s", "target": 5}], **DOWN),
        k6("per-vu-iterations", vus=7),
        {"artillery": [{"duration": 4, "arrivalRate": 1.5}, {"pause": 1, "name": "x"}]},
        {"gatling": [{"rampUsers": 9, "during": 5}, {"rampUsersPerSec": 1, "to": 3, "during": 2}]},
        {"gatling": [{"stressPeakUsers": 9, "during": 5}]},
        {"sine": {"mean": "5/s", "swing": "4/s", "period": "3s", "error": "2%"}, "lasts": "9s"},
        {"stairs": {"from": 0, "to": 8, "steps": 5, "each": "1s"}},
        {"spike": {"base": 0, "peak": "8/s", "at": "1s", "fall": "1s"}, "lasts": "4s"},
        {"ramp": {"from": "0/s", "to": "8/s"}, "lasts": "4s", "arrivals": "even"},
        {"soak": {"level": 4, "rise": "1s"}, "lasts": "9s", "once": False},
        {"herd": 9, "after": "1s"},
    ]
)


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32))
def test_a_shape_is_stored_as_written_and_reads_back_to_the_same_plan(words, seed):
    stored = Resolved("n", scenario(words), dialect(), {"name": "t"})
    again = Resolved.from_toml(stored.to_toml(), "f")
    assert again == stored
    assert again.to_toml() == stored.to_toml()
    plans = [
        make_plan(each, target(), dialect(), seed) for each in (stored.scenario, again.scenario)
    ]
    assert plans[0].digest == plans[1].digest


def test_what_was_understood_is_told_by_validate_and_by_run(probe):
    words = 'k6 = { executor = "constant-arrival-rate", rate = 40, duration = "2s" }'
    probe.scenario(f"[stages.load.populations.users]\nshape = {{ {words} }}\n")
    told = (
        "stages.load.populations.users.shape: k6's constant-arrival-rate is here "
        'rate = "40/s", lasts = "2s", arrivals = "even"; no VUs run out and nothing is dropped'
    )
    assert f"    {told}" in probe.inside("validate", "small").out
    shown = probe.inside("run", "small", "--dry-run").out
    assert told in shown
    assert "load.users  " + "█" * 48 + "  k6: 40/s for 2 s; 80 arrivals, evenly" in shown
