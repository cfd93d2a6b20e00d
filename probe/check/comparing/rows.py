"""The rows of a comparison: each figure before and now, its change, and what that says.

The rule: heads of all stages are one family (Holm), and what stands below a head is judged only
where the head was found to differ, so that many rows raise no false alarm that few would not.
Of one run each, with nothing known of how much runs of the same thing differ, only a change
beyond `UNKNOWN` is called one, and no timing is called the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy import special

from probe.stats.binomial import ALPHA
from probe.stats.compare import (
    RANKS_MIN,
    Difference,
    Spread,
    decided,
    pairs_difference,
    runs_difference,
    sides_difference,
    spread_of,
)
from probe.stats.sides import quantile_side, rate_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.comparing.figures import End, Figure, Scale
    from probe.check.comparing.taken import Taken
    from probe.stats.compare import How, Said, Side

Unit = Literal["s", "rate", "/s"]
ChangeUnit = Literal["relative", "points", "s"]
SMALL: Final = 0.05
"""What a timing, a knee or a span may change by and still be called the same."""
UNKNOWN: Final = 0.5
"""The margin of two single runs, where nothing is known of runs of the same thing."""
SHARE_SMALL: Final = 0.01
SPAN_SMALL_S: Final = 3e-3
NS: Final = 1e9
_CHANGES: Final[dict[Scale, ChangeUnit]] = {"log": "relative", "share": "points", "span": "s"}


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, before and now.

    `change`, `interval`, `margin` and `noise` are of `change_unit`: "relative" (0.1 is 10 %
    more), "points" (of a share) or "s". An end that is not bounded is None. A change has to be
    beyond `margin`; `noise` is what two runs of the same thing differ by in 95 of 100 pairs,
    None where that is not known. `ends` say where `before` and `now` are but the proven end of
    what is known. Where nothing could be judged, `why` says what is missing.
    """

    stage: str
    name: str
    head: str
    unit: Unit
    more_is_worse: bool
    before: float | None
    now: float | None
    n: tuple[int, int]
    change_unit: ChangeUnit
    change: float | None = None
    interval: tuple[float | None, float | None] | None = None
    margin: float | None = None
    noise: float | None = None
    said: Said = "undecided"
    how: How | Literal[""] = ""
    why: str = ""
    ends: tuple[End, End] = ("", "")

    @property
    def judged(self) -> bool:
        """Whether there was anything to judge."""
        return not self.why


