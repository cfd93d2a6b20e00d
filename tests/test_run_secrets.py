"""No token and no key stands in anything that a run leaves or prints, nor twelve of its letters.

The servers echo what they were sent: in error bodies, close reasons and messages, cut
anywhere. What is searched for is taken from the servers' own memory.
"""

import base64
import json

import pytest

from tests.servers import Server, answer, echo, echoes_head, header, read_head

PIECE = 12
KEY = "Kq7-the-signing-key-of-these-tests-0xF3a9"
SCENARIO = """
[stages.preflight]
activity = "preflight"
expect = { connects = true, health = true }
[stages.offers]
activity = "matrix"
expect.offers = true
[stages.load]
patience = "2s"
expect = { success = { rate = "50%" }, definite = true }
[stages.load.populations.clients]
shape = { clients = 4 }
script = [{ do = "connect" }, { do = "send", text = "hello {user}" }, { do = "ping" }]
finally = [{ do = "http", service = "api", path = "/users/{user}" }]
"""
DIALECT = """
title = "Every way to show a token"
[present.default]
subprotocols = ["v1", "jwt.{token}"]
headers = { Authorization = "Bearer {token}" }
query = { token = "{token}" }
cookies = { session = "{token}" }
[present.header]
headers = { X-Token = "{token}" }
[present.first]
first_message = '{"type":"authenticate","token":"{token}"}'
[ready]
within = "1s"
"""


def every_file(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pieces(secret):
    raw = secret.encode() if isinstance(secret, str) else secret
    return {raw[i : i + PIECE] for i in range(max(len(raw) - PIECE + 1, 1))}


def check_clean(done, secrets):
    """None of the secrets, nor any piece of twelve, in the files and the output."""
    texts = every_file(done.folder)
    texts[done.folder / "stdout"] = done.out.encode()
    texts[done.folder / "stderr"] = done.err.encode()
    assert len(texts) >= 9, sorted(texts)
    assert secrets
    for secret in secrets:
        assert len(secret) >= 6
        for piece in pieces(secret):
            for path, data in texts.items():
                # All JWTs of one kind begin alike, and that says nothing.
                if piece in data and not base64.b64encode(b'{"alg":"').startswith(piece[:8]):
                    pytest.fail(f"{path.name} holds {piece!r}")


def seen_by(server):
    """Every token that a client showed, as this server got it."""
    found = set()
    for head in server.heads:
        text = head.decode("latin-1")
        for line in (header(head, "Authorization"), header(head, "X-Token")):
            if line:
                found.add(line.removeprefix("Bearer "))
        if "token=" in text:
            found.add(text.partition("token=")[2].split(" ")[0].split("&")[0])
    return {token for token in found if token and token != "nothing"}


def service(server, auth):
    return f"""
[services.api]
url = "http://127.0.0.1:{server.port}/health"
[auth]
{auth}
"""


def run(probe, kind, auth, *, env=None, words=(), more=""):
    probe.scenario(SCENARIO)
    probe.write("scenarios/dialects/every.toml", DIALECT)
    with Server(echoes_head(kind)) as server:
        target = probe.target(
            f"ws://127.0.0.1:{server.port}/", dialect="every", more=service(server, auth) + more
        )
        done = probe.run("small", "-v", *words, target=target, env=env)
    assert server.errors == []
    assert done.code in (1, 3), done.told
    assert "Traceback" not in done.err
    tokens = seen_by(server)
    assert tokens
    return done, tokens


# How a JWT begins: "alg" or "typ" first. Three letters of it stand in many a Sec-WebSocket-Key.
HEADS = (b"eyJhbGci", b"eyJ0eXAi")
LONG = pytest.mark.long


@pytest.mark.parametrize(
    "kind",
    ["body", *(pytest.param(each, marks=LONG) for each in ("reason", "message", "first"))],
)
def test_minted_tokens_that_a_server_echoes(probe, kind):
    done, tokens = run(probe, kind, 'source = "mint"\nkey = "${PROBE_KEY}"', env={"PROBE_KEY": KEY})
    check_clean(done, [*tokens, KEY])
    # What was stored shows the shape all the same.
    stored = (done.folder / "history" / "texts.bin").read_bytes()
    assert b"jwt.xxx" in stored or b"jwt.xx" in stored


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("csv", "message"),
        pytest.param("env", "first", marks=LONG),
        *(pytest.param("csv", each, marks=LONG) for each in ("body", "reason", "first")),
        *(pytest.param("env", each, marks=LONG) for each in ("body", "reason", "message")),
    ],
)
def test_opaque_tokens_and_passwords_that_a_server_echoes(probe, kind, source):
    tokens = [f"pw{n}-Zt8vQ2mLx{n}RkY5hW{n}" for n in range(40)]
    auth, env = 'source = "env"\ntoken = "${PROBE_TOKEN}"', {"PROBE_TOKEN": tokens[0]}
    if source == "csv":
        rows = "\n".join(f"user{n},{token}" for n, token in enumerate(tokens))
        probe.write("scenarios/targets/users.csv", f"user,password\n{rows}\n")
        auth = 'source = "csv"\nfile = "users.csv"\nuser = "user"\ntoken = "password"'
    done, seen = run(probe, kind, auth, env=env)
    assert seen <= set(tokens)
    check_clean(done, tokens)


