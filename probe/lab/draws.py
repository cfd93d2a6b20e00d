"""The draw: a number that depends on nothing but its key."""

from __future__ import annotations

import hashlib


def draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: 53 bits of its SHA-256."""
    digest = hashlib.sha256(key.encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)
