"""One level judged from its repeats, and the search for the knee over services made by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from benchmarks.knee import Cell, Habits, held, responses, searched
from probe.stats import knee, quantiles
from probe.stats.knee import Course
from probe.stats.levels import FAILED_NS, Limits, Measured, judge_level
from probe.stats.quantiles import Failed, MoreThan, Value

MS = 1_000_000
LIMITS = Limits(100 * MS)


def Search(*args, **kwargs):  # noqa: N802 - the class, without its types: every field may be None
    return knee.Search(*args, **kwargs)


def interval_ranks(*args, **kwargs):
    """The same for the ranks."""
    return quantiles.interval_ranks(*args, **kwargs)


def rng(seed=1):
    return np.random.default_rng(seed)


def repeat(latency_ns, rate=10.0, **more):
    return Measured(rate, np.asarray(latency_ns, dtype=np.int64), **more)


def spread(n, share_beyond, seed=1):
    """Independent answers of 10 to 90 ms, but for so many of 200 ms."""
    drawn = rng(seed)
    return np.where(
        drawn.random(n) < share_beyond, 200 * MS, drawn.integers(10 * MS, 90 * MS, n)
    ).astype(np.int64)


def clumped(n, share_beyond, length):
    """The same in one stretch after another of so many bad answers."""
    return np.where(np.arange(n) % round(length / share_beyond) < length, 200 * MS, 50 * MS).astype(
        np.int64
    )


def judged(*repeats, limits=LIMITS):
    return judge_level(10.0, repeats, limits)


@pytest.mark.parametrize(
    ("share", "status"), [(0.0, "within"), (0.004, "within"), (0.01, "open"), (0.03, "beyond")]
)
def test_a_level_is_within_or_beyond_only_where_that_is_proven(share, status):
    level = judged(*(repeat(spread(2_000, share, seed)) for seed in range(3)))
    assert level.status == status
    assert (level.repeats, level.n, level.unfit) == (3, 6_000, 0)
    assert level.broken == (("latency", "goodput")[:1] if status == "beyond" else ())
    assert level.goodput.value == 1


def test_the_bounds_are_order_statistics_a_little_wider_than_those_of_independent_answers():
    answers = [spread(3_000, 0.0, seed) for seed in range(4)]
    level = judged(*map(repeat, answers))
    pooled = np.sort(np.concatenate(answers))
    low, _ = interval_ranks(12_000, 0.99, side="lower", alpha=LIMITS.alpha)
    _, high = interval_ranks(12_000, 0.99, side="upper", alpha=LIMITS.alpha)
    assert level.low.ns <= pooled[low - 1] < pooled[high - 1] <= level.high.ns
    assert level.estimate == Value(int(pooled[11_880 - 1]))
    assert 12_000 / 2.5 < level.n_effective < 12_000


def test_answers_that_come_in_stretches_are_worth_less():
    single = judged(*(repeat(clumped(3_000, 0.004, 1)) for _ in range(3)))
    stretches = judged(*(repeat(clumped(3_000, 0.004, 12)) for _ in range(3)))
    assert single.status == "within"
    assert stretches.status == "open"
    assert stretches.n == single.n
    assert stretches.n_effective < single.n_effective / 3


def test_bounds_hold_for_answers_of_a_queue():
    """At the knee itself neither within nor beyond may be said more often than alpha allows."""
    cell = Cell.parse("4x20-250")
    rates = [cell.truth_per_s] * 300
    took = responses(rng(3), cell.station, rates, 2.0, [10.0] * 300)
    limits = Limits(cell.limit_ns)
    said = Counter(
        judge_level(10.0, [repeat(each) for each in took[i : i + 3]], limits).status
        for i in range(0, 300, 3)
    )
    assert said["within"] <= 7
    assert said["beyond"] <= 7
    # Taken for independent they would say so far too often: that is what the batches are for.
    naive = 0
    _, high = interval_ranks(5_000, 0.99, side="upper", alpha=limits.alpha)
    for i in range(0, 300, 3):
        pooled = np.sort(np.concatenate(took[i : i + 3]))
        naive += int(pooled[round(len(pooled) * high / 5_000) - 1]) <= cell.limit_ns
    assert naive > 25


def test_too_few_answers_prove_nothing():
    level = judged(repeat(np.full(100, MS)))
    assert (level.status, level.high) == ("open", None)
    assert judged().status == "open"
    nothing = judged(repeat([]))
    assert (nothing.n, nothing.estimate, nothing.goodput.low, nothing.goodput.high) == (
        0,
        None,
        0,
        1,
    )


def test_repeats_too_short_to_be_cut_are_batches_themselves():
    """Forty repeats of 20 answers, each slow or fast as a whole: 40 draws, not 800."""
    slow = [np.full(20, 200 * MS if i == 7 else 50 * MS) for i in range(40)]
    assert judged(*map(repeat, slow)).n_effective < 40
    mixed = [np.where(np.arange(20) == i % 20, 200 * MS, 50 * MS) for i in range(40)]
    assert judged(*map(repeat, mixed)).n_effective > 400


def test_failures_rank_as_infinite_and_are_told_as_errors():
    answers = spread(3_000, 0.0)
    answers[::20] = FAILED_NS
    level = judged(repeat(answers), repeat(answers))
    assert (level.estimate, level.low, level.high) == (Failed(), Failed(), Failed())
    assert level.broken == ("errors", "goodput")
    assert level.goodput.value == 0.95


def test_timeouts_are_beyond_a_limit_below_their_bound_and_unknown_above_it():
    answers, timed_out = np.full(3_000, 50 * MS), np.arange(3_000) % 20 == 0
    answers[timed_out] = 150 * MS
    level = judged(repeat(answers, censored=timed_out))
    assert level.low == level.high == MoreThan(150 * MS)
    assert level.broken == ("latency", "goodput")
    patient = judged(repeat(answers, censored=timed_out), limits=Limits(200 * MS, goodput_min=0.9))
    assert (patient.status, patient.broken) == ("open", ())


def test_goodput_and_delivery_are_limits_of_their_own():
    fast = np.full(4_000, 50 * MS)
    few, many = np.arange(4_000) % 200 > 0, np.arange(4_000) % 20 > 0
    assert judged(repeat(fast, good=few)).status == "within"
    assert judged(repeat(fast, good=many)).broken == ("goodput",)
    demanding = Limits(100 * MS, delivery_min=0.98)
    assert judged(repeat(fast, delivered=few), limits=demanding).status == "within"
    lossy = judged(repeat(fast, delivered=many), limits=demanding)
    assert (lossy.broken, lossy.delivery.value) == (("delivery",), 0.95)
    assert judged(repeat(fast), limits=demanding).status == "open"  # it was not looked at
    assert judged(repeat(fast, delivered=many)).delivery is None


def test_a_repeat_without_a_fit_generator_counts_for_nothing():
    slow = repeat(np.full(3_000, 900 * MS), fit=False)
    level = judged(slow, slow)
    assert (level.status, level.repeats, level.unfit, level.n) == ("open", 0, 2, 0)
    assert judged(slow, repeat(spread(3_000, 0.0))).status == "within"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Measured(1.0, np.ones(3, np.int32)),
        lambda: repeat([-1]),
        lambda: repeat([1], rate=0.0),
        lambda: repeat([1, 2], good=np.ones(3, np.bool_)),
        lambda: Limits(0),
        lambda: Limits(1, q=1.0),
        lambda: Limits(1, delivery_min=1.0),
        lambda: Course(10, 5),
        lambda: Course(0, 5),
        lambda: Course(1, 5, factor=1.0),
        lambda: Course(1, 5, closeness=1.001),
        lambda: Course(1, 5, repeats_min=4, repeats_max=3),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(ValueError, match=r".+"):
        make()


def ran(course, share_at, *, limits=LIMITS, generator_per_s=np.inf, answer=None, asked_max=500):
    """A search over a service of which a rate's share of slow answers is known."""
    search, asked = Search(limits, course), []
    while (rate := search.next()) is not None:
        asked.append(rate)
        assert len(asked) <= asked_max
        assert rate <= course.most_per_s
        latency_ns = spread(3_000, share_at(rate), len(asked))
        more = {} if answer is None else answer(rate, latency_ns)
        search.tell(repeat(latency_ns, rate, fit=rate <= generator_per_s, **more))
    assert search.next() is None
    return search, asked


