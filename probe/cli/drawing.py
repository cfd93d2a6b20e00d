"""Shapes as people look at them: one line of blocks for each, and in words what it brings.

Each block is the highest load in its share of the time, so that a short spike does not vanish
in a long shape; `.` is no load at all. The height is relative to the shape's own highest.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.units import canonical_rate, format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from probe.model.curve import Curve
    from probe.model.plan import Plan
    from probe.model.scenario import Scenario
    from probe.model.shape import Shape

WIDTH: Final = 48
_BLOCKS: Final = "▁▂▃▄▅▆▇█"


def drawn(plan: Plan) -> Iterator[str]:
    """A line for every population of the plan's load stages: name, picture, words."""
    loads = {stage.name: stage.stage for stage in plan.stages if stage.stage.activity == "load"}
    groups = [group for group in plan.groups if group.stage in loads]
    names = [f"{group.stage}.{group.name}" for group in groups]
    width = max(map(len, names), default=0)
    for name, group in zip(names, groups, strict=True):
        shape = group.population.shape
        curve = shape.curve()
        text = f"{name:<{width}}  {picture(curve)}  {words(shape, curve)}"
        budget = loads[group.stage].budget
        if shape.after + curve.span_ns > budget:
            text += f"; cut short by the stage's budget of {format_duration(budget)}"
        yield text


def understood(scenario: Scenario) -> list[str]:
    """What words of other tools were understood as, with where they stand."""
    return [f"{place}: {said}" for place, said in scenario.said()]


def picture(curve: Curve, width: int = WIDTH) -> str:
    """The curve in blocks, `width` of them."""
    span = curve.span_ns
    if not span:
        return _BLOCKS[-1] + "." * (width - 1)
    edges = np.linspace(0, span, width + 1)
    levels = _highest(curve, edges)
    if len(curve.instants):
        counts, _ = np.histogram(curve.instants, edges)
        levels = levels + counts / (span / width / 1e9)
    top = levels.max()
    heights = np.ceil(levels / top * len(_BLOCKS)).astype(int) if top > 0 else np.zeros(width, int)
    return "".join(_BLOCKS[height - 1] if height else "." for height in heights.tolist())


def _highest(curve: Curve, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The highest level between each two edges, steps at an edge counted where they belong."""
    times = np.array([time for time, _ in curve.points], dtype=np.float64)
    levels = np.array([level for _, level in curve.points])
    inside = (edges[1] - edges[0]) / 1000
    found: NDArray[np.float64] = np.maximum(
        np.interp(edges[:-1] + inside, times, levels, right=0.0),
        np.interp(edges[1:] - inside, times, levels, right=0.0),
    )
    place = np.searchsorted(edges, times, side="right") - 1
    within = (place < len(found)) & (times > edges[np.minimum(place, len(found) - 1)])
    np.maximum.at(found, place[within], levels[within])
    return found


def words(shape: Shape, curve: Curve) -> str:
    """`ramp: 5/s to 50/s for 20 s; about 550 arrivals, poisson`."""
    levels = [level for _, level in curve.points]
    low, high = (_level(curve, level) for level in (min(levels), max(levels)))
    noun = "" if curve.open else " clients"
    name = shape.form
    if shape.replay is not None and shape.replay.file is not None:
        name = f"replay of {shape.replay.file}"
    text = f"{name}: {high if curve.flat else f'{low} to {high}'}{noun}"
    if curve.open and not curve.mass:
        text = name
    text += f" for {format_duration(curve.span_ns)}" if curve.span_ns else " at once"
    if shape.after:
        text += f", after {format_duration(shape.after)}"
    count = f"{round(curve.expected):,}"
    if not curve.open:
        many = f"; {count} in all" if curve.expected != curve.top else ""
        if curve.loops:
            return f"{text}{many}, again and again"
        falls = any(after < before for before, after in pairwise(levels))
        return f"{text}{many}, once each{', whom no fall ends' if falls else ''}"
    if not curve.mass:
        return f"{text}; {count} arrivals, each at its own instant"
    if curve.even:
        return f"{text}; {count} arrivals, evenly"
    return f"{text}; about {count} arrivals, poisson"


def _level(curve: Curve, level: float) -> str:
    if curve.open:
        return canonical_rate(float(f"{level:.4g}"))
    return f"{level:g}"
