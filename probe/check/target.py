"""What is wrong at the target, when no attempt at an endpoint ever got in.

The rule: the cause is read off how the attempts ended, never guessed from what is missing.
What our own machine could not do (LOCAL) is never held against the target, and one client
that got in, at any time of the stage, silences these findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.catalogue import finding
from probe.check.view import accepted, decided, gone_at, good
from probe.check.witness import body_of, witnesses
from probe.check.words import duration, of, plain, quoted
from probe.history.records import Outcome, Phase

if TYPE_CHECKING:
    from probe.check.verdict import Finding
    from probe.check.view import StageView
    from probe.history.columns import Rows

_UNAUTHORIZED: Final = (401, 403)
_UNAVAILABLE: Final = 503
_UNKNOWN_CA: Final = ("unable to get", "self-signed", "self signed", "unknown ca", "local issuer")
_INTERNAL: Final = 1011
_NO_ENTRY: Final = (1008, 4401, 4403)
_BODY_SHOWN: Final = 160
_PLAIN: Final = {
    Outcome.REFUSED: (
        "target.refused",
        "had the connection refused: nothing listens there, or something in between refuses",
    ),
    Outcome.RESOLVE_FAILED: ("target.unresolvable", "found no address for the name"),
    Outcome.UNREACHABLE: ("target.unreachable", "found no way to the address"),
    Outcome.PROXY_FAILED: ("target.proxy", "failed at the proxy"),
    Outcome.TLS_FAILED: ("target.tls_failed", "failed in TLS"),
    Outcome.CERTIFICATE: ("target.tls_failed", "failed at the certificate"),
    Outcome.NOT_HTTP: ("target.not_http", "got an answer that is not HTTP"),
    Outcome.BAD_UPGRADE: ("target.bad_upgrade", "got a 101 that breaks RFC 6455"),
}


def diagnose(view: StageView, check: str) -> list[Finding]:
    """Findings for every endpoint of the stage into which no welcome attempt ever got."""
    rows = view.welcome
    rows = rows[decided(rows)]
    cases: dict[tuple[str, str], list[Any]] = {}
    for endpoint in np.unique(rows["endpoint"]).tolist():
        mine = rows[rows["endpoint"] == endpoint]
        # What said that it was ready and went later did let its client in.
        said = view.resolved.dialect.ready.event is not None
        if good(mine).any() or (said and (mine["ready"] > 0).any()):
            continue
        chosen = _most_frequent(mine)
        code, words, pattern = _cause(view, chosen)
        cases.setdefault((code, pattern), []).append((endpoint, len(mine), words, chosen))
    return [_finding(view, check, code, pattern, where) for (code, pattern), where in cases.items()]


def _finding(view: StageView, check: str, code: str, pattern: str, where: list[Any]) -> Finding:
    count = sum(len(chosen) for _, _, _, chosen in where)
    sentences = [
        f"{of(len(chosen), n, 'attempt')} at {view.endpoint(endpoint)} "
        f"({view.url(endpoint) or 'address unknown'}) {words}"
        for endpoint, n, words, chosen in where
    ]
    found = np.concatenate([chosen for *_, chosen in where])
    message = "; ".join(sentences)
    return finding(code, check, count, message, witness=witnesses(view, found), pattern=pattern)


def _most_frequent(rows: Rows) -> Rows:
    """The attempts that ended in the way most did; of equal numbers, those that came furthest."""
    names = ("outcome", "phase", "status", "close_code")
    columns = np.stack([rows[name].astype(np.int64) for name in names], axis=1)
    kinds, place, numbers = np.unique(columns, axis=0, return_inverse=True, return_counts=True)
    best = np.lexsort((kinds[:, 1], numbers))[-1]
    chosen: Rows = rows[place.reshape(-1) == best]
    return chosen


def _cause(view: StageView, rows: Rows) -> tuple[str, str, str]:
    """Code, what the attempts did, and the pattern of the cause."""
    row = rows[np.argmin(rows["dial"])]
    outcome, phase = Outcome(int(row["outcome"])), Phase(int(row["phase"]))
    detail = plain(view.history.text(int(row["detail_text"])))
    if accepted(rows[:1]).all():
        return _after_101(view, rows)
    told = f" ({detail})" if detail else ""
    if outcome is Outcome.STATUS:
        return _status(view, row)
    if outcome is Outcome.TIMEOUT:
        where = "before TCP was up" if phase <= Phase.TCP else f"in phase {phase.name.lower()}"
        if phase is Phase.RESOLVE:
            return "target.unresolvable", "got no answer from DNS", ""
        return "target.silent", f"got no answer {where}", ""
    if outcome in _PLAIN:
        code, words = _PLAIN[outcome]
        if outcome is Outcome.CERTIFICATE and any(part in detail.lower() for part in _UNKNOWN_CA):
            code = "target.tls_unknown_ca"
        return code, words + told, ""
    ended = "reset" if outcome is Outcome.RESET else "ended"
    return "target.dropped", f"saw TCP {ended} in phase {phase.name.lower()}, without an answer", ""


def _after_101(view: StageView, rows: Rows) -> tuple[str, str, str]:
    row = rows[np.argmin(rows["dial"])]
    if int(row["outcome"]) == Outcome.TIMEOUT:
        event = view.resolved.dialect.ready.event or "ready"
        return "target.never_ready", f"got a 101, and then no {event}", ""
    code = int(row["close_code"])
    after = duration(float(np.median(gone_at(rows) - rows["head"])))
    reason = view.history.text(int(row["reason_text"]))
    words = view.close_words(code, reason) if code else "a drop of TCP"
    pattern = "internal" if code == _INTERNAL else ""
    if code in _NO_ENTRY and view.resolved.target.get("auth", {}).get("source", "") != "none":
        pattern = "unauthorized"
    return "target.closed_at_once", f"got a 101 and, {after} later, {words}", pattern


def _status(view: StageView, row: Any) -> tuple[str, str, str]:
    status = int(row["status"])
    body = body_of(view.history.text(int(row["response_text"])))
    said = f" with {quoted(body, _BODY_SHOWN)}" if body else ""
    words = f"got the HTTP status {status}{said}"
    if status in _UNAUTHORIZED:
        return "target.unauthorized", words, ""
    if status == _UNAVAILABLE:
        return "target.unavailable", words, ""
    return "target.no_websocket", words, ""
