"""Known findings: what they let through, what they never do, and that every report says so."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import StringIO

import jsonschema_rs
import pytest
from rich.console import Console

from probe.check.accepted import Accepted, read_accepted
from probe.check.judge import judge
from probe.check.verdict import Check, Fitness, Outcome, fold
from probe.errors import ConfigError
from probe.report.document import document
from probe.report.junit import junit_xml
from probe.report.markdown import markdown
from probe.report.page.sections import content
from probe.report.terminal import screen
from tests.histories import LOAD, Story

CODE = "connect.accepted_then_closed"
CHECK = "users.definite.accepted_then_closed"
EXPECT = {"success": {"rate": "50%"}, "definite": True}


def entry(**more):
    fields = {"code": CODE, "owner": "Ada", "until": "2026-12-31", "why": "#1234"} | more
    lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None]
    return "\n".join(["[[accepted]]", *lines, ""])


def accepted(*entries) -> Accepted:
    return read_accepted("".join(entries or [entry()]), "accepted.toml")


def story(*, closed=1, expect=EXPECT, good=100, started="2026-11-22T02:00:00+00:00", dropped=0):
    made = Story({"users": {**LOAD, "expect": expect}}).stage().fit()
    made.meta["started_at"] = started
    for k in range(good):
        made.client(100 + k * 10, "good")
    for k in range(closed):
        made.client(105 + k * 10, "closed")
    for k in range(dropped):
        made.client(107 + k * 10, "eof")
    return made


def judged(made, file=None, **more):
    return judge(made.history(), made.resolved, accepted=file or accepted(), **more)


def test_an_accepted_finding_does_not_fail_the_run_and_stays_one():
    without = judge(story().history(), story().resolved)
    assert (without.verdict, without.exit_code) == (Outcome.FAIL, 1)
    assert without.headline == "FAIL"
    found = judged(story())
    assert (found.verdict, found.exit_code) == (Outcome.PASS, 0)
    assert found.headline == "PASS but for 1 finding accepted until 2026-12-31"
    check = next(each for each in found.checks if each.id == CHECK)
    assert check.verdict is Outcome.FAIL
    assert check.accepted
    assert check.message.startswith(f"({CODE} accepted until 2026-12-31, owner Ada) ")
    (finding,) = found.findings
    assert finding.accepted is not None
    assert (finding.accepted.owner, finding.accepted.why) == ("Ada", "#1234")
    assert finding.witness


def test_every_report_says_so():
    found = judged(story())
    screened = "\n".join(line.plain for line in screen(found, Console(file=StringIO(), width=100)))
    page = json.dumps(content(found, None))
    case = next(
        case
        for case in ET.fromstring(junit_xml(found)).iter("testcase")
        if case.get("name") == CHECK
    )
    told = {
        "terminal": screened,
        "markdown": markdown(found),
        "page": page,
        "json": json.dumps(document(found)),
        "junit": ET.tostring(case, encoding="unicode"),
    }
    for form, text in told.items():
        words = " ".join(text.split())
        assert "accepted until 2026-12-31, owner Ada" in words, form
        assert "#1234" in words.replace("\\#", "#"), form
        assert form == "junit" or "PASS but for 1 finding accepted" in words, form
    assert case.find("failure") is None
    assert case.find("skipped") is not None
    whole = document(found)
    assert whole["findings"][0]["accepted"] == {
        "owner": "Ada", "until": "2026-12-31", "why": "#1234", "ended": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("until", "verdict"),
    [("2026-11-22", Outcome.PASS), ("2026-11-21", Outcome.FAIL)],
)
def test_the_last_day_is_included_and_counts_by_the_day_of_the_run(until, verdict):
    found = judged(story(), accepted(entry(until=until)))
    assert found.verdict is verdict
    if verdict is Outcome.FAIL:
        assert f"no longer accepted: that ended on {until}, owner Ada" in found.reasons[0]
        assert found.findings[0].accepted is not None
        assert found.findings[0].accepted.ended
        assert found.headline == "FAIL"


def test_of_several_entries_that_which_lasts_longest_holds():
    file = accepted(entry(until="2026-11-01"), entry(owner="Bob", until="2027-01-31"))
    assert "Bob" in judged(story(), file).checks[1].message


@pytest.mark.parametrize(
    "pattern",
    [
        {"stage": "boot*"},
        {"check": "*.silence"},
        {"code": "connect.dropped"},
        {"scenario": "smoke"},
        {"target": "staging"},
    ],
)
def test_what_speaks_of_something_else_accepts_nothing(pattern):
    found = judged(story(), accepted(entry(**pattern)))
    assert found.verdict is Outcome.FAIL
    elsewhere = {"scenario", "target"} & pattern.keys()
    assert len(found.accepted) == (0 if elsewhere else 1)
    if not elsewhere:
        assert "matched nothing in this run" in found.accepted[0]
        assert "owner Ada" in found.accepted[0]


@pytest.mark.parametrize(
    "pattern",
    [{"stage": "u*"}, {"check": "users.definite.*"}, {"scenario": "h?nd"}, {"target": "hand"}],
)
def test_patterns_are_those_of_file_names(pattern):
    assert judged(story(), accepted(entry(**pattern))).verdict is Outcome.PASS


def test_the_embedded_lab_has_to_be_named():
    made = story()
    made.resolved.target["embedded"] = True
    assert judged(made).verdict is Outcome.FAIL
    assert judged(made).accepted == ()
    found = judged(made, accepted(entry(target="hand")))
    assert found.headline == "PASS (embedded lab) but for 1 finding accepted until 2026-12-31"


def test_an_entry_that_ended_and_matched_nothing_is_told_and_fails_nothing():
    found = judged(story(closed=0), accepted(entry(until="2026-11-01")))
    assert found.verdict is Outcome.PASS
    assert found.headline == "PASS"
    (told,) = found.accepted
    assert "which ended on 2026-11-01, matched nothing" in told


def test_a_check_with_another_finding_still_fails():
    """One bad handshake is known; what else breaks the same or another check is not."""
    found = judged(story(dropped=1))
    assert found.verdict is Outcome.FAIL
    assert [reason.partition(":")[0] for reason in found.reasons] == ["users.definite.dropped"]


def test_where_nothing_else_passed_there_is_no_pass():
    one = Check("s.x", "s", True, Outcome.FAIL, "witness", 3, "words", accepted=True)
    assert fold((one,), Fitness())[0] is Outcome.INCONCLUSIVE
    passed = Check("s.y", "s", True, Outcome.PASS, "witness", 3, "words")
    assert fold((one, passed), Fitness()) == (Outcome.PASS, ())
    open_ = replace(passed, id="s.z", verdict=Outcome.SKIPPED)
    assert fold((one, passed, open_), Fitness())[0] is Outcome.INCONCLUSIVE


def test_a_service_that_lets_nobody_in_fails_whatever_is_accepted():
    only = Story({"users": {**LOAD, "expect": {"definite": True}}}).stage().fit()
    only.meta["started_at"] = "2026-11-22T02:00:00+00:00"
    for k in range(3):
        only.client(100 + k, "closed")
    found = judged(only)
    assert found.verdict is Outcome.FAIL
    assert [reason.partition(":")[0] for reason in found.reasons] == ["users.target"]


def test_an_unfit_probe_stays_invalid():
    lagging = Story({"users": {**LOAD, "expect": EXPECT}}).stage().fit(lag_ms=500)
    lagging.meta["started_at"] = "2026-11-22T02:00:00+00:00"
    for k in range(100):
        lagging.client(100 + k * 10, "good" if k else "closed")
    found = judged(lagging)
    assert found.verdict is Outcome.INVALID
    assert found.exit_code == 4
    assert "accepted" not in found.headline


def test_a_run_without_its_day_cannot_be_judged_with_acceptances():
    with pytest.raises(ConfigError, match="does not tell when it began"):
        judged(story(started=""))


def test_a_gate_lets_through_what_is_accepted():
    found = judged(story(), only_stage="users")
    assert [check.accepted for check in found.checks if check.verdict is Outcome.FAIL] == [True]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"owner": None}, "owner: this key is missing"),
        ({"until": None}, "until: this key is missing"),
        ({"why": None}, "why: this key is missing"),
        ({"owner": " "}, "owner: this is blank"),
        ({"until": 20261231}, "not a day"),
        ({"until": "soon"}, "until"),
        ({"code": "connect.accepted_then_close"}, "did you mean 'connect.accepted_then_closed'?"),
        ({"code": "target.refused"}, "nothing to accept"),
        ({"code": "service.gone"}, "nothing to accept"),
        ({"stages": "x"}, "no such key"),
    ],
)
def test_mistakes_are_told_with_their_place(change, words):
    with pytest.raises(ConfigError) as caught:
        accepted(entry(**change))
    assert words in str(caught.value)
    assert "accepted.toml: accepted.0" in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        accepted(entry(owner=None, until=None), entry(code="x.y"))
    assert len(caught.value.problems) == 3


def test_what_is_kept_reads_the_same_and_is_redacted():
    file = accepted(entry(stage="u*"), entry(why="the token s3cret leaks"))
    assert read_accepted(file.to_toml(), "kept") == file
    kept = file.to_toml(lambda text: text.replace("s3cret", "******"))
    assert "s3cret" not in kept
    assert read_accepted(kept, "kept").accepted[1].why == "the token ****** leaks"


def test_a_toml_date_and_a_text_are_the_same_day():
    text = entry().replace('"2026-12-31"', "2026-12-31")
    assert read_accepted(text, "x") == accepted()
    with pytest.raises(ConfigError, match="not a day"):
        read_accepted(text.replace("12-31", "12-31T00:00:00"), "x")


def test_editors_have_a_schema_that_takes_what_is_taken():
    schema = Accepted.model_json_schema()
    validator = jsonschema_rs.Draft202012Validator(schema)
    fields = {"code": CODE, "owner": "Ada", "until": "2026-12-31", "why": "#1234"}
    assert validator.is_valid({"accepted": [fields]})
    for name in fields:
        assert not validator.is_valid(
            {"accepted": [{k: v for k, v in fields.items() if k != name}]}
        )
    assert not validator.is_valid({"accepted": [fields | {"stages": "x"}]})


def of_clients(*ways):
    """A stage that lets clients in, and one whose clients all do their best to."""
    stages = {
        "before": {**LOAD, "expect": {"definite": True}},
        "users": {**LOAD, "expect": {"success": {"rate": "90%"}}},
    }
    made = Story(stages).stage(0, 0, 5_000).stage(1, 5_000).fit()
    made.meta["started_at"] = "2026-11-22T02:00:00+00:00"
    for k in range(60):
        made.client(100 + k * 10, "good")
    for k in range(60):
        made.client(5_100 + k * 10, ways[k % len(ways)], population=1)
    return made


def test_that_some_clients_fail_can_be_accepted_and_that_all_do_cannot():
    file = accepted(entry(code="session.failed"))
    some = judged(of_clients("good", "refused"), file)
    assert some.verdict is Outcome.PASS, some.reasons
    outage = judged(of_clients("refused"), file)
    assert (outage.verdict, outage.exit_code) == (Outcome.FAIL, 1)
    assert outage.accepted == (
        "not accepted, since nobody got through: session.failed at users.success",
    )
    assert [each.accepted for each in outage.findings if each.code == "session.failed"] == [None]


def test_to_be_no_worse_than_another_run_is_not_enough_for_a_pass():
    failed = Check("a.b", "a", True, Outcome.FAIL, "witness", 9, "m", accepted=True)
    same = Check("run.compared", "run", True, Outcome.PASS, "comparison", 9, "m")
    passed = replace(failed, id="a.c", verdict=Outcome.PASS, accepted=False)
    assert fold((failed, same), Fitness())[0] is Outcome.INCONCLUSIVE
    assert fold((failed, same, passed), Fitness())[0] is Outcome.PASS


@pytest.mark.parametrize(("at_most", "verdict"), [(2, Outcome.FAIL), (3, Outcome.PASS)])
def test_no_more_cases_are_accepted_than_was_said(at_most, verdict):
    file = accepted(entry(at_most=at_most))
    assert read_accepted(file.to_toml(), "kept") == file
    found = judged(story(closed=3), file)
    assert found.verdict is verdict
    (first,) = found.accepted
    if verdict is Outcome.FAIL:
        words = f"not accepted: {CODE} at {CHECK}: 3 seen, and {CODE} (owner Ada) bears 2"
        assert first == words
        assert found.findings[0].accepted is None


def test_at_most_is_a_count():
    for wrong in (0, -1, 2.5):
        with pytest.raises(ConfigError, match="at_most"):
            accepted(entry(at_most=wrong))
