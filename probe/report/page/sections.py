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
from probe.report.page.compared import comparison_blocks
from probe.report.page.completeness import completeness
from probe.report.page.found import found
from probe.report.page.latency import latency
from probe.report.page.rates import capacity, knees, races, since_restart, spikes
from probe.report.page.timeline import timeline
from probe.report.plots import STRIP_SIGNS

if TYPE_CHECKING:
    from probe.check.verdict import Check, Judgement
    from probe.report.page.recorded import Recorded

LINES_MAX: Final = 3_000
_EMPTY: Final = (None, "")
_VETOED: Final = " (vetoed: the probe was unfit)"


def content(judgement: Judgement, recorded: Recorded | None) -> dict[str, Any]:
    """Everything the page shows, in order; texts as they are, also those of a server."""
    facts = facts_of(judgement)
    parts = _measured(judgement, recorded)
    missing = [title for _, title, blocks_, _ in parts if not blocks_]
    veto = _veto(judgement)
    sections = [section("checks", "Checks", _checks(judgement))]
    if compared := comparison_blocks(judgement.summary.get("comparison")):
        sections.append(section("comparison", "Compared", compared))
    sections += [
        section(name, title, [*(veto if timed and _drawn(blocks_) else []), *blocks_])
        for name, title, blocks_, timed in parts
        if blocks_
    ]
    first, others = found(judgement)
    sections += [
        section("fitness", "Fitness of the probe", _fitness(judgement)),
        section("evidence", "Evidence that it ran", _evidence(judgement)),
    ]
    if others:
        title = "More findings" if first else "Findings"
        number = len(judgement.findings) - len(first)
        more = number - len(others)
        told = [words(f"{more:,} more findings are in verdict.json.")] if more else []
        sections.append(section("findings", f"{title} ({number:,})", [*others, *told]))
    sections.append(section("scenario", "What was run", _scenario(judgement, recorded, missing)))
    return {
        "verdict": str(judgement.verdict),
        "embedded": facts.embedded,
        "origin": facts.origin,
        "title": facts.title,
        "exit_code": f"exit code {judgement.exit_code}",
        "facts": _facts(judgement),
        "why": _why(judgement),
        "veto": [each for each in _unfit(judgement) if each not in judgement.reasons],
        "leading": _leading(judgement),
        "first": first,
        "sections": sections,
    }


def _measured(
    judgement: Judgement, recorded: Recorded | None
) -> list[tuple[str, str, list[Block], bool]]:
    """(id, title, blocks, whether it hangs on time or load): first what only some runs ask."""
    summary = judgement.summary
    over_time = [timeline(recorded)] if recorded else []
    events = completeness(recorded, summary) if recorded else []
    return [
        ("capacity", "Capacity", capacity(summary), True),
        ("spike", "After the spike", spikes(summary), True),
        ("races", "Race windows", races(summary), False),
        ("restarts", "Since the restart", since_restart(summary), True),
        ("timeline", "Timeline", over_time, True),
        ("latency", "Latency", latency(recorded, summary) if recorded else [], True),
        ("completeness", "Completeness", events, False),
        ("health", "Health", _health(summary), False),
    ]


def _why(judgement: Judgement) -> list[str]:
    """The reasons, those in one line for which the probe's own machine is to blame."""
    below = {
        f"{each.check}: {each.message}": f"{each.check}: {each.code}, told below"
        for each in judgement.findings
    }
    told = [below.get(reason, _once(judgement, reason)) for reason in judgement.reasons]
    vetoed = [text.partition(":")[0] for text in told if text.endswith(_VETOED)]
    if len(vetoed) > 1:
        told = [text for text in told if not text.endswith(_VETOED)]
        told.append(f"vetoed, since the probe was unfit: {', '.join(vetoed)}")
    accepted = [judgement.headline] if any(c.accepted for c in judgement.checks) else []
    return [*accepted, *told, *views.cut_short(judgement)]


def _drawn(parts: list[Block]) -> bool:
    return any(each["kind"] == "figure" for each in parts)


def _unfit(judgement: Judgement) -> tuple[str, ...]:
    return (*judgement.fitness.invalid, *judgement.fitness.taints)


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
    why = "; ".join(_unfit(judgement))
    return text.replace(f" (the probe was unfit: {why})", _VETOED)


def _leading(judgement: Judgement) -> list[str]:
    """What is accepted, and the leading figures but for the plots, which the page draws."""
    lines = [line for line in views.leading(judgement) if not line.startswith("  ")]
    told = [line.replace(f"; by offset, {STRIP_SIGNS}", "") for line in lines]
    return [*judgement.accepted, *knees(judgement.summary), *told]


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


def _rows(caption: str, rows: list[views.Row]) -> Block:
    """Flat rows as a table, without columns that are empty in all of them."""
    keys = [key for key in views.columns(rows) if any(row.get(key) not in _EMPTY for row in rows)]
    cells = [[figures.cell(key, row.get(key)) for key in keys] for row in rows]
    return table(caption, [figures.words(key) for key in keys], cells)


def _scenario(judgement: Judgement, recorded: Recorded | None, missing: list[str]) -> list[Block]:
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
    if missing:
        out.append(words(f"Nothing measured: {', '.join(missing)}.", "quiet"))
    return out
