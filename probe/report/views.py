"""What several reports show, drawn from a judgement once: rows, leading figures, witnesses.

The summary is open: a stage that did not produce a part leaves it out, and then it is not
shown. Nothing is judged here; a bound that is printed is that of the counts beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from probe.check.verdict import Outcome
from probe.report import figures
from probe.report.breakdowns import delivery_lines, health_lines
from probe.report.facts import facts_of
from probe.report.races import race_lines
from probe.report.visible import visible
from probe.stats.rates import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probe.check.verdict import Check, Finding, Judgement, Witness

Row = dict[str, Any]
STEPS_MAX: Final = 40
ENDS_MAX: Final = 6
CUT_SHORT: Final = frozenset({"interrupted", "the stage's budget was used up"})
_WORST_FIRST: Final = (
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.INVALID,
    Outcome.INCONCLUSIVE,
    Outcome.SKIPPED,
    Outcome.PASS,
)
_GRAVEST_FIRST: Final = ("critical", "major", "minor", "info")


def worst_first(checks: Iterable[Check]) -> list[Check]:
    """What needs a reader comes first; within that, required before the rest, as judged."""
    return sorted(checks, key=lambda c: (_WORST_FIRST.index(c.verdict), not c.required))


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by severity, otherwise as judged."""
    return sorted(findings, key=lambda finding: _GRAVEST_FIRST.index(finding.severity))


def rows(value: object, labels: Sequence[str] = ()) -> list[Row]:
    """A part of the summary as flat rows, whether it is a list of maps or maps by name.

    `{"boot": {"tcp": {"n": 3}}}` with labels ("stage", "phase") is one row
    `{"stage": "boot", "phase": "tcp", "n": 3}`; fewer levels take the last labels.
    """
    return [
        {**dict(zip(labels[max(0, len(labels) - len(path)) :], path, strict=False)), **row}
        for path, row in _walk(value)
    ]


def columns(table: Sequence[Row]) -> list[str]:
    """The keys that any row has, in the order in which they first appear."""
    return list(dict.fromkeys(key for row in table for key in row))


def why(judgement: Judgement) -> tuple[str, ...]:
    """The reasons that no line of the checks tells by itself, then what cut the run short."""
    told = {f"{check.id}: {check.message}" for check in judgement.checks}
    return (*(reason for reason in judgement.reasons if reason not in told), *cut_short(judgement))


def cut_short(judgement: Judgement) -> tuple[str, ...]:
    """Why this is not the whole of the run that was planned, if so."""
    if judgement.interrupted:
        return ("the run was interrupted: this judges what had happened by then",)
    ended, error = judgement.run.get("ended"), judgement.run.get("error")
    if ended in {"aborted", "crashed"}:
        return (f"the run was {ended}: {error or 'no reason was recorded'}",)
    if not facts_of(judgement).complete:
        return ("the run is incomplete: its files do not say that it ended",)
    return ()


def leading(judgement: Judgement) -> list[str]:
    """The figures a reader wants first, a line each; none where nothing was counted."""
    summary = judgement.summary
    bounded = {check.stage for check in judgement.checks if check.id == f"{check.stage}.recovery"}
    lines = _unjudged_lines(judgement)
    lines += _restart_lines(rows(summary.get("restarts"), ("stage",)), bounded)
    missed = sum(row.get("failed_restarts") or 0 for row in rows(summary.get("recovery")))
    if missed:
        lines.append(f"restarts that were asked for and did not take place: {missed}")
    lines += race_lines(summary)
    lines += _spike_lines(summary.get("after_spike"))
    lines += health_lines(summary.get("health"))
    lines += delivery_lines(summary.get("delivery"))
    counts = summary.get("counts")
    if isinstance(counts, Mapping):
        lines.append(_counts_line(counts))
    return [line for line in lines if line]


def _unjudged_lines(judgement: Judgement) -> list[str]:
    """Stages that ran and were held to nothing: what happened there is no part of the verdict."""
    judged = {check.stage for check in judgement.checks}
    ran = [row for row in facts_of(judgement).stages if isinstance(row, Mapping)]
    names = [str(row.get("name")) for row in ran if row.get("clients")]
    left = [name for name in names if name not in judged]
    return [f"not judged, since nothing is expected of it: {', '.join(left)}"] if left else []


def unfit_once(message: str) -> str:
    """What a check says; why the probe was unfit stands once, where its fitness is told."""
    said, unfit, _ = message.partition(" (the probe was unfit: ")
    return f"{said} (unfit probe)" if unfit else said


def witness_head(witness: Witness) -> str:
    """Which case it was; untrusted parts as they came."""
    return (
        f"session {witness.session}, attempt {witness.attempt}, stage {witness.stage}, "
        f"endpoint {witness.endpoint}, began {witness.began}"
    )


