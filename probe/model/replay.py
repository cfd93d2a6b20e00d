"""Replay: arrivals as they were recorded, from the text of a CSV file.

The first line names the columns. A time alone is one arrival a row; a time and a rate are the
points of a curve. Times count from the first row. The unit stands in the column's name
(`time_s`, `time_ms`, `time_us`, `time_ns`, `rate_per_s`) or with every value (`time`: "250ms" or
an ISO 8601 instant; `rate`: "5/s"). Rows go forward; blank lines and `#` lines are passed over.

The model opens nothing: whoever read the file hands its text in, and the text stays in the
scenario that a run keeps, so that the run is judged and repeated without the file.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import model_validator

from probe import units
from probe.model.base import Strict
from probe.model.curve import Curve, Point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BYTES_MAX: Final = 4 * 1024 * 1024
ROWS_MAX: Final = 200_000
_UNITS: Final = {"time_s": 9, "time_ms": 6, "time_us": 3, "time_ns": 0}
_TIMES: Final = ("time", *_UNITS)
_RATES: Final = ("rate", "rate_per_s")
_HEADS: Final = "time_s (or time_ms, time_us, time_ns, time), and for a curve rate_per_s (or rate)"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadRowError(ValueError):
    """A line of a recording that cannot be read: its number, and what would be right."""

    def __init__(
        self, line: int, message: str, found: str = "", allowed: str = "", mend: str = ""
    ) -> None:
        self.line, self.message, self.found, self.allowed = line, message, found, allowed
        self.mend = mend
        super().__init__(message)

    def __str__(self) -> str:
        text = f"line {self.line}: {self.message}"
        text += f", {self.mend}" if self.mend else ""
        text += f"; found {self.found}" if self.found else ""
        return text + (f"; allowed: {self.allowed}" if self.allowed else "")


@dataclass(frozen=True, slots=True)
class Recording:
    """Times in ns since the first row, ascending; rates in hertz, none for single arrivals."""

    times_ns: tuple[int, ...]
    rates: tuple[float, ...] | None


class Replay(Strict):
    """Arrivals as they were recorded."""

    file: str | None = None
    """A CSV file, found beside the scenario."""
    text: str = ""
    """What stands in it; a scenario may say it here itself and name no file."""

    @model_validator(mode="after")
    def _can_be_read(self) -> Replay:
        if self.text:
            recorded(self.text)
        elif not self.file:
            raise ValueError("a replay needs a `file`, or what would stand in it as `text`")
        return self

    @property
    def single(self) -> bool:
        """Whether every arrival has its own row, so that nothing is left to draw."""
        return bool(self.text) and recorded(self.text).rates is None

    def curve(self, lasts_ns: int) -> Curve:
        """The points or the arrivals; nothing at all while the file has not been read."""
        if lasts_ns:
            raise ValueError("`lasts` does not go with replay: it lasts until its last row")
        if not self.text:
            return Curve(open=True, points=((0, 0.0), (0, 0.0)))
        found = recorded(self.text)
        if found.rates is None:
            span = found.times_ns[-1]
            instants = np.array(found.times_ns, dtype=np.int64)
            return Curve(open=True, points=((0, 0.0), (span, 0.0)), instants=instants)
        return Curve(open=True, points=tuple(zip(found.times_ns, found.rates, strict=True)))


@lru_cache(maxsize=8)
def recorded(text: str) -> Recording:
    """The recording in a CSV text; BadRowError for the first line that is none."""
    if len(text.encode()) > BYTES_MAX:
        mend = "write a curve in its place (time and rate)"
        raise BadRowError(1, f"more than {BYTES_MAX:,} bytes", mend=mend)
    rows = _rows(text)
    try:
        line, head = next(rows)
    except StopIteration:
        raise BadRowError(1, "this recording is empty", allowed=_HEADS) from None
    time_of, rate_of = _columns(line, head)
    points = list(_points(rows, head, time_of, rate_of))
    if len(points) < (1 if rate_of is None else 2):
        raise BadRowError(
            line, "too few rows", str(len(points)), "one arrival, or two points of a curve"
        )
    first = points[0][0]
    times = tuple(time - first for time, _ in points)
    rates = None if rate_of is None else tuple(rate for _, rate in points)
    found = Recording(times, rates)
    if rates is not None and not _mass(found):
        raise BadRowError(
            line, "this recording brings no clients: every rate is 0, or no time passes"
        )
    return found


def bare(text: str) -> str:
    """The rows alone: comments may say what is nobody's business, and are not kept."""
    return "".join(",".join(cells) + "\n" for _, cells in _rows(text))


