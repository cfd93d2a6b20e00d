"""Each step of a script on real sockets: the rows it leaves, and how its session ends."""

import asyncio
import contextlib
import json

import pytest
import websockets

from probe.engine import steps
from probe.history.columns import History
from probe.history.records import Kind, Outcome, Put, Run, identity_mark
from tests.engine_sites import HELLO, LIMITED, RUN, TOLD, A, B, C, Talk, spoken, talk

MS = 1_000_000
CONNECT = {"do": "connect"}
CLOSE = {"do": "close"}
SETTLE = {"do": "settle"}
FINISH = {"do": "finish"}
BRIEF = spoken(run=RUN | {"within": "200ms", "quiet": "200ms"})


def run(size=1, *, count=1, wait=True):
    return {"do": "run", "size": size, "count": count, "wait": wait}


def service(go=None, ask=None):
    """A service of the tests' dialect; `go(socket, run id, size)` and `ask(socket, n)` may do
    otherwise than well."""

    async def serve(socket):
        await socket.send('{"type":"hello"}')
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                if "go" in message:
                    await (go or whole)(socket, message["go"], message["of"])
                elif "ask" in message:
                    await (ask or answer)(socket, message["ask"])

    return serve


async def say(socket, kind, run_id=None, **more):
    told = {"type": kind} | ({"run_id": run_id} if run_id else {}) | more
    await socket.send(json.dumps(told))


async def whole(socket, run_id, size):
    for kind in ("a", *("b" for _ in range(size)), "c"):
        await say(socket, kind, run_id)


async def answer(socket, number):
    await say(socket, "told", n=number)


async def nothing(*_):
    """No answer."""


async def hang(socket, run_id, _):
    await say(socket, "a", run_id)


def test_runs_and_a_settle(tmp_path):
    heard = talk(tmp_path, service(), [CONNECT, run(3), run(1, count=2), SETTLE, CLOSE])
    assert heard.done() == (0, "")
    assert heard.runs() == [
        (Run.BEGUN, 3, 0), (Run.ENDED, 5, 0),
        (Run.BEGUN, 1, 1), (Run.BEGUN, 1, 2), (Run.ENDED, 3, 1), (Run.ENDED, 3, 2),
    ]  # fmt: skip
    assert heard.got() == [HELLO, A, B, B, B, C, *[A, B, C] * 2, TOLD]
    assert [row[1] for row in heard.of(Kind.PUT)] == [Put.START] * 3 + [Put.SENTINEL]
    assert [row[3] for row in heard.of(Kind.PUT)] == [0, 1, 2, -1]
    assert heard.of(Kind.SENTINEL) == [(0, 0, 0, 1), (0, 1, 0, 1)]
    (sent, came) = heard.of(Kind.TRAFFIC)
    assert (sent[2], came[2]) == (4, len(heard.got()))
    assert sent[3] == sum(row[2] for row in heard.of(Kind.PUT))


def test_visit_settles_by_a_ping_where_there_is_no_sentinel(tmp_path):
    heard = talk(tmp_path, service(), "visit", dialect=spoken(sentinel=None))
    assert heard.done() == (0, "")
    ((_, _, _, token),) = heard.of(Kind.PING)
    assert heard.of(Kind.PONG) == [(0, 0, 0, token)]
    assert not heard.of(Kind.SENTINEL)


def test_a_run_without_some_events_is_over_all_the_same(tmp_path):
    async def only_the_end(socket, run_id, _):
        await say(socket, "c", run_id)

    heard = talk(tmp_path, service(only_the_end), "visit")
    assert heard.done() == (0, "")
    assert heard.runs()[-1] == (Run.ENDED, 1, 0)


