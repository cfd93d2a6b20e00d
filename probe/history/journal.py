"""The bounded writer: rows go into a preallocated buffer, a thread puts buffers on disk.

The rule: a row costs the event loop a `pack_into`, never a system call; what is written is
on its way to the disk at most `FLUSH_NS` later; and where the disk cannot follow, the loss
is a GAP row with its count, never silence. Files are append-only, so a process killed at
any moment leaves every row up to the last flush (the kernel holds what was written).
Texts (heads, messages, reasons) go to a side file under a cap of its own; a text beyond
the cap is not kept and its reference is 0, and the count of those is in the meta file.
"""

from __future__ import annotations

import json
import os
import struct
import threading
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from probe.clock import Anchor, now_ns
from probe.history.records import NOBODY, ROW, SCHEMA, Kind

if TYPE_CHECKING:
    from pathlib import Path

    from probe.redact import Redactor

FLUSH_NS: Final = 100_000_000
ROWS_PER_BUFFER: Final = 4096
BUFFERS_WAITING: Final = 256
TEXT_CAP: Final = 32 * 1024 * 1024
TEXT_MAX: Final = 64 * 1024
HEADS_PER_KIND: Final = 100
WORDS_MAX: Final = 1_000
CLOSE_WITHIN_S: Final = 30.0
_MAGIC: Final = b"probetxt"
_LENGTH: Final = struct.Struct("<I")
_PAIR: Final = struct.Struct(ROW.format + ROW.format.removeprefix("<"))


@dataclass(slots=True)
class Totals:
    """What the journal did, for the meta file."""

    rows: int = 0
    rows_lost: int = 0
    texts: int = 0
    texts_refused: int = 0


