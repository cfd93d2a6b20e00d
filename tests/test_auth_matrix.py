"""The authentication matrix and the sequences, judged from a few rows each."""

from typing import Any

import pytest

from probe.check.catalogue import CATALOGUE
from probe.check.entries_authentication import AUTHENTICATION
from probe.check.judge import expected, judge
from probe.check.verdict import Outcome
from probe.check.view import views
from probe.history.records import Credential, Kind, Put, identity_mark
from probe.model.bad_tokens import TOKEN_CASES
from probe.model.groups import groups_of
from tests.histories import DIALECT, Story, ns

REVOKE = {"service": "backend", "path": "/revoke"}
SPOKEN = DIALECT | {
    "errors": ["error"],
    "revoke": REVOKE,
    "promises": {"revocation": "1s", "expiry": "1s", "early": "served"},
    "refresh": {"send": '{"new":"{token}"}', "answer": "renewed"},
}
NAMED = {"query": {"user": "{user}"}, "headers": {"Authorization": "Bearer {token}"}}
TO_USERS = SPOKEN["promises"] | {"recipients": "user"}
IN, NOT_IN = ("good", {"runs": (("started", "tool", "completed"),)}), ("status", {"status": 401})


# The matrix.


def matrix(fates, *, dialect=None, control=(IN, IN), cases=None, endpoints=("main",)):
    """Rows of one presentation or more: each case with its way, at every endpoint."""
    spoken = SPOKEN | (dialect or {})
    stage = {"activity": "matrix", "table": "authentication", "expect": {"authentication": True}}
    stages = {"tokens": stage | {"cases": list(cases or fates)}}
    story = Story(stages, dialect=spoken, endpoints=endpoints).stage().fit()
    for number, group in enumerate(groups_of(story.resolved.scenario, story.dialect)):
        case = group.name.removeprefix(f"{group.population.present}_")
        fate = {"control": control[0], "control_after": control[1], **fates}.get(case)
        for endpoint in range(len(endpoints)):
            if callable(fate):
                fate(story, number)
            elif fate is not None:
                way, how = fate
                story.client(
                    100 + number * 20, way, population=number, endpoint=endpoint, done=0, **how
                )
    return story


def judged(story, **how):
    judgement = judge(story.history(**how), story.resolved)
    checks = {c.id.partition(".authentication.")[2]: c for c in judgement.checks}
    assert not [c.id for c in judgement.checks if c.verdict is Outcome.ERROR]
    return judgement, checks


REJECTED = [n for n, row in TOKEN_CASES.items() if row.expect == "rejected"]


@pytest.mark.parametrize("case", REJECTED)
def test_a_bad_token_that_gets_in_fails_its_row_alone(case):
    other = "malformed" if case != "malformed" else "expired"
    dialect = {"present": {"default": NAMED}, "promises": TO_USERS, "paths": {"user": "user_id"}}
    judgement, checks = judged(matrix({case: IN, other: NOT_IN}, dialect=dialect))
    (only,) = judgement.findings
    assert only.code == f"auth.{TOKEN_CASES[case].code}"
    assert only.severity == CATALOGUE[only.code].severity in ("critical", "major")
    assert "1 of 1 attempt got in (1 became ready, 1 got events of a run)" in only.message
    assert "as default" in only.message
    assert only.witness
    assert only.check == f"tokens.authentication.default.{case}"
    assert checks[f"default.{case}"].verdict is Outcome.FAIL
    assert checks[f"default.{other}"].verdict is Outcome.PASS
    assert checks["default.control"].verdict is Outcome.PASS
    assert judgement.verdict is Outcome.FAIL


def test_ready_without_an_event_and_an_event_without_ready_both_got_in():
    judgement, checks = judged(matrix({"expired": ("good", {})}))
    assert judgement.findings[0].message.startswith("1 of 1 attempt got in (1 became ready, 0 got")
    assert checks["default.expired"].verdict is Outcome.FAIL

    def unready(story, number):
        session = story.client(300, "closed", population=number, took=50, done=1)
        story.row(320, Kind.GOT, session, 0, 2, 1, session << 32)

    _, checks = judged(matrix({"expired": unready}))
    assert checks["default.expired"].verdict is Outcome.FAIL


