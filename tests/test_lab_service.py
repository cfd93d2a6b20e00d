"""The healthy lab as clients that are not ours see it, against its own ledger."""

from __future__ import annotations

import base64
import json
import socket
import time

import aiohttp
import jwt
import pytest
from aiohttp import WSMsgType

from tests.lab_process import (
    DEADLINE_S,
    ENDPOINTS,
    EVENTS,
    SECRET,
    Lab,
    check_ledger,
    raw,
    request,
    run_async,
    token,
    until,
    websocket,
)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_run_sends_its_five_events_in_order(lab, endpoint):
    async def main():
        async with aiohttp.ClientSession() as http:
            offers = ["jwt-auth", f"jwt.{token(sub='bob')}"]
            async with websocket(http, lab, endpoint, headers={}, protocols=offers) as ws:
                assert ws.protocol == "jwt-auth"
                ready = await ws.receive_json()
                assert ready["type"] == "connection_ready"
                assert ready["user_id"] == "bob"
                ask = {"type": "start_agent", "run_id": f"r{endpoint}", "thread_id": "t.1"}
                await ws.send_json({**ask, "message": "hello"})
                events = [await ws.receive_json() for _ in EVENTS]
                assert [event["type"] for event in events] == EVENTS
                assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
                ids = {(e["run_id"], e["thread_id"], e["user_id"]) for e in events}
                assert ids == {(f"r{endpoint}", "t.1", "bob")}
                assert all(event["timestamp"] for event in events)
                assert events[2]["tool_name"] == events[3]["tool_name"]
                assert events[2]["parameters"] == {"query": "hello"}
                assert events[3]["results"]
                assert events[3]["duration"] > 0
                await ws.close(code=4001)
            return ready["connection_id"]

    seen: list[str] = []
    run_async(lambda: keep(seen, main()))
    handshake, run, close = until(lambda: closed(lab, seen[0]))
    assert (handshake["endpoint"], handshake["outcome"]) == (endpoint, "accepted")
    assert (run["run_id"], run["sent"], run["completed"]) == (f"r{endpoint}", 5, True)
    assert (close["by"], close["code"]) == ("client", 4001)
    assert close["sent"] == dict.fromkeys(["connection_ready", *EVENTS], 1)


async def keep(seen, awaitable):
    seen.append(await awaitable)


def closed(lab, connection_id):
    """The lines of one connection, once it is closed."""
    mine = [line for line in lab.lines() if line.get("connection_id") == connection_id]
    return mine if mine and mine[-1]["event"] == "close" else None


def test_the_close_code_is_echoed(lab):
    async def main():
        async with aiohttp.ClientSession() as http:
            for sent, echoed in ((1000, 1000), (4321, 4321)):
                async with websocket(http, lab, autoclose=False) as ws:
                    await ws.receive_json()
                    await ws._writer.close(sent, b"")
                    answer = await ws.receive()
                    assert (answer.type, answer.data) == (WSMsgType.CLOSE, echoed)

    run_async(main)


@pytest.mark.parametrize(
    ("path", "headers", "selected"),
    [
        ("/ws", {"Sec-WebSocket-Protocol": "jwt-auth, jwt.{}"}, "jwt-auth"),
        ("/ws", {"Sec-WebSocket-Protocol": "other, bearer.{}"}, "bearer.{}"),
        ("/ws", {"Sec-WebSocket-Protocol": "jwt.{}"}, "jwt.{}"),
        ("/ws", {"Authorization": "Bearer {}"}, None),
        ("/ws", {"Authorization": "bearer {}", "Sec-WebSocket-Protocol": "jwt-auth"}, "jwt-auth"),
        ("/ws?token={}", {}, None),
        ("/ws", {"Cookie": "a=b; token={}"}, None),
    ],
)
def test_every_presentation_is_accepted_and_the_subprotocol_told(lab, path, headers, selected):
    good = token()
    filled = {name: value.format(good) for name, value in headers.items()}
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(request(path.format(good), filled))
        with sock.makefile("rb") as stream:
            status = stream.readline()
            lines = [line.decode().strip() for line in iter(stream.readline, b"\r\n")]
            assert b'"connection_ready"' in stream.read(120)
    assert status.startswith(b"HTTP/1.1 101 ")
    answered = [line for line in lines if line.lower().startswith("sec-websocket-protocol:")]
    expected = [] if selected is None else [f"Sec-WebSocket-Protocol: {selected.format(good)}"]
    assert answered == expected
    assert "Server: probe-lab/1" in lines
    assert "X-Revision: lab-1" in lines


