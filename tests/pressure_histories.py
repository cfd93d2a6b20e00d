"""Small histories of clients under strain, as the engine writes them; see `histories`.

`STORIES` holds for each finding a history in which it is made, and words of its message.
Findings of `BARE` quote no connection.
"""

from __future__ import annotations

import json
from typing import Any

from probe.history.records import Kind, Put, Run, run_key
from tests.histories import LOAD, Story, ns

DIALECT: dict[str, Any] = {
    "title": "by hand",
    "present": {"default": {"subprotocols": ["jwt-auth", "jwt.{token}"], "selects": "jwt-auth"}},
    "ready": {"event": "hello", "within": "5s"},
    "run": {
        "start": '{"run_id":"{run}","thoughts":{size},"pad":"{pad}"}',
        "events": ["started", {"type": "thinking", "times": "1..*"}, "completed"],
        "within": "10s",
    },
    "promises": {"queue": 100},
    "sentinel": {"send": '{"type":"ping","id":"{n}"}', "event": "pong"},
    "limited": "rate_limited",
    "dropped": "events_dropped",
    "accepts_max": "64KiB",
}
KIB = 1024
FLOOD_FROM = 1_000_000_000
BARE = {"health.degraded", "health.slow", "drift.larger"}


def strained(expect: dict[str, Any], *, dialect: dict[str, Any] | None = None, **how: Any) -> Story:
    """A load stage that is held to `expect`, with a probe that was fit."""
    stages = {"users": {**LOAD, "expect": expect}}
    return Story(stages, dialect=DIALECT | (dialect or {}), **how).stage().fit()


def got(story: Story, session: int, ms: float, event: str, *, key: int = -1, a: int = 0) -> None:
    """One message that came."""
    flag = story.dialect.types.index(event) + 1
    story.row(ms, Kind.GOT, session, 0, flag, a, key)


def run(
    story: Story, session: int, ms: float, *, number: int = 0, size: int = 1, lost: int = 0,
    took: float = 10, how: Run | None = Run.ENDED, more: int = 0, numbered: bool = True,
) -> int:  # fmt: skip
    """One run, of which the last `lost` events do not come and `more` come too often; its key."""
    key = run_key(session, number)
    story.row(ms, Kind.RUN, session, 0, Run.BEGUN, size, key)
    story.row(ms, Kind.PUT, session, 0, Put.START, 60, key)
    events = ["started", *["thinking"] * (size + more), "completed"]
    for k, event in enumerate(events[: len(events) - lost] if lost else events):
        at = ms + took * (k + 1) / len(events)
        got(story, session, at, event, key=key, a=k + 1 if numbered else 0)
    if how is not None:
        story.row(ms + took, Kind.RUN, session, 0, how, len(events) - lost, key)
    return key


def sentinel(story: Story, session: int, ms: float, number: int, *, back: float | None = 1) -> None:
    """A sentinel that came back `back` ms later; None: never."""
    story.row(ms, Kind.PUT, session, 0, Put.SENTINEL, 30, -1)
    story.row(ms, Kind.SENTINEL, session, 0, 0, 0, number)
    if back is not None:
        got(story, session, ms + back, "pong")
        story.row(ms + back, Kind.SENTINEL, session, 0, 1, 0, number)


def closed(story: Story, session: int, code: int, reason: str = "") -> None:
    """The Close that ended the last connection of a session."""
    ends = [row for row in story.rows if row[1] == session and row[3] == Kind.END]
    story.row((ends[-1][0] - ns(0)) / 1e6, Kind.CLOSE, session, 0, 1, code, story.text(reason))


