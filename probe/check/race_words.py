"""Offsets of a race in sentences: as many digits as their interval allows, and which side.

The rule: a number is never told more closely than it was found, and an interval always stands
beside it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from probe.check.words import counted, duration

if TYPE_CHECKING:
    from probe.stats.window import Fit, Span

_UNITS: Final = (("s", 1e9), ("ms", 1e6), ("us", 1e3))
_DIGITS_MAX: Final = 6
_HAIR: Final = 1e-6  # what a binary fraction may lie beside a decimal one
_ALWAYS: Final = 0.95  # a rate that is not told from always
_FEW: Final = 3  # an interval whose first digit is below that is told with one digit more


def offset(ns: float) -> str:
    """An offset with its sign, such as "+12.3 ms" or "-400 us"."""
    return f"{'+' if ns > 0 else ''}{duration(ns)}" if ns else "0 ms"


def apart(one_ns: float, other_ns: float) -> tuple[str, str]:
    """Two offsets with as many digits as tell them apart."""
    name, unit = _unit(max(abs(one_ns), abs(other_ns)))
    digits = _digits(abs(one_ns - other_ns) / unit / 2)
    here, there = (f"{ns / unit:+.{digits}f} {name}" for ns in (one_ns, other_ns))
    return (here, there) if here != there else (offset(one_ns), offset(other_ns))


def told(span: Span) -> str:
    """A value as 12.3 ms (95 %: 10.1 to 13.8 ms); below zero with its sign."""
    value, low, high, unit = digits_of(span)
    return f"{value} {unit} (95 %: {low} to {high} {unit})"


def digits_of(span: Span) -> tuple[str, str, str, str]:
    """A value, both ends of its interval, and their unit, with as many digits as that allows.

    An interval is rounded outwards: the last digit is not to cut off what it holds.
    """
    name, unit = _unit(max(abs(span.value), span.half))
    digits = _digits(span.half / unit)
    ten = 10.0**digits
    value = f"{span.value / unit:.{digits}f}"
    low = f"{math.floor(span.low / unit * ten + _HAIR) / ten:.{digits}f}"
    high = f"{math.ceil(span.high / unit * ten - _HAIR) / ten:.{digits}f}"
    return value, low, high, name


def took(ns: float) -> str:
    """A time that something took, in two digits."""
    name, unit = _unit(abs(ns))
    return f"{float(f'{ns / unit:.2g}'):g} {name}"


def beside(span: Span, since: str) -> str:
    """When the swept action came: "12 ms (95 %: …) after the refresh", or "before" it."""
    if span.high < 0:
        turned = type(span)(-span.value, -span.high, -span.low)
        return f"{told(turned)} before {since}"
    if span.low < 0:
        return f"at {told(span)} from {since}"
    return f"{told(span)} after {since}"


def some(noun: str) -> str:
    """The noun with its article."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def confirmation(fit: Fit, at_ns: float, control_ns: float) -> str:
    """How often it came again on fresh trials, at the window and far from it."""
    found = fit.confirm
    if found is None:
        return "not confirmed: no fresh trials were made"
    here, there = apart(at_ns, control_ns)
    words = f"{found.k1} of {found.n1} at {here}, {found.k0} of {found.n0} at {there}"
    if found.confirmed:
        return f"reproduced {words}"
    words = f"not confirmed: {words} (Fisher, one-sided: p = {found.p_value:.2g})"
    short = found.n_needed is not None and min(found.n1, found.n0) < found.n_needed
    return words + (f"; {found.n_needed} at each would tell" if short else "")


def share(fit: Fit) -> str:
    """How often it goes wrong where it does, " in some 30 % of trials (95 %: …)", unless always."""
    rate = fit.rate
    if rate is None or rate.value >= _ALWAYS:
        return ""
    low, high = math.floor(rate.low * 100), math.ceil(rate.high * 100)
    return f" in some {rate.value * 100:.2g} % of trials (95 %: {low} to {high} %)"


def exposure(fit: Fit, low_ns: int, high_ns: int) -> str:
    """How much there can be of it: width times probability."""
    if fit.exposure_most_ns is None:
        return ""
    most = duration(min(fit.exposure_most_ns, high_ns - low_ns))
    if fit.exposure_ns is None:
        return f"its exposure (width times probability) is at most {most} (95 %)"
    about = duration(max(fit.exposure_ns.value, 0.0))
    return f"its exposure (width times probability) is {about}, at most {most} (95 %)"


def trials(n: int) -> str:
    """A number of trials."""
    return counted(n, "trial")


def _unit(ns: float) -> tuple[str, float]:
    return next(((name, unit) for name, unit in _UNITS if ns >= unit), _UNITS[-1])


def _digits(half: float) -> int:
    if half <= 0:
        return 3
    power = math.floor(math.log10(half))
    digits = 1 - power if half / 10.0**power < _FEW else -power
    return min(max(0, digits), _DIGITS_MAX)