@pytest.mark.parametrize(
    ("fate", "verdict", "code"),
    [
        (("status", {"status": 403}), Outcome.PASS, ""),
        (("status", {"status": 302}), Outcome.PASS, ""),
        (("status", {"status": 500}), Outcome.PASS, "auth.error"),
        (("closed", {"code": 1011}), Outcome.PASS, "auth.error"),
        (("closed", {"code": 1008}), Outcome.PASS, "negotiation.closed_after_accept"),
        (("dropped", {}), Outcome.PASS, "negotiation.closed_after_accept"),
        (("hung", {}), Outcome.PASS, "auth.left_open"),
        (("status", {"status": 503}), Outcome.INCONCLUSIVE, ""),
        (("status", {"status": 429}), Outcome.INCONCLUSIVE, ""),
        (("closed", {"code": 1012}), Outcome.INCONCLUSIVE, ""),
        (("refused", {}), Outcome.INCONCLUSIVE, ""),
        (("reset", {}), Outcome.INCONCLUSIVE, ""),
        (("no_answer", {}), Outcome.INCONCLUSIVE, ""),
        (None, Outcome.INCONCLUSIVE, ""),
    ],
)
def test_what_counts_as_a_refusal(fate, verdict, code):
    judgement, checks = judged(matrix({"expired": fate}, cases=["expired"]))
    assert checks["default.expired"].verdict is verdict, checks["default.expired"].message
    assert {f.code for f in judgement.findings} == ({code} if code else set())
    assert all(f.severity in ("minor", "info") for f in judgement.findings)
    assert judgement.verdict is verdict


def test_a_close_behind_a_first_message_is_how_it_is_refused():
    first = {"default": {"first_message": '{"token":"{token}"}'}}
    story = matrix({"expired": ("closed", {"code": 1008})}, dialect={"present": first})
    judgement, checks = judged(story)
    assert checks["default.expired"].verdict is Outcome.PASS
    assert judgement.findings == ()


@pytest.mark.parametrize("control", [(IN, NOT_IN), (NOT_IN, IN), (NOT_IN, NOT_IN)])
def test_where_good_tokens_are_refused_a_refusal_proves_nothing(control):
    judgement, checks = judged(matrix({"expired": NOT_IN}, control=control))
    assert checks["default.control"].verdict is Outcome.FAIL
    assert checks["default.expired"].verdict is Outcome.INCONCLUSIVE
    assert "proves nothing" in checks["default.expired"].message
    assert checks["default.expired"].control.startswith("failed")
    assert [f.code for f in judgement.findings] == ["auth.rejected_good"]
    _, checks = judged(matrix({"expired": IN}, control=control))
    assert checks["default.expired"].verdict is Outcome.FAIL


@pytest.mark.parametrize("fate", [("status", {"status": 503}), ("refused", {}), None])
def test_a_control_that_came_to_nothing_leaves_all_open(fate):
    judgement, checks = judged(matrix({"expired": NOT_IN}, control=(fate, fate)))
    assert judgement.findings == ()
    assert checks["default.control"].verdict is Outcome.INCONCLUSIVE
    assert checks["default.expired"].verdict is Outcome.INCONCLUSIVE


def test_a_refusal_counts_only_at_an_endpoint_where_a_good_token_got_in():
    def one_of_two(story, number):
        story.client(100, "good", population=number, endpoint=0)
        story.client(101, "status", population=number, endpoint=1, status=503)

    both = ("main", "legacy")
    story = matrix({"expired": NOT_IN}, control=(IN, IN), endpoints=both)
    assert judged(story)[1]["default.expired"].verdict is Outcome.PASS
    story = matrix({"expired": NOT_IN}, control=(one_of_two, IN), endpoints=both)
    _, checks = judged(story)
    assert checks["default.expired"].verdict is Outcome.INCONCLUSIVE
    assert "at 1 of them" in checks["default.expired"].message


INFORMATIONAL = [n for n, row in TOKEN_CASES.items() if row.expect == "informational"]


@pytest.mark.parametrize("case", INFORMATIONAL)
def test_what_is_informational_is_told_and_never_fails(case):
    judgement, checks = judged(matrix({case: IN, "expired": NOT_IN}))
    assert checks[f"default.{case}"].verdict is Outcome.PASS
    assert not checks[f"default.{case}"].required
    ((code, severity),) = {(f.code, f.severity) for f in judgement.findings}
    assert (code, severity) == (f"auth.{case}", "info")
    assert judgement.verdict is Outcome.PASS
    judgement, checks = judged(matrix({case: NOT_IN, "expired": NOT_IN}))
    assert judgement.findings == ()
    assert checks[f"default.{case}"].verdict is Outcome.PASS


