"""The shapes in which one message is found alive: flat, or nested under a key.

The rule: paths and schemas are asked of one *view* of a message, whatever its shape: the
fields of its container beside those at the top (which win), and under the canonical
container's key where the canonical shape has one. So a message in another shape that holds
all its fields breaks nothing but the shape.

A shape is called odd only on evidence: another shape's container is there as an object and
the contract knows no such field of that type; or the canonical container is not there and
a field that belongs into it stands at the top. Both only for the events of runs and for
types that have a schema: of others the contract does not say what they hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probe.contract.schema import names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probe.model.dialect import Dialect

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shapes:
    """The shapes of one dialect; lists are by the number of the type, 0 first."""

    keys: tuple[str, ...]
    """Keys of containers; a message without any of them is flat."""
    canonical: str
    """The key of the canonical shape, "" where that is flat."""
    nested: tuple[tuple[str, str], ...]
    """Names and keys of the other shapes that have a container."""
    flat: str
    """The name of the flat shape where it is not the canonical one; "" without one."""
    fields: tuple[frozenset[str], ...]
    """The fields that the contract knows of a type."""
    due: tuple[frozenset[str], ...]
    """Those that belong into the canonical container."""
    judged: tuple[bool, ...]

    def view(
        self, message: Message, kind: int, kind_in: Callable[[Message], int]
    ) -> tuple[Message, int, str]:
        """View, type and odd shape ("" for none); `kind` is what the message says at its top."""
        for name, key in self.nested:
            inner = message.get(key)
            if type(inner) is not dict or (kind and key in self.fields[kind]):
                continue
            view = self._merged(message, inner, key)
            found = kind or kind_in(view)
            if found and key not in self.fields[found]:
                return view, found, name if self.judged[found] else ""
        canonical = self.canonical
        if not canonical:
            return message, kind, ""
        inner = message.get(canonical)
        if type(inner) is dict:
            view = self._merged(message, inner, canonical)
            return view, kind or kind_in(view), ""
        if not self.flat:
            return message, kind, ""
        view = {**message, canonical: message}
        kind = kind or kind_in(view)
        odd = canonical not in message and not self.due[kind].isdisjoint(message)
        return (view, kind, self.flat) if odd else (message, kind, "")

    def _merged(self, message: Message, inner: Message, key: str) -> Message:
        top = message
        if key != self.canonical:
            top = dict(message)
            del top[key]
        merged = {**inner, **top}
        if self.canonical:
            merged[self.canonical] = inner
        return merged


def shapes_of(dialect: Dialect) -> Shapes | None:
    """The shapes of a dialect; None where it has none, or but a flat one."""
    contract = dialect.contract
    canonical = contract.shapes.get(contract.right, "")
    others = [(name, key) for name, key in contract.shapes.items() if key != canonical]
    nested = tuple((name, key) for name, key in others if key)
    if not nested and not canonical:
        return None
    events = set(dialect.run.types if dialect.run else ())
    fields, due, judged = [frozenset[str]()], [frozenset[str]()], [False]
    for name in dialect.types:
        every = contract.every if name in events else {}
        own = contract.schemas.get(name, {})
        fields.append(frozenset(names_in([every, own])))
        due.append(frozenset(_due(dialect, canonical, every, own)))
        judged.append(name in events or bool(own))
    return Shapes(
        keys=tuple(key for key in (canonical, *(key for _, key in nested)) if key),
        canonical=canonical,
        nested=nested,
        flat=next((name for name, key in others if not key), ""),
        fields=tuple(fields),
        due=tuple(due),
        judged=tuple(judged),
    )


def _due(dialect: Dialect, canonical: str, every: Message, own: Message) -> Iterator[str]:
    """What belongs into the canonical container, whichever way the contract is written."""
    if not canonical:
        return
    paths = [path.split(".") for path in dialect.paths.model_dump().values() if path]
    # Fields of the envelope: they stand at the top in every shape.
    top = {path[0] for path in paths} | set(names_in(every)) | {canonical}
    below = {path[1] for path in paths if path[0] == canonical and len(path) > 1}
    for schema in (every, own):
        inner = schema.get("properties", {})
        below |= set(names_in(inner.get(canonical) if isinstance(inner, dict) else None))
    yield from (below | set(names_in(own))) - top
