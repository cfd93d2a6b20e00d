"""One run from its first row to its last: lab, tokens, stages in order, the end.

Whatever happens, the journal is closed with the word for how it ended: `complete`,
`interrupted` (somebody stopped it), `aborted` (the target or its tokens could not be had),
`crashed` (our own error). What was recorded until then stays. With workers (`Spread`) this is
the driver: it has the lab, the tokens, the stages' order and all that cannot be divided.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from probe.auth.tokens import Tokens
from probe.engine.cluster import Cluster
from probe.engine.http import Http
from probe.engine.job import Job
from probe.engine.lab import LabProcess
from probe.engine.restart import CommandRestarter, LabRestarter, Restarter
from probe.engine.routes import make_routes, tls_options
from probe.engine.site import Live, Site, make_site
from probe.engine.stage import SKIPPED, Judge, StageRun, ask
from probe.engine.watch import Watch
from probe.engine.workers import Workers
from probe.errors import AuthError, ConfigError, ProbeError, RestartError, WorkerError
from probe.history.journal import Journal
from probe.history.records import Kind
from probe.model.auth import Auth, FetchAuth, keys_url
from probe.wire.deadlines import wheel_of
from probe.wire.route import make_context

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probe.model.dialect import Dialect
    from probe.model.plan import Plan
    from probe.model.scenario import Scenario
    from probe.model.target import Target
    from probe.redact import Redactor

How = Literal["complete", "interrupted", "aborted", "crashed"]
Fault = Literal["", "auth", "restart", "lab", "worker", "internal"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a run is divided: among `count` workers, who play the stages named in `stages`.

    `ceilings`: how many clients each of them may have at one time, if the target says so.
    `cluster`: the address of the one that they run in, "" for one of our own; None: none.
    """

    scenario: Scenario
    count: int
    stages: frozenset[str]
    ceilings: tuple[int, ...] | None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run. `folder` is the run's own; `meta` goes into the history as it is."""

    run_id: str
    folder: Path
    target: Target
    dialect: Dialect
    plan: Plan
    redactor: Redactor
    meta: dict[str, Any]
    origin: str
    files: Path
    lab_secret: str = ""
    defects: Sequence[str] = ()
    keep: int = 0
    spread: Spread | None = None

    @property
    def processes(self) -> int:
        """How many write a journal; each keeps its part of what is kept whole."""
        return 1 + (self.spread.count if self.spread is not None else 0)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, whose fault it was when not `complete`, and in which words."""

    how: How
    fault: Fault = ""
    error: str = ""


async def execute(
    order: Order,
    live: Live,
    stop: asyncio.Event,
    judge: Judge,
) -> Ended:
    """Run the plan. `judge` is asked for go or no-go and where to climb; `stop` ends it soon."""
    journal = Journal(order.folder / "history", order.redactor, order.meta, share=order.processes)
    ended = Ended("crashed", "internal", "the run was cut off")
    try:
        await _inside(order, journal, live, stop, judge)
        ended = Ended("interrupted" if stop.is_set() else "complete")
    except AuthError as error:
        ended = Ended("aborted", "auth", str(error))
    except RestartError as error:
        ended = Ended("aborted", "lab" if order.target.embedded else "restart", str(error))
    except WorkerError as error:
        ended = Ended("aborted", "worker", str(error))
    except asyncio.CancelledError:
        ended = Ended("interrupted")
    except ConfigError as error:
        ended = Ended("aborted", "", str(error))
        raise
    except ProbeError:
        raise
    except Exception as error:
        ended = Ended("crashed", "internal", f"{type(error).__name__}: {error}")
        raise
    finally:
        words = order.redactor.text(ended.error)
        journal.close(ended=ended.how, fault=ended.fault, error=words)
    return Ended(ended.how, ended.fault, words)


async def _inside(
    order: Order,
    journal: Journal,
    live: Live,
    stop: asyncio.Event,
    judge: Judge,
) -> None:
    loop = asyncio.get_running_loop()
    target = order.target
    async with contextlib.AsyncExitStack() as stack:
        lab = await _start_lab(order, stack) if target.embedded else None
        address = lab.address if lab else ""
        http = await stack.enter_async_context(Http(target, journal, order.run_id, address))
        routes = make_routes(target, address)
        site = make_site(
            loop, wheel_of(loop), journal, order.redactor, target, order.dialect,
            run_id=order.run_id, http=http, routes=routes, keep=order.keep // order.processes,
            live=live, seed=order.plan.seed,
        )  # fmt: skip
        watch = Watch(journal, live, lambda: lab.pids if lab else ())
        watch.start(loop)
        stack.callback(watch.stop)
        tokens = await stack.enter_async_context(
            Tokens(
                _auth(target.auth, address),
                seed=order.plan.seed,
                redactor=order.redactor,
                origin=order.origin,
                folder=order.files,
                tls=make_context(tls_options(target.tls)),
            )
        )
        site.tokens = tokens
        restarter = _restarter(order, lab, http)
        workers = None
        if order.spread is not None:
            site.everybody.news = []
            ground = None
            if order.spread.cluster is not None:
                ground = Cluster(order.spread.cluster, lab=target.embedded)
            workers = await stack.enter_async_context(
                Workers(_job(order, order.spread, address), order.redactor, live, stop, ground)
            )
        await _stages(order, site, tokens, restarter, watch, stop, judge, workers)
        if workers is not None and workers.lost:
            raise WorkerError(workers.lost)
        if lab is not None:
            await lab.stop()
            if words := lab.died():
                raise RestartError(words)


async def _stages(
    order: Order,
    site: Site,
    tokens: Tokens,
    restarter: Restarter | None,
    watch: Watch,
    stop: asyncio.Event,
    judge: Judge,
    workers: Workers | None,
) -> None:
    closed = ""
    shared = order.spread.stages if order.spread is not None else frozenset()
    for index, stage in enumerate(order.plan.stages):
        if stop.is_set():
            closed = closed or (workers.lost if workers is not None else "") or "interrupted"
        if closed:
            text = site.journal.text(closed.encode())
            site.journal.note(Kind.STAGE, index, SKIPPED, 0, text)
            continue
        passed, launched = await StageRun(
            site, order.plan, stage, tokens, restarter, watch, stop, judge,
            workers if stage.name in shared else None,
        ).run()  # fmt: skip
        gate = stage.stage.gate
        if gate is True:
            if workers is not None and not workers.lost:
                await workers.flush()
            why = await ask(site.journal, judge.failed, stage.name)
            closed = f"{stage.name} has failed: {why}" if why else ""
        elif gate is not False:
            closed = _below(stage.name, passed, launched, gate)


def _below(stage: str, passed: int, launched: int, gate: float) -> str:
    """Why a gate that wants a share of clients is closed, or ""."""
    share = passed / launched if launched else 0.0
    if share >= gate:
        return ""
    # Rounded down: 79.6 % is not to look like the 80 % that it missed.
    found = f"{math.floor(share * 1000) / 10:g} %"
    return f"{stage} passed {passed} of {launched} ({found}), the gate wants {gate * 100:.10g} %"


def _job(order: Order, spread: Spread, lab: str) -> Job:
    """What every worker is told."""
    return Job(
        run_id=order.run_id,
        history=order.folder / "history",
        target=order.target,
        dialect=order.dialect,
        scenario=spread.scenario,
        seed=order.plan.seed,
        digest=order.plan.digest,
        lab=lab,
        keep=order.keep // order.processes,
        count=spread.count,
        ceilings=spread.ceilings,
        secrets=order.redactor.known,
    )


async def _start_lab(order: Order, stack: contextlib.AsyncExitStack) -> LabProcess:
    lab = LabProcess(
        order.lab_secret,
        order.target.lab,
        defects=order.defects,
        seed=order.plan.seed,
        ledger=order.folder / "lab.ledger.ndjson",
        log=order.folder / "lab.log",
    )
    stack.push_async_callback(lab.stop)
    within = order.target.restart.within
    lab.spawn()
    await lab.announced(within)
    await lab.ready(within)
    return lab


def _auth(auth: Auth, lab: str) -> Auth:
    """The same with the lab's address put in; the lab gives tokens and public keys too."""
    places: dict[str, str] = {}
    if isinstance(auth, FetchAuth):
        places["url"] = auth.url
    if (keys := keys_url(auth)) is not None:
        places["jwks"] = keys
    return auth.model_copy(update={k: url.replace("{lab}", lab) for k, url in places.items()})


def _restarter(order: Order, lab: LabProcess | None, http: Http) -> Restarter | None:
    within = order.target.restart.within
    match order.target.restart.by:
        case "lab":
            assert lab is not None
            return LabRestarter(lab, within)
        case "command":
            return CommandRestarter(order.target, http, order.redactor)
        case "none":
            return None
