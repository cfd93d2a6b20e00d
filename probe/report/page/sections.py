"""The page from top to bottom: what matters first, then what it rests on.

The rule: it never says more than verdict.json. Where the probe's own machine was not fit, every
figure of time or load stands under the veto; what was not part of the run is named in one list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.report import figures, views
from probe.report.breakdowns import health_tables
from probe.report.facts import facts_of
from probe.report.page import blocks
from probe.report.page.blocks import Block, section, table, words
from probe.report.page.completeness import completeness
from probe.report.page.found import all_findings, first_findings
from probe.report.page.latency import latency
from probe.report.page.rates import capacity, races, since_restart, spikes
from probe.report.page.timeline import timeline
from probe.report.plots import STRIP_SIGNS

if TYPE_CHECKING:
    from probe.check.verdict import Check, Judgement
    from probe.report.page.recorded import Recorded

LINES_MAX: Final = 3_000
_EMPTY: Final = (None, "")


def content(judgement: Judgement, recorded: Recorded | None) -> dict[str, Any]:
    """Everything the page shows, in order; texts as they are, also those of a server."""
    facts, summary = facts_of(judgement), judgement.summary
    veto = _veto(judgement)
    measured: list[tuple[str, str, list[Block], bool]] = [
        ("timeline", "Timeline", [timeline(recorded)] if recorded else [], True),
        ("latency", "Latency", latency(recorded, summary) if recorded else [], True),
        ("restarts", "Since the restart", since_restart(summary), True),
        ("spike", "After the spike", spikes(summary), True),
        (
            "completeness",
            "Completeness",
            completeness(recorded, summary) if recorded else [],
            False,
        ),
        ("races", "Race windows", races(summary), False),
        ("capacity", "Capacity", capacity(summary), True),
        ("health", "Health", _health(summary), False),
    ]
    sections = [section("checks", "Checks", _checks(judgement))]
    for name, title, parts, timed in measured:
        if parts:
            sections.append(section(name, title, [*(veto if timed else []), *parts]))
    missing = [title for _, title, parts, _ in measured if not parts]
    sections += [
        section("fitness", "Fitness of the probe", _fitness(judgement)),
        section("evidence", "Evidence that it ran", _evidence(judgement)),
        section("findings", "Findings", _findings(judgement)),
        section("scenario", "What was run", _scenario(judgement, recorded)),
    ]
    if missing:
        text = f"Nothing measured: {', '.join(missing)}."
        sections.append(section("nothing", "Not in this run", [words(text, "quiet")]))
    return {
        "verdict": str(judgement.verdict),
        "embedded": facts.embedded,
        "origin": facts.origin,
        "title": facts.title,
        "exit_code": f"exit code {judgement.exit_code}",
        "facts": _facts(judgement),
        "why": [
            *(_once(judgement, reason) for reason in judgement.reasons),
            *views.cut_short(judgement),
        ],
        "veto": [*judgement.fitness.invalid, *judgement.fitness.taints],
        "leading": _leading(judgement),
        "first": first_findings(judgement),
        "sections": sections,
    }


def _facts(judgement: Judgement) -> list[list[str]]:
    facts = facts_of(judgement)
    counts = judgement.summary.get("counts") or {}
    told: dict[str, object] = {
        "run": facts.run_id,
        "target": facts.marked_target,
        "defects of the lab": ", ".join(facts.defects),
        "started (UTC)": facts.started[:19].replace("T", " "),
        "took": figures.duration(facts.duration_s),
        "clients": figures.cell("clients", counts.get("clients")),
        "seed": "" if facts.seed is None else str(facts.seed),
        "complete": "" if facts.complete else "no",
    }
    return [
        [name, str(value)] for name, value in told.items() if value not in {"", figures.MISSING}
    ]


def _veto(judgement: Judgement) -> list[Block]:
    fitness = judgement.fitness
    if fitness.fit:
        return []
    return [
        words(
            "Vetoed: the probe's own machine was not fit, so no time or rate here is judged.",
            "veto",
        )
    ]


def _once(judgement: Judgement, text: str) -> str:
    """A message without the veto's reasons, which stand once at the top of the page."""
    why = "; ".join(judgement.fitness.invalid + judgement.fitness.taints)
    return text.replace(f" (the probe was unfit: {why})", " (vetoed: the probe was unfit)")


