"""One stage alone, or one offset of its race, or that race made smaller.

What `--stage`, `--at`, `--trials` and `--shrink` ask for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter, ValidationError

from probe.errors import ConfigError, Problem
from probe.model.base import Offset
from probe.model.race import MS, SHRINK_BY_MIN
from probe.model.reading import nearest
from probe.model.scenario import Expect, S
from probe.model.shrinking import trials_bound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probe.cli.files import Loaded
    from probe.model.scenario import Stage

TRIALS: Final = 30
TRIALS_MAX: Final = 100_000
_OFFSET: Final[TypeAdapter[int]] = TypeAdapter(Offset)


def only(
    loaded: Loaded,
    names: Sequence[str],
    at: str | None,
    trials: int | None,
    *,
    shrink: bool = False,
) -> Loaded:
    """The same with these stages, or one race at one offset; ConfigError where that cannot be."""
    if trials is not None and at is None:
        raise ConfigError(Problem("--trials", "", "how often to try one offset: name it by --at"))
    if shrink and at is None:
        why = "a race is made smaller where it goes wrong: name the offset by --at"
        raise ConfigError(Problem("--shrink", "", why))
    stages = loaded.scenario.stages
    for name in names:
        if name not in stages:
            allowed = ", ".join(stages)
            raise ConfigError(
                Problem("--stage", "", "no such stage", name, allowed, nearest(name, stages))
            )
    chosen = {name: stage for name, stage in stages.items() if name in names or not names}
    if at is not None:
        name = _the_race(loaded, chosen)
        stage = _at(name, chosen[name], at, trials or TRIALS)
        chosen = {name: _shrunk(stage) if shrink else stage}
    return replace(loaded, scenario=loaded.scenario.model_copy(update={"stages": chosen}))


def _the_race(loaded: Loaded, chosen: Mapping[str, Stage]) -> str:
    if len(chosen) == 1 < len(loaded.scenario.stages):
        return next(iter(chosen))  # it was named
    races = [name for name, stage in chosen.items() if stage.race is not None]
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
    low, high = stage.race.range
    if not low <= offset <= high:
        allowed = f"{low / MS:+g}ms to {high / MS:+g}ms"
        hint = f"or widen it: --set stages.{name}.race.range=…"
        raise ConfigError(
            Problem("--at", "", "outside of the range of the race", at, allowed, hint=hint)
        )
    update = {"at": offset, "confirm": 2 * trials}
    return stage.model_copy(update={"race": stage.race.model_copy(update=update)})


def _shrunk(stage: Stage) -> Stage:
    """The stage with a race to be shrunk, and more time in proportion to its trials.

    A smaller race breaks other promises by its nature, so that nothing else is judged.
    """
    race = stage.race
    assert race is not None
    assert race.at is not None
    if race.confirm < SHRINK_BY_MIN:
        allowed = f"at least {SHRINK_BY_MIN // 2}"
        why = "so few cannot show that a smaller race still goes wrong"
        raise ConfigError(Problem("--trials", "", why, str(race.confirm // 2), allowed))
    most = min(trials_bound(race, race.confirm // 2), TRIALS_MAX)
    before = race.trials + race.confirm
    update = {
        "race": race.model_copy(update={"shrink": most}),
        "budget": max(stage.budget, -(-stage.budget * most // before // S) * S),
        "expect": Expect(race=True),
    }
    return stage.model_copy(update=update)
