"""The script of an actor of a race, and the offsets of the gates that it passes.

The rule: a script passes its gates in order, each once, and an action follows each. The gates
of steps are steps themselves; an `async def` declares them beside it, since a plan has every
intended time before a socket opens, and nobody can tell them from its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, Discriminator, Field, PlainSerializer, Tag
from pydantic.json_schema import SkipJsonSchema

from probe.model.script import Gate, Play, Session, Step, Token, form_of, name_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

_PYTHON: Final = "python:"


@dataclass(frozen=True, slots=True)
class Gated:
    """An `async def` with the offsets of its gates, in the order in which it passes them."""

    play: Play
    gates: tuple[int | Literal["swept"], ...]

    def __call__(self, session: Session) -> Awaitable[None]:
        """Play it."""
        return self.play(session)


def _stored(script: str) -> str:
    if not script.startswith(_PYTHON):
        raise ValueError(
            f"an actor has no named script; found {script!r}; allowed: steps with gates among "
            "them, or in a Python scenario an `async def`"
        )
    return script


def _name_of(script: Any) -> Any:
    return name_of(script.play if isinstance(script, Gated) else script)


RaceScript = Annotated[
    Annotated[tuple[Step, ...], Field(min_length=1), Tag("steps")]
    | Annotated[str, AfterValidator(_stored), Tag("name")]
    | Annotated[SkipJsonSchema[Play], Tag("python")],
    Discriminator(form_of),
    PlainSerializer(_name_of),
]
"""Steps, gates among them; in a Python scenario an `async def` that takes the session; as
stored its name."""


def gates_of(script: Any) -> tuple[int | Literal["swept"], ...]:
    """The offsets of the gates that a script passes, in order; none of a name."""
    if isinstance(script, Gated):
        return script.gates
    steps = script if isinstance(script, tuple) else ()
    return tuple(step.offset for step in steps if isinstance(step, Gate))


def idle_gate(steps: tuple[Step, ...]) -> int | None:
    """The first gate, counted from 1, that lets nothing go; None where there is none.

    To choose a token is no action: it is shown by what follows.
    """
    number, waits = 0, False
    for step in steps:
        if isinstance(step, Gate):
            if waits:
                return number
            number, waits = number + 1, True
        elif not isinstance(step, Token):
            waits = False
    return number if waits else None
