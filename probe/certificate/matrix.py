"""From finished runs to the matrix: which defect was seen as what, and what was seen of none.

The rule: what does not count (see `sight`) is told beside what does, and is no part of it.
Every share has its exact 95 % interval (Clopper-Pearson). Pure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probe.certificate.case import HEALTHY
from probe.certificate.sight import Sight, complaints, done, sight, told
from probe.stats.rates import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from probe.certificate.case import Case, Dose, Level, Order, Sound
    from probe.certificate.result import Result


@dataclass(frozen=True, slots=True)
class Share:
    """`k` of `n`, with the exact interval of the rate."""

    k: int
    n: int

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided, 95 %; of nothing (0, 1)."""
        found = clopper_pearson(self.k, self.n)
        return found.low, found.high


@dataclass(frozen=True, slots=True)
class Row:
    """A defect at one dose, over all its runs.

    `seen` counts runs that show something; `sights` all of them. `codes` is in how many runs
    each code stood. `agrees` counts the runs that were seen and could be compared with the
    ledger; `told` and `hits` are the sums over those.
    """

    defect: str
    level: Level
    value: str
    scenario: str
    expected: tuple[str, ...]
    beside: tuple[str, ...]
    sees: str
    relation: str
    why: str
    runs: int
    planned: int
    seen: Share
    agrees: Share
    told: int
    hits: int
    sights: Mapping[str, int]
    codes: Mapping[str, int]
    wall_s: float


@dataclass(frozen=True, slots=True)
class Calm:
    """The healthy lab under one scenario; `alarms` are runs with any finding."""

    scenario: str
    runs: int
    planned: int
    alarms: Share
    passed: int
    sights: Mapping[str, int]
    codes: Mapping[str, int]
    wall_s: float


@dataclass(frozen=True, slots=True)
class Matrix:
    """The whole certificate.

    `wrong` is what is not as expected, `open_` what could not be judged, both in sentences
    with the command to see it again; `missing` counts runs that were planned and not made.
    """

    version: str
    rows: tuple[Row, ...]
    calm: tuple[Calm, ...]
    seen: Share
    least_seen: Share
    alarms: Share
    agrees: Share
    wrong: tuple[str, ...]
    open_: tuple[str, ...]
    missing: int

    @property
    def runs(self) -> int:
        """How many runs were made."""
        return sum(row.runs for row in self.rows) + sum(each.runs for each in self.calm)

    @property
    def codes(self) -> tuple[str, ...]:
        """The columns: expected codes in the order of the rows, then all others."""
        known = [code for row in self.rows for code in row.expected]
        rest = {code for row in self.rows for code in row.codes}
        rest |= {code for each in self.calm for code in each.codes}
        return tuple(dict.fromkeys((*known, *sorted(rest))))


def matrix(
    cases: Sequence[Case],
    sound: Sequence[Sound],
    orders: Sequence[Order],
    results: Iterable[Result],
    version: str,
) -> Matrix:
    """Fold the results of `orders`; those of other orders are not looked at."""
    wanted = {order.command for order in orders}
    by: dict[tuple[str, str], list[Result]] = {}
    for each in results:
        if each.command in wanted:
            by.setdefault((each.case, each.level), []).append(each)
    planned = Counter((order.case, order.level) for order in orders)
    rows = tuple(
        _row(case, level, dose, by.get((case.defect, level), []), planned[case.defect, level])
        for case in cases
        for level, dose in _doses(case)
        if planned[case.defect, level]
    )
    calm = tuple(
        _calm(each, by.get((each.scenario, HEALTHY), []), planned[each.scenario, HEALTHY])
        for each in sound
        if planned[each.scenario, HEALTHY]
    )
    wrong, open_ = _complaints(cases, by)
    return Matrix(
        version=version,
        rows=rows,
        calm=calm,
        seen=_sum(row.seen for row in rows if row.level == "full"),
        least_seen=_sum(row.seen for row in rows if row.level == "least"),
        alarms=_sum(each.alarms for each in calm),
        agrees=_sum(row.agrees for row in rows),
        wrong=tuple(wrong),
        open_=(*open_, *_unshown(rows)),
        missing=sum(planned.values()) - sum(len(each) for each in by.values()),
    )


def _sum(shares: Iterable[Share]) -> Share:
    each = tuple(shares)
    return Share(sum(share.k for share in each), sum(share.n for share in each))


def _doses(case: Case) -> Iterator[tuple[Level, Dose]]:
    yield "full", case.full
    if case.least is not None:
        yield "least", case.least


def _row(case: Case, level: Level, dose: Dose, results: Sequence[Result], planned: int) -> Row:
    sights = [sight(case, each) for each in results]
    counts = Counter(sights)
    compared = [
        each
        for each, seen in zip(results, sights, strict=True)
        if seen is Sight.SEEN and case.count.compared
    ]
    fits = sum(case.count.holds(told(case, each), done(case, each)) for each in compared)
    return Row(
        defect=case.defect,
        level=level,
        value=dose.value,
        scenario=case.scenario,
        expected=case.codes,
        beside=case.beside,
        sees=dose.sees,
        relation=case.count.word,
        why=case.count.why,
        runs=len(results),
        planned=planned,
        seen=Share(counts[Sight.SEEN], counts[Sight.SEEN] + counts[Sight.MISSED]),
        agrees=Share(fits, len(compared)),
        told=sum(told(case, each) for each in compared),
        hits=sum(done(case, each) for each in compared),
        sights=_plain(counts),
        codes=_runs_with(results),
        wall_s=_longest(results),
    )


def _calm(sound: Sound, results: Sequence[Result], planned: int) -> Calm:
    counts = Counter(sight(None, each) for each in results)
    return Calm(
        scenario=sound.scenario,
        runs=len(results),
        planned=planned,
        alarms=Share(counts[Sight.ALARM], counts[Sight.ALARM] + counts[Sight.QUIET]),
        passed=sum(each.verdict == "PASS" for each in results),
        sights=_plain(counts),
        codes=_runs_with(results),
        wall_s=_longest(results),
    )


def _plain(counts: Counter[Sight]) -> dict[str, int]:
    return {each.value: counts[each] for each in Sight if counts[each]}


def _runs_with(results: Iterable[Result]) -> dict[str, int]:
    return dict(sorted(Counter(code for each in results for code in each.codes).items()))


def _longest(results: Iterable[Result]) -> float:
    return max((each.wall_s for each in results), default=0.0)


def _complaints(
    cases: Sequence[Case], by: Mapping[tuple[str, str], Sequence[Result]]
) -> tuple[list[str], list[str]]:
    """(what is wrong, what is open), one sentence per run and reason."""
    table = {case.defect: case for case in cases}
    wrong: list[str] = []
    open_: list[str] = []
    for (name, level), results in by.items():
        for each in results:
            case = None if level == HEALTHY else table[name]
            bad, unsure = complaints(case, each)
            wrong += [f"{words} ({each.command})" for words in bad]
            open_ += [f"{words} ({each.command})" for words in unsure]
    return wrong, open_


def _unshown(rows: Iterable[Row]) -> list[str]:
    return [
        f"{row.defect} at {row.value}: none of {row.runs} runs shows anything"
        for row in rows
        if row.runs and not row.seen.n
    ]
