"""Race windows: the fit of rows written by hand or simulated, and the search over a simulation."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from probe.stats import window_fit, window_search
from probe.stats.window import Space, Try
from probe.stats.window_curve import curve
from probe.stats.window_grid import Box, Grid, Pairs, coarse
from probe.stats.window_zoom import Rows, filled

MS = 1_000_000
WIDE = Space(0, 2000 * MS, 5 * MS, p0_zero=True)
NOISY = Space(0, 2000 * MS, 5 * MS)
STEP = Space(0, 2000 * MS, 5 * MS, kind="step", goal_ns=5 * MS, p0_zero=True)


def fit(*columns_and_space):
    return window_fit.fit(*columns_and_space)


def Search(*args, **kwargs):  # noqa: N802 - the class, without its types: every field may be None
    return window_search.Search(*args, **kwargs)


def rows_of(space, happens, n, seed=1, jitter_ms=5):
    """n swept trials of what `happens` (the rate at an offset in ms)."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(space.lo_ns, space.hi_ns, n)
    at = x / MS + rng.normal(0, jitter_ms, n)
    rates = np.array([happens(t) for t in at])
    return np.round(x).astype(np.int64), rng.random(n) < rates, ["sweep"] * n


def window(centre, width, p1=1.0, p0=0.0):
    return lambda t: p1 if abs(t - centre) < width / 2 else p0


def play(search, happens, *, seed=1, jitter_ms=5, late_ms=0.0):
    """Run a search to its end against what `happens`; returns the rows."""
    rng = np.random.default_rng(seed)
    rows = []
    while (trial := search.next()) is not None:
        measured = trial.offset_ns + round(late_ms * MS)
        hit = bool(rng.random() < happens(measured / MS + rng.normal(0, jitter_ms)))
        search.tell(measured, hit, trial.stage)
        rows.append((measured, hit, trial.stage))
    return rows


@pytest.mark.parametrize(
    ("lo", "hi", "jitter", "goal"),
    [(0, 10 * MS, MS, MS), (5, 5, 0, 1), (0, 100, -1, 1), (0, 100, 0, 0)],
)
def test_a_space_with_nothing_to_search_is_refused(lo, hi, jitter, goal):
    with pytest.raises(ValueError, match=r"nothing to search|positive"):
        Space(lo, hi, jitter, goal_ns=goal)


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="one length"):
        fit([1, 2], [True], ["sweep", "sweep"], WIDE)


def test_no_trials_say_nothing():
    empty = fit([], [], [], NOISY)
    assert (empty.n, empty.found, empty.localised, empty.centre_ns) == (0, False, False, None)
    assert empty.exposure_ns is None
    assert empty.exposure_most_ns is None
    assert empty.confirm is None
    assert empty.ln_bf == pytest.approx(0, abs=1e-9)


def test_no_hits_bound_the_exposure():
    x, _, stages = rows_of(WIDE, window(0, 0), 299)
    clean = fit(x, np.zeros(299, bool), stages, WIDE)
    assert not clean.found
    assert clean.ln_bf < 0
    assert clean.exposure_most_ns == pytest.approx(2000 * MS * (1 - 0.05 ** (1 / 299)))
    assert clean.exposure_ns is not None
    assert (clean.exposure_ns.value, clean.exposure_ns.low) == (0, 0)


@pytest.mark.parametrize("p0", [0.003, 0.01, 0.013, 0.1])
def test_a_constant_rate_is_no_window(p0):
    for seed in range(4):
        constant = fit(*rows_of(NOISY, window(0, 0, p0=p0), 1500, seed), NOISY)
        assert constant.hits > 0
        assert not constant.found, seed
        assert constant.centre_ns is None
        # What background there is, is not known yet: only a bound is given.
        assert constant.exposure_ns is None
        assert constant.exposure_most_ns > 2000 * MS * p0 * 0.5


@pytest.mark.parametrize(("space", "p0"), [(WIDE, 0.0), (NOISY, 0.01)])
def test_a_planted_window_is_fitted(space, p0):
    told = fit(*rows_of(space, window(700, 80, 0.9, p0), 2500), space)
    assert told.localised
    assert told.ln_bf > 20
    assert told.centre_ns.low < 700 * MS < told.centre_ns.high
    assert told.width_ns.low < 80 * MS < told.width_ns.high
    assert told.p1.low < 0.9 < told.p1.high
    assert told.rate.low < 0.9 < told.rate.high
    assert told.grid_ns[np.argmax(told.density)] == pytest.approx(700 * MS, abs=3 * MS)
    step = told.grid_ns[1] - told.grid_ns[0]
    assert (told.density * step).sum() == pytest.approx(1)


