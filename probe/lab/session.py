"""One authenticated WebSocket: ready, then what the client says is served until it ends.

What is said to the client goes through the connection's outbound queue, and how long the
session may last is told by its token (`tenure`). A close of ours writes its ledger line in
the step that writes the Close frame (a turn of the loop later when the whole lab stops).
Pings are answered here and not by the library, since a defect leaves them unanswered.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from probe.lab.admission import admit
from probe.lab.capacity import OverloadError
from probe.lab.claims import Claims, TokenError
from probe.lab.dialogue import Dialogue
from probe.lab.early import drop_early, is_one_too_many
from probe.lab.ends import begin_ghost, end_when_closed, reset
from probe.lab.hub import Member
from probe.lab.messages import MessageError, notice, pong_frame, read
from probe.lab.outbound import QUEUE_MAX, Outbound, narrow
from probe.lab.places import CAP_RACE, FullError
from probe.lab.state import MESSAGE_BYTES_MAX
from probe.lab.tenure import Tenure
from probe.lab.unjudged import LateJudgement, Unjudged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

    from probe.lab.ledger import Party
    from probe.lab.state import State

AUTH_WITHIN_S: Final = 5.0
SESSION_S_MAX: Final = 3_600.0
FLUSH_S_MAX: Final = 1.0  # for what is queued, before a close of ours
_LAST: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


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
        self._accepted_ns = 0  # when its user was known, or was to be
        self._member: Member | None = None
        self._closed = False

    async def serve(self, who: Claims | Unjudged | None, stream: AbstractStreamWriter) -> None:
        """Serve until either side closes. Without a token, the first message must bring one.

        `stream` is what `prepare` returned.
        """
        self._accepted_ns = time.perf_counter_ns()
        narrow(self._transport)
        try:
            async with asyncio.timeout(SESSION_S_MAX):
                await self._serve(who, stream)
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

    async def _serve(self, who: Claims | Unjudged | None, stream: AbstractStreamWriter) -> None:
        by_message = who is None
        if who is None:
            who = await self._first_message()
        if who is None:
            return
        state, kept = self._state, []
        if isinstance(who, Claims):
            if is_one_too_many(state, who, self._accepted_ns, self.connection_id):
                await self._stay_silent()
                return
            if by_message:
                await self._serve_late(who, stream)
                return
            window = state.defects.window("auth_drops_early_frames")
            if window is not None:
                ids = {"user_id": who.subject, "connection_id": self.connection_id}
                kept = await drop_early(
                    state.ledger, window, self._receive_early, self._accepted_ns, ids
                )
        await self._serve_user(who, stream, kept)

    async def _receive_early(self) -> WSMessage:
        """The next message that is no ping: those are answered at once, there being no queue."""
        message = await self._ws.receive()
        while message.type in (WSMsgType.PING, WSMsgType.PONG):
            if message.type is WSMsgType.PING and not self._ignores_ping():
                await self._ws.pong(message.data)
            message = await self._ws.receive()
        return message

    async def _stay_silent(self) -> None:
        """Read and say nothing, but for the answer to a Close."""
        message = await self._ws.receive()
        while message.type not in _LAST:
            message = await self._ws.receive()
        await self._ended(message)

    async def _first_message(self) -> Claims | None:
        """The token that the first message brings; None when it was closed instead."""
        try:
            async with asyncio.timeout(AUTH_WITHIN_S):
                message = await self._receive_early()
        except TimeoutError:
            await self._close(1008, "authentication timeout")
            return None
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            await self._ended(message)
            return None
        try:
            await self._state.station.serve("connects", connection_id=self.connection_id)
        except OverloadError as error:
            await self._close(1013, error.code)  # try again later: IANA's registry
            return None
        self._accepted_ns = time.perf_counter_ns()
        try:
            return admit(self._state, _presented(message), self.connection_id)
        except (MessageError, TokenError) as error:
            await self._close(1008, error.code)
            return None

    async def _serve_late(self, who: Claims, stream: AbstractStreamWriter) -> None:
        """Serve a user whom the first message told: only now can the connection be counted."""
        state = self._state
        try:
            place = state.places.take(who.subject)
        except FullError:
            await self._close(1008, "too_many_connections")
            return
        try:
            if place.over_ns is not None:
                ids = {"user_id": who.subject, "connection_id": self.connection_id}
                state.ledger.hit(CAP_RACE, after_ns=place.over_ns, **ids)
            await self._serve_user(who, stream, [])
        finally:
            state.places.leave(place)

    async def _serve_user(
        self, who: Claims | Unjudged, stream: AbstractStreamWriter, kept: list[WSMessage]
    ) -> None:
        state = self._state
        match who:
            case Claims():
                user_id = who.subject
            case Unjudged():
                user_id = state.keys.unverified_subject(who.token)
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
        tenure = Tenure(state, ids, self._dismiss)
        answer = Dialogue(state, hub, member, tenure).answer
        late: LateJudgement | None = None
        match who:
            case Claims():
                tenure.begin(who, self._accepted_ns)
            case Unjudged():
                late = LateJudgement(
                    state,
                    who,
                    ids,
                    self._accepted_ns,
                    answer=answer,
                    begin=tenure.begin,
                    dismiss=self._dismiss,
                )
                answer = late.take
        try:
            await self._converse(answer, outbound, deque(kept))
        finally:
            if late is not None:
                late.over()
            tenure.over()
            state.hubs.leave(hub, member)
            outbound.shut()
            writing.cancel()

    async def _converse(
        self, answer: Callable[[WSMessage], None], outbound: Outbound, kept: deque[WSMessage]
    ) -> None:
        """Serve what was kept and then what comes, to the end."""
        while True:
            await outbound.room()
            try:
                message = kept.popleft() if kept else await self._ws.receive(self._idle_s)
            except TimeoutError:
                return await self._close(1001, "idle")
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    if _is_too_big(message.data):
                        return await self._close(1009, "message too big")
                    answer(message)
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
        """Close from outside the task that serves, unless it is closed already."""
        if self._closed or self._state.sessions.get(self._ws) is not None:
            return
        self._record_close("server", code)
        self._state.sessions[self._ws] = asyncio.create_task(
            self._ws.close(code=code, message=reason.encode(), drain=False)
        )

    def _dismiss(self, code: int, reason: str) -> None:
        """The same, once what is queued is written, or could have been."""
        assert self._member is not None
        close = partial(self._close_soon, code, reason)
        if self._member.outbound.end(close):
            asyncio.get_running_loop().call_later(FLUSH_S_MAX, close)

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
            if code == 1006:  # noqa: PLR2004 -- without a Close (section 7.1.5)
                begin_ghost(self._state, self._member.user_id, self.connection_id)
        self._state.ledger.close(
            by, code, sent, endpoint=self._endpoint, connection_id=self.connection_id, **more
        )


def _presented(message: WSMessage) -> str:
    request = read(message)
    token = request.get("token")
    if request["type"] != "authenticate" or not isinstance(token, str):
        raise MessageError("authenticate first")
    return token
