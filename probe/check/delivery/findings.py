"""Findings of delivery: each class once per stage, in a sentence that needs no code.

Every sentence counts runs, names types, and says what the cases have in common where most
have it: one type, the first event after ready, one endpoint, a reconnect. Witnesses show
the frames of the first, the worst and the last run.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.catalogue import finding
from probe.check.delivery import marks
from probe.check.delivery.breakdown import PHASES, endpoints_of, phases_of
from probe.check.delivery.classes import ends_of
from probe.check.delivery.units import LOST, UNKNOWN
from probe.check.verdict import Outcome
from probe.check.witness import run_witnesses
from probe.check.words import counted, duration, of, percent, were
from probe.stats.tables import fisher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from probe.check.delivery.units import Units
    from probe.check.verdict import Check, Finding
    from probe.check.view import Mask
    from probe.check.witness import Marks
    from probe.history.columns import Rows

Ints = NDArray[np.int64]
CHECKS: Final = {
    "delivery.lost": "delivery.complete",
    "run.hung": "delivery.ends",
    "delivery.duplicated": "delivery.once",
    "delivery.reordered": "delivery.order",
    "delivery.numbers": "delivery.numbered",
    "delivery.late": "delivery.in_time",
    "delivery.unexpected": "delivery.expected",
    "delivery.phantom": "delivery.expected",
}
_CHANCE: Final = 0.01
_ALIKE: Final = 0.8  # the share of cases that makes something common to them


def delivery_findings(units: Units, checks: Mapping[str, Check]) -> list[Finding]:
    """Of each class with cases whose check did not pass.

    `checks` by the last part of their ids; where one is not there the check `runs` holds
    what the class broke.
    """
    makers = {
        "delivery.lost": _lost,
        "run.hung": _hung,
        "delivery.duplicated": _duplicated,
        "delivery.reordered": _reordered,
        "delivery.numbers": _numbers,
        "delivery.late": _late,
        "delivery.unexpected": _unexpected,
        "delivery.phantom": _phantom,
    }
    whole = any(name.startswith("delivery.") for name in checks)
    out: list[Finding] = []
    for code, make in makers.items():
        check = checks.get(CHECKS[code] if whole else "runs")
        if check is not None and check.verdict is not Outcome.PASS:
            out += make(units, code, check.id)
    complete = checks.get("delivery.complete")
    open_ = complete is not None and complete.verdict is Outcome.INCONCLUSIVE
    # Where rows of ours were lost, that is why: the check says so.
    if complete is not None and open_ and not units.view.history.lost:
        out += _unknown(units, complete.id)
    return out


def _lost(units: Units, code: str, check: str) -> list[Finding]:
    rows = units.lacking(LOST)
    if not len(rows):
        return []
    names, n = units.rules.names, len(units.runs)
    runs, number = np.unique(rows["run"]), int(rows["count"].sum())
    sums = np.bincount(rows["type"], weights=rows["count"], minlength=len(names)).astype(np.int64)
    share = f"{of(len(runs), n, 'run')} ({percent(len(runs) / n)})"
    ended = units.seen[runs, units.rules.end] > 0
    kinds = np.flatnonzero(sums)
    what = f"{names[int(kinds[0])]} was" if len(kinds) == 1 else f"{counted(number, 'event')} were"
    them = "it" if len(kinds) == 1 else "them"
    words = f"{what} lost in {share}"
    if len(kinds) > 1:
        words += f", {_named(names, sums)}"
    end_only = rows["trailing"].all()
    if end_only:
        words += ": all before it had come and the connection lived on, but it never came"
    elif ended.all():
        words += f": the runs went on and ended without {them}"
    else:
        words += f": later events of the runs came, but not {them}"
    common, pattern = _common(units, rows["run"].astype(np.int64), rows["type"], rows["count"])
    worst = np.bincount(rows["run"], weights=rows["count"], minlength=n)[runs]
    about = partial(marks.lost, units)
    return [_found(units, code, check, number, words + common, runs, worst, pattern, about)]


def _hung(units: Units, code: str, check: str) -> list[Finding]:
    runs = np.flatnonzero(units.hung)
    if not len(runs):
        return []
    rules, n = units.rules, len(units.runs)
    last = np.full(n, -1, dtype=np.int64)
    last[units.receipts.run[units.own]] = units.receipts.type[units.own]
    kinds, numbers = np.unique(last[runs], return_counts=True)
    most = int(kinds[np.argmax(numbers)])
    after = f"after {rules.names[most]}" if most >= 0 else "after their start"
    often = f" (most often: {int(numbers.max())})" if len(kinds) > 1 else ""
    words = (
        f"{of(len(runs), n, 'run')} ({percent(len(runs) / n)}) hung: nothing came {after}{often} "
        f"for {duration(rules.quiet)} and past {duration(rules.within)} since the start, though "
        "the connection lived on"
    )
    common, _ = _common(units, runs)
    lived = (units.meanwhile.alive - units.runs["begun"])[runs]
    pattern = "start" if most < 0 else ""
    about = partial(marks.hung, units)
    return [_found(units, code, check, len(runs), words + common, runs, lived, pattern, about)]


def _duplicated(units: Units, code: str, check: str) -> list[Finding]:
    return _marked(units, code, check, "duplicated", "came more than once")


def _reordered(units: Units, code: str, check: str) -> list[Finding]:
    words = "came after an event that it comes before"
    return _marked(units, code, check, "reordered", words)


def _numbers(units: Units, code: str, check: str) -> list[Finding]:
    numbers, receipts = units.numbers, units.receipts
    if numbers is None or not len(numbers.wrong):
        return []
    parts = [
        f"{_named(units.rules.names, _kinds(units, places))} {words}"
        for places, words in (
            (numbers.bare, "had no number of 1 or more"),
            (numbers.shared, "had the number of an event of another type"),
            (numbers.beyond, "had a number far beyond all that came"),
            (numbers.first, "began its run with another number than 1"),
        )
        if len(places)
    ]
    runs = np.unique(receipts.run[numbers.wrong])
    n = len(units.runs)
    share = f"in {of(len(runs), n, 'run')} ({percent(len(runs) / n)})"
    words = f"{'; '.join(parts)}: {share}"
    about = partial(marks.marked, units, places=numbers.wrong)
    return [_found(units, code, check, len(numbers.wrong), words, runs, None, "", about)]


def _late(units: Units, code: str, check: str) -> list[Finding]:
    places = units.marked("late")
    if not len(places):
        return []
    took = units.receipts.t[places] - units.runs["begun"][units.receipts.run[places]]
    words = (
        f"came later than {duration(units.rules.within)} after the start of the run, the latest "
        f"after {duration(float(took.max()))},"
    )
    return _marked(units, code, check, "late", words, took)


def _unexpected(units: Units, code: str, check: str) -> list[Finding]:
    places = units.marked("unexpected")
    alien, nameless = units.receipts.alien, units.receipts.nameless
    theirs = units.receipts.unit[places] >= len(units.runs)
    strangers = int(theirs.sum()) if units.rules.promises.recipients == "session" else 0
    number = len(places) + len(alien) + len(nameless)
    if not number:
        return []
    parts = []
    mine = places if not strangers else places[~theirs]
    if len(mine):
        names = _named(units.rules.names, _kinds(units, mine))
        runs = np.unique(units.receipts.run[mine])
        share = f"{of(len(runs), len(units.runs), 'run')} ({percent(len(runs) / len(units.runs))})"
        ended = ends_of(units.rules, units.receipts)[units.receipts.unit[mine]] < mine
        when = "after the end of" if ended.all() else "though not asked for (any more) in"
        parts.append(f"{names} came {when} {share}")
    if strangers:
        parts.append(f"{counted(strangers, 'event')} came to a session that had not begun the run")
    if len(alien):
        parts.append(f"{counted(len(alien), 'event')} came of runs that nobody here has begun")
    if len(nameless):
        names = _named(units.rules.names, _kinds_of(units, nameless))
        parts.append(f"{names} came without the id of a run, which others of the type carry")
    pattern = "nameless" if 2 * len(nameless) > number else ""
    pattern = "stranger" if 2 * (strangers + len(alien)) > number else pattern
    runs = np.unique(units.receipts.run[places])
    about = partial(marks.marked, units, places=places)
    return [_found(units, code, check, number, "; ".join(parts), runs, None, pattern, about)]


def _phantom(units: Units, code: str, check: str) -> list[Finding]:
    places = units.marked("phantom")
    if not len(places):
        return []
    runs = np.unique(units.receipts.run[places])
    words = (
        f"{of(len(runs), int(units.refused.sum()), 'refused run')} {were(len(runs))} carried out "
        f"all the same: {counted(len(places), 'event')} of them came"
    )
    about = partial(marks.marked, units, places=places)
    return [_found(units, code, check, len(places), words, runs, None, "", about)]


def _unknown(units: Units, check: str) -> list[Finding]:
    """Only what nothing else tells: not of runs that hung, were refused or were cut off."""
    rows = units.lacking(UNKNOWN)
    told = units.hung | units.meanwhile.cut_by_peer | units.refused
    told[units.receipts.run[units.receipts.late]] = True
    rows = rows[~told[rows["run"]]]
    if not len(rows):
        return []
    runs, number = np.unique(rows["run"]), int(rows["count"].sum())
    words = (
        f"of {counted(number, 'event')} of {of(len(runs), len(units.runs), 'run')} it is not "
        "known whether they were lost: the session was over before they were due"
    )
    return [_found(units, "delivery.unknown", check, number, words, runs, None, "")]


def _marked(
    units: Units,
    code: str,
    check: str,
    kind: str,
    words: str,
    worst: Ints | None = None,
) -> list[Finding]:
    """A finding over receipts of one class: "agent_thinking came more than once in 5 of …"."""
    places = units.marked(kind)
    if not len(places):
        return []
    names, n, receipts = units.rules.names, len(units.runs), units.receipts
    kinds = _kinds(units, places)
    runs = np.unique(receipts.run[places])
    one = np.count_nonzero(kinds) == 1
    what = names[int(np.argmax(kinds))] if one else counted(len(places), "event")
    share = f"{of(len(runs), n, 'run')} ({percent(len(runs) / n)})"
    message = f"{what} {words} in {share}"
    if not one:
        message += f": {_named(names, kinds)}"
    common, pattern = _common(units, receipts.run[places].astype(np.int64), receipts.type[places])
    scores = np.bincount(receipts.run[places], minlength=n)[runs]
    if worst is not None:
        highest = np.zeros(n, dtype=np.int64)
        np.maximum.at(highest, receipts.run[places], worst)
        scores = highest[runs]
    about = partial(marks.marked, units, places=places)
    words = message + common
    return [_found(units, code, check, len(places), words, runs, scores, pattern, about)]


def _found(
    units: Units,
    code: str,
    check: str,
    count: int,
    words: str,
    runs: Ints,
    worst: Ints | None,
    pattern: str,
    about: Callable[[int], Marks] | None = None,
) -> Finding:
    order = np.argsort(units.runs["begun"][runs], kind="stable")
    keys = units.runs["key"][runs[order]]
    scores = None if worst is None else worst[order]
    cases = run_witnesses(units.view, keys, scores, about)
    return finding(code, check, count, words, witness=cases, pattern=pattern)


def _named(names: tuple[str, ...], numbers: Ints) -> str:
    """`tool_completed 8, agent_thinking 4`, the most frequent first."""
    order = [int(k) for k in np.argsort(-numbers, kind="stable") if numbers[k]]
    if len(order) == 1:
        return f"{names[order[0]]} ({int(numbers[order[0]]):,})"
    return ", ".join(f"{names[k]} {int(numbers[k]):,}" for k in order)


def _kinds(units: Units, places: Ints) -> Ints:
    return np.bincount(units.receipts.type[places], minlength=units.rules.width)


def _kinds_of(units: Units, rows: Rows) -> Ints:
    column = units.rules.column
    return np.bincount(
        column[np.minimum(rows["flag"], len(column) - 1)], minlength=units.rules.width
    )  # fmt: skip


def _common(
    units: Units, runs: Ints, types: Ints | None = None, weights: Ints | None = None
) -> tuple[str, str]:
    """What most cases have in common and all runs have not: words, and a pattern for causes."""
    weights = np.ones(len(runs), dtype=np.int64) if weights is None else weights
    total, n, rules = float(weights.sum()), len(units.runs), units.rules
    if total < 2:  # noqa: PLR2004 -- one case has nothing in common with others
        alone = types is not None and bool(_is_first(units, runs, types).all())
        return "", "first" if alone else ""
    if types is not None:
        first = float(weights[_is_first(units, runs, types)].sum())
        if first >= _ALIKE * total:
            return "; it was the first event after ready", "first"
    phases = phases_of(units)
    mine = phases[runs] == PHASES.index("reconnect")
    usual = float((phases == PHASES.index("reconnect")).mean()) if n else 0.0
    if float(weights[mine].sum()) >= _ALIKE * total and usual < _ALIKE / 2:
        return "; after a reconnect", "reconnect"
    endpoints = endpoints_of(units)
    sums = np.bincount(endpoints[runs], weights=weights, minlength=1)
    most = int(np.argmax(sums))
    if sums[most] >= _ALIKE * total and _beyond_chance(endpoints == most, runs):
        return f"; {int(sums[most])} of them at endpoint {units.view.endpoint(most)}", "endpoint"
    if types is not None:
        kinds = np.bincount(types, weights=weights, minlength=rules.width)
        if kinds.max() >= _ALIKE * total:
            return "", "type"
    return "", ""


def _beyond_chance(there: Mask, runs: Ints) -> bool:
    """Whether cases at one place are more than its share of all runs explains (1 %)."""
    bad = np.zeros(len(there), dtype=np.bool_)
    bad[runs] = True
    counts = [int((x & y).sum()) for x in (there, ~there) for y in (bad, ~bad)]
    return fisher(counts[0], counts[1], counts[2], counts[3]) < _CHANCE


def _is_first(units: Units, runs: Ints, types: Ints) -> Mask:
    """Cases that were the first event of the first run on their connection."""
    rules = units.rules
    opening = np.asarray(~rules.before.any(axis=0))
    opening[-1] = False
    # Of a repeated event it cannot be known here which one is missing.
    opening &= rules.once
    return np.asarray((units.meanwhile.order[runs] == 0) & opening[types])
