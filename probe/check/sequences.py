"""Sequences around authentication: early messages, a second token, expiry, refresh.

The rule: in a load stage each population is one sequence, and its script says what is right:
who comes to its end saw what was expected. What a bad token gets, and what another user's
token changes, is a witness however the script went on. Where the dialect promises nothing
(`promises.early`, `promises.expiry`, a second authentication, a deadline for none) a session
that does not come to its end is told and fails nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.authentication import BY_USER, fates, witnessed
from probe.check.bound import Part, absence, unmeasured
from probe.check.refreshes import refreshes
from probe.check.rows import Ints, among, connection, of_stage, place
from probe.check.sequence import LATEST, Sequence
from probe.check.shown import shown, unmade, untried
from probe.check.verdict import Check, Outcome
from probe.check.view import accepted, gone_at
from probe.check.words import duration, escaped, of, were
from probe.history.records import Kind
from probe.model.bad_tokens import TOKEN_CASES

if TYPE_CHECKING:
    from probe.check.shown import Unmade
    from probe.check.verdict import Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

_WHAT: Final = "authentication"
_COMPLETE, _FAILED, _STOPPED = range(3)  # DONE.flag


def named(view: StageView) -> list[tuple[str, bool]]:
    """The last part of each check's id, and whether it is required."""
    if not _asked(view):
        return []
    return [(f"{_WHAT}.{group.name}", True) for group in view.groups.values()]


def sequences(view: StageView) -> Part:
    """`<stage>.authentication.<population>`."""
    part = Part()
    if not _asked(view):
        return part
    tokens, reasons = shown(view), unmade(view)
    control = bool((view.welcome["ready"] > 0).any())
    for index, group in view.groups.items():
        _judge(part, Sequence(view, index, group, tokens), reasons, control=control)
    return part


def _asked(view: StageView) -> bool:
    return view.stage.expect.authentication and view.stage.activity == "load"


def _judge(part: Part, sequence: Sequence, reasons: dict[int, Unmade], *, control: bool) -> None:
    view, what = sequence.view, f"{_WHAT}.{sequence.group.name}"
    every = sequence.sessions
    tried = every[[int(k) not in reasons for k in every["session"]]]
    if not len(tried):
        none = unmeasured(view, what, "witness", "no client was launched")
        why = reasons[int(every["session"][0])] if len(every) else None
        part.checks.append(none if why is None else untried(view, what, why))
        return
    seen = [*_bad(sequence, what), *_second_user(sequence, what), *_expired(sequence, what)]
    seen += refreshes(view, what, sequence.attempts, sequence.tokens)
    seen += _turned_away(sequence, what, tried)
    told = [] if seen else _odd_end(sequence, what, tried)
    part.findings += seen + told
    failing = [each for each in seen + told if each.severity != "info"]
    done = int((tried["outcome"] == _COMPLETE).sum())
    message = f"{of(done, len(tried), 'client')} came to the end of this sequence"
    message += "".join(f"; {each.message}" for each in seen + told)
    bad = min(max((each.count for each in failing), default=0), len(tried))
    made = absence(
        view, what, message, "client", bad=bad, n=len(tried),
        control="a good token got in" if control else "failed: no good token got in",
    )  # fmt: skip
    outside = (tried["outcome"] == _FAILED) & ~_got_in(sequence, tried)
    outside &= ~among(tried["session"], _refused(sequence, bad=True)["session"])
    part.checks.append(_left_open(made, tried, int(outside.sum()), control=control))


def _left_open(check: Check, tried: Rows, outside: int, *, control: bool) -> Check:
    """The same, undecided where something was cut short, or nobody ever got in."""
    if check.verdict is not Outcome.PASS:
        return check
    cut = int(np.isin(tried["outcome"], (_STOPPED, -1)).sum())
    if cut:
        words = f"; {of(cut, len(tried), 'client')} {were(cut)} stopped before its end"
    elif outside:
        words = f"; {of(outside, len(tried), 'client')} never got in, for another reason"
    elif not control:
        words = "; but no good token got in, so that nothing is proven"
    else:
        return check
    return replace(check, verdict=Outcome.INCONCLUSIVE, message=check.message + words)


# Witnesses.


def _bad(sequence: Sequence, what: str) -> list[Finding]:
    """What a bad token got, by the case of each connection."""
    view, rows = sequence.view, sequence.attempts
    until = np.array(sequence.bad_until(rows), dtype=np.int64)
    served = _served(view, rows) < until
    ready = (rows["ready"] > 0) & (rows["ready"] < until)
    if not view.resolved.dialect.ready.event:
        ready &= False  # the 101 says nothing
    out = []
    if served.any():
        early = rows[served]
        code = "auth.early_frame_served_to_bad" if sequence.early else _code(sequence, early)
        words = f"{of(len(early), len(rows), 'connection')} with a bad token got events of a run"
        out.append(witnessed(view, code, what, early, words))
    inside = rows[ready & ~served]
    if len(inside):
        words = f"{of(len(inside), len(rows), 'connection')} with a bad token became ready"
        out.append(witnessed(view, _code(sequence, inside), what, inside, words))
    return out


def _served(view: StageView, rows: Rows) -> Ints:
    """When the first event of any run came on each connection, ns; also of one we cannot name."""
    rule, types = view.resolved.dialect.run, view.resolved.dialect.types
    events = [types.index(name) + 1 for name in rule.types] if rule else []
    got = of_stage(view, Kind.GOT)
    got = got[np.isin(got["flag"], events)]
    keys = connection(rows, "attempt")
    at, found = place(keys, connection(got))
    first = np.full(len(rows), LATEST, dtype=np.int64)
    np.minimum.at(first, at[found], got["t"][found])
    return first


