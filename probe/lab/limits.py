"""The declared limit on a user's messages: a token bucket that fills steadily.

A bucket holds at most `burst` tokens and gains `per_s` of them each second; a message
costs one. It is full at first, and a user's connections share theirs. The defect
limit_resets_at_edge counts in fixed windows instead, so that around the edge between two of
them twice the burst is let in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PER_S_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """Messages per second, and how many at once after a silence."""

    per_s: int = 200
    burst: int = 400


def parse_limit(text: str) -> Limit:
    """A limit from "200/400"; ValueError says what is wrong."""
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() for part in parts):  # noqa: PLR2004 -- RATE and BURST
        raise ValueError(f"{text!r} is no limit; write messages per second and burst, like 200/400")
    per_s, burst = (int(part) for part in parts)
    if not (1 <= per_s <= PER_S_MAX and 1 <= burst <= PER_S_MAX):
        raise ValueError(f"{text!r}: both must be from 1 to {PER_S_MAX}")
    return Limit(per_s, burst)


class Bucket:
    """The tokens of one user, counted in the nanoseconds that they take to come."""

    __slots__ = ("_cost_ns", "_full_ns", "_seen_ns", "_stored_ns")

    def __init__(self, limit: Limit, now_ns: int) -> None:
        self._cost_ns = 1_000_000_000 // limit.per_s
        self._full_ns = limit.burst * self._cost_ns
        self._stored_ns = self._full_ns
        self._seen_ns = now_ns

    def take(self, now_ns: int) -> int:
        """0 when the message may pass, else in how many nanoseconds one may."""
        self._stored_ns = min(self._full_ns, self._stored_ns + now_ns - self._seen_ns)
        self._seen_ns = now_ns
        if self._stored_ns < self._cost_ns:
            return self._cost_ns - self._stored_ns
        self._stored_ns -= self._cost_ns
        return 0


class FixedWindow:
    """At most `burst` messages in each window, which is as long as a bucket takes to fill.

    A window begins with the first message after the last one is over.
    """

    __slots__ = ("_began_ns", "_count", "_length_ns", "_most")

    def __init__(self, limit: Limit, now_ns: int) -> None:
        self._most = limit.burst
        self._length_ns = limit.burst * 1_000_000_000 // limit.per_s
        self._began_ns = now_ns - self._length_ns
        self._count = 0

    def take(self, now_ns: int) -> int:
        """As that of a bucket."""
        if now_ns - self._began_ns >= self._length_ns:
            self._began_ns, self._count = now_ns, 0
        if self._count >= self._most:
            return self._began_ns + self._length_ns - now_ns
        self._count += 1
        return 0
