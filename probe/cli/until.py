"""`--until "p99<500ms"`: the limit of a capacity stage, from the command line.

The rule: it is the limit of one stage that is known by then, so that a word that nobody
would read is refused and never dropped.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from probe.errors import ConfigError, Problem
from probe.model.capacity import Capacity

if TYPE_CHECKING:
    from probe.cli.files import Loaded


def limited(loaded: Loaded, until: str | None) -> Loaded:
    """The same with that limit; ConfigError where no capacity stage, or more than one, has one."""
    if until is None:
        return loaded
    stages = loaded.scenario.stages
    climbs = {name: stage.capacity for name, stage in stages.items() if stage.capacity is not None}
    if len(climbs) != 1:
        why = f"which stage of {loaded.name!r}?"
        hint = "name it by --stage"
        if not climbs:
            why = f'{loaded.name!r} has no stage with activity = "capacity", which has a limit'
            hint = "take the scenario `capacity`"
        raise ConfigError(Problem("--until", "", why, until, ", ".join(climbs), hint))
    try:
        told = Capacity.model_validate({"until": until})
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(Problem("--until", "", why)) from None
    if not told.within:
        raise ConfigError(Problem("--until", "", "no answer comes within 0 s", until))
    ((name, capacity),) = climbs.items()
    changed = capacity.model_copy(update={"quantile": told.quantile, "within": told.within})
    stage = stages[name].model_copy(update={"capacity": changed})
    scenario = loaded.scenario.model_copy(update={"stages": {**stages, name: stage}})
    return replace(loaded, scenario=scenario)
