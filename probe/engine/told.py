"""What a service's health answer tells of itself and of what it depends on.

The rule: it is read as it is mostly written (a status; an object of parts under one of a few
usual names, each a word or an object with a status), bounded, and what is not there is
unknown.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

PARTS: Final = ("dependencies", "checks", "components", "services")
_REVISIONS: Final = ("revision", "commit", "build", "version")
_PARTS_MAX: Final = 50
_WORD_MAX: Final = 200
_MEMORY_MAX: Final = 2**62


class Told(NamedTuple):
    """One answer; None where it does not tell."""

    status: str | None
    parts: tuple[tuple[str, str], ...]
    revision: str | None
    memory_bytes: int | None

    def to_json(self) -> bytes:
        """The text of a TOLD row."""
        told = {**self._asdict(), "parts": dict(self.parts)}
        return json.dumps(told).encode()


def told_by(body: bytes, field: str | None, revision: str) -> Told:
    """Read a health answer's body; `field` is the path of its status."""
    message = _decoded(body)
    memory = message.get("memory_bytes") if isinstance(message, dict) else None
    usable = isinstance(memory, int) and not isinstance(memory, bool) and 0 <= memory < _MEMORY_MAX
    return Told(
        _word(_walk(message, field)) if field else None,
        tuple(_parts(message)),
        revision or _revision(message) or None,
        memory if usable else None,
    )


def at(body: bytes, path: str) -> Any:
    """What stands at a dotted path of a JSON body; None for nothing."""
    return _walk(_decoded(body), path)


def revision_in(body: bytes) -> str:
    """The revision that a JSON body names, or ""."""
    return _revision(_decoded(body))


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _walk(value: Any, path: str) -> Any:
    for key in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _word(value: Any) -> str | None:
    return str(value)[:_WORD_MAX] if isinstance(value, str | int | float) else None


def _revision(message: Any) -> str:
    for name in _REVISIONS:
        value = _walk(message, name)
        if isinstance(value, str):
            return value[:_WORD_MAX]
    return ""


def _parts(message: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for container in PARTS:
        parts = _walk(message, container)
        for name, value in parts.items() if isinstance(parts, dict) else ():
            word = _word(value.get("status") if isinstance(value, dict) else value)
            if word is not None and len(found) < _PARTS_MAX:
                found.append((name[:_WORD_MAX], word))
    return found
