"""From sessions to what they say of how a service speaks: framing, types, ready, runs, echo.

The rule: every statement carries what it rests on ("14 of 14"), what was seen once is said to be
seen once, and what could not be found out is a note to the person, never a guess.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from probe.start.framings import Framing, framing_of
from probe.start.leaves import leaves, type_field
from probe.start.runs import Asked, Heard, run_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.start.leaves import TypeField
    from probe.start.runs import RunDraft
    from probe.start.seen import Session

KINDS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Ready:
    """The type of the message that comes once in the opening of each session."""

    kind: str
    seen: int
    of: int


@dataclass(frozen=True, slots=True)
class Draft:
    """What the sessions say; None and "" where they say nothing.

    `asked` is the template of the first message behind the opening. `answer` is a type that came
    after every message, where no id tells whose it is. `refusals` are types by which the service
    answers that something is wrong; `refused` is the first of them that answered a message of
    ours. `left` is what a person has to find out.
    """

    sessions: int
    received: int
    sent: int
    echoed: int
    asked: str
    framing: Framing | None
    types: TypeField | None
    ready: Ready | None
    run: RunDraft | None
    answer: str
    refusals: tuple[str, ...]
    refused: str
    left: tuple[str, ...]

    @property
    def echo(self) -> bool:
        """Every message that was sent came back unchanged."""
        return 0 < self.sent == self.echoed

    @property
    def prefix(self) -> str:
        """The prefix of the framing, "" where it has none."""
        return self.framing.prefix if self.framing else ""


def draft(sessions: Sequence[Session]) -> Draft:
    """All of it."""
    received = [m for session in sessions for m in session.messages if not m.sent]
    sent = [m for session in sessions for m in session.messages if m.sent and not m.opening]
    empty = Draft(
        len(sessions), len(received), len(sent), _echoed(sessions),
        sent[0].template if sent else "", None, None, None, None, "", (), "", (),
    )  # fmt: skip
    if empty.echo:
        return empty
    if not received:
        why = f"though {len(sent)} were sent" if sent else "and none was sent (--send)"
        return replace(empty, left=(f"no message came, {why}: what they hold is not known",))
    framing = framing_of(received)
    if framing.name == "opaque":
        kinds = Counter("binary" if m.opcode != 1 else "text" for m in received)
        shown = " and ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        left = f"no framing reads what came ({shown}): answers are not looked into"
        return replace(empty, framing=framing, left=(left,))
    objects = [each for m in received for each in framing.objects(m.payload)]
    types = type_field(objects, [each for m in sent for each in framing.objects(m.payload)])
    if types is None:
        left = "no field names the type of a message: set paths.type"
        return replace(empty, framing=framing, left=(left,))
    if framing.name == "prefixed":
        framing = replace(framing, path=types.path)
    return _with_types(replace(empty, framing=framing, types=types), sessions)


def _echoed(sessions: Sequence[Session]) -> int:
    """How many messages of ours came back unchanged."""
    found = 0
    for session in sessions:
        at = session.asked_at
        back = Counter(m.payload for m in session.messages[at:] if not m.sent)
        for message in session.messages[at:]:
            if message.sent and not message.opening and back[message.payload]:
                back[message.payload] -= 1
                found += 1
    return found


def _with_types(known: Draft, sessions: Sequence[Session]) -> Draft:
    """What types tell."""
    assert known.types is not None
    asked = [each for session in sessions for each in _asked(known, session)]
    ready = _ready(known, sessions)
    refusals = tuple(sorted(kind for kind in known.types.kinds if "error" in kind.lower()))
    answered = [heard for each in asked for heard in each.heard if heard.kind in refusals]
    run = run_of([_without(each, refusals) for each in asked]) if asked else None
    answer = "" if run or not asked else _answer(asked, refusals, ready)
    left: list[str] = []
    if asked and run is None and not answer:
        silent = sum(not each.heard for each in asked)
        left.append(
            f"nothing tells which messages answer: {silent} of {len(asked)} that were sent had no "
            "answer, and no type came after all of them"
        )
    if run is not None and run.loose:
        left.append(
            f"left out of run.events, since they also came after {run.ends}: {', '.join(run.loose)}"
        )
    refused = "" if not answered else answered[0].kind
    return replace(
        known, ready=ready, run=run, answer=answer, refusals=refusals, refused=refused,
        left=tuple(left),
    )  # fmt: skip


def _without(asked: Asked, kinds: Sequence[str]) -> Asked:
    kept = (tuple(h for h in part if h.kind not in kinds) for part in (asked.heard, asked.later))
    return Asked(asked.message, *kept)


def _heard(known: Draft, payload: bytes) -> list[Heard]:
    assert known.types is not None
    assert known.framing is not None
    found = []
    for each in known.framing.objects(payload):
        fields = leaves(each)
        kind = fields.get(known.types.path)
        found.append(Heard(kind if isinstance(kind, str) else "", fields))
    return found


def _asked(known: Draft, session: Session) -> list[Asked]:
    """Each message that was sent behind the opening, with what came after it."""
    starts: list[int] = [
        index for index, m in enumerate(session.messages) if m.sent and not m.opening
    ]
    found = []
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(session.messages)
        parts = [
            tuple(h for m in part if not m.sent for h in _heard(known, m.payload))
            for part in (session.messages[start:end], session.messages[end:])
        ]
        found.append(Asked(session.messages[start], *parts))
    return found


def _ready(known: Draft, sessions: Sequence[Session]) -> Ready | None:
    """The last type that came exactly once in the opening of every session."""
    openings = [_opening(known, session) for session in sessions]
    if not openings or not all(openings):
        return None
    once = [kind for kind in openings[0] if all(each.count(kind) == 1 for each in openings)]
    return Ready(once[-1], len(openings), len(openings)) if once else None


def _opening(known: Draft, session: Session) -> list[str]:
    """Types before anything was asked, behind our last message of the opening where any came."""
    before = session.messages[: session.asked_at]
    last = max((index for index, m in enumerate(before) if m.sent), default=-1)
    behind = [h.kind for m in before[last + 1 :] if not m.sent for h in _heard(known, m.payload)]
    kinds = [kind for kind in behind if kind]
    if kinds or last < 0:
        return kinds
    return [h.kind for m in before if not m.sent for h in _heard(known, m.payload) if h.kind]


def _answer(asked: Sequence[Asked], refusals: Sequence[str], ready: Ready | None) -> str:
    """A type that came after every message, and neither says ready nor that something is wrong."""
    not_it = {*refusals, "", ready.kind if ready else ""}
    for heard in asked[0].heard:
        if heard.kind not in not_it and all(
            any(other.kind == heard.kind for other in each.heard) for each in asked
        ):
            return heard.kind
    return ""
