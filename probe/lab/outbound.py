"""The outbound queue of one connection, and the one task that writes it to the socket.

Everything the lab says on a connection stands in this queue in the order in which it was
said, but for the answer to a WebSocket ping, which comes first. The bound counts live
events only: an event that finds it reached is dropped, and as soon as there is room the
client is told how many were (before anything newer). Answers, notices and replayed events
are never dropped; instead nothing more is read from a client that leaves too much of them
unread (`room`). Send buffer and write buffer are small, so that a backlog stands here.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType

from probe.lab.messages import Event, Message, notice, payload_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp import web
    from aiohttp.abc import AbstractStreamWriter

    from probe.lab.defects import Defects
    from probe.lab.ledger import Ledger, Told

QUEUE_MAX: Final = 1_000
SEND_BUFFER_BYTES: Final = 16 * 1024
BATCH_BYTES: Final = 16 * 1024  # handed to the socket at a time
BUFFER_HIGH: Final = 1  # bytes over which the transport is full
UNREAD_MAX: Final = 2 * QUEUE_MAX + 500
STALL_S: Final = 30.0  # a client that reads nothing for so long is cut off


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends the connection once all before it is written."""

    act: Callable[[], None]


class Outbound:
    """The queue of a prepared WebSocket; `write` is its task.

    `ids` say in the ledger whose queue it is. `cut` is called when the client does not
    read; it must end the connection.
    """

    def __init__(
        self,
        ledger: Ledger,
        defects: Defects,
        ids: dict[str, str],
        cut: Callable[[], None],
    ) -> None:
        self.sent: Counter[str] = Counter()  # messages handed to the socket, by type
        self.dropped = 0
        self.live = 0  # events that wait and count against the bound; after the end: unsent
        self._ledger = ledger
        self._defects = defects
        self._ids = ids
        self._cut = cut
        self._queue: deque[Message | Event | Ending] = deque()
        self._missing = 0  # dropped and not yet announced
        self._shut = False
        self._wake: asyncio.Future[None] | None = None
        self._space: asyncio.Future[None] | None = None

    def put_event(self, event: Event) -> bool:
        """Queue a live event; False when it was dropped, or the connection is at its end."""
        if self._shut:
            return False
        if self._missing or (self.live and self.live >= self._bound()):
            self._drop(event)
            return False
        self.live += 1
        self._queue.append(event)
        if self._wake is not None:
            self._rouse()
        return True

    def put(self, *messages: Message) -> None:
        """Queue what is never dropped."""
        if not self._shut:
            self._queue.extend(messages)
            self._rouse()

    def replay(self, events: Iterable[Event]) -> None:
        """Queue events once more, as they were sent before."""
        self.put(*(Message(event.frame, event.kind) for event in events))

    def put_first(self, message: Message) -> None:
        """Queue a control frame, which need not wait for the messages before it."""
        if not self._shut:
            self._queue.appendleft(message)
            self._rouse()

    def end(self, act: Callable[[], None]) -> bool:
        """Take nothing more, and do this once all before it is written.

        False when the end had come before.
        """
        if self._shut:
            return False
        self._shut = True
        self._queue.append(Ending(act))
        self._rouse()
        return True

    def shut(self) -> None:
        """Take nothing more: the connection is over. What waits is forgotten."""
        self._shut = True
        if self._missing:
            self._told("never")
        self._queue.clear()
        self._give_space()

    async def room(self) -> None:
        """Wait until the client has read enough for it to be answered once more."""
        while len(self._queue) >= UNREAD_MAX and not self._shut:
            if self._space is None:
                self._space = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._space)

    async def write(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        stream: AbstractStreamWriter,
    ) -> None:
        """Write the queue to its socket until the connection is over.

        `stream` is what `prepare` returned: its `drain` waits for the transport's buffer.
        """
        loop = asyncio.get_running_loop()
        try:
            # After a Close (ours or the stopping lab's) nothing may be written.
            while not (ws.closed or transport.is_closing()):
                if not self._queue:
                    self._wake = loop.create_future()
                    await self._wake
                elif transport.get_write_buffer_size() > BUFFER_HIGH:
                    stall = _Stall(loop, self)
                    try:
                        await stream.drain()
                    finally:
                        stall.over()
                elif isinstance(self._queue[0], Ending):
                    return self._queue[0].act()
                else:
                    await self._hand_over(ws, transport)
                    self._moved()
        except ConnectionError:
            pass  # the peer is gone, as the reading side will see
        finally:
            self._shut = True
            self._give_space()

    def cut_if_waiting(self) -> bool:
        """End the connection if anything waits; whether it was done."""
        waits = bool(self._queue)
        if waits:
            self._cut()
        return waits

    async def _hand_over(self, ws: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        """Write the next messages, as many as fit into one batch."""
        frames: list[bytes] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            item = self._queue[0]
            if isinstance(item, Ending):
                break
            if ws.compress and item.kind:
                if frames:
                    break
                self._took(item)
                return await ws.send_frame(payload_of(item.frame), WSMsgType.TEXT)
            self._took(item)
            frames.append(item.frame)
            size += len(item.frame)
        transport.write(frames[0] if len(frames) == 1 else b"".join(frames))
        return None

    def _took(self, item: Message | Event) -> None:
        self._queue.popleft()
        if item.kind:
            self.sent[item.kind] += 1
        if isinstance(item, Event):
            self.live -= 1

    def _moved(self) -> None:
        """There may be room again for events, and for answers."""
        if self._missing and self.live < self._bound():
            self._announce()
        if self._space is not None and len(self._queue) < UNREAD_MAX:
            self._give_space()

    def _bound(self) -> int:
        return self._defects.count("queue_overflow") or QUEUE_MAX

    def _drop(self, event: Event) -> None:
        if not self._missing and self._bound() < QUEUE_MAX:
            self._ledger.hit(
                "queue_overflow",
                run_id=event.run_id,
                type=event.kind,
                sequence=event.sequence,
                **self._ids,
            )
        self._missing += 1
        self.dropped += 1

    def _announce(self) -> None:
        """The end of an overflow: there is room again."""
        count = self._missing
        if self._defects.hits("silent_drop_under_backpressure"):
            self._ledger.hit("silent_drop_under_backpressure", dropped=count, **self._ids)
            self._told("silent")
        else:
            self._told("announced")
            self._queue.append(notice("events_dropped", {"count": count}))

    def _told(self, told: Told) -> None:
        self._ledger.overflow(told, self._missing, **self._ids)
        self._missing = 0

    def _rouse(self) -> None:
        if self._wake is not None:
            if not self._wake.done():
                self._wake.set_result(None)
            self._wake = None

    def _give_space(self) -> None:
        if self._space is not None:
            if not self._space.done():
                self._space.set_result(None)
            self._space = None


class _Stall:
    """From a full socket to an empty one; too long, and the connection is cut off.

    A timer, not a timeout around the wait: that would break the wait for its next user.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, outbound: Outbound) -> None:
        self._loop = loop
        self._outbound = outbound
        self._timer = loop.call_later(STALL_S, self._judge)

    def over(self) -> None:
        self._timer.cancel()

    def _judge(self) -> None:
        if not self._outbound.cut_if_waiting():
            self._timer = self._loop.call_later(STALL_S, self._judge)


def narrow(transport: asyncio.Transport) -> None:
    """Make the buffers below so small that a backlog stays in the queue above.

    The mark is 1 and not 0, since over TLS an empty buffer would count as over it.
    """
    transport.set_write_buffer_limits(high=BUFFER_HIGH, low=0)
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES
    )
