"""Small histories written by hand: a few rows each, in milliseconds since the first one.

`Story` collects rows the way the engine would write them and makes a `History` without a
file. A connection is one call: how it went is a word, and its stamps follow from it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe.history.columns import History
from probe.history.records import (
    DTYPE,
    NOBODY,
    SCHEMA,
    Kind,
    Odd,
    Outcome,
    Phase,
    Put,
    Run,
    run_key,
)
from probe.model.dialect import Dialect
from probe.model.resolved import Resolved
from probe.model.scenario import Scenario

BASE_NS = 10_000_000_000
REQUEST = b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nSec-WebSocket-Protocol: "
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nServer: hand/1\r\n"
EVENTS = ("started", "tool", "completed")
DIALECT: dict[str, Any] = {
    "title": "by hand",
    "present": {"default": {"subprotocols": ["jwt-auth", "jwt.{token}"], "selects": "jwt-auth"}},
    "ready": {"event": "hello", "within": "5s"},
    "run": {"start": "{run}", "events": list(EVENTS), "within": "10s"},
}
LOAD: dict[str, Any] = {"populations": {"users": {"shape": {"clients": 3}}}}
RESTART: dict[str, Any] = {
    "anchor": "restart",
    "trials": 20,
    "populations": {
        "arrivals": {"shape": {"rate": "100/s", "lasts": "10s"}},
        "herd": {"shape": {"clients": 2}, "retry": True},
    },
}
ARRIVALS, HERD = 0, 1


def ns(ms: float) -> int:
    """The stamp of so many milliseconds."""
    return BASE_NS + round(ms * 1_000_000)


@dataclass
class Client:
    """One client of a story, and where it is."""

    session: int
    op: int = 0
    runs: int = 0
    sentinels: int = 0


class Story:
    """One history in the making."""

    def __init__(
        self,
        stages: dict[str, dict[str, Any]],
        *,
        dialect: dict[str, Any] | None = None,
        endpoints: tuple[str, ...] = ("main",),
        services: tuple[str, ...] = ("backend",),
        scheme: str = "ws",
        again: Any = ("probe", "run", "hand"),
    ) -> None:
        self.dialect = Dialect.model_validate(dialect or DIALECT)
        scenario = Scenario.model_validate({"title": "By hand", "stages": stages})
        target = {
            "name": "hand",
            "title": "By hand",
            "embedded": False,
            "endpoints": {name: f"{scheme}://127.0.0.1:8080/{name}" for name in endpoints},
            "services": dict.fromkeys(services, "http://127.0.0.1:8080/health"),
        }
        self.resolved = Resolved("hand", scenario, self.dialect, target)
        self.rows: list[tuple[int, ...]] = []
        self.texts = bytearray(b"probetxt")
        self.sessions = 0
        self.meta: dict[str, Any] = {
            "schema": SCHEMA,
            "anchor": {"mono_ns": BASE_NS, "wall_ns": 1_700_000_000_000_000_000},
            "run_id": "hand-1",
            "seed": 7,
            "again": list(again) if isinstance(again, tuple) else again,
            "stages": [{"name": name} for name in stages],
            "endpoints": list(endpoints),
            "services": list(services),
            "types": list(self.dialect.types),
            "complete": True,
            "ended": "complete",
        }

    def text(self, data: bytes | str) -> int:
        """Keep a text; its reference."""
        raw = data.encode() if isinstance(data, str) else data
        reference = len(self.texts)
        self.texts += struct.pack("<I", len(raw)) + raw
        return reference if raw else 0

    def row(
        self, ms: float, kind: Kind, session: int = NOBODY, op: int = 0, flag: int = 0, a: int = 0,
        b: int = 0,
    ) -> None:  # fmt: skip
        """One row as it stands."""
        self.rows.append((ns(ms), session, op, kind, flag, a, b))

    def stage(self, index: int = 0, begin: float = 0, end: float | None = 60_000) -> Story:
        """A stage with its ends; `end` None for one that was cut off."""
        self.row(begin, Kind.STAGE, op=index, flag=0)
        if end is not None:
            self.row(end, Kind.STAGE, op=index, flag=1)
        return self

    def fit(self, lag_ms: float = 0.1, n: int = 200) -> Story:
        """Heartbeats of a probe that was fit."""
        for k in range(n):
            self.row(k * 10, Kind.LAG, b=round(lag_ms * 1e6))
        return self

    def trial(
        self, number: int, zero: float, end: float, *, stage: int = 0, flag: int = 0, why: str = ""
    ) -> Story:
        """One restart."""
        self.row(zero, Kind.ANCHOR, op=number, a=stage, b=ns(zero))
        self.row(end, Kind.SETTLED, op=number, flag=flag, a=stage, b=self.text(why))
        return self

    def health(
        self, ms: float, flag: int = 1, *, took: float = 1, service: int = 0, status: int = 200
    ) -> Story:
        """One answer of a service, asked at `ms`."""
        self.row(ms + took, Kind.HEALTH, op=service, flag=flag, a=status, b=ns(ms))
        return self

    def client(
        self,
        ms: float,
        *ways: str,
        population: int = 0,
        trial: int = 0,
        endpoint: int = 0,
        done: int | None = None,
        why: str = "",
        step: int = 0,
        pause: float = 100,
        **how: Any,
    ) -> int:
        """One client and its connections, `pause` apart; `how` goes to the last of them."""
        session = self.sessions
        self.sessions += 1
        self.row(ms, Kind.INTENDED, session, trial, endpoint, population, session)
        at = ms + 0.1
        for op, way in enumerate(ways):
            last = op == len(ways) - 1
            end = self.connection(session, op, at, way, **(how if last else {}))
            at = end + pause
        good = bool(ways) and ways[-1] == "good"
        flag = (0 if good else 1) if done is None else done
        if flag >= 0:
            self.row(at, Kind.DONE, session, len(ways), flag, step, self.text(why))
        return session

    def connection(  # noqa: C901, PLR0911 -- a table of ways, in the order of phases
        self,
        session: int,
        op: int,
        ms: float,
        way: str = "good",
        *,
        took: float | None = None,
        lasts: float = 2000,
        status: int = 503,
        body: str = "starting",
        code: int = 1011,
        reason: str = "service starting",
        detail: str = "",
        offered: str = "jwt-auth, jwt.xxxxx",
        chosen: str | None = "jwt-auth",
        violations: int = 0,
        runs: tuple[tuple[str, ...], ...] = (),
        run_flags: tuple[int, ...] = (),
        read: bool = True,
    ) -> float:
        """One connection; returns when it ended. `took` is dial to ready, or to the failure."""
        row = self.row
        took = took if took is not None else 2 + (session * 7 + op) % 11 * 0.01
        row(ms, Kind.DIAL, session, op)
        if way not in ("resolve_failed", "local"):
            row(ms, Kind.RESOLVED, session, op, a=1)
        early = {
            "refused": (Outcome.REFUSED, Phase.TCP),
            "unreachable": (Outcome.UNREACHABLE, Phase.TCP),
            "resolve_failed": (Outcome.RESOLVE_FAILED, Phase.RESOLVE),
            "local": (Outcome.LOCAL, Phase.RESOLVE),
            "tcp_silent": (Outcome.TIMEOUT, Phase.TCP),
            "proxy_failed": (Outcome.PROXY_FAILED, Phase.PROXY),
        }
        if way in early:
            return self._end(session, op, ms + took, *early[way], detail)
        row(ms + 0.1, Kind.TCP, session, op, a=40_000 + session)
        middle = {
            "certificate": (Outcome.CERTIFICATE, Phase.TLS),
            "tls_failed": (Outcome.TLS_FAILED, Phase.TLS),
            "tls_silent": (Outcome.TIMEOUT, Phase.TLS),
        }
        if way in middle:
            return self._end(session, op, ms + took, *middle[way], detail)
        request = (
            REQUEST + offered.encode() + b"\r\n\r\n" if offered else b"GET /ws HTTP/1.1\r\n\r\n"
        )
        row(ms + 0.2, Kind.SENT, session, op, a=len(request), b=self.text(request))
        late = {
            "no_answer": (Outcome.TIMEOUT, Phase.UPGRADE),
            "reset": (Outcome.RESET, Phase.UPGRADE),
            "eof": (Outcome.EOF, Phase.UPGRADE),
            "not_http": (Outcome.NOT_HTTP, Phase.UPGRADE),
            "cancelled": (Outcome.CANCELLED, Phase.UPGRADE),
        }
        if way in late:
            return self._end(session, op, ms + took, *late[way], detail)
        if way == "status":
            head = f"HTTP/1.1 {status} No\r\nServer: hand/1\r\n\r\n{body}"
            row(ms + 1, Kind.HEAD, session, op, 0, status, self.text(head))
            return self._end(session, op, ms + took, Outcome.STATUS, Phase.UPGRADE, detail)
        if read:
            line = f"Sec-WebSocket-Protocol: {chosen}\r\n".encode() if chosen is not None else b""
            row(ms + 1, Kind.HEAD, session, op, violations, 101, self.text(SWITCH + line + b"\r\n"))
        if way == "bad_upgrade":
            return self._end(session, op, ms + took, Outcome.BAD_UPGRADE, Phase.UPGRADE, detail)
        if way in ("closed", "dropped"):
            if way == "closed":
                row(ms + took, Kind.CLOSE, session, op, 1, code, self.text(reason))
            ended = Outcome.CLOSED if way == "closed" else Outcome.EOF
            return self._end(session, op, ms + took, ended, Phase.OPEN, detail)
        if way == "hung":
            return self._end(session, op, ms + 5000, Outcome.TIMEOUT, Phase.OPEN, detail)
        row(ms + took, Kind.GOT, session, op, 1, 0, -1)
        row(ms + took, Kind.READY, session, op)
        row(ms + took + lasts, Kind.TRAFFIC, session, op, 1, 1, 60 if read else 0)
        self._runs(session, op, ms + took + 1, runs, run_flags)
        fates = {
            "good": Outcome.NORMAL,
            "closed_late": Outcome.CLOSED,
            "dropped_late": Outcome.EOF,
            "stopped": Outcome.CANCELLED,
            "timeout": Outcome.TIMEOUT,
            "broken": Outcome.PROTOCOL_ERROR,
        }
        return self._end(session, op, ms + took + lasts, fates[way], Phase.OPEN, detail)

    def _end(
        self, session: int, op: int, ms: float, outcome: Outcome, phase: Phase, detail: str
    ) -> float:
        self.row(ms, Kind.END, session, op, phase, outcome, self.text(detail))
        return ms

    def _runs(
        self, session: int, op: int, ms: float, runs: tuple[tuple[str, ...], ...],
        flags: tuple[int, ...],
    ) -> None:  # fmt: skip
        client = Client(session, op)
        for number, events in enumerate(runs):
            flag = flags[number] if flags else Run.ENDED
            self.run(client, ms, *events, end=flag)

    # What one client does step by step, where a table of ways is not enough.

    def open(
        self,
        ms: float,
        *,
        user: int | None = None,
        endpoint: int = 0,
        population: int = 0,
    ) -> Client:
        """A client that is ready at `ms`; `user`: its identity, its own if not given."""
        client = Client(self.sessions)
        self.sessions += 1
        identity = client.session if user is None else user
        self.row(ms - 3, Kind.INTENDED, client.session, 0, endpoint, population, identity)
        self._ready(client, ms)
        return client

    def again(self, client: Client, ms: float) -> None:
        """The same client ready once more, on a new connection."""
        client.op += 1
        self._ready(client, ms)

    def _ready(self, client: Client, ms: float) -> None:
        who = (client.session, client.op)
        # No two take the same time, as no two real ones do.
        dial = ms - 2 - (client.session * 7 + client.op) % 11 * 0.01
        self.row(dial, Kind.DIAL, *who)
        self.row(dial + 0.1, Kind.TCP, *who, a=40_000 + client.session)
        self.row(dial + 0.2, Kind.SENT, *who, a=100, b=self.text(REQUEST + b"x\r\n\r\n"))
        self.row(ms - 0.5, Kind.HEAD, *who, a=101, b=self.text(SWITCH + b"\r\n"))
        self.row(ms, Kind.GOT, *who, flag=1, b=-1)
        self.row(ms, Kind.READY, *who)

    def begin(self, client: Client, ms: float, *, size: int = 1) -> int:
        """A run is begun; its key."""
        key = run_key(client.session, client.runs)
        client.runs += 1
        self.row(ms, Kind.RUN, client.session, client.op, Run.BEGUN, size, key)
        self.row(ms, Kind.PUT, client.session, client.op, Put.START, 40, key)
        return key

    def got(self, client: Client, ms: float, event: str, key: int = -1, seq: int = 0) -> None:
        """One message came; of type 0 where the dialect does not know it."""
        types = self.dialect.types
        flag = types.index(event) + 1 if event in types else 0
        self.row(ms, Kind.GOT, client.session, client.op, flag, seq, key)

    def over(self, client: Client, ms: float, key: int, how: int = Run.ENDED) -> None:
        """What the engine says of a run."""
        self.row(ms, Kind.RUN, client.session, client.op, how, 0, key)

    def run(
        self,
        client: Client,
        ms: float,
        *events: str,
        end: int = Run.ENDED,
        size: int = 1,
        every: float = 1,
        numbered: bool = False,
    ) -> int:
        """A run whose events come `every` so many ms; `type:n` gives one a number of its own.

        With `numbered` the others are counted from 1.
        """
        key = self.begin(client, ms, size=size)
        at = ms
        for place, event in enumerate(events):
            name, _, number = event.partition(":")
            at += every
            seq = int(number) if number else place + 1 if numbered else 0
            self.got(client, at, name, key, seq)
        if end:
            self.over(client, at, key, end)
        return key

    def settle(self, client: Client, ms: float, *, answered: float | None = 1) -> None:
        """A sentinel, and its answer so many ms later."""
        client.sentinels += 1
        who, number = (client.session, client.op), client.sentinels
        self.row(ms, Kind.PUT, *who, flag=Put.SENTINEL, a=30, b=-1)
        self.row(ms, Kind.SENTINEL, *who, flag=0, b=number)
        if answered is not None:
            self.row(ms + answered, Kind.SENTINEL, *who, flag=1, b=number)

    def stall(self, client: Client, ms: float, until: float | None = None) -> None:
        """Nothing is read for a while."""
        self.row(ms, Kind.STALL, client.session, client.op, 0)
        if until is not None:
            self.row(until, Kind.STALL, client.session, client.op, 1)

    def odd(self, client: Client, ms: float, what: Odd, event: str, said: str) -> None:
        """What was odd about the message before, which is kept."""
        types = self.dialect.types
        kind = types.index(event) + 1 if event in types else 0
        self.row(ms, Kind.ODD, client.session, client.op, what, kind, self.text(said))
        self.kept(client, ms, f'{{"type":"{event}"}}')

    def foreign(self, client: Client, ms: float, key: int, *, user: bool = False) -> None:
        """The message before names a run, or a user, of another."""
        self.row(ms, Kind.FOREIGN, client.session, client.op, int(user), 0, key)

    def kept(self, client: Client, ms: float, message: str) -> None:
        """The message before as it was."""
        self.row(ms, Kind.KEPT, client.session, client.op, 1, 1, self.text(message))

    def vanish(self, client: Client, ms: float) -> None:
        """The client drops its connection and lives on."""
        self.row(ms, Kind.VANISH, client.session, client.op)
        self._over(client, ms, Outcome.NORMAL)

    def lose(self, client: Client, ms: float, *, code: int = 0) -> None:
        """The service ends the connection, by a Close where there is a code."""
        if code:
            self.row(ms, Kind.CLOSE, client.session, client.op, 1, code, self.text("gone"))
        self._over(client, ms, Outcome.CLOSED if code else Outcome.EOF)

    def close(self, client: Client, ms: float, *, done: int = 0) -> None:
        """The client closes, is answered, and is done."""
        self.row(ms, Kind.CLOSE, client.session, client.op, 0, 1000)
        self.row(ms + 0.5, Kind.CLOSE, client.session, client.op, 1, 1000)
        self._over(client, ms + 0.6, Outcome.NORMAL)
        self.row(ms + 0.7, Kind.DONE, client.session, client.op + 1, done)

    def stop(self, client: Client, ms: float) -> None:
        """The stage is over before the client is."""
        self._over(client, ms, Outcome.CANCELLED)
        self.row(ms + 0.1, Kind.DONE, client.session, client.op + 1, 2)

    def _over(self, client: Client, ms: float, outcome: Outcome) -> None:
        who = (client.session, client.op)
        self.row(ms, Kind.TRAFFIC, *who, flag=1, a=9, b=900)
        self.row(ms, Kind.END, *who, flag=Phase.READY, a=outcome)

    def peer(self, **facts: Any) -> Story:
        """Who answered at an endpoint."""
        self.row(0, Kind.PEER, b=self.text(json.dumps(facts)))
        return self

    def history(self, *, seed: int | None = None, upto: int | None = None, **meta: Any) -> History:
        """The history; `seed` merges its rows in another order of sessions, `upto` cuts it.

        The rows of one session keep their order, as shards do.
        """
        rows = np.array(self.rows, dtype=DTYPE)
        if seed is not None and len(rows):
            rng = np.random.default_rng(seed)
            new = np.empty_like(rows)
            places = rng.permutation(len(rows))
            keys = np.where(rows["session"] == NOBODY, np.arange(len(rows)), -1)
            for session in np.unique(rows["session"][keys < 0]):
                mine = np.flatnonzero(rows["session"] == session)
                new[np.sort(places[mine])] = rows[mine]
            nobody = np.flatnonzero(keys >= 0)
            new[places[nobody]] = rows[nobody]
            rows = new
        merged = {**self.meta, **meta}
        return History(
            rows[:upto], {k: v for k, v in merged.items() if v is not None}, bytes(self.texts)
        )
