"""One unit discipline: text such as "250ms" at the edge, int64 nanoseconds inside.

Durations, sizes and rates carry their unit, because a bare 5 means seconds to one reader
and milliseconds to the next; only "0" is the same in every unit. Decimals are read as
exact fractions, so "0.1s" is 100,000,000 ns and nothing is lost on the way; what would
not be a whole nanosecond or byte is refused, not rounded. Every refusal is a ValueError
that says what was found, what is allowed, and one example.

Two ways back to text: `canonical_…` round-trips exactly and goes into files,
`format_duration` is short, rounded to three digits, and goes before human eyes.
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import NoReturn

TEXT_CHARS_MAX = 64
INT64_MAX = 2**63 - 1
RATE_HZ_MIN = 1e-9
RATE_HZ_MAX = 1e9

_NS = {
    "h": 3_600_000_000_000,
    "min": 60_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek mu: what some keyboards give for the same thing
    "ns": 1,
}
_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
_PER_S = {"s": 1, "min": 60, "m": 60, "h": 3600}

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_PART = re.compile(rf"({_NUMBER}) ?([A-Za-z\u00b5\u03bc]+) ?")
_RATE = re.compile(rf"({_NUMBER}) ?/ ?([a-z]+)")
_BARE = re.compile(rf"[+-]?{_NUMBER}")
_FRACTION = re.compile(rf"({_NUMBER}) ?(%?)")

_DURATION_ALLOWED = (
    "a number and a unit (ns, us, ms, s, m or min, h), largest unit first, such as '250ms' "
    "or '1m30s'"
)
_RATE_ALLOWED = "a number per s, min or h, such as '5/s' or '300/min'"
_SIZE_ALLOWED = "a number and a unit (B, KB, KiB, MB, MiB, GB, GiB), such as '64KiB'"
_FRACTION_ALLOWED = "0 to 1 or 0% to 100%, such as '95%' or 0.95"


def duration_ns(text: str | float) -> int:
    """Nanoseconds (>= 0, fits int64) told by text such as "250ms", "0.5s", "1m30s" or "0".

    Numbers are taken only to be refused with a remedy (0 apart): a TOML file may say
    `timeout = 5`. Raises ValueError.
    """
    stripped = _stripped(text, "duration", _DURATION_ALLOWED)
    if stripped is None:
        return 0
    if _BARE.fullmatch(stripped):
        _refuse(f"a duration needs a unit: '{stripped.lstrip('+-')}s'", text, _DURATION_ALLOWED)
    if not stripped:
        _refuse("not a duration", text, _DURATION_ALLOWED)
    total, last, end = Fraction(0), INT64_MAX, 0
    while end < len(stripped):
        part = _PART.match(stripped, end)
        scale = _NS.get(part[2]) if part else None
        if part is None or scale is None:
            _refuse("not a duration", text, _DURATION_ALLOWED)
        if scale >= last:
            _refuse("units must shrink from left to right", text, _DURATION_ALLOWED)
        total, last, end = total + Fraction(part[1]) * scale, scale, part.end()
    return _whole(total, "nanoseconds", text, _DURATION_ALLOWED)


def canonical_duration(ns: int) -> str:
    """Text that `duration_ns` reads back as exactly `ns`: one whole number, largest unit.

    90 s is "90s", not "1m30s". Raises ValueError for what no text can say (below 0,
    beyond int64).
    """
    if not 0 <= ns <= INT64_MAX:
        _refuse("no duration", ns, f"0 to {INT64_MAX} ns, such as 250000000")
    for unit in ("h", "m", "s", "ms", "us"):
        if ns and ns % _NS[unit] == 0:
            return f"{ns // _NS[unit]}{unit}"
    return f"{ns}ns" if ns else "0s"


def format_duration(ns: float) -> str:
    """Short text for people: three significant digits up to a minute, whole units beyond.

    "37 us", "250 ms", "1.84 s", "2 min 5 s", "1 h 3 min". Differences may be negative.
    Rounded: never read it back. Raises ValueError for NaN and infinity.
    """
    if not math.isfinite(ns):
        _refuse("no duration", ns, "a finite number of ns, such as 250000000")
    sign, magnitude = ("-" if ns < 0 else ""), abs(ns)
    for unit, full in (("ns", 1000), ("us", 1000), ("ms", 1000), ("s", 60)):
        # Rounded before it is compared, so that 999.9 us reads "1 ms" and not "1000 us".
        rounded = float(f"{magnitude / _NS[unit]:.3g}")
        if rounded < full:
            return f"{sign if rounded else ''}{rounded:g} {unit}"
    whole_s = round(magnitude / _NS["s"])
    if whole_s < _PER_S["h"]:
        big, small, names = whole_s // 60, whole_s % 60, ("min", "s")
    else:
        whole_min = round(whole_s / 60)
        big, small, names = whole_min // 60, whole_min % 60, ("h", "min")
    return f"{sign}{big} {names[0]}" + (f" {small} {names[1]}" if small else "")


def rate_hz(text: str | float) -> float:
    """Events per second told by text such as "5/s", "300/min", "1000/h" or "0".

    0, or 1e-9 to 1e9 per second. Raises ValueError.
    """
    stripped = _stripped(text, "rate", _RATE_ALLOWED)
    if stripped is None:
        return 0.0
    if _BARE.fullmatch(stripped):
        _refuse(f"a rate needs a unit: '{stripped.lstrip('+-')}/s'", text, _RATE_ALLOWED)
    match = _RATE.fullmatch(stripped)
    seconds = _PER_S.get(match[2]) if match else None
    if match is None or seconds is None:
        _refuse("not a rate", text, _RATE_ALLOWED)
    return _rate_in_range(float(Fraction(match[1]) / seconds), text)


def canonical_rate(hz: float) -> str:
    """Text that `rate_hz` reads back as exactly `hz`, in the unit that says it shortest.

    "5/s", "1000/h". Raises ValueError outside 0 and 1e-9 to 1e9.
    """
    _rate_in_range(hz, hz)
    for unit in ("s", "min", "h"):
        number = _plain(float(f"{hz * _PER_S[unit]:.6g}"))
        if float(Fraction(number) / _PER_S[unit]) == hz:
            return f"{number}/{unit}"
    return f"{_plain(hz)}/s"


def size_bytes(text: str | float) -> int:
    """Bytes (>= 0, fits int64) told by text such as "64KiB", "1.5MB" or "0".

    KB, MB, GB are powers of 1000; KiB, MiB, GiB powers of 1024. Raises ValueError.
    """
    stripped = _stripped(text, "size", _SIZE_ALLOWED)
    if stripped is None:
        return 0
    if _BARE.fullmatch(stripped):
        _refuse(f"a size needs a unit: '{stripped.lstrip('+-')}B'", text, _SIZE_ALLOWED)
    match = _PART.fullmatch(stripped)
    scale = _BYTES.get(match[2]) if match else None
    if match is None or scale is None:
        _refuse("not a size", text, _SIZE_ALLOWED)
    return _whole(Fraction(match[1]) * scale, "bytes", text, _SIZE_ALLOWED)


def fraction(value: str | float) -> float:
    """A share in [0, 1] told by "95%", "0.95", 0.95, 0 or 1. Raises ValueError."""
    if isinstance(value, str):
        stripped = _bounded(value, "fraction", _FRACTION_ALLOWED)
        match = _FRACTION.fullmatch(stripped)
        if match is None:
            _refuse("not a fraction", value, _FRACTION_ALLOWED)
        number = float(Fraction(match[1]) / (100 if match[2] else 1))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) <= 1 else math.inf
    else:
        _refuse("not a fraction", value, _FRACTION_ALLOWED)
    if not 0.0 <= number <= 1.0:
        _refuse("not a fraction", value, _FRACTION_ALLOWED)
    return number


def format_share(rate: float, rounding: str = ROUND_HALF_EVEN) -> str:
    """A share as "86.1 %", with more decimals near 0 and 100, which it never reads falsely.

    `rounding` is one of decimal's: a lower bound goes down, an upper bound up.
    """
    exact = Decimal(repr(float(rate))) * 100
    # As many places as show two digits of the distance from nothing and from the whole.
    places = max(1, 1 - min(exact, 100 - exact).adjusted())
    text = format(exact.quantize(Decimal(1).scaleb(-places), rounding=rounding), "f")
    return f"{text.rstrip('0').rstrip('.')} %"


def _refuse(why: str, found: object, allowed: str) -> NoReturn:
    shown = repr(found)
    if len(shown) > TEXT_CHARS_MAX:
        shown = shown[:TEXT_CHARS_MAX] + "…"
    raise ValueError(f"{why}; found {shown}; allowed: {allowed}")


def _bounded(text: str, noun: str, allowed: str) -> str:
    """The text without surrounding blanks, or a refusal when it is longer than the bound."""
    if len(text) > TEXT_CHARS_MAX:
        _refuse(f"a {noun} has at most {TEXT_CHARS_MAX} characters", text, allowed)
    return text.strip()


def _stripped(text: str | float, noun: str, allowed: str) -> str | None:
    """The text to parse; None for a bare zero, which is the same in every unit."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        _refuse(f"not a {noun}", text, allowed)
    if isinstance(text, str):
        stripped = _bounded(text, noun, allowed)
    elif abs(text) <= INT64_MAX:  # false for NaN too
        stripped = _plain(text)
    else:
        _refuse(f"not a {noun}", text, allowed)
    return None if stripped == "0" else stripped


def _plain(number: float) -> str:
    """The shortest decimal of a number, without an exponent."""
    if isinstance(number, int):
        return str(number)
    return format(Decimal(repr(number)), "f").removesuffix(".0")


def _whole(exact: Fraction, noun: str, found: object, allowed: str) -> int:
    if exact.denominator != 1:
        _refuse(f"not a whole number of {noun}", found, allowed)
    if exact > INT64_MAX:
        _refuse(f"more than {INT64_MAX} {noun}", found, allowed)
    return exact.numerator


def _rate_in_range(hz: float, found: object) -> float:
    if hz != 0 and not RATE_HZ_MIN <= hz <= RATE_HZ_MAX:
        _refuse("a rate is 0 or 1e-9 to 1e9 per second", found, _RATE_ALLOWED)
    return hz
