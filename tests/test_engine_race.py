"""Race stages against the real lab: what is let go, what is told, and how they end."""

import json
import signal
import time

import numpy as np
import pytest

from probe.history.columns import History
from probe.history.records import NOBODY, Kind, Outcome, Put, Sought, Trial

pytestmark = pytest.mark.alone

MS = 1_000_000
HEAD = """
[stages.r]
activity = "race"
budget = "40s"
expect = { race = true }
[stages.r.race]
range = ["0ms", "300ms"]
shape = "step"
trials = 40
confirm = 20
comb = 20
within = "1s"
finding = "refresh_loses"
jitter = "500us"
"""
REFRESH = """
[stages.r.race.actors.client]
script = [
  { do = "connect" },
  { do = "gate" },
  { do = "refresh", wait = false },
  { do = "gate", offset = "swept" },
  { do = "settle", within = "400ms" },
  { do = "close" },
]
"""


def history(done):
    return History.open(done.folder / "history")


def trials(done):
    """(outcome, why, offset in ms) of every trial, in order."""
    rows = history(done).of(Kind.TRIAL)
    return [(Trial(r["flag"]), Sought(r["a"]), int(r["b"]) / MS) for r in rows]


def test_a_healthy_race_makes_all_its_trials_and_passes(probe):
    done = probe.run(probe.scenario(HEAD + REFRESH), "--seed", 4)
    made = trials(done)
    assert len(made) == 40, done.told
    assert {(told, why) for told, why, _ in made} == {(Trial.FINE, Sought.SWEEP)}
    check = done.check("r.race")
    assert check["verdict"] in ("PASS", "INCONCLUSIVE")  # a busy machine is told
    assert check["n"] == 40
    found = history(done)
    assert len(found.of(Kind.RELEASE)) == 2
    acted = found.of(Kind.ACTION)
    assert len(acted) == 80
    # What was let go is what was written: the stamp is the same.
    puts = found.of(Kind.PUT)
    assert set(acted["t"].tolist()) == set(puts["t"].tolist())
    assert set(puts["flag"].tolist()) == {Put.REFRESH, Put.SENTINEL}
    assert done.verdict["fitness"]["figures"]["clients_planned"] == 0  # those of a race apart


def test_a_defect_is_found_localised_confirmed_and_tried_again_alone(probe):
    name = probe.scenario(HEAD.replace("trials = 40", "trials = 160") + REFRESH)
    words = ("--defect", "refresh_race=80ms")
    done = probe.run(name, "--seed", 4, *words)
    check = done.check("r.race")
    assert check["verdict"] == "FAIL", done.told
    assert done.codes == {"race.refresh_loses"}
    kept = json.loads((done.folder / "windows.json").read_text())["r"]
    assert kept["centre"]["value_s"] == pytest.approx(0.080, abs=0.006), done.told
    hits = [line["after_ns"] / MS for line in done.ledger() if line["event"] == "hit"]
    bad = sum(told is Trial.ANOMALY for told, _, _ in trials(done))
    assert bad == len(hits)  # every true hit was seen, and nothing else
    (finding,) = done.verdict["findings"]
    assert "--stage r --at +" in finding["reproduce"]
    svg = (done.folder / "window-r.svg").read_text()
    assert svg.startswith("<svg ")
    assert "## Windows" in (done.folder / "report.md").read_text()
    again = probe.run(name, "--at", "+40ms", "--trials", 10, *words)
    made = trials(again)
    assert [why for _, why, _ in made].count(Sought.CONFIRM) == 10
    assert len(made) == 20
    check = again.check("r.race")
    assert "reproduced 10 of 10 at +40 ms, 0 of 10 at +300 ms" in check["message"]


SWEPT = """
[stages.r.race.actors.revoker]
user = "same"
script = [{ do = "gate" }, { do = "revoke" }]
[stages.r.race.actors.client]
user = "same"
script = [{ do = "gate", offset = "swept" }, { do = "connect", expect = "refused" }]
"""


