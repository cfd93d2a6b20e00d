"""Isolation: what counts as another's, what is told of it, and when nothing can be said."""

import pytest

from probe.check.verdict import Outcome
from probe.history.records import Credential, Kind, identity_mark, run_key
from tests.delivery_histories import ISOLATION, NUMBERED, story_of, whole
from tests.test_check_delivery_classes import judged


def two(**how):
    """Two users with a run each, still connected."""
    story = story_of(ISOLATION, **how)
    first, second = story.open(100), story.open(110)
    for client in (first, second):
        whole(story, client, 200 + 5 * client.session)
    return story, first, second


def told(story):
    judgement = judged(story)
    (check,) = [each for each in judgement.checks if each.id == "users.isolation"]
    return check, [each for each in judgement.findings if each.code == "isolation.foreign"]


@pytest.mark.parametrize(
    ("flag", "words"),
    [(1, "a message for user 0 (a message of another type)"), (2, "the token of user 0 (")],
)
def test_another_of_our_users_is_told_by_its_number(flag, words):
    story, first, second = two()
    story.got(second, 240, "note")
    story.row(240, Kind.FOREIGN, second.session, second.op, flag, 0, identity_mark(0))
    for client in (first, second):
        story.close(client, 1000 + client.session)
    check, (only,) = told(story)
    assert only.message.startswith(words)
    assert "reached user 1 (1 of 9 messages that named" in only.message
    assert (check.verdict, only.count) == (Outcome.FAIL, 1)


@pytest.mark.parametrize(
    ("flag", "before_ms", "foreign"),
    [
        (2, -5, False),  # our own token comes back
        (2, 100, False),  # the same, shown on the open connection
        (1, -5, False),  # the connection is that user's
        (1, 100, True),  # it is not: the token came later
        (2, 200, True),  # nobody has shown it yet
    ],
)
def test_a_user_whose_token_the_client_showed_itself_is_no_stranger(flag, before_ms, foreign):
    story, first, second = two()
    text = story.text("another_user")
    at = 110 + before_ms
    story.row(at, Kind.CREDENTIAL, second.session, second.op, Credential.SHOWN, text)
    story.got(second, 240, "note")
    story.row(240, Kind.FOREIGN, second.session, second.op, flag, 0, identity_mark(1_000_000_001))
    for client in (first, second):
        story.close(client, 1000 + client.session)
    check, found = told(story)
    assert bool(found) == foreign
    assert check.verdict is (Outcome.FAIL if foreign else Outcome.PASS)


def test_the_reason_of_a_close_counts_as_a_message_of_its_own():
    story, first, second = two()
    for client in (first, second):
        story.close(client, 1000 + client.session)
    story.row(1001, Kind.CLOSE, second.session, second.op, 1, 4000, story.text("run 0"))
    story.row(1001, Kind.FOREIGN, second.session, second.op, 0, 0, run_key(0, 0))
    check, (only,) = told(story)
    assert only.message.startswith("an event of user 0 (the reason of a Close of run 0 of session")
    assert (check.verdict, only.count, check.n) == (Outcome.FAIL, 1, 9)
    lines = [step.what for each in only.witness for step in each.steps]
    assert "names run 0 of session 0, which is another's" in lines


@pytest.mark.parametrize("alien", [False, True])
def test_where_the_service_names_the_runs_a_pass_says_where_it_looked(alien):
    run = NUMBERED["run"] | {"start": '{"go":{size}}'}
    story, first, second = two(dialect=NUMBERED | {"run": run})
    if alien:
        story.got(second, 240, "thinking", -2, 2)
    for client in (first, second):
        story.close(client, 1000 + client.session)
    check, found = told(story)
    assert not found
    assert check.verdict is (Outcome.INCONCLUSIVE if alien else Outcome.PASS)
    words = "was of a run that no session knows" if alien else "the service names the runs"
    assert words in check.message


@pytest.mark.parametrize("leak", [False, True])
def test_what_names_nobody_does_not_make_the_bound_smaller(leak):
    """Acknowledgements and pongs could not have shown a stranger."""
    story, first, second = two()
    for at in range(300, 400):
        story.got(second, at, "note")
    if leak:
        story.got(second, 410, "note")
        story.row(410, Kind.FOREIGN, second.session, second.op, 1, 0, identity_mark(0))
    for client in (first, second):
        story.close(client, 1000 + client.session)
    check, found = told(story)
    assert check.n == (9 if leak else 8)
    assert check.message.startswith(f"{int(leak)} of {check.n} messages that named a run or")
    assert len(found) == leak
