"""A run with a baseline and a duet, played for real on the lab."""

import json
import signal
import time

import pytest

BLOCK = """
[stages.load]
patience = "5s"
expect.success = { rate = "50%" }
[stages.load.populations.users]
shape = { rate = "100/s", lasts = "1s", arrivals = "even" }
script = [{ do = "connect" }, { do = "run" }, { do = "close" }]
"""
SLOW = "target.lab.pace=40ms"


def duets(probe):
    return sorted(probe.results.glob("*-duet-*"))


@pytest.mark.alone
def test_a_first_run_has_no_baseline_and_the_next_is_compared_with_it(probe):
    scenario = probe.scenario(BLOCK)
    words = ("--baseline", "latest", "--fail-on", "worse")
    first = probe.fit_run(scenario, *words, target="lab")
    assert first.code == 0, first.told
    assert "has passed yet: there is nothing to compare with" in first.out
    second = probe.fit_run(scenario, *words, "--set", SLOW, target="lab")
    told = json.loads((second.folder / "comparison.json").read_text())
    assert told["said"] == "worse", told
    assert second.code == 1
    assert "run.compared" in second.out
    assert "compared: worse" in second.out
    assert "Compared" in (second.folder / "report.html").read_text()
    again = probe.inside("check", second.folder.name)
    assert again.code == 1
    # The last good one, not the last: the slow run is no baseline.
    dry = probe.inside("run", scenario, "-t", "lab", "--baseline", "latest", "--dry-run")
    assert f"compared with {first.folder.name}" in dry.out


def test_fail_on_without_a_baseline_is_a_mistake_of_the_call(probe):
    scenario = probe.scenario(BLOCK)
    done = probe.inside("run", scenario, "--target", "lab", "--fail-on", "worse")
    assert done.code == 2
    assert "goes with --baseline" in done.err
    unknown = probe.inside("run", scenario, "--target", "lab", "--baseline", "nowhere")
    assert unknown.code == 2
    assert not probe.runs()


@pytest.mark.alone
def test_a_duet_finds_the_slower_one_and_can_be_interrupted_and_gone_on_with(probe):
    scenario = probe.scenario(BLOCK)
    words = ("duet", scenario, "--a", "lab", "--b", "lab", "--blocks", "3", "--seed", "5",
             "--set-b", SLOW, "--out", probe.results, "--no-color", "--tries", "1")  # fmt: skip
    process = probe.start(*words)
    deadline = time.monotonic() + 50
    while time.monotonic() < deadline:
        found = duets(probe)
        if found and len(json.loads((found[0] / "duet.json").read_text())["done"]) >= 1:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    cut = probe.finish(process)
    assert cut.code == 130, cut.told
    (folder,) = duets(probe)
    assert f"probe duet --resume {folder}" in cut.out
    done = probe("duet", "--resume", folder, "--no-color", "--tries", "1", within_s=100)
    assert done.code in (0, 1, 3), done.told
    told = json.loads((folder / "comparison.json").read_text())
    assert len(told["before"]) == len(told["now"]) == 3
    rows = {row["name"]: row for row in told["rows"] if not row["why"]}
    if "run p50" not in rows:
        pytest.skip(f"this machine is too busy to judge: {told['notes']}")
    assert rows["run p50"]["change"] > 5
    assert rows["run p50"]["said"] == "worse"
    assert done.code == 1
    assert (folder / "comparison.md").read_text().startswith("## Compared: worse")


def test_a_duet_of_what_cannot_be_played_says_why(probe):
    scenario = probe.scenario(BLOCK)
    done = probe("duet", scenario, "--a", "nowhere", "--b", "nowhere", "--out", probe.results)
    assert done.code == 2
    assert "no such target" in done.err
    assert probe.inside("duet", "--resume", probe.cwd).code == 2
    assert probe.inside("duet").code == 2
