"""Which Origin may open a WebSocket (RFC 6455 section 10.2, RFC 6454 section 6).

A browser sends one and only one; a page of a stranger must not reach a service with its
visitor's cookies. Without an Origin it is no browser, and its token alone decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# Strict: `null`, a path, a user part or a second origin behind it is no match.
_HOST: Final = r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
_ORIGIN: Final = re.compile(rf"https?://{_HOST}", re.ASCII | re.IGNORECASE)
_AUTHORITY: Final = re.compile(_HOST, re.ASCII)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_allowed(origins: Sequence[str], authority: str) -> bool:
    """Whether these values of Origin may come in; `authority` is the request's own Host.

    Only the host counts, whatever the port.
    """
    if not origins:
        return True
    found = _ORIGIN.fullmatch(origins[0]) if len(origins) == 1 else None
    if found is None:
        return False
    own = _AUTHORITY.fullmatch(authority)
    return found[1].lower() in _LOOPBACK | ({own[1].lower()} if own else set())
