"""After a spike: whether the service found its way back, and how many attempts that cost.

A service that stays broken under a load which it bore before the spike is *metastable*: its
own reaction (retries, queues full of requests nobody waits for any more) keeps it there
(Bronson et al., HotOS 2021; Huang et al., OSDI 2022). Back means that of the intents of a
stretch of time 0.9 times as many were met as before the spike, and of all after it too.
An intent is what a user wanted once; each may cost several attempts.

The rule: the offered load after the spike is that before it, which is the caller's to
arrange. Stretches are long enough to hold some twenty intents. Who is back stays: three
stretches in a row are, and so is all that was watched from then on, taken together. Luck makes
a few stretches look so somewhere in a long watch, so "back" is a bound: a lower one (Clopper and
Pearson) of that rest against an upper one of what was before. The way back is searched for over
all stretches, so these share the 5 % by which the rest may err (Bonferroni). Where it only looks
so the answer is "unproven". Where the watch ended before the budget was over it is "unknown",
never "metastable".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from probe.stats.binomial import ALPHA
from probe.stats.rates import clopper_pearson, clopper_pearson_bounds

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Way = Literal["back", "unproven", "metastable", "unknown"]

SHARE_BACK: Final = 0.9
BUDGET_NS_MIN: Final = 120_000_000_000
BUDGET_SPIKES: Final = 5
INTENTS_MIN: Final = 20  # of a stretch, and before the spike
STRETCH_NS_MIN: Final = 1_000_000_000
STEADY: Final = 3  # stretches in a row


@dataclass(frozen=True, slots=True)
class Recovery:
    """The way back: after the end of the spike it took from `low_ns` to `high_ns`.

    Both None unless `way` is "back", or "unproven": it looked so from there on. Of the intents
    from `low_ns` on at least the share `surely` is met (95 %), and `needed` is the share that
    would prove it; NaN where `low_ns` is None. `before` and `after` are the shares of intents
    met before the spike and in the last stretches that were watched, NaN where there were too
    few; `n_after` is how many intents these stretches hold.
    """

    way: Way
    low_ns: int | None
    high_ns: int | None
    before: float
    after: float
    budget_ns: int
    stretch_ns: int
    n_after: int = 0
    surely: float = np.nan
    needed: float = np.nan


def recovery(
    intended_ns: ArrayLike,
    met: ArrayLike,
    spike_ns: tuple[int, int],
    watched_ns: int,
    *,
    share_back: float = SHARE_BACK,
    budget_ns: int | None = None,
) -> Recovery:
    """The way back from a spike from `spike_ns[0]` to `spike_ns[1]`, watched until `watched_ns`.

    `intended_ns` int64[n] when each intent came, in any order; `met` bool[n] whether it was
    met in the end, within its limits. What came before the spike is the baseline, of which
    `share_back` is enough; `budget_ns` None: 5 times the spike, and 120 s at least. Raises
    ValueError for a spike without a length, or a watch that ends before it.
    """
    at = np.asarray(intended_ns, dtype=np.int64)
    good = np.asarray(met, dtype=np.bool_)
    began_ns, ended_ns = spike_ns
    if at.shape != good.shape or at.ndim != 1:
        raise ValueError("intents and whether they were met are rows of one length")
    if not began_ns < ended_ns <= watched_ns:
        raise ValueError("a spike has a length, and is watched to its end at least")
    if budget_ns is None:
        budget_ns = max(BUDGET_NS_MIN, BUDGET_SPIKES * (ended_ns - began_ns))
    before = at < began_ns
    n_before = int(before.sum())
    if n_before < INTENTS_MIN or not good[before].any():
        return Recovery("unknown", None, None, np.nan, np.nan, budget_ns, STRETCH_NS_MIN)
    share = float(good[before].mean())
    apart_ns = (began_ns - int(at.min())) / n_before
    stretch_ns = max(STRETCH_NS_MIN, round(INTENTS_MIN * apart_ns))
    counts, kept = _stretches(at, good, ended_ns, min(watched_ns, ended_ns + budget_ns), stretch_ns)
    last = slice(-STEADY, None)
    n_after = int(counts[last].sum())
    after = float(kept[last].sum() / n_after) if n_after else np.nan
    enough = share_back * share
    needed = share_back * clopper_pearson(int(good[before].sum()), n_before, side="upper").high
    steady, surely, proven = _found(kept, counts, enough, needed)
    if steady is not None:
        low_ns, high_ns = steady * stretch_ns, (steady + 1) * stretch_ns
        return Recovery(
            "back" if proven else "unproven", low_ns, high_ns, share, after, budget_ns, stretch_ns,
            n_after, surely, needed,
        )  # fmt: skip
    whole = watched_ns >= ended_ns + budget_ns and not np.isnan(after)
    way: Way = "metastable" if whole else "unknown"
    return Recovery(way, None, None, share, after, budget_ns, stretch_ns, n_after)


def amplification(attempts: int, intents: int) -> float | None:
    """Attempts per intent, both counted; None for no intents. Raises ValueError below 0."""
    if min(attempts, intents) < 0:
        raise ValueError("attempts and intents are counted from 0")
    return attempts / intents if intents else None


def _stretches(
    at: NDArray[np.int64], good: NDArray[np.bool_], from_ns: int, to_ns: int, stretch_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Intents, and those met, of each whole stretch of [from, to)."""
    n = (to_ns - from_ns) // stretch_ns
    place = (at - from_ns) // stretch_ns
    inside = (at >= from_ns) & (place < n)
    counts = np.bincount(place[inside], minlength=n)
    kept = np.bincount(place[inside & good], minlength=n)
    return counts, kept


def _found(
    kept: NDArray[np.int64], counts: NDArray[np.int64], enough: float, needed: float
) -> tuple[int | None, float, bool]:
    """The stretch of the way back, the share surely met from there on, and whether that proves it.

    Where none is proven: the first that looks so, by shares alone.
    """
    back = _shares(kept, counts) >= enough
    met, came = (np.cumsum(each[::-1])[::-1] for each in (kept, counts))
    starts = max(1, len(counts) - STEADY + 1)
    surely, _ = clopper_pearson_bounds(met, came, ALPHA / starts)
    proven = _first_steady(back, surely >= needed)
    if proven is not None:
        return proven, float(surely[proven]), True
    looks = _first_steady(back, _shares(met, came) >= enough)
    return looks, np.nan if looks is None else float(surely[looks]), False


def _shares(met: NDArray[np.int64], came: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN of none."""
    return np.where(came > 0, met / np.maximum(came, 1), np.nan)


def _first_steady(back: NDArray[np.bool_], stays: NDArray[np.bool_]) -> int | None:
    """The first of `STEADY` stretches in a row that are all back, and from where it stays."""
    if len(back) < STEADY:
        return None
    runs = np.convolve(back.astype(np.int64), np.ones(STEADY, np.int64), mode="valid")
    found = np.flatnonzero((runs == STEADY) & stays[: len(runs)])
    return int(found[0]) if len(found) else None
