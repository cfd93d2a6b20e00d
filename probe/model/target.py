"""Target: one service, where it is, what may be done to it, and how it is restarted.

The rule: a target that says nothing may be touched on loopback only, and no scenario can
raise its ceilings. `{lab}` in a URL stands for the address of the embedded lab, and only
a target of kind `lab` may use it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from probe.model.auth import Auth, FetchAuth, NoAuth, check_token_text, keys_url
from probe.model.base import Duration, Name, Rate, Strict

S = 1_000_000_000


def _host_of(address: str) -> str:
    """The host of a URL or of //host:port; "" where it has none or cannot be read."""
    try:
        parts = urlsplit(address)
        legal = parts.port != 0
    except ValueError:  # its message may quote the value
        return ""
    return (parts.hostname or "") if legal else ""


def _has_host(url: str) -> str:
    if not _host_of(url):
        raise ValueError("this URL has no legal host and port, such as example.org:8443")
    return url


Http = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(_has_host)]
WebSocket = Annotated[str, Field(pattern=r"^wss?://"), AfterValidator(_has_host)]


class Endpoint(Strict):
    """One WebSocket endpoint."""

    url: WebSocket
    """`ws://` or `wss://`; `{lab}` stands for the embedded lab's address."""


class Service(Strict):
    """One service to ask for its health over HTTP."""

    url: Http
    """Where its health is asked for."""
    field: str | None = "status"
    """Dotted path in a JSON answer that says how it is; unset: the HTTP status alone."""
    healthy: tuple[str, ...] = ("healthy", "ok", "up", "pass")
    """Words of `field` that say healthy."""
    degraded: tuple[str, ...] = ("degraded", "warn")
    """Words of `field` that say degraded."""
    within: Duration = 2 * S
    """No answer for longer is no answer."""


class Safety(Strict):
    """Ceilings that no scenario may exceed."""

    may_load: bool = False
    """Whether anything beyond loopback may be touched at all."""
    clients_max: int | None = Field(default=None, ge=1)
    """Most clients at one time; unset: no ceiling, on loopback only."""
    bad_tokens: bool = True
    """Whether bad tokens may be shown to it; false leaves what needs them INCONCLUSIVE."""
    rate_max: Rate | None = None
    """Most arrivals of clients per second, retries apart; unset: none, on loopback only."""

    @model_validator(mode="after")
    def _load_has_ceilings(self) -> Safety:
        if self.may_load and (self.clients_max is None or self.rate_max is None):
            raise ValueError("may_load = true needs both clients_max and rate_max")
        return self


class Restart(Strict):
    """How this target is restarted."""

    by: Literal["none", "command", "lab"] = "none"
    """`command` runs a program; `lab` restarts the embedded lab; `none`: not at all."""
    command: tuple[str, ...] = ()
    """The program and its arguments; no shell reads it."""
    within: Duration = 120 * S
    """Deadline of the command, and then of the readiness probe."""
    ready: Name | None = None
    """The service whose health says that the restarted target is up; unset: the first one."""

    @model_validator(mode="after")
    def _command_is_given(self) -> Restart:
        if (self.by == "command") != bool(self.command):
            raise ValueError('`command` goes with by = "command", and that needs it')
        return self


class Tls(Strict):
    """How a wss or https connection is verified."""

    verify: bool = True
    """False: any certificate is taken."""
    ca_file: str | None = None
    """PEM file of the authorities to trust instead of the system's."""
    client_cert: str | None = None
    """PEM file of the certificate that the client shows."""
    client_key: str | None = None
    """PEM file of its key."""
    server_name: str | None = None
    """Name sent in SNI and verified; unset: the host of the URL."""


