"""The immutable columns over the files of a run: what the judging wing reads.

Opens what is there, also after a kill: whole rows count, a torn last row is cut off and a
missing end is told (`complete`). Nothing that a run stored is executed. Stamps are
monotonic ns; 0 stands for "never happened" (the clock never reads 0). Where workers have
written journals of their own, they are merged (`merging`).

    rows      one entry per stored row, in the order of writing
    sessions  one entry per client (INTENDED), with its fate
    attempts  one entry per dialled connection, every phase stamped
    runs      one entry per run that a client began
    coverage  one entry per connection that was ready: from when until when it surely lived
    stalls    one entry per time in which we read nothing
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from probe.clock import Anchor
from probe.errors import HistoryError
from probe.history.merging import WORKER, Part, merged
from probe.history.records import DTYPE, ROW, SCHEMA, Kind, Run
from probe.history.tables import ATTEMPT, COVERAGE, FOREVER, RUN, SESSION, STALLED

if TYPE_CHECKING:
    from pathlib import Path

Rows = NDArray[np.void]
_LENGTH: Final = struct.Struct("<I")

_STAMPS: Final = {
    Kind.DIAL: "dial",
    Kind.RESOLVED: "resolved",
    Kind.TCP: "tcp",
    Kind.TLS: "tls",
    Kind.SENT: "sent",
    Kind.HEAD: "head",
    Kind.FIRST: "first",
    Kind.READY: "ready",
    Kind.END: "end",
}


@dataclass(frozen=True)
class History:
    """One run's rows with their names. `meta` is the journal's meta file as it was written."""

    rows: Rows
    meta: dict[str, Any]
    texts: bytes = field(default=b"", repr=False)
    torn: bool = False

    @classmethod
    def open(cls, folder: Path) -> History:
        """Open `<run>/history`; HistoryError where it is none, or of a newer schema."""
        driver = _part(folder)
        workers = [_part(path) for path in _workers(folder)]
        parts = [driver, *workers]
        if not workers and not driver.meta.get("workers"):
            return cls(driver.rows, driver.meta, driver.texts, driver.torn)
        try:
            rows, texts, meta, torn = merged(parts)
        except ValueError as error:
            raise HistoryError(f"{folder}: no readable history here ({error})") from None
        return cls(rows, meta, texts, torn)

    @property
    def complete(self) -> bool:
        """Whether the journal was closed in order."""
        return bool(self.meta.get("complete")) and not self.torn

    @property
    def anchor(self) -> Anchor:
        """The moment by which monotonic stamps become wall times."""
        return Anchor(**self.meta["anchor"])

    @property
    def clock_bound_ns(self) -> int:
        """Instants of different processes that are nearer have no order; 0 on one host."""
        return int(self.meta.get("clock_bound_ns", 0))

    @property
    def lost(self) -> int:
        """Rows that the journal had to drop."""
        gaps = int(self.of(Kind.GAP)["a"].sum())
        return max(gaps, int(self.meta.get("totals", {}).get("rows_lost", 0)))

    def names(self, key: str) -> list[str]:
        """A list of names that rows refer to by index: endpoints, services, types, stages."""
        return [str(name) for name in self.meta.get(key, [])]

    @cached_property
    def _places(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Positions of the rows ordered by kind, and where each kind begins among them."""
        # Side by side first: rows are far apart, and 16 bits are sorted by radix.
        kinds = np.ascontiguousarray(self.rows["kind"])
        order = np.argsort(kinds, kind="stable").astype(np.int32)
        return order, np.concatenate([[0], np.cumsum(np.bincount(kinds))])

    def places(self, *kinds: Kind) -> NDArray[np.int32]:
        """The positions of the rows of some kinds, in the order of writing."""
        order, begins = self._places
        found = [order[begins[k] : begins[k + 1]] for k in kinds if k + 1 < len(begins)]
        if len(found) == 1:
            return found[0]
        return np.sort(np.concatenate([order[:0], *found]))

    def of(self, *kinds: Kind) -> Rows:
        """The rows of some kinds, in the order of writing."""
        rows: Rows = self.rows[self.places(*kinds)]
        return rows

    def text(self, reference: int) -> bytes:
        """The stored text; b"" when none was kept or the file ends before it."""
        start = int(reference) + _LENGTH.size
        if reference <= 0 or start > len(self.texts):
            return b""
        (size,) = _LENGTH.unpack_from(self.texts, start - _LENGTH.size)
        return self.texts[start : start + size] if start + size <= len(self.texts) else b""

    def _timed(self, *kinds: Kind) -> Rows:
        """The same by time, so that a table is the same in whatever order rows were written."""
        rows = self.of(*kinds)
        ordered: Rows = rows[np.argsort(rows["t"], kind="stable")]
        return ordered

    @cached_property
    def sessions(self) -> Rows:
        """See SESSION; ordered by session number."""
        intended = self.of(Kind.INTENDED)
        intended = intended[np.argsort(intended["session"], kind="stable")]
        out = np.zeros(len(intended), dtype=SESSION)
        out["session"], out["trial"] = intended["session"], intended["op"]
        out["population"], out["endpoint"] = intended["a"], intended["flag"]
        out["identity"], out["intended"] = intended["b"], intended["t"]
        out["outcome"] = -1
        keys = out["session"]
        for kind, name in ((Kind.DIAL, "dial"), (Kind.READY, "ready")):
            rows = self._timed(kind)[::-1]  # assigned backwards, so that the first one stays
            at, found = _find(keys, rows["session"])
            out[name][at[found]] = rows["t"][found]
        rows = self._timed(Kind.DONE)
        at, found = _find(keys, rows["session"])
        for name, column in (("done", "t"), ("outcome", "flag"), ("step", "a"), ("why", "b")):
            out[name][at[found]] = rows[column][found]
        rows = self.of(Kind.DIAL)
        at, found = _find(keys, rows["session"])
        out["attempts"] = np.bincount(at[found], minlength=len(out))
        return out

    @cached_property
    def attempts(self) -> Rows:
        """See ATTEMPT; ordered by session and attempt."""
        dials = self.of(Kind.DIAL)
        out = np.zeros(len(dials), dtype=ATTEMPT)
        keys = np.sort(_key(dials))
        out["session"], out["attempt"] = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)
        out["outcome"] = -1
        for kind, name in _STAMPS.items():
            self._put(out, keys, kind, {name: "t"})
        self._put(out, keys, Kind.SENT, {"request_text": "b"})
        self._put(out, keys, Kind.HEAD, {"status": "a", "violations": "flag", "response_text": "b"})
        self._put(out, keys, Kind.END, {"outcome": "a", "phase": "flag", "detail_text": "b"})
        received = self._timed(Kind.CLOSE)
        received = received[received["flag"] == 1]
        at, found = _find(keys, _key(received))
        for name, column in (("close_code", "a"), ("close_at", "t"), ("reason_text", "b")):
            out[name][at[found]] = received[column][found]
        self._put_first_messages(out, keys)
        sessions = self.sessions
        at, found = _find(sessions["session"], out["session"])
        for name in ("trial", "population", "endpoint"):
            out[name] = np.where(found, sessions[name][at], -1) if len(sessions) else -1
        first = out["attempt"] == 0
        intended = sessions["intended"][at] if len(sessions) else out["dial"]
        out["intended"] = np.where(first & found, intended, out["dial"])
        return out

    def _put(self, out: Rows, keys: Any, kind: Kind, columns: dict[str, str]) -> None:
        rows = self._timed(kind)
        at, found = _find(keys, _key(rows))
        for name, column in columns.items():
            out[name][at[found]] = rows[column][found]

    def _put_first_messages(self, out: Rows, keys: Any) -> None:
        got = self.places(Kind.GOT)
        at, found = _find(keys, _key_at(self.rows, got))
        at, got = at[found], got[found]
        times, runs = self.rows["t"][got], self.rows["b"][got]
        after = (out["ready"][at] > 0) & (times > out["ready"][at])
        for name, mask in (("event", after), ("served", runs >= 0)):
            first = np.full(len(out), FOREVER, dtype=np.int64)
            np.minimum.at(first, at[mask], times[mask])
            out[name] = np.where(first < FOREVER, first, 0)

    @cached_property
    def runs(self) -> Rows:
        """See RUN; ordered by key, which is by session and run number."""
        rows = self._timed(Kind.RUN)
        begun, after = rows[rows["flag"] == Run.BEGUN], rows[rows["flag"] != Run.BEGUN]
        keys, first = np.unique(begun["b"], return_index=True)  # the earliest of each
        begun = begun[first]
        out = np.zeros(len(begun), dtype=RUN)
        out["key"], out["session"], out["attempt"] = keys, begun["session"], begun["op"]
        out["run"], out["size"], out["begun"] = keys & 0x7FFFFFFF, begun["a"], begun["t"]
        at, found = _find(keys, after["b"])
        for name, column in (("outcome", "flag"), ("over", "t")):
            out[name][at[found]] = after[column][found]
        ends = found & (after["flag"] == Run.ENDED)
        out["ended"][at[ends]] = after["t"][ends]
        at, found = _find(self.sessions["session"], out["session"])
        for name in ("population", "trial"):
            out[name] = np.where(found, self.sessions[name][at], -1) if len(self.sessions) else -1
        return out

    @cached_property
    def coverage(self) -> Rows:
        """See COVERAGE; ordered by session and attempt.

        Our own rows prove nothing about the peer, so that an attempt without an end is
        covered up to the last that came from it, too.
        """
        attempts = self.attempts[self.attempts["ready"] > 0]
        out = np.zeros(len(attempts), dtype=COVERAGE)
        for name in ("session", "attempt", "ready"):
            out[name] = attempts[name]
        alive = attempts["ready"].copy()
        keys = _key(attempts, "attempt")
        for kind in (Kind.PONG, Kind.SENTINEL, Kind.GOT):
            places = self.places(kind)
            if kind == Kind.SENTINEL:
                places = places[self.rows["flag"][places] == 1]
            at, found = _find(keys, _key_at(self.rows, places))
            np.maximum.at(alive, at[found], self.rows["t"][places[found]])
        out["alive"] = alive
        return out

    @cached_property
    def stalls(self) -> Rows:
        """See STALLED; ordered by session and time. One that never ended lasts for ever."""
        rows = self.of(Kind.STALL)
        rows = rows[np.lexsort((rows["flag"], rows["t"], rows["op"], rows["session"]))]
        begins = np.flatnonzero(rows["flag"] == 0)
        out = np.zeros(len(begins), dtype=STALLED)
        out["session"], out["attempt"] = rows["session"][begins], rows["op"][begins]
        out["since"], out["until"] = rows["t"][begins], FOREVER
        after = np.minimum(begins + 1, len(rows) - 1)
        ended = (rows["flag"][after] == 1) & (_key(rows)[after] == _key(rows)[begins])
        out["until"][ended] = rows["t"][after[ended]]
        return out

    def frames(self, session: int, attempt: int | None = None) -> Rows:
        """All rows of one session (or one attempt of it) by time: the raw witness."""
        mine = self.rows["session"] == session
        if attempt is not None:
            mine &= self.rows["op"] == attempt
            mine &= ~np.isin(self.rows["kind"], (Kind.INTENDED, Kind.DONE))
        rows: Rows = self.rows[mine]
        ordered: Rows = rows[np.argsort(rows["t"], kind="stable")]
        return ordered


