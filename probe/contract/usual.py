"""The usual message, decoded and held against its contract in one go.

The rule: what is taken here would be read just so by the long way, and what this does not
take, for whatever reason, goes the long way; so a mistake here may cost time and nothing
else. A struct of typed fields per type, which msgspec tells apart by the type's field, is a
third of the price of a dict and a JSON Schema: fields that nobody asks for are skipped, and
what the schemas most often say (required, type, minimum, length) is checked while decoding.
Where there is no contract, one struct does for all types, also for those that are not known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import attrgetter, or_
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec

from probe.contract.said import NUMBER_MAX, SEQUENCE_MAX, Told, index_of, is_flat, paths_of
from probe.contract.shapes import shapes_of

if TYPE_CHECKING:
    from probe.model.dialect import Dialect, JsonSchema

Usual = Callable[[bytes], Told]
"""From a message to what it says; ValueError or RecursionError where it is not usual."""

ROLES: Final = ("run", "sequence", "thread", "user", "cursor", "mark")
_TEXTS: Final = frozenset({"run", "thread", "user"})
_EITHER: Final[Any] = str | Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
_NO_OBJECT: Final[Any] = str | float | bool | list[Any] | None
_BOUND_MAX: Final = 1 << 53  # up to here a float holds every whole number
_OBJECT: Final = msgspec.defstruct("AnyObject", [], gc=False)
_TYPES: Final[dict[str, Any]] = {
    "string": str, "integer": int, "number": float, "boolean": bool, "null": None,
    "object": _OBJECT, "array": list[Any],
}  # fmt: skip
_RANGE: Final = {"minimum": "ge", "maximum": "le"}
_BOUNDS: Final[dict[str, dict[str, str]]] = {
    "integer": _RANGE,
    "number": _RANGE,
    "string": {"minLength": "min_length", "maxLength": "max_length"},
}
_WORDS: Final = frozenset({"title", "description"})
Fields = dict[str, tuple[str, Any, Any]]
"""By their name in the message: attribute, type and default."""


class _Rule(NamedTuple):
    """What a schema says of one field."""

    base: Any
    bounds: dict[str, Any]
    required: bool = False

    @property
    def type(self) -> Any:
        return Annotated[self.base, msgspec.Meta(**self.bounds)] if self.bounds else self.base

    @property
    def default(self) -> Any:
        return msgspec.NODEFAULT if self.required else None


def usual_of(dialect: Dialect) -> Usual | None:
    """The decoder of a dialect's usual messages; None where none can be made."""
    paths = paths_of(dialect)
    places = [dialect.paths.type, *(path for path in paths if path)]
    shapes = shapes_of(dialect)
    if (
        dialect.framing != "json"
        or not is_flat(dialect)
        or len(set(places)) < len(places)
        or not all(map(_is_plain, places))
        or (shapes is not None and shapes.canonical)
    ):
        return None
    contract = dialect.contract
    if not (contract.every or contract.schemas or contract.closed or shapes):
        return _any_type(dialect)
    return _by_type(dialect, shapes.keys if shapes else ())


def _is_plain(name: str) -> bool:
    """A struct takes no name that JSON would escape."""
    return name.isprintable() and not {'"', "\\"} & set(name)


def _any_type(dialect: Dialect) -> Usual:
    index, sentinel = index_of(dialect)
    number_of = index.get
    fields: Fields = {dialect.paths.type: ("name", str | None, None)}
    unset = _add_roles(fields, dialect, {}, mark=True)
    assert unset is not None
    decode = msgspec.json.Decoder(_struct(fields, unset)).decode
    fields_of = attrgetter("name", *ROLES)

    def usual(payload: bytes) -> Told:
        name, run, sequence, thread, user, cursor, mark = fields_of(decode(payload))
        kind = number_of(name, 0)
        if kind != sentinel:
            mark = None
        return kind, run, sequence, thread, user, cursor, mark, "", None

    return usual


