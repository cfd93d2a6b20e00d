"""Releases: the clients of a race as rows of the plan, as many as its trials may need.

The rule: every trial is its own set of clients with identities of their own, so that nothing
of one trial is left for the next. How many will be used is found out by the search; the plan
is what there is at most, and a trial's rows are the same whether those before it were used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from probe.model.race import Race

CALIBRATORS = 2


def race_clients(
    race: Race, endpoints: Sequence[str], dtype: np.dtype[np.void]
) -> NDArray[np.void]:
    """Rows of `dtype` by trial: population and identity count from 0, sessions are left open.

    The calibrating pair comes last, as one trial more.
    """
    names = list(race.actors)
    places = {name: _places(race, name, endpoints) for name in names}
    actors, teeth, slots = _set(race)
    count, size = race.releases, len(actors)
    out = np.zeros(count * size + calibrators(race), dtype=dtype)
    release = np.repeat(np.arange(count), size)
    trial = release * race.comb + np.tile(teeth, count)
    body = out[: count * size]
    body["trial"], body["population"] = trial, np.tile(actors, count)
    body["identity"] = release * size + np.tile(slots, count)
    for number, name in enumerate(names):
        mine = body["population"] == number
        chosen = np.array(places[name])
        turn = trial if race.own(name) else release
        body["endpoint"][mine] = chosen[turn[mine] % len(chosen)]
    tail = out[count * size :]
    tail["trial"], tail["population"] = count * race.comb, len(names)
    tail["identity"] = count * size + np.arange(len(tail))
    tail["endpoint"] = places[race.swept][0]
    out["stop_ns"] = -1
    return out


def calibrators(race: Race) -> int:
    """How many clients measure the jitter: none where the scenario tells it."""
    return CALIBRATORS if race.jitter is None else 0


def identities_of_one(race: Race) -> int:
    """How many different users one release has."""
    return len(set(_set(race)[2].tolist()))


def _set(race: Race) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """One release: of each client its actor, its tooth of the comb, and its user."""
    actors: list[int] = []
    teeth: list[int] = []
    slots: list[int] = []
    known: dict[tuple[int, str], int] = {}
    for tooth in range(race.comb):
        for number, (name, actor) in enumerate(race.actors.items()):
            if tooth and not race.own(name):
                continue
            shared = race.comb_of == "swept"
            label = (0 if shared else tooth, actor.user) if actor.user else (-1, str(len(slots)))
            actors.append(number)
            teeth.append(tooth)
            slots.append(known.setdefault(label, len(known)))
    return np.array(actors), np.array(teeth), np.array(slots)


def _places(race: Race, name: str, endpoints: Sequence[str]) -> list[int]:
    chosen = race.actors[name].endpoints
    return [endpoints.index(each) for each in chosen] or list(range(len(endpoints)))
