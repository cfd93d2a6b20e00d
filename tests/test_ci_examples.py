"""The examples for GitHub, GitLab and Jenkins: their structure, and their commands run by bash."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ci_runs import write_scenarios

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: make test")

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs/ci"
ACTION = yaml.safe_load((ROOT / ".github/actions/probe/action.yml").read_text(encoding="utf-8"))
GITHUB = yaml.safe_load((EXAMPLES / "github.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text(encoding="utf-8"))
JENKINS = (EXAMPLES / "Jenkinsfile").read_text(encoding="utf-8")
STAGING = (ROOT / "scenarios/targets/staging.toml").read_text(encoding="utf-8")
DEADLINE_S = 60

# Plays the run that its environment asks for, instead of the smoke test of a staging.
PLAYED = """#!/usr/bin/env bash
printf '%s\\n' "$@" > words
shift 4
exec {python} -m probe run "$PLAY" --target lab $MORE "$@"
"""
# Only looks like it, and ends as it is told.
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$@" > words
mkdir -p results/2-$$ && ln -sfn 2-$$ results/latest
echo "$CODE" > results/2-$$/verdict.json
exit "$CODE"
"""


def jenkins_scripts():
    """What `sh` is given, without the indent that Groovy keeps and bash does not mind."""
    return re.findall(r"sh (?:returnStatus: true, script: )?'''(.*?)'''", JENKINS, re.DOTALL)


def command_of(system):
    """The arguments with which the system runs the step that runs the probe."""
    if system == "gitlab":
        return ["bash", "-c", "set -eo pipefail\n" + "\n".join(GITLAB["probe"]["script"])]
    return ["bash", "-c", jenkins_scripts()[1]]


def run(folder, system, program, **env):
    path = folder / "programs/probe"
    path.parent.mkdir(exist_ok=True)
    path.write_text(program)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PROBE_", "GITHUB_"))}
    return subprocess.run(
        command_of(system), cwd=folder, check=False, capture_output=True, text=True,
        env=kept | env | {"PATH": f"{path.parent}:{os.environ['PATH']}", "CI": "true"},
        timeout=DEADLINE_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def words(folder):
    return (folder / "words").read_text().splitlines()


@pytest.mark.parametrize("system", ["gitlab", "jenkins"])
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 130])
def test_the_probes_exit_code_is_that_of_the_step(tmp_path, system, code):
    done = run(tmp_path, system, STAND_IN, CODE=str(code))
    assert done.returncode == code, done.stdout + done.stderr
    asked = ["run", "smoke", "--target", "staging", "--out", "results", "--no-color"]
    # Nothing is kept yet: `latest` lets the first run pass, also with `--fail-on`.
    assert words(tmp_path) == [*asked, "--baseline", "latest"]
    # Only what passed is kept to be compared with.
    assert (tmp_path / "baseline/verdict.json").exists() == (code == 0)


@pytest.mark.parametrize("system", ["gitlab", "jenkins"])
def test_the_next_run_is_compared_with_the_last_that_passed(tmp_path, system):
    run(tmp_path, system, STAND_IN, CODE="0")
    run(tmp_path, system, STAND_IN, CODE="1")
    assert words(tmp_path)[-2:] == ["--baseline", str(tmp_path / "baseline")]
    assert (tmp_path / "baseline/verdict.json").read_text() == "0\n"


