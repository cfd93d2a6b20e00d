"""What one life of the lab shares: keys, ledger, defects, phase flags, users, open WebSockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.lab.backlog import queued
from probe.lab.breaker import Breaker
from probe.lab.capacity import Station
from probe.lab.hub import Hubs
from probe.lab.limits import Limit
from probe.lab.pacing import Pacer
from probe.lab.places import Places
from probe.lab.revocations import Revocations
from probe.lab.runs import Runs
from probe.lab.tokens import fit_to_repeat
from probe.lab.windows import Firsts

if TYPE_CHECKING:
    import asyncio

    from aiohttp import web

    from probe.lab.capacity import Capacity
    from probe.lab.defects import Defects
    from probe.lab.fleet import Fleet
    from probe.lab.ledger import Ledger
    from probe.lab.share import Share
    from probe.lab.tokens import Keys

VERSION: Final = "1"
REVISION: Final = "lab-1"
SERVER: Final = "probe-lab/1"
SESSIONS_MAX: Final = 5_000
MESSAGE_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set for a life; `idle_ns` None keeps an idle connection for ever.

    `capacity` None: no more than the process can do; its service times are drawn by `draws`.
    """

    pace_ns: int = 1_000_000
    limit: Limit = field(default_factory=Limit)
    idle_ns: int | None = None
    capacity: Capacity | None = None
    draws: str = ""


@dataclass(slots=True)
class State:
    """The flags are raised by the boot and lowered by nobody; `stopping` overrules them.

    Where several processes serve, each has a state: `fleet` is the front's, which has no
    users, `share` that of one behind it.
    """

    keys: Keys
    ledger: Ledger
    defects: Defects
    settings: Settings
    up_ns: int
    fleet: Fleet | None = None
    share: Share | None = None
    healthy: bool = False
    ready: bool = False
    stopping: bool = False
    # Each open WebSocket, with the task that closes it where that is not its own.
    sessions: dict[web.WebSocketResponse, asyncio.Task[bool] | None] = field(default_factory=dict)
    revocations: Revocations = field(init=False)
    firsts: Firsts = field(default_factory=Firsts)
    breaker: Breaker = field(init=False)
    places: Places = field(init=False)
    station: Station = field(init=False)
    hubs: Hubs = field(init=False)
    runs: Runs = field(init=False)

    def __post_init__(self) -> None:
        self.revocations = Revocations(self.ledger)
        self.breaker = Breaker(self.ledger, self.defects)
        self.places = Places(self.defects)
        capacity = queued(self.settings.capacity, self.defects)
        turn = None if self.share is None else self.share.turn
        self.station = Station(self.ledger, capacity, self.settings.draws, turn)
        self.hubs = Hubs(self.settings.limit)
        pacer = Pacer(self.settings.pace_ns)
        self.runs = Runs(self.ledger, self.defects, self.hubs, pacer, self.firsts)

    @property
    def alone(self) -> bool:
        """Whether one process is the whole lab."""
        return self.fleet is None and self.share is None

    def has(self, user_id: str) -> bool:
        """Whether this process has that user."""
        return self.share is None or self.share.has(fit_to_repeat(user_id))

    def enter_healthy(self) -> None:
        """From here on /health answers 200."""
        self.healthy = True
        self.ledger.phase("healthy")

    def enter_ready(self) -> None:
        """From here on WebSockets work."""
        self.ready = True
        self.ledger.phase("ready")

    def enter_stopping(self) -> None:
        """From here on nothing new is served, and runs are broken off."""
        self.stopping = True
        self.ledger.phase("stopping")
        self.runs.stop()
        self.station.stop()
