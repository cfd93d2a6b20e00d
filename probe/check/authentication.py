"""The authentication matrix: what became of every bad token, in every presentation.

The rule: one bad token that becomes ready, or gets an event of a run, fails its row, whatever
else was seen; but for the token of another user than the one named beside it, where the service
keeps to the token. A refusal counts where a good token got in at the same endpoint in the same way,
before the bad ones and after them; a refusal that is not about the token (429, 502, 503, 504,
a drop, a service that goes away) proves nothing. Silence and an error of the service's own
let nobody in and are told. A row that could not be made is SKIPPED with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.rows import connection, of_stage
from probe.check.shown import Unmade, unmade, untried
from probe.check.verdict import Check, Outcome
from probe.check.view import accepted, good, labels
from probe.check.witness import witnesses
from probe.check.words import duration, of, only_cases
from probe.history.records import Kind
from probe.history.records import Outcome as Ended
from probe.model.bad_tokens import TOKEN_CASES, expected, lacking
from probe.model.matrix import CONTROL, CONTROL_AFTER, token_rows

if TYPE_CHECKING:
    from probe.check.entry import Severity
    from probe.check.verdict import Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows
    from probe.model.bad_tokens import TokenCase

    _Fate = tuple[Mask, str, Severity | None, str]  # which, code, severity, in words

BY_USER: Final = 1  # FOREIGN.flag
_WHAT: Final = "authentication"
_NOT_THE_TOKEN: Final = (408, 429, 502, 503, 504)
_REFUSING: Final = (300, 499)
_FAILING: Final = (500, 599)
_INTERNAL: Final = 1011
_GOING: Final = (1001, 1012, 1013, 1014)
_INSIDE: Final = "got in"
_LATE: Final = "got a 101 first"
_FAILED: Final = "got an error of the service's own (a status of 5xx, close 1011) and not a no"
_GONE: Final = (Ended.CLOSED, Ended.EOF, Ended.RESET)


@dataclass(frozen=True)
class Fates:
    """What became of attempts, one mask each; an attempt in none of them tells nothing.

    `served`: got an event of a run. `inside`: that, or became ready. `refused` by a status,
    `taken_back` after the 101, `failed` by an error of the service's own, `mute`: open and
    told nothing.
    """

    served: Mask
    inside: Mask
    refused: Mask
    taken_back: Mask
    failed: Mask
    mute: Mask

    @property
    def outside(self) -> Mask:
        """Attempts that surely did not get in."""
        return np.asarray(self.refused | self.taken_back | self.failed | self.mute)


def fates(view: StageView, rows: Rows) -> Fates:
    """The fates of attempts, by the dialect's word for ready."""
    served = rows["served"] > 0
    # Where nothing says ready, the 101 is no more than a beginning.
    ready = rows["ready"] > 0 if view.resolved.dialect.ready.event else good(rows)
    inside = np.asarray(served | ready)
    status, code = rows["status"], rows["close_code"]
    said = (rows["outcome"] == Ended.STATUS) & ~np.isin(status, _NOT_THE_TOKEN)
    ended = accepted(rows) & ~inside & np.isin(rows["outcome"], _GONE)
    return Fates(
        served=np.asarray(served),
        inside=inside,
        refused=said & _between(status, _REFUSING),
        taken_back=ended & ~np.isin(code, (_INTERNAL, *_GOING)),
        failed=(said & _between(status, _FAILING)) | (ended & (code == _INTERNAL)),
        mute=accepted(rows) & ~inside & (rows["outcome"] == Ended.TIMEOUT),
    )


def named(view: StageView) -> list[tuple[str, bool]]:
    """The last part of each check's id, and whether it is required."""
    if not view.stage.expect.authentication or view.stage.table != _WHAT:
        return []
    dialect = view.resolved.dialect
    out = []
    for present, case in token_rows(view.stage, dialect):
        row = TOKEN_CASES.get(case)
        if row is not None:
            out.append((_id(present, case), expected(row, dialect) != "informational"))
        elif case == CONTROL:
            out.append((_id(present, case), True))
    return out


def authentication(view: StageView) -> Part:
    """`<stage>.authentication.<presentation>.<case>`, and `….control` for each presentation."""
    part = Part()
    if not view.stage.expect.authentication or view.stage.table != _WHAT:
        return part
    reasons, told = unmade(view), list[_Told]()
    controls: dict[str, frozenset[int]] = {}
    for present, case in token_rows(view.stage, view.resolved.dialect):
        row = TOKEN_CASES.get(case)
        if row is not None:
            told += _row(view, part, present, row, controls[present], reasons)
        elif case == CONTROL:
            controls[present] = _control(view, part, present)
    part.findings += _folded(view, told)
    return part


