"""Durations at the lab's edge: "250ms" in, whole nanoseconds inside, "250ms" out."""

from __future__ import annotations

import re
from typing import Final

_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_SHAPE: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ns|us|ms|s|m|h)", re.ASCII)
DURATION_NS_MAX: Final = _UNITS_NS["h"]


def parse_duration(text: str) -> int:
    """Nanoseconds of a text such as "250ms" or "1.5s", 0 to one hour; else ValueError."""
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration; write a number and a unit, like 250ms or 1.5s")
    duration_ns = round(float(match[1]) * _UNITS_NS[match[2]])
    if duration_ns > DURATION_NS_MAX:
        raise ValueError(f"{text!r} is longer than 1h, the most the lab takes")
    return duration_ns


def format_duration(duration_ns: int) -> str:
    """The shortest exact text: whole units, the largest that divides."""
    for unit in ("h", "m", "s", "ms", "us"):
        if duration_ns and duration_ns % _UNITS_NS[unit] == 0:
            return f"{duration_ns // _UNITS_NS[unit]}{unit}"
    return f"{duration_ns}ns" if duration_ns else "0s"
