"""The windows on a real lab: each anomaly comes where its ledger says, and only there.

Where a test needs to be surely inside a window, that window is longer than any test may
last; where it needs to be surely outside, the window is over before the second action can
be sent, or opens when the test is long past. The sweep takes what offset comes, and holds
what the client saw against the ledger.
"""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from tests.lab_process import Lab, check_ledger, in_a_session, set_defects, until, websocket
from tests.lab_talks import dial, forged, fresh, line_of, new_user, opened, revoke, to_the_end

MS = 1_000_000
ALWAYS = "60s"  # longer than any test may last
OVER = "1ms"
OVER_S = 0.05  # after which that one is over
NOT_YET = "60s+60s"
OUTSIDE = (OVER, NOT_YET)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab"), "--pace", "1ms", "--seed", "3") as started:
        until(lambda: "ready" in started.phases())
        yield started
        check_ledger(started)
        assert started.lines("fault") == []


def hits(lab, defect, user):
    found = [one for one in lab.lines("hit") if one["user_id"] == user]
    assert {one["defect"] for one in found} <= {defect}
    return found


def with_defect(lab, name, value, play):
    """Play with one defect on: `play` gets the HTTP session and a new user."""
    user = new_user()

    async def main(http):
        await set_defects(http, lab, **{name: value})
        try:
            await play(http, user)
        finally:
            await set_defects(http, lab, **{name: None})

    in_a_session(main)
    return hits(lab, name, user)


def test_auth_after_accept_serves_a_bad_token_inside_its_window(lab):
    async def play(http, user):
        ws = await dial(http, lab, forged(user))
        await ws.send_json({"type": "start_agent", "run_id": f"{user}-r"})
        got, code, _ = await to_the_end(ws)
        assert got[0]["type"] == "connection_ready"
        assert got[0]["user_id"] == user
        assert {event["run_id"] for event in got[1:]} == {f"{user}-r"}
        assert len(got) == 6
        assert code == 1008

    # Wide enough for a run, and the test waits for its end.
    (hit,) = with_defect(lab, "auth_after_accept", "2s", play)
    assert hit["run_id"].endswith("-r")
    assert 0 <= hit["after_ns"] < 2_000 * MS


@pytest.mark.parametrize("value", ["50ms/0", "500ms+1ms"])
@pytest.mark.parametrize("shown", ["forged", "none"])
def test_auth_after_accept_serves_nothing_outside_and_closes_at_the_end(lab, shown, value):
    async def play(http, user):
        headers = {"Authorization": f"Bearer {forged(user)}"} if shown == "forged" else {}
        ws = await websocket(http, lab, headers=headers)
        await ws.send_json({"type": "start_agent"})
        got, code, reason = await to_the_end(ws)
        assert [one["type"] for one in got] == ["connection_ready"]
        assert got[0]["user_id"] == (user if shown == "forged" else "nobody")
        assert code == 1008
        assert reason == ("bad_signature" if shown == "forged" else "missing_token")

    assert with_defect(lab, "auth_after_accept", value, play) == []


def test_auth_after_accept_changes_nothing_for_a_good_token(lab):
    async def play(http, user):
        for value in ("50ms", "50ms+50ms", "50ms/0", OVER):
            await set_defects(http, lab, auth_after_accept=value)
            talk = await opened(http, lab, fresh(user))
            await talk.say("ping", id="early")
            await talk.say("start_agent", run_id=f"r{next(_numbers)}")
            assert (await talk.next())["id"] == "early"
            await talk.read(5)
            assert await talk.sync() == []
            await talk.ws.close()
        # It is judged in the end: its session ends with its token.
        talk = await opened(http, lab, shown := fresh(user))
        await talk.sync()
        await asyncio.sleep(OVER_S)
        await revoke(http, lab, shown)
        assert (await to_the_end(talk.ws))[1] == 4403

    assert with_defect(lab, "auth_after_accept", "50ms", play) == []


