"""The cap on a user's connections: done right, and checked long before it is counted."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from probe.lab import places
from probe.lab.defects import Defects
from probe.lab.places import FullError, Places
from tests.lab_process import (
    DEADLINE_S,
    in_a_session,
    raw,
    request,
    run_async,
    set_defects,
    token,
    until,
    websocket,
)


def gap(text):
    return Places(Defects(1, 1, [("cap_race", text)]))


def full(counted, user="ann"):
    try:
        counted.leave(counted.take(user))
    except FullError:
        return True
    return False


# ------------------------------------------------------------------ the count


def test_without_a_cap_there_is_none():
    counted = Places(Defects(1, 1, []))
    assert all(counted.take("ann").over_ns is None for _ in range(100))


def test_a_cap_holds_for_its_user_alone_and_what_ends_makes_room():
    counted = Places(Defects(1, 1, []))
    counted.allow("ann", 2)
    first, second = counted.take("ann"), counted.take("ann")
    assert first.over_ns is second.over_ns is None
    assert full(counted)
    assert not full(counted, "bob")
    counted.leave(first)
    assert not full(counted)
    counted.allow("ann", 1)  # the one that is open stays
    assert full(counted)
    counted.leave(second)
    assert not full(counted)
    counted.allow("ann", 0)
    assert full(counted)


def test_nothing_is_kept_of_who_is_gone_and_caps_are_bounded(monkeypatch):
    monkeypatch.setattr(places, "USERS_MAX", 3)
    counted = Places(Defects(1, 1, []))
    for number in range(5):
        counted.allow(f"u{number}", 1)
        counted.leave(counted.take(f"u{number}"))
    assert list(counted._caps) == ["u2", "u3", "u4"]
    assert not counted._open
    assert not counted._counted
    assert not counted._last_ns


def test_all_that_come_within_the_gap_get_in_and_are_counted_after_it():
    async def main():
        counted = gap("20ms")
        assert counted.take("no-cap").timer is None
        counted.allow("ann", 1)
        first, *over = [counted.take("ann") for _ in range(3)]
        assert first.over_ns is None
        assert all(place.over_ns is not None and place.over_ns >= 0 for place in over)
        while counted._counted["ann"] < 3:  # noqa: ASYNC110 -- bounded; timers tell nobody
            await asyncio.sleep(0.001)
        counted.leave(first)
        assert full(counted)  # there still are two
        for place in over:
            counted.leave(place)
        assert not full(counted)

    run_async(main)


def test_who_leaves_within_the_gap_is_never_counted():
    async def main():
        counted = gap("20ms")
        counted.allow("ann", 1)
        counted.leave(counted.take("ann"))
        await asyncio.sleep(0.05)
        assert not counted._counted

    run_async(main)


# ------------------------------------------------------------------ at the door


def bearer(user):
    return {"Authorization": f"Bearer {token(sub=user)}"}


def allow(lab, most, headers):
    head = request(f"/account/limits?connections={most}", {**headers, "Upgrade": None}, "PUT")
    status, _, body = raw(lab, head.replace(b"Connection: Upgrade", b"Connection: close"))
    return status, json.loads(body)


def status_of(lab, user):
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(request(headers=bearer(user)))
        return int(sock.recv(12).split()[1])


def test_a_user_has_no_more_connections_than_they_allow_themselves(lab):
    async def main(http):
        assert allow(lab, 2, bearer("kim")) == (200, {"connections": 2})
        held = [await websocket(http, lab, headers=bearer("kim")) for _ in range(2)]
        for ws in held:
            assert (await ws.receive_json())["type"] == "connection_ready"
        status, headers, body = raw(lab, request(headers=bearer("kim")))
        assert (status, json.loads(body)) == (429, {"error": "too_many_connections"})
        assert ("Retry-After", "1") in headers
        assert status_of(lab, "lee") == 101
        async with websocket(http, lab, "/ws?auth=message", headers={}) as late:
            await late.send_json({"type": "authenticate", "token": token(sub="kim")})
            answer = await late.receive()
            assert (answer.data, answer.extra) == (1008, "too_many_connections")
        await held[0].close()
        until(lambda: status_of(lab, "kim") == 101)
        await held[1].close()

    in_a_session(main)


@pytest.mark.parametrize(
    ("most", "shown", "status", "error"),
    [
        ("", "good", 400, "invalid_request"),
        ("-1", "good", 400, "invalid_request"),
        ("1234567", "good", 400, "invalid_request"),
        ("1", None, 401, "invalid_token"),
        ("1", "eyJ.not.one", 401, "invalid_token"),
    ],
)
def test_a_cap_that_is_none_is_refused(lab, most, shown, status, error):
    headers = bearer("kim") if shown == "good" else {"Authorization": shown and f"Bearer {shown}"}
    told, body = allow(lab, most, headers)
    assert (told, body["error"]) == (status, error)


def test_by_the_first_message_one_is_counted_as_well(lab):
    async def main(http):
        allow(lab, 1, bearer("moe"))
        async with websocket(http, lab, "/ws?auth=message", headers={}) as late:
            await late.send_json({"type": "authenticate", "token": token(sub="moe")})
            assert (await late.receive_json())["type"] == "connection_ready"
            assert status_of(lab, "moe") == 429
        until(lambda: status_of(lab, "moe") == 101)

    in_a_session(main)


def test_cap_race(defective):
    lab = defective

    async def main(http):
        await set_defects(http, lab, cap_race="20s")  # so nothing is counted in this test
        allow(lab, 1, bearer("ned"))
        ready = []
        for path, headers in (("/ws", bearer("ned")), ("/ws?auth=message", {})):
            for _ in range(2):
                ws = await websocket(http, lab, path, headers=headers)
                if not headers:
                    await ws.send_json({"type": "authenticate", "token": token(sub="ned")})
                ready.append((ws, await ws.receive_json()))
        hits = lab.lines("hit")
        assert {hit["defect"] for hit in hits} == {"cap_race"}
        assert [hit["connection_id"] for hit in hits] == [
            body["connection_id"] for _, body in ready[1:]
        ]
        assert all(hit["after_ns"] >= 0 and hit["user_id"] == "ned" for hit in hits)
        for ws, _ in ready:
            await ws.close()

        await set_defects(http, lab, cap_race="1ms")
        async with websocket(http, lab, headers=bearer("ned")) as ws:
            await ws.receive_json()
            until(lambda: status_of(lab, "ned") == 429)  # once it is counted

    in_a_session(main)
