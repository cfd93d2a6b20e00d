"""Each defect does what its row says, and the ledger's hits are what its clients saw.

One lab, whose defects are changed while it runs; each play has users of its own. A play
is made at a rate of 1 and at 0.3, and what the clients saw is compared with the hits.
"""

from __future__ import annotations

import asyncio
import itertools
from datetime import datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.lab_process import (
    EVENTS,
    Deaf,
    Lab,
    Talk,
    check_ledger,
    in_a_session,
    runs_ended,
    set_defects,
    token,
    until,
    websocket,
)

THOUGHTS = 2
KINDS = [EVENTS[0], *[EVENTS[1]] * THOUGHTS, *EVENTS[2:]]
EVENTS_MANY = len(KINDS)
RATES = (1, 0.3)
_users = (f"user{index}" for index in itertools.count())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab"), "--pace", "0s", "--seed", "11") as started:
        until(lambda: "healthy" in started.phases())
        yield started
        check_ledger(started)
        assert started.lines("fault") == []


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("strict"), "--limit", "1/10") as started:
        until(lambda: "healthy" in started.phases())
        yield started
        check_ledger(started)


def hits_since(lab, before, defect):
    """The hit lines after the first `before` lines; there must be none of another defect."""
    hits = [line for line in lab.lines()[before:] if line["event"] == "hit"]
    assert {hit["defect"] for hit in hits} <= {defect}
    return hits


class Play:
    """What one play gave: the hits, and what each connection got from each run."""

    def __init__(self, hits, names, talks):
        self.hits = hits
        self.names = names
        self.starter, self.other, self.stranger = talks

    def ids(self, *fields):
        return sorted(tuple(hit[field] for field in fields) for hit in self.hits)

    def of(self, talk, name):
        return [body for _, body in talk.got if flat(body).get("run_id") == name]


def flat(body):
    return {**body, **body.get("payload", {}), **body.get("data", {})}


def play(lab, defect, value, runs=20, path="/ws"):
    """Start runs on the first of two connections of a user, beside one of another user."""
    found = []

    async def main(http):
        user, stranger = next(_users), next(_users)
        talks = [
            await Talk.open(http, lab, user, path),
            await Talk.open(http, lab, user),
            await Talk.open(http, lab, stranger),
        ]
        before, ended = len(lab.lines()), await runs_ended(http, lab)
        await set_defects(http, lab, **{defect: value})
        names = [f"{user}.{index}" for index in range(runs)]
        for name in names:
            await talks[0].say("start_agent", run_id=name, thread_id="t", thoughts=THOUGHTS)
        await runs_ended(http, lab, ended + runs)
        for talk in talks:
            await talk.sync()
            await talk.ws.close()
        await set_defects(http, lab, **{defect: None})
        hits = hits_since(lab, before, defect)
        found.append(Play(hits, names, talks))

    in_a_session(main)
    (played,) = found
    rate = float(str(value).partition("@")[0])
    if rate == 1:
        assert len({hit["run_id"] for hit in played.hits}) == runs
    else:
        assert 0 < len({hit["run_id"] for hit in played.hits}) < runs
    return played


def sequences(events):
    return [flat(event)["sequence"] for event in events]


def check_numbers(played, talk, *, but=()):
    """Each run as a healthy lab sends it, but for these runs."""
    for name in played.names:
        if name not in but:
            events = played.of(talk, name)
            assert [event["type"] for event in events] == KINDS
            assert sequences(events) == list(range(1, EVENTS_MANY + 1))
            assert {flat(event)["thread_id"] for event in events} == {"t"}


