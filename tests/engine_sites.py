"""The engine in parts: a site whose journal is a list, and sessions that play one script.

`site_of` has no sockets: what a client writes is told as rows. `talk` plays a script on real
sockets against a service of the test, in one loop, and reads the rows from the disk.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
import websockets

from probe.auth.identity import Identity
from probe.engine.play import make_client, part_of, play
from probe.engine.routes import make_routes
from probe.engine.site import Live, make_site
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.records import NOBODY, Kind
from probe.model.dialect import Dialect
from probe.model.groups import Group
from probe.model.scenario import Population
from probe.model.target import Target
from probe.redact import Redactor
from probe.wire.deadlines import wheel_of

RUN = {"start": '{"go":"{run}","of":{size}}', "events": ["a", {"type": "b", "times": "1..*"}, "c"]}
SPOKEN = {
    "title": "d",
    "present": {"default": {}},
    "ready": {"event": "hello"},
    "run": RUN,
    "errors": ["error"],
    "limited": "limited",
    "sentinel": {"send": '{"ask":"{n}"}', "event": "told", "path": "n"},
    "paths": {"thread": "thread", "user": "user", "sequence": "seq", "cursor": "cursor"},
}
QUIET = {Kind.DIAL, Kind.RESOLVED, Kind.TCP, Kind.SENT, Kind.HEAD, Kind.FIRST, Kind.KEPT}
HELLO, A, B, C, ERROR, TOLD, LIMITED = range(1, 8)


class Rows(list[tuple[int, ...]]):
    """Rows as `Journal.row` takes them: t, session, op, kind, flag, a, b."""

    def __init__(self):
        self.words: list[str] = [""]
        self.kept: list[bytes] = []
        self.counts: dict[int, int] = {}

    def row(self, t, session, op, kind, flag=0, a=0, b=0):
        self.append((t, session, op, kind, flag, a, b))

    def pair(self, session, op, *rows):
        for t, *rest in (rows[:5], rows[5:]):
            self.row(t, session, op, *rest)

    def rows(self, count, *row):
        self.extend([row] * count)

    def text(self, data, redactor=None):
        self.kept.append(redactor.redact(data) if redactor else data)
        return 1000 + len(self.kept)

    def word(self, text):
        if text not in self.words:
            self.words.append(text)
        return self.words.index(text)

    def wants(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1
        return self.counts[what] <= 2

    def of(self, kind):
        """(flag, a, b) of the rows of a kind."""
        return [row[4:] for row in self if row[3] == kind]

    def told(self):
        """(flag, a, words) of the ODD rows."""
        return [(flag, a, self.words[b]) for flag, a, b in self.of(Kind.ODD)]


def spoken(**more):
    return Dialect.model_validate(SPOKEN | more)


def site_of(dialect=None, *, loop=None, keep=0):
    """A site and its journal."""
    rows: Any = Rows()
    target = Target.model_validate({"title": "t", "endpoints": {"main": {"url": "ws://x"}}})
    nowhere: Any = None
    site = make_site(
        loop or nowhere, nowhere, rows, Redactor(), target, dialect or spoken(),
        run_id="a run", http=nowhere, routes={}, live=Live(), keep=keep,
    )  # fmt: skip
    return site, rows


def identity(user="probe-7", token="a-token-that-is-secret", index=7):
    return Identity(index, user, token, None, Redactor(token))


class Talk:
    """What a few sessions of one script left behind: their rows in order of time."""

    def __init__(self, history):
        self.history = history
        self.rows = [
            row for row in history.rows.tolist() if row[1] != NOBODY and row[3] not in QUIET
        ]

    def of(self, kind, session=0):
        """(op, flag, a, b) of the rows of a kind."""
        return [
            (op, *rest) for _, who, op, what, *rest in self.rows if (who, what) == (session, kind)
        ]

    def at(self, kind, session=0):
        """When the rows of a kind were, ns."""
        return [row[0] for row in self.rows if (row[1], row[3]) == (session, kind)]

    def kinds(self, session=0):
        """The kinds of rows in their order, the attempt's phases left out."""
        return [Kind(row[3]).name for row in self.rows if row[1] == session]

    def runs(self, session=0):
        """(what, a, number) of the RUN rows."""
        return [(flag, a, b & 0xFFFFFFFF) for _, flag, a, b in self.of(Kind.RUN, session)]

    def got(self, session=0):
        return [flag for _, flag, _, _ in self.of(Kind.GOT, session)]

    def done(self, session=0):
        """(how, why) of a session."""
        ((_, how, _, why),) = self.of(Kind.DONE, session)
        return how, self.history.text(why).decode() if why else ""


def talk(folder, serve, script, *, users=("probe-0",), dialect=None, within_s=20.0, **population):
    """Play a script against `serve(websocket)`, one session for each user, in one loop."""
    group = Group(
        "load",
        "clients",
        Population.model_validate({"shape": {"clients": 1}, "script": script} | population),
    )

    async def whole():
        loop = asyncio.get_running_loop()
        journal = Journal(folder / "history", Redactor(), {})
        try:
            async with websockets.serve(serve, "127.0.0.1", 0, compression=None) as server:
                port = server.sockets[0].getsockname()[1]
                target = Target.model_validate(
                    {"title": "t", "endpoints": {"main": {"url": f"ws://127.0.0.1:{port}/"}}}
                )
                nowhere: Any = None
                site = make_site(
                    loop, wheel_of(loop), journal, Redactor(), target, dialect or spoken(),
                    run_id="a run", http=nowhere, routes=make_routes(target), live=Live(),
                )  # fmt: skip
                part = part_of(group, site)
                clients = [
                    make_client(site, part, n, site.doors[0], identity(user, index=n), 0)
                    for n, user in enumerate(users)
                ]
                for n, user in enumerate(users):
                    site.everybody.add(identity(user, index=n))
                async with asyncio.timeout(within_s):
                    await asyncio.gather(*(play(site, part, c, n) for n, c in enumerate(clients)))
        finally:
            journal.close(ended="complete")

    uvloop.run(whole())
    return Talk(History.open(folder / "history"))
