"""From an order to its end: the run on uvloop, its log, what is seen of it, and Ctrl-C.

The rule: the first Ctrl-C ends the run in order, so that it can be judged, and so does the stop
button of the live page; the second Ctrl-C ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from probe.auth import tokens
from probe.cli.asking import Climbed, judge_of
from probe.cli.onlooking import Onlooker, mode_of
from probe.cli.progress import Course, Log, facts_of
from probe.engine.run import Ended, Order, execute
from probe.engine.site import Live
from probe.engine.stage import Judge
from probe.history.folder import LOG

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from probe.dashboard.door import Door


PortOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65_535,
        metavar="[PORT]",
        help="Show the run as a page on 127.0.0.1 while it goes on; unset: any free port.",
    ),
]


def say_where(door: Door | None) -> None:
    """Where the live page is; its key only on a terminal, since a log or a file would keep it."""
    if door is None:
        return
    if sys.stderr.isatty():
        told = f"  live: {door.url_with_key}"
    else:
        told = f"  live: {door.url} (to look at: the stop button's key is told on a terminal only)"
    sys.stderr.write(told + "\n")
    sys.stderr.flush()


def looking_on(order: Order, screen: Console, door: Door | None, *, quiet: bool) -> Onlooker:
    """Who shows the run: on `screen` unless `quiet`, and as a page behind `door`."""
    ci = bool(os.environ.get("CI"))
    mode = mode_of(screen, quiet=quiet)
    facts = facts_of(order, mode, door, colours=not screen.no_color, ci=ci)
    return Onlooker(facts, screen, order.redactor, door)


def played(order: Order, onlooker: Onlooker) -> Ended:
    """Run it to its end, shown by the onlooker."""
    live, climbed = Live(), Climbed()
    course = Course(order, climbed)
    log = Log(order.folder / LOG, order.redactor)
    log.write("started", run_id=order.run_id, seed=order.plan.seed, again=order.meta["again"])
    tokens.load(order.target.auth)
    how = "crashed"

    async def whole() -> Ended:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        judge = _watched(order.folder, climbed, course)
        running = asyncio.ensure_future(execute(order, live, stop, judge))

        def interrupt() -> None:
            if stop.is_set():
                running.cancel()
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        onlooker.hear(loop, stop.set)
        feeding = asyncio.ensure_future(onlooker.feed(live, course, log, stop.is_set))
        try:
            return await running
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
            onlooker.deaf(loop)

    try:
        ended = uvloop.run(whole())
        how = ended.how
        if how == "interrupted":
            # What is left takes a moment, and is what the run was interrupted for.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        log.write("ended", how=how, error=ended.error)
    except BaseException as error:
        log.write("crashed", error=f"{type(error).__name__}: {error}")
        raise
    finally:
        log.close()
        onlooker.over(how)
    return ended


def _watched(folder: Path, climbed: Climbed, course: Course) -> Judge:
    """Whoever judges while the run goes on; what it asks a climb to play next is noted."""
    judge = judge_of(folder, climbed)

    async def rate(stage: str) -> float | None:
        level = await judge.next_rate(stage)
        course.asked(stage, level)
        return level

    return Judge(judge.failed, rate)
