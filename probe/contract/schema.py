"""JSON Schema of the messages (draft 2020-12): whether one keeps it, and the first breach.

The rule: one compiled validator per type, asked with a yes or no for every message; only
where it says no are the breaches listed. A field that is not there is told before one of a
wrong type, and that before any other, so that the same mistake is always told alike. A
reference leads nowhere but into the file: nothing is fetched.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from probe.contract.framing import kind_of
from probe.errors import ConfigError, Problem
from probe.history.records import Odd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import jsonschema_rs

    from probe.model.dialect import Dialect, JsonSchema

Breach = tuple[Odd, str]
"""What was odd, and `type.path: what` of it."""


class Rule(NamedTuple):
    """What a type's messages are held to."""

    keeps: Callable[[Any], bool]
    """Whether a message keeps it; ValueError where it cannot be checked."""
    breach: Callable[[dict[str, Any]], Breach | None]
    """The first breach, None where there is none; never raises."""


VALUE_CHARS_MAX: Final = 80
TEXT_CHARS_MAX: Final = 240
_LISTED_MAX: Final = 64
_MASK: Final = "\0"
_RANK: Final = {Odd.MISSING: 0, Odd.TYPE: 1, Odd.VALUE: 2}
_INSIDE: Final = ("allOf", "anyOf", "oneOf", "if", "then", "else", "$defs")


def shown(value: Any) -> str:
    """A value of a payload, at most VALUE_CHARS_MAX characters of it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = kind_of(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def rules_of(dialect: Dialect) -> list[Rule | None]:
    """The rule of each type by its number, 0 first (of no type: none).

    ConfigError names every schema that is none.
    """
    rules: list[Rule | None] = [None]
    problems: list[Problem] = []
    events = dialect.run.types if dialect.run else ()
    contract = dialect.contract
    if contract.every and not events:
        # Else a schema that nobody asks would hide a slip in it.
        problems += _problem("contract.every", contract.every)
    for name in dialect.types:
        every = contract.every if name in events else {}
        own = contract.schemas.get(name, {})
        found = [
            problem
            for path, schema in (("contract.every", every), (f"contract.schemas.{name}", own))
            for problem in _problem(path, schema)
        ]
        problems += [problem for problem in found if problem not in problems]
        rules.append(None if found else _rule(name, every, own))
    if problems:
        raise ConfigError(*problems)
    return rules


def _problem(path: str, schema: JsonSchema) -> list[Problem]:
    if not schema:
        return []
    try:
        _compiled(schema)
    except ValueError as error:
        words = getattr(error, "message", "") or str(error)
        return [Problem("dialect", path, f"no JSON Schema: {words.splitlines()[0][:200]}")]
    return []


def _compiled(schema: JsonSchema) -> jsonschema_rs.Draft202012Validator:
    """The validator; ValueError where this is no schema, or refers to what is not there."""
    # 3 MB, which a process without a schema need not hold beside its connections.
    import jsonschema_rs  # noqa: PLC0415 -- see above

    try:
        return jsonschema_rs.Draft202012Validator(schema, mask=_MASK, offline=True)
    except jsonschema_rs.ReferencingError as error:
        raise ValueError(str(error)) from None


def _rule(name: str, every: JsonSchema, own: JsonSchema) -> Rule | None:
    if not every and not own:
        return None
    # Each keeps a base of its own, so that "#/$defs/..." means its own definitions.
    both = [
        {"$id": f"urn:contract:{place}", **schema}
        for place, schema in (("every", every), ("own", own))
        if schema
    ]
    validator = _compiled(both[0] if len(both) == 1 else {"allOf": both})

    def breach(message: dict[str, Any]) -> Breach | None:
        try:
            errors = list(islice(validator.iter_errors(message), _LISTED_MAX))
        except ValueError:  # the validator's own limit, 255 levels
            return Odd.VALUE, f"{name}: nested too deeply to be checked"
        found = (_breach(name, error) for error in errors)
        return min(found, key=lambda each: _RANK[each[0]], default=None)

    return Rule(validator.is_valid, breach)


def _breach(name: str, error: jsonschema_rs.ValidationError) -> Breach:
    path = ".".join([name, *map(str, error.instance_path)])
    rule: Any = error.kind  # each kind has fields of its own
    match rule.name:
        case "required":
            return Odd.MISSING, _cut(f"{path}.{rule.property}: missing")
        case "type":
            types = " or ".join(rule.types)
            what = f"{path}: {kind_of(error.instance)}, not {types}: {shown(error.instance)}"
            return Odd.TYPE, _cut(what)
        case _:
            words = error.message.replace(_MASK, shown(error.instance))
            return Odd.VALUE, _cut(f"{path}: {words}")


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"


def names_in(schema: Any) -> Iterator[str]:
    """The fields that a schema speaks of at its top, in whichever branch."""
    if isinstance(schema, list):
        for branch in schema:
            yield from names_in(branch)
    elif isinstance(schema, dict):
        for key in ("properties", "required"):
            listed = schema.get(key)
            yield from listed if isinstance(listed, (dict, list)) else ()
        for key in _INSIDE:
            inner = schema.get(key)
            branches = list(inner.values()) if key == "$defs" and isinstance(inner, dict) else inner
            yield from names_in(branches)
