"""The defects that the lab can be asked to have, as one frozen table.

A defect is a row here and one decision point in the code, which asks `hits(name)`. The
answer is drawn from a hash of seed, life, name and how often that name was asked before,
so the same seed gives the same hits whatever other defects are on. A defect is off until
it is set; a rate is the probability of a hit at its decision point.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from probe.lab.durations import format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class DefectError(ValueError):
    """A defect cannot be set: unknown name, bad value, or too late in this life."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One row: what the defect does, what its value means, and until when it can be set.

    `unit` is "rate" (0 to 1) or "duration" (text such as "400ms"); `default` stands in
    for a value that is not given. `settable` is "any" time, or "start" for a defect that
    shapes the boot and therefore comes too late once the process runs.
    """

    name: str
    meaning: str
    unit: Literal["rate", "duration"]
    default: str
    settable: Literal["any", "start"]


TABLE: Final[Mapping[str, Defect]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Defect(
                "cold_start_1011",
                "between listening and ready a handshake is accepted with 101, and closed "
                "with 1011 a few milliseconds later",
                "rate",
                "1.0",
                "any",
            ),
            Defect(
                "cold_start_hang",
                "between listening and ready a handshake is accepted with 101, and then "
                "nothing is sent, not even a pong, until the client goes or the lab stops",
                "rate",
                "1.0",
                "any",
            ),
            Defect(
                "cold_start_drop",
                "between listening and ready a handshake is answered with a TCP reset",
                "rate",
                "1.0",
                "any",
            ),
            Defect(
                "health_lies",
                "health says healthy as soon as the lab listens; WebSockets work only this "
                "much later",
                "duration",
                "400ms",
                "start",
            ),
            Defect(
                "slow_boot",
                "ready, and healthy with it, come this much later",
                "duration",
                "6s",
                "start",
            ),
        )
    }
)

# Consulted in this order; the first that hits is what the client gets.
COLD_START: Final = ("cold_start_drop", "cold_start_1011", "cold_start_hang")


def table_json() -> list[dict[str, str]]:
    """The table as plain values, for `--list-defects`."""
    return [
        {
            "name": row.name,
            "meaning": row.meaning,
            "unit": row.unit,
            "default": row.default,
            "settable": row.settable,
        }
        for row in TABLE.values()
    ]


def find(name: str) -> Defect:
    """The row of that name; DefectError names the nearest otherwise."""
    row = TABLE.get(name)
    if row is None:
        near = get_close_matches(name, TABLE, n=3, cutoff=0.4) or sorted(TABLE)
        raise DefectError(f"no defect is named {name[:80]!r}; nearest: {', '.join(near)}")
    return row


def parse_value(row: Defect, value: object) -> float | int:
    """A rate as float or a duration as int nanoseconds; DefectError says what is allowed."""
    allowed = 'a duration like "400ms"' if row.unit == "duration" else "a rate from 0 to 1"
    try:
        if row.unit == "duration" and isinstance(value, str):
            return parse_duration(value)
        if row.unit == "rate" and isinstance(value, (int, float, str)):
            rate = float(value)
            if 0.0 <= rate <= 1.0 and not isinstance(value, bool):  # false for NaN as well
                return rate
    except ValueError:
        pass
    raise DefectError(f"defect {row.name} takes {allowed}, not {str(value)[:80]!r}")


class Defects:
    """What is switched on in this life, and the draws.

    `settings` are (name, value) with None for the default; see `parse_value`.
    """

    def __init__(self, seed: int, life: int, settings: Iterable[tuple[str, str | None]]) -> None:
        self._origin = f"{seed}/{life}"
        self._active: dict[str, float | int] = {}
        self._asked: Counter[str] = Counter()
        for name, value in settings:
            row = find(name)
            self._active[name] = parse_value(row, row.default if value is None else value)

    def change(self, wanted: Mapping[str, object]) -> None:
        """Set (or with None unset) defects while the lab runs: all of them or, on error, none."""
        changed = dict(self._active)
        for name, value in wanted.items():
            row = find(name)
            if row.settable == "start":
                raise DefectError(
                    f"defect {name} shapes the boot and this life has booted; "
                    f"start the lab again with --defect {name}"
                )
            if value is None:
                changed.pop(name, None)
            else:
                changed[name] = parse_value(row, value)
        self._active = changed

    def duration_ns(self, name: str) -> int | None:
        """The duration of that defect, None when it is off."""
        value = self._active.get(name)
        assert value is None or TABLE[name].unit == "duration"
        return None if value is None else int(value)

    def hits(self, name: str) -> bool:
        """Draw once for a defect with a rate; False without a draw when it is off."""
        rate = self._active.get(name)
        if rate is None:
            return False
        index = self._asked[name]
        self._asked[name] += 1
        return draw(f"{self._origin}/{name}/{index}") < rate

    def first_hit(self, names: Iterable[str]) -> str | None:
        """The first of these that hits; those after it are not drawn."""
        return next((name for name in names if self.hits(name)), None)

    def as_json(self) -> dict[str, float | str]:
        """What is on, with its value as it is written at the edge."""
        return {
            name: format_duration(int(value)) if TABLE[name].unit == "duration" else float(value)
            for name, value in sorted(self._active.items())
        }


def draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: 53 bits of its SHA-256."""
    digest = hashlib.sha256(key.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
