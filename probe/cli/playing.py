"""From an order to its end: the run on uvloop, its log, what is seen of it, and Ctrl-C.

The rule: the first Ctrl-C ends the run in order, so that it can be judged; the second at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import uvloop

from probe.auth import tokens
from probe.cli.asking import Climbed, judge_of
from probe.cli.progress import Log, Progress
from probe.engine.run import Ended, Order, execute
from probe.engine.site import Live
from probe.history.folder import LOG

if TYPE_CHECKING:
    from rich.console import Console


def played(order: Order, screen: Console, *, quiet: bool) -> Ended:
    """Run it to its end, shown on `screen` unless `quiet`."""
    live, climbed = Live(), Climbed()
    log = Log(order.folder / LOG, order.redactor)
    log.write("started", run_id=order.run_id, seed=order.plan.seed, again=order.meta["again"])
    tokens.load(order.target.auth)

    async def whole() -> Ended:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        running = asyncio.ensure_future(execute(order, live, stop, judge_of(order.folder, climbed)))

        def interrupt() -> None:
            if stop.is_set():
                running.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        progress = Progress(screen, live, log, quiet=quiet, climbed=climbed)
        showing = asyncio.ensure_future(progress.show())
        try:
            return await running
        finally:
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await showing

    try:
        ended = uvloop.run(whole())
        if ended.how == "interrupted":
            # What is left takes a moment, and is what the run was interrupted for.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        log.write("ended", how=ended.how, error=ended.error)
    except BaseException as error:
        log.write("crashed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        log.close()
    return ended