@pytest.mark.parametrize("value", [1, 0.3, "1@agent_thinking", "0.3@tool_completed"])
def test_drop_event(lab, value):
    played = play(lab, "drop_event", value)
    for talk in (played.starter, played.other):
        lost = [
            (name, sequence)
            for name in played.names
            for sequence in range(1, EVENTS_MANY + 1)
            if sequence not in sequences(played.of(talk, name))
        ]
        assert sorted(lost) == played.ids("run_id", "sequence")
        cursors = [body["cursor"] for _, body in talk.got]
        every = set(range(1, EVENTS_MANY * len(played.names) + 1))
        assert sorted(every - set(cursors)) == [cursor for (cursor,) in played.ids("cursor")]
    for hit in played.hits:
        assert hit["type"] == KINDS[hit["sequence"] - 1]
        assert hit["connections"] == 2
    target = str(value).partition("@")[2]
    assert {hit["type"] for hit in played.hits} == {target} if target else EVENTS


@pytest.mark.parametrize("value", [1, 0.3, "0.3@agent_completed"])
def test_duplicate_event(lab, value):
    played = play(lab, "duplicate_event", value)
    for talk in (played.starter, played.other):
        twice = [
            (body["run_id"], body["sequence"])
            for (text, body), (next_text, _) in itertools.pairwise(talk.got)
            if text == next_text
        ]
        assert sorted(twice) == played.ids("run_id", "sequence")
        assert len(talk.got) == EVENTS_MANY * len(played.names) + len(played.hits)


@pytest.mark.parametrize("value", [1, 0.3, "1@agent_completed", "0.3@agent_thinking"])
def test_reorder_event(lab, value):
    played = play(lab, "reorder_event", value)
    for talk in (played.starter, played.other):
        early = []
        for name in played.names:
            told = sequences(played.of(talk, name))
            assert sorted(told) == list(range(1, EVENTS_MANY + 1))
            early += [(name, a) for a, b in itertools.pairwise(told) if a > b]
            assert all(a - b == 1 for a, b in itertools.pairwise(told) if a > b)
        assert sorted(early) == played.ids("run_id", "sequence")
    for hit in played.hits:
        assert hit["type"] == KINDS[hit["sequence"] - 1]


def test_late_event(lab):
    played = play(lab, "late_event", 0.3)
    late = []
    for name in played.names:
        events = played.of(played.other, name)
        stamps = [datetime.fromisoformat(event["timestamp"]) for event in events]
        gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(stamps)]
        late += [(name, index + 2) for index, gap in enumerate(gaps) if gap >= 1.45]
    assert sorted(late) == played.ids("run_id", "sequence")
    check_numbers(played, played.starter)


@pytest.mark.parametrize("value", RATES)
@pytest.mark.parametrize(
    ("defect", "shapes"),
    [
        ("nested_payload", ["payload"]),
        ("data_payload", ["data"]),
        ("mixed_shapes", ["payload", "data"]),
    ],
)
def test_shapes(lab, defect, shapes, value):
    played = play(lab, defect, value)
    for talk in (played.starter, played.other):
        check_numbers(played, talk)
        odd = [body for _, body in talk.got if "run_id" not in body]
        assert all(body.keys() == {"type", "timestamp", *body.keys() & {*shapes}} for body in odd)
        under = [next(iter(body.keys() & {*shapes})) for body in odd]
        assert under == (shapes * len(odd))[: len(odd)]
        assert [hit["under"] for hit in played.hits] == under
        ids = [(flat(body)["run_id"], flat(body)["sequence"]) for body in odd]
        assert sorted(ids) == played.ids("run_id", "sequence")
    share = len(played.hits) / len(played.starter.got)
    assert share == 1 if value == 1 else 0.1 < share < 0.5


@pytest.mark.parametrize("value", RATES)
def test_missing_field_and_wrong_type(lab, value):
    for defect in ("missing_field", "wrong_type"):
        played = play(lab, defect, value)
        check_numbers(played, played.starter)
        odd = []
        for _, body in played.starter.got:
            if body["type"] == "tool_completed":
                missing = "results" not in body
                wrong = isinstance(body["duration"], str)
                assert missing + wrong == (missing if defect == "missing_field" else wrong)
                odd += [(body["run_id"], body["sequence"])] if missing + wrong else []
        assert sorted(odd) == played.ids("run_id", "sequence")


