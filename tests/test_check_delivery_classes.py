"""Every class of delivery, planted once, is seen as itself and as nothing else."""

import pytest

from probe.check.catalogue import CATALOGUE, entry_of
from probe.check.entries_delivery import DELIVERY as ENTRIES
from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Kind, Odd, Run, run_key
from tests.delivery_histories import (
    ALL,
    BARE,
    CLASSES,
    CONTRACT,
    DELIVERY,
    EVENTS,
    ISOLATION,
    NUMBERED,
    REPLAY,
    UNTIL,
    WHOLE,
    broadcast,
    clean,
    gap,
    late,
    odd,
    one,
    story_of,
    strangers,
    whole,
)
from tests.histories import Client

UNKNOWN = "delivery.unknown"


def judged(story):
    return judge(story.history(), story.resolved)


def codes(story):
    return [each.code for each in judged(story).findings]


def totals(story):
    found = judged(story).summary["delivery"]["users"]["totals"]
    return {name: n for name, n in found.items() if n}


def checks_of(story):
    """The checks of this room alone."""
    return {c.id: c for c in judged(story).checks if c.id != "users.service"}


def verdict(story, name):
    return {c.id: c.verdict for c in judged(story).checks}[f"users.{name}"]


@pytest.mark.parametrize("code", sorted(set(ENTRIES) - {UNKNOWN}))
def test_each_class_is_seen_as_itself_and_nothing_else(code):
    make, words = CLASSES[code]
    story = make()
    judgement = judged(story)
    (only,) = judgement.findings
    assert only.code == code
    assert words in only.message
    assert only.severity == CATALOGUE[code].severity
    assert only.count >= 1
    assert only.witness
    assert all(step.what.isprintable() for each in only.witness for step in each.steps)
    failed = [check.id for check in judgement.checks if check.verdict is Outcome.FAIL]
    assert failed == [only.check]
    assert judgement.verdict is Outcome.FAIL


@pytest.mark.parametrize("dialect", [NUMBERED, BARE])
def test_a_clean_history_passes_everything(dialect):
    expect = ALL if dialect is NUMBERED else DELIVERY | {"runs": {"rate": "50%"}}
    story = clean(expect, dialect)
    judgement = judged(story)
    assert judgement.findings == ()
    verdicts = {check.id: check.verdict for check in judgement.checks}
    few = {"users.runs"}  # two sessions do not bound a rate
    assert {k for k, v in verdicts.items() if v is not Outcome.PASS} <= few
    assert all(check.n > 0 for check in judgement.checks)
    assert totals(story)["delivered"] == 9 + 5


def test_the_end_alone_is_lost_where_the_session_lived_past_it():
    story = one("started:1", "thinking:2", "tool:3", end=Run.GIVEN_UP, until=UNTIL)
    (only,) = judged(story).findings
    assert only.code == "delivery.lost"
    assert "completed was lost" in only.message
    assert "the connection lived on, but it never came" in only.message


@pytest.mark.parametrize(
    ("until", "expected"),
    [(10_199, []), (10_201, ["delivery.lost"]), (4_000, [])],
)
def test_the_end_is_unknown_until_it_was_surely_due(until, expected):
    story = one("started:1", "thinking:2", "tool:3", end=Run.CUT_OFF, until=until - 1)
    found = [code for code in codes(story) if code != UNKNOWN]
    assert found == expected
    assert verdict(story, "delivery.complete") is (
        Outcome.FAIL if expected else Outcome.INCONCLUSIVE
    )


def test_what_is_missing_behind_the_last_event_of_a_run_that_hangs_is_unknown():
    story = one("started:1", "thinking:2", end=Run.GIVEN_UP, until=UNTIL)
    assert totals(story) == {"delivered": 2, "unknown": 2}
    assert verdict(story, "delivery.complete") is Outcome.INCONCLUSIVE
    silent = one(end=Run.GIVEN_UP, until=UNTIL)
    (only,) = judged(silent).findings
    assert only.code == "run.hung"
    assert "after their start" in only.message
    assert only.cause == CATALOGUE["run.hung"].causes["start"]


