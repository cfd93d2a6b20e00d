"""Script: what one client does, as steps or as an `async def`, on one session API.

`Session` is what an `async def` scenario is typed with; the engine implements it, and the
steps are interpreted against the very same methods.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, Protocol

from pydantic import Discriminator, Field, PlainSerializer, Tag
from pydantic.json_schema import SkipJsonSchema

from probe.model.base import Duration, GateOffset, Name, Size, Strict

S = 1_000_000_000
Within = Annotated[
    Duration, Field(description="A longer wait is a timeout, which ends the script.")
]


class Session(Protocol):
    """One client with its own identity; every wait has a deadline.

    A method that does not get what it waits for ends the session: the outcome is already
    in the history, so a script needs no error handling.
    """

    @property
    def user(self) -> str:
        """The identity's name."""

    @property
    def connected(self) -> bool:
        """Whether a connection is open now."""

    async def connect(
        self,
        present: str | None = None,
        *,
        ready: bool = True,
        expect: Literal["ready", "refused", "either"] = "ready",
        early: tuple[str, ...] = (),
    ) -> None:
        """Open the connection, with retries where the population has them; see `Connect`."""

    async def gate(self) -> None:
        """Races only: come to the next of the gates that the actor declares.

        The first one is where all actors of a trial meet. It returns at once; the next call
        is what the gate lets go, at its instant. What that call sends is prepared beforehand,
        and its last byte held until then.
        """

    async def token(self, case: str) -> None:
        """From here on show another token: a case of `bad_tokens`, or "fresh"."""

    async def handshake(self, case: str) -> None:
        """Open a connection with a case of `probe.model.handshakes`, and see what comes of it."""

    async def refresh(self, within_ns: int = 5 * S, *, wait: bool = True) -> None:
        """Show a new token on the open connection (dialect: `refresh`).

        After `token` it is the one that was chosen there.
        """

    async def revoke(self) -> None:
        """Have the service revoke the token (dialect: `revoke`); returns with its answer."""

    async def logout(self) -> None:
        """Have the service end the user's sessions (dialect: `logout`)."""

    async def gone(self, within_ns: int = 5 * S) -> None:
        """Wait until the service ends the connection; that it stays open ends the session."""

    async def ready(self) -> None:
        """Wait for what the dialect calls ready."""

    async def send(self, text: str) -> None:
        """Send one text message; `{user}`, `{token}` and `{n}` are replaced."""

    async def run(
        self,
        count: int = 1,
        *,
        size: int = 1,
        pad: int = 0,
        wait: bool = True,
        shared: bool = False,
    ) -> None:
        """Start `count` runs at once and, with `wait`, wait until each is over.

        `size` and `pad` fill `{size}` and `{pad}` of the dialect's start message: how many
        repeated events are asked for, and of how many more bytes each. `shared`: they are
        of the session's one thread.
        """

    async def finish(self) -> None:
        """Wait until every run that was begun is over, also across a reconnect."""

    async def settle(
        self, within_ns: int = 5 * S, *, expect: Literal["answer", "silence"] = "answer"
    ) -> None:
        """Send the dialect's sentinel (else a ping) and wait until it comes back; see `Settle`."""

    async def vanish(self) -> None:
        """Drop the connection without a Close, as a client does that loses its network."""

    async def stall(self, for_ns: int) -> None:
        """Read nothing for that long, though the connection stays open."""

    async def squeeze(self, upto: int, *, repeats: int = 3, pad: int = 1000) -> None:
        """Find how many events of a run a slow reader may leave unread before any is lost.

        Runs of different sizes while reading is stopped, by bisection from 1 to `upto`.
        """

    async def flood(self, count: int) -> None:
        """Send `count` sentinels at once and wait for what comes back."""

    async def large(self, size: int) -> None:
        """Send one message of `size` bytes, and learn whether the service takes it."""

    async def await_event(self, event: str, within_ns: int = 5 * S) -> None:
        """Wait for a message of this type that comes after the last step."""

    async def echo(self, text: str, within_ns: int = 5 * S) -> None:
        """Send a message and wait for the same one to come back."""

    async def hold(self, for_ns: int, *, ping_every_ns: int = 0) -> None:
        """Stay connected, with pings if wanted; the peer's close ends the session."""

    async def ping(self, within_ns: int = 5 * S) -> None:
        """Send a ping and wait for its pong."""

    async def close(self, code: int = 1000) -> None:
        """Close and wait for the peer's answer."""

    async def http(self, method: str, service: str, path: str) -> int:
        """One authenticated HTTP request to a service of the target; its status."""


class Connect(Strict):
    """Open the connection and wait until the dialect calls it ready."""

    do: Literal["connect"]
    present: Name | None = None
    """Presentation of the dialect; unset: the population's."""
    ready: bool = True
    """False: go on at the 101."""
    expect: Literal["ready", "refused", "either"] = "ready"
    """`refused`: that the service lets this client in ends the script; `either`: go on."""
    early: tuple[str, ...] = ()
    """Messages sent in the same segment as the request, before anything is answered."""


class Gate(Strict):
    """Races only: wait for the shared instant plus an offset."""

    do: Literal["gate"]
    offset: GateOffset = 0
    """`swept`: the offset that is on trial. The first gate of a script is where actors meet."""


class Token(Strict):
    """From here on show another token."""

    do: Literal["token"]
    case: Name
    """A case of the authentication matrix, such as `expired`, or `fresh`: a new good one."""


class Handshake(Strict):
    """Open a connection with a request of the negotiation matrix."""

    do: Literal["handshake"]
    case: Name
    """A case of the negotiation matrix, such as `no_offer`."""


