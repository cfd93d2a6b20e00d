"""How tokens come and how they are shown: from options or answers to lines of the two files.

The rule: a file names variables and never holds a secret; a token on the command line is refused,
since shells keep their history and every process can be listed with its words.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from probe.errors import ConfigError, Problem
from probe.model.auth import token_fault
from probe.start import toml
from probe.start.asking import missing
from probe.start.files import Showing
from probe.start.secrets import is_credential_header, is_secret_name, looks_secret, of_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probe.start.asking import Person

SOURCES: Final = ("none", "mint", "env", "command", "fetch", "login")
KEY: Final = "PROBE_JWT_KEY"
TOKEN: Final = "PROBE_TOKEN"  # noqa: S105 -- the name of a variable
PASSWORD: Final = "PROBE_PASSWORD"  # noqa: S105 -- the same
CLIENT_SECRET: Final = "PROBE_CLIENT_SECRET"  # noqa: S105 -- the same
WAYS: Final = ("header", "query", "subprotocol", "message", "cookie")
COMMAND_S: Final = 60
USERS: Final = 3  # so many log in for a start
OUTPUT_MAX: Final = 64 * 1024
_VARIABLE: Final = re.compile(r"PROBE_[A-Z0-9_]+")
_HISTORY: Final = (
    "a token has no place on the command line: the shell keeps it in its history, and the list of "
    "processes shows it"
)


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line says of tokens; "" and () for what it does not say."""

    auth: str = ""
    key_env: str = ""
    key_file: str = ""
    algorithm: str = ""
    issuer: str = ""
    audience: str = ""
    subject: str = ""
    claims: tuple[str, ...] = ()
    token_env: str = ""
    token_command: str = ""
    token_url: str = ""
    token_path: str = ""
    client_id: str = ""
    secret_env: str = ""
    username: str = ""
    password_env: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The lines of [auth], and the values of variables that were got now, for this start alone."""

    kind: str
    lines: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict, repr=False)
    wanted: tuple[str, ...] = ()
    """Variables that every later run needs, each with how it is set."""


def refuse_secrets(words: Iterable[str]) -> None:
    """ConfigError for a word of the command line that is a credential by its looks."""
    if any(looks_secret(word) for word in words):
        hint = (
            "put it into a variable and name that with --token-env, or give it with --token-stdin"
        )
        raise ConfigError(Problem("command line", "", _HISTORY, hint=hint))


def refuse_in_url(url: str, origin: str) -> None:
    """ConfigError for a URL that holds a password, or a secret in its query by its name."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ConfigError(Problem(origin, "", "holds a user or a password", hint="leave it out"))
    for pair in url.partition("?")[2].partition("#")[0].split("&"):
        name = pair.partition("=")[0]
        if is_secret_name(name):
            hint = f"leave it out of the URL, and say --present query:{name} and how tokens come"
            said = f"its query holds {name!r}, a secret by its name"
            raise ConfigError(Problem(origin, "", said, hint=hint))


def source_of(
    told: Told,
    person: Person,
    known: dict[str, str],
    stdin_token: str = "",
    usual: str = "none",
) -> Source:
    """Where tokens come from; asks for what is not told, and takes `usual` where it may.

    `known` are variables that are set.
    """
    kind = told.auth or _meant(told, stdin_token)
    if not kind:
        question = "How do tokens come"
        kind = person.choose(question, "--auth", SOURCES, usual)
    if kind not in SOURCES:
        raise ConfigError(Problem("--auth", "", "no such source", repr(kind), ", ".join(SOURCES)))
    match kind:
        case "mint":
            return _mint(told, person, known)
        case "env":
            return _env(told, person, known, stdin_token)
        case "command":
            return _command(told, person)
        case "fetch":
            return _fetch(told, person, known)
        case "login":
            return _login(told, person, known)
        case _:
            return Source("none")


def lacking(told: Told, ways: Sequence[str], first: str, *, stdin: bool) -> list[Problem]:
    """What a source needs and the command line does not say, where nobody can be asked."""
    kind = told.auth or _meant(told, "-" if stdin else "")
    if kind and kind not in SOURCES:
        return [Problem("--auth", "", "no such source", repr(kind), ", ".join(SOURCES))]
    needs = {
        "mint": (("--key-env", told.key_env or told.key_file, "variable with the key"),),
        "env": (("--token-env", told.token_env or stdin, "variable with the token"),),
        "command": (("--token-command", told.token_command, "program that prints a token"),),
        "fetch": (
            ("--token-url", told.token_url, "where tokens are asked for"),
            ("--client-id", told.client_id, "the client"),
            ("--secret-env", told.secret_env, "variable with its secret"),
        ),
        "login": (
            ("--token-url", told.token_url, "where tokens are asked for"),
            ("--username", told.username, "the user, such as probe-{n}"),
            ("--password-env", told.password_env, "variable with the password"),
        ),
    }.get(kind, ())
    found = [missing(option, question) for option, said, question in needs if not said]
    if kind not in {"", "none"} and not ways and "{token}" not in first:
        found.append(missing("--present", f"how the token is shown: {', '.join(WAYS)}"))
    return found


