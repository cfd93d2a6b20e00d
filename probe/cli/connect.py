"""`probe connect`: one connection by hand, told like `curl -v` tells a request.

Every phase with its time, the request and the answer as they were on the wire (redacted),
what was negotiated, then the messages, until the time is over or Ctrl-C; at last what the
answer means, told from the bytes, and what another client would have done with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from probe.auth.identity import Identity
from probe.auth.present import present as fill
from probe.auth.tokens import Tokens
from probe.cli.console import console
from probe.cli.explaining import explain
from probe.cli.files import load_dialect, load_target, variables
from probe.clock import now_ns
from probe.engine.routes import make_proxy, tls_options, user_agent
from probe.engine.stage import on_disk
from probe.errors import ConfigError, Problem
from probe.history.columns import History
from probe.history.journal import Journal
from probe.history.records import Kind, Outcome
from probe.model.auth import token_fault
from probe.model.dialect import Presentation
from probe.model.reading import nearest
from probe.model.target import Target, is_loopback
from probe.negotiation.clients import Client  # noqa: TC001 -- typer reads it at run time
from probe.redact import Redactor
from probe.report.visible import visible
from probe.units import duration_ns, format_duration
from probe.wire.dialing import dial
from probe.wire.ends import End
from probe.wire.request import DEFLATE, Facts, Prepared, new_key
from probe.wire.route import make_context, make_route

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from probe.wire.connection import Connection

EXIT_FAILED = 1
_CLOSE_NS = 12_000_000_000
_SHOWN_MAX = 2000
_ENDING = {"\r": "a line break", "\n": "a line break", "\0": "a NUL"}
_PHASES = (
    (Kind.DIAL, "dial"), (Kind.RESOLVED, "resolved"), (Kind.TCP, "tcp"), (Kind.TLS, "tls"),
    (Kind.SENT, "upgrade sent"), (Kind.HEAD, "answered"), (Kind.FIRST, "first byte after"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One connection, as asked for."""

    url: str
    target: Target
    identity: Identity
    presentation: Presentation
    subprotocols: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    sends: tuple[str, ...]
    within_ns: int
    lasts_ns: int
    deflate: bool
    alike: Client | None


