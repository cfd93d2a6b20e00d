"""A row for each client of a run: how far it came, how long each phase took, how it ended.

The rule: one row for every client that was planned, in the order of their numbers. Phases are
those of one connection: the first that became ready, else the last that was dialled. A time that
did not come about is missing, and so are all times of a stage, or of a level of a climb, at which
the machine of the probe was not fit: `timings` says which it is. Numbers are those of the
stored rows; text that came from the service is made visible first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from probe.check.climb import climb
from probe.check.lines import outcome_words
from probe.check.view import accepted, views
from probe.history.records import Kind, Run
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from probe.check.verdict import Fitness
    from probe.check.view import StageView
    from probe.history.columns import History, Rows
    from probe.model.resolved import Resolved

Sort = Literal["text", "number", "ms", "time"]
MEASURED: Final = "measured"
VETOED: Final = "vetoed: the probe was not fit"
MS: Final = 1_000_000
WHY_CHARS_MAX: Final = 500
CHUNK: Final = 20_000
_ENDS: Final = {-1: "no end recorded", 0: "complete", 1: "failed", 2: "stopped"}
_FAILED: Final = 1
_RESTART: Final = "restart"


@dataclass(frozen=True, slots=True)
class Field:
    """One column. `sort`: text, a whole number, milliseconds, or an instant (UTC)."""

    name: str
    sort: Sort
    told: str
    k6: bool = False
    """Whether k6 calls the same thing so."""


FIELDS: Final = (
    Field("run_id", "text", "which run"),
    Field("session", "number", "the number of the client"),
    Field("stage", "text", "the stage it belongs to"),
    Field("population", "text", "its population in that stage"),
    Field("endpoint", "text", "the endpoint it was sent to"),
    Field("trial", "number", "the restart, release of a race or level that it was part of, from 0"),
    Field("identity", "number", "whose token it carried, from 0"),
    Field("intended", "time", "when it was to begin"),
    Field("outcome", "text", "how its script ended: complete, failed, stopped, no end recorded"),
    Field("failed_step", "number", "the step of its script that failed, from 1"),
    Field("why", "text", "why, in words"),
    Field("attempts", "number", "connections that it dialled"),
    Field("attempt", "number", "the one that the columns after this tell of, from 0"),
    Field("status", "number", "the HTTP status of the answer to the upgrade"),
    Field("close_code", "number", "the close code that the service sent"),
    Field("ended_as", "text", "how that connection ended"),
    Field("timings", "text", f"`{MEASURED}`, or `{VETOED}`: then every time is missing"),
    Field("lag_ms", "ms", "dial minus intended, of the first attempt: the probe's own delay"),
    Field("resolve_ms", "ms", "resolving the name"),
    Field("tcp_ms", "ms", "from there to the TCP connection"),
    Field("tls_ms", "ms", "from there to the end of the TLS handshake"),
    Field("upgrade_ms", "ms", "from the sent request to its answer"),
    Field("ws_connecting", "ms", "from the dial to the 101, of accepted connections", k6=True),
    Field("ready_ms", "ms", "from the dial to ready, as the dialect defines it"),
    Field("connect_ms", "ms", "from the intended start of the attempt to ready"),
    Field("first_event_ms", "ms", "from ready to the first message after it"),
    Field("ws_session_duration", "ms", "from the dial to the end, of accepted ones", k6=True),
    Field("ws_msgs_sent", "number", "messages sent, over all attempts of the client", k6=True),
    Field("ws_msgs_received", "number", "messages that came, over all attempts", k6=True),
    Field("runs", "number", "runs that it began"),
    Field("runs_ended", "number", "of these, the ones whose last event came"),
)


@dataclass(frozen=True, eq=False)
class Column:
    """The values of a field; where `known` is False there is none."""

    field: Field
    values: NDArray[Any]
    known: NDArray[np.bool_]

    def part(self, low: int, high: int) -> list[Any]:
        """Plain values of some rows, None where there is none."""
        known = self.known[low:high].tolist()
        values = self.values[low:high].tolist()
        if self.field.sort == "time":
            values = [datetime.fromtimestamp(value / 1e6, UTC) for value in values]
        return [value if there else None for value, there in zip(values, known, strict=True)]


@dataclass(frozen=True, eq=False)
class Sessions:
    """All rows, by column, in the order of FIELDS."""

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0].values)

    def rows(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows in pieces, each value plain; an instant is a datetime in UTC."""
        for low in range(0, len(self), CHUNK):
            parts = [column.part(low, low + CHUNK) for column in self.columns]
            yield list(zip(*parts, strict=True))


