"""One authenticated WebSocket: ready, then what the client says is served until it ends.

What is said to the client goes through the connection's outbound queue. A close of ours
writes its ledger line in the step that writes the Close frame (a turn of the loop later
when the whole lab stops). Pings are answered here and not by the library, since a defect
leaves them unanswered.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import uuid
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from probe.lab.dialogue import Dialogue
from probe.lab.hub import Member
from probe.lab.messages import MessageError, notice, pong_frame, read
from probe.lab.outbound import QUEUE_MAX, Outbound, narrow
from probe.lab.state import MESSAGE_BYTES_MAX
from probe.lab.tokens import TokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from probe.lab.ledger import Party
    from probe.lab.state import State

AUTH_WITHIN_S: Final = 5.0
SESSION_S_MAX: Final = 3_600.0
FLUSH_S_MAX: Final = 1.0  # for what is queued, before a close of ours
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


async def end_when_closed(state: State, ws: web.WebSocketResponse) -> bool:
    """Whether another task closes this WebSocket; if so, waits until it has."""
    closer = state.sessions.get(ws)
    if closer is not None:
        await asyncio.wait({closer})
    return closer is not None


async def close_by_server(
    state: State, ws: web.WebSocketResponse, code: int, reason: bytes
) -> None:
    """Close, unless the stopping lab already does, and wait for the client's half."""
    if not await end_when_closed(state, ws):
        await ws.close(code=code, message=reason, drain=False)


def _is_too_big(data: str | bytes) -> bool:
    """Whether one byte too many came: the library lets that pass when it was compressed."""
    if isinstance(data, str) and len(data) > MESSAGE_BYTES_MAX // 4:  # a character: 1 to 4 bytes
        data = data.encode()
    return len(data) > MESSAGE_BYTES_MAX


