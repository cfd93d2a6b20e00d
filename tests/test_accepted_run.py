"""Known findings in whole runs: where the file is found, what is kept, and judging it again."""

import json

import pytest

from tests.ci_runs import SMALL

ENTRY = (
    '[[accepted]]\ncode = "{code}"\ntarget = "lab"\nowner = "Ada"\nuntil = {until}\nwhy = "#1234"\n'
)
DEFECT = ("--defect", "missing_field")


def entry(code="contract.missing_field", until="2999-12-31"):
    return ENTRY.format(code=code, until=until)


def test_a_file_beside_the_scenario_is_used_kept_and_judged_by_without_it(probe):
    probe.write("scenarios/small.toml", SMALL)
    path = probe.write("scenarios/accepted.toml", entry())
    assert "accepted" not in probe.inside("list").out
    assert probe.inside("validate", "small").code == 0
    done = probe.run("small", *DEFECT, target="lab")
    assert done.code == 0, done.told
    assert "known findings: scenarios/accepted.toml; 1 of 1 entries speak of this run" in done.out
    words = " ".join(done.out.split())
    assert "PASS (embedded lab) but for 1 finding accepted until 2999-12-31 small -> lab" in words
    assert "accepted until 2999-12-31, owner Ada" in words
    assert done.check("users.contract")["verdict"] == "FAIL"
    assert done.check("users.contract")["accepted"] is True
    path.write_text("this is read no more")
    again = probe.inside("check", done.folder, "--json")
    assert again.code == 0
    assert json.loads(again.out) == done.verdict
    # The file that was kept can be read by people and by a later run alike.
    kept = (done.folder / "accepted.toml").read_text()
    assert 'owner = "Ada"' in kept


def test_a_named_file_is_used_and_one_that_has_ended_fails_and_says_so(probe):
    probe.write("scenarios/small.toml", SMALL)
    old = probe.write("ci/known.toml", entry(until="2026-01-31"))
    done = probe.run("small", *DEFECT, "--accepted", old, target="lab")
    assert done.code == 1, done.told
    assert "no longer accepted: that ended on 2026-01-31, owner Ada" in " ".join(done.out.split())
    missing = probe.run("small", "--accepted", "ci/none.toml", target="lab")
    assert missing.code == 2
    assert "ci/none.toml: cannot be read" in missing.err


def test_what_is_accepted_in_a_gate_does_not_keep_the_rest_from_being_run(probe):
    probe.write("scenarios/small.toml", SMALL)
    closed = probe.run("small", "--defect", "health_503", target="lab")
    assert closed.code == 1
    assert closed.check("users.contract")["verdict"] == "SKIPPED"
    probe.write("scenarios/accepted.toml", entry("health.unhealthy"))
    opened = probe.run("small", "--defect", "health_503", target="lab")
    assert opened.code == 0, opened.told
    assert opened.check("users.contract")["verdict"] == "PASS"
    assert opened.check("preflight.health")["accepted"] is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (entry().replace('owner = "Ada"\n', ""), "accepted.0.owner: this key is missing"),
        (entry().replace("until", "til"), "accepted.0.until: this key is missing"),
        ("[[accepted", "this is not TOML"),
    ],
)
def test_a_file_with_mistakes_is_refused_before_anything_is_sent(probe, text, words):
    probe.write("scenarios/small.toml", SMALL)
    probe.write("scenarios/accepted.toml", text)
    done = probe.inside("run", "small", "--target", "lab", "--out", probe.results)
    assert done.code == 2
    assert f"scenarios/accepted.toml: {words}" in done.err
    assert probe.runs() == []
