"""Heads of right handshakes are kept for the first connects alone, also where no message comes."""

import asyncio
from typing import Any

import pytest
import uvloop
import websockets

from probe.engine.play import Part, make_client, play
from probe.engine.routes import make_routes
from probe.engine.site import HEADS_EACH, Live, make_site
from probe.history.records import Kind
from probe.model.dialect import Dialect
from probe.model.script import Close, Connect
from probe.model.target import Target
from probe.redact import Redactor
from probe.wire.deadlines import wheel_of
from tests.engine_sites import Rows, identity

SCRIPT = (Connect(do="connect"), Close.model_validate({"do": "close"}))
SESSIONS = 8


class Noted(Rows):
    def note_at(self, *row):
        self.row(0, *row)


async def silent(websocket):
    await websocket.wait_closed()


def played(keep):
    """The rows of some sessions, one after the other, that connect and close."""
    rows: Any = Noted()
    nowhere: Any = None

    async def whole():
        loop = asyncio.get_running_loop()
        async with websockets.serve(silent, "127.0.0.1", 0, compression=None) as server:
            port = server.sockets[0].getsockname()[1]
            target = Target.model_validate(
                {"title": "t", "endpoints": {"main": {"url": f"ws://127.0.0.1:{port}/"}}}
            )
            dialect = Dialect.model_validate({"title": "d", "present": {"default": {}}})
            site = make_site(
                loop, wheel_of(loop), rows, Redactor(), target, dialect, run_id="a run",
                http=nowhere, routes=make_routes(target), live=Live(), keep=keep,
            )  # fmt: skip
            site.peers_left = 0
            part = Part(SCRIPT, (), "default", (), once=True)
            async with asyncio.timeout(20):
                for n in range(SESSIONS):
                    client = make_client(site, part, n, site.doors[0], identity(index=n), 0)
                    await play(site, part, client, n)

    uvloop.run(whole())
    return rows


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_as_many_heads_are_kept_as_the_messages_allow(keep):
    rows = played(keep)
    kept = min(HEADS_EACH * keep, SESSIONS)
    for kind in (Kind.SENT, Kind.HEAD):
        texts = [b > 0 for _, _, b in rows.of(kind)]
        assert texts == [True] * kept + [False] * (SESSIONS - kept)
    assert len(rows.kept) == 2 * kept
    assert [a for _, a, _ in rows.of(Kind.HEAD)] == [101] * SESSIONS
    assert [flag for flag, _, _ in rows.of(Kind.DONE)] == [0] * SESSIONS
    # The quick reading of a head, and the slow one of those that are kept, tell the same.
    assert len({tuple(row[3] for row in rows if row[1] == n) for n in range(SESSIONS)}) == 1
