"""`probe init`: from a URL to files that run, each answer tried on the service as it is given.

Without a terminal all comes from options, and what is missing is told at once (exit code 2).
"""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from probe.cli.caller import called_by
from probe.cli.console import console
from probe.cli.files import known, load, variables
from probe.contract.reading import reader_of
from probe.errors import ConfigError, Problem
from probe.model.plan import ceilings, make_plan
from probe.model.reading import build
from probe.model.target import Service, is_loopback
from probe.redact import Redactor
from probe.start import toml
from probe.start.asking import Nobody, Terminal, missing
from probe.start.credentials import Told, lacking, refuse_in_url, refuse_secrets
from probe.start.files import SMOKE_PER_S, Place, dialect_text, scenario_text, target_text
from probe.start.talk import Bounds
from probe.start.trying import Trial, Wanted
from probe.start.writing import check_free, check_name, name_of, paths_of, write
from probe.units import duration_ns, rate_hz
from probe.wire.route import make_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.start.asking import Person
    from probe.start.trying import Tried

EXIT_FAILED: Final = 1
TOKEN_MAX: Final = 64 * 1024
_CONNECT_MIN_S: Final = 2
_CONNECT_TIMES: Final = 10
_REMOTE = "beyond this machine a target says how much it may be loaded with"


_Name = Annotated[str | None, typer.Option(help="Name of the files; unset: by the host.")]
_Auth = Annotated[
    str, typer.Option(help="How tokens come: none, mint, env, command, fetch or login.")
]
_Claim = Annotated[
    list[str] | None, typer.Option(help="mint: NAME=VALUE, the value JSON (repeatable).")
]
_TokenStdin = Annotated[
    bool, typer.Option("--token-stdin", help="env: read the token from stdin, for this start.")
]
_TokenCommand = Annotated[
    str, typer.Option(help="command: a program and its words; no shell reads them.")
]
_TokenPath = Annotated[
    str, typer.Option(help="fetch, login: where the answer holds it, such as data.token.")
]
_Present = Annotated[
    list[str] | None,
    typer.Option(
        help="How a token is shown: header, header:NAME={token}, query:NAME, cookie:NAME, "
        "subprotocol:jwt.{token}, or message:TEXT with {token} (repeatable)."
    ),
]
_Subprotocol = Annotated[
    list[str] | None, typer.Option("--subprotocol", "-s", help="Offer this one (repeatable).")
]
_Send = Annotated[
    list[str] | None,
    typer.Option(help="A message; {run} is an id that comes back, {n} a number (repeatable)."),
]
_Answer = Annotated[str, typer.Option(help="The type of its answer: that it comes is told.")]
_ClientsMax = Annotated[
    int | None, typer.Option(min=1, help="Most clients at one time, beyond loopback.")
]
_RateMax = Annotated[
    str, typer.Option(help="Most clients per second, such as 5/s, beyond loopback.")
]
_Quiet = Annotated[str, typer.Option(help="Silence after which no more answer is waited for.")]
_Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")]
_NoInput = Annotated[bool, typer.Option("--no-input", help="Ask nothing, also on a terminal.")]