def test_offers_in_two_lines_of_the_header_are_one_list(lab):
    head = request(headers={"Sec-WebSocket-Protocol": "jwt-auth"})[:-2]
    head += f"Sec-WebSocket-Protocol: jwt.{token()}\r\n\r\n".encode()
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(head)
        assert b"Sec-WebSocket-Protocol: jwt-auth\r\n" in sock.recv(4096)


BAD_TOKENS = [
    ("missing_token", lambda: ""),
    ("invalid_token", lambda: "eyJ.not.one"),
    ("token_expired", lambda: token(exp=int(time.time()) - 30)),
    ("bad_signature", lambda: token("another-secret-0123456789-0123456789")),
    ("wrong_audience_or_issuer", lambda: token(aud="other")),
    ("wrong_audience_or_issuer", lambda: token(iss="other")),
    ("missing_claim", lambda: token(sub=None)),
    ("missing_claim", lambda: token(sub="")),
    ("missing_claim", lambda: token(exp=None)),
    ("missing_claim", lambda: token(aud=None)),
    ("unsupported_algorithm", lambda: token("", "none")),
    ("unsupported_algorithm", lambda: token(SECRET * 2, "HS384")),
]


@pytest.mark.parametrize(("error", "make"), BAD_TOKENS)
def test_a_bad_token_is_refused_before_the_upgrade(lab, error, make):
    bad = make()
    answers = [raw(lab, request(headers={"Authorization": f"Bearer {bad}"}))]
    if bad:
        answers.append(
            raw(lab, request(headers={"Sec-WebSocket-Protocol": f"jwt-auth, jwt.{bad}"}))
        )
        # A good one beside the bad one does not mend it.
        both = {"Sec-WebSocket-Protocol": f"bearer.{bad}"}
        answers.append(raw(lab, request(f"/ws?token={token()}", headers=both)))
    for status, headers, body in answers:
        assert (status, json.loads(body)) == (401, {"error": error})
        assert dict(headers)["WWW-Authenticate"].startswith("Bearer ")
        assert not bad or bad not in f"{headers}{body!r}"


def test_the_public_key_is_no_hmac_secret(lab):
    async def main():
        url = lab.url + "/.well-known/jwks.json"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            key = (await answer.json())["keys"][0]
        public = base64.urlsafe_b64decode(key["x"] + "=")
        forged = token(public)
        status, _, body = raw(lab, request(headers={"Authorization": f"Bearer {forged}"}))
        assert (status, json.loads(body)["error"]) == (401, "bad_signature")

    run_async(main)