def test_a_revocation_is_judged_where_it_is_promised():
    story = matrix({"revoked": IN, "expired": NOT_IN}, dialect={"promises": {}})
    judgement, checks = judged(story)
    assert [(f.code, f.severity) for f in judgement.findings] == [("auth.revoked", "info")]
    assert judgement.verdict is Outcome.PASS
    none: dict[str, Any] = {"promises": {}, "revoke": None}
    story = matrix({"revoked": None, "expired": NOT_IN}, dialect=none)
    judgement, checks = judged(story)
    assert checks["default.revoked"].verdict is Outcome.SKIPPED
    assert "[revoke]" in checks["default.revoked"].message
    assert judgement.verdict is Outcome.PASS


def test_a_token_of_nobody_is_judged_where_events_go_to_users():
    judgement, checks = judged(matrix({"missing_subject": IN, "expired": NOT_IN}))
    assert [(f.code, f.severity) for f in judgement.findings] == [("auth.missing_subject", "info")]
    assert not checks["default.missing_subject"].required
    assert judgement.verdict is Outcome.PASS
    story = matrix({"missing_subject": IN}, dialect={"promises": TO_USERS})
    assert judged(story)[1]["default.missing_subject"].verdict is Outcome.FAIL


def beside(*, named):
    """A client with another user's token beside its own name; a message names that user or not."""

    def play(story, number):
        one = story.open(300, population=number)
        story.row(
            299, Kind.CREDENTIAL, one.session, 0, Credential.SHOWN, story.text("another_user")
        )
        story.got(one, 310, "started")
        if named:
            story.row(310, Kind.FOREIGN, one.session, 0, 1, 2, identity_mark(7))
        story.close(one, 350)

    return play


@pytest.mark.parametrize(
    ("named", "paths", "verdict", "words"),
    [
        (True, {"user": "user_id"}, Outcome.PASS, "served as the user of the token"),
        (False, {"user": "user_id"}, Outcome.FAIL, "1 let in"),
        (False, {}, Outcome.INCONCLUSIVE, "as whom nobody can tell"),
    ],
)
def test_the_user_of_a_token_is_who_its_claims_say(named, paths, verdict, words):
    dialect = {"present": {"default": NAMED}, "paths": paths}
    judgement, checks = judged(matrix({"another_user": beside(named=named)}, dialect=dialect))
    check = checks["default.another_user"]
    assert check.verdict is verdict, check.message
    assert words in check.message
    codes = {f.code for f in judgement.findings} - {"isolation.foreign"}
    assert codes == ({"auth.another_user"} if verdict is Outcome.FAIL else set())


def test_a_good_token_that_lives_short_is_to_get_in():
    judgement, checks = judged(matrix({"brief": NOT_IN}))
    assert [f.code for f in judgement.findings] == ["auth.rejected_good"]
    assert checks["default.brief"].verdict is Outcome.FAIL
    assert judged(matrix({"brief": IN}))[1]["default.brief"].verdict is Outcome.PASS


def unmade(why):
    """A client that was told that its token cannot be made, or is forbidden."""

    def client(story, number):
        session = story.client(300, population=number, done=2)
        text = story.text("the reason")
        story.row(301, Kind.CREDENTIAL, session, 0, Credential.NOT_MADE, why, text)

    return client


def test_what_was_not_made_is_skipped_by_name_and_what_is_forbidden_is_left_open():
    judgement, checks = judged(matrix({"expired": unmade(0), "alg_none": NOT_IN}))
    skipped = checks["default.expired"]
    assert (skipped.verdict, skipped.required) == (Outcome.SKIPPED, False)
    assert skipped.message == "skipped: the reason"
    assert judgement.verdict is Outcome.PASS
    assert judgement.fitness.fit
    judgement, checks = judged(matrix({"expired": unmade(1), "alg_none": NOT_IN}))
    left = checks["default.expired"]
    assert (left.verdict, left.required, left.message) == (Outcome.INCONCLUSIVE, True, "the reason")
    assert judgement.verdict is Outcome.INCONCLUSIVE


def test_where_nothing_says_ready_a_101_alone_is_not_let_in():
    bare: dict[str, Any] = {"ready": {}, "run": None}
    closed = ("closed_late", {"lasts": 300})
    _, checks = judged(matrix({"expired": closed}, dialect=bare, control=2 * (("good", {}),)))
    assert checks["default.expired"].verdict is Outcome.PASS, checks["default.expired"].message
    stays = ("good", {"lasts": 1500})
    _, checks = judged(matrix({"expired": stays}, dialect=bare, control=(stays, stays)))
    assert checks["default.expired"].verdict is Outcome.FAIL