def command(
    url: Annotated[str, typer.Argument(help="ws:// or wss:// URL, or an endpoint of --target.")],
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Take token, TLS and network from it.")
    ] = None,
    present: Annotated[str, typer.Option(help="Presentation of the target's dialect.")] = "default",
    subprotocol: Annotated[
        list[str] | None, typer.Option("--subprotocol", "-s", help="Offer this one (repeatable).")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="Name: value (repeatable).")
    ] = None,
    token_env: Annotated[
        str | None, typer.Option(help="Variable with a token; {token} in -s and -H is replaced.")
    ] = None,
    send: Annotated[
        list[str] | None, typer.Option(help="Send this text once open (repeatable).")
    ] = None,
    lasts: Annotated[str, typer.Option("--for", help="Listen this long.")] = "3s",
    within: Annotated[str, typer.Option(help="Deadline of the whole connect.")] = "10s",
    insecure: Annotated[bool, typer.Option(help="Do not verify the certificate.")] = False,
    ca: Annotated[str | None, typer.Option(help="PEM file of the authorities to trust.")] = None,
    connect_to: Annotated[str | None, typer.Option(help="host:port to connect to instead.")] = None,
    deflate: Annotated[bool, typer.Option(help="Offer permessage-deflate.")] = False,
    alike: Annotated[
        Client | None, typer.Option("--as", help="Say what this client would do with the answer.")
    ] = None,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Open one WebSocket connection and tell everything about it."""
    redactor = Redactor()
    read, presentation, identity, url = _parts(url, target, present, token_env, redactor)
    read = _with_options(read, insecure=insecure, ca=ca, connect_to=connect_to)
    call = Call(
        url=url,
        target=read,
        identity=identity,
        presentation=presentation,
        subprotocols=tuple(_offer(text, identity.token) for text in subprotocol or ()),
        headers=tuple(_header(text, identity.token) for text in header or ()),
        sends=tuple(_text(text) for text in send or ()),
        within_ns=_duration("--within", within),
        lasts_ns=_duration("--for", lasts),
        deflate=deflate or read.network.deflate,
        alike=alike,
    )
    screen = console(no_color=no_color)
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        journal = Journal(Path(folder) / "history", redactor, {})
        try:
            ok = uvloop.run(_talk(call, journal, screen))
        finally:
            journal.close(ended="complete")
    raise typer.Exit(0 if ok else EXIT_FAILED)


def _parts(
    url: str, target: str | None, present: str, token_env: str | None, redactor: Redactor
) -> tuple[Target, Presentation, Identity, str]:
    values = variables()
    if target is None:
        read = Target.model_validate({"title": url, "endpoints": {"main": {"url": "ws://x"}}})
        if "://" not in url:
            hint = "if it is an endpoint of a target, name that with --target"
            raise ConfigError(Problem("URL", "", "no ws:// or wss:// URL", repr(url), hint=hint))
        token = "" if token_env is None else _token(token_env, values)
        redactor.add(token)
        identity = Identity(0, "", token, None, Redactor(token, parent=redactor))
        return read, Presentation(), identity, url
    read, path = load_target(target, values, restarts=False)
    if url in read.endpoints:
        url = read.endpoints[url].url
    elif "://" not in url:
        names = ", ".join(read.endpoints)
        hint = nearest(url, read.endpoints)
        problem = Problem(str(path), "endpoints", "no such endpoint", repr(url), names, hint)
        raise ConfigError(problem)
    if "{lab}" in url:
        raise ConfigError(Problem(str(path), "", "the embedded lab is not running; `probe lab`"))
    dialect, origin = load_dialect(read.dialect)
    if present not in dialect.present:
        allowed = ", ".join(dialect.present)
        raise ConfigError(Problem(str(origin), "present", "no such presentation", present, allowed))

    async def one() -> Identity:
        context = make_context(tls_options(read.tls))
        async with Tokens(
            read.auth, seed=0, redactor=redactor, origin=str(path), folder=path.parent, tls=context
        ) as tokens:
            return (await tokens.identities([0], deadline_ns=now_ns() + _CLOSE_NS))[0]

    return read, dialect.present[present], asyncio.run(one()), url


def _with_options(
    read: Target, *, insecure: bool, ca: str | None, connect_to: str | None
) -> Target:
    tls, network = read.tls, read.network
    if insecure:
        tls = tls.model_copy(update={"verify": False})
    if ca:
        tls = tls.model_copy(update={"ca_file": ca})
    if connect_to:
        network = network.model_copy(update={"connect_to": connect_to})
    return read.model_copy(update={"tls": tls, "network": network})


def _duration(option: str, text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise ConfigError(Problem(option, "", str(error))) from None


def _token(variable: str, values: Mapping[str, str]) -> str:
    """The token in a variable; ConfigError, which never shows it, where it cannot be one."""
    token = os.environ.get(variable) or values.get(variable, "")
    origin = f"--token-env {variable}"
    if not token:
        raise ConfigError(Problem(origin, "", "the variable is not set"))
    if fault := token_fault(token):
        hint = "put the token alone into it, such as with `probe token -t TARGET --show`"
        raise ConfigError(Problem(origin, "", fault, hint=hint))
    return token


def _offer(text: str, token: str) -> str:
    _whole("--subprotocol", text)
    return text.replace("{token}", token)


def _header(text: str, token: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigError(Problem("--header", "", "not `Name: value`"))
    # A line break behind the value is as good as a blank there, and none within it is.
    name, value = name.strip(), value.strip()
    _whole(f"--header {visible(name)}", name + value)
    return name, value.replace("{token}", token)


def _whole(origin: str, text: str) -> None:
    """Any byte may be sent, but for those that would end the line of the head."""
    if found := next((what for sign, what in _ENDING.items() if sign in text), ""):
        hint = "one header is one line; give another as another option"
        raise ConfigError(Problem(origin, "", f"holds {found}", hint=hint))


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(Problem("--send", "", "is not UTF-8, as a text message is")) from None
    return text


class Ear:
    """Hears one connection and prints each message as it comes."""

    def __init__(self, screen: Console, redactor: Redactor) -> None:
        self._screen = screen
        self._redactor = redactor
        self.began = now_ns()
        self._held: list[str] | None = []  # what comes before the phases are told
        self.over = asyncio.Event()

    def say(self, t_ns: int, mark: str, text: str) -> None:
        """One line: time since the dial, who, what."""
        shown = visible(self._redactor.text(text), chars_max=_SHOWN_MAX)
        line = f"{(t_ns - self.began) / 1e6:10.2f} ms  {mark} {shown}"
        if self._held is not None:
            self._held.append(line)
        else:
            self._screen.print(line, markup=False, soft_wrap=True)

    def release(self) -> None:
        """The phases are told: from here on a line is printed as it comes."""
        held, self._held = self._held or [], None
        for line in held:
            self._screen.print(line, markup=False, soft_wrap=True)

    def message(self, t_ns: int, opcode: int, payload: bytes) -> None:
        """A message."""
        text = payload.decode() if opcode == 1 else f"({len(payload)} bytes) {payload[:64].hex()}"
        self.say(t_ns, "<", text)

    def pong(self, t_ns: int, payload: bytes) -> None:
        """A pong."""
        self.say(t_ns, "<", f"pong {payload!r}")

    def pinged(self, t_ns: int, payload: bytes) -> None:
        """A ping."""
        self.say(t_ns, "<", f"ping {payload!r}, answered")

    def ended(self, t_ns: int, end: End) -> None:
        """The end."""
        reason = end.reason.decode("utf-8", "replace")
        what = end.outcome.name.lower().replace("_", " ")
        code = f" {end.code}" if end.code else ""
        quoted = f" {reason!r}" if reason else ""
        detail = f": {end.detail}" if end.detail else ""
        self.say(t_ns, "*", f"{what}{code}{quoted} (by {end.by}){detail}")
        self.over.set()


async def _talk(call: Call, journal: Journal, screen: Console) -> bool:
    loop = asyncio.get_running_loop()
    try:
        route = make_route(
            call.url, connect_to=call.target.network.connect_to, host=call.target.network.host,
            server_name=call.target.tls.server_name, tls=tls_options(call.target.tls),
            proxy=make_proxy(call.target.network),
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(Problem("URL", "", str(error))) from None
    if not is_loopback(route.host):
        screen.print(f"one connection to {route.host}:{route.port}", markup=False)
    parts = fill(call.presentation, call.identity.token, call.identity.user)
    offers = call.subprotocols or parts.subprotocols
    # A header that is written by hand offers as well, though no client library knows of it.
    by_hand = [value for name, value in call.headers if name.lower() == "sec-websocket-protocol"]
    written = [each.strip(" \t") for value in by_hand for each in value.split(",")]
    extensions = DEFLATE if call.deflate else ""
    key = new_key()
    network = call.target.network.headers
    headers = (("User-Agent", user_agent("by hand")), *network.items())
    added = [*network, *(name for name, _ in (*parts.headers, *call.headers))]
    request = Prepared(route, headers).build(
        key, subprotocols=offers, headers=(*parts.headers, *call.headers), extensions=extensions,
        resource=parts.resource(route.resource),
    )  # fmt: skip
    ear = Ear(screen, call.identity.redactor)
    ear.began = now_ns()
    result = await dial(
        loop, route, request, Facts(key, (*offers, *written), extensions), ear, journal, 0, 0,
        redactor=call.identity.redactor, deadline_ns=ear.began + call.within_ns, keep_heads=True,
    )  # fmt: skip
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ear.over.set)
    await _tell(journal, screen, result)
    ear.release()
    if isinstance(result, End):
        await explain(journal, screen, call.identity.redactor, offers, added, call.alike)
        return False
    if parts.first_message is not None:
        _send(ear, result, parts.first_message)
    for text in call.sends:
        _send(ear, result, text.encode())
    await _until(ear.over, call.lasts_ns)
    if result.end is None:
        ear.over.clear()
        ear.say(now_ns(), ">", "close 1000")
        result.close(1000)
        await _until(ear.over, _CLOSE_NS)
    await explain(journal, screen, call.identity.redactor, offers, added, call.alike)
    return result.end is not None and result.end.outcome is Outcome.NORMAL


def _send(ear: Ear, connection: Connection, payload: bytes) -> None:
    connection.send_text(payload)
    ear.say(now_ns(), ">", payload.decode("utf-8", "replace"))


async def _until(event: asyncio.Event, within_ns: int) -> None:
    try:
        async with asyncio.timeout(within_ns / 1e9):
            await event.wait()
    except TimeoutError:
        return


async def _tell(journal: Journal, screen: Console, result: Connection | End) -> None:
    """The phases, the request and the answer, from what was recorded."""
    await on_disk(journal)
    history = History.open(journal.folder)
    rows = {Kind(row["kind"]): row for row in history.rows}
    zero = last = int(rows[Kind.DIAL]["t"])
    for kind, name in _PHASES:
        if kind in rows:
            at = int(rows[kind]["t"])
            screen.print(
                f"{(at - zero) / 1e6:10.2f} ms  * {name:<17} (+{format_duration(at - last)})",
                markup=False,
            )
            last = at
    for kind, mark in ((Kind.SENT, ">"), (Kind.HEAD, "<")):
        text = history.text(int(rows[kind]["b"])) if kind in rows else b""
        for line in text.decode("utf-8", "replace").splitlines():
            screen.print(f"{mark:>15} {visible(line)}", markup=False, soft_wrap=True)
    if isinstance(result, End):
        detail = f": {result.detail}" if result.detail else ""
        what = result.outcome.name.lower().replace("_", " ")
        screen.print(f"failed in phase {result.phase.name.lower()}: {what}{detail}", markup=False)
        return
    if tls := result.tls_info:
        screen.print(f"             * {tls.version}, {tls.cipher}", markup=False)
        screen.print(f"             * certificate sha256 {tls.fingerprint}", markup=False)
    chosen = result.redactor.text(result.subprotocol or "none")
    screen.print(f"             * subprotocol: {visible(chosen)}", markup=False)