def test_a_hole_in_a_run_that_hangs_is_lost_all_the_same():
    story = one("started:1", "thinking:3", end=Run.GIVEN_UP, until=UNTIL, size=3)
    assert codes(story) == ["delivery.lost", "run.hung"]
    assert totals(story) == {"delivered": 2, "lost": 1, "unknown": 3}


@pytest.mark.parametrize("code", [0, 1011])
def test_a_connection_that_the_service_ended_leaves_its_run_unknown(code):
    story = story_of()
    client = story.open(100)
    story.run(client, 200, "started:1", "tool:3", end=0)
    story.lose(client, 1500, code=code)
    story.over(client, 1500, run_key(0, 0), Run.CUT_OFF)
    assert codes(story) == []
    assert totals(story) == {"delivered": 2, "unknown": 2}
    assert verdict(story, "delivery.complete") is Outcome.INCONCLUSIVE


def test_a_run_that_we_cut_off_is_unknown_and_told_as_that():
    story = story_of()
    client = story.open(100)
    story.run(client, 200, "started:1", end=Run.CUT_OFF)
    story.stop(client, 300)
    (only,) = judged(story).findings
    assert (only.code, only.severity, only.count) == (UNKNOWN, "info", 3)
    assert "3 events of 1 of 1 run" in only.message


def test_a_hole_before_the_last_event_that_we_stayed_for_is_unknown():
    story = story_of()
    client = story.open(100)
    story.run(client, 200, "started:1", "thinking:2", "completed:4")
    story.stop(client, 210)  # the one that is missing may have been next
    assert totals(story) == {"delivered": 3, "unknown": 1}


def test_events_of_a_gap_are_only_counted_where_replay_is_not_asked_for():
    story = gap("tool:5", "completed:6")
    story.resolved.scenario.stages["users"].expect.__dict__["replay"] = False
    assert codes(story) == []
    assert totals(story) == {"delivered": 3, "recovered": 2, "gap_lost": 3}


def test_a_hole_below_what_came_before_the_gap_is_lost_and_no_matter_of_replay():
    story = gap("thinking:4", "tool:5", "completed:6", before=("started:1", "thinking:3"))
    assert codes(story) == ["delivery.lost"]


def test_the_end_of_a_run_can_be_lost_in_a_gap():
    story = gap("thinking:2", "thinking:3", "thinking:4", "tool:5", ended=False)
    assert codes(story) == ["replay.lost"]
    nothing = gap(ended=False)
    assert codes(nothing) == ["replay.none"]


def test_a_gap_with_one_event_goes_with_what_others_showed():
    def both(other):
        story = gap("thinking:2", "tool:5", "completed:6") if other else story_of(REPLAY)
        client = story.open(30_000)
        key = story.run(client, 30_100, "started:1", "thinking:2", end=0, size=3)
        story.vanish(client, 30_200)
        story.again(client, 30_300)
        for k, event in enumerate((("thinking", 4), ("tool", 5), ("completed", 6))):
            story.got(client, 30_301 + k, event[0], key, event[1])
        story.over(client, 30_310, key)
        story.settle(client, 30_400)
        story.close(client, 30_500)
        return codes(story)

    assert both(other=False) == ["replay.lost"]
    assert both(other=True) == ["replay.lost"]
    story = gap("tool:5", "completed:6")
    client = story.open(30_000)
    key = story.run(client, 30_100, "started:1", "thinking:2", end=0)
    story.vanish(client, 30_200)
    story.again(client, 30_300)
    story.got(client, 30_301, "completed", key, 4)
    story.over(client, 30_310, key)
    story.settle(client, 30_400)
    story.close(client, 30_500)
    assert codes(story) == ["replay.none"]


def test_replay_without_a_gap_is_not_measured():
    story = story_of(REPLAY)
    client = story.open(100)
    whole(story, client, 200)
    story.vanish(client, 400)
    story.again(client, 500)
    story.close(client, 600)
    assert verdict(story, "replay") is Outcome.INCONCLUSIVE


