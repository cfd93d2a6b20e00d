"""One authenticated WebSocket: ready, runs of five events, ping, errors, the close.

Runs of one connection go on side by side, each in its own task, each event numbered by
its run. Ids that a client brings are echoed, so they are held to a harmless alphabet and
may not look like a token; the ledger repeats them. A close of ours writes its ledger line
in the step that writes the Close frame (a turn of the loop later when the whole lab
stops); a run writes its line when it ends, however it ends.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from probe.lab.state import MESSAGE_BYTES_MAX
from probe.lab.tokens import TokenError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.lab.ledger import Party
    from probe.lab.state import State

EVENTS: Final = (
    "agent_started",
    "agent_thinking",
    "tool_executing",
    "tool_completed",
    "agent_completed",
)
AUTH_WITHIN_S: Final = 5.0
SEND_WITHIN_S: Final = 10.0  # a client that does not read is cut off
SESSION_S_MAX: Final = 3_600.0
RUNS_MAX: Final = 64
_ECHO_CHARS_MAX: Final = 1_000
_ID: Final = re.compile(r"[A-Za-z0-9_.:/@+-]{1,128}", re.ASCII)
_JWT_START: Final = "eyJ"  # base64url of the opening of a JSON object

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class MessageError(Exception):
    """A message was error; `code` is a fixed word for the error event."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Run:
    """One run: the ids all its events carry, what started it, and how far it has come."""

    run_id: str
    thread_id: str
    message: str
    began_ns: int = field(default_factory=time.perf_counter_ns)
    sent: int = 0


def _timestamp() -> str:
    return datetime.now(UTC).isoformat()


def _id(message: Mapping[str, Any], name: str) -> str:
    """The id of that name in a message, or a fresh one; MessageError when it is unfit."""
    value = message.get(name)
    if value is None:
        return uuid.uuid4().hex
    if not isinstance(value, str) or not _ID.fullmatch(value) or _JWT_START in value:
        raise MessageError("bad_id")
    return value


def read_run(message: Mapping[str, Any]) -> Run:
    """The run that a start_agent message asks for; MessageError when a field is unfit."""
    text = message.get("message", "")
    if not isinstance(text, str):
        raise MessageError("bad_message")
    return Run(_id(message, "run_id"), _id(message, "thread_id"), text[:_ECHO_CHARS_MAX])


def event_fields(run: Run, event: str) -> dict[str, object]:
    """What this event says beside its type and ids."""
    match event:
        case "agent_thinking":
            return {"thought": "looking for a tool"}
        case "tool_executing":
            return {"tool_name": "search", "parameters": {"query": run.message}}
        case "tool_completed":
            duration_s = (time.perf_counter_ns() - run.began_ns) / 1e9
            return {"tool_name": "search", "results": {"hits": 1}, "duration": duration_s}
        case "agent_completed":
            return {"result": "done"}
        case _:
            return {}


def _is_too_big(data: str | bytes) -> bool:
    """Whether one byte too many came: the library lets that pass when it was compressed."""
    if isinstance(data, str) and len(data) > MESSAGE_BYTES_MAX // 4:  # a character: 1 to 4 bytes
        data = data.encode()
    return len(data) > MESSAGE_BYTES_MAX


async def end_when_closed(state: State, ws: web.WebSocketResponse) -> bool:
    """Whether the stopping lab closes this WebSocket; if so, waits until it has."""
    closer = state.sessions.get(ws)
    if closer is not None:
        await asyncio.wait({closer})
    return closer is not None


async def close_by_server(
    state: State, ws: web.WebSocketResponse, code: int, reason: bytes
) -> None:
    """Close, unless the stopping lab already does, and wait for the client's half."""
    if not await end_when_closed(state, ws):
        await ws.close(code=code, message=reason)


