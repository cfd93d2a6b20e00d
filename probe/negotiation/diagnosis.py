"""What an answer means, told from the bytes of request and answer.

The rule: each remark quotes what was on the wire and says how grave it is and where that is
written. What the RFC leaves to the server is no violation, and what our own side did is not
put to the server's account. Texts arrive redacted; masking keeps length and class, so that
what was chosen can still be found among what was offered.

After RFC 6455 sections 4.1 and 4.2.2, RFC 7692 section 7, and for browsers the WHATWG
WebSockets standard (establish a WebSocket connection) with its reading of section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from probe.history.records import Violation
from probe.negotiation.head import PROTOCOL, is_token, read_head
from probe.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.model.handshake import Grade
    from probe.negotiation.answer import Answer
    from probe.negotiation.head import Head

SHOWN_MAX: Final = 120
_SERVER: Final = "RFC 6455 section 4.2.2"
_CLIENT: Final = "RFC 6455 section 4.1"
_ONCE: Final = "RFC 6455 section 11.3.4"
_EXTENSIONS: Final = b"sec-websocket-extensions"
_VERSION: Final = b"sec-websocket-version"
_CODES: Final = {
    1000: "normal", 1001: "going away", 1002: "protocol error", 1003: "unsupported data",
    1007: "invalid data", 1008: "policy violation", 1009: "message too big",
    1011: "internal error", 1012: "service restart", 1013: "try again later",
}  # fmt: skip
_UNKNOWN: Final = (501, 505)  # a method, a version of HTTP: what was asked for, not a fault


@dataclass(frozen=True, slots=True)
class Remark:
    """One deviation, or one thing worth knowing; `code` is of the catalogue of findings."""

    code: str
    grade: Grade
    section: str
    words: str


def diagnose(
    request: bytes, answer: Answer, given: Sequence[str] | None = None
) -> tuple[Remark, ...]:
    """All that the bytes tell by themselves, the gravest first.

    `given` are the subprotocols that the client library was told of, where they are known to
    differ from those that stand in the request: None for the same.
    """
    sent = read_head(request)
    if answer.let_in:
        made = [*_upgraded(sent, answer), *_chosen(sent, answer, given), *_extended(sent, answer)]
        made += _afterwards(answer)
    else:
        made = _refused(sent, answer)
    order = ("rfc", "browsers", "policy", "informational")
    return tuple(sorted(made, key=lambda remark: order.index(remark.grade)))


def outcome(answer: Answer) -> str:  # noqa: C901, PLR0911 -- one arm for each way
    """What came over the wire, in a few words."""
    match answer.way:
        case "accepted":
            return f"101, {_selection(answer)}"
        case "unusable":
            return f"101 that no client may use: {answer.detail}"
        case "closed":
            said = f"close {close_words(answer.code, answer.reason)}"
            return f"101, {_selection(answer)}; {said} {_after(answer)}"
        case "lost":
            words = answer.detail or "TCP ended without a Close"
            return f"101, {_selection(answer)}; {words} {_after(answer)}"
        case "status":
            body = f" {quoted(answer.body)}" if answer.body else ""
            return f"{answer.status}{body}"
        case "dropped":
            return "TCP ended without an answer"
        case "silent":
            return "no answer until the deadline"
        case "garbled":
            return f"no HTTP: {answer.detail}"
        case "unreached":
            return f"no connection: {answer.detail}"
        case "ours":
            return f"not tried to the end by us: {answer.detail or 'no end recorded'}"


def quoted(data: bytes) -> str:
    """Bytes as one line in quotation marks, cut where they are long."""
    text = data.decode("utf-8", "backslashreplace")
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: SHOWN_MAX + 1])
    return f'"{line if len(line) <= SHOWN_MAX else line[: SHOWN_MAX - 1] + "…"}"'


def close_words(code: int, reason: bytes = b"") -> str:
    """`1003 (unsupported data) "no"`."""
    name = f" ({_CODES[code]})" if code in _CODES else ""
    return f"{code}{name}" + (f" {quoted(reason)}" if reason else "")


def listed(values: Sequence[bytes]) -> str:
    """Values in quotation marks, with commas."""
    return ", ".join(map(quoted, values)) or "none"


def _after(answer: Answer) -> str:
    """How long after the 101; at once is what came in one piece with it."""
    return f"after {format_duration(answer.after_ns)}" if answer.after_ns else "at once"


def _selection(answer: Answer) -> str:
    if not answer.kept:
        return "head not kept"
    return f"subprotocol {listed(answer.protocols)}" if answer.protocols else "no subprotocol"


def _upgraded(sent: Head, answer: Answer) -> list[Remark]:
    """Upgrade, Connection, Sec-WebSocket-Accept (items 2, 3 and 4 of section 4.1)."""
    if not answer.kept:
        return []
    head, made = answer.head, []
    upgrades = head.all(b"upgrade")
    if [value.lower() for value in upgrades] != [b"websocket"]:
        words = f"Upgrade is {listed(upgrades)}, not websocket"
        made.append(Remark("handshake.violates_rfc", "rfc", f"{_CLIENT}, item 2", words))
    if b"upgrade" not in [value.lower() for value in head.elements(b"connection")]:
        words = f"Connection is {listed(head.all(b'connection'))}, without Upgrade"
        made.append(Remark("handshake.violates_rfc", "rfc", f"{_CLIENT}, item 3", words))
    accepts, keys = head.all(b"sec-websocket-accept"), sent.all(b"sec-websocket-key")
    # Of no key, or of two, no right answer exists, and it was we who sent them.
    if len(keys) == 1 and answer.violations & Violation.ACCEPT:
        words = f"Sec-WebSocket-Accept is {listed(accepts)}, which does not answer the key"
        made.append(Remark("negotiation.wrong_accept", "rfc", f"{_SERVER}, item 5.4", words))
    return made


def _chosen(  # noqa: PLR0911 -- a table
    sent: Head, answer: Answer, given: Sequence[str] | None
) -> list[Remark]:
    """The subprotocol (section 4.2.2, /subprotocol/)."""
    if not answer.kept:
        return []
    offered, chosen = sent.elements(PROTOCOL), answer.protocols
    if not chosen:
        if not offered:
            return []
        many = f"though {len(offered)} {'was' if len(offered) == 1 else 'were'} offered"
        words = (
            f"the server chose none {many} ({listed(offered)}): legal, but a browser fails this "
            "connection"
        )
        section = f"{_SERVER}, /subprotocol/; WHATWG WebSockets"
        return [Remark("negotiation.none_selected", "browsers", section, words)]
    if len(chosen) > 1:
        words = f"the server sent Sec-WebSocket-Protocol {len(chosen)} times: {listed(chosen)}"
        return [Remark("negotiation.several_values", "rfc", _ONCE, words)]
    (one,) = chosen
    if not one:
        words = "the server sent Sec-WebSocket-Protocol with an empty value"
        return [Remark("negotiation.empty_value", "rfc", f"{_SERVER}, /subprotocol/", words)]
    if one not in offered:
        return [_unoffered(one, offered)]
    if given is not None and one.decode("utf-8", "replace") not in given:
        library = ", ".join(given) or "none"
        words = (
            f"the server chose {quoted(one)}; the client library was given {library}: the "
            "header was written by hand, and a library that knows of no offer fails this answer"
        )
        return [Remark("negotiation.by_hand", "informational", f"{_CLIENT}, item 6", words)]
    return []


def _unoffered(one: bytes, offered: Sequence[bytes]) -> Remark:
    alike = [each for each in offered if each.lower() == one.lower()]
    if alike:
        words = f"the server chose {quoted(one)}, and what was offered is {quoted(alike[0])}"
        return Remark("negotiation.case_folded", "rfc", f"{_SERVER}, /subprotocol/", words)
    section = f"{_SERVER}, /subprotocol/"
    if b"," in one or not is_token(one):
        words = f"the server sent {quoted(one)} as subprotocol, which is no token"
        code = "negotiation.several_values" if b"," in one else "negotiation.unoffered"
        return Remark(code, "rfc", section, words)
    words = f"the server chose {quoted(one)}, which was not offered; offered: {listed(offered)}"
    return Remark("negotiation.unoffered", "rfc", section, words)


def _extended(sent: Head, answer: Answer) -> list[Remark]:
    """The extensions (section 4.2.2, /extensions/; RFC 7692 section 7)."""
    offered = [_extension(each) for each in sent.elements(_EXTENSIONS)]
    made = []
    for each in answer.head.elements(_EXTENSIONS):
        name, _ = _extension(each)
        if name not in [known for known, _ in offered]:
            words = f"the server agreed to the extension {quoted(each)}, which was not offered"
            made.append(Remark("negotiation.extension", "rfc", f"{_SERVER}, /extensions/", words))
        elif name != b"permessage-deflate":
            words = f"the server agreed to the extension {quoted(each)}, which nobody speaks"
            made.append(Remark("negotiation.extension", "rfc", f"{_SERVER}, /extensions/", words))
        elif all(_illegal(params) for known, params in offered if known == name):
            words = f"the server agreed to {quoted(each)}, whose offer it had to decline: " + (
                quoted(b", ".join(sent.elements(_EXTENSIONS)))
            )
            made.append(Remark("negotiation.extension", "rfc", "RFC 7692 section 7", words))
    return made


def _extension(element: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    name, *rest = [part.strip(b" \t") for part in element.split(b";")]
    pairs = [part.partition(b"=")[::2] for part in rest]
    return name, tuple((key.strip(), value.strip(b' \t"')) for key, value in pairs)


def _illegal(params: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a server MUST decline this offer of permessage-deflate (RFC 7692 section 7)."""
    names = [name for name, _ in params]
    return len(set(names)) < len(names) or not all(_legal(*pair) for pair in params)