def test_a_run_that_hangs_is_given_up_behind_a_proof_of_life_and_fails_its_session(tmp_path):
    heard = talk(tmp_path, service(hang), [CONNECT, run(), CLOSE], dialect=BRIEF)
    assert heard.done() == (1, "a run did not end")
    assert heard.runs() == [(Run.BEGUN, 1, 0), (Run.GIVEN_UP, 1, 0)]
    kinds = heard.kinds()
    assert kinds.index("SENTINEL") < len(kinds) - 1 - kinds[::-1].index("RUN")
    began, over = heard.at(Kind.RUN)
    assert over - began >= 400 * MS


def test_a_run_goes_on_while_its_events_come(tmp_path):
    async def slowly(socket, run_id, _):
        for kind in ("a", *"bbbbbb", "c"):
            await say(socket, kind, run_id)
            await asyncio.sleep(0.1)

    heard = talk(tmp_path, service(slowly), [CONNECT, run(), CLOSE], dialect=BRIEF)
    assert heard.done() == (0, "")
    assert heard.runs()[-1] == (Run.ENDED, 8, 0)


@pytest.mark.parametrize("named", [True, False])
def test_a_run_that_is_refused_fails_its_session(tmp_path, named):
    async def refuse(socket, run_id, _):
        await say(socket, "limited", run_id if named else None)

    heard = talk(tmp_path, service(refuse), [CONNECT, run(), CLOSE])
    assert heard.done() == (1, "a run was refused")
    assert heard.runs()[-1] == (Run.REFUSED, 0, 0)


def test_runs_are_cut_off_with_their_session(tmp_path):
    heard = talk(tmp_path, service(hang), [CONNECT, run(count=2, wait=False), SETTLE, CLOSE])
    assert heard.done() == (0, "")  # it never waited for them
    assert heard.runs()[2:] == [(Run.CUT_OFF, 1, 0), (Run.CUT_OFF, 1, 1)]


def test_a_connection_that_ends_amid_a_run_fails_and_cuts_it_off(tmp_path):
    async def drop(socket, run_id, _):
        await say(socket, "a", run_id)
        await socket.close(1011)

    heard = talk(tmp_path, service(drop), [CONNECT, run(), CLOSE])
    assert heard.done() == (1, "the connection ended")
    assert heard.runs()[-1] == (Run.CUT_OFF, 1, 0)
    assert [row[2] for row in heard.of(Kind.END)] == [Outcome.CLOSED]


# Across a reconnect.

REPLAY = {"request": '{"resume":{cursor}}', "answer": "again"}
AWAY = [
    CONNECT, run(wait=False), {"do": "await", "event": "a"}, {"do": "vanish"},
    {"do": "hold", "lasts": "20ms"}, CONNECT,
]  # fmt: skip


def forgetful(kept, *, replay=True):
    """Sends the first event of a run; the rest when it is asked for what was missed."""

    async def serve(socket):
        await socket.send('{"type":"hello"}')
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                if "go" in message:
                    kept.append(message["go"])
                    await say(socket, "a", message["go"], cursor=1)
                elif "ask" in message:
                    await answer(socket, message["ask"])
                elif "resume" in message:
                    kept.append(message["resume"])
                    for number, kind in enumerate("bc" if replay else "", 2):
                        await say(socket, kind, kept[0], cursor=number)

    return serve


def test_a_session_that_vanished_comes_back_asks_for_the_rest_and_goes_on_waiting(tmp_path):
    kept: list[object] = []
    heard = talk(
        tmp_path, forgetful(kept), [*AWAY, FINISH, {"do": "vanish"}, CONNECT, SETTLE, CLOSE],
        dialect=spoken(replay=REPLAY),
    )  # fmt: skip
    assert heard.done() == (0, "")
    assert kept[1:] == [1, 3]  # the last cursor that was seen, each time
    assert heard.runs() == [(Run.BEGUN, 1, 0), (Run.ENDED, 3, 0)]
    assert heard.of(Kind.RUN)[1][0] == 1  # in the second attempt
    resumed = [row[:2] for row in heard.of(Kind.PUT) if row[1] == Put.RESUME]
    assert resumed == [(1, Put.RESUME), (2, Put.RESUME)]
    assert [row[0] for row in heard.of(Kind.VANISH)] == [0, 1]
    assert [row[:3] for row in heard.of(Kind.END)] == [(op, 6, Outcome.NORMAL) for op in range(3)]
    assert not [row for row in heard.of(Kind.CLOSE) if row[0] < 2]
    assert [row[:2] for row in heard.of(Kind.TRAFFIC)] == [(o, d) for o in range(3) for d in (0, 1)]


