"""Handshaking: one request of the negotiation matrix, and all that comes of it.

The rule: whatever the service does is the answer that was asked for, so no answer fails a
session; only a row for which the dialect has no material ends it, with the reason. After a
101 the connection is listened to for a while, since a rejection may come late, and then
closed as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.auth.present import present
from probe.clock import now_ns
from probe.engine.credentials import Credentials
from probe.engine.waiting import ENDED, READY, SessionOver
from probe.history.records import Phase
from probe.model.handshakes import HANDSHAKES
from probe.negotiation.rendering import render
from probe.negotiation.repertoire import FORBIDDEN, repertoire_of
from probe.wire.dialing import dial
from probe.wire.ends import End
from probe.wire.request import Facts, new_key
from probe.wire.sending import Pieces

if TYPE_CHECKING:
    from probe.model.handshake import HandshakeCase
    from probe.negotiation.rendering import Rendered
    from probe.wire.connection import Connection

LISTEN_NS: Final = 300_000_000
_CLOSE_NS: Final = 3_000_000_000


class Handshaking(Credentials):
    """See `probe.model.script.Session.handshake`."""

    __slots__ = ()

    async def handshake(self, case: str) -> None:
        """Send the request of this row and see what comes of it; see `handshakes`."""
        await self.pass_by()
        row = HANDSHAKES.get(case)
        if row is None:
            raise SessionOver(f"there is no handshake case {case!r}")
        await self.leave()
        request, first_message = self._request(row)
        self.is_ready = False
        self._connection = self._open_end = None
        self._begin_traffic()
        op = self.attempts
        self.attempts += 1
        site = self._site
        deadline = now_ns() + site.dialect.ready.within + request.lasts_ns
        result = await dial(
            site.loop, self._door.route, request.head,
            Facts(request.key, request.offered, request.extensions),
            self, site.journal, self._session, op,
            redactor=self._identity.redactor, deadline_ns=deadline, keep_heads=True,
            max_message=site.dialect.message_max, sending=Pieces(request.parts),
        )  # fmt: skip
        if isinstance(result, End):
            self._failed(result)
            return
        self._connection = result
        if site.peers_left > 0:
            site.note_peer(self._door, result)
        if self.is_ready:  # what says so came with the 101
            result.phase = Phase.READY
        if first_message is not None and self._open_end is None:
            self._put(first_message)
        if not site.words.ready and self._open_end is None:
            self._become_ready(result.opened_ns)
        await self._listen(result)

    def _request(self, row: HandshakeCase) -> tuple[Rendered, bytes | None]:
        """The row's request for this identity, and what is said first once it is open."""
        identity, door = self._identity, self._door
        repertoire = repertoire_of(self._site.dialect, tokens=bool(identity.token))
        if lacking := repertoire.lacking(row):
            raise SessionOver(f"{row.name} cannot be sent: {lacking}")
        if repertoire.shows_bad_token(row) and not self._site.target.safety.bad_tokens:
            raise SessionOver(f"{row.name} is not sent: {FORBIDDEN}")
        parts = present(repertoire.presentation(row), identity.token, identity.user)
        trace = f"00-{self._site.trace}-{self._session:08x}{self.attempts + 1:08x}-01"
        plain = door.prepared.build(
            new_key(),
            headers=(("traceparent", trace), *parts.headers),
            resource=parts.resource(door.route.resource),
        )
        request = render(
            row, plain, repertoire, token=identity.token, user=identity.user,
            secure=door.route.secure,
        )  # fmt: skip
        return request, parts.first_message

    async def _listen(self, connection: Connection) -> None:
        """Wait for ready and for a late rejection, then close."""
        if not self.is_ready and self._open_end is None:
            within = connection.opened_ns + self._site.dialect.ready.within - now_ns()
            await self._wait(max(within, 0), kind=READY)
        outcome = ENDED
        if self._open_end is None:
            left = connection.opened_ns + LISTEN_NS - now_ns()
            outcome = await self._wait(max(left, 0), lasting=True)
        if self._open_end is None and outcome != ENDED:
            connection.close(1000)
            await self._wait(_CLOSE_NS)
        if self._open_end is None:
            connection.abort()