@pytest.mark.long
def test_a_comb_of_the_swept_actor_holds_its_requests_back_until_their_instants(probe):
    body = HEAD.replace('"0ms", "300ms"', '"20ms", "620ms"') + 'comb_of = "swept"\n' + SWEPT
    done = probe.run(probe.scenario(body), "--seed", 4, "--defect", "revoked_lingers=200ms")
    found = history(done)
    assert done.codes == {"race.refresh_loses"}, done.told
    acted = {(int(r["session"]), int(r["flag"])): int(r["t"]) for r in found.of(Kind.ACTION)}
    tried = found.attempts[found.attempts["population"] == 1]
    assert len(tried) >= 40
    for row in tried:
        # The request's last byte left at the gate, long after TCP stood.
        assert int(row["sent"]) == acted[int(row["session"]), 0]
        assert row["sent"] - row["tcp"] > 20 * MS
    refused = tried[tried["outcome"] == Outcome.STATUS]
    assert (refused["status"] == 401).all()
    # One revocation for twenty connects.
    assert len(found.of(Kind.RELEASE)) * 20 >= len(tried)
    sessions = found.sessions
    assert (sessions["population"] == 0).sum() == len(found.of(Kind.RELEASE))
    for told, _, offset in trials(done):
        assert told is (Trial.ANOMALY if offset < 150 else told)
        assert told is (Trial.FINE if offset > 215 else told)


def test_the_jitter_is_measured_by_pairs_of_pings(probe):
    done = probe.run(probe.scenario(HEAD.replace('jitter = "500us"\n', "") + REFRESH), "--seed", 4)
    found = history(done)
    (row,) = found.of(Kind.JITTER)
    assert (row["session"], row["op"], row["flag"]) == (NOBODY, 0, 1)
    assert row["a"] >= 50
    assert 0 < row["b"] < 50 * MS
    pings = found.of(Kind.PING)
    assert len(pings) >= 100
    assert len(np.unique(pings["session"])) == 2


LOST = """
[stages.r.race.actors.client]
script = [
  { do = "token", case = "expired" },
  { do = "connect" },
  { do = "gate" },
  { do = "settle" },
  { do = "gate", offset = "swept" },
  { do = "settle" },
]
"""


def test_trials_whose_preparation_fails_tell_nothing_and_end_the_race(probe):
    done = probe.run(probe.scenario(HEAD + LOST), "--seed", 4)
    made = trials(done)
    assert {told for told, _, _ in made} == {Trial.VOID}
    assert 15 < len(made) <= 40
    assert not len(history(done).of(Kind.ACTION))
    check = done.check("r.race")
    assert (done.code, check["verdict"], check["n"]) == (3, "INCONCLUSIVE", 0)
    assert "trials told nothing" in check["message"]


def test_the_budget_ends_a_race_with_its_numbers(probe):
    body = (HEAD + REFRESH).replace('budget = "40s"', 'budget = "1500ms"')
    body = body.replace("comb = 20", "comb = 2")
    done = probe.run(probe.scenario(body), "--seed", 4)
    check = done.check("r.race")
    assert check["verdict"] == "INCONCLUSIVE"
    assert 0 < check["n"] < 40
    assert "the stage's budget was used up" in check["message"]


def test_ctrl_c_leaves_a_run_that_can_be_read(probe):
    body = HEAD.replace("trials = 40", "trials = 4000").replace("comb = 20", "comb = 5")
    name = probe.scenario(body + REFRESH)
    process = probe.start("run", name, "--out", probe.results, "--seed", 4)
    rows = probe.results / "latest" / "history" / "rows.bin"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (rows.exists() and rows.stat().st_size > 20_000):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    done = probe.finish(process)
    assert done.code == 130, done.told
    found = history(done)
    assert found.complete
    made = trials(done)
    assert len(made) >= 5
    assert Trial.ANOMALY not in {told for told, _, _ in made}  # who is stopped has not failed
    assert done.check("r.race")["verdict"] == "INCONCLUSIVE"
    sessions = found.sessions
    assert (sessions["outcome"] >= 0).all()