def sharp(at):
    return lambda rate: 0.0 if rate <= at else 0.2


@pytest.mark.parametrize("at", [23.0, 100.0, 333.0, 1_234.0])
def test_a_sharp_knee_is_found_and_both_of_its_ends_are_confirmed(at):
    search, asked = ran(Course(20, 10_000), sharp(at))
    found = search.knee()
    assert (found.state, found.why, found.first) == ("found", "resolved", ("latency",))
    assert found.low_per_s <= at < found.high_per_s <= 1.1 * found.low_per_s
    assert found.consistent
    assert len(search.levels) >= 6
    repeats = Counter(asked)
    assert repeats[found.low_per_s] >= 3
    assert repeats[found.high_per_s] >= 3
    # Stairs, then halving: no rate far beyond the knee, and few in all.
    assert max(asked) <= 1.5 * at * 1.01
    assert len(asked) < 40


def test_a_knee_below_the_first_rate_is_looked_for_further_down():
    found = ran(Course(100, 1_000), sharp(30.0))[0].knee()
    assert found.state == "found"
    assert found.low_per_s <= 30 < found.high_per_s


def test_where_nothing_is_within_the_answer_is_at_most():
    search, asked = ran(Course(100, 1_000), sharp(0.0))
    found = search.knee()
    assert (found.state, found.low_per_s, found.why) == ("at_most", None, "floor")
    assert found.high_per_s == min(asked) < 4


