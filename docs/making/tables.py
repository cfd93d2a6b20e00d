"""JSON Schema as tables: one section a table of the file, one row a key.

What an editor is told by `probe schema` is what stands on the page; nothing is written twice.
Types that have a name of their own in `probe.model.base` and beside it are told by that name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from probe.model import artillery, base, capacity, dialect, forms

if TYPE_CHECKING:
    from collections.abc import Iterator

Schema = dict[str, Any]
_NAMED: Final[dict[str, Any]] = {
    "duration": base.Duration,
    "offset": base.Offset,
    "offset or `swept`": base.GateOffset,
    "rate": base.Rate,
    "size": base.Size,
    "share": base.Fraction,
    "quantile": base.Quantile,
    "name": base.Name,
    "rate or number": capacity.Level,
    "rate or number of clients": forms.Level,
    "seconds": artillery.Seconds,
    "path into a message": dialect.FieldPath,
}
_TELLING: Final = ("type", "pattern", "anyOf", "examples", "format")
_MANY: Final = 6  # tables of one union; more are a section of their own
_TAGS: Final = ("do", "source")


def _telling(schema: Schema) -> str:
    return json.dumps({key: schema[key] for key in _TELLING if key in schema}, sort_keys=True)


_KNOWN: Final = {_telling(TypeAdapter(kind).json_schema()): name for name, kind in _NAMED.items()}
_PLAIN: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "object": "table",
    "null": "null",
}


def sections(root: Schema, name: str, *, defaults: bool = True) -> Iterator[str]:
    """The Markdown of a schema: its own table first, then those it leads to, in that order.

    Without `defaults` every key is there, as in a document that the probe writes.
    """
    tables = {"": {**root, "title": name}} | root.get("$defs", {})
    seen = [""]
    for table in seen:  # grows as it goes
        schema = tables.get(table, {})
        if "properties" in schema:
            title = title_of(table, schema) if table else name
            yield _section(schema, tables, title, defaults=defaults)
        seen += dict.fromkeys(each for each in _leads_to(schema) if each not in seen)


def title_of(table: str, schema: Schema) -> str:
    """The heading of a table: its name, or what a file says to have it."""
    for tag in _TAGS:
        if value := schema.get("properties", {}).get(tag, {}).get("const"):
            return f"{tag} {value}"
    return table.rpartition("__")[2]


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def _leads_to(schema: Any) -> Iterator[str]:
    """The tables that a schema names, in the order in which it does."""
    if isinstance(schema, list):
        for each in schema:
            yield from _leads_to(each)
    elif isinstance(schema, dict):
        if isinstance(ref := schema.get("$ref"), str):
            yield ref.rpartition("/")[2]
        for key, each in schema.items():
            if key not in {"$defs", "discriminator", "default"}:
                yield from _leads_to(each)


def _section(schema: Schema, tables: dict[str, Schema], title: str, *, defaults: bool) -> str:
    rows = []
    for key, entry in schema["properties"].items():
        if key not in _TAGS:
            kind = _type(entry, tables)
            if not defaults and "null" in json.dumps(entry.get("anyOf", "")):
                kind += " or null"
            cells = [f"`{key}`", kind, *([_default(key, entry, schema)] if defaults else [])]
            rows.append(f"| {' | '.join(cells)} | {_meaning(entry, tables)} |")
    if not rows:
        head = ["It has no keys of its own."]
    elif defaults:
        head = ["| key | type | default | meaning |", "|---|---|---|---|"]
    else:
        head = ["| key | type | meaning |", "|---|---|---|"]
    told = _text(schema.get("description", ""))
    return "\n".join([f"## {title}", "", *([told, ""] if told else []), *head, *rows, ""])


def _type(schema: Schema, tables: dict[str, Schema]) -> str:  # noqa: C901, PLR0911 -- one line a kind of schema
    """What may stand there, in words; `|` is escaped, since it stands in a table."""
    if known := _KNOWN.get(_telling(schema)):
        return known
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if "properties" not in tables.get(name, {}):
            return "any value"
        title = title_of(name, tables[name])
        return f"[{title}](#{_slug(title)})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        told = [_type(part, tables) for part in parts if part.get("type") != "null"]
        if len(told) > _MANY:
            return f"one of {', '.join(told)}"
        return " or ".join(told)
    if schema.get("type") == "array":
        return _array(schema, tables)
    if schema.get("type") == "object":
        return _object(schema, tables)
    plain = _PLAIN.get(schema.get("type", ""), "any value")
    if "pattern" in schema:
        plain += " like `" + schema["pattern"].replace("|", "\\|") + "`"
    return plain + _bounds(schema)


def _array(schema: Schema, tables: dict[str, Schema]) -> str:
    if fixed := schema.get("prefixItems"):
        return "[" + ", ".join(_type(each, tables) for each in fixed) + "]"
    items = schema.get("items", {})
    if len(items.get("oneOf", ())) > _MANY:
        return "list of [steps](#steps)"
    return f"list of {_type(items, tables)}"


def _object(schema: Schema, tables: dict[str, Schema]) -> str:
    by_name = [*schema.get("patternProperties", {}).values()]
    inner = by_name[0] if by_name else schema.get("additionalProperties")
    if not isinstance(inner, dict):
        return "table"
    return f"table by name of {_type(inner, tables)}"


def _bounds(schema: Schema) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "over", "maximum": "at most"}
    return "".join(f", {word} {schema[key]:,.10g}" for key, word in words.items() if key in schema)


def _default(key: str, entry: Schema, schema: Schema) -> str:
    """What holds where the file does not say; a table's own page says it for a table."""
    if key in schema.get("required", ()):
        return "**required**"
    value = entry.get("default")
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "as there" if value else "none"
    if isinstance(value, list) and not value:
        return "none"
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace("|", "\\|")


def _meaning(entry: Schema, tables: dict[str, Schema]) -> str:
    """Its own description, or the first sentence of the table that stands there."""
    if own := entry.get("description"):
        return " ".join(own.split()).replace("|", "\\|")
    there = next((tables[name] for name in _leads_to(entry) if name in tables), {})
    first = " ".join(there.get("description", "").split()).partition(". ")[0]
    return first.rstrip(".") + "." if first else ""


def _text(text: str) -> str:
    """One line a paragraph."""
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n")).strip()
