"""What a judgement says of its run, under one set of names for all reports.

The rule: nothing is filled in. What the run does not tell is empty or None, and a run that
does not say that it is complete is not.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.check.verdict import Judgement


@dataclass(frozen=True, slots=True)
class Facts:
    """Scenario and target by name; `stages` rows or names; `again` a shell command or "".

    `again_is_exact` where the run itself tells the command, with every option it was given.
    """

    run_id: str
    scenario: str
    title: str
    target: str
    embedded: bool
    seed: int | None
    plan: str
    started: str
    duration_s: float | None
    complete: bool
    stages: tuple[Any, ...]
    defects: tuple[str, ...]
    again: str
    again_is_exact: bool

    @property
    def marked_target(self) -> str:
        """The target's name; the lab that the probe brings along is marked."""
        return f"{self.target or 'no target'}{' (embedded)' if self.embedded else ''}"

    @property
    def origin(self) -> str:
        """Scenario and target: "cold_start -> lab"."""
        return f"{self.scenario or 'unnamed'} -> {self.target or 'no target'}"


def facts_of(judgement: Judgement) -> Facts:
    """The facts of `Judgement.run`; scenario and target may be names or maps with a `name`."""
    run = judgement.run
    scenario, target = run.get("scenario"), run.get("target")
    titled = scenario.get("title") if isinstance(scenario, Mapping) else run.get("title")
    return Facts(
        run_id=str(run.get("run_id") or ""),
        scenario=_name(scenario),
        title=str(titled or ""),
        target=_name(target),
        embedded=bool(run.get("embedded", False)),
        seed=run.get("seed"),
        plan=str(run.get("plan") or ""),
        started=str(run.get("started") or run.get("started_at") or ""),
        duration_s=run.get("duration_s"),
        complete=bool(run.get("complete", False)),
        stages=tuple(run.get("stages") or ()),
        defects=tuple(map(str, run.get("defects", ()))),
        again=_again(run, _name(scenario), _name(target)),
        again_is_exact=bool(run.get("again")),
    )


def _name(value: object) -> str:
    return str((value.get("name") if isinstance(value, Mapping) else value) or "")


def _again(run: Mapping[str, Any], scenario: str, target: str) -> str:
    """As the run tells it, else from the names that it was planned from."""
    told = run.get("again")
    if told:
        return told if isinstance(told, str) else shlex.join(map(str, told))
    if not scenario:
        return ""
    words = ["probe", "run", scenario]
    if target:
        words += ["--target", target]
    if run.get("seed") is not None:
        words += ["--seed", str(run["seed"])]
    return shlex.join(words)
