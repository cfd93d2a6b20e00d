"""The steps of credentials on real sockets: what is shown when, and how a session ends for it."""

import asyncio
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs

import jwt
import pytest
import uvloop
import websockets
from websockets.datastructures import Headers
from websockets.http11 import Response

from probe.auth.tokens import Tokens
from probe.clock import now_ns
from probe.engine.everybody import Everybody
from probe.engine.http import Http
from probe.engine.play import make_client, part_of, play
from probe.engine.routes import make_routes
from probe.engine.site import Live, make_site
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.records import Credential, Kind, Outcome, Put
from probe.model.groups import Group
from probe.model.scenario import Population
from probe.model.target import Target
from probe.redact import Redactor
from probe.wire.deadlines import wheel_of
from tests.engine_sites import RUN, Talk, identity, spoken

S = 1_000_000_000
SIGNED = "eyJhbGciOiJIUzI1NiJ9.e30.a-signature-of-its-own-{}-0123456789"
KEY = "a-secret-of-the-tests-0123456789abcdef"
MINT = {"source": "mint", "key": KEY, "subject": "user-{n}"}
COMPLETE, FAILED, STOPPED = range(3)
CONNECT, CLOSE = {"do": "connect"}, {"do": "close"}
REFRESH = {"send": '{"new":"{token}"}', "answer": "renewed"}
PRESENT = {"default": {"headers": {"Authorization": "Bearer {token}"}}}
REQUESTS = {
    "revoke": {"service": "backend", "path": "/revoke?of={user}", "form": {"token": "{token}"}},
    "logout": {"service": "backend", "path": "/logout"},
}


def dialect(**more):
    return spoken(refresh=REFRESH, present=PRESENT, **(REQUESTS | more))


def token(case):
    return {"do": "token", "case": case}