class Refresh(Strict):
    """Get a new token and show it on the open connection."""

    do: Literal["refresh"]
    within: Within = 5 * S
    wait: bool = True
    """False: do not wait for the answer."""


class Revoke(Strict):
    """Have the service revoke the token; over with its answer."""

    do: Literal["revoke"]


class Logout(Strict):
    """Have the service end the user's sessions; over with its answer."""

    do: Literal["logout"]


class Gone(Strict):
    """Wait until the service ends the connection."""

    do: Literal["gone"]
    within: Within = 5 * S


class Send(Strict):
    """Send a text message."""

    do: Literal["send"]
    text: str
    """The message; `{user}`, `{token}` and `{n}` are replaced."""


class Run(Strict):
    """Start runs and wait until each is over."""

    do: Literal["run"]
    count: int = Field(default=1, ge=1, le=1000, description="How many runs at the same time.")
    size: int = Field(default=1, ge=1, le=100_000)
    """Fills `{size}` of the start message: how many repeated events are asked for."""
    pad: int = Field(default=0, ge=0, le=1 << 20)
    """Fills `{pad}`: how many more bytes each of them ought to have."""
    wait: bool = True
    """False: go on at once; a later `finish` waits."""
    thread: Literal["own", "shared"] = "own"
    """`shared`: all runs of this session are of one thread."""


class Finish(Strict):
    """Wait until every run that was begun is over."""

    do: Literal["finish"]


class Settle(Strict):
    """Send the dialect's sentinel (else a ping) and wait until it comes back."""

    do: Literal["settle"]
    within: Within = 5 * S
    expect: Literal["answer", "silence"] = "answer"
    """`silence`: that it is answered ends the script, and that it cannot be sent does not."""


class Vanish(Strict):
    """Drop the connection without a Close."""

    do: Literal["vanish"]


class Stall(Strict):
    """Read nothing for a while."""

    do: Literal["stall"]
    lasts: Duration = Field(description="For how long.")


class Squeeze(Strict):
    """Find how many events a slow reader may leave unread before any is lost."""

    do: Literal["squeeze"]
    upto: int = Field(ge=2, le=100_000, description="Most events of one run that are tried.")
    repeats: int = Field(default=3, ge=1, le=100, description="How often each size is tried.")
    pad: int = Field(default=1000, ge=0, le=1 << 20, description="Bytes more in each event.")


class Flood(Strict):
    """Send many sentinels at once."""

    do: Literal["flood"]
    count: int = Field(ge=1, le=100_000, description="How many.")


class Large(Strict):
    """Send one message of this size."""

    do: Literal["large"]
    size: Size
    """How large the message is."""


class Await(Strict):
    """Wait for a message of a type."""

    do: Literal["await"]
    event: str
    """The type, as the dialect names it."""
    within: Within = 5 * S


class Echo(Strict):
    """Send a message and wait for the same one to come back."""

    do: Literal["echo"]
    text: str = "probe {user} {n}"
    """The message; `{user}` and `{n}` are replaced."""
    within: Within = 5 * S


class Hold(Strict):
    """Stay connected."""

    do: Literal["hold"]
    lasts: Duration = Field(description="For how long.")
    ping_every: Duration | None = None
    """Send a WebSocket ping this often meanwhile, and want its answer."""


class Ping(Strict):
    """Send a ping and wait for its pong."""

    do: Literal["ping"]
    within: Within = 5 * S


class Close(Strict):
    """Close the connection."""

    do: Literal["close"]
    code: int = Field(default=1000, ge=1000, le=4999, description="The close code that is sent.")


class Http(Strict):
    """One authenticated HTTP request to a service of the target, mostly to clean up."""

    do: Literal["http"]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "DELETE"
    """The HTTP method."""
    service: Name = Field(description="A service of the target, by name.")
    path: str = Field(pattern=r"^/")
    """Path and query; `{user}` and `{n}` are replaced."""


Step = Annotated[
    Connect
    | Gate
    | Token
    | Handshake
    | Refresh
    | Revoke
    | Logout
    | Gone
    | Send
    | Run
    | Finish
    | Settle
    | Vanish
    | Stall
    | Squeeze
    | Flood
    | Large
    | Await
    | Echo
    | Hold
    | Ping
    | Close
    | Http,
    Field(discriminator="do"),
]
Play = Callable[[Session], Awaitable[None]]


def name_of(play: Any) -> Any:
    """A stored run names a Python script and never carries its code."""
    if callable(play):
        name = getattr(play, "__qualname__", None) or type(play).__qualname__
        return f"python:{play.__module__}:{name}"
    return play


def form_of(script: Any) -> str:
    """Which form of a script this is: the tag of its union."""
    # Told beforehand, so that one mistake in a step is not told for each form it is not.
    if isinstance(script, str):
        return "name"
    return "python" if callable(script) else "steps"


Script = Annotated[
    Annotated[tuple[Step, ...], Tag("steps")]
    | Annotated[str, Field(pattern=r"^(visit|python:.+)$"), Tag("name")]
    | Annotated[SkipJsonSchema[Play], Tag("python")],
    Discriminator(form_of),
    PlainSerializer(name_of),
]
"""Steps; `visit`, which is connect, one run where the dialect has runs, settle, close; or in
a Python scenario an `async def` that takes the session."""


def steps_of(script: Any, *, runs: bool) -> tuple[Any, ...] | Play:
    """What to play: the steps of a named script spelled out, anything else as it is."""
    if script == "visit":
        middle = (Run(do="run"),) if runs else ()
        return (Connect(do="connect"), *middle, Settle(do="settle"), Close(do="close"))
    return script  # type: ignore[no-any-return]
