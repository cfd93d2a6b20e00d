"""A plot as one SVG file: the found interval, rates with theirs, and every trial.

The rule: what was found is shaded, never guessed from the points; a rate of few trials is drawn
faint, a rate of many large. Each trial is a stroke at its measured offset, above where it went
wrong and below where it held. It needs no script, no font and no network.
"""

from __future__ import annotations

import math
from html import escape
from textwrap import shorten, wrap
from typing import TYPE_CHECKING, Final

from probe.report import figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.report.plots import Plot, Point

_WIDTH, _HEIGHT = 760, 392
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 98, 82
_RATES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_TICKS_MAX: Final = 8
_STEPS: Final = (1, 2, 5)
_UNITS: Final = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_INK, _MARK, _FOUND, _WINDOW, _FINE = "#1f3b57", "#b03a2e", "#eec06a", "#f8ebcc", "#7d93a8"
_HEAD: Final = (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
    f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
)
_TITLE_CHARS, _TITLE_LINES = 96, 2
_FEW: Final = 5
_FAINT: Final = 0.2
_SMALL, _LARGE = 2.0, 7.0
_MANY: Final = 50  # trials from which on a point grows no more
_RUG: Final = 8
_GAP: Final = 10  # between the rates and the strokes, which have a label each
_THIN: Final = 3.0
_COUNTS: Final = 70.0  # within so little of the end a label is set inwards


def svg(plot: Plot) -> bytes:
    """The plot as an SVG document."""
    parts = [
        _HEAD,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_title(plot),
        *_found(plot),
        *_axes(plot),
        *_rug(plot),
        *(part for point in plot.points for part in _rate(plot, point, _INK)),
        *(part for point in plot.marks for part in _rate(plot, point, _MARK)),
        *(_counts(plot, point) for point in plot.marks),
        "</svg>\n",
    ]
    return "\n".join(parts).encode()


