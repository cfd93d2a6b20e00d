"""A protocol that is not ours, on servers that none of us wrote: with two files, and no code.

`graphql-transport-ws` as Strawberry on uvicorn speaks it (PyPI), and as graphql-ws on ws does
(npm). Both are in tests/graphql/; what they send is written by those libraries alone.
"""

import re
import selectors
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HERE = ROOT / "tests" / "graphql"
DIALECT = ROOT / "scenarios" / "dialects" / "graphql_transport_ws.toml"
# Where `make test` has put the packages of the Node server.
INSTALLED = Path(sys.prefix) / ".node"
KEY = "a-key-of-the-tests-0123456789abcdef"
ENV = {"PROBE_JWT_KEY": KEY}
DEADLINE_S = 20.0
INSTALL_S = 90.0
AUTH = '[auth]\nsource = "mint"\nalgorithm = "HS256"\nkey = "${PROBE_JWT_KEY}"\n'
SHORT = (
    "--set", "stages.users.populations.users.shape.rate=80/s",
    "--set", "stages.users.populations.users.shape.lasts=1s",
    "--set", "stages.users.populations.users.script.1.count=2",
    "--set", "stages.users.populations.users.script.1.size=5",
    "--set", "stages.preflight.expect.health=false",  # it has no HTTP service beside it
)  # fmt: skip
CLIENTS = 80
RUNS = 2 * CLIENTS
NEXTS = 5 * RUNS

QUERY = "ticks(count: {size}) }"
SIX = """
[stages.runs]
patience = "5s"
expect = { delivery = {}, success = { rate = "50%" } }
[stages.runs.populations.users]
shape = { clients = 6 }
script = [
  { do = "connect" },
  { do = "run", size = 5 },
  { do = "settle" },
  { do = "close" },
]
"""

# What a client can do wrong, and the code that the protocol has for it.
CLOSES = """
[stages.early]
patience = "3s"
expect.definite = true
[stages.early.populations.clients]
shape = { clients = 3 }
present = "early"
script = [
  { do = "connect", ready = false },
  { do = "send", text = '{"type":"subscribe","id":"a","payload":{"query":"{ hello }"}}' },
  { do = "hold", lasts = "1s" },
]
[stages.anonymous]
patience = "3s"
expect.definite = true
[stages.anonymous.populations.clients]
shape = { clients = 3 }
present = "anonymous"
script = [{ do = "connect" }, { do = "close" }]
[stages.twice]
patience = "3s"
expect.stays = true
[stages.twice.populations.clients]
shape = { clients = 3 }
script = [
  { do = "connect" },
  { do = "send", text = 'SUBSCRIBE' },
  { do = "send", text = 'SUBSCRIBE' },
  { do = "hold", lasts = "1s" },
  { do = "close" },
]
[stages.again]
patience = "3s"
expect.stays = true
[stages.again.populations.clients]
shape = { clients = 3 }
script = [
  { do = "connect" },
  { do = "send", text = '{"type":"connection_init"}' },
  { do = "hold", lasts = "1s" },
  { do = "close" },
]
""".replace(
    "SUBSCRIBE",
    '{"type":"subscribe","id":"b","payload":'
    '{"query":"subscription { ticks(count: 100, every: 0.1) }"}}',
)
MORE = """
[present.early]
subprotocols = ["graphql-transport-ws"]
[present.anonymous]
subprotocols = ["graphql-transport-ws"]
first_message = '{"type":"connection_init"}'
"""
AT_ONCE = {"target.closed_at_once", "connect.accepted_then_closed"}
CODES = {
    "early": (AT_ONCE, 4401),
    "anonymous": (AT_ONCE, 4403),
    "twice": ({"session.closed"}, 4409),
    "again": ({"session.closed"}, 4429),
}


class Service:
    """One started server; leaving the context ends it, and it must not have crashed."""

    def __init__(self, *command):
        self._command = [*map(str, command), "0", "--key", KEY]

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            heard = selector.select(DEADLINE_S)
        line = stdout.readline().decode() if heard else ""
        found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)\n", line)
        if not found:
            self._process.kill()
            pytest.fail(f"no server: {line}{self._process.communicate()[1].decode()}")
        self.url = f"ws://127.0.0.1:{found[1]}/"
        return self

    def __exit__(self, *_):
        self._process.terminate()
        try:
            err = self._process.communicate(timeout=DEADLINE_S)[1].decode()
        except subprocess.TimeoutExpired:
            self._process.kill()
            err = self._process.communicate()[1].decode()
            pytest.fail(f"the server did not end: {err}")
        assert "Traceback" not in err, err
        assert "Internal error" not in err, err


