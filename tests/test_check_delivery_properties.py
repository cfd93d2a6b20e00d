"""Delivery over any history: order of rows, merging of shards, one anomaly among much else."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.columns import History
from probe.history.records import DTYPE, NOBODY, Run
from probe.report.document import document, json_bytes, summary
from tests.delivery_histories import BARE, CLASSES, DELIVERY, NUMBERED, clean, story_of
from tests.histories import Client

EXPECT = DELIVERY | {"runs": {"rate": "50%"}}
quick = settings(deadline=None, max_examples=40)


def told(history, resolved):
    judgement = judge(history, resolved)
    return json_bytes(document(judgement)) + json_bytes(summary(judgement))


def shards(story, count):
    """The rows as so many journals have them; each keeps the order of its sessions."""
    rows = np.array(story.rows, dtype=DTYPE)
    place = np.where(rows["session"] == NOBODY, 0, rows["session"] % count)
    return [rows[place == k] for k in range(count)]


def of_rows(story, parts):
    return History(np.concatenate(parts), story.meta, bytes(story.texts))


@pytest.mark.parametrize("code", sorted(CLASSES))
def test_the_order_in_which_shards_are_put_together_is_irrelevant(code):
    story = CLASSES[code][0]()
    expected = told(story.history(), story.resolved)
    parts = shards(story, 3)
    a, b, c = parts
    for order in ((a, b, c), (c, b, a), (b, a, c)):
        assert told(of_rows(story, order), story.resolved) == expected
    for seed in range(3):
        assert told(story.history(seed=seed), story.resolved) == expected


def test_merging_shards_is_associative():
    story = clean()
    a, b, c = shards(story, 3)
    left = np.concatenate([np.concatenate([a, b]), c])
    right = np.concatenate([a, np.concatenate([b, c])])
    assert left.tobytes() == right.tobytes()
    assert told(of_rows(story, [left]), story.resolved) == told(story.history(), story.resolved)


runs = st.lists(
    st.lists(st.integers(1, 6), min_size=1, max_size=4), min_size=1, max_size=6
)  # sizes of the runs of each session


def events_of(size):
    return ["started", *["thinking"] * size, "tool", "completed"]


def played(plan, dialect, change=None, *, endings=None):
    """Sessions that play runs of these sizes at once; `change` edits one run's events."""
    story = story_of(EXPECT, dialect)
    numbered = dialect is NUMBERED
    for k, sizes in enumerate(plan):
        client = story.open(100 + 50 * k)
        for n, size in enumerate(sizes):
            names = events_of(size)
            events = [f"{name}:{i + 1}" if numbered else name for i, name in enumerate(names)]
            end = Run.ENDED
            if change is not None and (k, n) == change[0]:
                events = change[1](events)
                end = endings or Run.ENDED
            story.run(client, 200 + 50 * k + n, *events, size=size, end=end, every=1.5)
        story.settle(client, 20_000 + k)
        story.close(client, 20_100 + k)
    return story


def found(story):
    judgement = judge(story.history(), story.resolved)
    return judgement, sorted({each.code for each in judgement.findings})


@quick
@given(runs, st.sampled_from([NUMBERED, BARE]))
def test_a_clean_history_passes_whatever_its_runs(plan, dialect):
    judgement, codes = found(played(plan, dialect))
    assert codes == []
    verdicts = {c.id: c.verdict for c in judgement.checks if c.id != "users.runs"}
    assert set(verdicts.values()) == {Outcome.PASS}
    totals = judgement.summary["delivery"]["users"]["totals"]
    assert totals["delivered"] == sum(size + 3 for sizes in plan for size in sizes)
    kept = ("delivered", "elsewhere")
    assert not any(n for name, n in totals.items() if name not in kept)


@quick
@given(runs, st.data())
def test_one_lost_event_is_found_and_named(plan, data):
    k = data.draw(st.integers(0, len(plan) - 1))
    n = data.draw(st.integers(0, len(plan[k]) - 1))
    dialect = data.draw(st.sampled_from([NUMBERED, BARE]))
    place = data.draw(st.integers(0, plan[k][n] + 2))
    last = place == plan[k][n] + 2
    story = played(
        plan, dialect, ((k, n), lambda events: events[:place] + events[place + 1 :]),
        endings=Run.GIVEN_UP if last else None,
    )  # fmt: skip
    judgement, codes = found(story)
    assert codes == ["delivery.lost"]
    types = judgement.summary["delivery"]["users"]["types"]
    name = events_of(plan[k][n])[place]
    assert {kind: row["lost"] for kind, row in types.items() if row["lost"]} == {name: 1}
    (only,) = judgement.findings
    assert only.message.startswith(f"{name} was lost in 1 of ")
    assert {each.session for each in only.witness} == {k}


