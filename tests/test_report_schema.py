"""verdict.json against its published JSON Schema, read by a small validator of its own."""

from typing import Any

import msgspec
import pytest

from probe.check.verdict import (
    EXIT_CODES,
    EXIT_INTERRUPTED,
    Check,
    Finding,
    Fitness,
    Judgement,
    Outcome,
    Step,
    Witness,
)
from probe.report.document import document, json_bytes, settled
from probe.report.schema import verdict_schema

TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None),
    "integer": int, "number": (int, float),
}  # fmt: skip
KNOWN = {
    "$schema", "$id", "$ref", "$defs", "title", "description", "anyOf", "enum", "type", "minimum",
    "required", "properties", "additionalProperties", "items", "prefixItems",
    "minItems", "maxItems",
}  # fmt: skip


def violations(value: Any, rule: Any, whole: Any, place: str = "$") -> list[str]:
    """What breaks the JSON Schema; knows the keywords that ours uses and refuses others."""
    assert set(rule) <= KNOWN, set(rule) - KNOWN
    if "$ref" in rule:
        name = rule["$ref"].removeprefix("#/$defs/")
        return violations(value, whole["$defs"][name], whole, place)
    if "anyOf" in rule:
        fits = any(not violations(value, one, whole, place) for one in rule["anyOf"])
        return [] if fits else [f"{place}: none of anyOf"]
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(is_a(value, kind) for kind in kinds):
        return [f"{place}: {value!r} is no {kinds}"]
    found = []
    if "enum" in rule and value not in rule["enum"]:
        found.append(f"{place}: {value!r} is not in {rule['enum']}")
    if isinstance(value, int | float) and value < rule.get("minimum", value):
        found.append(f"{place}: {value} is below {rule['minimum']}")
    if isinstance(value, dict):
        found += in_object(value, rule, whole, place)
    if isinstance(value, list):
        found += in_array(value, rule, whole, place)
    return found


def is_a(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean") == isinstance(value, bool)


def in_object(value: Any, rule: Any, whole: Any, place: str) -> list[str]:
    found = [f"{place}: no {key}" for key in rule.get("required", ()) if key not in value]
    for key, item in value.items():
        below = rule.get("properties", {}).get(key, rule.get("additionalProperties", True))
        if below is False:
            found.append(f"{place}.{key}: not in the schema")
        elif below is not True:
            found += violations(item, below, whole, f"{place}.{key}")
    return found


def in_array(value: Any, rule: Any, whole: Any, place: str) -> list[str]:
    found = []
    if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
        found.append(f"{place}: {len(value)} items")
    first = rule.get("prefixItems", [])
    for number, item in enumerate(value):
        below = first[number] if number < len(first) else rule.get("items", {})
        if below is not False:
            found += violations(item, below, whole, f"{place}[{number}]")
    return found


CHECK = Check(
    "boot.recovery", "boot", True, Outcome.FAIL, "bound", 20, "3 of 20 restarts recovered",
    0.15, (None, 0.4), 0.8, "rate", p_value=0.001,
)  # fmt: skip
WITNESS = Witness(3, 0, "boot", "/ws", "2025-09-11T10:15:04Z", (Step(0.0, "probe", "GET /ws"),))
FINDING = Finding(
    "restart.slow", "major", "bound", 17, "slow", "it boots slowly", (WITNESS,), "probe run x",
    "boot.recovery",
)  # fmt: skip
RUN = {"run_id": "r", "scenario": "s", "target": "t", "seed": 7, "duration_s": 1.5}
FULL = Judgement(
    Outcome.FAIL, RUN, (CHECK,), (FINDING,), Fitness(taints=("lag",), figures={"lag_s": 0.1}),
    {"peers": [{"address": "127.0.0.1"}]}, reasons=("boot.recovery: slow",),
)  # fmt: skip
BARE = Judgement(Outcome.INCONCLUSIVE, {}, (), (), Fitness(), {})


def broken(value: Any) -> list[str]:
    whole = verdict_schema()
    return violations(value, whole, whole)


@pytest.mark.parametrize("judgement", [FULL, BARE])
def test_documents_fit(judgement):
    assert broken(document(judgement)) == []


def test_the_keys_are_the_promised_ones():
    value = document(FULL)
    assert list(value) == [
        "schema", "verdict", "headline", "exit_code", "run_id", "scenario", "target", "embedded",
        "seed", "started", "duration_s", "complete", "interrupted", "reasons", "checks",
        "findings", "fitness", "authenticity", "accepted",
    ]  # fmt: skip
    assert set(value["checks"][0]) == {
        "id", "stage", "required", "verdict", "evidence", "n", "estimate", "interval", "limit",
        "unit", "p_value", "smallest", "control", "message", "accepted",
    }  # fmt: skip
    assert set(value["findings"][0]) == {
        "code", "severity", "evidence", "count", "message", "cause", "witness", "reproduce",
        "check", "accepted",
    }  # fmt: skip
    assert value["checks"][0]["interval"] == [None, 0.4]
    assert value["findings"][0]["witness"][0]["steps"] == [
        {"at_s": 0.0, "who": "probe", "what": "GET /ws", "point": False}
    ]


def test_nothing_is_claimed_that_the_run_does_not_tell():
    value = document(BARE)
    assert (value["complete"], value["seed"], value["duration_s"]) == (False, None, None)
    assert value["scenario"] == ""


def test_every_verdict_and_exit_code_fits():
    for verdict in Outcome:
        for interrupted in (False, True):
            judgement = Judgement(verdict, RUN, (), (), Fitness(), {}, interrupted=interrupted)
            value = document(judgement)
            assert broken(value) == []
            expected = EXIT_INTERRUPTED if interrupted else EXIT_CODES[verdict]
            assert value["exit_code"] == expected


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("schema",), 2),
        (("verdict",), "GREEN"),
        (("exit_code",), 2),
        (("seed",), "7"),
        (("embedded",), 0),
        (("surplus",), 1),
        (("checks", 0, "n"), -1),
        (("checks", 0, "interval"), [0.1]),
        (("checks", 0, "estimate"), "0.1"),
        (("findings", 0, "severity"), "blocker"),
        (("findings", 0, "witness", 0, "steps", 0, "who"), "client"),
        (("fitness", "figures"), []),
    ],
)
def test_the_schema_refuses(path, wrong):
    value = document(FULL)
    place: Any = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = wrong
    assert len(broken(value)) == 1


@pytest.mark.parametrize("key", document(FULL))
def test_no_key_may_be_missing(key):
    value = document(FULL)
    del value[key]
    assert broken(value) == [f"$: no {key}"]


def test_a_judgement_that_breaks_the_schema_is_not_written():
    run = RUN | {"seed": "seven"}
    with pytest.raises(msgspec.ValidationError, match="seed"):
        document(Judgement(Outcome.PASS, run, (), (), Fitness(), {}))


def test_open_maps_do_not_depend_on_the_order_they_were_built_in():
    forth = {"b": 1, "a": {"d": [1.5, None], "c": "x"}}
    back = {"a": {"c": "x", "d": (1.5, None)}, "b": 1}
    assert json_bytes(settled(forth)) == json_bytes(settled(back))


def test_nan_and_foreign_types_are_never_written():
    assert settled({"x": float("nan"), "y": [float("inf")]}) == {"x": None, "y": [None]}
    with pytest.raises(ValueError, match="JSON"):
        json_bytes({"x": float("nan")})
    with pytest.raises(TypeError, match="set"):
        settled({"x": {1, 2}})
