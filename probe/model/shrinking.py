"""Shrinking: what can be taken away from a race, and the race that is left.

A *removal* takes one thing away: clients of a comb, a whole actor, or one step of a script. A
*variant* is the race of the scenario less some removals, each named by its place in that race:
`comb=1`, `actors.third`, `actors.client.script.5` (steps are counted from 0, gates too).

The rule: what the offset is measured between stays, which is both gates, the steps right behind
them, and their actors; so does every other gate, so that instants keep their meaning. Of an actor
written in Python only the whole can go. What `Race` refuses is no variant. Clean-up steps are no
part of the race. Order: largest first; what has been tried less often comes first.

The search is the greedy half of delta debugging with single removals: it ends with a race that is
one-minimal, from which no single removal leaves the anomaly (Zeller and Hildebrandt, Simplifying
and Isolating Failure-Inducing Input, IEEE TSE 28, 2002).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from probe.model.race import Race
from probe.model.script import Gate, Token

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from probe.model.scenario import Scenario

Removed = tuple["Removal", ...]
"""The removals of a variant, in the order in which they were made."""
_COMB: Final = "comb="


@dataclass(frozen=True, slots=True)
class Removal:
    """One of: the comb that is left (`comb` > 0), an actor, or (`step` >= 0) one step of it."""

    comb: int = 0
    actor: str = ""
    step: int = -1

    @property
    def place(self) -> str:
        """Its name, as above."""
        if self.comb:
            return f"{_COMB}{self.comb}"
        return f"actors.{self.actor}" + (f".script.{self.step}" if self.step >= 0 else "")

    def words(self, race: Race) -> str:
        """It in a sentence, behind "without" or as a list: "step 6 (close) of client"."""
        if self.comb:
            left = race.model_copy(update={"comb": self.comb}).sessions
            return f"{race.sessions - left:,} of {race.sessions:,} clients at a time"
        if self.step < 0:
            return f"the actor {self.actor}"
        what = race.actors[self.actor].steps[self.step].do
        return f"step {self.step + 1} ({what}) of {self.actor}"


def read_removal(text: str) -> Removal:
    """The removal of a place; ValueError for what names none."""
    if text.startswith(_COMB):
        return Removal(comb=int(text.removeprefix(_COMB)))
    match text.split("."):
        case ["actors", actor]:
            return Removal(actor=actor)
        case ["actors", actor, "script", step]:
            return Removal(actor=actor, step=int(step))
    raise ValueError(f"{text!r} names nothing that can be taken from a race")


def joined(removed: Removed, more: Removal) -> Removed:
    """One removal more; what it makes needless goes: an older comb, steps of the actor."""
    whole = more.actor if more.step < 0 else ""
    kept = [
        each
        for each in removed
        if not (more.comb and each.comb) and not (whole and each.actor == whole)
    ]
    return (*kept, more)


def variant(race: Race, removed: Removed) -> Race | None:
    """The race without these; None where that is no race."""
    data = _plain(race)
    steps: dict[str, set[int]] = {}
    for each in removed:
        if each.comb:
            data["comb"] = each.comb
        elif each.step < 0:
            del data["actors"][each.actor]
        else:
            steps.setdefault(each.actor, set()).add(each.step)
    labels = Counter(actor.get("user") for actor in data["actors"].values())
    for actor in data["actors"].values():
        if labels[actor.get("user")] == 1:
            actor.pop("user", None)  # it joins nobody any more
    for name, gone in steps.items():
        script = data["actors"][name]["script"]
        data["actors"][name]["script"] = [s for k, s in enumerate(script) if k not in gone]
    try:
        made = Race.model_validate(data)
    except ValidationError:
        return None
    # What is written in Python has no other form than itself.
    kept = {
        name: actor.model_copy(update={"script": race.actors[name].script})
        if callable(race.actors[name].script)
        else actor
        for name, actor in made.actors.items()
    }
    return made.model_copy(update={"actors": kept})


def candidates(
    race: Race, removed: Removed, tried: Collection[frozenset[Removal]] = ()
) -> list[Removal]:
    """The single removals that are left to try on a variant, in order.

    `tried` are variants that were tried, each as the set of its removals. A comb goes to 1;
    where it has to stay larger, how large is found by halves.
    """
    now = variant(race, removed)
    assert now is not None
    made = [*_combs(now, removed, tried), *_actors(race, removed), *_steps(race, removed)]
    left = [
        each
        for each in made
        if frozenset(other := joined(removed, each)) not in tried
        and variant(race, other) is not None
    ]
    return sorted(left, key=lambda each: sum(each in other for other in tried))


def size(race: Race) -> tuple[int, int]:
    """Clients of one release, and steps of all scripts together (gates too; Python has none)."""
    return race.sessions, sum(len(race.actors[name].steps) for name in race.actors)


def trials_bound(race: Race, pairs: int) -> int:
    """How many trials shrinking may make: each single removal twice at its most, and both ends."""
    return 2 * pairs * (2 + 2 * len(candidates(race, ())))


def scenario_of(scenario: Scenario, stage: str, race: Race) -> dict[str, Any]:
    """A scenario that plays this race at its one offset and its control, as data for a file."""
    assert race.at is not None
    plain = _plain(race, short=True)
    plain.pop("shrink", None)
    plain["control"] = _plain(race.model_copy(update={"control": race.kept_against}))["control"]
    actors = plain.pop("actors")
    head = scenario.model_dump(mode="json", include={"target"}, exclude_defaults=True)
    kept = scenario.stages[stage].model_dump(mode="json", include={"budget", "patience"})
    body = {"activity": "race", **kept, "expect": {"race": True}, "race": plain}
    body["race"]["actors"] = actors
    title = f"{scenario.title}: {stage}, shrunk"
    return {"title": title, **head, "stages": {stage: body}}


def in_python(race: Race) -> bool:
    """Whether an actor is written in Python, so that no file of data can hold the race."""
    return any(not actor.steps for actor in race.actors.values())


def _plain(race: Race, *, short: bool = False) -> dict[str, Any]:
    return race.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=short)


def _measured(race: Race) -> set[str]:
    """The actors that offsets are measured between."""
    return {race.swept, race.reference()[0]}


def _combs(now: Race, removed: Removed, tried: Collection[frozenset[Removal]]) -> Iterator[Removal]:
    """The next comb to try: 1, and then by halves what lies above the largest that failed."""
    if now.comb == 1:
        return
    failed = [k for k in range(1, now.comb) if frozenset(joined(removed, Removal(comb=k))) in tried]
    low = max(failed, default=0)
    if low + 1 < now.comb:
        yield Removal(comb=1 if not low else (low + now.comb) // 2)


def _actors(race: Race, removed: Removed) -> list[Removal]:
    """Whole actors, the one with the most steps first, the last of equals before the others."""
    gone = {each.actor for each in removed if each.actor and each.step < 0}
    names = [name for name in race.actors if name not in gone | _measured(race)]
    names.sort(key=lambda name: len(race.actors[name].steps))
    return [Removal(actor=name) for name in reversed(names)]


def _steps(race: Race, removed: Removed) -> Iterator[Removal]:
    """Steps from the end, but for gates and what the two measured gates let go."""
    gone = set(removed)
    held = {_behind(race, *race.reference()), _behind(race, race.swept, race.swept_gate())}
    for name in reversed(race.actors):
        if Removal(actor=name) in gone:
            continue
        for number in reversed(range(len(race.actors[name].steps))):
            each = Removal(actor=name, step=number)
            gate = isinstance(race.actors[name].steps[number], Gate)
            if not gate and each not in held and each not in gone:
                yield each


def _behind(race: Race, name: str, gate: int) -> Removal:
    """The step that this gate lets go, as the removal that is never made."""
    script = race.actors[name].steps
    gates = [k for k, step in enumerate(script) if isinstance(step, Gate)]
    if not gates:
        return Removal(actor=name)
    rest = range(gates[gate], len(script))
    step = next(k for k in rest if not isinstance(script[k], Gate | Token))
    return Removal(actor=name, step=step)
