"""One stage of a history, cut out once and shared by every check of that stage.

The rule: what belongs to a stage is decided here and nowhere else. Clients belong to the
stage of their population, rows of nobody to the stage in whose time they were written.
A connection is *good* when it became ready and was not taken away unasked in its first
second, before it had served any event of a run; presentations that ought to be rejected are
judged by `offers` alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from probe.check.words import close_words
from probe.history.records import Kind, Outcome, Phase, Violation
from probe.model.matrix import ought_to_get_in
from probe.model.plan import Group, groups_of

if TYPE_CHECKING:
    from probe.history.columns import History, Rows
    from probe.model.resolved import Resolved
    from probe.model.scenario import Stage

Mask = NDArray[np.bool_]
FOREVER: Final = 2**63 - 1
FIRST_SECOND_NS: Final = 1_000_000_000
SWITCHING: Final = 101
FATAL: Final = int(~Violation.SUBPROTOCOL_NONE)
BEGIN, END, STOPPED, SKIPPED = range(4)
NO_RESTART: Final = 2
LAB: Final = "{lab}"
_UNASKED: Final = (Outcome.CLOSED, Outcome.RESET, Outcome.EOF)
_OURS: Final = (-1, Outcome.LOCAL, Outcome.CANCELLED)


@dataclass(frozen=True, slots=True)
class Trial:
    """One restart, ns of the monotonic clock.

    `zero` is its time zero, `end` when it settled or gave up, `until` when the next one
    began (FOREVER for the last); `settled` is SETTLED.flag, -1 without a row. `called` is when
    the call that restarts had returned: no client can be dialled before.
    """

    number: int
    zero: int
    end: int
    until: int
    settled: int
    why: str
    called: int


@dataclass(frozen=True, eq=False)
class StageView:
    """See the module. `begun` is 0 for a stage that was never begun."""

    history: History
    resolved: Resolved
    name: str
    index: int
    stage: Stage
    groups: dict[int, Group]
    begun: int
    ended: int
    skipped: bool
    stopped_early: bool
    why: str

    @cached_property
    def sessions(self) -> Rows:
        """Clients of this stage; see History.sessions."""
        return self._mine(self.history.sessions)

    @cached_property
    def attempts(self) -> Rows:
        """Connections of this stage; see History.attempts."""
        return self._mine(self.history.attempts)

    @cached_property
    def runs(self) -> Rows:
        """Runs of this stage; see History.runs."""
        return self._mine(self.history.runs)

    @cached_property
    def welcome(self) -> Rows:
        """Attempts that ought to be accepted: by their presentation, and by their token."""
        dialect = self.resolved.dialect
        welcome = [
            k for k, g in self.groups.items()
            if ought_to_get_in(self.stage, g.name, g.population, dialect)
        ]  # fmt: skip
        rows: Rows = self.attempts[np.isin(self.attempts["population"], welcome)]
        return rows

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The restarts of this stage that took place, by number; of other stages none."""
        if self.stage.anchor != "restart":
            return ()
        anchors = self.history.of(Kind.ANCHOR)
        anchors = anchors[anchors["a"] == self.index]
        anchors = anchors[np.argsort(anchors["op"], kind="stable")]
        rows = self.history.of(Kind.SETTLED)
        settled = {int(r["op"]): r for r in rows[rows["a"] == self.index]}
        trials = []
        for place, row in enumerate(anchors):
            number, zero = int(row["op"]), int(row["b"])
            until = int(anchors[place + 1]["b"]) if place + 1 < len(anchors) else FOREVER
            mark = settled.get(number)
            end = int(mark["t"]) if mark is not None else min(until, self.ended)
            flag = int(mark["flag"]) if mark is not None else -1
            why = self.text(mark["b"]) if mark is not None else ""
            if flag != NO_RESTART:
                trials.append(Trial(number, zero, min(end, until), until, flag, why, int(row["t"])))
        return tuple(trials)

    @cached_property
    def failed_restarts(self) -> tuple[str, ...]:
        """Why restarts did not take place, one entry for each."""
        rows = self.history.of(Kind.SETTLED)
        rows = rows[(rows["a"] == self.index) & (rows["flag"] == NO_RESTART)]
        return tuple(self.text(row["b"]) for row in rows[np.argsort(rows["op"], kind="stable")])

    @cached_property
    def health(self) -> Rows:
        """HEALTH rows of this stage, by time."""
        rows = self.history.of(Kind.HEALTH)
        rows = rows[(rows["b"] >= self.begun) & (rows["t"] <= self.ended)]
        ordered: Rows = rows[np.argsort(rows["t"], kind="stable")]
        return ordered

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Where endpoints really were, as far as a connection was made (PEER)."""
        return self._peers(0)

    @cached_property
    def services(self) -> dict[str, str]:
        """Where services were asked: planned, and really where that is known (PEER)."""
        planned = self.resolved.target.get("services", {})
        return {name: self._placed(str(url)) for name, url in planned.items()} | self._peers(1)

    def _placed(self, url: str) -> str:
        """An address of the embedded lab where that is known of any other of its addresses."""
        known = (*self._peers(0).values(), *self._peers(1).values())
        return url.replace(LAB, urlsplit(known[0]).netloc) if known else url

    def _peers(self, kind: int) -> dict[str, str]:
        found: dict[str, str] = {}
        for row in self.history.of(Kind.PEER):
            if int(row["flag"]) == kind:
                try:
                    told = json.loads(self.history.text(int(row["b"])))
                    found.setdefault(str(told["name"]), str(told["url"]))
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def wanted(self, rows: Rows) -> Mask:
        """Which rows (with a population) show what ought to be accepted."""
        present = self.resolved.dialect.present
        welcome = [
            k for k, g in self.groups.items() if present[g.population.present].expect == "accepted"
        ]
        return np.isin(rows["population"], welcome)

    def of_trial(self, rows: Rows, trial: Trial) -> Rows:
        """Rows (with a trial) of one restart."""
        mine: Rows = rows[rows["trial"] == trial.number]
        return mine

    def text(self, reference: int) -> str:
        """A stored text as it is, lossily decoded."""
        return self.history.text(int(reference)).decode("utf-8", "backslashreplace")

    def endpoint(self, index: int) -> str:
        """The name of an endpoint."""
        names = self.history.names("endpoints")
        return names[index] if 0 <= index < len(names) else f"endpoint {index}"

    def url(self, index: int) -> str:
        """The address of an endpoint, without its query."""
        name = self.endpoint(index)
        planned = self.resolved.target.get("endpoints", {}).get(name, "")
        return self.addresses.get(name) or self._placed(str(planned))

    def close_words(self, code: int, reason: bytes = b"") -> str:
        """A close code with its meaning, the dialect's where it has one."""
        return close_words(code, reason, self.resolved.dialect.close_codes)

    def _mine(self, rows: Rows) -> Rows:
        mine: Rows = rows[np.isin(rows["population"], list(self.groups))]
        return mine


