"""A whole run on the healthy lab: verdict, files, outputs, and judging it again."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.servers import Server, echo, free_port

pytestmark = pytest.mark.alone

FILES = {
    "scenario.resolved.toml", "history", "log.ndjson", "verdict.json", "summary.json",
    "junit.xml", "report.md", "report.html", "lab.log", "lab.ledger.ndjson",
}  # fmt: skip
SHORT = ("--set", "stages.users.populations.users.shape.lasts=1s")
LOOSE = (
    *SHORT,
    "--set", "stages.users.expect.success.rate=60%",
    "--set", "stages.users.expect.runs.rate=60%",
    "--set", "stages.users.expect.latency=[]",
)  # fmt: skip
ESCAPE = "\x1b"
ONE = """
[stages.all]
patience = "3s"
expect.success = { rate = "50%" }
[stages.all.populations.clients]
shape = { rate = "20/s", lasts = "500ms", arrivals = "even" }
"""


@pytest.mark.long
def test_smoke_as_it_stands_passes_on_the_healthy_lab(probe):
    done = probe.fit_run("smoke", target="lab")
    assert done.code == 0, done.told
    assert "\nPASS (embedded lab)  smoke -> lab" in done.out


def test_smoke_passes_and_leaves_all_its_files(probe):
    done = probe.fit_run("smoke", *LOOSE, "--seed", "7", target="lab")
    assert done.code == 0, done.told
    assert "PASS (embedded lab)" in done.out
    assert ESCAPE not in done.out + done.err
    assert {path.name for path in done.folder.iterdir()} == FILES
    verdict = done.verdict
    assert verdict["verdict"] == "PASS"
    assert verdict["embedded"] is True
    assert verdict["seed"] == 7
    assert all(check["n"] > 0 for check in verdict["checks"] if check["required"])
    assert (probe.results / "latest").is_symlink()
    assert "embedded" in (done.folder / "report.md").read_text()
    log = (done.folder / "log.ndjson").read_text().splitlines()
    events = [json.loads(line)["event"] for line in log]
    assert events[0] == "started"
    assert events[-1] == "ended"
    # Everything the probe counted as let in, the lab counted as accepted.
    accepted = [line for line in done.ledger() if line.get("outcome") == "accepted"]
    assert len(accepted) == done.summary["counts"]["ways"]["good"]
    again_by_check(probe, done)
    again_by_report(probe, done)


def again_by_check(probe, done):
    before = (done.folder / "verdict.json").read_bytes()
    code = probe("check", done.folder, "--json")
    assert code.out.encode() == before
    assert code.code == done.code
    assert probe.inside("check", "latest", "--out", probe.results, "-q").out == ""


def again_by_report(probe, done):
    for form, file in (("json", "verdict.json"), ("junit", "junit.xml"), ("markdown", "report.md")):
        told = probe.inside("report", done.folder, "--format", form)
        assert told.code == 0
        assert told.out == (done.folder / file).read_text()
    before = {name: (done.folder / name).read_bytes() for name in ("verdict.json", "report.md")}
    for name in before:
        (done.folder / name).unlink()
    assert probe.inside("report", done.folder, "--write").code == 0
    assert {name: (done.folder / name).read_bytes() for name in before} == before
    assert "PASS (embedded lab)" in probe.inside("report", done.folder).out


def test_json_prints_verdict_json_and_nothing_else(probe):
    probe.scenario(ONE)
    done = probe.run("small", "--json", target="lab")
    assert done.out.encode() == (done.folder / "verdict.json").read_bytes()
    assert "embedded lab" in done.err


def test_quiet_prints_nothing(probe):
    probe.scenario(ONE)
    done = probe.run("small", "-q", target="lab")
    assert (done.out, done.err) == ("", "")
    assert done.code == {"PASS": 0, "INCONCLUSIVE": 3, "INVALID": 4}[done.verdict["verdict"]]


@pytest.mark.long
def test_quiet_with_json_prints_that_alone(probe):
    probe.scenario(ONE)
    quiet = probe.run("small", "--json", "-q", target="lab")
    assert quiet.out.encode() == (quiet.folder / "verdict.json").read_bytes()
    assert quiet.err == ""


@pytest.mark.parametrize(
    "how",
    [
        "option",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("colours", "variable", "dumb")),
    ],
)
def test_on_a_terminal_no_colour_means_no_escape_code(probe, how):
    with Server(echo) as server:
        target = probe.target(f"ws://127.0.0.1:{server.port}/")
        scenario = probe.scenario(ONE)
        words = ["run", scenario, "-t", target, "--out", str(probe.results)]
        env = {"TERM": "dumb" if how == "dumb" else "xterm-256color"}
        if how == "option":
            words.append("--no-color")
        if how == "variable":
            env["NO_COLOR"] = "1"
        output = on_terminal(probe, words, env)
    assert "10 of 10 clients, at least" in " ".join(output.split()), output
    assert (ESCAPE in output) == (how == "colours"), output


def on_terminal(probe, words, env):
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "probe", *words],
        cwd=probe.cwd, env=probe.environment(env), stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    output = b""
    deadline = time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    chunk = os.read(ours, 65536)
                except OSError:
                    break
                if not chunk:
                    break
                output += chunk
    finally:
        os.close(ours)
        process.send_signal(signal.SIGKILL)
        process.wait(5)
    return output.decode().replace("\r\n", "\n")


def test_checks_without_a_sample_are_inconclusive(probe):
    # A curve so low that no client ever arrives: nothing was tested.
    probe.scenario("""
[stages.none]
patience = "1s"
expect.success = { rate = "50%" }
expect.definite = true
expect.runs = { rate = "50%" }
expect.latency = [{ quantile = "p50", within = "1s" }]
[stages.none.populations.nobody]
shape = { rate = "1/s", lasts = "100ms", arrivals = "even" }
""")
    done = probe.run("small", target="lab")
    assert done.code == 3, done.told
    assert done.verdict["verdict"] == "INCONCLUSIVE"
    assert {check["verdict"] for check in done.verdict["checks"]} == {"INCONCLUSIVE"}
    assert {check["n"] for check in done.verdict["checks"]} == {0}


def test_a_stage_that_expects_nothing_is_never_a_pass(probe):
    probe.scenario("""
[stages.load]
patience = "2s"
[stages.load.populations.clients]
shape = { clients = 3 }
""")
    done = probe.run("small", target="lab")
    assert done.code == 3, done.told
    assert done.verdict["verdict"] == "INCONCLUSIVE"
    assert "PASS" not in done.out


def test_a_failed_gate_leaves_later_stages_skipped(probe):
    probe.scenario("""
[stages.preflight]
activity = "preflight"
gate = true
expect = { connects = true }
[stages.load]
expect.success = { rate = "50%" }
expect.definite = true
[stages.load.populations.clients]
shape = { clients = 3 }
""")
    done = probe.run("small", target=probe.target(f"ws://127.0.0.1:{free_port()}/"))
    assert done.code == 1, done.told
    later = [check for check in done.verdict["checks"] if check["stage"] == "load"]
    assert len(later) == 4
    assert {check["verdict"] for check in later} == {"SKIPPED"}
    assert "target.refused" in done.codes
    again = probe.inside("check", done.folder, "--json")
    assert again.out.encode() == (done.folder / "verdict.json").read_bytes()
