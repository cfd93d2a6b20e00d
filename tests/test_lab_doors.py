"""The door of the healthy lab: origins, ambiguous tokens, revocation, logout."""

from __future__ import annotations

import json
import socket
import time

import pytest
from aiohttp import WSMsgType

from tests.lab_process import (
    DEADLINE_S,
    SECRET,
    Lab,
    in_a_session,
    raw,
    request,
    token,
    until,
    websocket,
)


def bearer(value):
    return {"Authorization": f"Bearer {value}"}


def status_of(lab, headers, path="/ws"):
    """The status of a handshake, and the error word of a refusal."""
    head = request(path, headers)
    with socket.create_connection(lab.address, DEADLINE_S) as sock:
        sock.sendall(head)
        if sock.recv(12).startswith(b"HTTP/1.1 101"):
            return 101, None
    status, _, body = raw(lab, head)
    return status, json.loads(body)["error"]


async def post(http, lab, path, shown=None, **options):
    headers = {} if shown is None else bearer(shown)
    async with http.post(lab.url + path, headers=headers, **options) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        return answer.status, (await answer.json()).get("error"), answer.headers


async def grant(http, lab, user):
    fields = {"grant_type": "password", "username": user, "password": SECRET}
    async with http.post(lab.url + "/auth/token", data=fields) as answer:
        assert answer.status == 200
        return (await answer.json())["access_token"]


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("http://localhost:3000", 101),
        ("http://127.0.0.1:8080", 101),
        ("https://lab", 101),  # the Host of these requests
        ("https://evil.example", 403),
        ("https://localhost.evil.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_a_stranger_may_not_come_in(lab, origin, status):
    error = None if status == 101 else "origin_not_allowed"
    assert status_of(lab, {**bearer(token()), "Origin": origin}) == (status, error)


@pytest.mark.parametrize(
    ("offers", "shown", "status"),
    [
        ("jwt-auth, jwt.{one}", "{two}", 400),
        ("bearer.{one}", "{two}", 400),
        ("jwt.{one}, jwt.{two}", None, 400),
        ("jwt-auth, jwt.{one}, bearer.{two}", None, 400),
        ("jwt-auth, jwt.{one}", "{one}", 101),
        ("jwt-auth, jwt.{one}, bearer.{one}", "{one}", 101),
        ("jwt-auth", "{one}", 101),
    ],
)
def test_two_tokens_that_differ_are_refused_though_both_are_good(lab, offers, shown, status):
    made = {"one": token(sub="ann"), "two": token(sub="bob")}
    headers = {"Sec-WebSocket-Protocol": offers.format(**made)}
    if shown is not None:
        headers |= bearer(shown.format(**made))
    error = None if status == 101 else "ambiguous_token"
    assert status_of(lab, headers) == (status, error)


@pytest.mark.parametrize(
    ("error", "claims"),
    [
        ("token_not_yet_valid", {"nbf": 100}),
        ("lifetime_too_long", {"iat": 0, "exp": 86_401}),
    ],
)
def test_the_times_of_a_token_are_judged(lab, error, claims):
    shifted = {name: int(time.time()) + s for name, s in claims.items()}
    assert status_of(lab, bearer(token(**shifted))) == (401, error)


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("minted", [True, False])
def test_a_revoked_token_is_refused_and_its_sessions_are_closed(lab, as_json, minted):
    async def main(http):
        user = f"rev-{as_json}-{minted}"
        gone = await grant(http, lab, user) if minted else token(sub=user, jti="a")
        kept = await grant(http, lab, user) if minted else token(sub=user, jti="b")
        sessions = [await websocket(http, lab, headers=bearer(each)) for each in (gone, gone, kept)]
        for ws in sessions:
            assert (await ws.receive_json())["type"] == "connection_ready"
        fields = {"token": gone}
        body = {"json": fields} if as_json else {"data": fields}
        for _ in range(2):  # once more is no error
            assert (await post(http, lab, "/auth/revoke", gone, **body))[:2] == (200, None)
        for ws in sessions[:2]:
            answer = await ws.receive()
            assert (answer.type, answer.data, answer.extra) == (
                WSMsgType.CLOSE,
                4403,
                "token revoked",
            )
        await sessions[2].send_json({"type": "ping"})
        assert (await sessions[2].receive_json())["type"] == "pong"
        assert status_of(lab, bearer(gone)) == (401, "token_revoked")
        assert status_of(lab, bearer(kept)) == (101, None)
        assert (await post(http, lab, "/auth/logout", gone))[:2] == (401, "invalid_token")
        for ws in sessions:
            await ws.close()
        (line,) = [line for line in lab.lines("revocation") if line["user_id"] == user]
        assert line["kind"] == "token"
        closes = [line for line in lab.lines("close") if line.get("user_id") == user]
        revoked = [close for close in closes if close["code"] == 4403]
        assert len(revoked) == 2
        assert all(close["t_ns"] > line["t_ns"] for close in revoked)

    in_a_session(main)


def test_a_logout_revokes_all_tokens_of_the_user_and_none_of_another(lab):
    async def main(http):
        tokens = [await grant(http, lab, "out") for _ in range(3)]
        spare = await grant(http, lab, "out")
        # Its `iat` alone would not tell that it is older than the logout.
        shown = token(sub="out", jti="shown", iat=int(time.time()) + 1)
        never_shown = token(sub="out", iat=int(time.time()) - 30)
        other = await grant(http, lab, "stays")
        held = [await websocket(http, lab, headers=bearer(each)) for each in (*tokens, other)]
        for ws in held:
            await ws.receive_json()
        assert status_of(lab, bearer(shown)) == (101, None)
        assert (await post(http, lab, "/auth/logout", tokens[0]))[:2] == (200, None)
        for ws in held[:3]:
            assert (await ws.receive()).data == 4403
        for each in (*tokens, spare, shown, never_shown):
            assert status_of(lab, bearer(each)) == (401, "token_revoked")
        assert status_of(lab, bearer(other)) == (101, None)
        again = await grant(http, lab, "out")
        assert status_of(lab, bearer(again)) == (101, None)
        for ws in held:
            await ws.close()

    in_a_session(main)


def test_a_revocation_that_is_not_authorised_changes_nothing(lab):
    async def main(http):
        mine = token(sub="victim", jti="mine")
        other = token(sub="victim", jti="other")
        expired = token(sub="victim", exp=int(time.time()) - 30)
        for shown, fields, status, error in (
            (None, {"token": mine}, 401, "invalid_token"),
            (other, {"token": mine}, 400, "unauthorized_client"),
            (mine, {}, 400, "invalid_request"),
            (mine, {"token": ""}, 400, "invalid_request"),
            (expired, {"token": expired}, 401, "invalid_token"),
            ("eyJ.not.one", {"token": "eyJ.not.one"}, 401, "invalid_token"),
        ):
            told = await post(http, lab, "/auth/revoke", shown, json=fields)
            assert told[:2] == (status, error)
            assert ("WWW-Authenticate" in told[2]) == (status == 401)
        assert (await post(http, lab, "/auth/logout"))[:2] == (401, "invalid_token")
        assert status_of(lab, bearer(mine)) == (101, None)
        assert status_of(lab, bearer(other)) == (101, None)

    in_a_session(main)


def test_a_token_for_nobody_is_not_granted(lab):
    async def main(http):
        fields = {"grant_type": "password", "username": " ", "password": SECRET}
        async with http.post(lab.url + "/auth/token", data=fields) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_request")

    in_a_session(main)


def test_a_bad_token_that_is_revoked_in_json_is_not_repeated(lab):
    async def main(http):
        headers = {**bearer("eyJsecret"), "Content-Type": "application/json"}
        url = lab.url + "/auth/revoke"
        async with http.post(url, headers=headers, data='{"token": "eyJsecret') as answer:
            text = await answer.text()
            assert (answer.status, json.loads(text)["error"]) == (400, "invalid_request")
            assert "eyJ" not in text

    in_a_session(main)


def test_a_handshake_that_waits_when_the_lab_stops_is_told_as_left(tmp_path):
    with Lab(tmp_path, "--defect", "slow_accept_tail=1") as slow:
        until(lambda: "healthy" in slow.phases())
        with socket.create_connection(slow.address, DEADLINE_S) as sock:
            sock.sendall(request(headers=bearer(token())))
            assert status_of(slow, bearer("bad")) == (401, "invalid_token")  # so it waits by now
            assert slow.stop() == 0
            assert sock.recv(100) == b""
        assert slow.outcomes()[-1] == ("left", None)
        assert slow.lines("hit") == []


def test_the_answer_of_the_library_is_not_altered(lab):
    """The healthy 101 of a client that checks all of it."""

    async def main(http):
        offers = ["jwt-auth", f"jwt.{token()}"]
        options = {"headers": {"Origin": "http://localhost:1"}, "protocols": offers}
        async with websocket(http, lab, **options) as ws:
            assert ws.protocol == "jwt-auth"
            assert (await ws.receive_json())["type"] == "connection_ready"

    in_a_session(main)
