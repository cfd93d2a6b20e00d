"""The ground of every file model: strict, frozen, with units as strings.

A duration is an int of nanoseconds inside and `"250ms"` in a file, a rate is hertz and
`"5/s"`, a size is bytes and `"64KiB"`, a fraction is 0.95 and `"95%"` or `0.95`. The JSON
Schema that editors get describes the string form. Defaults in code are in the inner unit
and are not read again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from probe import units

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,9})?)")
_DURATION = r"^(\d+(\.\d+)? ?(ns|us|ms|s|m|min|h) ?)+$|^0$"

Duration = Annotated[
    int,
    BeforeValidator(units.duration_ns),
    PlainSerializer(units.canonical_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION, "examples": ["250ms", "5s"]}),
]


def _offset(text: str | float) -> int:
    if isinstance(text, str) and text.strip().startswith(("-", "+")):
        sign = -1 if text.strip()[0] == "-" else 1
        return sign * units.duration_ns(text.strip()[1:])
    return units.duration_ns(text)


def _written_offset(ns: int) -> str:
    return ("-" if ns < 0 else "") + units.canonical_duration(abs(ns))


Offset = Annotated[
    int,
    BeforeValidator(_offset),
    PlainSerializer(_written_offset),
    WithJsonSchema(
        {"type": "string", "pattern": r"^[+-]?" + _DURATION[1:], "examples": ["-20ms", "2s"]}
    ),
]
"""A time against another, which may be before it: a duration with a sign."""
Rate = Annotated[
    float,
    BeforeValidator(units.rate_hz),
    PlainSerializer(units.canonical_rate),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?/(s|min|h)$", "examples": ["5/s"]}),
]
Size = Annotated[
    int,
    BeforeValidator(units.size_bytes),
    PlainSerializer(lambda size: f"{size}B"),
    WithJsonSchema({"type": "string", "examples": ["64KiB", "1MB"]}),
]
Fraction = Annotated[
    float,
    BeforeValidator(units.fraction),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "examples": ["95%", 0.95]}),
]


def _quantile(text: object) -> float:
    match = _QUANTILE.fullmatch(text) if isinstance(text, str) else None
    if match is not None and float(match[1]) > 0:
        return float(match[1]) / 100
    raise ValueError(f"not a quantile; found {text!r}; allowed: 'p50', 'p95', 'p99.9' and the like")


Quantile = Annotated[
    float,
    BeforeValidator(_quantile),
    PlainSerializer(lambda q: f"p{q * 100:.10g}"),
    WithJsonSchema({"type": "string", "pattern": r"^p\d+(\.\d+)?$", "examples": ["p95", "p99.9"]}),
]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Strict(BaseModel):
    """A table of a file: unknown keys are mistakes, values never change after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=False, use_attribute_docstrings=True
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        """The schema with defaults as a file would say them: "5s", not nanoseconds."""
        schema = handler(core_schema)
        written = cls.model_construct().model_dump(mode="json", by_alias=True, warnings=False)
        for name, entry in handler.resolve_ref_schema(schema).get("properties", {}).items():
            if "default" in entry and name in written:
                entry["default"] = written[name]
        return schema