@quick
@given(runs, st.data())
def test_one_anomaly_is_found_as_itself(plan, data):
    k = data.draw(st.integers(0, len(plan) - 1))
    n = data.draw(st.integers(0, len(plan[k]) - 1))
    size = plan[k][n]
    place = data.draw(st.integers(0, size + 2))
    kind = data.draw(st.sampled_from(["duplicated", "reordered", "unexpected", "hung"]))

    def change(events):
        if kind == "duplicated":
            later = data.draw(st.integers(place, len(events)))
            return [*events[:later], events[place], *events[later:]]
        if kind == "reordered":
            first = max(place, 1)
            return [*events[: first - 1], events[first], events[first - 1], *events[first + 1 :]]
        if kind == "unexpected":
            return [*events, f"thinking:{len(events) + 1}"]
        return events[: min(place, size + 1)]

    ends = Run.GIVEN_UP if kind == "hung" else None
    judgement, codes = found(played(plan, NUMBERED, ((k, n), change), endings=ends))
    if kind == "duplicated":
        assert codes == ["delivery.duplicated"]
    else:
        assert codes == ["run.hung" if kind == "hung" else f"delivery.{kind}"]
    (only,) = judgement.findings
    assert only.count == 1
    assert judgement.verdict is Outcome.FAIL
    assert sum(c.verdict is Outcome.FAIL for c in judgement.checks) in {1, 2}  # and `runs`


@quick
@given(st.data())
def test_every_event_has_one_fate_whatever_came(data):
    """Any receipts, in any order: nothing is judged twice and nothing raises."""
    story = story_of(
        EXPECT | {"replay": True, "broadcast": True, "isolation": True, "contract": True},
        data.draw(st.sampled_from([NUMBERED, BARE])),
    )
    clients = [story.open(100 + k * 3, user=k // 2) for k in range(4)]
    keys = [story.begin(clients[k % 4], 150 + k, size=1 + k % 3) for k in range(6)]
    names = st.sampled_from(["started", "thinking", "tool", "completed", "note"])
    rows = st.tuples(st.integers(0, 3), names, st.integers(0, 5), st.integers(-1, 9))
    for k, (who, name, key, seq) in enumerate(data.draw(st.lists(rows, max_size=60))):
        story.got(clients[who], 200 + k, name, keys[key], seq)
    for client in clients:
        fate = data.draw(st.sampled_from(["close", "lose", "again", "open"]))
        if fate in {"close", "again"}:
            story.settle(client, data.draw(st.sampled_from([400, 20_000])))
        if fate == "close":
            story.close(client, 21_000)
        elif fate == "lose":
            story.lose(client, 21_000, code=1011)
        elif fate == "again":
            story.vanish(client, 300)
            story.again(client, 350)
    judgement = judge(story.history(), story.resolved)
    table = judgement.summary["delivery"]["users"]
    totals = table["totals"]
    received = sum(row[3] == 31 and row[6] >= 0 for row in story.rows)
    judged = ("delivered", "elsewhere", "duplicated", "unexpected", "phantom", "foreign")
    unnumbered = sum(row[3] == 31 and row[6] >= 0 and row[4] == 0 and row[5] <= 0
                     for row in story.rows)  # fmt: skip
    assert sum(totals[name] for name in judged) == received - unnumbered
    for part in ("endpoints", "tenths", "phases"):
        for name in ("delivered", "lost", "unknown", "late", "duplicated"):
            assert sum(row[name] for row in table[part].values()) == totals[name]
    json.dumps(judgement.summary)


def test_two_stages_do_not_share_their_runs():
    story = story_of(EXPECT)
    assert isinstance(Client(0), Client)
    client = story.open(100, population=7)  # of no stage of this scenario
    story.run(client, 200, "started:1")
    assert "delivery" not in judge(story.history(), story.resolved).summary
