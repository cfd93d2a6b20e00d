"""One run as a comparison takes it: what it was, whether it was fit, its figures and findings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from probe.check.comparing.figures import Figure, figures_of
from probe.check.view import views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probe.check.verdict import Finding, Judgement, Outcome
    from probe.history.columns import History
    from probe.model.resolved import Resolved

EXPECTED: Final = {"expect", "gate", "title"}
"""Of a stage, what says how it is judged, and nothing of what is played."""


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """See the module. `why_not` is "" where its figures can be compared.

    `stages` is what each stage plays, as nested plain data; `checks` verdicts by id.
    """

    run_id: str
    scenario: str
    target: dict[str, Any]
    headline: str
    verdict: Outcome
    started: str
    why_not: str
    dialect: dict[str, Any]
    stages: dict[str, dict[str, Any]]
    played_by: dict[str, Any]
    figures: dict[str, Figure]
    findings: tuple[Finding, ...]
    checks: dict[str, Outcome] = field(default_factory=dict)

    @property
    def target_name(self) -> str:
        """As the run named it."""
        return str(self.target.get("name", ""))


def take(history: History, resolved: Resolved, judgement: Judgement) -> Taken:
    """What a comparison needs of a run that was judged."""
    meta = history.meta
    why_not = ""
    if not judgement.run.get("complete"):
        why_not = "the run did not come to its end"
    elif not judgement.fitness.fit:
        why_not = "; ".join(judgement.fitness.invalid + judgement.fitness.taints)
    found = [
        each for view in views(history, resolved) for each in figures_of(view, judgement.summary)
    ]
    host: Mapping[str, Any] = meta.get("host") or {}
    return Taken(
        run_id=str(meta.get("run_id", "")),
        scenario=resolved.name,
        target=dict(resolved.target),
        headline=judgement.headline,
        verdict=judgement.verdict,
        started=str(meta.get("started_at", "")),
        why_not=why_not,
        dialect=resolved.dialect.model_dump(mode="json", by_alias=True, exclude_none=True),
        stages={
            name: {
                "activity": stage.activity,
                **stage.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=EXPECTED),
            }
            for name, stage in resolved.scenario.stages.items()
        },
        played_by={
            "workers": meta.get("workers", 0),
            "platform": host.get("platform"),
            "cpu_count": host.get("cpu_count"),
            "defects": [str(each) for each in meta.get("defects", [])],
            "settings": _settings(str(meta.get("again", ""))),
        },
        figures={each.id: each for each in found},
        findings=judgement.findings,
        checks={check.id: check.verdict for check in judgement.checks},
    )


def _settings(again: str) -> list[str]:
    """What was set of the target on the command line, `target.lab.capacity=4/20ms`."""
    try:
        words = shlex.split(again)
    except ValueError:
        return []
    values = [
        word.removeprefix("--set=") if word.startswith("--set=") else after
        for word, after in zip(words, [*words[1:], ""], strict=True)
        if word == "--set" or word.startswith("--set=")
    ]
    return [value for value in values if value.startswith("target.")]