def test_auth_drops_early_frames_loses_what_comes_inside(lab):
    seen: list[str] = []

    async def play(http, user):
        ws = await dial(http, lab, fresh(user))
        names = [f"p{index}" for index in range(20)]
        for name in names:
            await ws.send_json({"type": "ping", "id": name})
        assert (await ws.receive_json())["type"] == "connection_ready"
        await ws.send_json({"type": "ping", "id": "last"})
        got = []
        while (answer := await ws.receive_json())["id"] != "last":
            got.append(answer["id"])
        seen[:] = [name for name in names if name not in got]
        assert got == [name for name in names if name in got]
        await ws.close()

    lost = with_defect(lab, "auth_drops_early_frames", "1s", play)
    assert [hit["id"] for hit in lost] == seen == [f"p{index}" for index in range(20)]
    assert all(0 <= hit["after_ns"] < 1_000 * MS for hit in lost)
    some = with_defect(lab, "auth_drops_early_frames", "1s/0.5", play)
    assert [hit["id"] for hit in some] == seen
    assert 0 < len(some) < 20
    # What comes before the window opens waits for its end, and is served.
    assert with_defect(lab, "auth_drops_early_frames", "500ms+1ms", play) == []
    assert seen == []


def test_auth_drops_early_frames_ends_with_its_client(lab):
    async def play(http, user):
        ws = await dial(http, lab, fresh(user))
        await ws.close()
        assert ws.close_code == 1000

    assert with_defect(lab, "auth_drops_early_frames", ALWAYS, play) == []


def test_token_reuse_race_leaves_the_second_without_a_word(lab):
    async def play(http, user):
        shown = fresh(user)
        first = await opened(http, lab, shown)
        seconds = [await dial(http, lab, shown) for _ in range(2)]
        for second in seconds:
            await second.send_json({"type": "ping"})
            await second.ping()
        other = await opened(http, lab, fresh(user))
        assert await first.sync() == await other.sync() == []
        waiting = [asyncio.create_task(second.receive()) for second in seconds]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert not done
        for second in seconds:
            await second.close()
        for name in [line["connection_id"] for line in hits(lab, "token_reuse_race", user)]:
            close = await line_of(lab, "close", connection_id=name)
            assert (close["by"], close["code"], close["sent"]) == ("client", 1000, {})

    found = with_defect(lab, "token_reuse_race", ALWAYS, play)
    assert len(found) == 2
    assert len({hit["first_connection_id"] for hit in found}) == 1
    assert len({hit["connection_id"] for hit in found}) == 2


@pytest.mark.parametrize("value", OUTSIDE)
def test_token_reuse_race_spares_the_second_that_comes_late_or_too_early(lab, value):
    async def play(http, user):
        shown = fresh(user)
        talks = []
        for _ in range(3):
            talks.append(await opened(http, lab, shown))
            await asyncio.sleep(OVER_S)
        for talk in talks:
            assert await talk.sync() == []

    assert with_defect(lab, "token_reuse_race", value, play) == []


def test_revoked_lingers_lets_in_and_lives_on_to_the_end(lab):
    async def play(http, user):
        shown = fresh(user)
        before = await opened(http, lab, shown)
        await revoke(http, lab, shown)
        assert await before.sync() == []
        after = await opened(http, lab, shown)
        await after.say("refresh", token=fresh(user))
        assert (await after.next())["code"] == "refresh_refused"
        for talk in (before, after):
            assert (await to_the_end(talk.ws))[1] == 4403
        with pytest.raises(Exception, match="401"):
            await dial(http, lab, shown)

    found = with_defect(lab, "revoked_lingers", "2s", play)
    whats = [hit["what"] for hit in found]
    assert sorted(whats) == ["handshake", "message", "message", "session", "session"]
    assert all(hit["after_ns"] >= 2_000 * MS for hit in found if hit["what"] == "session")
    assert all(hit["after_ns"] < 2_000 * MS for hit in found if hit["what"] == "handshake")


