"""`probe schema`: JSON Schema of the files, for editors, and of verdict.json."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from probe.check.accepted import Accepted
from probe.model.dialect import Dialect
from probe.model.scenario import Scenario
from probe.model.target import Target
from probe.report.schema import verdict_schema


class Which(StrEnum):
    """Which schema."""

    SCENARIO = "scenario"
    TARGET = "target"
    DIALECT = "dialect"
    ACCEPTED = "accepted"
    VERDICT = "verdict"


def command(which: Annotated[Which, typer.Argument(help="Which file's schema.")]) -> None:
    """Print a JSON Schema."""
    match which:
        case Which.SCENARIO:
            schema = Scenario.model_json_schema()
        case Which.TARGET:
            schema = Target.model_json_schema()
        case Which.DIALECT:
            schema = Dialect.model_json_schema()
        case Which.ACCEPTED:
            schema = Accepted.model_json_schema()
        case Which.VERDICT:
            schema = verdict_schema()
    sys.stdout.write(json.dumps(schema, indent=2) + "\n")