def test_what_is_live_before_the_answer_to_a_request_for_replay_is_in_order():
    for answered, expected in ((True, []), (False, ["delivery.reordered"])):
        story = story_of(REPLAY)
        client = story.open(100)
        key = story.run(client, 200, "started:1", "thinking:2", end=0, size=5)
        story.vanish(client, 300)
        story.again(client, 400)
        story.got(client, 400, "thinking", key, 5)  # in one chunk with what says ready
        if answered:
            story.got(client, 401, "resumed")
        for name, seq in (("thinking", 3), ("thinking", 4), ("thinking", 6)):
            story.got(client, 401, name, key, seq)
        story.got(client, 402, "tool", key, 7)
        story.got(client, 402, "completed", key, 8)
        story.over(client, 402, key)
        story.settle(client, 500)
        story.close(client, 600)
        assert codes(story) == expected


def test_a_recipient_that_got_some_of_a_run_missed_the_rest():
    story = broadcast(*WHOLE[:2])
    (only,) = judged(story).findings
    assert (only.code, only.count) == ("broadcast.missed", 2)
    assert "got not every event" in only.message


@pytest.mark.parametrize("what", ["later", "gone", "stalled", "away"])
def test_who_was_not_there_all_the_time_has_missed_nothing(what):
    story = story_of({"broadcast": True})
    first = story.open(100, user=0)
    second = story.open(110 if what != "later" else 202.5, user=0)
    whole(story, first, 200)
    match what:
        case "gone":
            story.settle(second, 150)
            story.close(second, 202)
        case "stalled":
            story.stall(second, 150, 250)
        case "away":
            story.vanish(second, 201)
            story.again(second, 203)
    if what != "gone":
        story.settle(second, 300)
        story.close(second, 1010)
    story.close(first, 1000)
    judgement = judged(story)
    assert judgement.findings == ()
    assert verdict(story, "broadcast") is Outcome.INCONCLUSIVE


def test_what_the_one_who_began_the_run_has_not_got_is_not_missed_by_others():
    story = story_of({"delivery": {}, "broadcast": True})
    first, second = story.open(100, user=0), story.open(110, user=0)
    key = story.run(first, 200, "started:1", "thinking:2", "completed:4")
    for k, (event, seq) in enumerate((("started", 1), ("thinking", 2), ("completed", 4))):
        story.got(second, 201.5 + k, event, key, seq)
    for client in (first, second):
        story.settle(client, 300)
        story.close(client, 1000 + client.session)
    assert codes(story) == ["delivery.lost"]


def test_broadcast_is_not_measured_where_it_is_not_promised():
    story = story_of({"broadcast": True}, BARE)
    first, second = story.open(100, user=0), story.open(110, user=0)
    whole(story, first, 200)
    for client in (first, second):
        story.settle(client, 300)
        story.close(client, 1000 + client.session)
    assert verdict(story, "broadcast") is Outcome.INCONCLUSIVE


def test_what_is_missing_or_late_while_we_read_nothing_is_left_to_pressure():
    story = story_of()
    client = story.open(100)
    key = story.begin(client, 200, size=3)
    story.stall(client, 201, 11_000)
    for k, (event, seq) in enumerate((("started", 1), ("thinking", 2), ("completed", 6))):
        story.got(client, 11_001 + k, event, key, seq)
    story.over(client, 11_010, key)
    whole(story, client, 11_100)
    story.close(client, 12_000)
    assert codes(story) == []
    assert totals(story) == {"delivered": 7, "stalled": 3}


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (("started:1", "thinking:2", "completed:4", "tool:3"), "delivery.reordered"),
        ((*WHOLE, "tool:3"), "delivery.duplicated"),
        ((*WHOLE, "completed:4"), "delivery.duplicated"),
        ((*WHOLE, "tool:5"), "delivery.unexpected"),
        (("started:1", "thinking:2", "tool:3", "tool:4", "completed:5"), "delivery.unexpected"),
        (("started:1", "thinking:2", "thinking:3", "tool:4", "completed:5"), ""),
    ],
)
def test_after_the_end_and_too_often(events, code):
    assert codes(one(*events)) == ([code] if code else [])


@pytest.mark.parametrize(
    ("events", "code"),
    [
        (EVENTS, ""),
        (("started", "tool", "thinking", "completed"), "delivery.reordered"),
        (("started", "thinking", "completed", "tool"), "delivery.reordered"),
        (("started", "thinking", "tool", "tool", "completed"), "delivery.duplicated"),
        (("started", "thinking", "thinking", "tool", "completed"), ""),
        ((*EVENTS, "completed"), "delivery.duplicated"),
        ((*EVENTS, "thinking"), "delivery.unexpected"),
        (("started", "thinking", "completed"), "delivery.lost"),
    ],
)
def test_without_numbers_the_dialects_order_and_types_tell(events, code):
    assert codes(one(*events, dialect=BARE)) == ([code] if code else [])