def test_leeway_is_one_second(lab):
    # An expiry in this very second is inside the leeway whenever the request arrives in time.
    fresh = token(exp=int(time.time()) + 1)
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(request(headers={"Authorization": f"Bearer {fresh}"}))
        assert sock.recv(4096).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"Sec-WebSocket-Protocol": "graphql-ws, chat"}, 400, "unsupported_subprotocol"),
        ({"Sec-WebSocket-Protocol": "token=abc"}, 400, "malformed_subprotocol"),
        ({"Upgrade": None, "Connection": None}, 426, "upgrade_required"),
        ({"Connection": "keep-alive"}, 400, "bad_handshake"),
        ({"Sec-WebSocket-Version": "8"}, 426, "unsupported_version"),
        ({"Sec-WebSocket-Key": "c2hvcnQ="}, 400, "bad_handshake"),
        ({"Sec-WebSocket-Key": None}, 400, "bad_handshake"),
    ],
)
def test_what_is_no_fit_handshake_is_refused_though_the_token_is_good(lab, headers, status, error):
    before = len(lab.lines("handshake"))
    answer = raw(lab, request(headers={"Authorization": f"Bearer {token()}", **headers}))
    body = json.loads(answer[2])
    assert (answer[0], body["error"]) == (status, error)
    assert ("supported" in body) == error.endswith("subprotocol")
    (line,) = lab.lines("handshake")[before:]
    assert (line["outcome"], line["status"], line["error"]) == ("rejected", status, error)


@pytest.mark.parametrize(
    ("plain", "spoiled"), [(b"Upgrade: websocket", b"Up grade\x00: eyJx"), (b"Host: lab\r\n", b"")]
)
def test_http_that_cannot_be_read_is_not_quoted(lab, plain, spoiled):
    before = len(lab.lines("fault"))
    head = request(headers={"Authorization": f"Bearer {token()}"})
    assert plain in head
    status, headers, body = raw(lab, head.replace(plain, spoiled))
    assert (status, json.loads(body)) == (400, {"error": "bad_request"})
    assert dict(headers)["Server"] == "probe-lab/1"
    assert lab.stderr.read_text() == ""
    assert [line["kind"] for line in lab.lines("fault")[before:]] == ["bad_http"]


def test_the_first_message_authenticates(lab):
    async def main():
        async with aiohttp.ClientSession() as http:
            async with websocket(http, lab, "/ws?auth=message", headers={}) as ws:
                await ws.send_json({"type": "authenticate", "token": token(sub="cy")})
                ready = await ws.receive_json()
                assert (ready["type"], ready["user_id"]) == ("connection_ready", "cy")
            for message, reason in (
                ({"type": "authenticate", "token": "eyJ.not.one"}, "invalid_token"),
                ({"type": "authenticate"}, "authenticate first"),
                ({"type": "start_agent", "token": token()}, "authenticate first"),
            ):
                async with websocket(http, lab, "/ws?auth=message", headers={}) as ws:
                    await ws.send_json(message)
                    answer = await ws.receive()
                    assert (answer.type, answer.data, answer.extra) == (
                        WSMsgType.CLOSE,
                        1008,
                        reason,
                    )

    run_async(main)


@pytest.mark.long
def test_silence_instead_of_the_first_message_is_closed(lab):
    async def main():
        async with (
            aiohttp.ClientSession() as http,
            websocket(http, lab, "/ws?auth=message", headers={}) as ws,
        ):
            answer = await ws.receive()
            assert (answer.data, answer.extra) == (1008, "authentication timeout")

    run_async(main)


def test_small_talk(lab):
    async def main():
        async with aiohttp.ClientSession() as http, websocket(http, lab) as ws:
            await ws.receive_json()
            for message, code in (
                ('{"type": "dance"}', "unknown_type"),
                ("hello", "not_json"),
                ("[" * 5_000, "not_json"),
                ("[]", "no_type"),
                ('{"type": 1}', "no_type"),
                ('{"type": "start_agent", "message": 1}', "bad_message"),
                ('{"type": "start_agent", "run_id": "a b"}', "bad_id"),
                ('{"type": "start_agent", "thoughts": 0}', "bad_thoughts"),
                ('{"type": "start_agent", "thoughts": 20001}', "bad_thoughts"),
                ('{"type": "start_agent", "thoughts": true}', "bad_thoughts"),
                ('{"type": "start_agent", "pad": 16385}', "bad_pad"),
                ('{"type": "ping", "id": 7}', "bad_id"),
                ('{"type": "resume", "after": -1}', "bad_after"),
                ('{"type": "resume"}', "bad_after"),
                (f'{{"type": "start_agent", "run_id": "{token()}"}}', "bad_id"),
            ):
                await ws.send_str(message)
                answer = await ws.receive_json()
                assert (answer["type"], answer["code"], "run_id" in answer) == (
                    "error",
                    code,
                    False,
                )
            await ws.send_str('{"type": "start_agent", "run_id": "r", "pad": null}')
            answer = await ws.receive_json()
            assert (answer["code"], answer["run_id"]) == ("bad_pad", "r")
            await ws.send_bytes(b"{}")
            assert (await ws.receive_json())["code"] == "not_text"
            await ws.send_json({"type": "ping"})
            assert (await ws.receive_json())["type"] == "pong"

    run_async(main)