def squeeze(
    story: Story, session: int, ms: float, number: int, size: int, *, lost: int = 0,
    told: bool = True, back: float | None = 20, numbered: bool = True,
) -> None:  # fmt: skip
    """One trial of a slow reader: 200 ms without reading, then everything at once."""
    story.row(ms, Kind.STALL, session, 0, 0)
    story.row(ms + 200, Kind.STALL, session, 0, 1)
    key = run_key(session, number)
    story.row(ms + 1, Kind.RUN, session, 0, Run.BEGUN, size, key)
    story.row(ms + 1, Kind.PUT, session, 0, Put.START, 60, key)
    events = ["started", *["thinking"] * size, "completed"]
    for k, event in enumerate(events[: len(events) - lost] if lost else events):
        got(story, session, ms + 201, event, key=key, a=k + 1 if numbered else 0)
    if lost and told:
        got(story, session, ms + 202, "events_dropped")
    if lost:
        story.row(ms + 230, Kind.RUN, session, 0, Run.GIVEN_UP, len(events) - lost, key)
    else:
        story.row(ms + 201, Kind.RUN, session, 0, Run.ENDED, len(events), key)
    sentinel(story, session, ms + 200, number + 1, back=back)


def squeezed(
    *sizes: int, queue: int = 120, told: bool = True, repeats: int = 1, back: float | None = 20,
    promised: int | None = 100, numbered: bool = True,
) -> Story:  # fmt: skip
    """A client that tries sizes at a service whose queue holds so many events."""
    story = strained(
        {"pressure": True}, dialect={"promises": {"queue": promised} if promised else {}}
    )
    session = story.client(100, "good", lasts=500 * len(sizes) * repeats + 1000)
    tries = [size for size in sizes for _ in range(repeats)]
    for number, size in enumerate(tries):
        lost = max(size + 2 - queue, 0)
        squeeze(
            story, session, 200 + 500 * number, number, size,
            lost=lost, told=told, back=back, numbered=numbered,
        )  # fmt: skip
    return story


def flood(
    story: Story, session: int, ms: float, count: int, answered: int, limited: int
) -> None:  # fmt: skip
    """`count` sentinels at once; the answers come within the next 100 ms."""
    for k in range(count):
        story.row(ms + k * 0.01, Kind.PUT, session, 0, Put.FLOOD, 30, -1)
    for k in range(answered):
        got(story, session, ms + 20 + k * 0.1, "pong")
        story.row(ms + 20 + k * 0.1, Kind.SENTINEL, session, 0, 1, 0, FLOOD_FROM + k)
    for k in range(limited):
        got(story, session, ms + 21 + k * 0.1, "rate_limited")


def flooded(
    *, answered: int = 60, limited: int = 40, again: bool = True, others: int = 5,
    hit: bool = False, way: str = "good",
) -> Story:  # fmt: skip
    """One client that sends 100 messages at once, and others that send three in that time."""
    story = strained({"rate_limit": True})
    session = story.client(100, way, lasts=5000 if way == "good" else 450)
    if way == "closed_late":
        closed(story, session, 1008, "slow down")
    flood(story, session, 500, 100, answered, limited)
    if way == "good":
        sentinel(story, session, 4000, 1, back=1 if again else None)
    for k in range(others):
        other = story.client(100 + k, "good", lasts=5000)
        for number, at in enumerate((400, 520, 700)):
            limit = hit and number == 1
            sentinel(story, other, at + k, number, back=None if limit else 1)
            if limit:
                got(story, other, at + k + 1, "rate_limited")
    return story


def large(story: Story, session: int, ms: float, size: int, *, back: float | None) -> None:
    """A large sentinel."""
    story.row(ms, Kind.PUT, session, 0, Put.LARGE, size, -1)
    story.row(ms, Kind.SENTINEL, session, 0, 0, 0, 7)
    if back is not None:
        got(story, session, ms + back, "pong")
        story.row(ms + back, Kind.SENTINEL, session, 0, 1, 0, 7)


