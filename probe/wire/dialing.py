"""`dial`: from a route to an open connection or to the exact reason why there is none.

The rule: the journal has one END for every DIAL, also when the caller is cancelled or the
program is wrong. No task and no timer of the loop is made per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Final

from probe.clock import now_ns
from probe.history.records import Kind, Outcome, Phase
from probe.wire.connection import Connection
from probe.wire.deadlines import wheel_of
from probe.wire.ends import End, Limits, end_of_error
from probe.wire.opening import Opening
from probe.wire.tls import TlsLayer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from probe.history.journal import Journal
    from probe.redact import Redactor
    from probe.wire.deadlines import Wheel
    from probe.wire.ends import Listener
    from probe.wire.request import Facts
    from probe.wire.route import Route
    from probe.wire.sending import Sending

DnsCache = dict[tuple[str, int], list[tuple[str, int]]]
_NO_LIMITS = Limits()
_BIND_ADDRESS_NO_PORT: Final = 24  # ip(7), since Linux 4.2
_LOCAL_PORT_RANGE: Final = 51  # ip(7), since Linux 6.3
_PROXY_FAULTS = frozenset((Outcome.RESOLVE_FAILED, Outcome.REFUSED, Outcome.UNREACHABLE))


async def dial(
    loop: asyncio.AbstractEventLoop,
    route: Route,
    request: bytes,
    facts: Facts,
    listener: Listener,
    journal: Journal,
    session: int,
    op: int,
    *,
    redactor: Redactor,
    deadline_ns: int,
    limits: Limits = _NO_LIMITS,
    keep_heads: bool = False,
    max_message: int = 1 << 20,
    dns_cache: DnsCache | None = None,
    sending: Sending | None = None,
    gated: bool = False,
    wheel: Wheel | None = None,
) -> Connection | End:
    """Connect once; writes every phase's row and, on failure, END.

    `deadline_ns` (of `now_ns`) bounds all of it, `limits` single phases; `max_message` is
    in bytes. `listener` is attached before the request is sent, so nothing that comes with
    the 101 is lost; a connection that was open is returned even when it is over by then.
    `dns_cache` shares the resolver's answers among dials. `sending` lets the request leave in
    `Pieces` or `Held` back; with TLS, `gated` is for connections that will `hold` frames.
    `wheel` is the loop's, where the caller has it.
    Raises what is not the network's: CancelledError, and errors of the program (ValueError
    for a `sending` that does not fit the request, before anything is dialled).
    """
    if sending is not None:
        sending.check(request)
    began_ns = now_ns()
    wheel = wheel or wheel_of(loop)
    connection = Connection(listener, journal, session, op, redactor, limits, wheel)
    opening = Opening(
        connection, route, request, facts, wheel, deadline_ns, limits, keep_heads, max_message,
        sending, gated or sending is not None,
    )  # fmt: skip
    connection.opening = opening
    opening.task = asyncio.current_task(loop)
    try:
        await _connect(loop, route, connection, opening, limits, deadline_ns, dns_cache, began_ns)
    except asyncio.CancelledError:
        if not _expired(opening):
            _stop(connection, End(Outcome.CANCELLED, connection.phase, by="us"))
            raise
        _stop(connection, End(Outcome.TIMEOUT, connection.phase, by="timeout"))
    except OSError as error:
        end = end_of_error(error, connection.phase)
        if route.proxy is not None and end.outcome in _PROXY_FAULTS:
            detail = f"the proxy: {end.detail}"
            end = End(Outcome.PROXY_FAILED, end.phase, end.code, detail=detail)
        _stop(connection, end)
    except BaseException as error:
        _stop(connection, end_of_error(error, connection.phase))
        raise
    if connection.opened:
        return connection
    assert connection.end is not None
    return connection.end


def _expired(opening: Opening) -> bool:
    """Whether a cancellation was the deadline's own (and take it back), not the caller's."""
    if not opening.expired or opening.task is None:
        return False
    opening.expired = False
    return opening.task.uncancel() == 0


def _stop(connection: Connection, end: End) -> None:
    connection.finish(now_ns(), end)


async def _connect(
    loop: asyncio.AbstractEventLoop,
    route: Route,
    connection: Connection,
    opening: Opening,
    limits: Limits,
    deadline_ns: int,
    dns_cache: DnsCache | None,
    began_ns: int,
) -> None:
    journal, session, op = connection.journal, connection.session, connection.op
    if route.connect_literal:
        journal.pair(session, op, began_ns, Kind.DIAL, 0, 0, 0, now_ns(), Kind.RESOLVED, 0, 1, 0)
        connection.phase = Phase.TCP
        opening.bound(limits.tcp_ns)
        await _tcp(loop, route, connection, (route.connect_host, route.connect_port))
    else:
        journal.row(began_ns, session, op, Kind.DIAL)
        opening.bound(limits.resolve_ns)
        addresses = await _resolve(loop, route, dns_cache)
        journal.row(now_ns(), session, op, Kind.RESOLVED, 0, len(addresses))
        connection.phase = Phase.TCP
        await _any(loop, route, connection, opening, limits, deadline_ns, addresses)
    if connection.phase is Phase.PROXY and connection.end is None:
        opening.waiter = loop.create_future()
        await opening.waiter
    if connection.phase is Phase.TLS and connection.end is None:
        await _secure(loop, route, connection, opening)
    if connection.opening is not None:
        opening.waiter = loop.create_future()
        await opening.waiter


async def _any(
    loop: asyncio.AbstractEventLoop,
    route: Route,
    connection: Connection,
    opening: Opening,
    limits: Limits,
    deadline_ns: int,
    addresses: list[tuple[str, int]],
) -> None:
    """Try the addresses of a name in turn; what the last one says stands."""
    *others, last = addresses
    for left, address in enumerate(others):
        # An address that swallows everything must not use up the time of the others.
        share = (deadline_ns - now_ns()) // (len(addresses) - left)
        opening.bound(min(share, limits.tcp_ns) if limits.tcp_ns else share)
        if await _one(loop, route, connection, opening, address):
            return
    opening.bound(limits.tcp_ns)
    await _tcp(loop, route, connection, last)


async def _resolve(
    loop: asyncio.AbstractEventLoop, route: Route, cache: DnsCache | None
) -> list[tuple[str, int]]:
    key = (route.connect_host, route.connect_port)
    if cache is not None and key in cache:
        return list(cache[key])
    found = await loop.getaddrinfo(*key, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys((str(info[4][0]), int(info[4][1])) for info in found))
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
    if cache is not None:
        cache[key] = list(addresses)
    return addresses


def _tcp(
    loop: asyncio.AbstractEventLoop,
    route: Route,
    connection: Connection,
    address: tuple[str, int],
) -> Awaitable[object]:
    if not route.sources:
        return loop.create_connection(lambda: connection, *address)
    turn = connection.session + connection.op
    return _tcp_from(loop, route.sources[turn % len(route.sources)], connection, address)


async def _tcp_from(
    loop: asyncio.AbstractEventLoop,
    source: str,
    connection: Connection,
    address: tuple[str, int],
) -> None:
    sock = _bound(source)
    try:
        await loop.sock_connect(sock, address)
        await loop.create_connection(lambda: connection, sock=sock)  # it is the transport's now
    except BaseException:
        sock.close()
        raise


def _bound(source: str) -> socket.socket:
    """A socket that will connect from this address of ours."""
    sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    try:
        sock.setblocking(False)
        if sys.platform == "linux":
            # Its port is chosen when it connects, among those free towards that peer: chosen
            # before, each takes milliseconds as soon as half of the range is in use.
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            # Without a range of its own a socket looks at every other port first, which costs
            # 2 ms as soon as half of them are in use. This one narrows nothing.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IP, _LOCAL_PORT_RANGE, 1)
        sock.bind((source, 0))
    except BaseException:
        sock.close()
        raise
    return sock


async def _one(
    loop: asyncio.AbstractEventLoop,
    route: Route,
    connection: Connection,
    opening: Opening,
    address: tuple[str, int],
) -> bool:
    """Try one of several addresses; false sends the caller to the next."""
    try:
        await _tcp(loop, route, connection, address)
    except asyncio.CancelledError:
        if not _expired(opening):
            raise
        return False
    except OSError as error:
        if end_of_error(error, Phase.TCP).outcome is Outcome.LOCAL:
            raise
        return False
    return True


async def _secure(
    loop: asyncio.AbstractEventLoop, route: Route, connection: Connection, opening: Opening
) -> None:
    assert connection.outlet is not None
    assert route.tls is not None
    if opening.spoke_early:
        detail = "the peer spoke before the TLS handshake"
        _stop(connection, End(Outcome.TLS_FAILED, Phase.TLS, detail=detail))
        return
    secure: asyncio.Transport | None
    if opening.gated:
        secure = layer = TlsLayer(connection.outlet, connection, route.tls, route.server_name)
        layer.begin()
        await layer.done
    else:
        secure = await loop.start_tls(
            connection.outlet.transport, connection, route.tls, server_hostname=route.server_name
        )
    assert secure is not None
    if connection.opening is None:
        secure.abort()
    else:
        opening.secured(secure)
