"""verdict.json and summary.json: the judgement as data, the same bytes whenever it is the same.

The rule: equal judgements give equal bytes, and every reader can read them. Fields stand in
the schema's order, keys of open maps are sorted, floats are written by repr, and a float
that is no finite number is null, since JSON has no name for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from probe.check.verdict import SCHEMA
from probe.report.facts import facts_of
from probe.report.schema import VerdictDocument
from probe.report.visible import encodable

if TYPE_CHECKING:
    from probe.check.verdict import Check, Judgement


def document(judgement: Judgement) -> dict[str, Any]:
    """What verdict.json holds, in the schema's order.

    Raises msgspec.ValidationError for a judgement that does not fit the schema.
    """
    facts, fitness = facts_of(judgement), judgement.fitness
    fields = {
        "schema": SCHEMA,
        "verdict": judgement.verdict,
        "headline": judgement.headline,
        "exit_code": judgement.exit_code,
        "run_id": facts.run_id,
        "scenario": facts.scenario,
        "target": facts.target,
        "embedded": facts.embedded,
        "seed": facts.seed,
        "started": facts.started,
        "duration_s": facts.duration_s,
        "complete": facts.complete,
        "interrupted": judgement.interrupted,
        "reasons": judgement.reasons,
        "checks": [_check(check) for check in judgement.checks],
        "findings": [asdict(finding) for finding in judgement.findings],
        "fitness": {
            "fit": fitness.fit,
            "whole": fitness.whole,
            "by_level": list(fitness.by_level),
            "taints": fitness.taints,
            "invalid": fitness.invalid,
            "figures": fitness.figures,
        },
        "authenticity": judgement.authenticity,
        "accepted": judgement.accepted,
    }
    shaped = msgspec.convert(settled(fields), VerdictDocument)
    whole: dict[str, Any] = msgspec.to_builtins(shaped)
    return whole


def summary(judgement: Judgement) -> dict[str, Any]:
    """What summary.json holds."""
    return {
        "schema": SCHEMA,
        "run_id": facts_of(judgement).run_id,
        "headline": judgement.headline,
        **settled(judgement.summary),
    }


def json_bytes(value: dict[str, Any]) -> bytes:
    """The file's bytes: ASCII, indented, with a line end. Raises ValueError for NaN."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode("ascii")


def settled(value: object) -> Any:  # noqa: PLR0911 -- one return per type is the plainest table
    """A value in plain JSON types: sorted string keys, finite floats, no lone surrogates.

    Raises TypeError for what has no such form.
    """
    match value:
        case None | bool():
            return value
        case str():
            return encodable(str(value))
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            items = {encodable(str(key)): item for key, item in value.items()}
            return {key: settled(items[key]) for key in sorted(items)}
        case list() | tuple():
            return [settled(item) for item in value]
        case np.ndarray() | np.generic():
            return settled(value.tolist())
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a JSON document")


def _check(check: Check) -> dict[str, Any]:
    entry = asdict(check)
    del entry["load_sensitive"]  # its effect, the veto, stands in the verdict and the message
    return entry