def enlarged(*cases: tuple[int, str]) -> Story:
    """One client a case: a size, and `taken`, `silent`, or how the connection ends at once."""
    story = strained({"large": True})
    for k, (size, fate) in enumerate(cases):
        ways = {"closed": "closed_late", "other": "closed_late", "dropped": "dropped_late"}
        ends = fate in ways
        session = story.client(
            100 + k,
            ways.get(fate, "good"),
            lasts=1200 if ends else 8000,
        )
        if ways.get(fate) == "closed_late":
            closed(story, session, 1009 if fate == "closed" else 1011)
        large(story, session, 1200 + k, size, back=5 if fate == "taken" else None)
    return story


def torn(story: Story, kind: Kind, count: int, **having: int) -> Story:
    """The same whose journal dropped the first `count` rows of one kind (and these fields)."""
    places = {"flag": 4, "a": 5, "b": 6}
    gone = [
        row
        for row in story.rows
        if row[3] == kind and all(row[places[name]] == value for name, value in having.items())
    ][:count]
    assert len(gone) == count
    for row in gone:
        story.rows.remove(row)
    story.row(60, Kind.GAP, a=count, b=ns(60))
    return story


def pinged(*answers: float | None, lasts: float = 20_000, way: str = "good", n: int = 3) -> Story:
    """`n` clients that ping once a second; each answer is so many ms later, or never."""
    story = strained({"pings": True})
    for k in range(n):
        session = story.client(100 + k, way, lasts=lasts)
        for number, after in enumerate(answers):
            at = 1000 + 1000 * number + k
            story.row(at, Kind.PING, session, 0, b=number)
            if after is not None:
                story.row(at + after, Kind.PONG, session, 0, b=number)
    return story


def stayed(*ways: str, n: int = 40, midrun: bool = False, **how: Any) -> Story:
    """Clients that stay for 2 s, of whom the first ones go the given ways."""
    story = strained({"stays": True})
    for k in range(n):
        way = ways[k] if k < len(ways) else "good"
        session = story.client(100 + k * 20, way, **(how if k < len(ways) else {}))
        if way == "closed_late":
            closed(story, session, 1011, "service starting")
        open_ = midrun and k < len(ways)
        run(
            story, session, 200 + k * 20, lost=1 if open_ else 0,
            how=Run.CUT_OFF if open_ else Run.ENDED,
        )  # fmt: skip
    return story


def outage(
    way: str = "refused", *, held: int = 10, before: int = 10, after: int = 10, **how: Any
) -> Story:
    """A service that goes at 3 s: it drops `held` clients, and nobody gets in from then on."""
    story = strained({"success": {"rate": "10%"}})
    for k in range(before):
        story.client(100 + k * 50, "good", lasts=300)
    for k in range(held):
        at = 1000 + k * 10
        story.client(at, "dropped_late", took=5, lasts=3000 - at - 5.1)
    for k in range(after):
        story.client(3100 + k * 200, way, **how)
    return story


def side_by_side(
    *odd: int, n: int = 30, endpoints: tuple[str, ...] = ("main", "factory", "legacy"),
    size: int = 1, **how: Any,
) -> Story:  # fmt: skip
    """`n` clients at each endpoint; those numbered in `odd` at the last one differ by `how`."""
    story = strained({"modes": True}, endpoints=endpoints)
    for k in range(n):
        for index, _ in enumerate(endpoints):
            at = 100 + k * 30 + index * 10
            differs = index == len(endpoints) - 1 and k in odd
            way = how.get("way", "good") if differs else "good"
            chosen = how.get("chosen", "jwt-auth") if differs else "jwt-auth"
            session = story.client(at, way, endpoint=index, chosen=chosen)
            if way == "good":
                run(story, session, at + 20, size=size, more=how.get("more", 0) if differs else 0)
    return story


def drifting(*, last: float = 1.0, n: int = 90, expect: dict[str, Any] | None = None) -> Story:
    """Runs of 50 ms, in the last third `last` times as long; memory likewise."""
    story = strained({"drift": expect or {}})
    for k in range(n):
        slow = last if k >= 2 * n // 3 else 1.0
        session = story.client(100 + k * 300, "good", lasts=1500)
        run(story, session, 200 + k * 300, took=(50 + k % 7) * slow)
    return story


