"""How long a session lasts by its token, and what it is promised before it is ready."""

from __future__ import annotations

import json
import socket
import time

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from tests.lab_process import (
    DEADLINE_S,
    EVENTS,
    Lab,
    Talk,
    check_ledger,
    in_a_session,
    request,
    set_defects,
    token,
    until,
    websocket,
)
from tests.lab_talks import fresh, line_of, new_user, opened, revoke, to_the_end


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with Lab(tmp_path_factory.mktemp("lab"), "--pace", "1ms") as started:
        until(lambda: "ready" in started.phases())
        yield started
        check_ledger(started)
        assert started.lines("fault") == []


async def close_of(lab, talk):
    line = await line_of(lab, "close", connection_id=talk.id)
    return line["by"], line["code"]


def test_a_session_is_closed_at_the_expiry_in_the_middle_of_a_run(lab):
    ends_s = int(time.time()) + 2

    async def main(http):
        talk = await opened(http, lab, fresh("expires", exp=ends_s))
        await talk.say("start_agent", run_id="cut", thoughts=20_000)
        events, *end = await to_the_end(talk.ws)
        assert end == [4401, "token expired"]
        assert time.time() >= ends_s  # both clocks are this host's
        assert {event["run_id"] for event in events} == {"cut"}
        assert len(events) < 20_004
        again = await opened(http, lab, fresh("expires"))
        assert (await again.next())["run_id"] == "cut"  # the run goes on without its client
        await again.ws.close()
        assert await close_of(lab, talk) == ("server", 4401)

    in_a_session(main)


def test_a_token_within_the_leeway_opens_a_session_that_ends_at_once(lab):
    async def main(http):
        # The leeway is a second and so is the grain of exp: some handshakes come too late.
        while True:
            expired_s = int(time.time())
            bearer = {"Authorization": f"Bearer {fresh('leeway', exp=expired_s)}"}
            try:
                ws = await websocket(http, lab, headers=bearer)
                break
            except WSServerHandshakeError as error:
                if error.status != 401:
                    raise
        talk = Talk(ws, await ws.receive_json())
        assert talk.ready["type"] == "connection_ready"
        assert (await to_the_end(talk.ws))[1:] == (4401, "token expired")

    in_a_session(main)


def test_a_refresh_gives_another_expiry(lab):
    async def main(http):
        ends_s = int(time.time()) + 2
        longer = await opened(http, lab, fresh("longer", exp=ends_s))
        shorter = await opened(http, lab, fresh("shorter"))
        await longer.say("refresh", token=fresh("longer"))
        assert (await longer.next())["type"] == "refreshed"
        await shorter.say("refresh", token=fresh("shorter", exp=ends_s))
        assert (await shorter.next())["type"] == "refreshed"
        assert (await to_the_end(shorter.ws))[1:] == (4401, "token expired")
        assert time.time() >= ends_s
        assert await longer.sync() == []

    in_a_session(main)


def test_a_refresh_with_what_is_no_token_of_the_user_is_refused_and_changes_nothing(lab):
    async def main(http):
        gone = fresh("steady")
        await revoke(http, lab, gone)
        talk = await opened(http, lab, fresh("steady"))
        for bad in (
            {"token": fresh("somebody")},
            {"token": token("another-key-of-at-least-32-bytes-length", sub="steady")},
            {"token": fresh("steady", exp=int(time.time()) - 60)},
            {"token": gone},
            {"token": ""},
            {"token": 7},
            {},
        ):
            await talk.say("refresh", **bad)
            answer = await talk.next()
            assert (answer["type"], answer["code"]) == ("error", "refresh_refused")
        assert await talk.sync() == []
        assert talk.ready["user_id"] == "steady"

    in_a_session(main)


def test_what_was_refused_did_not_move_the_expiry(lab):
    async def main(http):
        talk = await opened(http, lab, fresh("fixed", exp=int(time.time()) + 2))
        await talk.say("refresh", token=fresh("somebody"))
        got, *end = await to_the_end(talk.ws)
        assert end == [4401, "token expired"]
        assert [body["type"] for body in got] == ["error"]

    in_a_session(main)


@pytest.mark.parametrize("path", ["/ws", "/ws?auth=message"])
def test_who_is_authenticated_is_so_once(lab, path):
    async def main(http):
        first = fresh("once")
        if path == "/ws":
            talk = await opened(http, lab, first)
        else:
            ws = await websocket(http, lab, path, headers={})
            await ws.send_json({"type": "authenticate", "token": first})
            talk = Talk(ws, await ws.receive_json())
        await talk.say("authenticate", token=fresh("twice"))
        answer = await talk.next()
        assert (answer["type"], answer["code"]) == ("error", "already_authenticated")
        await talk.say("start_agent", run_id="still")
        await talk.read(5)
        assert {event["user_id"] for event in talk.events} == {"once"}

    in_a_session(main)


