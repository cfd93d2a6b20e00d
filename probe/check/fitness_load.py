"""Was the load let go as planned, and was it real: the fitness that connections tell.

The rule (docs/methods.md, Fitness and Authenticity): lateness is judged against the shortest
time that is judged, less the launch spread that a herd has by nature; clients that were
intended and not launched, connections that failed at limits of this machine, and figures that
cannot be true of real connections make the run INVALID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import numpy as np

from probe.check.fitness_machine import Notes, ms, quantile_ns
from probe.check.rows import among, of_stage, place
from probe.check.view import FOREVER
from probe.check.words import counted, duration, percent
from probe.history.records import Credential, Kind, Outcome
from probe.stats.fit import ACHIEVED_MIN, LAG_INVALID_NS, PORTS_TAINT, SCHEDULE_TAINT_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.view import StageView
    from probe.history.columns import History, Rows
    from probe.model.resolved import Resolved

SCHEDULE_SHARE: Final = 0.01  # of the shortest time that is judged
LAUNCH_NS, LAUNCH_TLS_NS = 60_000, 700_000  # the spread by nature, per client of a herd
LAUNCH_SLOWER: Final = 4
ALIKE_MIN: Final = 5
RATE_MIN: Final = 100  # clients: of fewer, some late ones are no rate
_STOPPED: Final = 2
_REMEDIES: Final = {
    "Too many open files": "raise its limit on open files (ulimit -n)",
    "Cannot assign requested address": "it has no local port left; widen "
    "net.ipv4.ip_local_port_range, or connect from more addresses",
    "Cannot allocate memory": "it has no memory left",
    "No buffer space available": "it has no memory left for sockets",
}


def load(notes: Notes, history: History, resolved: Resolved, views: Sequence[StageView]) -> None:
    """Judge the clients of the stages that began."""
    # Clients of a race are dialled when their gate wants it, and as many as its search needs.
    paced = [view for view in views if view.stage.race is None]
    launch = _calibrated_ns(history) or LAUNCH_NS
    _schedule(notes, paced, late_allowed(_shortest_judged(views, resolved)), launch)
    _achieved(notes, history, paced)
    _local_failures(notes, views)
    _ports(notes, views)
    _plausible(notes, resolved, history, views)


def _calibrated_ns(history: History) -> int:
    """What a launch takes on this machine by its calibration; 0 where there is none."""
    told = history.meta.get("calibration")
    each = told.get("launch_each_ns") if isinstance(told, dict) else None
    return each if isinstance(each, int) and each > 0 else 0


def _shortest_judged(views: Sequence[StageView], resolved: Resolved) -> int:
    """The shortest time that a stage is held to, ns; else the dialect's for becoming ready."""
    expects = [view.stage.expect for view in views]
    gates = [g for e in expects for g in (e.recovery, e.readiness_gap, e.everybody_in) if g]
    limits = [limit.within for e in expects for limit in e.latency if limit.required]
    limits += [gate.within for gate in gates if gate.within]
    return min(limits, default=resolved.dialect.ready.within)


def late_allowed(judged_ns: int) -> int:
    """How late a client may be dialled: a hundredth of the shortest time that is judged.

    Lateness is part of the headline latency anyway, so a limit of 2 s is not blurred by 10 ms.
    """
    return max(SCHEDULE_TAINT_NS, int(judged_ns * SCHEDULE_SHARE))


def _schedule(notes: Notes, views: Sequence[StageView], allowed: int, launch_ns: int) -> None:
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
        secure = any(view.url(k).startswith("wss:") for k in np.unique(rows["endpoint"]).tolist())
        due = rows["intended"].copy()
        for trial in view.trials:
            mine = rows["trial"] == trial.number
            due[mine] = np.maximum(due[mine], trial.called)
        each_ns = _launch_ns(rows, max(launch_ns, LAUNCH_TLS_NS) if secure else launch_ns)
        lags.append(rows["dial"] - rows["intended"])
        excess.append(_beyond(due, rows["dial"], each_ns))
        notes.figures[f"launch_each_us_in_{view.name}"] = round(each_ns / 1000, 3)
    if not lags:
        return
    p99 = quantile_ns(np.concatenate(excess), 0.99)
    notes.figures |= {
        "schedule_lag_p99_ms": ms(quantile_ns(np.concatenate(lags), 0.99)),
        "schedule_lag_beyond_launch_spread_p99_ms": ms(p99),
    }
    share = float(np.mean(np.concatenate(excess) > LAG_INVALID_NS))
    notes.figures["schedule_lag_over_100_ms_rate"] = round(share, 6)
    if share > 1 - ACHIEVED_MIN and sum(map(len, excess)) >= RATE_MIN:
        notes.invalid.append(
            f"{percent(share)} of the clients were dialled over {duration(LAG_INVALID_NS)} late, "
            "so that the rate was not the plan's; free this machine, or lower the rate"
        )
    elif p99 > allowed:
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


