"""One session from its intended time to its end: the script, then the clean-up, then DONE.

Steps are interpreted against the same session API that an `async def` gets. A step that
does not get what it waits for ends the script; clean-up steps run whatever happened, and
nothing that a script raises is lost.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, assert_never

from probe.clock import now_ns
from probe.engine.client import Client
from probe.engine.waiting import SessionOver
from probe.history.records import Kind
from probe.model import script as steps
from probe.model.race_script import gates_of
from probe.model.script import steps_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from probe.auth.identity import Identity
    from probe.engine.site import Door, Site
    from probe.model.plan import Group
    from probe.model.script import Play, Step

COMPLETE, FAILED, STOPPED = range(3)


@dataclass(frozen=True, slots=True)
class Part:
    """What all clients of one population do."""

    script: tuple[Step, ...] | Play
    last: tuple[Step, ...]
    present: str
    ladder: tuple[int, ...]
    once: bool
    jitter: float = 0.0
    gates: tuple[int | Literal["swept"], ...] = ()


def part_of(group: Group, site: Site) -> Part:
    """The population as it is played against this dialect."""
    population = group.population
    return Part(
        steps_of(population.script, runs=site.dialect.run is not None),
        population.finally_,
        population.present,
        site.dialect.retry if population.retry else (),
        not population.shape.curve().loops,
        population.jitter,
        gates_of(population.script),
    )


async def play(
    site: Site,
    part: Part,
    client: Client,
    session: int,
) -> int:
    """Play one session; returns COMPLETE, FAILED or STOPPED, which DONE also says."""
    outcome, why = COMPLETE, ""
    live, rounds = site.live, 0
    try:
        while True:
            if callable(part.script):
                await part.script(client)
            else:
                for number, step in enumerate(part.script):
                    client.failed_at = number
                    await _step(client, step)
            client.passed_all()
            rounds += 1
            if part.once or client.stopping:
                break
            await asyncio.sleep(0)  # a script without a wait must not hold the loop
    except SessionOver as over:
        outcome, why = (STOPPED if over.stopped else FAILED), str(over)
        if rounds and over.stopped and 0 < client.stop_ns <= now_ns():
            outcome, why = COMPLETE, ""  # the curve says that this client leaves now
    except asyncio.CancelledError:
        outcome, why = STOPPED, "cancelled"
        raise
    except Exception as error:  # noqa: BLE001 -- a script's own error ends its session
        outcome = FAILED
        why = client.redactor.text(f"the script raised {type(error).__name__}: {error}")
    finally:
        if outcome == STOPPED and client.turn is not None and client.turn.overdue:
            outcome, why = FAILED, "it was not over in time"
        live.completed += outcome == COMPLETE
        live.failed += outcome == FAILED
        client.over, client.turn = True, None
        try:
            why = await _clean_up(client, part.last) or why
        finally:
            live.alive -= 1  # only now is its connection gone, for whoever holds a ceiling
            text = site.journal.word(why) if why else 0
            at = client.failed_at if outcome else 0
            site.journal.row(now_ns(), session, client.attempts, Kind.DONE, outcome, at, text)
    return outcome


async def _clean_up(client: Client, last: tuple[Step, ...]) -> str:
    """Clean-up steps, then the connection; what failed in it, or ""."""
    failed = ""
    stopping, client.stopping = client.stopping, False
    for step in last:
        try:
            await _step(client, step)
        except SessionOver as over:
            failed = failed or f"clean-up {step.do}: {over}"
        except Exception as error:  # noqa: BLE001 -- the other steps, and DONE, follow all the same
            words = client.redactor.text(f"raised {type(error).__name__}: {error}")
            failed = failed or f"clean-up {step.do} {words}"
    client.stopping = stopping
    client.cut_off()
    if client.connected:
        try:
            await client.leave()
        except SessionOver as over:
            failed = failed or str(over)
    client.forget()
    return failed


def _step(client: Client, step: Step) -> Awaitable[object]:  # noqa: C901, PLR0911, PLR0912 -- one arm each
    """The session's own call for a step of data; no layer of its own stays on the stack.

    Arms are tried in their order: those of a load come first.
    """
    match step:
        case steps.Connect():
            return client.connect(
                step.present, ready=step.ready, expect=step.expect, early=step.early
            )
        case steps.Close():
            return client.close(step.code)
        case steps.Hold():
            return client.hold(step.lasts, ping_every_ns=step.ping_every or 0)
        case steps.Run():
            return client.run(
                step.count, size=step.size, pad=step.pad, wait=step.wait,
                shared=step.thread == "shared",
            )  # fmt: skip
        case steps.Send():
            return client.send(step.text)
        case steps.Gate():
            return client.gate()
        case steps.Token():
            return client.token(step.case)
        case steps.Handshake():
            return client.handshake(step.case)
        case steps.Refresh():
            return client.refresh(step.within, wait=step.wait)
        case steps.Revoke():
            return client.revoke()
        case steps.Logout():
            return client.logout()
        case steps.Gone():
            return client.gone(step.within)
        case steps.Finish():
            return client.finish()
        case steps.Settle():
            return client.settle(step.within, expect=step.expect)
        case steps.Vanish():
            return client.vanish()
        case steps.Stall():
            return client.stall(step.lasts)
        case steps.Squeeze():
            return client.squeeze(step.upto, repeats=step.repeats, pad=step.pad)
        case steps.Flood():
            return client.flood(step.count)
        case steps.Large():
            return client.large(step.size)
        case steps.Await():
            return client.await_event(step.event, step.within)
        case steps.Echo():
            return client.echo(step.text, step.within)
        case steps.Ping():
            return client.ping(step.within)
        case steps.Http():
            return client.http(step.method, step.service, step.path)
        case _:
            assert_never(step)


def refuse(site: Site, session: int, why: str) -> None:
    """A client that was planned and not let go, told in its own row."""
    text = site.journal.word(why)
    site.journal.note_at(session, 0, Kind.DONE, STOPPED, 0, text)


def make_client(
    site: Site, part: Part, session: int, door: Door, identity: Identity, stop_ns: int
) -> Client:
    """The client of one row of the plan; `stop_ns` is absolute, 0 for none."""
    return Client(
        site, session, door, identity,
        default=part.present, ladder=part.ladder, jitter=_jitter(site, part, session),
        stop_ns=stop_ns, gates=part.gates,
    )  # fmt: skip


def _jitter(site: Site, part: Part, session: int) -> Callable[[], float] | None:
    """Draws a factor for each pause of this client; the same seed draws the same."""
    if not part.jitter:
        return None
    draw = Random(site.seed << 32 | session)  # noqa: S311 -- no secret: a pause
    return lambda: draw.uniform(1 - part.jitter, 1 + part.jitter)
