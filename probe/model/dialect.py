"""Dialect: how a service speaks, as data.

How a token is presented, which message says "ready", what starts a run, which events
follow and in which order, where type and ids stand in a message, what a message must hold,
what the service promises, and how its clients retry. The engine acts on it and the checks
judge by it; neither knows a service by name.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from probe.model.base import Duration, Name, Size, Strict

MS = 1_000_000
S = 1_000 * MS

FieldPath = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
"""A dotted path into a JSON object, such as `payload.run_id`."""
JsonSchema = dict[str, Any]
CloseCode = Annotated[str, Field(pattern=r"^[1-4]\d{3}$")]


def check_places(text: str, places: tuple[str, ...], where: str) -> None:
    """ValueError for what looks like a misspelt place, such as `{rn}`, and would be sent so."""
    for name in re.findall(r"\{([a-z_]{1,16})\}", text):
        near = difflib.get_close_matches(name, places, 1, 0.6)
        if name not in places and near:
            raise ValueError(f"{where} has {{{name}}}; did you mean {{{near[0]}}}?")


class Presentation(Strict):
    """One way in which a client shows its token; `{token}` and `{user}` are replaced."""

    subprotocols: tuple[str, ...] = ()
    """Offered in this order, such as `["jwt-auth", "jwt.{token}"]`."""
    headers: dict[str, str] = {}
    """Extra request headers, such as `Authorization = "Bearer {token}"`."""
    query: dict[str, str] = {}
    """Query parameters added to the endpoint's URL."""
    cookies: dict[str, str] = {}
    """Cookies, sent in one Cookie header."""
    first_message: str | None = None
    """A message sent as soon as the connection is open."""
    expect: Literal["accepted", "rejected"] = "accepted"
    """What the service ought to do with it; a rejection is an HTTP status before the upgrade."""
    optional: bool = False
    """Not every service of this dialect has it: only what names it uses it."""
    selects: str | None = None
    """The subprotocol that the service ought to select; `""` for none; unset: any legal one."""


class Ready(Strict):
    """When a connection counts as ready for use."""

    event: str | None = None
    """The type of the message that says so; unset: the 101 itself."""
    within: Duration = 5 * S
    """From dialling to ready; later is a timeout, which is silence."""


class Event(Strict):
    """One kind of event of a run."""

    type: str
    """The type of the message."""
    times: Literal["1", "0..1", "1..*", "0..*"] = "1"
    """How often it comes in one run; of `1..*` at least as often as the run's size says."""
    after: tuple[str, ...] | None = None
    """Types that come before it; unset: the event listed before this one."""


class RunRule(Strict):
    """What starts a run and what must come back."""

    start: str
    """The message that starts it; `{run}`, `{thread}`, `{user}`, `{n}`, `{size}` and `{pad}`
    are replaced. Without `{run}` the service names the run, and its first event tells the id."""
    events: tuple[str | Event, ...] = Field(min_length=1)
    """Events of one run; a plain type comes once, after the one listed before it."""
    ends: str | None = None
    """The type that ends a run; unset: the last of `events`."""
    within: Duration = 10 * S
    """From the start to any event of it; what comes later is late."""
    quiet: Duration = 5 * S
    """Longest silence within a run, and after `within`; a run that is silent longer hangs."""

    @property
    def steps(self) -> tuple[Event, ...]:
        """The events spelled out, each with those that come before it."""
        out: list[Event] = []
        for event in self.events:
            step = Event(type=event) if isinstance(event, str) else event
            if step.after is None:
                before = (out[-1].type,) if out else ()
                step = step.model_copy(update={"after": before})
            out.append(step)
        return tuple(out)

    @property
    def types(self) -> tuple[str, ...]:
        """Types of the events in the order of the file."""
        return tuple(e if isinstance(e, str) else e.type for e in self.events)

    @property
    def last(self) -> str:
        """The type that ends a run."""
        return self.ends or self.types[-1]

    @model_validator(mode="after")
    def _hangs_together(self) -> RunRule:
        check_places(self.start, ("run", "thread", "user", "n", "size", "pad"), "start")
        if len(set(self.types)) < len(self.types):
            raise ValueError("an event stands twice in the list")
        if self.last not in self.types:
            raise ValueError(
                f"ends is none of the events; found {self.ends!r}; allowed: {', '.join(self.types)}"
            )
        listed: list[str] = []
        for step in self.steps:
            for name in step.after or ():
                if name not in listed:
                    raise ValueError(
                        f"{step.type} comes after {name!r}, which is not listed before it"
                    )
                if name == self.last:
                    raise ValueError(f"{step.type} comes after {name!r}, which ends the run")
            listed.append(step.type)
        return self


