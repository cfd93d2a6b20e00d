"""What each type of a dialect is for, as the numbers that rows use; made once per run.

A type may stand in several places of a dialect; an event of a run is never also a refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probe.model.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Words:
    """Type indices from 1; 0 where the dialect has none of the kind.

    `repeated` is the event of a run that comes as often as the run's size says. `named`:
    the start message carries our own run id, so that the service need not tell one.
    `turns` are those after which things may go on otherwise: ready, refusals, a refresh.
    `thread` and `user` are the paths, for sentences.
    """

    ready: int
    events: frozenset[int]
    last: int
    repeated: int
    refusing: frozenset[int]
    turns: frozenset[int]
    refreshed: int
    named: bool
    thread: str
    user: str
    shapes: tuple[str, ...]


def words_of(dialect: Dialect) -> Words:
    """The words of a dialect."""
    index: dict[Any, int] = {name: number for number, name in enumerate(dialect.types, 1)}
    rule = dialect.run
    events = _numbers(index, rule.types if rule else ())
    repeated = [step.type for step in rule.steps if step.times.endswith("*")] if rule else []
    told = (*dialect.errors, dialect.limited) if dialect.limited else dialect.errors
    ready = index.get(dialect.ready.event, 0)
    refreshed = index.get(dialect.refresh.answer if dialect.refresh else None, 0)
    refusing = _numbers(index, told) - events - {refreshed}
    return Words(
        ready=ready,
        events=events,
        last=index[rule.last] if rule else 0,
        repeated=index[repeated[0]] if repeated else 0,
        refusing=refusing,
        turns=(refusing | {ready, refreshed}) - {0},
        refreshed=refreshed,
        named=rule is None or "{run}" in rule.start,
        thread=dialect.paths.thread or "",
        user=dialect.paths.user or "",
        shapes=tuple(dialect.contract.shapes),
    )


def _numbers(index: dict[Any, int], names: Iterable[str]) -> frozenset[int]:
    return frozenset(index[name] for name in names)
