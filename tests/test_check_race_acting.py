"""The time that the service takes to act, in the intervals of races: which side, and how much."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.check.judge import judge
from probe.check.race_acting import HANDSHAKE, ITSELF, Acting, Between
from probe.check.race_words import told
from probe.history.records import Kind, Sought, Trial
from probe.stats.window import Span
from tests.histories import Story, ns

MS = 1_000_000
EDGE = 200.0
CONNECT = {"script": [{"do": "gate"}, {"do": "connect"}]}
SETTLE = {"script": [{"do": "connect"}, {"do": "gate", "offset": "swept"}, {"do": "settle"}]}
RACE = {"range": ["0ms", "400ms"], "shape": "step", "goal": "4ms", "trials": 60, "jitter": "1ms"}


def story_of(rows, *, first=CONNECT, swept=SETTLE, answered=(8.0, 3.0), **more):
    """A race by hand: (offset, whether it went wrong), and how long the two answers took, ms.

    An answer of None never comes.
    """
    race = RACE | {"actors": {"first": first, "swept": swept}} | more
    stage = {"activity": "race", "race": race, "expect": {"race": True}}
    story = Story({"pair": stage}).stage(0, 0, 500_000).fit()
    story.row(1, Kind.JITTER, op=0, flag=0, b=MS)
    for number, (offset, bad) in enumerate(rows):
        at = 1000 + 2000 * number
        # The 101 stands 1.1 ms behind the start of a client.
        early = -900 if answered[0] is None else answered[0] - 1.1
        one = story.client(at + early, "good", population=0, trial=number, lasts=50)
        story.row(at, Kind.ACTION, one, 0, 0, number, 0)
        two = story.client(
            at - 900, "good", population=1, trial=number, lasts=1500, done=int(bad), why="no"
        )
        story.row(at + offset, Kind.ACTION, two, 0, 0, number, ns(offset) - ns(0))
        story.row(at + offset, Kind.SENTINEL, two, 0, 0, b=1)
        if answered[1] is not None and not bad:
            story.row(at + offset + answered[1], Kind.SENTINEL, two, 0, 1, b=1)
        story.row(at + 900, Kind.RELEASE, op=number, b=ns(at))
        flag = Trial.ANOMALY if bad else Trial.FINE
        why = Sought.SWEEP if number < 60 else Sought.LOCALISE
        story.row(at + 901, Kind.TRIAL, op=number, flag=flag, a=why, b=0)
    return story


def race_of(story):
    judgement = judge(story.history(), story.resolved)
    check = next(c for c in judgement.checks if c.id == "pair.race")
    return judgement.summary["races"]["pair"], check


def swept(wrong, near=EDGE, width=40.0):
    """Offsets of a sweep and of a search near an edge, and what became of each."""
    offsets = [(0.31 + 0.618034 * k) % 1 * 400 for k in range(60)]
    offsets += list(np.linspace(near - width, near + width, 80))
    return [(float(x), bool(wrong(x))) for x in offsets]


def test_the_action_that_offsets_count_from_lowers_and_the_swept_one_raises():
    between = Between(Acting(8 * MS, 1, ""), Acting(3 * MS, 1, ""))
    assert between.around(Span(100.0 * MS, 99.0 * MS, 102.0 * MS)) == Span(
        97.5 * MS, 91.0 * MS, 105.0 * MS
    )
    assert between.wide(Span(20.0 * MS, 19.0 * MS, 21.0 * MS)) == Span(
        20.0 * MS, 8.0 * MS, 32.0 * MS
    )
    assert between.wide(Span(12.0 * MS, 11.0 * MS, 13.0 * MS)) is None
    assert between.words().startswith("its interval allows 8 ms below and 3 ms above for the time")


def test_an_edge_is_told_with_the_time_to_act_on_the_right_sides():
    race, check = race_of(story_of(swept(lambda x: x < EDGE)))
    statistics, centre = race["centre_statistics"], race["centre"]
    assert race["acting"]["first"]["most_s"] == pytest.approx(0.008, abs=1e-6)
    assert race["acting"]["swept"]["most_s"] == pytest.approx(0.003, abs=1e-6)
    assert statistics["low_s"] - centre["low_s"] == pytest.approx(0.008, abs=1e-6)
    assert centre["high_s"] - statistics["high_s"] == pytest.approx(0.003, abs=1e-6)
    assert check.interval == pytest.approx((centre["low_s"], centre["high_s"]))
    assert race["localised"]  # the goal is that of the statistics
    assert "its interval allows 8 ms below and 3 ms above for the time" in check.message


DELAYS = st.sampled_from([0.0, 0.5, 1.0, None])  # as a share of r; None: anything within it


@settings(max_examples=12, deadline=None)
@given(
    r1=st.sampled_from([0.2, 6.0, 20.0]), r2=st.sampled_from([0.2, 6.0, 20.0]),
    share1=DELAYS, share2=DELAYS, seed=st.integers(0, 99),
)  # fmt: skip
def test_wherever_within_its_answer_the_service_acts_the_interval_holds_the_edge(
    r1, r2, share1, share2, seed
):
    rng = np.random.default_rng(seed)

    def wrong(offset):
        d1 = r1 * (rng.random() if share1 is None else share1)
        d2 = r2 * (rng.random() if share2 is None else share2)
        return offset + d2 - d1 < EDGE

    race, _ = race_of(story_of(swept(wrong), answered=(r1, r2)))
    centre = race["centre"]
    # Half a step of the search is allowed: the fit knows no better where nothing is random.
    assert centre["low_s"] * 1e3 <= EDGE + 0.5
    assert centre["high_s"] * 1e3 >= EDGE - 0.5


@pytest.mark.parametrize(("r1", "r2", "share1", "share2"), [(20, 0.2, 1, 0), (0.2, 20, 0, 1)])
def test_the_wrong_sides_would_not_hold_it(r1, r2, share1, share2):
    shift = r2 * share2 - r1 * share1
    race, _ = race_of(story_of(swept(lambda x: x + shift < EDGE), answered=(r1, r2)))
    low, high = (race["centre_statistics"][k] * 1e3 for k in ("low_s", "high_s"))
    assert low - r1 <= EDGE + 0.5
    assert high + r2 >= EDGE - 0.5
    assert not low - r2 <= EDGE <= high + r1


def test_what_nothing_answers_is_given_half_a_handshake_and_a_request_over_http_nothing():
    gone = {"script": [{"do": "connect"}, {"do": "gate", "offset": "swept"}, {"do": "vanish"}]}
    race, _ = race_of(story_of(swept(lambda x: x < EDGE), swept=gone))
    assert race["acting"]["swept"] == {
        "most_s": pytest.approx(0.00005, rel=0.01), "n": 0, "by": HANDSHAKE
    }  # fmt: skip
    asked = {"script": [{"do": "gate"}, {"do": "logout"}]}
    race, check = race_of(story_of(swept(lambda x: x < EDGE), first=asked, answered=(8.0, 3.0)))
    assert race["acting"]["first"] == {"most_s": 0.0, "n": 0, "by": ITSELF}
    assert "its interval allows 3 ms above for the time" in check.message


def test_an_answer_before_the_action_is_none():
    race, _ = race_of(story_of(swept(lambda x: x < EDGE), answered=(None, 3.0)))
    assert race["acting"]["first"]["by"] == HANDSHAKE


def test_an_interval_is_rounded_outwards():
    assert told(Span(100.0 * MS, 91.6 * MS, 105.2 * MS)) == "100 ms (95 %: 91 to 106 ms)"
    assert told(Span(12.0 * MS, 10.1 * MS, 13.8 * MS)) == "12.0 ms (95 %: 10.1 to 13.8 ms)"
