"""docs/races.md: what it shows is valid, runs, and says the same as the code."""

import csv
import re
import tomllib
from pathlib import Path

import pytest

from probe.model.race import Race
from probe.model.scenario import Scenario
from probe.report.races import TRIAL_COLUMNS

PAGE = Path("docs/races.md").read_text(encoding="utf-8")
TOML = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def only_race(scenario):
    (stage,) = scenario.stages.values()
    assert stage.expect.race, "a race that is not judged shows nothing"
    return stage.race


@pytest.mark.parametrize("block", TOML, ids=lambda block: tomllib.loads(block)["title"])
def test_every_scenario_on_the_page_is_valid(probe, block):
    probe.write("scenarios/shown.toml", block)
    assert probe("validate", "shown").code == 0
    scenario = Scenario.model_validate(tomllib.loads(block))
    assert only_race(scenario) is not None


def test_the_script_in_python_is_valid():
    (block,) = PYTHON
    names: dict[str, object] = {}
    exec(compile(block, "docs/races.md", "exec"), names)
    race = only_race(names["scenario"])
    assert [actor.gates[0].offset for actor in race.actors.values()] == [0, "swept"]


def test_every_setting_of_a_race_is_told_and_none_that_is_not():
    told = PAGE.partition("## All settings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", told, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert named == set(Race.model_fields) - {"actors"}


def test_every_column_of_the_trials_is_told():
    told = PAGE.partition("**`trials-NAME.csv`**")[2].partition("**`windows.json`**")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE)) == TRIAL_COLUMNS


@pytest.mark.long
@pytest.mark.parametrize("block", TOML[1:], ids=lambda block: tomllib.loads(block)["title"])
def test_every_other_scenario_runs_and_the_healthy_lab_holds(probe, block):
    probe.write("scenarios/shown.toml", block)
    (stage,) = tomllib.loads(block)["stages"]
    sets = [f"--set=stages.{stage}.race.{name}=10" for name in ("trials", "confirm")]
    done = probe.run("shown", *sets, "--seed", 7)
    race = done.summary["races"][stage]
    assert race["trials"] == 10, done.told
    assert race["anomalies"] == 0, done.told


@pytest.mark.alone
@pytest.mark.long
def test_the_twenty_lines_find_the_race_and_leave_what_the_page_says(probe):
    block = TOML[0].replace("500ms", "300ms")  # only to be over sooner
    assert len(block.splitlines()) < 32
    probe.write("scenarios/my_race.toml", block)
    done = probe.run("my_race", "--defect", "refresh_race=150ms", "--seed", 7)
    check = done.check("refresh.race")
    assert check["verdict"] in ("FAIL", "INCONCLUSIVE"), done.told  # a busy machine is no judge
    assert "a message got no answer" in check["message"]
    assert "by offset, in tenths (. none, # all):" in done.out
    assert "let go, measured +" in done.out
    assert "failed: no answer to the sentinel within 300 ms" in done.out
    kept = {path.name for path in done.folder.iterdir()}
    assert {"window-refresh.svg", "windows.json", "trials-refresh.csv"} <= kept
    with (done.folder / "trials-refresh.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    race = done.summary["races"]["refresh"]
    assert sum(row["outcome"] == "anomaly" for row in rows) == race["anomalies"]
    assert {row["stage"] for row in rows} >= {"sweep"}
    assert all(float(row["measured_ms"]) < 600 for row in rows if row["measured_ms"])
    told = set(re.findall(r"`(\w+)`", PAGE.partition("**`windows.json`**")[2]))
    unknown = {key for key in race if key not in told} - {"curve", "posterior", "made"}
    assert unknown <= {"release_spread_max_ms"}


@pytest.mark.long
def test_one_offset_again_leaves_a_plot_of_two_groups(probe):
    probe.write("scenarios/my_race.toml", TOML[0].replace("500ms", "200ms"))
    words = ("--stage", "refresh", "--at", "+75.6ms", "--trials", 10, "--seed", 7)
    done = probe.run("my_race", *words, "--defect", "refresh_race=150ms")
    told = done.check("refresh.race")["message"]
    assert re.search(r"reproduced 10 of 10 at \+\d+ ms, 0 of 10 at \+\d+ ms", told), done.told
    picture = (done.folder / "window-refresh.svg").read_text()
    assert picture.count("<circle") == 2
    assert "10 of 10" in picture
    assert "0 of 10" in picture
