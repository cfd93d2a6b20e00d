"""A race made smaller: what of it the rows bear out, and what was not tried.

The rule: what each smaller race did is put together again from what its actors did, and weighed
by the function that the engine asked (`probe.stats.shrink`). The smallest one is told by the fresh
trials that were made of it last, or it is said that there were none; it is called one from which
nothing more can go only where each single removal was tried on it and decided.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.race_trials import Stretch, in_time, trials_of
from probe.check.race_witness import race_witnesses
from probe.check.race_words import apart
from probe.check.view import FOREVER
from probe.check.words import counted, plain, seconds
from probe.history.records import Kind
from probe.model.shrinking import (
    Removal,
    candidates,
    in_python,
    joined,
    read_removal,
    scenario_of,
    size,
    variant,
)
from probe.stats.shrink import NONE, risen, shown, weigh

if TYPE_CHECKING:
    from probe.check.bound import Part
    from probe.check.race_trials import Trials
    from probe.check.view import StageView
    from probe.model.race import Race
    from probe.model.shrinking import Removed
    from probe.stats.shrink import Counts, Weighed

_CONFIRMED: Final = 1  # VARIANT.flag
_NAMED_MAX: Final = 3
OUTCOMES: Final[dict[Weighed, str]] = {
    "shows": "taken away",
    "gone": "needed: it does not show without",
    "spoilt": "needed: without, it goes wrong at the control too",
    "void": "needed: without, an actor does not come to its gate",
    "open": "not decided",
}


@dataclass(frozen=True, slots=True)
class Tried:
    """One smaller race, what its trials did, and what they say."""

    removed: Removed
    confirming: bool
    found: Trials
    counts: Counts
    weighed: Weighed


@dataclass(frozen=True, slots=True)
class Shrunk:
    """`whole` are the trials of the race as it is; `kept` is what was taken away for good."""

    race: Race
    whole: Trials
    baseline: Counts
    tried: tuple[Tried, ...]
    kept: Removed
    why: str
    lost: int

    @property
    def last(self) -> Tried | None:
        """The smallest race on fresh trials."""
        return next((each for each in self.tried if each.confirming), None)

    @property
    def confirmed(self) -> bool:
        """Whether these show the anomaly, and at the offset alone."""
        last = self.last
        return last is not None and shown(last.counts)[0] and not risen(last.counts, self.baseline)

    def single(self) -> dict[Removal, Weighed]:
        """The single removals that were tried on what is left, and what came of them."""
        out = {}
        for each in self.tried:
            if not each.confirming:
                more = each.removed[-1]
                if frozenset(joined(self.kept, more)) == frozenset(each.removed):
                    out[more] = each.weighed
        return {more: found for more, found in out.items() if more not in self.kept}

    def untried(self) -> list[Removal]:
        """The single removals that were not."""
        if not shown(self.baseline)[0]:
            return []
        tried = {frozenset(each.removed) for each in self.tried if not each.confirming}
        return candidates(self.race, self.kept, tried)

    def undecided(self) -> list[Removal]:
        """Those that were tried and that no trial decided."""
        return [more for more, found in self.single().items() if found == "open"]

    @property
    def minimal(self) -> bool:
        """Whether it is known that no single thing more can go."""
        proven = self.confirmed if self.kept else shown(self.baseline)[0]
        return proven and not self.lost and not self.untried() and not self.undecided()


def shrunk(view: StageView, race: Race) -> Shrunk | None:
    """What became of a race that was to be made smaller; None for one that was not."""
    if not race.shrink:
        return None
    rows = in_time(view, Kind.VARIANT)
    rows = rows[np.argsort(rows["op"], kind="stable")]
    firsts = [*(int(row["op"]) for row in rows), FOREVER]
    whole = trials_of(view, race, Stretch(0, firsts[0], race.comb))
    baseline = _counts(whole)
    tried = []
    for row, first, until in zip(rows, firsts, firsts[1:], strict=False):
        removed = _removed(race, view.text(row["b"]))
        smaller = variant(race, removed)
        if smaller is None or not removed:
            continue
        found = trials_of(view, smaller, Stretch(first, until, race.comb))
        counts = _counts(found)
        weighed = weigh(counts, baseline) if baseline.n1 and baseline.n0 else "open"
        tried.append(Tried(removed, int(row["flag"]) == _CONFIRMED, found, counts, weighed))
    kept = _kept(tried)
    why = view.why if view.stopped_early else ""
    return Shrunk(race, whole, baseline, tuple(tried), kept, why, view.history.lost)


def tell(view: StageView, part: Part, small: Shrunk) -> None:
    """Put it into the check of the race, its first finding, and the figures."""
    said = words(view, small)
    name = f"{view.name}.race"
    part.checks[:] = [
        replace(each, message=f"{each.message}; {said}") if each.id == name else each
        for each in part.checks
    ]
    if part.findings:
        first = part.findings[0]
        witness = (*_witness(view, small), *first.witness)
        part.findings[0] = replace(first, message=f"{first.message}; {said}", witness=witness)
    part.summary["races"][view.name]["shrunk"] = figures(view, small)


def words(view: StageView, small: Shrunk) -> str:
    """All of it in a sentence."""
    yes, p_value = shown(small.baseline)
    if not yes:
        return (
            f"not made smaller, since it does not show here (Fisher, one-sided: p = {p_value:.2g})"
        )
    head = _head(view, small)
    if small.minimal:
        left = candidates(small.race, small.kept)
        if left:
            return f"{head}; needed, each tried alone: {_named(small.race, left)}"
        python = ", since of an actor in Python only the whole can" if in_python(small.race) else ""
        return f"{head}; nothing else may go{python}"
    parts = [head]
    for what, left in (("not decided", small.undecided()), ("not tried", small.untried())):
        if left:
            parts.append(f"{what}: {_named(small.race, left)}")
    if small.why:
        parts.append(small.why)
    if small.lost:
        parts.append(f"{counted(small.lost, 'row')} of the journal were lost")
    return "; ".join(parts)


def _named(race: Race, left: list[Removal]) -> str:
    named = [each.words(race) for each in left[:_NAMED_MAX]]
    more = len(left) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _head(view: StageView, small: Shrunk) -> str:
    race, last = small.race, small.last
    if not small.kept:
        return "nothing was taken away"
    left = variant(race, small.kept)
    assert left is not None
    (clients, steps), (clients_before, steps_before) = size(left), size(race)
    what = f"{clients:,} of {clients_before:,} clients"
    what += f" and {steps} of {steps_before} steps" if steps_before else ""
    if last is None:
        return f"it seems to show with {what}, which no fresh trials have confirmed"
    assert race.at is not None
    here, there = apart(race.at, race.kept_against)
    counts = last.counts
    at = f"{counts.k1} of {counts.n1} at {here}, {counts.k0} of {counts.n0} at {there}"
    if not small.confirmed:
        return f"made smaller it is not confirmed: with {what}, {at}"
    before, now = reason(view, small.whole), reason(view, last.found)
    other = "" if now == before else f" (for another reason: {now}; before, {before})"
    return f"still shows with {what}: {at}{other}"


def reason(view: StageView, found: Trials) -> str:
    """Who fails at the offset, and why, in most of the trials; "" where none does."""
    bad = [session for t in found.every if t.why == "confirm" for session in t.bad]
    rows = view.sessions[np.isin(view.sessions["session"], bad)]
    every = Counter((int(row["population"]), view.text(row["why"])) for row in rows)
    if not every:
        return ""
    (population, why), _ = min(every.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"{view.groups[population].name}: {plain(why.encode()) or 'an odd message'}"


def figures(view: StageView, small: Shrunk) -> dict[str, Any]:
    """The same as data; `scenario` is what plays the smallest race alone, None without one."""
    race, last = small.race, small.last
    left = variant(race, small.kept)
    assert left is not None
    (clients, steps), (clients_before, steps_before) = size(left), size(race)
    proven = small.confirmed and not in_python(left)
    whole = view.resolved.scenario
    return {
        "clients": clients,
        "clients_before": clients_before,
        "steps": steps,
        "steps_before": steps_before,
        "confirmed": small.confirmed,
        "minimal": small.minimal,
        **_numbers(last.counts if last is not None else NONE),
        "measured_s": _measured(last.found) if last is not None else None,
        "reason": reason(view, last.found if last is not None else small.whole),
        "reason_before": reason(view, small.whole),
        "without": [each.words(race) for each in small.kept],
        "not_decided": [each.words(race) for each in small.undecided()],
        "not_tried": [each.words(race) for each in small.untried()],
        "tried": [
            {
                "what": each.removed[-1].words(race),
                "place": each.removed[-1].place,
                "beside": len(each.removed) - 1,
                "came": OUTCOMES[each.weighed],
                **_numbers(each.counts),
                "measured_s": _measured(each.found),
            }
            for each in small.tried
            if not each.confirming
        ],
        "scenario": scenario_of(whole, view.name, left) if proven else None,
    }


def _numbers(counts: Counts) -> dict[str, Any]:
    return {
        "hits": counts.k1, "trials": counts.n1, "control_hits": counts.k0,
        "control_trials": counts.n0, "void": counts.void, "p_value": shown(counts)[1],
    }  # fmt: skip


def _measured(found: Trials) -> float | None:
    """The median of the offsets that were measured where the offset on trial was meant, in s."""
    mine = [t.offset_ns for t in found.every if t.why == "confirm" and t.offset_ns is not None]
    return seconds(median(mine)) if mine else None


def _counts(found: Trials) -> Counts:
    counts = NONE
    for trial in found.every:
        counts = counts.plus(trial.told, at=trial.why == "confirm")
    return counts


def _kept(tried: list[Tried]) -> Removed:
    """What was taken away: of the race that was confirmed last, else of the smallest that shows."""
    last = [each.removed for each in tried if each.confirming]
    shows = [each.removed for each in tried if each.weighed == "shows" and not each.confirming]
    return last[-1] if last else shows[-1] if shows else ()


def _removed(race: Race, text: str) -> Removed:
    """What a stored text says was taken away; nothing where it says nothing of this race."""
    try:
        removed = tuple(read_removal(str(place)) for place in json.loads(text)["without"])
    except (ValueError, KeyError, TypeError):
        return ()
    known = all(
        each.comb or (each.actor in race.actors and each.step < len(race.actors[each.actor].steps))
        for each in removed
    )
    return removed if known else ()


def _witness(view: StageView, small: Shrunk) -> Any:
    """One case of the smallest race that was confirmed: the shortest story there is."""
    last = small.last
    if last is None or not small.confirmed:
        return ()
    bad = [s for t in last.found.every if t.why == "confirm" for s in t.bad]
    return race_witnesses(view, last.found, bad[:1])
