"""The pure parts of the lab: offers, draws, values of defects, boot plans, durations."""

from __future__ import annotations

import hashlib

import pytest

from probe.lab.boot import BootPlan, parse_boot
from probe.lab.defects import DefectError, Defects
from probe.lab.draws import draw
from probe.lab.durations import format_duration, parse_duration
from probe.lab.fate import draw_fate, kind_at
from probe.lab.limits import Bucket, FixedWindow, Limit, parse_limit
from probe.lab.offers import Choice, OfferError, choose
from probe.lab.table import EVENTS, TABLE

MS = 1_000_000


@pytest.mark.parametrize(
    ("lines", "choice"),
    [
        ([], Choice()),
        (["jwt-auth, jwt.a.b.c"], Choice("jwt-auth", "a.b.c")),
        (["jwt.a.b.c,jwt-auth"], Choice("jwt-auth", "a.b.c")),
        (["jwt-auth", "jwt.a.b.c"], Choice("jwt-auth", "a.b.c")),
        (["chat, bearer.a.b.c"], Choice("bearer.a.b.c", "a.b.c")),
        (["jwt.a.b.c"], Choice("jwt.a.b.c", "a.b.c")),
        (["chat, jwt-auth"], Choice("jwt-auth")),
        (["jwt-auth,, jwt.a"], Choice("jwt-auth", "a")),
    ],
)
def test_a_served_offer_is_chosen(lines, choice):
    assert choose(lines) == choice


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["chat"], "unsupported_subprotocol"),
        (["jwt."], "unsupported_subprotocol"),
        (["bearer."], "unsupported_subprotocol"),
        (["JWT-AUTH"], "unsupported_subprotocol"),
        ([""], "malformed_subprotocol"),
        ([" , "], "malformed_subprotocol"),
        (["token=abc"], "malformed_subprotocol"),
        (["jwt-auth, jwt.a b"], "malformed_subprotocol"),
    ],
)
def test_an_offer_that_cannot_be_served_is_refused_in_fixed_words(lines, code):
    with pytest.raises(OfferError) as caught:
        choose(lines)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "duration_ns"),
    [("0s", 0), ("5us", 5_000), ("250ms", 250 * MS), ("1.5s", 1500 * MS), ("1h", 3_600_000 * MS)],
)
def test_durations_are_exact_and_come_back(text, duration_ns):
    assert parse_duration(text) == duration_ns
    assert parse_duration(format_duration(duration_ns)) == duration_ns


@pytest.mark.parametrize("text", ["", "5", "-1s", "1e3ms", "ms", "2h", "1 day", "nan s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|longer"):
        parse_duration(text)


def test_hits_depend_on_seed_life_name_and_index_alone():
    def hits(seed, life, others=()):
        defects = Defects(seed, life, [("cold_start_hang", "0.5"), *others])
        drawn = []
        for _ in range(64):
            for name, _ in others:
                defects.hits(name)
            drawn.append(defects.hits("cold_start_hang"))
        return drawn

    def expected(seed, life):
        keys = (f"{seed}/{life}/cold_start_hang/{index}" for index in range(64))
        digests = (hashlib.sha256(key.encode()).digest()[:8] for key in keys)
        return [int.from_bytes(digest, "big") < 2**63 for digest in digests]

    assert hits(7, 1) == expected(7, 1) == hits(7, 1, [("cold_start_drop", "0.3")])
    assert hits(7, 2) == expected(7, 2) != hits(7, 1)
    assert hits(8, 1) == expected(8, 1) != hits(7, 1)


def test_rates_are_kept():
    draws = [draw(f"rates/{index}") for index in range(4_000)]
    assert all(0.0 <= value < 1.0 for value in draws)
    # Fixed by the hash, so no noise: 3 standard deviations of a fair draw.
    assert abs(sum(value < 0.25 for value in draws) - 1_000) < 3 * (4_000 * 0.25 * 0.75) ** 0.5
    always = Defects(1, 1, [("cold_start_drop", None)])
    never = Defects(1, 1, [("cold_start_drop", "0")])
    assert all(always.hits("cold_start_drop") for _ in range(100))
    assert not any(never.hits("cold_start_drop") for _ in range(100))
    assert not Defects(1, 1, []).hits("cold_start_drop")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cold_start_hung", None, "nearest: cold_start_hang"),
        ("zzz", None, "nearest: accept_without_subprotocol, alg_none"),
        ("cold_start_hang", "1.1", "rate from 0 to 1"),
        ("cold_start_hang", "nan", "rate from 0 to 1"),
        ("cold_start_hang", "often", "rate from 0 to 1"),
        ("slow_boot", "6", "duration like"),
        ("drop_event", "1@agent_stopped", "one of agent_started, agent_thinking"),
        ("drop_event", "@agent_started", "rate from 0 to 1"),
        ("reorder_event", "1@agent_started", "one of agent_thinking"),
        ("hung_run", "1@agent_started", "rate from 0 to 1"),
        ("queue_overflow", "0", "whole number from 1 to 1000"),
        ("queue_overflow", "1.5", "whole number from 1 to 1000"),
        ("rate_limit_global", "2", "0 or 1"),
    ],
)
def test_a_wrong_defect_says_what_is_right(name, value, message):
    with pytest.raises(DefectError, match=message):
        Defects(0, 1, [(name, value)])


