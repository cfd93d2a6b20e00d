"""The healthy lab's promises: broadcast, cursor, replay, the bounded queue, the limit."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from aiohttp import WSMsgType

from tests.lab_process import (
    DEADLINE_S,
    EVENTS,
    Deaf,
    Lab,
    Talk,
    check_ledger,
    in_a_session,
    runs_ended,
    until,
)

QUEUE = 1_000


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab"), "--pace", "100us") as started:
        until(lambda: "healthy" in started.phases())
        yield started
        check_ledger(started)
        assert started.lines("fault") == []
        assert started.lines("hit") == []


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    options = ["--limit", "20/30", "--idle", "300ms"]
    with Lab(tmp_path_factory.mktemp("strict"), *options) as started:
        until(lambda: "healthy" in started.phases())
        yield started
        check_ledger(started)


def check_whole(events, users_runs, thoughts):
    """Every run whole, each event once, in the order of sequence and cursor, without a hole."""
    assert [event["cursor"] for event in events] == list(
        range(events[0]["cursor"], events[0]["cursor"] + len(events))
    )
    runs: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        runs.setdefault(event["run_id"], []).append(event)
    assert set(runs) == set(users_runs)
    kinds = [EVENTS[0], *[EVENTS[1]] * thoughts, *EVENTS[2:]]
    for told in runs.values():
        assert [event["type"] for event in told] == kinds
        assert [event["sequence"] for event in told] == list(range(1, thoughts + 5))
        assert len({(event["thread_id"], event["user_id"]) for event in told}) == 1


def test_under_load_every_connection_gets_every_event_of_its_user_once_in_order(lab):
    users, connections, runs, thoughts = 50, 3, 20, 5

    async def one_user(http, user):
        talks = [await Talk.open(http, lab, user) for _ in range(connections)]
        names = [f"{user}.{index}" for index in range(runs)]
        await go.wait()
        for index, name in enumerate(names):
            starter = talks[index % connections]
            await starter.say("start_agent", run_id=name, thread_id=name, thoughts=thoughts)
        for talk in talks:
            await talk.read(runs * (thoughts + 4))
            await talk.sync()
            assert {body["user_id"] for body in talk.events} == {user}
            assert len(talk.got) == runs * (thoughts + 4)  # and nothing else
            check_whole(talk.events, names, thoughts)
        assert [text for text, _ in talks[0].got] == [text for text, _ in talks[1].got]
        for talk in talks:
            await talk.ws.close()

    go = asyncio.Event()

    async def main(http):
        before = await runs_ended(http, lab)
        tasks = [asyncio.create_task(one_user(http, f"load{index}")) for index in range(users)]
        go.set()
        await asyncio.gather(*tasks)
        assert await runs_ended(http, lab) == before + users * runs

    in_a_session(main)
    told = [line for line in lab.lines("run") if line["user_id"].startswith("load")]
    assert {(line["sent"], line["completed"], line["hung"]) for line in told} == {(9, True, False)}
    counts = dict.fromkeys(EVENTS, 1) | {"agent_thinking": thoughts}
    assert all(line["counts"] == counts for line in told)


def test_the_ready_message_declares_the_limits(lab):
    async def main(http):
        talk = await Talk.open(http, lab, "limits")
        assert talk.ready["limits"] == {
            "messages_per_s": 200,
            "burst": 400,
            "queue": QUEUE,
            "message_bytes": 65_536,
        }
        await talk.say("start_agent", pad=1_000, thoughts=2)
        await talk.read(6)
        thoughts = [event["thought"] for event in talk.events[1:3]]
        assert len(thoughts[0]) > 1_000
        assert thoughts[0] == thoughts[1]

    in_a_session(main)


def test_a_run_outlives_its_client_and_what_was_missed_is_replayed(lab):
    async def main(http):
        before = await runs_ended(http, lab)
        first = await Talk.open(http, lab, "back")
        await first.say("start_agent", run_id="long", thoughts=300)
        opening = [await first.ws.receive_json() for _ in range(3)]
        first.ws._response.connection.transport.abort()
        await runs_ended(http, lab, before + 1)
        again = await Talk.open(http, lab, "back")
        await again.say("resume", after=opening[-1]["cursor"])
        resumed, *events = await again.sync()
        assert (resumed["type"], resumed["after"], resumed["replayed"]) == ("resumed", 3, 301)
        check_whole([*opening, *events], ["long"], 300)
        await again.say("resume", after=304)
        (nothing,) = await again.sync()
        assert nothing["replayed"] == 0
        # What came live is not given again; what came before the connection still can be.
        await again.say("start_agent", run_id="live", thoughts=1)
        await runs_ended(http, lab, before + 2)
        assert len(await again.sync()) == 5
        await again.say("resume", after=302)
        resumed, *events = await again.sync()
        assert [event["cursor"] for event in events] == [303, 304]

    in_a_session(main)
    close = until(lambda: [one for one in lab.lines("close") if one["replayed"]])[0]
    assert (close["user_id"], close["replayed"]) == ("back", 303)


def test_the_log_reaches_back_a_thousand_events(lab):
    async def main(http):
        before = await runs_ended(http, lab)
        talk = await Talk.open(http, lab, "log")
        await talk.say("start_agent", thoughts=1_200)
        await talk.ws.close()
        await runs_ended(http, lab, before + 1)
        again = await Talk.open(http, lab, "log")
        await again.say("resume", after=0)
        resumed, *events = await again.sync()
        assert resumed["replayed"] == len(events) == QUEUE
        assert [event["cursor"] for event in events] == list(range(205, 1_205))

    in_a_session(main)


def test_a_reader_that_stalls_blocks_nobody_and_is_told_what_was_dropped(lab):
    thoughts = 5_000

    async def main(http):
        before = await runs_ended(http, lab)
        reader = await Talk.open(http, lab, "stall")
        await reader.say("start_agent", run_id="big", thoughts=thoughts)
        # Should this machine be slow, the reader too may be dropped something, and is told.
        due = 1
        while due <= thoughts + 4:
            body = await reader.next()
            assert body.get("cursor", due) == due
            due += body["count"] if body["type"] == "events_dropped" else 1
        assert await runs_ended(http, lab) == before + 1

    deaf, dead = Deaf(lab, "stall"), Deaf(lab, "stall")
    in_a_session(main)
    # The one goes without having read: what it was given, what waited and what was dropped.
    dead.close()
    (close,) = until(lambda: [one for one in lab.lines("close") if one["connection_id"] == dead.id])
    taken = sum(close["sent"][kind] for kind in EVENTS if kind in close["sent"])
    assert close["unsent"] == QUEUE
    assert taken + QUEUE + close["dropped"] == thoughts + 4
    assert taken * 200 < 400_000  # the sockets hold little: the backlog stood in the queue
    # The other reads at last: exactly what was not dropped, the notices and the pong. As soon as
    # there was room a notice was queued, so one may come before the pong or after, and a socket
    # that took some more in between made two of it.
    deaf.say(type="ping", id="sentinel")
    events: list[dict[str, Any]] = []
    dropped, ponged = 0, False
    while not ponged or len(events) + dropped < thoughts + 4:
        message = deaf.read()
        if message["type"] in EVENTS:
            events.append(message)
        elif message["type"] == "events_dropped":
            dropped += message["count"]
        else:
            assert message["type"] == "pong", message
            ponged = True
    # In order, and none twice; a socket that takes more in between leaves room behind a drop.
    cursors = [event["cursor"] for event in events]
    assert cursors == sorted(set(cursors))
    assert cursors[:QUEUE] == list(range(1, QUEUE + 1))
    assert dropped == thoughts + 4 - len(events)
    assert len(events) > QUEUE
    deaf.say(type="start_agent", run_id="after")
    assert [deaf.read()["type"] for _ in EVENTS] == EVENTS
    deaf.close()
    told = lab.lines("overflow")
    assert [one["told"] for one in told if one["connection_id"] == dead.id][-1] == "never"
    heard = [one for one in told if one["connection_id"] == deaf.id]
    assert {one["told"] for one in heard} == {"announced"}
    assert sum(one["dropped"] for one in heard) == dropped


def test_compressed_connections_get_the_same(lab):
    async def main(http):
        plain = await Talk.open(http, lab, "deflate")
        small = await Talk.open(http, lab, "deflate", compress=15)
        assert small.ws.compress == 15
        await plain.say("start_agent", run_id="z", thoughts=200, pad=500)
        for talk in (plain, small):
            await talk.read(204)
        assert small.got == plain.got
        check_whole(small.events, ["z"], 200)
        await small.ws.ping(b"x")
        await small.sync()

    in_a_session(main)


def test_over_tls_a_long_run_comes_whole(tmp_path):
    ca = tmp_path / "ca.pem"
    with Lab(tmp_path, "--tls", str(ca), "--pace", "0s") as lab:
        until(lambda: "ready" in lab.phases())

        async def main(http):
            context = ssl.create_default_context(cafile=ca)
            talk = await Talk.open(http, lab, "tls", ssl=context)
            await talk.say("start_agent", run_id="s", thoughts=900, pad=100)
            await talk.read(904)
            check_whole(talk.events, ["s"], 900)
            # A close over TLS waits for the peer's, and the loop does not.
            talk.ws._response.connection.transport.abort()

        in_a_session(main)


def test_over_the_limit_a_message_is_refused_until_the_budget_recovers(strict):
    async def main(http):
        one, other = [await Talk.open(http, strict, "busy") for _ in range(2)]
        for index in range(40):
            await one.say("ping", id=f"p{index}")
        answers = [await one.ws.receive_json() for _ in range(40)]
        assert [answer["id"] for answer in answers] == [f"p{index}" for index in range(40)]
        kinds = [answer["type"] for answer in answers]
        assert kinds[:30] == ["pong"] * 30
        limited = [answer for answer in answers if answer["type"] == "rate_limited"]
        assert 30 + len(limited) + kinds[30:].count("pong") == 40
        assert all(1 <= answer["retry_after_ms"] <= 50 for answer in limited)
        # The budget is the user's: its other connection has none left either.
        for _ in range(5):
            await other.say("start_agent", run_id="refused")
        answers = [await other.ws.receive_json() for _ in range(3)]
        refused = [answer for answer in answers if answer["type"] == "rate_limited"]
        assert refused
        assert {answer["run_id"] for answer in refused} == {"refused"}
        stranger = await Talk.open(http, strict, "calm")
        assert await stranger.sync() == []
        await asyncio.sleep(0.2)
        await one.say("ping", id="again")
        while (answer := await one.ws.receive_json()).get("id") != "again":
            assert answer["type"] in EVENTS
        assert answer["type"] == "pong"

    in_a_session(main)


def test_a_connection_is_idle_without_a_frame_and_not_without_a_message(strict):
    async def main(http):
        silent = (await Talk.open(http, strict, "silent")).ws
        awake = (await Talk.open(http, strict, "awake")).ws

        async def keep_awake():
            while True:
                await awake.ping()
                await asyncio.sleep(0.1)

        pinging = asyncio.create_task(keep_awake())
        answer = await silent.receive()
        assert (answer.type, answer.data, answer.extra) == (WSMsgType.CLOSE, 1001, "idle")
        await asyncio.sleep(0.4)
        assert not awake.closed
        await awake.send_json({"type": "ping"})
        assert (await awake.receive_json())["type"] == "pong"
        pinging.cancel()

    in_a_session(main)


@pytest.mark.long
def test_a_client_that_reads_nothing_for_30_s_is_cut_off(lab):
    async def main(http):
        before = await runs_ended(http, lab)
        deaf.say(type="start_agent", run_id="unread", thoughts=500, pad=1_000)
        await runs_ended(http, lab, before + 1)

    deaf = Deaf(lab, "unread")
    quiet = Deaf(lab, "quiet")
    in_a_session(main)
    closes = until(
        lambda: [one for one in lab.lines("close") if one.get("cut")], within_s=DEADLINE_S + 30
    )
    assert [(one["by"], one["code"], one["cut"]) for one in closes] == [("server", 1006, "unread")]
    assert closes[0]["user_id"] == "unread"
    assert closes[0]["unsent"] > 0
    deaf.close()
    quiet.close()
