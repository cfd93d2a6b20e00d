"""Histories of about ten rows for every class of delivery; see `histories`.

`CLASSES` holds for each class a story in which it is planted once and nothing else is, with
the words of the finding that tells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probe.history.records import Odd, Run
from tests.histories import DIALECT, LOAD, Client, Story

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = ("started", "thinking", "tool", "completed")
NUMBERED: dict[str, Any] = DIALECT | {
    "run": {
        "start": '{"run":"{run}","n":{size}}',
        "events": ["started", {"type": "thinking", "times": "1..*"}, "tool", "completed"],
        "within": "10s",
        "quiet": "5s",
    },
    "paths": {"sequence": "sequence", "cursor": "cursor", "thread": "thread_id", "user": "user_id"},
    "contract": {"shapes": {"flat": "", "nested": "payload", "data": "data"}},
    "promises": {"numbered": True, "recipients": "user"},
    "replay": {"request": '{"resume":"{cursor}"}', "answer": "resumed"},
    "sentinel": {"send": '{"n":"{n}"}', "event": "pong"},
}
BARE: dict[str, Any] = NUMBERED | {"promises": {"numbered": False, "recipients": "session"}}
WHOLE = ("started:1", "thinking:2", "tool:3", "completed:4")
ALL: dict[str, Any] = {
    "delivery": {}, "replay": True, "broadcast": True, "isolation": True, "contract": True,
}  # fmt: skip
DELIVERY: dict[str, Any] = {"delivery": {}}
REPLAY: dict[str, Any] = {"delivery": {}, "replay": True}
BROADCAST: dict[str, Any] = {"delivery": {}, "broadcast": True}
ISOLATION: dict[str, Any] = {"delivery": {}, "isolation": True}
CONTRACT: dict[str, Any] = {"delivery": {}, "contract": True}


def story_of(
    expect: dict[str, Any] = DELIVERY, dialect: dict[str, Any] = NUMBERED, **how: Any
) -> Story:
    """A load stage of two minutes, held to `expect`, with a probe that was fit."""
    stages = {"users": {**LOAD, "expect": expect}}
    return Story(stages, dialect=dialect, **how).stage(end=120_000).fit()


def whole(story: Story, client: Client, ms: float, *, size: int = 1, settle: bool = True) -> int:
    """A run of which everything came, and a sentinel after it."""
    events = ("started", *("thinking",) * size, "tool", "completed")
    key = story.run(client, ms, *events, size=size, numbered=story.dialect.promises.numbered)
    if settle:
        story.settle(client, ms + 100)
    return key


def one(*events: str, end: int = Run.ENDED, until: float = 500, size: int = 1, **how: Any) -> Story:
    """One client with one run that got these events, then a sentinel and a close."""
    story = story_of(**how)
    client = story.open(100)
    story.run(client, 200, *events, end=end, size=size)
    story.settle(client, until)
    story.close(client, until + 100)
    return story


def clean(expect: dict[str, Any] = ALL, dialect: dict[str, Any] = NUMBERED) -> Story:
    """Everything that a stage may be held to, and nothing wrong with it."""
    story = story_of(expect, dialect)
    first, second, other = story.open(100, user=0), story.open(110, user=0), story.open(120)
    for k, client in enumerate((first, other)):
        key = whole(story, client, 200 + k * 300, size=2)
        if client is first and story.dialect.promises.recipients == "user":
            for n, event in enumerate(("started", "thinking", "thinking", "tool", "completed")):
                story.got(second, 201.5 + n, event, key, n + 1)
    story.settle(second, 800)
    key = story.begin(other, 900)
    story.got(other, 901, "started", key, 1)
    story.vanish(other, 902)
    story.again(other, 1000)
    story.got(other, 1000.5, "resumed")
    for n, event in enumerate(EVENTS[1:]):
        story.got(other, 1001 + n, event, key, n + 2)
    story.over(other, 1003, key)
    story.settle(other, 1100)
    for client in (first, second, other):
        story.close(client, 1500 + client.session)
    return story


def gap(*after: str, before: tuple[str, ...] = ("started:1",), ended: bool = True) -> Story:
    """A run during which its session was away, with what came before and after."""
    story = story_of(REPLAY)
    client = story.open(100)
    key = story.run(client, 200, *before, end=0, size=3)
    story.vanish(client, 300)
    story.again(client, 400)
    for k, event in enumerate(after):
        name, _, number = event.partition(":")
        story.got(client, 401 + k, name, key, int(number))
    story.over(client, 420 if ended else 20_000, key, Run.ENDED if ended else Run.GIVEN_UP)
    story.settle(client, 500 if ended else 20_001)
    story.close(client, 20_100)
    return story


def strangers(recipients: str, *, same: bool) -> Story:
    """A second client that gets an event of the first one's run."""
    dialect = NUMBERED | {"promises": {"numbered": True, "recipients": recipients}}
    story = story_of(ISOLATION, dialect)
    first = story.open(100, user=0)
    second = story.open(110, user=0 if same else 1)
    key = whole(story, first, 200)
    if not same:
        whole(story, second, 205)
    else:
        third = story.open(120, user=2)
        whole(story, third, 300)
        story.close(third, 980)
    story.got(second, 240, "thinking", key, 2)
    story.close(first, 1000)
    story.close(second, 1010)
    return story


