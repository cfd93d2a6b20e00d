"""Capacity: between which two levels the service leaves its limits, and how it scales.

The rule (docs/methods.md, Capacity): the knee lies between the highest level proven within and
the lowest proven beyond, and nothing else is said of it. Where the probe gave out first, or the
ceiling was reached, the answer is "at least". How the service scales (USL) is told beside it and
judges nothing; Little's law is checked level by level, for where it fails the accounting is
wrong, and such a level is left out of what is said of scaling.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.capacity_needs import needed
from probe.check.capacity_words import WHY, drift, limit, missing, words_of
from probe.check.catalogue import finding
from probe.check.climb import climb
from probe.check.latency import sample
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import seconds
from probe.stats.levels import FAILED_NS
from probe.stats.quantiles import MoreThan, Value
from probe.stats.queueing import LITTLE_GAP_MAX, littles_law
from probe.stats.rates import clopper_pearson
from probe.stats.usl import fit_usl

if TYPE_CHECKING:
    from probe.check.climb import Climb, Run
    from probe.check.view import StageView
    from probe.stats.knee import Knee
    from probe.stats.usl import Span, Usl


def capacity(view: StageView) -> Part:
    """`<stage>.capacity`: where the knee is, and whether that is enough."""
    part = Part()
    if view.stage.capacity is None:
        return part
    found = climb(view)
    found.search.next()  # says why it is over, if it is
    knee = found.search.knee()
    part.summary["capacity"] = {view.name: _told(found, knee, *_scaling(view, found))}
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
    message = words_of(found, knee)
    if least is not None:
        message += f"; at least {found.rule.shown(least)} is asked for"
    if verdict is Outcome.INCONCLUSIVE and (would_take := needed(found, knee, view.name, least)):
        message = f"{would_take}; {message}"
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
        unit=found.rule.unit,
        control="the levels within",
    )


def _first(found: Climb, knee: Knee) -> list[str]:
    """What gave out first; of questions, whether connections failed or answers did not come.

    Each of the two is named where it alone breaks the goodput, and else the larger part.
    """
    names: list[str] = list(knee.first)
    if found.rule.stays and knee.high_per_s is not None and {"errors", "goodput"} & set(names):
        parts = missing(found, knee.high_per_s)
        n = sum(run.n for run in found.runs if run.rate_per_s == knee.high_per_s and not run.unfit)
        names = [name for name in names if name not in ("errors", "goodput")]
        most = 1 - found.rule.goodput
        alone = [clopper_pearson(part, n, side="lower").low > most for part in parts]
        named = alone if any(alone) else [part == max(parts) for part in parts]
        names += [name for name, it in zip(("errors", "delivery"), named, strict=True) if it]
    return names


def _finding(view: StageView, found: Climb, knee: Knee, check: Check) -> Any:
    level = next(x for x in found.search.levels if x.rate_per_s == knee.high_per_s)
    runs = [each for each in found.runs if each.rate_per_s == level.rate_per_s]
    code = "capacity.errors" if "latency" not in level.broken else "capacity.latency"
    if found.rule.stays:
        bad = Counter(np.concatenate([_bad(found, each) for each in runs]).tolist())
        rows = view.attempts[np.isin(view.attempts["session"], list(bad))]
        worst = np.array([float(bad[session]) for session in rows["session"].tolist()])
        cases = witnesses(view, rows, worst)
        return finding(code, check.id, bad.total(), check.message, witness=cases)
    rows = view.attempts[np.isin(view.attempts["trial"], [each.number for each in runs])]
    of_level = sample(view, rows, found.rule.phase)
    late = (of_level.kind > 0) | (of_level.took > found.rule.within)
    worst = np.where(of_level.kind > 0, np.inf, of_level.took.astype(np.float64))
    cases = witnesses(view, of_level.rows[late], worst[late])
    return finding(code, check.id, int(late.sum()), check.message, witness=cases)


def _bad(found: Climb, run: Run) -> Any:
    """The sessions of questions that were answered late, or not, one entry for each."""
    assert run.sessions is not None
    return run.sessions[run.measured.latency_ns > found.rule.within]


def _scaling(view: StageView, found: Climb) -> tuple[Usl | None, list[str]]:
    """The fit of what got through while so much was under way, and which levels have no part.

    Only levels count whose accounting Little's law bears out. Connections that are held have
    no throughput of their own: nothing is fitted to them.
    """
    if found.rule.of == "connections":
        return None, []
    out, kept = [], []
    for level in found.search.levels:
        runs = [r for r in found.runs if r.rate_per_s == level.rate_per_s and not r.unfit]
        gap = _little(runs)
        if gap is not None and gap > LITTLE_GAP_MAX:
            out.append(found.rule.shown(level.rate_per_s))
        elif gap is not None:
            kept += [r for r in runs if r.in_flight > 0 and r.done_per_s > 0]
    seed = np.random.SeedSequence([int(view.history.meta.get("seed", 0)), view.index])
    fitted = fit_usl(
        [each.rate_per_s for each in kept],
        [each.in_flight for each in kept],
        [each.done_per_s for each in kept],
        np.random.Generator(np.random.PCG64(seed)),
    )
    return fitted, out


def _told(found: Climb, knee: Knee, scaling: Usl | None, without: list[str]) -> dict[str, Any]:
    """What is known; `low`, `high` and `most` are in `unit`, those per second only of rates."""
    ends = {"low": knee.low_per_s, "high": knee.high_per_s, "most": found.most_per_s}
    rates = found.rule.of != "connections"
    return {
        "of": found.rule.of,
        "state": knee.state,
        **ends,
        "unit": found.rule.unit,
        **{f"{name}_per_s": end for name, end in ends.items() if rates},
        "first_limit": _first(found, knee),
        "why": WHY.get(knee.why, "resolved"),
        "held_to": limit(found),
        "quantile": found.rule.quantile,
        "within_s": seconds(found.rule.within),
        "goodput_min": found.rule.goodput,
        "scaling": None if scaling is None else _usl(scaling),
        "scaling_without": without,
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
    """A row for each level; `rate_per_s` is what it offers: clients, or questions."""
    out = []
    for level in found.search.levels:
        runs = [r for r in found.runs if r.rate_per_s == level.rate_per_s and not r.unfit]
        moved = drift(found, level.rate_per_s)
        lost, late = missing(found, level.rate_per_s)
        out.append(
            {
                "level": level.rate_per_s,
                "rate_per_s": found.rule.asks_per_s(level.rate_per_s),
                "status": level.status,
                "broken": ", ".join(level.broken),
                "repeats": level.repeats,
                "unfit": level.unfit,
                "n": level.n,
                "median_s": _median(runs),
                "quantile_s": _level_s(level.estimate),
                "quantile_low_s": _level_s(level.low),
                "quantile_high_s": _level_s(level.high),
                "goodput_rate": round(level.goodput.value, 6) if level.n else None,
                "done_per_s": _mean([each.done_per_s for each in runs]),
                "clients": _mean([each.in_flight for each in runs]),
                "little_gap": _little(runs),
                "second_half_ratio": None if moved is None else round(moved, 3),
                **({"lost": lost, "unanswered": late} if found.rule.stays else {}),
            }
        )
    return out


def _median(runs: list[Run]) -> float | None:
    """The middle answer of a level, in seconds; None where it has none, or the middle failed."""
    every = [each.measured for each in runs]
    took = np.concatenate([each.latency_ns for each in every]) if every else np.zeros(0)
    middle = len(took) // 2
    ns = int(np.partition(took, middle)[middle]) if len(took) else FAILED_NS
    return None if ns == FAILED_NS else seconds(ns)


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
