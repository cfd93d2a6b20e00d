"""The GitHub action: its file as GitHub takes it, and its scripts run here as a runner would."""

import copy
import json
import os
import re
import shlex
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema_rs
import pytest

from tests.ci_runs import write_scenarios

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: make test")

ROOT = Path(__file__).parent.parent
ACTION = ROOT / ".github/actions/probe"
SCHEMA = json.loads((ROOT / "tests/data/github_action.json").read_text(encoding="utf-8"))
FILE = yaml.safe_load((ACTION / "action.yml").read_text(encoding="utf-8"))
STEPS = FILE["runs"]["steps"]
DEADLINE_S = 60

# A probe of which nothing is asked but to look like one, for what is said around it.
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$@" >> words
if [ "$1" = report ]; then echo "::notice title=x::annotated"; exit 0; fi
echo "::error::said by a server"
echo " ::stop-commands::guess"
echo "##[add-mask]said by a server"
mkdir -p results/$$ && ln -sfn $$ results/latest
echo '{"verdict": "PASS", "headline": "PASS\\nverdict=FAIL"}' > results/$$/verdict.json
"""


class Runner:
    """A workspace, the files of a step, and what the runner would read of its output."""

    def __init__(self, folder, program):
        self.folder = folder
        self.output = folder / "output"
        self.summary = folder / "summary.md"
        programs = folder / "programs"
        programs.mkdir(parents=True, exist_ok=True)
        path = programs / "probe"
        path.write_text(program)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PROBE_", "RUN_", "GITHUB_", "COVERAGE"))
        }
        self.env = kept | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "GITHUB_WORKSPACE": str(folder),
            "GITHUB_ACTION_PATH": str(ACTION),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_STEP_SUMMARY": str(self.summary),
        }

    def step(self, script="run.sh", **inputs):
        """One step; its exit code, and what the runner took for commands."""
        self.output.write_text("")
        self.summary.write_text("")
        env = self.env | {name: str(value) for name, value in inputs.items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c",
             f'bash "$GITHUB_ACTION_PATH/{script}"'],
            cwd=self.folder, env=env, check=False, capture_output=True, text=True,
            timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.told = done.stdout + done.stderr
        return done.returncode, commands_in(done.stdout)

    @property
    def outputs(self):
        lines = self.output.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


def commands_in(text):
    """Lines that the runner acts on: none while commands are stopped."""
    word, found = None, []
    for line in text.splitlines():
        stripped = line.lstrip()
        if word is not None:
            word = None if stripped == f"::{word}::" else word
        elif stripped.startswith("::stop-commands::"):
            word = stripped.removeprefix("::stop-commands::")
        elif stripped.startswith("::") or "##[" in line:
            found.append(stripped)
    assert word is None, "commands were stopped for good"
    return found


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    write_scenarios(folder)
    return Runner(folder, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m probe "$@"\n')


@pytest.fixture
def stand_in(tmp_path):
    return Runner(tmp_path, STAND_IN)


def test_a_pass(runner):
    code, commands = runner.step(RUN_SCENARIO="small", RUN_TARGET="lab")
    assert code == 0, runner.told
    folder = Path(runner.outputs["folder"])
    assert runner.outputs == {
        "exit-code": "0", "verdict": "PASS", "headline": "PASS (embedded lab)",
        "folder": str(folder),
    }  # fmt: skip
    assert commands[0].startswith("::notice file=scenarios/small.toml,line=1,title=PASS (embedded")
    assert not [line for line in commands if line.startswith("::error")]
    assert (folder / "junit.xml").exists()
    assert runner.summary.read_text() == (folder / "report.md").read_text()
    assert "# PASS (embedded lab): small -> lab" in runner.summary.read_text()


def test_a_fail(runner):
    code, commands = runner.step(
        RUN_SCENARIO="small", RUN_TARGET="lab", RUN_ARGS="--defect missing_field --seed '7'"
    )
    assert code == 1, runner.told
    assert runner.outputs["verdict"] == "FAIL"
    assert runner.outputs["exit-code"] == "1"
    found = next(line for line in commands if "title=contract.missing_field" in line)
    # At the table of the stage, in the file as the repository has it.
    line = int(re.findall(r"file=scenarios/small.toml,line=(\d+)", found)[0])
    text = (runner.folder / "scenarios/small.toml").read_text().splitlines()
    assert text[line - 1] == "[stages.users]"
    assert "%0Alikely cause: " in found
    assert "### contract.missing_field" in runner.summary.read_text()


def test_an_inconclusive_run(runner):
    code, commands = runner.step(RUN_SCENARIO="few", RUN_TARGET="lab")
    assert code == 3, runner.told
    assert runner.outputs["verdict"] == "INCONCLUSIVE"
    assert commands[0].startswith("::error ")
    assert commands[1].startswith("::warning ")
    assert Path(runner.outputs["folder"]).is_dir()


def test_an_invalid_run(runner):
    code, commands = runner.step(RUN_SCENARIO="stuck", RUN_TARGET="lab")
    assert code == 4, runner.told
    assert runner.outputs["verdict"] == "INVALID"
    assert "INVALID (embedded lab)" in commands[0]
    assert commands[0].startswith("::error ")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"RUN_SCENARIO": "nothing", "RUN_TARGET": "lab"}, "the run left no verdict (exit code 2)"),
        ({"RUN_SCENARIO": "small", "RUN_TARGET": ""}, "name what is to be tested"),
        ({"RUN_SCENARIO": "", "RUN_TARGET": "lab"}, "name a scenario"),
        ({"RUN_SCENARIO": "small", "RUN_TARGET": "lab", "RUN_ARGS": "--seed '7"}, "not quoted"),
        ({"RUN_SCENARIO": "small", "RUN_TARGET": "lab", "RUN_ARGS": "$(touch pwned) `touch pwned`"},
         "the run left no verdict"),
        ({"RUN_SCENARIO": "small", "RUN_TARGET": "lab", "RUN_ARGS": "--dry-run"},
         "the run left no verdict (exit code 2)"),
        ({"RUN_SCENARIO": "--help", "RUN_TARGET": "lab"}, "the run left no verdict (exit code 2)"),
    ],
)  # fmt: skip
def test_a_mistake_is_no_verdict_and_never_that_of_an_older_run(runner, inputs, words):
    code, commands = runner.step(**inputs)
    assert code == 2, runner.told
    assert runner.outputs == {"exit-code": "2"}
    assert len(commands) == 1
    assert words in commands[0]
    assert not (runner.folder / "pwned").exists()


def test_nothing_that_is_said_in_a_run_is_taken_for_a_command(stand_in):
    code, commands = stand_in.step(RUN_SCENARIO="x", RUN_TARGET="y")
    assert code == 0
    assert commands == ["::notice title=x::annotated"]
    # Nor can it set an output of its own.
    assert stand_in.outputs["verdict"] == "PASS"
    assert stand_in.outputs["headline"] == "PASS verdict=FAIL"


def test_the_last_run_that_passed_is_what_the_next_is_compared_with(stand_in):
    asked = {"RUN_SCENARIO": "x", "RUN_TARGET": "y", "RUN_BASELINE": "true"}
    kept = stand_in.folder / "results-baseline"
    stand_in.step(**asked)
    words = stand_in.folder / "words"
    first = ["run", "x", "--target", "y", "--out", "results", "--no-color"]
    assert words.read_text().splitlines()[:-4] == [*first, "--baseline", "latest"]
    assert (kept / "verdict.json").exists()
    words.unlink()
    stand_in.step(**asked, RUN_ACCEPTED="ci/known.toml", RUN_ARGS='--set "a=b c"')
    more = ["--accepted", "ci/known.toml", "--baseline", str(kept), "--set", "a=b c"]
    assert words.read_text().splitlines()[:-4] == [*first, *more]


def test_the_first_run_of_all_has_nothing_to_fail_on(tmp_path):
    """Else none could ever pass, and be what the next one is compared with."""
    write_scenarios(tmp_path)
    runner = Runner(tmp_path, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m probe "$@"\n')
    asked = {"RUN_SCENARIO": "small", "RUN_TARGET": "lab", "RUN_BASELINE": "true"}
    code, _ = runner.step(**asked, RUN_ARGS="--fail-on worse")
    assert code == 0, runner.told
    assert "there is nothing to compare with" in " ".join(runner.told.split())
    assert (tmp_path / "results-baseline/verdict.json").exists()


def test_a_run_that_did_not_pass_is_no_baseline(stand_in):
    program = stand_in.folder / "programs/probe"
    program.write_text(STAND_IN.replace("PASS\\\\n", "FAIL\\\\n") + "exit 1\n")
    code, _ = stand_in.step(RUN_SCENARIO="x", RUN_TARGET="y", RUN_BASELINE="true")
    assert code == 1
    assert not (stand_in.folder / "results-baseline").exists()


def test_a_probe_that_is_there_is_not_installed_again(stand_in):
    path = stand_in.folder / "path"
    path.write_text("")
    env = {"RUNNER_TEMP": stand_in.folder / "temp", "GITHUB_PATH": path}
    assert stand_in.step("install.sh", **env) == (0, [])
    assert path.read_text() == ""


@pytest.mark.long
def test_a_probe_is_installed_into_an_environment_of_its_own(stand_in):
    (stand_in.folder / "programs/probe").unlink()
    wheel = stand_in.folder / "probe-0.0.1-py3-none-any.whl"
    info = "probe-0.0.1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("probe_stand_in.py", "def main():\n    print('here')\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: probe\nVersion: 0.0.1\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(
            f"{info}/entry_points.txt", "[console_scripts]\nprobe=probe_stand_in:main\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    path = stand_in.folder / "path"
    path.write_text("")
    # Without the environment of the tests, which has a `probe` too.
    code, _ = stand_in.step(
        "install.sh", RUNNER_TEMP=stand_in.folder / "temp", GITHUB_PATH=path, RUN_PACKAGE=wheel,
        PIP_NO_INDEX=1, PATH="/usr/local/bin:/usr/bin:/bin",
    )  # fmt: skip
    assert code == 0, stand_in.told
    (installed,) = path.read_text().splitlines()
    told = subprocess.run(
        [f"{installed}/probe"], check=True, capture_output=True, text=True, timeout=30
    )
    assert told.stdout == "here\n"


def test_the_file_is_what_github_takes():
    assert problems(FILE) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("runs", "using"), "node20"),
        (("runs", "steps", 0, "shell"), "pwsh"),
        (("runs", "steps", 0, "runs"), "x"),
        (("inputs", "out", "default"), 3),
        (("outputs", "verdict", "values"), "x"),
    ],
)
def test_a_slip_in_it_would_be_seen(path, value):
    broken = copy.deepcopy(FILE)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert problems(broken)


def problems(file):
    return [each.message for each in jsonschema_rs.Draft202012Validator(SCHEMA).iter_errors(file)]


def test_no_input_is_put_into_a_script():
    """An input inside `run` would be read as code; each goes by a variable instead."""
    for step in STEPS:
        assert "${{" not in step.get("run", "")
    used = set(re.findall(r"inputs\.([a-z]+)", json.dumps(FILE)))
    assert used == set(FILE["inputs"])


def test_outputs_are_those_that_the_script_writes():
    script = (ACTION / "run.sh").read_text()
    steps = set(re.findall(r"steps\.run\.outputs\.([a-z-]+)", json.dumps(FILE)))
    assert steps == set(FILE["outputs"]) == {"verdict", "headline", "exit-code", "folder"}
    for name in ("exit-code=", "folder=", '"verdict", "headline"'):
        assert name in script


def test_what_is_cached_is_what_the_script_keeps():
    restore, save = (
        step["with"] for step in STEPS if step.get("uses", "").startswith("actions/cache/")
    )
    assert restore["path"] == save["path"] == "${{ inputs.out }}-baseline"
    assert restore["key"] == save["key"]
    assert save["key"].startswith(restore["restore-keys"])


def test_a_target_gets_no_baseline_of_one_whose_name_begins_alike():
    restore, save = (
        step["with"] for step in STEPS if step.get("uses", "").startswith("actions/cache/")
    )
    prefix = filled(restore["restore-keys"], target="staging")
    assert filled(save["key"], target="staging").startswith(prefix)
    assert not filled(save["key"], target="staging-eu").startswith(prefix)


def filled(text, **inputs):
    """As the runner fills it in."""
    known = {f"inputs.{name}": value for name, value in ({"scenario": "smoke"} | inputs).items()}
    return re.sub(r"\$\{\{ ([a-z._]+) \}\}", lambda found: known.get(found[1], "7"), text)
