"""Large messages: one within the promised size is taken, a larger one is closed with 1009.

The rule: taken is what is answered (the message is a sentinel, padded); where the dialect has
no sentinel, what the connection outlives by a second. What we ended ourselves before that,
or what met a limit of another kind, is unknown.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured, withheld
from probe.check.catalogue import finding
from probe.check.rows import connection, lived_until, of_stage
from probe.check.verdict import Check, Outcome
from probe.check.view import gone_at
from probe.check.witness import witnesses
from probe.check.words import counted, of, were
from probe.history.records import Kind, Put
from probe.history.records import Outcome as Ended

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.verdict import Finding
    from probe.check.view import StageView
    from probe.history.columns import Rows

TOO_BIG: Final = 1009
LIVED_NS: Final = 1_000_000_000
_KIB: Final = 1024


class Fate(IntEnum):
    """What became of a large message."""

    UNKNOWN = 0
    TAKEN = 1
    TOO_BIG = 2  # closed with 1009
    REFUSED = 3  # closed otherwise, dropped, or answered by an error
    SILENCE = 4


def large(view: StageView) -> Part:
    """`<stage>.large`."""
    part = Part()
    if not view.stage.expect.large:
        return part
    sent = of_stage(view, Kind.PUT)
    sent = sent[sent["flag"] == Put.LARGE]
    if not len(sent):
        part.checks.append(unmeasured(view, "large", "witness", "no large message was sent"))
        return part
    fates = _fates(view, sent)
    part.summary["large"] = {view.name: _summary(sent["a"], fates)}
    limit = view.resolved.dialect.accepts_max
    if limit is None:
        why = "the dialect does not say how large a message may be (accepts_max)"
        part.checks.append(unmeasured(view, "large", "witness", why))
        return part
    within = sent["a"] <= limit
    part.findings += _findings(view, sent, fates, within, limit)
    part.checks.append(_check(view, fates, within, limit, part.findings))
    return part


def _fates(view: StageView, sent: Rows) -> NDArray[np.int64]:
    """The fate of each message, in the order of `sent`; there are few."""
    attempts, puts = view.attempts, of_stage(view, Kind.PUT)
    marks, got = of_stage(view, Kind.SENTINEL), of_stage(view, Kind.GOT)
    lived = lived_until(view, attempts)
    keys = connection(attempts, "attempt")
    out = np.zeros(len(sent), dtype=np.int64)
    for k, row in enumerate(sent):
        number = int(row["session"]) << 32 | int(row["op"])
        at = np.flatnonzero(keys == number)
        if len(at):
            mine = [rows[connection(rows) == number] for rows in (puts, marks, got)]
            out[k] = _fate(view, row, attempts[at[0]], int(lived[at[0]]), *mine)
    return out


def _fate(
    view: StageView, row: Any, attempt: Any, lived: int, puts: Rows, marks: Rows, got: Rows
) -> Fate:
    begin = int(row["t"])
    later = puts["t"][puts["t"] > begin]
    until = int(later.min()) if len(later) else np.iinfo(np.int64).max
    sent = marks[(marks["flag"] == 0) & (marks["t"] >= begin) & (marks["t"] < until)]
    numbers = sent["b"][:1]
    if np.isin(numbers, marks["b"][marks["flag"] == 1]).any():
        return Fate.TAKEN
    dialect = view.resolved.dialect
    here = got["flag"][(got["t"] >= begin) & (got["t"] < until)]
    error = np.isin(here, [dialect.types.index(name) + 1 for name in dialect.errors]).any()
    limited = dialect.limited and (here == dialect.types.index(dialect.limited) + 1).any()
    # Its answer may be among the rows that the journal dropped.
    if view.history.lost or (limited and not error):
        return Fate.UNKNOWN
    if error:
        return Fate.REFUSED
    outcome, end = int(attempt["outcome"]), int(gone_at(attempt))
    if outcome in (Ended.CLOSED, Ended.RESET, Ended.EOF) and begin <= end < until:
        return _ended(int(attempt["close_code"]), bare=not len(numbers))
    on = len(later) > 0 or lived - begin >= LIVED_NS
    if not on:
        return Fate.UNKNOWN
    return Fate.SILENCE if len(numbers) else Fate.TAKEN


def _ended(code: int, *, bare: bool) -> Fate:
    """The fate of a message after which the connection ended; `bare`: it was mere text."""
    if code == TOO_BIG:
        return Fate.TOO_BIG
    # To mere text a service may object for what it says, whatever its size.
    return Fate.UNKNOWN if code and bare else Fate.REFUSED


def _findings(
    view: StageView, sent: Rows, fates: NDArray[np.int64], within: Any, limit: int
) -> list[Finding]:
    refused = np.isin(fates, (Fate.TOO_BIG, Fate.REFUSED))
    cases = (
        ("large.refused", within & refused, "within", "refused"),
        (
            "large.no_answer",
            (fates == Fate.SILENCE) | (~within & (fates == Fate.REFUSED)),
            "around",
            "neither taken nor closed with 1009",
        ),
        ("large.accepted_over", ~within & (fates == Fate.TAKEN), "over", "taken"),
    )
    out = []
    for code, mask, where, words in cases:
        if not mask.any():
            continue
        rows = sent[mask]
        attempts = view.attempts
        mine = attempts[np.isin(connection(attempts, "attempt"), connection(rows))]
        message = (
            f"{of(len(rows), len(sent), 'large message')} {were(len(rows))} {words}: "
            f"{_sizes(rows['a'])}, {where} the promised {size_words(limit)}{_codes(view, mine)}"
        )
        out.append(
            finding(code, f"{view.name}.large", len(rows), message, witness=witnesses(view, mine))
        )
    return out


def _codes(view: StageView, attempts: Rows) -> str:
    codes = np.unique(attempts["close_code"][attempts["outcome"] == Ended.CLOSED]).tolist()
    return f"; closed with {', '.join(view.close_words(code) for code in codes)}" if codes else ""


def _check(
    view: StageView, fates: NDArray[np.int64], within: Any, limit: int, findings: list[Finding]
) -> Check:
    known = fates != Fate.UNKNOWN
    n = int(known.sum())
    taken = int((within & (fates == Fate.TAKEN)).sum())
    closed = int((~within & (fates == Fate.TOO_BIG)).sum())
    verdict = Outcome.PASS
    message = (
        f"{of(taken, int((within & known).sum()), 'message')} of up to {size_words(limit)} "
        f"{were(taken)} taken; {of(closed, int((~within & known).sum()), 'larger one')} "
        f"{were(closed)} closed with 1009"
    )
    if findings:
        verdict = Outcome.FAIL
    elif not (taken and closed):
        verdict = Outcome.INCONCLUSIVE
        message += "; both sides of the promise have to be tried"
    if n < len(fates):
        message += f"; of {counted(len(fates) - n, 'message')} it is not known"
    check = Check(f"{view.name}.large", view.name, True, verdict, "witness", n, message)
    return withheld(view, check) if verdict is Outcome.PASS else check


def size_words(size: int) -> str:
    """Bytes as a person writes them: "64 KiB", "70,000 bytes"."""
    for unit, name in ((_KIB * _KIB, "MiB"), (_KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit:,} {name}"
    return counted(size, "byte")


def _sizes(sizes: NDArray[np.int32]) -> str:
    low, high = int(sizes.min()), int(sizes.max())
    return size_words(low) if low == high else f"{size_words(low)} to {size_words(high)}"


def _summary(sizes: NDArray[np.int32], fates: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "sizes": [
            {
                "bytes": size,
                **{
                    fate.name.lower(): int(((sizes == size) & (fates == fate)).sum())
                    for fate in Fate
                },
            }
            for size in np.unique(sizes).tolist()
        ]
    }