def test_order_is_a_partial_one():
    run = NUMBERED["run"] | {
        "events": ["started", "left", {"type": "right", "after": ["started"]},
                   {"type": "completed", "after": ["left", "right"]}],
    }  # fmt: skip
    dialect = BARE | {"run": run}
    for events, code in (
        (("started", "right", "left", "completed"), []),
        (("right", "started", "left", "completed"), ["delivery.reordered"]),
        (("started", "right", "completed", "left"), ["delivery.reordered"]),
    ):
        assert codes(one(*events, dialect=dialect)) == code


def test_optional_events_are_not_missed():
    run = NUMBERED["run"] | {
        "events": ["started", {"type": "note", "times": "0..1"}, {"type": "more", "times": "0..*"},
                   "completed"],
    }  # fmt: skip
    dialect = BARE | {"run": run}
    assert codes(one("started", "completed", dialect=dialect)) == []
    assert codes(one("started", "note", "more", "more", "completed", dialect=dialect)) == []
    assert codes(one("started", "note", "note", "completed", dialect=dialect)) == [
        "delivery.duplicated"
    ]
    assert codes(one("started", "completed", "more", dialect=dialect)) == ["delivery.unexpected"]


def test_a_run_with_late_events_has_neither_lost_nor_hung():
    story = late()
    client = story.open(20_000)
    key = story.run(client, 20_100, "started:1", end=0)
    story.got(client, 31_000, "tool", key, 3)
    story.over(client, 50_000, key, Run.GIVEN_UP)
    story.settle(client, 50_001)
    story.close(client, 50_100)
    (only,) = judged(story).findings
    assert (only.code, only.count) == ("delivery.late", 2)
    assert "2 events came later" in only.message
    assert "in 2 of 2 runs" in only.message


def test_a_late_event_is_a_matter_of_timing_that_an_unfit_probe_cannot_judge():
    story = late()
    story.fit(lag_ms=50)
    judgement = judged(story)
    assert judgement.verdict is not Outcome.FAIL
    assert {f.code: f.severity for f in judgement.findings} == {"delivery.late": "minor"}
    lost = CLASSES["delivery.lost"][0]()
    lost.fit(lag_ms=50)
    assert judged(lost).verdict is Outcome.FAIL


def test_of_a_refused_run_nothing_is_expected():
    story = story_of(DELIVERY | {"runs": {"rate": "1%"}})
    client = story.open(100)
    story.over(client, 201, story.begin(client, 200), Run.REFUSED)
    story.settle(client, 20_000)
    story.close(client, 20_100)
    assert codes(story) == []
    assert {c.verdict for c in checks_of(story).values()} == {Outcome.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("recipients", "same", "code"),
    [
        ("session", True, "delivery.unexpected"),
        ("session", False, "isolation.foreign"),
        ("user", False, "isolation.foreign"),
        ("user", True, "delivery.duplicated"),  # of what it was entitled to, and had
    ],
)
def test_who_is_entitled_to_a_run(recipients, same, code):
    story = strangers(recipients, same=same)
    if (recipients, same) == ("user", True):
        story.got(Client(1), 241, "thinking", run_key(0, 0), 2)
    assert codes(story) == [code]


def test_a_foreign_event_fails_also_where_nobody_asked_and_on_an_unfit_probe():
    story = strangers("user", same=False)
    story.resolved.scenario.stages["users"].expect.__dict__["isolation"] = False
    story.fit(lag_ms=200)
    judgement = judged(story)
    assert judgement.verdict is Outcome.FAIL
    assert [each.code for each in judgement.findings] == ["isolation.foreign"]


