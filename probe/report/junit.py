"""JUnit XML: one test case per check, for CI systems that show tests.

The rule: the suite is green exactly when the run is PASS and whole. A required check that
is not PASS is red: an ERROR is an `error`, FAIL, INCONCLUSIVE and SKIPPED are a `failure` of
that type, and a FAIL is red even when it is not required, since it fails the run. What is not
required and not PASS is `skipped`, with its verdict in the message, and so is what fails by
accepted findings alone, with who accepted it and until when. Where the
checks alone would stay green, or the probe was unfit, test cases named `run.…` are red.
Untrusted text is made visible first, which also leaves only legal XML characters
(XML 1.0, section 2.2).
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from probe.check.verdict import Outcome
from probe.report.facts import facts_of
from probe.report.views import cut_short, witness_lines
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.verdict import Check, Finding, Judgement


def junit_xml(judgement: Judgement) -> bytes:
    """The document, UTF-8; the same bytes for the same judgement."""
    facts = facts_of(judgement)
    scenario = visible(facts.scenario or "unnamed")
    cases = [_case(check, scenario, judgement.findings) for check in judgement.checks]
    cases += _run_cases(judgement, scenario, cases)
    count = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    figures = {key: str(value) for key, value in count.items()}
    if facts.duration_s is not None and math.isfinite(facts.duration_s):
        figures["time"] = f"{facts.duration_s:.3f}"
    root = ET.Element("testsuites", {"name": "probe", **figures})
    suite = ET.SubElement(
        root, "testsuite", {"name": f"{scenario} -> {visible(facts.marked_target)}", **figures}
    )
    if facts.started:
        suite.set("timestamp", visible(facts.started))
    properties = ET.SubElement(suite, "properties")
    told = {
        "run_id": facts.run_id,
        "target": facts.marked_target,
        "seed": "" if facts.seed is None else facts.seed,
        "verdict": judgement.headline,
        **({"accepted findings": "; ".join(judgement.accepted)} if judgement.accepted else {}),
    }
    for name, value in told.items():
        ET.SubElement(properties, "property", {"name": name, "value": visible(value)})
    suite.extend(cases)
    ET.indent(root)
    body: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'.encode()


def _case(check: Check, scenario: str, findings: Sequence[Finding]) -> ET.Element:
    case = _empty_case(f"{scenario}.{visible(check.stage)}", check.id)
    told = f"{check.message} ({check.evidence}, n {check.n})"
    mine = [finding for finding in findings if finding.check == check.id]
    red = check.required or check.verdict is Outcome.FAIL
    if check.accepted:
        mark = ET.SubElement(case, "skipped", {"message": visible(f"{check.verdict} {told}")})
        mark.text = "\n".join(line for finding in mine for line in _finding_lines(finding))
    elif check.verdict is Outcome.PASS:
        ET.SubElement(case, "system-out").text = visible(told)
    elif not red:
        message = visible(f"{check.verdict} (not required): {told}")
        ET.SubElement(case, "skipped", {"message": message})
    else:
        tag = "error" if check.verdict is Outcome.ERROR else "failure"
        _mark(case, tag, check.verdict, told, mine)
    return case


def _run_cases(
    judgement: Judgement, scenario: str, cases: Sequence[ET.Element]
) -> list[ET.Element]:
    """What is wrong with the run as a whole; at least one where nothing else is red."""
    added = []
    if judgement.verdict is Outcome.INVALID or judgement.fitness.invalid:
        why = "; ".join(judgement.fitness.invalid or judgement.reasons) or "the probe was unfit"
        added.append(_run_case(scenario, "run.fitness", "error", Outcome.INVALID, why))
    known = {check.id for check in judgement.checks}
    cut = cut_short(judgement)
    if cut and "run.complete" not in known:
        added.append(_run_case(scenario, "run.complete", "error", "INCOMPLETE", "; ".join(cut)))
    if judgement.verdict is not Outcome.PASS and not _any_red([*cases, *added]):
        why = "; ".join(judgement.reasons) or "no check passed"
        case = _run_case(scenario, "run.verdict", "failure", judgement.verdict, why)
        added.append(case)
    for number, finding in enumerate(judgement.findings):
        if finding.check not in known:
            case = _empty_case(f"{scenario}.run", f"run.finding.{number}.{finding.code}")
            ET.SubElement(case, "system-out").text = "\n".join(_finding_lines(finding))
            added.append(case)
    return added


def _any_red(cases: Sequence[ET.Element]) -> bool:
    return any(case.find(tag) is not None for case in cases for tag in ("failure", "error"))


def _empty_case(classname: str, name: str) -> ET.Element:
    return ET.Element("testcase", {"classname": classname, "name": visible(name)})


def _run_case(scenario: str, name: str, tag: str, kind: str, why: str) -> ET.Element:
    case = _empty_case(f"{scenario}.run", name)
    _mark(case, tag, kind, why, ())
    return case


def _mark(case: ET.Element, tag: str, kind: str, message: str, findings: Sequence[Finding]) -> None:
    mark = ET.SubElement(case, tag, {"message": visible(message), "type": str(kind)})
    lines = [visible(message)]
    for finding in findings:
        lines += ["", *_finding_lines(finding)]
    mark.text = "\n".join(lines)


def _finding_lines(finding: Finding) -> list[str]:
    lines = [
        visible(f"{finding.code} ({finding.severity}, {finding.count} seen): {finding.message}"),
        *([visible(f"{has.said}: {has.why}")] if (has := finding.accepted) else []),
        visible(f"likely cause: {finding.cause or 'not known'}"),
    ]
    for witness in finding.witness[:1]:
        lines += witness_lines(witness)
    if finding.reproduce:
        lines.append(visible(f"again: {finding.reproduce}"))
    return lines