def test_a_cursor_of_text_is_shown_as_what_stands_in_a_text(tmp_path):
    asked = []

    async def serve(socket):
        await socket.send('{"type":"hello","cursor":"a\\"1"}')
        asked.extend([json.loads(text)["from"] async for text in socket])

    heard = talk(
        tmp_path, serve, [CONNECT, {"do": "vanish"}, CONNECT, CLOSE],
        dialect=spoken(replay={"request": '{"from":"{cursor}"}'}),
    )  # fmt: skip
    assert heard.done() == (0, "")
    assert asked == ['a"1']


def test_a_run_whose_end_may_have_come_while_away_is_given_up_and_fails_nobody(tmp_path):
    dialect = spoken(replay=REPLAY, run=RUN | {"within": "100ms", "quiet": "100ms"})
    heard = talk(
        tmp_path, forgetful([], replay=False), [*AWAY, FINISH, SETTLE, CLOSE], dialect=dialect
    )
    assert heard.done() == (0, "")
    assert heard.runs()[-1] == (Run.GIVEN_UP, 1, 0)


def test_nothing_is_resumed_by_a_session_that_was_never_ready_before(tmp_path):
    calls = []

    async def second_time(socket):
        calls.append(1)
        if len(calls) == 1:
            await socket.close(1011)
            return
        await socket.send('{"type":"hello"}')
        calls.extend([text async for text in socket])

    heard = talk(
        tmp_path, second_time, [CONNECT, CLOSE], retry=True,
        dialect=spoken(replay=REPLAY, retry=["1ms"]),
    )  # fmt: skip
    assert heard.done() == (0, "")
    assert calls == [1, 1]


def test_a_connect_while_connected_closes_the_old_connection_first(tmp_path):
    heard = talk(tmp_path, service(), [CONNECT, CONNECT, run(), CLOSE])
    assert heard.done() == (0, "")
    assert [row[:3] for row in heard.of(Kind.END)] == [(op, 6, Outcome.NORMAL) for op in (0, 1)]
    assert {row[0] for row in heard.of(Kind.RUN)} == {1}


# Where the service names the runs.


def test_a_service_that_names_its_runs_is_asked_for_one_at_a_time(tmp_path):
    started: list[int] = []

    async def named(socket, _, size):
        started.append(len(started))
        await asyncio.sleep(0.02)
        await whole(socket, f"x{len(started)}", size)
        await say(socket, "b", "stranger")

    dialect = spoken(run=RUN | {"start": '{"go":1,"of":{size}}'})
    heard = talk(tmp_path, service(named), [CONNECT, run(2, count=3), CLOSE], dialect=dialect)
    assert heard.done() == (0, "")
    assert sorted(heard.runs()) == sorted(
        [(Run.BEGUN, 2, n) for n in range(3)] + [(Run.ENDED, 4, n) for n in range(3)]
    )
    first_got = heard.at(Kind.GOT)[1]
    assert heard.at(Kind.PUT)[1] > first_got


# Proofs of life, and not reading.


def test_a_hold_with_pings_wants_their_answers(tmp_path):
    hold = {"do": "hold", "lasts": "220ms", "ping_every": "100ms"}
    heard = talk(tmp_path, service(), [CONNECT, hold, CLOSE])
    assert heard.done() == (0, "")
    assert len(heard.of(Kind.PING)) == 3
    assert [row[3] for row in heard.of(Kind.PONG)] == [row[3] for row in heard.of(Kind.PING)]


