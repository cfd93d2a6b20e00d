"""What went otherwise than smoothly, by kind, with the newest of each in its own words.

Counted from rows, never judged: a refusal may be just what a stage asks for. Kinds are of
connections (their ends, with the status or the close code that was on the wire), of messages
(odd, or another user's), and of sessions whose script did not get what it waited for though their
connections were in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.history.records import Kind, Odd, Outcome, Phase
from probe.report.visible import visible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.dashboard.tail import Journal

KINDS_MAX: Final = 200
WORDS_MAX: Final = 160
_SMOOTH: Final = (Outcome.NORMAL, Outcome.CANCELLED)
_FAILED: Final = 1  # DONE.flag
_BY_CODE: Final = (Outcome.STATUS, Outcome.CLOSED)
_CODES_MAX: Final = 100_000
_PHASES: Final = {
    Phase.RESOLVE: "at the name", Phase.TCP: "in TCP", Phase.PROXY: "at the proxy",
    Phase.TLS: "in TLS", Phase.UPGRADE: "in the upgrade", Phase.OPEN: "open, not ready",
    Phase.READY: "when ready",
}  # fmt: skip
_ODD: Final = {
    Odd.MALFORMED: "unreadable", Odd.MISSING: "without a field", Odd.TYPE: "of a wrong type",
    Odd.VALUE: "against its schema", Odd.SHAPE: "in another shape", Odd.IDS: "with other ids",
    Odd.UNKNOWN: "of unknown type",
}  # fmt: skip
_UNKNOWN: Final = "they came faster than they could be read"
_FOREIGN: Final = ("run", "user", "token")


@dataclass(slots=True)
class Seen:
    """One kind: how often, the newest in words, and when that was met (ns)."""

    name: str
    count: int = 0
    newest: str = ""
    at_ns: int = 0


class Troubles:
    """All kinds of a run; beyond `KINDS_MAX` of them they are counted together."""

    def __init__(self) -> None:
        self._kinds: dict[str, Seen] = {}
        self._codes: dict[tuple[str, int], int] = {}  # of attempts whose END has not come
        self._cut: dict[str, NDArray[np.uint32]] = {}  # sessions whose connection ended badly

    def most(self, count: int) -> list[Seen]:
        """The most frequent kinds."""
        return sorted(self._kinds.values(), key=lambda each: (-each.count, each.name))[:count]

    @property
    def kinds(self) -> int:
        """How many kinds there are."""
        return len(self._kinds)

    def missed(self, rows: int, now_ns: int) -> None:
        """So many rows were not looked at: what went wrong in them is not known."""
        self._add("rows not looked at", rows, _UNKNOWN, now_ns)

    def take(self, rows: NDArray[np.void], journal: Journal, now_ns: int) -> None:
        """Rows of one journal, in the order of writing."""
        kinds = rows["kind"]
        self._note_codes(rows[(kinds == Kind.HEAD) | (kinds == Kind.CLOSE)], journal.name)
        ends = rows[kinds == Kind.END]
        bad = ends[~np.isin(ends["a"], _SMOOTH)]
        self._ends(bad, journal, now_ns)
        for row in ends[np.isin(ends["a"], _SMOOTH)].tolist() if self._codes else ():
            self._codes.pop((journal.name, row[1] << 32 | row[2]), None)
        self._by_flag(rows[kinds == Kind.ODD], journal, now_ns, "message", _odd)
        self._by_flag(rows[kinds == Kind.FOREIGN], journal, now_ns, "another's", _foreign)
        cut = np.concatenate([self._cut.get(journal.name, bad["session"][:0]), bad["session"]])
        self._sessions(rows[kinds == Kind.DONE], cut, journal, now_ns)
        self._cut[journal.name] = bad["session"].copy()

    def _note_codes(self, rows: NDArray[np.void], name: str) -> None:
        """Statuses of refusals and codes of Closes, until their attempt's END comes."""
        kind, flag, a = rows["kind"], rows["flag"], rows["a"]
        told = ((kind == Kind.HEAD) & (a != 101)) | ((kind == Kind.CLOSE) & (flag == 1))  # noqa: PLR2004 -- Switching Protocols
        if len(self._codes) > _CODES_MAX:
            self._codes.clear()
        for row in rows[told].tolist():
            self._codes[name, row[1] << 32 | row[2]] = row[5]

    def _ends(self, bad: NDArray[np.void], journal: Journal, now_ns: int) -> None:
        counts: dict[tuple[int, int, int], list[int]] = {}
        for _, session, op, _, phase, outcome, text in bad.tolist():
            code = self._codes.pop((journal.name, session << 32 | op), 0)
            kind = (outcome, phase, code if outcome in _BY_CODE else 0)
            counted = counts.setdefault(kind, [0, 0])
            counted[0] += 1
            counted[1] = text
        for (outcome, phase, code), (count, text) in counts.items():
            self._add(_end_words(outcome, phase, code), count, journal.text(text), now_ns)

    def _by_flag(
        self, rows: NDArray[np.void], journal: Journal, now_ns: int, what: str, words: object
    ) -> None:
        assert callable(words)
        for flag in np.unique(rows["flag"]).tolist():
            mine = rows[rows["flag"] == flag]
            newest = journal.text(int(mine["b"][-1])) if words is _odd else ""
            self._add(f"{what} {words(flag)}", len(mine), newest, now_ns)

    def _sessions(
        self, done: NDArray[np.void], cut: NDArray[np.uint32], journal: Journal, now_ns: int
    ) -> None:
        failed = done[(done["flag"] == _FAILED) & ~np.isin(done["session"], cut)]
        texts, counts = np.unique(failed["b"], return_counts=True)
        for text, count in zip(texts.tolist(), counts.tolist(), strict=True):
            said = journal.text(text)
            self._add("session failed", count, said, now_ns)

    def _add(self, name: str, count: int, newest: str, now_ns: int) -> None:
        if name not in self._kinds and len(self._kinds) >= KINDS_MAX:
            name = "others"
        seen = self._kinds.setdefault(name, Seen(name))
        seen.count += count
        seen.newest = visible(newest, chars_max=WORDS_MAX) if newest else ""
        seen.at_ns = now_ns


def _end_words(outcome: int, phase: int, code: int) -> str:
    where = _PHASES[Phase(phase)] if phase in _PHASES else ""
    match outcome:
        case Outcome.STATUS:
            return f"status {code}" if code else "another status than 101"
        case Outcome.CLOSED:
            return f"closed {code or 'without a code'} {where}"
        case Outcome.LOCAL:
            return f"our own machine, {where}"
    name = Outcome(outcome).name.lower().replace("_", " ")
    return name if outcome in (Outcome.RESOLVE_FAILED, Outcome.REFUSED) else f"{name} {where}"


def _odd(flag: int) -> str:
    return _ODD.get(Odd(flag), "odd")


def _foreign(flag: int) -> str:
    return _FOREIGN[flag] if flag < len(_FOREIGN) else "message"
