"""The curve of a capacity stage as one SVG file: latency above, goodput below, one axis.

The rule is that of `curve`: the knee is shaded as the interval it lies in, a level is drawn as
within, open or beyond by its sign and not by its colour alone, and where the probe gave out
there is a cross on the axis and no figure. It needs no script, no font and no network.
"""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Final

from probe.report import figures
from probe.report.curve import log_ticks, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.report.curve import Curve, Level

_WIDTH, _HEIGHT = 760, 470
_LEFT, _RIGHT = 70, 28
_HEAD: Final = (
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
    f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">'
)
_LATENCY: Final = (86, 296)  # top and bottom of the upper panel
_GOODPUT: Final = (330, 412)
_INK, _BAD, _FINE, _KNEE, _LIMIT = "#1f3b57", "#b03a2e", "#7d93a8", "#f8ebcc", "#2e7d4f"
_SHARES: Final = (0.0, 0.5, 1.0)
_SIDE: Final = 1.25  # beside the outermost levels, as a ratio
_CHARS: Final = 100
_R: Final = 4.5


def curve_svg(curve: Curve) -> bytes:
    """The curve as an SVG document."""
    parts = [
        _HEAD,
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_Drawing(curve).parts(),
        "</svg>\n",
    ]
    return "\n".join(parts).encode()