class Session:
    """One accepted WebSocket, served to its end by `serve`."""

    def __init__(self, state: State, request: web.Request, ws: web.WebSocketResponse) -> None:
        self.connection_id = uuid.uuid4().hex
        self._state = state
        self._endpoint = request.path
        self._transport = request.transport
        self._ws = ws
        self._user_id = ""
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._sent: Counter[str] = Counter()
        self._closed = False

    async def serve(self, user_id: str | None) -> None:
        """Serve until either side closes. Without a user, the first message must name one."""
        try:
            async with asyncio.timeout(SESSION_S_MAX):
                if user_id is None:
                    user_id = await self._first_message()
                if user_id is not None:
                    self._user_id = user_id
                    await self._send(
                        "connection_ready",
                        {"user_id": user_id, "connection_id": self.connection_id},
                    )
                    await self._converse()
        except TimeoutError:
            await self._close(1001, "the session is over")
        except ConnectionError:
            pass  # the peer is gone, or was cut off: the ledger says "lost" below
        finally:
            for task in self._runs.values():
                task.cancel()
            if self._runs:
                await asyncio.wait(self._runs.values())
            stopped = self._state.sessions.get(self._ws) is not None
            self._record_close("server" if stopped else "lost", 1001 if stopped else 1006)
            await end_when_closed(self._state, self._ws)

    async def _first_message(self) -> str | None:
        """The user that the first message authenticates; None when it was closed instead."""
        try:
            message = await self._ws.receive(AUTH_WITHIN_S)
        except TimeoutError:
            await self._close(1008, "authentication timeout")
            return None
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            await self._ended(message)
            return None
        try:
            return self._state.keys.verify(self._presented(message))
        except (MessageError, TokenError) as error:
            await self._close(1008, error.code)
            return None

    def _presented(self, message: WSMessage) -> str:
        request = self._read(message)
        token = request.get("token")
        if request["type"] != "authenticate" or not isinstance(token, str):
            raise MessageError("authenticate first")
        return token

    async def _converse(self) -> None:
        while True:
            message = await self._ws.receive()
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return await self._ended(message)
            if _is_too_big(message.data):
                return await self._close(1009, "message too big")
            try:
                await self._answer(self._read(message))
            except MessageError as error:
                await self._send("error", {"code": error.code})

    def _read(self, last: WSMessage) -> dict[str, Any]:
        if last.type is not WSMsgType.TEXT:
            raise MessageError("not_text")
        try:
            message = _decode(last.data)
        except (msgspec.DecodeError, RecursionError):
            raise MessageError("not_json") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise MessageError("no_type")
        return message

    async def _answer(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "start_agent":
                run = read_run(message)
                if run.run_id in self._runs:
                    raise MessageError("duplicate_run")
                if len(self._runs) >= RUNS_MAX:
                    raise MessageError("too_many_runs")
                task = asyncio.create_task(self._run(run))
                self._runs[run.run_id] = task
                # Not in the task: one that is cancelled before its first step runs nothing.
                task.add_done_callback(partial(self._run_ended, run))
            case "ping":
                await self._send("pong", {})
            case _:
                raise MessageError("unknown_type")

    async def _run(self, run: Run) -> None:
        ids = {"run_id": run.run_id, "thread_id": run.thread_id, "user_id": self._user_id}
        for event in EVENTS:
            if run.sent and self._state.pace_ns:
                await asyncio.sleep(self._state.pace_ns / 1e9)
            fields = {**ids, "sequence": run.sent + 1, **event_fields(run, event)}
            try:
                await self._send(event, fields)
            except ConnectionError:
                return  # the client went; the line of the run says how far it came
            run.sent += 1

    def _run_ended(self, run: Run, task: asyncio.Task[None]) -> None:
        self._runs.pop(run.run_id, None)
        if not task.cancelled() and task.exception() is not None:
            self._state.ledger.fault("internal")
        self._state.ledger.run(
            run.run_id,
            run.sent,
            completed=run.sent == len(EVENTS),
            endpoint=self._endpoint,
            connection_id=self.connection_id,
        )

    async def _send(self, kind: str, fields: Mapping[str, object]) -> None:
        """Send one message; ConnectionError when the peer is gone or does not read."""
        message = _encode({"type": kind, "timestamp": _timestamp(), **fields})
        try:
            if self._transport is not None and self._transport.get_write_buffer_size():
                async with asyncio.timeout(SEND_WITHIN_S):
                    await self._ws.send_frame(message, WSMsgType.TEXT)
            else:
                await self._ws.send_frame(message, WSMsgType.TEXT)
        except TimeoutError:
            if self._transport is not None:
                self._transport.abort()
            raise ConnectionAbortedError("the client does not read") from None
        self._sent[kind] += 1

    async def _close(self, code: int, reason: str) -> None:
        if not await end_when_closed(self._state, self._ws):
            self._record_close("server", code)
            await self._ws.close(code=code, message=reason.encode())

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
            case _:  # end of stream, or the stopping lab closes: told by `serve`
                pass

    def _record_close(self, by: Party, code: int) -> None:
        if not self._closed:
            self._closed = True
            self._state.ledger.close(
                by, code, self._sent, endpoint=self._endpoint, connection_id=self.connection_id
            )