@pytest.mark.parametrize("generator", [60.0, 150.0, 400.0])
def test_a_generator_that_gives_out_first_is_no_knee(generator):
    """Beyond what it can do its answers look slow: they must not be taken for the service's."""
    search, asked = ran(
        Course(20, 10_000), lambda rate: 0.0 if rate <= generator else 0.5,
        generator_per_s=generator,
    )  # fmt: skip
    found = search.knee()
    assert (found.state, found.high_per_s) == ("at_least", None)
    assert (found.first, found.why) == (("probe",), "generator")
    assert generator / 1.1 < found.low_per_s <= generator
    assert all(level.status != "beyond" for level in search.levels)
    assert len(asked) < 60


def test_a_knee_just_below_the_end_of_the_generator_is_found_all_the_same():
    found = ran(Course(100, 10_000), sharp(170.0), generator_per_s=200.0)[0].knee()
    assert (found.state, found.first) == ("found", ("latency",))
    assert found.low_per_s <= 170 < found.high_per_s <= 200


def test_a_generator_that_is_never_fit_shows_nothing():
    search, asked = ran(Course(100, 1_000), sharp(50.0), generator_per_s=0.0)
    found = search.knee()
    assert (found.state, found.low_per_s, found.high_per_s) == ("unknown", None, None)
    assert (found.first, found.why) == (("probe",), "generator")
    assert len(asked) <= 40


def test_a_moment_in_which_the_generator_was_not_fit_is_made_up_for():
    course, hiccups = Course(20, 10_000), iter(range(10**6))
    search = Search(LIMITS, course)
    while (rate := search.next()) is not None:
        latency_ns = spread(3_000, sharp(100.0)(rate), next(hiccups))
        search.tell(repeat(latency_ns, rate, fit=next(hiccups) % 6 > 0))
    found = search.knee()
    assert found.state == "found"
    assert found.low_per_s <= 100 < found.high_per_s
    for rate in (found.low_per_s, found.high_per_s):
        assert next(level for level in search.levels if level.rate_per_s == rate).repeats >= 3


def test_the_most_that_is_allowed_ends_the_search():
    found = ran(Course(20, 170), sharp(1_000.0))[0].knee()
    assert (found.state, found.low_per_s, found.why) == ("at_least", 170, "ceiling")
    assert found.first == ()


