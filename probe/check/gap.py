"""Readiness gap: how long health said healthy before WebSockets worked.

The rule: nothing is assumed about where between request and answer a server judged. An
observation that says "not yet" was judged after it was sent, one that says "now" before its
answer came, so each of the two switches lies in an interval, and so does the gap (see
`stats.switch`). A restart whose interval lies beyond the limit is bad, one within is good,
any other is unknown. Those intervals hold on a slow probe too: its stamps only widen them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, rate_check, unmeasured
from probe.check.catalogue import finding
from probe.check.verdict import Outcome
from probe.check.view import decided, good
from probe.check.witness import witnesses
from probe.check.words import duration, of
from probe.history.records import Outcome as Ended
from probe.stats.switch import GapInterval, SwitchInterval, gap_interval, switch_interval

if TYPE_CHECKING:
    from probe.check.view import StageView, Trial

_HEALTHY: Final = 1
_SAYS_NOTHING: Final = (Ended.RESOLVE_FAILED, Ended.PROXY_FAILED, Ended.TOO_LARGE)
_WHAT: Final = "readiness_gap"


def ws_switch(view: StageView, trial: Trial) -> SwitchInterval:
    """When WebSockets turned good after a restart, ns of the monotonic clock."""
    rows = view.of_trial(view.welcome, trial)
    rows = rows[(rows["dial"] >= trial.zero) & (rows["dial"] <= trial.end) & decided(rows)]
    rows = rows[~np.isin(rows["outcome"], _SAYS_NOTHING) & (rows["end"] < trial.until)]
    fine = good(rows)
    earliest = np.where(rows["sent"] > 0, rows["sent"], rows["dial"])
    latest = np.maximum(np.where(fine, rows["ready"], rows["end"]), earliest)
    windows = np.stack([earliest, latest], axis=1)
    return _switch(windows[~fine], windows[fine])


def health_switch(view: StageView, trial: Trial) -> SwitchInterval:
    """When the last of the services turned healthy after a restart."""
    rows = view.health
    rows = rows[(rows["b"] >= trial.zero) & (rows["t"] <= trial.end)]
    each = []
    for service in np.unique(rows["op"]).tolist():
        mine = rows[rows["op"] == service]
        healthy = mine["flag"] == _HEALTHY
        windows = np.stack([mine["b"], mine["t"]], axis=1)
        each.append(_switch(windows[~healthy], windows[healthy]))
    return _last_of(each)


def _switch(before: Any, after: Any) -> SwitchInterval:
    if len(before):
        # What was good before anything failed was the old instance, still going down.
        after = after[after[:, 1] > before[:, 0].min()]
    found = switch_interval(before, after)
    low, high = found.low_ns, found.high_ns
    return SwitchInterval(
        None if low is None else int(low),
        None if high is None else int(high),
        found.flapped,
        found.relapses,
        found.n_before,
        found.n_after,
    )


def _last_of(each: list[SwitchInterval]) -> SwitchInterval:
    """The switch of "all are on": the latest of the single ones."""
    lows = [one.low_ns for one in each if one.low_ns is not None]
    highs = [one.high_ns for one in each]
    flapped = any(one.flapped for one in each)
    sure = not flapped and bool(each)
    known = [high for high in highs if high is not None]
    return SwitchInterval(
        max(lows) if lows and not flapped else None,
        max(known) if sure and len(known) == len(highs) else None,
        flapped,
        sum(one.relapses for one in each),
        sum(one.n_before for one in each),
        sum(one.n_after for one in each),
    )


def gap_of(view: StageView, trial: Trial) -> GapInterval:
    """WebSockets good minus health healthy; positive where health lied."""
    return gap_interval(health_switch(view, trial), ws_switch(view, trial))


def readiness_gap(view: StageView) -> Part:
    """`<stage>.readiness_gap`: the unit is the restart."""
    part = Part()
    limit = view.stage.expect.readiness_gap
    if limit is None:
        return part
    if not len(view.health):
        declared = bool(view.history.names("services"))
        why = "no service was asked for its health" if declared else "no service is declared"
        part.checks.append(unmeasured(view, _WHAT, "bound", why, required=limit.required))
        return part
    within = limit.within or 0
    gaps = [(trial, gap_of(view, trial)) for trial in view.trials]
    bad = [(t, g) for t, g in gaps if g.low_ns is not None and g.low_ns >= within]
    fine = [g for _, g in gaps if g.high_ns is not None and g.high_ns <= within]
    failing = sum(1 for trial, _ in gaps if ws_switch(view, trial).n_before)
    check = rate_check(
        view,
        _WHAT,
        f"had WebSockets working at most {duration(within)} after health said healthy",
        "restart",
        k=len(fine),
        n=len(gaps),
        unknown=len(gaps) - len(fine) - len(bad),
        limit=limit.rate,
        required=limit.required,
        load_sensitive=False,  # the intervals bracket the truth however late a stamp is
        control=f"attempts failed before the switch in {of(failing, len(gaps), 'restart')}",
        nothing="no restart took place",
    )
    part.checks.append(check)
    if bad and check.verdict is not Outcome.PASS:
        part.findings.append(_lies(view, check.id, bad, len(gaps)))
    return part


def _lies(view: StageView, check: str, bad: list[tuple[Trial, GapInterval]], n: int) -> Any:
    worst_trial, worst = max(bad, key=lambda pair: pair[1].low_ns or 0)
    middle = [
        float(g.low_ns or 0) if g.high_ns is None else ((g.low_ns or 0) + g.high_ns) / 2
        for _, g in bad
    ]
    top = "" if worst.high_ns is None else f", at most {duration(worst.high_ns)}"
    words = (
        f"after {of(len(bad), n, 'restart')} health said healthy "
        f"{duration(float(np.median(middle)))} before WebSockets worked (median; the "
        f"worst, restart {worst_trial.number}: at least {duration(worst.low_ns)}{top})"
    )
    cases = []
    for trial, _ in bad:
        rows = view.of_trial(view.welcome, trial)
        healthy = health_switch(view, trial).high_ns or trial.zero
        lost = rows[(rows["dial"] >= healthy) & ~good(rows) & decided(rows)]
        cases.append(lost[:1])
    shown = np.concatenate(cases)
    return finding("restart.health_lies", check, len(bad), words, witness=witnesses(view, shown))
