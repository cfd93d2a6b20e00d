"""What a run tells of itself while it goes on: to its log, and to the onlooker that shows it.

It only reads the live counters: nothing here is measured or judged.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from probe.clock import now_ns
from probe.dashboard.told import Facts, LevelNow, Now, StageFacts

if TYPE_CHECKING:
    from pathlib import Path

    from probe.cli.asking import Climbed
    from probe.dashboard.door import Door
    from probe.dashboard.told import Mode
    from probe.engine.run import Order
    from probe.engine.site import Live
    from probe.model.plan import StagePlan
    from probe.redact import Redactor

LINES_EVERY_S: Final = 5.0
LINES_EVERY_IN_CI_S: Final = 30.0
_UNFIT_MAX: Final = 12


class Log:
    """`log.ndjson`: one JSON object per line, redacted, written as it happens."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self._stream = path.open("a", encoding="utf-8", buffering=1)
        self._redactor = redactor
        self._last: tuple[str, int] = ("", 0)
        self._unfit: set[str] = set()

    def write(self, event: str, **facts: Any) -> None:
        """One line with the wall time."""
        said = json.dumps({"time": datetime.now(UTC).isoformat(), "event": event, **facts})
        self._stream.write(self._redactor.text(said) + "\n")

    def changes(self, live: Live) -> None:
        """A line where another stage or trial is under way, and for each new limit, once."""
        now = (live.stage, live.trial)
        if now != self._last:
            self._last = now
            self.write("trial", stage=now[0], trial=now[1], clients=live.launched)
        for name, words in live.unfit.items():
            if name not in self._unfit:
                self._unfit.add(name)
                self.write("unfit", why=words)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Course:
    """The climb that is under way: which level was asked for, and how often by now."""

    def __init__(self, order: Order, climbed: Climbed) -> None:
        self._stages = {stage.name: stage for stage in order.plan.stages}
        self._climbed = climbed
        self._level: tuple[str, float] | None = None
        self._times: dict[tuple[str, float], int] = {}

    def asked(self, stage: str, level: float | None) -> None:
        """What whoever judges wants next; None: the climb is over."""
        self._level = None if level is None else (stage, level)
        if self._level is not None:
            self._times[self._level] = self._times.get(self._level, 0) + 1

    def now(self) -> LevelNow | None:
        """The level that is under way."""
        if self._level is None:
            return None
        stage, level = self._level
        capacity = self._stages[stage].stage.capacity
        if capacity is None:
            return None
        shown = self._climbed
        return LevelNow(
            shown=capacity.shown(level),
            again=self._times[self._level],
            repeats=capacity.repeats,
            span_ns=capacity.span_ns(level),
            last=shown.last,
            within=shown.within,
            beyond=shown.beyond,
        )


def now_of(live: Live, course: Course | None, *, stopping: bool) -> Now:
    """The live counters at this moment."""
    return Now(
        t_ns=now_ns(),
        stage=live.stage,
        trial=live.trial,
        trials=live.trials,
        launched=live.launched,
        alive=live.alive,
        ready=live.ready,
        failed=live.failed,
        messages=live.messages,
        runs=live.runs,
        lag_ns_max=live.lag_ns_max,
        anomalies=live.anomalies,
        level=course.now() if course is not None else None,
        unfit=tuple(live.unfit.values())[:_UNFIT_MAX],
        stopping=stopping,
    )


def facts_of(order: Order, mode: Mode, door: Door | None, *, colours: bool, ci: bool) -> Facts:
    """What the onlooker is told beforehand."""
    return Facts(
        title=order.run_id.split("-", 2)[-1].rpartition("-")[0],
        target=_target(order),
        run_id=order.run_id,
        seed=order.plan.seed,
        history=str((order.folder / "history").resolve()),
        report=str((order.folder / "report.html").resolve()),
        stages=tuple(map(_stage, order.plan.stages)),
        mode=mode,
        every_s=LINES_EVERY_IN_CI_S if ci else LINES_EVERY_S,
        began_ns=now_ns(),
        colours=colours,
        token=door.token if door is not None else "",
    )


def _target(order: Order) -> str:
    name = order.target.title
    marked = order.target.embedded and "embedded" not in name.lower()
    return f"{name} (embedded lab)" if marked else name


def _stage(plan: StagePlan) -> StageFacts:
    return StageFacts(
        name=plan.name,
        activity=plan.stage.activity,
        anchor=plan.stage.anchor,
        trials=plan.trials,
        clients=len(plan.clients),
        budget_ns=plan.stage.budget,
        span_ns=plan.span_ns,
        patience_ns=plan.stage.patience,
    )
