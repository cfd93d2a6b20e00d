"""Isolation: nobody gets anything of another user, as far as it is written out.

The rule (docs/methods.md, Delivery): every run id names the session that began the run, so
that a copy of it in a message, or in the reason of a Close, tells its user; so does a whole
token, and the user's field where the dialect has one. Where the service names the runs, ids
are looked at in their own place only, and one that no session knows may be anybody's.
One case fails the run, also where nobody asked and on a probe that was unfit. What a client
caused itself is nobody's: that a token which it showed comes back, or that a connection opened
with the token of another user, as a matrix of tokens does, is that user's. A PASS needs
two users, and own events that were told by their ids: that shows that others' would be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.delivery.receipts import identities
from probe.check.lines import type_words
from probe.check.rows import places_of
from probe.check.shown import shown
from probe.check.witness import message_witness, run_witness
from probe.check.words import at_most, counted, of, were
from probe.history.records import Kind, identity_mark
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from probe.check.verdict import Finding
    from probe.check.view import Mask, StageView
    from probe.history.columns import Rows

WHAT: Final = "isolation"
NAMING: Final = "that named a run or somebody else"
_RUN, _TOKEN = 0, 2  # FOREIGN.flag; 1 is the user's field
_RECEIVED: Final = 1  # CLOSE.flag
_ANOTHER: Final = "another_user"  # Shown.case
_NOT_OURS: Final = -2  # GOT.b


def isolation(view: StageView) -> Part:
    """`<stage>.isolation`."""
    part = Part()
    wanted = view.stage.expect.isolation
    every, places = view.history.rows, places_of(view, Kind.GOT)
    runs = every["b"][places]
    cases, marks = _foreign(
        view, every[places[(runs >= 0) & (runs >> 32 != every["session"][places])]]
    )
    bad = len(cases)
    if not wanted and not bad:
        return part
    own = int((runs >= 0).sum())
    # What names nobody (an acknowledgement, a pong) could not have shown a stranger.
    n = own + int(((cases["kind"] == Kind.CLOSE) | (cases["b"] < 0)).sum())
    users = len(np.unique(view.sessions["identity"][view.sessions["ready"] > 0]))
    if not bad and (users < 2 or not own):  # noqa: PLR2004 -- nobody is foreign to himself
        why = f"there was only {counted(users, 'user')}" if own else "no event of a run came"
        part.checks.append(unmeasured(view, WHAT, "absence", why))
        return part
    nobodys = 0 if _we_name(view) else int((runs == _NOT_OURS).sum())
    if not bad and nobodys:
        strange = f"{of(nobodys, len(runs), 'message')} {were(nobodys)}"
        why = f"{strange} of a run that no session knows: whose?"
        part.checks.append(unmeasured(view, WHAT, "absence", why))
        return part
    message = f"{of(bad, n, 'message')} {NAMING}"
    message += f", {at_most(zero_bound(n))}," if not bad else ""
    message += f" {were(bad)} of another user; {counted(users, 'user')}"
    if not _we_name(view):
        message += "; the service names the runs: elsewhere than in its place no id was looked for"
    control = f"{counted(own, 'event')} of runs were told by their ids"
    part.checks.append(absence(view, WHAT, message, "message", bad=bad, n=n, control=control))
    if bad:
        part.findings.append(_finding(view, cases, marks, n))
    return part


def _we_name(view: StageView) -> bool:
    run = view.resolved.dialect.run
    return run is None or "{run}" in run.start


def _foreign(view: StageView, others: Rows) -> tuple[Rows, Rows]:
    """Messages with something of another user: their GOT rows, and what names the other.

    `others`: messages of runs that another session began.

    What the reason of a Close names has the row of that CLOSE for its message. Of one message
    only one row counts, though it may name another in several places.
    """
    direct = others[_strange(view, others)]
    noted = view.history.of(Kind.FOREIGN)
    noted = noted[np.isin(noted["session"], view.sessions["session"])]
    noted = noted[(noted["flag"] != _RUN) | _strange(view, noted)]
    noted = noted[~_shown_here(view, noted)]
    sessions = np.unique(np.concatenate([direct["session"], noted["session"]]))
    if not len(sessions):
        return direct, direct
    rows = view.history.rows
    few = rows[np.isin(rows["session"], sessions)]
    few = few[np.isin(few["kind"], (Kind.GOT, Kind.FOREIGN, Kind.CLOSE))]
    few = few[(few["kind"] != Kind.CLOSE) | (few["flag"] == _RECEIVED)]
    few = few[np.argsort(few["session"], kind="stable")]
    head = few["kind"] != Kind.FOREIGN
    message = np.cumsum(head)
    by_run = (few["kind"] != Kind.CLOSE) & _strange(view, few)
    named = (few["kind"] == Kind.FOREIGN) & (few["flag"] != _RUN) & ~_shown_here(view, few)
    telling = by_run | named
    # A run's key tells more than a user's field: it names whose it is.
    order = np.lexsort((few["b"] < 0, message))
    order = order[telling[order]]
    _, first = np.unique(message[order], return_index=True)
    marks = few[order[first]]
    heads = np.flatnonzero(head)
    place = np.maximum(message[order[first]] - 1, 0)
    return few[heads[place]] if len(heads) else marks, marks


def _strange(view: StageView, rows: Rows) -> Mask:
    """Rows whose run key is another user's."""
    theirs = identities(view, rows["b"] >> 32)
    own = identities(view, rows["session"])
    return np.asarray((rows["b"] >= 0) & (theirs >= 0) & (theirs != own))