class Network(Strict):
    """The way to the target."""

    connect_to: str | None = None
    """`host:port` to connect to instead of the URL's."""
    host: str | None = None
    """Host header to send instead of the URL's."""
    proxy: SecretStr | None = None
    """HTTP CONNECT proxy, `http://[user:password@]host:port`."""
    headers: dict[str, str] = {}
    """Extra headers of every WebSocket request."""
    deflate: bool = False
    """Offer permessage-deflate."""
    sources: tuple[str, ...] = ()
    """Addresses of this machine to connect from, in turn; unset: the system's choice. One
    address has ports for some 28,000 connections to one target."""

    @field_validator("headers")
    @classmethod
    def _one_line_each(cls, headers: dict[str, str]) -> dict[str, str]:
        for position, (name, value) in enumerate(headers.items(), 1):
            try:
                check_token_text(name + value)
            except ValueError as error:
                raise ValueError(f"header {position} {error}: one header is one line") from None
        return headers

    @field_validator("sources")
    @classmethod
    def _addresses(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for address in sources:
            try:
                ip_address(address)
            except ValueError:
                raise ValueError(f"{address!r} is no IP address") from None
        return sources

    @field_validator("connect_to")
    @classmethod
    def _host_and_port(cls, address: str | None) -> str | None:
        if address is not None:
            host, colon, port = address.rpartition(":")
            if not (host and colon and port.isdigit() and _host_of(f"//{address}")):
                raise ValueError("not host:port, such as 10.0.0.7:8443 or [::1]:8443")
        return address

    @field_validator("proxy")
    @classmethod
    def _proxy_url(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is not None:
            url = proxy.get_secret_value()
            if not url.startswith("http://") or not _host_of(url) or not urlsplit(url).port:
                raise ValueError("not http://[user:password@]host:port; %-escape / ? # in them")
        return proxy


class Lab(Strict):
    """Settings of the embedded lab."""

    processes: int = Field(default=1, ge=1, le=64)
    """How many serve; beyond 1 one more listens and gives each user to one of them."""
    boot: dict[Literal["listening", "healthy", "ready"], Duration] = {}
    """How long after its start it listens, says healthy, and is ready."""
    pace: Duration = 1_000_000
    """Pause between the events of a run."""
    limit: Annotated[str, Field(pattern=r"^\d+(\.\d+)?/[1-9]\d*$")] | None = None
    """Messages per second and burst of one user, such as `200/400`; unset: the lab's own."""
    idle: Duration | None = None
    """Close a connection on which the client sent nothing for that long; unset: never."""
    capacity: Annotated[str, Field(pattern=r"^[1-9]\d*/\d+(us|ms|s)$")] | None = None
    """Servers and their mean service time, such as `4/20ms`, in one queue; unset: none."""
    capacity_of: tuple[Literal["connects", "runs", "messages"], ...] = ("connects",)
    """What has to pass it."""
    capacity_queue: Annotated[str, Field(pattern=r"^\d+/\d+(us|ms|s)$")] | None = None
    """Places in that queue and the longest wait, such as `40/10s`; unset: the lab's own."""


class Target(Strict):
    """One service; files in `scenarios/targets/`."""

    title: str
    """One line that says which service this is."""
    kind: Literal["service", "lab"] = "service"
    """`lab`: the embedded lab, which the probe starts itself."""
    dialect: str = "agent_events"
    """Name of a dialect file, or a path to one."""
    endpoints: dict[Name, Endpoint] = Field(min_length=1)
    """WebSocket endpoints by name; clients go to them in turn."""
    services: dict[Name, Service] = {}
    """HTTP services to ask for health, by name."""
    safety: Safety = Safety()
    restart: Restart = Restart()
    auth: Auth = NoAuth()
    """How tokens come: `source` says which of the tables this is."""
    tls: Tls = Tls()
    network: Network = Network()
    lab: Lab | None = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Target:
        urls = self.urls()
        uses_lab = any("{lab}" in url for url in urls)
        if self.kind == "lab":
            if not all(urlsplit(url).netloc == "{lab}" for url in urls):
                raise ValueError("every URL of the embedded lab has {lab} as its host and port")
            if self.restart.by != "lab":
                raise ValueError('restart.by of the embedded lab is "lab"')
        elif uses_lab or self.restart.by == "lab" or self.lab:
            raise ValueError('{lab}, [lab] and restart.by = "lab" belong to kind = "lab"')
        if self.restart.by == "command" and not self.services:
            raise ValueError("a restart needs a readiness probe: name a service with its health")
        if self.restart.ready and self.restart.ready not in self.services:
            raise ValueError(
                f"restart.ready names no service; found {self.restart.ready!r}; "
                f"allowed: {', '.join(self.services)}"
            )
        return self

    @property
    def embedded(self) -> bool:
        """Whether this is our own lab, whose verdicts say nothing of a real service."""
        return self.kind == "lab"

    def urls(self) -> list[str]:
        """Every URL: of endpoints, of services, of the token endpoint and the public keys."""
        tokens = [self.auth.url] if isinstance(self.auth, FetchAuth) else []
        tokens += filter(None, [keys_url(self.auth)])
        endpoints = [each.url for each in self.endpoints.values()]
        return [*endpoints, *(each.url for each in self.services.values()), *tokens]

    def hosts(self) -> tuple[str, ...]:
        """Hosts that this target makes the probe connect to; the lab is on 127.0.0.1."""
        hosts = {"127.0.0.1"} if self.embedded else {_host_of(url) for url in self.urls()}
        if self.network.connect_to:
            hosts.add(_host_of(f"//{self.network.connect_to}"))
        if self.network.proxy:
            hosts.add(_host_of(self.network.proxy.get_secret_value()))
        return tuple(sorted(hosts))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name; other names are never looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
