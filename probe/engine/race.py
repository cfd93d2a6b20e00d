"""A race stage: release after release, each at the offsets that the search asks for next.

Theory of operation. First the jitter is measured, unless the scenario tells it. Then
`probe.stats.window_search` says which offset is tried next; a release carries as many trials
as the comb has teeth; what each told goes into the journal as a TRIAL row and back to the
search, with the offset that was measured. It ends with the search, at the stage's budget, when
somebody stops the run, or when too many trials told nothing. A race that is to be shrunk is
played by `shrinking` instead, release by release in the same way.

What is asked of a plan and what is measured differ by something that is the same in every
trial (a request over HTTP counts from its answer): the median of it is taken off what is asked.

The rule: the search's seed is the run's, so that the same answers lead to the same trials.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from probe.clock import now_ns
from probe.engine.calibrate import measured_jitter
from probe.engine.release import Release
from probe.engine.shrinking import Shrinking, in_pairs
from probe.history.records import Kind, Sought, Trial
from probe.stats.window import Space, Try
from probe.stats.window_search import Search

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probe.auth.identity import Identity
    from probe.engine.play import Part
    from probe.engine.release import Trialled
    from probe.engine.site import Site
    from probe.model.plan import StagePlan
    from probe.model.race import Race
    from probe.stats.window import Stage as Why

Identities = Callable[[list[int]], "Awaitable[list[Identity] | None]"]
"""Tokens of these identities; None where the run was stopped meanwhile."""
ASSUMED_NS: Final = 1_000_000
TOLD, MEASURED, ASSUMED = range(3)  # JITTER.flag
_TRIED_MAX: Final = 31  # trials whose error is remembered
_SOUGHT: Final[Mapping[Why, Sought]] = {
    "sweep": Sought.SWEEP,
    "localise": Sought.LOCALISE,
    "confirm": Sought.CONFIRM,
    "control": Sought.CONTROL,
}
_TOLD: Final = {
    "void": Trial.VOID,
    "fine": Trial.FINE,
    "anomaly": Trial.ANOMALY,
    "unplaced": Trial.UNPLACED,
}


class Policy(Protocol):
    """What says which offset is tried next."""

    def next(self) -> Try | None:
        """The next one; None when it is over."""

    def kept(self, asked: Try, offset_ns: int) -> Why:
        """What it counts as where it was measured."""

    def tell(self, offset_ns: int, anomaly: bool, stage: Why) -> None:
        """What came of one, at its measured offset."""


class AtOne:
    """No search: one offset and its control in turn, in pairs of random order."""

    def __init__(self, at_ns: int, control_ns: int, trials: int, rng: Random) -> None:
        self._asked = deque(in_pairs(at_ns, control_ns, (trials + 1) // 2, rng))

    def next(self) -> Try | None:
        """The next trial that has told nothing yet."""
        return self._asked.popleft() if self._asked else None

    def kept(self, asked: Try, offset_ns: int) -> Why:  # noqa: ARG002 -- as Search
        """What was asked for."""
        return asked.stage

    def tell(self, offset_ns: int, anomaly: bool, stage: Why) -> None:
        """Nothing is learnt from it."""


class RaceRun:
    """One race stage; `number` is the stage's place in the run."""

    def __init__(
        self,
        site: Site,
        stage: StagePlan,
        parts: Mapping[int, Part],
        number: int,
        seed: int,
        stop: asyncio.Event,
    ) -> None:
        race = stage.stage.race
        assert race is not None
        self._site = site
        self._race: Race = race
        self._budget_ns = stage.stage.budget
        self._clients = stage.clients
        self._number = number
        self._stop = stop
        self._parts = parts
        # A random seed of its own for each stage, and the same whatever the process.
        digest = hashlib.sha256(f"{seed}/{stage.name}".encode()).digest()
        self._seed = int.from_bytes(digest[:4])
        self._rng = Random(self._seed)  # noqa: S311 -- no secret: an order
        self._errors: deque[int] = deque(maxlen=_TRIED_MAX)
        self._void = 0
        self._told = 0
        self._wrong = 0

    async def run(self, identities: Identities, why_stop: Callable[[], Awaitable[str]]) -> str:
        """All of it; why it ended early, or ""."""
        site, race = self._site, self._race
        deadline = now_ns() + self._budget_ns
        site.live.trials, site.live.anomalies = race.trials_max, 0
        try:
            jitter = await self._jitter(identities)
        except StoppedError:
            return "interrupted"
        if race.shrink:
            return await self._shrink(identities, why_stop, deadline)
        return await self._search(identities, why_stop, self._policy(jitter))

    async def _search(
        self, identities: Identities, why_stop: Callable[[], Awaitable[str]], policy: Policy
    ) -> str:
        race = self._race
        for number in range(race.releases):
            why = await why_stop()
            if why:
                return why
            tries = self._next(policy)
            if not tries:
                return ""
            told = await self._release(number, tries, identities, race)
            if told is None:
                return "interrupted"
            tries = _kept(policy, tries, told, number * race.comb)
            for each, asked, offset_ns in self._noted(number, tries, told):
                if each.told in ("fine", "anomaly"):
                    policy.tell(offset_ns, each.told == "anomaly", asked.stage)
                    await asyncio.sleep(0)  # it may think for some milliseconds
            if self._void > race.voids_max:
                return f"{self._void} of {self._void + self._told} trials told nothing"
        return "" if policy.next() is None else "the trials that were planned are used up"

    def _policy(self, jitter_ns: int) -> Policy:
        race = self._race
        if race.at is not None:
            return AtOne(race.at, race.kept_against, race.trials_max, self._rng)
        low, high = race.range
        space = Space(low, high, jitter_ns, race.shape, race.goal)
        return Search(space, self._seed, trials_max=race.trials, confirm_max=race.confirm)

    def _next(self, policy: Policy) -> list[Try]:
        tries: list[Try] = []
        while len(tries) < self._race.comb and (found := policy.next()) is not None:
            tries.append(found)
        return self._spaced(tries)

    def _spaced(self, tries: list[Try]) -> list[Try]:
        """Each at least the race's spacing from the others, within the range.

        They are moved away from the middle one. What is to confirm and slips across the edge by
        that counts as a trial of the search (`kept`).
        """
        race = self._race
        if race.at is not None:
            return tries
        order = sorted(range(len(tries)), key=lambda k: tries[k].offset_ns)
        moved = spaced([tries[k].offset_ns for k in order], race.spacing, *race.range)
        out = list(tries)
        for k, offset_ns in zip(order, moved, strict=True):
            out[k] = replace(tries[k], offset_ns=offset_ns)
        return out

    async def _shrink(
        self, identities: Identities, why_stop: Callable[[], Awaitable[str]], deadline: int
    ) -> str:
        async def play(number: int, tries: Sequence[Try], variant: Race) -> list[Trialled] | None:
            told = await self._release(number, tries, identities, variant)
            self._noted(number, tries, told or ())
            return told

        journal = self._site.journal
        whole = Shrinking(self._race, self._number, journal, self._rng, play, deadline)
        return await whole.run(why_stop)

    async def _release(
        self, number: int, tries: Sequence[Try], identities: Identities, race: Race
    ) -> list[Trialled] | None:
        """Play `race`, which is the stage's or a smaller one, with the clients of this release."""
        first = number * self._race.comb
        trials = self._clients["trial"]
        parts = self._parts_of(race)
        rows = self._clients[(trials >= first) & (trials < first + len(tries))]
        rows = rows[np.isin(rows["population"], list(parts))]
        found = await identities(rows["identity"].tolist())
        if found is None:
            return None
        for identity in found:
            self._site.everybody.add(identity)
        bias = round(median(self._errors)) if self._errors else 0
        offsets = {first + k: each.offset_ns - bias for k, each in enumerate(tries)}
        release = Release(self._site, parts, race, number, offsets, self._rng)
        told = await release.run(rows, found, self._stop)
        for each in told:
            if each.offset_ns is not None:
                self._errors.append(each.offset_ns - offsets[each.trial])
        return told

    def _parts_of(self, race: Race) -> dict[int, Part]:
        """What the actors of this race play, by the population of the plan."""
        every = zip(self._parts.items(), self._race.actors, strict=False)
        mine = {number: (name, part) for (number, part), name in every if name in race.actors}
        return {
            # Steps may have been taken from it; what is written in Python is played whole.
            number: replace(part, script=race.actors[name].steps or part.script)
            for number, (name, part) in mine.items()
        }

    def _noted(
        self, number: int, tries: Sequence[Try], told: Sequence[Trialled]
    ) -> list[tuple[Trialled, Try, int]]:
        """Write down what each trial told; with what was asked of it, and its offset."""
        site, first = self._site, number * self._race.comb
        out = []
        for each in told:
            asked = tries[each.trial - first]
            offset_ns = asked.offset_ns if each.offset_ns is None else each.offset_ns
            site.journal.note(
                Kind.TRIAL, each.trial, _TOLD[each.told], _SOUGHT[asked.stage], offset_ns
            )
            self._void += each.told == "void"
            self._told += each.told != "void"
            self._wrong += each.told in ("anomaly", "unplaced")
            site.live.trial, site.live.anomalies = self._told, self._wrong
            out.append((each, asked, offset_ns))
        return out

    async def _jitter(self, identities: Identities) -> int:
        """The jitter s in ns, told, measured, or assumed; its row says which."""
        race, flag, pairs = self._race, TOLD, 0
        found: int | None = race.jitter
        if found is None:
            flag = MEASURED
            rows = self._clients[self._clients["trial"] == race.releases * race.comb]
            given = await identities(rows["identity"].tolist())
            if given is None:
                raise StoppedError
            found, pairs = await measured_jitter(self._site, self._parts, rows, given)
        if found is None:
            flag, found = ASSUMED, ASSUMED_NS
        self._site.journal.note(Kind.JITTER, self._number, flag, pairs, found)
        return found


def spaced(offsets: Sequence[int], spacing: int, low: int, high: int) -> list[int]:
    """Sorted offsets, moved from the middle one away until they are so far apart, in the range."""
    moved = list(offsets)
    middle = len(moved) // 2
    for n in range(middle + 1, len(moved)):
        moved[n] = max(moved[n], moved[n - 1] + spacing)
    for n in reversed(range(middle)):
        moved[n] = min(moved[n], moved[n + 1] - spacing)
    for n in reversed(range(len(moved))):
        moved[n] = min(moved[n], high - spacing * (len(moved) - 1 - n))
    return [max(offset, low + spacing * n) for n, offset in enumerate(moved)]


def _kept(policy: Policy, tries: Sequence[Try], told: Sequence[Trialled], first: int) -> list[Try]:
    """The trials as what they count, now that their offsets are known; `first` is their number."""
    measured = {each.trial - first: each.offset_ns for each in told}
    return [
        asked if (at := measured.get(k)) is None else replace(asked, stage=policy.kept(asked, at))
        for k, asked in enumerate(tries)
    ]


class StoppedError(Exception):
    """The run was stopped before the first trial."""