def test_a_fetched_token_of_the_lab(probe):
    probe.scenario(SCENARIO.replace("api", "backend"))
    probe.write(
        "scenarios/targets/fetched.toml",
        """
title = "Lab with fetched tokens"
kind = "lab"
dialect = "agent_events"
[endpoints.main]
url = "ws://{lab}/ws"
[services.backend]
url = "http://{lab}/health"
[restart]
by = "lab"
[auth]
source = "fetch"
url = "http://{lab}/auth/token"
grant = "password"
username = "probe-{n}"
password = "${PROBE_LAB_SECRET}"
""",
    )
    done = probe.run("small", target="fetched")
    assert done.code in (0, 1, 3), done.told
    assert done.summary["counts"]["ways"].get("good", 0) >= 3, done.told
    everything = b"".join(every_file(done.folder).values()) + done.out.encode()
    assert not any(head in everything for head in HEADS)


@pytest.mark.parametrize("kind", ["opaque", pytest.param("jwt", marks=LONG)])
def test_fetched_tokens_and_what_fetched_them(probe, kind):
    given: list[str] = []
    secret = "cs-9fQzP2-client-secret-Lw8"

    def tokens(server, sock):
        head = read_head(server, sock)
        body = head.partition(b"\r\n\r\n")[2]
        while len(body) < int(header(head, "Content-Length") or 0):
            body += sock.recv(65536)
        n = len(given)
        if n == 1:  # an error that quotes the request is tried again
            given.append("")
            sock.sendall(answer(503, b"you sent: " + head + body))
            return
        token = f"opq{n}-Xv4TnB7{n}qLr0PzK9{n}w"
        if kind == "jwt":
            claims = base64.urlsafe_b64encode(json.dumps({"sub": f"u{n}"}).encode()).rstrip(b"=")
            token = f"eyJhbGciOiJIUzI1NiJ9.{claims.decode()}.c2lnbmF0dXJlLW9mLXRoaXMt{n:04}"
        given.append(token)
        sock.sendall(answer(200, json.dumps({"access_token": token}).encode()))

    with Server(tokens) as endpoint:
        auth = f"""
source = "fetch"
url = "http://127.0.0.1:{endpoint.port}/token"
client_id = "the-client"
client_secret = "${{PROBE_SECRET}}"
headers = {{ X-Api-Key = "${{PROBE_API_KEY}}" }}
parallel = 1
"""
        env = {"PROBE_SECRET": secret, "PROBE_API_KEY": "apikey-Jd72MvQ0-ZpR4"}
        done, seen = run(probe, "message", auth, env=env)
    assert endpoint.errors == []
    assert seen & set(given)
    check_clean(done, [*filter(None, given), *env.values()])


