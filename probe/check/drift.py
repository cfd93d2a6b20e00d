"""Drift: a long and flat load does not make the service slower or larger.

The rule (docs/methods.md, Pressure): the median of the stage's last third against that of its
first. What one client saw hangs together, so a client counts once in each third, by its own
median; the interval of a ratio is that of both medians' intervals (order statistics, 97.5 %
on each side), so its bounds hold at 95 % each. Runs that did not end are no durations:
`delivery` tells those. A change of less than 10 ms is none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.latency import sample
from probe.check.rows import Ints, among, of_stage
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import duration, percent
from probe.history.records import Kind
from probe.stats.quantiles import Value, quantile, smallest_n

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.check.view import StageView

N_MIN: Final = 10
FLOOR_NS: Final = 10_000_000
"""What a probe that is fit may itself be late by: less is no change of the service."""
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """Two medians, of the first third and of the last, and how much larger the last is.

    `growth`, `low` and `high` are ratios less 1; None where there are too few clients.
    """

    what: str
    n: int
    first: float
    last: float
    growth: float | None
    low: float | None
    high: float | None

    def words(self, shown: Callable[[float], str]) -> str:
        """`the median run took 1.2 s in the first third and 2.4 s in the last (+100 %; …)`."""
        if self.growth is None or self.low is None or self.high is None:
            return (
                f"{self.what}: too few to compare thirds ({self.n:,}; it takes {N_MIN:,} in each)"
            )
        return (
            f"{self.what}: {shown(self.first)} in the first third, {shown(self.last)} in the last "
            f"({_signed(self.growth)}; between {_signed(self.low)} and {_signed(self.high)})"
        )


def drift(view: StageView) -> Part:
    """`<stage>.drift.latency` and, where health tells it, `<stage>.drift.memory`."""
    part = Part()
    expect = view.stage.expect.drift
    if expect is None:
        return part
    if not all(group.population.shape.curve().flat for group in view.groups.values()):
        why = "the load of this stage was not flat"
        for what, required in (("latency", expect.required), ("memory", False)):
            check = unmeasured(view, f"drift.{what}", "comparison", why, required=required)
            part.checks.append(check)
        return part
    times = [change for change in (_runs(view), _connects(view)) if change.n]
    _judge(view, part, "latency", times, expect.latency, expect.required, _time)
    sizes = _memory(view)
    if sizes:
        _judge(view, part, "memory", sizes, expect.memory, expect.required, _size)
    else:
        why = "no service told its memory"
        part.checks.append(unmeasured(view, "drift.memory", "comparison", why, required=False))
    table = {change.what: _row(change) for change in [*times, *sizes]}
    if table:
        part.summary["drift"] = {view.name: table}
    return part


def _judge(
    view: StageView, part: Part, what: str, changes: list[Change], limit: float, required: bool,
    shown: Callable[[float], str],
) -> None:  # fmt: skip
    name = f"drift.{what}"
    known = [change for change in changes if change.growth is not None]
    words = "; ".join(change.words(shown) for change in changes)
    if not known:
        why = words or "no run ended and nobody connected"
        part.checks.append(unmeasured(view, name, "comparison", why, required=required))
        return
    large = [c for c in known if what != "latency" or c.last - c.first > FLOOR_NS]
    worse = [change for change in large if (change.low or 0.0) > limit]
    open_ = [change for change in large if (change.high or 0.0) > limit]
    verdict = Outcome.PASS
    if worse:
        verdict = Outcome.FAIL
        worst = max(worse, key=lambda change: change.growth or 0.0)
        code = "drift.slower" if what == "latency" else "drift.larger"
        rows = _slowest(view) if what == "latency" else view.attempts[:0]
        part.findings.append(
            finding(
                code, f"{view.name}.{name}", worst.n,
                f"{worst.words(shown)}; the limit is {_signed(limit)}",
                witness=witnesses(view, rows),
            )
        )  # fmt: skip
    elif open_:
        verdict = Outcome.INCONCLUSIVE
        words += f"; whether that is over {_signed(limit)} is not decided"
    most = max(known, key=lambda change: change.growth or 0.0)
    part.checks.append(
        Check(
            f"{view.name}.{name}", view.name, required, verdict, "comparison",
            sum(change.n for change in known),
            f"{words}; limit {_signed(limit)}",
            estimate=most.growth,
            interval=(most.low, most.high),
            limit=limit,
            unit="rate",
            load_sensitive=what == "latency",
            control="the first third of the same stage",
        )
    )  # fmt: skip


def _runs(view: StageView) -> Change:
    """How long runs took, by when they began."""
    runs = view.runs[view.runs["ended"] > 0]
    pressed = of_stage(view, Kind.STALL, Kind.VANISH)["session"]
    runs = runs[~among(runs["session"], pressed)]
    return _change(
        "run", _span(view), runs["session"], runs["begun"], runs["ended"] - runs["begun"]
    )


def _connects(view: StageView) -> Change:
    """How long it took to get in; who never did is told elsewhere."""
    found = sample(view, view.welcome, "connect")
    fine = found.kind == 0
    rows = found.rows[fine]
    return _change("connect", _span(view), rows["session"], rows["intended"], found.took[fine])


def _span(view: StageView) -> tuple[int, int]:
    """From the first client to the last thing that one began, ns."""
    starts = [view.attempts["intended"], view.runs["begun"]]
    every = np.concatenate(starts)
    return (int(every.min()), int(every.max())) if len(every) else (0, 0)


def _memory(view: StageView) -> list[Change]:
    """What each service told of its memory, in bytes, at each answer about its health.

    A telling is written only where it differs from the one before, which holds until then.
    """
    told = view.history.of(Kind.TOLD)
    told = told[told["t"] <= view.ended]
    told = told[np.argsort(told["t"], kind="stable")]
    out = []
    for index, name in enumerate(view.history.names("services")):
        mine = told[told["op"] == index]
        sizes = np.array([_told(view, int(row["b"])) for row in mine], dtype=np.int64)
        mine, sizes = mine[sizes > 0], sizes[sizes > 0]
        asked = view.health["t"][(view.health["op"] == index) & (view.health["a"] > 0)]
        at = np.searchsorted(mine["t"], asked, side="right") - 1
        when, size = asked[at >= 0], sizes[at[at >= 0]]
        if len(when):
            span = int(when.min()), int(when.max())
            out.append(_change(f"memory of {name}", span, np.arange(len(when)), when, size))
    return out


def _told(view: StageView, reference: int) -> int:
    try:
        said = json.loads(view.history.text(reference))
        return int(said.get("memory_bytes") or 0)
    except (ValueError, TypeError, AttributeError):
        return 0


def _change(what: str, span: tuple[int, int], who: Any, when: Ints, value: Ints) -> Change:
    """Compare the first third of a span with its last; clients (`who`) count once in each."""
    began, ended = span
    third = (ended - began) / 3
    first = _medians(who[when <= began + third], value[when <= began + third])
    last = _medians(who[when >= ended - third], value[when >= ended - third])
    n = min(len(first), len(last))
    if n < max(N_MIN, smallest_n(0.5)) or ended == began:
        return Change(what, max(n, int(len(value) > 0)), 0.0, 0.0, None, None, None)
    a, b = quantile(first, 0.5), quantile(last, 0.5)
    levels = [level.ns for level in (a.estimate, a.low, a.high) if isinstance(level, Value)]
    later = [level.ns for level in (b.estimate, b.low, b.high) if isinstance(level, Value)]
    (middle, low, high), (middle_b, low_b, high_b) = levels, later
    return Change(
        what,
        n,
        float(middle),
        float(middle_b),
        growth=middle_b / max(middle, 1) - 1,
        low=low_b / max(high, 1) - 1,
        high=high_b / max(low, 1) - 1,
    )


def _medians(who: Any, value: Ints) -> Ints:
    """The (lower) median of each client."""
    order = np.lexsort((value, who))
    who, value = who[order], value[order]
    turns = who[1:] != who[:-1]
    starts = np.flatnonzero(np.concatenate([[len(who) > 0], turns])[: len(who)])
    ends = np.append(starts[1:], len(who))[: len(starts)]
    return np.asarray(value[(starts + ends - 1) // 2], dtype=np.int64)


def _slowest(view: StageView) -> Any:
    """Connections of the last third's slowest run, for a witness."""
    runs = view.runs[view.runs["ended"] > 0]
    if not len(runs):
        return view.attempts[-1:]
    began, ended = _span(view)
    late = runs[runs["begun"] >= ended - (ended - began) / 3]
    worst = late[np.argmax(late["ended"] - late["begun"])] if len(late) else runs[-1]
    attempts = view.attempts
    same = (attempts["session"] == worst["session"]) & (attempts["attempt"] == worst["attempt"])
    return attempts[same]


def _signed(growth: float) -> str:
    return f"{'+' if growth >= 0 else '-'}{percent(abs(growth))}"


def _time(value: float) -> str:
    return duration(value)


def _size(value: float) -> str:
    return f"{value / _MIB:,.1f} MiB"


def _row(change: Change) -> dict[str, Any]:
    return {
        "n": change.n,
        "first": change.first if change.growth is not None else None,
        "last": change.last if change.growth is not None else None,
        "growth": change.growth,
        "low": change.low,
        "high": change.high,
    }