@pytest.mark.parametrize("value", [OVER, f"{ALWAYS}/0"])
def test_revoked_lingers_is_over(lab, value):
    async def play(http, user):
        shown = fresh(user)
        before = await opened(http, lab, shown)
        await revoke(http, lab, shown)
        assert (await to_the_end(before.ws))[1] == 4403
        await asyncio.sleep(OVER_S)
        with pytest.raises(Exception, match="401"):
            await dial(http, lab, shown)

    found = with_defect(lab, "revoked_lingers", value, play)
    assert [hit["what"] for hit in found] == (["session"] if value == OVER else [])


def test_refresh_race_loses_what_comes_behind_a_refresh(lab):
    seen: list[str] = []

    async def play(http, user):
        talk = await opened(http, lab, fresh(user))
        names = [f"p{index}" for index in range(20)]
        await talk.say("ping", id="before")
        await talk.say("refresh", token=fresh(user))
        for name in names:
            await talk.say("ping", id=name)
        await set_defects(http, lab, refresh_race=None)
        got = [one["id"] for one in await talk.sync() if one["type"] == "pong"]
        assert got[0] == "before"
        seen[:] = [name for name in names if name not in got]
        await set_defects(http, lab, refresh_race=OVER)
        await talk.say("refresh", token=fresh(user))
        await asyncio.sleep(OVER_S)
        await talk.say("ping", id="late")
        assert [one.get("id") for one in await talk.sync()] == [None, "late"]

    for value in (ALWAYS, f"{ALWAYS}/0.5"):
        lost = with_defect(lab, "refresh_race", value, play)
        assert [hit["id"] for hit in lost] == seen
        assert len(lost) == 20 if value == ALWAYS else 0 < len(lost) < 20


def test_reconnect_ghost_takes_the_events_but_not_their_replay(lab):
    async def play(http, user):
        dead = await opened(http, lab, fresh(user))
        other = await opened(http, lab, fresh(user))
        closed = await opened(http, lab, fresh(user))
        await closed.ws.close()
        await other.say("start_agent", run_id=f"{user}-a")
        await other.read(5)  # after a Close there is no ghost
        dead.ws._response.connection.transport.abort()
        await line_of(lab, "close", connection_id=dead.id)
        await other.say("start_agent", run_id=f"{user}-b")
        await line_of(lab, "run", run_id=f"{user}-b")
        assert await other.sync() == []
        again = await opened(http, lab, fresh(user))
        await again.say("resume", after=5)
        replayed = await again.sync()
        assert [one["cursor"] for one in replayed[1:]] == [6, 7, 8, 9, 10]
        await set_defects(http, lab, reconnect_ghost=NOT_YET)
        again.ws._response.connection.transport.abort()
        await line_of(lab, "close", connection_id=again.id)
        await other.say("start_agent", run_id=f"{user}-c")
        await other.read(10)
        assert await other.sync() == []
        found = [one for one in lab.lines("hit") if one["user_id"] == user]
        assert {one["connection_id"] for one in found} == {dead.id}

    found = with_defect(lab, "reconnect_ghost", ALWAYS, play)
    assert [hit["cursor"] for hit in found] == [6, 7, 8, 9, 10]
    assert {hit["connections"] for hit in found} == {1}