class Answers(BaseHTTPRequestHandler):
    status = 200
    asked: ClassVar[list[tuple[str, str, dict[str, list[str]]]]] = []

    def do_POST(self):
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.asked.append((self.path, self.headers["Authorization"], parse_qs(form)))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def backend():
    own = type("Own", (Answers,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def played(folder, serve, script, *, speaks=None, auth=MINT, backend=None, keep=0, **options):
    """One session of user 0 against `serve`, with a source of tokens; its rows."""
    more = {key: options.pop(key) for key in ("safety",) if key in options}
    group = Group(
        "load", "clients", Population.model_validate({"shape": {"clients": 1}, "script": script})
    )
    port = backend.server_port if backend else 1
    services = {"backend": {"url": f"http://127.0.0.1:{port}/health"}}

    async def whole():
        loop = asyncio.get_running_loop()
        redactor = Redactor()
        journal = Journal(folder / "history", redactor, {})
        try:
            async with websockets.serve(
                serve, "127.0.0.1", 0, compression=None, **options
            ) as server:
                url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
                target = Target.model_validate(
                    {"title": "t", "endpoints": {"main": {"url": url}}, "services": services}
                    | {"auth": auth} | more
                )  # fmt: skip
                async with (
                    Http(target, journal, "a run") as http,
                    Tokens(target.auth, seed=1, redactor=redactor) as tokens,
                    asyncio.timeout(20),
                ):
                    site = make_site(
                        loop, wheel_of(loop), journal, redactor, target, speaks or dialect(),
                        run_id="a run", http=http, routes=make_routes(target), live=Live(),
                        keep=keep,
                    )  # fmt: skip
                    site.tokens = tokens
                    (mine,) = await tokens.identities([0])
                    site.everybody.add(mine)
                    part = part_of(group, site)
                    client = make_client(site, part, 0, site.doors[0], mine, 0)
                    await play(site, part, client, 0)
        finally:
            journal.close(ended="complete")

    uvloop.run(whole())
    return Talk(History.open(folder / "history"))


def claims(token):
    return jwt.decode(token, KEY, ["HS256"], options={"verify_exp": False})


class Service:
    """Says hello, answers sentinels, and to a new token what it is told to; notes what it saw."""

    def __init__(self, renewed='{"type":"renewed"}'):
        self.renewed = renewed
        self.bearers: list[str] = []
        self.news: list[str] = []
        self.started: list[dict[str, object]] = []

    async def __call__(self, socket):
        self.bearers.append(socket.request.headers.get("Authorization", "").removeprefix("Bearer "))
        await socket.send('{"type":"hello"}')
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                message = json.loads(text)
                if "new" in message:
                    self.news.append(message["new"])
                    if self.renewed is None:
                        await socket.close(1008)
                    elif self.renewed:
                        await socket.send(self.renewed)
                elif "go" in message:
                    self.started.append(message)
                    for kind in "abc":
                        await socket.send(json.dumps({"type": kind, "run_id": message["go"]}))
                elif "ask" in message:
                    await socket.send(json.dumps({"type": "told", "n": message["ask"]}))


def shown(heard):
    """(op, flag, case) of the CREDENTIAL rows that name a case."""
    return [
        (op, Credential(flag), heard.history.text(a).decode())
        for op, flag, a, _ in heard.of(Kind.CREDENTIAL)
        if flag in (Credential.SHOWN, Credential.RENEWED)
    ]


# Another token.


def test_a_token_is_shown_from_the_next_connect_on(tmp_path):
    service = Service()
    heard = played(tmp_path, service, [token("brief"), CONNECT, token("expired"), CONNECT, CLOSE])
    assert heard.done() == (COMPLETE, "")
    brief, expired = map(claims, service.bearers)
    assert brief["sub"] == expired["sub"] == "user-0"
    assert expired["exp"] < expired["iat"] + 2 * 3600 < brief["exp"]
    assert shown(heard) == [(0, Credential.SHOWN, "brief"), (0, Credential.SHOWN, "expired")]
    (_, _, _, lives), (_, _, _, past) = heard.of(Kind.CREDENTIAL)
    stamp = heard.at(Kind.CREDENTIAL)[0]
    assert S < lives - stamp <= 3 * S
    assert past < stamp


def test_no_token_and_two_tokens(tmp_path):
    seen = []

    async def serve(socket):
        seen.append(socket.request.headers.get_all("Authorization"))
        await socket.send('{"type":"hello"}')
        await socket.wait_closed()

    script = [token("absent"), CONNECT, token("two_that_differ"), CONNECT, token("fresh"), CONNECT]
    assert played(tmp_path, serve, script).done() == (COMPLETE, "")
    assert seen[0] == []
    good, tampered = (each.removeprefix("Bearer ") for each in seen[1])
    assert claims(good)["sub"] == "user-0"
    with pytest.raises(jwt.InvalidSignatureError):
        claims(tampered)
    assert len(seen[2]) == 1
    assert claims(seen[2][0].removeprefix("Bearer "))["sub"] == "user-0"


def test_a_message_may_carry_the_token_and_what_is_kept_does_not(tmp_path):
    got = []

    async def serve(socket):
        await socket.send('{"type":"hello"}')
        with contextlib.suppress(websockets.ConnectionClosed):
            got.extend([text async for text in socket])

    say = {"do": "send", "text": '{"auth":"{token}","as":"{user}"}'}
    script = [CONNECT, token("another_user"), say, say | {"text": "{token}"}, CLOSE]
    heard = played(tmp_path, serve, script, keep=50)
    assert heard.done() == (COMPLETE, "")
    said = json.loads(got[0])
    assert said["as"] == "user-0"
    assert claims(said["auth"])["sub"] == "user-1000000000"
    assert claims(got[1]) == claims(said["auth"])
    stored = (tmp_path / "history" / "texts.bin").read_bytes()
    assert b'{"auth":"' in stored
    assert said["auth"].encode() not in stored
    assert said["auth"].split(".")[2].encode() not in stored


def test_the_events_of_the_user_whose_token_was_shown_are_known_as_anothers(tmp_path):
    async def serve(socket):
        await socket.send('{"type":"hello"}')
        async for text in socket:
            subject = claims(text)["sub"]
            await socket.send(json.dumps({"type": "a", "run_id": "x", "user": subject}))

    say = {"do": "send", "text": "{token}"}
    script = [CONNECT, token("another_user"), say, {"do": "await", "event": "a"}, CLOSE]
    heard = played(tmp_path, serve, script)
    assert heard.done() == (COMPLETE, "")
    assert [row[1] for row in heard.of(Kind.FOREIGN)] == [1]


ENV = {"source": "env", "token": "a-token-of-another-kind"}


@pytest.mark.parametrize(
    ("case", "auth", "safety", "why", "words"),
    [
        ("alg_none", ENV, {}, 0, "no JWT"),
        ("expired", ENV, {}, 0, "the key that signs is not ours"),
        ("fresh", ENV, {}, 0, "one token, once"),
        ("revoked", ENV, {}, 0, "one token, once"),
        ("key_confusion_pem", MINT, {}, 0, "auth.jwks"),
        ("expired", MINT, {"bad_tokens": False}, 1, "forbids"),
        ("huge_lifetime", MINT, {"bad_tokens": False}, 1, "forbids"),
    ],
)
def test_what_cannot_be_made_or_is_forbidden_stops_the_session_and_shows_nothing(
    tmp_path, case, auth, safety, why, words
):
    service = Service()
    heard = played(tmp_path, service, [token(case), CONNECT], auth=auth, safety=safety)
    how, told = heard.done()
    assert how == STOPPED
    assert words in told
    assert service.bearers == []
    ((op, flag, a, text),) = heard.of(Kind.CREDENTIAL)
    assert (op, flag, a) == (0, Credential.NOT_MADE, why)
    assert heard.history.text(text).decode() == told


def test_good_tokens_are_shown_where_bad_ones_are_forbidden(tmp_path):
    script = [token("brief"), CONNECT, token("fresh"), CONNECT, CLOSE]
    heard = played(tmp_path, Service(), script, safety={"bad_tokens": False})
    assert heard.done() == (COMPLETE, "")


# A new one on the open connection.


def test_a_refresh_shows_a_new_token_and_waits_for_its_answer(tmp_path):
    service = Service()
    script = [CONNECT, {"do": "refresh"}, {"do": "refresh"}, CONNECT, CLOSE]
    heard = played(tmp_path, service, script)
    assert heard.done() == (COMPLETE, "")
    first, last = service.bearers
    assert len({first, *service.news}) == 3
    assert last == service.news[-1]
    assert {claims(each)["sub"] for each in service.news} == {"user-0"}
    assert [row[1] for row in heard.of(Kind.PUT)] == [Put.REFRESH] * 2
    assert shown(heard) == [(0, Credential.RENEWED, "fresh")] * 2


def test_a_refresh_shows_what_was_chosen_since_the_connect(tmp_path):
    service = Service()
    script = [CONNECT, token("expired"), {"do": "refresh"}, {"do": "refresh"}, CLOSE]
    assert played(tmp_path, service, script).done() == (COMPLETE, "")
    chosen, new = map(claims, service.news)
    assert chosen["exp"] < new["iat"]


@pytest.mark.parametrize(
    ("renewed", "words"),
    [
        ('{"type":"error"}', "no answer to the refresh: an error came"),
        (None, "no answer to the refresh: the connection ended"),
        ("", "no answer to the refresh: deadline"),
        ('{"type":"told","n":"1"}', "no answer to the refresh: deadline"),
    ],
)
def test_a_refresh_that_is_not_answered_well_ends_the_session(tmp_path, renewed, words):
    script = [CONNECT, {"do": "refresh", "within": "200ms"}, CLOSE]
    assert played(tmp_path, Service(renewed), script).done() == (FAILED, words)


def test_an_error_about_a_run_is_no_answer_to_a_refresh(tmp_path):
    async def serve(socket):
        await socket.send('{"type":"hello"}')
        go = json.loads(await socket.recv())["go"]
        await socket.recv()
        await socket.send(json.dumps({"type": "error", "run_id": go}))
        await socket.send('{"type":"renewed"}')
        await socket.wait_closed()

    run = {"do": "run", "wait": False}
    heard = played(tmp_path, serve, [CONNECT, run, {"do": "refresh"}, CLOSE])
    assert heard.done() == (COMPLETE, "")


def test_a_refresh_that_does_not_wait_leaves_its_answer_to_an_await(tmp_path):
    refresh = {"do": "refresh", "wait": False}
    script = [CONNECT, refresh, {"do": "await", "event": "renewed"}, CLOSE]
    assert played(tmp_path, Service(), script).done() == (COMPLETE, "")
    script = [CONNECT, refresh, {"do": "settle"}, CLOSE]
    heard = played(tmp_path / "more", Service('{"type":"error"}'), script)
    assert heard.done() == (COMPLETE, "")


# None any more.


def test_a_revocation_and_a_logout_are_asked_for_as_the_dialect_says(tmp_path, backend):
    script = [CONNECT, {"do": "revoke"}, {"do": "logout"}, CLOSE]
    began = now_ns()
    service = Service()
    heard = played(tmp_path, service, script, backend=backend)
    assert heard.done() == (COMPLETE, "")
    (mine,) = service.bearers
    assert backend.RequestHandlerClass.asked == [
        ("/revoke?of=user-0", f"Bearer {mine}", {"token": [mine]}),
        ("/logout", f"Bearer {mine}", {}),
    ]
    revoked, out = heard.of(Kind.CREDENTIAL)
    assert revoked[:3] == (0, Credential.REVOKED, 200)
    assert out[:3] == (0, Credential.LOGGED_OUT, 200)
    assert began < revoked[3] <= heard.at(Kind.CREDENTIAL)[0] <= out[3]
    assert mine.encode() not in (tmp_path / "history" / "texts.bin").read_bytes()


def test_a_revocation_that_is_refused_or_not_answered_ends_the_session(tmp_path, backend):
    backend.RequestHandlerClass.status = 503
    script = [CONNECT, {"do": "revoke"}, CLOSE]
    heard = played(tmp_path, Service(), script, backend=backend)
    assert heard.done() == (FAILED, "POST backend: answered with 503")
    ((_, flag, status, _),) = heard.of(Kind.CREDENTIAL)
    assert (flag, status) == (Credential.REVOKED, 503)
    heard = played(tmp_path / "more", Service(), script)
    assert heard.done() == (FAILED, "POST backend: not answered")


def test_a_revoked_token_is_a_fresh_one_that_was_revoked_and_shown_after_what_is_promised(
    tmp_path, backend
):
    speaks = dialect(promises={"revocation": "200ms"})
    service = Service()
    script = [CONNECT, token("revoked"), CONNECT, CLOSE]
    heard = played(tmp_path, service, script, backend=backend, speaks=speaks)
    assert heard.done() == (COMPLETE, "")
    first, second = service.bearers
    assert first != second
    assert [form for _, _, form in backend.RequestHandlerClass.asked] == [{"token": [second]}]
    revoked, then = heard.at(Kind.CREDENTIAL)
    assert then - revoked >= S // 5
    assert shown(heard) == [(0, Credential.SHOWN, "revoked")]


# The end of a connection.


@pytest.mark.parametrize("how", ["close", "end", "reset"])
def test_gone_waits_until_the_service_ends_the_connection(tmp_path, how):
    async def serve(socket):
        await socket.send('{"type":"hello"}')
        await asyncio.sleep(0.05)
        if how == "close":
            await socket.close(4403)
        elif how == "end":
            socket.transport.close()
        else:
            socket.transport.abort()

    heard = played(tmp_path, serve, [CONNECT, {"do": "gone"}])
    assert heard.done() == (COMPLETE, "")
    script = [CONNECT, {"do": "hold", "lasts": "10ms"}, {"do": "gone"}]
    assert played(tmp_path / "more", serve, script).done() == (COMPLETE, "")


def test_a_connection_that_stays_open_or_that_we_end_is_not_gone(tmp_path):
    gone = {"do": "gone", "within": "100ms"}
    still = "the service did not end the connection"
    assert played(tmp_path / "1", Service(), [CONNECT, gone]).done() == (
        FAILED,
        f"{still}: deadline",
    )
    heard = played(tmp_path / "2", Service(), [CONNECT, CLOSE, gone])
    assert heard.done()[0] == FAILED
    assert heard.done()[1].startswith(still)
    assert played(tmp_path / "3", Service(), [gone]).done() == (FAILED, "not connected")


# What is expected of a connect.


def refuse(status):
    def answer(*_):
        return Response(status, "No", Headers([("Content-Length", "0")]), b"")

    return answer


REFUSED = {"do": "connect", "expect": "refused"}
EITHER = {"do": "connect", "expect": "either"}
BRIEF = {"event": "hello", "within": "300ms"}


async def closes(socket):
    await socket.close(1008, "no")


async def drops(socket):
    socket.transport.abort()


async def says_nothing(socket):
    await socket.wait_closed()


@pytest.mark.parametrize(
    ("serve", "options", "how"),
    [
        (Service(), {"process_request": refuse(401)}, COMPLETE),
        (Service(), {"process_request": refuse(503)}, COMPLETE),
        (closes, {}, COMPLETE),
        (drops, {}, COMPLETE),
        (says_nothing, {}, FAILED),
        (Service(), {}, FAILED),
    ],
)
def test_a_refusal_is_a_status_or_the_end_of_what_was_accepted(tmp_path, serve, options, how):
    speaks = dialect(ready=BRIEF)
    heard = played(tmp_path, serve, [REFUSED], speaks=speaks, **options)
    assert heard.done()[0] == how
    told = heard.done()[1]
    if how == FAILED:
        assert told.endswith("which is no refusal") or "ought to refuse it" in told
    script = [EITHER, token("fresh"), CONNECT]
    heard = played(tmp_path / "more", serve, script, speaks=speaks, **options)
    assert len(heard.of(Kind.END)) == 2  # it goes on whatever came of the first


def test_who_expects_a_refusal_tries_once(tmp_path):
    async def serve(socket):
        await socket.close(1013)

    group = [REFUSED, {"do": "token", "case": "fresh"}, CONNECT]
    heard = played(tmp_path, serve, group, speaks=dialect(retry=["1ms"]))
    assert heard.done()[0] == FAILED
    assert [row[2] for row in heard.of(Kind.END)] == [Outcome.CLOSED] * 2


def test_a_script_can_ask_whether_it_is_connected(tmp_path):
    told = []

    async def script(session):
        told.append(session.connected)
        await session.connect()
        told.append(session.connected)
        await session.close()
        told.append(session.connected)

    assert played(tmp_path, Service(), script).done() == (COMPLETE, "")
    assert told == [False, True, False]


# One thread.


def test_runs_of_a_session_may_share_its_thread(tmp_path):
    speaks = dialect(run=RUN | {"start": '{"go":"{run}","of":{size},"thread":"{thread}"}'})
    service = Service()
    shared = {"do": "run", "count": 2, "thread": "shared"}
    script = [CONNECT, shared, {"do": "run"}, CLOSE]
    assert played(tmp_path, service, script, speaks=speaks).done() == (COMPLETE, "")
    first, second, own = (message["thread"] for message in service.started)
    runs = [str(message["go"]) for message in service.started]
    assert first == second
    assert own != first
    assert not any(str(first).startswith(each) for each in runs)
    assert str(first).startswith(runs[0].rpartition("-")[0])


def test_a_further_token_of_a_user_is_known_by_sight():
    everybody, mine, other = Everybody(), identity("a", SIGNED.format(1)), identity("b", "x", 8)
    everybody.add(mine)
    everybody.add(other)
    second = identity("a", SIGNED.format(2))
    assert everybody.shown_in(second.token.encode()) == set()
    everybody.add(second)  # the same identity again is no news
    assert everybody.shown_in(second.token.encode()) == set()
    everybody.renew(second)
    both = f"{mine.token} {second.token}".encode()
    assert everybody.shown_in(both) == {7}
    assert everybody.parts_in(second.token.encode()) == [mine.redactor]
