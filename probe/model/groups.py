"""Groups: the populations of a scenario in the order in which rows number them.

Here too: whether scenario, target and dialect name what the others have. Every name that
leads nowhere is one mistake, and all of them are told at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from probe.errors import ConfigError, Problem
from probe.model.reading import nearest
from probe.model.scenario import Population
from probe.model.script import Await, Connect, Http, Run, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from probe.model.dialect import Dialect
    from probe.model.scenario import Scenario
    from probe.model.script import Step
    from probe.model.target import Target

TRIES: Final = 3
"""Connections per endpoint in a preflight, and per presentation and endpoint in a matrix."""


@dataclass(frozen=True, slots=True)
class Group:
    """A population with its names: the unit that rows and reports refer to."""

    stage: str
    name: str
    population: Population


def groups_of(scenario: Scenario, dialect: Dialect) -> tuple[Group, ...]:
    """All populations in the order in which rows number them."""
    groups: list[Group] = []
    for name, stage in scenario.stages.items():
        if stage.activity == "preflight":
            groups.append(Group(name, "visit", _once()))
        elif stage.activity == "matrix":
            groups += [Group(name, each, _once(each)) for each in dialect.present]
        else:
            groups += [Group(name, each, part) for each, part in stage.populations.items()]
    return tuple(groups)


def _once(present: str = "default") -> Population:
    script = [{"do": "connect"}, {"do": "close"}]
    return Population.model_validate(
        {"shape": {"clients": TRIES}, "script": script, "present": present}
    )


def check_fit(
    scenario: Scenario, target: Target, dialect: Dialect, groups: tuple[Group, ...]
) -> None:
    """ConfigError with everything that one file asks for and another does not have."""
    problems: list[Problem] = []
    for group in groups:
        where = f"stages.{group.stage}.populations.{group.name}"
        problems += _population(group.population, where, target, dialect)
    for name, stage in scenario.stages.items():
        names = [group.name for group in groups if group.stage == name]
        for number, limit in enumerate(stage.expect.latency):
            path = f"stages.{name}.expect.latency.{number}.population"
            problems += _known(path, "population", limit.population, names)
    problems += _restart(scenario, target)
    if problems:
        raise ConfigError(*problems)


def _population(
    population: Population, where: str, target: Target, dialect: Dialect
) -> Iterator[Problem]:
    for name in population.endpoints:
        yield from _known(f"{where}.endpoints", "endpoint", name, target.endpoints)
    yield from _known(f"{where}.present", "presentation", population.present, dialect.present)
    script = steps_of(population.script, runs=dialect.run is not None)
    if isinstance(script, str):
        message = "a Python script belongs into a Python scenario, as the function itself"
        yield Problem("scenario", f"{where}.script", message, repr(script), "steps, or 'visit'")
    elif isinstance(script, tuple):
        for number, step in enumerate(script):
            yield from _step(step, f"{where}.script.{number}", target, dialect)
    for number, step in enumerate(population.finally_):
        yield from _step(step, f"{where}.finally.{number}", target, dialect)


def _step(step: Step, where: str, target: Target, dialect: Dialect) -> Iterator[Problem]:
    match step:
        case Connect(present=name):
            yield from _known(f"{where}.present", "presentation", name, dialect.present)
        case Run() if dialect.run is None:
            yield Problem("scenario", where, f"{dialect.title!r} knows no runs", "run")
        case Await(event=name):
            yield from _known(f"{where}.event", "event", name, dialect.types)
        case Http(service=name):
            yield from _known(f"{where}.service", "service", name, target.services)


def _known(path: str, noun: str, name: str | None, names: Iterable[str]) -> Iterator[Problem]:
    if name is not None and name not in names:
        allowed = ", ".join(names) or "none"
        yield Problem(
            "scenario", path, f"no such {noun}", repr(name), allowed, nearest(name, names)
        )


def _restart(scenario: Scenario, target: Target) -> Iterator[Problem]:
    wanted = [name for name, stage in scenario.stages.items() if stage.anchor == "restart"]
    if wanted and target.restart.by == "none":
        yield Problem(
            "target",
            "restart.by",
            f"the stage {wanted[0]!r} restarts the target, which does not say how",
            hint='set [restart] by = "command" and command = ["program", "argument"]',
        )