def test_a_token_endpoint_that_quotes_its_secrets_in_a_refusal(probe):
    def refuses(server, sock):
        head = read_head(server, sock)
        body = head.partition(b"\r\n\r\n")[2]
        while len(body) < int(header(head, "Content-Length") or 0):
            body += sock.recv(65536)
        sock.sendall(answer(401, b'{"error":"bad","you_sent":"' + body + b'"}'))

    probe.scenario(SCENARIO)
    probe.write("scenarios/dialects/every.toml", DIALECT)
    env = {"PROBE_SECRET": "cs-9fQzP2-client+secret/Lw8"}
    with Server(refuses) as endpoint, Server(echo) as server:
        auth = f"""
source = "fetch"
url = "http://127.0.0.1:{endpoint.port}/token"
client_id = "the-client"
client_secret = "${{PROBE_SECRET}}"
parallel = 1
"""
        target = probe.target(
            f"ws://127.0.0.1:{server.port}/", dialect="every", more=service(server, auth)
        )
        done = probe.run("small", target=target, env=env)
        assert endpoint.accepted == 1  # a refusal is final
    assert done.code == 1, done.told
    assert "target.no_token" in done.codes
    assert "401" in done.out
    check_clean(done, list(env.values()))


def test_a_first_message_to_the_lab(probe):
    probe.scenario(SCENARIO.replace("api", "backend"))
    probe.write(
        "scenarios/dialects/first.toml",
        """
title = "First message"
[present.default]
first_message = '{"type":"authenticate","token":"{token}"}'
[ready]
event = "connection_ready"
within = "2s"
""",
    )
    probe.write(
        "scenarios/targets/first.toml",
        """
title = "Lab, first message"
kind = "lab"
dialect = "first"
[endpoints.main]
url = "ws://{lab}/ws?auth=message"
[services.backend]
url = "http://{lab}/health"
[restart]
by = "lab"
[auth]
source = "mint"
key = "${PROBE_LAB_SECRET}"
issuer = "probe-lab"
audience = "probe-lab"
""",
    )
    done = probe.run("small", target="first")
    assert done.summary["counts"]["ways"] == {"good": 10}, done.told
    everything = every_file(done.folder)
    assert b"authenticate" in everything[done.folder / "history" / "texts.bin"]
    assert not any(head in data for data in everything.values() for head in HEADS)


def test_what_the_network_table_holds(probe):
    """Headers, the query of an address, and a proxy's password."""
    env = {
        "PROBE_API_KEY": "apikey-Jd72MvQ0-ZpR4",
        "PROBE_QUERY": "query-key-77-WxTq",
        "PROBE_PROXY": "http://somebody:pw%21Hx7q@127.0.0.1:{port}",
    }
    probe.scenario(SCENARIO)
    probe.write("scenarios/dialects/every.toml", DIALECT)

    def proxy(server, sock):
        head = read_head(server, sock)
        sock.sendall(answer(407, b"no: " + head, "X-Seen: " + header(head, "Proxy-Authorization")))

    network = '[network]\nheaders = { X-Api-Key = "${PROBE_API_KEY}" }\n'
    auth = 'source = "mint"\nkey = "${PROBE_KEY}"'
    env["PROBE_KEY"] = KEY
    with Server(echoes_head("message")) as server, Server(proxy) as way:
        env["PROBE_PROXY"] = env["PROBE_PROXY"].format(port=way.port)
        url = f"ws://127.0.0.1:{server.port}/ws?key=${{PROBE_QUERY}}"
        secrets = [env["PROBE_API_KEY"], env["PROBE_QUERY"], KEY]
        target = probe.target(url, dialect="every", more=service(server, auth) + network)
        done = probe.run("small", "-v", target=target, env=env)
        assert all(env["PROBE_API_KEY"] == header(h, "X-Api-Key") for h in server.heads
                   if header(h, "Upgrade"))  # fmt: skip
        check_clean(done, [*secrets, *seen_by(server)])
        more = service(server, auth) + network + 'proxy = "${PROBE_PROXY}"\n'
        target = probe.target(url, dialect="every", more=more)
        done = probe.run("small", "-v", target=target, env=env)
        assert way.heads
    assert "target.proxy" in done.codes, done.told
    basic = base64.b64encode(b"somebody:pw!Hx7q").decode()
    check_clean(done, [*secrets, "pw!Hx7q", "pw%21Hx7q", basic])