def test_a_level_that_stays_open_is_enclosed_and_never_decided():
    """From 80 to 125 the share of slow answers is what the limit allows: nothing can be proven."""
    share = lambda rate: 0.0 if rate < 80 else 0.01 if rate < 125 else 0.1  # noqa: E731 -- a table
    search, _ = ran(Course(20, 10_000), share)
    found = search.knee()
    assert (found.state, found.why) == ("found", "open")
    assert found.low_per_s < 80
    assert found.high_per_s >= 125
    between = [one for one in search.levels if found.low_per_s < one.rate_per_s < found.high_per_s]
    assert {one.status for one in between} == {"open"}
    assert {one.repeats for one in between} == {8}
    # Its sides are looked at as closely as a knee would be.
    assert between[0].rate_per_s / found.low_per_s <= 1.1
    assert found.high_per_s / between[-1].rate_per_s <= 1.1


def test_a_ceiling_below_which_a_level_stays_open_is_no_ceiling_that_was_reached():
    """One in a hundred is just beyond the limit: that is never decided."""
    search = Search(LIMITS, Course(50, 75))
    while (rate := search.next()) is not None:
        latency = np.full(500, 10 * MS)
        latency[:5] = 900 * MS if rate == 75 else 10 * MS
        search.tell(Measured(rate, latency))
    assert (search.knee().state, search.knee().low_per_s) == ("at_least", 50)
    assert search.knee().why == "open"


def test_a_search_that_is_cut_off_says_what_is_proven_so_far():
    found = ran(Course(20, 10_000, runs_max=8), sharp(100.0))[0].knee()
    assert found.why == "budget"
    assert found.low_per_s <= 100 < found.high_per_s


def test_a_service_that_changes_its_mind_is_not_given_a_knee_of_its_own():
    """Slow at 45 a second, well at 67.5, slow above: bounds that enclose both, and said so."""
    search = Search(LIMITS, Course(20, 10_000))
    for rate, share in ((20.0, 0.0), (45.0, 0.2), (67.5, 0.0), (100.0, 0.2)):
        search.tell(repeat(spread(3_000, share), rate))
    while (rate := search.next()) is not None:
        search.tell(repeat(spread(3_000, 0.2 if rate in {45.0, 100.0} else 0.0), rate))
    found = search.knee()
    assert (found.consistent, found.why) == (False, "inconsistent")
    assert (found.low_per_s, found.high_per_s) == (20, 100)


def test_the_limit_that_is_hit_first_is_named():
    def failing(rate, latency_ns):
        if rate > 60:
            latency_ns[::15] = FAILED_NS
        return {}

    def unmet(rate, latency_ns):
        return {"good": np.arange(len(latency_ns)) % 10 > (0 if rate > 60 else -1)}

    def undelivered(rate, latency_ns):
        return {"delivered": np.arange(len(latency_ns)) % 10 > (0 if rate > 60 else -1)}

    strict = Limits(100 * MS, delivery_min=0.98)
    for answer, first in (
        (failing, ("errors", "goodput")), (unmet, ("goodput",)), (undelivered, ("delivery",)),
    ):  # fmt: skip
        limits = strict if answer is undelivered else LIMITS
        found = ran(Course(20, 1_000), sharp(900.0), answer=answer, limits=limits)[0].knee()
        assert (found.state, found.first) == ("found", first)
        assert found.low_per_s <= 60 < found.high_per_s


def test_the_same_answers_lead_the_same_way():
    assert ran(Course(20, 1_000), sharp(90.0))[1] == ran(Course(20, 1_000), sharp(90.0))[1]


def test_the_knee_of_a_queue_lies_in_the_interval():
    """Of 20 searches at least 17; the study has some thousand."""
    cell = Cell.parse("4x20-250")
    outcomes = searched(cell, Habits(20, 10.0, 1_000, 2.0, 1.1, 8, LIMITS.alpha, 2))
    good = [held(outcome.knee, cell.truth_per_s) for outcome in outcomes]
    assert sum(good) >= 17
    assert {outcome.knee.state for outcome in outcomes} == {"found"}
    assert not any(held(outcome.knee, 1.4 * cell.truth_per_s) for outcome in outcomes)
    assert not any(held(outcome.knee, cell.truth_per_s / 1.4) for outcome in outcomes)
