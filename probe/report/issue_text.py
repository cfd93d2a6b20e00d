"""One finding as the text of an issue: expected, seen, a case, how to run it again, where.

The rule: nothing that came from a server stands in prose. It stands in fences that it cannot
close, where no tracker takes a name for a mention or a number for a reference; the title, which
quotes it, is escaped and has its mentions and links broken. What is told is what the run stored,
which has no secrets in it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from probe.check.catalogue import CATALOGUE
from probe.report import figures, views
from probe.report.facts import facts_of
from probe.report.markup import escaped, fenced
from probe.report.visible import visible

if TYPE_CHECKING:
    from probe.check.verdict import Check, Finding, Judgement

TITLE_CHARS_MAX: Final = 120
OTHERS_MAX: Final = 20
WITNESSES_MAX: Final = 3
PEERS_MAX: Final = 20


def issue_title(judgement: Judgement, code: str) -> str:
    """One plain line: the code, and what was seen."""
    said = visible(_of(judgement, code)[0].message)
    said = textwrap.shorten(said, TITLE_CHARS_MAX - len(code), placeholder="...")
    mark = " (embedded lab)" if facts_of(judgement).embedded else ""
    return f"{code}: {said}{mark}"


def issue_text(judgement: Judgement, code: str) -> str:
    """Markdown; KeyError where the judgement has no finding of that code."""
    first, *others = _of(judgement, code)
    checks = {check.id: check for check in judgement.checks}
    parts = [
        f"# {_unmentioning(escaped(issue_title(judgement, code)))}",
        _kind(first),
        _expected(first, checks.get(first.check)),
        _seen(first, checks.get(first.check)),
        *_cases(first),
        f"## Likely cause\n\n{escaped(first.cause or 'not known')}",
        _again(first),
        _others(others),
        f"## Environment\n\n{fenced(_environment(judgement))}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _of(judgement: Judgement, code: str) -> list[Finding]:
    found = [each for each in views.gravest_first(judgement.findings) if each.code == code]
    if not found:
        raise KeyError(code)
    return found


def _unmentioning(text: str) -> str:
    """Without names, numbers and addresses that a tracker would tell somebody of, or link."""
    for sign, broken in (("@", "@<!-- -->"), ("\\#", "#<!-- -->"), ("://", ":<!-- -->//")):
        text = text.replace(sign, broken)
    return text


def _kind(finding: Finding) -> str:
    text = f"{finding.severity}, evidence: {finding.evidence}, seen {finding.count:,} times"
    if finding.accepted is None:
        return text
    return f"{text}\n\n{fenced([finding.accepted.said, finding.accepted.why])}"


def _expected(finding: Finding, check: Check | None) -> str:
    """What the check holds the service to; the catalogue says where that stands."""
    lines = []
    if check is None:
        lines.append("Not once, whatever is asked for.")
    elif check.limit is None or check.evidence in {"witness", "absence"}:
        lines.append(f"Not once: a single case breaks the check `{escaped(check.id)}`.")
    else:
        limit = figures.amount(check.limit, check.unit)
        lines.append(f"The check `{escaped(check.id)}` has the limit {limit}.")
    if entry := CATALOGUE.get(finding.code):
        lines.append(f"Where it stands: {escaped(entry.source)}.")
    return "## Expected\n\n" + "\n".join(lines)


def _seen(finding: Finding, check: Check | None) -> str:
    lines: list[object] = [finding.message]
    if check is not None and check.message not in finding.message:
        lines += ["", f"{check.verdict} {check.id} (n {check.n:,}): {check.message}"]
    return f"## Seen\n\n{fenced(lines)}"


def _cases(finding: Finding) -> list[str]:
    """Up to three cases, each with where in the service's own log it is to be found."""
    parts = []
    for number, witness in enumerate(finding.witness[:WITNESSES_MAX]):
        head = "## A case, as it was on the wire" if not number else "Another:"
        lines = views.witness_lines(witness)
        note = f"in the service's log: endpoint {witness.endpoint}, from {witness.began}"
        parts.append(f"{head}\n\n{fenced([*lines, note])}")
    return parts


def _again(finding: Finding) -> str:
    if not finding.reproduce:
        return ""
    return f"## Run just this again\n\n{fenced([finding.reproduce], 'sh')}"


def _others(others: list[Finding]) -> str:
    if not others:
        return ""
    lines = [f"{each.check or 'run'}, seen {each.count:,} times: {each.message}" for each in others]
    more = len(lines) - OTHERS_MAX
    lines = [*lines[:OTHERS_MAX], *([f"{more:,} more in verdict.json"] if more > 0 else [])]
    return f"## The same elsewhere in this run\n\n{fenced(lines)}"


def _environment(judgement: Judgement) -> list[str]:
    facts, seen = facts_of(judgement), judgement.authenticity
    host = judgement.run.get("host")
    host = host if isinstance(host, Mapping) else {}
    versions = host.get("versions")
    fitness = judgement.fitness
    unfit = "; ".join((*fitness.invalid, *fitness.taints))
    told: dict[str, Any] = {
        "verdict": judgement.headline,
        "scenario": facts.scenario,
        "target": facts.marked_target,
        "run": facts.run_id,
        "started": f"{facts.started} (UTC)" if facts.started else "",
        "seed": "" if facts.seed is None else str(facts.seed),
        "defects of the lab": ", ".join(facts.defects),
        "fitness of the probe": unfit or fitness.said,
        "probe's machine": ", ".join(
            str(host[key]) for key in ("platform", "python") if host.get(key)
        ),
        "versions": figures.cell("versions", versions) if versions else "",
    }
    lines = [f"{name}: {value}" for name, value in told.items() if value]
    peers = seen.get("peers")
    for peer in (peers if isinstance(peers, list | tuple) else ())[:PEERS_MAX]:
        if isinstance(peer, Mapping):
            shown = {key: value for key, value in peer.items() if value not in ("", None)}
            lines.append(f"answered: {figures.cell('peer', shown)}")
    return lines
