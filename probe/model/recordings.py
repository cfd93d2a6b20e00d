"""The recordings that a scenario replays: put into it as text by whoever can open files.

The rule: what is replayed stands in the scenario itself once it is read, so that the plan, the
run's own copy and every process that is given that copy have the same arrivals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.errors import ConfigError, Problem
from probe.model.reading import build
from probe.model.replay import BadRowError, bare, recorded
from probe.model.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.model.scenario import Population, Scenario, Stage


def with_recordings(
    scenario: Scenario, origin: str, read: Callable[[str], tuple[str, str]]
) -> Scenario:
    """The same with the text of every recording; ConfigError, with file and line, where one is bad.

    `origin` is the scenario's own file; `read` gives text and path of a file that it names.
    """
    problems: list[Problem] = []

    def filled(population: Population, where: str) -> Population:
        shape = population.shape
        if shape.replay is None or shape.replay.file is None or not shape.unread:
            return population
        try:
            text, path = read(shape.replay.file)
        except ConfigError as error:
            hint = f"named by {origin}: {where}.replay.file"
            problems.extend(
                Problem(each.origin, each.path, each.message, each.found, each.allowed, hint)
                for each in error.problems
            )
            return population
        try:
            recorded(text)
        except BadRowError as bad:
            place = f"{path}:{bad.line}"
            problems.append(Problem(place, "", bad.message, bad.found, bad.allowed, bad.mend))
            return population
        data = shape.model_dump(mode="json", by_alias=True, exclude_none=True)
        data["replay"] |= {"text": bare(text)}
        try:
            return population.model_copy(update={"shape": build(Shape, data, origin)})
        except ConfigError as error:
            problems.extend(Problem(origin, where, each.message) for each in error.problems)
            return population

    def stage_of(name: str, stage: Stage) -> Stage:
        if not any(population.shape.unread for population in stage.populations.values()):
            return stage
        populations = {
            each: filled(population, f"stages.{name}.populations.{each}.shape")
            for each, population in stage.populations.items()
        }
        return stage.model_copy(update={"populations": populations})

    stages = {name: stage_of(name, stage) for name, stage in scenario.stages.items()}
    if problems:
        raise ConfigError(*problems)
    if all(stages[name] is stage for name, stage in scenario.stages.items()):
        return scenario
    return scenario.model_copy(update={"stages": stages})
