"""What a level of a capacity stage is: its unit, its clients, and when they are asked."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from pydantic import ValidationError

from probe.model.capacity import Capacity

S = 1_000_000_000
SEED = (7, 0, 3)


def capacity(**said):
    return Capacity.model_validate(said)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"of": "connections", "begin": "50/s"}, "of connections, `begin` is a number"),
        ({"of": "messages", "begin": 50}, "of messages, `begin` is a rate"),
        ({"of": "connects", "most": 50}, "of connects, `most` is a rate"),
        ({"connections": 3}, "`connections` says nothing of levels of connects"),
        ({"of": "messages", "ping_every": "1s"}, "`ping_every` says nothing of levels of messages"),
        ({"of": "messages", "phase": "tcp"}, "`phase` says nothing"),
        ({"of": "connections", "script": [{"do": "connect"}]}, "`script` says nothing"),
        ({"of": "connections", "begin": 5, "most": 600_000}, "over 524,288 clients"),
        ({"of": "messages", "opening": "0"}, "is 0: nothing would be measured"),
        ({"of": "doors"}, "'connects', 'messages' or 'connections'"),
    ],
)
def test_what_belongs_to_another_way_is_a_mistake(said, why):
    with pytest.raises(ValidationError) as told:
        capacity(**said)
    assert why in str(told.value)


@pytest.mark.parametrize(
    "said",
    [
        {"begin": "30/min", "until": "p95<1s"},
        {"of": "messages", "connections": 7, "spacing": "even"},
        {"of": "connections", "begin": 30, "most": 400, "ping_every": "2s"},
    ],
)
def test_it_reads_back_as_it_was_written(said):
    made = capacity(**said)
    text = json.dumps(made.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert Capacity.model_validate(json.loads(text)) == made


def test_a_level_is_shown_in_its_unit():
    assert capacity().shown(120) == "120/s"
    assert capacity(of="messages").shown(0.5) == "0.5 messages/s"
    assert capacity(of="connections").shown(1500) == "1,500 connections"


@pytest.mark.parametrize("spacing", ["poisson", "even"])
def test_questions_come_at_the_rate_of_the_level_over_all_connections(spacing):
    rule = capacity(of="messages", connections=10, spacing=spacing, settle="1s", lasts="99s")
    offsets, whom = rule.questions(200, SEED)
    assert (np.diff(offsets) >= 0).all()
    assert 0 <= offsets[0] < offsets[-1] < rule.span_ns(200) == 100 * S
    assert abs(len(offsets) - 20_000) < 5 * np.sqrt(20_000)
    each = np.bincount(whom, minlength=10)
    assert len(each) == 10
    assert (abs(each - 2000) < 5 * np.sqrt(2000)).all()
    gaps = np.concatenate([np.diff(offsets[whom == k]) for k in range(10)])
    # One connection in ten: every 50 ms, or with exponential gaps of that mean.
    spread = gaps.std() / gaps.mean()
    assert gaps.mean() == pytest.approx(0.05 * S, rel=0.03)
    assert spread < 1e-6 if spacing == "even" else 0.95 < spread < 1.05


def test_the_same_seed_asks_the_same_and_another_level_does_not():
    rule = capacity(of="messages")
    for one, other in itertools.combinations([SEED, (7, 0, 4), (8, 0, 3)], 2):
        assert rule.questions(50, one)[0].tolist() == rule.questions(50, one)[0].tolist()
        assert rule.questions(50, one)[0].tolist() != rule.questions(50, other)[0].tolist()


def test_of_connections_each_is_asked_now_and_then_and_few_take_longer():
    rule = capacity(
        of="connections", begin=5, most=2000, ping_every="2s", settle="0", lasts="10s",
        spacing="even", opening="100/s",
    )  # fmt: skip
    assert rule.clients(800) == 800
    offsets, whom = rule.questions(800, SEED)
    assert len(offsets) == 4000
    assert set(np.bincount(whom).tolist()) == {5}
    # A p99 wants some 500 answers, which 5 connections give at 2.5 pings a second.
    assert rule.span_ns(5) > 190 * S
    assert np.diff(rule.arrivals(4, SEED)).tolist() == [10_000_000] * 3
    assert rule.peak == (100.0, 2000)
    assert capacity(most="300/s").peak == (300.0, 300)