@pytest.mark.parametrize("user", [False, True])
def test_a_message_is_foreign_wherever_it_names_another_and_counts_once(user):
    story = story_of(ISOLATION)
    first, second = story.open(100), story.open(110)
    key = whole(story, first, 200)
    whole(story, second, 205)
    story.got(second, 240, "note")
    story.foreign(second, 240, key)
    if user:
        story.foreign(second, 240, -1, user=True)
    story.kept(second, 240, '{"type":"note","about":"run 0"}')
    story.close(first, 1000)
    story.close(second, 1010)
    (only,) = judged(story).findings
    assert (only.code, only.count) == ("isolation.foreign", 1)
    shown = [step.what for each in only.witness for step in each.steps]
    assert '{"type":"note","about":"run 0"}' in shown
    assert {each.session for each in only.witness} == {0, 1}


def test_a_user_who_is_none_of_ours_is_foreign():
    story = story_of(ISOLATION)
    first, second = story.open(100), story.open(110)
    for client in (first, second):
        whole(story, client, 200 + client.session)
    story.got(second, 240, "note")
    story.foreign(second, 240, -1, user=True)
    for client in (first, second):
        story.close(client, 1000 + client.session)
    (only,) = judged(story).findings
    assert only.message.startswith("a message for a user who is none of ours")


def test_isolation_needs_two_users_and_ids():
    story = story_of(ISOLATION)
    client = story.open(100)
    whole(story, client, 200)
    story.close(client, 1000)
    assert verdict(story, "isolation") is Outcome.INCONCLUSIVE
    silent = story_of({"isolation": True})
    for k in range(2):
        client = silent.open(100 + k * 7)
        silent.close(client, 1000 + k)
    assert verdict(silent, "isolation") is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("event", "start", "number"),
    [("tool", "{run}", 1), ("pong", "{run}", 0), ("tool", "go", 0)],
)
def test_an_event_of_a_run_that_nobody_began_is_unexpected_where_we_name_runs(event, start, number):
    story = story_of(dialect=NUMBERED | {"run": NUMBERED["run"] | {"start": start}})
    client = story.open(100)
    whole(story, client, 200)
    story.got(client, 240, event, -2, 1)
    story.close(client, 1000)
    assert codes(story) == ["delivery.unexpected"] * number


@pytest.mark.parametrize(
    ("promise", "events", "counted"),
    [
        ("at_most_once", ("started:1", "started:1", "thinking:2", "tool:3", "completed:4"),
         "duplicated"),
        ("order", ("started:1", "tool:3", "thinking:2", "completed:4"), "reordered"),
    ],
)  # fmt: skip
def test_what_is_not_promised_is_counted_and_never_judged(promise, events, counted):
    dialect = NUMBERED | {"promises": NUMBERED["promises"] | {promise: False}}
    story = one(*events, dialect=dialect, expect=DELIVERY | {"runs": {"rate": "1%"}})
    assert codes(story) == []
    assert totals(story)[counted] == 1
    names = {c.id.rpartition(".")[2] for c in judged(story).checks}
    assert ("once" in names, "order" in names) == (promise == "order", promise != "order")


@pytest.mark.parametrize(
    ("events", "size", "lost"),
    [
        (("started:1", "thinking:2", "thinking:4", "tool:5", "completed:6"), 3, {"thinking": 1}),
        (("started:1", "thinking:2", "thinking:3", "completed:6"), 3, {"thinking": 1, "tool": 1}),
        (("thinking:2", "tool:3", "completed:4"), 1, {"started": 1}),
        (("started:1", "thinking:2", "tool:5", "completed:6"), 1, {"thinking": 2}),
        (("started:1", "thinking:2", "tool:3", "completed:4"), 2, {"thinking": 1}),
    ],
)
def test_holes_are_of_the_types_that_are_missing(events, size, lost):
    story = one(*events, size=size)
    types = judged(story).summary["delivery"]["users"]["types"]
    assert {name: row["lost"] for name, row in types.items() if row["lost"]} == lost


def test_another_message_that_takes_up_a_number_is_nobodys_loss():
    story = one("started:1", "thinking:2", "note:3", "tool:4", "completed:5")
    assert codes(story) == []
    assert judged(story).summary["delivery"]["users"]["types"]["another event"]["lost"] == 0


def test_missing_events_prove_nothing_where_rows_of_ours_were_lost():
    for code in ("delivery.lost", "run.hung", "replay.none", "broadcast.missed"):
        story = CLASSES[code][0]()
        story.row(50, Kind.GAP, a=12)
        assert judged(story).verdict is Outcome.INCONCLUSIVE
        assert codes(story) == []
    story = CLASSES["delivery.duplicated"][0]()
    story.row(50, Kind.GAP, a=12)
    assert judged(story).verdict is Outcome.FAIL