class _Drawing:
    """One curve and its axes."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._levels = sorted(curve.levels, key=lambda each: each.level)
        ends = [each.level for each in self._levels]
        ends += [end for end in (curve.low, curve.high) if end]
        self._ends = min(ends) / _SIDE, max(ends) * _SIDE
        self._seen = curve.seen_s

    def parts(self) -> Iterator[str]:
        yield from self._head()
        yield from self._knee()
        yield from self._axes()
        yield from self._latency()
        yield from self._goodput()
        for each in self._levels:
            if each.out:
                yield from self._gave_out(each)

    def _head(self) -> Iterator[str]:
        curve = self._curve
        words = f"{curve.name}: {curve.knee.replace(' (*)', '')}"
        yield _label(12, 20, shorten(words, _CHARS, placeholder=" …"), size=14)
        yield _label(12, 38, shorten(curve.held_to, _CHARS, placeholder=" …"), size=11)
        x, y = 18.0, 56.0
        for status in ("within", "open", "beyond"):
            yield _sign(status, x, y)
            yield _label(x + 9, y + 4, f"{curve.quantile}, {status}", size=11)
            x += 100
        if any(each.median_s for each in self._levels):
            yield _stroke(x - 6, y, x + 8, y, _FINE, dash="2 3")
            yield _label(x + 13, y + 4, "median", size=11)
            x += 78
        if curve.low is not None or curve.high is not None:
            yield f'<rect x="{x:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{_KNEE}"/>'
            yield _label(x + 15, y + 4, "the knee lies in here", size=11)
            x += 142
        if any(each.out for each in self._levels):
            yield _cross(x, y)
            yield _label(x + 10, y + 4, "the probe gave out", size=11)

    def _knee(self) -> Iterator[str]:
        low, high = self._curve.low, self._curve.high
        if low is None and high is None:
            return
        left = _LEFT if low is None else self._x(low)
        right = _WIDTH - _RIGHT if high is None else self._x(high)
        for top, bottom in (_LATENCY, _GOODPUT):
            yield (
                f'<rect x="{left:.1f}" y="{top}" width="{max(right - left, 3):.1f}" '
                f'height="{bottom - top}" fill="{_KNEE}"/>'
            )
        for end, x, anchor in ((low, left - 3, "end"), (high, right + 3, "start")):
            if end is not None:
                yield _label(x, _LATENCY[0] - 5, shown(end, self._curve.unit), anchor=anchor)

    def _axes(self) -> Iterator[str]:
        right = _WIDTH - _RIGHT
        for value in log_ticks(*self._ends):
            x = self._x(value)
            for top, bottom in (_LATENCY, _GOODPUT):
                yield _stroke(x, top, x, bottom, "#eeeeee")
            yield _label(x, _GOODPUT[1] + 30, f"{value:,.10g}", anchor="middle")
        for value in log_ticks(*self._seen) if self._seen else ():
            yield _stroke(_LEFT, self._y(value), right, self._y(value), "#dddddd")
            yield _label(_LEFT - 8, self._y(value) + 4, figures.duration(value), anchor="end")
        for share in _SHARES:
            yield _stroke(_LEFT, _y_share(share), right, _y_share(share), "#dddddd")
            yield _label(_LEFT - 8, _y_share(share) + 4, f"{share * 100:g} %", anchor="end")
        yield _label(_LEFT, _GOODPUT[0] - 8, "served of those offered", size=11)
        middle, curve = (_LEFT + right) / 2, self._curve
        axis = "clients per second" if curve.unit == "/s" else curve.unit
        yield _label(middle, _HEIGHT - 10, axis, anchor="middle")
        if curve.within_s:
            y = self._y(curve.within_s)
            yield _stroke(_LEFT, y, right, y, _LIMIT, dash="6 3")
            yield _label(_LEFT + 4, y - 4, f"limit {figures.duration(curve.within_s)}")
        if curve.goodput_min:
            y = _y_share(curve.goodput_min)
            yield _stroke(_LEFT, y, right, y, _LIMIT, dash="6 3")

    def _latency(self) -> Iterator[str]:
        medians = [
            (self._x(each.level), self._y(each.median_s)) for each in self._levels if each.median_s
        ]
        for (x1, y1), (x2, y2) in pairwise(medians):
            yield _stroke(x1, y1, x2, y2, _FINE, dash="2 3")
        for x, y in medians:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{_FINE}"/>'
        for each in self._levels:
            x = self._x(each.level)
            if each.failed:
                yield _sign(each.status, x, _LATENCY[0] + 8)
                yield _label(x + 9, _LATENCY[0] + 12, "failed", size=11)
            elif each.quantile_s:
                # Without an upper bound it might be anything above.
                top = _LATENCY[0] if each.high_s is None else self._y(each.high_s)
                bottom = self._y(each.low_s or each.quantile_s)
                yield _stroke(x, top, x, bottom, _colour(each.status))
                words = f"{each.shown}: {figures.duration(each.quantile_s)}, {each.status}"
                yield _sign(each.status, x, self._y(each.quantile_s), words)

    def _goodput(self) -> Iterator[str]:
        known = [(each, each.goodput) for each in self._levels if each.goodput is not None]
        places = [(self._x(each.level), _y_share(share)) for each, share in known]
        for (x1, y1), (x2, y2) in pairwise(places):
            yield _stroke(x1, y1, x2, y2, _FINE, dash="2 3")
        for (each, share), (x, y) in zip(known, places, strict=True):
            yield _sign(each.status, x, y, f"{each.shown}: {figures.percent(share)} served")

    def _gave_out(self, each: Level) -> Iterator[str]:
        yield _cross(self._x(each.level), _GOODPUT[1] + 11)

    def _x(self, level: float) -> float:
        return _LEFT + _share_of(level, *self._ends) * (_WIDTH - _LEFT - _RIGHT)

    def _y(self, seconds: float) -> float:
        assert self._seen is not None
        top, bottom = _LATENCY
        return bottom - _share_of(seconds, *self._seen) * (bottom - top)


def _share_of(value: float, low: float, high: float) -> float:
    return min(max(math.log(value / low) / math.log(high / low), 0.0), 1.0)


def _y_share(share: float) -> float:
    top, bottom = _GOODPUT
    return bottom - share * (bottom - top)


def _colour(status: str) -> str:
    return _BAD if status == "beyond" else _INK


def _sign(status: str, x: float, y: float, words: str = "") -> str:
    """A full dot within, a ring open, a full square beyond."""
    title = f"<title>{escape(words)}</title>" if words else ""
    colour = _colour(status)
    if status == "beyond":
        place = f'x="{x - _R:.1f}" y="{y - _R:.1f}" width="{2 * _R}" height="{2 * _R}"'
        return f'<rect {place} fill="{colour}">{title}</rect>'
    fill = colour if status == "within" else "#ffffff"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_R}" fill="{fill}" stroke="{colour}" '
        f'stroke-width="1.5">{title}</circle>'
    )


def _cross(x: float, y: float) -> str:
    return _stroke(x - 4, y - 4, x + 4, y + 4, _BAD) + _stroke(x - 4, y + 4, x + 4, y - 4, _BAD)


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, *, dash: str = "") -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}"{dashed}/>'


def _label(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place}>{escape(words)}</text>"
