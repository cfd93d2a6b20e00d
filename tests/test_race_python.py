"""Races in Python: every call of the session API passes its gate, and mistakes are told as such."""

from pathlib import Path

import pytest

from probe.history.columns import History
from probe.history.records import Credential, Kind, Put, Trial
from probe.model.script import Session

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parent.parent
MS = 1_000_000
HEAD = '''
"""Written by a test."""

CONNECT, SETTLE = {"do": "connect"}, {"do": "settle"}
ZERO = {"script": [CONNECT, {"do": "gate"}, SETTLE]}
SWEPT = {"script": [CONNECT, {"do": "gate", "offset": "swept"}, SETTLE]}


def stage(actors, **more):
    race = {
        "range": ["0ms", "100ms"], "trials": 2, "confirm": 0, "within": "2s", "jitter": "1ms",
        "actors": {"zero": ZERO, "swept": SWEPT} | actors,
    } | more
    return {"activity": "race", "budget": "30s", "expect": {"race": True}, "race": race}

'''
EVERY = """
HALF = {"do": "connect", "ready": False}
RUN = {"do": "run", "wait": False}
PREPARED = {
    "connect": [], "handshake": [], "token": [], "ready": [HALF], "finish": [CONNECT, RUN],
    "await_event": [CONNECT, RUN],
}
STEPS = {
    "connect": CONNECT, "handshake": {"do": "handshake", "case": "plain"},
    "token": {"do": "token", "case": "fresh"}, "refresh": {"do": "refresh"},
    "revoke": {"do": "revoke"}, "logout": {"do": "logout"},
    "gone": {"do": "gone", "within": "10ms"}, "send": {"do": "send", "text": "hello"},
    "run": {"do": "run"}, "finish": {"do": "finish"}, "settle": {"do": "settle"},
    "vanish": {"do": "vanish"}, "stall": {"do": "stall", "lasts": "5ms"},
    "squeeze": {"do": "squeeze", "upto": 2, "repeats": 1, "pad": 0},
    "flood": {"do": "flood", "count": 2}, "large": {"do": "large", "size": "500B"},
    "await_event": {"do": "await", "event": "agent_completed", "within": "1s"},
    "echo": {"do": "echo", "text": "hello", "within": "10ms"},
    "hold": {"do": "hold", "lasts": "5ms"}, "ping": {"do": "ping"}, "close": {"do": "close"},
    "http": {"do": "http", "method": "GET", "service": "backend", "path": "/health"},
}
CALLS = {
    "connect": lambda s: s.connect(), "handshake": lambda s: s.handshake("plain"),
    "token": lambda s: s.token("fresh"), "refresh": lambda s: s.refresh(),
    "revoke": lambda s: s.revoke(), "logout": lambda s: s.logout(),
    "gone": lambda s: s.gone(10_000_000), "send": lambda s: s.send("hello"),
    "run": lambda s: s.run(), "finish": lambda s: s.finish(), "settle": lambda s: s.settle(),
    "vanish": lambda s: s.vanish(), "stall": lambda s: s.stall(5_000_000),
    "squeeze": lambda s: s.squeeze(2, repeats=1, pad=0), "flood": lambda s: s.flood(2),
    "large": lambda s: s.large(500), "await_event": lambda s: s.await_event("agent_completed"),
    "echo": lambda s: s.echo("hello", 10_000_000), "hold": lambda s: s.hold(5_000_000),
    "ping": lambda s: s.ping(), "close": lambda s: s.close(),
    "http": lambda s: s.http("GET", "backend", "/health"), "ready": lambda s: s.ready(),
}


def in_python(name):
    async def play(session):
        for step in PREPARED.get(name, [CONNECT]):
            if step["do"] == "connect":
                await session.connect(ready=step.get("ready", True))
            else:
                await session.run(wait=False)
        await session.gate()
        await CALLS[name](session)
        if name == "token":
            await session.connect()

    return {"script": play, "gates": ["50ms"]}


def in_steps(name):
    behind = [STEPS[name], CONNECT] if name == "token" else [STEPS[name]]
    gate = {"do": "gate", "offset": "50ms"}
    return {"script": [*PREPARED.get(name, [CONNECT]), gate, *behind]}


python = {f"py_{name}": in_python(name) for name in CALLS}
steps = {f"st_{name}": in_steps(name) for name in STEPS}
scenario = {"title": "Every call", "stages": {"r": stage(python | steps)}}
"""
# What each call leaves when it acts (kind, flag), and whether that is its ACTION's very stamp.
LEFT = {
    "connect": (Kind.SENT, 0, True),
    "token": (Kind.SENT, 0, True),
    "send": (Kind.PUT, Put.MESSAGE, True),
    "echo": (Kind.PUT, Put.MESSAGE, True),
    "run": (Kind.PUT, Put.START, True),
    "settle": (Kind.PUT, Put.SENTINEL, True),
    "refresh": (Kind.PUT, Put.REFRESH, True),
    "revoke": (Kind.CREDENTIAL, Credential.REVOKED, True),
    "logout": (Kind.CREDENTIAL, Credential.LOGGED_OUT, True),
    "handshake": (Kind.SENT, 0, False),
    "close": (Kind.CLOSE, 0, False),
    "vanish": (Kind.VANISH, 0, False),
    "ping": (Kind.PING, 0, False),
    "stall": (Kind.STALL, 0, False),
    "squeeze": (Kind.STALL, 0, False),
    "flood": (Kind.PUT, Put.FLOOD, False),
    "large": (Kind.PUT, Put.LARGE, False),
}
SILENT = {"ready", "finish", "gone", "await_event", "hold", "http"}