def test_one_odd_shape_is_told_by_its_name_and_any_name_has_an_entry():
    story = odd((Odd.SHAPE, "tool", "envelope"))
    (only,) = judged(story).findings
    assert only.code == "contract.shape.envelope"
    assert only.cause == entry_of("contract.shape.envelope").causes[""]
    with pytest.raises(KeyError):
        entry_of("contract.nothing")


@pytest.mark.parametrize(
    ("framing", "words"), [("opaque", "not looked into"), ("json", "no message came")]
)
def test_a_contract_that_was_not_looked_at_is_not_kept(framing, words):
    story = story_of({"contract": True}, NUMBERED | {"framing": framing})
    (only,) = judged(story).checks
    assert (only.verdict, only.n) == (Outcome.INCONCLUSIVE, 0)
    assert words in only.message


def test_a_witness_shows_the_run_alone_and_where_its_numbers_break_off():
    story = story_of()
    client = story.open(100)
    whole(story, client, 150, settle=False)
    key = story.begin(client, 200, size=5)
    for k, (name, seq) in enumerate(
        (("started", 1), ("thinking", 2), ("thinking", 3), ("thinking", 5), ("thinking", 6),
         ("tool", 7), ("completed", 8))
    ):  # fmt: skip
        story.got(client, 201 + k, name, key, seq)
        story.kept(client, 201 + k, f'{{"sequence":{seq}}}')
    story.over(client, 208, key)
    story.settle(client, 300)
    story.close(client, 400)
    (only,) = judged(story).findings
    (case,) = only.witness
    assert [(step.who, step.what) for step in case.steps] == [
        ("probe", "dial 127.0.0.1:8080"),
        ("note", "ready"),
        ("note", "run 1 is begun"),
        ("probe", "start of run 1 (40 bytes)"),
        ("server", "started, sequence 1, of run 1"),
        ("server", '{"sequence":1}'),
        ("server", "thinking, sequence 2, of run 1"),
        ("server", '{"sequence":2}'),
        ("server", "thinking, sequence 3, of run 1"),
        ("server", '{"sequence":3}'),
        ("note", "sequence 4 (thinking) never came"),
        ("server", "thinking, sequence 5, of run 1"),
        ("server", '{"sequence":5}'),
        ("server", "thinking, sequence 6, of run 1"),
        ("server", '{"sequence":6}'),
        ("server", "tool, sequence 7, of run 1"),
        ("server", '{"sequence":7}'),
        ("server", "completed, sequence 8, of run 1"),
        ("server", '{"sequence":8}'),
        ("note", "run 1 has ended"),
        ("server", "sentinel 1 came back"),
        ("probe", "close 1000 (normal)"),
        ("server", "close 1000 (normal)"),
        ("note", "ended: normal in phase ready"),
        ("note", "7 other messages of this session left out"),
    ]
    assert [step.what for step in case.steps if step.point] == [
        "thinking, sequence 3, of run 1",
        "sequence 4 (thinking) never came",
        "thinking, sequence 5, of run 1",
    ]


def test_lines_of_a_witness_say_what_a_row_means():
    story = story_of(CONTRACT | {"isolation": True})
    first, second = story.open(100), story.open(110)
    key = whole(story, first, 200)
    story.got(second, 240, "tool", key, 3)
    story.odd(second, 240, Odd.MISSING, "tool", "tool.results: missing")
    story.foreign(second, 240, key)
    story.foreign(second, 240, -1, user=True)
    story.stall(second, 250, 260)
    story.close(first, 1000)
    story.vanish(second, 1010)
    lines = {step.what for f in judged(story).findings for w in f.witness for step in w.steps}
    assert {
        "tool, sequence 3, of run 0 of session 0",
        "a field is missing: tool.results: missing",
        "names run 0 of session 0, which is another's",
        "names another user",
        "reading stops",
        "reading goes on",
        "drops TCP without a Close",
    } <= lines


