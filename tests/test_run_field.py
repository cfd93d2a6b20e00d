"""The field's cases by name, on the lab: each fails, and says so in words for people."""

import json
import os
import signal
import time

import pytest

from tests.lab_process import SECRET, Lab

pytestmark = pytest.mark.alone

RATE = "stages.users.populations.users.shape.rate"
SERVICE = """
title = "a lab by hand"
dialect = "agent_events"
[endpoints.main]
url = "ws://127.0.0.1:{port}/ws"
[services.backend]
url = "http://127.0.0.1:{port}/health"
[auth]
source = "mint"
algorithm = "HS256"
key = "${{PROBE_JWT_KEY}}"
issuer = "probe-lab"
audience = "probe-lab"
"""


def found(done, code):
    """The one finding of that code, of a run that failed."""
    assert done.code == 1, done.told
    (finding,) = [each for each in done.verdict["findings"] if each["code"] == code]
    return finding


def hits(done, defect):
    return [line for line in done.ledger() if line.get("defect") == defect]


@pytest.mark.long
def test_flat_against_nested_events(probe):
    done = probe.run("golden_path", "--set", f"{RATE}=40/s", "--defect", "nested_payload=0.3",
                     target="lab")  # fmt: skip
    finding = found(done, "contract.shape.nested")
    assert {code.split(".")[0] for code in done.codes} <= {"contract", "latency", "session"}
    assert done.codes >= {"contract.shape.nested"}
    assert finding["count"] == len(hits(done, "nested_payload"))
    assert "nested" in finding["message"]
    assert "flat" in finding["message"]
    assert any('"payload":{' in step["what"].replace(" ", "")
               for witness in finding["witness"] for step in witness["steps"])  # fmt: skip


@pytest.mark.long
def test_tool_completed_lost_in_one_of_fifty_runs(probe):
    done = probe.run(
        "golden_path", "--set", f"{RATE}=80/s", "--defect", "drop_event=0.02@tool_completed",
        "--seed", "5", target="lab",
    )  # fmt: skip
    finding = found(done, "delivery.lost")
    lost = hits(done, "drop_event")
    assert len(lost) > 0
    assert finding["count"] == len(lost)
    assert f"tool_completed was lost in {len(lost)} of 400 runs" in finding["message"]
    assert (
        not {"delivery.late", "delivery.reordered", "run.hung", "delivery.unexpected"} & done.codes
    )
    assert done.check("users.delivery.complete")["verdict"] == "FAIL"


def test_an_event_of_one_user_at_another_once_in_ten_thousand(probe):
    done = probe.run(
        "delivery",
        "--set", "stages.runs.populations.users.shape.lasts=4s",
        "--set", "stages.runs.populations.users.shape.rate=50/s",
        "--set", "stages.runs.expect.latency=[]",
        "--defect", "cross_user_leak=0.0001", "--seed", "3", target="lab",
    )  # fmt: skip
    leaks = hits(done, "cross_user_leak")
    assert len(leaks) > 0, "this seed ought to leak"
    finding = found(done, "isolation.foreign")
    assert finding["count"] == len(leaks)
    assert "reached user" in finding["message"]
    assert leaks[0]["user_id"] in json.dumps(finding)
    assert not {"delivery.lost", "delivery.unexpected", "delivery.duplicated"} & done.codes


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.long)]
)
def test_a_service_that_dies_in_the_middle(probe, tmp_path, number):
    with Lab(tmp_path) as lab:
        probe.write("scenarios/targets/byhand.toml", SERVICE.format(port=lab.address[1]))
        words = (
            "run", "golden_path", "--target", "byhand", "--out", probe.results,
            "--set", "dialect.ready.within=1s", "--set", "dialect.run.within=1s",
            "--set", "dialect.run.quiet=500ms", "--set", "stages.users.patience=4s",
        )  # fmt: skip
        running = probe.start(*words, env={"PROBE_JWT_KEY": SECRET})
        time.sleep(4)
        os.kill(lab.process.pid, number)
        done = probe.finish(running)
        lab.process.kill()
        lab.process.wait()
        lab.stderr.write_text("")
    assert done.code == 1, done.told
    first = done.verdict["findings"][0]
    assert first["code"] == "service.gone"
    assert not {"delivery.lost", "replay.lost", "broadcast.missed", "run.hung"} & done.codes
    assert "service.gone" in done.out
