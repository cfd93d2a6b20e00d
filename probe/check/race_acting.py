"""How long the service may take to act on the two actions of a race, and what that leaves open.

Theory of operation. Offsets are measured where the actions are let go. The service acts on
each some time later, so that at the service the offset is D + d2 - d1, with d1 of the action
that offsets count from and d2 of the swept one. Neither is seen. But what has been answered
was acted on before, so that 0 <= d <= r, with r the time from the action to its answer. An
edge at E as measured is one at E + d2 - d1 at the service: within [E - r1, E + r2], of which the
middle is told, since nothing says more of d1 and d2. A request over HTTP counts from its answer,
which is its moment by definition: r is 0.

The rule: r is taken from the run's own rows, the 90th percentile over the trials; what no row
answers is given half a TCP handshake, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.let_go import let_go
from probe.check.race_words import took
from probe.check.rows import of_stage
from probe.history.records import Kind, Put
from probe.model import script
from probe.stats.window import Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.race_trials import Trials
    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.race import Race
    from probe.model.script import Step
    from probe.stats.window import Fit

SHARE: Final = 0.9
ANSWERED: Final = "its answers (90th percentile)"
HANDSHAKE: Final = "half a TCP handshake, since nothing answers it"
ITSELF: Final = "nothing: it counts from its answer"
_BY_HTTP: Final = (script.Http, script.Revoke, script.Logout)


@dataclass(frozen=True, slots=True)
class Acting:
    """Within what time the service acts on one action: r, ns, from `n` answers, and whence."""

    most_ns: int
    n: int
    by: str


@dataclass(frozen=True, slots=True)
class Between:
    """Both actions: the one that offsets count from, and the swept one."""

    first: Acting
    swept: Acting

    def around(self, span: Span) -> Span:
        """An edge (or a centre) at the service: the middle of what may be, and its interval."""
        first_ns, swept_ns = self.first.most_ns, self.swept.most_ns
        middle = span.value + (swept_ns - first_ns) / 2
        return Span(middle, span.low - first_ns, span.high + swept_ns)

    def wide(self, span: Span) -> Span | None:
        """The interval of a width: each trial has its own d, and so has each edge.

        None where nothing is left above zero.
        """
        apart = self.first.most_ns + self.swept.most_ns
        low = span.low - apart
        return Span(span.value, low, span.high + apart) if low > 0 else None

    def words(self) -> str:
        """What stands behind an interval in a sentence."""
        sides = ((self.first.most_ns, "below"), (self.swept.most_ns, "above"))
        allowed = " and ".join(f"{took(ns)} {side}" for ns, side in sides if ns > 0)
        return f"its interval allows {allowed or 'nothing'} for the time the service takes to act"


def between(view: StageView, found: Trials) -> Between:
    """How long the service took over the actions of these trials."""
    race = found.race
    name, gate = race.reference()
    return Between(
        _acting(view, race, name, gate), _acting(view, race, race.swept, race.swept_gate())
    )


def at_the_service(fitted: Fit, acting: Between) -> Fit:
    """The fit with the intervals of its centre (a step's edge) and width as at the service."""
    centre, width = fitted.centre_ns, fitted.width_ns
    return replace(
        fitted,
        centre_ns=None if centre is None else acting.around(centre),
        width_ns=None if width is None else acting.wide(width),
    )


def acting_figures(fitted: Fit, acting: Between) -> dict[str, Any]:
    """What of the interval is statistics and what is the time to act, in seconds."""
    out: dict[str, Any] = {
        "acting": {
            name: {"most_s": each.most_ns / 1e9, "n": each.n, "by": each.by}
            for name, each in (("first", acting.first), ("swept", acting.swept))
        }
    }
    if fitted.centre_ns is not None:
        low, high = fitted.centre_ns.low, fitted.centre_ns.high
        out["centre_statistics"] = {
            "low_s": round(low / 1e9, 9), "high_s": round(high / 1e9, 9)
        }  # fmt: skip
    return out


def _acting(view: StageView, race: Race, name: str, gate: int) -> Acting:
    parts = let_go(view, race, name, gate)
    if parts and all(isinstance(step, _BY_HTTP) for step, _ in parts):
        return Acting(0, 0, ITSELF)
    none = np.zeros(0, dtype=np.int64)
    lasted = np.concatenate([none, *(_lasted(view, acts, step) for step, acts in parts)])
    if len(lasted):
        return Acting(_high(lasted), len(lasted), ANSWERED)
    return Acting(_half_handshake(view), 0, HANDSHAKE)


def _lasted(view: StageView, acts: Rows, step: Step) -> NDArray[np.int64]:
    """How long the service may have taken to act on each, ns, as far as that was seen."""
    if isinstance(step, _BY_HTTP):
        return np.zeros(len(acts), dtype=np.int64)
    if isinstance(step, script.Vanish):
        return np.zeros(0, dtype=np.int64)
    return _until_answered(view, acts, step)


def _until_answered(view: StageView, acts: Rows, step: Step) -> NDArray[np.int64]:
    """From each action to its first answer; actions without one are left out."""
    rows = _answers(view, step)
    keys = _own_runs(view) if isinstance(step, script.Run) else {}
    times: dict[int, list[tuple[int, int]]] = {}
    for row in rows:
        times.setdefault(int(row["session"]), []).append((int(row["t"]), int(row["b"])))
    out = []
    for act in acts:
        session, stamp = int(act["session"]), int(act["t"])
        begun = [(abs(t - stamp), key) for t, key in keys.get(session, ())]
        own = min(begun)[1] if begun else None
        mine = times.get(session, ())
        after = [t - stamp for t, b in mine if t >= stamp and own in (None, b)]
        if after:
            out.append(min(after))
    return np.array(out, dtype=np.int64)


def _answers(view: StageView, step: Step) -> Rows:
    """The rows that answer such a step, of the whole stage.

    Of a connect the 101 or the refusal: ready may itself wait for what is raced.
    """
    rows: Rows
    match step:
        case script.Connect() | script.Handshake():
            rows = of_stage(view, Kind.HEAD)
        case script.Settle() | script.Ping():
            rows = of_stage(view, Kind.SENTINEL, Kind.PONG)
            rows = rows[(rows["kind"] == Kind.PONG) | (rows["flag"] == 1)]
        case script.Close():
            rows = of_stage(view, Kind.CLOSE)
            rows = rows[rows["flag"] == 1]
        case script.Refresh() if (rule := view.resolved.dialect.refresh) is not None:
            rows = of_stage(view, Kind.GOT)
            rows = rows[rows["flag"] == view.resolved.dialect.types.index(rule.answer) + 1]
        case _:
            rows = of_stage(view, Kind.GOT)
    return rows


def _own_runs(view: StageView) -> dict[int, list[tuple[int, int]]]:
    """The runs that each session began: when, and their keys."""
    rows = of_stage(view, Kind.PUT)
    out: dict[int, list[tuple[int, int]]] = {}
    for row in rows[rows["flag"] == Put.START]:
        out.setdefault(int(row["session"]), []).append((int(row["t"]), int(row["b"])))
    return out


def _half_handshake(view: StageView) -> int:
    rows = view.attempts
    rows = rows[(rows["tcp"] > 0) & (rows["dial"] > 0)]
    if not len(rows):
        return 0
    return _high(rows["tcp"] - np.maximum(rows["dial"], rows["resolved"])) // 2


def _high(values: NDArray[np.int64]) -> int:
    return int(np.quantile(values, SHARE))