@pytest.mark.parametrize("value", RATES)
def test_inconsistent_ids(lab, value):
    played = play(lab, "inconsistent_ids", value)
    odd = [
        (body["run_id"], body["sequence"], body["thread_id"])
        for _, body in played.other.got
        if body["thread_id"] != "t"
    ]
    assert sorted(odd) == played.ids("run_id", "sequence", "thread_id")
    assert 1 not in {sequence for _, sequence, _ in odd}


@pytest.mark.parametrize("value", RATES)
def test_hung_run(lab, value):
    played = play(lab, "hung_run", value)
    hung = [(hit["run_id"], hit["sequence"]) for hit in played.hits]
    for name, last in hung:
        assert sequences(played.of(played.starter, name)) == list(range(1, last + 1))
        assert KINDS[last - 1] in EVENTS[:3]
    check_numbers(played, played.starter, but=[name for name, _ in hung])
    told = {line["run_id"]: line for line in lab.lines("run") if line["run_id"] in played.names}
    assert {name for name, line in told.items() if line["hung"]} == {name for name, _ in hung}
    assert not any(told[name]["completed"] for name, _ in hung)
    assert len({last for _, last in hung}) > 1


@pytest.mark.parametrize("value", RATES)
def test_event_after_end(lab, value):
    played = play(lab, "event_after_end", value)
    for talk in (played.starter, played.other):
        after = []
        for name in played.names:
            events = played.of(talk, name)
            assert sequences(events) == list(range(1, len(events) + 1))
            if len(events) > EVENTS_MANY:
                assert [event["type"] for event in events[-2:]] == [EVENTS[4], EVENTS[1]]
                after.append((name, len(events)))
        assert sorted(after) == played.ids("run_id", "sequence")


@pytest.mark.parametrize("value", RATES)
def test_cross_user_leak(lab, value):
    played = play(lab, "cross_user_leak", value)
    check_numbers(played, played.starter)
    leaked = [(body["run_id"], body["sequence"]) for _, body in played.stranger.got]
    assert sorted(leaked) == played.ids("run_id", "sequence")
    assert {hit["connection_id"] for hit in played.hits} == {played.stranger.id}
    sent = {text for text, _ in played.starter.got}
    assert {text for text, _ in played.stranger.got} <= sent


@pytest.mark.parametrize("value", RATES)
def test_mode_differs(lab, value):
    played = play(lab, "mode_differs", value, path="/ws/legacy")
    more = []
    for name in played.names:
        kinds = [event["type"] for event in played.of(played.starter, name)]
        assert sequences(played.of(played.starter, name)) == list(range(1, len(kinds) + 1))
        if len(kinds) > EVENTS_MANY:
            assert kinds == [*KINDS[:2], *KINDS[1:]]
            more.append((name, THOUGHTS + 2))
    assert sorted(more) == played.ids("run_id", "sequence")


@pytest.mark.parametrize("value", RATES)
def test_broadcast_misses_one(lab, value):
    played = play(lab, "broadcast_misses_one", value)
    missed = [name for name in played.names if not played.of(played.other, name)]
    assert [(name,) for name in sorted(missed)] == played.ids("run_id")
    assert {hit["connection_id"] for hit in played.hits} == {played.other.id}
    check_numbers(played, played.starter)
    check_numbers(played, played.other, but=missed)


def on_own_connections(lab, defect, value, one, many=20):
    """Play `one(http, user, talk, index)` on connections one by one; the hits."""
    found = []

    async def main(http):
        before = len(lab.lines())
        await set_defects(http, lab, **{defect: value})
        for index in range(many):
            user = next(_users)
            talk = await Talk.open(http, lab, user)
            await one(http, user, talk, index)
            await talk.ws.close()
        await set_defects(http, lab, **{defect: None})
        found.extend(hits_since(lab, before, defect))

    in_a_session(main)
    assert len(found) == many if value == 1 else 0 < len(found) < many
    return found