def history(done):
    return History.open(done.folder / "history")


def whys(found):
    """Of each session (population, outcome, why)."""
    return [
        (int(row["population"]), int(row["outcome"]), found.text(row["why"]).decode())
        for row in found.sessions
    ]


@pytest.mark.long
def test_every_call_from_steps_or_python_passes_the_gate_that_was_asked_for(probe):
    calls = {name for name in vars(Session) if not name.startswith("_")}
    assert calls - {"user", "connected", "gate"} == set(LEFT) | SILENT
    probe.write("scenarios/every.py", HEAD + EVERY)
    done = probe.run("every", "--seed", 4, target="lab")
    found = history(done)
    assert found.complete, done.told
    names = [
        "zero", "swept",
        *(f"{form}_{name}" for form, left in (("py", EVERY_CALL), ("st", EVERY_STEP))
          for name in left),
    ]  # fmt: skip
    zeros = found.of(Kind.RELEASE)["b"]
    assert len(zeros) == 2
    assert (zeros > 0).all(), done.told  # every actor has come to its gate
    acted = found.of(Kind.ACTION)
    for row in found.sessions:
        name = names[int(row["population"])].removeprefix("py_").removeprefix("st_")
        session, place = int(row["session"]), names[int(row["population"])]
        (act,) = acted[acted["session"] == session].tolist()
        stamp, _, _, _, flag, trial, aimed = act
        assert (flag, trial) == (0, int(row["trial"]))
        if name in ("zero", "swept"):
            continue
        assert aimed == 50 * MS
        assert stamp >= zeros[trial] + aimed, place
        if name in SILENT:
            continue
        kind, wanted, same = LEFT[name]
        mine = found.of(kind)
        mine = mine[(mine["session"] == session) & (mine["flag"] == wanted)]["t"]
        first = int(mine[mine > zeros[trial]].min())  # what prepared it was before
        assert first == stamp if same else first >= stamp, place


EVERY_CALL = [
    "connect", "handshake", "token", "refresh", "revoke", "logout", "gone", "send", "run",
    "finish", "settle", "vanish", "stall", "squeeze", "flood", "large", "await_event", "echo",
    "hold", "ping", "close", "http", "ready",
]  # fmt: skip
EVERY_STEP = EVERY_CALL[:-1]  # to wait for ready is no step of its own


MISTAKES = """
async def once(session):
    await session.connect()
    await session.gate()
    await session.settle()


async def twice(session):
    await once(session)
    await session.gate()
    await session.settle()


async def never(session):
    await session.connect()


async def idle(session):
    await session.connect()
    await session.gate()


async def in_a_row(session):
    await session.connect()
    await session.gate()
    await session.gate()
    await session.settle()


wrong = {
    "twice": (twice, ["0ms"]), "once": (once, ["0ms", "9ms"]), "never": (never, ["0ms"]),
    "idle": (idle, ["0ms"]), "in_a_row": (in_a_row, ["0ms", "9ms"]),
}
stages = {
    name: stage({"own": {"script": play, "gates": gates}}, trials=12, comb=12)
    for name, (play, gates) in wrong.items()
}
scenario = {"title": "Wrong", "stages": stages}
"""


