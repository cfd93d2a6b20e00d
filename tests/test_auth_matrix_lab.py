"""The scenarios about tokens on real processes: the lab, healthy and with its defects, and a
service of the test, with the sources of tokens that have no key."""

import asyncio
import contextlib
import json
import threading

import pytest
import websockets
from websockets.datastructures import Headers
from websockets.http11 import Response

from tests.servers import JWT

ROWS = "stages.tokens.cases"
FEW = f'{ROWS}=["expired", "alg_none", "wrong_audience", "wrong_issuer", "key_confusion_raw"]'
ONE = f'{ROWS}=["tampered"]'


def failing(done):
    return {f["code"] for f in done.verdict["findings"] if f["severity"] != "info"}


def verdicts(done):
    return {each["id"]: each["verdict"] for each in done.verdict["checks"]}


LATE = [pytest.param(name, marks=pytest.mark.long) for name in ("first_message", "token_refresh")]


@pytest.mark.parametrize("scenario", ["auth_matrix", *LATE])
def test_the_healthy_lab_passes(probe, scenario):
    done = probe.run(scenario)
    assert done.code == 0, done.told
    assert failing(done) == set()
    left = {name for name, verdict in verdicts(done).items() if verdict != "PASS"}
    assert left == {name for name in left if name.endswith(".another_user")}


def test_each_defect_of_the_door_has_a_code_of_its_own(probe):
    defects = ("alg_none_accepted", "expired_accepted", "audience_ignored", "key_confusion")
    asked = [word for name in defects for word in ("--defect", name)]
    done = probe.run("auth_matrix", "--set", FEW, *asked)
    assert done.code == 1, done.told
    codes = {"auth.alg_none", "auth.expired", "auth.audience", "auth.issuer", "auth.key_confusion"}
    assert failing(done) == codes
    hits = {line["defect"] for line in done.ledger() if line["event"] == "hit"}
    assert hits == set(defects)
    assert all(f["witness"] for f in done.verdict["findings"] if f["code"] in codes)
    assert not JWT.search((done.folder / "verdict.json").read_bytes())
    assert not JWT.search((done.folder / "history" / "texts.bin").read_bytes())


def test_what_is_served_before_the_token_is_judged_is_a_witness(probe):
    done = probe.run("auth_matrix", "--set", ONE, "--defect", "auth_after_accept=200ms")
    assert done.code == 1, done.told
    assert {"auth.tampered", "auth.early_frame_served_to_bad"} <= failing(done)


@pytest.mark.long
def test_a_message_that_is_lost_before_the_token_is_judged_is_told(probe):
    done = probe.run(
        "auth_matrix", "--set", ONE, "--set", "dialect.run.within=2s", "--set",
        "dialect.run.quiet=1s", "--defect", "auth_drops_early_frames=200ms",
    )  # fmt: skip
    assert done.code == 1, done.told
    assert failing(done) == {"auth.early_frame_lost"}


@pytest.mark.long
def test_a_refresh_that_ends_the_session_and_an_expiry_that_does_not(probe):
    asked = ("--defect", "refresh_drops_session", "--defect", "expiry_ignored")
    life = "stages.life.populations"
    short = [f"{life}.{name}.shape.lasts=500ms" for name in ("refreshes", "expires")]
    short.append(f"{life}.expires.script.2.within=5s")
    done = probe.run("token_refresh", *asked, *(w for each in short for w in ("--set", each)))
    assert done.code == 1, done.told
    assert failing(done) == {"refresh.dropped", "auth.expiry_ignored"}


# A service of the test, which none of us wrote the lab's rules into.


