"""The way back from a spike: is the service as good as before, under the load that it bore then.

The rule (docs/methods.md, After a spike): an intent is a client that was let in by the plan, and
it is met when the client was ready within the limit, whatever number of attempts that took, and
its script did not fail. What the probe did not dial is no intent: the watch ends there. "Back"
needs a lower bound of the goodput from then on that is enough. "Metastable" needs the whole budget
to have been watched, and an upper bound of the goodput at its end that is below what counts as
back. All else is inconclusive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.rows import place
from probe.check.verdict import Check, Outcome
from probe.check.view import good
from probe.check.witness import witnesses
from probe.check.words import at_least, at_most, duration, percent, seconds
from probe.history.records import Kind
from probe.model.spike import spike_of
from probe.stats.rates import clopper_pearson
from probe.stats.spike import amplification, recovery

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from probe.check.verdict import Witness
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows
    from probe.model.spike import AfterSpike
    from probe.stats.spike import Recovery

_FAILED: Final = 1
_WHEN: Final = ("before", "during", "after")
_SAME: Final = 1.5  # times the attempts per client of before: no more than that is no storm
POINTS_MAX: Final = 60  # of the plot


@dataclass(frozen=True, slots=True)
class Phase:
    """Before, during or after the spike: [from, to) ns since the stage's time zero.

    `amplification` is attempts that were dialled in this time by intents that came in it: those
    of clients who came earlier count here.
    """

    name: str
    from_ns: int
    to_ns: int
    intents: int
    met: int
    attempts: int

    @property
    def goodput(self) -> float:
        """The share of intents met; NaN of none."""
        return self.met / self.intents if self.intents else np.nan

    @property
    def amplification(self) -> float | None:
        """Attempts per intent."""
        return amplification(self.attempts, self.intents)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was watched; times are ns since the stage's time zero.

    `intended` and `met` are of the intents that count, in the order of time, as `rows`.
    """

    rows: Rows
    intended: NDArray[np.int64]
    met: Mask
    dialled: NDArray[np.int64]
    spike: tuple[int, int]
    watched: int
    why: str


def after_spike(view: StageView) -> Part:
    """`<stage>.after_spike`."""
    part = Part()
    rule = view.stage.expect.after_spike
    if rule is None:
        return part
    seen = _seen(view, rule)
    if isinstance(seen, str):
        part.checks.append(unmeasured(view, "after_spike", "bound", seen, required=rule.required))
        return part
    began, ended = seen.spike
    budget_ns = rule.budget_ns(ended - began)
    way = recovery(
        seen.intended, seen.met, seen.spike, seen.watched,
        share_back=rule.goodput, budget_ns=budget_ns,
    )  # fmt: skip
    phases = _phases(seen, min(seen.watched, ended + budget_ns))
    part.summary["after_spike"] = {view.name: [_row(phase) for phase in phases]}
    part.summary["goodput_over_time"] = {view.name: _over_time(seen)}
    check = _check(view, rule, seen, way, phases)
    part.checks.append(check)
    if check.verdict is Outcome.FAIL:
        before, _, after = phases
        more = (after.amplification or 0) > _SAME * (before.amplification or 0)
        missed = ~seen.met & (seen.intended >= ended)
        part.findings.append(
            finding(
                "spike.metastable", check.id, int(missed.sum()), check.message,
                witness=_cases(view, seen.rows[missed]), pattern="" if more else "served",
            )
        )  # fmt: skip
    return part


