"""Limits that protect a service: of messages per time, and of the size of a message.

The rule (docs/methods.md, Pressure): every message of a flood is answered, or told to be over
the limit, or the connection is closed with a code; one that none of this happens to, on a
connection that lived on, was dropped in silence. A limit is per user if nobody else met it
meanwhile, and it passes if the one who flooded is served again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, unmeasured, withheld
from probe.check.bystanders import Meanwhile, meanwhile
from probe.check.catalogue import finding
from probe.check.rows import connection, of_stage
from probe.check.verdict import Check, Outcome
from probe.check.view import gone_at
from probe.check.witness import witnesses
from probe.check.words import at_most, counted, of, were
from probe.history.records import Kind, Put, Run
from probe.history.records import Outcome as Ended
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from typing import Any

    from probe.check.view import StageView
    from probe.history.columns import Rows

SILENCE_NS: Final = 1_500_000_000
"""How long a connection has to live on after a flood before silence is an answer."""
AGAIN_NS: Final = 1_000_000_000
_WHATS: Final = ("rate_limit.told", "rate_limit.per_user", "rate_limit.passes")


@dataclass(frozen=True, slots=True)
class Flood:
    """The messages that one connection sent at once.

    `began`, `until` (ns): the first and the last of them. `sent` = `answered` + `limited` +
    `silent` + unknown; `closed` is the code of a Close that ended it, 0 for none.
    """

    session: int
    attempt: int
    began: int
    until: int
    sent: int
    answered: int
    limited: int
    silent: int
    closed: int

    @property
    def met(self) -> bool:
        """Whether a limit was met."""
        return self.limited + self.silent > 0 or self.closed > 0


def rate_limit(view: StageView) -> Part:
    """`<stage>.rate_limit.told`, `….per_user`, `….passes`."""
    part = Part()
    if not view.stage.expect.rate_limit:
        return part
    floods = _floods(view)
    if not floods:
        part.checks += [unmeasured(view, what, "absence", "nobody flooded") for what in _WHATS]
        return part
    part.summary["rate_limit"] = {view.name: _summary(floods)}
    met = [flood for flood in floods if flood.met]
    if not met:
        most = max(flood.sent for flood in floods)
        why = f"no limit was met by {counted(most, 'message')} at once"
        part.checks += [_unmet(view, what, len(floods), why) for what in _WHATS]
        return part
    _told(view, part, met)
    _per_user(view, part, met)
    _passes(view, part, met)
    part.checks = [
        withheld(view, check) if check.verdict is Outcome.PASS else check for check in part.checks
    ]
    return part


def _floods(view: StageView) -> list[Flood]:
    puts = of_stage(view, Kind.PUT)
    floods = puts[puts["flag"] == Put.FLOOD]
    got = of_stage(view, Kind.GOT)
    marks = of_stage(view, Kind.SENTINEL)
    out = []
    for number in np.unique(connection(floods)).tolist():
        mine = [rows[connection(rows) == number] for rows in (floods, puts, got, marks)]
        attempt = view.attempts[connection(view.attempts, "attempt") == number]
        if len(attempt):
            out.append(_flood(view, attempt[0], *mine))
    return out


def _flood(view: StageView, attempt: Any, sent: Rows, puts: Rows, got: Rows, marks: Rows) -> Flood:
    began, until = int(sent["t"].min()), int(sent["t"].max())
    n = len(sent)
    # Numbers of a flood are none of those that a sentinel was noted for.
    numbered = marks["b"][(marks["flag"] == 1)]
    answers = numbered[~np.isin(numbered, marks["b"][marks["flag"] == 0])]
    answered = min(len(np.unique(answers)), n)
    limited = min(_limited(view, puts, got, began, until), n - answered)
    end, outcome = int(gone_at(attempt)), int(attempt["outcome"])
    last = max((int(rows["t"].max()) for rows in (got, marks) if len(rows)), default=0)
    lived = max(last, end if outcome >= 0 else 0) - until >= SILENCE_NS
    code = int(attempt["close_code"]) if outcome == Ended.CLOSED and end >= began else 0
    rest = n - answered - limited
    # What a Close or a drop of TCP cut off may have been limited, or answered too late.
    cut = outcome in (Ended.CLOSED, Ended.RESET, Ended.EOF) and end - until < SILENCE_NS
    return Flood(
        session=int(attempt["session"]),
        attempt=int(attempt["attempt"]),
        began=began,
        until=until,
        sent=n,
        answered=answered,
        limited=limited,
        # Its answer may be among the rows that the journal dropped.
        silent=rest if lived and not cut and not view.history.lost else 0,
        closed=code if cut and rest else 0,
    )


def _limited(view: StageView, puts: Rows, got: Rows, began: int, until: int) -> int:
    """How many messages of a flood were told to be over a limit, or met an error."""
    times = np.sort(got["t"][np.isin(got["flag"], _refusing(view)) & (got["t"] >= began)])
    others = np.sort(puts["t"][(puts["flag"] != Put.FLOOD) & (puts["t"] > until)])
    if not len(others):
        return len(times)
    # What came after our next message may be for that one.
    within = int((times < others[0]).sum())
    return max(within, len(times) - len(others))


def _refusing(view: StageView) -> list[int]:
    dialect = view.resolved.dialect
    names = [*dialect.errors, *([dialect.limited] if dialect.limited else [])]
    return [dialect.types.index(name) + 1 for name in names]


def _unmet(view: StageView, what: str, n: int, why: str) -> Check:
    name = f"{view.name}.{what}"
    return Check(name, view.name, True, Outcome.INCONCLUSIVE, "absence", n, why)


def _told(view: StageView, part: Part, met: list[Flood]) -> None:
    check = f"{view.name}.rate_limit.told"
    sent, limited = sum(f.sent for f in met), sum(f.limited for f in met)
    silent, answered = sum(f.silent for f in met), sum(f.answered for f in met)
    codes = sorted({f.closed for f in met if f.closed})
    told = f"of {counted(sent, 'message')} at once {answered:,} were answered and {limited:,} were "
    told += "told to be over the limit"
    if codes:
        told += f"; the connection was closed with {', '.join(view.close_words(c) for c in codes)}"
    verdict = Outcome.PASS
    if silent:
        verdict = Outcome.FAIL
        told += f"; {silent:,} {were(silent)} dropped in silence"
        part.findings.append(
            finding(
                "rate_limit.silent", check, silent, told,
                witness=witnesses(view, _attempts(view, [f for f in met if f.silent])),
            )
        )  # fmt: skip
    part.checks.append(
        Check(check, view.name, True, verdict, "witness" if silent else "absence", sent, told)
    )


def _per_user(view: StageView, part: Part, met: list[Flood]) -> None:
    check = f"{view.name}.rate_limit.per_user"
    sessions = np.array([f.session for f in met])
    found = meanwhile(view, sessions, [(f.began, f.until) for f in met], _refusing(view))
    if not len(found.spoke):
        why = "nobody else spoke while the limit was met"
        part.checks.append(unmeasured(view, "rate_limit.per_user", "absence", why))
        return
    n, bad = len(found.spoke), len(found.hit)
    if bad:
        message = (
            f"while another user flooded, {of(bad, n, 'client')} of other users that sent far less "
            f"{were(bad)} not served: {_how(found)}"
        )
        attempts = view.attempts[np.isin(view.attempts["session"], found.hit)]
        part.findings.append(
            finding("rate_limit.global", check, bad, message, witness=witnesses(view, attempts))
        )
    else:
        message = (
            f"{counted(n, 'client')} of other users {were(n)} served as ever while one flooded, "
            f"{at_most(zero_bound(n))} would not be"
        )
    verdict = Outcome.FAIL if bad else Outcome.PASS
    evidence: Any = "witness" if bad else "absence"
    part.checks.append(
        Check(check, view.name, True, verdict, evidence, n, message, load_sensitive=not bad)
    )


def _how(found: Meanwhile) -> str:
    parts = [
        (found.limited, "told to be over the limit"),
        (found.unanswered, "left without an answer to a sentinel"),
        (found.broken, "with a run of which nothing came"),
    ]
    return ", ".join(f"{len(who):,} {words}" for who, words in parts if len(who))


def _passes(view: StageView, part: Part, met: list[Flood]) -> None:
    """The last thing that each one asked for after its flood was done."""
    check = f"{view.name}.rate_limit.passes"
    after = [_after(view, flood) for flood in met]
    known = [served for served in after if served is not None]
    stuck = [flood for flood, served in zip(met, after, strict=True) if served is False]
    if not known:
        why = "nobody who had met the limit asked for anything again, a while after the flood"
        part.checks.append(unmeasured(view, "rate_limit.passes", "witness", why))
        return
    n, bad = len(known), len(stuck)
    if bad:
        message = (
            f"{of(bad, n, 'client')} that had met the limit {were(bad)} not served again: the last "
            "run or sentinel after the flood had no answer, or was told to be over the limit"
        )
        part.findings.append(
            finding(
                "rate_limit.stuck", check, bad, message,
                witness=witnesses(view, _attempts(view, stuck)),
            )
        )  # fmt: skip
    else:
        message = f"{counted(n, 'client')} that had met the limit {were(n)} served again after it"
    verdict = Outcome.FAIL if bad else Outcome.PASS
    part.checks.append(Check(check, view.name, True, verdict, "witness", n, message))


def _after(view: StageView, flood: Flood) -> bool | None:
    """Whether the last run or sentinel after a flood was done; None where it is not known."""
    runs = view.runs[(view.runs["session"] == flood.session)]
    runs = runs[runs["begun"] > flood.until]
    marks = of_stage(view, Kind.SENTINEL)
    marks = marks[marks["session"] == flood.session]
    sent = marks[(marks["flag"] == 0) & (marks["t"] > flood.until)]
    tries = [(int(run["begun"]), int(run["outcome"]) == Run.ENDED) for run in runs]
    back = marks["b"][marks["flag"] == 1]
    tries += [(int(row["t"]), bool(np.isin(row["b"], back))) for row in sent]
    if not tries:
        return None
    when, served = max(tries)
    cut = bool((runs["outcome"] == Run.CUT_OFF).any())
    # At once after the flood the limit may still hold, and rightly.
    cut |= bool(view.history.lost)
    return served or (None if cut or when - flood.until < AGAIN_NS else False)


def _attempts(view: StageView, floods: list[Flood]) -> Rows:
    numbers = [flood.session << 32 | flood.attempt for flood in floods]
    mine: Rows = view.attempts[np.isin(connection(view.attempts, "attempt"), numbers)]
    return mine


def _summary(floods: list[Flood]) -> dict[str, int]:
    return {
        "floods": len(floods),
        "sent": sum(f.sent for f in floods),
        "answered": sum(f.answered for f in floods),
        "limited": sum(f.limited for f in floods),
        "silent": sum(f.silent for f in floods),
        "closed": sum(f.closed > 0 for f in floods),
    }
