"""The curve of a capacity stage: level against latency and goodput, as figures and as text.

The rule: a level is drawn as what is proven of it (within, beyond, open), the knee as the
interval that it lies in and never as a point; where the probe gave out nothing is drawn but
that. Levels lie in ratios to each other, so the axes are logarithmic. The text is ASCII and
fits 80 columns; `curve_picture` draws the SVG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from probe.report import figures
from probe.stats.knee import UNFIT_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BAR: Final = 30
TERMINAL_LEVELS_MAX: Final = 9
SIGNS: Final = {"within": "within", "beyond": "BEYOND", "open": "open"}
LEVEL_HEADER: Final = (
    "level", "is", "p50", "quantile", "its 95 % bounds", "served", "repeats", "not fit", "n",
    "done", "under way", "Little's gap",
)  # fmt: skip
_STEPS: Final = (1, 2, 5)
_ROOM: Final = 1.1  # beside the outermost values, as a ratio


@dataclass(frozen=True, slots=True)
class Level:
    """One level; `low_s` and `high_s` are the one-sided bounds of its quantile, None for none.

    `failed`: so many clients failed that the quantile is a failure. `out`: the probe gave out,
    so that nothing is known of the service there.
    """

    level: float
    shown: str
    status: str
    median_s: float | None
    quantile_s: float | None
    low_s: float | None
    high_s: float | None
    goodput: float | None
    failed: bool
    out: bool


@dataclass(frozen=True, slots=True)
class Curve:
    """A climb. `low` and `high` enclose the knee, None where nothing is proven."""

    name: str
    held_to: str
    quantile: str
    unit: str
    state: str
    low: float | None
    high: float | None
    within_s: float | None
    goodput_min: float | None
    levels: tuple[Level, ...]

    @property
    def knee(self) -> str:
        """Where it is, in words."""
        ends = (self.low, self.high)
        low, high = (None if end is None else shown(end, self.unit) for end in ends)
        match low, high:
            case None, None:
                return "no level is proven within or beyond"
            case str(), None:
                return f"the knee (*) is at {low} or above"
            case None, str():
                return f"the knee (*) is below {high}"
            case _:
                return f"the knee (*) is between {low} and {high}"

    @property
    def seen_s(self) -> tuple[float, float] | None:
        """The least and the most of all that is drawn in seconds; None where nothing is."""
        values = [
            value
            for each in self.levels
            for value in (each.median_s, each.quantile_s, each.low_s, each.high_s)
            if value
        ]
        values += [self.within_s] if self.within_s else []
        return (min(values) / _ROOM, max(values) * _ROOM) if values else None


def curves_of(summary: Mapping[str, Any]) -> list[Curve]:
    """The curve of every climb that has a level."""
    found, tables = summary.get("capacity"), summary.get("levels")
    if not isinstance(found, Mapping) or not isinstance(tables, Mapping):
        return []
    return [
        _curve(str(stage), told, tables[stage])
        for stage, told in found.items()
        if tables.get(stage)
    ]


def curve_name(curve: Curve) -> str:
    """The name of its SVG file in the run's folder."""
    return f"capacity-{curve.name}.svg"


def shown(level: float, unit: str) -> str:
    """A level in its unit: "75/s", "1,200 connections"."""
    number = f"{level:,.4g}" if level < 10_000 else f"{level:,.0f}"  # noqa: PLR2004 -- no 1e+04
    return f"{number}{'' if unit.startswith('/') else ' '}{unit}"


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round values between the two: 1, 2 and 5 times a power of ten, or fewer of them."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in (_STEPS, (1,)):
        every = [float(f"{step}e{power}") for power in powers for step in steps]
        inside = [value for value in every if low <= value <= high]
        if len(inside) <= most:
            return inside
    return inside[:: math.ceil(len(inside) / most)]


def curve_lines(curve: Curve, levels_max: int | None = None) -> list[str]:
    """The curve as lines of at most 80 columns: a level each, the quantile on a bar.

    `=` spans the interval of the quantile, `#` is its estimate, `.` the median, `|` the limit;
    `*` marks the levels that enclose the knee, and those between them.
    """
    rows = _nearest(curve, levels_max)
    span = curve.seen_s
    ends = ("", "") if span is None else tuple(figures.duration(end) for end in span)
    name = "level" if curve.unit != "/s" else "rate"
    scale = f"{ends[0]}{ends[1]:>{BAR - len(ends[0])}}"
    head = f"  {name:>8} {'is':<6} {'p50':>8} {curve.quantile:>8} {'served':>7}  {scale}"
    limit = f"; the limit (|) is {figures.duration(curve.within_s)}" if curve.within_s else ""
    lines = [f"{curve.name}: {curve.knee}{limit}", head.rstrip()]
    lines += [_line(curve, row, span) for row in rows]
    if any(row.quantile_s for row in rows):
        lines.append(f"  # {curve.quantile}, = its 95 % bounds, . p50{_signs(curve)}")
    left = len(curve.levels) - len(rows)
    if left:
        lines.append(f"  {left} more {'level is' if left == 1 else 'levels are'} in report.md")
    return lines


def _signs(curve: Curve) -> str:
    """What the other signs mean, of those that are drawn."""
    limit = ", | the limit" if curve.within_s else ""
    known = curve.low is not None or curve.high is not None
    return f"{limit}{', * where the knee may be' if known else ''}"


