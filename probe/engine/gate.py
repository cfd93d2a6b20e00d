"""The gate of one release: who waits for which instant, and letting go at it.

Theory of operation. All actors come to their first gate; then the shared instant T is set,
and everything that waits is let go at T plus its own offset, the earliest first and at random
among those of one instant. A later gate of a script waits for T plus its offset, too; if that
has passed, what waits there is let go at once, and its stamp tells the truth. T is a time of
`now_ns`, which the processes of one host share: told the same T, several let go together
without a signal.

The rule: the stamp of what was let go counts, never the instant that was meant; one that could
not be let go is told with 0. What waits is a plain function that writes and returns its stamp,
so that those of one instant leave in one tight loop, sorted beforehand, with nothing between
two of them; only then is each told. Until the last 0.1 ms the loop goes on, since answers to
what was let go before must be read meanwhile; then it spins (event loops are late by a
millisecond). After the last-byte synchronisation of Kettle (2023).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from bisect import insort
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from random import Random

_LetGo = Callable[[], int]
_Told = Callable[[int], None]
_Due = tuple[int, float, _LetGo, _Told]  # its instant, its chance among those of the same
SETTLE_NS: Final = 100_000_000
SETTLE_RTTS: Final = 3
# What a timer of the loop may be late by, and more; but short of the scheduler's slice, since
# who has been busy for that long loses the core just at the instant.
_SLEEP_NS: Final = 1_500_000
_SPIN_NS: Final = 100_000
_ORDER: Final = itemgetter(0, 1)


class Timeline:
    """One release. `zero_ns` is T, 0 while the actors gather."""

    def __init__(self, rng: Random) -> None:
        self.zero_ns = 0
        self.lags_ns: list[int] = []  # of what was let go: how long after it was due
        self._rng = rng
        self._queue: list[_Due] = []  # sorted once T is set; until then with offsets
        self._changed = asyncio.Event()

    def add(self, offset_ns: int, let_go: _LetGo, told: _Told) -> None:
        """Have `let_go` called at T plus the offset, and then `told` with the stamp it returned.

        A stamp of 0 says that it could not be let go. `let_go` writes and does no more, since
        those behind it wait for it; what can wait is done by `told`.
        """
        due = (self.zero_ns + offset_ns, self._rng.random(), let_go, told)
        if not self.zero_ns:
            self._queue.append(due)
            return
        insort(self._queue, due, key=_ORDER)
        self._changed.set()

    def open(self, zero_ns: int) -> None:
        """T is set."""
        self.zero_ns = zero_ns
        self._queue = [(zero_ns + due[0], *due[1:]) for due in self._queue]
        self._queue.sort(key=_ORDER)
        self._changed.set()

    async def run(self) -> None:
        """Let go what is due, until cancelled."""
        while True:
            if not self.zero_ns or not self._queue:
                self._changed.clear()
                await self._changed.wait()
                continue
            left_ns = self._queue[0][0] - now_ns()
            if left_ns > _SLEEP_NS:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    left_s = (left_ns - _SLEEP_NS) / 1e9
                    await asyncio.wait_for(self._changed.wait(), left_s)
            elif left_ns > _SPIN_NS:
                await asyncio.sleep(0)
            else:
                self._let_go()

    def _let_go(self) -> None:
        """Everything that is due within the next 0.1 ms, or comes to be meanwhile."""
        stamps: list[int] = []
        clock = 0
        for due_ns, _, let_go, _ in self._queue:
            if due_ns > clock:  # the first of its instant
                clock = now_ns()
                if due_ns - clock > _SPIN_NS:
                    break
                while clock < due_ns:
                    clock = now_ns()
            try:
                stamps.append(let_go())
            except Exception as error:  # noqa: BLE001 -- a bug of one: the others do not wait for it
                stamps.append(0)
                _failed(error)
        gone = self._queue[: len(stamps)]
        del self._queue[: len(stamps)]
        for (due_ns, _, _, told), stamp in zip(gone, stamps, strict=True):
            if stamp:
                self.lags_ns.append(stamp - due_ns)
            try:
                told(stamp)
            except Exception as error:  # noqa: BLE001 -- the same
                _failed(error)


def _failed(error: Exception) -> None:
    context = {"message": "what a gate let go failed", "exception": error}
    asyncio.get_running_loop().call_exception_handler(context)


def settle_ns(rtts_ns: Iterable[int]) -> int:
    """What the service is given to read what was sent before the release: 100 ms, or 3 x RTT.

    Of a way that is not known (0) it is thought that it takes no more than that.
    """
    return max(SETTLE_NS, SETTLE_RTTS * max(rtts_ns, default=0))


def spread(stamps_ns: Sequence[int]) -> int:
    """From the smallest to the largest; 0 for fewer than two."""
    return max(stamps_ns) - min(stamps_ns) if len(stamps_ns) > 1 else 0


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
