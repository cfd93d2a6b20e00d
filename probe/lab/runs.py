"""Runs: each is stepped event by event, side by side with all others.

A run is its user's and not its connection's: it goes on when its client goes. It writes
its ledger line when it ends, however it ends; one that hangs for ever writes it then.
"""

from __future__ import annotations

import sys
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Final

from probe.lab.dependency import consult
from probe.lab.emission import Emission
from probe.lab.fate import draw_fate
from probe.lab.hub import Run
from probe.lab.messages import MessageError

if TYPE_CHECKING:
    from probe.lab.defects import Defects
    from probe.lab.hub import Hub, Hubs, Member
    from probe.lab.ledger import Ledger
    from probe.lab.messages import Asked
    from probe.lab.pacing import Pacer
    from probe.lab.windows import Firsts, Second

RUNS_MAX: Final = 256  # of one user at a time
LATE_NS: Final = 1_500_000_000


class Runs:
    """All runs of this life."""

    def __init__(
        self, ledger: Ledger, defects: Defects, hubs: Hubs, pacer: Pacer, firsts: Firsts
    ) -> None:
        self._ledger = ledger
        self._defects = defects
        self._hubs = hubs
        self._pacer = pacer
        self._firsts = firsts
        self._emission = Emission(ledger, defects, hubs, firsts)
        self._started = 0

    def start(self, hub: Hub, starter: Member, asked: Asked) -> None:
        """Start a run for this user; MessageError when it cannot be."""
        if asked.run_id in hub.runs:
            raise MessageError("duplicate_run")
        if len(hub.runs) >= RUNS_MAX:
            raise MessageError("too_many_runs")
        ids = {"user_id": hub.user_id, "connection_id": starter.connection_id}
        consult(self._ledger, self._defects, run_id=asked.run_id, **ids)
        now_ns = time.perf_counter_ns()
        early, double = self._subscribes(starter, now_ns), self._doubles(hub, asked, now_ns)
        fate = draw_fate(
            self._defects,
            asked.thoughts,
            legacy=starter.endpoint == "/ws/legacy",
            first=starter.runs == 0,
            others=[other for other in hub.members if other != starter.connection_id],
            early=early is not None,
        )
        run = Run(self._started, asked, hub, starter, fate)
        if early is not None:
            run.early_ns = early.after_ns
        run.only = self._taken_over(hub, starter, asked, now_ns)
        if double is not None and double.first != asked.run_id:
            run.shown_id = double.first
            told = {"first_run_id": double.first, "thread_id": asked.thread_id, **ids}
            self._ledger.hit(
                "double_run_mixup", run_id=asked.run_id, after_ns=double.after_ns, **told
            )
        self._started += 1
        starter.runs += 1
        hub.runs[asked.run_id] = run
        self._pacer.start(partial(self._step_safely, run))

    def _subscribes(self, starter: Member, now_ns: int) -> Second | None:
        """Whether a run that starts now comes too early for its connection."""
        window = self._defects.window("subscribe_race")
        if window is None:
            return None
        self._firsts.begin(window, starter.connection_id, starter.ready_ns)
        return self._firsts.since(window, starter.connection_id, now_ns)

    def _taken_over(self, hub: Hub, starter: Member, asked: Asked, now_ns: int) -> str:
        """The newest connection of the user, if it takes over the run that starts now; else ""."""
        newest = max(hub.members.values(), key=lambda each: each.ready_ns)
        window = self._defects.window("takeover_race")
        if window is None or newest is starter:
            return ""
        self._firsts.begin(window, newest.connection_id, newest.ready_ns)
        taken = self._firsts.since(window, newest.connection_id, now_ns)
        if taken is None:
            return ""
        ids = {"user_id": hub.user_id, "connection_id": starter.connection_id}
        self._ledger.hit("takeover_race", run_id=asked.run_id, after_ns=taken.after_ns, **ids)
        return newest.connection_id

    def _doubles(self, hub: Hub, asked: Asked, now_ns: int) -> Second | None:
        """Whether a run that starts now takes the id of the one before it of its thread."""
        window = self._defects.window("double_run_mixup")
        if window is None:
            return None
        thread = f"{hub.user_id} {asked.thread_id}"
        return self._firsts.again(window, thread, now_ns, asked.run_id)

    def stop(self) -> None:
        """Break off every run."""
        self._pacer.stop()
        for hub in self._hubs.all():
            for run in list(hub.runs.values()):
                self._over(run)

    def _step_safely(self, run: Run) -> int | None:
        try:
            delay_ns = self._step(run)
        except Exception as error:  # noqa: BLE001 -- one run's fault must not stop the others
            self._ledger.fault("internal")
            where = "".join(traceback.format_tb(error.__traceback__))
            sys.stderr.write(f"probe.lab: internal error: {type(error).__name__}\n{where}")
            sys.stderr.flush()
            delay_ns = None
        if delay_ns is None:
            self._over(run)
        return delay_ns

    def _step(self, run: Run) -> int | None:
        """Send the next event, or the next two when they are swapped; when to come again."""
        index = run.next
        marks, ahead = run.fate.at(index), run.fate.at(index + 1)
        swapped = "reorder_event" in ahead and not {"drop_event", "hung_run"} & (marks | ahead)
        if "late_event" in (marks | ahead if swapped else marks) and not run.paused:
            run.paused = True
            return LATE_NS
        if swapped:
            self._swap(run)
        else:
            self._emission.deliver(run, self._emission.make(run, index))
            run.next += 1
        return None if run.hung or run.next == run.total else self._pacer.pace_ns

    def _swap(self, run: Run) -> None:
        """Send the next but one before the next, in one step, so that both stand together."""
        predecessor = self._emission.make(run, run.next)
        event = self._emission.make(run, run.next + 1)
        run.next += 2
        reached = self._emission.deliver(run, event)
        reached = min(reached, self._emission.deliver(run, predecessor))
        if event.event is not None and reached:
            self._emission.tell("reorder_event", run, event.event, connections=reached)

    def _over(self, run: Run) -> None:
        hub, asked = run.hub, run.asked
        del hub.runs[asked.run_id]
        self._ledger.run(
            asked.run_id,
            run.sent,
            completed=run.next == run.total,
            endpoint=run.starter.endpoint,
            connection_id=run.starter.connection_id,
            user_id=hub.user_id,
            thread_id=asked.thread_id,
            thoughts=asked.thoughts,
            t_start_ns=run.began_ns,
            counts=dict(run.counts),
            hung=run.hung,
        )
        self._hubs.tidy(hub)