def _curve(stage: str, told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Curve:
    unit = str(told.get("unit", "/s"))
    quantile, held_to = told.get("quantile"), str(told.get("held_to", ""))
    name = f"p{quantile * 100:.10g}" if quantile else held_to.partition(" ")[0]
    return Curve(
        name=stage,
        held_to=held_to,
        quantile=name,
        unit=unit,
        state=str(told.get("state", "")),
        low=told.get("low", told.get("low_per_s")),
        high=told.get("high", told.get("high_per_s")),
        within_s=told.get("within_s"),
        goodput_min=told.get("goodput_min"),
        levels=tuple(_level(row, unit) for row in rows),
    )


def _level(row: Mapping[str, Any], unit: str) -> Level:
    level, unfit = float(row.get("level", row["rate_per_s"])), row.get("unfit") or 0
    return Level(
        level=level,
        shown=shown(level, unit) if unit == "/s" else f"{level:,.4g}",
        status=str(row["status"]),
        median_s=row.get("median_s"),
        quantile_s=row.get("quantile_s"),
        low_s=row.get("quantile_low_s"),
        high_s=row.get("quantile_high_s"),
        goodput=row.get("goodput_rate"),
        failed="errors" in str(row.get("broken", "")),
        out=row["status"] == "open" and (unfit >= UNFIT_MAX or bool(unfit and not row.get("n"))),
    )


def _nearest(curve: Curve, most: int | None) -> list[Level]:
    """As many levels as there is room for: the lowest, and those about the knee."""
    rows = sorted(curve.levels, key=lambda each: each.level)
    if most is None or len(rows) <= most:
        return rows
    ends = [end for end in (curve.low, curve.high) if end]
    middle = math.sqrt(ends[0] * ends[-1]) if ends else rows[-1].level
    near = sorted(rows[1:], key=lambda each: abs(math.log(each.level / middle)))[: most - 1]
    return [each for each in rows if each in near or each is rows[0]]


def _line(curve: Curve, row: Level, span: tuple[float, float] | None) -> str:
    low, high = curve.low or 0.0, curve.high or math.inf
    known = curve.low is not None or curve.high is not None
    mark = "*" if known and low <= row.level <= high else " "
    quantile = "failed" if row.failed else figures.duration(row.quantile_s)
    text = (
        f"{mark} {row.shown:>8} {SIGNS.get(row.status, row.status):<6} "
        f"{figures.duration(row.median_s):>8} {quantile:>8} {_share(row.goodput):>7}"
    )
    if row.out and row.quantile_s is None:
        return f"{text}  the probe gave out here"
    return f"{text}  {_bar(curve, row, span)}".rstrip()


def _share(goodput: float | None) -> str:
    return figures.MISSING if goodput is None else figures.percent(goodput)


def _bar(curve: Curve, row: Level, span: tuple[float, float] | None) -> str:
    if span is None:
        return ""
    signs = [" "] * BAR
    if curve.within_s:
        signs[_place(curve.within_s, span)] = "|"
    if row.quantile_s is None:
        return "".join(signs).rstrip()
    low = _place(row.low_s or row.quantile_s, span)
    high = BAR - 1 if row.high_s is None else _place(row.high_s, span)
    for place in range(low, high + 1):
        signs[place] = "="
    if row.median_s:
        signs[_place(row.median_s, span)] = "."
    if curve.within_s:
        signs[_place(curve.within_s, span)] = "|"
    signs[_place(row.quantile_s, span)] = "#"
    return "".join(signs).rstrip()


def _place(value: float, span: tuple[float, float]) -> int:
    share = math.log(value / span[0]) / math.log(span[1] / span[0])
    return min(max(round(share * (BAR - 1)), 0), BAR - 1)


def level_rows(told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Each level as a row of a table; see LEVEL_HEADER."""
    unit, out = str(told.get("unit", "/s")), []
    for row in rows:
        level = _level(row, unit)
        broken = f": {row['broken']}" if row.get("broken") else ""
        out.append(
            [
                shown(level.level, unit),
                f"{level.status}{broken}",
                figures.duration(level.median_s),
                "failed" if level.failed else figures.duration(level.quantile_s),
                figures.interval((level.low_s, level.high_s), "s") if row.get("n") else "-",
                _share(level.goodput),
                *(figures.cell(key, row.get(key)) for key in ("repeats", "unfit", "n")),
                figures.cell("done_per_s", row.get("done_per_s")),
                figures.cell("clients", row.get("clients")),
                figures.percent(row.get("little_gap")),
            ]
        )
    return out


def capacity_rows(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is known of a knee and of scaling, as (what, value)."""
    unit = str(told.get("unit", "/s"))
    for key, label in (("low", "within up to"), ("high", "beyond from"), ("most", "the ceiling")):
        value = told.get(key, told.get(f"{key}_per_s"))
        if value is not None:
            yield label, shown(value, unit)
    for key in ("held_to", "first_limit", "why"):
        if told.get(key):
            yield figures.words(key), figures.cell(key, told[key])
    if told.get("scaling_without"):
        yield "left out of scaling (Little's law)", figures.cell("", told["scaling_without"])
    scaling = told.get("scaling")
    for key, value in (scaling or {}).items():
        yield f"scaling: {figures.words(str(key))}", figures.cell(str(key), value)
