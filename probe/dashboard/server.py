"""The page's server: on loopback, for whoever sits at this machine, and for nobody else's pages.

The rule: a request is answered only if its Host is ours by address or as `localhost` (so that a
foreign name that was made to point here gets nothing), and only if its Origin, where it has one,
is the same. To look takes no more; to stop takes the token, in a header that no form can set.
Every reader gets the newest view when it can take one, and none in between: nothing is queued.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import hdrs, web

from probe.dashboard.page import ICON, page, policy

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from probe.dashboard.view import View

READERS_MAX: Final = 16
STALLED_S: Final = 30.0
LAST_S: Final = 2.0
BODY_MAX: Final = 1024
TOKEN: Final = "X-Probe-Token"  # noqa: S105 -- the header's name


class Newest:
    """The newest view as bytes, and whoever waits for a newer one."""

    def __init__(self) -> None:
        self.number = 0
        self.data = b""
        self.last = False
        self._changed = asyncio.Event()

    def put(self, view: View, *, last: bool = False) -> None:
        """A newer one; `last`: there will be no other."""
        self.number += 1
        self.data = b"data: " + msgspec.json.encode(view) + b"\n\n"
        self.last = last
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, number: int) -> None:
        """Until there is a newer one than that."""
        while self.number <= number:
            await self._changed.wait()


class Server:
    """Serves on a socket that listens already; `stop` is called when somebody may and wants to."""

    def __init__(self, sock: socket.socket, token: str, stop: Callable[[], None]) -> None:
        self._sock = sock
        port = sock.getsockname()[1]
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._token = token.encode()
        self._stop = stop
        self._newest = Newest()
        self._readers = 0
        self._told = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Begin to answer."""
        app = web.Application(middlewares=[self._guarded()], client_max_size=BODY_MAX)
        app.router.add_get("/", self._page)
        app.router.add_get("/events", self._events)
        app.router.add_post("/stop", self._stopped)
        app.router.add_get("/favicon.ico", self._icon)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._sock).start()

    def put(self, view: View, *, last: bool = False) -> None:
        """Show this from now on."""
        self._newest.put(view, last=last)

    async def end(self) -> None:
        """When all readers have the last view, or were given time to take it."""
        deadline = asyncio.get_running_loop().time() + LAST_S
        while self._readers and asyncio.get_running_loop().time() < deadline:
            self._told.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 0.1)
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def guard(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            host = request.headers.get(hdrs.HOST, "")
            origin = request.headers.get(hdrs.ORIGIN)
            if host not in self._hosts or origin not in (None, f"http://{host}"):
                raise web.HTTPForbidden(text="this page is for this machine alone\n")
            if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
                raise web.HTTPForbidden(text="no other page may ask for this\n")
            return await handler(request)

        return guard

    async def _page(self, _: web.Request) -> web.Response:
        headers = {
            "Content-Security-Policy": policy(),
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        return web.Response(body=page(), content_type="text/html", charset="utf-8", headers=headers)

    async def _icon(self, _: web.Request) -> web.Response:
        return web.Response(body=ICON, content_type="image/svg+xml")

    async def _stopped(self, request: web.Request) -> web.Response:
        shown = request.headers.get(TOKEN, "").encode("utf-8", "surrogateescape")
        if not self._token or not hmac.compare_digest(shown, self._token):
            raise web.HTTPForbidden(text="wrong token\n")
        self._stop()
        return web.Response(text="the run is told to stop\n")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._readers >= READERS_MAX:
            raise web.HTTPServiceUnavailable(text="too many pages look on already\n")
        self._readers += 1
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            number, newest = 0, self._newest
            while True:
                await newest.after(number)
                number, last = newest.number, newest.last
                await asyncio.wait_for(response.write(newest.data), STALLED_S)
                if last:
                    break
            await response.write_eof()
        except (TimeoutError, ConnectionError):
            return web.Response()  # who does not read, or is gone
        else:
            return response
        finally:
            self._readers -= 1
            self._told.set()