def _seen(view: StageView, rule: AfterSpike) -> Seen | str:
    """The intents of the population that spikes, and their fate; or why there is nothing."""
    shapes = {name: each.shape for name, each in view.stage.populations.items()}
    name, began, ended, until = spike_of(shapes)
    anchors = view.history.of(Kind.ANCHOR)
    anchors = anchors[anchors["a"] == view.index]
    if not len(anchors):
        return view.why or "the stage let no client go"
    zero = int(anchors[0]["b"])
    index = next(k for k, group in view.groups.items() if group.name == name)
    rows = view.sessions[view.sessions["population"] == index]
    rows = rows[np.argsort(rows["intended"], kind="stable")]
    intended = rows["intended"].astype(np.int64) - zero
    watched, why = min(until, view.ended - zero - rule.within), view.why
    missed = np.flatnonzero(rows["dial"] == 0)
    if len(missed) and int(intended[missed[0]]) < watched:
        watched = int(intended[missed[0]])
        why = view.text(rows["why"][missed[0]]) or why or "clients were planned and not let go"
    if watched < ended:
        return f"the watch ended {duration(max(watched, 0))} after the stage began: {why}"
    count = intended < watched
    rows, intended = rows[count], intended[count]
    attempts = view.attempts[view.attempts["population"] == index]
    dialled = attempts["dial"].astype(np.int64) - zero
    met = _met(rows, attempts, zero + intended + rule.within) & (rows["outcome"] != _FAILED)
    return Seen(rows, intended, met, dialled, (began, ended), watched, why)


def _met(rows: Rows, attempts: Rows, until: NDArray[np.int64]) -> Mask:
    """Whose first good connection was ready in time."""
    fine = attempts[good(attempts)]
    fine = fine[np.lexsort((fine["ready"], fine["session"]))]
    sessions, first = np.unique(fine["session"], return_index=True)
    at, found = place(sessions.astype(np.int64), rows["session"].astype(np.int64))
    ready = fine["ready"][first][at] if len(sessions) else until
    return np.asarray(found & (ready <= until))


def _phases(seen: Seen, until: int) -> tuple[Phase, Phase, Phase]:
    began, ended = seen.spike
    spans = ((0, began), (began, ended), (ended, until))

    def phase(name: str, low: int, high: int) -> Phase:
        inside = (seen.intended >= low) & (seen.intended < high)
        attempts = int(((seen.dialled >= low) & (seen.dialled < high)).sum())
        return Phase(name, low, high, int(inside.sum()), int(seen.met[inside].sum()), attempts)

    before, during, after = (phase(n, *span) for n, span in zip(_WHEN, spans, strict=True))
    return before, during, after


def _check(
    view: StageView, rule: AfterSpike, seen: Seen, way: Recovery, phases: tuple[Phase, ...]
) -> Check:
    verdict, told = _verdict(rule, seen, way, phases[0])
    return Check(
        id=f"{view.name}.after_spike",
        stage=view.name,
        required=rule.required,
        verdict=verdict,
        evidence="bound",
        n=len(seen.intended),
        message=f"{told}; {_served(phases, rule)}; {_storm(phases)}",
        interval=_when(way),
        limit=seconds(way.budget_ns),
        unit="s",
        load_sensitive=True,
        control="the same load, before the spike",
    )


def _when(way: Recovery) -> tuple[float | None, float | None] | None:
    """When it was back, in seconds after the spike, if that is proven."""
    return (seconds(way.low_ns), seconds(way.high_ns)) if way.way == "back" else None


def _verdict(rule: AfterSpike, seen: Seen, way: Recovery, before: Phase) -> tuple[Outcome, str]:
    back = f"{percent(rule.goodput)} of the goodput before it"
    match way.way:
        case "back":
            told = f"{duration(way.high_ns)} after the spike it was back to {back}"
            return Outcome.PASS, f"{told}, and from then on {_surely(way)}"
        case "unproven":
            told = f"{duration(way.high_ns)} after the spike it looked back to {back}"
            more = f"which is not proven: from then on {_surely(way)}"
            return Outcome.INCONCLUSIVE, f"{told}, {more}{_cut(seen, way)}"
        case "unknown":
            return Outcome.INCONCLUSIVE, _unknown(seen, way)
        case "metastable":
            after = round(way.after * way.n_after)
            high = clopper_pearson(after, way.n_after, side="upper").high
            low = clopper_pearson(before.met, before.intents, side="lower").low
            told = f"{duration(way.budget_ns)} after the spike it was not back to {back}"
            if high < rule.goodput * low:
                return Outcome.FAIL, f"metastable: {told}"
            more = f"which is not proven: at the end {at_most(high)} are served"
            return Outcome.INCONCLUSIVE, f"{told}, {more}"
        case _:
            assert_never(way.way)