def test_rows_in_any_order_say_exactly_the_same():
    x, hit, stages = rows_of(NOISY, window(700, 80, 0.9, 0.01), 600)
    order = list(range(600))
    random.Random(4).shuffle(order)
    one = fit(x, hit, stages, NOISY)
    other = fit(x[order], hit[order], [stages[i] for i in order], NOISY)
    assert (one.centre_ns, one.width_ns, one.ln_bf) == (
        other.centre_ns,
        other.width_ns,
        other.ln_bf,
    )
    assert one.exposure_most_ns == other.exposure_most_ns


def test_a_window_no_wider_than_its_jitter_has_no_width():
    told = fit(*rows_of(WIDE, window(700, 5), 20_000), WIDE)
    assert told.localised
    assert told.width_ns is None
    assert told.exposure_ns.low < 5 * MS < told.exposure_ns.high


@settings(max_examples=25, deadline=None)
@example(26, 132, -530457)
@example(1, 50, 14748185)
@given(st.integers(0, 10_000), st.integers(50, 1950), st.integers(-2_000_000_000, 2_000_000_000))
def test_a_shift_of_all_offsets_shifts_the_answer(seed, centre, shift):
    x, hit, stages = rows_of(WIDE, window(centre, 60), 300, seed)
    here = fit(x, hit, stages, WIDE)
    there = fit(x + shift, hit, stages, Space(shift, shift + 2000 * MS, 5 * MS, p0_zero=True))
    assert there.found == here.found
    # A trial right where a cell's reach ends may fall on either side of it by rounding.
    assert there.ln_bf == pytest.approx(here.ln_bf, abs=0.01)
    if here.centre_ns is not None:
        # The fine grid is cut where the mass is under a threshold, which rounding may cross, too.
        nearly = 0.1 * here.centre_ns.half
        assert there.centre_ns.value == pytest.approx(here.centre_ns.value + shift, abs=nearly)


@pytest.mark.parametrize("rising", [True, False])
def test_a_step_is_fitted_with_its_direction(rising):
    told = fit(*rows_of(STEP, lambda t: float((t > 1200) == rising), 3000), STEP)
    assert told.localised
    assert told.rising is rising
    assert told.centre_ns.low < 1200 * MS < told.centre_ns.high
    assert told.exposure_ns is None
    assert told.exposure_most_ns is None
    assert told.width_ns is None
    assert told.p1.value > 0.9
    assert told.p0.value < 0.01


def test_only_sweep_rows_speak_of_exposure_and_only_fresh_ones_confirm():
    x, hit, stages = rows_of(NOISY, window(700, 80, 0.9, 0.01), 600)
    extra = [700 * MS] * 40 + [1500 * MS] * 40
    seen = [True] * 36 + [False] * 4 + [True] + [False] * 39
    more = fit([*x, *extra], [*hit, *seen], [*stages, *["confirm"] * 40, *["control"] * 40], NOISY)
    less = fit(x, hit, stages, NOISY)
    assert (more.n, more.hits, more.centre_ns) == (less.n, less.hits, less.centre_ns)
    assert (more.confirm.k1, more.confirm.n1) == (36, 40)
    assert (more.confirm.k0, more.confirm.n0) == (1, 40)
    assert more.confirm.confirmed
    assert less.confirm is None
    # The control rows tell the background, and so the exposure.
    assert more.exposure_ns.value == pytest.approx(2000 * MS * (less.sweep_hits / 600 - 1 / 40))
    assert more.exposure_ns.low < more.exposure_ns.value < more.exposure_ns.high
    localised = fit(x, hit, ["localise"] * 600, NOISY)
    assert localised.exposure_most_ns is None
    assert localised.centre_ns == less.centre_ns


def test_a_second_window_shows_as_strays():
    both = lambda t: float(abs(t - 500) < 40 or abs(t - 1500) < 4)  # noqa: E731 - one line
    told = fit(*rows_of(NOISY, both, 3000), NOISY)
    assert told.localised
    assert told.centre_ns.value == pytest.approx(500 * MS, abs=5 * MS)
    assert told.strays > 5


