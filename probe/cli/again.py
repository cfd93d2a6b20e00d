"""One stage alone, or one offset of its race: what `--stage`, `--at` and `--trials` ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from probe.errors import ConfigError, Problem
from probe.model.base import Offset
from probe.model.reading import nearest

if TYPE_CHECKING:
    from probe.cli.files import Loaded
    from probe.model.scenario import Stage

TRIALS: Final = 30
_OFFSET: Final[TypeAdapter[int]] = TypeAdapter(Offset)


def only(loaded: Loaded, stage: str | None, at: str | None, trials: int | None) -> Loaded:
    """The same with one stage, and its race at one offset; ConfigError where that cannot be."""
    if trials is not None and at is None:
        raise ConfigError(Problem("--trials", "", "how often to try one offset: name it by --at"))
    stages = loaded.scenario.stages
    if stage is None and at is None:
        return loaded
    name = stage or _the_race(loaded)
    if name not in stages:
        allowed = ", ".join(stages)
        raise ConfigError(
            Problem("--stage", "", "no such stage", name, allowed, nearest(name, stages))
        )
    chosen = stages[name]
    if at is not None:
        chosen = _at(name, chosen, at, trials or TRIALS)
    scenario = loaded.scenario.model_copy(update={"stages": {name: chosen}})
    return replace(loaded, scenario=scenario)


def _the_race(loaded: Loaded) -> str:
    races = [name for name, stage in loaded.scenario.stages.items() if stage.race is not None]
    if len(races) == 1:
        return races[0]
    why = "which race?" if races else f"{loaded.name!r} has no race"
    hint = "name it by --stage" if races else ""
    raise ConfigError(Problem("--at", "", why, allowed=", ".join(races), hint=hint))


def _at(name: str, stage: Stage, at: str, trials: int) -> Stage:
    if stage.race is None:
        raise ConfigError(Problem("--at", "", f"the stage {name!r} is no race"))
    try:
        offset = _OFFSET.validate_python(at)
    except ValidationError as error:
        why = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(Problem("--at", "", why)) from None
    update = {"at": offset, "confirm": 2 * trials}
    return stage.model_copy(update={"race": stage.race.model_copy(update=update)})
