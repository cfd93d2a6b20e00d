"""`<stage>.negotiation.<case>`: checks and findings, on histories of a few rows."""

import subprocess

import pytest

from probe.check.judge import judge
from probe.check.verdict import Outcome as Verdict
from probe.history.records import Kind, Outcome, Phase, Violation
from probe.model.reading import assign
from tests.histories import Story

DIALECT = {
    "title": "by hand",
    "present": {
        "default": {"subprotocols": ["a", "t.{token}"], "selects": "a"},
        "header": {"headers": {"Authorization": "Bearer {token}"}, "selects": ""},
        "unsupported": {
            "subprotocols": ["z"],
            "headers": {"Authorization": "Bearer {token}"},
            "expect": "rejected",
        },
    },
}
REQUEST = "GET / HTTP/1.1\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n"
SWITCH = (
    "HTTP/1.1 101 so\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n"
)
USUAL = "a, t.xxx"


class Matrix(Story):
    """A stage of the negotiation matrix with these cases, and one client for each `tried`."""

    def __init__(self, *cases, dialect=None, target=None, **more):
        self.cases = cases
        stage = {"activity": "matrix", "table": "negotiation", "cases": list(cases)}
        super().__init__(
            {"matrix": {**stage, "expect": {"negotiation": True}}},
            dialect=dialect or DIALECT,
            **more,
        )
        self.resolved.target.update(target or {})
        self.stage().fit()

    def tried(
        self, case, *, offered=USUAL, status=101, chosen="a", outcome=Outcome.NORMAL, bits=0,
        close=0, after=12, body="no", kept=True, endpoint=0,
    ):  # fmt: skip
        """One handshake and what came of it; `status` 0 for no answer."""
        session = self.sessions
        self.sessions += 1
        at = 100 + session * 10
        who = (session, 0)
        self.row(at, Kind.INTENDED, session, 0, endpoint, self.cases.index(case), session)
        self.row(at + 1 + session * 0.01, Kind.DIAL, *who)
        self.row(at + 2, Kind.TCP, *who, a=1)
        line = f"Sec-WebSocket-Protocol: {offered}\r\n" if offered is not None else ""
        text = self.text(f"{REQUEST}{line}\r\n")
        self.row(at + 2, Kind.SENT, *who, a=100, b=text)
        if status == 101:
            line = f"Sec-WebSocket-Protocol: {chosen}\r\n" if chosen is not None else ""
            head = self.text(f"{SWITCH}{line}\r\n") if kept else 0
            self.row(at + 3, Kind.HEAD, *who, bits, 101, head)
            if outcome != Outcome.BAD_UPGRADE:
                self.row(at + 3, Kind.READY, *who)
        elif status:
            outcome = Outcome.STATUS
            self.row(
                at + 3, Kind.HEAD, *who, 0, status, self.text(f"HTTP/1.1 {status} No\r\n\r\n{body}")
            )
        if close:
            outcome = Outcome.CLOSED
            self.row(at + 3 + after, Kind.CLOSE, *who, 1, close, self.text("no"))
        phase = Phase.READY if status == 101 else Phase.UPGRADE
        self.row(at + 30, Kind.END, *who, phase, outcome)
        self.row(at + 31, Kind.DONE, session, 1, 0)
        return self

    def judged(self):
        return judge(self.history(), self.resolved)


def check(found, case):
    return next(each for each in found.checks if each.id == f"matrix.negotiation.{case}")


def codes(found):
    return {each.code: each.count for each in found.findings}


def test_right_answers_pass_with_what_was_seen_and_their_control():
    matrix = Matrix("plain", "no_offer", "unsupported_only", "key_missing", "slow_client")
    matrix.tried("plain").tried("no_offer", offered=None, chosen=None)
    matrix.tried("unsupported_only", offered="x-probe-unknown", status=400)
    matrix.tried("key_missing", status=400).tried("slow_client", status=408)
    found = matrix.judged()
    assert found.verdict is Verdict.PASS, found.reasons
    assert found.findings == ()
    assert 'ought to be rejected; 1 x 400 "no"' in check(found, "key_missing").message
    assert check(found, "key_missing").control == "plain is accepted"
    assert check(found, "unsupported_only").control == "no_offer is accepted"
    assert check(found, "plain").control == "none"
    assert check(found, "slow_client").verdict is Verdict.PASS
    assert not check(found, "slow_client").required
    (row,) = (r for r in found.summary["negotiation"]["matrix"] if r["case"] == "plain")
    assert row["answers"] == [{"endpoint": "main", "answer": '101, subprotocol "a"', "remarks": []}]


