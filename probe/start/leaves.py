"""The fields of a JSON message by their dotted paths, and which of them names its type.

The rule: a path is one that a dialect could have (`probe.model.dialect.FieldPath`), so that
keys with dots or blanks are no part of any; and the walk is bounded, however the message looks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEPTH_MAX: Final = 5
LEAVES_MAX: Final = 300
NAME_CHARS_MAX: Final = 64
KINDS_MAX: Final = 40
_COVERED: Final = 0.8
_KEY: Final = re.compile(r"[^.\s]{1,64}")
# What services call the field that names the type of a message, the usual ones first.
_NAMES: Final = (
    "type", "event", "msg_type", "messagetype", "message_type", "eventtype", "event_type", "kind",
    "action", "op", "command", "cmd", "method",
)  # fmt: skip
# What may be that too, if it stands at the top and nothing else does.
_PERHAPS: Final = ("name", "msg", "topic", "status", "jsonrpc")


def leaves(message: dict[str, Any]) -> dict[str, Any]:
    """Texts, numbers, booleans and nulls by their paths; lists are not walked into."""
    return dict(_walk(message, (), [LEAVES_MAX]))


def _walk(value: dict[str, Any], path: tuple[str, ...], left: list[int]) -> Iterator[Any]:
    for key, inner in value.items():
        if left[0] <= 0 or not _KEY.fullmatch(key):
            continue
        if isinstance(inner, dict):
            if len(path) + 1 < DEPTH_MAX:
                yield from _walk(inner, (*path, key), left)
        elif not isinstance(inner, list):
            left[0] -= 1
            yield ".".join((*path, key)), inner


@dataclass(frozen=True, slots=True)
class TypeField:
    """The path that names the type: in `seen` of `of` messages, with the number of each type."""

    path: str
    seen: int
    of: int
    kinds: Counter[str]


def type_field(
    messages: Sequence[dict[str, Any]], sent: Sequence[dict[str, Any]] = ()
) -> TypeField | None:
    """The likeliest field; None where no text stands in most messages at the same place.

    Of fields with other names than usual the likeliest is one that `sent` messages have, too;
    one that they have not has to stand at the top.
    """
    values: dict[str, Counter[str]] = {}
    for message in messages:
        for path, value in leaves(message).items():
            if isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX:
                values.setdefault(path, Counter())[value] += 1
    total = len(messages)
    asked = {path for message in sent for path, value in leaves(message).items() if value}
    likely = [
        (_rank(path, asked), path.count("."), order, path)
        for order, (path, kinds) in enumerate(values.items())
        if kinds.total() >= _COVERED * total
        and _are_names(kinds)
        and (_rank(path, asked) <= len(_NAMES) + 1 or "." not in path)
    ]
    if not likely:
        return None
    path = min(likely)[-1]
    return TypeField(path, values[path].total(), total, values[path])


def _rank(path: str, asked: set[str]) -> int:
    name = path.rpartition(".")[2].lower().lstrip("@_$")
    usual = len(_NAMES)
    if name in _NAMES:
        return _NAMES.index(name)
    if path in asked:
        return usual
    return usual + 1 if name in _PERHAPS and "." not in path else usual + 2


def _are_names(kinds: Counter[str]) -> bool:
    """A few words that come again, and no ids, times or prose."""
    if len(kinds) > KINDS_MAX or any(" " in kind for kind in kinds):
        return False
    return not any(sum(map(str.isdigit, kind)) > len(kind) // 2 for kind in kinds) or set(
        kinds
    ) == {"2.0"}
