"""The populations of a matrix: one client, or a few, for each row of a table.

The rule: rows are tried one after the other, some milliseconds apart, so that an answer
belongs to its request and a service is not taken for broken by a herd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.errors import ConfigError, Problem
from probe.model.bad_tokens import TOKEN_CASES, is_bad, lacking
from probe.model.handshakes import HANDSHAKES
from probe.model.reading import nearest
from probe.model.scenario import Population
from probe.model.script import Connect, Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from probe.model.dialect import Dialect
    from probe.model.scenario import Stage
    from probe.model.script import Play, Session

APART_NS: Final = 20_000_000
TRIES: Final = 3
"""Connections per endpoint in a preflight, and per presentation and endpoint in a matrix."""
CONTROL: Final = "control"
CONTROL_AFTER: Final = "control_after"
CONTROL_AFTER_NS: Final = 1_500_000_000
SEEN_FOR_NS: Final = 1_500_000_000
"""How long a service without runs has to think better of it."""


def populations(name: str, stage: Stage, dialect: Dialect) -> Iterator[tuple[str, Population]]:
    """Each row's population by its name; ConfigError for a case that the table does not have."""
    match stage.table:
        case "presentations":
            for place, each in enumerate(_presents(name, stage, dialect)):
                yield each, once(each, after_ns=place * TRIES * APART_NS)
        case "negotiation":
            for place, case in enumerate(_chosen(name, "cases", stage.cases, HANDSHAKES)):
                script = [{"do": "handshake", "case": case}]
                yield case, _one(script, "default", place)
        case "authentication":
            _chosen(name, "cases", stage.cases, TOKEN_CASES)
            _presents(name, stage, dialect)
            yield from _tokens(stage, dialect)


def _presents(name: str, stage: Stage, dialect: Dialect) -> tuple[str, ...]:
    """The presentations that a matrix goes through."""
    if stage.presents:
        return _chosen(name, "presents", stage.presents, dialect.present)
    return tuple(each for each, shown in dialect.present.items() if not shown.optional)


def _tokens(stage: Stage, dialect: Dialect) -> Iterator[tuple[str, Population]]:
    """Every case in every presentation that ought to be accepted, between two good tokens.

    The second comes when all others have been answered: a service that by then refuses
    everybody refuses the others for it, too.
    """
    rows = list(token_rows(stage, dialect))
    last = len(rows) * APART_NS + CONTROL_AFTER_NS
    for place, (present, case) in enumerate(rows):
        if case not in TOKEN_CASES:
            after = last if case == CONTROL_AFTER else place * APART_NS
            yield f"{present}_{case}", _shown(None, present, after, dialect)
        elif not lacking(TOKEN_CASES[case], dialect.present[present], dialect):
            yield f"{present}_{case}", _shown(case, present, place * APART_NS, dialect)


def token_rows(stage: Stage, dialect: Dialect) -> Iterator[tuple[str, str]]:
    """Presentation and case of every row, controls included, also of what cannot be tried."""
    chosen = stage.cases or tuple(TOKEN_CASES)
    for present in _presents("", stage, dialect):
        if dialect.present[present].expect == "accepted":
            yield from ((present, case) for case in (CONTROL, *chosen, CONTROL_AFTER))


def _shown(case: str | None, present: str, after_ns: int, dialect: Dialect) -> Population:
    shape = {"clients": 1, "after": f"{after_ns}ns"}
    play = _trying(case, runs=dialect.run is not None)
    return Population.model_validate({"shape": shape, "script": play, "present": present})


def _trying(case: str | None, *, runs: bool) -> Play:
    """Show the token, and if it gets in, see what it gets."""

    async def play(session: Session) -> None:
        if case is not None:
            await session.token(case)
        await session.connect(expect="ready" if case is None else "either")
        if not session.connected:
            return
        if runs:
            await session.run()
        else:
            await session.hold(SEEN_FOR_NS)
        await session.close()

    return play


def ought_to_get_in(stage: Stage, name: str, population: Population, dialect: Dialect) -> bool:
    """Whether these clients show what a service accepts, and nothing else."""
    if dialect.present[population.present].expect == "rejected":
        return False
    if stage.table == "authentication":
        case = TOKEN_CASES.get(name.removeprefix(f"{population.present}_"))
        return case is None or case.expect == "accepted"
    steps = population.script if isinstance(population.script, tuple) else ()
    return not any(
        (isinstance(step, Connect) and step.expect != "ready")
        or (isinstance(step, Token) and is_bad(step.case))
        for step in steps
    )


def _chosen(
    name: str, what: str, chosen: tuple[str, ...], table: Mapping[str, object]
) -> tuple[str, ...]:
    """What is chosen of a table, or all of it. ConfigError for what it does not have."""
    for number, each in enumerate(chosen):
        if each not in table:
            path, allowed = f"stages.{name}.{what}.{number}", ", ".join(table)
            raise ConfigError(
                Problem("scenario", path, "no such row", repr(each), allowed, nearest(each, table))
            )
    return chosen or tuple(table)


def once(present: str, tries: int = TRIES, after_ns: int = 0) -> Population:
    """Clients that connect and close."""
    script = [{"do": "connect"}, {"do": "close"}]
    shape = {"clients": tries, "after": f"{after_ns}ns"}
    return Population.model_validate({"shape": shape, "script": script, "present": present})


def _one(script: list[dict[str, str]], present: str, place: int) -> Population:
    shape = {"clients": 1, "after": f"{place * APART_NS}ns"}
    return Population.model_validate({"shape": shape, "script": script, "present": present})
