"""Hearing: what arrives, as rows first, and then for whatever waits for it.

Theory of operation. Every message is read once, by the reader that `probe.contract` has made
of the dialect. For each object in it there is one GOT row, and nothing else where all is as
it ought to be. What is odd (a breach of the contract, ids that disagree, anything of another
session or user) follows as rows with the same stamp, and then the message itself, for the
first of each kind.

What one read brought is heard together, so that what its messages share is asked once: what
is waited for, and whether any of them has to be searched.

Run ids that we make name the run of the probe, the session and the number, so a message
that carries another session's is seen by a search for the first part of them: one `count`
over the bytes, and as cheap a one for the session's own ids. JSON's escapes are undone
before; nothing else is decoded. Only if a search over all of a read finds something is each of
its messages searched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from probe.contract.reading import NOTHING, UNREADABLE, Reader
from probe.engine.site import NOT_OURS
from probe.engine.waiting import (
    BOUND,
    DONE,
    FLOOD,
    LARGE,
    MESSAGE,
    PONG,
    READY,
    REFRESH,
    REFUSED,
    RUNS,
    SENTINEL,
    Waiting,
)
from probe.history.records import Kind, Odd, Phase, identity_mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.contract.reading import Told
    from probe.engine.runs import Begun

TEXT: Final = 1
FLOOD_FROM: Final = 1_000_000_000
"""Numbers of a flood's sentinels are from here on, those of `settle` below."""
NO_RUN: Final = -1
_DIGITS: Final = 18  # a longer number is none of ours, and no row could hold it
_UNREAD: Final = (NOTHING,)
_NO_READER: Final = Reader(lambda _: NOTHING, lambda _: _UNREAD)
_BACKSLASH, _CAPITAL_J = b"\\J"
_BETWEEN: Final = b"\n"  # no id and no token goes across it
_BY_RUN, _BY_USER, _BY_TOKEN = range(3)  # FOREIGN.flag
# Signs of ids and tokens: letters, digits, "-", "." and "_".
_ESCAPED: Final = re.compile(rb"\\u00(2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])")
# Codes under which the journal counts kept messages; its own for heads are below 100.
_ODD_CODE: Final = 100
_FOREIGN_CODE: Final = 150
_SHAPE_CODE: Final = 200
_GOT: Final = Kind.GOT  # a lookup in the enum costs as much as the row


