"""The negotiation matrix end to end, against the lab: healthy, and with each of its defects."""

import json
import threading

import pytest
from websockets.sync.server import serve

from probe.model.handshakes import HANDSHAKES
from tests.servers import JWT, free_port

ONE = ("--set", 'stages.matrix.cases=["plain","no_offer","{}"]')
DEFECTS = {
    "accept_without_subprotocol": ("negotiation.none_selected", "supported_last"),
    "echo_unoffered_subprotocol": ("negotiation.unoffered", "supported_last"),
    "echo_first_offered": ("negotiation.wrong_selection", "supported_last"),
    "echo_empty_subprotocol": ("negotiation.empty_value", "supported_last"),
    "two_subprotocols": ("negotiation.several_values", "supported_last"),
    "case_folding": ("negotiation.case_folded", "other_case"),
    "reject_after_accept_1003": ("negotiation.closed_after_accept", "unsupported_only"),
    "bad_accept_key": ("negotiation.wrong_accept", "supported_last"),
    "origin_ignored": ("negotiation.origin_ignored", "origin_foreign"),
}
# Each case takes a start of the lab; the certificate runs all of them.
QUICK = {"echo_first_offered", "reject_after_accept_1003"}
# What the preflight says of a 101 that nobody may use.
BESIDE = {"target.bad_upgrade", "handshake.violates_rfc"}


def test_the_healthy_lab_answers_every_row_rightly(probe):
    done = probe.run("negotiation", target="lab")
    assert done.code == 0, done.told
    assert done.codes == set()
    checks = {each["id"]: each for each in done.verdict["checks"]}
    for name in HANDSHAKES:
        assert checks[f"matrix.negotiation.{name}"]["verdict"] == "PASS", name
        assert checks[f"matrix.negotiation.{name}"]["n"] == 4
    rows = {
        row["case"]: row["answers"][0]["answer"] for row in done.summary["negotiation"]["matrix"]
    }
    assert rows["plain"] == '101, subprotocol "jwt-auth"'
    assert rows["no_offer"] == "101, no subprotocol"
    assert rows["unsupported_only"].startswith('400 "{')
    assert "unsupported_subprotocol" in rows["unsupported_only"]
    assert rows["version_12"].startswith("426")
    assert rows["single_bytes"] == rows["slow_client"] == rows["plain"]
    assert not JWT.search(json.dumps(done.summary).encode())
    history = (done.folder / "history" / "texts.bin").read_bytes()
    assert not JWT.search(history)
    # Bytes are what was asked for: each row is in the lab's own words what it was sent for.
    errors = {line.get("error") for line in done.ledger() if line["event"] == "handshake"}
    assert {"unsupported_subprotocol", "malformed_subprotocol", "origin_not_allowed",
            "bad_handshake", "upgrade_required", "unsupported_version"} <= errors  # fmt: skip


@pytest.mark.parametrize(
    "defect",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in DEFECTS],
)
def test_each_defect_of_the_lab_has_a_code_of_its_own(probe, defect):
    code, case = DEFECTS[defect]
    chosen = [word.format(case) for word in ONE]
    done = probe.run("negotiation", "--defect", defect, *chosen, target="lab")
    assert done.code == 1, done.told
    assert done.codes - BESIDE == {code}, done.told
    found = next(each for each in done.verdict["findings"] if each["code"] == code)
    assert case in found["message"] or "plain" in found["message"]
    assert found["witness"]
    assert done.check(f"matrix.negotiation.{case}")["verdict"] == "FAIL"


def test_a_dialect_without_material_leaves_rows_skipped_and_passes(probe):
    def read_all(connection):
        for _ in connection:
            pass

    with serve(read_all, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        target = probe.target(f"ws://127.0.0.1:{server.socket.getsockname()[1]}/")
        cases = '["plain","no_offer","several","token_alone","key_missing","body"]'
        done = probe.run("negotiation", "--set", f"stages.matrix.cases={cases}", target=target)
        server.shutdown()
        thread.join(10)
    assert done.code == 0, done.told
    found = {name: done.check(f"matrix.negotiation.{name}") for name in json.loads(cases)}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "plain": "PASS", "no_offer": "PASS", "several": "SKIPPED", "token_alone": "SKIPPED",
        "key_missing": "PASS", "body": "PASS",
    }  # fmt: skip
    assert "fewer than two subprotocols" in found["several"]["message"]


def test_a_target_that_forbids_bad_tokens_is_shown_none(probe):
    cases = '["plain","companion_alone","comma_in_token","two_tokens"]'
    words = ("--set", f"stages.matrix.cases={cases}", "--set", "target.safety.bad_tokens=false")
    done = probe.run("negotiation", *words, target="lab")
    assert done.code == 3, done.told
    assert done.check("matrix.negotiation.companion_alone")["verdict"] == "INCONCLUSIVE"
    refused = [line for line in done.ledger() if line.get("outcome") == "rejected"]
    assert refused == []


def test_nothing_listens(probe):
    target = probe.target(f"ws://127.0.0.1:{free_port()}/")
    done = probe.run("negotiation", "--set", 'stages.matrix.cases=["plain","body"]', target=target)
    assert done.code == 1
    assert done.codes == {"target.refused"}
    assert done.check("matrix.negotiation.plain")["verdict"] == "INCONCLUSIVE"
    assert "no connection" in done.check("matrix.negotiation.plain")["message"]


def test_a_row_that_is_no_row_is_told_before_anything_is_dialled(probe):
    cases = 'stages.matrix.cases=["plane"]'
    done = probe.inside("run", "negotiation", "--target", "lab", "--dry-run", "--set", cases)
    assert done.code == 2
    assert "plane" in done.err
    assert "plain" in done.err
