"""What one JSON object of a message says, and where a dialect has it stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from probe.contract.schema import Breach
    from probe.model.dialect import Dialect

SEQUENCE_MAX: Final = 2**31 - 1
NUMBER_MAX: Final = 2**63 - 1


class Said(NamedTuple):
    """What one JSON object of a message says."""

    kind: int
    """Index into `Dialect.types` from 1; 0: of no type the dialect knows."""
    run: str | None = None
    """The id at paths.run."""
    sequence: int = 0
    """0: none; -1: there, but no number from 1 to SEQUENCE_MAX."""
    thread: str | None = None
    user: str | None = None
    cursor: str | int | None = None
    mark: str | int | None = None
    """What stands at the sentinel's path, only where this is the sentinel's answer."""
    shape: str = ""
    """The name of the odd shape it came in; "" where there is nothing to tell."""
    breach: Breach | None = None
    """The first breach of the contract: which, and `type.path: what`."""


Told = tuple[
    int, str | None, int, str | None, str | None, str | int | None, str | int | None, str,
    "Breach | None",
]  # fmt: skip
"""The fields of a Said in their order, without the names, which cost."""
NOTHING: Final = Said(0)


def paths_of(dialect: Dialect) -> list[str | None]:
    """Where run, sequence, thread, user, cursor and mark stand."""
    at = dialect.paths
    mark = dialect.sentinel.path if dialect.sentinel else None
    return [at.run, at.sequence, at.thread, at.user, at.cursor, mark]


def is_flat(dialect: Dialect) -> bool:
    """Whether every field stands at the top."""
    return not any("." in path for path in (dialect.paths.type, *paths_of(dialect)) if path)


def index_of(dialect: Dialect) -> tuple[dict[str, int], int]:
    """Types by name, and the number of the sentinel's answer (-1 without one)."""
    index = {name: number for number, name in enumerate(dialect.types, 1)}
    return index, index[dialect.sentinel.event] if dialect.sentinel else -1