@dataclass(frozen=True, slots=True, eq=False)
class Arms:
    """Runs whose figures can stand beside each other; where `paired`, the k-th of both do.

    `course`: runs of the same thing in the order of time; `small`: see SMALL.
    """

    before: Sequence[Taken]
    now: Sequence[Taken]
    course: Sequence[Taken] = ()
    paired: bool = False
    small: float = SMALL


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A row before it is judged; without a difference there is nothing to judge."""

    row: Row
    found: Difference | None = None


def rows_of(stages: Sequence[tuple[str, Arms]]) -> list[Row]:
    """All rows of these stages, judged together, in the order in which a run tells its figures."""
    made = [each for stage, arms in stages for each in _stage(stage, arms)]
    out = [each.row for each in made]
    sure = [k for k, each in enumerate(made) if each.found is not None]
    heads = [k for k in sure if not out[k].head]
    _judge(out, made, heads)
    moved = {
        (out[k].stage, name)
        for k in heads
        for name in (out[k].name, out[k].name.rpartition(" p")[0])
        if out[k].said in ("worse", "better")
    }
    below = [k for k in sure if (out[k].stage, out[k].head) in moved]
    _judge(out, made, below)
    for k in set(sure) - set(heads) - set(below):
        out[k] = replace(out[k], why=f"{out[k].head} was not found to differ")
    return out


def _stage(stage: str, arms: Arms) -> list[_Made]:
    names: dict[str, Figure] = {}
    for taken in (*arms.now, *arms.before):
        for figure in taken.figures.values():
            if figure.stage == stage:
                names.setdefault(figure.id, figure)
    return [_made(figure, arms) for figure in names.values()]


def _judge(out: list[Row], made: Sequence[_Made], family: Sequence[int]) -> None:
    for k, said in zip(family, decided([_case(made[k]) for k in family]), strict=True):
        out[k] = replace(out[k], said=said)


def _case(made: _Made) -> tuple[Difference, float, float]:
    """A difference of which more is worse, with its margin and what is too small to matter."""
    row, found = made.row, made.found
    assert found is not None
    assert row.margin is not None
    margin = math.log1p(row.margin) if row.change_unit == "relative" else row.margin
    # Within one run each, what differs from run to run was not seen: nothing is the same.
    unsure = found.how == "blocks" and row.change_unit != "points"
    return (found if row.more_is_worse else _turned(found)), margin, -1.0 if unsure else margin


def _turned(found: Difference) -> Difference:
    def at(alpha: float) -> tuple[float, float]:
        low, high = found.at(alpha)
        return -high, -low

    return Difference(-found.value, at, found.how)


def _made(some: Figure, arms: Arms) -> _Made:
    sides = [_figures(arm, some.id) for arm in (arms.before, arms.now)]
    values = [_plain(some, each) for each in sides]
    unit: Unit = "rate" if some.scale == "share" else "/s" if some.name == "knee" else "s"
    row = Row(
        some.stage, some.name, some.head, unit, some.more_is_worse, values[0], values[1],
        (sum(each.n for each in sides[0]), sum(each.n for each in sides[1])),
        _CHANGES[some.scale], ends=(_end(sides[0]), _end(sides[1])),
    )  # fmt: skip
    for each, arm, word in zip(sides, (arms.before, arms.now), ("before", "now"), strict=True):
        if not each:
            fit = any(not taken.why_not for taken in arm)
            why = f"too little of it came {word}" if fit else f"no run was fit {word}"
            return _Made(replace(row, why=why))
    found, spread = _difference(some, sides, arms)
    if found is None:
        return _Made(replace(row, why="too few runs, or too little in each"))
    low, high = found.at(ALPHA)
    return _Made(
        replace(
            row,
            change=_change(some.scale, found.value),
            interval=(_change(some.scale, low), _change(some.scale, high)),
            margin=_margin(some.scale, row.before or 0.0, arms.small, found.how),
            noise=None if spread is None else _noise(some.scale, spread),
            how=found.how,
        ),
        found,
    )


def _figures(arm: Sequence[Taken], name: str) -> list[Figure]:
    fit = [taken for taken in arm if not taken.why_not]
    return [taken.figures[name] for taken in fit if name in taken.figures]


def _difference(
    some: Figure, sides: Sequence[Sequence[Figure]], arms: Arms
) -> tuple[Difference | None, Spread | None]:
    """The difference by the way that the runs allow, and how much runs of the same thing differ."""
    before, now = sides
    if some.counts is not None:
        return sides_difference(_pooled(before), _pooled(now)), None
    values = [np.array([e.side.value for e in side if e.each]) for side in sides]
    if arms.paired and len(arms.before) > 1:
        shifts = _shifts(some.id, arms)
        spread = spread_of([shifts])
        # What varies is a difference of two runs.
        own = None if spread is None else Spread(spread.sd / math.sqrt(2), spread.dof)
        return pairs_difference(shifts) or _all_samples(before, now), own
    course = np.array([e.side.value for e in _figures(arms.course, some.id) if e.each])
    spread = spread_of(values, course)
    if min(map(len, values)) and (found := runs_difference(values[0], values[1], spread)):
        return found, spread
    if len(before) == len(now) == 1:
        return sides_difference(before[0].side, now[0].side), None
    return _all_samples(before, now), spread


def _all_samples(before: Sequence[Figure], now: Sequence[Figure]) -> Difference | None:
    """A quantile for which each run is too short, from all samples of many runs, by run."""
    sides = []
    for arm in (before, now):
        runs = [figure.samples for figure in arm if figure.samples is not None]
        if len(runs) < RANKS_MIN:
            return None
        values = np.concatenate([series for series, _ in runs])
        groups = np.repeat(np.arange(len(runs)), [len(series) for series, _ in runs])
        sides.append(quantile_side(values, groups, runs[0][1]))
    if not all(math.isfinite(side.value) for side in sides):
        return None
    return replace(sides_difference(sides[0], sides[1]), how="pooled")


def _shifts(name: str, arms: Arms) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One difference for each pair of which both runs were fit and have the figure."""
    out = []
    for pair in zip(arms.before, arms.now, strict=True):
        both = [taken.figures.get(name) for taken in pair if not taken.why_not]
        values = [figure.side.value for figure in both if figure is not None and figure.each]
        if len(values) == len(pair):
            out.append(values[1] - values[0])
    return np.array(out)


def _pooled(figures: Sequence[Figure]) -> Side:
    """A share over all runs: by run where there are many and any failed, else by cluster."""
    counts = [figure.counts for figure in figures if figure.counts is not None]
    failed = any((hits < trials).any() for hits, trials in counts)
    if failed and len(counts) >= RANKS_MIN:
        sums = np.array([(int(hits.sum()), int(trials.sum())) for hits, trials in counts])
        return rate_side(sums[:, 0], sums[:, 1])
    return rate_side(
        np.concatenate([hits for hits, _ in counts]),
        np.concatenate([trials for _, trials in counts]),
    )


def _end(figures: Sequence[Figure]) -> End:
    """Of several runs that of the first which has one."""
    return next((figure.end for figure in figures if figure.end), "")


def _plain(some: Figure, figures: Sequence[Figure]) -> float | None:
    """The value of an arm in the row's unit: over runs the median, of a share the whole."""
    if not figures:
        return None
    if some.scale == "share":
        return _pooled(figures).value
    value = float(np.median([figure.side.value for figure in figures]))
    if some.scale == "span":
        return value
    return math.exp(value) if some.name == "knee" else math.exp(value) / NS


def _change(scale: Scale, value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return math.expm1(value) if scale == "log" else value


def _margin(scale: Scale, before: float, small: float, how: How) -> float:
    """In the unit of the change."""
    if scale == "share":
        return SHARE_SMALL
    share = max(small, UNKNOWN) if how == "blocks" else small
    return share if scale == "log" else max(SPAN_SMALL_S, share * abs(before))


def _noise(scale: Scale, spread: Spread) -> float | None:
    times = float(special.stdtrit(spread.dof, 1 - ALPHA / 2)) * math.sqrt(2)
    return _change(scale, times * spread.sd)
