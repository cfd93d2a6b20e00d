"""`probe record`: what a session says of how a service speaks, as a dialect to correct.

From a connection of its own, bounded in time, messages and bytes, or from a HAR file that a
browser has saved. The draft goes to stdout, or with `--name` into a file; what was seen goes
to stderr.
"""

from __future__ import annotations

import secrets as random_source
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import uvloop

from probe.auth.present import present as fill
from probe.cli.console import console
from probe.cli.files import variables
from probe.errors import ConfigError, Problem
from probe.model.dialect import Dialect, Presentation
from probe.model.reading import build, parse
from probe.model.target import Target
from probe.redact import Redactor
from probe.start import har
from probe.start.asking import Nobody
from probe.start.credentials import (
    Told,
    refuse_in_url,
    refuse_secrets,
    showing_of,
    source_of,
)
from probe.start.drafting import draft
from probe.start.files import Showing, Speech, dialect_text
from probe.start.inferring import with_places
from probe.start.saying import learned, outcome_of, spoken
from probe.start.secrets import of_url
from probe.start.talk import Bounds, Call, talk
from probe.start.writing import check_free, check_name, paths_of, write
from probe.units import duration_ns, size_bytes

if TYPE_CHECKING:
    from probe.start.seen import Session

EXIT_FAILED: Final = 1
LINES_MAX: Final = 100
_LINE_MAX: Final = 1 << 20