class Hearing(Waiting):
    """What the listener of a connection is told while it lasts."""

    __slots__ = ()

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        """One message, as `messages`."""
        self._hear(t_ns, opcode, (payload,))

    def messages(self, t_ns: int, opcode: int, payloads: Sequence[bytes]) -> None:
        """What one read brought, in its order: rows, then whatever waits for it."""
        if type(self).message is Hearing.message:
            self._hear(t_ns, opcode, payloads)
        else:  # a class that hears each by itself
            for payload in payloads:
                self.message(t_ns, opcode, payload)

    def _hear(self, t_ns: int, opcode: int, payloads: Sequence[bytes]) -> None:
        site, count = self._site, len(payloads)
        together = _BETWEEN.join(payloads)
        site.live.messages += count
        self._received += count
        self._received_bytes += len(together) + 1 - count
        reader = site.read if opcode == TEXT or site.reads_binary else None
        close = site.keep_left > 0 or self._looks_odd(together)
        if reader is None and not close:
            self._note(count, t_ns)
        else:
            self._read(t_ns, opcode, payloads, reader or _NO_READER, close=close)
        if self._await_kind == MESSAGE or (self._echo is not None and self._echo in payloads):
            self._wake(DONE)

    def _read(
        self, t_ns: int, opcode: int, payloads: Sequence[bytes], reader: Reader, *, close: bool
    ) -> None:
        one, heard = reader.one, self._heard
        more: Sequence[Told] = ()
        odd: list[int] = []
        plain = 0  # messages in a row that say nothing, so that their rows are alike
        for payload in payloads:
            try:
                told = one(payload)
            except UNREADABLE:
                told, *more = reader.whole(payload) or _UNREAD
            if told == NOTHING and not (close or more):
                plain += 1
                continue
            if plain:
                self._note(plain, t_ns)
                plain = 0
            key = heard(t_ns, told, odd)
            if close or more or odd:
                keys = [key, *[heard(t_ns, each, odd) for each in more]]
                self._look(t_ns, opcode, payload, told, keys, odd)
                more, odd = (), []
        if plain:
            self._note(plain, t_ns)

    def _note(self, count: int, t_ns: int) -> None:
        """The rows of messages that say nothing."""
        op = self.attempts - 1
        self._site.journal.rows(count, t_ns, self._session, op, _GOT, 0, 0, NO_RUN)

    def _looks_odd(self, together: bytes) -> bool:
        """Whether any of these messages has to be searched by itself."""
        site = self._site
        # Single bytes first, by their numbers: to look for nothing else takes a quarter.
        if _BACKSLASH in together and b"\\u" in together:
            return True
        if _CAPITAL_J in together and b"eyJ" in together:
            return True
        return site.scans and together.count(site.nonce_bytes) != together.count(self._own)

    def _look(
        self, t_ns: int, opcode: int, payload: bytes, told: Told, keys: list[int], odd: list[int]
    ) -> None:
        """One message by itself: what it has of others, and whether it is kept."""
        site = self._site
        text = payload
        if b"\\u" in payload:
            text = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), payload)
        if site.scans:
            count = text.count(site.nonce_bytes)
            if count and count != text.count(self._own):
                self._foreign(t_ns, told, keys, text, count, odd)
        if b"eyJ" in text:
            for index in sorted(site.everybody.shown_in(text) - {self._identity.index}):
                self._is_foreign(t_ns, _BY_TOKEN, told[0], identity_mark(index), odd)
        if site.keep_left > 0:
            site.keep_left -= 1
            self._keep(t_ns, 1, opcode, payload)
        elif odd and any([site.journal.wants(code) for code in odd]):  # noqa: C419 -- all are counted
            self._keep(t_ns, 1, opcode, payload)

    def pong(self, t_ns: int, payload: bytes) -> None:
        """The answer to a ping of ours, if it carries our token."""
        if payload.isdigit() and len(payload) <= _DIGITS:
            token = int(payload)
            self._site.journal.row(t_ns, self._session, self.attempts - 1, Kind.PONG, 0, 0, token)
            if self._pings.pop(token, 0) and self._await_kind == PONG and not self._pings:
                self._wake(DONE)

    def pinged(self, t_ns: int, payload: bytes) -> None:
        """The peer's ping; the wire has answered it."""

    # One body for all of it: it is called for every message, and each call costs.
    def _heard(self, t_ns: int, told: Told, odd: list[int]) -> int:  # noqa: C901, PLR0912
        """One object: its rows, what it changes, and its run key."""
        kind, run_id, sequence, thread, user, cursor, mark, shape, breach = told
        site = self._site
        runs = self._runs
        op = self.attempts - 1
        key, run = NO_RUN, None
        if run_id is not None:
            if runs is not None:
                run = runs.ids.get(run_id) or runs.named(run_id, kind)
            key = run.key if run is not None else site.key_of(run_id)
        site.journal.row(t_ns, self._session, op, _GOT, kind, sequence, key)
        if breach is not None:
            self._odd(t_ns, kind, breach[0], breach[1], odd)
        if shape:
            self._odd(t_ns, kind, Odd.SHAPE, shape, odd)
        words = site.words
        event = run is not None and kind in words.events
        if user is not None:
            if user == self._identity.user:
                site.everybody.named = True
            elif self._identity.user and user in site.everybody.users:
                index = site.everybody.users[user]
                self._is_foreign(t_ns, _BY_USER, kind, identity_mark(index), odd)
                user = None  # told
        if event and run is not None and (thread != run.thread or user != run.user):
            self._same_ids(t_ns, kind, run, thread, user, odd)
        if cursor is not None:
            self._seen(cursor)
        if event and run is not None and runs is not None:
            runs.event(t_ns, run, kind, op)
            if self._await_kind <= RUNS:
                self._tell_runs()
        elif kind in words.turns or mark is not None:
            self._turn(t_ns, kind, run, mark, key)
        if kind:
            if self._await_kind == kind and self._waits:
                self._wake(DONE)
            else:
                # It came before its step began, as in one chunk with the one waited for.
                self._unread[kind] = self._unread.get(kind, 0) + 1
        return key

    def _turn(
        self, t_ns: int, kind: int, run: Begun | None, mark: str | int | None, key: int
    ) -> None:
        """What is no event of a run of ours, and may decide how things go on."""
        words = self._site.words
        if kind == words.ready and not self.is_ready:
            self._become_ready(t_ns)
        if kind == words.refreshed and self._await_kind == REFRESH:
            self._wake(DONE)
        if mark is not None:
            self._marked(t_ns, mark)
        if kind in words.refusing:
            self._refused(t_ns, run, key)

    def _tell_runs(self) -> None:
        runs, waits_for = self._runs, self._await_kind
        if runs is None or waits_for not in (RUNS, BOUND):
            return
        if not (runs.pending if waits_for == RUNS else runs.unbound):
            self._wake(DONE)

    def _refused(self, t_ns: int, run: Begun | None, key: int) -> None:
        """An error or a limit: which run it concerns, if any, or what else it answers."""
        runs, op = self._runs, self.attempts - 1
        if run is not None and runs is not None:
            runs.refuse(t_ns, run, op)
            self._tell_runs()
        elif self._flood_open:
            self._flood_answered()
        elif self._await_kind == LARGE:
            self._wake(DONE)
        elif self._await_kind == REFRESH and key < 0:
            self._wake(REFUSED)
        elif runs is not None and key < 0 and self._await_kind != SENTINEL:
            runs.doubt(t_ns, named=key == NOT_OURS)
            if self._await_kind == RUNS:
                self._wake(DONE)  # it may be waited for less long from now on

    def _marked(self, t_ns: int, mark: str | int) -> None:
        """A sentinel's answer: a row if the number is one that this session has sent."""
        text = str(mark)
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
            return
        number = int(text)
        if number >= FLOOD_FROM:
            if self._flood is None or number not in self._flood:
                return
            self._flood.discard(number)
            self._flood_answered()
        elif not 0 < number <= self._sentinel:
            return
        op = self.attempts - 1
        self._site.journal.row(t_ns, self._session, op, Kind.SENTINEL, 1, 0, number)
        if self._await_kind in (SENTINEL, LARGE) and number == self._sentinel:
            self._wake(DONE)

    def _flood_answered(self) -> None:
        self._flood_open = max(self._flood_open - 1, 0)
        if not self._flood_open and self._await_kind == FLOOD:
            self._wake(DONE)

    def _seen(self, cursor: str | int) -> None:
        """Remember how far we came; of numbers the highest, whatever the order was.

        After a reconnect what comes before we have asked for the gap lies beyond the gap.
        """
        if self._was_ready and self._site.dialect.replay is not None:
            return
        before = self._cursor
        if isinstance(cursor, int) and isinstance(before, int):
            cursor = max(cursor, before)
        self._cursor = cursor

    # What is odd.

    def _odd(self, t_ns: int, kind: int, what: Odd, text: str, odd: list[int]) -> None:
        site = self._site
        for other in site.everybody.parts_in(text.encode("utf-8", "surrogatepass")):
            text = other.text(text)
        reference = site.odd_word(self.redactor.text(text))
        op = self.attempts - 1
        site.journal.row(t_ns, self._session, op, Kind.ODD, what, kind, reference)
        shapes = site.words.shapes
        if what is Odd.SHAPE and text in shapes:
            odd.append(_SHAPE_CODE + shapes.index(text))
        else:
            odd.append(_ODD_CODE + what)

    def _same_ids(
        self, t_ns: int, kind: int, run: Begun, thread: str | None, user: str | None, odd: list[int]
    ) -> None:
        """Ids that all events of one run share, against the first that had them.

        A user whom nobody knows may be the service's own name for ours, if it never uses ours.
        """
        words, everybody = self._site.words, self._site.everybody
        if run.thread is None:
            run.thread = thread
        elif thread is not None and thread != run.thread:
            text = f"{words.thread}: {thread[:80]!r}, before {run.thread[:80]!r}"
            self._odd(t_ns, kind, Odd.IDS, text, odd)
        if run.user is None and user is not None:
            run.user = self._identity.user if everybody.named else user
        if user is not None and run.user is not None and user != run.user:
            text = f"{words.user}: {user[:80]!r}, before {run.user[:80]!r}"
            self._odd(t_ns, kind, Odd.IDS, text, odd)

    def _foreign(
        self,
        t_ns: int,
        told: Told,
        keys: list[int],
        text: bytes,
        count: int,
        odd: list[int],
    ) -> None:
        """Ids of other sessions that stand elsewhere than where the message's own run does."""
        site = self._site
        name = (told[1] or "").encode("utf-8", "replace")
        # The common case first: all that stands there is the message's own run, and its thread.
        # It must be a whole id of ours: of a part of one, others are the continuation.
        whole = keys[0] >= 0 and name.startswith(site.nonce_bytes)
        if whole and count == text.count(name + b'"') + text.count(name + b"-"):
            return
        for key in sorted(site.keys_in(text).difference(keys)):
            if key >> 32 != self._session:
                self._is_foreign(t_ns, _BY_RUN, told[0], key, odd)

    def _is_foreign(self, t_ns: int, how: int, kind: int, whose: int, odd: list[int]) -> None:
        op = self.attempts - 1
        self._site.journal.row(t_ns, self._session, op, Kind.FOREIGN, how, kind, whose)
        odd.append(_FOREIGN_CODE + how)

    def _closed_with(self, t_ns: int, reason: bytes) -> None:
        """Ids of other sessions in the reason of a Close; its rows stand before."""
        for key in sorted(self._site.keys_in(reason)):
            if key >> 32 != self._session:
                self._is_foreign(t_ns, _BY_RUN, 0, key, [])

    # What others fill in or use.

    def _become_ready(self, t_ns: int) -> None:
        self.is_ready = True
        self._site.live.ready += 1
        if self._connection is not None:
            self._connection.phase = Phase.READY
        self._site.journal.row(t_ns, self._session, self.attempts - 1, Kind.READY)
        if self._await_kind == READY:
            self._wake(DONE)

    def _keep(self, t_ns: int, direction: int, opcode: int, payload: bytes) -> None:
        site = self._site
        for other in site.everybody.parts_in(payload):
            payload = other.redact(payload)
        text = site.journal.text(payload, self._identity.redactor)
        site.journal.row(t_ns, self._session, self.attempts - 1, Kind.KEPT, direction, opcode, text)