def test_a_deviation_fails_its_row_with_bytes_grade_and_section():
    found = Matrix("plain").tried("plain", chosen="z", bits=Violation.SUBPROTOCOL_UNOFFERED,
                                  outcome=Outcome.BAD_UPGRADE).judged()  # fmt: skip
    assert found.verdict is Verdict.FAIL
    message = check(found, "plain").message
    assert 'the server chose "z", which was not offered; offered: "a", "t.xxx"' in message
    assert "violates the RFC: RFC 6455 section 4.2.2" in message
    (finding,) = found.findings
    assert (finding.code, finding.severity, finding.count) == (
        "negotiation.unoffered",
        "critical",
        1,
    )
    assert finding.check == "matrix.negotiation.plain"
    assert any("Sec-WebSocket-Protocol: z" in step.what for step in finding.witness[0].steps)


def test_a_witness_shows_every_line_of_the_request():
    matrix = Matrix("plain", "host_missing").tried("plain").tried("host_missing")
    (finding,) = matrix.judged().findings
    assert finding.code == "negotiation.illegal_accepted"
    (case,) = finding.witness
    sent = [step.what for step in case.steps if step.who == "probe"]
    assert "GET / HTTP/1.1 | Sec-WebSocket-Key: k | Sec-WebSocket-Version: 13 | Sec-W" in sent[1]


def test_one_finding_for_a_code_names_the_rows_and_counts_the_handshakes():
    cases = ("plain", "several", "blanks")
    matrix = Matrix(*cases)
    for case in cases:
        matrix.tried(case, chosen=None)
    found = matrix.judged()
    assert codes(found) == {"negotiation.none_selected": 3}
    assert "seen with plain, several, blanks" in found.findings[0].message
    assert "3 of 3 handshakes" in found.findings[0].message


def test_informational_remarks_are_told_and_fail_nothing():
    matrix = Matrix("plain", "early_frame").tried("plain")
    found = matrix.tried("early_frame", status=0, outcome=Outcome.EOF).judged()
    assert found.verdict is Verdict.PASS
    assert found.findings == ()
    assert "TCP ended without an answer (for information" in check(found, "early_frame").message


@pytest.mark.parametrize("plain", [401, 0, 101])
def test_where_the_plain_request_is_not_accepted_a_rejection_proves_nothing(plain):
    matrix = Matrix("plain", "key_missing").tried("key_missing", status=400)
    if plain == 101:
        matrix.tried("plain", close=1011)
    elif plain:
        matrix.tried("plain", status=plain)
    else:
        matrix.tried("plain", status=0, outcome=Outcome.TIMEOUT)
    found = matrix.judged()
    assert check(found, "plain").verdict is Verdict.FAIL
    assert check(found, "key_missing").verdict is Verdict.INCONCLUSIVE
    assert check(found, "key_missing").control == "failed: plain is not accepted"


def test_the_control_is_of_the_same_endpoint():
    matrix = Matrix("plain", "key_missing", endpoints=("main", "other"))
    matrix.tried("plain").tried("key_missing", status=400, endpoint=1)
    assert check(matrix.judged(), "key_missing").verdict is Verdict.INCONCLUSIVE
    matrix.tried("plain", endpoint=1)
    assert check(matrix.judged(), "key_missing").verdict is Verdict.PASS


def test_a_rejection_for_the_token_beside_the_offers_has_that_token_as_its_control():
    matrix = Matrix("plain", "no_offer", "unsupported_only").tried("plain")
    matrix.tried("no_offer", offered=None, status=401)
    found = matrix.tried("unsupported_only", offered="x-probe-unknown", status=401).judged()
    assert check(found, "unsupported_only").verdict is Verdict.INCONCLUSIVE
    assert "auth" in next(f for f in found.findings).cause or found.findings


def test_late_rejections_are_told_with_their_code_and_time():
    matrix = Matrix("plain", "no_offer", "unsupported_only").tried("plain")
    matrix.tried("no_offer", offered=None, chosen=None)
    found = matrix.tried("unsupported_only", offered="z", chosen=None, close=1003).judged()
    message = check(found, "unsupported_only").message
    assert "accepted, then 1003 (unsupported data)" in message
    assert "after 12 ms: a browser sees an open socket first" in message
    assert codes(found) == {"negotiation.closed_after_accept": 1}


def test_what_was_not_the_servers_doing_is_unmeasured():
    for outcome in (Outcome.LOCAL, Outcome.CANCELLED, Outcome.REFUSED):
        found = Matrix("plain").tried("plain", status=0, outcome=outcome).judged()
        assert check(found, "plain").verdict is Verdict.INCONCLUSIVE
        assert check(found, "plain").n == 0
    found = Matrix("plain").judged()
    assert found.verdict is Verdict.INCONCLUSIVE


def test_a_row_without_material_is_skipped_by_name_and_never_passed():
    plain = {"title": "d", "present": {"default": {"subprotocols": ["a"]}}}
    found = Matrix("plain", "token_alone", dialect=plain).tried("plain", offered="a").judged()
    one = check(found, "token_alone")
    assert one.verdict is Verdict.SKIPPED
    assert one.message == "skipped: the dialect shows no token in a subprotocol"
    assert not one.required
    assert found.verdict is Verdict.PASS


