"""Which message of a recorded client starts a run: the one whose id comes back.

A browser's archive has no templates. The rule: a field of a sent message is the run's id only
where its very value came back behind it; it becomes `{run}`, a token by name or by looks
becomes `{token}`, another secret is left out, and nothing else of the message is changed.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from probe.start.framings import framing_of
from probe.start.leaves import leaves, type_field
from probe.start.runs import leaf_text
from probe.start.secrets import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.start.framings import Framing
    from probe.start.seen import Message, Session

_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*")
_TOKEN: Final = re.compile(r"token|jwt|bearer|auth", re.IGNORECASE)
LEFT_OUT: Final = "LEFT-OUT"
_SHORT_ID: Final = 3  # a shorter value comes back by chance, unless its field is called an id
_Spot = tuple[str, str]  # the kind of a sent message, and a path in it


def with_places(sessions: Sequence[Session]) -> tuple[list[Session], str]:
    """The sessions with templates and openings told; and a note to the person, or ""."""
    received = [m for session in sessions for m in session.messages if not m.sent]
    sent = [m for session in sessions for m in session.messages if m.sent]
    if not received or not sent:
        return list(sessions), ""
    framing = framing_of(received)
    spot, numeric = _returned(sessions, framing)
    found = [_told(session, framing, spot) for session in sessions]
    notes = []
    if any(LEFT_OUT in m.template for session in found for m in session.messages):
        notes.append(f"a secret that is no token stands as {LEFT_OUT} in a message")
    if spot is None and numeric:
        notes.append(
            f"the id at {numeric} of a message comes back and is a number, where the probe's own "
            "are text: whether the service takes a text there has to be tried"
        )
    return found, "; ".join(notes)


def _object(framing: Framing, message: Message) -> dict[str, Any]:
    objects = framing.objects(message.payload) if message.opcode == 1 else []
    return objects[0] if objects else {}


def _kind(fields: dict[str, Any]) -> str:
    """What tells messages of one kind from others: the type, else the names of the fields."""
    named = type_field([fields]) if fields else None
    return str(fields.get(named.path)) if named else " ".join(sorted(fields))


def _returned(sessions: Sequence[Session], framing: Framing) -> tuple[_Spot | None, str]:
    """Kind and path of the id that came back most often; and such a path that holds a number."""
    text: Counter[_Spot] = Counter()
    number: Counter[str] = Counter()
    values: defaultdict[_Spot, list[str]] = defaultdict(list)
    for session in sessions:
        back = _later(session, framing)
        for index, message in enumerate(session.messages):
            if not message.sent:
                continue
            fields = leaves(_object(framing, message))
            kind = _kind(fields)
            for path, value in fields.items():
                count = back[index][leaf_text(value)] if leaf_text(value) else 0
                named = path.rpartition(".")[2].lower().endswith("id")
                if not count or not (named or len(leaf_text(value)) >= _SHORT_ID):
                    continue
                if isinstance(value, str):
                    text[kind, path] += count
                    values[kind, path].append(value)
                elif named:
                    number[path] += count
    own = [spot for spot in text if len(set(values[spot])) == len(values[spot])]
    best = max(own, key=lambda spot: (_is_id(spot), text[spot], spot), default=None)
    return best, max(number, key=lambda path: number[path], default="")


def _is_id(spot: _Spot) -> bool:
    return spot[1].rpartition(".")[2].lower().endswith(("id", "run", "uuid", "nonce", "ref"))


def _later(session: Session, framing: Framing) -> list[Counter[str]]:
    """Of each message: in how many received ones behind it each value stands."""
    counts: Counter[str] = Counter()
    found: list[Counter[str]] = []
    for message in reversed(session.messages):
        if not message.sent:
            values = {leaf_text(v) for v in leaves(_object(framing, message)).values()}
            counts.update(values - {""})
            found.append(Counter())
        else:
            found.append(Counter(counts))
    return found[::-1]


def _told(session: Session, framing: Framing, spot: _Spot | None) -> Session:
    """The session with its starts as templates; every other message of the client is opening."""
    kinds = [_kind(leaves(_object(framing, m))) if m.sent else "" for m in session.messages]
    asked = spot[0] if spot else _usual(kinds, session)
    messages = []
    for message, kind in zip(session.messages, kinds, strict=True):
        if not message.sent:
            messages.append(message)
            continue
        fields = leaves(_object(framing, message))
        run = leaf_text(fields.get(spot[1])) if spot and kind == spot[0] else ""
        template = _template(message, _object(framing, message), run)
        starts = kind == asked
        messages.append(replace(
            message, template=template, places=(("run", run),) if run else (), opening=not starts,
        ))  # fmt: skip
    return replace(session, messages=tuple(messages))


def _usual(kinds: Sequence[str], session: Session) -> str:
    """Where no id comes back: the kind that was sent most often, the last of equals."""
    sent = [kind for kind, message in zip(kinds, session.messages, strict=True) if message.sent]
    counts = Counter(reversed(sent))
    return max(counts, key=lambda kind: counts[kind], default="")


def _template(message: Message, value: dict[str, Any], run: str) -> str:
    text = message.payload.decode("utf-8", "replace")
    if run:
        text = text.replace(json.dumps(run, ensure_ascii=False), '"{run}"')
    for name, secret in sorted(named(value), key=lambda each: -len(each[1])):
        put = "{token}" if _TOKEN.search(name) or _JWT.search(secret) else LEFT_OUT
        for form in (json.dumps(secret, ensure_ascii=False), json.dumps(secret)):
            text = text.replace(form, f'"{put}"')
    return _JWT.sub("{token}", text)
