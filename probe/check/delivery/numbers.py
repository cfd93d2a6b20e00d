"""Numbers: whether the events of each run are counted from 1, each by a number of its own.

The rule: promised numbers are held against what came at the session that began the run. A
hole is a missing event only in a run whose numbers can be relied on: one on every event, from
1, none beyond all that may have been sent. A number that two types share leaves its run
countable, by distinct numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.receipts import UNEXPECTED

if TYPE_CHECKING:
    from probe.check.delivery.receipts import Receipts
    from probe.check.delivery.rules import Rules
    from probe.check.view import Mask

Ints = NDArray[np.int64]
BEYOND: Final = 100_000
"""A number so far above the events that were seen of its run counts nothing."""
_NUMBER_BITS: Final = 31


@dataclass(frozen=True, eq=False)
class Numbers:
    """Receipts at fault, as places, and which runs can be counted.

    `bare` have no number of 1 or more, `shared` the number of an event of another type,
    `beyond` one that counts nothing; `first` is the first event of a run, the lowest number
    that came, and not 1. `sound` bool[runs]; `run`, `seq`: distinct numbers that came of
    sound runs, by run.
    """

    bare: Ints
    shared: Ints
    beyond: Ints
    first: Ints
    sound: Mask
    run: Ints
    seq: Ints

    @property
    def wrong(self) -> Ints:
        """Every receipt at fault once."""
        return np.unique(np.concatenate([self.bare, self.shared, self.beyond, self.first]))


def numbers_of(rules: Rules, runs: int, receipts: Receipts, lost: int) -> Numbers:
    """See the module; `lost`: rows that the journal dropped, which may hold lower numbers."""
    own = receipts.own(runs)
    bare = np.flatnonzero(own & (receipts.seq <= 0))
    some = np.flatnonzero(own & (receipts.seq > 0))
    run, seq = receipts.run[some].astype(np.int64), receipts.seq[some].astype(np.int64)
    seen = np.bincount(receipts.run[own], minlength=runs)
    beyond = some[seq > seen[run] + lost + BEYOND]
    begins = np.flatnonzero(np.diff(run, prepend=-1))  # they stand by run
    lowest = np.full(runs, np.iinfo(np.int64).max)
    highest = np.zeros(runs, dtype=np.int64)
    if len(run):
        lowest[run[begins]] = np.minimum.reduceat(seq, begins)
        highest[run[begins]] = np.maximum.reduceat(seq, begins)
    opens = ~rules.before.any(axis=0) & rules.once
    opens[-1] = False
    later = (lowest[run] > 1) & (seq == lowest[run]) & opens[receipts.type[some]] & (not lost)
    first = some[later]
    sound = np.ones(runs, dtype=np.bool_)
    for places in (bare, beyond, first):
        sound[receipts.run[places]] = False
    # What was not asked for takes up its number all the same, but tells no higher one.
    odd = np.flatnonzero(
        (receipts.unit < runs) & (receipts.kind == UNEXPECTED) & (receipts.seq > 0)
    )
    odd = odd[receipts.seq[odd] < highest[receipts.run[odd]]]
    taken = np.concatenate([_code(run, seq), _code(receipts.run[odd], receipts.seq[odd])])
    taken = _distinct(taken[np.concatenate([sound[run], sound[receipts.run[odd]]])])
    return Numbers(
        bare,
        some[_shared(_code(run, seq))],
        beyond,
        first,
        sound,
        taken >> _NUMBER_BITS,
        taken & ((1 << _NUMBER_BITS) - 1),
    )


def _code(run: NDArray[np.integer], seq: NDArray[np.integer]) -> Ints:
    return (run.astype(np.int64) << _NUMBER_BITS) | seq.astype(np.int64)


def _distinct(codes: Ints) -> Ints:
    """Each code once, in order; by sorting, since `np.unique` hashes, which is slower here."""
    rises = codes[1:] > codes[:-1]
    if rises.all():
        return codes
    if (codes[1:] < codes[:-1]).any():
        codes = np.sort(codes, kind="stable")  # they nearly rise, and this one makes use of it
        rises = codes[1:] > codes[:-1]
    distinct: Ints = codes[np.concatenate([[True], rises])]
    return distinct


def _shared(codes: Ints) -> Ints:
    """Places of codes that stood before; the same type again is a duplicate, and not here."""
    if (codes[1:] > codes[:-1]).all():
        return np.zeros(0, dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    return np.sort(order[np.flatnonzero(codes[order[1:]] == codes[order[:-1]]) + 1])
