"""One HTTP exchange as the run sees it: a connection of its own, stamps around it, a bounded body.

The only room of the engine that speaks HTTP to the target's services. Loaded where there are
any: the client library takes 10 MB, which a run without services has no use for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp

from probe.clock import now_ns

if TYPE_CHECKING:
    import ssl

BODY_MAX: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; status 0 for none. Stamps are monotonic ns around the exchange."""

    status: int
    sent_ns: int
    answered_ns: int
    body: bytes = b""
    server: str = ""
    revision: str = ""


class Exchange:
    """A client without cookies and without kept connections: each request stands for itself.

    `context` verifies https; True for the defaults. Made inside a running loop, and closed.
    """

    __slots__ = ("_session",)

    def __init__(self, agent: str, context: ssl.SSLContext | bool) -> None:
        connector = aiohttp.TCPConnector(force_close=True, limit=0, ssl=context)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": agent},
        )

    async def close(self) -> None:
        """Over."""
        await self._session.close()

    async def ask(
        self,
        method: str,
        url: str,
        within_ns: int,
        headers: dict[str, str],
        form: dict[str, str] | None,
    ) -> Answer:
        """One request and its answer; no redirect is followed. Raises nothing of the network."""
        sent = now_ns()
        timeout = aiohttp.ClientTimeout(total=within_ns / 1e9)
        try:
            async with self._session.request(
                method, url, headers=headers, data=form, timeout=timeout, allow_redirects=False
            ) as answer:
                body = await answer.content.read(BODY_MAX)
                return Answer(
                    answer.status,
                    sent,
                    now_ns(),
                    body,
                    answer.headers.get("Server", "")[:200],
                    answer.headers.get("X-Revision", "")[:200],
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return Answer(0, sent, now_ns())