def sessions_of(history: History, resolved: Resolved, fitness: Fitness) -> Sessions:
    """See the module; `fitness` is that of the judgement of the same run."""
    clients = history.sessions
    told = _attempt_of(history, clients)
    of = told.rows
    where, fit = _places(history, resolved, fitness, clients)
    good = accepted(of) & told.known
    dialled = told.known & (of["dial"] > 0)
    resolved_at = np.where(of["resolved"] > 0, of["resolved"], of["dial"])
    spans = {
        "lag_ms": (clients["intended"], clients["dial"], clients["dial"] > 0),
        "resolve_ms": (of["dial"], of["resolved"], dialled),
        "tcp_ms": (resolved_at, of["tcp"], dialled),
        "tls_ms": (of["tcp"], of["tls"], dialled),
        "upgrade_ms": (of["sent"], of["head"], dialled),
        "ws_connecting": (of["dial"], of["head"], good),
        "ready_ms": (of["dial"], of["ready"], dialled),
        "connect_ms": (of["intended"], of["ready"], dialled),
        "first_event_ms": (of["ready"], of["event"], dialled & (of["ready"] > 0)),
        "ws_session_duration": (of["dial"], of["end"], good),
    }
    n, whole = len(clients), np.ones(len(clients), dtype=np.bool_)
    ends = clients["outcome"].astype(np.int64)
    failed = ends == _FAILED
    runs = history.runs
    ended = runs[runs["outcome"] == Run.ENDED]
    columns: dict[str, tuple[NDArray[Any], NDArray[np.bool_]]] = {
        "run_id": (_same(str(history.meta.get("run_id", "")), n), whole),
        "session": (clients["session"].astype(np.int64), whole),
        **where,
        "endpoint": (_words(clients["endpoint"], _namer(history, "endpoints")), whole),
        "identity": (clients["identity"], clients["identity"] >= 0),
        "intended": (_wall_us(history, clients["intended"]), clients["intended"] > 0),
        "outcome": (_words(ends, lambda end: _ENDS.get(end, str(end))), whole),
        "failed_step": (clients["step"].astype(np.int64) + 1, failed),
        "why": (_words(clients["why"], _reader(history)), clients["why"] > 0),
        "attempts": (clients["attempts"].astype(np.int64), whole),
        "attempt": (of["attempt"].astype(np.int64), told.known),
        "status": (of["status"].astype(np.int64), dialled & (of["head"] > 0)),
        "close_code": (of["close_code"].astype(np.int64), dialled & (of["close_code"] > 0)),
        "ended_as": (_words(of["outcome"], outcome_words), told.known),
        "timings": (np.where(fit, MEASURED, VETOED).astype(object), whole),
        **{
            name: ((until - since) / MS, known & (since > 0) & (until > 0) & fit)
            for name, (since, until, known) in spans.items()
        },
        "ws_msgs_sent": (_counted(clients, history.of(Kind.PUT)), whole),
        "ws_msgs_received": (_counted(clients, history.of(Kind.GOT)), whole),
        "runs": (_counted(clients, runs), whole),
        "runs_ended": (_counted(clients, ended), whole),
    }
    return Sessions(tuple(Column(field, *columns[field.name]) for field in FIELDS))