def test_a_change_is_made_whole_or_not_at_all():
    defects = Defects(0, 1, [("cold_start_hang", "0.5"), ("slow_boot", None)])
    for wrong in (
        {"cold_start_drop": 1, "nothing": 1},
        {"cold_start_drop": True},
        {"slow_boot": "1s"},
    ):
        with pytest.raises(DefectError):
            defects.change(wrong)
        assert defects.as_json() == {"cold_start_hang": 0.5, "slow_boot": "6s"}
    defects.change({"cold_start_hang": None, "cold_start_drop": 0.25})
    assert defects.as_json() == {"cold_start_drop": 0.25, "slow_boot": "6s"}


def test_every_default_of_the_table_is_a_value_of_its_row():
    assert Defects(0, 1, [(name, None) for name in TABLE]).as_json().keys() == TABLE.keys()


@pytest.mark.parametrize(
    ("settings", "healthy_ms", "ready_ms"),
    [
        ([], 300, 300),
        ([("slow_boot", "6s")], 6_300, 6_300),
        ([("health_lies", "400ms")], 50, 450),
        ([("health_lies", "400ms"), ("slow_boot", "1s")], 50, 1_450),
    ],
)
def test_defects_shape_the_boot(settings, healthy_ms, ready_ms):
    plan = BootPlan().with_defects(Defects(0, 1, settings))
    assert plan == BootPlan(50 * MS, healthy_ms * MS, ready_ms * MS)


def test_healthy_waits_for_ready_but_may_be_later():
    none = Defects(0, 1, [])
    assert parse_boot("healthy=100ms,ready=200ms").with_defects(none).healthy_ns == 200 * MS
    assert parse_boot("healthy=900ms,ready=200ms").with_defects(none).healthy_ns == 900 * MS


@pytest.mark.parametrize(
    "text",
    ["", "ready", "ready=1", "up=1s", "ready=1s,ready=2s", "listening=1s,ready=2s,healthy=0s"],
)
def test_a_wrong_boot_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_boot(text)


def test_values_come_back_as_they_are_written():
    defects = Defects(0, 1, [("drop_event", "0.25@tool_completed"), ("queue_overflow", None)])
    assert defects.as_json() == {"drop_event": "0.25@tool_completed", "queue_overflow": 100}
    defects.change({"drop_event": "1", "queue_overflow": 7, "rate_limit_global": 1})
    assert defects.as_json() == {"drop_event": 1.0, "queue_overflow": 7, "rate_limit_global": 1.0}
    assert defects.is_on("rate_limit_global")
    again = Defects(0, 1, [(name, str(value)) for name, value in defects.as_json().items()])
    assert again.as_json() == defects.as_json()


def test_a_draw_with_an_index_does_not_depend_on_the_order_of_asking():
    def hits(order):
        defects = Defects(3, 1, [("cross_user_leak", "0.5")])
        return {index for index in order if defects.draw("cross_user_leak", str(index))}

    assert hits(range(50)) == hits(reversed(range(50)))
    assert 0 < len(hits(range(50))) < 50


def test_the_events_of_a_run_stand_in_their_order():
    assert [kind_at(index, 1) for index in range(5)] == list(EVENTS)
    kinds = [kind_at(index, 3) for index in range(8)]
    assert kinds == [EVENTS[0], *[EVENTS[1]] * 3, *EVENTS[2:], EVENTS[1]]


@pytest.mark.parametrize("thoughts", [1, 4])
@pytest.mark.parametrize("name", ["drop_event", "duplicate_event", "reorder_event", "late_event"])
def test_a_victim_is_of_the_type_that_was_asked_for_or_of_any(name, thoughts):
    def victims(value):
        defects = Defects(1, 1, [(name, value)])
        fates = [
            draw_fate(defects, thoughts, legacy=False, first=True, others=[]) for _ in range(200)
        ]
        return {index for fate in fates for index in fate.moments}

    targets = TABLE[name].targets
    everything = set(range(thoughts + 4)) - ({0} if EVENTS[0] not in targets else set())
    assert victims("1") == everything
    assert victims("0") == set()
    for kind in targets:
        assert {kind_at(index, thoughts) for index in victims(f"1@{kind}")} == {kind}


def test_a_bucket_lets_a_burst_pass_and_then_the_rate():
    bucket = Bucket(Limit(10, 3), 0)
    assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, 100 * MS]
    assert bucket.take(60 * MS) == 40 * MS
    assert bucket.take(100 * MS) == 0
    assert bucket.take(100 * MS) == 100 * MS
    assert [bucket.take(3_600_000 * MS) for _ in range(4)] == [0, 0, 0, 100 * MS]


def test_around_the_edge_of_a_fixed_window_twice_the_burst_is_let_in():
    window = FixedWindow(Limit(10, 3), 0)  # as long as a bucket takes to fill: 300 ms
    assert [window.take(MS) for _ in range(4)] == [0, 0, 0, 300 * MS]
    assert window.take(300 * MS) == MS
    assert [window.take(301 * MS) for _ in range(4)] == [0, 0, 0, 300 * MS]
    assert window.take(5_000 * MS) == 0  # the next begins with a message, whenever that comes
    assert [window.take(5_299 * MS) for _ in range(3)] == [0, 0, MS]


def test_limits_are_read():
    assert parse_limit("50/60") == Limit(50, 60)
    for wrong in ("", "50", "0/5", "5/0", "a/b", "1/2/3", "-1/2", "1.5/2"):
        with pytest.raises(ValueError, match=r"limit|from 1"):
            parse_limit(wrong)
