"""Definite answers: nobody is accepted and then closed, left in silence, or dropped.

The rule: a refusal that says so (ECONNREFUSED, an HTTP status such as 503) is definite and
only counted; every other way of not getting in is a witness, and one fails the check, also
on an unfit probe. A PASS is an absence: it prints the bound that its n allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.view import SWITCHING, decided, gone_at, good, silent, taken_away
from probe.check.witness import witnesses
from probe.check.words import at_most, duration, of, were
from probe.history.records import Outcome as Ended
from probe.history.records import Phase
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from probe.check.verdict import Check, Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

_NO_ANSWER: Final = (Phase.TCP, Phase.PROXY, Phase.TLS, Phase.UPGRADE)
_DOWN_NS: Final = 50_000_000  # how long an instance takes to go, once it has begun to
_WHATS: Final = ("accepted_then_closed", "silence", "dropped")


def definite(view: StageView) -> Part:
    """`<stage>.definite.accepted_then_closed`, `….silence`, `….dropped`."""
    part = Part()
    if not view.stage.expect.definite:
        return part
    rows = view.attempts[~_over_restart(view, view.attempts)]
    rows = rows[decided(rows)]
    if not len(rows):
        why = "no connection came to an end that the target decided"
        part.checks += [unmeasured(view, f"definite.{what}", "absence", why) for what in _WHATS]
        return part
    late = silent(rows)
    masks = (
        ("accepted_then_closed", "accepted and then closed", taken_away(rows)),
        ("silence", "left without an answer", late | no_answer(rows)),
        ("dropped", "dropped without an HTTP answer", dropped(rows)),
    )
    for what, words, mask in masks:
        part.checks.append(_check(view, what, words, len(rows), int(mask.sum())))
    n = len(rows)
    closed = rows[taken_away(rows)]
    if len(closed):
        part.findings.append(_closed(view, closed, n))
    for code, what, mask, words in (
        ("connect.accepted_then_silent", "silence", late, _never_ready(view, rows[late])),
        ("connect.no_answer", "silence", no_answer(rows), "got no answer at all for"),
        ("connect.dropped", "dropped", dropped(rows), "got no HTTP answer but a drop of TCP after"),
    ):
        if mask.any():
            part.findings.append(_timed(view, code, what, rows[mask], n, words))
    return part


def _never_ready(view: StageView, rows: Rows) -> str:
    event = view.resolved.dialect.ready.event
    if event is not None and (rows["first"] > 0).any():
        return f"got a 101 and messages, but no {event}, for"
    return "got a 101 and then nothing for"


def no_answer(rows: Rows) -> Mask:
    """Timeouts before any HTTP answer."""
    timeout = rows["outcome"] == Ended.TIMEOUT
    return np.asarray(timeout & np.isin(rows["phase"], _NO_ANSWER) & (rows["head"] == 0))


def dropped(rows: Rows) -> Mask:
    """TCP was up, and the peer ended or reset it before any HTTP answer."""
    drop = np.isin(rows["outcome"], (Ended.RESET, Ended.EOF))
    return np.asarray(drop & (rows["tcp"] > 0) & (rows["head"] == 0))


def _over_restart(view: StageView, rows: Rows) -> Mask:
    """Attempts that the next restart ended: we asked for that."""
    out = np.zeros(len(rows), dtype=np.bool_)
    for trial in view.trials:
        out |= (rows["trial"] == trial.number) & (rows["end"] >= trial.until)
    return out


def _check(view: StageView, what: str, words: str, n: int, bad: int) -> Check:
    bound = "" if bad else f", {at_most(zero_bound(n))},"
    message = f"{of(bad, n, 'connection')}{bound} {were(bad)} {words}"
    # One case stands however the probe fared; that there was none does not.
    return absence(
        view, f"definite.{what}", message, "connection", bad=bad, n=n, load_sensitive=not bad
    )


def _closed(view: StageView, rows: Rows, n: int) -> Finding:
    codes, place, numbers = np.unique(rows["close_code"], return_inverse=True, return_counts=True)
    most = int(np.argmax(numbers))
    like = rows[place.reshape(-1) == most]
    first = like[np.argmin(like["dial"])]
    said = view.close_words(int(codes[most]), view.history.text(int(first["reason_text"])))
    after = gone_at(rows) - rows["head"]
    how = f"closed with {said}" if codes[most] else "dropped without a Close"
    others = f" ({int(numbers[most])} of them so)" if len(codes) > 1 else ""
    words = (
        f"{of(len(rows), n, 'connection')} {were(len(rows))} accepted ({SWITCHING}) and then "
        f"{how}{others}, {_spread(after)} after the {SWITCHING}"
    )
    return finding(
        "connect.accepted_then_closed",
        f"{view.name}.definite.accepted_then_closed",
        len(rows),
        words,
        witness=witnesses(view, rows, after),
        pattern=_pattern(view, rows),
    )


def _timed(view: StageView, code: str, what: str, rows: Rows, n: int, words: str) -> Finding:
    since = np.where(rows["head"] > 0, rows["head"], rows["dial"])
    took = gone_at(rows) - since
    message = f"{of(len(rows), n, 'connection')} {words} {_spread(took)}"
    check = f"{view.name}.definite.{what}"
    cases = witnesses(view, rows, took)
    pattern = _pattern(view, rows)
    return finding(code, check, len(rows), message, witness=cases, pattern=pattern)


def _spread(took: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    if len(took) == 1 or took.min() == took.max():
        return duration(float(took[0]))
    low, middle, high = float(took.min()), float(np.median(took)), float(took.max())
    return f"{duration(middle)} (median; {duration(low)} to {duration(high)})"


def _pattern(view: StageView, rows: Rows) -> str:
    """When most cases came: "down" as the old instance went, "boot" before anybody got in."""
    down = boot = 0
    for trial in view.trials:
        mine = view.of_trial(view.welcome, trial)
        fine, dials = good(mine), mine["dial"]
        failed = dials[~fine & decided(mine)]
        until = failed.min() if len(failed) else trial.end
        old = bool((fine & (dials < until)).any())
        ready = mine["ready"][fine & (dials >= until)]
        first = ready.min() if len(ready) else trial.end
        cases = view.of_trial(rows, trial)["dial"]
        # The case itself is often the first to fail: nothing tells more of the old instance.
        down += int((cases <= until + _DOWN_NS).sum()) if old else 0
        boot += int((cases < first).sum())
    if 2 * down > len(rows):
        return "down"
    return "boot" if 2 * boot > len(rows) else ""