def test_the_posterior_is_bayes_theorem():
    """A box of cells against the product of the model's probabilities, written out."""
    space = Space(0, 1000 * MS, 5 * MS)
    box, pairs = Box(380 * MS, 420 * MS, 440 * MS, 480 * MS), Pairs.of(space)
    rng = np.random.default_rng(2)
    x = np.sort(rng.uniform(300, 560, 30)) * MS
    hit = rng.random(30) < 0.4
    grid = filled(space, box, pairs, Rows(x, hit))
    cells = box.cells(space)
    phi = np.vectorize(lambda z: 0.5 * (1 + __import__("math").erf(z / 2**0.5)))
    inside = phi((x[:, None] - cells.a) / cells.smear_a) - phi(
        (x[:, None] - cells.b) / cells.smear_b
    )
    logs = np.zeros((len(pairs.base), len(cells.a)))
    for i in range(len(x)):
        rate = pairs.base[:, None] + (pairs.top - pairs.base)[:, None] * inside[i]
        logs += np.log(rate if hit[i] else 1 - rate)
    weights = np.exp(logs) * np.exp(pairs.log_prior)[:, None] * cells.prior
    mass, evidence = grid.mass()
    assert mass == pytest.approx(weights.sum(axis=0) / weights.sum(), abs=1e-9)
    assert evidence == pytest.approx(np.log(weights.sum()), abs=1e-6)
    assert grid.joint() == pytest.approx(weights.T / weights.sum(), abs=1e-9)


def test_an_interval_is_never_finer_than_its_grid():
    box = Box(-200 * MS, 440 * MS, 400 * MS, 1040 * MS)  # cells of 16 ms
    x, hit, _ = rows_of(WIDE, window(392, 200), 4000)
    order = np.argsort(x)
    grid = filled(WIDE, box, Pairs.of(WIDE), Rows(x[order].astype(float), hit[order]))
    assert grid.mass()[0].max() > 0.9
    assert window_fit.central(grid).half >= 8 * MS


def test_many_hits_and_misses_overflow_nothing():
    grid = Grid(coarse(WIDE), Pairs.of(WIDE))
    for _ in range(400):
        grid.tell(1000 * MS, True)
        grid.tell(300 * MS, False)
        grid.tell(1000 * MS, False)
    mass, evidence = grid.mass()
    assert np.all(np.isfinite(mass))
    assert np.isfinite(evidence)
    best = grid.cells.centre[np.argmax(mass)]
    assert best == pytest.approx(1000 * MS, abs=500 * MS)


@pytest.mark.parametrize(
    ("space", "happens", "truth"),
    [
        (WIDE, window(1300, 50), 1300),
        (NOISY, window(400, 50, 1.0, 0.01), 400),
        (NOISY, window(1500, 200, 0.6, 0.01), 1500),
        (STEP, lambda t: float(t > 777), 777),
        (STEP, lambda t: float(t < 1777), 1777),
    ],
)
def test_a_search_finds_localises_and_confirms(space, happens, truth):
    search = Search(space, 1)
    rows = play(search, happens)
    told = search.fitted
    assert search.state == told.state == "confirmed"
    assert search.done
    assert told.localised
    assert told.confirm.confirmed
    assert told.centre_ns.half <= space.goal_ns
    # Twice the interval: one in twenty may miss it.
    assert abs(told.centre_ns.value - truth * MS) < 2 * space.goal_ns
    # The judge has the rows and nothing else.
    again = fit([x for x, _, _ in rows], [h for _, h, _ in rows], [s for _, _, s in rows], space)
    assert (again.centre_ns, again.confirm, again.ln_bf) == (
        told.centre_ns, told.confirm, told.ln_bf,
    )  # fmt: skip


def test_a_seed_decides_everything():
    one, same, other = (play(Search(NOISY, seed), window(400, 50, 1.0, 0.01)) for seed in (3, 3, 4))
    assert one == same
    assert one != other


def test_the_measured_offset_counts_and_not_the_plan():
    search = Search(WIDE, 5)
    play(search, window(1300, 50), late_ms=4)
    assert search.state == "confirmed"
    assert abs(search.fitted.centre_ns.value - 1300 * MS) < 4 * MS