class Journal:
    """The history of one process of one run, being written.

    `folder` is made and must be new. `redactor` sees every text before it is stored. Where
    several processes write one run, `share` is their number, and each keeps that part of the
    texts and heads that one would keep.
    Not thread-safe on the producing side: rows come from the loop's thread only.
    """

    def __init__(
        self,
        folder: Path,
        redactor: Redactor,
        meta: dict[str, Any] | None = None,
        *,
        share: int = 1,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._redactor = redactor
        self._text_cap = TEXT_CAP // share
        self._heads_max = -(-HEADS_PER_KIND // share)
        self.anchor = Anchor.take()
        self._meta = {"schema": SCHEMA, "anchor": asdict(self.anchor), **(meta or {})}
        self.totals = Totals()
        self._buffer = bytearray(ROW.size * (ROWS_PER_BUFFER + 1))  # a pair may need one more
        self._at = 0
        self._end = ROW.size * ROWS_PER_BUFFER
        self._pack = ROW.pack_into
        self._pack_pair = _PAIR.pack_into
        self._gap = 0
        self._gap_since = 0
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._texts: list[bytes] = []
        self._heads: dict[int, int] = {}
        self._words: dict[str, int] = {}
        self._text_bytes = len(_MAGIC)
        self._stored = 0
        self._unwritten = 0
        self._failed: OSError | None = None
        self._closing = False
        self._writing = False
        self._kick = threading.Condition()
        self._rows_fd = os.open(folder / "rows.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._texts_fd = os.open(
            folder / "texts.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644
        )
        os.write(self._texts_fd, _MAGIC)
        self._write_meta(complete=False)
        self._thread = threading.Thread(target=self._drain, name="journal", daemon=True)
        self._thread.start()

    def row(
        self, t: int, session: int, op: int, kind: int, flag: int = 0, a: int = 0, b: int = 0
    ) -> None:
        """Write one row; `records` says what the fields of each kind mean."""
        at = self._at
        self._pack(self._buffer, at, t, session, op, kind, flag, a, b)
        self._at = at = at + 32
        if at >= self._end:
            self.flush()

    def pair(  # each field once for either row, without a tuple for each
        self, session: int, op: int,
        t: int, kind: int, flag: int, a: int, b: int,
        t2: int, kind2: int, flag2: int, a2: int, b2: int,
    ) -> None:  # fmt: skip
        """Write two rows of one attempt, in this order, as `row` would."""
        at = self._at
        self._pack_pair(
            self._buffer, at,
            t, session, op, kind, flag, a, b, t2, session, op, kind2, flag2, a2, b2,
        )  # fmt: skip
        self._at = at = at + 64
        if at >= self._end:
            self.flush()

    def rows(
        self, count: int, t: int, session: int, op: int, kind: int, flag: int, a: int, b: int
    ) -> None:
        """Write the same row so many times."""
        if count == 1:
            self.row(t, session, op, kind, flag, a, b)
            return
        row = ROW.pack(t, session, op, kind, flag, a, b)
        while count:
            at = self._at
            some = min(count, (self._end - at) // ROW.size)
            self._at = end = at + some * ROW.size
            self._buffer[at:end] = row * some
            count -= some
            if end >= self._end:
                self.flush()

    def text(self, data: bytes, redactor: Redactor | None = None) -> int:
        """Keep `data`, redacted and bounded; its reference, or 0 when the cap is reached."""
        data = (redactor or self._redactor).redact(data)[:TEXT_MAX]
        size = len(data) + _LENGTH.size
        if self._text_bytes + size > self._text_cap:
            self.totals.texts_refused += 1
            return 0
        reference = self._text_bytes
        self._text_bytes += size
        self._texts.append(_LENGTH.pack(len(data)) + data)
        self.totals.texts += 1
        return reference

    def word(self, text: str) -> int:
        """Keep a sentence that is said again and again, once; its reference as of `text`.

        For our own words only: whoever calls has redacted what a peer had a part in.
        """
        reference = self._words.get(text)
        if reference is None:
            reference = self.text(text.encode("utf-8", "surrogateescape"))
            if len(self._words) < WORDS_MAX:
                self._words[text] = reference
        return reference

    def wants(self, what: int) -> bool:
        """Whether one more head of this kind of failure is worth its price as a text.

        A witness needs the first few; a herd of thousands that fails alike needs no more.
        """
        count = self._heads.get(what, 0)
        self._heads[what] = count + 1
        return count < self._heads_max

    def note(self, kind: int, op: int = 0, flag: int = 0, a: int = 0, b: int = 0) -> None:
        """A row of no session, stamped now."""
        self.row(now_ns(), NOBODY, op, kind, flag, a, b)

    def note_at(self, session: int, op: int, kind: int, flag: int, a: int, b: int) -> None:
        """A row of a session, stamped now."""
        self.row(now_ns(), session, op, kind, flag, a, b)

    def flush(self) -> None:
        """Hand what is buffered to the writing thread; called by a timer and when full."""
        if not self._at and not self._texts:
            return
        with self._kick:
            if len(self._waiting) >= BUFFERS_WAITING:
                self._drop()
                return
            # Texts before rows: a row never refers to a text that a kill kept from the disk.
            rows = bytes(memoryview(self._buffer)[: self._at])
            self._waiting.append((b"".join(self._texts), rows))
            self.totals.rows += self._at // ROW.size
            self._texts.clear()
            self._at = 0
            self._kick.notify()
        if self._gap:
            lost, since = self._gap, self._gap_since
            self._gap = 0
            self.note(Kind.GAP, a=lost, b=since)

    def _drop(self) -> None:
        lost = self._at // ROW.size
        if not self._gap:
            self._gap_since = ROW.unpack_from(self._buffer, 0)[0]
        self._gap += lost
        self.totals.rows_lost += lost
        self._at = 0

    def _drain(self) -> None:
        while True:
            with self._kick:
                self._kick.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                texts, rows = self._waiting.popleft()
                self._writing = True
                self._kick.notify_all()  # close() may wait for room
            self._store(texts, rows)
            self._writing = False

    def _store(self, texts: bytes, rows: bytes) -> None:
        count = len(rows) // ROW.size
        if self._failed is not None:
            # After a torn row nothing may follow: it would be read out of step.
            self._unwritten += count
            return
        try:
            _write_all(self._texts_fd, texts)
            _write_all(self._rows_fd, rows)
            self._stored += count
        except OSError as error:  # disk full, file system gone: told at close, never hidden
            self._failed = error
            whole = os.fstat(self._rows_fd).st_size // ROW.size
            self._unwritten += self._stored + count - whole

    @property
    def drained(self) -> bool:
        """Whether all that was flushed is in the files."""
        with self._kick:
            return not self._waiting and not self._writing

    def close(self, **end: str) -> Totals:
        """Write all that is left and the final meta file with `end`, which says how it ended.

        Raises OSError if the disk failed on the way; the meta file then says `complete: false`.
        """
        with self._kick:
            room = BUFFERS_WAITING - 1
            self._kick.wait_for(lambda: len(self._waiting) < room, CLOSE_WITHIN_S)
        self.flush()
        self.flush()  # a GAP row that the first one made
        with self._kick:
            self._closing = True
            self._kick.notify_all()
        self._thread.join(timeout=CLOSE_WITHIN_S)
        if self._thread.is_alive():
            # It still holds the files, so they stay open; what waits will not be written.
            with self._kick:
                self._unwritten += sum(len(rows) for _, rows in self._waiting) // ROW.size
                self._waiting.clear()
            self._failed = TimeoutError("the disk did not take the history in time")
        else:
            os.close(self._rows_fd)
            os.close(self._texts_fd)
        self.totals.rows_lost += self._unwritten
        self._meta |= end
        self._write_meta(complete=self._failed is None)
        if self._failed is not None:
            raise self._failed
        return self.totals

    def _write_meta(self, *, complete: bool) -> None:
        path = self.folder / "meta.json"
        part = path.with_suffix(".part")
        meta = {**self._meta, "complete": complete, "totals": asdict(self.totals)}
        part.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