def _legal(name: bytes, value: bytes) -> bool:
    match name:
        case b"server_no_context_takeover" | b"client_no_context_takeover":
            return not value
        case b"client_max_window_bits":
            return not value or value in _WINDOWS
        case b"server_max_window_bits":
            return value in _WINDOWS
        case _:
            return False


_WINDOWS: Final = tuple(str(bits).encode() for bits in range(8, 16))


def _afterwards(answer: Answer) -> list[Remark]:
    """What became of the open connection."""
    if answer.way == "closed":
        how = close_words(answer.code, answer.reason)
    elif answer.way == "lost":
        how = answer.detail or "TCP ended without a Close"
    else:
        return []
    words = f"accepted, then {how} {_after(answer)}: a browser sees an open socket first"
    section = "docs/field.md, Negotiation"
    return [Remark("negotiation.closed_after_accept", "informational", section, words)]


def _refused(sent: Head, answer: Answer) -> list[Remark]:
    """An answer that is no 101."""
    made = []
    if answer.way != "status":
        return []
    versions = sent.all(_VERSION)
    if answer.kept and versions and b"13" not in versions and not answer.head.all(_VERSION):
        words = (
            f"{answer.status} to version {listed(versions)} without a Sec-WebSocket-Version "
            "that says which the server knows"
        )
        made.append(Remark("negotiation.no_version", "rfc", f"{_SERVER}, /version/", words))
    if answer.status >= 500 and answer.status not in _UNKNOWN:  # noqa: PLR2004 -- RFC 9110 section 15.6
        words = f"the server answered {answer.status}, which says that the fault is its own"
        made.append(
            Remark("negotiation.server_fault", "informational", "RFC 9110 section 15.6", words)
        )
    return made