class Paths(Strict):
    """Where a message carries what; a message without the field has none of it.

    In a message of another accepted shape the same paths are looked up as if its fields
    stood where the canonical shape has them.
    """

    type: FieldPath = "type"
    """The type of a message."""
    run: FieldPath = "run_id"
    """The id of the run that an event belongs to."""
    thread: FieldPath | None = None
    """An id that all events of one run share."""
    user: FieldPath | None = None
    """The user whom a message is for."""
    sequence: FieldPath | None = None
    """The number of an event within its run."""
    cursor: FieldPath | None = None
    """What a client shows after a reconnect to get what it missed."""


class Contract(Strict):
    """What a message must hold."""

    every: JsonSchema = {}
    """JSON Schema (draft 2020-12) of every event of a run."""
    schemas: dict[str, JsonSchema] = {}
    """JSON Schema of messages by type, in the canonical shape."""
    shapes: dict[Name, str] = {}
    """Shapes that clients understand by name, each with the key that holds the fields
    (`""`: they stand flat), such as `{ flat = "", nested = "payload" }`."""
    canonical: Name | None = None
    """The shape that is right; others are told. Unset: the first one."""
    closed: bool = False
    """Whether a message of a type that is not in this file breaks the contract."""

    @property
    def right(self) -> str:
        """The canonical shape, "" where the dialect has no shapes."""
        return self.canonical or next(iter(self.shapes), "")

    @model_validator(mode="after")
    def _canonical_is_a_shape(self) -> Contract:
        if self.canonical is not None and self.canonical not in self.shapes:
            allowed = ", ".join(self.shapes) or "none"
            raise ValueError(f"canonical is no shape; found {self.canonical!r}; allowed: {allowed}")
        return self


class Promises(Strict):
    """What the service promises; only what is promised can be broken."""

    order: bool = True
    """The events of a run arrive in the order of the dialect, and of their sequence."""
    at_most_once: bool = True
    """No event arrives twice."""
    numbered: bool = False
    """Sequences count the events of a run from 1 without holes."""
    recipients: Literal["session", "user"] = "session"
    """Who gets a run's events: the connection that began it, or all of its user's."""
    queue: int | None = Field(default=None, ge=1)
    """How many events wait for a client that does not read, before any is dropped."""
    pings: bool = True
    """A WebSocket ping is answered (RFC 6455 section 5.5.3)."""
    origins: bool = False
    """A request with a foreign Origin is refused; one without Origin (no browser) is not."""
    early: Literal["served", "refused", "any"] = "any"
    """What is sent before ready: served in order after it, refused by a close, or not said."""
    reuse: Duration | None = None
    """A token that another connection used less than this long ago is refused; unset: one
    token may be used by several connections."""
    expiry: Duration | None = None
    """An open connection ends at most this long after its token has expired; unset: not said."""
    revocation: Duration | None = None
    """A revoked token gets nobody in, and an open connection ends, at most this long after the
    revocation was answered; unset: not said."""


class Refresh(Strict):
    """How a new token is shown on an open connection."""

    send: str
    """`{token}` is replaced by the new token."""
    answer: str
    """The type of the message that says that it holds from here on."""

    @model_validator(mode="after")
    def _has_its_place(self) -> Refresh:
        check_places(self.send, ("token", "user", "n"), "send")
        if "{token}" not in self.send:
            raise ValueError("send has no {token}, so that no token would be shown")
        return self


class Request(Strict):
    """An HTTP request to a service of the target, authorised by the session's token."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    """The HTTP method."""
    service: Name
    """A service of the target, by name."""
    path: str = Field(pattern=r"^/")
    """Path and query at the service's host; `{user}` and `{n}` are replaced."""
    form: dict[str, str] = {}
    """Fields of a form in the body; `{token}` and `{user}` are replaced. None: no body."""


