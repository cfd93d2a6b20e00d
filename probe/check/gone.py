"""A service that goes away in the midst of a load, and does not come back.

The rule: it is gone from the moment t on if after t nothing of it was seen any more (nobody
got in, nothing was received, no connection was left that had not ended), while clients tried:
five or more tries failed, or several over a second, or one after all connections were lost.
It is silent if of all connections that were open at t two or more were asked something by
then or later, and none had an answer, not even to our Close. An answer such as 401 or 429 comes
from a service that is there. Whether the very last tries failed by chance is not known; then
nothing is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part
from probe.check.catalogue import finding
from probe.check.rows import (
    BREACH,
    Ints,
    connection,
    lost_unasked,
    of_stage,
    place,
    places_of,
)
from probe.check.verdict import Check, Outcome
from probe.check.view import decided, gone_at, good, labels
from probe.check.witness import witnesses
from probe.check.words import counted, duration
from probe.history.records import Kind, Run
from probe.history.records import Outcome as Ended
from probe.model.scenario import Expect

if TYPE_CHECKING:
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

TRIES: Final = 5
MUTE: Final = 2
SPAN_NS: Final = 1_000_000_000
_AWAY: Final = (502, 503, 504)  # what a proxy says whose backend is gone
_GOING: Final = (1001, 1012)
_MINE: Final = (Ended.NORMAL, Ended.CANCELLED, Ended.LOCAL)
_DROPS: Final = (Ended.RESET, Ended.EOF, Ended.CLOSED)


@dataclass(frozen=True)
class Tail:
    """What came after the last sign of life at `alive` (ns; 0: there was none).

    `dropped` are connections that were lost, `mute` ones that were left open and did not
    answer our Close, `failed` attempts that did not get in. `asked` of the mute ones owed us
    an answer of another kind too; `deaf`: a Close was left unanswered by a living service.
    """

    alive: int
    dropped: Rows
    mute: Rows
    failed: Rows
    asked: int = 0
    deaf: bool = False
    others: int = 0
    """Connections that were open at `alive` too, and of which it is not known."""

    @property
    def since(self) -> int:
        """From when on it was gone, ns."""
        starts = np.concatenate([gone_at(self.dropped), self.failed["dial"]])
        return max(int(starts.min()) if len(starts) else 0, self.alive)

    @property
    def gone(self) -> bool:
        """Whether this is more than chance."""
        dials = self.failed["dial"]
        many = len(dials) >= TRIES
        long = len(dials) > 1 and int(dials.max()) - self.since >= SPAN_NS
        return many or long or (len(dials) > 0 and len(self.dropped) >= TRIES)

    @property
    def silent(self) -> bool:
        """Whether all that was open fell silent, and nobody tried again."""
        alone = not (len(self.failed) or len(self.dropped) or self.others)
        return alone and self.asked >= MUTE


def gone(view: StageView) -> Part:
    """`<stage>.service`: it was there to the end."""
    part = Part()
    rows = view.welcome
    if not asked(view) or not len(rows):
        return part
    tail = _tail(view, rows)
    check = f"{view.name}.service"
    n = int(decided(rows).sum())
    before = tail.alive > 0 or _worked_before(view)
    torn = bool(view.history.lost)  # what was lost may have been a sign of life
    if (tail.gone or tail.silent) and before and not torn:
        message, pattern = _told(view, tail) if tail.gone else _fell_silent(view, tail)
        cases = np.concatenate([tail.dropped, tail.failed])
        cases = cases if len(cases) else tail.mute
        part.findings.append(
            finding(
                "service.gone", check, len(cases), message,
                witness=witnesses(view, cases), pattern=pattern,
            )
        )  # fmt: skip
        verdict, silent = Outcome.FAIL, pattern == "silent"
    else:
        verdict, message = _there(view, tail, n)
        silent = False
    made = Check(
        check,
        view.name,
        True,
        verdict,
        "witness",
        n,
        message,
        # Of silence a probe that was too slow may itself be the cause.
        load_sensitive=silent,
    )
    part.checks.append(made)
    return part


def asked(view: StageView) -> bool:
    """Whether this stage is held to it: a load that expects anything, without restarts."""
    stage = view.stage
    return stage.activity == "load" and stage.anchor != "restart" and stage.expect != Expect()


def _tail(view: StageView, rows: Rows) -> Tail:
    fine = good(rows)
    lost = lost_unasked(rows)
    # A process that dies takes its connections along, one that hangs leaves them open: then
    # an end of our own is no sign of life, only an answer to our Close is.
    quiet = (rows["ready"] > 0) & (rows["outcome"] == Ended.TIMEOUT)
    bad = rows["outcome"][(~fine & decided(rows)) | quiet]
    hangs = 2 * int((bad == Ended.TIMEOUT).sum()) > len(bad)
    mine = (rows["ready"] > 0) & np.isin(rows["outcome"], _MINE)
    mine &= (rows["close_at"] > 0) | (not hangs)
    ended = np.where(rows["close_at"] > 0, rows["close_at"], rows["end"])
    answered = (rows["head"] > 0) & ~np.isin(rows["status"], _AWAY)
    broke = (rows["ready"] > 0) & np.isin(rows["outcome"], BREACH)  # it spoke, if wrongly
    signs = [rows["ready"][fine], ended[mine | broke], rows["head"][answered], _received(view)]
    if (rows["outcome"] < 0).any():
        signs.append(np.array([view.ended]))  # whether it was lost is not known
    alive = max((int(part.max()) for part in signs if len(part)), default=0)
    # Of hosts whose clocks may be wrong by so much: what failed did so after that for sure, and
    # what was dropped may have been.
    apart = view.history.clock_bound_ns
    failed = ~fine & decided(rows) & ~(lost & (rows["ready"] > 0)) & (rows["end"] > alive + apart)
    mute = quiet & (_closed_at(view, rows) > alive)
    dropped = lost & ~broke & (gone_at(rows) >= alive - apart)
    others = (rows["ready"] > 0) & (rows["end"] > alive) & ~(mute | dropped)
    return Tail(
        alive,
        rows[dropped],
        rows[mute],
        rows[failed],
        asked=int(_owed(view, rows[mute], alive).sum()),
        deaf=bool((quiet & ~mute).any()),
        others=int(others.sum()),
    )


def _closed_at(view: StageView, rows: Rows) -> Ints:
    """When we sent our Close on each connection, ns; where we sent none, its end."""
    sent = of_stage(view, Kind.CLOSE)
    sent = sent[sent["flag"] == 0]
    at, found = place(connection(rows, "attempt"), connection(sent))
    out = rows["end"].astype(np.int64)
    np.minimum.at(out, at[found], sent["t"][found])
    return out


def _owed(view: StageView, mute: Rows, alive: int) -> Mask:
    """Which of the mute connections had a sentinel, a ping or a run that was never answered."""
    asked = of_stage(view, Kind.SENTINEL, Kind.PING)
    asked = asked[(asked["flag"] == 0) & (asked["t"] > alive)]
    runs = view.runs[(view.runs["outcome"] == Run.GIVEN_UP) & (view.runs["over"] > alive)]
    owed = np.concatenate([connection(asked), connection(runs, "attempt")])
    return np.isin(connection(mute, "attempt"), owed)


def _received(view: StageView) -> Ints:
    t = view.history.rows["t"][places_of(view, Kind.GOT, Kind.PONG)]
    return np.asarray([t.max()] if len(t) else [], dtype=np.int64)


def _worked_before(view: StageView) -> bool:
    """Somebody got in at an earlier stage, over the same endpoints."""
    every = view.history.attempts
    every = every[good(every) & (every["ready"] <= view.begun)]
    return bool(np.isin(view.welcome["endpoint"], every["endpoint"]).any())


def _told(view: StageView, tail: Tail) -> tuple[str, str]:
    how, pattern = _how(tail.failed)
    after = duration(max(tail.since - view.begun, 0))
    parts = (tail.dropped, tail.mute, tail.failed)
    clients = np.unique(np.concatenate([rows["session"] for rows in parts]))
    lost = ", ".join(
        f"{counted(len(rows), 'open connection')} {words}"
        for rows, words in ((tail.dropped, "ended"), (tail.mute, "fell silent"))
        if len(rows)
    )
    lost = f"{lost}, and " if lost else ""
    when = view.history.anchor.wall(tail.since).isoformat(timespec="milliseconds")
    message = (
        f"the service was gone from {after} after the stage began ({when}): {lost}"
        f"all {counted(len(tail.failed), 'attempt')} from then on failed ({how}); "
        f"{counted(len(clients), 'client')} went with it"
    )
    health = _health(view, tail.since)
    return message + health, pattern


def _fell_silent(view: StageView, tail: Tail) -> tuple[str, str]:
    after = duration(max(tail.alive - view.begun, 0))
    when = view.history.anchor.wall(tail.alive).isoformat(timespec="milliseconds")
    clients = len(np.unique(tail.mute["session"]))
    message = (
        f"the service fell silent {after} after the stage began ({when}): nothing more came on any "
        f"of {counted(len(tail.mute), 'open connection')}, not even an answer to our Close; "
        f"{counted(clients, 'client')} went with it"
    )
    return message + _health(view, tail.alive), "silent"


def _how(failed: Rows) -> tuple[str, str]:
    """How tries failed, in words, and the pattern of what most of them say."""
    outcome = failed["outcome"]
    masks: dict[str, Mask] = {
        "refused": np.isin(outcome, (Ended.REFUSED, Ended.UNREACHABLE)),
        "silent": outcome == Ended.TIMEOUT,
        "reset": np.isin(outcome, _DROPS),
        "status": outcome == Ended.STATUS,
    }
    most = max(masks, key=lambda name: int(masks[name].sum()))
    words = ", ".join(f"{number:,} {label}" for label, number in labels(failed))
    return words, most if 2 * int(masks[most].sum()) > len(failed) else ""


def _health(view: StageView, since: int) -> str:
    """What health said after that, where it was asked."""
    rows = view.health[view.health["b"] >= since]
    if not len(rows):
        return ""
    well = int((rows["flag"] > 0).sum())
    if not well:
        return f"; health did not answer well any more either ({counted(len(rows), 'time')} asked)"
    return f"; health went on to answer well ({well:,} of {counted(len(rows), 'time')})"


def _there(view: StageView, tail: Tail, n: int) -> tuple[Outcome, str]:
    if view.history.lost:
        return Outcome.INCONCLUSIVE, (
            f"{counted(view.history.lost, 'row')} of the journal were lost: whether the service "
            "was there to the end is not known"
        )
    if not tail.alive:
        return Outcome.INCONCLUSIVE, "nothing was seen of the service in this stage"
    last = duration(max(tail.alive - view.begun, 0))
    words = (
        f"the service was there to the end of {counted(n, 'attempt')}; its last sign of life came "
        f"{last} after the stage began"
    )
    tries = len(tail.failed)
    if len(tail.mute) and not tail.deaf and not tries:
        return Outcome.INCONCLUSIVE, (
            f"the last sign of life came {last} after the stage began, and then "
            f"{counted(len(tail.mute), 'open connection')} did not answer our Close: whether the "
            "service was there to the end was not seen"
        )
    # A Close comes from a process that is there, unless it says that it goes.
    away = tail.dropped[np.isin(tail.dropped["close_code"], (0, *_GOING))]
    if len(away) >= TRIES and not tries:
        return Outcome.INCONCLUSIVE, (
            f"the last {counted(len(away), 'connection')} ended unasked, and nobody tried "
            "again: whether the service is still there was not seen"
        )
    if tries > 1 or (tries and len(tail.dropped)):
        return Outcome.INCONCLUSIVE, (
            f"the last {counted(tries, 'attempt')} failed, too few to say that the service is gone"
        )
    return Outcome.PASS, words
