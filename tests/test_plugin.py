"""The pytest plugin in real sessions of pytest, on real runs: never green without a PASS."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.metadata import entry_points

import pytest

from tests.ci_runs import write_scenarios
from tests.lab_process import until

DEADLINE_S = 110
STRICT = "[pytest]\nfilterwarnings = error\naddopts = -p no:cacheprovider --strict-markers\n"
# The entry point of an install that is older than this plugin is not there yet.
LOADED = any(each.name == "probe" for each in entry_points(group="pytest11"))
LOAD = () if LOADED else ("-p", "probe.plugin")
OTHER = "def test_other():\n    pass\n"

IN_TESTS = '''
"""Two workers, three tests, one run of each."""

import asyncio

import pytest


@pytest.mark.parametrize("which", ["success", "users.service"])
def test_one_run_for_all(probe_run, which):
    run = probe_run("few", target="lab")
    assert run.folder.joinpath("verdict.json").exists()
    assert run.check(which).document["stage"] == "users"


def test_an_event_loop_of_the_test_is_no_trouble(probe_run):
    async def within():
        return probe_run("few", target="lab")

    assert asyncio.run(within())


def test_that_does_not_look(probe_run):
    probe_run("few", target="lab")


def test_without_a_verdict(probe_run):
    probe_run("few", target="lab", set={"stages.users.patience": "soon"})
'''


class Session:
    """One session of pytest, as its own process, and the outcome of each item."""

    def __init__(self, folder, *words, within_s=DEADLINE_S):
        results = folder / "outcomes.xml"
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "PROBE_"))
        }
        before = set((folder / "results").glob("2*"))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *LOAD, f"--junitxml={results}", *words],
            cwd=folder, env=kept, check=False, capture_output=True, text=True, timeout=within_s,
        )  # fmt: skip
        self.code, self.told = done.returncode, done.stdout + done.stderr
        self.runs = sorted(set((folder / "results").glob("2*")) - before)
        self.cases = {}
        for case in ET.parse(results).iter("testcase"):
            marks = [mark for mark in case if mark.tag in ("failure", "error", "skipped")]
            told = [(mark.tag, mark.text or mark.get("message") or "") for mark in marks]
            self.cases[f"{case.get('classname')}::{case.get('name')}"] = (told or [("passed", "")])[
                0
            ]

    def verdicts(self):
        return {
            json.loads((run / "verdict.json").read_text())["scenario"]: run for run in self.runs
        }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("own")
    write_scenarios(made)
    (made / "pytest.ini").write_text(STRICT)
    (made / "test_own.py").write_text(OTHER)
    return made


@pytest.fixture(scope="module")
def bad(folder):
    """A run that fails, one that saw too little, and one on a machine that was held up."""
    return Session(
        folder, "--probe", "small", "--probe", "few", "--probe", "stuck", "--probe-target", "lab",
        "--probe-args", "--defect missing_field --seed '7'",
    )  # fmt: skip


def test_a_pass_is_green_and_without_paths_nothing_else_runs(folder):
    session = Session(folder, "--probe", "small", "--probe-target", "lab")
    (run,) = session.runs
    verdict = json.loads((run / "verdict.json").read_text())
    assert session.code == 0, session.told
    ids = {check["id"] for check in verdict["checks"]} | {"verdict"}
    assert session.cases == {f"probe:small::{name}": ("passed", "") for name in ids}
    assert f"PASS (embedded lab)  results/{run.name}/report.html" in session.told


def test_a_fail_tells_the_finding_its_witness_and_the_run(bad):
    assert bad.code == 1, bad.told
    outcome, text = bad.cases["probe:small::users.contract"]
    assert outcome == "failure"
    assert "contract.missing_field (critical, 10 seen)" in text
    assert "a field is missing: tool_completed.results: missing" in text
    assert "again: probe run small --target lab --defect missing_field --seed 7" in text
    assert f"run: results/{bad.verdicts()['small'].name}/report.html" in text
    assert "Traceback" not in bad.told
    assert bad.cases["probe:small::users.service"] == ("passed", "")
    assert bad.cases["probe:small::verdict"][0] == "failure"


def test_what_saw_too_little_fails(bad):
    outcome, text = bad.cases["probe:few::users.success"]
    assert outcome == "failure"
    assert "INCONCLUSIVE users.success: " in text
    assert bad.cases["probe:few::verdict"][0] == "failure"


def test_an_unfit_machine_is_an_error_and_no_failure_of_the_service(bad):
    for name in ("users.success", "verdict"):
        outcome, text = bad.cases[f"probe:stuck::{name}"]
        assert outcome == "error", text
        assert "heartbeat lag" in text
    assert "failure" not in {o for n, (o, _) in bad.cases.items() if n.startswith("probe:stuck")}


@pytest.fixture(scope="module")
def shared(folder):
    """Two workers, items and tests that ask for the same run."""
    (folder / "test_in_tests.py").write_text(IN_TESTS)
    return Session(
        folder, "-n", "2", "--probe", "few", "--probe-target", "lab",
        "--probe-inconclusive", "skip", "test_in_tests.py", "test_own.py",
    )  # fmt: skip


def test_with_workers_a_run_is_made_once_for_items_and_tests(shared):
    assert len(shared.runs) == 1
    assert shared.cases["test_own::test_other"] == ("passed", "")
    assert shared.cases["probe:few::users.service"] == ("passed", "")
    for name in ("success", "users.service"):
        assert shared.cases[f"test_in_tests::test_one_run_for_all[{name}]"] == ("passed", "")


def test_what_saw_too_little_is_skipped_where_that_was_asked_for(shared):
    outcome, text = shared.cases["probe:few::users.success"]
    assert outcome == "skipped"
    assert "INCONCLUSIVE" in text
    assert shared.cases["probe:few::verdict"][0] == "skipped"


def test_in_a_test_the_run_is_what_the_test_makes_of_it(shared):
    cases = {name.partition("::")[2]: each for name, each in shared.cases.items()}
    outcome, text = cases["test_an_event_loop_of_the_test_is_no_trouble"]
    assert outcome == "failure"
    assert "<ProbeRun few INCONCLUSIVE>" in text
    assert "users.success: to decide it would take about" in shared.told
    outcome, text = cases["test_that_does_not_look"]
    assert outcome == "error"
    assert "did not look at a run that is no PASS" in text
    outcome, text = cases["test_without_a_verdict"]
    assert outcome == "failure"
    assert "no verdict: exit code 2" in text
    assert "stages.users.patience" in text


def test_a_scenario_that_is_not_there_is_an_error_with_the_probes_own_words(folder):
    session = Session(folder, "--probe", "smal", "--probe-target", "lab")
    assert session.code == 2
    assert "no such scenario; found smal" in session.told
    assert "did you mean 'small'?" in session.told
    assert session.runs == []


@pytest.mark.long
def test_ctrl_c_ends_the_run_in_order(folder):
    before = set((folder / "results").glob("2*"))
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *LOAD, "--probe", "smoke", "--probe-target", "lab"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,  # so that this test can do what a terminal does
    )  # fmt: skip
    try:
        until(lambda: rows_since(folder, before), within_s=60)
        os.killpg(process.pid, signal.SIGINT)
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 2, told
    (run,) = set((folder / "results").glob("2*")) - before
    verdict = json.loads((run / "verdict.json").read_text())
    assert verdict["interrupted"] is True
    assert verdict["exit_code"] == 130


def rows_since(folder, before):
    """Whether a new run has recorded what its first clients did."""
    files = [run / "history/rows.bin" for run in set((folder / "results").glob("2*")) - before]
    return any(file.exists() and file.stat().st_size > 0 for file in files)


def test_to_collect_runs_nothing(folder):
    session = Session(folder, "--collect-only", "--probe", "small", "--probe-target", "lab", "-q")
    assert session.code == 0
    assert "probe:small::verdict" in session.told
    assert session.runs == []


def test_where_it_is_not_used_nothing_is_loaded(folder):
    """Every pytest on a machine that has the probe loads the plugin."""
    code = (
        "import sys, pytest; code = pytest.main(sys.argv[1:]); "
        "print(sorted(n for n in sys.modules if n.split('.')[0] in ('probe', 'numpy', 'uvloop')))"
    )
    words = [*LOAD, "-q", "--fixtures", "test_own.py"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder, check=True, capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert "probe_run" in done.stdout
    assert done.stdout.splitlines()[-1] == "['probe', 'probe.plugin']"