def _by_type(dialect: Dialect, containers: tuple[str, ...]) -> Usual | None:
    index, sentinel = index_of(dialect)
    events = dialect.run.types if dialect.run else ()
    structs: list[Any] = []
    for name, kind in index.items():
        every = dialect.contract.every if name in events else {}
        known = _known([every, dialect.contract.schemas.get(name, {})])
        fields: Fields = {}
        if known is None or not all(map(_is_plain, known)) or dialect.paths.type in known:
            continue
        unset = _add_roles(fields, dialect, known, mark=kind == sentinel)
        if unset is None:
            continue
        for number, (field, rule) in enumerate(known.items()):
            fields.setdefault(field, (f"x{number}", rule.type, rule.default))
        for number, key in enumerate(containers):
            # An object there may be a shape, which is not usual.
            fields.setdefault(key, (f"c{number}", _NO_OBJECT, None))
        unset |= {"kind": kind, "shape": "", "breach": None}
        structs.append(_struct(fields, unset, tag_field=dialect.paths.type, tag=name))
    if not structs:
        return None
    decode = msgspec.json.Decoder(reduce(or_, structs)).decode
    # In the order of Said, all of it: of a struct without a field the class has the value.
    fields_of = attrgetter("kind", *ROLES, "shape", "breach")

    def usual(payload: bytes) -> Told:
        return fields_of(decode(payload))

    return usual


def _struct(
    fields: Fields, unset: dict[str, Any], *, tag_field: str | None = None, tag: str | None = None
) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        "Message",
        list(fields.values()),
        rename={attribute: field for field, (attribute, _, _) in fields.items()},
        namespace=unset,
        tag_field=tag_field,
        tag=tag,
        kw_only=True,
        gc=False,
    )


def _add_roles(
    fields: Fields, dialect: Dialect, known: dict[str, _Rule], *, mark: bool
) -> dict[str, Any] | None:
    """Add the fields that a Said has; values of those that no message has, None: impossible."""
    unset: dict[str, Any] = {}
    for role, path in zip(ROLES, paths_of(dialect), strict=True):
        default = 0 if role == "sequence" else None
        if path is None or (role == "mark" and not mark):
            unset[role] = default
            continue
        rule = known.get(path, _Rule(Any, {}))
        if role == "sequence" and rule.base in (Any, int):
            low, high = rule.bounds.get("ge", 1), rule.bounds.get("le", SEQUENCE_MAX)
            rule = _Rule(int, {"ge": max(low, 1), "le": min(high, SEQUENCE_MAX)}, rule.required)
        elif role in _TEXTS and rule.base in (Any, str):
            rule = _Rule(str, rule.bounds, rule.required)
        elif role in {"cursor", "mark"} and rule.base is Any:
            rule = _Rule(_EITHER, {}, rule.required)
        else:
            return None
        fields[path] = (role, rule.type, msgspec.NODEFAULT if rule.required else default)
    return unset


def _known(schemas: list[JsonSchema]) -> dict[str, _Rule] | None:
    """The fields that these schemas speak of; None: they say what a struct cannot check."""
    found: dict[str, _Rule] = {}
    required: set[str] = set()
    for schema in schemas:
        properties = schema.get("properties", {})
        if schema.keys() - _WORDS - {"type", "properties", "required"}:
            return None
        if schema.get("type", "object") != "object" or found.keys() & properties.keys():
            return None
        for name, inner in properties.items():
            rule = _rule(inner)
            if rule is None:
                return None
            found[name] = rule
        required |= set(schema.get("required", ()))
    for name in sorted(required):
        found[name] = found.get(name, _Rule(Any, {}))._replace(required=True)
    return found


def _rule(schema: Any) -> _Rule | None:
    if schema is True:
        return _Rule(Any, {})
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    said = schema.keys() - _WORDS - {"type"}
    if not said and kind is None:
        return _Rule(Any, {})
    bounds = _BOUNDS.get(kind, {}) if isinstance(kind, str) else {}
    values = {bounds[word]: schema[word] for word in said if word in bounds}
    usual = all(type(value) is int and abs(value) < _BOUND_MAX for value in values.values())
    if not isinstance(kind, str) or len(values) < len(said) or not usual:
        return None
    return _Rule(_TYPES[kind], values)
