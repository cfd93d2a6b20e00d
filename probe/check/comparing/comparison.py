"""Two arms of runs, before and now, compared: the rows, the findings, and what they come to.

The rule: nothing is guessed. Runs that were unfit or did not end, and stages that played
something else, are left out and named; where nothing is left, nothing was compared, and that is
no "same".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probe.check.comparing.alike import differs, remarks, stage_differs
from probe.check.comparing.changes import Change, changes, proven_new
from probe.check.comparing.rows import SMALL, Arms, Row, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.comparing.taken import Taken

Verdict = Literal["the same run", "better", "same", "worse", "undecided", "nothing compared"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole; `refused` tells what is not comparable, `known` the runs of the same thing."""

    said: Verdict
    scenario: str
    target: str
    before: tuple[str, ...]
    now: tuple[str, ...]
    known: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    findings: tuple[Change, ...] = ()
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    small: float = SMALL


def compare(
    before: Sequence[Taken],
    now: Sequence[Taken],
    *,
    course: Sequence[Taken] = (),
    paired: bool = False,
    across: bool = False,
    small: float = SMALL,
) -> Comparison:
    """Set `now` against `before`, at least one run each, in the order of time.

    `course`: runs of the same thing, from which is learnt how much they differ. `paired`: the
    k-th of both were played side by side. `across`: the targets differ on purpose.
    """
    first, last = before[-1], now[-1]
    ids = tuple(each.run_id for each in before), tuple(each.run_id for each in now)
    names = last.scenario, last.target_name
    if set(ids[0]) == set(ids[1]):
        return Comparison("the same run", *names, *ids, small=small)
    refused: list[str] = []
    stages: list[tuple[str, Arms]] = []
    if whole := differs(first, last, across=across):
        refused.append(whole)
    else:
        for stage in dict.fromkeys((*first.stages, *last.stages)):
            if words := stage_differs(first, last, stage):
                refused.append(words)
                continue
            arms = _alike(Arms(before, now, course, paired, small), last, stage, across=across)
            stages.append((stage, arms))
    rows = rows_of(stages)
    found = changes(before, now)
    left = [*_left(before, "before", last, across), *_left(now, "now", last, across)]
    known = tuple(each.run_id for each in course if not differs(each, last))
    return Comparison(
        _said(rows, found, refused), *names, *ids, known, tuple(rows), tuple(found), tuple(refused),
        tuple(remarks(first, last) + left), small,
    )  # fmt: skip


def _alike(arms: Arms, last: Taken, stage: str, *, across: bool) -> Arms:
    """The runs that played this stage as the last one did; of pairs both, or none."""

    def fits(taken: Taken) -> bool:
        return not differs(taken, last, across=across) and not stage_differs(taken, last, stage)

    course = [each for each in arms.course if fits(each)]
    if not arms.paired:
        before, now = [e for e in arms.before if fits(e)], [e for e in arms.now if fits(e)]
        return Arms(before, now, course, small=arms.small)
    pairs = [
        pair for pair in zip(arms.before, arms.now, strict=True) if fits(pair[0]) and fits(pair[1])
    ]
    return Arms([a for a, _ in pairs], [b for _, b in pairs], course, True, arms.small)


def _left(arm: Sequence[Taken], word: str, last: Taken, across: bool) -> list[str]:
    """Which runs of an arm do not count, and why, in a sentence for each reason."""
    reasons: dict[str, int] = {}
    for each in arm:
        why = differs(each, last, across=across) or each.why_not
        if why:
            reasons[why] = reasons.get(why, 0) + 1
    return [f"{count} of {len(arm)} {word} left out: {why}" for why, count in reasons.items()]


def _said(rows: Sequence[Row], found: Sequence[Change], refused: Sequence[str]) -> Verdict:
    """It is "same" where all that was played is: of a stage left out nothing is known."""
    heads = [row for row in rows if not row.head]
    words = {row.said for row in heads if row.judged}
    if "worse" in words or any(proven_new(each) for each in found):
        return "worse"
    if not words:
        return "nothing compared"
    if "better" in words:
        return "better"
    same = words == {"same"} and not refused and all(row.judged for row in heads)
    return "same" if same else "undecided"
