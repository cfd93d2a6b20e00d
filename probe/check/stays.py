"""Staying connected: a connection that was ready is not ended by the service unasked.

The rule: the unit is the connection that became ready. What breaks RFC 6455, or is larger than
we read, ends it too, since no client can go on behind it. An end that we asked for is none of
the service's, nor is the 1009 that answers a message of ours that was too large, nor the end
of a service that was restarted on purpose.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.rows import (
    BREACH,
    among,
    connection,
    lived_until,
    lost_unasked,
    of_stage,
    over_restart,
    place,
)
from probe.check.verdict import Check, Outcome
from probe.check.view import gone_at
from probe.check.witness import witnesses
from probe.check.words import at_most, counted, duration, escaped, of, were
from probe.history.records import Kind, Put, Run
from probe.history.records import Outcome as Ended
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from probe.check.verdict import Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

_TOO_BIG: Final = 1009


def stays(view: StageView) -> Part:
    """`<stage>.stays`."""
    part = Part()
    if not view.stage.expect.stays:
        return part
    rows = view.welcome
    rows = rows[(rows["ready"] > 0) & ~over_restart(view, rows)]
    if not len(rows):
        part.checks.append(unmeasured(view, "stays", "absence", "no connection became ready"))
        return part
    lost = lost_unasked(rows) & ~_too_big(view, rows)
    closed = lost & (rows["outcome"] == Ended.CLOSED)
    broke = lost & np.isin(rows["outcome"], BREACH)
    part.checks.append(_check(view, rows, int(lost.sum()), int(closed.sum()), int(broke.sum())))
    for code, mask in (
        ("session.closed", closed),
        ("session.dropped", lost & ~closed & ~broke),
        ("session.protocol", broke),
    ):
        if mask.any():
            part.findings.append(_finding(view, code, rows[mask], len(rows)))
    return part


def _too_big(view: StageView, rows: Rows) -> Mask:
    """Closed with 1009 after a large message of ours: `large` judges those."""
    puts = of_stage(view, Kind.PUT)
    puts = puts[puts["flag"] == Put.LARGE]
    large = np.isin(connection(rows, "attempt"), connection(puts))
    return np.asarray((rows["close_code"] == _TOO_BIG) & large)


def _check(view: StageView, rows: Rows, bad: int, closed: int, broke: int) -> Check:
    n = len(rows)
    open_ = int((rows["outcome"] < 0).sum())
    longest = int((lived_until(view, rows) - rows["ready"]).max())
    if bad:
        message = (
            f"{of(bad, n, 'connection')} {were(bad)} ended by the service unasked: {closed:,} by a "
            f"Close, {bad - closed - broke:,} by a drop of TCP"
        )
        message += f", {broke:,} by what broke the protocol" if broke else ""
    else:
        message = (
            f"none of {counted(n, 'connection')} was ended by the service unasked, "
            f"{at_most(zero_bound(n))}; the longest lasted {duration(longest)}"
        )
    check = absence(view, "stays", message, "connection", bad=bad, n=n, load_sensitive=not bad)
    if open_ and check.verdict is Outcome.PASS:
        words = f"{message}; but of {counted(open_, 'connection')} no end was recorded"
        return replace(check, verdict=Outcome.INCONCLUSIVE, message=words)
    return check


def _finding(view: StageView, code: str, rows: Rows, n: int) -> Finding:
    stayed = gone_at(rows) - rows["ready"]
    busy = _under_way(view, rows)
    if code == "session.closed":
        how = _most(view, rows)
    elif code == "session.protocol":
        how = _breach(view, rows)
    else:
        resets = int((rows["outcome"] == Ended.RESET).sum())
        how = "lost TCP without a Close"
        if resets:
            how += f" ({resets:,} by a reset)" if resets < len(rows) else " (by a reset)"
    message = (
        f"{of(len(rows), n, 'connection')} {'' if 'dropped' in code else were(len(rows)) + ' '}"
        f"{how}, unasked, {duration(float(np.median(stayed)))} (median) after ready"
    )
    if busy.any():
        message += f"; {int(busy.sum()):,} of them had a run under way"
    return finding(
        code,
        f"{view.name}.stays",
        len(rows),
        message,
        witness=witnesses(view, rows, stayed),
        pattern="midrun" if 2 * int(busy.sum()) > len(rows) else "",
    )


def _most(view: StageView, rows: Rows) -> str:
    """`closed with 1011 (internal error) "…"`, the most frequent code first."""
    codes, number = np.unique(rows["close_code"], return_counts=True)
    most = int(np.argmax(number))
    like = rows[rows["close_code"] == codes[most]]
    first = like[np.argmin(like["dial"])]
    words = view.close_words(int(codes[most]), view.history.text(int(first["reason_text"])))
    others = f" ({int(number[most]):,} of them so)" if len(codes) > 1 else ""
    return f"closed with {words}{others}"


def _breach(view: StageView, rows: Rows) -> str:
    """`broken off by what the service sent ("…")`, in the words of the wire."""
    texts = [view.text(b) for b in rows["detail_text"].tolist()]
    said, number = Counter(texts).most_common(1)[0]
    most = f", {number:,} of them so" if number < len(texts) else ""
    return f"broken off by what the service sent ({escaped(said) or 'no words'}{most})"


def _under_way(view: StageView, rows: Rows) -> Mask:
    """Connections that were lost while a run that was begun on them had not ended."""
    keys = connection(rows, "attempt")
    runs = view.runs[among(view.runs["session"], rows["session"])]
    at, found = place(keys, connection(runs, "attempt"))
    runs, at = runs[found], at[found]
    gone = gone_at(rows)[at]
    open_ = (runs["ended"] == 0) | (runs["ended"] > gone)
    open_ &= ~np.isin(runs["outcome"], (Run.REFUSED, Run.GIVEN_UP)) | (runs["over"] > gone)
    out = np.zeros(len(rows), dtype=np.bool_)
    out[at[open_ & (runs["begun"] <= gone)]] = True
    return out