def _achieved(notes: Notes, history: History, views: Sequence[StageView]) -> None:
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
        planned += max(len(rows), _meant(history, view) if whole else 0)
        dialled += int(tried.sum())
    notes.figures |= {"clients_planned": planned, "clients_launched": dialled}
    if planned and dialled < ACHIEVED_MIN * planned:
        notes.invalid.append(
            f"only {dialled:,} of {planned:,} intended clients were launched; "
            f"{percent(ACHIEVED_MIN)} is the least; lower the rate, or give the stage more time"
        )


def _meant(history: History, view: StageView) -> int:
    """How many clients a stage was to launch that was cut off by its budget; 0 for any other.

    After a restart fewer are let go by intent, as soon as the target has settled.
    """
    ended = history.of(Kind.SETTLED)
    ended = ended[ended["a"] == view.index]
    told = [s for s in history.meta.get("stages", []) if s.get("name") == view.name]
    planned = told[0].get("planned") if told else None
    if view.stage.anchor == "restart" or not len(ended) or planned is None:
        return 0
    if int(ended["t"].max()) - view.begun < view.stage.budget:
        return 0
    return int(planned) * len(ended) // view.stage.trials


def _local_failures(notes: Notes, views: Sequence[StageView]) -> None:
    failed = [(v, row) for v in views for row in v.attempts[v.attempts["outcome"] == Outcome.LOCAL]]
    notes.figures["local_failures"] = len(failed)
    if not failed:
        return
    detail = failed[0][0].text(failed[0][1]["detail_text"])
    said = f" ({detail})" if detail else ""
    remedy = next((f"; {words}" for what, words in _REMEDIES.items() if what in detail), "")
    notes.invalid.append(
        f"{counted(len(failed), 'connection')} failed at this machine's own limits{said}{remedy}"
    )


def _ports(notes: Notes, views: Sequence[StageView]) -> None:
    """Local ports that open connections had at one time, to the address that had the most.

    Ports of connections that this side closed stay taken for a minute more, which only the
    kernel knows; where there is none left, the connections that fail say so.
    """
    most, where = 0, ""
    by_address: dict[str, list[Any]] = {}
    for view in views:
        rows = view.attempts[view.attempts["tcp"] > 0]
        for endpoint in np.unique(rows["endpoint"]).tolist():
            address = urlsplit(view.url(endpoint)).netloc
            by_address.setdefault(address, []).append(rows[rows["endpoint"] == endpoint])
    for address, parts in by_address.items():
        began = np.sort(np.concatenate([part["dial"] for part in parts]))
        ended = np.concatenate([np.where(p["end"] > 0, p["end"], FOREVER) for p in parts])
        over = np.searchsorted(np.sort(ended), began, side="right")
        alive = int((np.arange(1, len(began) + 1) - over).max(initial=0))
        if alive > most:
            most, where = alive, address
    notes.figures["local_ports_in_use_max"] = most
    # One address of this machine has so many to one address there.
    sources = len(views[0].resolved.target.get("sources", ())) if views else 0
    limit = notes.figures.get("local_ports_limit", 0) * max(sources, 1)
    if limit and most > PORTS_TAINT * limit:
        notes.taints.append(
            f"{most:,} of {limit:,} local ports were in use at a time to {where}; "
            "widen net.ipv4.ip_local_port_range, or connect from more addresses"
        )


def _plausible(
    notes: Notes, resolved: Resolved, history: History, views: Sequence[StageView]
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
