"""Tokens: the identities of one run, from whatever source the target names.

The rule: one identity for each client, and one token for each identity. They are shared
only where `identities` (or the one token of `env`) says so; a source that hands the same
token to two identities by itself is an error and not a load test. Each token is known to
the redactor of its identity; the run's redactor also knows the configured secrets and
every token that it would not know by sight.

What a source needs (jwt and cryptography, HTTP) is loaded for that source alone, since it takes
memory; and by `load` before a run, whose loop would stand still for it.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from probe.auth import listed
from probe.auth.bad import Forged, Source, forge
from probe.auth.describe import describe, expiry_s, looks_like_jwt, subject
from probe.auth.identity import Identity
from probe.auth.unmade import UnmadeError
from probe.clock import now_ns
from probe.errors import AuthError, ConfigError, Problem
from probe.model.auth import Auth, CsvAuth, EnvAuth, FetchAuth, MintAuth, NoAuth, keys_url, secrets
from probe.model.bad_tokens import TOKEN_CASES
from probe.redact import Redactor

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from probe.auth.fetch import Endpoint
    from probe.auth.mint import Signer
    from probe.auth.public import PublicKey

_ANOTHER = 1_000_000_000  # indices from here on are of users that no client of a run is
_MINTS_PER_TURN = 64


def load(auth: Auth) -> None:
    """Load what this source needs, so that nothing of it is loaded under a loop that measures."""
    if isinstance(auth, NoAuth):
        return
    import probe.auth.public  # noqa: PLC0415 -- see the module

    if isinstance(auth, FetchAuth):
        import probe.auth.fetch  # noqa: PLC0415 -- see the module
    if keys_url(auth) is not None:
        import probe.auth.keyset  # noqa: F401, PLC0415 -- see the module


class Tokens:
    """Where the identities of one run come from. An async context.

    Reads and checks a key or CSV file at once (relative to `folder`): ConfigError, with
    `origin` naming the target file. `tls` verifies a token endpoint.
    """

    __slots__ = (
        "_ask_key", "_auth", "_endpoint", "_known", "_origin", "_public", "_redactor",
        "_rows", "_seed", "_signer",
    )  # fmt: skip

    def __init__(
        self,
        auth: Auth,
        *,
        seed: int,
        redactor: Redactor,
        origin: str = "target",
        folder: Path = Path(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._auth = auth
        self._seed = seed
        self._redactor = redactor
        self._origin = origin
        self._signer: Signer | None = None
        self._endpoint: Endpoint | None = None
        self._rows: tuple[listed.Row, ...] = ()
        self._ask_key: Callable[[], Awaitable[PublicKey]] | None = None
        self._public: PublicKey | UnmadeError | None = None
        self._known = frozenset(secrets(auth, seed=seed))
        for secret in self._known:
            redactor.add(secret)
        match auth:
            case MintAuth():
                from probe.auth.mint import key_text, signer  # noqa: PLC0415 -- see the module
                from probe.auth.public import public_of  # noqa: PLC0415 -- see the module

                text = key_text(auth, origin, folder)
                redactor.add(text)
                self._signer = signer(auth, text, origin)
                self._public = public_of(self._signer)
            case FetchAuth():
                from probe.auth.fetch import Endpoint  # noqa: PLC0415 -- see the module

                self._endpoint = Endpoint(auth, seed, tls)
            case CsvAuth():
                self._rows = listed.read(auth, origin, folder)
                for row in self._rows:
                    self._declare(row.token)
        url = keys_url(auth)
        if self._public is None and url is not None:
            from probe.auth.keyset import published  # noqa: PLC0415 -- see the module

            self._ask_key = partial(published, url, tls)

    async def __aenter__(self) -> Self:
        if self._endpoint is not None:
            await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._endpoint is not None:
            await self._endpoint.__aexit__()

    async def identities(
        self, clients: Sequence[int], *, deadline_ns: int | None = None
    ) -> list[Identity]:
        """The identity of each client, in the order of `clients` (`range(count)` or a shard).

        Client c has identity c, or c modulo the shared number of identities, and then the
        same object. `deadline_ns` is a monotonic stamp. Raises AuthError for the first
        identity without a token, ConfigError when a CSV file has too few rows.
        """
        shared = 1 if isinstance(self._auth, EnvAuth) else None
        if isinstance(self._auth, MintAuth | FetchAuth | CsvAuth):
            shared = self._auth.identities
        needed = sorted({client % shared if shared else client for client in clients})
        if isinstance(self._auth, CsvAuth) and needed and needed[-1] >= len(self._rows):
            raise self._too_few_rows(max(clients) + 1)
        made: dict[int, Identity] = {}
        seconds = None if deadline_ns is None else (deadline_ns - now_ns()) / 1e9
        try:
            async with asyncio.timeout(seconds):
                await self._make_all(needed, made)
        except TimeoutError:
            raise AuthError(
                f"auth source {self._auth.source}: {len(made)} of {len(needed)} identities had "
                "a token when the deadline passed"
            ) from None
        self._distinct(made)
        return [made[client % shared if shared else client] for client in clients]

    async def refresh(self, identity: Identity) -> Identity:
        """The same identity with a new token, and the same redactor knowing both.

        A token endpoint may answer with the old token again: compare. Raises AuthError.
        """
        if not self.renewable:
            raise AuthError(
                f"auth source {self._auth.source}: a token cannot be refreshed, it is given "
                "once; the sources mint and fetch can"
            )
        return await self._make(identity.index, identity.redactor)

    @property
    def renewable(self) -> bool:
        """Whether `refresh` has another token for the same user."""
        return isinstance(self._auth, MintAuth | FetchAuth)

    async def forge(self, identity: Identity, case: str) -> Forged:
        """A token of that case, made of this identity's good one; its redactor knows it.

        Raises UnmadeError where this source cannot make it.
        """
        if TOKEN_CASES[case].needs == "user":
            return await self._of_another(identity)
        public: PublicKey | None = None
        if TOKEN_CASES[case].needs == "public_key":
            public = await self._public_key()
        source = Source(
            identity.token, identity.index, self._seed, time.time(), self._signer, public
        )
        forged = forge(case, source)
        for secret in (forged.token, forged.beside):
            identity.redactor.add(secret)
        return forged

    async def _of_another(self, identity: Identity) -> Forged:
        if not isinstance(self._auth, MintAuth):
            raise UnmadeError("only the source `mint` has users that no client of the run is")
        other = await self._make(_ANOTHER + identity.index, Redactor(parent=self._redactor))
        identity.redactor.add(other.token)
        return Forged(other.token, expires_at_s=other.expires_at_s, whose=other)

    async def _public_key(self) -> PublicKey | None:
        """The service's, asked for once."""
        if self._public is None and self._ask_key is not None:
            try:
                self._public = await self._ask_key()
            except UnmadeError as error:
                self._public = error
        if isinstance(self._public, UnmadeError):
            raise UnmadeError(str(self._public))
        return self._public

    async def _make_all(self, needed: list[int], made: dict[int, Identity]) -> None:
        if self._endpoint is None:
            for done, index in enumerate(needed):
                made[index] = await self._make(index, Redactor(parent=self._redactor))
                if done % _MINTS_PER_TURN == 0:
                    await asyncio.sleep(0)  # so that a deadline or Ctrl-C is seen
            return
        assert isinstance(self._auth, FetchAuth)
        waiting = iter(needed)

        async def work() -> None:
            for index in waiting:
                made[index] = await self._make(index, Redactor(parent=self._redactor))

        workers = [asyncio.ensure_future(work()) for _ in range(self._auth.parallel)]
        try:
            # The first error speaks for all; a group of them would say the same many times.
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _make(self, index: int, redactor: Redactor) -> Identity:
        """Identity `index` with a token of its own; `redactor` learns it before anyone sees it."""
        now_s = time.time()
        user, token, expires_at_s = "", "", None
        match self._auth:
            case NoAuth():
                pass
            case MintAuth():
                assert self._signer is not None
                user = self._signer.subject(index, self._seed)
                token = self._signer.mint(index, self._seed, now_s)
                expires_at_s = float(self._signer.expires_at_s(now_s))
            case FetchAuth():
                assert self._endpoint is not None
                # What is filled in for this identity alone; the run knows the rest.
                for secret in {*secrets(self._auth, index, self._seed)} - self._known:
                    redactor.add(secret)
                fetched = await self._endpoint.fetch(index, redactor)
                user = self._endpoint.user(index) or fetched.subject
                token, expires_at_s = fetched.token, fetched.expires_at_s
                self._declare(token)
            case EnvAuth():
                token = self._auth.token.get_secret_value()
                claims = describe(token, now_s).claims
                user, expires_at_s = subject(claims), expiry_s(claims)
            case CsvAuth():
                row = self._rows[index]
                user, token = row.user, row.token
                expires_at_s = expiry_s(describe(token, now_s).claims)
        redactor.add(token)
        return Identity(index, user, token, expires_at_s, redactor)

    def _declare(self, token: str) -> None:
        """Tell the run of a token that no redactor would know by sight.

        A JWT is masked everywhere anyway, and an index of thousands would cost gigabytes.
        """
        if not looks_like_jwt(token):
            self._redactor.add(token)

    def _distinct(self, made: dict[int, Identity]) -> None:
        if not isinstance(self._auth, MintAuth | FetchAuth):
            return  # a list is checked row by row, and passwords may well be equal
        first: dict[str, int] = {}
        for identity in made.values():
            other = first.setdefault(identity.token, identity.index)
            if other != identity.index:
                raise ConfigError(
                    Problem(
                        self._origin,
                        "auth",
                        f"identities {other} and {identity.index} have the same token",
                        hint="tell them apart (`{n}` in the user or subject), or set "
                        "`auth.identities` to share on purpose",
                    )
                )

    def _too_few_rows(self, clients: int) -> ConfigError:
        assert isinstance(self._auth, CsvAuth)
        rows, shared = len(self._rows), self._auth.identities
        if shared is not None:
            message = f"{rows} rows are too few for identities = {shared}"
        else:
            message = f"{rows} rows are too few for {clients} clients"
        hint = f"add rows, or set `auth.identities` to at most {rows} to share them on purpose"
        return ConfigError(Problem(self._origin, "auth.file", message, self._auth.file, "", hint))
