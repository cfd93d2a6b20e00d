"""Where to connect and how: one immutable `Route` per endpoint.

The rule: what is wrong in a URL or a certificate file is said before a socket opens, in a
ValueError that names the remedy and never the query (it may hold a token).
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

_PORTS: Final = {"ws": 80, "wss": 443}
_HINTS: Final = {"http": "ws", "https": "wss"}
_PORT_MAX: Final = 65535
_RESERVED: Final = "%/?:@!$&'()*+,;=~[]|{}^`\"<>\\"
_NAME: Final = re.compile(r"[A-Za-z0-9._\-]+")


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the peer's certificate is judged, and which one we show; paths of PEM files.

    `ca_file` replaces the system's authorities. `client_key` may be left out when the
    certificate's file holds the key.
    """

    verify: bool = True
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT; `authorization` is the whole header value."""

    host: str
    port: int
    authorization: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: whom we speak to (`host`, `port`), and what is dialled to get there.

    `connect_host` and `connect_port` are the proxy's when there is one, else the override
    of `connect_to`, else `host` and `port`; `connect_literal` says that no name must be
    resolved. `resource` is the path with its query, as sent. `sources` are local addresses to
    connect from, in turn; none: the system's choice.
    """

    url: str
    host: str
    port: int
    secure: bool
    resource: str
    host_header: str
    connect_host: str
    connect_port: int
    connect_literal: bool
    tunnel: str
    server_name: str | None
    tls: ssl.SSLContext | None
    proxy: Proxy | None
    sources: tuple[str, ...] = ()


def make_route(
    url: str,
    *,
    connect_to: str | None = None,
    host: str | None = None,
    server_name: str | None = None,
    tls: TlsOptions = TlsOptions(),
    proxy: Proxy | None = None,
    sources: tuple[str, ...] = (),
) -> Route:
    """The route to a ws or wss URL.

    `connect_to` ("host:port") is dialled instead, `host` replaces the Host header,
    `server_name` the name asked for in TLS and checked in the certificate. Raises
    ValueError in one sentence.
    """
    parts = _split(url)
    name, port = _host(parts), _port(parts)
    secure = parts.scheme == "wss"
    bracketed = f"[{name}]" if ":" in name else name
    default = port == _PORTS[parts.scheme]
    target_host, target_port = parse_address(connect_to) if connect_to else (name, port)
    tunnel = f"[{target_host}]" if ":" in target_host else target_host
    dialled = (proxy.host, proxy.port) if proxy else (target_host, target_port)
    return Route(
        url=url,
        host=name,
        port=port,
        secure=secure,
        resource=_resource(parts),
        host_header=_one_line("Host", host)
        if host
        else bracketed + ("" if default else f":{port}"),
        connect_host=dialled[0],
        connect_port=dialled[1],
        connect_literal=_is_literal(dialled[0]),
        tunnel=f"{tunnel}:{target_port}",
        server_name=(server_name or name) if secure else None,
        tls=make_context(tls) if secure else None,
        proxy=proxy,
        sources=sources,
    )


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[v6]:port". Raises ValueError."""
    host, colon, digits = text.rpartition(":")
    inner = host.removeprefix("[").removesuffix("]")
    good = colon and inner and digits.isascii() and digits.isdigit() and int(digits) <= _PORT_MAX
    if not good or (":" in inner and not host.startswith("[")):
        raise ValueError(f"{text!r} is no address; give host:port or [v6 address]:port")
    return inner, int(digits)


def make_context(options: TlsOptions) -> ssl.SSLContext:
    """A client context, made once per endpoint. Raises ValueError naming the bad file."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"the CA file {options.ca_file!r} cannot be used: {_why(error)}"
        ) from error
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.client_cert:
        try:
            context.load_cert_chain(options.client_cert, options.client_key)
        except (OSError, ssl.SSLError) as error:
            raise ValueError(
                f"the client certificate {options.client_cert!r} cannot be used: {_why(error)}"
            ) from error
    elif options.client_key:
        raise ValueError("a client key needs its certificate: give client_cert too")
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"the URL cannot be read: {error}") from None
    if parts.scheme in _HINTS:
        raise ValueError(f"{parts.scheme}:// is no WebSocket URL; use {_HINTS[parts.scheme]}://")
    if parts.scheme not in _PORTS:
        raise ValueError("a URL starts with ws:// or wss://, such as wss://example.com/socket")
    if "@" in parts.netloc:
        raise ValueError("a URL holds no user or password; give credentials as a token source")
    if "#" in url:
        raise ValueError("a WebSocket URL has no fragment (RFC 6455 section 3); write # as %23")
    return parts


def _host(parts: SplitResult) -> str:
    name = parts.hostname
    if not name:
        raise ValueError("the URL names no host, such as wss://example.com/socket")
    if ":" in name:
        if not _is_literal(name):
            raise ValueError("the URL's address in brackets is no IPv6 address")
        return name
    try:
        ascii_name = name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError("the URL's host name is not valid") from error
    if not _NAME.fullmatch(ascii_name):
        raise ValueError("the URL's host name is not valid")
    return ascii_name


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return _PORTS[parts.scheme]
    if not port:
        raise ValueError(f"the URL's port is not a number from 1 to {_PORT_MAX}")
    return port


def _resource(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe=_RESERVED)
    return f"{path}?{quote(parts.query, safe=_RESERVED)}" if parts.query else path


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _one_line(what: str, text: str) -> str:
    if any(c in text for c in "\r\n\0"):
        raise ValueError(f"{what} holds a line break or NUL")
    return text
