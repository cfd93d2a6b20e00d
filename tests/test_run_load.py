"""Load: launches at intended times, curves, ceilings, ladders, clean-up, and early stops."""

import time

import numpy as np
import pytest

from probe.history.columns import History
from probe.history.records import Kind, Outcome, Run
from tests.servers import (
    Server,
    answer,
    close_frame,
    echo,
    frame,
    free_port,
    header,
    read_frame,
    read_head,
    says,
    silent,
    slow_close,
    switch,
    text,
)

pytestmark = pytest.mark.alone

MS = 1_000_000
S = 1000 * MS
EVENTS = """
title = "Two events"
[present.default]
[ready]
event = "welcome"
within = "2s"
[run]
start = '{"type":"go","run_id":"{run}"}'
events = ["first", "second"]
within = "1s"
quiet = "300ms"
"""


def stage(population, *, expect='success = { rate = "50%" }', more=""):
    return f"""
[stages.load]
patience = "2s"
expect = {{ {expect} }}
{more}
[stages.load.populations.clients]
{population}
"""


def run(probe, server, population, *, dialect="plain", more="", target="", words=(), **options):
    probe.scenario(stage(population, more=more, **options))
    name = probe.target(f"ws://127.0.0.1:{server.port}/", dialect=dialect, more=target)
    done = probe.run("small", *words, target=name, within_s=40)
    return done, History.open(done.folder / "history")


def anchor(history):
    return int(history.of(Kind.ANCHOR)["b"][0])


def test_open_load_is_launched_at_its_intended_times(probe):
    with Server(echo) as server:
        done, history = run(
            probe, server,
            'shape = { arrivals = "even", '
            'rate_curve = [["0s", "20/s"], ["1s", "60/s"], ["2s", "0/s"]] }',
        )  # fmt: skip
    sessions = history.sessions
    assert len(sessions) == 70  # the area under the curve
    at = (sessions["intended"] - anchor(history)) / S
    first = np.searchsorted(at, 1.0)
    assert first == 40
    assert (np.diff(at) > 0).all()
    assert server.accepted == 70
    lag = sessions["dial"] - sessions["intended"]
    assert (lag >= 0).all()  # never early
    assert np.median(lag) < 100 * MS
    # The times are the plan's: the same seed intends the same ones.
    assert done.code in (0, 3), done.told


@pytest.mark.long
def test_the_same_seed_is_the_same_plan_and_another_is_not(probe):
    probe.scenario(stage('shape = { rate = "30/s", lasts = "1s" }'))
    offsets = []
    with Server(echo) as server:
        name = probe.target(f"ws://127.0.0.1:{server.port}/")
        for seed in ("5", "5", "6"):
            done = probe.run("small", "--seed", seed, target=name)
            history = History.open(done.folder / "history")
            offsets.append((history.sessions["intended"] - anchor(history)).tolist())
    assert offsets[0] == offsets[1]
    assert offsets[0] != offsets[2]


def test_closed_load_leaves_when_the_curve_says(probe):
    curve = '[["0s", 2], ["500ms", 2], ["500ms", 8], ["1s", 8], ["1s", 3], ["2s", 3]]'
    with Server(echo) as server:
        done, history = run(
            probe, server,
            f"shape = {{ clients_curve = {curve}, once = false }}\n"
            'script = [{ do = "connect" }, { do = "hold", lasts = "40ms" }, { do = "close" }]',
        )  # fmt: skip
    zero = anchor(history)
    sessions = history.sessions
    assert len(sessions) == 8
    starts = np.sort((sessions["intended"] - zero) / MS)
    assert starts.tolist() == [0] * 2 + [500] * 6
    ends = np.sort((sessions["done"] - zero) / MS)
    assert (ends[:5] >= 1000).all()
    assert (ends[:5] < 1700).all()
    assert (ends[5:] >= 2000).all()
    assert server.most <= 8 + 8  # one may be ending while the same client's next begins
    assert (sessions["outcome"] == 0).all()
    assert (sessions["attempts"] > 2).all()  # again and again
    assert done.code in (0, 3), done.told


