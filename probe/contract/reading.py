"""From a message's bytes to what it says: asked for every message, so built beforehand.

The rule: a reader never raises, whatever the bytes; what it cannot read it tells in words.
Where the dialect asks for nothing but fields at the top of one JSON object, only these are
decoded (msgspec skips the rest); else the message is decoded whole, seen in its canonical
shape, and held against the contract.

A field is what the contract of this reading says and nothing else: an id is a text (a
whole number counts as its digits), a sequence a whole number from 1; null is as if it were
not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from probe.contract.framing import UNREADABLE, split_of
from probe.contract.said import (
    NOTHING,
    NUMBER_MAX,
    SEQUENCE_MAX,
    Said,
    Told,
    index_of,
    is_flat,
    paths_of,
)
from probe.contract.schema import rules_of, shown
from probe.contract.shapes import shapes_of
from probe.contract.usual import Usual, usual_of
from probe.history.records import Odd

if TYPE_CHECKING:
    from probe.contract.framing import Split
    from probe.contract.schema import Breach, Rule
    from probe.model.dialect import Dialect

__all__ = ["NOTHING", "SEQUENCE_MAX", "UNREADABLE", "Reader", "Said", "Told", "reader_of"]

Whole = Callable[[bytes], tuple[Said, ...]]
Tell = Callable[[dict[str, Any]], Said]

_new = tuple.__new__


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads messages of one dialect.

    `one` is for whoever reads very many: the fields of the only object of a message, or
    one of UNREADABLE for a message that it does not take, whatever that holds.
    """

    one: Usual
    whole: Whole

    def __call__(self, payload: bytes) -> tuple[Said, ...]:
        """One Said per JSON object in the message, in their order; never raises."""
        try:
            return (Said._make(self.one(payload)),)
        except UNREADABLE:
            return self.whole(payload)


def reader_of(dialect: Dialect) -> Reader | None:
    """The reader of a dialect; None where messages are not looked into, or for nothing.

    ConfigError where a schema of the contract is none.
    """
    rules, split = rules_of(dialect), split_of(dialect)
    if split is None or not (dialect.types or dialect.contract.closed):
        return None
    tell = _teller(dialect, rules)
    whole = _whole(split, tell, odd=not dialect.echo)
    if dialect.framing != "json":
        return Reader(_none, whole)
    single = _single(tell)
    usual = usual_of(dialect)
    if usual is None:
        return Reader(single, whole)
    return Reader(usual, Reader(single, whole))


def _none(_: bytes) -> Told:
    raise ValueError("a message of this framing may hold several objects")


def _whole(split: Split, tell: Tell, *, odd: bool) -> Whole:
    """Any framing. An echo promises no framing, so that nothing in it is odd."""

    def read(payload: bytes) -> tuple[Said, ...]:
        objects, why = split(payload)
        said = [NOTHING if each is None else tell(each) for each in objects]
        if why:
            said.append(Said(0, breach=(Odd.MALFORMED, why)) if odd else NOTHING)
        return tuple(said)

    return read


def _single(tell: Tell) -> Usual:
    """One JSON object, seen in its canonical shape and held against the contract."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    return lambda payload: tell(decode(payload))


def _teller(dialect: Dialect, rules: list[Rule | None]) -> Tell:  # noqa: C901 -- a call costs more than a branch
    index, sentinel = index_of(dialect)
    number_of = index.get
    type_path, paths = dialect.paths.type, paths_of(dialect)
    flat = is_flat(dialect)
    places = [path.split(".") if path else None for path in (type_path, *paths)]
    type_at, run_at, sequence_at, thread_at, user_at, cursor_at, mark_at = (type_path, *paths)
    keeps: list[Any] = [rule.keeps if rule else None for rule in rules]
    breaches: list[Any] = [rule.breach if rule else None for rule in rules]
    shapes: Any = shapes_of(dialect)
    keys: tuple[str, ...] = shapes.keys if shapes else ()
    always = bool(shapes and shapes.canonical)
    closed = dialect.contract.closed

    def kind_in(message: dict[str, Any]) -> int:
        name = _walk(message, places[0])
        return number_of(name, 0) if type(name) is str else 0

    def tell(message: dict[str, Any]) -> Said:
        get: Any = message.get  # of None it finds nothing: a path that is not set
        name = get(type_at) if flat else _walk(message, places[0])
        kind = number_of(name, 0) if type(name) is str else 0
        shape, breach = "", None
        for key in keys:
            if always or key in message:
                message, kind, shape = shapes.view(message, kind, kind_in)
                get = message.get
                break
        keep = keeps[kind]
        if keep is not None:
            try:
                kept = keep(message)
            except ValueError:
                kept = False
            if not kept:
                breach = breaches[kind](message)
        elif closed and not kind:
            breach = (Odd.UNKNOWN, f"{type_path}: {shown(name)}")
        if not flat:
            run, sequence, thread, user, cursor, mark = (_walk(message, at) for at in places[1:])
            mark = mark if kind == sentinel else None
            return _said(kind, run, sequence, thread, user, cursor, mark, shape, breach)
        run, sequence, thread = get(run_at), get(sequence_at), get(thread_at)
        user, cursor = get(user_at), get(cursor_at)
        if (
            kind != sentinel
            and type(run) is str
            and type(sequence) is int
            and 0 < sequence <= SEQUENCE_MAX
            and (thread is None or type(thread) is str)
            and (user is None or type(user) is str)
            and (cursor is None or (type(cursor) is int and 0 <= cursor <= NUMBER_MAX))
        ):  # as nearly always; the tuple is what Said(...) makes, in a third of the time
            return _new(Said, (kind, run, sequence, thread, user, cursor, None, shape, breach))
        mark = get(mark_at) if kind == sentinel else None
        return _said(kind, run, sequence, thread, user, cursor, mark, shape, breach)

    return tell


def _said(
    kind: int,
    run: Any,
    sequence: Any,
    thread: Any,
    user: Any,
    cursor: Any,
    mark: Any,
    shape: str,
    breach: Breach | None,
) -> Said:
    """What was found, as it is told."""
    return Said(
        kind, _id(run), _sequence(sequence), _id(thread), _id(user), _mark(cursor), _mark(mark),
        shape, breach,
    )  # fmt: skip


def _walk(message: Any, keys: list[str] | None) -> Any:
    if keys is None:
        return None
    for key in keys:
        if type(message) is not dict:
            return None
        message = message.get(key)
    return message


def _id(value: Any) -> str | None:
    if type(value) is str:
        return value
    return str(value) if type(value) is int else None


def _sequence(value: Any) -> int:
    if value is None:
        return 0
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= SEQUENCE_MAX else -1


def _mark(value: Any) -> str | int | None:
    if type(value) is str:
        return value
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) <= NUMBER_MAX else None