def views(history: History, resolved: Resolved) -> tuple[StageView, ...]:
    """All stages of the scenario, in order, also those that never began."""
    groups = list(enumerate(groups_of(resolved.scenario, resolved.dialect)))
    rows = history.of(Kind.STAGE)
    last = int(history.rows["t"].max()) if len(history.rows) else 0
    found = []
    for index, (name, stage) in enumerate(resolved.scenario.stages.items()):
        mine = rows[rows["op"] == index]
        by_flag = {int(row["flag"]): row for row in mine}
        begin, end = by_flag.get(BEGIN), by_flag.get(END, by_flag.get(STOPPED))
        told = by_flag.get(SKIPPED, by_flag.get(STOPPED))
        why = history.text(int(told["b"])).decode("utf-8", "replace") if told is not None else ""
        found.append(
            StageView(
                history,
                resolved,
                name,
                index,
                stage,
                {k: group for k, group in groups if group.stage == name},
                begun=int(begin["t"]) if begin is not None else 0,
                ended=int(end["t"]) if end is not None else last,
                skipped=begin is None,
                stopped_early=STOPPED in by_flag,
                why=why,
            )
        )
    return tuple(found)


def accepted(attempts: Rows) -> Mask:
    """Attempts that got a 101 that keeps RFC 6455."""
    return np.asarray((attempts["status"] == SWITCHING) & ((attempts["violations"] & FATAL) == 0))


def taken_away(attempts: Rows) -> Mask:
    """Accepted, then closed or dropped by the peer before ready or within a second after it.

    One that had served events of a run was in use by then: whether it stays is another matter.
    """
    unasked = np.isin(attempts["outcome"], _UNASKED) & accepted(attempts)
    stayed = gone_at(attempts) - attempts["ready"]
    unused = (stayed < FIRST_SECOND_NS) & (attempts["served"] == 0)
    early = (attempts["ready"] == 0) | unused
    return np.asarray(unasked & early)


def gone_at(attempts: Rows) -> NDArray[np.int64]:
    """When a connection was lost: its peer's Close, which TCP may outlive, or its end."""
    return np.where(attempts["close_at"] > 0, attempts["close_at"], attempts["end"])


def silent(attempts: Rows) -> Mask:
    """Accepted, and then nothing came until the deadline for ready.

    Where the 101 took most of the time there was, it was slow; that nothing followed in the
    rest says nothing of silence.
    """
    # A timeout after ready is another matter: of a step, or of the answer to our Close.
    timeout = (attempts["outcome"] == Outcome.TIMEOUT) & (attempts["ready"] == 0)
    waited = attempts["end"] - attempts["head"] >= attempts["head"] - attempts["dial"]
    return np.asarray(timeout & accepted(attempts) & waited)


def good(attempts: Rows) -> Mask:
    """Attempts that became ready and stayed."""
    return np.asarray((attempts["ready"] > 0) & ~taken_away(attempts))


def decided(attempts: Rows) -> Mask:
    """Attempts whose fate the peer decided: good ones, and failures that are not our own."""
    return np.asarray(good(attempts) | ~np.isin(attempts["outcome"], _OURS))


def labels(attempts: Rows) -> list[tuple[str, int]]:
    """How attempts went, in words, with their numbers; the most frequent first."""
    if not len(attempts):
        return []
    columns = [
        good(attempts).astype(np.int64),
        taken_away(attempts).astype(np.int64),
        silent(attempts).astype(np.int64),
        *(attempts[name].astype(np.int64) for name in ("outcome", "phase", "status", "close_code")),
    ]
    kinds, numbers = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    counts: dict[str, int] = {}
    for kind, number in zip(kinds.tolist(), numbers.tolist(), strict=True):
        word = _label(*kind)
        counts[word] = counts.get(word, 0) + number
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _label(
    is_good: int, taken: int, quiet: int, outcome: int, phase: int, status: int, code: int
) -> str:
    if is_good:
        return "good"
    if outcome < 0:
        return "no end recorded"
    if taken:
        return f"accepted, then closed {code}" if code else "accepted, then dropped"
    if quiet:
        return "accepted, then silent"
    if outcome == Outcome.STATUS:
        return f"status {status}"
    name = Outcome(outcome).name.lower().replace("_", " ")
    return f"{name} in {Phase(phase).name.lower()}"
