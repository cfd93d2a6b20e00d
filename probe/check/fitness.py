"""Was the generator fit to judge: a veto, never a correction.

The rule (docs/methods.md, Fitness): what taints makes timings, rates and absences INCONCLUSIVE;
what invalidates makes the run INVALID. Limits stand there; every figure that was compared
is told, with its unit in its name. What was not recorded cannot vouch for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.rows import among, of_stage, place
from probe.check.verdict import Fitness
from probe.check.words import counted, duration, percent
from probe.history.records import Credential, Kind, Outcome
from probe.stats.quantiles import Value, quantile
from probe.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.view import StageView
    from probe.history.columns import History, Rows
    from probe.model.resolved import Resolved

MS: Final = 1_000_000
LAG_TAINT_NS: Final = 10 * MS
LAG_INVALID_NS: Final = 100 * MS
LAG_SHARE: Final = 0.1  # of the smallest latency limit that gates
CPU_TAINT, CPU_INVALID = 800, 950  # permille of one core
CPU_FOR_NS: Final = 5_000 * MS
STEAL_TAINT: Final = 20  # permille of the machine
PAUSE_TAINT_NS: Final = 10 * MS
SCHEDULE_TAINT_NS: Final = 5 * MS
SCHEDULE_SHARE: Final = 0.01  # of the shortest time that is judged
LAUNCH_NS, LAUNCH_TLS_NS = 60_000, 700_000  # the spread by nature, per client of a herd
LAUNCH_SLOWER: Final = 4
ACHIEVED_MIN: Final = 0.95
ALIKE_MIN: Final = 5
_STOPPED: Final = 2

_OWN: Final = (Kind.LAG, Kind.CPU, Kind.STEAL, Kind.GC, Kind.LIMIT)


class _Notes:
    """Taints, reasons for invalid, and figures, being collected."""

    def __init__(self) -> None:
        self.taints: list[str] = []
        self.invalid: list[str] = []
        self.figures: dict[str, Any] = {}


def fitness(
    history: History, resolved: Resolved, views: Sequence[StageView], *, window: bool = False
) -> Fitness:
    """Judge the generator over the stages in `views`; `window`: over their time alone."""
    notes = _Notes()
    begun = [view for view in views if not view.skipped]
    low = min((view.begun for view in begun), default=0) if window else 0
    high = max((view.ended for view in begun), default=0) if window else 2**63 - 1
    rows = history.of(*_OWN)
    rows = rows[(rows["t"] >= low) & (rows["t"] <= high)]
    _heartbeat(notes, rows, _smallest_limit(views))
    _processor(notes, rows)
    _steal(notes, rows)
    _pauses(notes, rows)
    # Clients of a race are dialled when their gate wants it, and as many as its search needs.
    paced = [view for view in begun if view.stage.race is None]
    _schedule(notes, paced, _late_allowed(begun, resolved))
    _achieved(notes, history, paced)
    _ours(notes, rows, begun)
    _plausible(notes, resolved, history, begun)
    lost = history.lost
    notes.figures["journal_rows_lost"] = lost
    if lost:
        notes.taints.append(f"the journal lost {counted(lost, 'row')}")
    return Fitness(tuple(notes.taints), tuple(notes.invalid), notes.figures)


def _of(rows: Rows, kind: Kind) -> Rows:
    mine: Rows = rows[rows["kind"] == kind]
    return mine


def _ms(ns: float) -> float:
    return round(float(ns) / MS, 6)


def _quantile_ns(values: Any, q: float) -> int:
    found = quantile(values, q).estimate
    return found.ns if isinstance(found, Value) else 0


def _smallest_limit(views: Sequence[StageView]) -> int | None:
    limits = [limit.within for v in views for limit in v.stage.expect.latency if limit.required]
    return min(limits, default=None)


def _heartbeat(notes: _Notes, rows: Rows, limit_ns: int | None) -> None:
    lags = _of(rows, Kind.LAG)["b"].astype(np.int64)
    notes.figures["heartbeats"] = len(lags)
    if not len(lags):
        notes.taints.append("no heartbeat was recorded")
        return
    p50, p99 = _quantile_ns(lags, 0.5), _quantile_ns(lags, 0.99)
    notes.figures |= {
        "heartbeat_lag_p50_ms": _ms(p50),
        "heartbeat_lag_p99_ms": _ms(p99),
        "heartbeat_lag_max_ms": _ms(int(lags.max())),
    }
    bound, why = LAG_TAINT_NS, ""
    if limit_ns is not None and limit_ns * LAG_SHARE < bound:
        bound = int(limit_ns * LAG_SHARE)
        why = f", 10 % of the limit {format_duration(limit_ns)}"
    words = f"heartbeat lag p99 {format_duration(p99)} is over "
    if p99 > LAG_INVALID_NS:
        notes.invalid.append(words + format_duration(LAG_INVALID_NS))
    elif p99 > bound:
        notes.taints.append(words + format_duration(bound) + why)


def _processor(notes: _Notes, rows: Rows) -> None:
    rows = _of(rows, Kind.CPU)
    rows = rows[rows["op"] == 0]
    rows = rows[np.argsort(rows["t"], kind="stable")]
    if not len(rows):
        return
    notes.figures |= {
        "cpu_max_percent_of_core": int(rows["a"].max()) / 10,
        "cpu_mean_percent_of_core": round(float(rows["a"].mean()) / 10, 3),
        "memory_peak_mib": round(int(rows["b"].max()) / 2**20, 3),
    }
    for level, notes_of in ((CPU_INVALID, notes.invalid), (CPU_TAINT, notes.taints)):
        longest = _longest(rows["t"], rows["a"] > level)
        if longest >= CPU_FOR_NS:
            notes_of.append(
                f"the probe used over {level // 10} % of its core for {format_duration(longest)}"
            )
            return


def _longest(times: Any, above: Any) -> int:
    """The longest time, ns, that samples were above; a sample speaks of the time before it."""
    longest = held = 0
    for k in range(1, len(times)):
        held = held + int(times[k] - times[k - 1]) if above[k] else 0
        longest = max(longest, held)
    return longest


def _steal(notes: _Notes, rows: Rows) -> None:
    steal = _of(rows, Kind.STEAL)["a"]
    if not len(steal):
        return
    mean = float(steal.mean())
    notes.figures["steal_percent_of_machine"] = round(mean / 10, 3)
    if mean > STEAL_TAINT:
        notes.taints.append(f"the host took {percent(mean / 1000)} of this machine (steal)")


def _pauses(notes: _Notes, rows: Rows) -> None:
    pauses = _of(rows, Kind.GC)["b"]
    longest = int(pauses.max()) if len(pauses) else 0
    notes.figures |= {"gc_pauses": len(pauses), "gc_pause_max_ms": _ms(longest)}
    if longest > PAUSE_TAINT_NS:
        notes.taints.append(f"a garbage collection paused the probe for {format_duration(longest)}")


def _late_allowed(views: Sequence[StageView], resolved: Resolved) -> int:
    """How late a client may be dialled: a hundredth of the shortest time that is judged.

    Where no stage is held to a time, that is the dialect's for becoming ready. Lateness is
    part of the headline latency anyway, so a limit of 2 s is not blurred by 10 ms of it.
    """
    expects = [view.stage.expect for view in views]
    gates = [g for e in expects for g in (e.recovery, e.readiness_gap, e.everybody_in) if g]
    limits = [limit.within for e in expects for limit in e.latency if limit.required]
    limits += [gate.within for gate in gates if gate.within]
    shortest = min(limits, default=resolved.dialect.ready.within)
    return max(SCHEDULE_TAINT_NS, int(shortest * SCHEDULE_SHARE))


def _schedule(notes: _Notes, views: Sequence[StageView], allowed: int) -> None:
    lags, excess = [], []
    for view in views:
        rows = view.sessions[view.sessions["dial"] > 0]
        # Who first gets another token, or ends one, dials when that has been answered.
        busy = of_stage(view, Kind.CREDENTIAL)
        at, found = place(rows["session"], busy["session"])
        before = found & (busy["t"] < rows["dial"][at])
        rows = rows[~among(rows["session"], busy["session"][before])]
        if not len(rows):
            continue
        if not len(rows):
            continue
        secure = any(view.url(k).startswith("wss:") for k in np.unique(rows["endpoint"]).tolist())
        due = rows["intended"].copy()
        for trial in view.trials:
            mine = rows["trial"] == trial.number
            due[mine] = np.maximum(due[mine], trial.called)
        each_ns = _launch_ns(rows, LAUNCH_TLS_NS if secure else LAUNCH_NS)
        lags.append(rows["dial"] - rows["intended"])
        excess.append(_beyond(due, rows["dial"], each_ns))
        notes.figures[f"launch_each_us_in_{view.name}"] = round(each_ns / 1000, 3)
    if not lags:
        return
    p99 = _quantile_ns(np.concatenate(excess), 0.99)
    notes.figures |= {
        "schedule_lag_p99_ms": _ms(_quantile_ns(np.concatenate(lags), 0.99)),
        "schedule_lag_beyond_launch_spread_p99_ms": _ms(p99),
    }
    if p99 > allowed:
        notes.taints.append(
            f"clients were dialled late: p99 {duration(p99)} beyond the launch spread of their "
            f"herd, {duration(allowed)} is allowed; free this machine, or lower the rate"
        )


def _launch_ns(rows: Rows, least_ns: int) -> int:
    """What one launch of a herd takes here: the median gap between dials of one instant.

    A stall is a rare long gap and does not move the median; it is kept within
    `LAUNCH_SLOWER` times what was found elsewhere, so that a slow machine is still told.
    """
    rows = rows[np.lexsort((rows["dial"], rows["intended"]))]
    together = rows["intended"][1:] == rows["intended"][:-1]
    gaps = np.diff(rows["dial"])[together]
    if len(gaps) < ALIKE_MIN:
        return least_ns
    return int(np.clip(np.median(gaps), least_ns, LAUNCH_SLOWER * least_ns))


def _beyond(due: Any, dial: Any, each_ns: int) -> Any:
    """Lateness beyond what a herd has by nature, int64[n] ns, from int64[n] stamps.

    Clients due at one instant are dialled one by one, and who comes next waits for them. Only
    those add to the queue: open arrivals that pile up are the probe's fault.
    """
    order = np.lexsort((dial, due))
    due, dial = due[order], dial[order]
    behind = np.concatenate([[0], np.where(np.diff(due) == 0, each_ns, 0)]).cumsum()
    turn = behind + np.maximum.accumulate(due - behind)
    return np.maximum(dial - turn, 0)


def _achieved(notes: _Notes, history: History, views: Sequence[StageView]) -> None:
    planned = dialled = 0
    whole = history.meta.get("ended") == "complete"
    for view in views:
        rows = view.sessions
        reached = rows["dial"] > 0
        # A session that failed before its dial (no token) counts as tried: it is a failure.
        # So does one whose token could not be made: that is told, and no fault of the machine.
        unmade = of_stage(view, Kind.CREDENTIAL)
        unmade = unmade[unmade["flag"] == Credential.NOT_MADE]
        tried = reached | (rows["outcome"] == 1) | among(rows["session"], unmade["session"])
        if not whole:
            tried = tried | np.isin(rows["outcome"], (-1, _STOPPED))
        planned, dialled = planned + len(rows), dialled + int(tried.sum())
    notes.figures |= {"clients_planned": planned, "clients_launched": dialled}
    if planned and dialled < ACHIEVED_MIN * planned:
        notes.invalid.append(
            f"only {dialled:,} of {planned:,} intended clients were launched; "
            f"{percent(ACHIEVED_MIN)} is the least"
        )


def _ours(notes: _Notes, rows: Rows, views: Sequence[StageView]) -> None:
    local = sum(int((view.attempts["outcome"] == Outcome.LOCAL).sum()) for view in views)
    notes.figures["local_failures"] = local
    for row in _of(rows, Kind.LIMIT):
        name = "descriptors" if int(row["flag"]) == 0 else "local_ports"
        used = f"{name}_in_use_max"
        notes.figures[used] = max(int(row["a"]), notes.figures.get(used, 0))
        notes.figures[f"{name}_limit"] = int(row["b"])
    if local:
        detail = next(
            (
                view.text(row["detail_text"])
                for view in views
                for row in view.attempts[view.attempts["outcome"] == Outcome.LOCAL]
            ),
            "",
        )
        said = f" ({detail})" if detail else ""
        notes.invalid.append(
            f"{counted(local, 'connection')} failed at this machine's own limits{said}"
        )


def _plausible(
    notes: _Notes, resolved: Resolved, history: History, views: Sequence[StageView]
) -> None:
    """What cannot be true of real connections (docs/methods.md, Authenticity)."""
    for view in views:
        rows = view.attempts[view.attempts["ready"] > 0]
        took = rows["ready"] - rows["dial"]
        if len(took) >= ALIKE_MIN and took.min() == took.max():
            notes.invalid.append(
                f"all {len(took)} connects in {view.name} took the same {duration(float(took[0]))}"
            )
        unread = int((rows["head"] == 0).sum())
        if unread:
            notes.invalid.append(
                f"{counted(unread, 'connection')} in {view.name} got ready without an answer"
            )
    traffic = history.of(Kind.TRAFFIC)
    read = int(traffic["b"][traffic["flag"] == 1].sum()) + int(history.of(Kind.FIRST)["a"].sum())
    if not len(traffic):  # cut off before any connection ended: only that messages came is known
        read = len(history.places(Kind.GOT))
    ready = any((view.attempts["ready"] > 0).any() for view in views)
    if resolved.dialect.ready.event and ready and not read:
        notes.invalid.append("clients got ready, and not one byte was read after the handshakes")
