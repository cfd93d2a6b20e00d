"""Classes: what each receipt is; every receipt has one class, the most telling one.

The rule (docs/methods.md, Delivery): the first of an event counts; the same type and
sequence again (without sequences: a type that comes once) is a duplicate. After the event
that ends its run, what fills a missing place is reordered, anything else unexpected.
Reordered is also what comes after an event that it comes before and, with sequences, what is
below the highest seen before on the same leg.

All of it is O(n log n) in numpy; only units in which numbers and types do not simply rise are
looked at more closely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from probe.check.delivery.coverage import find
from probe.check.delivery.receipts import (
    DUPLICATED,
    FIRST,
    FOREIGN,
    PHANTOM,
    UNEXPECTED,
    Receipts,
    identities,
)
from probe.history.records import Kind, Run
from probe.history.tables import FOREVER

if TYPE_CHECKING:
    from probe.check.delivery.rules import Rules
    from probe.check.view import StageView
    from probe.history.columns import Rows

Ints = NDArray[np.int64]
_NUMBER_BITS: Final = 31  # of a sequence
_BITS_MAX: Final = 60


def refused_at(view: StageView, runs: Rows) -> Ints:
    """When the service refused each run, int64[runs]; FOREVER where it did not."""
    rows = view.history.of(Kind.RUN)
    rows = rows[rows["flag"] == Run.REFUSED]
    out = np.full(len(runs), FOREVER, dtype=np.int64)
    at, found = find(runs["key"], rows["b"])
    np.minimum.at(out, at[found], rows["t"][found])
    return out


def classify(view: StageView, rules: Rules, runs: Rows, all_: Receipts) -> None:
    """Fill in `kind`, `late` and `reordered`."""
    kind, run = all_.kind, all_.run
    _strangers(view, rules, runs, all_)
    refused = refused_at(view, runs)
    # Another session may be another host's, whose clock is known so well.
    bound = view.history.clock_bound_ns
    apart = np.where(all_.unit >= len(runs), bound, 0) if bound else 0
    if (refused < FOREVER).any():
        kind[(kind == FIRST) & (all_.t - apart > refused[run])] = PHANTOM
    odd = _odd(all_)
    if len(odd):
        again = _again(rules, all_, odd)
        kind[again[kind[again] == FIRST]] = DUPLICATED
    _after_end(rules, runs, all_)
    _more_than_once(rules, all_)
    if len(odd):
        _below(all_, odd)
        _against_order(rules, all_, odd)
    first = kind == FIRST
    all_.reordered[:] &= first
    # What came on a later connection was late by our own absence.
    here = (all_.op == runs["attempt"][run]) | (all_.unit >= len(runs))
    all_.late[:] = first & here & (all_.t - apart > (runs["begun"] + rules.within)[run])
    all_.late[all_.type == rules.width - 1] = False


def _strangers(view: StageView, rules: Rules, runs: Rows, all_: Receipts) -> None:
    """Receipts of those who did not begin the run: of the same user, or of another."""
    if not len(all_.others):
        return
    run, session = all_.others[:, 0], all_.others[:, 1]
    same = identities(view, session) == identities(view, runs["session"][run])
    entitled = FIRST if rules.promises.recipients == "user" else UNEXPECTED
    kind = np.where(same, entitled, FOREIGN).astype(np.uint8)
    theirs = np.flatnonzero(all_.unit >= len(runs))
    all_.kind[theirs] = kind[all_.unit[theirs] - len(runs)]


def _odd(all_: Receipts) -> Ints:
    """Receipts of units in which numbers and types do not simply rise.

    Only there may order be broken: an event comes after none that is listed behind it.
    """
    unit, seq, type_ = all_.unit, all_.seq, all_.type
    fall = (unit[1:] == unit[:-1]) & ((seq[1:] <= seq[:-1]) | (type_[1:] < type_[:-1]))
    if not fall.any():
        return np.zeros(0, dtype=np.int64)
    units = np.zeros(int(unit.max()) + 1, dtype=np.bool_)
    units[unit[1:][fall]] = True
    return np.flatnonzero(units[unit])


def _again(rules: Rules, all_: Receipts, odd: Ints) -> Ints:
    """Those that came before: same unit, type and sequence."""
    odd = odd[all_.kind[odd] == FIRST]
    code = all_.unit[odd].astype(np.int64) * rules.width + all_.type[odd]
    code = (code << _NUMBER_BITS) | all_.seq[odd]
    order = np.argsort(code, kind="stable")
    same = np.flatnonzero(code[order[1:]] == code[order[:-1]]) + 1
    again = odd[order[same]]
    # Of a type that may come any number of times, equals without a number are not the same.
    return np.asarray(again[(all_.seq[again] > 0) | rules.once[all_.type[again]]])


def ends_of(rules: Rules, all_: Receipts) -> Ints:
    """Place of the event that ended each unit, int64[units]; FOREVER where it did not come."""
    places = np.flatnonzero((all_.type == rules.end) & (all_.kind == FIRST))
    out = np.full(int(all_.unit.max(initial=-1)) + 1, FOREVER, dtype=np.int64)
    np.minimum.at(out, all_.unit[places], places)
    return out


def _after_end(rules: Rules, runs: Rows, all_: Receipts) -> None:
    """After the end: what fills a missing place is reordered, anything else unexpected."""
    ends = ends_of(rules, all_)
    if not len(ends):
        return
    after = np.flatnonzero((np.arange(len(all_)) > ends[all_.unit]) & (all_.kind == FIRST))
    if not len(after):
        return
    end = ends[all_.unit[after]]
    numbered = (all_.seq[after] > 0) & (all_.seq[end] > 0)
    # By count: its type is still short of what is needed.
    code = all_.unit[after].astype(np.int64) * rules.width + all_.type[after]
    codes, place, rank = _ranks(code)
    mine = np.isin(all_.unit, np.unique(all_.unit[after])) & (all_.kind == FIRST)
    theirs = all_.unit[mine].astype(np.int64) * rules.width + all_.type[mine]
    at, found = find(codes, theirs)
    total = np.bincount(at[found], minlength=len(codes))
    before = total - np.bincount(place, minlength=len(codes))
    size = np.where(rules.sized[all_.type[after]], runs["size"][all_.run[after]], 1)
    wanted = np.where(rules.once[all_.type[after]], 1, rules.least[all_.type[after]] * size)
    fills = np.where(
        numbered, all_.seq[after] < all_.seq[end], before[place] + rank < wanted
    )  # fmt: skip
    all_.kind[after[~fills]] = UNEXPECTED
    all_.reordered[after[fills & (all_.leg[after] == all_.leg[end])]] = True


def _more_than_once(rules: Rules, all_: Receipts) -> None:
    """Of a type that comes once, one with another number is nothing that was asked for."""
    once = np.flatnonzero(rules.once[all_.type] & (all_.kind == FIRST))
    unit, type_ = all_.unit[once], all_.type[once]
    bits = 1 << type_.astype(np.int64)
    if len(once) == 0:
        return
    starts = np.flatnonzero(np.append(True, unit[1:] != unit[:-1]))
    # Distinct types of a unit add up to the union of their bits, and repeated ones do not.
    broken = np.add.reduceat(bits, starts) != np.bitwise_or.reduceat(bits, starts)
    broken |= rules.width > _BITS_MAX
    if not broken.any():
        return
    some = once[np.repeat(broken, np.diff(np.append(starts, len(once))))]
    code = all_.unit[some].astype(np.int64) * rules.width + all_.type[some]
    _, _, rank = _ranks(code)
    all_.kind[some[rank > 0]] = UNEXPECTED


def _below(all_: Receipts, odd: Ints) -> None:
    """Below the running maximum of their unit and connection."""
    odd = odd[(all_.kind[odd] == FIRST) & (all_.seq[odd] > 0)]
    unit, leg, seq = all_.unit[odd], all_.leg[odd], all_.seq[odd].astype(np.int64)
    segment = np.cumsum(np.append(False, (unit[1:] != unit[:-1]) | (leg[1:] != leg[:-1])))[
        : len(odd)
    ]
    highest = np.maximum.accumulate((segment << _NUMBER_BITS) | seq)
    all_.reordered[odd[highest > ((segment << _NUMBER_BITS) | seq)]] = True


def _against_order(rules: Rules, all_: Receipts, odd: Ints) -> None:
    """Those that came after one that they come before, whatever their numbers say."""
    odd = odd[all_.kind[odd] == FIRST]
    unit, leg, type_ = all_.unit[odd], all_.leg[odd], all_.type[odd]
    segment = np.cumsum(np.append(False, (unit[1:] != unit[:-1]) | (leg[1:] != leg[:-1])))[
        : len(odd)
    ]
    for late in range(rules.width):
        earlier = np.flatnonzero(rules.before[:, late])
        places = np.flatnonzero(type_ == late)
        if not len(earlier) or not len(places):
            continue
        first = np.full(int(segment[-1]) + 1, len(odd), dtype=np.int64)
        np.minimum.at(first, segment[places], places)
        behind = np.arange(len(odd)) > first[segment]
        all_.reordered[odd[behind & np.isin(type_, earlier)]] = True


def _ranks(code: Ints) -> tuple[Ints, Ints, Ints]:
    """Distinct codes, the place of each in them, and how many equals stand before it."""
    codes, place = np.unique(code, return_inverse=True)
    place = place.reshape(-1)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(codes)))
    rank = np.empty(len(code), dtype=np.int64)
    rank[order] = np.arange(len(code)) - starts[place[order]]
    return codes, place, rank
