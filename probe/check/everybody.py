"""Everybody in: every client that retries is in again after a restart.

The rule: the unit is the restart. A client that gave up is left out; one that we stopped,
or whose end was not recorded, leaves its restart unknown. Times count from time zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, rate_check
from probe.check.catalogue import finding
from probe.check.verdict import Outcome
from probe.check.view import FOREVER, good
from probe.check.witness import witnesses
from probe.check.words import duration, of, seconds

if TYPE_CHECKING:
    from probe.check.view import StageView, Trial

_FAILED: Final = 1
NO_RESTART: Final = "no restart took place"


@dataclass(frozen=True, slots=True)
class In:
    """Whether and when all retrying clients of one restart were in; ns since time zero."""

    clients: int
    all_in_ns: int | None
    out: tuple[int, ...]  # sessions that surely were left out
    unknown: int


def everybody_in(view: StageView) -> Part:
    """`<stage>.everybody_in`: every retrying client was in again in time."""
    part = Part()
    known = retrying(view)
    if known and view.trials:
        part.summary["everybody_in"] = {view.name: _retry_summary(view)}
    limit = view.stage.expect.everybody_in
    if limit is None:
        return part
    within = FOREVER if limit.within is None else limit.within
    fine, late, out, unknown = 0, [], [], 0
    found = [(trial, all_in(view, trial)) for trial in view.trials] if known else []
    found = [(trial, each) for trial, each in found if each.clients]
    for trial, each in found:
        if each.out:
            out.append((trial, each))
        elif each.all_in_ns is not None and each.all_in_ns > within:
            late.append((trial, each))
        elif each.unknown or each.all_in_ns is None:
            unknown += 1
        else:
            fine += 1
    n = len(found)
    check = rate_check(
        view,
        "everybody_in",
        f"had every retrying client in within {duration(limit.within)}",
        "restart",
        k=fine,
        n=n,
        unknown=unknown,
        limit=limit.rate,
        required=limit.required,
        nothing="no population retries" if not known else NO_RESTART,
    )
    part.checks.append(check)
    if (out or late) and check.verdict is not Outcome.PASS:
        left = [session for _, each in out for session in each.out]
        clients = sum(each.clients for _, each in found)
        words = f"after {of(len(out) + len(late), n, 'restart')} not every retrying client was in"
        words += (
            f" within {duration(limit.within)}: {of(len(left), clients, 'client')} never got in"
        )
        if late:
            slowest = max(each.all_in_ns or 0 for _, each in late)
            words += f", the slowest of the others took {duration(slowest)}"
        rows = view.attempts[np.isin(view.attempts["session"], left)]
        cases = witnesses(view, rows) if len(rows) else ()
        part.findings.append(
            finding("retry.left_out", check.id, len(out) + len(late), words, witness=cases)
        )
    return part


def retrying(view: StageView) -> list[int]:
    """The populations that climb the retry ladder."""
    return [k for k, group in view.groups.items() if group.population.retry]


def all_in(view: StageView, trial: Trial) -> In:
    """The retrying clients of one restart."""
    mine = view.of_trial(view.sessions, trial)
    mine = mine[np.isin(mine["population"], retrying(view)) & view.wanted(mine)]
    rows = view.of_trial(view.welcome, trial)
    rows = rows[good(rows)]
    order = np.argsort(rows["ready"], kind="stable")[::-1]
    first = dict(zip(rows["session"][order].tolist(), rows["ready"][order].tolist(), strict=True))
    times = [first[s] - trial.zero for s in mine["session"].tolist() if s in first]
    missing = mine[~np.isin(mine["session"], list(first))]
    failed = missing["session"][missing["outcome"] == _FAILED]
    return In(
        clients=len(mine),
        all_in_ns=max(times) if times and not len(missing) else None,
        out=tuple(failed.tolist()),
        unknown=len(missing) - len(failed),
    )


def _retry_summary(view: StageView) -> dict[str, Any]:
    rows = view.welcome[np.isin(view.welcome["population"], retrying(view))]
    zeros = {trial.number: trial.zero for trial in view.trials}
    rows = rows[np.isin(rows["trial"], list(zeros))]
    fine = rows[good(rows)]
    fine = fine[np.unique(fine["session"], return_index=True)[1]] if len(fine) else fine
    since = fine["ready"] - np.array([zeros[k] for k in fine["trial"].tolist()], dtype=np.int64)
    per_client = np.unique(rows["session"], return_counts=True)[1]
    rungs = {}
    for rung in np.unique(fine["attempt"]).tolist():
        times = since[fine["attempt"] == rung]
        rungs[str(rung + 1)] = {"clients": len(times), "median_s": seconds(float(np.median(times)))}
    some = len(since) > 0
    return {
        "clients": len(per_client),
        "in": len(fine),
        "median_s": seconds(float(np.median(since))) if some else None,
        "max_s": seconds(int(since.max())) if some else None,
        "attempts_median": float(np.median(per_client)) if len(per_client) else None,
        "attempts_max": int(per_client.max()) if len(per_client) else None,
        "by_attempt": rungs,
    }
