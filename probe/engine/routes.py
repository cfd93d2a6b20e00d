"""From a target's tables to the wire's routes, and how every request calls itself."""

from __future__ import annotations

import base64
from importlib.metadata import version
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from probe.errors import ConfigError, Problem
from probe.wire.route import Proxy, Route, TlsOptions, make_route

if TYPE_CHECKING:
    from probe.model.target import Network, Target, Tls

VERSION: Final = version("probe")


def user_agent(run_id: str) -> str:
    """What every request of a run calls itself."""
    return f"probe/{VERSION} (run {run_id})"


def make_routes(target: Target, lab: str = "") -> dict[str, Route]:
    """One route per endpoint; `lab` is host:port of the embedded lab."""
    problems: list[Problem] = []
    routes: dict[str, Route] = {}
    for name, endpoint in target.endpoints.items():
        try:
            routes[name] = make_route(
                endpoint.url.replace("{lab}", lab),
                connect_to=target.network.connect_to,
                host=target.network.host,
                server_name=target.tls.server_name,
                tls=tls_options(target.tls),
                proxy=make_proxy(target.network),
                sources=target.network.sources,
            )
        except ValueError as error:
            problems.append(Problem("target", f"endpoints.{name}", str(error)))
    if problems:
        raise ConfigError(*problems)
    return routes


def tls_options(tls: Tls) -> TlsOptions:
    """The wire's options from the target's table."""
    return TlsOptions(
        verify=tls.verify,
        ca_file=tls.ca_file,
        client_cert=tls.client_cert,
        client_key=tls.client_key,
    )


def make_proxy(network: Network) -> Proxy | None:
    """The proxy of `http://[user:password@]host:port`; ValueError where it is none."""
    if network.proxy is None:
        return None
    parts = urlsplit(network.proxy.get_secret_value())
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise ValueError("network.proxy is not http://[user:password@]host:port")
    authorization = None
    if parts.username is not None:
        authorization = _basic(unquote(parts.username), unquote(parts.password or ""))
    return Proxy(parts.hostname, parts.port, authorization)


def _basic(user: str, password: str) -> str:
    """RFC 7617, section 2, in Latin-1; ValueError where it cannot be said."""
    if ":" in user:
        raise ValueError("network.proxy: the user holds a colon, which no proxy could read")
    try:
        said = f"{user}:{password}".encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("network.proxy: user and password hold more than Latin-1") from None
    return f"Basic {base64.b64encode(said).decode()}"