def test_a_revocation_closes_the_sessions_of_that_token_and_no_other(lab):
    async def main(http):
        gone, kept = fresh("revoked"), fresh("revoked")
        talks = [await opened(http, lab, gone) for _ in range(2)]
        other = await opened(http, lab, kept)
        refreshed = await opened(http, lab, gone)
        await refreshed.say("refresh", token=kept)
        assert (await refreshed.next())["type"] == "refreshed"
        renewed = await opened(http, lab, kept)
        await renewed.say("refresh", token=gone)
        assert (await renewed.next())["type"] == "refreshed"
        await revoke(http, lab, gone)
        for talk in (*talks, renewed):
            assert (await to_the_end(talk.ws))[1:] == (4403, "token revoked")
            assert await close_of(lab, talk) == ("server", 4403)
        for talk in (other, refreshed):
            assert await talk.sync() == []
        ws = await websocket(http, lab, "/ws?auth=message", headers={})
        await ws.send_json({"type": "authenticate", "token": gone})
        answer = await ws.receive()
        assert (answer.data, answer.extra) == (1008, "token_revoked")

    in_a_session(main)


def test_a_logout_closes_all_sessions_of_the_user(lab):
    async def main(http):
        talks = [await opened(http, lab, fresh("leaves")) for _ in range(3)]
        stays = await opened(http, lab, fresh("stays"))
        bearer = {"Authorization": f"Bearer {fresh('leaves')}"}
        async with http.post(lab.url + "/auth/logout", headers=bearer) as answer:
            assert answer.status == 200
        for talk in talks:
            assert (await to_the_end(talk.ws))[1:] == (4403, "token revoked")
        assert await stays.sync() == []

    in_a_session(main)


def test_a_client_that_reads_nothing_is_closed_all_the_same(lab):
    async def main(http):
        shown = fresh("deaf")
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
            sock.settimeout(DEADLINE_S)
            sock.connect(lab.address)
            sock.sendall(request(headers={"Authorization": f"Bearer {shown}"}))
            assert sock.recv(16).startswith(b"HTTP/1.1 101 ")
            first = lab.lines("handshake")[-1]["connection_id"]
            talk = await opened(http, lab, fresh("deaf"))
            await talk.say("start_agent", thoughts=400, pad=1_000)
            await talk.read(404)
            await revoke(http, lab, shown)
            close = await line_of(lab, "close", connection_id=first)
            assert (close["by"], close["code"]) == ("server", 4403)
            assert close["unsent"] > 0

    in_a_session(main)


@pytest.mark.parametrize("path", ["/ws", "/ws?auth=message"])
def test_frames_behind_the_request_are_served_in_order_once_it_is_ready(lab, path):
    """All in one write: the request, and frames for which there is no 101 yet."""
    user = new_user()
    shown = fresh(user)
    said = [{"type": "authenticate", "token": shown}] if "auth" in path else []
    said += [{"type": "ping", "id": f"p{index}"} for index in range(50)]
    frames = b""
    for message in said:
        body = json.dumps(message).encode()
        size = (
            bytes((0x80 | len(body),))
            if len(body) < 126
            else b"\xfe" + len(body).to_bytes(2, "big")
        )
        frames += b"\x81" + size + bytes(4) + body
    headers = {} if "auth" in path else {"Authorization": f"Bearer {shown}"}
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(request(path, headers) + frames)
        with sock.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 101 ")
            while stream.readline() != b"\r\n":
                pass
            got = [read_frame(stream) for _ in range(51)]
    assert got[0]["type"] == "connection_ready"
    assert [one.get("id") for one in got[1:]] == [f"p{index}" for index in range(50)]


def read_frame(stream):
    size = stream.read(2)[1]
    if size == 126:
        size = int.from_bytes(stream.read(2), "big")
    return json.loads(stream.read(size))


def test_two_runs_of_a_thread_at_once_keep_their_ids(lab):
    async def main(http):
        talk = await opened(http, lab, fresh("double"))
        for name in ("one", "two"):
            await talk.say("start_agent", run_id=name, thread_id="same", thoughts=20)
        await talk.read(48)
        assert {event["thread_id"] for event in talk.events} == {"same"}
        for name in ("one", "two"):
            own = [event for event in talk.events if event["run_id"] == name]
            assert [event["sequence"] for event in own] == list(range(1, 25))
            assert [event["type"] for event in own][-1] == EVENTS[-1]

    in_a_session(main)


def test_expiry_ignored(lab):
    async def main(http):
        await set_defects(http, lab, expiry_ignored=1)
        ends_s = int(time.time()) + 1
        talk = await opened(http, lab, fresh("ignored", exp=ends_s))
        hit = await line_of(lab, "hit", connection_id=talk.id)
        assert time.time() >= ends_s
        assert await talk.sync() == []
        await set_defects(http, lab, expiry_ignored=None)
        assert (hit["defect"], hit["user_id"]) == ("expiry_ignored", "ignored")

    in_a_session(main)


def test_refresh_drops_session(lab):
    async def main(http):
        await set_defects(http, lab, refresh_drops_session=0.5)
        dropped = set()
        talks = [await opened(http, lab, fresh("drops")) for _ in range(20)]
        for talk in talks:
            await talk.say("refresh", token=fresh("drops"))
            message = await talk.ws.receive()
            if message.type is WSMsgType.CLOSE:
                assert (message.data, message.extra) == (1008, "refresh failed")
                assert await close_of(lab, talk) == ("server", 1008)
                dropped.add(talk.id)
            else:
                assert json.loads(message.data)["type"] == "refreshed"
                assert await talk.sync() == []
        await set_defects(http, lab, refresh_drops_session=None)
        hits = [one for one in lab.lines("hit") if one["defect"] == "refresh_drops_session"]
        assert {hit["connection_id"] for hit in hits} == dropped
        assert 0 < len(dropped) < len(talks)

    in_a_session(main)