@pytest.mark.parametrize(("space", "p0"), [(WIDE, 0.0), (NOISY, 0.01)])
def test_nothing_is_confirmed_where_there_is_nothing(space, p0):
    search = Search(space, 2, trials_max=400)
    rows = play(search, window(0, 0, p0=p0))
    assert search.state == search.fitted.state == "none_found"
    assert len(rows) == 400
    assert search.fitted.exposure_most_ns > 0
    assert not search.fitted.localised


def test_a_window_too_weak_for_the_budget_is_not_localised():
    search = Search(WIDE, 1, trials_max=120)
    play(search, window(1300, 200, 0.1))
    assert search.state == search.fitted.state == "not_localised"
    assert search.fitted.found
    assert not search.fitted.localised
    assert search.fitted.exposure_most_ns > search.fitted.exposure_ns.value


def test_a_window_that_went_away_is_not_confirmed():
    search = Search(WIDE, 1)
    rng = np.random.default_rng(1)
    while (trial := search.next()) is not None:
        gone = search.state == "localised"
        at = trial.offset_ns / MS + rng.normal(0, 5)
        search.tell(trial.offset_ns, abs(at - 900) < 25 and not gone, trial.stage)
    assert search.state == search.fitted.state == "not_confirmed"
    assert search.fitted.confirm.k1 == 0
    assert search.fitted.confirm.p_value == 1


def test_a_fresh_trial_that_slipped_across_the_edge_confirms_nothing():
    space = Space(-300 * MS, 300 * MS, 0, "step", 3 * MS)
    search, rng = Search(space, 1), np.random.default_rng(1)
    happens = lambda x: float(x < 40 * MS)  # noqa: E731 -- as short as what it is
    slips = counted = 0
    while (asked := search.next()) is not None:
        fresh = asked.stage in {"confirm", "control"}
        at = asked.offset_ns + (round(rng.normal(0, 12 * MS)) if fresh else 0)
        stage = search.kept(asked, at)
        slips += fresh and stage == "localise"
        counted += fresh and stage == asked.stage
        search.tell(at, bool(happens(at)), stage)
    assert slips
    assert counted
    test = search.fitted.confirm
    assert (test.k1, test.k0) == (test.n1, 0)
    assert search.state == "confirmed"


def test_a_fresh_trial_beside_its_window_confirms_nothing():
    search = Search(WIDE, 1)
    play(search, window(400, 50))
    centre, width = search.fitted.centre_ns, search.fitted.width_ns
    assert search.kept(Try(0, "confirm"), round(centre.value)) == "confirm"
    assert search.kept(Try(0, "confirm"), round(centre.value + width.high)) == "localise"
    assert search.kept(Try(0, "control"), round(centre.value)) == "localise"
    assert search.kept(Try(0, "sweep"), round(centre.value)) == "sweep"


def test_what_is_located_when_the_trials_are_used_up_is_confirmed():
    happens = window(1300, 50)
    whole = play(Search(WIDE, 1), happens)
    needed = sum(stage in {"sweep", "localise"} for _, _, stage in whole)
    # The goal had lasted for eight trials by then: it was reached before.
    search = Search(WIDE, 1, trials_max=needed - 4)
    rows = play(search, happens)
    assert sum(stage in {"sweep", "localise"} for _, _, stage in rows) == needed - 4
    assert rows[: needed - 4] == whole[: needed - 4]
    assert search.state == search.fitted.state == "confirmed"
    assert search.fitted.confirm.n1 >= 30


@pytest.mark.parametrize("comb", [1, 20])
def test_no_search_ends_on_something_located_that_nothing_confirmed(comb):
    ends = set()
    for trials_max in range(40, 140, 10):
        search, rng, rows = Search(WIDE, 1, trials_max=trials_max), np.random.default_rng(1), []
        while tries := [t for t in (search.next() for _ in range(comb)) if t is not None]:
            for trial in tries:
                hit = abs(trial.offset_ns / MS + rng.normal(0, 5) - 1300) < 25
                rows.append((trial.offset_ns, hit, trial.stage))
                search.tell(*rows[-1])
        # The judge has all rows, and they say how it ended.
        judged = fit(*(list(column) for column in zip(*rows, strict=True)), WIDE)
        assert judged.state == search.state
        ends.add(judged.state)
    assert "confirmed" in ends
    assert ends & {"none_found", "not_localised"}


