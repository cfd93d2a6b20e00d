"""What is said of a knee: where it is, what broke beyond it, and what stands in its way.

The rule: the words say no more than the search has proven, and why there is no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.latency import level_words
from probe.check.words import counted, duration, percent
from probe.stats.levels import FAILED_NS

if TYPE_CHECKING:
    from probe.check.climb import Climb
    from probe.stats.knee import Knee
    from probe.stats.levels import Judged

MOVED: Final = 1.5
"""Medians of halves that are this far apart are of a service that has not settled."""
HALVED_MIN: Final = 20
WHY: Final = {
    "open": "the levels in between stay open after all their repeats",
    "generator": "the probe gave out before the service did",
    "ceiling": "every level up to the ceiling was within",
    "floor": "no level was within, however low",
    "budget": "the search used up its levels",
    "inconsistent": "a level beyond lies below one that is within, which more repeats did not mend",
    None: "the search was cut off",
}


def words_of(found: Climb, knee: Knee) -> str:
    """The answer in a sentence."""
    shown = found.rule.shown
    low, high = shown(knee.low_per_s or 0), shown(knee.high_per_s or 0)
    levels = {level.rate_per_s: level for level in found.search.levels}
    held = f"{limit(found)} and {percent(found.rule.goodput)} of the {_what(found)} succeed"
    beyond = ""
    if knee.high_per_s is not None:
        beyond = f"at {high} {_broken(found, levels[knee.high_per_s])}"
    match knee.state:
        case "found":
            words = f"the knee is between {low} and {high}: up to {low} {held}; {beyond}"
        case "at_least":
            words = f"at least {low}: up to there {held}"
        case "at_most":
            words = f"less than {high}: {beyond}"
        case "unknown":
            words = "no level is proven within or beyond"
    if knee.why != "resolved":
        words += f"; {WHY[knee.why]}"
    unfit = [each for each in found.runs if each.unfit]
    if unfit and knee.why == "generator":
        worst = unfit[-1]
        words += f" (at {shown(worst.rate_per_s)} {worst.unfit})"
    elif unfit:
        words += f"; {counted(len(unfit), 'repeat')} left out, as the probe was not fit then"
    moved = None if knee.low_per_s is None else drift(found, knee.low_per_s)
    if moved is not None and not 1 / MOVED < moved < MOVED:
        words += (
            f"; at {low} the second halves took {moved:.2g} times as long as the first: it had "
            "not settled, so give `settle` and `lasts` more time"
        )
    return words


def drift(found: Climb, level: float) -> float | None:
    """The median of the second halves of a level's repeats against the first, as a ratio.

    The least change of all repeats, where all have changed the same way; None for fewer than
    two that count, or of answers that did not come.
    """
    ratios = []
    for each in found.runs:
        if each.rate_per_s == level and not each.unfit and each.n >= HALVED_MIN:
            first, second = np.array_split(each.measured.latency_ns, 2)
            ratios.append(float(np.median(second)) / max(float(np.median(first)), 1.0))
    if len(ratios) < 2 or max(ratios) > FAILED_NS / 4:  # noqa: PLR2004 -- one may be chance
        return None
    return min(ratios) if min(ratios) > 1 else max(ratios) if max(ratios) < 1 else 1.0


def _what(found: Climb) -> str:
    return {"connects": "clients", "messages": "messages", "connections": "pings"}[found.rule.of]


def limit(found: Climb) -> str:
    """What a level is held to."""
    rule = found.rule
    what = {"connects": rule.phase, "messages": "the answers", "connections": "the pongs"}[rule.of]
    return f"p{rule.quantile * 100:.10g} of {what} is within {duration(rule.within)}"


def _broken(found: Climb, level: Judged) -> str:
    told = {
        "latency": f"p{found.rule.quantile * 100:.10g} is {level_words(level.estimate)}, surely "
        f"over {level_words(level.low)}",
        "errors": "so many fail that the quantile is a failure",
        "goodput": f"only {percent(level.goodput.value)} of the {_what(found)} succeed",
    }
    words = " and ".join(told[each] for each in level.broken if each in told)
    lost, late = missing(found, level.rate_per_s)
    if lost or late:
        n = sum(run.n for run in found.runs if run.rate_per_s == level.rate_per_s and not run.unfit)
        words += (
            f" (of {n:,}, {lost:,} had no connection that lasted, and {late:,} no answer within "
            f"{duration(found.rule.patience)})"
        )
    return words


def missing(found: Climb, level: float) -> tuple[int, int]:
    """Questions of a level without a connection, and without an answer."""
    runs = [run for run in found.runs if run.rate_per_s == level and not run.unfit]
    return sum(run.lost for run in runs), sum(run.late for run in runs)
