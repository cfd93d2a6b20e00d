"""Which defects are on in this life, and their draws.

A decision point asks for its defect by name. The answer is drawn from a hash of seed,
life, name and an index, so the same seed gives the same hits whatever other defects are
on. The index is how often that name was asked before; where the order of asking would
depend on what happens to come first on the loop, as for the events of runs that go on
side by side, the caller gives the index.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from probe.lab.draws import draw
from probe.lab.durations import format_duration, parse_duration
from probe.lab.table import TABLE
from probe.lab.windows import Span, Window, format_span, parse_span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from probe.lab.defect import Defect

COUNT_MAX: Final = 1_000


class DefectError(ValueError):
    """A defect cannot be set: unknown name, bad value, or too late in this life."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a defect is set to: a rate, a count, or int nanoseconds; and the event it is for.

    The number of a window is the probability inside it.
    """

    number: float | int
    target: str | None = None
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """A hit, and the further choices that belong to it."""

    key: str
    target: str | None

    def pick(self, among: int, what: str) -> int:
        """A number from 0 to `among` - 1, drawn for `what` alone."""
        return int(draw(f"{self.key}/{what}") * among)


def find(name: str) -> Defect:
    """The row of that name; DefectError names the nearest otherwise."""
    row = TABLE.get(name)
    if row is None:
        near = get_close_matches(name, TABLE, n=3, cutoff=0.4) or sorted(TABLE)
        raise DefectError(f"no defect is named {name[:80]!r}; nearest: {', '.join(near)}")
    return row


def _allowed(row: Defect) -> str:
    match row.unit:
        case "duration":
            return 'a duration like "400ms"'
        case "window":
            return 'a window [DELAY+]WIDTH[~JITTER][/P] like "100ms+50ms~1ms/0.3", 1ms to 60s wide'
        case "count":
            return f"a whole number from 1 to {COUNT_MAX}"
        case "switch":
            return "0 or 1"
        case "rate":
            which = f", or RATE@EVENT with one of {', '.join(row.targets)}" if row.targets else ""
            return f"a rate from 0 to 1{which}"


def parse_value(row: Defect, value: object) -> Value:
    """What a text or a number of JSON sets; DefectError says what is allowed."""
    target = None
    plain = value
    if row.targets and isinstance(value, str) and "@" in value:
        plain, _, target = value.partition("@")
    try:
        found = _parse(row, plain, target)
    except ValueError:
        found = None
    if found is None:
        raise DefectError(f"defect {row.name} takes {_allowed(row)}, not {str(value)[:80]!r}")
    return found


def _parse(row: Defect, plain: object, target: str | None) -> Value | None:
    """The value, None or ValueError when it is none."""
    if row.unit in ("duration", "window"):
        if not isinstance(plain, str):
            return None
        if row.unit == "duration":
            return Value(parse_duration(plain))
        span = parse_span(plain)
        return Value(span.chance, span=span)
    if not isinstance(plain, (int, float, str)) or isinstance(plain, bool):
        return None
    number = float(plain)
    if row.unit == "count":
        return Value(int(number)) if number in range(1, COUNT_MAX + 1) else None
    fits = 0.0 <= number <= 1.0 and target in (None, *row.targets)  # false for NaN as well
    return Value(number, target) if fits else None


class Defects:
    """What is switched on in this life, and the draws.

    `settings` are (name, value) with None for the default; see `parse_value`.
    """

    def __init__(
        self,
        seed: int,
        life: int,
        settings: Iterable[tuple[str, str | None]],
        processes: int = 1,
    ) -> None:
        self._origin = f"{seed}/{life}"
        self._processes = processes
        self._active: dict[str, Value] = {}
        self._asked: Counter[str] = Counter()
        for name, value in settings:
            row = self._find(name)
            self._active[name] = parse_value(row, row.default if value is None else value)

    def change(self, wanted: Mapping[str, object]) -> None:
        """Set (or with None unset) defects while the lab runs: all of them or, on error, none."""
        changed = dict(self._active)
        for name, value in wanted.items():
            row = self._find(name)
            if row.settable == "start":
                raise DefectError(
                    f"defect {name} shapes the boot and this life has booted; "
                    f"start the lab again with --defect {name}"
                )
            if value is None:
                changed.pop(name, None)
            else:
                changed[name] = parse_value(row, value)
        self._active = changed

    def of_process(self, number: int) -> None:
        """From here on the draws are those of this process of the lab."""
        self._origin += f"/{number}"

    def _find(self, name: str) -> Defect:
        row = find(name)
        if row.all_users and self._processes > 1:
            raise DefectError(
                f"defect {name} needs all users in one process; leave it out, or --processes"
            )
        return row

    def __contains__(self, name: str) -> bool:
        return name in self._active

    def duration_ns(self, name: str) -> int | None:
        """The duration of that defect, None when it is off."""
        assert TABLE[name].unit == "duration"
        value = self._active.get(name)
        return None if value is None else int(value.number)

    def window(self, name: str) -> Window | None:
        """The window of that defect, None when it is off."""
        assert TABLE[name].unit == "window"
        value = self._active.get(name)
        if value is None:
            return None
        assert value.span is not None
        return Window(name, value.span, self._origin, self._asked)

    def count(self, name: str) -> int | None:
        """The count of that defect, None when it is off."""
        assert TABLE[name].unit == "count"
        value = self._active.get(name)
        return None if value is None else int(value.number)

    def is_on(self, name: str) -> bool:
        """Whether that switch is on."""
        assert TABLE[name].unit == "switch"
        value = self._active.get(name)
        return value is not None and value.number > 0

    def draw(self, name: str, index: str | None = None) -> Draw | None:
        """Draw once for a defect with a rate; None without a hit, and without a draw when off.

        Without an index it is the count of the draws for that name so far.
        """
        value = self._active.get(name)
        if value is None:
            return None
        if index is None:
            index = str(self._asked[name])
            self._asked[name] += 1
        key = f"{self._origin}/{name}/{index}"
        return Draw(key, value.target) if draw(key) < value.number else None

    def hits(self, name: str) -> bool:
        """The same where nothing further is to be chosen."""
        return self.draw(name) is not None

    def first_hit(self, names: Iterable[str]) -> str | None:
        """The first of these that hits; those after it are not drawn."""
        return next((name for name in names if self.hits(name)), None)

    def as_json(self) -> dict[str, float | int | str]:
        """What is on, with its value as it is written at the edge."""
        return {name: _format(TABLE[name], value) for name, value in sorted(self._active.items())}


def _format(row: Defect, value: Value) -> float | int | str:
    if row.unit == "duration":
        return format_duration(int(value.number))
    if value.span is not None:
        return format_span(value.span)
    if value.target is not None:
        return f"{value.number}@{value.target}"
    return value.number