def test_findings_of_one_code_are_one_with_all_that_got_in():
    present = {"default": NAMED, "other": {"headers": NAMED["headers"]}}
    cases = {"alg_none": IN, "alg_none_cased": IN, "expired": NOT_IN}
    judgement, checks = judged(matrix(cases, dialect={"present": present}))
    (only,) = judgement.findings
    assert only.count == 4
    assert "no signature (as default, other); algorithm `nOnE` (as default, other)" in only.message
    failed = [name for name, check in checks.items() if check.verdict is Outcome.FAIL]
    assert len(failed) == 4


def test_every_row_is_expected_and_a_stage_that_did_not_run_skips_them():
    story = matrix({"expired": NOT_IN})
    (view,) = views(story.history(), story.resolved)
    assert expected(view) == [
        ("authentication.default.control", True), ("authentication.default.expired", True),
    ]  # fmt: skip
    story.rows = [row for row in story.rows if row[3] != Kind.STAGE]
    judgement, checks = judged(story)
    assert {check.verdict for check in checks.values()} == {Outcome.SKIPPED}
    assert judgement.verdict is Outcome.INCONCLUSIVE


# The sequences.

BAD = [{"do": "token", "case": "expired"}, {"do": "connect", "ready": False}, {"do": "run"}]
EARLY = [{"do": "connect", "ready": False}, {"do": "run"}]
NEVER = [{"do": "token", "case": "absent"}, {"do": "connect", "ready": False}, {"do": "gone"}]
AGAIN = [{"do": "connect"}, {"do": "send", "text": "{token}"}, {"do": "run"}]
LIFE = [{"do": "token", "case": "brief"}, {"do": "connect"}, {"do": "gone"}]
REFRESH = [{"do": "connect"}, {"do": "refresh"}, {"do": "run"}]
PLAIN = [{"do": "connect"}, {"do": "run"}]


def sequence(script, play, *, dialect=None, n=3, good=True):
    """Clients of one sequence, as `play(story, session at 1 s apart)`, beside good ones."""
    parts = {"one": {"shape": {"clients": n}, "script": script}}
    parts["good"] = {"shape": {"clients": 1}, "script": PLAIN}
    stage = {"populations": parts, "expect": {"authentication": True}}
    story = Story({"seq": stage}, dialect=SPOKEN | (dialect or {})).stage().fit()
    for k in range(n):
        play(story, 1000 + 100 * k)
    story.client(5000, "good" if good else "status", population=1, status=503)
    return story


def shows(story, session, ms, case, *, expiry=0.0, flag=Credential.SHOWN, op=0):
    b = ns(expiry) if expiry else 0
    story.row(ms, Kind.CREDENTIAL, session, op, flag, story.text(case), b)


def client(*ways, tokens=(), **how):
    """A client of these ways that showed tokens (ms after its time, case, more) before."""

    def play(story, ms):
        session = story.client(ms, *ways, **how)
        for after, case, *more in tokens:
            shows(story, session, ms + after, case, **dict(*more))

    return play


EXPIRED = ((-1, "expired"),)
TOLD = {"done": 1, "why": "no answer"}


def refreshed(answer=None, *, ends="closed", after=10.0, expiry=0.0, done=1, chosen=""):
    """A client that shows a new token 10 ms after ready; the old one expires at `expiry` ms."""

    def play(story, ms):
        one = story.open(ms)
        if expiry:
            shows(story, one.session, ms - 5, "brief", expiry=ms + expiry)
        if chosen:
            shows(story, one.session, ms + 9, chosen)
        new = "" if chosen else "fresh"
        shows(story, one.session, ms + 10, new, flag=Credential.RENEWED)
        story.row(ms + 10, Kind.PUT, one.session, 0, Put.REFRESH, 9, -1)
        if answer:
            story.got(one, ms + 11, answer)
        if ends == "closed":
            story.lose(one, ms + 10 + after, code=1008)
            story.row(ms + 11 + after, Kind.DONE, one.session, 1, done, 1, story.text("gone"))
        else:
            story.close(one, ms + 10 + after, done=done)

    return play


def for_another(story, ms):
    """After the token of user 7 was shown, a message for that user came."""
    one = story.open(ms)
    shows(story, one.session, ms + 5, "another_user")
    story.got(one, ms + 10, "started")
    story.row(ms + 10, Kind.FOREIGN, one.session, 0, 1, 2, identity_mark(7))
    story.close(one, ms + 50)


