"""Shrinking on real sockets: block after block of trials, of smaller and smaller races.

Theory of operation. What is tried, and when it is enough, says `probe.stats.shrink`; here its
blocks are played. A block is pairs of trials in random order within each pair, at the offset and
at its control; a release carries as many of them as the comb of the variant has teeth. Releases
and trials keep the numbers and the planned clients of the whole race: who was taken away is not
launched, and what a smaller comb leaves over is not used.

The rule: a VARIANT row comes before the first trial of each. Where the stage's budget would not
reach for the last word on what is left, no further removal is tried, and that is said.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.history.records import Kind
from probe.stats.shrink import Shrinker
from probe.stats.window import Try

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from probe.engine.release import Trialled
    from probe.history.journal import Journal
    from probe.model.race import Race
    from probe.model.shrinking import Removed
    from probe.stats.shrink import Phase

    Play = Callable[[int, Sequence[Try], Race], Awaitable[list[Trialled] | None]]
    """Play a release of this number and this race; None where the run was stopped."""

TRIED, CONFIRMED = range(2)  # VARIANT.flag
_MARGIN: Final = 1.25  # of the time that the last word is expected to take
_NO_TIME: Final = "the stage's budget leaves no time for more"
_NO_TRIALS: Final = "the trials that were planned are used up"


def in_pairs(at_ns: int, control_ns: int, pairs: int, rng: Random) -> list[Try]:
    """An offset and its control in turn, in random order within each pair."""
    asked: list[Try] = []
    for _ in range(pairs):
        pair = [Try(at_ns, "confirm"), Try(control_ns, "control")]
        rng.shuffle(pair)
        asked += pair
    return asked


class Shrinking:
    """One race that is shrunk; `number` is the stage's place in the run."""

    def __init__(
        self,
        race: Race,
        number: int,
        journal: Journal,
        rng: Random,
        play: Play,
        deadline_ns: int,
    ) -> None:
        self._race = race
        self._number = number
        self._journal = journal
        self._rng = rng
        self._play = play
        self._deadline_ns = deadline_ns
        self._shrinker = Shrinker(race)
        self._releases = 0
        self._told: tuple[Phase, Removed] = ("baseline", ())
        self._took_ns: dict[Removed, float] = {}  # a trial of each variant

    async def run(self, why_stop: Callable[[], Awaitable[str]]) -> str:
        """All of it; why it ended before all was tried, or ""."""
        shrinker = self._shrinker
        while shrinker.block() > 0:
            self._announce()
            trying, began, made = shrinker.trying, now_ns(), shrinker.counts.trials
            why = await self._block(why_stop)
            if why:
                return why
            made = shrinker.counts.trials - made
            self._took_ns[trying] = (now_ns() - began) / max(made, 1)
            shrinker.look()
            self._spare_time()
        return shrinker.why

    async def _block(self, why_stop: Callable[[], Awaitable[str]]) -> str:
        race, shrinker = self._race, self._shrinker
        assert race.at is not None
        asked = in_pairs(race.at, race.kept_against, shrinker.block(), self._rng)
        variant = shrinker.variant()
        while asked and not shrinker.hopeless:
            why = await why_stop()
            if why:
                return why
            if self._releases >= race.releases:
                return _NO_TRIALS
            tries, asked = asked[: variant.comb], asked[variant.comb :]
            first = self._releases * race.comb
            told = await self._play(self._releases, tries, variant)
            if told is None:
                return "interrupted"
            self._releases += 1
            for each in told:
                shrinker.tell(each.told, at=tries[each.trial - first].stage == "confirm")
        return ""

    def _announce(self) -> None:
        """Say from which trial on which variant is played."""
        now = (self._shrinker.phase, self._shrinker.trying)
        if now == self._told:
            return
        self._told = now
        phase, removed = now
        text = {
            "without": [each.place for each in removed],
            "words": removed[-1].words(self._race),
        }
        first = self._releases * self._race.comb
        reference = self._journal.text(json.dumps(text).encode())
        flag = CONFIRMED if phase == "confirm" else TRIED
        self._journal.note(Kind.VARIANT, first, flag, self._number, reference)

    def _spare_time(self) -> None:
        """Leave as much time as the last word on what is left is expected to take."""
        shrinker = self._shrinker
        if shrinker.phase != "removal":
            return
        last = 2 * shrinker.pairs * self._took_ns[shrinker.removed] if shrinker.removed else 0
        block = 2 * shrinker.block() * self._took_ns.get(shrinker.trying, 0)
        if now_ns() + _MARGIN * (last + block) > self._deadline_ns:
            shrinker.finish(_NO_TIME)
