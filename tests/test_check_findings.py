"""Every finding of the catalogue from a few rows, with what it quotes and what it rests on."""

import pytest

from probe.check.catalogue import CATALOGUE
from probe.check.entries_authentication import AUTHENTICATION
from probe.check.entries_capacity import CAPACITY
from probe.check.entries_delivery import DELIVERY
from probe.check.entries_negotiation import NEGOTIATION
from probe.check.entries_pressure import PRESSURE
from probe.check.entries_race import RACES
from probe.check.entries_spike import SPIKE
from probe.check.judge import judge
from probe.check.verdict import Outcome
from probe.history.records import Run
from tests.delivery_histories import CLASSES
from tests.histories import DIALECT, HERD, LOAD, RESTART, Client, Story

PREFLIGHT = {"pre": {"activity": "preflight", "expect": {"connects": True, "health": True}}}
MATRIX = {"offers": {"activity": "matrix", "expect": {"offers": True}}}
DEFINITE = {"users": {**LOAD, "expect": {"definite": True}}}


def preflight(*ways, **how):
    story = Story(PREFLIGHT).stage().fit().health(5)
    for k in range(3):
        story.client(10 + k, ways[k % len(ways)], **how)
    return story


def matrix(way, *, present=None, other="good", **how):
    """The default presentation, and one more that is shown as `way`."""
    dialect = DIALECT | {"present": DIALECT["present"] | {"other": present or {}}}
    story = Story(MATRIX, dialect=dialect).stage().fit()
    for k in range(3):
        story.client(10 + k, other, population=0)
        story.client(20 + k, way, population=1, **how)
    return story


def users(*ways, expect=None, n=60, **how):
    """`n` clients, of whom the first ones go the given ways and the others are good."""
    stages = {"users": {**LOAD, "expect": expect}} if expect else DEFINITE
    story = Story(stages).stage().fit()
    for k in range(n):
        way = ways[k] if k < len(ways) else "good"
        story.client(100 + k * 20, way, **(how if k < len(ways) else {}))
    return story


def boots(trial_of, expect, n=20):
    story = Story({"boots": {**RESTART, "trials": n, "expect": expect}})
    story.stage(0, 0, 10_000 * (n + 1)).fit()
    for number in range(n):
        zero = 1000 + number * 10_000
        trial_of(story, number, zero)
    return story


def slow(story, number, zero):
    story.trial(number, zero, zero + 9000)
    for k in range(8):
        story.client(zero + k * 1000, "refused" if k < 6 else "good", trial=number, lasts=100)


def never(story, number, zero):
    story.trial(number, zero, zero + 9000, flag=1)
    for k in range(8):
        story.client(zero + k * 1000, "refused", trial=number)
    if number == 0:  # else nobody ever got in, and the target itself is to blame
        story.client(zero + 8500, "good", trial=number, lasts=100)


def lies(story, number, zero):
    story.trial(number, zero, zero + 3000)
    for k in range(40):
        story.health(zero + k * 10, 0 if k < 30 else 1, took=0.5)
    for k in range(100):
        way = "status" if k < 70 else "good"
        story.client(zero + k * 10, way, trial=number, lasts=100)


def left_out(story, number, zero):
    story.trial(number, zero, zero + 9000)
    story.client(zero, "refused", "good", population=HERD, trial=number, lasts=100)
    ways = ("refused",) * 5
    story.client(zero, *ways, population=HERD, trial=number, why="refused")


def of_runs(events, *, flag=1, n=60, **how):
    story = Story({"users": {**LOAD, "expect": {"runs": {"rate": "99%"}}}}).stage().fit()
    for k in range(n):
        story.client(100 + k * 20, "good", runs=(events,), run_flags=(flag,), **how)
    return story


