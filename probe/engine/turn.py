"""One client's part in a release of a race: its trial, its gates, and what they let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from probe.engine.gate import Timeline

NEAR_NS: Final = 1_000_000_000
"""What is due this much later than the first is prepared only shortly before its instant."""
LEAD_NS: Final = 200_000_000


class Turn:
    """`trial` is its trial, `swept_ns` the offset that is on trial.

    `shift_ns` is how much later than the release its trial is, so that trials of one comb do
    not stand in each other's way at the service.

    `stamps` has what each of its gates let go, by the number of the gate, `aims` the offsets
    that were meant. `away`: its first gate is so late that nothing is prepared for it yet.
    `waits` says that it has come to its first gate, as `watch` is told; `overdue` that it was
    stopped because it took too long, which is a failure of its own.
    """

    __slots__ = (
        "_shift_ns", "_swept_ns", "aims", "asked_ns", "away", "overdue", "passed", "rtt_ns",
        "stamps", "timeline", "trial", "waits", "watch",
    )  # fmt: skip

    def __init__(
        self,
        timeline: Timeline,
        trial: int,
        swept_ns: int,
        watch: Callable[[], None],
        *,
        shift_ns: int = 0,
        away: bool = False,
    ) -> None:
        self.timeline = timeline
        self.trial = trial
        self.away = away
        self.watch = watch
        self.stamps: dict[int, int] = {}
        self.aims: dict[int, int] = {}
        self.asked_ns: int | None = None  # the offset of the gate that is to be passed next
        self.passed = 0  # how many were
        self.waits = False
        self.overdue = False
        self.rtt_ns = 0  # of what it has prepared; 0: not known
        self._swept_ns = swept_ns
        self._shift_ns = shift_ns

    def ask(self, offset_ns: int | None) -> None:
        """The next thing that is sent waits for T plus `offset_ns` (None: the one on trial)."""
        offset_ns = self._swept_ns if offset_ns is None else offset_ns
        self.asked_ns = offset_ns + self._shift_ns

    def come(self) -> None:
        """The client stands at its gate with all that can be prepared."""
        if not self.waits:
            self.waits = True
            self.watch()

    def take(self) -> tuple[int, int]:
        """Pass the gate that was asked for: its number and its offset."""
        assert self.asked_ns is not None
        offset_ns, self.asked_ns = self.asked_ns, None
        number, self.passed = self.passed, self.passed + 1
        self.aims[number] = offset_ns
        return number, offset_ns
