"""Offers: every presentation gets the answer that the dialect promises.

The rule: judged on the stored bytes of request and response, never by a client library's
opinion. Choosing none of the offers is legal (RFC 6455 section 4.2.2) and fails in
browsers; a rejection is an HTTP status before the upgrade, and a close after it is not one.
The positive control is the default presentation: where it is not accepted, a rejection of
another proves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.verdict import Check, Finding, Outcome
from probe.check.view import FATAL, accepted, decided, gone_at, good, labels, silent, taken_away
from probe.check.witness import body_of, headers_of, witnesses
from probe.check.words import duration, escaped, of, plain, quoted, were
from probe.history.records import Outcome as Ended
from probe.negotiation.answer import answer_of, request_of
from probe.negotiation.diagnosis import diagnose

if TYPE_CHECKING:
    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.dialect import Presentation

_CONTROL: Final = "the default presentation was accepted"
_UNAUTHORIZED: Final = (401, 403)
_UNASKED: Final = (Ended.TIMEOUT, Ended.RESET, Ended.EOF, Ended.NOT_HTTP)
_PROTOCOL: Final = b"sec-websocket-protocol"


def offers(view: StageView) -> Part:
    """`<stage>.offers.<presentation>` for every presentation that the stage shows."""
    part = Part()
    if not view.stage.expect.offers:
        return part
    control = any(
        good(_of(view, k)).any()
        for k, g in view.groups.items()
        if g.population.present == "default"
    )
    for index, group in view.groups.items():
        name = group.population.present
        shown = view.resolved.dialect.present[name]
        rows = _of(view, index)
        rows = rows[decided(rows) | accepted(rows)]
        what = f"offers.{name}"
        if not len(rows):
            part.checks.append(unmeasured(view, what, "witness", "no attempt was answered"))
            continue
        found, unclear = _judge(view, f"{view.name}.{what}", name, shown, rows)
        part.findings += found
        part.checks.append(_check(view, what, shown, rows, found, unclear, control=control))
    return part


def handshakes(view: StageView) -> Part:
    """`<stage>.handshake`, only where a 101 broke RFC 6455: one witness fails the run."""
    part = Part()
    rows = view.attempts
    bad = rows[((rows["violations"] & FATAL) != 0) & (rows["head"] > 0)]
    if not len(bad) or view.stage.expect.offers or view.stage.expect.negotiation:
        return part
    check = f"{view.name}.handshake"
    found = _violation(view, check, bad, int((rows["head"] > 0).sum()))
    part.findings.append(found)
    part.checks.append(
        Check(check, view.name, True, Outcome.FAIL, "witness", len(rows), found.message)
    )
    return part


def _of(view: StageView, population: int) -> Rows:
    rows: Rows = view.attempts[view.attempts["population"] == population]
    return rows


def _check(
    view: StageView,
    what: str,
    shown: Presentation,
    rows: Rows,
    found: list[Finding],
    unclear: int,
    *,
    control: bool,
) -> Check:
    got = ", ".join(f"{number} {label}" for label, number in labels(rows))
    message = f"ought to be {shown.expect}; of {len(rows)}: {got}"
    verdict = Outcome.PASS
    failing = [each for each in found if each.severity != "info"]
    if failing:
        verdict = Outcome.FAIL
        message += "; " + "; ".join(each.message for each in failing)
    elif unclear:
        verdict = Outcome.INCONCLUSIVE
        message += f"; {unclear} never came to an answer"
    elif shown.expect == "rejected" and not control:
        verdict = Outcome.INCONCLUSIVE
        message += "; but no default presentation was accepted, so a rejection proves nothing"
    return Check(
        f"{view.name}.{what}",
        view.name,
        True,
        verdict,
        "witness",
        len(rows),
        message,
        control=_CONTROL if control else "failed: no default presentation was accepted",
    )


def _judge(
    view: StageView, check: str, name: str, shown: Presentation, rows: Rows
) -> tuple[list[Finding], int]:
    """Findings about one presentation, and how many attempts told nothing."""
    n, found = len(rows), []
    breaking = rows[((rows["violations"] & FATAL) != 0) & (rows["head"] > 0)]
    if len(breaking):
        found.append(_violation(view, check, breaking, n))
    closed = rows[taken_away(rows)]
    if len(closed):
        found.append(_closed(view, check, name, closed, n))
    let_in = rows[accepted(rows) & ~taken_away(rows)]
    status = rows[rows["outcome"] == Ended.STATUS]
    mute = rows[np.isin(rows["outcome"], _UNASKED) & ~accepted(rows)]
    if len(mute):
        words = f"{of(len(mute), n, 'attempt')} with {name} got neither a yes nor a no"
        found.append(_made("negotiation.no_answer", view, check, mute, words))
    if shown.expect == "rejected":
        if len(let_in):
            words = (
                f"{of(len(let_in), n, 'attempt')} with {name} ({_offer(let_in[0], view)}), which "
                "ought to be rejected, got in"
            )
            found.append(_made("negotiation.accepted_unsupported", view, check, let_in, words))
    else:
        if len(status):
            found.append(_rejected(view, check, name, status, n))
        quiet = rows[silent(rows)]
        if len(quiet):
            words = f"{of(len(quiet), n, 'attempt')} with {name} got a 101 and then nothing"
            found.append(_made("connect.accepted_then_silent", view, check, quiet, words))
        found += _selections(view, check, name, shown, let_in)
    clear = len(breaking) + len(closed) + len(let_in) + len(status) + len(mute)
    return found, n - min(clear, n)


def _selections(
    view: StageView, check: str, name: str, shown: Presentation, rows: Rows
) -> list[Finding]:
    none, wrong = [], []
    for place, row in enumerate(rows):
        head = view.history.text(int(row["response_text"]))
        if not head:
            continue
        offered = _offered(row, view)
        chosen = headers_of(head, _PROTOCOL)
        wanted = _wanted(shown, offered)
        if not chosen and offered and shown.selects != "":
            none.append(place)
        elif wanted is not None and not _matches(chosen, wanted, shown):
            wrong.append(place)
    found = []
    if none:
        told = _explained(view, rows[none[0]], "negotiation.none_selected")
        words = (
            f"{of(len(none), len(rows), 'connection')} with {name} {were(len(none))} accepted "
            f"with none of the offers chosen: {told}"
        )
        made = _made("negotiation.none_selected", view, check, rows[none], words)
        found.append(made if shown.selects else _as_info(made))
    if wrong:
        first = rows[wrong[0]]
        got = headers_of(view.history.text(int(first["response_text"])), _PROTOCOL)
        words = (
            f"{of(len(wrong), len(rows), 'connection')} with {name} got the subprotocol "
            f"{', '.join(quoted(each) for each in got) or 'none'}, not "
            f"{quoted((shown.selects or '').encode()) if shown.selects else 'none'}"
        )
        found.append(_made("negotiation.wrong_selection", view, check, rows[wrong], words))
    return found


def _explained(view: StageView, row: Any, code: str) -> str:
    """What the bytes of one attempt say about this, in the words of the diagnosis."""
    told = diagnose(request_of(view.history, row), answer_of(view.history, row))
    return "; ".join(escaped(each.words, 400) for each in told if each.code == code)


def _wanted(shown: Presentation, offered: list[bytes]) -> bytes | None:
    """What ought to be chosen, as it stands (masked) in the request; None for any."""
    if shown.selects is None:
        return None
    if shown.selects in shown.subprotocols and len(offered) == len(shown.subprotocols):
        return offered[shown.subprotocols.index(shown.selects)]
    return shown.selects.partition("{")[0].encode()


def _matches(chosen: list[bytes], wanted: bytes, shown: Presentation) -> bool:
    if not shown.selects:
        return not chosen
    if len(chosen) != 1 or "{" not in shown.selects:
        return chosen == [wanted]
    # Masking keeps the length, so the same prefix and length is all that can be compared.
    prefix = shown.selects.partition("{")[0].encode()
    return chosen[0].startswith(prefix) and (wanted == prefix or len(chosen[0]) == len(wanted))


def _offered(row: Any, view: StageView) -> list[bytes]:
    values = headers_of(view.history.text(int(row["request_text"])), _PROTOCOL)
    return [part.strip() for value in values for part in value.split(b",") if part.strip()]


def _offer(row: Any, view: StageView) -> str:
    offered = _offered(row, view)
    return "offering " + ", ".join(plain(each, 40) for each in offered) if offered else "no offer"


def _rejected(view: StageView, check: str, name: str, rows: Rows, n: int) -> Finding:
    first = rows[0]
    status = int(first["status"])
    body = body_of(view.history.text(int(first["response_text"])))
    said = f" with {quoted(body)}" if body else ""
    words = (
        f"{of(len(rows), n, 'attempt')} with {name} ({_offer(first, view)}) "
        f"{were(len(rows))} rejected with {status}{said}"
    )
    pattern = "auth" if status in _UNAUTHORIZED else ""
    return _made("negotiation.rejected_supported", view, check, rows, words, pattern)


def _closed(view: StageView, check: str, name: str, rows: Rows, n: int) -> Finding:
    first = rows[0]
    said = view.close_words(int(first["close_code"]), view.history.text(int(first["reason_text"])))
    after = duration(float(np.median(gone_at(rows) - rows["head"])))
    words = (
        f"{of(len(rows), n, 'connection')} with {name} {were(len(rows))} accepted (101) and then "
        f"closed with {said}, {after} later (median)"
    )
    return _made("negotiation.closed_after_accept", view, check, rows, words)


def _violation(view: StageView, check: str, rows: Rows, n: int) -> Finding:
    first = rows[0]
    detail = plain(view.history.text(int(first["detail_text"]))) or f"bits {first['violations']}"
    words = f"{of(len(rows), n, 'answer')} to an upgrade broke RFC 6455: {detail}"
    return _made("handshake.violates_rfc", view, check, rows, words)


def _made(
    code: str, view: StageView, check: str, rows: Rows, words: str, pattern: str = ""
) -> Finding:
    cases = witnesses(view, rows)
    return finding(code, check, len(rows), words, witness=cases, pattern=pattern)


def _as_info(made: Finding) -> Finding:
    return Finding(
        made.code, "info", made.evidence, made.count, made.message, made.cause, made.witness,
        made.reproduce, made.check,
    )  # fmt: skip
