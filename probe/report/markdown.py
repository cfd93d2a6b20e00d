"""report.md: the worklog entry a team would write by hand after a run.

The rule: text that came from a server or a file cannot leave its place. In prose and table
cells every character that Markdown or HTML could act on is escaped, after line ends and
controls were spelled out; text from the wire stands in a fence longer than any run of
backticks in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from probe.check.race_words import digits_of
from probe.report import figures, views
from probe.report.breakdowns import Breakdown, delivery_tables, health_tables
from probe.report.comparison_views import comparison_markdown
from probe.report.curve import (
    LEVEL_HEADER,
    capacity_rows,
    curve_lines,
    curve_name,
    curves_of,
    level_rows,
)
from probe.report.facts import facts_of
from probe.report.markup import escaped, fenced, line, table
from probe.report.plots import picture_name, plots_of, spike_plots, text_lines
from probe.report.race_rows import race_rows
from probe.report.races import SHRUNK, SHRUNK_HEADER, shrunk_rows, shrunk_toml
from probe.report.worklog import ASKED_HEADER, asked_rows, next_step, peer_rows
from probe.stats.window import Span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.verdict import Check, Finding, Judgement, Outcome
    from probe.report.plots import Plot

FINDINGS_MAX: Final = 50
WITNESSES_MAX: Final = 3
_TITLES: Final = {
    "latency": ("Latency", ("stage", "phase")),
    "restarts": ("Restarts", ("stage",)),
    "recovery": ("Recovery", ("stage",)),
    "everybody_in": ("Clients that retry", ("stage",)),
    "success_since_restart": ("Success since the restart", ("stage",)),
    "after_spike": ("After a spike", ("stage",)),
}
_BROKEN_DOWN: Final[Mapping[str, Callable[[object], list[Breakdown]]]] = {
    "health": health_tables,
    "delivery": delivery_tables,
}
_ELSEWHERE: Final = frozenset(
    {"counts", "health", "races", "capacity", "levels", "goodput_over_time", "comparison"}
)
# Of a restart the interval is shown and not its middle too: a row has to fit a page.
_LEFT_OUT: Final = frozenset(
    {
        "zero_offset_s",
        "first_healthy_interval_s",
        "ws_good_estimate_s",
        "gap_estimate_s",
    }
)


def markdown(judgement: Judgement) -> str:
    """The report; the same text for the same judgement."""
    summed = judgement.summary
    sections = [
        _head(judgement),
        _asked(judgement),
        _what_ran(judgement),
        _part("health", summed.get("health")),
        _checks(judgement.checks),
        _findings(judgement),
        comparison_markdown(summed.get("comparison")),
        *(_part(key, value) for key, value in summed.items() if key not in _ELSEWHERE),
        _spikes(summed),
        _capacity(summed),
        _races(summed),
        _fitness(judgement),
        _again(judgement),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(judgement: Judgement) -> str:
    facts = facts_of(judgement)
    lines = [f"# {judgement.headline}: {escaped(facts.origin)}"]
    if facts.title:
        lines += ["", line(facts.title)]
    lines += ["", f"**Verdict: {judgement.headline}** (exit code {judgement.exit_code})"]
    reasons = [*judgement.reasons, *views.cut_short(judgement)]
    if reasons:
        lines += ["", "Why:", "", *(f"- {line(reason)}" for reason in reasons)]
    if judgement.accepted:
        lines += ["", "Accepted findings:", "", *(f"- {line(a)}" for a in judgement.accepted)]
    figures_ = views.leading(judgement)
    if figures_:
        lines += ["", "Figures:", "", *(f"- {line(figure)}" for figure in figures_)]
    return "\n".join(lines)


def _asked(judgement: Judgement) -> str:
    rows = asked_rows(judgement)
    return f"## What was asked\n\n{table(ASKED_HEADER, rows)}" if rows else ""


def _what_ran(judgement: Judgement) -> str:
    facts = facts_of(judgement)
    rows = views.rows(facts.stages)
    told: dict[str, object] = {
        "run": facts.run_id,
        "scenario": facts.scenario,
        "target": facts.marked_target,
        **({"defects of the lab": ", ".join(facts.defects)} if facts.defects else {}),
        "seed": "none" if facts.seed is None else str(facts.seed),
        "plan": facts.plan,
        "started (UTC)": facts.started,
        "took": figures.duration(facts.duration_s),
        "complete": facts.complete,
        "interrupted": judgement.interrupted,
    }
    if facts.stages and not rows:
        told["stages"] = facts.stages
    counts = judgement.summary.get("counts")
    told |= counts if isinstance(counts, Mapping) else {}
    text = f"## What ran\n\n{_fact_table(told)}"
    if rows:
        text += f"\n\n{_row_table(rows)}"
    seen = judgement.authenticity
    header, peers = peer_rows(seen.get("peers"))
    evidence = {key: value for key, value in seen.items() if key != "peers"}
    if header:
        text += f"\n\nWho answered:\n\n{table(header, peers)}"
    if evidence:
        text += f"\n\nEvidence that it ran:\n\n{_fact_table(evidence)}"
    return text


def _checks(checks: Sequence[Check]) -> str:
    if not checks:
        return "## Results against their limits\n\nNo check was executed: nothing was judged."
    header = [
        "verdict", "check", "required", "evidence", "n",
        "estimate", "95 % interval", "limit", "what it says", "smallest effect seen", "control",
    ]  # fmt: skip
    body = [
        [
            check.verdict,
            check.id,
            "yes" if check.required else "no",
            check.evidence,
            f"{check.n:,}",
            *_estimated(check),
            figures.amount(check.limit, check.unit),
            views.unfit_once(check.message),
            check.smallest or figures.MISSING,
            check.control,
        ]
        for check in views.worst_first(checks)
    ]
    note = "Bounds in words decide and are one-sided; the interval beside them is two-sided."
    return f"## Results against their limits\n\n{table(header, body)}\n\n{note}"


def _estimated(check: Check) -> tuple[str, str]:
    """The estimate and its interval; of a race as the finding rounds them."""
    if check.evidence == "witness" and check.unit == "s" and check.estimate and check.interval:
        low, high = check.interval
        if low is not None and high is not None:
            span = Span(check.estimate * 1e9, low * 1e9, high * 1e9)
            value, first, last, unit = digits_of(span)
            return f"{value} {unit}", f"[{first} {unit}, {last} {unit}]"
    amount = figures.amount(check.estimate, check.unit)
    return amount, figures.interval(check.interval, check.unit)


def _part(key: str, value: object) -> str:
    """A part of the summary as a table; "" where it has no rows."""
    if key in _BROKEN_DOWN:
        return _breakdowns(key.capitalize(), _BROKEN_DOWN[key](value))
    title, labels = _TITLES.get(key, (escaped(figures.words(key)).capitalize(), ("stage", "name")))
    rows = views.rows(value, labels)
    if not rows:
        return ""
    return f"## {title}\n\n{_row_table(rows)}"


def _races(summary: Mapping[str, Any]) -> str:
    """Races with their figures and plots, and how often clients were turned away at a restart."""
    parts = []
    plots = {plot.name: plot for plot in plots_of(summary)}
    races = summary.get("races")
    for stage, race in races.items() if isinstance(races, Mapping) else ():
        rows = race_rows(race)
        parts.append(f"{escaped(stage)}\n\n{table(['what', 'value'], rows)}")
        plot = plots.pop(stage, None)
        parts += [fenced(text_lines(plot)), _picture(plot)] if plot else []
        parts += _shrunk(race)
    if small := shrunk_toml(summary):
        parts.append(f"The race made smaller, to be run alone: `{SHRUNK}`")
        parts.append(fenced(small.splitlines(), "toml"))
    for plot in plots.values():
        parts += [fenced(text_lines(plot)), _picture(plot)]
    return "\n\n".join(["## Windows", *parts]) if parts else ""


def _capacity(summary: Mapping[str, Any]) -> str:
    """Where each climb found the knee, with its curve."""
    parts = []
    curves = {curve.name: curve for curve in curves_of(summary)}
    found = summary.get("capacity")
    for stage, told in found.items() if isinstance(found, Mapping) else ():
        rows = list(capacity_rows(told))
        parts.append(f"{escaped(stage)}\n\n{table(['what', 'value'], rows)}")
        if curve := curves.get(stage):
            parts += [fenced(curve_lines(curve)), _named(curve_name(curve))]
            parts.append(table(LEVEL_HEADER, level_rows(told, summary["levels"][stage])))
    return "\n\n".join(["## Capacity", *parts]) if parts else ""


def _spikes(summary: Mapping[str, Any]) -> str:
    """The goodput of each spike over time, behind its table."""
    plots = spike_plots(summary)
    parts = [part for plot in plots for part in (fenced(text_lines(plot)), _picture(plot))]
    return "\n\n".join(["## Served over time", *parts]) if parts else ""


def _shrunk(race: Mapping[str, Any]) -> list[str]:
    """What was tried to make it smaller."""
    rows = shrunk_rows(race)
    return [f"Made smaller\n\n{table(SHRUNK_HEADER, rows)}"] if rows else []


def _picture(plot: Plot) -> str:
    return _named(picture_name(plot))


def _named(picture: str) -> str:
    return f"The same as a picture: `{picture}`"


def _breakdowns(title: str, tables: Sequence[Breakdown]) -> str:
    parts = [
        f"{escaped(each.title)}\n\n{table([escaped(name) for name in each.header], each.cells)}"
        for each in tables
    ]
    return "\n\n".join([f"## {title}", *parts]) if parts else ""


def _row_table(rows: Sequence[views.Row]) -> str:
    keys = [name for name in views.columns(rows) if name not in _LEFT_OUT]
    body = [[figures.cell(name, row.get(name)) for name in keys] for row in rows]
    return table([escaped(figures.words(name)) for name in keys], body)


def _findings(judgement: Judgement) -> str:
    findings = judgement.findings
    if not findings:
        return "## Findings\n\nNone."
    verdicts = {check.id: check.verdict for check in judgement.checks}
    sections = [
        _finding(finding, verdicts.get(finding.check))
        for finding in views.gravest_first(findings)[:FINDINGS_MAX]
    ]
    more = len(findings) - FINDINGS_MAX
    if more > 0:
        sections.append(f"{more:,} more findings are in verdict.json.")
    return "\n\n".join(["## Findings", *sections])


def _finding(finding: Finding, verdict: Outcome | None) -> str:
    check = f", check {escaped(finding.check)}" if finding.check else ""
    parts = [
        f"### {escaped(finding.code)}",
        f"{finding.severity}, evidence: {finding.evidence}, seen {finding.count:,} times{check}",
        *([line(f"{finding.accepted.said}: {finding.accepted.why}")] if finding.accepted else []),
        line(finding.message),
        f"Likely cause: {escaped(finding.cause or 'not known')}",
    ]
    for witness in finding.witness[:WITNESSES_MAX]:
        head, *steps = views.witness_lines(witness)
        parts += [f"Witness: {escaped(head)}", fenced(steps)]
    more = len(finding.witness) - WITNESSES_MAX
    if more > 0:
        parts.append(f"{more:,} more witnesses are in verdict.json.")
    parts.append(f"Next step: {escaped(next_step(finding, verdict))}")
    if finding.reproduce:
        parts += ["Again, just this:", fenced([finding.reproduce], "sh")]
    return "\n\n".join(parts)


def _fitness(judgement: Judgement) -> str:
    fitness = judgement.fitness
    lines = [f"{escaped(fitness.said[:1].upper() + fitness.said[1:])}."] if fitness.fit else []
    lines += [f"- INVALID: {escaped(why)}" for why in fitness.invalid]
    lines += [
        f"- tainted, what hangs on time or load is not judged: {escaped(why)}"
        for why in fitness.taints
    ]
    parts = ["## Fitness of the probe", "\n".join(lines)]
    if fitness.figures:
        parts.append(_fact_table(figures.flat(fitness.figures)))
    return "\n\n".join(parts)


def _again(judgement: Judgement) -> str:
    facts = facts_of(judgement)
    if not facts.again:
        return ""
    note = (
        "The same plan, from the same seed:"
        if facts.again_is_exact
        else "The same scenario, target and seed; other options of that run are not known here:"
    )
    return f"## Run it again\n\n{note}\n\n{fenced([facts.again], 'sh')}"


def _fact_table(facts: Mapping[str, object]) -> str:
    return table(
        ["what", "value"], [[figures.words(k), figures.cell(k, v)] for k, v in facts.items()]
    )