@pytest.mark.parametrize("value", RATES)
def test_drop_first_event(lab, value):
    seen: list[tuple[str, str, int]] = []

    async def one(http, user, talk, index):
        ended = await runs_ended(http, lab)
        for name in (f"{user}.first", f"{user}.second"):
            await talk.say("start_agent", run_id=name, thoughts=THOUGHTS)
        await runs_ended(http, lab, ended + 2)
        await talk.sync()
        told = [(body["run_id"], body["sequence"]) for body in talk.events]
        whole = [(f"{user}.{n}", s) for n in ("first", "second") for s in range(1, EVENTS_MANY + 1)]
        lost = set(whole) - set(told)
        assert lost <= {(f"{user}.first", 1)}
        seen.extend((talk.id, *each) for each in lost)

    hits = on_own_connections(lab, "drop_first_event", value, one)
    assert sorted(seen) == sorted((h["connection_id"], h["run_id"], h["sequence"]) for h in hits)


@pytest.mark.parametrize("value", RATES)
@pytest.mark.parametrize("defect", ["close_1011_midrun", "drop_tcp_midrun"])
def test_cuts_midrun(lab, defect, value):
    seen: list[tuple[str, int]] = []

    async def one(http, user, talk, index):
        ended = await runs_ended(http, lab)
        other = await Talk.open(http, lab, user)
        await talk.say("start_agent", run_id=user, thoughts=THOUGHTS)
        last = 0
        while last < EVENTS_MANY:
            try:
                message = await talk.ws.receive()
            except ConnectionError:
                message = aiohttp.WSMessage(WSMsgType.ERROR, None, None)
            if message.type is not WSMsgType.TEXT:
                if defect == "close_1011_midrun":
                    told = (message.type, message.data, message.extra)
                    assert told == (WSMsgType.CLOSE, 1011, "internal error")
                else:
                    assert message.type in (WSMsgType.ERROR, WSMsgType.CLOSED)
                seen.append((user, last))
                break
            last += 1
        await runs_ended(http, lab, ended + 1)  # it goes on for the other
        assert [event["type"] for event in await other.sync()] == KINDS
        await other.ws.close()

    before = len(lab.lines())
    hits = on_own_connections(lab, defect, value, one)
    assert sorted(seen) == sorted((hit["run_id"], hit["sequence"]) for hit in hits)
    assert all(0 < sequence < EVENTS_MANY for _, sequence in seen)
    code = 1011 if defect == "close_1011_midrun" else 1006
    cut = {
        line["connection_id"]
        for line in lab.lines()[before:]
        if line["event"] == "close" and (line["by"], line["code"]) == ("server", code)
    }
    assert cut == {hit["connection_id"] for hit in hits}


@pytest.mark.parametrize("value", RATES)
@pytest.mark.parametrize("defect", ["lost_on_reconnect", "no_replay"])
def test_replay(lab, defect, value):
    seen = []

    async def one(http, user, talk, index):
        ended = await runs_ended(http, lab)
        await talk.say("resume", after=0)  # nothing to replay is no hit
        assert (await talk.sync())[0]["replayed"] == 0
        await talk.say("start_agent", run_id=user, thoughts=THOUGHTS)
        await runs_ended(http, lab, ended + 1)
        back = await Talk.open(http, lab, user)
        await back.say("resume", after=2)
        resumed, *events = await back.sync()
        cursors = [event["cursor"] for event in events]
        assert resumed["type"] == "resumed"
        if defect == "no_replay" and resumed["replayed"] == 0:
            assert cursors == []
            seen.append((back.id, 4))
        else:
            assert resumed["replayed"] == 4
            lost = {3, 4, 5, 6} - set(cursors)
            assert cursors == sorted({3, 4, 5, 6} - lost)
            seen.extend((back.id, cursor) for cursor in lost)
        await back.ws.close()

    hits = on_own_connections(lab, defect, value, one)
    field = "cursor" if defect == "lost_on_reconnect" else "replayable"
    assert sorted(seen) == sorted((hit["connection_id"], hit[field]) for hit in hits)