def test_double_run_mixup_shows_the_first_id(lab):
    async def play(http, user):
        talk = await opened(http, lab, fresh(user))
        stranger = await opened(http, lab, fresh(f"{user}-x"))
        await talk.say("start_agent", run_id="a", thread_id="t")
        await talk.say("start_agent", run_id="b", thread_id="t")
        await talk.say("start_agent", run_id="c", thread_id="other")
        await stranger.say("start_agent", run_id="d", thread_id="t")
        await talk.read(15)
        await stranger.read(5)
        counts = {
            name: sum(event["run_id"] == name for event in talk.events) for name in ("a", "b", "c")
        }
        assert counts == {"a": 10, "b": 0, "c": 5}
        assert {event["run_id"] for event in stranger.events} == {"d"}
        await set_defects(http, lab, double_run_mixup=OVER)
        for name in ("e", "f"):
            await asyncio.sleep(OVER_S)
            await talk.say("start_agent", run_id=name, thread_id="t")
        await talk.read(25)
        assert {event["run_id"] for event in talk.events[15:]} == {"e", "f"}

    (hit,) = with_defect(lab, "double_run_mixup", ALWAYS, play)
    assert (hit["run_id"], hit["first_run_id"], hit["thread_id"]) == ("b", "a", "t")
    assert hit["after_ns"] >= 0


def test_subscribe_race_loses_the_first_event_of_its_starter_alone(lab):
    async def play(http, user):
        for value, most in ((ALWAYS, 4), (NOT_YET, 5), (OVER, 5)):
            await set_defects(http, lab, subscribe_race=value)
            talk, other = [await opened(http, lab, fresh(user)) for _ in range(2)]
            await asyncio.sleep(OVER_S)
            await talk.say("start_agent", run_id=f"{user}{most}{value[0]}")
            await talk.read(most)
            await other.read(5)
            assert await talk.sync() == await other.sync() == []
            assert len(talk.events) == most
            await talk.ws.close()
            await other.ws.close()

    (hit,) = with_defect(lab, "subscribe_race", ALWAYS, play)
    assert (hit["type"], hit["sequence"], hit["connections"]) == ("agent_started", 1, 1)


def test_takeover_race_sends_a_run_to_the_newest_connection_alone(lab):
    async def play(http, user):
        for value, old_gets in ((ALWAYS, 0), (NOT_YET, 5), (OVER, 5)):
            await set_defects(http, lab, takeover_race=value)
            old, new = [await opened(http, lab, fresh(user)) for _ in range(2)]
            await asyncio.sleep(OVER_S)
            await old.say("start_agent", run_id=f"{user}{value[0]}{old_gets}")
            await new.read(5)
            await old.read(old_gets)
            assert await old.sync() == await new.sync() == []
            assert len(old.events) == old_gets
            await old.ws.close()
            await new.ws.close()

    (hit,) = with_defect(lab, "takeover_race", ALWAYS, play)
    assert hit["after_ns"] >= 0


def test_a_sweep_of_offsets_finds_the_anomaly_where_the_ledger_has_it(lab):
    """The offset in the ledger is that of the actions, within what the client can know."""
    bounds, seen = {}, set()
    width_ns, trials = 40 * MS, 60

    async def play(http, user):
        talk = await opened(http, lab, fresh(user))
        for trial in range(trials):
            first, second = f"{user}.{trial}.a", f"{user}.{trial}.b"
            sent = [time.perf_counter_ns()]
            await talk.say("start_agent", run_id=first, thread_id=str(trial))
            got = [await talk.next()]  # so the first was handled before this
            came = [time.perf_counter_ns()]
            await asyncio.sleep(0.080 * trial / trials)
            sent.append(time.perf_counter_ns())
            await talk.say("start_agent", run_id=second, thread_id=str(trial))
            got += [await talk.next() for _ in range(9)]
            came.append(time.perf_counter_ns())
            if second not in {one["run_id"] for one in got}:
                seen.add(second)
            bounds[second] = (sent[1] - came[0], came[1] - sent[0])

    found = with_defect(lab, "double_run_mixup", "20ms+40ms~2ms/0.8", play)
    assert {hit["run_id"] for hit in found} == seen
    assert 0 < len(seen) < trials
    for hit in found:
        least_ns, most_ns = bounds[hit["run_id"]]
        assert least_ns <= hit["after_ns"] <= most_ns
        assert 20 * MS - 12 * MS <= hit["after_ns"] < 20 * MS + width_ns + 12 * MS  # 6 sd
