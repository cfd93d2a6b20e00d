"""The boot: process up, then listening, healthy and ready, each at its own time.

Times are counted from the moment the code is loaded and the options are read (the "up"
line of the ledger), each from that one moment. A phase is a flag that is raised by one
step of the event loop, and its ledger line is written in the same step, so every answer
that is decided after the stamp is decided in that phase. Done right, health never says
healthy before WebSockets work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from probe.lab.durations import parse_duration

if TYPE_CHECKING:
    from probe.lab.defects import Defects
    from probe.lab.state import State

_MS: Final = 1_000_000
_PHASES: Final = ("listening", "healthy", "ready")


@dataclass(frozen=True, slots=True)
class BootPlan:
    """When each phase begins, nanoseconds after the process is up."""

    listening_ns: int = 50 * _MS
    healthy_ns: int = 300 * _MS
    ready_ns: int = 300 * _MS

    def with_defects(self, defects: Defects) -> BootPlan:
        """The plan that is carried out: health clamped to be true, unless it is to lie."""
        ready_ns = self.ready_ns
        lie_ns = defects.duration_ns("health_lies")
        if lie_ns is not None:
            ready_ns = self.listening_ns + lie_ns
        ready_ns += defects.duration_ns("slow_boot") or 0
        # Slow to boot, it is also slow to become healthy, since healthy waits for ready;
        # but a healthy of its own that was asked to be later still is.
        healthy_ns = self.healthy_ns + (defects.duration_ns("slow_boot") or 0)
        healthy_ns = self.listening_ns if lie_ns is not None else max(healthy_ns, ready_ns)
        return BootPlan(self.listening_ns, healthy_ns, ready_ns)


def parse_boot(text: str) -> BootPlan:
    """A plan from "listening=100ms,healthy=300ms,ready=300ms"; ValueError says what is wrong."""
    times: dict[str, int] = {}
    for part in text.split(","):
        phase, equals, value = (piece.strip() for piece in part.partition("="))
        if phase not in _PHASES or not equals:
            raise ValueError(f"{part!r} is no phase=time; phases: {', '.join(_PHASES)}")
        if phase in times:
            raise ValueError(f"{phase} is given twice")
        times[phase] = parse_duration(value)
    plan = BootPlan(**{f"{phase}_ns": at_ns for phase, at_ns in times.items()})
    if min(plan.healthy_ns, plan.ready_ns) < plan.listening_ns:
        raise ValueError("healthy and ready cannot be earlier than listening; raise them")
    return plan


async def sleep_until(at_ns: int) -> None:
    """Sleep to a moment of `perf_counter_ns`; never returns before it.

    The loop's timers have a granularity of a millisecond and round, hence the loop.
    """
    while (left_ns := at_ns - time.perf_counter_ns()) > 0:  # noqa: ASYNC110 -- no event: a clock
        await asyncio.sleep(left_ns / 1e9)


async def boot_until(stop: asyncio.Event, plan: BootPlan, state: State) -> None:
    """Boot and stay until the stop; from then on no flag is raised, and the lab is stopping."""
    boot = asyncio.create_task(_raise_flags(plan, state.up_ns, state))
    await stop.wait()
    boot.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await boot
    state.enter_stopping()


async def _raise_flags(plan: BootPlan, up_ns: int, state: State) -> None:
    """Raise ready and healthy at their times; ready first when they are due together.

    Where several processes serve, the lab is ready when the last of them is.
    """
    steps = sorted([(plan.ready_ns, 0), (plan.healthy_ns, 1)])
    for at_ns, order in steps:
        await sleep_until(up_ns + at_ns)
        if order == 0:
            if state.fleet is not None:
                await state.fleet.ready()
            state.enter_ready()
        else:
            state.enter_healthy()
