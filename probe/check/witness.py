"""Witnesses: one case as it stood on the wire, line by line, from the stored rows.

The rule: every line quotes a row or a text that the run kept (already redacted); what was
not kept is said to be missing, never made up. Times count from the dial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import numpy as np

from probe.check.verdict import Step, Witness
from probe.check.words import close_words, counted, escaped, plain, quoted
from probe.history.records import Kind, Outcome, Phase

if TYPE_CHECKING:
    from probe.check.view import StageView
    from probe.history.columns import Rows

CASES_MAX: Final = 3
STEPS_MAX: Final = 40
_TAIL: Final = 10
_SHOWN_HEADERS: Final = (b"sec-websocket-protocol", b"sec-websocket-extensions", b"retry-after")
_SWITCHING: Final = 101
_RUN_WORDS: Final = ("begun", "complete", "incomplete", "late", "cut off")
Line = tuple[Literal["probe", "server", "note"], str]


def witnesses(view: StageView, cases: Rows, worst: Any = None) -> tuple[Witness, ...]:
    """Up to 3 of `cases` (attempts): the first, the worst by `worst` (float[n]), the last."""
    if not len(cases):
        return ()
    order = np.lexsort((cases["attempt"], cases["session"], cases["dial"]))
    chosen = [int(order[0])]
    if worst is not None:
        chosen.append(int(order[np.argmax(np.asarray(worst)[order])]))
    chosen.append(int(order[-1]))
    return tuple(witness_of(view, cases[k]) for k in list(dict.fromkeys(chosen))[:CASES_MAX])


def witness_of(view: StageView, attempt: Any) -> Witness:
    """The witness of one attempt."""
    session, number = int(attempt["session"]), int(attempt["attempt"])
    start = int(attempt["dial"])
    steps = []
    for row in view.history.frames(session, number):
        line = _line(view, attempt, row)
        if line is not None:
            steps.append(Step(round((int(row["t"]) - start) / 1e9, 6), *line))
    if len(steps) > STEPS_MAX:
        left = len(steps) - STEPS_MAX + 1
        cut = Step(steps[-_TAIL].at_s, "note", f"… {left} more lines are not shown")
        steps = [*steps[: STEPS_MAX - _TAIL - 1], cut, *steps[-_TAIL:]]
    began = view.history.anchor.wall(start).isoformat(timespec="microseconds")
    endpoint = view.endpoint(int(attempt["endpoint"]))
    return Witness(session, number, view.name, endpoint, began, tuple(steps))


def head_lines(text: bytes) -> list[str]:
    """The first line of a stored head and the header lines that a negotiation turns on."""
    head, _, body = text.partition(b"\r\n\r\n")
    first, *rest = head.split(b"\r\n")
    shown = [plain(first)]
    shown += [
        plain(line) for line in rest if line.partition(b":")[0].strip().lower() in _SHOWN_HEADERS
    ]
    if body:
        shown.append(quoted(body, 200))
    return shown


def headers_of(text: bytes, name: bytes) -> list[bytes]:
    """The values of one header in a stored head; `name` in lower case."""
    head = text.partition(b"\r\n\r\n")[0]
    pairs = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return [value.strip() for key, _, value in pairs if key.strip().lower() == name]


def body_of(text: bytes) -> bytes:
    """The kept body after a stored head."""
    return text.partition(b"\r\n\r\n")[2]


def _line(view: StageView, attempt: Any, row: Any) -> Line | None:  # noqa: C901, PLR0911, PLR0912 -- a table in prose
    flag, a, b = int(row["flag"]), int(row["a"]), int(row["b"])
    text = view.history.text
    match int(row["kind"]):
        case Kind.DIAL:
            url = view.url(int(attempt["endpoint"]))
            return "probe", f"dial {escaped(urlsplit(url).netloc) or 'the endpoint'}"
        case Kind.RESOLVED:
            return ("note", f"name resolved to {counted(a, 'address')}") if a != 1 else None
        case Kind.TCP:
            return "note", f"TCP is up, from local port {a}"
        case Kind.TLS:
            return "note", "TLS is up"
        case Kind.SENT:
            kept = text(b)
            shown = " | ".join(head_lines(kept)) if kept else f"upgrade request, {a} bytes"
            return "probe", shown
        case Kind.HEAD:
            kept = text(b)
            words = " | ".join(head_lines(kept)) if kept else f"{a}" + _switching(a)
            return "server", words
        case Kind.READY:
            return "note", "ready"
        case Kind.PUT:
            return "probe", f"message {_type(view, flag)}({a} bytes)"
        case Kind.GOT:
            return "server", f"message {_type(view, flag)}({a} bytes)"
        case Kind.KEPT:
            return ("server" if flag else "probe"), plain(text(b), 160)
        case Kind.PING:
            return "probe", "ping"
        case Kind.PONG:
            return "server", "pong"
        case Kind.RUN:
            word = _RUN_WORDS[flag] if flag < len(_RUN_WORDS) else str(flag)
            return "note", f"run {b} {word}" + (f", {a} events seen" if flag else "")
        case Kind.CLOSE:
            return ("server" if flag else "probe"), f"close {close_words(a, text(b))}"
        case Kind.END:
            detail = plain(text(b))
            ended = f"ended: {outcome_words(a)} in phase {phase_words(flag)}"
            return "note", ended + (f" ({detail})" if detail else "")
        case _:
            return None


def outcome_words(outcome: int) -> str:
    """An outcome of an attempt in lower case, "unknown" for one without."""
    try:
        return Outcome(outcome).name.lower().replace("_", " ")
    except ValueError:
        return "unknown"


def phase_words(phase: int) -> str:
    """A phase of an attempt in lower case."""
    try:
        return Phase(phase).name.lower()
    except ValueError:
        return "unknown"


def _switching(status: int) -> str:
    return " Switching Protocols" if status == _SWITCHING else ""


def _type(view: StageView, index: int) -> str:
    names = view.history.names("types")
    return f"{names[index - 1]} " if 0 < index <= len(names) else ""
