"""The JSON Schemas that editors get: whole, and in the units of the files."""

import json
import re

import pytest

from probe.model.dialect import Dialect
from probe.model.scenario import Scenario
from probe.model.target import Target

MODELS = [Scenario, Target, Dialect]
TYPES = {"string", "number", "integer", "boolean", "array", "object", "null"}


def nodes(value):
    """Every table in a schema."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key not in {"default", "examples"}:
                yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


@pytest.mark.parametrize("model", MODELS)
def test_a_schema_is_json_and_every_reference_leads_somewhere(model):
    schema = json.loads(json.dumps(model.model_json_schema()))
    for node in nodes(schema):
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]
        if isinstance(node.get("type"), str):
            assert node["type"] in TYPES
        if isinstance(node.get("pattern"), str):
            re.compile(node["pattern"])
    tables = [schema, *schema["$defs"].values()]
    assert all(table["additionalProperties"] is False for table in tables if "properties" in table)


@pytest.mark.parametrize("model", MODELS)
def test_defaults_are_of_the_type_that_is_described(model):
    kinds = {
        "string": str,
        "integer": int,
        "number": float,
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    seen = 0
    for node in nodes(model.model_json_schema()):
        if "default" in node and isinstance(node.get("type"), str):
            seen += 1
            assert isinstance(node["default"], kinds[node["type"]]), node
            if "pattern" in node and isinstance(node["default"], str):
                assert re.search(node["pattern"], node["default"]), node
    assert seen > 5


def test_durations_rates_and_sizes_are_texts_with_units():
    stage = Scenario.model_json_schema()["$defs"]["Stage"]["properties"]
    assert stage["budget"]["type"] == "string"
    assert stage["budget"]["default"] == "5m"
    assert stage["settle"]["default"] == {"good": 10, "linger": "100ms"}
    dialect = Dialect.model_json_schema()["properties"]
    assert dialect["retry"]["default"] == ["100ms", "200ms", "500ms", "1s", "2s"]
    assert dialect["message_max"]["default"] == "1048576B"
    limit = Scenario.model_json_schema()["$defs"]["LatencyLimit"]["properties"]
    assert limit["quantile"]["default"] == "p95"
    for good in ("250ms", "1m30s", "1.5 s", "0"):
        assert re.search(stage["budget"]["pattern"], good)
    for bad in ("5", "5 parsecs", ""):
        assert not re.search(stage["budget"]["pattern"], bad)


def test_a_python_function_is_no_choice_for_a_file():
    script = Scenario.model_json_schema()["$defs"]["Population"]["properties"]["script"]
    assert {each.get("type") for each in script["oneOf"]} == {"array", "string"}


def test_the_schema_knows_the_keys_of_the_file():
    population = Scenario.model_json_schema()["$defs"]["Population"]["properties"]
    assert "finally" in population
    assert "finally_" not in population
    assert population["retry"]["description"].startswith("Whether a failed connect")