def _surely(way: Recovery) -> str:
    """What is proven of all that came from the way back on."""
    return f"{at_least(way.surely)} are served, {percent(way.needed)} needed"


def _unknown(seen: Seen, way: Recovery) -> str:
    if np.isnan(way.before):
        return "too few were served before the spike to compare with"
    return f"not back yet{_cut(seen, way)}"


def _cut(seen: Seen, way: Recovery) -> str:
    """That the watch was cut short; nothing where it was not."""
    watched_ns = seen.watched - seen.spike[1]
    if watched_ns >= way.budget_ns:
        return ""
    why = f" ({seen.why})" if seen.why else ""
    only = f"{duration(watched_ns)} of {duration(way.budget_ns)}"
    return f", and watched for only {only} after the spike{why}"


def _served(phases: tuple[Phase, ...], rule: AfterSpike) -> str:
    shares = _listed(percent(each.goodput) if each.intents else "none" for each in phases)
    return f"ready within {duration(rule.within)} and not failed: {shares}"


def _storm(phases: tuple[Phase, ...]) -> str:
    """The amplification."""
    shares = (
        "none" if each.amplification is None else f"{each.amplification:.3g}" for each in phases
    )
    return f"attempts per client: {_listed(shares)}"


def _listed(values: Iterable[str]) -> str:
    """`100 % before, 14 % during, 0 % after`."""
    return ", ".join(f"{v} {when}" for v, when in zip(values, _WHEN, strict=True))


def _row(phase: Phase) -> dict[str, Any]:
    return {
        "phase": phase.name,
        "from_s": seconds(phase.from_ns),
        "to_s": seconds(phase.to_ns),
        "clients": phase.intents,
        "in_time": phase.met,
        "goodput_rate": round(phase.goodput, 6) if phase.intents else None,
        "attempts": phase.attempts,
        "amplification": phase.amplification and round(phase.amplification, 3),
    }


def _over_time(seen: Seen) -> list[dict[str, Any]]:
    """The share met of each stretch of the watch, for a plot."""
    edges = np.linspace(0, seen.watched, POINTS_MAX + 1).astype(np.int64)
    n, _ = np.histogram(seen.intended, edges)
    met, _ = np.histogram(seen.intended[seen.met], edges)
    made, _ = np.histogram(seen.dialled, edges)
    rows = []
    for k in np.flatnonzero(n).tolist():
        bounds = clopper_pearson(int(met[k]), int(n[k]))
        rows.append(
            {
                "from_s": seconds(edges[k]), "to_s": seconds(edges[k + 1]), "n": int(n[k]),
                "rate": float(met[k] / n[k]), "low": bounds.low, "high": bounds.high,
                "attempts_per_s": round(float(made[k] / (edges[k + 1] - edges[k]) * 1e9), 3),
                "clients_per_s": round(float(n[k] / (edges[k + 1] - edges[k]) * 1e9), 3),
                "spike": bool(edges[k] < seen.spike[1] and edges[k + 1] > seen.spike[0]),
            }
        )  # fmt: skip
    return rows


def _cases(view: StageView, rows: Rows) -> tuple[Witness, ...]:
    """What clients met who came after the spike: how they failed, or how late they were in."""
    attempts = view.attempts[np.isin(view.attempts["session"], rows["session"])]
    failed = attempts[~good(attempts)]
    shown = failed if len(failed) else attempts
    return witnesses(view, shown) if len(shown) else ()
