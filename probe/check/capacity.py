"""Capacity: between which two rates the service leaves its limits, and how it scales.

The rule (docs/methods.md, Capacity): the knee lies between the highest rate proven within and
the lowest proven beyond, and nothing else is said of it. Where the probe gave out first, or the
ceiling was reached, the answer is "at least". How the service scales (USL) is told beside it and
judges nothing; Little's law is checked level by level, for where it fails the accounting is wrong.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.climb import climb
from probe.check.latency import level_words, sample
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import counted, duration, percent, seconds
from probe.stats.quantiles import MoreThan, Value
from probe.stats.queueing import littles_law
from probe.stats.usl import fit_usl
from probe.units import canonical_rate

if TYPE_CHECKING:
    from probe.check.climb import Climb, Run
    from probe.check.view import StageView
    from probe.stats.knee import Knee
    from probe.stats.levels import Judged
    from probe.stats.usl import Span, Usl

_WHY: Final = {
    "open": "the levels in between stay open after all their repeats",
    "generator": "the probe gave out before the service did",
    "ceiling": "every level up to the ceiling was within",
    "floor": "no level was within, however low",
    "budget": "the search used up its levels",
    "inconsistent": "a level beyond lies below one that is within, which more repeats did not mend",
    None: "the search was cut off",
}


def capacity(view: StageView) -> Part:
    """`<stage>.capacity`: where the knee is, and whether that is enough."""
    part = Part()
    if view.stage.capacity is None:
        return part
    found = climb(view)
    found.search.next()  # says why it is over, if it is
    knee = found.search.knee()
    scaling = _scaling(view, found.runs)
    part.summary["capacity"] = {view.name: _told(found, knee, scaling)}
    part.summary["levels"] = {view.name: _levels(found)}
    if not any(each.n for each in found.runs):
        why = next((each.unfit for each in found.runs if each.unfit), view.why or "no level")
        part.checks.append(unmeasured(view, "capacity", "bound", why))
        return part
    check = _check(view, found, knee)
    part.checks.append(check)
    if check.verdict is Outcome.FAIL:
        part.findings.append(_finding(view, found, knee, check))
    return part


def _check(view: StageView, found: Climb, knee: Knee) -> Check:
    low, high = knee.low_per_s, knee.high_per_s
    least = view.stage.expect.capacity
    if least is None:
        answered = knee.state == "found" or (knee.state == "at_least" and knee.why == "ceiling")
        verdict = Outcome.PASS if answered else Outcome.INCONCLUSIVE
    elif low is not None and low >= least:
        verdict = Outcome.PASS
    elif high is not None and high <= least:
        verdict = Outcome.FAIL
    else:
        verdict = Outcome.INCONCLUSIVE
    message = _words(found, knee)
    if least is not None:
        message += f"; at least {canonical_rate(least)} is asked for"
    return Check(
        id=f"{view.name}.capacity",
        stage=view.name,
        required=True,
        verdict=verdict,
        evidence="bound",
        n=sum(each.n for each in found.runs if not each.unfit),
        message=message,
        estimate=None if low is None or high is None else math.sqrt(low * high),
        interval=(low, high),
        limit=least,
        unit="/s",
        control="the levels within",
    )


def _words(found: Climb, knee: Knee) -> str:
    low, high = knee.low_per_s, knee.high_per_s
    levels = {level.rate_per_s: level for level in found.search.levels}
    held = f"{_limit(found)} and {percent(found.rule.goodput)} of the clients succeed"
    beyond = "" if high is None else f"at {canonical_rate(high)} {_broken(found, levels[high])}"
    match knee.state:
        case "found":
            words = (
                f"the knee is between {canonical_rate(low or 0)} and {canonical_rate(high or 0)}"
            )
            words += f": up to {canonical_rate(low or 0)} {held}; {beyond}"
        case "at_least":
            words = f"at least {canonical_rate(low or 0)}: up to there {held}"
        case "at_most":
            words = f"less than {canonical_rate(high or 0)}: {beyond}"
        case "unknown":
            words = "no level is proven within or beyond"
    if knee.why != "resolved":
        words += f"; {_WHY[knee.why]}"
    unfit = [each for each in found.runs if each.unfit]
    if unfit and knee.why == "generator":
        worst = unfit[-1]
        words += f" (at {canonical_rate(worst.rate_per_s)} {worst.unfit})"
    elif unfit:
        words += f"; {counted(len(unfit), 'repeat')} left out, as the probe was not fit then"
    return words


def _limit(found: Climb) -> str:
    rule = found.rule
    return f"p{rule.quantile * 100:.10g} of {rule.phase} is within {duration(rule.within)}"


def _broken(found: Climb, level: Judged) -> str:
    told = {
        "latency": f"p{found.rule.quantile * 100:.10g} is {level_words(level.estimate)}, surely "
        f"over {level_words(level.low)}",
        "errors": "so many fail that the quantile is a failure",
        "goodput": f"only {percent(level.goodput.value)} of the clients succeed",
    }
    return " and ".join(told[each] for each in level.broken if each in told)


def _finding(view: StageView, found: Climb, knee: Knee, check: Check) -> Any:
    level = next(x for x in found.search.levels if x.rate_per_s == knee.high_per_s)
    numbers = [each.number for each in found.runs if each.rate_per_s == level.rate_per_s]
    rows = view.attempts[np.isin(view.attempts["trial"], numbers)]
    of_level = sample(view, rows, found.rule.phase)
    late = (of_level.kind > 0) | (of_level.took > found.rule.within)
    worst = np.where(of_level.kind > 0, np.inf, of_level.took.astype(np.float64))
    code = "capacity.errors" if "latency" not in level.broken else "capacity.latency"
    cases = witnesses(view, of_level.rows[late], worst[late])
    return finding(code, check.id, int(late.sum()), check.message, witness=cases)


def _scaling(view: StageView, runs: tuple[Run, ...]) -> Usl | None:
    """The fit over all repeats that count, of what got through while clients were there."""
    kept = [r for r in runs if not r.unfit and r.in_flight > 0 and r.done_per_s > 0]
    seed = np.random.SeedSequence([int(view.history.meta.get("seed", 0)), view.index])
    return fit_usl(
        [each.rate_per_s for each in kept],
        [each.in_flight for each in kept],
        [each.done_per_s for each in kept],
        np.random.Generator(np.random.PCG64(seed)),
    )


def _told(found: Climb, knee: Knee, scaling: Usl | None) -> dict[str, Any]:
    return {
        "state": knee.state,
        "low_per_s": knee.low_per_s,
        "high_per_s": knee.high_per_s,
        "first_limit": list(knee.first),
        "why": _WHY.get(knee.why, "resolved"),
        "held_to": _limit(found),
        "most_per_s": found.most_per_s,
        "scaling": None if scaling is None else _usl(scaling),
    }


def _usl(scaling: Usl) -> dict[str, Any]:
    """What the law says; `alone` and `peak_at` are clients per second."""
    return {
        "alone": _span(scaling.single_per_s),
        "contention": _span(scaling.sigma),
        "coherence": _span(scaling.kappa),
        "peak": scaling.peak,
        "peak_at": _span(scaling.most_per_s),
        "peak_at_clients": _span(scaling.at_n),
        "error": round(scaling.error, 4),
        "clients_max": round(scaling.n_max, 3),
    }


def _span(span: Span | None) -> str | None:
    """A value with its interval, as it is read; it judges nothing."""
    return None if span is None else f"{span.value:.3g} ({span.low:.3g} to {span.high:.3g})"


def _levels(found: Climb) -> list[dict[str, Any]]:
    """A row for each level, by rate."""
    out = []
    for level in found.search.levels:
        runs = [r for r in found.runs if r.rate_per_s == level.rate_per_s and not r.unfit]
        out.append(
            {
                "rate_per_s": level.rate_per_s,
                "status": level.status,
                "broken": ", ".join(level.broken),
                "repeats": level.repeats,
                "unfit": level.unfit,
                "n": level.n,
                "quantile_s": _level_s(level.estimate),
                "quantile_low_s": _level_s(level.low),
                "quantile_high_s": _level_s(level.high),
                "goodput_rate": round(level.goodput.value, 6) if level.n else None,
                "done_per_s": _mean([each.done_per_s for each in runs]),
                "clients": _mean([each.in_flight for each in runs]),
                "little_gap": _little(runs),
            }
        )
    return out


def _little(runs: list[Run]) -> float | None:
    """How far the gauge is from rate times stay, as a share of it; None where not known."""
    known = [each for each in runs if not math.isnan(each.in_flight)]
    if not known:
        return None
    law = littles_law(
        float(np.mean([each.in_flight for each in known])),
        float(np.mean([each.offered_per_s for each in known])),
        float(np.mean([each.stay_ns for each in known])),
    )
    return None if math.isnan(law.gap) else round(law.gap, 4)


def _mean(values: list[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return round(float(np.mean(known)), 3) if known else None


def _level_s(level: object) -> float | None:
    """Seconds of what is a number; what is only known to be more, or failed, is None."""
    match level:
        case Value(ns) | MoreThan(ns):
            return seconds(ns)
        case _:
            return None
