"""What it would take to decide a capacity check that was left open, from what was measured.

The rule: it is computed from the levels that were played, and said to be "about" so much, for
their answers may come otherwise; where more of the same would not decide, it says that. An open
level is decided by its repeats: they are as many answers as they are worth (`n_effective`), and
`gate_rate` says how many of those it would take if their shares stayed as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from probe.check.words import counted, duration
from probe.stats.knee import UNFIT_MAX
from probe.stats.rates import gate_rate
from probe.units import canonical_duration

if TYPE_CHECKING:
    from probe.check.climb import Climb
    from probe.stats.knee import Knee
    from probe.stats.levels import Judged

MOST: Final = 200
"""Repeats of a level that anybody would wait for (`Capacity.repeats` is 100 at most)."""
LONGER: Final = 2
DEEPER: Final = 8
"""Where nothing was within, a search is to begin so much below the lowest level."""


class Need(NamedTuple):
    """How many repeats of a level would decide it, and whether as one within."""

    level: Judged
    repeats: int
    within: bool


def needed(found: Climb, knee: Knee, stage: str, least: float | None) -> str:
    """What a check that is INCONCLUSIVE would take, in words; "" where nothing can be said.

    `least` is what is asked for, None where any answer would do.
    """
    if knee.why is None:
        return _to_go(found, knee, stage)
    levels = found.search.levels
    low, high = knee.low_per_s or 0.0, knee.high_per_s or math.inf
    ends = [level for level in levels if _gave_out(level) and level.rate_per_s > low]
    if ends and (knee.high_per_s is None or knee.why == "generator"):
        level = ends[0]
        return (
            f"to decide it would take a probe that is fit at {found.rule.shown(level.rate_per_s)}: "
            "a machine with less beside it, or more workers (`--workers`)"
        )
    between = [level for level in levels if low < level.rate_per_s < high]
    needs = [need for level in between if (need := _need(found, level)) is not None]
    needs = [need for need in needs if _decides(need, least)]
    if needs:
        return _repeats(found, min(needs, key=lambda need: _more_ns(found, need)), stage)
    tried = any(level.status == "open" and level.repeats for level in between)
    setting = _other_levels(found, knee, least)
    if setting is not None:
        words, key, value = setting
        return f"to decide it would take {words}: --set stages.{stage}.capacity.{key}={value}"
    return "more of the same would not decide it" if tried else ""


def _other_levels(found: Climb, knee: Knee, least: float | None) -> tuple[str, str, str] | None:
    """Which other levels would do, and the key and the value that make them."""
    levels = found.search.levels
    match knee.why:
        case "floor":
            lower = found.search.course.rounded(levels[0].rate_per_s / DEEPER)
            return "lower levels", "begin", _written(found, lower)
        case "inconsistent":
            lasts = canonical_duration(LONGER * found.rule.lasts)
            return "longer levels, which agree with each other", "lasts", lasts
        case "budget":
            return "fewer levels", "begin", _written(found, knee.low_per_s or levels[0].rate_per_s)
        case _:
            if least is None or any(level.rate_per_s == least for level in levels):
                return None
            return f"a level at {found.rule.shown(least)} itself", "begin", _written(found, least)


def _gave_out(level: Judged) -> bool:
    return level.status == "open" and level.unfit >= UNFIT_MAX


def _decides(need: Need, least: float | None) -> bool:
    """Whether the check would be decided with that level."""
    if least is None:
        return True
    rate = need.level.rate_per_s
    return rate >= least if need.within else rate <= least


def _need(found: Climb, level: Judged) -> Need | None:
    """Repeats that would decide an open level; None where it is none, or they would not."""
    if level.status != "open" or not level.repeats or level.n_effective < 1:
        return None
    limits = found.search.limits
    runs = [r for r in found.runs if r.rate_per_s == level.rate_per_s and not r.unfit]
    took = np.concatenate([run.measured.latency_ns for run in runs])
    worth = max(1, round(level.n_effective))
    shares = (
        (float((took <= limits.latency_ns).mean()), limits.q),
        (level.goodput.value, limits.goodput_min),
    )
    gates = [
        (share < least, gate_rate(round(share * worth), worth, at_least=least, alpha=limits.alpha))
        for share, least in shares
    ]
    # One limit that is broken is enough, and all have to be kept.
    broken = [gate.n_needed for short, gate in gates if short and gate.n_needed]
    kept = [gate.n_needed or 0 for short, gate in gates if not short]
    if not broken and (len(kept) < len(gates) or not any(kept)):
        return None
    answers = min(broken) if broken else max(kept)
    repeats = max(math.ceil(answers / worth * level.repeats), level.repeats + 1)
    return Need(level, repeats, not broken)


def _repeats(found: Climb, need: Need, stage: str) -> str:
    """A level gets up to twice the `repeats` and two; see `climb`."""
    rate, has = found.rule.shown(need.level.rate_per_s), need.level.repeats
    words = (
        f"to decide {rate} it would take about {counted(need.repeats, 'repeat')}, there "
        f"{'is' if has == 1 else 'are'} {has}"
    )
    if need.repeats > MOST:
        return f"{words}: it lies too near to the limit to be told from it"
    words += f": some {duration(_more_ns(found, need))} more"
    wanted = math.ceil((need.repeats - 2) / 2)
    if wanted <= found.rule.repeats:
        return words
    return f"{words}, --set stages.{stage}.capacity.repeats={wanted}"


def _more_ns(found: Climb, need: Need) -> int:
    """How long the repeats that are missing would take."""
    missing = need.repeats - need.level.repeats
    return missing * _repeat_ns(found, need.level.rate_per_s)


def _repeat_ns(found: Climb, level: float) -> int:
    return found.rule.span_ns(level) + found.rule.pause


def _to_go(found: Climb, knee: Knee, stage: str) -> str:
    """How much of the search was left when it was cut off: stairs, halvings, confirmation."""
    course, levels = found.search.course, found.search.levels
    if not levels:
        return ""
    top = levels[-1].rate_per_s
    low = knee.low_per_s or top
    steps, gap = 0.0, course.factor
    if knee.high_per_s is None:
        steps += math.log(max(course.most_per_s / top, 1)) / math.log(course.factor)
    elif knee.low_per_s is not None:
        gap = knee.high_per_s / knee.low_per_s
    ratio = math.log(gap) / math.log(course.closeness)
    steps += math.log2(ratio) if ratio > 1 else 0
    repeats = math.ceil(steps) + 2 * (course.repeats_min - 1)
    more = duration(repeats * _repeat_ns(found, low))
    return (
        f"it was cut off with about {counted(repeats, 'repeat')} to go, some {more}: give it more "
        f"time, stages.{stage}.budget"
    )


def _written(found: Climb, level: float) -> str:
    """A level as a file has it."""
    return str(round(level)) if found.rule.of == "connections" else f"{level:g}/s"