WHY = {
    "twice": "the script came to gate 2, and its actor declares 1: add its offset to `gates`",
    "once": "the script was over before gate 2, and its actor declares 2: pass each",
    "never": "the script was over before gate 1, and its actor declares 1: pass each",
    "idle": "gate 1 let nothing go, and an action has to follow each",
    "in_a_row": "gate 1 let nothing go, and an action has to follow each",
}


@pytest.mark.long
def test_a_script_that_passes_other_gates_than_it_declares_tells_nothing(probe):
    probe.write("scenarios/wrong.py", HEAD + MISTAKES)
    done = probe.run("wrong", "--seed", 4, target="lab")
    found = history(done)
    told = {Trial(flag) for flag in found.of(Kind.TRIAL)["flag"].tolist()}
    assert told == {Trial.VOID}, done.told
    assert done.code == 3
    for number, (name, why) in enumerate(WHY.items()):
        check = done.check(f"{name}.race")
        assert (check["verdict"], check["n"]) == ("INCONCLUSIVE", 0)
        own = [each[1:] for each in whys(found) if each[0] == 3 * number + 2]
        assert len(own) >= 12
        assert {outcome for outcome, _ in own} == {2}  # stopped: the service has not failed
        assert all(text.startswith(why) for _, text in own), own
        assert why in check["message"]


def test_a_gate_outside_a_race_is_told(probe):
    body = """
from probe.model.scenario import Scenario


async def play(session):
    await session.connect()
    await session.gate()


load = {"expect": {"success": {"rate": "50%"}},
        "populations": {"x": {"shape": {"clients": 8}, "script": play}}}
scenario = Scenario.model_validate({"title": "t", "stages": {"load": load}})
"""
    probe.write("scenarios/outside.py", body)
    done = probe.run("outside", target="lab")
    why = "a gate is where the actors of a race meet, and this is none"
    assert {each for *_, each in whys(history(done))} == {why}
    (finding,) = done.verdict["findings"]
    assert finding["code"] == "session.failed"
    assert why in finding["message"]


def test_a_race_of_ones_own_holds_sees_a_defect_and_is_judged_without_its_file(probe):
    text = (ROOT / "scenarios/own_race.py").read_text()
    probe.write("scenarios/own.py", text.replace('"trials": 60', '"trials": 30'))
    assert probe.inside("validate", "own").code == 0
    dry = probe.inside("run", "own", "--target", "lab", "--dry-run")
    assert dry.code == 0, dry.told
    done = probe.run("own", "--seed", 4, target="lab")
    check = done.check("tabs.race")
    assert check["verdict"] in ("PASS", "INCONCLUSIVE"), done.told
    assert (check["n"], done.codes) == (30, set())
    acting = done.summary["races"]["tabs"]["acting"]
    assert [acting[which]["by"] for which in ("first", "swept")] == [
        "its answers (90th percentile)"
    ] * 2
    assert min(acting[which]["n"] for which in ("first", "swept")) >= 25
    resolved = (done.folder / "scenario.resolved.toml").read_text()
    assert resolved.count('script = "python:probe_scenario_own:tab"') == 2
    assert resolved.count('"swept"') == 1

    done = probe.run("own", "--seed", 4, "--defect", "token_reuse_race=50ms", target="lab")
    check = done.check("tabs.race")
    assert (check["verdict"], done.codes) == ("FAIL", {"race.window"}), done.told
    hits = [line for line in done.ledger() if line["event"] == "hit"]
    bad = history(done).of(Kind.TRIAL)
    bad = bad[bad["flag"] == Trial.ANOMALY]["b"]
    assert len(bad) == len(hits)  # every true hit was seen, and nothing else
    assert -60 * MS < bad.min() < 0 < bad.max() < 60 * MS  # whichever tab came second
    # The file is poisoned: the stored run is judged all the same.
    before = (done.folder / "verdict.json").read_bytes()
    probe.write("scenarios/own.py", "raise SystemExit('poisoned')\n")
    again = probe("check", done.folder, "--json")
    assert again.code == done.code, again.told
    assert again.out.encode() == before