class Service:
    """Lets in who shows `token` in Authorization, serves its runs; `weak` lets in who shows any."""

    def __init__(self, token="", *, weak=False):
        self.token = token
        self.weak = weak
        self.ready = threading.Event()
        self.port = 0
        self.shown = []

    def __enter__(self):
        self.thread = threading.Thread(target=lambda: asyncio.run(self.main()))
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)

    async def main(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        async with websockets.serve(
            self.serve, "127.0.0.1", 0, process_request=self.judge, compression=None
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.ready.set()
            await self.over.wait()

    def judge(self, _, request):
        shown = request.headers.get_all("Authorization")
        self.shown += shown
        good = shown == [f"Bearer {self.token}"] or (self.weak and shown)
        return None if good else Response(401, "No", Headers([("Content-Length", "0")]), b"")

    async def serve(self, socket):
        with contextlib.suppress(websockets.ConnectionClosed):
            async for text in socket:
                run = json.loads(text)["go"]
                for kind in ("begun", "ended"):
                    await socket.send(json.dumps({"type": kind, "run_id": run}))


DIALECT = """title = "bearer"
[present.default]
headers = { Authorization = "Bearer {token}" }
[run]
start = '{"go":"{run}"}'
events = ["begun", "ended"]
within = "1s"
quiet = "1s"
"""
MATRIX = """[stages.tokens]
activity = "matrix"
table = "authentication"
expect.authentication = true
"""
TOKEN = "a-token-of-another-kind-0123456789"


def against(probe, service, *words, more="", token=TOKEN):
    probe.write("scenarios/dialects/bearer.toml", DIALECT)
    auth = '[auth]\nsource = "env"\ntoken = "${PROBE_OWN_TOKEN}"\n' + more
    url = f"ws://127.0.0.1:{service.port}/"
    target = probe.target(url, dialect="bearer", more=auth)
    name = probe.scenario(MATRIX)
    return probe.run(name, *words, target=target, env={"PROBE_OWN_TOKEN": token})


def test_a_source_of_one_opaque_token_tries_what_it_can_and_names_the_rest(probe):
    with Service(TOKEN) as service:
        done = against(probe, service)
    assert done.code == 0, done.told
    told = verdicts(done)
    tried = {name.rpartition(".")[2] for name, verdict in told.items() if verdict == "PASS"}
    assert tried == {"control", "absent", "tampered", "malformed", "two_that_differ"}
    skipped = [c for c in done.verdict["checks"] if c["verdict"] == "SKIPPED"]
    assert len(skipped) + len(tried) == len(told)
    assert all(c["message"].startswith("skipped: ") and not c["required"] for c in skipped)
    assert "no JWT" in done.check("tokens.authentication.default.alg_none")["message"]
    assert "not ours" in done.check("tokens.authentication.default.expired")["message"]
    for path in done.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert TOKEN.encode() not in data, path
            assert TOKEN[: len(TOKEN) // 2].encode() not in data, path
    assert any(TOKEN[: len(TOKEN) // 2] == shown.removeprefix("Bearer ") for shown in service.shown)


def test_a_service_that_takes_any_token_is_told_with_what_each_got(probe):
    with Service(TOKEN, weak=True) as service:
        done = against(probe, service)
    assert done.code == 1, done.told
    assert failing(done) == {"auth.tampered", "auth.malformed"}
    (one,) = [f for f in done.verdict["findings"] if f["code"] == "auth.tampered"]
    assert "1 of 1 attempt got in (1 stayed open, 1 got events of a run)" in one["message"]


def test_a_target_that_forbids_bad_tokens_is_shown_none_and_leaves_them_open(probe):
    with Service(TOKEN) as service:
        done = against(probe, service, more="[safety]\nbad_tokens = false\n")
        assert set(service.shown) == {f"Bearer {TOKEN}"}
    assert done.code == 3, done.told
    assert done.check("tokens.authentication.default.tampered")["verdict"] == "INCONCLUSIVE"
    assert "forbids" in done.check("tokens.authentication.default.tampered")["message"]
    assert done.check("tokens.authentication.default.control")["verdict"] == "PASS"


def test_what_cannot_be_judged_is_refused_before_a_socket_opens(probe):
    url = "ws://127.0.0.1:1/"
    bare = probe.target(url, name="bare")
    done = probe.inside("run", probe.scenario(MATRIX), "-t", bare)
    assert done.code == 2
    assert "the target has no [auth]" in done.err
    steps = [{"do": "connect"}, {"do": "revoke"}, {"do": "logout"}, {"do": "refresh"}]
    steps += [{"do": "token", "case": "expird"}]
    script = ", ".join("{" + ", ".join(f'{k} = "{v}"' for k, v in s.items()) + "}" for s in steps)
    body = f"[stages.one.populations.a]\nshape = {{ clients = 1 }}\nscript = [{script}]\n"
    done = probe.inside("run", probe.scenario(body, "steps"), "-t", bare)
    assert done.code == 2
    for words in ("no [revoke]", "no [logout]", "no [refresh]", "did you mean 'expired'?"):
        assert words in done.err, done.err
    body = '[stages.pre]\nactivity = "preflight"\nexpect.authentication = true\n'
    done = probe.inside("run", probe.scenario(body, "pre"), "-t", bare)
    assert done.code == 2
    assert "it goes with a matrix" in done.err