class Replay(Strict):
    """What a client sends after a reconnect to get what it missed; unset: no replay."""

    request: str
    """`{cursor}` is replaced by the last cursor seen, 0 before the first."""
    answer: str | None = None
    """The type of the message that says how much is replayed."""

    @model_validator(mode="after")
    def _has_its_place(self) -> Replay:
        check_places(self.request, ("cursor", "user", "n"), "request")
        if "{cursor}" not in self.request:
            raise ValueError("request has no {cursor}, so that nothing says from where on")
        return self


class Sentinel(Strict):
    """A message whose answer comes behind all that was to be sent before it."""

    send: str
    """`{n}` is replaced by a number that the answer carries back."""
    event: str
    """The type of the answer."""
    path: FieldPath = "id"
    """Where the answer carries the number, as text or number."""

    @model_validator(mode="after")
    def _has_its_place(self) -> Sentinel:
        if "{n}" not in self.send:
            raise ValueError("send has no {n}, the number that the answer carries back")
        return self


class Dialect(Strict):
    """One service's way of speaking; files in `scenarios/dialects/`."""

    title: str
    """One line that says which way of speaking this is."""
    present: dict[Name, Presentation] = Field(min_length=1)
    """Ways to show a token, by name; `default` is used where a scenario names none."""
    ready: Ready = Ready()
    run: RunRule | None = None
    """Unset: the service has no runs, and scenarios that start one are refused."""
    paths: Paths = Paths()
    framing: Literal["json", "several", "prefixed", "headers", "opaque"] = "json"
    """What one WebSocket message holds: a JSON object; several (concatenated, by lines, or in
    an array); a prefix before JSON, as Socket.IO's `42["name",{…}]`; header lines and a body,
    as STOMP; or bytes that are not looked into."""
    prefix: str = ""
    """Of framing `prefixed`: what stands before the JSON of an event, such as `42`."""
    contract: Contract = Contract()
    promises: Promises = Promises()
    replay: Replay | None = None
    sentinel: Sentinel | None = None
    limited: str | None = None
    """The type of the message that says that a rate limit was hit."""
    dropped: str | None = None
    """The type of the message that says that events were dropped for a slow reader."""
    errors: tuple[str, ...] = ("error",)
    """Types of messages that report an error."""
    close_codes: dict[CloseCode, str] = {}
    """What the service means by close codes of its own, such as `4401 = "unauthorized"`."""
    refresh: Refresh | None = None
    """Unset: a token cannot be renewed on an open connection."""
    revoke: Request | None = None
    """How a token is revoked (RFC 7009); unset: scenarios that revoke are refused."""
    logout: Request | None = None
    """How all of a user's sessions are ended; unset: scenarios that log out are refused."""
    echo: bool = False
    """The service sends every message back unchanged."""
    retry: tuple[Duration, ...] = (100 * MS, 200 * MS, 500 * MS, 1 * S, 2 * S)
    """The clients' retry ladder: pauses after the first, second, ... failed attempt."""
    message_max: Size = 1 << 20
    """A larger message from the service ends the connection."""
    accepts_max: Size | None = None
    """The largest message that the service takes; a larger one is closed with 1009."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Dialect:
        if "default" not in self.present:
            raise ValueError("present.default is missing: it is used where a scenario names none")
        if self.run is not None and self.ready.event in self.run.types:
            raise ValueError("ready.event is an event of a run too: a message can be but one")
        for name in self.contract.schemas:
            if name not in self.types:
                raise ValueError(
                    f"contract.schemas names no type of this file; found {name!r}; "
                    f"allowed: {', '.join(self.types)}"
                )
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """Event types in the order in which rows number them, from 1; 0 is any other."""
        known = [self.ready.event, *(self.run.types if self.run else ()), *self.errors]
        known += [self.replay.answer if self.replay else None]
        known += [self.sentinel.event if self.sentinel else None, self.limited, self.dropped]
        known += [self.refresh.answer if self.refresh else None]
        return tuple(dict.fromkeys(name for name in known if name))