def npm_ci(folder):
    """What the lock file names, installed into `folder`; nothing of it is run."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder / name)
    command = ["npm", "ci", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def node_server(tmp_path_factory):
    """The path of server.mjs beside its packages: those of `make test`, else installed here."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}: the server of npm's graphql-ws cannot be started")
    folder = tmp_path_factory.mktemp("node")
    lock = INSTALLED / "package-lock.json"
    current = (HERE / "package-lock.json").read_bytes()
    if (INSTALLED / ".stamp").exists() and lock.read_bytes() == current:
        (folder / "node_modules").symlink_to(INSTALLED / "node_modules")
    else:
        npm_ci(folder)
    return shutil.copy(HERE / "server.mjs", folder)


@pytest.fixture(params=["strawberry", "graphql_ws"], scope="module")
def service(request):
    if request.param == "strawberry":
        command = (sys.executable, HERE / "server.py")
    else:
        command = ("node", request.getfixturevalue("node_server"))
    with Service(*command) as started:
        yield started


def findings(done, stage):
    """Findings of a stage by code."""
    all_of_it = done.verdict["findings"]
    return {each["code"]: each for each in all_of_it if each["check"].startswith(f"{stage}.")}


def run_changed(probe, service, query):
    """Six runs of five ticks each, with another query in place of the dialect's."""
    text = DIALECT.read_text(encoding="utf-8")
    assert QUERY in text
    probe.write("scenarios/dialects/graphql.toml", text.replace(QUERY, query))
    probe.scenario(SIX)
    target = probe.target(service.url, dialect="graphql", more=AUTH)
    return probe.run("small", target=target, env=ENV)


def test_the_golden_path_passes_and_every_next_is_counted(probe, service):
    target = probe.target(service.url, dialect="graphql_transport_ws", more=AUTH)
    done = probe.fit_run("golden_path", *SHORT, target=target, env=ENV)
    assert done.code == 0, done.told
    assert done.codes == set(), done.told
    assert "embedded" not in done.out
    types = done.summary["delivery"]["users"]["types"]
    assert types["next"]["delivered"] == NEXTS
    assert types["complete"]["delivered"] == RUNS
    assert done.check("users.delivery.complete")["verdict"] == "PASS"


def test_one_next_too_few_in_each_run_is_told(probe, service):
    """The same query for four ticks, whatever is asked for; {size} stands in a comment."""
    done = run_changed(probe, service, "ticks(count: 4) } # {size}")
    assert done.code == 1, done.told
    assert done.codes == {"delivery.lost"}, done.told
    (found,) = done.verdict["findings"]
    assert found["message"].startswith("next was lost in 6 of 6 runs"), found
    assert "first event" not in found["message"], "which of five it was cannot be known"
    types = done.summary["delivery"]["runs"]["types"]
    assert (types["next"]["delivered"], types["next"]["lost"]) == (24, 6)
    assert types["complete"]["delivered"] == 6


def test_an_error_for_a_subscription_is_a_refused_run_in_the_services_words(probe, service):
    done = run_changed(probe, service, "nothing(count: {size}) }")
    assert done.verdict["verdict"] in {"FAIL", "INCONCLUSIVE"}, done.told  # as busy as it is here
    assert done.codes == {"session.failed"}, done.told
    (found,) = done.verdict["findings"]
    assert "refused" in found["message"]
    assert "Cannot query field" in str(found["witness"])
    delivery = done.summary["delivery"]["runs"]
    assert delivery["ends"]["refused"] == 6
    assert delivery["totals"]["delivered"] == 0
    assert delivery["totals"]["lost"] == 0


def test_a_close_of_the_protocol_is_told_by_its_code_and_meaning(probe, service):
    text = DIALECT.read_text(encoding="utf-8")
    meanings = tomllib.loads(text)["close_codes"]
    probe.write("scenarios/dialects/graphql.toml", text + MORE)
    probe.scenario(CLOSES)
    target = probe.target(service.url, dialect="graphql", more=AUTH)
    done = probe.run("small", target=target, env=ENV)
    assert done.code == 1, done.told
    for stage, (codes, close) in CODES.items():
        found = findings(done, stage)
        assert set(found) == codes, done.told
        for each in found.values():
            assert f"{close} ({meanings[str(close)]})" in each["message"], each
            assert each["count"] == 3, each