def broadcast(*got: str) -> Story:
    """A user with two connections, of which the second gets these events of the first's run."""
    story = story_of(BROADCAST)
    first, second = story.open(100, user=0), story.open(110, user=0)
    key = whole(story, first, 200)
    for k, event in enumerate(got):
        name, _, number = event.partition(":")
        story.got(second, 201.5 + k, name, key, int(number))
    story.settle(second, 300)
    story.close(first, 1000)
    story.close(second, 1010)
    return story


def odd(*cases: tuple[Odd, str, str]) -> Story:
    """A whole run some of whose events were odd."""
    story = story_of(CONTRACT)
    client = story.open(100)
    key = story.begin(client, 200)
    for n, event in enumerate(EVENTS):
        story.got(client, 201 + n, event, key, n + 1)
        for what, name, said in cases:
            if name == event:
                story.odd(client, 201 + n, what, event, said)
    story.over(client, 204, key)
    story.settle(client, 300)
    story.close(client, 400)
    return story


def refused() -> Story:
    """A run that was refused and is carried out all the same."""
    story = story_of()
    client = story.open(100)
    key = story.begin(client, 200)
    story.over(client, 201, key, Run.REFUSED)
    story.got(client, 202, "started", key, 1)
    whole(story, client, 300)
    story.close(client, 1000)
    return story


def late() -> Story:
    """A run whose end came after its deadline."""
    story = story_of()
    client = story.open(100)
    key = story.run(client, 200, *WHOLE[:-1], end=0)
    story.got(client, 11_200, "completed", key, 4)
    story.over(client, 11_200, key)
    story.settle(client, 11_300)
    story.close(client, 11_400)
    return story


UNTIL = 15_000  # past the deadline of a run and the longest silence
CLASSES: dict[str, tuple[Callable[[], Story], str]] = {
    "delivery.lost": (
        lambda: one("started:1", "thinking:2", "completed:4"),
        "tool was lost in 1 of 1 run (100 %): the runs went on and ended without it",
    ),
    "delivery.duplicated": (
        lambda: one("started:1", "thinking:2", "thinking:2", "tool:3", "completed:4"),
        "thinking came more than once in 1 of 1 run",
    ),
    "delivery.reordered": (
        lambda: one("started:1", "tool:3", "thinking:2", "completed:4"),
        "thinking came after an event that it comes before in 1 of 1 run",
    ),
    "delivery.numbers": (
        lambda: one("started:1", "thinking:2", "tool:2", "completed:3"),
        "tool (1) had the number of an event of another type: in 1 of 1 run (100 %)",
    ),
    "delivery.late": (
        late,
        "completed came later than 10 s after the start of the run, the latest after 11 s",
    ),
    "delivery.unexpected": (
        lambda: one(*WHOLE, "thinking:5"),
        "thinking (1) came after the end of 1 of 1 run",
    ),
    "delivery.phantom": (refused, "1 of 1 refused run was carried out all the same: 1 event"),
    "run.hung": (
        lambda: one("started:1", "thinking:2", end=Run.GIVEN_UP, until=UNTIL),
        "1 of 1 run (100 %) hung: nothing came after thinking for 5 s and past 10 s",
    ),
    "replay.lost": (
        lambda: gap("thinking:2", "thinking:4", "tool:5", "completed:6"),
        "after 1 of 1 reconnect (100 %) 1 event of what had been missed did not come",
    ),
    "replay.none": (
        lambda: gap("tool:5", "completed:6"),
        "after 1 of 1 reconnect (100 %) nothing came of what had been missed: 3 events",
    ),
    "broadcast.missed": (
        broadcast,
        "1 of 1 recipient (100 %) got no event of a run of their own user",
    ),
    "isolation.foreign": (
        lambda: strangers("user", same=False),
        "an event of user 0 (thinking of run 0 of session 0) reached user 1",
    ),
    "contract.malformed": (lambda: odd((Odd.MALFORMED, "tool", "not JSON")), "most often not JSON"),
    "contract.missing_field": (
        lambda: odd((Odd.MISSING, "tool", "tool.results: missing")),
        "1 message lacked a required field, most often tool.results: missing; tool 1 of 1 (100 %)",
    ),
    "contract.wrong_type": (lambda: odd((Odd.TYPE, "tool", "tool.took: a text")), "tool.took"),
    "contract.wrong_value": (lambda: odd((Odd.VALUE, "tool", "tool.took: below 0")), "below 0"),
    "contract.unknown_type": (lambda: odd((Odd.UNKNOWN, "tool", "note")), "does not know"),
    "contract.ids_disagree": (
        lambda: odd((Odd.IDS, "tool", "thread_id: 'a', before 'b'")),
        "most often thread_id: 'a', before 'b'",
    ),
    "contract.shape.nested": (
        lambda: odd((Odd.SHAPE, "tool", "nested"), (Odd.SHAPE, "completed", "nested")),
        "2 messages came in the shape nested, not flat",
    ),
    "contract.shape.data": (lambda: odd((Odd.SHAPE, "tool", "data")), "in the shape data"),
    "contract.shape.flat": (lambda: odd((Odd.SHAPE, "tool", "flat")), "in the shape flat"),
    "contract.shape.mixed": (
        lambda: odd((Odd.SHAPE, "tool", "nested"), (Odd.SHAPE, "completed", "data")),
        "in the shape data or nested, not flat",
    ),
}
