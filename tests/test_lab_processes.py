"""A lab of several processes: each user in one of them, and all of them one lab."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import aiohttp
import pytest

from probe.engine.lab import LabProcess
from probe.lab.__main__ import main
from probe.lab.heads import is_whole, read_head, token_in
from probe.lab.link import PACKET_BYTES_MAX, Link, pair
from probe.lab.share import owner
from probe.model.target import Lab as LabSettings
from tests.lab_process import (
    DEADLINE_S,
    ENDPOINTS,
    EVENTS,
    NEVER_READY,
    SECRET,
    UPGRADE,
    Lab,
    Talk,
    check_ledger,
    in_a_session,
    raw,
    request,
    set_defects,
    token,
    until,
    websocket,
)

THREE = ("--processes", "3")


def users(processes, each):
    """So many users of each process, told by where they belong."""
    found: dict[int, list[str]] = {number: [] for number in range(1, processes + 1)}
    number = 0
    while any(len(names) < each for names in found.values()):
        names = found[owner(f"user{number}", processes)]
        if len(names) < each:
            names.append(f"user{number}")
        number += 1
    return found


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_users_are_spread_evenly_and_always_alike():
    counts = Counter(owner(f"user{number}", 4) for number in range(4_000))
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 850
    assert owner("ann", 4) == owner("ann", 4)


def test_every_connection_of_a_user_is_in_the_process_that_has_the_user(tmp_path):
    belong = users(3, 2)
    with Lab(tmp_path, *THREE) as lab:
        assert len(lab.hello["processes"]) == 3

        async def talk_to(http):
            names = [name for group in belong.values() for name in group]
            talks = {
                name: [await Talk.open(http, lab, name, path) for path in ENDPOINTS]
                for name in names
            }
            for mine in talks.values():
                await mine[0].say("start_agent")
            for name, mine in talks.items():
                for talk in mine:
                    await talk.read(len(EVENTS))
                    assert [event["type"] for event in talk.events] == EVENTS
                    assert talk.ready["user_id"] == name
                    assert {event["run_id"] for event in talk.events} == {
                        event["run_id"] for event in mine[0].events
                    }
            for mine in talks.values():
                for talk in mine:
                    assert await talk.sync() == []  # and nothing of another user

        in_a_session(talk_to)
        check_ledger(lab)
    where = {line["user_id"]: line["process"] for line in lab.lines("close")}
    assert where == {name: number for number, group in belong.items() for name in group}
    assert {line["process"] for line in lab.lines("run")} == {1, 2, 3}
    last = lab.lines()[-1]
    assert (last["process"], last["phase"]) == (0, "stopped")


def test_who_comes_is_known_by_any_presentation(tmp_path):
    with Lab(tmp_path, *THREE) as lab:
        for (name,) in users(3, 1).values():
            shown = token(sub=name)
            for path, headers in (
                ("/ws", {"Sec-WebSocket-Protocol": f"jwt-auth, jwt.{shown}"}),
                ("/ws/factory", {"Sec-WebSocket-Protocol": f"bearer.{shown}"}),
                ("/ws", {"Authorization": f"bearer {shown}"}),
                (f"/ws?x=1&token={shown}", {}),
                ("/ws", {"Cookie": f"a=b; token={shown}"}),
                ("http://lab/ws", {"Authorization": f"Bearer {shown}"}),
                (f"HTTP://lab:80/ws?token={shown}", {}),
            ):
                with socket.create_connection(lab.address, DEADLINE_S) as sock:
                    sock.sendall(request(path, headers))
                    assert sock.recv(12) == b"HTTP/1.1 101"
    assert lab.lines("fault") == []


def test_a_head_may_come_in_pieces_and_bring_a_frame_along(tmp_path):
    text = b'{"type":"ping","id":"early"}'
    frame = bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text
    head = request(headers={"Authorization": f"Bearer {token(sub='ann')}"})
    with (
        Lab(tmp_path, *THREE) as lab,
        socket.create_connection(lab.address, DEADLINE_S) as sock,
    ):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(head), 40):
            sock.sendall(head[start : start + 40])
            time.sleep(0.002)
        sock.sendall(frame)
        got = b""
        while b'"early"' not in got:
            got += sock.recv(4096)
        assert got.startswith(b"HTTP/1.1 101")
        assert got.index(b"connection_ready") < got.index(b'"pong"')


NO_GOOD = (
    (b"nonsense\r\n", 400),
    (b"GET /nowhere HTTP/1.1\r\nHost: lab\r\n\r\n", 404),
    (b"GET /%77s HTTP/1.1\r\nHost: lab\r\n\r\n", 426),
    (b"POST /ws HTTP/1.1\r\nHost: lab\r\n\r\n", 405),
    (b"GET /ws HTTP/1.1\r\nHost: lab\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 400),
    (b"GET /ws HTTP/1.1\r\nHost: lab\r\nno colon\r\n\r\n", 400),
    (b"GET /ws HTTP/1.1\r\n\r\n", 400),
    (b"GET http://lab/ws HTTP/1.1\r\nHost: lab\r\n\r\n", 426),
)


def test_what_is_no_good_is_answered_as_by_one_process_and_the_connection_closed(tmp_path):
    with Lab(tmp_path, *THREE) as lab, Lab(tmp_path, ledger="one") as one:
        for head, status in NO_GOOD:
            assert raw(lab, head)[0] == status, head
            close = head.replace(b"Host: lab", b"Host: lab\r\nConnection: close")
            assert raw(one, close)[0] == status, head
        # What comes behind a request is not served: it could be of another process.
        health = b"GET /health HTTP/1.1\r\nHost: lab\r\n\r\n"
        status, headers, body = raw(lab, health + health)
        assert status == 200
        assert ("Connection", "close") in headers
        assert body.count(b"HTTP/1.1") == 0


def test_a_user_is_refused_where_they_do_not_belong(tmp_path):
    with Lab(tmp_path, *THREE) as lab:
        for number, (name,) in users(3, 1).items():
            if number == owner("nobody", 3):
                continue
            # The front does not know this spelling of the query, the library does.
            answer = raw(lab, request(f"/ws?t%6Fken={token(sub=name)}"))
            assert (answer[0], json.loads(answer[2])) == (421, {"error": "misdirected"})
            # And who is known by the first message only cannot be moved any more.
            answer = raw(lab, request("/ws?auth=message"))
            assert (answer[0], json.loads(answer[2])) == (
                501, {"error": "first_message_needs_one_process"},
            )  # fmt: skip
    assert [line["kind"] for line in lab.lines("fault")] == ["misdirected"] * 2


def test_what_a_user_says_over_http_reaches_the_process_that_has_them(tmp_path):
    with Lab(tmp_path, *THREE) as lab:

        async def talk_to(http):
            for group in users(3, 1).values():
                (name,) = group
                own = token(sub=name)
                bearer = {"Authorization": f"Bearer {own}"}
                capped = lab.url + "/account/limits?connections=1"
                async with http.put(capped, headers=bearer) as answer:
                    assert answer.status == 200
                async with websocket(http, lab, headers=bearer) as ws:
                    await ws.receive_json()
                    with pytest.raises(aiohttp.WSServerHandshakeError, match="429"):
                        await websocket(http, lab, headers=bearer)
                    revoked = lab.url + "/auth/revoke"
                    async with http.post(revoked, headers=bearer, data={"token": own}) as answer:
                        assert answer.status == 200
                    closed = await ws.receive()
                    assert (closed.data, closed.extra) == (4403, "token revoked")
                with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                    await websocket(http, lab, headers=bearer)

        in_a_session(talk_to)
        check_ledger(lab)


def test_a_logout_covers_a_token_of_the_same_second_that_was_never_shown(tmp_path):
    with Lab(tmp_path, *THREE) as lab:

        async def minted(http, name):
            form = {"grant_type": "password", "username": name, "password": SECRET}
            async with http.post(lab.url + "/auth/token", data=form) as answer:
                return (await answer.json())["access_token"]

        async def talk_to(http):
            for group in users(3, 1).values():
                (name,) = group
                first, second = await minted(http, name), await minted(http, name)
                bearer = {"Authorization": f"Bearer {first}"}
                async with http.post(lab.url + "/auth/logout", headers=bearer) as answer:
                    assert answer.status == 200
                headers = {"Authorization": f"Bearer {second}"}
                with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                    await websocket(http, lab, headers=headers)

        in_a_session(talk_to)


def test_defects_are_set_in_all_processes_and_counted_together(tmp_path):
    with Lab(tmp_path, *THREE) as lab:

        async def talk_to(http):
            talks = [
                await Talk.open(http, lab, name) for group in users(3, 1).values() for name in group
            ]
            await set_defects(http, lab, drop_first_event=1)
            for talk in talks:
                await talk.say("start_agent")
                await talk.read(len(EVENTS) - 1)
                assert [event["type"] for event in talk.events] == EVENTS[1:]
            wrong = {"breaker_global": "1s"}
            async with http.post(lab.url + "/_lab/defects", json=wrong) as answer:
                assert answer.status == 400
                assert "--processes" in (await answer.json())["error"]

        in_a_session(talk_to)
        check_ledger(lab)
    assert {line["process"] for line in lab.lines("hit")} == {1, 2, 3}
    assert lab.lines()[-1]["hits"] == {"drop_first_event": 3}


def test_while_one_is_not_ready_nobody_is_let_in(tmp_path):
    with Lab(tmp_path, *THREE, boot=NEVER_READY) as lab:
        for group in users(3, 1).values():
            answer = raw(lab, request(headers={"Authorization": f"Bearer {token(sub=group[0])}"}))
            assert (answer[0], json.loads(answer[2])) == (503, {"error": "starting"})
    lined = [(line["process"], line["phase"]) for line in lab.lines("phase")]
    assert not [pair for pair in lined if pair[1] in ("ready", "healthy")]


def test_the_lab_is_ready_when_the_last_process_is_and_then_healthy(tmp_path):
    with Lab(tmp_path, *THREE) as lab:
        until(lambda: "healthy" in lab.phases())
        lines = [line for line in lab.lines("phase") if line["phase"] in ("ready", "healthy")]
        lines.sort(key=lambda line: line["t_ns"])
        assert {line["process"] for line in lines[:3]} == {1, 2, 3}
        assert [(line["process"], line["phase"]) for line in lines[3:]] == [
            (0, "ready"),
            (0, "healthy"),
        ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--processes", "0"), "1 to 64"),
        (("--processes", "65"), "1 to 64"),
        (("--processes", "2", "--tls", "ca.pem"), "leave --processes out"),
        (("--processes", "2", "--defect", "cross_user_leak"), "all users in one process"),
        (("--processes", "2", "--defect", "rate_limit_global"), "all users in one process"),
        (("--processes", "2", "--defect", "breaker_sticks"), "all users in one process"),
        (("--processes", "2", "--defect", "blocking_dependency"), "all users in one process"),
    ],
)
def test_what_could_not_be_true_of_several_processes_is_refused(options, says, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert says in capsys.readouterr().err


def test_a_lost_process_ends_the_lab_with_its_reason(tmp_path):
    with Lab(tmp_path, *THREE) as lab:
        pids = lab.hello["processes"]
        os.kill(pids[1], signal.SIGKILL)
        assert lab.process.wait(DEADLINE_S) == 5
        assert lab.stderr.read_text() == (
            "probe.lab: process 2 of the lab is lost: it has ended; the lab stops with it\n"
        )
        lab.stderr.write_text("")
        assert [line["number"] for line in lab.lines("fault")] == [2]
        assert "stopped" not in lab.phases()
        until(lambda: all(is_gone(pid) for pid in pids))


def test_a_killed_front_takes_all_with_it(tmp_path):
    with (
        Lab(tmp_path, *THREE) as lab,
        socket.create_connection(lab.address, DEADLINE_S) as sock,
    ):
        sock.sendall(request(headers={"Authorization": f"Bearer {token()}"}))
        assert sock.recv(12) == b"HTTP/1.1 101"
        lab.process.kill()
        until(lambda: all(is_gone(pid) for pid in lab.hello["processes"]))
        lab.process.wait(DEADLINE_S)
        with pytest.raises(ConnectionError), socket.create_connection(lab.address, DEADLINE_S):
            pass


def test_a_stop_closes_the_sessions_of_all(tmp_path):
    with Lab(tmp_path, *THREE) as lab:

        async def talk_to(http):
            talks = [
                await Talk.open(http, lab, name) for group in users(3, 1).values() for name in group
            ]
            lab.process.send_signal(signal.SIGTERM)
            for talk in talks:
                closed = await talk.ws.receive()
                assert (closed.data, closed.extra) == (1001, "going away")

        in_a_session(talk_to)
        assert lab.process.wait(DEADLINE_S) == 0
    assert Counter(line["code"] for line in lab.lines("close")) == {1001: 3}


def test_a_port_that_is_taken_is_told_and_leaves_nobody(tmp_path):
    with Lab(tmp_path, *THREE) as lab:
        ended = subprocess.run(
            [sys.executable, "-m", "probe.lab", *THREE, "--port", str(lab.address[1])],
            check=False, capture_output=True, text=True, timeout=DEADLINE_S,
            env={**os.environ, "PROBE_LAB_SECRET": SECRET},
        )  # fmt: skip
    assert ended.returncode == 3
    assert "is taken" in ended.stderr


def test_many_connects_at_once_are_all_served(tmp_path):
    with Lab(tmp_path, "--processes", "2") as lab:

        async def one(http, number):
            bearer = {"Authorization": f"Bearer {token(sub=f'user{number % 40}')}"}
            async with websocket(http, lab, headers=bearer) as ws:
                assert (await ws.receive_json())["type"] == "connection_ready"
                await ws.send_json({"type": "ping", "id": str(number)})
                assert (await ws.receive_json())["id"] == str(number)

        async def talk_to(http):
            await asyncio.gather(*(one(http, number) for number in range(120)))

        in_a_session(talk_to)
        check_ledger(lab)
    assert Counter(lab.outcomes()) == {("accepted", 101): 120}


def arrive(lab, name):
    """A client of this user: its socket and the answer, which is nothing where it is cut."""
    sock = socket.create_connection(lab.address, DEADLINE_S)
    sock.sendall(request(headers={"Authorization": f"Bearer {token(sub=name)}"}))
    try:
        return sock, sock.recv(12)
    except ConnectionResetError:
        return sock, b""


def test_a_process_is_given_no_more_clients_than_it_has_descriptors_for(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nulimit -n 40\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (ann,), (bob,) = users(2, 1).values()
    with Lab(tmp_path, "--processes", "2") as lab, contextlib.ExitStack() as open_ones:
        came = [arrive(lab, ann) for _ in range(12)]
        for sock, _ in came:
            open_ones.enter_context(sock)
        assert [answer for _, answer in came] == 8 * [b"HTTP/1.1 101"] + 4 * [b""]
        faults = [(line["process"], line["kind"]) for line in lab.lines("fault")]
        assert faults == 4 * [(0, "too_many_sockets")]
        sock, answer = arrive(lab, bob)
        assert answer == b"HTTP/1.1 101"
        sock.close()
        for sock, _ in came[:2]:
            sock.close()
        until(lambda: len(lab.lines("close")) == 3)

        def is_served():
            sock, answer = arrive(lab, ann)
            open_ones.enter_context(sock)
            return answer == b"HTTP/1.1 101"

        until(is_served)
        until(is_served)
        assert not is_served()


def test_a_client_for_whom_no_descriptor_is_left_is_told_in_the_ledger(tmp_path):
    (ann,), (bob,) = users(2, 1).values()
    with Lab(tmp_path, "--processes", "2") as lab:
        pid = lab.hello["processes"][0]
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))  # no new one
        sock, answer = arrive(lab, ann)
        sock.close()
        assert answer == b""
        fault = until(lambda: lab.lines("fault"))
        assert [(line["process"], line["kind"]) for line in fault] == [(1, "too_many_sockets")]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        for name in (ann, bob):
            sock, answer = arrive(lab, name)
            sock.close()
            assert answer == b"HTTP/1.1 101"
        assert len(lab.lines("fault")) == 1


def test_a_packet_beyond_the_bound_loses_the_link():
    async def live():
        near, far = pair()
        why = asyncio.get_running_loop().create_future()
        Link(near, lambda *_: why.set_result("it was taken"), why.set_result)
        far.send(b"x" * (PACKET_BYTES_MAX + 1))
        async with asyncio.timeout(DEADLINE_S):
            assert await why == "it sent a packet beyond the bound"
        far.close()

    asyncio.run(live())


def head(first="GET /ws HTTP/1.1", **headers):
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([first, *lines, "", ""]).encode()


def test_the_end_of_a_head_is_seen_and_what_is_none_is_not_waited_for():
    whole = head(**{name.replace("-", "_"): value for name, value in UPGRADE.items()})
    assert is_whole(whole)
    assert not any(is_whole(whole[:size]) for size in range(len(whole) - 1))
    assert is_whole(b"GET / HTTP/1.1\n\n")
    assert is_whole(b"get / HTTP/1.1\r\n")
    assert is_whole(b"\x16\x03\x01\n")
    assert is_whole(b"GET /" + b"x" * 40_000)
    assert not is_whole(b"")


@pytest.mark.parametrize(
    ("received", "found"),
    [
        (head(Authorization="Bearer one"), "one"),
        (head(Authorization="Basic one"), ""),
        (head(), ""),
        (head("GET /health HTTP/1.1", Authorization="Bearer one"), None),
        (head("POST /auth/revoke HTTP/1.1", Authorization="Bearer one"), "one"),
        (head("POST /auth/revoke?token=two HTTP/1.1"), ""),
        (head("GET /ws?token=two HTTP/1.1", Authorization="Bearer one"), "one"),
        (head("GET /ws?token=two HTTP/1.1", Cookie="token=three"), "two"),
        (head(Sec_WebSocket_Protocol="jwt-auth, jwt.zero", Authorization="Bearer one"), "zero"),
        (head(Sec_WebSocket_Protocol="other", Authorization="Bearer one"), "one"),
        (head(Cookie="x=y; token=three"), "three"),
        (head("GET http://lab:1/ws?token=two HTTP/1.1"), "two"),
        (head("GET ws://a@[::1]/ws HTTP/1.1", Authorization="Bearer one"), "one"),
        (head("GET http://lab HTTP/1.1", Authorization="Bearer one"), None),
        (head("GET http://ws/health HTTP/1.1", Authorization="Bearer one"), None),
        (head("GET /x?http://lab/ws HTTP/1.1", Authorization="Bearer one"), None),
        (head("GET /ws?token=http://lab/ws HTTP/1.1"), "http://lab/ws"),
    ],
)
def test_the_token_is_looked_for_where_the_handshake_looks(received, found):
    read = read_head(received)
    assert read is not None
    assert token_in(read, ENDPOINTS) == found


def test_what_is_no_head_is_none():
    assert read_head(b"nonsense\r\n\r\n") is None


def test_the_probe_starts_it_and_says_why_it_died(tmp_path):
    async def live():
        lab = LabProcess(
            SECRET,
            LabSettings(processes=2),
            ledger=tmp_path / "ledger",
            log=tmp_path / "log",
        )
        within_ns = int(DEADLINE_S * 1e9)
        lab.spawn()
        try:
            await lab.announced(within_ns)
            await lab.ready(within_ns)
            assert len(lab.pids) == 3
            os.kill(lab.pids[2], signal.SIGKILL)
            await asyncio.to_thread(until, lambda: not lab.pid)
        finally:
            await lab.stop()
        assert lab.died() == (
            "the embedded lab died (exit 5): probe.lab: process 2 of the lab is lost: it has "
            "ended; the lab stops with it"
        )

    asyncio.run(live())
