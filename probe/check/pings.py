"""WebSocket pings: every one is answered by its pong (RFC 6455 section 5.5.3).

The rule: a ping is unanswered if its pong did not come though the connection was there for
5 s after it, or until we closed it after a second or more, or though a later ping was
answered. The RFC lets a peer answer only the latest of pings that it has at hand, so a ping
that was followed at once by an answered one counts as answered. A ping whose connection ended
before that, or on which we read nothing for a while, is unknown, and so is every one
without a pong where the journal dropped rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.rows import connection, lived_until, lost_unasked, of_stage, place
from probe.check.witness import witnesses
from probe.check.words import at_most, counted, duration, of, were
from probe.history.records import Kind
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.check.rows import Ints
    from probe.check.verdict import Check, Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

WAIT_NS: Final = 5_000_000_000
OURS_NS: Final = 1_000_000_000
AT_HAND_NS: Final = 100_000_000


def pings(view: StageView) -> Part:
    """`<stage>.pings`."""
    part = Part()
    if not view.stage.expect.pings:
        return part
    if not view.resolved.dialect.promises.pings:
        why = "the dialect does not promise that pings are answered"
        part.checks.append(unmeasured(view, "pings", "absence", why))
        return part
    sent = of_stage(view, Kind.PING)
    sent = sent[np.lexsort((sent["t"], sent["op"], sent["session"]))]
    if not len(sent):
        part.checks.append(unmeasured(view, "pings", "absence", "no ping was sent"))
        return part
    took, answered = _answers(sent, of_stage(view, Kind.PONG))
    bad = _unanswered(view, sent, answered)
    known = bad | answered
    part.checks.append(_check(view, sent, took[answered], bad, known))
    if bad.any():
        part.findings.append(_finding(view, sent, bad, int(known.sum())))
    return part


def _answers(sent: Rows, got: Rows) -> tuple[Ints, Mask]:
    """How long each ping took to be answered (ns), and which were."""
    _, which = np.unique(
        np.concatenate([_named(sent), _named(got)]), return_inverse=True, axis=0
    )  # fmt: skip
    which = which.reshape(-1)
    # In order of name and time: the next pong behind a ping is its answer, none before it is.
    times = np.concatenate([sent["t"], got["t"]])
    pong = np.arange(len(times)) >= len(sent)
    order = np.lexsort((pong, times, which))
    next_ = np.where(pong[order], np.arange(len(order)), len(order))
    next_ = np.minimum.accumulate(next_[::-1])[::-1]
    answer = np.full(len(times), -1, dtype=np.int64)
    there = next_ < len(order)
    answer[order[there]] = order[next_[there]]
    answer = answer[: len(sent)]
    direct = (answer >= 0) & (which[answer] == which[: len(sent)])
    took = np.where(direct, times[answer] - sent["t"], 0)
    # From behind: one that was answered at once covers those sent just before it.
    same = connection(sent)[1:] == connection(sent)[:-1]
    near = same & (np.diff(sent["t"]) < AT_HAND_NS)
    answered = direct.copy()
    chain = np.cumsum(np.concatenate([[0], ~near]))
    last = np.flatnonzero(np.concatenate([chain[1:] != chain[:-1], [True]]))
    covered = np.maximum.reduceat(np.where(direct, np.arange(len(sent)), -1), _starts(chain))
    answered |= np.arange(len(sent)) <= np.repeat(covered, np.diff(np.concatenate([[-1], last])))
    return np.asarray(took), np.asarray(answered)


def _starts(chain: Ints) -> NDArray[np.intp]:
    return np.flatnonzero(np.concatenate([[True], chain[1:] != chain[:-1]]))


def _named(rows: Rows) -> Ints:
    return np.stack([connection(rows), rows["b"].astype(np.int64)], axis=1)


def _unanswered(view: StageView, sent: Rows, answered: Mask) -> Mask:
    """Pings that surely had no answer."""
    attempts = view.attempts
    keys = connection(attempts, "attempt")
    at, found = place(keys, connection(sent))
    if not len(attempts) or view.history.lost:
        return np.zeros(len(sent), dtype=np.bool_)
    wait = lived_until(view, attempts)[at] - sent["t"]
    ours = ~lost_unasked(attempts)[at] & (attempts["outcome"] >= 0)[at]
    long = (wait >= WAIT_NS) | (ours & (wait >= OURS_NS))
    stalled = np.isin(connection(sent), connection(view.history.stalls, "attempt"))
    # A later ping of the connection that was answered shows that it was there to answer.
    last = np.full(len(attempts), -1, dtype=np.int64)
    np.maximum.at(last, at, np.where(answered, np.arange(len(sent)), -1))
    later = np.arange(len(sent)) < last[at]
    return np.asarray(found & ~answered & (long | later) & ~stalled)


def _check(view: StageView, sent: Rows, took: Ints, bad: Mask, known: Mask) -> Check:
    n, wrong = int(known.sum()), int(bad.sum())
    lines = len(np.unique(connection(sent[known])))
    where = f"on {counted(lines, 'connection')}"
    if not n:
        why = f"of none of {counted(len(sent), 'ping')} it is known whether it was answered"
        return unmeasured(view, "pings", "absence", why)
    if wrong:
        message = f"{of(wrong, n, 'ping')} {where} {were(wrong)} not answered"
    else:
        # Pings of one connection are no independent cases.
        message = (
            f"{counted(n, 'ping')} {where} {were(n)} answered, at the latest after "
            f"{duration(float(took.max()))}; of connections without an answer there are "
            f"{at_most(zero_bound(lines))}"
        )
    if n < len(sent):
        message += f"; of {counted(len(sent) - n, 'ping')} it is not known"
    return absence(
        view, "pings", message, "connection", bad=wrong, n=n, units=lines,
        load_sensitive=not wrong,
    )  # fmt: skip


def _finding(view: StageView, sent: Rows, bad: Mask, n: int) -> Finding:
    rows = sent[bad]
    keys = np.unique(connection(rows))
    attempts = view.attempts
    cases = attempts[np.isin(connection(attempts, "attempt"), keys)]
    message = (
        f"{of(len(rows), n, 'ping')} on {counted(len(keys), 'connection')} got no pong, though "
        "the connection lived on"
    )
    return finding(
        "ping.unanswered", f"{view.name}.pings", len(rows), message, witness=witnesses(view, cases)
    )
