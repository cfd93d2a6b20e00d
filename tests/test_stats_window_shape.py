"""A declared step whose rows fit a window better, and steps whose rows do not."""

import numpy as np
import pytest

from probe.stats import window_shape
from probe.stats.window import Space
from probe.stats.window_search import Search

MS = 1_000_000
STEP = Space(0, 2000 * MS, 5 * MS, kind="step", goal_ns=5 * MS)


def rather_a_window(*columns_and_space):
    """The function, without its types: columns come as one tuple."""
    return window_shape.rather_a_window(*columns_and_space)


def searched(happens, seed=1, trials=200):
    """What a search for a step told of `happens`: offsets, anomalies, stages."""
    search, rng, rows = Search(STEP, seed, trials_max=trials), np.random.default_rng(seed), []
    while (trial := search.next()) is not None:
        hit = bool(rng.random() < happens(trial.offset_ns / MS + rng.normal(0, 5)))
        rows.append((trial.offset_ns, hit, trial.stage))
        search.tell(*rows[-1])
    return tuple(list(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("edge", [100, 700, 1800])
@pytest.mark.parametrize("rising", [True, False])
@pytest.mark.parametrize(("p1", "p0"), [(1.0, 0.0), (0.3, 0.0), (0.9, 0.01)])
def test_a_step_is_no_window(edge, rising, p1, p0):
    rows = searched(lambda t: p1 if (t > edge) == rising else p0)
    assert any(rows[1])
    assert rather_a_window(*rows, STEP) is None


@pytest.mark.parametrize("width", [200, 400])
def test_a_window_that_was_declared_a_step_is_told(width):
    low, high = 600 - width / 2, 600 + width / 2
    window = rather_a_window(*searched(lambda t: low < t < high), STEP)
    assert window is not None
    assert window.ln_bf > 3
    assert window.begins_ns.low <= window.begins_ns.value <= window.begins_ns.high
    assert window.begins_ns.value == pytest.approx(low * MS, abs=100 * MS)
    assert window.ends_ns.value == pytest.approx(high * MS, abs=100 * MS)
    assert window.begins_ns.high < window.ends_ns.low


def test_nothing_that_went_wrong_has_no_shape():
    assert rather_a_window(*searched(lambda _: 0.0, trials=60), STEP) is None
    assert rather_a_window([], [], [], STEP) is None


def test_what_always_goes_wrong_has_no_shape_either():
    assert rather_a_window(*searched(lambda _: 1.0, trials=60), STEP) is None