@pytest.mark.parametrize("lasts", ["100ms", "5s"])
def test_a_ping_of_a_hold_that_stays_without_answer_ends_the_session(tmp_path, monkeypatch, lasts):
    monkeypatch.setattr(steps, "PONG_WITHIN_NS", 200 * MS)

    async def deaf(socket):
        await socket.send('{"type":"hello"}')
        socket.transport.pause_reading()
        await asyncio.sleep(0.5)
        socket.transport.resume_reading()
        await socket.wait_closed()

    hold = {"do": "hold", "lasts": lasts, "ping_every": "60ms"}
    heard = talk(tmp_path, deaf, [CONNECT, hold, CLOSE])
    assert heard.done() == (1, "no pong: deadline")
    (closed, *_) = heard.at(Kind.CLOSE)
    assert 200 * MS <= closed - heard.at(Kind.PING)[0] < 1000 * MS


def test_a_sentinel_without_an_answer_ends_the_session(tmp_path):
    settle = {"do": "settle", "within": "100ms"}
    heard = talk(tmp_path, service(ask=nothing), [CONNECT, settle, CLOSE])
    assert heard.done() == (1, "no answer to the sentinel: deadline")
    assert heard.of(Kind.SENTINEL) == [(0, 0, 0, 1)]


def test_nothing_is_read_during_a_stall(tmp_path):
    heard = talk(
        tmp_path, service(), [CONNECT, run(5, wait=False), {"do": "stall", "lasts": "200ms"},
                              FINISH, CLOSE],
    )  # fmt: skip
    assert heard.done() == (0, "")
    assert [row[1] for row in heard.of(Kind.STALL)] == [0, 1]
    since, until = heard.at(Kind.STALL)
    assert until - since >= 200 * MS
    assert not [t for t in heard.at(Kind.GOT) if since < t < until]
    assert len(heard.got()) == 8


def test_a_stall_that_is_cut_short_still_ends(tmp_path):
    script = [CONNECT, run(wait=False), {"do": "stall", "lasts": "10s"}]
    with pytest.raises(TimeoutError):
        talk(tmp_path, service(), script, within_s=0.3)
    heard = Talk(History.open(tmp_path / "history"))
    assert [row[1] for row in heard.of(Kind.STALL)] == [0, 1]
    assert heard.runs()[-1][0] == Run.CUT_OFF
    assert heard.done() == (2, "cancelled")


# Pressure.


def test_a_flood_is_over_when_each_has_some_answer(tmp_path):
    count = iter(range(100))

    async def limited(socket, number):
        kind = next(count)
        if kind % 3 == 1:
            await say(socket, "limited")
        else:
            await answer(socket, number)

    script = [CONNECT, {"do": "flood", "count": 30}, CLOSE]
    heard = talk(tmp_path, service(ask=limited), script)
    assert heard.done() == (0, "")
    puts = heard.of(Kind.PUT)
    assert [row[1] for row in puts] == [Put.FLOOD] * 30
    answered = [row[3] for row in heard.of(Kind.SENTINEL)]
    assert {row[1] for row in heard.of(Kind.SENTINEL)} == {1}
    assert answered == [1_000_000_000 + n for n in range(30) if n % 3 != 1]
    assert heard.got().count(LIMITED) == 10
    assert heard.at(Kind.CLOSE)[0] - heard.at(Kind.PUT)[-1] < 1500 * MS  # no silence was waited for


def test_a_flood_that_is_met_with_silence_fails_nobody(tmp_path):
    async def some(socket, number):
        if int(number) % 10 == 0:
            await answer(socket, number)

    script = [CONNECT, {"do": "flood", "count": 20}, {"do": "flood", "count": 1}, SETTLE]
    heard = talk(tmp_path, service(ask=some), [*script[:2], CLOSE])
    assert heard.done() == (0, "")
    assert len(heard.of(Kind.SENTINEL)) == 2
    assert heard.at(Kind.CLOSE)[0] - heard.at(Kind.PUT)[-1] >= 2000 * MS


