"""Whether the steps of credentials can be played with a target and a dialect.

What only the source of tokens lacks is no mistake: such a step is left out when it is
played, with the reason, since the same scenario serves targets with other sources.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from probe.errors import Problem
from probe.model.auth import NoAuth
from probe.model.bad_tokens import FRESH, TOKEN_CASES
from probe.model.reading import known
from probe.model.script import Logout, Refresh, Revoke, Token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.model.dialect import Dialect, Request
    from probe.model.scenario import Stage
    from probe.model.target import Target


def credential_step(
    step: Token | Refresh | Revoke | Logout, where: str, target: Target, dialect: Dialect
) -> Iterator[Problem]:
    """What one step at `where` asks for and nobody has."""
    match step:
        case Token(case=name):
            yield from known(f"{where}.case", "token case", name, (FRESH, *TOKEN_CASES))
            if isinstance(target.auth, NoAuth):
                yield Problem("scenario", where, "the target has no [auth], so there are no tokens")
            row = TOKEN_CASES.get(name)
            if row is not None and row.needs == "revoke":
                yield from _asked(where, "revoke", dialect.revoke, target, dialect)
        case Refresh():
            if dialect.refresh is None:
                yield _unsaid(where, "refresh", dialect)
        case Revoke():
            yield from _asked(where, "revoke", dialect.revoke, target, dialect)
        case Logout():
            yield from _asked(where, "logout", dialect.logout, target, dialect)
        case _:
            assert_never(step)


def authenticating(name: str, stage: Stage, target: Target) -> Iterator[Problem]:
    """Whether what a stage is held to about tokens can be judged."""
    if not stage.expect.authentication:
        return
    where = f"stages.{name}.expect.authentication"
    if stage.table != "authentication" and stage.activity != "load":
        message = 'it goes with a matrix of table = "authentication", or with a load'
        yield Problem("scenario", where, message, hint=f"drop it, with --set {where}=false")
    if isinstance(target.auth, NoAuth):
        message = "the target has no [auth], so there are no tokens"
        yield Problem("scenario", where, message, hint=f"name it there, or --set {where}=false")


def _asked(
    where: str, name: str, rule: Request | None, target: Target, dialect: Dialect
) -> Iterator[Problem]:
    if rule is None:
        yield _unsaid(where, name, dialect)
        return
    for problem in known(f"{name}.service", "service", rule.service, target.services):
        yield replace(problem, origin="dialect", hint=f"name it in the target, or in [{name}]")


def _unsaid(where: str, name: str, dialect: Dialect) -> Problem:
    hint = f"say how in the dialect, as a table [{name}], or leave the step out"
    return Problem("scenario", where, f"{dialect.title!r} has no [{name}]", hint=hint)