STORIES = {
    "auth.early_frame_lost": (sequence(EARLY, client("good", **TOLD)), "3 of 3 clients did not"),
    "auth.early_frame_served": (
        sequence(EARLY, client("good"), dialect={"promises": {"early": "refused"}}),
        "3 of 3 clients said something before",
    ),
    "auth.early_frame_served_to_bad": (
        sequence(BAD, client("good", tokens=EXPIRED, runs=(("started",),), **TOLD)),
        "3 of 3 connections with a bad token got events",
    ),
    "auth.expired": (
        sequence(BAD, client("good", tokens=((-1, "expired", {"expiry": 500.0}),), **TOLD)),
        "3 of 3 connections with a bad token became ready",
    ),
    "auth.second_user": (sequence(AGAIN, for_another), "3 of 3 connections got messages for"),
    "auth.expiry_ignored": (
        sequence(
            LIFE, client("good", tokens=((-1, "brief", {"expiry": 2000.0}),), lasts=4000, **TOLD)
        ),
        "promised: 1 s",
    ),
    "auth.never_closed": (
        sequence(NEVER, client("hung", tokens=((-1, "absent"),), **TOLD)),
        "did not come to the end of this sequence: no answer",
    ),
    "auth.again": (sequence(AGAIN, client("good", **TOLD)), "did not come to the end"),
    "auth.sequence": (sequence(PLAIN, client("good", **TOLD)), "did not come to the end"),
    "auth.rejected_good": (
        sequence(PLAIN, client("status", status=401)), "3 of 3 attempts with a good token",
    ),
    "refresh.dropped": (sequence(REFRESH, refreshed()), "3 of 3 new tokens ended"),
    "refresh.refused": (sequence(REFRESH, refreshed("error", ends="us")), "answered by an error"),
    "refresh.unanswered": (
        sequence(REFRESH, refreshed(ends="us", after=5100)), "3 of 3 new tokens got no answer",
    ),
    "refresh.lost": (
        sequence(REFRESH, refreshed("renewed", after=3000, expiry=3000)), "the old one's expiry",
    ),
}  # fmt: skip
OF_ROWS = {f"auth.{row.code}" for row in TOKEN_CASES.values()} | {"auth.error", "auth.left_open"}


def test_every_code_has_a_row_or_a_story():
    assert set(AUTHENTICATION) == OF_ROWS | set(STORIES)


@pytest.mark.parametrize("code", STORIES)
def test_each_code_of_a_sequence_is_made_by_its_story_and_by_it_alone(code):
    story, words = STORIES[code]
    judgement, checks = judged(story)
    found = {f.code: f for f in judgement.findings if f.code != "isolation.foreign"}
    assert set(found) == {code}, [(c.id, c.verdict, c.message) for c in judgement.checks]
    one = found[code]
    assert words in one.message, one.message
    assert one.check == "seq.authentication.one"
    assert one.witness
    assert one.severity == CATALOGUE[code].severity
    told = one.severity == "info"
    assert checks["one"].verdict is (Outcome.PASS if told else Outcome.FAIL)
    assert checks["good"].verdict is Outcome.PASS