class Session:
    """One accepted WebSocket, served to its end by `serve`."""

    def __init__(
        self,
        state: State,
        request: web.Request,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
    ) -> None:
        self.connection_id = uuid.uuid4().hex
        self._state = state
        self._endpoint = request.path
        self._transport = transport
        self._ws = ws
        idle_ns = state.settings.idle_ns
        self._idle_s = None if idle_ns is None else idle_ns / 1e9
        self._member: Member | None = None
        self._closed = False

    async def serve(self, user_id: str | None, stream: AbstractStreamWriter) -> None:
        """Serve until either side closes. Without a user, the first message must name one.

        `stream` is what `prepare` returned.
        """
        narrow(self._transport)
        try:
            async with asyncio.timeout(SESSION_S_MAX):
                if user_id is None:
                    user_id = await self._first_message()
                if user_id is not None:
                    await self._serve_user(user_id, stream)
        except TimeoutError:
            await self._close(1001, "the session is over")
        except ConnectionError:
            pass  # the peer is gone: the ledger says "lost" below
        finally:
            stopped = self._state.sessions.get(self._ws) is not None
            self._record_close("server" if stopped else "lost", 1001 if stopped else 1006)
            await end_when_closed(self._state, self._ws)
            if self._transport.get_write_buffer_size():
                self._transport.abort()  # else it waits for a client that does not read

    async def _first_message(self) -> str | None:
        """The user that the first message authenticates; None when it was closed instead."""
        try:
            async with asyncio.timeout(AUTH_WITHIN_S):
                message = await self._ws.receive()
                while message.type in (WSMsgType.PING, WSMsgType.PONG):
                    if message.type is WSMsgType.PING and not self._ignores_ping():
                        await self._ws.pong(message.data)
                    message = await self._ws.receive()
        except TimeoutError:
            await self._close(1008, "authentication timeout")
            return None
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            await self._ended(message)
            return None
        try:
            return self._state.keys.verify(_presented(message))
        except (MessageError, TokenError) as error:
            await self._close(1008, error.code)
            return None

    async def _serve_user(self, user_id: str, stream: AbstractStreamWriter) -> None:
        state = self._state
        ids = {"user_id": user_id, "connection_id": self.connection_id}
        outbound = Outbound(state.ledger, state.defects, ids, partial(self._cut, "unread"))
        self._member = member = Member(
            self.connection_id,
            user_id,
            self._endpoint,
            outbound,
            self._close_soon,
            partial(self._cut, "reset"),
        )
        limit = state.settings.limit
        limits = {
            "messages_per_s": limit.per_s,
            "burst": limit.burst,
            "queue": QUEUE_MAX,
            "message_bytes": MESSAGE_BYTES_MAX,
        }
        outbound.put(notice("connection_ready", {**ids, "limits": limits}))
        hub = state.hubs.join(member)
        writing = asyncio.create_task(outbound.write(self._ws, self._transport, stream))
        writing.add_done_callback(self._written)
        try:
            await self._converse(Dialogue(state, hub, member), outbound)
        finally:
            state.hubs.leave(hub, member)
            outbound.shut()
            writing.cancel()

    async def _converse(self, dialogue: Dialogue, outbound: Outbound) -> None:
        while True:
            await outbound.room()
            try:
                message = await self._ws.receive(self._idle_s)
            except TimeoutError:
                return await self._close(1001, "idle")
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    if _is_too_big(message.data):
                        return await self._close(1009, "message too big")
                    dialogue.answer(message)
                case WSMsgType.PING:
                    if not self._ignores_ping():
                        outbound.put_first(pong_frame(bytes(message.data)))
                case WSMsgType.PONG:
                    pass
                case _:
                    return await self._ended(message)

    def _ignores_ping(self) -> bool:
        if not self._state.defects.hits("no_pong"):
            return False
        user = {} if self._member is None else {"user_id": self._member.user_id}
        self._state.ledger.hit("no_pong", connection_id=self.connection_id, **user)
        return True

    def _written(self, writing: asyncio.Task[None]) -> None:
        """The queue's task is over: on its own, cancelled, or by a fault of ours."""
        if not writing.cancelled() and writing.exception() is not None:
            self._state.ledger.fault("internal")
            self._transport.abort()

    async def _close(self, code: int, reason: str) -> None:
        """Close once what is queued is written, or could have been."""
        if self._member is not None:
            flushed = asyncio.get_running_loop().create_future()
            if self._member.outbound.end(partial(flushed.set_result, None)):
                await asyncio.wait({flushed}, timeout=FLUSH_S_MAX)
            self._member.outbound.shut()
        if not await end_when_closed(self._state, self._ws):
            self._record_close("server", code)
            await self._ws.close(code=code, message=reason.encode(), drain=False)

    def _close_soon(self, code: int, reason: str) -> None:
        """Close from outside the task that serves."""
        self._record_close("server", code)
        self._state.sessions[self._ws] = asyncio.create_task(
            self._ws.close(code=code, message=reason.encode(), drain=False)
        )

    def _cut(self, why: Literal["unread", "reset"]) -> None:
        """End the connection without a Close."""
        self._record_close("server", 1006, cut=why)
        if why == "reset":
            reset(self._transport)
        else:
            self._transport.abort()

    async def _ended(self, message: WSMessage) -> None:
        """The last message of a connection: note who ended it, and answer a Close.

        A Close is answered with its own code, as RFC 6455 section 5.5.1 has it.
        """
        match message.type:
            case WSMsgType.CLOSE:
                code = message.data or 1005  # 1005: the Close carried no code (section 7.1.5)
                self._record_close("client", code)
                await self._ws.close(code=message.data or 1000, drain=False)
            case WSMsgType.ERROR if isinstance(message.data, WebSocketError):
                self._record_close("server", int(message.data.code))
            case _:  # end of stream, or another task closes: told by `serve` or by that
                pass

    def _record_close(self, by: Party, code: int, **more: object) -> None:
        if self._closed:
            return
        self._closed = True
        sent: Mapping[str, int] = {}
        if self._member is not None:
            queue = self._member.outbound
            sent = queue.sent
            more |= {
                "user_id": self._member.user_id,
                "dropped": queue.dropped,
                "unsent": queue.live,
                "replayed": self._member.replayed,
                "limited": self._member.limited,
            }
        self._state.ledger.close(
            by, code, sent, endpoint=self._endpoint, connection_id=self.connection_id, **more
        )


def _presented(message: WSMessage) -> str:
    request = read(message)
    token = request.get("token")
    if request["type"] != "authenticate" or not isinstance(token, str):
        raise MessageError("authenticate first")
    return token
