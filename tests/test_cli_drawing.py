"""Pictures of shapes: each block is what it stands for, and nothing short vanishes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.cli.drawing import picture, words
from probe.model.curve import Curve
from probe.model.shape import Shape

S = 1_000_000_000


def drawn(width=8, **written):
    return picture(Shape.model_validate(written).curve(), width)


def told(**written):
    shape = Shape.model_validate(written)
    return words(shape, shape.curve())


def test_each_block_is_the_highest_in_its_share_of_the_time():
    ramp = {"from": "0/s", "to": "80/s"}
    assert drawn(ramp=ramp, lasts="8s") == "▁▂▃▄▅▆▇█"
    assert drawn(stairs={"from": 1, "to": 4, "steps": 4, "each": "2s"}) == "▂▂▄▄▆▆██"
    assert drawn(rate="5/s", lasts="8s") == "████████"
    assert drawn(clients=5) == "█......."


def test_a_spike_of_a_moment_is_seen_and_no_load_is_no_block():
    spike = {"base": 0, "peak": "100/s", "at": "30min", "hold": "10ms"}
    assert drawn(spike=spike, lasts="1h") == "....█..."
    assert drawn(replay={"text": "time_s\n0\n0\n7\n8\n"}) == "█......█"
    assert drawn(gatling=[{"nothingFor": 4}, {"atOnceUsers": 3}, {"nothingFor": 4}]) == "....█..."


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9)), min_size=1, max_size=6))
def test_a_block_is_no_lower_than_the_curve_in_its_middle(pieces):
    points = [(0, 1.0)]
    for lasts, level in pieces:
        points.append((points[-1][0] + lasts * S, float(level)))
    curve = Curve(open=True, points=tuple(points))
    if not curve.span_ns or not curve.mass:
        return
    shown = picture(curve, 10)
    assert len(shown) == 10
    times, levels = zip(*points, strict=True)
    middles = np.interp((np.arange(10) + 0.5) * curve.span_ns / 10, times, levels)
    for block, level in zip(shown, middles.tolist(), strict=True):
        height = ".▁▂▃▄▅▆▇█".index(block)
        if len(set(times)) == len(times):  # at a step the curve has two values
            assert height >= np.floor(level / curve.top * 8 + 1e-9)
    assert "█" in shown


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ({"rate": "5/s", "lasts": "4s"}, "rate: 5/s for 4 s; about 20 arrivals, poisson"),
        (
            {"rate": "5/s", "lasts": "4s", "arrivals": "even", "after": "2s"},
            "rate: 5/s for 4 s, after 2 s; 20 arrivals, evenly",
        ),
        ({"herd": 9}, "herd: 9 clients at once, once each"),
        (
            {"clients": 9, "lasts": "4s", "once": False},
            "clients: 9 clients for 4 s, again and again",
        ),
        (
            {"clients_curve": [["0s", 4], ["2s", 1], ["4s", 5]]},
            "clients_curve: 1 to 5 clients for 4 s; 8 in all, once each, whom no fall ends",
        ),
    ],
)
def test_words_say_what_comes(written, text):
    assert told(**written) == text


def test_a_budget_that_cuts_a_shape_short_is_told(probe):
    shape = 'shape = { rate = "5/s", lasts = "10s", after = "1s" }'
    for budget, cut in (("10s", True), ("11s", False)):
        probe.scenario(
            f'[stages.load]\nbudget = "{budget}"\n[stages.load.populations.users]\n{shape}\n'
        )
        out = probe.inside("run", "small", "--dry-run").out
        assert ("poisson; cut short by the stage's budget of 10 s" in out) == cut
