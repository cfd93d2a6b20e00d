"""The ground of every file model: strict, frozen, with units as strings.

A duration is an int of nanoseconds inside and `"250ms"` in a file, a rate is hertz and
`"5/s"`, a size is bytes and `"64KiB"`, a fraction is 0.95 and `"95%"` or `0.95`. The JSON
Schema that editors get describes the string form. Defaults in code are in the inner unit
and are not read again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

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

SWEPT: Final = "swept"
_BARE = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
_TIMES = "a number and a unit, with a sign or without, such as '250ms' or '-20ms'"
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,9})?)")
_DURATION = r"^(\d+(\.\d+)? ?(ns|us|ms|s|m|min|h) ?)+$|^0$"

Duration = Annotated[
    int,
    BeforeValidator(units.duration_ns),
    PlainSerializer(units.canonical_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION, "examples": ["250ms", "5s"]}),
]


def _offset(text: str | float) -> int:
    if bare := _BARE.fullmatch(str(text).strip()):
        if not float(bare[0]):
            return 0
        raise ValueError(
            f"an offset needs a unit: '{bare[0]}ms'; found {text!r}; allowed: {_TIMES}"
        )
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


def _gate_offset(text: str | float) -> int | str:
    if text == SWEPT:
        return SWEPT
    try:
        return _offset(text)
    except ValueError as error:
        raise ValueError(f"{error}, or {SWEPT!r}") from None


# One validator and no union of two, which would tell each mistake twice.
GateOffset = Annotated[
    int | Literal["swept"],
    BeforeValidator(_gate_offset),
    PlainSerializer(lambda offset: offset if offset == SWEPT else _written_offset(offset)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^[+-]?" + _DURATION[1:], "examples": ["-20ms"]},
                {"const": SWEPT, "type": "string"},
            ]
        }
    ),
]
"""When a gate lets go, since the shared instant; `swept`: the offset that is on trial."""
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