def test_a_control_ping_is_answered(lab):
    async def main():
        async with aiohttp.ClientSession() as http, websocket(http, lab, autoping=False) as ws:
            await ws.receive_json()
            await ws.ping(b"are you there")
            answer = await ws.receive()
            assert (answer.type, bytes(answer.data)) == (WSMsgType.PONG, b"are you there")

    run_async(main)


@pytest.mark.parametrize("compress", [0, 15])
def test_64_kib_is_the_most(lab, compress):
    async def main():
        async with (
            aiohttp.ClientSession() as http,
            websocket(http, lab, compress=compress) as ws,
        ):
            assert ws.compress == compress
            await ws.receive_json()
            fits = '{"type": "ping"}'.ljust(65_536)
            await ws.send_str(fits)
            assert (await ws.receive_json())["type"] == "pong"
            await ws.send_str(fits + " ")
            answer = await ws.receive()
            assert (answer.type, answer.data) == (WSMsgType.CLOSE, 1009)

    run_async(main)


def test_runs_go_side_by_side(lab):
    async def main():
        async with aiohttp.ClientSession() as http, websocket(http, lab) as ws:
            await ws.receive_json()
            names = ["one", "two", "three"]
            for name in names:
                await ws.send_json({"type": "start_agent", "run_id": name})
            events = [await ws.receive_json() for _ in range(15)]
            for name in names:
                mine = [event for event in events if event["run_id"] == name]
                assert [event["type"] for event in mine] == EVENTS
                assert len({event["thread_id"] for event in mine}) == 1
            # All three had begun before any was over: they were at it together.
            begun = [i for i, event in enumerate(events) if event["type"] == "agent_started"]
            over = [i for i, event in enumerate(events) if event["type"] == "agent_completed"]
            assert max(begun) < min(over)

    run_async(main)


def test_a_run_that_the_lab_breaks_off_is_told_as_broken(tmp_path):
    with Lab(tmp_path, "--pace", "1m") as slow:

        async def main():
            async with aiohttp.ClientSession() as http, websocket(http, slow) as ws:
                await ws.receive_json()
                ask = {"type": "start_agent", "run_id": "cut", "thread_id": "t", "thoughts": 3}
                await ws.send_json(ask)
                assert (await ws.receive_json())["type"] == "agent_started"
                await ws.send_json(ask)
                error = await ws.receive_json()
                assert (error["code"], error["run_id"]) == ("duplicate_run", "cut")
                ws._response.connection.transport.abort()

        until(lambda: "ready" in slow.phases())
        run_async(main)
        (close,) = until(lambda: slow.lines("close"))
        assert (close["by"], close["code"], close["user_id"]) == ("lost", 1006, "ann")
        assert slow.lines("run") == []  # it goes on without its client
        check_ledger(slow)
    (run,) = slow.lines("run")
    assert (run["run_id"], run["sent"], run["completed"]) == ("cut", 1, False)
    assert (run["user_id"], run["thread_id"], run["thoughts"]) == ("ann", "t", 3)
    assert run["counts"] == {"agent_started": 1}
    assert slow.phases()["ready"] < run["t_start_ns"] < run["t_ns"]