def _control(view: StageView, part: Part, present: str) -> frozenset[int]:
    """Judge the good tokens of one presentation; the endpoints at which all of them got in."""
    rows = np.concatenate([_of(view, present, case) for case in (CONTROL, CONTROL_AFTER)])
    what, fate = _id(present, CONTROL), fates(view, rows)
    if not len(rows):
        part.checks.append(unmeasured(view, what, "witness", "no good token was shown"))
        return frozenset()
    got = _fate_words(rows)
    message = f"a good token ought to get in; of {len(rows)}: {got}"
    verdict = Outcome.PASS if fate.inside.all() else Outcome.INCONCLUSIVE
    turned = rows[fate.outside]
    if len(turned):
        verdict = Outcome.FAIL
        words = f"{of(len(turned), len(rows), 'good token')} shown as {present} did not get in"
        part.findings.append(witnessed(view, "auth.rejected_good", what, turned, words))
    part.checks.append(
        Check(f"{view.name}.{what}", view.name, True, verdict, "witness", len(rows), message)
    )
    bad = {int(k) for k in rows["endpoint"][~fate.inside]}
    return frozenset({int(k) for k in rows["endpoint"]} - bad)


def _row(
    view: StageView,
    part: Part,
    present: str,
    case: TokenCase,
    controlled: frozenset[int],
    reasons: dict[int, Unmade],
) -> list[_Told]:
    """Judge one row; what it has to tell."""
    dialect = view.resolved.dialect
    what, wanted = _id(present, case.name), expected(case, dialect)
    required = wanted != "informational"
    rows = _of(view, present, case.name)
    lacks = lacking(case, dialect.present[present], dialect)
    why = Unmade(lacks, forbidden=False) if lacks else _unmade(view, present, case.name, reasons)
    if why is not None and not len(rows):
        part.checks.append(untried(view, what, why, required=required))
        return []
    if not len(rows):
        none = unmeasured(view, what, "witness", "nobody showed it", required=required)
        part.checks.append(none)
        return []
    fate = fates(view, rows)
    got = _fate_words(rows)
    ought = "may be accepted or not" if wanted == "informational" else f"ought to be {wanted}"
    message = f"{case.title} ({case.section}): {ought}; of {len(rows)}: {got}"
    verdict, more = _verdict(wanted, rows, fate, controlled)
    told = _told(view, what, present, case, rows, fate)
    if case.needs == "user" and verdict is Outcome.FAIL:
        excuse = _as_its_user(view, rows[fate.inside])
        if excuse is not None:
            verdict, more = excuse
            told = [each for each in told if each.words != _INSIDE]
    control = f"a good token shown as {present} got in at the same endpoints"
    part.checks.append(
        Check(
            f"{view.name}.{what}", view.name, required, verdict, "witness", len(rows),
            message + more, control=control if controlled else "failed: no good token got in",
        )
    )  # fmt: skip
    return told


def _as_its_user(view: StageView, inside: Rows) -> tuple[Outcome, str] | None:
    """Who shows one user's token beside another's name may be served as the token's user.

    None where nothing excuses it: no message named the token's user, though messages name one.
    """
    if view.resolved.dialect.paths.user is None:
        words = "; as whom nobody can tell, since the dialect has no paths.user"
        return Outcome.INCONCLUSIVE, words
    noted = of_stage(view, Kind.FOREIGN)
    noted = noted[noted["flag"] == BY_USER]
    if not np.isin(connection(inside, "attempt"), connection(noted)).all():
        return None
    return Outcome.PASS, "; served as the user of the token: the name beside it was not looked at"


def _verdict(
    wanted: str, rows: Rows, fate: Fates, controlled: frozenset[int]
) -> tuple[Outcome, str]:
    decided = fate.inside | fate.outside
    if wanted == "informational":
        return (Outcome.PASS if decided.any() else Outcome.INCONCLUSIVE), ""
    wrong = fate.inside if wanted == "rejected" else fate.outside
    if wrong.any():
        return Outcome.FAIL, ""
    open_ = int((~decided).sum())
    if open_:
        return Outcome.INCONCLUSIVE, f"; of {open_} it was not the token that decided"
    unsure = sum(int(k) not in controlled for k in rows["endpoint"])
    if wanted == "rejected" and unsure:
        words = f"; but at {unsure} of them no good token got in, so a refusal proves nothing"
        return Outcome.INCONCLUSIVE, words
    return Outcome.PASS, ""