@pytest.mark.long
def test_the_ceiling_on_clients_is_held_and_told(probe):
    # Each takes a second to end, and twenty want in within two seconds.
    with Server(slow_close(0.7)) as server:
        done, history = run(
            probe, server,
            'shape = { rate = "2/s", lasts = "4s", arrivals = "even" }\n'
            'script = [{ do = "connect" }]',
            target="[safety]\nclients_max = 2\n",
            words=("--set", "stages.load.populations.clients.shape.rate='2/s'"),
        )  # fmt: skip
        assert server.most <= 2
    assert len(history.sessions) == 8
    assert done.code in (0, 3), done.told


@pytest.mark.long
def test_a_client_over_the_ceiling_is_recorded_and_not_let_go(probe):
    with Server(slow_close(1.5)) as server:
        done, history = run(
            probe, server,
            'shape = { rate = "4/s", lasts = "2s", arrivals = "even" }\n'
            'script = [{ do = "connect" }]',
            target="[safety]\nclients_max = 4\n",
        )  # fmt: skip
        assert server.most == 4
    sessions = history.sessions
    assert len(sessions) == 8
    refused = sessions[sessions["attempts"] == 0]
    assert len(refused) > 0
    assert len(refused) == 8 - server.accepted
    assert {history.text(each).decode() for each in refused["why"]} == {
        "the target's ceiling of 4 clients was reached"
    }
    assert (refused["outcome"] == 2).all()
    # Clients that were not let go say nothing of the target, neither good nor bad.
    check = done.check("load.success")
    assert check["n"] == 8 or "not let go" in check["message"] or "not known" in check["message"]
    assert done.verdict["verdict"] in ("PASS", "INCONCLUSIVE", "INVALID")


def test_the_ladder_is_the_dialects(probe):
    dialect = """
title = "Ladder"
retry = ["50ms", "150ms", "300ms"]
[present.default]
"""
    probe.write("scenarios/dialects/ladder.toml", dialect)

    def starting(server, sock):
        read_head(server, sock)
        sock.sendall(answer(503))

    with Server(starting) as server:
        done, history = run(
            probe, server, 'shape = { clients = 3, lasts = "1400ms", once = false }\nretry = true',
            dialect="ladder",
        )  # fmt: skip
    pauses = [50, 150, 300, 300, 300]
    for session in range(3):
        mine = history.attempts[history.attempts["session"] == session]
        waited = (mine["dial"][1:] - mine["end"][:-1]) / MS
        assert len(waited) >= 4
        for pause, each in zip(pauses, waited.tolist(), strict=False):
            assert pause <= each < pause + 100, waited
    assert done.code == 1, done.told


def test_clean_up_runs_when_the_script_failed(probe):
    asked = []

    def serve(server, sock):
        head = read_head(server, sock)
        if header(head, "Upgrade"):
            sock.sendall(switch(head) + close_frame(1011, b"broken"))
            return
        asked.append((head.split(b"\r\n")[0].decode(), header(head, "Authorization")))
        sock.sendall(answer(204))

    with Server(serve) as server:
        more = f"""
[services.api]
url = "http://127.0.0.1:{server.port}/health"
[services.dead]
url = "http://127.0.0.1:{free_port()}/health"
[auth]
source = "mint"
key = "a-key-of-the-tests-that-is-long-enough"
"""
        population = """
shape = { clients = 2 }
script = [{ do = "connect" }, { do = "ping" }]
finally = [
  { do = "http", service = "dead", path = "/" },
  { do = "http", service = "api", path = "/users/{user}" },
  { do = "http", service = "api", method = "POST", path = "/done" },
]
"""
        done, history = run(probe, server, population, target=more)
    assert done.code == 1, done.told
    lines = sorted(line for line, _ in asked)
    assert (
        lines
        == ["DELETE /users/probe-0 HTTP/1.1", "DELETE /users/probe-1 HTTP/1.1"]
        + ["POST /done HTTP/1.1"] * 2
    )
    assert all(token.startswith("Bearer eyJ") for _, token in asked)
    assert (history.sessions["outcome"] == 1).all()
    whys = {history.text(each).decode() for each in history.sessions["why"]}
    assert all("clean-up http" in why for why in whys)