@dataclass(frozen=True, eq=False)
class _Told:
    """An attempt for each client; where `known` is False, it dialled none."""

    rows: Rows
    known: NDArray[np.bool_]


def _attempt_of(history: History, clients: Rows) -> _Told:
    """Of each client the first attempt that became ready, else its last."""
    attempts = history.attempts
    chosen = np.full(len(clients), -1, dtype=np.int64)
    if len(attempts) and len(clients):
        for places in (
            np.arange(len(attempts)),  # assigned in order, so that the last one stays
            np.flatnonzero(attempts["ready"] > 0)[::-1],  # and here the first
        ):
            at, found = _find(clients["session"], attempts["session"][places])
            chosen[at[found]] = places[found]
    known = chosen >= 0
    if not len(attempts):
        return _Told(np.zeros(len(clients), dtype=attempts.dtype), known)
    rows: Rows = attempts[np.maximum(chosen, 0)]
    return _Told(rows, known)


def _find(keys: Any, wanted: Any) -> tuple[Any, Any]:
    """Positions of `wanted` among sorted `keys`, and which of them are there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted


def _places(
    history: History, resolved: Resolved, fitness: Fitness, clients: Rows
) -> tuple[dict[str, tuple[NDArray[Any], NDArray[np.bool_]]], NDArray[np.bool_]]:
    """Stage, population and trial of each client, and whether the probe was fit there."""
    stage, population = (np.full(len(clients), "", dtype=object) for _ in range(2))
    trial, fit = (np.zeros(len(clients), dtype=np.bool_) for _ in range(2))
    for view in views(history, resolved):
        own = np.isin(clients["population"], list(view.groups))
        stage[own] = view.name
        for index, group in view.groups.items():
            population[clients["population"] == index] = group.name
        by_trial = view.stage.anchor == _RESTART or view.stage.race is not None
        trial[own] = by_trial or view.stage.capacity is not None
        if view.name in fitness.by_level:
            fit[own] = np.isin(clients["trial"][own], _fit_levels(view))
        else:
            fit[own] = fitness.fit
    known = stage != ""
    told = {
        "stage": (stage, known),
        "population": (population, known),
        "trial": (clients["trial"].astype(np.int64), trial),
    }
    return told, fit


def _fit_levels(view: StageView) -> list[int]:
    """Levels that the probe was fit for. Connections that stay outlive levels: all, or none."""
    found = climb(view)
    fit = [run.number for run in found.runs if not run.unfit]
    stays = found.rule.stays
    if not stays:
        return fit
    every = np.unique(view.sessions["trial"]).tolist()
    return every if len(fit) == len(found.runs) else []


def _counted(clients: Rows, rows: Rows) -> NDArray[np.int64]:
    """How many of the rows belong to each client."""
    if not len(clients):
        return np.zeros(0, dtype=np.int64)
    at, found = _find(clients["session"], rows["session"])
    return np.bincount(at[found], minlength=len(clients)).astype(np.int64)


def _wall_us(history: History, stamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Microseconds since 1970 of monotonic stamps."""
    zero = history.anchor.wall(0).timestamp()
    return round(zero * 1e6) + stamps // 1000


def _same(word: str, n: int) -> NDArray[Any]:
    return np.full(n, word, dtype=object)


def _words(codes: NDArray[Any], word: Callable[[int], str]) -> NDArray[Any]:
    """A word for each code; each distinct one is looked up once."""
    distinct, place = np.unique(codes, return_inverse=True)
    found = np.array([word(code) for code in distinct.tolist()] or [""], dtype=object)
    named: NDArray[Any] = found[place.reshape(-1)]
    return named


def _namer(history: History, key: str) -> Callable[[int], str]:
    names = history.names(key)
    return lambda code: visible(names[code] if 0 <= code < len(names) else code)


def _reader(history: History) -> Callable[[int], str]:
    def read(reference: int) -> str:
        text = history.text(reference).decode("utf-8", "surrogateescape")
        return visible(text, chars_max=WHY_CHARS_MAX)

    return read
