"""How checks put numbers and wire text into sentences.

The rule: a sentence quotes what was seen, counts exactly, and holds no control character.
Texts arrive redacted (the journal keeps nothing else) and are only shortened here.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import TYPE_CHECKING, Final

from probe.units import format_duration, format_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

QUOTE_CHARS_MAX: Final = 120
_CLOSE_NAMES: Final = {
    1000: "normal",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1007: "invalid data",
    1008: "policy violation",
    1009: "message too big",
    1010: "missing extension",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 connection", "1,412 connections"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else plural}"


def of(k: int, n: int, noun: str) -> str:
    """A share in numbers: "37 of 412 connections"."""
    return f"{k:,} of {counted(n, noun)}"


def were(k: int) -> str:
    """The verb for k cases."""
    return "was" if k == 1 else "were"


def percent(rate: float) -> str:
    """A rate as "86.1 %"."""
    return format_share(rate)


def at_least(rate: float) -> str:
    """A lower bound, rounded down: "at least 86 % (95 %)"."""
    return f"at least {format_share(rate, ROUND_FLOOR)} (95 %)"


def at_most(rate: float) -> str:
    """An upper bound, rounded up: "at most 13.9 % (95 %)"."""
    return f"at most {format_share(rate, ROUND_CEILING)} (95 %)"


def between(low: float, high: float) -> str:
    """An interval, rounded outwards."""
    ends = format_share(low, ROUND_FLOOR), format_share(high, ROUND_CEILING)
    return f"between {ends[0]} and {ends[1]} (95 %)"


def plain(data: bytes, limit: int = QUOTE_CHARS_MAX) -> str:
    """Wire bytes as one line of printable text, control characters escaped, cut at `limit`."""
    text = data.decode("utf-8", "backslashreplace")
    line = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text[: limit + 1]
    )
    return line if len(line) <= limit else line[: limit - 1] + "…"


def quoted(data: bytes, limit: int = QUOTE_CHARS_MAX) -> str:
    """The same within double quotes."""
    return f'"{plain(data, limit)}"'


def close_words(code: int, reason: bytes = b"", names: Mapping[str, str] | None = None) -> str:
    """`1011 (internal error) "service starting"`; `no close code` for 0.

    `names` are those of the dialect, by code, and go before the usual ones.
    """
    if not code:
        return "no close code"
    said = (names or {}).get(str(code)) or _CLOSE_NAMES.get(code)
    name = f" ({said})" if said else ""
    return f"{code}{name}" + (f" {quoted(reason)}" if reason else "")


def seconds(ns: float | None) -> float | None:
    """Nanoseconds as seconds for a report; None stays unknown."""
    return None if ns is None else round(float(ns) / 1e9, 9)


def duration(ns: float | None) -> str:
    """`format_duration`, and "unknown" for None."""
    return "unknown" if ns is None else format_duration(float(ns))


def escaped(text: str, limit: int = QUOTE_CHARS_MAX) -> str:
    """A string as `plain` would show its bytes."""
    return plain(text.encode("utf-8", "backslashreplace"), limit)


def only_cases(stage: str, names: Iterable[str]) -> str:
    """The options of `probe run` that go through these rows of a matrix alone."""
    listed = ", ".join(f"'{name}'" for name in dict.fromkeys(names))
    # In double quotes, so that a shell takes it also where it was wrapped at a blank.
    return f'--stage {stage} --set "stages.{stage}.cases=[{listed}]"'