def test_what_always_goes_wrong_has_a_place_in_the_prior():
    for space in (WIDE, NOISY, STEP):
        pairs = Pairs.of(space)
        prior = np.exp(pairs.log_prior)
        assert prior.sum() == pytest.approx(1)
        assert prior[np.maximum(pairs.base, pairs.top) > 0.99].sum() == pytest.approx(0.1)


@pytest.mark.parametrize(("p1", "factor"), [(1.0, (0.85, 0.95)), (0.3, (1.2, 1.25))])
def test_an_interval_hedges_less_the_surer_it_is_that_it_always_happens(p1, factor):
    x, hit, _ = rows_of(WIDE, window(700, 200, p1), 3000)
    order = np.argsort(x)
    box = Box(550 * MS, 650 * MS, 750 * MS, 850 * MS)
    grid = filled(WIDE, box, Pairs.of(WIDE), Rows(x[order].astype(float), hit[order]))
    joint, sure = grid.joint(), grid.pairs.top > 0.99
    assert grid.always() == pytest.approx(joint[:, sure].sum(), abs=1e-9)
    own, told = window_fit.central(grid), window_fit.centre_of(grid, WIDE)
    assert told.value == own.value
    assert factor[0] <= told.half / own.half <= factor[1]


def test_a_comb_is_several_trials_asked_before_any_is_told():
    search, rng = Search(WIDE, 8), np.random.default_rng(1)
    offsets: set[int] = set()
    while not search.done:
        comb = [trial for trial in (search.next() for _ in range(4)) if trial is not None]
        offsets.update(trial.offset_ns for trial in comb if trial.stage == "sweep")
        for trial in reversed(comb):
            at = trial.offset_ns / MS + rng.normal(0, 5)
            search.tell(trial.offset_ns, abs(at - 900) < 25, trial.stage)
    assert search.state == "confirmed"
    assert len(offsets) > 4


def test_trials_without_an_outcome_end_too():
    search = Search(WIDE, 1, trials_max=50)
    asked = 0
    while search.next() is not None:
        asked += 1
        assert asked <= 100
    assert (asked, search.state) == (100, "none_found")
    silent = Search(WIDE, 1, confirm_max=20)
    while (trial := silent.next()) is not None:
        if trial.stage in {"sweep", "localise"}:
            silent.tell(trial.offset_ns, abs(trial.offset_ns / MS - 900) < 25, trial.stage)
    assert silent.state == "not_confirmed"
    assert silent.fitted.confirm is None
    assert silent.fitted.state == "localised"


def test_the_sweep_covers_the_range_evenly():
    search = Search(WIDE, 3)
    planned = sorted(search.next().offset_ns for _ in range(200))
    assert max(np.diff(planned)) < 3 * 2000 * MS / 200
    assert {search.next().stage for _ in range(20)} == {"sweep"}


def test_a_curve_is_what_was_seen():
    bins = curve([0, 5, 10, 15, 19, 20, 25, 99, 100, -1], [0, 1, 1, 1, 0, 0, 0, 1, 1, 1], 0, 100, 5)
    assert [(b.low_ns, b.high_ns, b.n, b.hits) for b in bins] == [
        (0, 20, 5, 3), (20, 40, 2, 0), (40, 60, 0, 0), (60, 80, 0, 0), (80, 100, 1, 1),
    ]  # fmt: skip
    assert bins[0].rate.low < 3 / 5 < bins[0].rate.high
    assert np.isnan(bins[2].rate.value)
    assert (bins[2].rate.low, bins[2].rate.high) == (0, 1)
    with pytest.raises(ValueError, match="a curve takes"):
        curve([1], [True], 5, 5)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["w50-p1-b0-s5", "w20-p0.3-b0.01-s1", "w5-p1-b0.01-s1", "step-p1-b0-s5"]
)
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    from benchmarks.windows import CELLS, simulate  # noqa: PLC0415 - only this long test needs it

    rows = [simulate(CELLS[name], repeat, 5, "probe") for repeat in range(40)]
    localised = [row for row in rows if row["state"] in {"confirmed", "not_confirmed"}]
    assert len(localised) == 40
    held = sum(row["centre_ns"][1] <= row["truth"] <= row["centre_ns"][2] for row in localised)
    # Below that has a chance of one in a thousand where the truth is 95 %.
    assert held >= 33
