"""From a message's bytes to (type index, run id): the one thing the hot path must know.

The rule: only the wanted fields are decoded (msgspec skips the rest), and a message that
is not JSON, or carries something else there, is of type 0 and of no run; it is counted
all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.model.dialect import Dialect

Read = tuple[int, str | None]
# RecursionError: a peer may nest as deep as it likes.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def message_reader(dialect: Dialect) -> Callable[[bytes], Read] | None:
    """A function from payload to (index into `dialect.types` from 1, run id).

    None where the dialect names no types, so that nothing need be decoded.
    """
    if not dialect.types:
        return None
    index = {name: number for number, name in enumerate(dialect.types, 1)}
    kind_path, run_path = dialect.paths.type.split("."), dialect.paths.run.split(".")
    decode = msgspec.json.Decoder(_struct("Message", [kind_path, run_path])).decode
    if len(kind_path) == len(run_path) == 1:
        return _flat(decode, index, kind_path[0], run_path[0])

    def read(payload: bytes) -> Read:
        try:
            message = decode(payload)
        except _UNREADABLE:
            # Perhaps only one of the two paths leads nowhere: the other still counts.
            message = _loose(payload)
            kind, run = _walk(message, kind_path), _walk(message, run_path)
        else:
            kind, run = _at(message, kind_path), _at(message, run_path)
        return _index_of(index, kind), run if isinstance(run, str) else None

    return read


def _loose(payload: bytes) -> Any:
    try:
        return msgspec.json.decode(payload)
    except _UNREADABLE:
        return None


def _walk(message: Any, path: list[str]) -> Any:
    for key in path:
        message = message.get(key) if isinstance(message, dict) else None
    return message


def _flat(
    decode: Callable[[bytes], Any], index: dict[str, int], kind_name: str, run_name: str
) -> Callable[[bytes], Read]:
    get = index.get
    same = kind_name == run_name

    def read(payload: bytes) -> Read:
        try:
            message = decode(payload)
        except _UNREADABLE:
            return 0, None
        kind = message.f0
        run = kind if same else message.f1
        number = get(kind, 0) if type(kind) is str else 0
        return number, run if type(run) is str else None

    return read


def _struct(name: str, paths: list[list[str]]) -> type[msgspec.Struct]:
    """A struct of just the wanted fields, nested as the paths are."""
    inner: dict[str, list[list[str]]] = {}
    for path in paths:
        inner.setdefault(path[0], []).append(path[1:])
    fields: list[tuple[str, Any, Any]] = []
    for number, (_, rests) in enumerate(inner.items()):
        deeper = [rest for rest in rests if rest]
        kind: Any = Any
        if deeper:
            kind = _struct(f"{name}{number}", deeper) | None
        fields.append((f"f{number}", kind, None))
    rename = {f"f{number}": key for number, key in enumerate(inner)}
    return msgspec.defstruct(name, fields, rename=rename, gc=False)


def _at(message: Any, path: list[str]) -> Any:
    for key in path:
        if message is None:
            return None
        names = message.__struct_encode_fields__
        message = getattr(message, message.__struct_fields__[names.index(key)])
    return message


def _index_of(index: dict[str, int], kind: Any) -> int:
    return index.get(kind, 0) if isinstance(kind, str) else 0