def _code(sequence: Sequence, rows: Rows) -> str:
    first = rows[0]
    before = [
        each.case
        for each in sequence.tokens.get(int(first["session"]), ())
        if each.since <= int(first["dial"])
    ]
    return f"auth.{TOKEN_CASES[before[-1]].code}"


def _second_user(sequence: Sequence, what: str) -> list[Finding]:
    """Messages for the other user whose token was shown on an open connection."""
    view, rows = sequence.view, sequence.attempts
    noted = of_stage(view, Kind.FOREIGN)
    noted = noted[(noted["flag"] == BY_USER) & among(noted["session"], rows["session"])]
    others = {
        session: each.since
        for session, mine in sequence.tokens.items()
        for each in mine
        if each.case == "another_user"
    }
    late = [int(r["t"]) > others.get(int(r["session"]), LATEST) for r in noted]
    cases = noted[np.array(late, dtype=np.bool_)] if len(noted) else noted
    if not len(cases):
        return []
    keys = set(zip(cases["session"].tolist(), cases["op"].tolist(), strict=True))
    mask = [(int(r["session"]), int(r["attempt"])) in keys for r in rows]
    hit = rows[np.array(mask, dtype=np.bool_)]
    words = (
        f"{of(len(hit), len(rows), 'connection')} got messages for another user, whose token was "
        "shown on it after it was ready"
    )
    return [witnessed(view, "auth.second_user", what, hit, words)]


def _expired(sequence: Sequence, what: str) -> list[Finding]:
    """Connections that outlived their token by more than is promised."""
    view, rows = sequence.view, sequence.attempts
    promised = view.resolved.dialect.promises.expiry
    rows = rows[rows["ready"] > 0]
    if not len(rows):
        return []
    expiry = np.array(sequence.expiries(rows), dtype=np.int64)
    ended = np.where(rows["outcome"] >= 0, gone_at(rows), 0)
    over = ended - expiry
    late = (expiry > rows["dial"]) & (over > (promised or 0))
    if not late.any():
        return []
    some = rows[late]
    longest = duration(int(over[late].max()))
    words = (
        f"{of(len(some), len(rows), 'connection')} lived on after the expiry of the token, "
        f"the longest for {longest} or more"
    )
    limit = f"; promised: {duration(promised)}" if promised is not None else "; nothing is promised"
    made = witnessed(view, "auth.expiry_ignored", what, some, words + limit, over[late])
    return [made if promised is not None else replace(made, severity="info")]


# What did not come to its end.


def _odd_end(sequence: Sequence, what: str, tried: Rows) -> list[Finding]:
    """That clients did not come to the end of their script, or did and ought not."""
    view = sequence.view
    promised = view.resolved.dialect.promises.early
    if sequence.early and promised == "refused":
        done = tried[tried["outcome"] == _COMPLETE]
        words = "said something before it was ready, and was served"
        if not len(done):
            return []
        return [_told(sequence, what, "auth.early_frame_served", done, len(tried), words)]
    failed = tried[(tried["outcome"] == _FAILED) & _got_in(sequence, tried)]
    code, info = "auth.sequence", False
    if sequence.early:
        code, info = "auth.early_frame_lost", promised != "served"
    elif sequence.unshown:
        code, info = "auth.never_closed", True
    elif sequence.again:
        code, info = "auth.again", True
    if not len(failed):
        return []
    whys = [view.text(row["why"]) for row in failed]
    why = max(sorted(set(whys)), key=whys.count)
    words = "did not come to the end of this sequence" + (f": {escaped(why)}" if why else "")
    made = _told(sequence, what, code, failed, len(tried), words)
    return [replace(made, severity="info") if info else made]


def _turned_away(sequence: Sequence, what: str, tried: Rows) -> list[Finding]:
    """Good tokens that the service did not take, by its own word."""
    failed = tried[(tried["outcome"] == _FAILED) & ~_got_in(sequence, tried)]
    rows = _refused(sequence, bad=False)
    rows = rows[among(rows["session"], failed["session"])]
    if not len(rows):
        return []
    words = f"{of(len(rows), len(sequence.attempts), 'attempt')} with a good token did not get in"
    return [witnessed(sequence.view, "auth.rejected_good", what, rows, words)]


def _refused(sequence: Sequence, *, bad: bool) -> Rows:
    """Attempts that were refused for their token, a bad one or a good one."""
    rows = sequence.attempts
    is_bad = np.array(sequence.bad_until(rows), dtype=np.int64) > 0
    refused: Rows = rows[fates(sequence.view, rows).refused & (is_bad == bad)]
    return refused


def _got_in(sequence: Sequence, sessions: Rows) -> Mask:
    """Clients of whom a connection was accepted: of the others the sequence says nothing."""
    rows = sequence.attempts
    return among(sessions["session"], rows["session"][accepted(rows)])


def _told(sequence: Sequence, what: str, code: str, clients: Rows, n: int, words: str) -> Finding:
    mine = sequence.attempts
    mine = mine[among(mine["session"], clients["session"])]
    message = f"{of(len(clients), n, 'client')} {words}"
    return witnessed(sequence.view, code, what, mine, message, count=len(clients))