@pytest.mark.parametrize("value", RATES)
def test_no_pong(lab, value):
    pings = 30

    async def main(http):
        before = len(lab.lines())
        bearer = {"Authorization": f"Bearer {token(sub=next(_users))}"}
        async with websocket(http, lab, headers=bearer, autoping=False) as ws:
            await ws.receive_json()
            await set_defects(http, lab, no_pong=value)
            for index in range(pings):
                await ws.ping(str(index).encode())
            await ws.send_json({"type": "ping"})
            pongs = 0
            # A pong goes before what waits, so none can come behind the sentinel.
            while (await ws.receive()).type is WSMsgType.PONG:
                pongs += 1
            hits = hits_since(lab, before, "no_pong")
            assert pongs + len(hits) == pings
            assert len(hits) == pings if value == 1 else 0 < len(hits) < pings
            await set_defects(http, lab, no_pong=None)

    in_a_session(main)


@pytest.mark.parametrize("value", RATES)
def test_health_503(lab, value):
    async def main(http):
        before = len(lab.lines())
        await set_defects(http, lab, health_503=value)
        bad = 0
        for _ in range(30):
            async with http.get(lab.url + "/health") as answer:
                body = await answer.json()
                down = body["dependencies"]["redis"]["status"] == "unreachable"
                assert (answer.status, body["status"]) == (
                    (503, "unhealthy") if down else (200, "healthy")
                )
                bad += down
        await set_defects(http, lab, health_503=None)
        assert len(hits_since(lab, before, "health_503")) == bad
        assert bad == 30 if value == 1 else 0 < bad < 30

    in_a_session(main)


def test_slow_dependency(lab):
    async def main(http):
        before = len(lab.lines())
        await set_defects(http, lab, slow_dependency="200ms")
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with http.get(lab.url + "/health") as answer:
            body = await answer.json()
        assert loop.time() - asked >= 0.19
        assert (answer.status, body["status"]) == (200, "degraded")
        assert body["dependencies"]["postgres"]["status"] == "degraded"
        await set_defects(http, lab, slow_dependency=None)
        (hit,) = hits_since(lab, before, "slow_dependency")
        assert hit["delay_ns"] == 200_000_000

    in_a_session(main)


@pytest.mark.parametrize("value", RATES)
def test_rate_limit_silent(strict, value):
    async def main(http):
        before = len(strict.lines())
        await set_defects(http, strict, rate_limit_silent=value)
        talk = await Talk.open(http, strict, next(_users), autoping=False)
        for index in range(50):
            await talk.say("ping", id=f"p{index}")
        await talk.ws.ping()
        while (message := await talk.ws.receive()).type is not WSMsgType.PONG:
            talk.got.append((message.data, message.json()))
        # All 50 are read and judged; what comes now is answered, and behind their answers.
        await set_defects(http, strict, rate_limit_silent=None)
        await talk.say("ping", id="last")
        while (await talk.next())["id"] != "last":
            pass
        answered = {body["id"] for _, body in talk.got}
        silent = {f"p{index}" for index in range(50)} - answered
        hits = hits_since(strict, before, "rate_limit_silent")
        assert sorted(silent) == sorted(hit["id"] for hit in hits)
        assert 0 < len(hits) < 41
        assert value == 0.3 or not any(body["type"] == "rate_limited" for _, body in talk.got[:-1])

    in_a_session(main)


def test_rate_limit_global(strict):
    async def main(http):
        before = len(strict.lines())
        await set_defects(http, strict, rate_limit_global=1)
        greedy, poor = [await Talk.open(http, strict, next(_users)) for _ in range(2)]
        for _ in range(12):
            await greedy.say("ping")
        greedy_kinds = [(await greedy.next())["type"] for _ in range(12)]
        assert greedy_kinds[:10] == ["pong"] * 10
        for _ in range(3):
            await poor.say("ping")
        kinds = [(await poor.next())["type"] for _ in range(3)]
        hits = hits_since(strict, before, "rate_limit_global")
        # Each would have had a budget of its own; at most one token came in the meantime.
        assert kinds.count("rate_limited") >= 2
        mine = [hit for hit in hits if hit["connection_id"] == poor.id]
        assert len(mine) == kinds.count("rate_limited")
        await set_defects(http, strict, rate_limit_global=None)

    in_a_session(main)