@pytest.mark.parametrize(
    ("system", "scenario", "more", "code"),
    [
        ("gitlab", "small", "--defect missing_field", 1),
        ("jenkins", "few", "", 3),
        pytest.param("gitlab", "few", "", 3, marks=pytest.mark.long),
        pytest.param("gitlab", "stuck", "", 4, marks=pytest.mark.long),
        pytest.param("gitlab", "small", "", 0, marks=pytest.mark.long),
        pytest.param("jenkins", "small", "--defect missing_field", 1, marks=pytest.mark.long),
        pytest.param("jenkins", "stuck", "", 4, marks=pytest.mark.long),
        pytest.param("jenkins", "small", "", 0, marks=pytest.mark.long),
    ],
)
def test_with_real_runs(tmp_path, system, scenario, more, code):
    write_scenarios(tmp_path)
    program = PLAYED.format(python=shlex.quote(sys.executable))
    done = run(tmp_path, system, program, PLAY=scenario, MORE=more)
    assert done.returncode == code, done.stdout + done.stderr
    reports = list(tmp_path.glob(GITLAB["probe"]["artifacts"]["reports"]["junit"]))
    assert len(reports) == 1
    assert f"junit testResults: '{reports[0].parent.parent.name}/2*/junit.xml'" in JENKINS


def test_jenkins_reads_each_exit_code_for_what_it_is():
    assert len(jenkins_scripts()) == 2
    for script in jenkins_scripts():
        assert script.startswith("#!/usr/bin/env bash\n")
        subprocess.run(["bash", "-n", "-c", script], check=True, timeout=10)
    assert "if (code == 3) {" in JENKINS
    assert "} else if (code != 0) {\n            error " in JENKINS
    for opened, closed in ("{}", "()", "[]"):
        assert JENKINS.count(opened) == JENKINS.count(closed)


def test_gitlab_keeps_reports_always_and_the_baseline_only_of_success():
    job = GITLAB["probe"]
    assert job["stage"] in GITLAB["stages"]
    assert job["cache"]["when"] == "on_success"
    assert job["cache"]["paths"] == ["baseline/"]
    assert job["artifacts"]["when"] == "always"
    assert "results/" in job["artifacts"]["paths"]
    assert all(isinstance(line, str) for line in job["script"] + job["before_script"])
    assert "allow_failure" not in job


def test_github_gives_the_action_what_it_takes():
    (job,) = GITHUB["jobs"].values()
    (step,) = [each for each in job["steps"] if "/.github/actions/probe@" in each.get("uses", "")]
    assert set(step["with"]) <= set(ACTION["inputs"])
    required = {name for name, each in ACTION["inputs"].items() if each.get("required")}
    assert required <= set(step["with"])
    assert all(isinstance(value, str) for value in step["with"].values())
    assert GITHUB["permissions"] == {"contents": "read"}
    # YAML 1.1 reads the key `on` as true.
    assert {"pull_request", "push"} <= set(GITHUB[True])


def test_the_variables_are_those_of_the_target():
    named = set(re.findall(r"PROBE_[A-Z_]+", STAGING))
    (job,) = GITHUB["jobs"].values()
    given = next(each["env"] for each in job["steps"] if "env" in each)
    assert set(given) <= named
    assert set(re.findall(r"^ +(PROBE_[A-Z_]+) =", JENKINS, re.MULTILINE)) == set(given)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
@pytest.mark.parametrize("told", [("smoke",), ("probe", "SCENARIO=smoke")])
def test_make_says_the_exit_code_that_it_hides(tmp_path, told):
    runner = tmp_path / "probe"
    runner.write_text('#!/bin/sh\necho "$@"\nexit "$CODE"\n')
    runner.chmod(0o755)
    words = ["make", "-o", ".venv/.run", f"RUN={runner}", *told, "TARGET=lab", "ARGS=--seed 7"]
    for code, of_make in ((0, 0), (1, 2), (4, 2)):
        done = subprocess.run(
            words, cwd=ROOT, check=False, capture_output=True, text=True, timeout=30,
            env=os.environ | {"CODE": str(code)},
        )  # fmt: skip
        assert done.returncode == of_make
        assert "run smoke --target lab --seed 7" in done.stdout
        assert (f"the probe's exit code is {code};" in done.stderr) == (code > 0)


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")
def test_make_smoke_wants_a_target():
    done = subprocess.run(
        ["make", "-o", ".venv/.run", "smoke"],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    assert "name what is to be tested" in done.stderr