@pytest.mark.parametrize(
    ("sizes", "promised", "outcome"),
    [
        ((64, 5000), "64KiB", (0, "")),
        ((5000, 1_100_000), "64KiB", (0, "")),
        ((1_100_000,), "2MiB", (1, "closed 1009")),
        ((1_100_000,), None, (0, "")),
    ],
)
def test_large_messages_are_taken_or_closed_with_1009(tmp_path, sizes, promised, outcome):
    each = [{"do": "large", "size": f"{size}B"} for size in sizes]
    more = {} if promised is None else {"accepts_max": promised}
    heard = talk(
        tmp_path, service(), [CONNECT, *each, CONNECT, SETTLE, CLOSE], dialect=spoken(**more)
    )
    assert heard.done() == outcome
    puts = [row for row in heard.of(Kind.PUT) if row[1] == Put.LARGE]
    assert [row[2] for row in puts] == list(sizes)
    answered = [row[3] for row in heard.of(Kind.SENTINEL) if row[1] == 1]
    small = [number for number, size in enumerate(sizes, 1) if size < 1 << 20]
    assert answered[: len(small)] == small
    codes = [row[2] for row in heard.of(Kind.CLOSE) if row[2] == 1009]
    assert len(codes) == (2 if max(sizes) > 1 << 20 else 0)  # theirs, and our answer


def test_a_large_message_without_a_sentinel_waits_for_anything(tmp_path):
    async def echo(socket):
        await socket.send('{"type":"hello"}')
        async for text in socket:
            await socket.send(text)

    script = [CONNECT, {"do": "large", "size": "3KiB"}, CLOSE]
    heard = talk(tmp_path, echo, script, dialect=spoken(sentinel=None))
    assert heard.done() == (0, "")
    assert [row[1:3] for row in heard.of(Kind.PUT)] == [(Put.LARGE, 3072)]
    assert not heard.of(Kind.SENTINEL)


def queue_of(most, pads):
    """A service with a queue of its own for a reader that does not read: drops the newest."""

    async def serve(socket):
        transport = socket.transport
        transport.set_write_buffer_limits(high=0)
        transport.get_extra_info("socket").setsockopt(1, 7, 16 * 1024)  # SO_SNDBUF
        waiting: asyncio.Queue[str] = asyncio.Queue()

        async def write():
            while True:
                await socket.send(await waiting.get())

        writing = asyncio.ensure_future(write())
        waiting.put_nowait('{"type":"hello"}')
        try:
            async for text in socket:
                message = json.loads(text)
                if "ask" in message:
                    waiting.put_nowait(json.dumps({"type": "told", "n": message["ask"]}))
                    continue
                for kind in ("a", *("b" for _ in range(message["of"])), "c"):
                    if waiting.qsize() < most:
                        told = {"type": kind, "run_id": message["go"], "x": "x" * message["pad"]}
                        waiting.put_nowait(json.dumps(told))
                        await asyncio.sleep(0)
                pads.add(message["pad"])
        finally:
            writing.cancel()

    return serve


def test_a_squeeze_finds_where_a_queue_begins_to_lose(tmp_path):
    pads: set[int] = set()
    dialect = spoken(run=RUN | {"start": '{"go":"{run}","of":{size},"pad":{pad}}'})
    squeeze = {"do": "squeeze", "upto": 400, "repeats": 1, "pad": 10_000}
    heard = talk(
        tmp_path, queue_of(40, pads), [CONNECT, squeeze, run(2), SETTLE, CLOSE], dialect=dialect
    )
    assert heard.done() == (0, "")
    assert pads == {10_000, 0}
    sizes = {number: a for flag, a, number in heard.runs() if flag == Run.BEGUN}
    ends = {number: flag for flag, _, number in heard.runs() if flag != Run.BEGUN}
    assert set(sizes) == set(ends)
    keys = [row[3] for row in heard.of(Kind.GOT) if row[1] == B]
    lost = {sizes[number] for number in sizes if keys.count(number) < sizes[number]}
    whole_ones = set(sizes.values()) - lost
    assert lost
    assert max(size for size in whole_ones if size < min(lost)) >= 0.8 * min(lost)
    assert 40 <= min(lost) <= 90  # the queue, and what the sockets hold of it
    stalls = heard.of(Kind.STALL)
    assert [row[1] for row in stalls] == [0, 1] * (len(sizes) - 1)
    # Nothing was lost of the run that was read as it came.
    assert ends[len(sizes) - 1] == Run.ENDED