def succeeded(attempts: Rows) -> NDArray[np.bool_]:
    """Attempts that became ready."""
    return np.asarray(attempts["ready"] > 0)


def _part(folder: Path) -> Part:
    """One journal; HistoryError where it is none, or of a newer schema."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        size = (folder / "rows.bin").stat().st_size
        rows = _mapped(folder / "rows.bin", size // ROW.size)
        texts = (folder / "texts.bin").read_bytes()
    except (OSError, ValueError) as error:
        raise HistoryError(f"{folder}: no readable history here ({error})") from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise HistoryError(f"{folder}: schema is not {SCHEMA}; use the probe that wrote it")
    return Part(rows, texts, meta, torn=size % ROW.size != 0)


def _workers(folder: Path) -> list[Path]:
    """The workers' journals by number. One without a meta file, its first, has no row either."""
    names = {path: path.name.removeprefix(WORKER) for path in folder.glob(f"{WORKER}*")}
    there = {
        int(digits): path
        for path, digits in names.items()
        if digits.isdecimal() and (path / "meta.json").exists()
    }
    return [there[number] for number in sorted(there)]


def _mapped(path: Path, whole: int) -> Rows:
    """The whole rows of a file, read-only; the system reads what is looked at."""
    if not whole:
        return np.zeros(0, dtype=DTYPE)
    return np.asarray(np.memmap(path, dtype=DTYPE, mode="r", shape=(whole,)))


def _key(rows: Rows, op: str = "op") -> NDArray[np.uint64]:
    return (rows["session"].astype(np.uint64) << np.uint64(32)) | rows[op].astype(np.uint64)


def _key_at(rows: Rows, places: NDArray[np.int32]) -> NDArray[np.uint64]:
    """The same of some rows, of which no other column is touched."""
    sessions: NDArray[np.uint64] = rows["session"][places].astype(np.uint64) << np.uint64(32)
    return sessions | rows["op"][places].astype(np.uint64)


def _find(keys: Any, wanted: Any) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Positions of `wanted` in sorted `keys`, and which of them are there."""
    if not len(keys):
        zeros = np.zeros(len(wanted), dtype=np.int64)
        return zeros, zeros.astype(bool)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, np.asarray(keys[at] == wanted)