def test_limit_resets_at_edge(tmp_path):
    async def burst(talk):
        for _ in range(25):
            await talk.say("ping")
        kinds = [(await talk.next())["type"] for _ in range(25)]
        assert set(kinds) <= {"pong", "rate_limited"}
        return kinds.count("pong")

    async def main(http):
        talk = await Talk.open(http, edgy, next(_users))
        assert await burst(talk) == 20
        assert edgy.lines("hit") == []
        # What a bucket earns is taken by the bursts; so it is the next window that lets one in.
        served = 0
        for _ in range(10_000):
            served = await burst(talk)
            if served > 10:
                break
        assert served > 10
        hits = edgy.lines("hit")
        assert {hit["defect"] for hit in hits} == {"limit_resets_at_edge"}
        assert {hit["connection_id"] for hit in hits} == {talk.id}
        assert len(hits) >= 5

    with Lab(tmp_path, "--limit", "20/20", "--defect", "limit_resets_at_edge") as edgy:
        until(lambda: "healthy" in edgy.phases())
        in_a_session(main)
        check_ledger(edgy)


def stalled(lab, defect, value, thoughts):
    """A run of so many thoughts that a client does not read until it is over.

    What it gets in the end up to the pong of its ping, and the lines of the ledger.
    """
    user = next(_users)

    async def main(http):
        ended = await runs_ended(http, lab)
        await set_defects(http, lab, **{defect: value})
        deaf.say(type="start_agent", run_id=user, thoughts=thoughts, pad=1_000)
        await runs_ended(http, lab, ended + 1)

    async def off(http):
        await set_defects(http, lab, **{defect: None})

    before = len(lab.lines())
    deaf = Deaf(lab, user)
    in_a_session(main)
    got: list[dict[str, Any]] = []
    deaf.say(type="ping", id="a")
    while not got or got[-1]["type"] != "pong":
        got.append(deaf.read())
    # The notice is queued when there is room, so it can come behind the first pong.
    deaf.say(type="ping", id="b")
    while got[-1].get("id") != "b":
        got.append(deaf.read())
    in_a_session(off)
    deaf.close()
    return got, lab.lines()[before:]


def test_queue_overflow(lab):
    got, lines = stalled(lab, "queue_overflow", 80, 500)
    # Each notice stands where the events are missing, and says how many.
    due, gaps = 1, []
    for body in got:
        if body["type"] == "events_dropped":
            gaps.append((due, body["count"]))
            due += body["count"]
        elif body["type"] in EVENTS:
            assert body["sequence"] == due
            due += 1
    assert due == 505
    assert gaps
    hits = [line for line in lines if line["event"] == "hit"]
    assert {hit["defect"] for hit in hits} == {"queue_overflow"}
    overflows = [line for line in lines if line["event"] == "overflow"]
    assert {line["told"] for line in overflows} == {"announced"}
    told = [(hit["sequence"], line["dropped"]) for hit, line in zip(hits, overflows, strict=True)]
    assert told == gaps


def test_silent_drop_under_backpressure(lab):
    got, lines = stalled(lab, "silent_drop_under_backpressure", 1, 3_000)
    events = [body for body in got if body["type"] in EVENTS]
    assert {body["type"] for body in got} <= {*EVENTS, "pong"}
    assert 1_000 < len(events) < 3_004
    (hit,) = [line for line in lines if line["event"] == "hit"]
    assert hit["defect"] == "silent_drop_under_backpressure"
    assert hit["dropped"] == 3_004 - len(events)
    (overflow,) = [line for line in lines if line["event"] == "overflow"]
    assert (overflow["told"], overflow["dropped"]) == ("silent", hit["dropped"])
