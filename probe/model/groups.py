"""Groups: the populations of a scenario in the order in which rows number them.

Here too: whether scenario, target and dialect name what the others have. Every name that
leads nowhere is one mistake, and all of them are told at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from probe.errors import ConfigError, Problem
from probe.model.auth import EnvAuth, MintAuth, NoAuth
from probe.model.credential_steps import authenticating, credential_step
from probe.model.matrix import once, populations
from probe.model.race import CALIBRATION
from probe.model.reading import known
from probe.model.releases import calibrators, identities_of_one
from probe.model.scenario import Population
from probe.model.script import (
    Await,
    Connect,
    Finish,
    Flood,
    Gate,
    Http,
    Logout,
    Refresh,
    Revoke,
    Run,
    Squeeze,
    Token,
    steps_of,
)
from probe.model.shape import Shape
from probe.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.model.capacity import Capacity
    from probe.model.dialect import Dialect, RunRule
    from probe.model.race import Race
    from probe.model.scenario import Expect, Scenario, Stage
    from probe.model.script import Step
    from probe.model.target import Target

CLIMBERS: Final = "clients"  # the population of a capacity stage


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
            groups.append(Group(name, "visit", once(stage.present)))
        elif stage.activity == "matrix":
            groups += [Group(name, *each) for each in populations(name, stage, dialect)]
        elif stage.race is not None:
            groups += [Group(name, *each) for each in _actors(stage.race)]
        elif stage.capacity is not None:
            groups.append(Group(name, CLIMBERS, _climbers(stage.capacity)))
        else:
            groups += [Group(name, each, part) for each, part in stage.populations.items()]
    return tuple(groups)


def _actors(race: Race) -> Iterator[tuple[str, Population]]:
    """Each actor as a population, in the order of the file; the plan says how many there are.

    Behind them the clients that measure the jitter, where the scenario does not tell it.
    """
    for name, actor in race.actors.items():
        each = race.comb if race.own(name) else 1
        population = Population(
            shape=Shape(clients=race.releases * each),
            script=actor.script,
            endpoints=actor.endpoints,
            present=actor.present,
        )
        yield name, population.model_copy(update={"finally_": actor.finally_})
    if calibrators(race):
        swept = race.actors[race.swept]
        pair = once(swept.present, calibrators(race))
        yield CALIBRATION, pair.model_copy(update={"endpoints": swept.endpoints})


def _climbers(capacity: Capacity) -> Population:
    """Who comes to every level; how many and when is found out level by level."""
    population = Population(
        shape=Shape(clients=1),
        script=capacity.script,
        endpoints=capacity.endpoints,
        present=capacity.present,
        users=capacity.users,
    )
    return population.model_copy(update={"finally_": capacity.finally_})


def check_fit(
    scenario: Scenario, target: Target, dialect: Dialect, groups: tuple[Group, ...]
) -> None:
    """ConfigError with everything that one file asks for and another does not have."""
    problems: list[Problem] = []
    for group in groups:
        stage = scenario.stages[group.stage]
        inner = f"populations.{group.name}" if stage.race is None else f"race.actors.{group.name}"
        where = f"stages.{group.stage}.{'capacity' if stage.capacity is not None else inner}"
        problems += _population(group.population, where, target, dialect)
    problems += misplaced_gates(scenario)
    for name, stage in scenario.stages.items():
        names = [group.name for group in groups if group.stage == name]
        for number, limit in enumerate(stage.expect.latency):
            path = f"stages.{name}.expect.latency.{number}.population"
            problems += known(path, "population", limit.population, names)
        problems += _judgeable(f"stages.{name}.expect", stage.expect, target, dialect)
        problems += _racing(name, stage, target)
        problems += _outlived(name, stage, target)
        problems += authenticating(name, stage, target)
        problems += _climbing(name, stage, dialect)
    problems += _restart(scenario, target)
    if problems:
        raise ConfigError(*_with_what_fits(scenario, problems))


def _with_what_fits(scenario: Scenario, problems: list[Problem]) -> list[Problem]:
    """The last of them names the stages that nothing stands in the way of."""
    wrong = {tuple(each.path.split(".")[:2]) for each in problems}
    fit = [name for name in scenario.stages if ("stages", name) not in wrong]
    last = problems[-1]
    if not fit or last.hint or any(path[0] != "stages" for path in wrong):
        return problems
    words = " ".join(f"--stage {name}" for name in fit)
    return [*problems[:-1], replace(last, hint=f"the other stages fit: {words}")]


def _climbing(name: str, stage: Stage, dialect: Dialect) -> Iterator[Problem]:
    asks = stage.capacity is not None and stage.capacity.of == "messages"
    if asks and dialect.sentinel is None and not dialect.echo:
        message = f"the stage {name!r} sends messages, none of which has an answer of its own"
        hint = "give the dialect a [sentinel], or echo = true where the service echoes"
        yield Problem("dialect", "sentinel", message, hint=hint)


def _outlived(name: str, stage: Stage, target: Target) -> Iterator[Problem]:
    """Tokens are minted when a trial begins: the last client to come needs a good one, too."""
    shapes = [population.shape for population in stage.populations.values()]
    span_ns = max((shape.after + shape.curve().span_ns for shape in shapes), default=0)
    if isinstance(target.auth, MintAuth) and target.auth.lifetime <= span_ns:
        message = (
            f"tokens live for {format_duration(target.auth.lifetime)}, and the stage {name!r} lets "
            f"clients in for {format_duration(span_ns)}"
        )
        yield Problem("target", "auth.lifetime", message, hint="give them longer, or load shorter")


def misplaced_gates(scenario: Scenario) -> Iterator[Problem]:
    """Gates of clients that nobody races against; told without target and dialect."""
    for name, stage in scenario.stages.items():
        for each, population in stage.populations.items():
            script = population.script if isinstance(population.script, tuple) else ()
            for key, steps in (("script", script), ("finally", population.finally_)):
                for number, step in enumerate(steps):
                    if isinstance(step, Gate):
                        yield Problem(
                            "scenario",
                            f"stages.{name}.populations.{each}.{key}.{number}",
                            "a gate is where the actors of a race meet, and this stage is none",
                            f"do = {step.do!r}",
                            hint='drop it, or make this an actor of a stage with activity = "race"',
                        )


def _racing(name: str, stage: Stage, target: Target) -> Iterator[Problem]:
    """Whether the actors of a race are as many users as the scenario means them to be."""
    if stage.race is None:
        if stage.expect.race:
            message = "there is no race in this stage"
            yield Problem("scenario", f"stages.{name}.expect.race", message)
        return
    where = f"stages.{name}.race"
    if not stage.expect.race:
        message = "the race would be run and not judged"
        yield Problem("scenario", f"stages.{name}.expect", message, hint="set race = true")
    shared = 1 if isinstance(target.auth, EnvAuth) else getattr(target.auth, "identities", None)
    needed = identities_of_one(stage.race)
    if shared is not None and shared < needed:
        message = f"one release needs {needed} different users, and the target has {shared}"
        yield Problem("scenario", where, message, hint=f"lower {where}.comb")


def _judgeable(where: str, expect: Expect, target: Target, dialect: Dialect) -> Iterator[Problem]:
    """What is expected can be judged at all, with this target and this dialect."""
    title = repr(dialect.title)
    cases = (
        ("health", expect.health, not target.services, "the target names no [services] to ask"),
        ("runs", expect.runs, dialect.run is None, f"{title} knows no runs"),
        ("delivery", expect.delivery, dialect.run is None, f"{title} knows no runs"),
        ("replay", expect.replay, dialect.replay is None, f"{title} has no [replay]"),
        (
            "broadcast",
            expect.broadcast,
            dialect.promises.recipients == "session",
            f'{title} promises a run\'s events to its own session (promises.recipients = "user")',
        ),
        ("rate_limit", expect.rate_limit, dialect.sentinel is None, f"{title} has no [sentinel]"),
        ("large", expect.large, dialect.accepts_max is None, f"{title} has no accepts_max"),
    )
    for name, wanted, lacking, why in cases:
        if wanted and lacking:
            drop = f"--set {where}.{name}=false" if wanted is True else f"drop {where}.{name}"
            yield Problem("scenario", f"{where}.{name}", why, hint=f"name it there, or {drop}")


def _population(
    population: Population, where: str, target: Target, dialect: Dialect
) -> Iterator[Problem]:
    for name in population.endpoints:
        yield from known(f"{where}.endpoints", "endpoint", name, target.endpoints)
    yield from known(f"{where}.present", "presentation", population.present, dialect.present)
    yield from _first_message(f"{where}.present", population.present, target, dialect)
    yield from _arrives(population, where, dialect)
    script = steps_of(population.script, runs=dialect.run is not None)
    if isinstance(script, str):
        message = "a Python script belongs into a Python scenario, as the function itself"
        yield Problem("scenario", f"{where}.script", message, repr(script), "steps, or 'visit'")
    elif isinstance(script, tuple):
        for number, step in enumerate(script):
            yield from _step(step, f"{where}.script.{number}", target, dialect)
    for number, step in enumerate(population.finally_):
        yield from _step(step, f"{where}.finally.{number}", target, dialect)


def _arrives(population: Population, where: str, dialect: Dialect) -> Iterator[Problem]:
    if population.shape.unread:
        message = "what was recorded has not been read"
        yield Problem("scenario", f"{where}.shape.replay.file", message, hint="give its `text`")
    if population.shape.herd is not None and not dialect.retry:
        message = f"a herd climbs the retry ladder, and {dialect.title!r} has none"
        hint = 'give it retry = ["100ms", "200ms", …], or write clients in place of herd'
        yield Problem("dialect", "retry", message, hint=hint)


def _step(step: Step, where: str, target: Target, dialect: Dialect) -> Iterator[Problem]:
    match step:
        case Connect(present=name):
            yield from known(f"{where}.present", "presentation", name, dialect.present)
        case Run() | Finish() | Squeeze() if dialect.run is None:
            yield Problem("scenario", where, f"{dialect.title!r} knows no runs", step.do)
        case Run(size=size, pad=pad, thread=thread) if dialect.run is not None:
            yield from _has_place(where, dialect.run, "{thread}", wanted=thread == "shared")
            yield from _has_place(f"{where}.size", dialect.run, "{size}", wanted=size > 1)
            yield from _has_place(f"{where}.pad", dialect.run, "{pad}", wanted=pad > 0)
        case Squeeze(pad=pad) if dialect.run is not None:
            yield from _has_place(where, dialect.run, "{size}", wanted=True)
            yield from _has_place(f"{where}.pad", dialect.run, "{pad}", wanted=pad > 0)
            if not any(event.times == "1..*" for event in dialect.run.steps):
                message = "no event of a run is repeated, so that a run has no size"
                hint = 'give one of run.events times = "1..*"'
                yield Problem("dialect", "run.events", message, hint=hint)
        case Flood() if dialect.sentinel is None:
            message = f"{dialect.title!r} has no [sentinel], of which a flood is made"
            yield Problem("scenario", where, message, step.do)
        case Await(event=name):
            yield from known(f"{where}.event", "event", name, dialect.types)
        case Token() | Refresh() | Revoke() | Logout():
            yield from credential_step(step, where, target, dialect)
        case Http(service=name):
            yield from known(f"{where}.service", "service", name, target.services)


def _first_message(where: str, name: str, target: Target, dialect: Dialect) -> Iterator[Problem]:
    """One that needs a token is not sent without one, and then nobody gets in."""
    shown = dialect.present.get(name)
    message = shown.first_message if shown else None
    if target.lab is not None and target.lab.processes > 1 and message:
        words = f"{name!r} names its user in the first message, and the lab has several processes"
        yield Problem("scenario", where, words, hint="set lab.processes = 1 in the target")
    if isinstance(target.auth, NoAuth) and message and "{token}" in message:
        others = [n for n, p in dialect.present.items() if "{token}" not in (p.first_message or "")]
        hint = f"or use a presentation without one: {', '.join(others)}" if others else ""
        words = f"{name!r} shows a token in its first message, and the target has no [auth]"
        yield Problem("scenario", where, words, hint=hint)


def _has_place(where: str, rule: RunRule, place: str, *, wanted: bool) -> Iterator[Problem]:
    if wanted and place not in rule.start:
        message = f"run.start of the dialect has no {place}, so that nothing would ask for it"
        yield Problem("scenario", where, message)


def _restart(scenario: Scenario, target: Target) -> Iterator[Problem]:
    wanted = [name for name, stage in scenario.stages.items() if stage.anchor == "restart"]
    if wanted and target.restart.by == "none":
        yield Problem(
            "target",
            "restart.by",
            f"the stage {wanted[0]!r} restarts the target, which does not say how",
            hint='set [restart] by = "command" and command = ["program", "argument"]',
        )