def test_a_squeeze_gives_a_service_that_sends_slowly_more_time(tmp_path):
    async def slowly(socket, run_id, size):
        for kind in ("a", *("b" for _ in range(size)), "c"):
            await asyncio.sleep(0.02)
            await say(socket, kind, run_id)

    async def serve(socket):
        await socket.send('{"type":"hello"}')
        running = []
        async for text in socket:
            message = json.loads(text)
            if "ask" in message:
                await answer(socket, message["ask"])
            else:
                running.append(asyncio.ensure_future(slowly(socket, message["go"], message["of"])))

    squeeze = {"do": "squeeze", "upto": 20, "repeats": 1, "pad": 0}
    heard = talk(tmp_path, serve, [CONNECT, squeeze, CLOSE])
    assert heard.done() == (0, "")
    begun = [row for row in heard.runs() if row[0] == Run.BEGUN]
    assert {row[1] for row in begun} == {20}
    assert len(begun) > 1  # the first ones were still being sent when we read again
    assert {row[0] for row in heard.runs()} == {Run.BEGUN, Run.ENDED}


# What only the script decides.


def test_pauses_are_spread_the_same_way_by_the_same_seed(tmp_path):
    async def refuse(socket):
        await socket.close(1011)

    pauses = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        count: list[int] = []

        async def serve(socket, count=count):
            count.append(1)
            if len(count) <= 4:
                await refuse(socket)
            else:
                await socket.send('{"type":"hello"}')
                await socket.wait_closed()

        heard = talk(
            tmp_path / place, serve, [CONNECT, CLOSE], retry=True, jitter="50%",
            dialect=spoken(retry=["100ms"]),
        )  # fmt: skip
        ends, dials = heard.at(Kind.END), heard.history.attempts["dial"].tolist()
        waited = [dial - end for end, dial in zip(ends, dials[1:], strict=False)]
        assert all(50 * MS <= each < 260 * MS for each in waited), waited
        assert max(waited) - min(waited) > 8 * MS
        pauses.append(waited)
    # As close as a wheel of 8 ms and a busy machine can be.
    assert all(abs(a - b) < 60 * MS for a, b in zip(*pauses, strict=True)), pauses


def test_another_session_of_the_same_user_and_a_leak_to_another(tmp_path):
    sockets = []

    async def serve(socket):
        await socket.send('{"type":"hello"}')
        sockets.append(socket)
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                if "ask" in message:
                    await answer(socket, message["ask"])
                    continue
                for each in sockets:
                    with contextlib.suppress(websockets.ConnectionClosed):
                        await say(each, "a", message["go"], user="probe-0")
                await whole(socket, message["go"], 1)

    script = [CONNECT, {"do": "hold", "lasts": "50ms"}, run(), {"do": "hold", "lasts": "150ms"}]
    heard = talk(tmp_path, serve, script, users=("probe-0", "probe-1"))
    for session in (0, 1):
        keys = {row[3] for row in heard.of(Kind.GOT, session) if row[1] == A}
        assert keys == {0, 1 << 32}
    assert not heard.of(Kind.FOREIGN, 0)
    assert heard.of(Kind.FOREIGN, 1) == [(0, 1, A, identity_mark(0))] * 2
    assert heard.history.of(Kind.KEPT)["session"].tolist() == [1, 1]