def command(
    url: Annotated[str | None, typer.Argument(help="ws:// or wss:// URL of an endpoint.")] = None,
    name: _Name = None,
    auth: _Auth = "",
    key_env: Annotated[str, typer.Option(help="mint: variable with the key.")] = "",
    key_file: Annotated[str, typer.Option(help="mint: PEM file beside the target's.")] = "",
    algorithm: Annotated[str, typer.Option(help="mint: HS256, RS256, …")] = "",
    issuer: Annotated[str, typer.Option(help="mint: the iss claim.")] = "",
    audience: Annotated[str, typer.Option(help="mint: the aud claim.")] = "",
    subject: Annotated[str, typer.Option(help="mint: the sub claim, such as probe-{n}.")] = "",
    claim: _Claim = None,
    token_env: Annotated[str, typer.Option(help="env: variable with the token.")] = "",
    token_stdin: _TokenStdin = False,
    token_command: _TokenCommand = "",
    token_url: Annotated[str, typer.Option(help="fetch, login: where tokens are asked for.")] = "",
    token_path: _TokenPath = "",
    client_id: Annotated[str, typer.Option(help="fetch: the client.")] = "",
    secret_env: Annotated[str, typer.Option(help="fetch: variable with its secret.")] = "",
    username: Annotated[str, typer.Option(help="login: the user, such as probe-{n}.")] = "",
    password_env: Annotated[str, typer.Option(help="login: variable with the password.")] = "",
    token: Annotated[str | None, typer.Option(hidden=True)] = None,
    present: _Present = None,
    subprotocol: _Subprotocol = None,
    first: Annotated[str, typer.Option(help="A message sent as soon as it is open.")] = "",
    send: _Send = None,
    answer: _Answer = "",
    health: Annotated[str | None, typer.Option(help="http:// URL of its health.")] = None,
    clients_max: _ClientsMax = None,
    rate_max: _RateMax = "",
    insecure: Annotated[bool, typer.Option(help="Do not verify the certificate.")] = False,
    ca: Annotated[str, typer.Option(help="PEM file of the authorities to trust.")] = "",
    quiet: _Quiet = "1s",
    within: Annotated[str, typer.Option(help="Longest wait for the first answer.")] = "5s",
    run: Annotated[bool, typer.Option("--run", help="Run the smoke scenario at the end.")] = False,
    force: _Force = False,
    no_input: _NoInput = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Write target, dialect and a smoke scenario for a service, trying each answer on it."""
    refuse_secrets([*sys.argv[1:], *(["Bearer refused"] if token is not None else [])])
    screen = console(no_color=no_color)
    asks = not no_input and not token_stdin and sys.stdin.isatty()
    person: Person = Terminal(screen) if asks else Nobody(screen)
    told = Told(
        auth, key_env, key_file, algorithm, issuer, audience, subject, tuple(claim or ()),
        token_env, token_command, token_url, token_path, client_id, secret_env, username,
        password_env,
    )  # fmt: skip
    quiet_ns = _duration("--quiet", quiet)
    bounds = Bounds(
        answer_ns=_duration("--within", within), quiet_ns=quiet_ns, opening_ns=quiet_ns,
        opening_max_ns=3 * quiet_ns,
    )  # fmt: skip
    sends = tuple(send) if send else None
    wanted = Wanted(
        told, tuple(present or ()), tuple(subprotocol or ()), first, sends, answer, health, bounds
    )
    values = variables()
    redactor = Redactor()
    refuse_in_url(token_url, "--token-url")
    if health:
        refuse_in_url(health, "--health")
        build(Service, {"url": health}, "--health")
    if not asks:
        problems = lacking(told, wanted.ways, first, stdin=token_stdin)
        problems += _beyond(url, clients_max, rate_max)
        if problems:
            raise ConfigError(*problems)
    try:
        place = _place(person, url, name, clients_max, rate_max, _tls(insecure=insecure, ca=ca))
        check_free(paths_of(place.name), force=force)
        stdin_token = sys.stdin.read(TOKEN_MAX).strip() if token_stdin else ""
        folder = paths_of(place.name)["target"].parent
        trial = Trial(wanted, place, person, redactor, values, folder)
        tried = trial.run(stdin_token)
        if tried is None:
            raise typer.Exit(EXIT_FAILED)
        fitting = _write(person, redactor, tried, values)
        _ends(person, redactor, tried, fitting, run=run)
    except EOFError:
        raise typer.Abort from None


def _duration(option: str, text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise ConfigError(Problem(option, "", str(error))) from None


def _tls(*, insecure: bool, ca: str) -> tuple[str, ...]:
    if not insecure and not ca:
        return ()
    lines = ["[tls]"]
    lines += ["verify = false # the certificate is not verified"] if insecure else []
    return (*lines, *([f"ca_file = {toml.quoted(ca)}"] if ca else []))


def _place(
    person: Person, url: str | None, name: str | None, clients_max: int | None, rate_max: str,
    tls: tuple[str, ...],
) -> Place:  # fmt: skip
    """Where it is, what it is called, and how much of it there may be."""
    url = url or person.ask("URL of the WebSocket endpoint, such as ws://127.0.0.1:8000/ws", "URL")
    try:
        route = make_route(url)
    except ValueError as error:
        raise ConfigError(Problem("URL", "", str(error))) from None
    refuse_in_url(url, "URL")
    usual = name_of(url)
    name = name or (person.ask("Name of the files", "--name", usual))
    check_name(name, known("scenario"))
    if not is_loopback(route.host):
        if clients_max is None:
            text = person.ask(f"Most clients at one time ({_REMOTE})", "--clients-max")
            clients_max = _number(text)
        rate_max = rate_max or person.ask(
            f"Most clients per second, such as 5/s ({_REMOTE})", "--rate-max"
        )
        _rate(rate_max)
    title = f"{name}, at {route.host}"
    return Place(title, name, url, (), "", tls, clients_max, rate_max)


def _beyond(url: str | None, clients_max: int | None, rate_max: str) -> list[Problem]:
    """Ceilings that nobody can be asked for."""
    if not url:
        return [missing("URL", "where the WebSocket endpoint is, such as ws://127.0.0.1:8000/ws")]
    try:
        host = make_route(url).host
    except ValueError as error:
        return [Problem("URL", "", str(error))]
    if is_loopback(host):
        return []
    found = (
        [] if clients_max else [missing("--clients-max", f"most clients at one time: {_REMOTE}")]
    )
    return found + (
        [] if rate_max else [missing("--rate-max", f"most per second, such as 5/s: {_REMOTE}")]
    )


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ConfigError(Problem("--clients-max", "", "is no number from 1", repr(text)))
    return int(text)


def _rate(text: str) -> float:
    try:
        return rate_hz(text)
    except ValueError as error:
        raise ConfigError(Problem("--rate-max", "", str(error))) from None


def _write(
    person: Person, redactor: Redactor, tried: Tried, values: dict[str, str]
) -> list[str]:  # fmt: skip
    """The files, redacted, if the readers of `probe run` take them; what else fits the target."""
    place = tried.place
    per_s = min(SMOKE_PER_S, _rate(place.rate_max) if place.rate_max else SMOKE_PER_S)
    connect = f"{max(_CONNECT_MIN_S, math.ceil(_CONNECT_TIMES * tried.connect_ns / 1e9))}s"
    paths = paths_of(place.name)
    target = redactor.text(target_text(place))
    write({
        paths["dialect"]: redactor.text(dialect_text(tried.speech)),
        paths["target"]: target,
        paths["scenario"]: redactor.text(scenario_text(tried.speech, place, per_s, connect)),
    })  # fmt: skip
    for kind, path in paths.items():
        person.say(f"wrote    {path}  ({kind})")
    loaded = load(place.name, place.name, [], values | tried.source.values)
    reader_of(loaded.dialect)
    plan = make_plan(loaded.scenario, loaded.target, loaded.dialect, 0)
    ceilings(plan, loaded.target)
    fitting = _fitting(place.name, values | tried.source.values)
    if fitting:  # found out by reading what was written, which is now written with it
        line = f"Shipped scenarios that fit it as this file was written: {', '.join(fitting)}"
        write({paths["target"]: f"{target}\n{toml.comment(line)}\n"})
    return fitting


def _fitting(name: str, values: dict[str, str]) -> list[str]:
    """Shipped scenarios, in TOML, that can be run on this target as they are."""
    found = []
    for other, path in known("scenario").items():
        if other == name or path.suffix != ".toml":
            continue
        try:
            loaded = load(other, name, [], values)
            ceilings(make_plan(loaded.scenario, loaded.target, loaded.dialect, 0), loaded.target)
        except ConfigError:
            continue
        if loaded.scenario.target == "lab":  # else it is made for another service
            found.append(other)
    return found


def _ends(
    person: Person, redactor: Redactor, tried: Tried, fitting: Sequence[str], *, run: bool
) -> None:
    """What is left to the person, the command, and the run if it is wanted."""
    for note in (*tried.speech.notes, *tried.speech.draft.left):
        person.say(f"left to you: {note}")
    for each in tried.source.wanted:
        person.say(redactor.text(f"every run needs  {each}  in the environment or in .env"))
    if fitting:
        person.say(f"fit too  {', '.join(fitting)}")
    words = ["run", tried.place.name, "--target", tried.place.name]
    person.say(f"next     {called_by()} {' '.join(words)}")
    if run or person.agrees("Run it now?"):
        _run(words, tried.source.values)


def _run(words: Sequence[str], values: dict[str, str]) -> None:
    """In place of this process, which has nothing left to do; the exit code is the run's."""
    sys.stdout.flush()
    os.environ.update(values)
    os.execv(sys.executable, [sys.executable, "-m", "probe", *words])  # noqa: S606 -- ourselves
