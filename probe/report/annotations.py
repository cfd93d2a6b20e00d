"""Annotations: the judgement as workflow commands, which GitHub shows beside the files of a change.

The rule: a line is one command and can be no other. Text that a server wrote is made visible first,
so that it has no line ends, and then escaped as the runner reads it: `%`, CR and LF everywhere, `:`
and `,` in properties too. The verdict comes first. A step may show ten of a kind: what is left out
is counted. An annotation stands at the stage in the scenario's file, or at no file where
that is not known. Source: GitHub's "Workflow commands", and what a step summary may take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from probe.check.verdict import Outcome
from probe.report.facts import facts_of
from probe.report.views import cut_short, gravest_first
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probe.check.verdict import Check, Finding, Judgement

OF_A_KIND_MAX: Final = 10
TITLE_CHARS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 600
SUMMARY_BYTES_MAX: Final = 1_000_000  # GitHub takes 1 MiB of a step, and nothing of what is more
_OPEN: Final = frozenset({Outcome.INCONCLUSIVE, Outcome.SKIPPED, Outcome.ERROR})
_CUT: Final = b"\n\nThe rest stands in report.md of the run.\n"
Kind = Literal["error", "warning", "notice"]


class Place(NamedTuple):
    """A file of the repository and a line of it, from 1."""

    file: str
    line: int


class _Told(NamedTuple):
    kind: Kind
    title: str
    lines: tuple[str, ...]
    stage: str = ""


def workflow_commands(judgement: Judgement, place: Callable[[str], Place | None]) -> str:
    """The commands, a line each; `place` tells where a stage stands ("": the scenario)."""
    count: dict[Kind, int] = {"error": 0, "warning": 0, "notice": 0}
    out: list[str] = []
    every = [_verdict(judgement), *_told(judgement)]
    for told in every:
        count[told.kind] += 1
        of_the_kind = sum(1 for each in every if each.kind == told.kind)
        room = OF_A_KIND_MAX if of_the_kind <= OF_A_KIND_MAX else OF_A_KIND_MAX - 1
        if count[told.kind] <= room:
            out.append(_command(told, place(told.stage)))
    for kind, seen in count.items():
        if seen > OF_A_KIND_MAX:
            left = seen - OF_A_KIND_MAX + 1
            more = f"{left:,} more like these stand in report.md of the run"
            out.append(_command(_Told(kind, "probe", (more,)), place("")))
    return "".join(f"{line}\n" for line in out)


def summary_of(report: bytes, already: int = 0) -> bytes:
    """The report, or as many whole sections of it as a step's summary has room for."""
    room = SUMMARY_BYTES_MAX - already
    if len(report) <= room:
        return report
    end = max(report.rfind(head, 0, max(room - len(_CUT), 0)) for head in (b"\n## ", b"\n### "))
    return report[:end].rstrip() + _CUT if end > 0 else b""


def _verdict(judgement: Judgement) -> _Told:
    why = [*judgement.reasons, *cut_short(judgement), *judgement.accepted]
    kind: Kind = "notice" if judgement.exit_code == 0 else "error"
    title = f"{judgement.headline}: {facts_of(judgement).origin}"
    return _Told(kind, title, tuple(why[:OF_A_KIND_MAX]) or ("every required check passed",))


def _told(judgement: Judgement) -> Iterable[_Told]:
    """Findings that fail, checks that fail without one, what stayed open, what was accepted."""
    failed = {c.id: c for c in judgement.checks if c.verdict is Outcome.FAIL}
    explained = set()
    for found in gravest_first(judgement.findings):
        check = failed.get(found.check)
        lived_with = found.accepted is not None and not found.accepted.ended
        if found.severity == "info" or (check is None and found.evidence != "witness"):
            continue
        explained.add(found.check)
        yield _finding(found, "notice" if lived_with else "error" if check else "warning")
    for check in judgement.checks:
        if check.verdict is Outcome.FAIL and check.id not in explained:
            yield _check(check, "error")
    for check in judgement.checks:
        if check.verdict in _OPEN and check.required:
            yield _check(check, "warning")
    for why in judgement.fitness.taints:
        yield _Told("warning", "probe: this machine was not fit to judge times", (why,))


def _finding(found: Finding, kind: Kind) -> _Told:
    says = [found.message, f"likely cause: {found.cause or 'not known'}"]
    if found.accepted is not None:
        says.insert(0, f"{found.accepted.said}: {found.accepted.why}")
    if found.reproduce:
        says.append(f"again: {found.reproduce}")
    return _Told(kind, f"{found.code} at {found.check}", tuple(says), found.check.partition(".")[0])


def _check(check: Check, kind: Kind) -> _Told:
    return _Told(kind, f"{check.verdict}: {check.id}", (check.message,), check.stage)


def _command(told: _Told, place: Place | None) -> str:
    where = {} if place is None else {"file": place.file, "line": str(place.line)}
    properties = where | {"title": visible(told.title, chars_max=TITLE_CHARS_MAX)}
    text = "\n".join(visible(line, chars_max=TEXT_CHARS_MAX) for line in told.lines)
    named = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{told.kind} {named}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
