"""How a number is written for people: never more of it than was seen.

Durations have three significant digits. A share that is not the whole never reads 100 %,
and one that is not nothing never reads 0 %. A lower bound is rounded down and an upper
bound up. What is missing (None, or a float that is no number) is "-", never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN
from typing import Any, Final

from probe.units import format_duration, format_share

MISSING: Final = "-"
_UNITS = {"s": "s", "ms": "ms", "mib": "MiB"}
_PER_S: Final = "_per_s"
_RATES = frozenset({"rate", "share", "completeness", "low", "high"})


def duration(seconds: float | None) -> str:
    """Seconds as "37 us", "1.84 s", "2 min 5 s"; "-" where there are none."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    return format_duration(seconds * 1e9) if seconds else "0 s"


def offset(seconds: float | None) -> str:
    """Seconds since a witness began as "+2.1 ms": all in one unit, so that a column reads."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    return f"{seconds * 1e3:+,.1f} ms"


def percent(rate: float | None, rounding: str = ROUND_HALF_EVEN) -> str:
    """A share as "86.1 %", with more decimals near 0 and 100, which it never reads falsely."""
    if rate is None or not math.isfinite(rate):
        return MISSING
    return format_share(rate, rounding)


def at_least(rate: float) -> str:
    """A lower bound of a share, rounded down."""
    return f"at least {percent(rate, ROUND_FLOOR)}"


def amount(value: float | None, unit: str = "") -> str:
    """A number in its unit: "s", "ms", "rate" and "count" are known, any other is appended."""
    if value is None or not math.isfinite(value):
        return MISSING
    match unit:
        case "s":
            return duration(value)
        case "ms":
            return duration(value / 1e3)
        case "rate":
            return percent(value)
        case "/s":
            return f"{value:,.4g}/s"
        case _:
            number = f"{int(value):,}" if value == int(value) else f"{value:.3g}"
            return f"{number} {unit}" if unit not in {"", "count"} else number


def interval(ends: Sequence[float | None] | None, unit: str = "") -> str:
    """Both ends as "[1.2 s, 2.5 s]"; an end that is unbounded or unknown reads "no bound"."""
    if ends is None:
        return MISSING
    low, high = ends
    if unit == "rate":
        texts = (percent(low, ROUND_FLOOR), percent(high, ROUND_CEILING))
    else:
        texts = (amount(low, unit), amount(high, unit))
    return "[{}, {}]".format(*("no bound" if text == MISSING else text for text in texts))


def quantile(entry: Mapping[str, Any]) -> str:
    """One quantile of the summary: its estimate and interval, or what is missing for it.

    `text` (or `missing`) says in words what no number can ("more than 10 s", "failed",
    "needs 368, has 75"), and so does `high`. Where samples depend on each other, the
    interval from blocks stands beside the one that is too narrow.
    """
    if "missing" in entry:
        return str(entry["missing"])
    estimate = str(entry["text"]) if "text" in entry else _end(entry.get("estimate_s"))
    low, high = _end(entry.get("low_s")), _end(entry.get("high_s"))
    if high == MISSING and entry.get("high") not in {None, "unknown"}:
        high = str(entry["high"])
    if low == high == MISSING:
        return estimate
    text = f"{estimate} [{_or_none(low)}, {_or_none(high)}]"
    if "note" in entry:
        text += " too narrow, samples depend on each other"
    if "block_low_s" in entry:
        blocks = (_end(entry["block_low_s"]), _end(entry.get("block_high_s")))
        text += f"; from blocks [{_or_none(blocks[0])}, {_or_none(blocks[1])}]"
    return text


def cell(key: str, value: Any) -> str:  # noqa: PLR0911 -- one return per kind is the plainest table
    """Any value of the summary in words; the key tells the unit (`…_s`, `…rate`)."""
    match value:
        case None | "":
            return MISSING
        case bool():
            return "yes" if value else "no"
        case int() if key.endswith("port"):
            return str(value)  # a name that is a number, no amount
        case int() | float():
            return _bound(key, value) or amount(value, unit_of(key))
        case {"missing": _} | {"estimate_s": _}:
            return quantile(value)
        case Mapping():
            return ", ".join(f"{words(str(k))} {_inner(str(k), v)}" for k, v in value.items())
        case [None | int() | float(), None | int() | float()] if unit_of(key):
            return interval(value, unit_of(key))
        case list() | tuple():
            return ", ".join(cell(key, item) for item in value)
        case _:
            return str(value)


def flat(value: object, prefix: str = "") -> dict[str, Any]:
    """Maps within maps as dotted keys; a list of maps by its numbers."""
    if not isinstance(value, Mapping):
        return {}
    out: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping) and not {"missing", "estimate_s"} & item.keys():
            out |= flat(item, f"{name}.")
        elif isinstance(item, list | tuple) and any(isinstance(one, Mapping) for one in item):
            out |= flat({str(number): one for number, one in enumerate(item)}, f"{name}.")
        else:
            out[name] = item
    return out


def unit_of(key: str) -> str:
    """The unit that a key of the summary ends in; "" for plain numbers."""
    if key.endswith(_PER_S):
        return "/s"
    last = key.rsplit("_", 1)[-1]
    return "rate" if last in _RATES else _UNITS.get(last, "")


def words(key: str) -> str:
    """A key as a heading: without its unit, which the value shows, and with blanks."""
    if key.endswith(_PER_S):
        return key.removesuffix(_PER_S).replace("_", " ")
    head, _, last = key.rpartition("_")
    return (head if head and last in _UNITS else key).replace("_", " ")


def _inner(key: str, value: object) -> str:
    text = cell(key, value)
    return f"({text})" if isinstance(value, Mapping) else text


def _bound(key: str, value: float) -> str:
    """The ends of a rate's interval, rounded away from it; "" for any other key."""
    rounding = {"low": ROUND_FLOOR, "high": ROUND_CEILING}.get(key.rsplit("_", 1)[-1])
    return percent(value, rounding) if rounding else ""


def _end(value: object) -> str:
    return cell("end_s", value)


def _or_none(text: str) -> str:
    return "no bound" if text == MISSING else text