def command(
    source: Annotated[str, typer.Argument(help="ws:// or wss:// URL, or a HAR file.")],
    send: Annotated[
        list[str] | None,
        typer.Option(help="Send this once it is open; - for the lines of stdin (repeatable)."),
    ] = None,
    times: Annotated[int, typer.Option(min=1, max=20, help="How many sessions.")] = 1,
    first: Annotated[str, typer.Option(help="A message sent as soon as it is open.")] = "",
    subprotocol: Annotated[
        list[str] | None, typer.Option("--subprotocol", "-s", help="Offer this one (repeatable).")
    ] = None,
    token_env: Annotated[str, typer.Option(help="Variable with a token.")] = "",
    present: Annotated[
        list[str] | None, typer.Option(help="How it is shown, as for `probe init` (repeatable).")
    ] = None,
    lasts: Annotated[str, typer.Option("--for", help="Longest wait for a message.")] = "10s",
    messages: Annotated[int, typer.Option(min=1, max=100_000, help="Most messages.")] = 1000,
    size: Annotated[str, typer.Option("--bytes", help="Most bytes.")] = "8MiB",
    url: Annotated[str, typer.Option(help="HAR: the URL that is meant, or a part of it.")] = "",
    name: Annotated[str, typer.Option(help="Write scenarios/dialects/NAME.toml.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
    insecure: Annotated[bool, typer.Option(help="Do not verify the certificate.")] = False,
) -> None:
    """Listen to a session, or read a browser's HAR file, and draft the dialect."""
    refuse_secrets(sys.argv[1:])
    person = Nobody(console(stderr=True))
    redactor = Redactor()
    path = None
    if name:
        check_name(name, {})
        path = paths_of(name)["dialect"]
        check_free({"dialect": path}, force=force)
    if "://" not in source:
        speech = _archive(Path(source), url, name, redactor, person)
    else:
        refuse_in_url(source, "URL")
        bounds = _bounds(lasts, messages, size, bool(send))
        told = Told(auth="env" if token_env else "none", token_env=token_env)
        origin = source_of(told, person, variables())
        showing = showing_of(present or (), subprotocol or (), first, origin, person)
        token = "" if not token_env else variables()[token_env]
        call = _call(
            source, showing, token, _sends(send or []), bounds, redactor, insecure=insecure
        )
        speech = _listen(call, showing, name, times, person)
    for line in learned(speech.draft):
        person.say(f"learned  {redactor.text(line)}")
    text = redactor.text(dialect_text(speech))
    build(Dialect, parse(text, "the draft"), "the draft")
    if path is None:
        sys.stdout.write(text)
    else:
        write({path: text})
        person.say(f"wrote    {path}")


def _bounds(lasts: str, messages: int, size: str, asks: bool) -> Bounds:
    try:
        lasts_ns, bytes_max = duration_ns(lasts), size_bytes(size)
    except ValueError as error:
        raise ConfigError(Problem("--for, --bytes", "", str(error))) from None
    usual = Bounds(answer_ns=lasts_ns, messages_max=messages, bytes_max=bytes_max)
    return usual if asks else replace(usual, opening_ns=lasts_ns, opening_max_ns=lasts_ns)


def _sends(words: list[str]) -> tuple[str, ...]:
    """The messages; `-` stands for the lines of stdin, up to a bound."""
    found: list[str] = []
    for word in words:
        if word != "-":
            found.append(word)
            continue
        for _ in range(LINES_MAX):
            line = sys.stdin.readline(_LINE_MAX)
            if not line:
                break
            found += [line.rstrip("\r\n")] if line.strip() else []
    return tuple(found)


def _call(
    url: str, showing: Showing, token: str, sends: tuple[str, ...], bounds: Bounds,
    redactor: Redactor, *, insecure: bool,
) -> Call:  # fmt: skip
    redactor.add(token)
    for secret in of_url(url):
        redactor.add(secret)
    tables: dict[str, Any] = {"title": "recorded", "endpoints": {"main": {"url": url}}}
    target = build(Target, tables | {"tls": {"verify": not insecure}}, "URL")
    presentation = Presentation(
        subprotocols=showing.subprotocols, headers=showing.headers, query=showing.query,
        cookies=showing.cookies, first_message=showing.first_message,
    )  # fmt: skip
    shown = fill(presentation, token, "", "--present")
    return Call(url, target, redactor, shown, sends, {"token": token}, bounds)


def _listen(call: Call, showing: Showing, name: str, times: int, person: Nobody) -> Speech:
    """As many sessions as were wanted; typer.Exit where none was open."""
    nonce = random_source.token_hex(3)
    sessions: list[Session] = []
    selects: str | None = None
    pong: bool | None = None
    for number in range(times):
        base = f"probe-{nonce}-{number}"
        values = {
            **call.values, "run": base, "thread": f"{base}-t", "n": str(number), "size": "1",
            "pad": "0", "user": "",
        }  # fmt: skip
        result = uvloop.run(talk(replace(call, values=values)))
        person.say(f"session  {call.redactor.text(outcome_of(result))}")
        for line in spoken(result.session, call.redactor, person.width, len(call.sends)):
            person.say(f"         {line}")
        if result.session.cut:
            person.say("         there was more: see --messages and --bytes")
        if not result.opened:
            raise typer.Exit(EXIT_FAILED)
        sessions.append(result.session)
        pong = result.pong if pong is None else pong
        if showing.subprotocols:
            offers = dict(zip(call.shown.subprotocols, showing.subprotocols, strict=False))
            selects = offers.get(result.subprotocol, "")
    notes: tuple[str, ...] = ()
    if call.sends and not any("{run}" in text for text in call.sends):
        sessions, note = with_places(sessions)
        notes = (note,) if note else ()
    return Speech(name or "recorded", showing, draft(sessions), selects, pong, notes)


def _archive(path: Path, url: str, name: str, redactor: Redactor, person: Nobody) -> Speech:
    """What the archive holds of one URL."""
    found = [each for each in har.read(_bytes(path), str(path), redactor) if url in each.url]
    if not found:
        raise ConfigError(Problem("--url", "", "no WebSocket of the file has it in its URL", url))
    for each in found:
        count = sum(len(session.messages) for session in each.sessions)
        person.say(redactor.text(
            f"archive  {each.url}: {len(each.sessions)} sessions, {count} messages"
        ))  # fmt: skip
    chosen = found[0]
    if len(found) > 1:
        other = redactor.text(found[1].url)
        person.say(f"         the first is taken; another one: --url {other}")
    sessions, note = with_places(chosen.sessions)
    opening = next((m.template for s in sessions for m in s.messages if m.sent and m.opening), None)
    showing = replace(chosen.showing, first_message=opening)
    notes = (*chosen.notes, *((note,) if note else ()))
    return Speech(name or "recorded", showing, draft(sessions), chosen.selects, None, notes)


def _bytes(path: Path) -> bytes:
    """The file, if it is a plain one of bounded size."""
    try:
        if not path.is_file():
            message = "is no file; a URL begins with ws:// or wss://"
            raise ConfigError(Problem(str(path), "", message))
        if path.stat().st_size > har.FILE_MAX:
            found = f"{path.stat().st_size:,} bytes"
            allowed = f"at most {har.FILE_MAX:,} bytes"
            raise ConfigError(Problem(str(path), "", "is too large", found, allowed))
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from None
