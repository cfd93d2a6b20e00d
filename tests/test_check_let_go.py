"""What gates let go, known by rows alone: the same as by the steps, where the steps are stored."""

import pytest

from probe.check.race_acting import ANSWERED, HANDSHAKE, ITSELF
from probe.history.records import Credential, Kind, Put
from tests.test_check_race_acting import CONNECT, EDGE, race_of, story_of, swept

MS = 1_000_000
NAMED = {"script": "python:m:play", "gates": ["0ms"]}
SWEPT = {"script": "python:m:play", "gates": ["swept"]}


def behind(do):
    """A swept actor that connects and then does this at its gate."""
    return {"script": [{"do": "connect"}, {"do": "gate", "offset": "swept"}, {"do": do}]}


def acting(actors, *lefts):
    """The figures of a race whose swept actors left such rows, in turn: (kind, flag, after ns)."""
    first, second = actors
    story = story_of(swept(lambda x: x < EDGE), first=first, swept=second)
    whose = {row[1]: row[5] for row in story.rows if row[3] == Kind.INTENDED}
    acts = [row for row in story.rows if row[3] == Kind.ACTION and whose[row[1]] == 1]
    for number, (stamp, session, *_) in enumerate(acts):
        kind, flag, after_ns = lefts[number % len(lefts)]
        story.rows.append((stamp + after_ns, session, 0, kind, flag, 0, 0))
    return race_of(story)[0]["acting"], len(acts)


@pytest.mark.parametrize(
    ("do", "kind", "flag", "after_ns"),
    [
        ("settle", Kind.PUT, Put.SENTINEL, 0),
        ("refresh", Kind.PUT, Put.REFRESH, 0),
        ("run", Kind.PUT, Put.START, 0),
        ("flood", Kind.PUT, Put.FLOOD, 40),
        ("ping", Kind.PING, 0, 40_000),
        ("close", Kind.CLOSE, 0, 40_000),
        ("vanish", Kind.VANISH, 0, 40_000),
        ("connect", Kind.SENT, 0, 0),
        ("revoke", Kind.CREDENTIAL, Credential.REVOKED, 0),
        ("logout", Kind.CREDENTIAL, Credential.LOGGED_OUT, 0),
    ],
)
def test_an_action_in_python_is_known_by_its_row(do, kind, flag, after_ns):
    row = (kind, flag, after_ns)
    stored = behind("settle") if do == "flood" else behind(do)
    by_steps, _ = acting((CONNECT, stored), row)
    by_rows, _ = acting((NAMED, SWEPT), row)
    assert by_rows == by_steps


def test_the_rows_tell_actions_apart():
    settled, n = acting((NAMED, SWEPT), (Kind.PUT, Put.SENTINEL, 0))
    assert settled["swept"]["by"] == ANSWERED
    assert settled["swept"]["most_s"] == pytest.approx(0.003, abs=1e-6)
    assert 0 < settled["swept"]["n"] < n  # what went wrong was not answered
    asked, _ = acting((NAMED, SWEPT), (Kind.CREDENTIAL, Credential.REVOKED, 0))
    assert asked["swept"] == {"most_s": 0.0, "n": 0, "by": ITSELF}
    gone, _ = acting((NAMED, SWEPT), (Kind.VANISH, 0, 40_000))
    assert (gone["swept"]["n"], gone["swept"]["by"]) == (0, HANDSHAKE)


def test_a_branch_that_does_something_else_counts_for_itself():
    rows = ((Kind.PUT, Put.SENTINEL, 0), (Kind.CREDENTIAL, Credential.LOGGED_OUT, 0))
    one, _ = acting((NAMED, SWEPT), rows[0])
    both, n = acting((NAMED, SWEPT), *rows)
    # The answer of a request is the action itself: nothing is added for those, and all count.
    assert both["swept"]["by"] == ANSWERED
    assert n // 2 < both["swept"]["n"] < n // 2 + one["swept"]["n"]
