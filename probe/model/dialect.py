"""Dialect: how a service speaks, as data.

How a token is presented, which message says "ready", what starts a run, which events
follow, where type and ids stand in a message, and how this service's clients retry. The
engine acts on it and the checks judge by it; neither knows a service by name.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from probe.model.base import Duration, Name, Size, Strict

MS = 1_000_000
S = 1_000 * MS

FieldPath = Annotated[str, Field(pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
"""A dotted path into a JSON object, such as `payload.run_id`."""


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
    selects: str | None = None
    """The subprotocol that the service ought to select; `""` for none; unset: any legal one."""


class Ready(Strict):
    """When a connection counts as ready for use."""

    event: str | None = None
    """The type of the message that says so; unset: the 101 itself."""
    within: Duration = 5 * S
    """From dialling to ready; later is a timeout, which is silence."""


class RunRule(Strict):
    """What starts a run and what must come back."""

    start: str
    """The message that starts it; `{run}`, `{thread}`, `{user}` and `{n}` are replaced."""
    events: tuple[str, ...] = Field(min_length=1)
    """Types of the events of one run, in order, each exactly once."""
    ends: str | None = None
    """The type that ends a run; unset: the last of `events`."""
    within: Duration = 10 * S
    """From start to end; later is an incomplete run."""

    @property
    def last(self) -> str:
        """The type that ends a run."""
        return self.ends or self.events[-1]

    @model_validator(mode="after")
    def _ends_is_an_event(self) -> RunRule:
        if self.ends not in {None, self.events[-1]}:
            raise ValueError(
                f"ends is not the last of the events; found {self.ends!r}; "
                f"allowed: {self.events[-1]!r}"
            )
        if len(set(self.events)) < len(self.events):
            raise ValueError("an event stands twice in the list")
        return self


class Paths(Strict):
    """Where a message carries what; a message without the field is of no known type or run."""

    type: FieldPath = "type"
    run: FieldPath = "run_id"


class Dialect(Strict):
    """One service's way of speaking; files in `scenarios/dialects/`."""

    title: str
    present: dict[Name, Presentation] = Field(min_length=1)
    """Ways to show a token, by name; `default` is used where a scenario names none."""
    ready: Ready = Ready()
    run: RunRule | None = None
    """Unset: the service has no runs, and scenarios that start one are refused."""
    paths: Paths = Paths()
    errors: tuple[str, ...] = ("error",)
    """Types of messages that report an error."""
    echo: bool = False
    """The service sends every message back unchanged."""
    retry: tuple[Duration, ...] = (100 * MS, 200 * MS, 500 * MS, 1 * S, 2 * S)
    """The clients' retry ladder: pauses after the first, second, ... failed attempt."""
    message_max: Size = 1 << 20
    """A larger message ends the connection."""

    @model_validator(mode="after")
    def _has_a_default(self) -> Dialect:
        if "default" not in self.present:
            raise ValueError("present.default is missing: it is used where a scenario names none")
        if self.run is not None and self.ready.event in self.run.events:
            raise ValueError("ready.event is an event of a run too: a message can be but one")
        return self

    @property
    def types(self) -> tuple[str, ...]:
        """Event types in the order in which rows number them, from 1; 0 is any other."""
        known = [self.ready.event] if self.ready.event else []
        known += self.run.events if self.run else ()
        return tuple(dict.fromkeys((*known, *self.errors)))
