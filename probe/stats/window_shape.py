"""A step that was declared, a window that was seen: which of the two explains the rows better.

The rule: both are weighed over the same rows by their evidence, each with its own prior, so that
a window pays for the second edge that it has more. Only a ln Bayes factor over 3 counts. A
window one of whose edges lies beyond the range is a step as far as the rows can tell, and the
prior of widths ends at about half of the range: a wider window is not told from a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from probe.stats.window import LN_BF_FOUND, Span
from probe.stats.window_fit import Columns, posterior, quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from probe.stats.window import Space, Stage
    from probe.stats.window_fit import Posterior


@dataclass(frozen=True, slots=True)
class Window:
    """A window that explains rows better than a step does, by `ln_bf` over it.

    `begins_ns` and `ends_ns` are its edges with the posterior's own 95 %, in ns: the edge that
    was not searched for is known only as well as the sweep happened to tell it.
    """

    begins_ns: Span
    ends_ns: Span
    ln_bf: float


def rather_a_window(
    offsets_ns: ArrayLike, anomalies: ArrayLike, stages: Sequence[Stage], space: Space
) -> Window | None:
    """The window that the rows of a declared step fit better; None if a step does as well.

    Takes what `window_fit.fit` takes. Raises ValueError if the columns are not of one length.
    """
    rows = Columns.of(offsets_ns, anomalies, stages).searched()
    if not rows.hit.any():
        return None
    step = posterior(replace(space, kind="step"), rows)
    window = posterior(replace(space, kind="window"), rows)
    gain = _evidence(window) - _evidence(step)
    if gain <= LN_BF_FOUND:
        return None
    grid = window.local.grid if window.local is not None else window.coarse
    mass, _ = grid.mass()
    cells = grid.cells
    begins, ends = (
        Span(middle, low, high)
        for low, middle, high in (
            quantiles(edge, mass, (0.025, 0.5, 0.975)) for edge in (cells.a, cells.b)
        )
    )
    if begins.low <= space.lo_ns or ends.high >= space.hi_ns:
        return None
    return Window(begins, ends, gain)


def _evidence(known: Posterior) -> float:
    """The log of P(rows), on one scale for both: `ln_bf` is over a null of its own."""
    return known.ln_bf + known.coarse.log_null()