def test_abort_on_fail_stops_a_stage_early(probe):
    with Server(says(close_frame(1011, b"no"))) as server:
        began = time.monotonic()
        done, _ = run(
            probe, server, 'shape = { rate = "20/s", lasts = "30s", arrivals = "even" }',
            expect="definite = true", more="abort_on_fail = true",
        )  # fmt: skip
        assert time.monotonic() - began < 20
    assert done.code == 1, done.told
    assert server.accepted < 300
    assert "connect.accepted_then_closed" in done.codes


def test_a_results_folder_that_cannot_be_is_a_usage_error(probe):
    probe.write("file", "")
    with Server(echo) as server:
        target = probe.target(f"ws://127.0.0.1:{server.port}/")
        probe.scenario(stage('shape = { rate = "30/s", lasts = "1s" }'))
        done = probe("run", "small", "-t", target, "--out", "file/results")
        assert done.code == 2, done.told
        assert "--out" in done.err
        assert server.accepted == 0


def test_a_close_that_came_with_ready_ends_a_hold(probe):
    probe.write("scenarios/dialects/events.toml", EVENTS)
    frames = text({"type": "welcome"}) + close_frame(1011, b"then again no")
    with Server(says(frames)) as server:
        done, history = run(
            probe, server,
            'shape = { clients = 3 }\nscript = [{ do = "connect" }, { do = "hold", lasts = "1s" }]',
            dialect="events", expect='definite = true, success = { rate = "50%" }',
        )  # fmt: skip
    assert (history.sessions["outcome"] == 1).all()
    assert done.code == 1, done.told


def test_events_of_one_chunk_are_each_awaited(probe):
    probe.write("scenarios/dialects/events.toml", EVENTS)
    frames = b"".join(text({"type": name}) for name in ("welcome", "first", "second", "second"))
    script = (
        '[{ do = "connect" }, { do = "await", event = "first", within = "1s" }, '
        '{ do = "await", event = "second", within = "1s" }, '
        '{ do = "await", event = "second", within = "1s" }]'
    )
    with Server(says(frames)) as server:
        done, history = run(
            probe, server, f"shape = {{ clients = 3 }}\nscript = {script}", dialect="events"
        )
    whys = [history.text(each) for each in history.sessions["why"]]
    assert (history.sessions["outcome"] == 0).all(), whys
    assert done.code in (0, 3), done.told


def test_an_event_from_before_a_question_is_no_answer_to_it(probe):
    probe.write("scenarios/dialects/events.toml", EVENTS)
    script = (
        '[{ do = "connect" }, { do = "ping" }, { do = "send", text = "{n}" }, '
        '{ do = "await", event = "first", within = "300ms" }]'
    )
    with Server(says(text({"type": "welcome"}), text({"type": "first"}))) as server:
        _, history = run(
            probe, server, f"shape = {{ clients = 3 }}\nscript = {script}", dialect="events"
        )
    assert (history.sessions["outcome"] == 1).all()
    assert b"no first" in history.text(history.sessions["why"][0])