def heavier(*, last: float = 1.0, n: int = 90) -> Story:
    """The same with what health tells of memory, whose last third is `last` times as much."""
    story = drifting(n=n)
    for k in range(n):
        more = last if k >= 2 * n // 3 else 1.0
        story.health(100 + k * 300)
        told(story, 101 + k * 300, memory_bytes=int((40 + k % 3) * more * (1 << 20)))
    return story


def told(
    story: Story, ms: float, *, service: int = 0, flag: int = 1, status: int = 200, **what: Any
) -> None:
    """What a service said of its parts."""
    story.row(ms, Kind.TOLD, op=service, flag=flag, a=status, b=story.text(json.dumps(what)))


def asked(
    *, flag: int = 1, status: int = 200, took: float = 5, parts: dict[str, str] | None = None
) -> Story:
    """A preflight with one service that answers so."""
    story = Story({"pre": {"activity": "preflight", "expect": {"health": True}}}).stage().fit()
    story.health(5, flag, took=took, status=status)
    if parts is not None:
        word = ("unhealthy", "healthy", "degraded")[flag]
        told(story, 5 + took, flag=flag, status=status, status_word=word, parts=parts)
    for k in range(3):
        story.client(10 + k, "good")
    return story


STORIES: dict[str, tuple[Story, str]] = {
    "service.gone": (outage(), "gone from 3 s after the stage began"),
    "session.closed": (
        stayed("closed_late", "closed_late", lasts=500, midrun=True),
        '2 of 40 connections were closed with 1011 (internal error) "service starting", unasked',
    ),
    "session.dropped": (
        stayed("dropped_late", lasts=500, midrun=True),
        "1 of 40 connections lost TCP without a Close",
    ),
    "session.protocol": (
        stayed("broken", lasts=500, midrun=True, detail="invalid UTF-8"),
        "1 of 40 connections was broken off by what the service sent (invalid UTF-8), unasked",
    ),
    "ping.unanswered": (pinged(1, None, 2), "3 of 9 pings on 3 connections got no pong"),
    "pressure.queue_small": (
        squeezed(40, 60, 90, queue=50),
        "events were lost while the client read nothing: 12 to 42 of each of 2 runs of 62 to 92",
    ),
    "pressure.silent_drop": (
        squeezed(95, 150, told=False),
        "32 events of 1 run (of 152 events) were dropped",
    ),
    "rate_limit.silent": (flooded(limited=10), "30 were dropped in silence"),
    "rate_limit.global": (flooded(hit=True), "5 of 5 clients of other users"),
    "rate_limit.stuck": (flooded(again=False), "1 of 1 client that had met the limit was not"),
    "large.refused": (
        enlarged((32 * KIB, "closed"), (65 * KIB, "closed")),
        "1 of 2 large messages was refused: 32 KiB, within the promised 64 KiB; closed with 1009",
    ),
    "large.no_answer": (
        enlarged((32 * KIB, "silent"), (65 * KIB, "closed")),
        "1 of 2 large messages was neither taken nor closed with 1009: 32 KiB",
    ),
    "large.accepted_over": (
        enlarged((32 * KIB, "taken"), (65 * KIB, "taken")),
        "1 of 2 large messages was taken: 65 KiB, over the promised 64 KiB",
    ),
    "modes.differ": (
        side_by_side(*range(30), more=1),
        "legacy (/legacy): 30 of 30 runs had thinking 2 times; elsewhere 0 of 60",
    ),
    "health.degraded": (
        asked(flag=2, parts={"postgres": "degraded", "redis": "ok"}),
        "says degraded (HTTP status 200): postgres degraded",
    ),
    "health.slow": (asked(took=2500), "took 2.5 s to say that it is healthy, over 2 s"),
    "drift.slower": (drifting(last=3), "run: 53 ms in the first third, 159 ms in the last"),
    "drift.larger": (heavier(last=2), "memory of backend: 41.0 MiB in the first third, 82.0 MiB"),
}
