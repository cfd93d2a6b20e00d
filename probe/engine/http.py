"""HTTP beside the WebSocket: health of the services, and a script's clean-up requests.

Every request opens its own connection, since during a restart an old one proves nothing.
A service's health is its HTTP status and, where the answer is JSON, the field that the
target names. No answer is recorded as no answer, with the time it was waited for. What a
service tells of its parts is kept as it says it, when it is asked in a preflight and, while
it is polled, when it says something new.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from probe.clock import now_ns
from probe.engine.routes import tls_options, user_agent
from probe.engine.told import Told, at, revision_in, told_by
from probe.history.records import NOBODY, Kind
from probe.wire.route import make_context

if TYPE_CHECKING:
    from probe.engine.exchange import Answer, Exchange
    from probe.history.journal import Journal
    from probe.model.dialect import Request
    from probe.model.target import Service, Target

MEMORY_EVERY_NS: Final = 1_000_000_000
OK: Final = 200
UNHEALTHY, HEALTHY, DEGRADED = range(3)


class Http:
    """Requests to the target's services, as an async context."""

    def __init__(self, target: Target, journal: Journal, run_id: str, lab: str = "") -> None:
        self._target = target
        self._journal = journal
        self._lab = lab
        self._fields = [service.field for service in target.services.values()]
        self._run_id = run_id
        self._exchange: Exchange | None = None
        self._told: dict[int, tuple[Told, int]] = {}

    async def __aenter__(self) -> Self:
        if not self._target.services:
            return self  # there is nobody to ask
        from probe.engine.exchange import Exchange  # noqa: PLC0415 -- see there

        tls = self._target.tls
        secure = any(url.startswith("https") for url in self._target.urls())
        context = make_context(tls_options(tls)) if secure else True
        self._exchange = Exchange(user_agent(self._run_id), context)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._exchange is not None:
            await self._exchange.close()

    async def request(self, method: str, service: str, path: str, token: str) -> int:
        """One request of a script; the status, 0 for no answer."""
        return (await self._of_session(method, service, path, token)).status

    async def ask(self, rule: Request, path: str, form: dict[str, str], token: str) -> Answer:
        """One request of the dialect, with `path` and `form` filled in."""
        return await self._of_session(rule.method, rule.service, path, token, form)

    async def _of_session(
        self, method: str, service: str, path: str, token: str, form: dict[str, str] | None = None
    ) -> Answer:
        entry = self._target.services[service]
        parts = urlsplit(self._url(entry))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{parts.scheme}://{parts.netloc}{path}"
        return await self._ask(method, url, entry.within, headers, form or None)

    async def health(self, index: int, name: str, *, tell: bool = False) -> tuple[Answer, int]:
        """Ask one service for its health; the row is written, the state returned.

        With `tell` what it says of its parts is written in any case, else when it is new.
        """
        service = self._target.services[name]
        answer = await self._ask("GET", self._url(service), service.within, {})
        state = judge_health(service, answer)
        self._journal.row(
            answer.answered_ns, NOBODY, index, Kind.HEALTH, state, answer.status, answer.sent_ns
        )
        if answer.status:
            self._tell(index, state, answer, always=tell)
        return answer, state

    def _tell(self, index: int, state: int, answer: Answer, *, always: bool) -> None:
        told = told_by(answer.body, self._fields[index], answer.revision)
        before, stamp = self._told.get(index, (None, 0))
        if not always and before is not None:
            same = told._replace(memory_bytes=None) == before._replace(memory_bytes=None)
            if same and (told == before or answer.answered_ns < stamp + MEMORY_EVERY_NS):
                return
        self._told[index] = told, answer.answered_ns
        text = self._journal.text(told.to_json())
        self._journal.row(answer.answered_ns, NOBODY, index, Kind.TOLD, state, answer.status, text)

    def _url(self, service: Service) -> str:
        return service.url.replace("{lab}", self._lab)

    async def _ask(
        self,
        method: str,
        url: str,
        within_ns: int,
        headers: dict[str, str],
        form: dict[str, str] | None = None,
    ) -> Answer:
        assert self._exchange is not None
        return await self._exchange.ask(method, url, within_ns, headers, form)

    async def poll(self, every_ns: int, stop: asyncio.Event) -> None:
        """Ask all services again and again until `stop`; a slow answer delays only itself."""
        async with asyncio.TaskGroup() as group:
            for index, name in enumerate(self._target.services):
                group.create_task(self._poll_one(index, name, every_ns, stop))

    async def _poll_one(self, index: int, name: str, every_ns: int, stop: asyncio.Event) -> None:
        due = now_ns()
        while not stop.is_set():
            await self.health(index, name)
            due = max(due + every_ns, now_ns())
            await asyncio.sleep((due - now_ns()) / 1e9)

    def record_peer(self, index: int, name: str, answer: Answer) -> None:
        """Who answered for a service: evidence that the run was real."""
        facts = {
            "name": name,
            "url": self._url(self._target.services[name]).partition("?")[0],
            "status": answer.status,
            "server": answer.server,
            "revision": answer.revision or revision_in(answer.body),
        }
        text = self._journal.text(json.dumps(facts).encode())
        self._journal.note(Kind.PEER, op=index, flag=1, b=text)


def judge_health(service: Service, answer: Answer) -> int:
    """UNHEALTHY, HEALTHY or DEGRADED, by status and the named field."""
    if answer.status != OK:
        return UNHEALTHY
    if service.field is None:
        return HEALTHY
    value = at(answer.body, service.field)
    if value is None:
        return HEALTHY  # not JSON, or without the field: the status is all there is
    word = str(value).lower()
    if word in service.healthy:
        return HEALTHY
    return DEGRADED if word in service.degraded else UNHEALTHY
