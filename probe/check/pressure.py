"""A slow reader: how many events may wait for it, and whether it is told of what was dropped.

The rule (docs/methods.md, Pressure): runs of different sizes while nothing is read. The step
lies between the largest size that came whole in every repeat and the smallest of which
something was lost; the sockets' buffers are part of it, so it is never below the service's
queue. A loss within the promised queue fails, and so does a drop that is not announced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured, withheld
from probe.check.catalogue import finding
from probe.check.rows import connection
from probe.check.squeezed import Squeezed, squeezed
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import counted, of

if TYPE_CHECKING:
    from probe.check.verdict import Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

CLOSE: Final = 0.9
"""A size of this share of the promise, and not less, speaks for the promise."""


def pressure(view: StageView) -> Part:
    """`<stage>.pressure.step`, and `….told` where the dialect has a message for drops."""
    part = Part()
    if not view.stage.expect.pressure:
        return part
    found = squeezed(view)
    dialect = view.resolved.dialect
    if not len(found.runs):
        why = "no run was begun while nothing was read"
        part.checks.append(unmeasured(view, "pressure.step", "bound", why))
        if dialect.dropped is not None:
            part.checks.append(unmeasured(view, "pressure.told", "absence", why))
        return part
    part.summary["pressure"] = {view.name: _summary(found)}
    part.checks.append(withheld(view, _step(view, found)))
    small = _within(found, dialect.promises.queue)
    if small.any():
        part.findings.append(_queue_small(view, found, small))
    if dialect.dropped is not None:
        part.checks.append(_told(view, found))
        silent = found.lost & ~found.told
        if silent.any():
            part.findings.append(_silent(view, found, silent))
    return part


def step_of(found: Squeezed) -> tuple[int, int]:
    """(largest clean size below every dirty one, smallest dirty size); 0 where there is none."""
    dirty = found.size[found.lost]
    high = int(dirty.min()) if len(dirty) else 0
    # A size of which one repeat is unknown did not come whole in every repeat.
    open_ = found.size[~found.clean]
    clean = found.size[found.clean & ~np.isin(found.size, open_)]
    clean = clean[clean < high] if high else clean
    return (int(clean.max()) if len(clean) else 0), high


def _within(found: Squeezed, queue: int | None) -> Mask:
    """Runs that lost something though all their events fit into the promised queue."""
    return np.asarray(found.lost & (found.whole <= (queue or 0)))


def _step(view: StageView, found: Squeezed) -> Check:
    low, high = step_of(found)
    queue, n = view.resolved.dialect.promises.queue, len(found.runs)
    extra = int((found.whole - found.size).max())
    words = _step_words(low, high)
    verdict = Outcome.INCONCLUSIVE
    if queue is None:
        words += "; the dialect promises no queue (promises.queue) to hold it to"
    elif _within(found, queue).any():
        verdict = Outcome.FAIL
        words += f"; {queue:,} events are promised to wait"
    elif not (found.whole <= queue).any():
        words += f"; no size within the promised {queue:,} was tried"
    elif low + extra < CLOSE * queue:
        words += f"; nothing between that and the promised {queue:,} came whole or was tried"
    else:
        verdict = Outcome.PASS
        words += f"; {queue:,} events are promised to wait"
    unknown = int((~found.clean & ~found.known).sum())
    if unknown:
        words += f"; of {counted(unknown, 'run')} it is not known"
    return Check(
        f"{view.name}.pressure.step",
        view.name,
        True,
        verdict,
        "witness" if verdict is Outcome.FAIL else "bound",
        n,
        words,
        estimate=float(low) if low else None,
        interval=(float(low), float(high) if high else None),
        limit=None if queue is None else float(queue),
        unit="count",
        smallest="the step is known within the two sizes told",
    )


def _step_words(low: int, high: int) -> str:
    match low, high:
        case 0, 0:
            return "of no size is it known whether it came whole"
        case 0, _:
            return f"events were lost at every size, {high:,} the smallest"
        case _, 0:
            return f"runs of up to {low:,} repeated events came whole while nothing was read"
        case _:
            return (
                f"runs of up to {low:,} repeated events came whole while nothing was read; "
                f"of a run of {high:,} some were lost"
            )


def _told(view: StageView, found: Squeezed) -> Check:
    lost = found.lost
    n, silent = int(lost.sum()), int((lost & ~found.told).sum())
    if not n:
        low, _ = step_of(found)
        why = f"nothing was dropped from runs of up to {low:,} events"
        if view.history.lost:
            why = f"{counted(view.history.lost, 'row')} of the journal were lost"
        return unmeasured(view, "pressure.told", "absence", why)
    verdict = Outcome.FAIL if silent else Outcome.PASS
    message = f"of {of(n, len(found.runs), 'run')} events were lost, and "
    message += f"{silent:,} times nobody was told" if silent else "every time the client was told"
    evidence: Any = "witness" if silent else "absence"
    return Check(f"{view.name}.pressure.told", view.name, True, verdict, evidence, n, message)


def _queue_small(view: StageView, found: Squeezed, small: Mask) -> Finding:
    low, high = step_of(found)
    gone = (found.whole - found.came)[small]
    sizes = found.whole[small]
    some = f"{gone.min():,} to {gone.max():,}" if gone.min() < gone.max() else f"{gone.min():,}"
    queue = view.resolved.dialect.promises.queue or 0
    came = f"runs of {low:,} repeated events came whole" if low else "no smaller run came whole"
    message = (
        f"events were lost while the client read nothing: {some} of each of "
        f"{counted(len(sizes), 'run')} of {_range(sizes)} events, though {queue:,} are promised to "
        f"wait; {came}, of {high:,} not"
    )
    return finding(
        "pressure.queue_small",
        f"{view.name}.pressure.step",
        len(sizes),
        message,
        witness=witnesses(view, _attempts(view, found.runs[small])),
    )


def _silent(view: StageView, found: Squeezed, silent: Mask) -> Finding:
    gone = (found.whole - found.came)[silent]
    dropped = view.resolved.dialect.dropped
    message = (
        f"{int(gone.sum()):,} events of {counted(len(gone), 'run')} (of "
        f"{_range(found.whole[silent])} events) were dropped while the client read nothing, and "
        f"no {dropped} said so"
    )
    return finding(
        "pressure.silent_drop",
        f"{view.name}.pressure.told",
        len(gone),
        message,
        witness=witnesses(view, _attempts(view, found.runs[silent])),
    )


def _attempts(view: StageView, runs: Rows) -> Rows:
    attempts = view.attempts
    keys = np.unique(connection(runs, "attempt"))
    mine: Rows = attempts[np.isin(connection(attempts, "attempt"), keys)]
    return mine


def _range(values: Any) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _summary(found: Squeezed) -> dict[str, Any]:
    low, high = step_of(found)
    return {
        "clean": low,
        "lost": high,
        "tries": [
            {
                "size": int(size),
                "runs": int((found.size == size).sum()),
                "lost": int((found.lost & (found.size == size)).sum()),
                "events_lost": int(
                    (found.whole - found.came)[found.lost & (found.size == size)].sum()
                ),
                "unknown": int((~found.clean & ~found.known & (found.size == size)).sum()),
                "silent": int((found.lost & ~found.told & (found.size == size)).sum()),
            }
            for size in np.unique(found.size).tolist()
        ],
    }
