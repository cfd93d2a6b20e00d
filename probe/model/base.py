"""The ground of every file model: strict, frozen, with units as strings.

A duration is an int of nanoseconds inside and `"250ms"` in a file, a rate is hertz and
`"5/s"`, a size is bytes and `"64KiB"`, a fraction is 0.95 and `"95%"` or `0.95`. The JSON
Schema that editors get describes the string form. Defaults in code are in the inner unit
and are not read again.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from probe import units

_DURATION = r"^(\d+(\.\d+)? ?(ns|us|ms|s|m|min|h) ?)+$|^0$"

Duration = Annotated[
    int,
    BeforeValidator(units.duration_ns),
    PlainSerializer(units.canonical_duration),
    WithJsonSchema({"type": "string", "pattern": _DURATION, "examples": ["250ms", "5s"]}),
]
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
    if isinstance(text, str) and text.startswith("p"):
        try:
            value = float(text[1:]) / 100
        except ValueError:
            value = -1.0
        if 0 < value < 1:
            return value
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
