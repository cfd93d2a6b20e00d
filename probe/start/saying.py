"""What is seen in a start, in words for a screen; redacted, and visible, before it gets there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.redact import Redactor
    from probe.start.drafting import Draft
    from probe.start.seen import Session
    from probe.start.talk import Talk

KINDS_SHOWN: Final = 20
LINES_MAX: Final = 12
CHARS_MAX: Final = 160
WIDTH_MIN: Final = 40
MARGIN: Final = 12  # what stands before a message on its line


def outcome_of(result: Talk) -> str:
    """The phases, what the answer means, and how it ended where the service ended it; once each."""
    parts = [result.told] if result.told else []
    if result.opened and result.peer:
        parts.append(f"to {result.peer}")
    if result.tls:
        parts.append(result.tls)
    parts += result.means
    end = result.end
    if end is None or any(f"close {end.code}" in part for part in result.means):
        return "; ".join(parts)
    if result.opened:
        code = f" {end.code}" if end.code else ""
        reason = end.reason.decode("utf-8", "replace")
        parts.append(
            f"then ended: {end.outcome.name.lower()}{code}" + (f" {reason!r}" if reason else "")
        )
    elif end.detail and not any(end.detail in part for part in parts):
        parts.append(end.detail)
    return "; ".join(parts)


def spoken(session: Session, redactor: Redactor, width: int, sends: int = 1) -> Iterator[str]:
    """The messages, up to `sends` of ours behind the opening; the first of many, cut to `width`."""
    room = min(max(width, WIDTH_MIN) - MARGIN, CHARS_MAX)
    for number, message in enumerate(session.messages):
        if message.sent and not message.opening:
            sends -= 1
        if sends < 0 or number == LINES_MAX:
            yield "…"
            return
        text = message.payload.decode("utf-8", "replace")
        if message.opcode != 1:
            text = f"({len(message.payload)} bytes) {message.payload[:32].hex()}"
        line = visible(redactor.text(text), chars_max=CHARS_MAX)
        line = line if len(line) <= room else f"{line[: room - 1]}…"
        yield f"{'>' if message.sent else '<'} {line}"


def learned(drafted: Draft) -> Iterator[str]:
    """What the messages say of the dialect."""
    if drafted.echo:
        yield f"it echoes: {drafted.echoed} of {drafted.sent} messages came back unchanged"
        return
    if drafted.framing is not None:
        prefix = f" with the prefix {drafted.prefix!r}" if drafted.prefix else ""
        read = f"{drafted.framing.read} of {drafted.framing.of}"
        yield f"framing {drafted.framing.name}{prefix} reads {read} messages"
    if (types := drafted.types) is not None:
        kinds = ", ".join(f"{kind} {count}" for kind, count in types.kinds.most_common(KINDS_SHOWN))
        yield f"{types.path!r} names the type in {types.seen} of {types.of} messages: {kinds}"
    if (ready := drafted.ready) is not None:
        yield f"{ready.kind!r} came once in the opening of {ready.seen} of {ready.of} sessions"
    if (run := drafted.run) is not None:
        whose = "the client's id" if run.named else "an id of the service"
        events = ", ".join(f"{step.kind} ({step.times})" for step in run.steps)
        yield f"{run.path!r} holds {whose} in {run.carried} messages of {run.runs} runs: {events}"
    elif drafted.answer:
        yield f"{drafted.answer!r} came after each of {drafted.sent} messages, with no id of theirs"
    for note in drafted.left:
        yield f"left to you: {note}"
