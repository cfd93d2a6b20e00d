"""The JWK Set that a service publishes (RFC 7517), asked for over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from probe.auth.public import parse
from probe.auth.unmade import UnmadeError

if TYPE_CHECKING:
    import ssl

    from probe.auth.public import PublicKey

_BODY_BYTES_MAX: Final = 64 * 1024
_WITHIN_S: Final = 5.0
_OK: Final = 200


async def published(url: str, tls: ssl.SSLContext | None) -> PublicKey:
    """The first key of the JWK Set at `url`. Raises UnmadeError."""
    timeout = aiohttp.ClientTimeout(total=_WITHIN_S)
    connector = aiohttp.TCPConnector(ssl=tls or True, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            status, body = answer.status, await answer.content.read(_BODY_BYTES_MAX)
    except (aiohttp.ClientError, OSError, TimeoutError):
        raise UnmadeError("the service's public keys (auth.jwks) could not be had") from None
    if status != _OK:
        raise UnmadeError(f"the service's public keys (auth.jwks) were answered with {status}")
    return parse(body)