@pytest.mark.parametrize(
    ("where", "pattern"),
    [("first", "first"), ("endpoint", "endpoint"), ("type", "type"), ("reconnect", "reconnect")],
)
def test_what_most_cases_have_in_common_is_told(where, pattern):
    story = story_of(endpoints=("main", "legacy", "isolated"))
    events = ["started:1", "thinking:2", "tool:3", "completed:4"]
    for k in range(12):
        client = story.open(100 + 20 * k, endpoint=k % 3)
        for n in range(4):
            if where == "reconnect" and n == 3 and k % 4 == 0:
                story.vanish(client, 800)
                story.again(client, 900)
            hit = {
                "first": n == 0 and k % 2 == 0,
                "endpoint": k % 3 == 1 and n == 1 + k % 2,
                "type": n == 2 and k % 2 == 0,
                "reconnect": n == 3 and k % 4 == 0,
            }[where]
            lost = {"first": 0, "endpoint": k % 3 + k % 2, "type": 2, "reconnect": k % 3}[where]
            got = [event for i, event in enumerate(events) if not (hit and i == lost)]
            story.run(client, (200 if n < 3 else 950) + 20 * k + 4 * n, *got, every=0.5)
        story.settle(client, 1500)
        story.close(client, 2000 + k)
    (only,) = judged(story).findings
    assert only.code == "delivery.lost"
    assert only.cause == CATALOGUE["delivery.lost"].causes[pattern]
    words = {
        "first": "the first event after ready",
        "endpoint": "at endpoint legacy",
        "type": "tool was lost in 6 of 48 runs (12.5 %)",
        "reconnect": "after a reconnect",
    }
    assert words[where] in only.message  # fmt: skip


def test_a_connection_that_had_served_is_no_accepted_and_closed_one():
    for served, expected in ((True, []), (False, ["connect.accepted_then_closed"])):
        story = story_of({"definite": True})
        other = story.open(90)
        story.close(other, 3000)
        client = story.open(100)
        story.run(client, 200, *(["started:1"] if served else []), end=Run.CUT_OFF)
        story.lose(client, 300, code=1011)
        assert codes(story) == expected


def test_delivery_without_a_run_is_not_measured():
    story = story_of(ALL | {"runs": {"rate": "50%"}})
    client = story.open(100)
    story.close(client, 200)
    checks = checks_of(story)
    assert len(checks) == 12
    left = {name for name, check in checks.items() if check.verdict is not Outcome.INCONCLUSIVE}
    assert left == {"users.contract"}


def test_a_stage_that_did_not_run_names_all_that_it_was_held_to():
    skipped = story_of(ALL)
    skipped.rows = []
    theirs = checks_of(skipped)
    assert set(theirs) == set(checks_of(clean()))
    assert {check.verdict for check in theirs.values()} == {Outcome.SKIPPED}


# Numbers.


@pytest.mark.parametrize(
    ("events", "size", "words", "lost"),
    [
        (("started", "thinking", "tool", "completed"), 1, "had no number of 1 or more", {}),
        (("started:-1", "thinking:2", "tool:3", "completed:4"), 1, "started (1) had no", {}),
        (("started:0", "thinking:1", "tool:2", "completed:3"), 1, "started (1) had no", {}),
        (
            ("started:5", "thinking:6", "tool:7", "completed:8"), 1,
            "started (1) began its run with another number than 1", {},
        ),
        (("started:1", "thinking:2", "tool:2", "completed:3"), 1, "tool (1) had the number of", {}),
        (
            ("started:1", "thinking:2", "tool:4", "completed:4"), 2,
            "completed (1) had the number of", {"thinking": 1},
        ),
        (
            ("started:1", "thinking:2", "tool:3", "completed:2147483647"), 1,
            "completed (1) had a number far beyond", {},
        ),
    ],
)  # fmt: skip
def test_numbers_are_held_to_what_is_promised_and_make_no_losses(events, size, words, lost):
    story = one(*events, size=size)
    found = {each.code: each for each in judged(story).findings}
    assert set(found) == {"delivery.numbers"} | ({"delivery.lost"} if lost else set())
    assert words in found["delivery.numbers"].message
    assert verdict(story, "delivery.numbered") is Outcome.FAIL
    types = judged(story).summary["delivery"]["users"]["types"]
    assert {name: row["lost"] for name, row in types.items() if row["lost"]} == lost
    bare = one(*events, dialect=BARE)  # where they are not promised they need not count
    assert not any("delivery.num" in name for name in checks_of(bare))


