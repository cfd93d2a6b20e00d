"""The probe itself, with its journal and a script running, as a run has them.

Every connection is a session of the engine: a task that plays steps (connect, then hold), rows
for every phase and every message, a reader that decodes each message for its type and run. The
upgrade phase is not timed here: it is read from the journal's rows, as a judgement would.
Connects are launched as the engine launches a herd (`probe.engine.pace.Turns`).
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import deque
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.clients import job
from probe.auth.identity import Identity
from probe.engine.client import Client
from probe.engine.http import Http
from probe.engine.pace import Turns
from probe.engine.play import Part, play
from probe.engine.routes import make_routes
from probe.engine.site import Live, Site, make_site
from probe.engine.watch import Watch
from probe.history.columns import History
from probe.history.journal import Journal
from probe.model.dialect import Dialect
from probe.model.script import Connect, Hold
from probe.model.target import Target
from probe.redact import Redactor
from probe.wire.deadlines import wheel_of

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = (Connect(do="connect"), Hold.model_validate({"do": "hold", "lasts": "1h"}))


class ProbeConnection(Client):
    __slots__ = ("_owner", "_tally", "_upgraded")

    def begin(self, owner: ProbeClient) -> asyncio.Future[None]:
        self._owner = owner
        self._tally: job.Tally | None = None
        self._upgraded = asyncio.get_running_loop().create_future()
        return self._upgraded

    def _become_ready(self, t_ns: int) -> None:
        super()._become_ready(t_ns)
        self._upgraded.set_result(None)

    def messages(self, t_ns: int, opcode: int, payloads: Sequence[bytes]) -> None:
        super().messages(t_ns, opcode, payloads)
        tally = self._tally
        if tally is not None:
            texts = [payload.decode() for payload in payloads]
            tally.last = texts[-1]
            tally.count += len(texts)
            if tally.count >= tally.goal:
                tally.reached()

    @property
    def delay_ns(self) -> int:
        assert self._connection is not None
        assert self._connection.response is not None
        return int(self._connection.response.all(job.DELAY_HEADER.lower().encode())[0])

    @property
    def upgrade_ns(self) -> int:
        return self._owner.upgrades[self._session]

    def listen(self, tally: job.Tally) -> None:
        self._tally = tally

    async def send(self, text: str) -> None:
        await super().send(text)

    def drop(self) -> None:
        if self._connection is not None:
            self._connection.abort()


class ProbeClient:
    def __init__(self, port: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="probe-bench-"))
        self._redactor = Redactor()
        self._target = Target.model_validate(
            {"title": "bench", "endpoints": {"main": {"url": f"ws://127.0.0.1:{port}/"}}}
        )
        self._dialect = Dialect.model_validate({"title": "bench", "present": {"default": {}}})
        self._identity = Identity(0, "", "", None, self._redactor)
        self._part = Part(SCRIPT, (), "default", (), once=True)
        self._sessions = 0
        self._tasks: set[asyncio.Task[int]] = set()
        self._site: Site | None = None
        self._waiting: deque[tuple[int, ProbeConnection]] = deque()
        self._launching = False

    def _open_site(self) -> Site:
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(self._folder / "history", self._redactor, {})
        http = Http(self._target, self._journal, "bench")
        live = Live()
        self._watch = Watch(self._journal, live, lambda: ())
        self._watch.start(self._loop)
        return make_site(
            self._loop, wheel_of(self._loop), self._journal, self._redactor, self._target,
            self._dialect, run_id="bench", http=http, routes=make_routes(self._target), live=live,
        )  # fmt: skip

    async def connect(self) -> ProbeConnection:
        if self._site is None:
            self._site = self._open_site()
        site, session = self._site, self._sessions
        self._sessions += 1
        connection = ProbeConnection(site, session, site.doors[0], self._identity)
        upgraded = connection.begin(self)
        self._waiting.append((session, connection))
        if not self._launching:
            self._launching = True
            self._keep = self._loop.create_task(self._launch())
        await upgraded
        return connection

    async def _launch(self) -> None:
        """A few in each turn of the loop, as the engine does."""
        assert self._site is not None
        turns = Turns()
        while self._waiting:
            session, connection = self._waiting.popleft()
            task = self._loop.create_task(play(self._site, self._part, connection, session))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await turns.launched()
        self._launching = False

    @cached_property
    def upgrades(self) -> dict[int, int]:
        """Upgrade phase of every session, ns, from the rows on disk."""
        self._watch.stop()
        self._journal.close(ended="complete")
        attempts = History.open(self._folder / "history").attempts
        phases = (attempts["head"] - attempts["sent"]).tolist()
        return dict(zip(attempts["session"].tolist(), phases, strict=True))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if "upgrades" not in self.__dict__ and self._site is not None:
            self._watch.stop()
            self._journal.close(ended="complete")
        shutil.rmtree(self._folder, ignore_errors=True)


if __name__ == "__main__":
    job.main("probe", ProbeClient)