def _shown_here(view: StageView, rows: Rows) -> Mask:
    """FOREIGN rows that name the user whose token their own client has shown.

    That is a user whom no client of the run is. Its token is known to the client from then on;
    messages for it are the client's own where the connection was opened with that token.
    """
    out = np.zeros(len(rows), dtype=np.bool_)
    showed = {
        session: mine
        for session, mine in shown(view).items()
        if any(each.case == _ANOTHER for each in mine)
    }
    if not showed:
        return out
    theirs = (rows["kind"] == Kind.FOREIGN) & np.isin(rows["session"], list(showed))
    clients = set(view.history.sessions["identity"].tolist())
    dials = {(int(r["session"]), int(r["attempt"])): int(r["dial"]) for r in view.attempts}
    for k in np.flatnonzero(theirs):
        session, flag = int(rows["session"][k]), int(rows["flag"][k])
        dial = dials.get((session, int(rows["op"][k])), 0)
        until = int(rows["t"][k]) if flag == _TOKEN else dial
        before = [each.case for each in showed[session] if each.since <= until]
        nobody = identity_mark(int(rows["b"][k])) not in clients
        out[k] = nobody and _ANOTHER in (before if flag == _TOKEN else before[-1:])
    return out


def _finding(view: StageView, cases: Rows, marks: Rows, n: int) -> Finding:
    order = np.argsort(cases["t"], kind="stable")
    case, mark = cases[order[0]], marks[order[0]]
    who = int(identities(view, case["session"].reshape(1))[0])
    kind = type_words(view, int(case["flag"])) or "a message of another type"
    kind = "the reason of a Close" if case["kind"] == Kind.CLOSE else kind
    key = int(mark["b"])
    if key >= 0:
        whose = int(identities(view, np.array([key >> 32]))[0])
        what = f"an event of user {whose} ({kind} of run {key & 0xFFFFFFFF} of session {key >> 32})"
    elif mark["flag"] == _TOKEN:
        what = f"the token of user {identity_mark(key)} ({kind})"
    else:
        whose = identity_mark(key)
        known = f"user {whose}" if whose >= 0 else "a user who is none of ours"
        what = f"a message for {known} ({kind})"
    theirs = np.where(marks["b"] >= 0, marks["b"] >> 32, marks["b"])
    pairs = len(np.unique(np.stack([cases["session"], theirs], axis=1), axis=0))
    more = f"; {counted(pairs, 'pair')} of sessions" if pairs > 1 else ""
    message = f"{what} reached user {who} ({of(len(cases), n, 'message')} {NAMING}{more})"
    shown = []
    for k in dict.fromkeys([int(order[0]), int(order[-1])]):
        shown.append(message_witness(view, marks[k]))
        key = int(marks[k]["b"])
        shown += [run_witness(view, key, key >> 32)] if key >= 0 else []
    told = tuple(each for each in shown if each is not None)
    return finding("isolation.foreign", f"{view.name}.{WHAT}", len(cases), message, witness=told)