def _mass(found: Recording) -> float:
    assert found.rates is not None
    return Curve(open=True, points=tuple(zip(found.times_ns, found.rates, strict=True))).mass


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every line that says something; lines count from 1."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            cells = next(csv.reader([line], strict=True))
        except csv.Error as error:
            raise BadRowError(number, f"this is not CSV: {error}") from None
        yield number, [cell.strip() for cell in cells]


def _columns(
    line: int, head: list[str]
) -> tuple[Callable[[str], int], Callable[[str], float] | None]:
    """How the cells of each column are read."""
    if not 1 <= len(head) <= 2 or head[0] not in _TIMES:  # noqa: PLR2004 -- a time, and a rate
        raise BadRowError(line, "the first line names the columns", repr(",".join(head)), _HEADS)
    time_of = _times() if head[0] == "time" else _scaled(_UNITS[head[0]])
    if len(head) == 1:
        return time_of, None
    if head[1] not in _RATES:
        raise BadRowError(line, "no such column", repr(head[1]), ", ".join(_RATES))
    return time_of, units.rate_hz if head[1] == "rate" else _per_s


def _points(
    rows: Iterator[tuple[int, list[str]]],
    head: list[str],
    time_of: Callable[[str], int],
    rate_of: Callable[[str], float] | None,
) -> Iterator[Point]:
    last = None
    for number, (line, cells) in enumerate(rows, 1):
        if number > ROWS_MAX:
            mend = "write a curve in its place (time and rate)"
            raise BadRowError(line, f"more than {ROWS_MAX:,} rows", mend=mend)
        if len(cells) != len(head):
            raise BadRowError(line, f"not {len(head)} cells", repr(",".join(cells)), ",".join(head))
        try:
            time = time_of(cells[0])
            rate = 0.0 if rate_of is None else rate_of(cells[1])
        except ValueError as error:
            message, _, allowed = str(error).partition("; allowed: ")
            message, _, found = message.partition("; found ")
            raise BadRowError(line, message, found, allowed) from None
        if last is not None and time < last:
            raise BadRowError(
                line, "time goes backward", repr(cells[0]), "rows in the order of time"
            )
        last = time
        yield time, rate


def _times() -> Callable[[str], int]:
    """Reads durations with their units, or instants: one kind of them in one recording."""
    kinds: set[str] = set()

    def read(cell: str) -> int:
        kind, time = _instant(cell) if ":" in cell and "-" in cell else ("a duration", _lasts(cell))
        kinds.add(kind)
        if len(kinds) > 1:
            found = " and ".join(sorted(kinds))
            raise ValueError(f"times of two kinds have no common beginning; found {found}")
        return time

    return read


def _lasts(cell: str) -> int:
    try:
        return units.duration_ns(cell)
    except ValueError as error:
        raise ValueError(
            f"{error}, or an instant such as '2026-03-01T08:00:00.250Z'; for bare numbers name the "
            "column time_s, time_ms, time_us or time_ns"
        ) from None


def _instant(cell: str) -> tuple[str, int]:
    try:
        instant = datetime.fromisoformat(cell)
    except ValueError:
        allowed = "such as '2026-03-01T08:00:00.250Z'"
        raise ValueError(f"not an instant; found {cell!r}; allowed: {allowed}") from None
    kind = "an instant with a zone" if instant.tzinfo else "an instant without one"
    since = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH
    return kind, ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000


def _scaled(places: int) -> Callable[[str], int]:
    """Reads a bare number; what is finer than a nanosecond is rounded, as it was measured."""

    def read(cell: str) -> int:
        number = _number(cell)
        if number.copy_abs() >= Decimal(units.INT64_MAX).scaleb(-places):
            raise ValueError(f"beyond what 64 bits of nanoseconds hold; found {cell!r}")
        return int(number.scaleb(places).to_integral_value())

    return read


def _per_s(cell: str) -> float:
    rate = float(_number(cell))
    if rate != 0 and not units.RATE_HZ_MIN <= rate <= units.RATE_HZ_MAX:
        raise ValueError(f"a rate is 0 or 1e-9 to 1e9 per second; found {cell!r}")
    return rate


def _number(cell: str) -> Decimal:
    try:
        number = Decimal(cell)
    except InvalidOperation:
        raise ValueError(f"not a number; found {cell!r}; allowed: such as 12.5") from None
    if not number.is_finite():
        raise ValueError(f"not a number; found {cell!r}; allowed: such as 12.5")
    return number