WITHIN = {"within": "5s", "rate": "85%"}
RUNS = ("started", "tool", "completed")
REJECT = {"subprotocols": ["chat.v0"], "expect": "rejected"}
PICKS = {"subprotocols": ["a", "b"], "selects": "a"}
STORIES = {
    "target.refused": (preflight("refused"), "or something in between refuses"),
    "target.unresolvable": (preflight("resolve_failed", detail="Name unknown"), "Name unknown"),
    "target.unreachable": (preflight("unreachable"), "no way to the address"),
    "target.silent": (preflight("no_answer"), "no answer in phase upgrade"),
    "target.tls_unknown_ca": (
        preflight("certificate", detail="self-signed certificate"),
        "self-signed certificate",
    ),
    "target.tls_failed": (preflight("tls_failed", detail="WRONG_VERSION"), "WRONG_VERSION"),
    "target.no_websocket": (preflight("status", status=404, body="<p>no"), '404 with "<p>no"'),
    "target.unauthorized": (preflight("status", status=401, body="bad"), "status 401"),
    "target.unavailable": (preflight("status", status=503), '503 with "starting"'),
    "target.not_http": (preflight("not_http", detail="begins 'SSH'"), "begins 'SSH'"),
    "target.bad_upgrade": (
        preflight("bad_upgrade", violations=4, detail="Accept is wrong"),
        "Accept is wrong",
    ),
    "target.closed_at_once": (preflight("closed"), '1011 (internal error) "service starting"'),
    "target.dropped": (preflight("reset"), "reset in phase upgrade"),
    "target.never_ready": (preflight("hung"), "got a 101, and then no hello"),
    "target.proxy": (preflight("proxy_failed", detail="the proxy: 407"), "407"),
    "target.no_token": (users(), "no token"),
    "target.no_restart": (users(), "no restart"),
    "health.unhealthy": (
        preflight("good").health(30, 0, status=503),
        "unhealthy (HTTP status 503)",
    ),
    "connect.flaky": (
        preflight("good", "good", "status"),
        "2 of 3 attempts at main got in; the others: 1 status 503",
    ),
    "negotiation.accepted_unsupported": (
        matrix("good", present=REJECT, offered="chat.v0", chosen=None),
        "offering chat.v0",
    ),
    "negotiation.rejected_supported": (
        matrix("status", status=400, body="no subprotocol", present=PICKS, offered="a, b"),
        'offering a, b) were rejected with 400 with "no subprotocol"',
    ),
    "negotiation.wrong_selection": (
        matrix("good", present=PICKS, offered="a, b", chosen="b"),
        'got the subprotocol "b", not "a"',
    ),
    "negotiation.none_selected": (
        matrix("good", present=PICKS, offered="a, b", chosen=None),
        "none of the offers chosen",
    ),
    "negotiation.closed_after_accept": (
        matrix("closed", present=REJECT, code=1003, reason="unsupported", offered="chat.v0"),
        '1003 (unsupported data) "unsupported"',
    ),
    "negotiation.no_answer": (matrix("reset", present=REJECT), "neither a yes nor a no"),
    "handshake.violates_rfc": (
        matrix("bad_upgrade", violations=8, detail="subprotocol 'x' was not offered"),
        "subprotocol 'x' was not offered",
    ),
    "session.failed": (
        users(*["status"] * 30, expect={"success": {"rate": "95%"}}, why="status 503"),
        "step 1 (connect): status 503",
    ),
    "latency.over_limit": (
        users(
            *["good"] * 60,
            expect={"latency": [{"phase": "ready", "quantile": "p95", "within": "1s"}]},
            took=1500,
            n=70,
        ),
        "60 of 70 connections took more than 1 s in phase ready",
    ),
    "restart.slow": (boots(slow, {"recovery": WITHIN}), "only after 6 s"),
    "restart.never_ready": (boots(never, {"recovery": WITHIN}), "19 of 20 restarts no client"),
    "restart.health_lies": (
        boots(lies, {"readiness_gap": {"within": "100ms", "rate": "85%"}}),
        "before WebSockets worked",
    ),
    "retry.left_out": (
        boots(left_out, {"everybody_in": {"within": "6s", "rate": "85%"}}),
        "20 of 40 clients never got in",
    ),
    "connect.accepted_then_closed": (
        users("closed", "closed", "good"),
        '2 of 60 connections were accepted (101) and then closed with 1011 (internal error) "serv',
    ),
    "connect.accepted_then_silent": (users("hung"), "1 of 60 connections got a 101 and then"),
    "connect.no_answer": (users("no_answer", took=5000), "got no answer at all for 5 s"),
    "connect.dropped": (users("eof"), "no HTTP answer but a drop of TCP"),
}
META = {
    "target.no_token": {"ended": "aborted", "fault": "auth", "error": "no token: 401"},
    "target.no_restart": {"ended": "aborted", "fault": "restart", "error": "no restart: exit 1"},
}