@dataclass(frozen=True)
class _Told:
    """What one row has to tell: `rows` of `n` attempts, in words; None: the code's severity."""

    code: str
    what: str
    present: str
    title: str
    rows: Rows
    n: int
    words: str
    severity: Severity | None = None


def _told(
    view: StageView, what: str, present: str, case: TokenCase, rows: Rows, fate: Fates
) -> list[_Told]:
    handshake = view.resolved.dialect.present[present].first_message is None
    within = duration(view.resolved.dialect.ready.within)
    let_in: _Fate = (
        fate.inside, f"auth.{case.code}", None, _INSIDE,
    )  # fmt: skip
    match expected(case, view.resolved.dialect):
        case "accepted":
            table: list[_Fate] = [(fate.outside, "auth.rejected_good", None, "did not get in")]
        case "rejected":
            table = [
                let_in,
                (fate.failed, "auth.error", None, _FAILED),
                (fate.mute, "auth.left_open", None, f"got a 101 and nothing more for {within}"),
                (fate.taken_back & handshake, "negotiation.closed_after_accept", "minor", _LATE),
            ]
        case _:
            table = [(let_in[0], let_in[1], "info", let_in[3])]
    return [
        _Told(code, what, present, case.title, rows[mask], len(rows), words, severity)
        for mask, code, severity, words in table
        if mask.any()
    ]


def _folded(view: StageView, told: list[_Told]) -> list[Finding]:
    """One finding for each code: which tokens, in which presentations."""
    out = []
    for code in dict.fromkeys(each.code for each in told):
        mine = [each for each in told if each.code == code]
        rows = np.concatenate([each.rows for each in mine])
        shows: dict[str, list[str]] = {}
        for each in mine:
            shows.setdefault(each.title, []).append(each.present)
        which = "; ".join(f"{title} (as {', '.join(names)})" for title, names in shows.items())
        words = f"{of(len(rows), sum(each.n for each in mine), 'attempt')} {mine[0].words}"
        words += _how_far(view, rows) if mine[0].words == _INSIDE else ""
        words += _how_ended(rows) if mine[0].words == _LATE else ""
        made = witnessed(
            view, code, mine[0].what, rows, f"{words}: {which}",
            pattern="token" if mine[0].words == _LATE else "",
        )  # fmt: skip
        again = only_cases(view.name, (each.what.rpartition(".")[2] for each in mine))
        out.append(replace(made, severity=mine[0].severity or made.severity, reproduce=again))
    return out


def _fate_words(rows: Rows) -> str:
    kinds = (("let in" if label == "good" else label, number) for label, number in labels(rows))
    return ", ".join(f"{number} {label}" for label, number in kinds)


def _how_far(view: StageView, rows: Rows) -> str:
    ready, served = int((rows["ready"] > 0).sum()), int((rows["served"] > 0).sum())
    became = "became ready" if view.resolved.dialect.ready.event else "stayed open"
    return f" ({ready:,} {became}, {served:,} got events of a run)"


def _how_ended(rows: Rows) -> str:
    """Whether a Close came: where none did nobody was told anything."""
    closed, n = int((rows["outcome"] == Ended.CLOSED).sum()), len(rows)
    how = " and then a Close" if closed == n else ", and then TCP ended without a Close"
    if 0 < closed < n:
        how = f", and then {closed:,} a Close and {n - closed:,} the end of TCP without one"
    return f"{how}, so that a client sees an open connection"


def _unmade(view: StageView, present: str, case: str, reasons: dict[int, Unmade]) -> Unmade | None:
    sessions = view.sessions
    mine = sessions["session"][np.isin(sessions["population"], _places(view, present, case))]
    return next((reasons[int(k)] for k in mine if int(k) in reasons), None)


def _of(view: StageView, present: str, case: str) -> Rows:
    rows: Rows = view.attempts[np.isin(view.attempts["population"], _places(view, present, case))]
    return rows


def _places(view: StageView, present: str, case: str) -> list[int]:
    return [k for k, group in view.groups.items() if group.name == f"{present}_{case}"]


def _id(present: str, case: str) -> str:
    return f"{_WHAT}.{present}.{case}"


def _between(values: Any, ends: tuple[int, int]) -> Mask:
    return np.asarray((values >= ends[0]) & (values <= ends[1]))


def witnessed(
    view: StageView,
    code: str,
    what: str,
    rows: Rows,
    words: str,
    worst: Any = None,
    *,
    count: int = 0,
    pattern: str = "",
) -> Finding:
    """A finding of the check `what` with these attempts as its cases; `count`: if others count."""
    cases = witnesses(view, rows, worst) if len(rows) else ()
    name = f"{view.name}.{what}"
    return finding(code, name, count or len(rows), words, witness=cases, pattern=pattern)
