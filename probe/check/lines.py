"""A row of the history as one line of a witness: who, and what was on the wire.

The rule: every line quotes a row or a text that the run kept (already redacted); what was
not kept is said to be missing, never made up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from probe.check.words import counted, escaped, plain, quoted
from probe.history.records import Credential, Kind, Odd, Outcome, Phase, Put, Run

if TYPE_CHECKING:
    from probe.check.view import StageView

Line = tuple[Literal["probe", "server", "note"], str]
_SHOWN_HEADERS: Final = (b"sec-websocket-protocol", b"sec-websocket-extensions", b"retry-after")
_SWITCHING: Final = 101
_NOT_OURS: Final = -2  # GOT.b
_RUN_WORDS: Final = {
    Run.BEGUN: "is begun",
    Run.ENDED: "has ended",
    Run.GIVEN_UP: "is given up: its end did not come",
    Run.CUT_OFF: "is cut off: the session is over",
    Run.REFUSED: "is refused",
}
_PUT_WORDS: Final[dict[int, str]] = {
    Put.SENTINEL: "sentinel",
    Put.FLOOD: "sentinel of a flood",
    Put.RESUME: "asks for what was missed",
    Put.LARGE: "large message",
}
_ODD_WORDS: Final = {
    Odd.MALFORMED: "not readable",
    Odd.MISSING: "a field is missing",
    Odd.TYPE: "a field is of another type",
    Odd.VALUE: "breaks the schema",
    Odd.SHAPE: "odd shape",
    Odd.IDS: "ids disagree",
    Odd.UNKNOWN: "unknown type",
}


def line_of(view: StageView, attempt: Any, row: Any) -> Line | None:  # noqa: C901, PLR0911, PLR0912 -- a table in prose
    """The line of a row of `attempt`; None for one that tells nothing."""
    flag, a, b = int(row["flag"]), int(row["a"]), int(row["b"])
    session = int(row["session"])
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
            words = f"start of {run_words(b, session)}" if flag == Put.START else ""
            return "probe", f"{words or _PUT_WORDS.get(flag, 'message')} ({a} bytes)"
        case Kind.GOT:
            return "server", got_words(view, row)
        case Kind.KEPT:
            return ("server" if flag else "probe"), plain(text(b), 160)
        case Kind.PING:
            return "probe", "ping"
        case Kind.PONG:
            return "server", "pong"
        case Kind.RUN:
            return "note", f"{run_words(b, session)} {_word(_RUN_WORDS, flag)}"
        case Kind.ODD:
            return "note", f"{_word(_ODD_WORDS, flag)}: {plain(text(b))}"
        case Kind.FOREIGN:
            whose = "brings the token of another user" if flag > 1 else "names another user"
            return "note", whose if flag else f"names {run_words(b, session)}, which is another's"
        case Kind.STALL:
            return "note", "reading goes on" if flag else "reading stops"
        case Kind.SENTINEL:
            return ("server", f"sentinel {b} came back") if flag else None
        case Kind.ACTION:
            return "note", f"gate {flag} of trial {a}: let go"
        case Kind.VANISH:
            return "probe", "drops TCP without a Close"
        case Kind.CREDENTIAL:
            return "note", _credential_words(flag, a, view)
        case Kind.CLOSE:
            return ("server" if flag else "probe"), f"close {view.close_words(a, text(b))}"
        case Kind.END:
            detail = plain(text(b))
            ended = f"ended: {outcome_words(a)} in phase {phase_words(flag)}"
            return "note", ended + (f" ({detail})" if detail else "")
        case _:
            return None


def got_words(view: StageView, row: Any, last: Any = None) -> str:
    """`tool_completed, sequence 4, of run 0`; with the last of several that followed it."""
    words = type_words(view, int(row["flag"])) or "message of another type"
    if int(row["a"]) > 0:
        words += f", sequence {int(row['a'])}"
        words += f" to {int(last['a'])}" if last is not None else ""
    if int(row["b"]) >= 0:
        words += f", of {run_words(int(row['b']), int(row['session']))}"
    return words + (", of a run that is not ours" if int(row["b"]) == _NOT_OURS else "")


def run_words(key: int, session: int) -> str:
    """`run 3`, or `run 3 of session 7` where it is not this session's."""
    if key < 0:
        return "a run"
    words = f"run {key & 0xFFFFFFFF}"
    return words if key >> 32 == session else f"{words} of session {key >> 32}"


def type_words(view: StageView, index: int) -> str:
    """The name of an event type by its number in rows; "" for any other."""
    names = view.history.names("types")
    return names[index - 1] if 0 < index <= len(names) else ""


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


def _credential_words(flag: int, a: int, view: StageView) -> str:
    match flag:
        case Credential.SHOWN:
            return f"from here on a token is shown that is: {plain(view.history.text(a))}"
        case Credential.RENEWED:
            return f"on the open connection: {'a new token' if a else 'that token'}"
        case Credential.NOT_MADE:
            return "its token could not be made"
        case _:
            what = "revoked" if flag == Credential.REVOKED else "logged out"
            return f"{what}: the answer is {a or 'none'}"


def _word(words: Any, flag: int) -> str:
    return str(words.get(flag, flag))


def _switching(status: int) -> str:
    return " Switching Protocols" if status == _SWITCHING else ""
