"""Completeness: of each event type, the share that came, and the gate over it.

The rule (docs/methods.md, Delivery): with D delivered, L lost and I unknown the share lies
within D / (D + L + I) and (D + I) / (D + L + I). PASS needs the lower 95 % bound of the
former at the limit for every type, FAIL the upper bound of the latter below it for one
(Bonferroni over the types); both are clustered by session. A limit of 100 % is an absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from probe.check.bound import smallest, unmeasured, withheld
from probe.check.delivery.units import GAP_LOST, LOST, UNKNOWN
from probe.check.verdict import Check, Outcome
from probe.check.words import at_least, at_most, counted, of, percent, were
from probe.stats.binomial import ALPHA
from probe.stats.clusters import clustered
from probe.stats.rates import n_for_zero, zero_bound

if TYPE_CHECKING:
    from probe.check.delivery.units import Units
    from probe.model.scenario import Delivery
    from probe.stats.clusters import Clustered

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Shares:
    """Events by session and column, int64[sessions, columns] each."""

    delivered: Ints
    lost: Ints
    unknown: Ints

    @property
    def all(self) -> Ints:
        """All that are judged."""
        return self.delivered + self.lost + self.unknown

    def judged(self) -> list[int]:
        """Columns with events."""
        return np.flatnonzero(self.all.sum(axis=0)).tolist()

    def bounds(self, k: int) -> tuple[float, float]:
        """The two ends of the share of one column."""
        d, lost, unknown = (int(x[:, k].sum()) for x in (self.delivered, self.lost, self.unknown))
        n = d + lost + unknown
        return d / n, (d + unknown) / n

    def unsure(self, k: int) -> float:
        """The share of one column of which it is not known."""
        return float(self.unknown[:, k].sum() / self.all[:, k].sum())


def shares_of(units: Units) -> Shares:
    """What came, by session and column; stalls of ours and gaps are left out."""
    sessions, place = units.clusters
    width = units.rules.width
    shape = (len(sessions), width)
    receipts = units.receipts
    code = place[receipts.run[units.own]] * width + receipts.type[units.own]
    delivered = np.bincount(code, minlength=shape[0] * width).reshape(shape)
    # Another numbered message is nobody's loss; a hole of which no type is known is.
    delivered[:, width - 1] = 0

    def lacking(what: int) -> Ints:
        rows = units.lacking(what)
        code = place[rows["run"]] * width + rows["type"]
        sums = np.bincount(code, weights=rows["count"], minlength=shape[0] * width)
        return sums.astype(np.int64).reshape(shape)

    return Shares(delivered, lacking(LOST), lacking(UNKNOWN))


def complete(units: Units, limit: Delivery) -> Check:
    """`<stage>.delivery.complete`."""
    view, shares = units.view, shares_of(units)
    what = "delivery.complete"
    columns = shares.judged()
    if not columns:
        why = "no event was due"
        return unmeasured(view, what, "bound", why, required=limit.required)
    ordered = sorted(columns, key=lambda k: (shares.bounds(k)[0], -int(shares.lost[:, k].sum())))
    worst = ordered[0]
    judged = _absence if limit.completeness >= 1 else _bound
    return judged(units, limit, shares, columns, worst)


def _absence(
    units: Units, limit: Delivery, shares: Shares, columns: list[int], worst: int
) -> Check:
    lost, unknown = int(shares.lost.sum()), int(shares.unknown.sum())
    n = int(shares.all.sum()) - unknown
    gaps = int(units.lacking(GAP_LOST)["count"].sum())
    sessions = int((shares.all.sum(axis=1) > 0).sum())
    verdict = Outcome.FAIL if lost else Outcome.PASS
    if lost:
        words = f"{of(lost, n, 'event')} {were(lost)} lost"
    else:
        words = (
            f"0 of {counted(n, 'event')} were lost, {at_most(zero_bound(n))}; of "
            f"{counted(sessions, 'session')} {at_most(zero_bound(sessions))} lose any"
        )
    if unknown:
        words += f"; of {unknown:,} more it is not known"
    if gaps:
        words += f"; {gaps:,} more were missed while the client was away"
    return _check(units, limit, shares, columns, worst, verdict, words, None)


def _bound(units: Units, limit: Delivery, shares: Shares, columns: list[int], worst: int) -> Check:
    target, all_ = limit.completeness, shares.all
    sure = {k: clustered(shares.delivered[:, k], all_[:, k]) for k in columns}
    best = {
        k: clustered(shares.delivered[:, k] + shares.unknown[:, k], all_[:, k]) for k in columns
    }
    p_fail = min(1.0, len(columns) * min(best[k].p_at_least(target) for k in columns))
    if all(sure[k].low >= target for k in columns):
        verdict, words = Outcome.PASS, f"{at_least(sure[worst].low)} of every event type came"
    elif p_fail <= ALPHA:
        verdict = Outcome.FAIL
        worst = min(columns, key=lambda k: best[k].p_at_least(target))
        words = f"{at_most(best[worst].high)} of {units.rules.names[worst]} came"
    else:
        verdict, words = Outcome.INCONCLUSIVE, _short_of(sure[worst], target)
    return _check(units, limit, shares, columns, worst, verdict, words, (p_fail, sure[worst]))


def _short_of(seen: Clustered, target: float) -> str:
    if seen.hits == seen.trials:
        return (
            f"to decide it would take about {n_for_zero(1 - target):,} sessions without a loss, "
            f"there are {seen.clusters:,}"
        )
    return f"more sessions would be needed: {counted(seen.clusters, 'session')} bound too little"


def _check(
    units: Units,
    limit: Delivery,
    shares: Shares,
    columns: list[int],
    worst: int,
    verdict: Outcome,
    words: str,
    gate: tuple[float, Clustered] | None,
) -> Check:
    view, absence = units.view, gate is None
    low, high = shares.bounds(worst)
    lost, unsure = int(shares.lost.sum()), max(shares.unsure(k) for k in columns)
    sessions = int((shares.all.sum(axis=1) > 0).sum())
    message = f"{words}; limit {percent(limit.completeness)}"
    if low < 1:
        share = f"between {percent(low)} and {percent(high)}" if high > low else percent(low)
        message = f"{words}; worst: {units.rules.names[worst]}, of which {share} came"
        message += f"; limit {percent(limit.completeness)}"
    if verdict is Outcome.PASS and unsure > limit.unknown:
        verdict = Outcome.INCONCLUSIVE
        message = (
            f"{percent(unsure)} of one event type stayed unknown, more than "
            f"{percent(limit.unknown)}: {message}"
        )
    message += left_out(units)
    interval = (low, high) if gate is None else (gate[1].low, gate[1].high)
    check = Check(
        f"{view.name}.delivery.complete",
        view.name,
        limit.required,
        verdict,
        "absence" if absence else "bound",
        sessions,
        message,
        estimate=float(shares.delivered[:, worst].sum() / max(1, _known(shares, worst))),
        interval=interval,
        limit=limit.completeness,
        unit="rate",
        # What came, came, however busy the probe was; what stayed unknown may be its doing.
        load_sensitive=unsure > 0 and not lost,
        smallest=smallest(sessions, "session"),
        p_value=None if gate is None else gate[0],
    )
    return withheld(view, check)


def left_out(units: Units) -> str:
    """What is said of runs that were refused, as the end of a message."""
    acked = units.refused & units.seen.any(axis=1)
    early, later = int((units.refused & ~acked).sum()), int(acked.sum())
    words = f"; {counted(early, 'run')} {were(early)} refused and left out" if early else ""
    if later:
        words += f"; {counted(later, 'run')} {were(later)} refused after events had come"
    return words


def _known(shares: Shares, k: int) -> int:
    return int((shares.delivered[:, k] + shares.lost[:, k]).sum())