def _leading(judgement: Judgement) -> list[str]:
    """The leading figures but for the plots in characters, which the page draws."""
    lines = [line for line in views.leading(judgement) if not line.startswith("  ")]
    return [line.replace(f"; by offset, {STRIP_SIGNS}", "") for line in lines]


def _checks(judgement: Judgement) -> list[Block]:
    if not judgement.checks:
        return [words("No check was executed: nothing was judged.")]
    rows = [
        {
            "verdict": str(check.verdict),
            "id": check.id,
            "required": "" if check.required else "not required",
            "message": _once(judgement, check.message),
            "more": _more(check),
        }
        for check in views.worst_first(judgement.checks)
    ]
    return [{"kind": "checks", "rows": rows}]


def _more(check: Check) -> list[list[str]]:
    told = {
        "evidence": check.evidence,
        "n": f"{check.n:,}",
        "estimate": figures.amount(check.estimate, check.unit),
        "95 % interval": figures.interval(check.interval, check.unit),
        "limit": figures.amount(check.limit, check.unit),
        "smallest effect seen": check.smallest,
        "control": check.control,
    }
    return [[name, text] for name, text in told.items() if text not in {"", figures.MISSING}]


def _health(summary: dict[str, Any]) -> list[Block]:
    return [
        table(each.title, each.header, each.cells) for each in health_tables(summary.get("health"))
    ]


def _fitness(judgement: Judgement) -> list[Block]:
    fitness = judgement.fitness
    out: list[Block] = []
    if fitness.fit:
        out.append(words(f"{fitness.said[:1].upper()}{fitness.said[1:]}."))
    out += [words(f"INVALID: {why}", "veto") for why in fitness.invalid]
    out += [
        words(f"Tainted, what hangs on time or load is not judged: {why}", "veto")
        for why in fitness.taints
    ]
    if fitness.figures:
        out.append(blocks.facts("Figures of the machine", fitness.figures, folded=True))
    return out


def _evidence(judgement: Judgement) -> list[Block]:
    told = dict(judgement.authenticity)
    if not told:
        return [words("Nothing was recorded that shows it.", "quiet")]
    out: list[Block] = []
    peers = views.rows(told.pop("peers", None))
    if peers:
        out.append(_rows("Who answered", peers))
    out.append(blocks.facts("Bytes, messages, times, the machine", told, folded=True))
    return out


def _findings(judgement: Judgement) -> list[Block]:
    found = all_findings(judgement)
    if not found:
        return [words("None.")]
    more = len(judgement.findings) - len(found)
    return [*found, *([words(f"{more:,} more findings are in verdict.json.")] if more > 0 else [])]


def _rows(caption: str, rows: list[views.Row]) -> Block:
    """Flat rows as a table, without columns that are empty in all of them."""
    keys = [key for key in views.columns(rows) if any(row.get(key) not in _EMPTY for row in rows)]
    cells = [[figures.cell(key, row.get(key)) for key in keys] for row in rows]
    return table(caption, [figures.words(key) for key in keys], cells)


def _scenario(judgement: Judgement, recorded: Recorded | None) -> list[Block]:
    facts = facts_of(judgement)
    out: list[Block] = []
    rows = views.rows(facts.stages)
    if rows:
        out.append(_rows("Stages", rows))
    if facts.again:
        exact = "The same plan, from the same seed"
        unsure = "The same scenario, target and seed; other options are not known here"
        out.append(blocks.code([facts.again], exact if facts.again_is_exact else unsure))
    if recorded:
        lines = recorded.text.splitlines()[:LINES_MAX]
        out.append({**blocks.code(lines, "The scenario as it was resolved"), "folded": True})
    return out