FINE = {
    "early": (EARLY, client("good")),
    "bad": (BAD, client("status", status=401, tokens=EXPIRED, done=0)),
    "bad, refused, and then nothing to go on with": (
        BAD, client("status", status=401, tokens=EXPIRED, done=1),
    ),
    "bad, and another before the connect": (
        PLAIN, client("good", tokens=((-3, "expired"), (-1, "fresh")), runs=(("started",),)),
    ),
    "a bad one for a new one": (REFRESH, refreshed("error", ends="us", done=0, chosen="expired")),
    "bad then good": (
        [*BAD, *PLAIN],
        client("good", tokens=((-1, "expired"), (1, "fresh")), runs=(("started",),)),
    ),
    "bad on an open connection": (
        AGAIN, client("good", tokens=((50, "expired"),), runs=(("started",),)),
    ),
    "expires in time": (
        LIFE,
        client("closed_late", tokens=((-1, "brief", {"expiry": 3000.0}),), lasts=2500, done=0),
    ),
    "ends before": (
        PLAIN, client("good", tokens=((-1, "brief", {"expiry": 9000.0}),), lasts=1900),
    ),
    "never": (NEVER, client("closed", tokens=((-1, "absent"),), took=4000, done=0)),
    "refreshes": (REFRESH, refreshed("renewed", ends="us", after=5000, expiry=2000, done=0)),
    "refreshes, and ends": (REFRESH, refreshed("renewed", after=9000, expiry=2000, done=0)),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_is_as_it_ought_to_be_passes_without_a_finding(name):
    judgement, checks = judged(sequence(*FINE[name]))
    assert judgement.findings == (), judgement.findings
    assert checks["one"].verdict is Outcome.PASS, checks["one"].message
    assert judgement.verdict is Outcome.PASS


def test_what_came_before_the_other_token_was_shown_is_not_for_it():
    def before(story, ms):
        one = story.open(ms)
        story.got(one, ms + 2, "started")
        story.row(ms + 2, Kind.FOREIGN, one.session, 0, 1, 2, identity_mark(7))
        shows(story, one.session, ms + 5, "another_user")
        story.close(one, ms + 50)

    judgement, checks = judged(sequence(AGAIN, before))
    assert {f.code for f in judgement.findings} == {"isolation.foreign"}
    assert checks["one"].verdict is Outcome.PASS


def test_who_gets_another_token_first_is_not_dialled_late():
    def slow(story, ms):
        session = story.sessions
        story.sessions += 1
        story.row(ms, Kind.INTENDED, session, 0, 0, 0, session)
        if tells:
            story.row(ms + 10, Kind.CREDENTIAL, session, 0, Credential.REVOKED, 200, ns(ms))
        end = story.connection(session, 0, ms + 1500)
        story.row(end, Kind.DONE, session, 1, 0)

    for tells in (True, False):
        judgement, _ = judged(sequence(PLAIN, slow))
        assert judgement.fitness.fit == tells, judgement.fitness


def test_only_good_tokens_of_a_matrix_are_welcome():
    story = matrix({"expired": IN, "brief": IN, "huge_lifetime": IN})
    (view,) = views(story.history(), story.resolved)
    names = {view.groups[int(k)].name for k in view.welcome["population"]}
    assert names == {"default_control", "default_brief", "default_control_after"}


def test_what_is_not_promised_is_told_and_fails_nobody():
    for early in ("any", "refused"):
        story = sequence(EARLY, client("good", **TOLD), dialect={"promises": {"early": early}})
        _, checks = judged(story)
        assert checks["one"].verdict is Outcome.PASS
    lives = ((-1, "brief", {"expiry": 2000.0}),)
    story = sequence(
        LIFE, client("good", tokens=lives, lasts=4000, **TOLD), dialect={"promises": {}}
    )
    judgement, checks = judged(story)
    assert [(f.code, f.severity) for f in judgement.findings] == [("auth.expiry_ignored", "info")]
    assert "nothing is promised" in judgement.findings[0].message
    assert checks["one"].verdict is Outcome.PASS


def test_who_never_got_in_for_another_reason_says_nothing_of_the_sequence():
    judgement, checks = judged(sequence(EARLY, client("status", status=503)))
    assert judgement.findings == ()
    assert checks["one"].verdict is Outcome.INCONCLUSIVE
    assert "never got in, for another reason" in checks["one"].message


def test_a_sequence_that_was_cut_short_or_has_no_control_is_left_open():
    _, checks = judged(sequence(PLAIN, client("good", done=2)))
    assert checks["one"].verdict is Outcome.INCONCLUSIVE
    bad = client("status", status=401, tokens=EXPIRED, done=0)
    _, checks = judged(sequence(BAD, bad, good=False))
    assert checks["one"].verdict is Outcome.INCONCLUSIVE
    assert "nothing is proven" in checks["one"].message


@pytest.mark.parametrize(("why", "verdict"), [(0, Outcome.SKIPPED), (1, Outcome.INCONCLUSIVE)])
def test_a_sequence_whose_token_was_not_made_was_not_tried(why, verdict):
    def play(story, ms):
        session = story.client(ms, population=0, done=2)
        text = story.text("the reason")
        story.row(ms, Kind.CREDENTIAL, session, 0, Credential.NOT_MADE, why, text)

    judgement, checks = judged(sequence(BAD, play))
    assert checks["one"].verdict is verdict
    assert checks["one"].required == (verdict is Outcome.INCONCLUSIVE)
    assert "the reason" in checks["one"].message
    assert judgement.fitness.fit


def test_clients_with_bad_tokens_are_no_outage():
    def late(story, ms):
        client("status", status=502, tokens=EXPIRED, done=0)(story, ms + 6000)

    judgement, _ = judged(sequence(BAD, late, n=8))
    assert "service.gone" not in {f.code for f in judgement.findings}
