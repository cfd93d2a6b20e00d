"""`probe token`: mint or fetch one token, and show what it says; redacted unless asked."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from probe.auth.describe import describe
from probe.auth.tokens import Tokens
from probe.cli.console import console
from probe.cli.files import load_target, variables
from probe.clock import now_ns
from probe.engine.lab import SECRET_VARIABLE
from probe.engine.routes import tls_options
from probe.errors import ConfigError, Problem
from probe.redact import Redactor
from probe.wire.route import make_context

_DEADLINE_NS = 60_000_000_000


def command(
    target: Annotated[str, typer.Option("--target", "-t", help="Name or file of a target.")],
    index: Annotated[int, typer.Option(min=0, help="Which identity, from 0.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The seed, where a template uses it.")] = 0,
    show: Annotated[
        bool, typer.Option("--show", help="Print the token itself, and nothing else.")
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Mint or fetch the token of one identity and tell of it; for a script, with --show."""
    values = variables()
    read, path = load_target(target, values, restarts=False)
    if read.embedded and SECRET_VARIABLE not in values:
        raise ConfigError(Problem(str(path), "auth", "the embedded lab is not running"))
    redactor = Redactor()

    async def one() -> tuple[str, str]:
        context = make_context(tls_options(read.tls))
        async with Tokens(
            read.auth, seed=seed, redactor=redactor, origin=str(path), folder=path.parent,
            tls=context,
        ) as tokens:  # fmt: skip
            made = await tokens.identities([index], deadline_ns=now_ns() + _DEADLINE_NS)
            return made[0].user, made[0].token

    user, token = asyncio.run(one())
    if show:
        typer.echo(token)
        return
    told = describe(token, time.time())
    screen = console(no_color=no_color)
    screen.print(f"source   {read.auth.source}", markup=False)
    screen.print(f"user     {user or '(not told)'}", markup=False)
    screen.print(f"length   {told.length}", markup=False)
    if told.is_jwt:
        screen.print(f"header   {json.dumps(told.header)}", markup=False)
        screen.print(f"claims   {json.dumps(told.claims)}", markup=False)
        expires = told.claims.get("exp")
        if isinstance(expires, int | float) and told.expires_in_s is not None:
            at = datetime.fromtimestamp(expires, tz=UTC).isoformat()
            screen.print(f"expires  in {told.expires_in_s:.0f} s, at {at}", markup=False)
    # On stderr, so that whoever puts the output into a variable sees it, too.
    typer.echo("probe: the token itself is not shown; --show prints it, and nothing else", err=True)