def test_every_code_of_the_catalogue_has_a_story_somewhere():
    elsewhere = {
        *AUTHENTICATION, *CAPACITY, *DELIVERY, *NEGOTIATION, *PRESSURE, *RACES, *SPIKE,
    }  # fmt: skip
    assert set(STORIES) == set(CATALOGUE) - elsewhere
    assert set(DELIVERY) == set(CLASSES) | {"delivery.unknown"}


@pytest.mark.parametrize("code", sorted(STORIES))
def test_each_finding_is_made_from_what_was_seen(code):
    story, words = STORIES[code]
    judgement = judge(story.history(**META.get(code, {})), story.resolved)
    found = {each.code: each for each in judgement.findings}
    assert code in found, (sorted(found), [c.message for c in judgement.checks])
    one = found[code]
    assert words in one.message
    assert one.cause in CATALOGUE[code].causes.values()
    assert one.severity == CATALOGUE[code].severity
    assert one.count > 0
    assert one.reproduce.startswith("probe run hand")
    check = {c.id: c for c in judgement.checks}[one.check]
    assert check.verdict is Outcome.FAIL, check
    assert judgement.verdict is Outcome.FAIL
    per_case = code not in META and code != "health.unhealthy"
    assert bool(one.witness) == per_case
    assert all(step.what.isprintable() for each in one.witness for step in each.steps)


