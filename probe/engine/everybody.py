"""Everybody: who all the users of a run are, so that what is another's is known by sight.

The rule: a name is looked up as it is; a token by its last part, the signature of a JWT,
which no two tokens share. Other tokens than JWTs are known to the run's redactor already.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from probe.auth.describe import looks_like_jwt
from probe.history.journal import TEXT_MAX

if TYPE_CHECKING:
    from probe.auth.identity import Identity
    from probe.redact import Redactor

_BLOCK: Final = 6  # a stretch of 11 signs always holds an aligned block of 6
_LAST: Final = 96  # signs of a signature that are looked for; the end of a tail is among them
_TOKEN: Final = re.compile(rb"eyJ[\w\-]*\.[\w\-]+\.([\w\-]+)")


class Everybody:
    """`users` has the index of every identity by its name; see the module.

    `named`: the service was seen to call a user as we do, so that another name is wrong.
    `news`: who became known since it was last taken, for other processes of the run; None
    where there are none.
    """

    __slots__ = ("_blocks", "_redactors", "_signatures", "named", "news", "users")

    def __init__(self) -> None:
        self.named = False
        self.news: list[Identity] | None = None
        self.users: dict[str, int] = {}
        self._redactors: dict[int, Redactor] = {}
        self._signatures: dict[bytes, int] = {}
        self._blocks: dict[bytes, int] = {}

    def add(self, identity: Identity) -> None:
        """Know this identity from now on; the same again costs nothing."""
        index = identity.index
        if index in self._redactors:
            return
        self._redactors[index] = identity.redactor
        if identity.user:
            self.users.setdefault(identity.user, index)
        self.renew(identity)

    def renew(self, identity: Identity) -> None:
        """Know a further token of an identity."""
        index = identity.index
        if self.news is not None:
            self.news.append(identity)
        if looks_like_jwt(identity.token):
            signature = identity.token.rpartition(".")[2].encode()
            self._signatures[signature] = index
            last = signature[-_LAST:]
            for at in range(0, len(last) - _BLOCK + 1, _BLOCK):
                self._blocks[last[at : at + _BLOCK]] = index

    def shown_in(self, data: bytes) -> set[int]:
        """Indices of the identities whose whole token stands in `data`."""
        whose = {self._signatures.get(match[1], -1) for match in _TOKEN.finditer(data)}
        return whose - {-1}

    def parts_in(self, data: bytes) -> list[Redactor]:
        """Redactors of the identities of whose token a part of the signature stands in `data`.

        For what will be kept: no more is looked at than a text can hold.
        """
        if not self._blocks:
            return []
        get, seen = self._blocks.get, data[:TEXT_MAX]
        found = {get(seen[at : at + _BLOCK], -1) for at in range(len(seen) - _BLOCK + 1)}
        return [self._redactors[index] for index in sorted(found - {-1})]
