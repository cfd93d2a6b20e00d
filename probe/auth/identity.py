"""Identity: one user with a token of its own and a redactor that knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probe.redact import Redactor


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a client is. The same object for two clients means shared on purpose.

    `index` counts identities from 0; `user` is "" where the source tells no name; `token`
    is "" for the source `none`; `expires_at_s` is wall time in seconds since 1970 (UTC),
    None for never or unknown. `redactor` masks what the run masks, and this token.
    """

    index: int
    user: str
    token: str = field(repr=False)
    expires_at_s: float | None
    redactor: Redactor = field(repr=False, compare=False)
