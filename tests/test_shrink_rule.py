"""Making a race smaller: what may go, in which order, and by what odds it is decided."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from probe.model.race import Race
from probe.model.scenario import Scenario
from probe.model.script import Gate
from probe.model.shrinking import (
    Removal,
    Removed,
    candidates,
    in_python,
    joined,
    read_removal,
    scenario_of,
    size,
    trials_bound,
    variant,
)
from probe.stats.shrink import LOOKS, Counts, Shrinker, shown, weigh


def scenario(name):
    return Scenario.model_validate(tomllib.loads(Path(f"scenarios/{name}.toml").read_text()))


def race(**more):
    """Two measured actors, two beside them, and a comb."""
    told = {
        "range": ["0ms", "400ms"],
        "at": "40ms",
        "confirm": 24,
        "shrink": 2000,
        "comb": 8,
        "actors": {
            "first": {
                "script": [{"do": "connect"}, {"do": "gate"}, {"do": "run"}, {"do": "close"}]
            },
            "second": {
                "script": [
                    {"do": "gate", "offset": "swept"},
                    {"do": "token", "case": "fresh"},
                    {"do": "connect"},
                    {"do": "settle"},
                    {"do": "close"},
                ]
            },
            "idle": {"script": [{"do": "gate", "offset": "9ms"}, {"do": "connect"}]},
            "busy": {
                "script": [{"do": "connect"}, {"do": "gate"}, {"do": "run"}, {"do": "settle"}]
            },
        },
    }
    return Race.model_validate(told | more)


def less(whole, *removed):
    """The race without these, which is one."""
    found = variant(whole, removed)
    assert found is not None
    return found


def test_what_the_offset_is_measured_between_never_goes():
    whole = race()
    places = {each.place for each in candidates(whole, ())}
    assert places == {
        "comb=1",
        "actors.busy", "actors.idle",
        "actors.first.script.0", "actors.first.script.3",
        "actors.second.script.1", "actors.second.script.3", "actors.second.script.4",
        "actors.busy.script.0", "actors.busy.script.2", "actors.busy.script.3",
    }  # fmt: skip
    # Of idle no step can go: nothing would follow its gate, and the model refuses that.
    assert variant(whole, (Removal(actor="idle", step=1),)) is None
    for name, actor in whole.actors.items():
        for number, step in enumerate(actor.steps):
            if isinstance(step, Gate):
                assert Removal(actor=name, step=number).place not in places


def test_the_largest_come_first_and_what_was_tried_less_often_before_it():
    whole = race()
    order = [each.place for each in candidates(whole, ())]
    assert order[:3] == ["comb=1", "actors.busy", "actors.idle"]
    assert order[3] == "actors.busy.script.3"  # from the end
    busy = Removal(actor="busy")
    step = Removal(actor="second", step=4)
    left = candidates(whole, (step,), {frozenset(), frozenset({busy}), frozenset({step})})
    assert left[-1] == busy  # tried before without that step there, and to be tried again
    assert step not in left


def test_a_comb_that_cannot_be_one_is_found_by_halves():
    """Here it takes three at a time: 8, 1, 4, 2, 3 and no more."""
    whole, comb = race(), 8
    tried: set[frozenset[Removal]] = {frozenset()}
    asked: list[int] = []
    removed: Removed = ()
    while combs := [each for each in candidates(whole, removed, tried) if each.comb]:
        (each,) = combs
        asked.append(each.comb)
        tried.add(frozenset(joined(removed, each)))
        if each.comb >= 3:
            removed, comb = joined(removed, each), each.comb
    assert (asked, comb) == ([1, 4, 2, 3], 3)
    assert removed == (Removal(comb=3),)


def test_a_whole_actor_takes_its_steps_with_it_and_places_are_read_back():
    step, whole = Removal(actor="busy", step=3), Removal(actor="busy")
    assert joined((Removal(comb=4), step), whole) == (Removal(comb=4), whole)
    assert joined((Removal(comb=4), step), Removal(comb=2)) == (step, Removal(comb=2))
    for each in candidates(race(), ()):
        assert read_removal(each.place) == each
    for wrong in ("", "actors", "actors.a.finally.1", "comb=x"):
        with pytest.raises(ValueError, match=r"names nothing|invalid literal"):
            read_removal(wrong)


async def by_hand(session):
    await session.gate()
    await session.connect()


def test_of_an_actor_in_python_only_the_whole_goes_and_what_stays_is_itself():
    actors = race().model_dump(mode="json", by_alias=True)["actors"]
    whole = race(actors={**actors, "hand": {"script": by_hand, "gates": ["0ms"]}})
    mine = [each for each in candidates(whole, ()) if each.actor == "hand"]
    assert mine == [Removal(actor="hand")]
    left = less(whole, Removal(actor="idle"))
    assert left.actors["hand"].script is whole.actors["hand"].script
    assert in_python(left)
    assert not in_python(less(whole, *mine))


def test_shrinking_asks_for_an_offset_and_for_enough_trials():
    for more in ({"at": None}, {"confirm": 10}, {"shrink": 40}):
        with pytest.raises(ValidationError, match="shrink"):
            race(**more)
    assert race().releases == race().trials_max == 2000


@pytest.mark.parametrize(("name", "stage"), [("session_races", "refresh"), ("token_reuse", "five")])
def test_the_scenario_that_is_written_holds_the_same_race(name, stage):
    whole = scenario(name)
    small = whole.stages[stage].race.model_copy(update={"at": 40_000_000, "confirm": 24})
    small = small.model_copy(update={"shrink": trials_bound(small, 12)})
    left = less(small, candidates(small, ())[0], candidates(small, ())[-1])
    again = Scenario.model_validate(scenario_of(whole, stage, left)).stages[stage].race
    assert again is not None
    assert again.shrink == 0
    assert again.control == small.kept_against
    told = {"shrink": left.shrink, "control": left.control}
    assert again.model_copy(update=told) == left
    assert size(left)[1] < size(small)[1]


# What is decided, and how often that is wrong.

STRONG = Counts(30, 30, 0, 30)


def decided(rate, control, baseline, rng, pairs=30):
    """What the blocks of one variant end with."""
    counts, block = Counts(), -(-pairs // LOOKS)
    for look in range(LOOKS):
        n = min(block, pairs - look * block)
        hits, beside = rng.binomial(n, rate), rng.binomial(n, control)
        counts = Counts(counts.k1 + hits, counts.n1 + n, counts.k0 + beside, counts.n0 + n)
        found = weigh(counts, baseline)
        if found != "open":
            return found
    return "open"


@pytest.mark.parametrize("background", [0.0, 0.05, 0.2, 0.5])
def test_what_shows_no_difference_is_taken_for_showing_in_at_most_one_of_a_hundred(background):
    rng = np.random.default_rng(8)
    baseline = Counts(30, 30, round(30 * background), 30)
    found = [decided(background, background, baseline, rng) for _ in range(3000)]
    assert found.count("shows") <= 30 + 3 * 30**0.5


@pytest.mark.parametrize("rate", [1.0, 0.6])
def test_what_comes_half_as_often_is_called_gone_in_at_most_five_of_a_hundred(rate):
    rng = np.random.default_rng(9)
    baseline = Counts(round(30 * rate), 30, 0, 30)
    found = [decided(rate / 2, 0.0, baseline, rng) for _ in range(3000)]
    assert found.count("gone") <= 150


def test_what_is_gone_and_what_still_comes_are_mostly_seen():
    rng = np.random.default_rng(10)
    for rate, wanted in ((0.0, "gone"), (1.0, "shows"), (0.6, "shows")):
        found = [decided(rate, 0.0, STRONG, rng) for _ in range(500)]
        assert found.count(wanted) >= 475
    # Background counts: as often as at the control is gone, too.
    some = Counts(28, 30, 6, 30)
    found = [decided(0.2, 0.2, some, rng) for _ in range(500)]
    assert found.count("gone") >= 400
    assert found.count("shows") <= 10


def test_what_goes_wrong_everywhere_is_spoilt():
    assert weigh(Counts(8, 8, 8, 8), STRONG) == "spoilt"
    assert weigh(Counts(12, 12, 3, 12), STRONG) == "spoilt"  # at the offset more, and at both
    assert weigh(Counts(12, 12, 1, 12), STRONG) == "shows"
    assert weigh(Counts(0, 0, 0, 0, 4), STRONG) == "void"
    assert weigh(Counts(1, 1, 0, 1), STRONG) == "open"


def played(whole, shows):
    """A shrinker that is answered by `shows(variant)`; what was tried, in order."""
    shrinker, tried = Shrinker(whole), []
    while pairs := shrinker.block():
        if shrinker.phase == "removal" and shrinker.trying not in tried:
            tried.append(shrinker.trying)
        smaller = shrinker.variant()
        for _ in range(pairs):
            shrinker.tell("anomaly" if shows(smaller) else "fine", at=True)
            shrinker.tell("fine", at=False)
        shrinker.look()
    return shrinker, tried


MAY_GO = candidates(race(comb=1), ())


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(MAY_GO)))
def test_exactly_what_is_needed_is_left(needed):
    """Whatever is needed, it ends with that and nothing else, and each was tried on it."""
    whole = race(comb=1, shrink=100_000)

    def there(each, smaller):
        if each.actor not in smaller.actors:
            return False
        steps = whole.actors[each.actor].steps
        if each.step < 0:
            return True
        return sum(s == steps[each.step] for s in smaller.actors[each.actor].steps) == sum(
            s == steps[each.step] for s in steps
        )

    shrinker, tried = played(whole, lambda v: all(there(each, v) for each in needed))
    assert shown(shrinker.baseline)[0]
    left = less(whole, *shrinker.removed)
    assert all(there(each, left) for each in needed)
    rest = candidates(whole, shrinker.removed)
    # One-minimal: what is left was tried from just here, each alone.
    for each in rest:
        assert frozenset(joined(shrinker.removed, each)) in {frozenset(t) for t in tried}
        smaller = less(whole, *joined(shrinker.removed, each))
        assert not all(there(other, smaller) for other in needed)
    assert shrinker.phase == "over"
    assert shrinker.why == ""
    if shrinker.removed:
        assert shrinker.counts.n1 == shrinker.pairs  # confirmed on fresh pairs


def test_what_does_not_show_is_not_made_smaller():
    shrinker, tried = played(race(), lambda _: False)
    assert (shrinker.phase, shrinker.baseline.n1, tried) == ("over", 12, [])


def test_the_last_word_is_spared_when_the_trials_run_out():
    whole = race(shrink=24 + 24 + 12)
    shrinker, tried = played(whole, lambda _: True)
    assert 0 < len(tried) <= 2
    assert shrinker.why == "the trials that were planned are used up"
    assert shrinker.removed
    assert shrinker.counts.n1 == 12


def test_a_variant_that_tells_nothing_is_left_after_a_few_trials():
    shrinker = Shrinker(race())
    for at in (True, False) * 12:
        shrinker.tell("anomaly" if at else "fine", at=at)
    shrinker.look()
    first = shrinker.trying
    for _ in range(4):
        assert not shrinker.hopeless
        shrinker.tell("void", at=True)
    assert shrinker.hopeless
    shrinker.look()
    assert shrinker.trying != first
    assert shrinker.removed == ()