def _meant(told: Told, stdin_token: str) -> str:
    """The source that the other options speak of; "" where they speak of none."""
    for kind, said in (
        ("env", told.token_env or stdin_token), ("command", told.token_command),
        ("mint", told.key_env or told.key_file), ("login", told.username),
        ("fetch", told.token_url),
    ):  # fmt: skip
        if said:
            return kind
    return ""


def _variable(name: str, option: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ConfigError(Problem(option, "", "no such variable can be used", name, "PROBE_…"))
    return name


def _value(
    name: str, what: str, option: str, person: Person, known: dict[str, str]
) -> dict[str, str]:
    """The variable with its value where that was typed now; {} where it is set."""
    if known.get(name):
        return {}
    if not person.present:
        hint = f"set it in the environment or in .env: {name}=…"
        raise ConfigError(Problem(option, "", f"the variable {name} is not set", hint=hint))
    return {name: person.secret(f"{what} (kept in {name} for now, written nowhere)", option)}


def _mint(told: Told, person: Person, known: dict[str, str]) -> Source:
    algorithm = told.algorithm or person.ask("Algorithm", "--algorithm", "HS256")
    lines = ["[auth]", 'source = "mint"', f"algorithm = {toml.quoted(algorithm)}"]
    values: dict[str, str] = {}
    wanted: tuple[str, ...] = ()
    if told.key_file:
        lines.append(f"key_file = {toml.quoted(told.key_file)} # beside this file")
    else:
        name = told.key_env or person.ask("Variable with the key", "--key-env", KEY)
        name = _variable(name, "--key-env")
        values = _value(name, "The key the service checks tokens with", "--key-env", person, known)
        lines.append(f'key = "${{{name}}}"')
        wanted = (f"{name}=… (the key the service checks tokens with)",)
    given = (("issuer", told.issuer), ("audience", told.audience), ("subject", told.subject))
    for name, value in given:
        text = value or (
            person.ask(f"Claim: {name} (empty: none)", f"--{name}", "") if person.present else ""
        )
        if text:
            lines.append(f"{name} = {toml.quoted(text)}")
    lines.append('lifetime = "1h"')
    if told.claims:
        lines.append(f"claims = {_claims(told.claims)}")
    return Source("mint", tuple(lines), values, wanted)


def _claims(claims: Sequence[str]) -> str:
    """NAME=VALUE, the value JSON or else text."""
    parts = []
    for claim in claims:
        name, equals, text = claim.partition("=")
        if not equals or not name:
            raise ConfigError(Problem("--claim", "", "not NAME=VALUE", repr(claim)))
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            shown = toml.listed(value)
        elif isinstance(value, bool) or (isinstance(value, int | float) and math.isfinite(value)):
            shown = json.dumps(value)
        else:
            shown = toml.quoted(text if not isinstance(value, str) else value)
        parts.append(f"{toml.key(name)} = {shown}")
    return "{ " + ", ".join(parts) + " }"


def _env(told: Told, person: Person, known: dict[str, str], stdin_token: str) -> Source:
    name = told.token_env or (
        TOKEN if stdin_token else person.ask("Variable with the token", "--token-env", TOKEN)
    )
    name = _variable(name, "--token-env")
    if stdin_token:
        values = {name: stdin_token}
    else:
        values = _value(name, "The token", "--token-env", person, known)
    return _of_env(name, values, f"{name}=… (the token alone)")


def _of_env(name: str, values: dict[str, str], wanted: str) -> Source:
    for value in values.values():
        if fault := token_fault(value):
            raise ConfigError(Problem("the token", "", fault))
    lines = (
        "[auth]",
        'source = "env" # one token, shared by all clients',
        f'token = "${{{name}}}"',
    )
    return Source("env", lines, values, (wanted,))


def _command(told: Told, person: Person) -> Source:
    line = told.token_command or person.ask("Command that prints a token", "--token-command")
    words = _words(line)
    try:
        done = subprocess.run(words, capture_output=True, timeout=COMMAND_S, check=False)  # noqa: S603 -- the user's own
    except FileNotFoundError:
        raise ConfigError(Problem("--token-command", "", "no such program", words[0])) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"did not end well: {type(error).__name__}"
        raise ConfigError(Problem("--token-command", "", message)) from None
    token = done.stdout[:OUTPUT_MAX].decode("utf-8", "replace").strip()
    if done.returncode or not token:
        message = f"ended with exit code {done.returncode} and printed {len(token)} characters"
        raise ConfigError(Problem("--token-command", "", message))
    return _of_env(TOKEN, {TOKEN: token}, f'{TOKEN}="$({shlex.join(words)})"')


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise ConfigError(Problem("--token-command", "", f"cannot be read: {error}")) from None
    if not words:
        raise ConfigError(Problem("--token-command", "", "is empty"))
    return words


def _fetch(told: Told, person: Person, known: dict[str, str]) -> Source:
    url = told.token_url or person.ask("URL of the token endpoint", "--token-url")
    client = told.client_id or person.ask("client_id", "--client-id")
    name = told.secret_env or person.ask(
        "Variable with the client secret", "--secret-env", CLIENT_SECRET
    )
    name = _variable(name, "--secret-env")
    values = _value(name, "The client secret", "--secret-env", person, known)
    lines = [
        "[auth]", 'source = "fetch"', f"url = {toml.quoted(url)}", 'grant = "client_credentials"',
        f"client_id = {toml.quoted(client)}", f'client_secret = "${{{name}}}"', *_token_path(told),
        "identities = 1 # shared on purpose: one client has one user",
    ]  # fmt: skip
    return Source("fetch", tuple(lines), values, (f"{name}=… (the client secret)",))


def _token_path(told: Told) -> tuple[str, ...]:
    return (f"token_path = {toml.quoted(told.token_path)}",) if told.token_path else ()


def _login(told: Told, person: Person, known: dict[str, str]) -> Source:
    url = told.token_url or person.ask("URL that takes the login", "--token-url")
    user = told.username or person.ask("User ({n} for a number)", "--username")
    name = told.password_env or person.ask("Variable with the password", "--password-env", PASSWORD)
    name = _variable(name, "--password-env")
    values = _value(name, "The password", "--password-env", person, known)
    lines = [
        "[auth]", 'source = "fetch"', f"url = {toml.quoted(url)}", 'grant = "password"',
        f"username = {toml.quoted(user)}", f'password = "${{{name}}}"', *_token_path(told),
    ]  # fmt: skip
    if "{n}" in user:
        lines.append(f"identities = {USERS} # so many were tried; raise it if there are more users")
    else:
        lines.append("identities = 1 # shared on purpose: there is one user")
    return Source("login", tuple(lines), values, (f"{name}=… (the password)",))


def showing_of(
    ways: Sequence[str], subprotocols: Sequence[str], first: str, source: Source, person: Person
) -> Showing:
    """How the connection is opened; asks where a token has no way to be shown."""
    if source.kind != "none" and not ways and "{token}" not in first:
        way = person.choose(
            "How is the token shown", "--present", WAYS, "header" if person.present else ""
        )
        ways = (_asked_way(way, person),)
    offers, headers, query, cookies = list(subprotocols), {}, {}, {}
    for way in ways:
        kind, _, rest = way.partition(":")
        name, _, template = rest.partition("=")
        _no_secret(kind, name, template)
        match kind:
            case "header":
                usual = "Bearer {token}" if name.lower() in {"", "authorization"} else "{token}"
                headers[name or "Authorization"] = template or usual
            case "query":
                query[name or "token"] = template or "{token}"
            case "cookie":
                cookies[name or "session"] = template or "{token}"
            case "subprotocol":
                offers.append(rest or "{token}")
            case "message":
                first = rest
            case _:
                problem = Problem("--present", "", "no such way", repr(kind), ", ".join(WAYS))
                raise ConfigError(problem)
    showing = Showing(tuple(offers), headers, query, cookies, first or None)
    _check(showing, source)
    return showing


def _no_secret(kind: str, name: str, template: str) -> None:
    """ConfigError where the credential itself stands in the place of `{token}`."""
    if not template or "{" in template or kind not in {"header", "query", "cookie"}:
        return
    pair = f"ws://h/?{name}={template}"
    likely = is_secret_name(name) or any(of_url(pair))
    if is_credential_header(name) if kind == "header" else likely:
        hint = "write {token} in its place, and say how it comes with --token-env or --token-stdin"
        message = f"the value of {name} would stand in the dialect's file, and is likely a secret"
        raise ConfigError(Problem("--present", "", message, hint=hint))


def _asked_way(way: str, person: Person) -> str:
    questions = {
        "header": ("Header and template", "Authorization=Bearer {token}"),
        "query": ("Name of the query parameter", "token"),
        "cookie": ("Name of the cookie", "session"),
        "subprotocol": ("Subprotocol with {token}", "jwt.{token}"),
        "message": ("First message with {token}", '{"type":"auth","token":"{token}"}'),
    }
    question, default = questions[way]
    return f"{way}:{person.ask(question, '--present', default)}"


def _check(showing: Showing, source: Source) -> None:
    if source.kind == "none" and showing.shows_token:
        hint = f"say how tokens come: --auth {', '.join(SOURCES[1:])}"
        raise ConfigError(Problem("--present", "", "shows a token, and there is none", hint=hint))
    if source.kind != "none" and not showing.shows_token:
        hint = "put {token} where it belongs, such as header:Authorization=Bearer {token}"
        raise ConfigError(Problem("--present", "", "has no {token}, so none is shown", hint=hint))
