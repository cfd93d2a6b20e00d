"""Identities from every source, against a real token endpoint on loopback."""

import asyncio
import email.utils
import json
import pickle
import socket
import ssl
import time
import traceback
from contextlib import asynccontextmanager

import jwt
import pytest
import trustme
from aiohttp import web
from pydantic import TypeAdapter

from probe.auth.tokens import Tokens
from probe.clock import now_ns
from probe.errors import AuthError, ConfigError
from probe.model.auth import Auth
from probe.redact import Redactor

AUTH = TypeAdapter(Auth)
SECRET = "cl13nt-s3cret/with=odd+chars"
QUERY_KEY = "query-k3y-value"
KEY = "k3y-for-hmac-" + "q7" * 20


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


class Endpoint:
    """A token endpoint whose answer the test writes; it notes what it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.now = self.most = 0
        self.url = ""

    async def handle(self, request):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            body = await request.text()
            form = dict(await request.post()) if "form" in request.content_type else {}
            self.asked.append((request, body, form, time.monotonic()))
            answer = self.answer(len(self.asked), body, form)
            return await answer if asyncio.iscoroutine(answer) else answer
        finally:
            self.now -= 1


@asynccontextmanager
async def serving(answer, tls=None):
    endpoint = Endpoint(answer)
    app = web.Application()
    app.router.add_route("*", "/token", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    endpoint.url = f"http{'s' if tls else ''}://127.0.0.1:{port}/token"
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def fetch_table(url, **more):
    grant = {} if "grant" in more else {"client_id": "probe", "client_secret": SECRET}
    return AUTH.validate_python({"source": "fetch", "url": url, **grant, **more})


def ok(count, _body, _form):
    return web.json_response({"access_token": f"opaque-token-{count:04}", "expires_in": 60})


async def fetched(answer, clients=range(1), redactor=None, deadline_ns=None, **more):
    redactor = redactor or Redactor()
    async with serving(answer) as endpoint:
        table = fetch_table(endpoint.url, **more)
        async with Tokens(table, seed=5, redactor=redactor) as tokens:
            return endpoint, await tokens.identities(clients, deadline_ns=deadline_ns)


def refused(answer, **more):
    """The text of the refusal, which with its traceback shows none of the secrets."""
    asked = []

    def counted(count, body, form):
        asked.append(count)
        return answer(count, body, form)

    with pytest.raises((AuthError, ConfigError)) as caught:
        run(fetched(counted, **more))
    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in whole
    assert "s3cret" not in whole
    return str(caught.value), len(asked)


# --- fetch: what is sent and what comes back


def test_each_client_gets_its_own_token_within_the_bound():
    async def slow(count, body, form):
        await asyncio.sleep(0.01)
        return ok(count, body, form)

    before = time.time()
    endpoint, made = run(fetched(slow, range(40), parallel=4))
    assert [identity.index for identity in made] == list(range(40))
    assert len({identity.token for identity in made}) == 40
    assert 2 <= endpoint.most <= 4
    for identity in made:
        assert before + 60 <= identity.expires_at_s <= time.time() + 60
        assert identity.token not in repr(identity)


def test_identities_are_shared_on_purpose_only():
    endpoint, made = run(fetched(ok, range(7), identities=3))
    assert len(endpoint.asked) == 3
    assert [identity.index for identity in made] == [0, 1, 2, 0, 1, 2, 0]
    assert made[0] is made[3]
    text, _ = refused(lambda *_: web.json_response({"access_token": "same"}), clients=range(2))
    assert "identities 0 and 1 have the same token" in text
    assert "auth.identities" in text


def test_a_shard_asks_only_for_its_own():
    endpoint, made = run(fetched(ok, range(1, 9, 3), grant="password", username="u{n}",
                                 password="p4ssword-x"))  # fmt: skip
    assert [identity.user for identity in made] == ["u1", "u4", "u7"]
    assert sorted(form["username"] for _, _, form, _ in endpoint.asked) == ["u1", "u4", "u7"]


def test_client_credentials_in_a_form():
    endpoint, _ = run(
        fetched(ok, scope="a b", fields={"audience": "api", "ttl": 60, "x": "{n}-{seed}"})
    )
    ((request, _, form, _),) = endpoint.asked
    assert request.method == "POST"
    assert form == {
        "grant_type": "client_credentials",
        "client_id": "probe",
        "client_secret": SECRET,
        "scope": "a b",
        "audience": "api",
        "ttl": "60",
        "x": "0-5",
    }


def test_custom_json_with_header_and_dotted_paths():
    def answer(_count, body, _form):
        assert json.loads(body) == {"email": "probe-0@x.test", "ttl": 60, "pin": True}
        return web.json_response({"data": [{"jwt": "t-" * 10, "left": "90"}]})

    before = time.time()
    endpoint, (identity,) = run(
        fetched(
            answer,
            grant="custom",
            encoding="json",
            username="probe-{n}",
            fields={"email": "{user}@x.test", "ttl": 60, "pin": True},
            headers={"X-Api-Key": "h3ader-key-value"},
            token_path="data.0.jwt",
            expires_path="data.0.left",
        )
    )
    assert identity.token == "t-" * 10
    assert identity.user == "probe-0"
    assert before + 90 <= identity.expires_at_s <= time.time() + 90
    assert endpoint.asked[0][0].headers["X-Api-Key"] == "h3ader-key-value"


def test_get_puts_fields_into_the_query():
    endpoint, _ = run(fetched(ok, method="GET", fields={"a": "b c"}))
    request = endpoint.asked[0][0]
    assert request.query["client_secret"] == SECRET
    assert request.query["a"] == "b c"


@pytest.mark.parametrize("told", [{}, {"expires_in": "soon"}, {"expires_in": None}])
def test_without_a_usable_lifetime_the_jwt_tells_it(told):
    token = jwt.encode({"sub": "ann", "exp": 2_000_000_000}, KEY, "HS256")
    _, (identity,) = run(fetched(lambda *_: web.json_response({"access_token": token, **told})))
    assert identity.expires_at_s == 2_000_000_000
    assert identity.user == "ann"
    _, (opaque,) = run(fetched(lambda *_: web.json_response({"access_token": "abc", **told})))
    assert opaque.expires_at_s is None
    assert opaque.user == ""


def test_the_endpoint_is_verified_by_the_context_handed_in():
    ca = trustme.CA()
    server, good = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("127.0.0.1").configure_cert(server)
    ca.configure_trust(good)

    async def go(tls):
        async with serving(ok, server) as endpoint:
            table = fetch_table(endpoint.url)
            async with Tokens(table, seed=0, redactor=Redactor(), tls=tls) as tokens:
                return await tokens.identities(range(1)), len(endpoint.asked)

    (identity,), _ = run(go(good))
    assert identity.token == "opaque-token-0001"
    with pytest.raises(AuthError, match="its certificate is not accepted") as caught:
        run(go(None))
    assert "attempts" not in str(caught.value)


# --- fetch: what goes wrong


def test_500_then_good_is_tried_again():
    def answer(count, body, form):
        return web.Response(status=500) if count < 3 else ok(count, body, form)

    endpoint, (identity,) = run(fetched(answer))
    assert len(endpoint.asked) == 3
    assert identity.token == "opaque-token-0003"


def test_retry_after_is_waited_for():
    def answer(count, body, form):
        if count == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return ok(count, body, form)

    endpoint, _ = run(fetched(answer))
    first, second = (at for *_, at in endpoint.asked)
    assert second - first >= 1.0


def test_retry_after_is_bounded():
    later = email.utils.formatdate(time.time() + 7200, usegmt=True)
    for value in ("3600", later):
        text, asked = refused(
            lambda *_, v=value: web.Response(status=429, headers={"Retry-After": v})
        )
        assert asked == 1
        assert "asks to wait" in text
        assert "auth.parallel" in text


def test_an_odd_retry_after_is_no_wait():
    text, asked = refused(
        lambda *_: web.Response(status=503, headers={"Retry-After": "soon"}), attempts=2
    )
    assert asked == 2
    assert "status 503 (2 attempts)" in text


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 415, 418])
def test_what_is_final_is_not_tried_again(status):
    text, asked = refused(lambda *_: web.Response(status=status, text="why not"))
    assert asked == 1
    assert f"status {status}, 'why not'" in text
    assert text.startswith("auth source fetch: no token for identity 0: POST http://127.0.0.1:")


def test_secrets_do_not_follow_a_redirect():
    text, asked = refused(lambda *_: web.Response(status=307, headers={"Location": "/token"}))
    assert asked == 1
    assert "secrets do not follow" in text


@pytest.mark.parametrize(
    "echo",
    [
        lambda form: web.Response(status=400, text=f"bad secret {form['client_secret']} given"),
        lambda form: web.json_response({"error": form["client_secret"]}, status=403),
        lambda form: web.json_response({form["client_secret"]: 1}),
        lambda form: web.Response(status=401, body=b"\xff\xfe" + form["client_secret"].encode()),
        lambda form: web.Response(status=400, text="x" * 190 + form["client_secret"]),
        lambda form: web.Response(text="x", headers={"Content-Type": form["client_secret"]}),
    ],
)
def test_an_echoed_secret_is_masked(echo):
    text, _ = refused(lambda _count, _body, form: echo(form))
    assert len(text) < 600


def test_a_secret_filled_in_for_one_identity_is_masked_too():
    def answer(_count, _body, form):
        return web.Response(status=401, text=f"wrong otp {form['otp']}")

    text, _ = refused(answer, clients=[3], fields={"otp": "{n}s3cret{n}"})
    assert "wrong otp 0x0xxxx0" in text


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (lambda: web.Response(text="<html>log in</html>", content_type="text/html"),
         "the answer is not JSON: 19 bytes of text/html"),
        (lambda: web.Response(text="[" * 50_000), "not JSON"),
        (lambda: web.json_response({"accessToken": "h1dden-opaque", "n": 1}),
         "nothing at `access_token`, it is an object with the keys accessToken, n"),
        (lambda: web.json_response({"access_token": 5}), "no usable text"),
        (lambda: web.json_response({"access_token": ""}), "no usable text"),
        (lambda: web.json_response({"access_token": "a\nb"}), "no usable text"),
        (lambda: web.Response(text='{"access_token": "\\ud800", "\\ud800": 1}'), "no usable text"),
        (lambda: web.json_response(["h1dden-opaque"]), "a JSON array"),
        (lambda: web.json_response("h1dden-opaque"), "a JSON value"),
        (lambda: web.json_response({}), "an empty object"),
        (lambda: web.Response(status=204), "0 bytes"),
        (lambda: web.Response(text="y" * 70_000), "more than 65536 bytes"),
        (lambda: web.Response(status=500, text="y" * 70_000), "status 500 with more than"),
    ],
)  # fmt: skip
def test_an_answer_without_a_token_is_told_by_its_shape(response, why):
    text, asked = refused(lambda *_: response())
    assert why in text
    assert asked == 1
    assert "h1dden" not in text
    text.encode()


def test_silence_ends_with_the_timeout():
    async def silent(*_):
        await asyncio.sleep(60)

    text, asked = refused(silent, timeout="50ms", attempts=2)
    assert asked == 2
    assert "no answer within 50 ms (2 attempts)" in text


def test_refused_and_broken_connections():
    async def go(url):
        table = fetch_table(url, attempts=2)
        async with Tokens(table, seed=0, redactor=Redactor()) as tokens:
            await tokens.identities(range(1))

    with socket.socket() as bound:  # bound and not listening: refused for certain
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(AuthError, match=r"no connection: .*\(2 attempts\)"):
            run(go(f"http://127.0.0.1:{port}/token?key={QUERY_KEY}"))

    async def cut(first_bytes):
        async def end(reader, writer):
            await reader.read(100)
            writer.write(first_bytes)
            writer.close()

        server = await asyncio.start_server(end, "127.0.0.1", 0)
        async with server:
            await go(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/?key={QUERY_KEY}")

    for first_bytes in (
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"SSH-2.0-" + QUERY_KEY.encode(),
    ):
        with pytest.raises(AuthError, match="2 attempts") as caught:
            run(cut(first_bytes))
        assert QUERY_KEY not in "".join(traceback.format_exception(caught.value))


def test_a_deadline_tells_how_far_it_came():
    async def answer(count, body, form):
        await asyncio.sleep(0 if count <= 2 else 60)
        return ok(count, body, form)

    with pytest.raises(AuthError, match="2 of 5 identities had a token when the deadline passed"):
        run(fetched(answer, range(5), deadline_ns=now_ns() + 700_000_000, parallel=1))


def test_one_failure_ends_the_others():
    async def answer(count, body, form):
        if count == 3:
            return web.Response(status=403)
        await asyncio.sleep(60 if count > 3 else 0)
        return ok(count, body, form)

    with pytest.raises(AuthError, match="status 403"):
        run(fetched(answer, range(30), parallel=2))


# --- redactors


def test_who_knows_which_token():
    redactor = Redactor()
    _, (a, b) = run(fetched(ok, range(2), redactor))
    assert redactor.text(f"{a.token} {SECRET}") == "xxxxxx-xxxxx-0000 " + _masked(SECRET)
    assert b.redactor.text(a.token) != a.token

    key = Redactor()
    minted = Tokens(AUTH.validate_python({"source": "mint", "key": KEY}), seed=1, redactor=key)
    c, d = run(minted.identities(range(2)))
    assert KEY not in key.text(KEY)
    signature = c.token.rpartition(".")[2]
    assert signature not in c.redactor.text(signature)
    assert d.redactor.text(signature) == signature
    assert c.token not in d.redactor.text(c.token)
    assert pickle.loads(pickle.dumps(c)) == c


def _masked(text):
    return "".join(
        "0" if c.isdigit() else "X" if c.isupper() else "x" if c.isalpha() else c for c in text
    )


# --- refresh


def test_refresh_gives_the_same_identity_a_new_token():
    async def go():
        async with serving(ok) as endpoint:
            table = fetch_table(endpoint.url, grant="password", username="u{n}", password="p4ss")
            async with Tokens(table, seed=0, redactor=Redactor()) as tokens:
                (old,) = await tokens.identities([4])
                return old, await tokens.refresh(old)

    old, new = run(go())
    assert (new.index, new.user) == (4, "u4")
    assert new.token != old.token
    assert new.redactor is old.redactor
    assert old.token not in new.redactor.text(old.token + " " + new.token)

    minted = Tokens(AUTH.validate_python({"source": "mint", "key": KEY}), seed=1,
                    redactor=Redactor())  # fmt: skip
    (old,) = run(minted.identities(range(1)))
    new = run(minted.refresh(old))
    assert new.token != old.token
    assert new.user == old.user == "probe-0"
    assert new.expires_at_s == jwt.decode(new.token, KEY, ["HS256"])["exp"]


def test_refreshes_at_once_keep_the_bound():
    async def slow(count, body, form):
        await asyncio.sleep(0.01)
        return ok(count, body, form)

    async def go():
        async with serving(slow) as endpoint:
            table = fetch_table(endpoint.url, parallel=2)
            async with Tokens(table, seed=0, redactor=Redactor()) as tokens:
                made = await tokens.identities(range(12))
                await asyncio.gather(*map(tokens.refresh, made))
            return endpoint

    endpoint = run(go())
    assert len(endpoint.asked) == 24
    assert endpoint.most == 2


@pytest.mark.parametrize("table", [{"source": "none"}, {"source": "env", "token": "t0ken-x"}])
def test_fixed_sources_cannot_refresh(table):
    tokens = Tokens(AUTH.validate_python(table), seed=0, redactor=Redactor())
    (identity,) = run(tokens.identities(range(1)))
    with pytest.raises(AuthError, match="cannot be refreshed"):
        run(tokens.refresh(identity))


# --- the other sources


def test_none_is_many_identities_without_a_token():
    tokens = Tokens(AUTH.validate_python({"source": "none"}), seed=0, redactor=Redactor())
    made = run(tokens.identities(range(3)))
    assert [(i.index, i.user, i.token, i.expires_at_s) for i in made] == [
        (n, "", "", None) for n in range(3)
    ]


def test_the_token_of_the_environment_is_one_identity():
    token = jwt.encode({"sub": "ann", "exp": 2_000_000_000}, KEY, "HS256")
    redactor = Redactor()
    tokens = Tokens(AUTH.validate_python({"source": "env", "token": token}), seed=0,
                    redactor=redactor)  # fmt: skip
    made = run(tokens.identities(range(3)))
    assert made[0] is made[1] is made[2]
    assert (made[0].user, made[0].expires_at_s) == ("ann", 2_000_000_000)
    assert token[-20:] not in redactor.text(f"cut {token[-20:]}")


def test_mint_without_distinct_tokens_is_refused():
    fixed = {"source": "mint", "key": KEY, "subject": "one", "claims": {"jti": "fixed"}}
    tokens = Tokens(AUTH.validate_python(fixed), seed=0, redactor=Redactor())
    with pytest.raises(ConfigError, match="the same token"):
        run(tokens.identities(range(2)))


def csv_tokens(tmp_path, data, redactor=None, **more):
    (tmp_path / "users.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
    table = AUTH.validate_python({"source": "csv", "file": "users.csv", **more})
    redactor = redactor or Redactor()
    return Tokens(table, seed=0, redactor=redactor, origin="t.toml", folder=tmp_path)


def test_each_row_is_an_identity(tmp_path):
    data = '\ufeffuser,note,password\nann,,"t0k,en-ann"\r\n\nbob,, t0ken-bob \n'
    redactor = Redactor()
    made = run(csv_tokens(tmp_path, data, redactor, token="password").identities(range(2)))
    assert [(i.user, i.token) for i in made] == [("ann", "t0k,en-ann"), ("bob", "t0ken-bob")]
    assert "t0ken" not in redactor.text("t0k,en-ann t0ken-bob")


def test_more_clients_than_rows(tmp_path):
    data = "user,token\nann,t-ann\nbob,t-bob\n"
    with pytest.raises(ConfigError, match=r"2 rows are too few for 5 clients.*at most 2"):
        run(csv_tokens(tmp_path, data).identities(range(5)))
    made = run(csv_tokens(tmp_path, data, identities=2).identities(range(5)))
    assert [i.user for i in made] == ["ann", "bob", "ann", "bob", "ann"]
    with pytest.raises(ConfigError, match="too few for identities = 3"):
        run(csv_tokens(tmp_path, data, identities=3).identities(range(5)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("ann,s3cret-of-ann\nbob,s3cret-of-bob\n", "names 0 columns `user`"),
        ("user,token,token\na,b,c\n", "names 2 columns `token`"),
        ("", "names 0 columns `user`"),
        ("user,token\n", "no rows"),
        ("user,token\nann,s3cret-1\nbob\n", "line 3 has no token"),
        ("user,token\n,s3cret-1\n", "line 2 has no user"),
        ("user,token\nann,s3cret-1\nann,s3cret-1\n", "lines 2 and 3 are the same identity"),
        ("user,token\nann,eyJhbGciOi.s3cret.x\nbob,eyJhbGciOi.s3cret.x\n", "lines 2 and 3"),
        ('user,token\nann,"s3cret', "is not CSV"),
        (b"user,token\nann,s3cret\xff\n", "line 2 is not UTF-8"),
    ],
)
def test_csv_mistakes_name_the_line_and_quote_no_cell(tmp_path, data, why):
    with pytest.raises(ConfigError, match=why) as caught:
        csv_tokens(tmp_path, data)
    assert "users.csv" in str(caught.value)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_users_may_share_a_password(tmp_path):
    made = run(csv_tokens(tmp_path, "user,token\nann,same\nbob,same\n").identities(range(2)))
    assert [i.token for i in made] == ["same", "same"]


def test_csv_mistakes_are_told_together_up_to_a_bound(tmp_path):
    with pytest.raises(ConfigError) as caught:
        csv_tokens(tmp_path, "user,token\n" + ",x\n" * 1000)
    assert len(caught.value.problems) == 10


def test_a_missing_csv_file(tmp_path):
    table = AUTH.validate_python({"source": "csv", "file": "none.csv"})
    with pytest.raises(ConfigError, match="No such file"):
        Tokens(table, seed=0, redactor=Redactor(), folder=tmp_path)
