"""What a stage is held to about its runs: the checks of `expect.delivery` and `expect.runs`.

The rule (docs/methods.md, Delivery): only what the dialect promises can be broken. But for
completeness these are absences: one case breaks each, a PASS prints what n can exclude. Of
`runs` the unit is the session that began them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from probe.check.bound import rate_check, smallest, unmeasured, withheld
from probe.check.delivery.completeness import complete, left_out
from probe.check.delivery.receipts import DUPLICATED, FIRST
from probe.check.delivery.units import LOST, UNKNOWN
from probe.check.verdict import Check, Outcome
from probe.check.words import at_most, counted, duration, of, percent, were
from probe.stats.rates import gate_rate, zero_bound

if TYPE_CHECKING:
    from probe.check.delivery.numbers import Numbers
    from probe.check.delivery.units import Units
    from probe.check.view import Mask, StageView
    from probe.model.scenario import Delivery, Limit


def names_of(view: StageView) -> list[str]:
    """The checks that `expect.delivery` brings, as the last part of their ids."""
    promises = view.resolved.dialect.promises
    names = ["complete", "in_time", "expected", "ends"]
    names += ["once"] if promises.at_most_once else []
    names += ["order"] if promises.order else []
    names += ["numbered"] if promises.numbered else []
    return [f"delivery.{name}" for name in names]


def delivery_checks(units: Units, limit: Delivery) -> list[Check]:
    """`<stage>.delivery.…`: all that `names_of` tells."""
    promises = units.rules.promises
    first = int((units.receipts.kind == FIRST).sum())
    out = [complete(units, limit)]
    if promises.at_most_once:
        out.append(_once(units, limit))
    if promises.order:
        words = "came after one that it comes before"
        out.append(_absence(units, limit, "order", "reordered", first, words))
    if units.numbers is not None:
        out.append(_numbered(units, units.numbers, limit))
    words = f"came later than {duration(units.rules.within)} after the start of the run"
    out.append(_absence(units, limit, "in_time", "late", first, words))
    out += [_expected(units, limit), _ends(units, limit)]
    return out


def _once(units: Units, limit: Delivery) -> Check:
    receipts = units.receipts
    came = np.isin(receipts.kind, (FIRST, DUPLICATED))
    # Which of a repeated event it is, only its number can tell.
    blind = came & (receipts.seq <= 0) & ~units.rules.once[receipts.type]
    n, untold = int((came & ~blind).sum()), int(blind.sum())
    words = "came more than once"
    if untold:
        words += f"; of {counted(untold, 'repeated event')} without a number it cannot be told"
    return _absence(units, limit, "once", "duplicated", n, words)


def _numbered(units: Units, numbers: Numbers, limit: Delivery) -> Check:
    n, bad = int(units.own.sum()), len(numbers.wrong)
    if not n:
        return _nothing(units, limit, "numbered")
    message = f"{of(bad, n, 'event')}{_bound(bad, n)} {were(bad)} not numbered as promised"
    return _made(units, limit, "numbered", bad, message)


def _absence(units: Units, limit: Delivery, what: str, kind: str, n: int, words: str) -> Check:
    marked = units.marked(kind)
    runs = len(np.unique(units.receipts.run[marked]))
    if not n:
        return _nothing(units, limit, what)
    bad = len(marked)
    message = f"{of(bad, n, 'event')}{_bound(bad, n)} {words}"
    if bad:
        message += f", in {of(runs, len(units.runs), 'run')}"
    return _made(units, limit, what, bad, message, timed=kind == "late")


def _expected(units: Units, limit: Delivery) -> Check:
    strange = len(units.receipts.alien) + len(units.receipts.nameless)
    n = len(units.receipts) + strange
    if not n:
        return _nothing(units, limit, "expected")
    bad = sum(len(units.marked(kind)) for kind in ("unexpected", "phantom")) + strange
    message = f"{of(bad, n, 'event')}{_bound(bad, n)} belonged to no run under way"
    return _made(units, limit, "expected", bad, message)


def _ends(units: Units, limit: Delivery) -> Check:
    life = units.meanwhile
    # Of a run that a gap interrupted only an end that came tells anything.
    due = ~units.refused & ~life.stalled & ((life.away < 0) | (units.runs["ended"] > 0))
    n, bad = int(due.sum()), int(units.hung.sum())
    if not n:
        why = "no run was due to end" if len(units.runs) else "no run was begun"
        name = "delivery.ends"
        return unmeasured(units.view, name, "absence", why, required=limit.required)
    unknown = int((due & ~units.hung & unknown_runs(units)).sum())
    message = f"{of(bad, n, 'run')}{_bound(bad, n)} hung without an end{left_out(units)}"
    check = _made(units, limit, "ends", bad, message, missing=True)
    if check.verdict is Outcome.PASS and unknown > limit.unknown * n:
        words = f"of {of(unknown, n, 'run')} it is not known, more than {percent(limit.unknown)}"
        return _changed(check, f"{words}: {message}")
    return check


def _nothing(units: Units, limit: Delivery, what: str) -> Check:
    why = "no event of a run came" if len(units.runs) else "no run was begun"
    return unmeasured(units.view, f"delivery.{what}", "absence", why, required=limit.required)


def _bound(bad: int, n: int) -> str:
    return "" if bad else f", {at_most(zero_bound(n))},"


def _made(
    units: Units,
    limit: Delivery,
    what: str,
    bad: int,
    message: str,
    *,
    timed: bool = False,
    missing: bool = False,
) -> Check:
    """An absence. `timed`: a matter of timing; `missing`: lost rows of ours could make a case."""
    view, sessions = units.view, len(units.clusters[0])
    check = Check(
        f"{view.name}.delivery.{what}",
        view.name,
        limit.required,
        Outcome.FAIL if bad else Outcome.PASS,
        "absence",
        sessions,
        message,
        estimate=float(bad),
        limit=0.0,
        unit="count",
        # What came, came: a busy probe reads later, never more. Only lateness may be its own.
        load_sensitive=timed and bad > 0,
        smallest=smallest(sessions, "session"),
    )
    return withheld(view, check) if missing or not bad else check


def _changed(check: Check, message: str) -> Check:
    return replace(check, verdict=Outcome.INCONCLUSIVE, message=message)


def unknown_runs(units: Units) -> Mask:
    """Runs of which some event is unknown, or that were refused once events had come."""
    out = units.refused & units.seen.any(axis=1)
    out[units.lacking(UNKNOWN)["run"]] = True
    return out


def broken_runs(units: Units, *, timed: bool = True) -> Mask:
    """Runs of which something surely went against a promise.

    Not `timed`: leaving out what only time tells, as a busy probe may tell it wrongly.
    """
    out = units.hung & timed
    lost = units.lacking(LOST)
    out[lost["run"][timed | ~lost["trailing"]]] = True
    promises = units.rules.promises
    kinds = ["unexpected", "phantom"] + (["late"] if timed else [])
    kinds += ["duplicated"] if promises.at_most_once else []
    kinds += ["reordered"] if promises.order else []
    for kind in kinds:
        out[units.receipts.run[units.marked(kind)]] = True
    if units.numbers is not None:
        out[units.receipts.run[units.numbers.wrong]] = True
    return out


def runs_check(units: Units, limit: Limit) -> Check:
    """`<stage>.runs`: sessions of whose runs nothing went wrong."""
    broken, unknown = broken_runs(units), unknown_runs(units)
    asked = ~units.refused | broken | unknown
    sessions, place = units.clusters
    n = len(sessions)
    judged = np.bincount(place, weights=asked, minlength=n) > 0
    bad = np.bincount(place, weights=broken, minlength=n) > 0
    open_ = np.bincount(place, weights=unknown, minlength=n) > 0
    fine = int((asked & ~broken & ~unknown).sum())
    check = rate_check(
        units.view,
        "runs",
        f"had all their runs complete ({of(fine, int(asked.sum()), 'run')})",
        "session",
        k=int((judged & ~bad & ~open_).sum()),
        n=int(judged.sum()),
        unknown=int((judged & ~bad & open_).sum()),
        limit=limit.rate,
        required=limit.required,
        nothing="every run was refused" if len(units.runs) else "no run was begun",
    )
    check = replace(check, message=check.message + left_out(units))
    if check.verdict is not Outcome.FAIL:
        return check
    shown = np.bincount(place, weights=broken_runs(units, timed=False), minlength=n) > 0
    return withheld(units.view, _standing(check, int(shown.sum()), limit))


def _standing(check: Check, shown: int, limit: Limit) -> Check:
    """Not vetoed where sessions with a witness, `shown`, break the limit by themselves."""
    if limit.rate >= 1:
        return replace(check, load_sensitive=not shown)
    gate = gate_rate(check.n - shown, check.n, at_least=limit.rate)
    if gate.decision != "fail":
        return check
    # Among many limits it has to hold by its witnesses alone, too.
    return replace(check, load_sensitive=False, p_value=gate.p_fail)
