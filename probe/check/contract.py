"""Contract: every message holds what the dialect says, in the canonical shape, with its ids.

The rule (docs/methods.md, Contract): each way of breaking it is told once per stage with
what was wrong most often; one odd shape by its name, several as a mixture. One message
fails the check, however busy the probe was.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.lines import type_words
from probe.check.rows import among
from probe.check.witness import message_witness, picked
from probe.check.words import at_most, counted, escaped, of, percent, were
from probe.history.records import Kind, Odd
from probe.stats.rates import zero_bound

if TYPE_CHECKING:
    from probe.check.verdict import Finding
    from probe.check.view import StageView
    from probe.history.columns import Rows

WHAT: Final = "contract"
TEXTS_READ_MAX: Final = 10_000
_CODES: Final = {
    Odd.MALFORMED: ("contract.malformed", "cannot be read"),
    Odd.MISSING: ("contract.missing_field", "lacked a required field"),
    Odd.TYPE: ("contract.wrong_type", "had a field of a wrong type"),
    Odd.VALUE: ("contract.wrong_value", "broke the schema"),
    Odd.IDS: ("contract.ids_disagree", "carried another id than the first event of their run"),
    Odd.UNKNOWN: ("contract.unknown_type", "were of a type that the dialect does not know"),
}


def contract(view: StageView) -> Part:
    """`<stage>.contract`."""
    part = Part()
    if not view.stage.expect.contract:
        return part
    if view.resolved.dialect.framing == "opaque":
        why = "messages of this dialect are not looked into"
        part.checks.append(unmeasured(view, WHAT, "absence", why))
        return part
    got = view.history.of(Kind.GOT)
    got = got[np.isin(got["session"], view.sessions["session"])]
    odd = view.history.of(Kind.ODD)
    odd = odd[np.isin(odd["session"], view.sessions["session"])]
    odd = odd[np.lexsort((odd["session"], odd["t"]))]
    n = len(got)
    if not n:
        part.checks.append(unmeasured(view, WHAT, "absence", "no message came"))
        return part
    bad = _messages(view, odd)
    message = f"{of(bad, n, 'message')}" + (f", {at_most(zero_bound(n))}," if not bad else "")
    message += f" {were(bad)} not as the dialect says"
    part.checks.append(absence(view, WHAT, message, "message", bad=bad, n=n))
    part.findings += _findings(view, got, odd)
    return part


def _messages(view: StageView, odd: Rows) -> int:
    """How many messages were odd: what was odd about one follows its own row."""
    rows = view.history.rows
    few = rows[np.isin(rows["kind"], (Kind.GOT, Kind.ODD)) & among(rows["session"], odd["session"])]
    few = few[np.argsort(few["session"], kind="stable")]
    message = np.cumsum(few["kind"] == Kind.GOT)
    return len(np.unique(message[few["kind"] == Kind.ODD]))


def _findings(view: StageView, got: Rows, odd: Rows) -> list[Finding]:
    out = []
    for flag, (code, words) in _CODES.items():
        rows = odd[odd["flag"] == flag]
        if len(rows):
            out.append(_finding(view, got, rows, code, words))
    shaped = odd[odd["flag"] == Odd.SHAPE]
    if len(shaped):
        names = sorted(Counter(_texts(view, shaped)))
        canonical = view.resolved.dialect.contract.right
        code = f"contract.shape.{names[0] if len(names) == 1 else 'mixed'}"
        words = f"came in the shape {' or '.join(names)}, not {canonical}"
        out.append(_finding(view, got, shaped, code, words))
    return out


def _finding(view: StageView, got: Rows, rows: Rows, code: str, words: str) -> Finding:
    kinds = np.bincount(np.maximum(rows["a"], 0), minlength=1)
    seen = np.bincount(got["flag"], minlength=len(kinds))
    parts = []
    for k in np.argsort(-kinds, kind="stable")[:3]:
        if kinds[k]:
            name = type_words(view, int(k)) or "other messages"
            # Without a readable type the share is one of all messages.
            total = int(seen[k]) if k and seen[k] else len(got)
            share = percent(min(1.0, int(kinds[k]) / total))
            parts.append(f"{name} {int(kinds[k]):,} of {total:,} ({share})")
    said = Counter(_texts(view, rows)).most_common(1)
    most = escaped(said[0][0]) if said and code.split(".")[1] != "shape" else ""
    message = f"{counted(len(rows), 'message')} {words}"
    message += f", most often {most}" if most else ""
    message += f"; {', '.join(parts)}"
    cases = [message_witness(view, rows[k]) for k in picked(np.arange(len(rows)))]
    told = tuple(case for case in cases if case is not None)
    return finding(code, f"{view.name}.{WHAT}", len(rows), message, witness=told)


def _texts(view: StageView, rows: Rows) -> list[str]:
    """What was noted of each; of very many only of the first."""
    return [view.text(b) for b in rows["b"][:TEXTS_READ_MAX].tolist()]
