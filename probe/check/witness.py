"""Witnesses: one case as it stood on the wire, line by line, from the stored rows.

The rule: a witness shows the rows of one connection, or of one run with how its connection
came about; lines of other runs are left out and counted. Times count from the dial. What the case
is about is marked, and what never came has a line where it ought to stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.lines import got_words, line_of
from probe.check.verdict import Step, Witness
from probe.check.words import counted
from probe.history.records import Kind, Put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

CASES_MAX: Final = 3
STEPS_MAX: Final = 39  # and a line that counts the messages of other runs
_TAIL: Final = 10
_POINTS: Final = 5
_OF_MESSAGES: Final = (Kind.GOT, Kind.PUT)
_BESIDE: Final = (Kind.KEPT, Kind.ODD, Kind.FOREIGN)
_OF_RUNS: Final = (Kind.GOT, Kind.PUT, Kind.RUN)
_ALWAYS: Final = (
    Kind.DIAL, Kind.READY, Kind.VANISH, Kind.CLOSE, Kind.END, Kind.STALL,
)  # fmt: skip
_LIFE: Final = (Kind.SENTINEL, Kind.PONG)
Message = tuple[int, int, int]


def message(row: Any) -> Message:
    """What tells one message of a run from another: its stamp (ns), its type, its number."""
    return int(row["t"]), int(row["flag"]), int(row["a"])


@dataclass(frozen=True, slots=True)
class Marks:
    """What a run's case is about: `points` are messages, `absent` what ought to have come.

    `absent` has words by the message that came although they had not; `end` has words for what
    did not come any more, and the last message that did, None where only the start was sent.
    """

    points: frozenset[Message] = frozenset()
    absent: Mapping[Message, str] = field(default_factory=dict)
    end: tuple[Message | None, str] | None = None


_NONE: Final = Marks()


def witnesses(
    view: StageView, cases: Rows, worst: Any = None, tell: Callable[[Any], Witness] | None = None
) -> tuple[Witness, ...]:
    """Up to 3 of `cases` (attempts): the first, the worst by `worst` (float[n]), the last.

    `tell` makes the witness of one; `witness_of` if not given.
    """
    order = np.lexsort((cases["attempt"], cases["session"], cases["dial"]))
    chosen = [cases[k] for k in picked(order, worst)]
    return tuple(witness_of(view, case) if tell is None else tell(case) for case in chosen)


def witness_of(view: StageView, attempt: Any, *, without: tuple[Kind, ...] = ()) -> Witness:
    """The witness of one attempt; rows `without` are left to the caller."""
    session, number = int(attempt["session"]), int(attempt["attempt"])
    rows = view.history.frames(session, number)
    return _told(view, attempt, rows[~np.isin(rows["kind"], without)] if without else rows)


def run_witnesses(
    view: StageView, keys: Any, worst: Any = None, marks: Callable[[int], Marks] | None = None
) -> tuple[Witness, ...]:
    """Up to 3 runs, by key int64[n] in the order of time, at the sessions that began them.

    The first, the worst, the last; `marks` tells by key what each is about.
    """
    out = []
    for k in picked(np.arange(len(keys)), worst):
        key = int(keys[k])
        case = run_witness(view, key, key >> 32, marks(key) if marks else _NONE)
        out += [case] if case is not None else []
    return tuple(out)


def run_witness(
    view: StageView, key: int, session: int, marks: Marks = _NONE
) -> Witness | None:  # fmt: skip
    """One run as a session saw it, over all connections on which it did; None for no rows."""
    rows = view.history.frames(session)
    own = np.isin(rows["kind"], _OF_RUNS) & (rows["b"] == key)
    foreign = (rows["kind"] == Kind.FOREIGN) & (rows["b"] == key)
    here = np.flatnonzero(own | foreign)
    if len(here):
        since, first = int(rows["t"][here[0]]), int(rows["op"][here[0]])
    else:  # nothing of it came: what came in its time is what can be shown
        place = min(int(np.searchsorted(view.runs["key"], key)), len(view.runs) - 1)
        since, first = int(view.runs["begun"][place]), 0
    own |= _beside(rows, own | foreign)
    shown = own | np.isin(rows["kind"], _ALWAYS)
    shown |= np.isin(rows["kind"], _LIFE) & (rows["t"] >= since)
    shown |= (rows["kind"] == Kind.PUT) & (rows["flag"] == Put.RESUME)
    shown &= rows["op"] >= first
    shown &= ~np.isin(rows["kind"], (Kind.INTENDED, Kind.DONE))
    attempts = view.attempts
    mine = attempts[(attempts["session"] == session) & (attempts["attempt"] >= first)]
    if not len(mine):
        return None
    left = int((np.isin(rows["kind"], _OF_MESSAGES) & ~shown & (rows["op"] >= first)).sum())
    return _told(view, mine[0], rows[shown], left, marks)


def message_witness(view: StageView, row: Any) -> Witness | None:
    """The connection of one message, with that message in the midst of what is told."""
    attempts = view.attempts
    mine = attempts[
        (attempts["session"] == row["session"]) & (attempts["attempt"] == row["op"])
    ]  # fmt: skip
    if not len(mine):
        return None
    rows = view.history.frames(int(row["session"]), int(row["op"]))
    of_it = rows["t"] == row["t"]
    shown = np.isin(rows["kind"], _ALWAYS) | of_it
    left = int((np.isin(rows["kind"], _OF_MESSAGES) & ~shown).sum())
    return _told(view, mine[0], rows[shown], left)


def picked(order: Any, worst: Any = None) -> list[int]:
    """Of cases in this order the first, the worst by `worst` (float[n]), the last."""
    if not len(order):
        return []
    chosen: list[int] = [int(order[0])]
    if worst is not None:
        chosen.append(int(order[int(np.argmax(np.asarray(worst)[order]))]))
    chosen.append(int(order[-1]))
    return list(dict.fromkeys(chosen))[:CASES_MAX]


def headers_of(text: bytes, name: bytes) -> list[bytes]:
    """The values of one header in a stored head; `name` in lower case."""
    head = text.partition(b"\r\n\r\n")[0]
    pairs = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [value.strip() for key, _, value in pairs if key.strip().lower() == name]


def body_of(text: bytes) -> bytes:
    """The kept body after a stored head."""
    return text.partition(b"\r\n\r\n")[2]


def _told(
    view: StageView, attempt: Any, rows: Rows, left_out: int = 0, marks: Marks = _NONE
) -> Witness:
    start = int(attempt["dial"])
    steps = _cut(_steps(view, attempt, rows, marks))
    if left_out and steps:
        words = f"{counted(left_out, 'other message')} of this session left out"
        steps.append(Step(steps[-1].at_s, "note", words))
    began = view.history.anchor.wall(start).isoformat(timespec="microseconds")
    endpoint = view.endpoint(int(attempt["endpoint"]))
    session, number = int(attempt["session"]), int(attempt["attempt"])
    return Witness(session, number, view.name, endpoint, began, tuple(steps))


def _steps(view: StageView, attempt: Any, rows: Rows, marks: Marks) -> list[Step]:
    start = int(attempt["dial"])
    steps: list[Step] = []
    first = last = None  # of messages that follow each other without a gap
    place, ended = 0, _end_place(rows, marks)
    for number, row in enumerate(rows):
        kind, at_s = int(row["kind"]), round((int(row["t"]) - start) / 1e9, 6)
        if marks.end is not None and number == ended:
            steps.append(Step(steps[-1].at_s, "note", marks.end[1], point=True))
        mine = message(row) if kind == Kind.GOT else None
        point, absent = mine in marks.points, marks.absent.get(mine) if mine else None
        if absent:
            steps.append(Step(at_s, "note", absent, point=True))
        if last is not None and _follows(last, row) and not (point or absent or steps[place].point):
            steps[place] = replace(steps[place], what=got_words(view, first, row))
            last = row
            continue
        if kind == Kind.KEPT and last is not first:
            continue  # the first of those that follow each other stands for them
        line = line_of(view, attempt, row)
        if kind == Kind.GOT:
            first = last = row
            place = len(steps)
        elif kind != Kind.KEPT:
            first = last = None
        if line is not None:
            steps.append(Step(at_s, *line, point=point))
    if marks.end is not None and ended == len(rows):
        steps.append(Step(steps[-1].at_s, "note", marks.end[1], point=True))
    return steps


def _end_place(rows: Rows, marks: Marks) -> int:
    """The row before which it is said that nothing more came; len(rows) for behind them all."""
    if marks.end is None:
        return -1
    last = marks.end[0]
    if last is None:
        found = np.flatnonzero((rows["kind"] == Kind.PUT) & (rows["flag"] == Put.START))
    else:
        same = [rows[name] == value for name, value in zip(("t", "flag", "a"), last, strict=True)]
        found = np.flatnonzero((rows["kind"] == Kind.GOT) & np.logical_and.reduce(same))
    if not len(found):
        return len(rows)
    after = np.arange(len(rows)) > found[-1]
    behind = np.flatnonzero(after & ~np.isin(rows["kind"], _BESIDE))
    return int(behind[0]) if len(behind) else len(rows)


def _cut(steps: list[Step]) -> list[Step]:
    """At most STEPS_MAX: those about the first marked ones, else the begin and the end."""
    if len(steps) <= STEPS_MAX:
        return steps
    points = [k for k, step in enumerate(steps) if step.point][:_POINTS]
    if points:
        room = STEPS_MAX - len(points) - 2  # a line for each gap between them
        by_nearness = sorted(range(len(steps)), key=lambda k: min(abs(k - p) for p in points))
        kept = sorted({0, *by_nearness[:room]})
    else:
        kept = [*range(STEPS_MAX - _TAIL - 1), *range(len(steps) - _TAIL, len(steps))]
    out = [steps[kept[0]]]
    for before, k in pairwise([*kept, len(steps)]):
        if k - before > 1:
            near = steps[min(k, len(steps) - 1)].at_s
            out.append(Step(near, "note", f"… {counted(k - before - 1, 'more line')} left out"))
        out += steps[k : k + 1]
    return out


def _follows(before: Any, row: Any) -> bool:
    """Whether a message is the next of the same type and run, with the next number."""
    if int(row["kind"]) != Kind.GOT or int(row["b"]) < 0:
        return False
    same = all(int(row[name]) == int(before[name]) for name in ("op", "flag", "b"))
    return same and int(row["a"]) == int(before["a"]) + 1


def _beside(rows: Rows, shown: Mask) -> Mask:
    """What was noted of a shown message: the rows between it and the next message."""
    message = np.isin(rows["kind"], _OF_MESSAGES)
    number = np.cumsum(message)
    wanted = np.zeros(int(number[-1]) + 1 if len(number) else 1, dtype=np.bool_)
    wanted[number[shown & message]] = True
    return np.asarray(np.isin(rows["kind"], _BESIDE) & wanted[number])