@pytest.mark.long
def test_runs_whose_events_come_twice_late_or_not_at_all(probe):
    probe.write("scenarios/dialects/events.toml", EVENTS)
    kinds = iter(["good", "twice", "late", "order", "cut", "foreign"] * 2)

    def serve(server, sock):
        kind = next(kinds)
        sock.sendall(switch(read_head(server, sock)) + text({"type": "welcome"}))
        while True:
            opcode, payload = read_frame(sock)
            if opcode == 8:
                sock.sendall(frame(8, payload[:2]))
                return
            if opcode == 9:
                sock.sendall(frame(10, payload))
                continue
            run_id = payload.decode().partition('"run_id":"')[2].partition('"')[0]
            names = {
                "good": ["first", "second"], "twice": ["first", "first", "second"],
                "late": ["first"], "order": ["second", "first"], "cut": ["first"],
                "foreign": ["first"],
            }[kind]  # fmt: skip
            for name in names:
                sock.sendall(text({"type": name, "run_id": run_id}))
            if kind == "foreign":
                sock.sendall(text({"type": "second", "run_id": "of-somebody-else"}))
            if kind == "cut":
                return

    with Server(serve) as server:
        done, history = run(
            probe, server, 'shape = { rate = "6/s", lasts = "1s", arrivals = "even" }',
            dialect="events", expect='runs = { rate = "90%" }',
        )  # fmt: skip
    assert server.errors == []
    outcomes = sorted(history.runs["outcome"].tolist())
    # The end came: good, twice, order; it never came: late, foreign; the connection ended: cut.
    assert outcomes == [Run.ENDED] * 3 + [Run.GIVEN_UP] * 2 + [Run.CUT_OFF]
    assert sorted(history.sessions["outcome"].tolist()) == [0] * 3 + [1] * 3
    assert history.of(Kind.GOT)["b"].tolist().count(-2) == 1
    assert done.verdict["verdict"] in ("FAIL", "INCONCLUSIVE")
    assert {"delivery.lost", "delivery.duplicated"} <= done.codes


@pytest.mark.long
def test_a_script_without_a_wait_does_not_hold_the_loop(probe):
    # Python, since a script of no steps is refused.
    path = probe.write(
        "busy.py",
        """
async def busy(session):
    return

scenario = {
    "title": "busy",
    "stages": {"load": {
        "expect": {"success": {"rate": "50%"}},
        "populations": {"clients": {
            "shape": {"clients": 2, "lasts": "500ms", "once": False}, "script": busy,
        }},
    }},
}
""",
    )
    with Server(echo) as server:
        target = probe.target(f"ws://127.0.0.1:{server.port}/")
        done = probe.run(str(path), target=target, within_s=20)
    history = History.open(done.folder / "history")
    assert len(history.sessions) == 2
    assert (history.sessions["done"] > 0).all()


@pytest.mark.long
def test_every_dial_has_its_end_also_when_patience_ends(probe):
    population = """
shape = { clients = 4 }
script = [{ do = "connect", ready = false }, { do = "await", event = "error", within = "20s" }]
"""

    def mute(server, sock):
        sock.sendall(switch(read_head(server, sock)))
        silent(server, sock)

    with Server(mute) as server:
        done, history = run(probe, server, population)
    assert len(history.attempts) == 4
    assert (history.attempts["outcome"] >= 0).all()
    assert (history.sessions["outcome"] == 2).all()
    assert done.verdict["verdict"] == "INCONCLUSIVE", done.told


@pytest.mark.parametrize("word", ["nothing", pytest.param("wrong", marks=pytest.mark.long)])
def test_clients_that_never_get_in_are_no_latency(probe, word):
    with Server(silent) as server:
        port = free_port() if word == "nothing" else server.port
        probe.write(
            "scenarios/dialects/fast.toml",
            """
title = "fast"
[present.default]
[ready]
within = "300ms"
""",
        )
        probe.scenario(stage(
            "shape = { clients = 80 }",
            expect='latency = [{ quantile = "p95", within = "5s" }]',
        ))  # fmt: skip
        name = probe.target(f"ws://127.0.0.1:{port}/", dialect="fast")
        done = probe.run("small", target=name)
    assert done.code == 1, done.told
    outcome = Outcome.REFUSED if word == "nothing" else Outcome.TIMEOUT
    assert done.summary["counts"]["outcomes"] == {outcome.name.lower(): 80}
