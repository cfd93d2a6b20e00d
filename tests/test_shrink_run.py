"""`--shrink` against the real lab: what is left, and that the file it writes shows it again."""

import json
import re
import signal
import time
import tomllib

import numpy as np
import pytest

from probe.history.columns import History
from probe.history.records import Kind

RACE = """
[stages.r]
activity = "race"
budget = "20s"
expect = { race = true, delivery = {} }
[stages.r.race]
range = ["0ms", "160ms"]
shape = "step"
trials = 40
confirm = 20
comb = 12
within = "1s"
finding = "refresh_loses"
jitter = "500us"
[stages.r.race.actors.client]
script = [
  { do = "connect" },
  { do = "gate" },
  { do = "refresh", wait = false },
  { do = "gate", offset = "swept" },
  { do = "settle", within = "120ms" },
  { do = "close" },
]
[stages.r.race.actors.beside]
script = [{ do = "gate" }, { do = "connect" }]
"""
DEFECT = ("--defect", "refresh_race=80ms")


@pytest.mark.alone
@pytest.mark.long
def test_a_race_is_made_smaller_and_its_file_shows_it_again(probe):
    words = ("--at", "+20ms", "--shrink", "--trials", 6, "--seed", 4, *DEFECT)
    done = probe.run(probe.scenario(RACE), *words)
    check = done.check("r.race")
    assert check["verdict"] == "FAIL", done.told
    assert re.search(r"reproduced 6 of 6 at \+\d+ ms, 0 of 6 at \+1\d\d ms", check["message"])
    assert "still shows with 1 of 24 clients and 5 of 8 steps: 6 of 6" in check["message"]
    assert check["message"].endswith("; needed, each tried alone: step 1 (connect) of client")
    # Nothing else is judged: a smaller race breaks other promises by its nature.
    assert {each["id"] for each in done.verdict["checks"]} == {"r.race"}
    tried = json.loads((done.folder / "windows.json").read_text())["r"]["shrunk"]["tried"]
    assert [(row["place"], row["came"]) for row in tried] == [
        ("comb=1", "taken away"),
        ("actors.beside", "taken away"),
        ("actors.client.script.5", "taken away"),
        ("actors.client.script.0", "needed: without, an actor does not come to its gate"),
    ]
    history = History.open(done.folder / "history")
    rows = history.of(Kind.VARIANT)
    assert rows["flag"].tolist() == [0, 0, 0, 0, 1]
    # Who was taken away was not launched: from the second removal on only the client.
    begun = history.sessions[history.sessions["trial"] >= rows["op"][1]]
    assert set(np.unique(begun["population"])) == {0}
    assert "Made smaller" in (done.folder / "report.md").read_text()
    small = done.folder / "shrunk.toml"
    (stage,) = tomllib.loads(small.read_text())["stages"].values()
    assert set(stage["race"]["actors"]) == {"client"}
    again = probe.run(small, "--seed", 5, *DEFECT, target="lab")
    assert again.code == 1, again.told
    told = again.check("r.race")["message"]
    assert "reproduced 6 of 6 at +20 ms, 0 of 6 at +160 ms" in told


@pytest.mark.alone
def test_where_nothing_goes_wrong_it_ends_with_the_race_as_it_is(probe):
    words = ("--at", "+20ms", "--shrink", "--trials", 6, "--seed", 4)
    done = probe.run(probe.scenario(RACE), *words)
    check = done.check("r.race")
    assert "not reproduced: 0 of 6 at +" in check["message"], done.told
    assert "not made smaller, since it does not show here" in check["message"]
    assert check["n"] == 12
    history = History.open(done.folder / "history")
    assert not len(history.of(Kind.VARIANT))
    assert not (done.folder / "shrunk.toml").exists()


@pytest.mark.long
def test_a_budget_that_is_short_leaves_time_for_the_last_word(probe):
    body = RACE.replace('budget = "20s"', 'budget = "1s"')
    words = ("--at", "+20ms", "--shrink", "--trials", 6, "--seed", 4, *DEFECT)
    done = probe.run(probe.scenario(body), *words)
    message = done.check("r.race")["message"]
    assert "not tried: " in message or "not decided: " in message, done.told
    assert "needed, each tried alone" not in message
    assert "the stage's budget" in message


@pytest.mark.long
def test_ctrl_c_leaves_a_run_that_can_be_read(probe):
    words = ("--at", "+20ms", "--shrink", "--seed", 4, "--out", probe.results, *DEFECT)
    process = probe.start("run", probe.scenario(RACE), *words)
    rows = probe.results / "latest" / "history" / "rows.bin"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (rows.exists() and rows.stat().st_size > 25_000):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    done = probe.finish(process)
    assert done.code == 130, done.told
    assert "not tried: " in done.check("r.race")["message"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shrink",), "name the offset by --at"),
        (("--shrink", "--at", "20ms", "--trials", "5"), "at least 6"),
    ],
)
def test_what_cannot_be_is_told(probe, words, told):
    done = probe.inside("run", probe.scenario(RACE), "--dry-run", *words)
    assert done.code == 2, done.told
    assert told in done.err


def test_the_plan_has_clients_for_each_trial_that_may_be_made(probe):
    done = probe.inside("run", probe.scenario(RACE), "--dry-run", "--shrink", "--at", "20ms")
    assert done.code == 0, done.told
    # 60 trials each of both ends and twice of 4 removals, of 24 clients where the comb is full.
    assert f"{60 * 10 * 24:,} at most" in done.out
