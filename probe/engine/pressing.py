"""Steps that press a service: a flood, a large message, a reader that does not read.

The rule: what a service does under pressure is the answer that was asked for, so losing,
limiting or refusing fails no session; only a connection that ends for it, against what the
dialect says, does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.engine.hearing import FLOOD_FROM
from probe.engine.steps import SETTLE_WITHIN_NS, Steps
from probe.engine.waiting import (
    DONE,
    ENDED,
    FLOOD,
    LARGE,
    MESSAGE,
    PONG,
    RUNS,
    SENTINEL,
    SessionOver,
)
from probe.history.records import Put
from probe.stats.bisect import next_size

if TYPE_CHECKING:
    from probe.engine.runs import Begun

MS: Final = 1_000_000
SILENCE_NS: Final = 2_000 * MS
LARGE_WITHIN_NS: Final = 5_000 * MS
_AT_ONCE: Final = 256  # messages in one turn of the loop
_TOO_BIG: Final = 1009
_HOLD_NS_MIN: Final = 200 * MS
_PACE_NS: Final = MS // 5  # time that a service is given for each event
_HOLD_NS_MAX: Final = 10_000 * MS
_TRICKLE_NS: Final = 200 * MS


class Pressing(Steps):
    """See `probe.model.script.Session` for what each step means."""

    __slots__ = ()

    async def flood(self, count: int) -> None:
        """Send `count` sentinels at once and wait until each is answered, limited, or silence.

        SessionOver only where the connection does not take them.
        """
        await self.pass_by()
        if self._site.dialect.sentinel is None:
            raise SessionOver("the dialect has no sentinel to flood with")
        first = FLOOD_FROM + self._flooded
        self._flooded += count
        self._flood_open = count
        unanswered = self._flood = self._flood or set()
        for number in range(first, first + count):
            unanswered.add(number)
            self._put(self._sentinel_text(number), Put.FLOOD)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        try:
            while self._flood_open:
                before = self._flood_open
                outcome = await self._wait(SILENCE_NS, kind=FLOOD)
                if outcome == ENDED or self._flood_open == before:
                    return
        finally:
            self._flood_open = 0

    async def large(self, size: int) -> None:
        """Send one message of `size` bytes; SessionOver where one within the promise is refused.

        A Close with 1009 ends the connection and not the session, where the dialect does not
        promise to take so much.
        """
        await self.pass_by()
        payload, numbered = self._padded(size)
        self._put(payload, Put.LARGE)
        if numbered:
            self._note_sentinel(self._sentinel)
        outcome = await self._wait(LARGE_WITHIN_NS, kind=LARGE if numbered else MESSAGE)
        if outcome == DONE:
            return
        promised = self._site.dialect.accepts_max
        beyond = promised is None or size > promised
        if outcome == ENDED:
            end = self._open_end
            if end is not None and end.code == _TOO_BIG and beyond:
                return
            raise SessionOver(self._end_words())
        raise SessionOver(f"no answer to a message of {size} bytes: deadline")

    def _padded(self, size: int) -> tuple[bytes, bool]:
        """A message of exactly `size` bytes, and whether it is a sentinel, with a number.

        A sentinel that is longer than that by itself is sent as it is.
        """
        if self._site.dialect.sentinel is not None:
            text = self._sentinel_text(self._sentinel + 1)
            at = text.rfind(b"}")
            if at >= 0:
                self._sentinel += 1
                comma = b"" if text[:at].rstrip().endswith(b"{") else b","
                frame = (text[:at] + comma + b'"pad":"', b'"' + text[at:])
                room = size - len(frame[0]) - len(frame[1])
                return (frame[0] + b"x" * room + frame[1] if room >= 0 else text), True
        return b"x" * size, False

    async def squeeze(self, upto: int, *, repeats: int = 3, pad: int = 1000) -> None:
        """Find how many events of a run a slow reader may leave unread before any is lost."""
        await self.pass_by()
        seen: list[tuple[int, bool]] = []
        while (size := next_size(seen, upto, repeats)) is not None:
            lost = await self._squeezed(size, pad)
            if lost is not None:
                seen.append((size, lost))

    async def _squeezed(self, size: int, pad: int) -> bool | None:
        """One run that nobody reads while it is sent: whether any of it was lost.

        None where the service was still sending it when we read again, so that it was no
        trial: the next one is given more time.
        """
        connection = self._opened()
        hold_ns = min(max(_HOLD_NS_MIN, size * _PACE_NS * self._patience), _HOLD_NS_MAX)
        self._hold_up(connection)
        try:
            run = await self._begin(size, pad)
            await self._wait(hold_ns, lasting=True)
        finally:
            self._read_on(connection)
        rule = self._site.dialect.run
        assert rule is not None
        assert self._runs is not None
        # What the kernel had no room for comes again late, the later the longer it waited.
        settled = await self._answered(SETTLE_WITHIN_NS + hold_ns)
        early = run.over
        if not early:
            await self._trickled(run, _TRICKLE_NS if settled else rule.quiet)
        if not early and run.over and settled and hold_ns < _HOLD_NS_MAX:
            self._patience *= 2
            return None
        self._runs.drop(now_ns(), run, self.attempts - 1)
        return run.repeated < size

    async def _answered(self, within_ns: int) -> bool:
        """Whether the sentinel came back, behind what had waited; a pong may overtake that."""
        if self._site.dialect.sentinel is None:
            self._send_ping()
            outcome = await self._wait(within_ns, kind=PONG)
        else:
            self._send_sentinel()
            outcome = await self._wait(within_ns, kind=SENTINEL)
        if outcome == ENDED:
            raise SessionOver(self._end_words())
        return outcome == DONE and self._site.dialect.sentinel is not None

    async def _trickled(self, run: Begun, quiet_ns: int) -> None:
        """Wait while events of a run still come, up to its end."""
        last = now_ns()
        while not run.over and now_ns() < last + quiet_ns:
            outcome = await self._wait(max(last + quiet_ns - now_ns(), 0), kind=RUNS)
            if outcome == ENDED:
                raise SessionOver(self._end_words())
            last = max(last, run.last_ns)