def ticks(low: float, high: float) -> list[float]:
    """Round values from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, at most 8."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / _TICKS_MAX))
    step = next(
        each * power
        for each in (*_STEPS, 10 * _STEPS[0], 10 * _STEPS[1])
        if span / (each * power) < _TICKS_MAX
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _title(plot: Plot) -> Iterator[str]:
    lines = wrap(plot.title, _TITLE_CHARS) or [""]
    if len(lines) > _TITLE_LINES:
        rest = " ".join(lines[_TITLE_LINES - 1 :])
        last = shorten(rest, _TITLE_CHARS, placeholder=" …")
        lines = [*lines[: _TITLE_LINES - 1], last]
    for number, words in enumerate(lines):
        yield _label(12, 20 + 17 * number, words, size=14)
    x, y = 12.0, 24.0 + 17 * len(lines)
    for colour, words in _legend(plot):
        yield f'<rect x="{x:.1f}" y="{y - 2:.1f}" width="9" height="9" fill="{colour}"/>'
        yield _label(x + 13, y + 7, words, size=11)
        x += 13 + 5.9 * len(words) + 12


def _legend(plot: Plot) -> list[tuple[str, str]]:
    """What each colour is, as far as it is there."""
    words = [(_INK, "rate, 95 % (faint: under 5 trials)")] if plot.points else []
    if plot.marks:
        words.append((_MARK, "fresh trials"))
    if plot.spike is not None:
        words.append((_WINDOW, "the spike"))
    if plot.told is not None:
        words.append((_FOUND, "found (95 %)"))
        words += [(_WINDOW, "the window")] if plot.told.width_s else []
    return words


def _found(plot: Plot) -> Iterator[str]:
    """The window and the interval of what was found, at least as wide as can be seen."""
    told = plot.told
    if plot.spike is not None:
        yield _band(plot, *plot.spike, _WINDOW)
    if told is None:
        return
    if told.width_s:
        half = told.width_s / 2
        yield _band(plot, told.value_s - half, told.value_s + half, _WINDOW)
    yield _band(plot, told.low_s, told.high_s, _FOUND)


def _band(plot: Plot, low_s: float, high_s: float, colour: str) -> str:
    left, right = _x(plot, low_s), _x(plot, high_s)
    wide = max(right - left, _THIN)
    left = min(max((left + right - wide) / 2, _LEFT), _WIDTH - _RIGHT - wide)
    return (
        f'<rect x="{left:.1f}" y="{_TOP}" width="{wide:.1f}" '
        f'height="{_HEIGHT - _BOTTOM - _TOP}" fill="{colour}"/>'
    )


def _axes(plot: Plot) -> Iterator[str]:
    for rate in _RATES:
        yield _line(_LEFT, _y(rate), _WIDTH - _RIGHT, _y(rate), "#dddddd")
        yield _label(_LEFT - 8, _y(rate) + 4, f"{rate * 100:g} %", anchor="end")
    # One unit for all, so that no two of them have to be compared in the head.
    most = max(abs(plot.from_s), abs(plot.to_s))
    unit, size = next((each for each in _UNITS if most >= each[1]), _UNITS[-1])
    bottom = _HEIGHT - _BOTTOM
    for at in ticks(plot.from_s / size, plot.to_s / size):
        x = _x(plot, at * size)
        yield _line(x, bottom + _GAP + _RUG + 2, x, bottom + _GAP + _RUG + 6, _INK)
        yield _label(x, bottom + _GAP + _RUG + 20, f"{at:,.10g} {unit}", anchor="middle")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    axis = plot.axis + (f", counted from {plot.since}" if plot.since else "")
    axis = shorten(axis, _TITLE_CHARS, placeholder=" …")
    yield _label(middle, _HEIGHT - 12, axis, anchor="middle")


def _rug(plot: Plot) -> Iterator[str]:
    """A stroke for each trial: those that went wrong above, those that held below."""
    if not plot.trials:
        return
    above, below = _TOP - _RUG - _GAP, _HEIGHT - _BOTTOM + _GAP
    yield _label(_LEFT - 8, above + _RUG, "wrong", anchor="end", size=11)
    yield _label(_LEFT - 8, below + _RUG, "held", anchor="end", size=11)
    for at_s, wrong in plot.trials:
        if plot.from_s <= at_s <= plot.to_s:
            x, y = _x(plot, at_s), above if wrong else below
            yield _line(x, y, x, y + _RUG, _MARK if wrong else _FINE)


def _rate(plot: Plot, point: Point, colour: str) -> list[str]:
    """A rate: its interval as a bar, and a point that grows with its trials."""
    x, n = _x(plot, (point.from_s + point.to_s) / 2), point.n
    share = math.sqrt(min(n, _MANY) / _MANY)
    radius = _SMALL + (_LARGE - _SMALL) * share
    faint = f' opacity="{_FAINT}"' if n < _FEW else ""
    words = f"{point.label + ': ' if point.label else ''}{n} trials, {figures.percent(point.rate)}"
    title = f"<title>{escape(words)}</title>"
    bar = _line(x, _y(point.low), x, _y(point.high), colour)
    dot = (
        f'<circle cx="{x:.1f}" cy="{_y(point.rate):.1f}" r="{radius:.1f}" fill="{colour}">'
        f"{title}</circle>"
    )
    return [f"<g{faint}>", bar, dot, "</g>"]


def _counts(plot: Plot, point: Point) -> str:
    """How many of how many, beside the point and readable over all else."""
    x, y = _x(plot, (point.from_s + point.to_s) / 2), _y(point.rate) + 4
    left = x > _WIDTH - _RIGHT - _COUNTS
    words = f"{round(point.rate * point.n)} of {point.n}"
    label = _label(x + (-10 if left else 10), y, words, anchor="end" if left else "start", size=11)
    return label.replace("<text ", '<text paint-order="stroke" stroke="#ffffff" stroke-width="4" ')


def _x(plot: Plot, at_s: float) -> float:
    share = (at_s - plot.from_s) / (plot.to_s - plot.from_s)
    return _LEFT + min(max(share, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT)


def _y(rate: float) -> float:
    return _HEIGHT - _BOTTOM - rate * (_HEIGHT - _TOP - _BOTTOM)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _label(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}>{escape(words)}</text>"