def witness_lines(witness: Witness) -> list[str]:
    """The case a line each, `+2.31 ms server HTTP/1.1 503`, safe to show."""
    lines = [visible(witness_head(witness))]
    lines += [
        f"{figures.offset(step.at_s):>10} {step.who:<6} {visible(step.what)}"
        for step in witness.steps[:STEPS_MAX]
    ]
    if len(witness.steps) > STEPS_MAX:
        lines.append(f"... and {len(witness.steps) - STEPS_MAX} more steps")
    return lines


def _walk(value: object, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Row]]:
    match value:
        case Mapping() if value and all(_holds_rows(inner) for inner in value.values()):
            return [row for key, inner in value.items() for row in _walk(inner, (*path, str(key)))]
        case Mapping() if value:
            return [(path, dict(value))]
        case list() | tuple():
            return [(path, dict(item)) for item in value if isinstance(item, Mapping)]
        case _:
            return []


def _holds_rows(value: object) -> bool:
    """Whether this is a level above rows: a map that is no quantile, or a list of maps."""
    if isinstance(value, Mapping):
        return not {"missing", "estimate_s"} & value.keys()
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value)


def _restart_lines(restarts: Sequence[Row], bounded: set[str]) -> list[str]:
    """Of each stage by itself: restarts of different stages are no repeats of each other.

    Of the stages `bounded` a check tells the bound, the one that decides, and it stands there once.
    """
    stages = list(dict.fromkeys(row.get("stage") for row in restarts))
    lines = []
    for stage in stages:
        prefix = f"{stage}: " if len(stages) > 1 else ""
        own = [row for row in restarts if row.get("stage") == stage]
        whole = [row for row in own if not _cut_short(row)]
        if len(whole) < len(own):
            lines.append(f"{prefix}{len(own) - len(whole)} of {len(own)} restarts cut short")
        own = whole
        lines += [f"{prefix}{line}" for line in _stage_lines(own, bounded=stage in bounded)]
    return lines


def _cut_short(restart: Row) -> bool:
    """A restart that ended before anybody was in, and not by the target's doing."""
    ended = restart.get("ended")
    return restart.get("first_good_session_s") is None and ended in CUT_SHORT


def _stage_lines(restarts: Sequence[Row], *, bounded: bool) -> list[str]:
    first = _column(restarts, "first_good_session_s")
    # Where nobody retries there is nobody to wait for.
    retried = [row for row in restarts if row.get("retrying_clients") != 0]
    everybody = _column(retried, "everybody_in_s")
    lines = []
    if first:
        n, k = len(first), sum(map(math.isfinite, first))
        bound = figures.at_least(clopper_pearson(k, n, side="lower").low)
        more = "" if bounded else f"; {bound} at 95 % confidence"
        lines.append(f"{k} of {n} restarts recovered{more}")
        lines.append(_spread_line("first good session", first))
    if everybody:
        lines.append(_spread_line("everybody in", everybody))
    return lines


def _column(table: Sequence[Row], key: str) -> list[float]:
    """Seconds of the rows that speak of it; infinite where it did not happen."""
    values = [row[key] for row in table if key in row]
    return [
        float(value) if isinstance(value, int | float) and math.isfinite(value) else math.inf
        for value in values
    ]


def _spread_line(name: str, seconds: Sequence[float]) -> str:
    """Median and extremes by nearest rank; what was not seen ranks as infinite."""
    ranked = sorted(seconds)
    if not math.isfinite(ranked[0]):
        return f"{name} after a restart: not seen in any of {len(ranked)}"
    middle = ranked[math.ceil(len(ranked) / 2) - 1]
    texts = [figures.duration(s) if math.isfinite(s) else "not seen" for s in (middle, *ranked)]
    return f"{name} after a restart: median {texts[0]}, from {texts[1]} to {texts[-1]}"


def _spike_lines(stages: object) -> list[str]:
    """What clients met before, during and after a spike, and at what cost."""
    lines = []
    for stage, phases in stages.items() if isinstance(stages, Mapping) else ():
        served, cost = [], []
        for row in phases:
            served.append(f"{figures.percent(row['goodput_rate'])} {row['phase']}")
            cost.append(figures.amount(row["amplification"]))
        line = f"{stage}: served in time {', '.join(served)} the spike"
        lines.append(f"{line}; attempts per client {', '.join(cost)}")
    return lines


def _counts_line(counts: Mapping[str, Any]) -> str:
    """Clients, attempts and how they ended, runs; the rest stands in report.md."""
    parts = []
    for key in ("clients", "attempts", "runs"):
        if key not in counts:
            continue
        text = f"{figures.cell(key, counts[key])} {key}"
        if key == "attempts":
            text += _ends(counts.get("ways") or counts.get("outcomes"))
        parts.append(text)
    return "; ".join(parts)


def _ends(ends: object) -> str:
    if not isinstance(ends, Mapping) or not ends:
        return ""
    shown = dict(list(ends.items())[:ENDS_MAX])
    more = f", {len(ends) - ENDS_MAX} more ways" if len(ends) > ENDS_MAX else ""
    return f" ({figures.cell('ends', shown)}{more})"
