"""How a connection ends: a reset, a Close, and what waits for another task's Close."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web

    from probe.lab.state import State

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a TCP reset."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def reset_socket(sock: socket.socket) -> None:
    """The same for a socket that no transport has yet."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()


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


def begin_ghost(state: State, user_id: str, connection_id: str) -> None:
    """A connection ended without a Close: events of its user may go to it from here on."""
    window = state.defects.window("reconnect_ghost")
    if window is not None:
        state.firsts.begin(window, user_id, time.perf_counter_ns(), connection_id)