GOOD = {
    "preflight": preflight("good"),
    "accepted": matrix("good", present=PICKS, offered="a, b", chosen="a"),
    "rejected": matrix("status", present=REJECT, status=400),
    "users": users(expect={"definite": True, "success": {"rate": "90%"}}),
    "runs": of_runs(RUNS, n=320),
    "latency": users(
        expect={"latency": [{"phase": "connect", "quantile": "p95", "within": "1s"}]}, n=70
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_target_passes_the_same_checks_without_a_finding(name):
    story = GOOD[name]
    judgement = judge(story.history(), story.resolved)
    assert judgement.findings == ()
    assert judgement.verdict is Outcome.PASS, [c.message for c in judgement.checks]


def test_one_client_that_got_in_silences_the_diagnosis_of_its_endpoint():
    stages = {"users": {**LOAD, "expect": {"success": {"rate": "50%"}}}}
    for ways in (["refused"] * 4, ["refused"] * 3 + ["good"]):
        story = Story(stages).stage().fit()
        for k, way in enumerate(ways):
            story.client(10 + k, way)
        found = {f.code for f in judge(story.history(), story.resolved).findings}
        assert ("target.refused" in found) == ("good" not in ways)


def test_every_endpoint_is_diagnosed_by_itself():
    story = Story(PREFLIGHT, endpoints=("main", "legacy")).stage().fit().health(5)
    for k in range(3):
        story.client(10 + k, "good", endpoint=0)
        story.client(20 + k, "status", endpoint=1, status=404, body="nothing here")
    judgement = judge(story.history(), story.resolved)
    (only,) = judgement.findings
    assert only.code == "target.no_websocket"
    assert "3 of 3 attempts at legacy (ws://127.0.0.1:8080/legacy)" in only.message
    assert only.witness[0].endpoint == "legacy"


def test_an_endpoint_that_was_never_tried_leaves_the_preflight_open():
    story = Story(PREFLIGHT, endpoints=("main", "legacy")).stage().fit().health(5)
    for k in range(3):
        story.client(10 + k, "good", endpoint=0)
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    assert "legacy not tried" in judgement.reasons[0]


def test_what_our_own_machine_could_not_do_is_never_the_targets_fault():
    story = preflight("local", detail="EMFILE")
    judgement = judge(story.history(), story.resolved)
    assert judgement.findings == ()
    assert judgement.verdict is Outcome.INVALID
    assert "EMFILE" in judgement.reasons[0]


def test_a_service_is_shown_where_it_really_was():
    story = Story(PREFLIGHT, endpoints=("main",)).stage().fit().health(5)
    story.resolved.target["services"] = {"backend": "http://{lab}/health"}
    story.resolved.target["endpoints"] = {"main": "ws://{lab}/main"}
    story.client(10, "good")

    def told():
        parts = judge(story.history(), story.resolved).summary["health"]["pre"]
        return [row["url"] for row in (*parts["services"], *parts["endpoints"])]

    assert told() == ["http://{lab}/health", "ws://{lab}/main"]  # nobody is known to have answered
    story.peer(name="main", url="ws://127.0.0.1:4711/main")
    assert told() == ["http://127.0.0.1:4711/health", "ws://127.0.0.1:4711/main"]
    story.peer(name="backend", url="http://127.0.0.1:4712/health")
    story.rows[-1] = (*story.rows[-1][:4], 1, *story.rows[-1][5:])
    assert told()[0] == "http://127.0.0.1:4712/health"


def test_health_without_a_service_is_not_measured():
    story = Story(PREFLIGHT, services=()).stage().fit()
    for k in range(3):
        story.client(10 + k, "good")
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    assert "declares no services" in judgement.reasons[0]


def test_a_rejection_proves_nothing_where_the_default_is_rejected_too():
    story = matrix("status", present=REJECT, status=401, other="status")
    judgement = judge(story.history(), story.resolved)
    verdicts = {c.id: c for c in judgement.checks}
    assert verdicts["offers.offers.default"].verdict is Outcome.FAIL
    assert verdicts["offers.offers.other"].verdict is Outcome.INCONCLUSIVE
    assert "proves nothing" in verdicts["offers.offers.other"].message


@pytest.mark.parametrize(
    ("chosen", "verdict"),
    [("bearer.xxxxx", Outcome.PASS), ("bearer.xxxx", Outcome.FAIL), ("other", Outcome.FAIL)],
)
def test_a_selection_with_a_token_is_compared_with_the_masked_offer(chosen, verdict):
    present = {"subprotocols": ["bearer.{token}"], "selects": "bearer.{token}"}
    story = matrix("good", present=present, offered="bearer.xxxxx", chosen=chosen)
    judgement = judge(story.history(), story.resolved)
    assert {c.id: c.verdict for c in judgement.checks}["offers.offers.other"] is verdict


def test_none_selected_is_only_told_where_the_dialect_promises_nothing():
    present = {"subprotocols": ["a", "b"]}
    story = matrix("good", present=present, offered="a, b", chosen=None)
    judgement = judge(story.history(), story.resolved)
    (only,) = judgement.findings
    assert (only.code, only.severity) == ("negotiation.none_selected", "info")
    assert judgement.verdict is Outcome.PASS


def test_a_handshake_that_breaks_the_rfc_fails_any_stage():
    story = users("bad_upgrade", expect={"success": {"rate": "50%"}}, violations=4, detail="bad")
    judgement = judge(story.history(), story.resolved)
    assert {c.id: c.verdict for c in judgement.checks}["users.handshake"] is Outcome.FAIL
    assert "1 of 60 answers" in judgement.findings[0].message


def test_a_close_in_the_first_second_counts_and_a_later_one_does_not():
    for lasts, verdict in ((900, Outcome.FAIL), (1100, Outcome.PASS)):
        story = users("closed_late", lasts=lasts)
        judged = {c.id: c for c in judge(story.history(), story.resolved).checks}
        assert judged["users.definite.accepted_then_closed"].verdict is verdict


def test_definite_refusals_are_no_finding():
    story = users("refused", "status")
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.PASS
    assert "0 of 60 connections" in judgement.checks[0].message
    assert "at most 4.9 %" in judgement.checks[0].message


def test_an_absence_over_a_journal_with_gaps_is_inconclusive():
    story = users()
    story.row(50, 9, a=12)
    judgement = judge(story.history(), story.resolved)
    assert judgement.verdict is Outcome.INCONCLUSIVE
    assert "12 rows of the journal were lost" in judgement.checks[0].message


def test_connections_that_the_next_restart_ended_are_not_held_against_the_target():
    def cut(story, number, zero):
        story.trial(number, zero, zero + 9000)
        story.client(zero + 9500, "closed_late", trial=number, lasts=900)

    story = boots(cut, {"definite": True}, n=3)
    checks = {c.id: c for c in judge(story.history(), story.resolved).checks}
    closed = checks["boots.definite.accepted_then_closed"]
    assert (closed.verdict, closed.n) == (Outcome.FAIL, 1)
    assert closed.message.startswith("1 of 1 connection ")


def test_the_cause_says_booting_where_the_cases_came_before_anybody_got_in():
    def booting(story, number, zero):
        story.trial(number, zero, zero + 3000)
        story.client(zero + 100, "closed", trial=number)
        story.client(zero + 500, "good", trial=number, lasts=100)

    story = boots(booting, {"definite": True}, n=3)
    (only,) = judge(story.history(), story.resolved).findings
    assert only.cause == CATALOGUE["connect.accepted_then_closed"].causes["boot"]
    assert only.reproduce == "probe run hand --seed 7 --restarts 3"
    late = users("closed")
    (only,) = judge(late.history(), late.resolved).findings
    assert only.cause == CATALOGUE["connect.accepted_then_closed"].causes[""]


def test_a_witness_quotes_the_wire_in_order_and_escapes_what_is_not_printable():
    story = users("closed", reason="be\x1b[31m gone")
    (only,) = judge(story.history(), story.resolved).findings
    (case,) = only.witness
    said = [(step.who, step.what) for step in case.steps]
    assert said == [
        ("probe", "dial 127.0.0.1:8080"),
        ("note", "TCP is up, from local port 40000"),
        ("probe", "GET /ws HTTP/1.1 | Sec-WebSocket-Protocol: jwt-auth, jwt.xxxxx"),
        ("server", "HTTP/1.1 101 Switching Protocols | Sec-WebSocket-Protocol: jwt-auth"),
        ("server", 'close 1011 (internal error) "be\\x1b[31m gone"'),
        ("note", "ended: closed in phase open"),
    ]
    assert [step.at_s for step in case.steps] == sorted(step.at_s for step in case.steps)
    assert case.began == "2023-11-14T22:13:20.100100+00:00"


def test_an_endpoint_that_lets_some_in_is_flaky_and_nothing_more():
    story, _ = STORIES["connect.flaky"]
    judgement = judge(story.history(), story.resolved)
    assert [each.code for each in judgement.findings] == ["connect.flaky"]


RUN_ENDS = {
    "run.hung": (("started",), Run.GIVEN_UP, 20_000, Outcome.FAIL),
    "delivery.lost": (("started", "completed"), Run.ENDED, 2000, Outcome.FAIL),
    "delivery.duplicated": ((*RUNS, "tool"), Run.ENDED, 2000, Outcome.FAIL),
    "delivery.reordered": (("started", "completed", "tool"), Run.ENDED, 2000, Outcome.FAIL),
    "": (("started",), Run.CUT_OFF, 2000, Outcome.INCONCLUSIVE),
}


@pytest.mark.parametrize("code", RUN_ENDS)
def test_where_only_runs_are_asked_for_sessions_are_counted_and_classes_told(code):
    events, flag, lasts, verdict = RUN_ENDS[code]
    story = of_runs(events, flag=flag, lasts=lasts, n=20)
    for session in range(20):
        story.settle(Client(session), 100 + session * 20 + lasts - 2)
    judgement = judge(story.history(), story.resolved)
    (check,) = [c for c in judgement.checks if c.id == "users.runs"]
    assert (check.verdict, check.n) == (verdict, 20)
    assert "0 of 20 sessions" in check.message
    assert [f.code for f in judgement.findings] == ([code] if code else [])
    assert {f.check for f in judgement.findings} <= {"users.runs"}


@pytest.mark.parametrize("before", ["good", "refused"])
def test_a_stage_in_which_nobody_got_in_is_not_the_targets_fault_if_an_earlier_one_did(before):
    story = Story({**PREFLIGHT, **DEFINITE}).stage(0, 0, 100).stage(1, 100).fit().health(5)
    for k in range(3):
        story.client(10 + k, before, lasts=5)
        story.client(200 + k, "refused", population=1)
    found = {c.id: c.verdict for c in judge(story.history(), story.resolved).checks}
    assert found.get("users.target") is (None if before == "good" else Outcome.FAIL)


@pytest.mark.parametrize(
    ("code", "source", "named"),
    [(4401, "mint", True), (4403, "mint", True), (1008, "env", True), (1008, "none", False),
     (1011, "mint", False), (4000, "mint", False)],
)  # fmt: skip
def test_a_close_that_says_no_entry_names_the_token_first(code, source, named):
    story = preflight("closed", code=code, reason="no")
    story.resolved.target["auth"] = {"source": source}
    (found,) = judge(story.history(), story.resolved).findings
    assert found.code == "target.closed_at_once"
    assert found.cause.startswith("the token is not accepted") == named
