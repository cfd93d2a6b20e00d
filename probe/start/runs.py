"""Which messages of a session are the events of one run, and in which order they come.

A run is what one message of the client starts. The rule: its events are told by an id that they
share, the one that the client gave or one that differs from run to run; where there is no such
id nothing is guessed, and only the type of an answer is known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probe.start.seen import Message

ID_CHARS_MAX: Final = 200
_RUNS_TO_TELL: Final = 2


@dataclass(frozen=True, slots=True)
class Heard:
    """One object of one received message, with its type ("" for none) and its fields."""

    kind: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One message that the client sent behind the opening, and all that came until the next."""

    message: Message
    heard: tuple[Heard, ...]
    later: tuple[Heard, ...] = ()
    """What came after the next one was sent: of this run only what has its id."""


@dataclass(frozen=True, slots=True)
class Step:
    """An event as the dialect has it; `after` is None for the one that is listed before it."""

    kind: str
    times: str
    after: tuple[str, ...] | None
    seen: int


@dataclass(frozen=True, slots=True)
class RunDraft:
    """What a run looks like. `path` holds its id in `carried` of `of` events, over `runs` runs.

    `named`: the id is the client's. `loose` are types left out, since they also come after the
    end; `sequence` and `thread` are paths, "" where none was seen.
    """

    start: Message
    path: str
    carried: int
    of: int
    runs: int
    named: bool
    steps: tuple[Step, ...]
    ends: str
    loose: tuple[str, ...]
    sequence: str = ""
    counts: bool = False
    thread: str = ""


def leaf_text(value: Any) -> str:
    """A field as an id: text, or the digits of a whole number; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value)
    return text if len(text) <= ID_CHARS_MAX else ""


def run_of(asked: Sequence[Asked]) -> RunDraft | None:
    """The run that these messages start; None where no id tells its events."""
    for path, named in (*_named(asked), *_unnamed(asked)):
        runs = [_events(each, path, each.message.place("run") if named else None) for each in asked]
        runs = [events for events in runs if events]
        ordered = _ordered([[event.kind for event in events] for events in runs])
        if not ordered:
            continue
        steps, ends, loose = ordered
        kept = [[event for event in events if event.kind not in loose] for events in runs]
        whole = sum(len(each.heard) for each in asked)
        sequence, counts = _sequence(kept, path)
        return RunDraft(
            asked[0].message, path, sum(map(len, runs)), whole, len(runs), named, steps, ends,
            loose, sequence, counts, _thread(asked, kept, path),
        )  # fmt: skip
    return None


def _named(asked: Sequence[Asked]) -> list[tuple[str, bool]]:
    """Paths at which the client's id comes back, the most frequent first."""
    found: Counter[str] = Counter()
    for each in asked:
        run = each.message.place("run")
        for heard in (*each.heard, *each.later):
            found.update(
                path for path, value in heard.fields.items() if run and leaf_text(value) == run
            )
    return [(path, True) for path in sorted(found, key=lambda p: (-found[p], p.count("."), p))]


def _unnamed(asked: Sequence[Asked]) -> list[tuple[str, bool]]:
    """Paths whose value is one within a run, and another in each run."""
    windows = [each.heard for each in asked if each.heard]
    if len(windows) < _RUNS_TO_TELL:
        return []
    shared: list[tuple[str, str]] = []
    for path in windows[0][0].fields:
        values = [{leaf_text(heard.fields.get(path)) for heard in window} for window in windows]
        one_each = all(len(each) == 1 and "" not in each for each in values)
        if one_each and len({value for each in values for value in each}) == len(windows):
            shared.append((path.rpartition(".")[2].lower(), path))
    likely = [path for name, path in shared if name.endswith(("id", "run", "request", "uuid"))]
    return [(path, False) for path in likely]


def _events(asked: Asked, path: str, run: str | None) -> list[Heard]:
    """Messages with a type that carry the id at `path`."""
    among = (*asked.heard, *asked.later) if run is not None else asked.heard
    return [
        heard for heard in among
        if heard.kind and (text := leaf_text(heard.fields.get(path))) and run in {None, text}
    ]  # fmt: skip


def _ordered(runs: list[list[str]]) -> tuple[tuple[Step, ...], str, tuple[str, ...]] | None:
    """Steps, the one that ends a run, and the types left out; None where nothing ends one."""
    if not runs:
        return None
    every = {kind for run in runs for kind in run}
    once = [kind for kind in every if all(run.count(kind) == 1 for run in runs)]
    if not once:
        return None

    def place(kind: str) -> float:
        where = [run.index(kind) / len(run) for run in runs if kind in run]
        return sum(where) / len(where)

    ends = max(once, key=lambda kind: (sum(run.index(kind) for run in runs), kind))
    loose = {kind for run in runs for kind in run[run.index(ends) + 1 :]}
    kept = [*sorted(every - loose - {ends}, key=lambda kind: (place(kind), kind)), ends]
    steps = []
    known: dict[str, tuple[str, ...]] = {}
    for index, kind in enumerate(kept):
        before = tuple(other for other in kept[:index] if _precedes(other, kind, runs))
        # Listed behind one event, it comes after all that this one comes after.
        implied = {*kept[index - 1 : index], *known.get(kept[index - 1], ())}
        known[kind] = before
        usual = set(before) == implied if index else True
        steps.append(
            Step(
                kind,
                _times(kind, runs),
                None if usual else before,
                sum(kind in run for run in runs),
            )
        )
    return tuple(steps), ends, tuple(sorted(loose))


def _precedes(first: str, second: str, runs: list[list[str]]) -> bool:
    """Whether every `first` came before the first `second`, wherever both came."""
    both = [run for run in runs if first in run and second in run]
    last = (len(run) - 1 - run[::-1].index(first) for run in both)
    return bool(both) and all(a < run.index(second) for a, run in zip(last, both, strict=True))


def _times(kind: str, runs: list[list[str]]) -> str:
    counts = [run.count(kind) for run in runs]
    return f"{'0' if 0 in counts else '1'}..{'*' if max(counts) > 1 else '1'}".replace("1..1", "1")


def _sequence(runs: list[list[Heard]], run_path: str) -> tuple[str, bool]:
    """The path of a number from 1 that rises within each run, and whether it counts by 1."""
    paths = set.intersection(*({*heard.fields} for run in runs for heard in run)) - {run_path}
    for path in sorted(paths):
        numbers = [[heard.fields[path] for heard in run] for run in runs]
        flat = [number for run in numbers for number in run]
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in flat)
        if not whole or max(map(len, numbers)) < _RUNS_TO_TELL:
            continue
        if all(a < b for run in numbers for a, b in pairwise(run)):
            counts = all(run == list(range(1, len(run) + 1)) for run in numbers)
            if counts or path.rpartition(".")[2].lower().startswith(("seq", "number", "index")):
                return path, counts
    return "", False


def _thread(asked: Sequence[Asked], runs: list[list[Heard]], run_path: str) -> str:
    """The path at which the client's thread comes back in every event of each run."""
    found: Iterator[set[str]] = (
        {path for path, value in heard.fields.items() if leaf_text(value) == thread}
        for each, run in zip(asked, runs, strict=False)
        if (thread := each.message.place("thread"))
        for heard in run
    )
    sets = list(found)
    common = set.intersection(*sets) - {run_path} if sets else set()
    return min(common, key=lambda path: (path.count("."), path), default="")