def test_what_an_error_of_a_script_says(probe):
    path = probe.write(
        "leaks.py",
        """
async def leaks(session):
    await session.connect()
    raise ValueError(f"token is {session._identity.token} and more")

scenario = {
    "title": "leaks",
    "stages": {"load": {
        "expect": {"success": {"rate": "50%"}},
        "populations": {"clients": {"shape": {"clients": 3}, "script": leaks}},
    }},
}
""",
    )
    probe.write("scenarios/targets/users.csv", "user,token\n" + "".join(
        f"user{n},pw{n}-Zt8vQ2mLx{n}RkY5hW{n}\n" for n in range(3)))  # fmt: skip
    probe.write("scenarios/dialects/every.toml", DIALECT)
    with Server(echo) as server:
        auth = 'source = "csv"\nfile = "users.csv"\nuser = "user"\ntoken = "token"'
        target = probe.target(
            f"ws://127.0.0.1:{server.port}/", dialect="every", more=service(server, auth)
        )
        done = probe.run(str(path), target=target)
    assert done.code in (1, 3), done.told
    assert "ValueError" in done.out
    check_clean(done, [f"pw{n}-Zt8vQ2mLx{n}RkY5hW{n}" for n in range(3)])


@pytest.mark.long
def test_a_message_that_cuts_a_token_in_the_middle_of_its_own(probe):
    """The stored head is cut at its cap, and what is left is masked all the same."""

    def long(server, sock):
        head = read_head(server, sock)
        body = b"x" * 4080 + header(head, "Authorization").encode() * 60
        sock.sendall(answer(403, body))

    probe.scenario(SCENARIO)
    probe.write("scenarios/dialects/every.toml", DIALECT)
    with Server(long) as server:
        auth = 'source = "env"\ntoken = "${PROBE_TOKEN}"'
        target = probe.target(
            f"ws://127.0.0.1:{server.port}/", dialect="every", more=service(server, auth)
        )
        token = "Zq81-opaque-token-of-a-user-LmN5"
        done = probe.run("small", target=target, env={"PROBE_TOKEN": token})
    check_clean(done, [token])


@pytest.mark.long
def test_other_commands_print_no_token_either(probe):
    env = {"PROBE_KEY": KEY, "PROBE_TOKEN": "Zq81-opaque-token-of-a-user-LmN5"}
    probe.write("scenarios/dialects/every.toml", DIALECT)
    with Server(echoes_head("message")) as server:
        for auth in ('source = "mint"\nkey = "${PROBE_KEY}"',
                     'source = "env"\ntoken = "${PROBE_TOKEN}"'):  # fmt: skip
            target = probe.target(
                f"ws://127.0.0.1:{server.port}/", dialect="every", more=service(server, auth)
            )
            for words in (
                ("connect", "main", "-t", target, "--for", "300ms"),
                ("connect", "main", "-t", target, "--present", "first", "--for", "300ms"),
                ("token", "-t", target),
            ):
                done = probe(*words, env=env)
                text = done.out + done.err
                assert "Traceback" not in text
                for secret in (*env.values(), *seen_by(server)):
                    assert not [p for p in pieces(secret) if p.decode() in text
                                and not p.startswith(b"eyJ")], text  # fmt: skip
                assert "eyJ" not in text
        url = f"ws://127.0.0.1:{server.port}/"
        more = ("-s", "bearer.{token}", "-H", "Authorization: Bearer {token}")
        done = probe("connect", url, "--token-env", "PROBE_TOKEN", *more, "--for", "1s", env=env)
        assert env["PROBE_TOKEN"] not in done.out
        assert "101" in done.out