def test_health_tells_its_revision(lab):
    async def main():
        async with aiohttp.ClientSession() as http, http.get(lab.url + "/health") as answer:
            body = await answer.json()
            assert (answer.status, body["status"], body["version"]) == (200, "healthy", "1")
            assert body["revision"] == answer.headers["X-Revision"] == "lab-1"
            assert body["uptime"] > 0
            assert body["dependencies"] == {"postgres": {"status": "ok"}, "redis": {"status": "ok"}}
            assert body["memory_bytes"] > 1_000_000
            assert answer.headers["Server"] == "probe-lab/1"

    run_async(main)


@pytest.mark.parametrize("alg", ["HS256", "EdDSA"])
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize(
    ("headers", "fields", "subject"),
    [
        ({}, {"grant_type": "client_credentials", "client_id": "c", "client_secret": SECRET}, "c"),
        ({}, {"grant_type": "password", "username": "u", "password": SECRET}, "u"),
        ({"X-Api-Key": SECRET}, {"subject": "s"}, "s"),
        ({"X-Api-Key": SECRET}, {}, "api-key"),
        (
            {"Authorization": "Basic " + base64.b64encode(f"b:{SECRET}".encode()).decode()},
            {"grant_type": "client_credentials"},
            "b",
        ),
    ],
)
def test_a_grant_gives_a_token_that_opens_the_door(lab, headers, fields, as_json, alg, subject):
    async def main():
        async with aiohttp.ClientSession() as http:
            filled = {**fields, "alg": alg}
            data = json.dumps(filled) if as_json else filled
            kind = {"Content-Type": "application/json"} if as_json else {}
            url = lab.url + "/auth/token"
            async with http.post(url, headers={**headers, **kind}, data=data) as answer:
                assert answer.status == 200
                assert answer.headers["Cache-Control"] == "no-store"
                body = await answer.json()
            assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
            granted = body["access_token"]
            async with http.get(lab.url + "/.well-known/jwks.json") as answer:
                keys = jwt.PyJWKSet.from_dict(await answer.json())
            header = jwt.get_unverified_header(granted)
            key = keys[header["kid"]] if alg == "EdDSA" else SECRET
            claims = jwt.decode(granted, key, [alg], audience="probe-lab", issuer="probe-lab")
            assert claims["sub"] == subject
            bearer = {"Authorization": f"Bearer {granted}"}
            async with websocket(http, lab, headers=bearer) as ws:
                assert (await ws.receive_json())["user_id"] == subject

    run_async(main)


@pytest.mark.parametrize(
    ("headers", "body", "status", "error"),
    [
        ({}, "grant_type=password&username=u&password=wrong-guess", 400, "invalid_grant"),
        ({}, f"grant_type=password&password={SECRET}", 400, "invalid_grant"),
        ({}, "grant_type=client_credentials&client_id=c&client_secret=no", 401, "invalid_client"),
        ({"X-Api-Key": "wrong-guess"}, "", 401, "invalid_client"),
        ({}, "grant_type=magic", 400, "unsupported_grant_type"),
        ({}, "", 400, "invalid_request"),
        ({"Content-Type": "application/json"}, "{wrong-guess", 400, "invalid_request"),
        ({"Content-Type": "application/json"}, '{"grant_type": 1}', 400, "invalid_request"),
        ({"X-Api-Key": SECRET}, "alg=none", 400, "invalid_request"),
    ],
)
def test_a_refused_grant_is_an_oauth_error(lab, headers, body, status, error):
    async def main():
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        async with (
            aiohttp.ClientSession() as http,
            http.post(lab.url + "/auth/token", headers=headers, data=body) as answer,
        ):
            text = await answer.text()
            assert (answer.status, json.loads(text)["error"]) == (status, error)
            assert "wrong-guess" not in text

    run_async(main)