def test_types_are_in_order_whatever_their_numbers_say():
    story = one("started:1", "tool:2", "thinking:3", "completed:4")
    assert codes(story) == ["delivery.reordered"]
    assert totals(story) == {"delivered": 4, "reordered": 1}
    story = one("started:1", "tool:3", "thinking:2", "completed:4")  # by both, and once
    assert totals(story) == {"delivered": 4, "reordered": 1}


def test_which_of_a_repeated_event_it_is_only_its_number_tells():
    story = one("started", "thinking", "thinking", "tool", "completed", size=2, dialect=BARE)
    message = checks_of(story)["users.delivery.once"].message
    assert message.startswith("0 of 3 events, ")
    assert message.endswith("; of 2 repeated events without a number it cannot be told")


@pytest.mark.parametrize("width", [130, 300])
def test_a_run_may_have_many_types(width):
    names = [f"e{k}" for k in range(width)]
    dialect = BARE | {"run": {"start": "{run}", "events": names, "within": "10s", "quiet": "5s"}}
    assert codes(one(*names, dialect=dialect)) == []
    assert codes(one(*names[:65], *names[66:], dialect=dialect)) == ["delivery.lost"]


# Refused runs.


def test_runs_that_were_refused_are_told_and_not_complete_once_they_had_begun():
    story = story_of({"delivery": {"unknown": "60%"}, "runs": {"rate": "1%"}})
    for n in range(6):
        client = story.open(100 + n)
        if n < 3:
            whole(story, client, 200 + n * 10)
        else:
            events = WHOLE[:2] if n < 5 else ()
            story.run(client, 200 + n * 10, *events, end=Run.REFUSED)
            story.settle(client, 20_000 + n)
        story.close(client, 20_100 + n)
    assert codes(story) == []
    told = "1 run was refused and left out; 2 runs were refused after events had come"
    checks = checks_of(story)
    for name in ("complete", "ends"):
        assert told in checks[f"users.delivery.{name}"].message
    runs = checks["users.runs"]
    assert told in runs.message
    assert "3 of 5 sessions" in runs.message
    assert "(3 of 5 runs)" in runs.message
    assert "of 2 sessions it is not known" in runs.message
    assert totals(story)["unknown"] == 4
    assert codes(one(*WHOLE[:2], end=Run.REFUSED)) == []  # the session was not over before
    # What came behind a hole came, whatever was said later.
    story = one("started:1", "tool:3", end=Run.REFUSED)
    assert codes(story) == ["delivery.lost"]


# Events that name no run.


def test_an_event_without_the_id_that_others_of_its_type_carry_is_unexpected():
    story = story_of()
    client = story.open(100)
    whole(story, client, 200)
    story.got(client, 240, "thinking")
    story.got(client, 241, "note")  # no event of a run
    story.close(client, 1000)
    (only,) = judged(story).findings
    assert only.code == "delivery.unexpected"
    assert only.message.startswith("thinking (1) came without the id of a run")
    assert only.cause == CATALOGUE["delivery.unexpected"].causes["nameless"]
    assert only.count == 1
    story = story_of()  # of this type none carries one
    client = story.open(100)
    key = story.run(client, 200, "started:1", "tool:3", "completed:4", end=0)
    story.got(client, 240, "thinking")
    story.over(client, 250, key)
    story.close(client, 1000)
    assert "delivery.unexpected" not in codes(story)


# Contract.


def test_odd_messages_of_one_chunk_are_counted_each():
    story = story_of(CONTRACT)
    client = story.open(100)
    key = story.begin(client, 200, size=3)
    story.got(client, 201, "started", key, 1)
    for n in range(3):
        story.got(client, 202, "thinking", key, n + 2)
        story.odd(client, 202, Odd.MISSING, "thinking", "thought: missing")
    story.odd(client, 202, Odd.TYPE, "thinking", "thought: a number")  # the third, once more
    story.got(client, 203, "tool", key, 5)
    story.got(client, 204, "completed", key, 6)
    story.over(client, 204, key)
    story.settle(client, 300)
    story.close(client, 400)
    assert checks_of(story)["users.contract"].message.startswith("3 of 7 messages were not")