def test_a_target_without_tokens_has_none_to_leave_out():
    target = {"auth": {"source": "none"}}
    found = Matrix("plain", "companion_alone", target=target).tried("plain", offered="a").judged()
    assert check(found, "companion_alone").verdict is Verdict.SKIPPED


@pytest.mark.parametrize("case", ["companion_alone", "comma_in_token", "two_tokens"])
def test_a_target_that_forbids_bad_tokens_leaves_those_rows_unmeasured(case):
    target = {"safety": {"bad_tokens": False}}
    found = Matrix("plain", case, target=target).tried("plain").judged()
    assert check(found, case).verdict is Verdict.INCONCLUSIVE
    assert "the target forbids bad tokens (safety.bad_tokens)" in check(found, case).message
    assert found.verdict is (Verdict.PASS if case == "two_tokens" else Verdict.INCONCLUSIVE)


def test_heads_that_were_not_kept_leave_the_answer_by_its_status():
    found = Matrix("plain").tried("plain", kept=False).judged()
    assert check(found, "plain").verdict is Verdict.PASS
    assert "head not kept" in check(found, "plain").message


def test_a_stage_that_never_ran_leaves_its_rows_skipped():
    story = Story({"matrix": {"activity": "matrix", "table": "negotiation", "cases": ["plain"],
                              "expect": {"negotiation": True}}}, dialect=DIALECT)  # fmt: skip
    found = judge(story.history(), story.resolved)
    assert check(found, "plain").verdict is Verdict.SKIPPED
    assert found.verdict is Verdict.INCONCLUSIVE


def test_the_expectation_without_the_table_is_told():
    story = Story(
        {"matrix": {"activity": "matrix", "expect": {"negotiation": True}}}, dialect=DIALECT
    )
    found = judge(story.stage().fit().history(), story.resolved)
    (one,) = (each for each in found.checks if each.id == "matrix.negotiation")
    assert one.verdict is Verdict.INCONCLUSIVE
    assert found.verdict is Verdict.INCONCLUSIVE


TWO = ("plain", "supported_last", "two_lines", "two_lines_unknown_first")


def test_lines_that_are_not_read_as_one_list_are_a_cause_of_their_own():
    matrix = Matrix(*TWO, "value_300")
    for case in ("plain", "supported_last"):
        matrix.tried(case)
    for case in (*TWO[2:], "value_300"):
        matrix.tried(case, status=401)
    found = matrix.judged()
    lines, other = sorted(found.findings, key=lambda each: each.count, reverse=True)
    assert {lines.code, other.code} == {"negotiation.rejected_supported"}
    assert lines.message.endswith("seen with two_lines, two_lines_unknown_first")
    assert "does not read the second line of Sec-WebSocket-Protocol" in lines.cause
    assert "did not accept the token" in other.cause
    assert "the lines were not read as one list" in check(found, "two_lines").message
    assert "one list" not in check(found, "value_300").message


def test_two_lines_are_no_cause_where_the_same_offer_fails_in_one():
    matrix = Matrix(*TWO).tried("plain")
    matrix.tried("supported_last", status=401).tried("two_lines_unknown_first", status=401)
    found = matrix.tried("two_lines").judged()
    assert "did not accept the token" in found.findings[0].cause
    assert len(found.findings) == 1
    untried = Matrix("two_lines").tried("two_lines", status=401).judged()
    assert "did not accept the token" in untried.findings[0].cause


def test_a_finding_is_tried_again_by_its_rows_alone_and_what_they_are_held_against():
    matrix = Matrix(*TWO).tried("plain").tried("supported_last").tried("two_lines")
    finding = matrix.tried("two_lines_unknown_first", status=401).judged().findings[0]
    rows = "['plain', 'supported_last', 'two_lines_unknown_first']"
    command = f'--stage matrix --set "stages.matrix.cases={rows}"'
    assert finding.reproduce.endswith(f" {command}")
    # What is printed is what a shell hands on, also where it was wrapped at a blank.
    wrapped = command.replace("', '", "', \\\n  '")
    shown = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n' {wrapped}"], capture_output=True, text=True, check=True,
        timeout=20,
    )  # fmt: skip
    *_, assignment = shown.stdout.splitlines()
    data: dict[str, dict[str, dict[str, object]]] = {"stages": {"matrix": {}}}
    assign(data, assignment)
    assert data["stages"]["matrix"] == {"cases": [*TWO[:2], TWO[3]]}


def test_who_has_named_the_rows_already_is_not_told_to_do_so_twice():
    matrix = Matrix(*TWO).tried("plain").tried("supported_last").tried("two_lines")
    story = matrix.tried("two_lines_unknown_first", status=401)
    again = ("probe", "run", "n", "--stage", "matrix", "--set", "stages.matrix.cases=['plain']")
    finding = judge(story.history(again=again), story.resolved).findings[0]
    assert finding.reproduce.count("--set") == 1
    assert finding.reproduce.count("--stage") == 1
