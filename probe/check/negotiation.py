"""Negotiation: every row of the matrix of handshakes got an answer that is right.

The rule: judged on the stored bytes of request and answer, by `probe.negotiation`; what is
graded informational never fails. Each row has its positive control, a good request with the
token in the same place: where that is not accepted, a rejection proves nothing. A row for
which the dialect has no material is SKIPPED with the reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.verdict import Check, Outcome
from probe.check.witness import witnesses
from probe.check.words import counted, of, only_cases, plain
from probe.model.handshakes import HANDSHAKES
from probe.negotiation.answer import answer_of, request_of
from probe.negotiation.diagnosis import outcome
from probe.negotiation.expectation import judge, wanted
from probe.negotiation.repertoire import FORBIDDEN, repertoire_of

if TYPE_CHECKING:
    from probe.check.verdict import Finding, Witness
    from probe.check.view import StageView
    from probe.history.columns import Rows
    from probe.model.handshake import HandshakeCase
    from probe.negotiation.answer import Answer
    from probe.negotiation.diagnosis import Remark
    from probe.negotiation.repertoire import Repertoire

_UNAUTHORIZED: Final = (401, 403)
_GRADES: Final = {
    "rfc": "violates the RFC",
    "browsers": "fails in browsers",
    "policy": "against the dialect",
    "informational": "for information",
}
_NAMED_MAX: Final = 6


@dataclass(frozen=True, slots=True)
class _Tried:
    """One attempt at a row: where in `StageView.attempts`, what came, what is to be said."""

    case: HandshakeCase
    place: int
    endpoint: int
    answer: Answer
    remarks: tuple[Remark, ...]


def negotiation(view: StageView) -> Part:
    """`<stage>.negotiation.<case>` for every row of the stage, and findings by their code."""
    part = Part()
    if not view.stage.expect.negotiation:
        return part
    cases = _cases(view)
    if not cases:
        part.checks.append(unmeasured(view, "negotiation", "witness", "no row of the matrix"))
        return part
    repertoire = _repertoire(view)
    tried = {name: _tries(view, index, repertoire) for index, name in cases.items()}
    for name in cases.values():
        part.checks.append(_check(view, HANDSHAKES[name], repertoire, tried))
    part.findings += _findings(view, repertoire, tried)
    part.summary["negotiation"] = {view.name: _table(view, repertoire, tried)}
    return part


def expected_rows(view: StageView) -> list[tuple[str, bool]]:
    """The ids of these checks, and which are required: what can be sent, and can be wrong."""
    if not view.stage.expect.negotiation:
        return []
    repertoire, origins = _repertoire(view), view.resolved.dialect.promises.origins
    return [
        (
            f"negotiation.{name}",
            not repertoire.lacking(HANDSHAKES[name])
            and wanted(HANDSHAKES[name], repertoire, origins=origins) != "either",
        )
        for name in _cases(view).values()
    ] or [("negotiation", True)]


def _cases(view: StageView) -> dict[int, str]:
    """Names of rows by population."""
    return {k: group.name for k, group in view.groups.items() if group.name in HANDSHAKES}


def _repertoire(view: StageView) -> Repertoire:
    auth = view.resolved.target.get("auth", {})
    return repertoire_of(view.resolved.dialect, tokens=auth.get("source", "") != "none")


def _tries(view: StageView, population: int, repertoire: Repertoire) -> list[_Tried]:
    case = HANDSHAKES[view.groups[population].name]
    origins = view.resolved.dialect.promises.origins
    out = []
    for place, row in enumerate(view.attempts):
        if int(row["population"]) == population:
            answer = answer_of(view.history, row)
            request = request_of(view.history, row)
            remarks = judge(case, repertoire, request, answer, origins=origins)
            out.append(_Tried(case, place, int(row["endpoint"]), answer, remarks))
    return out


def _check(
    view: StageView,
    case: HandshakeCase,
    repertoire: Repertoire,
    tried: dict[str, list[_Tried]],
) -> Check:
    want = wanted(case, repertoire, origins=view.resolved.dialect.promises.origins)
    name = f"{view.name}.negotiation.{case.name}"
    required = want != "either"
    if lacking := repertoire.lacking(case):
        words = f"skipped: {lacking}"
        return Check(name, view.name, False, Outcome.SKIPPED, "witness", 0, words)
    told = [each for each in tried[case.name] if each.answer.way not in ("ours", "unreached")]
    if not told:
        why = "; ".join(sorted({outcome(each.answer) for each in tried[case.name]}))
        safety = view.resolved.target.get("safety", {})
        if repertoire.shows_bad_token(case) and not safety.get("bad_tokens", True):
            why = FORBIDDEN
        what = f"negotiation.{case.name}"
        return unmeasured(view, what, "witness", why or "nothing was sent", required=required)
    control = repertoire.control(case)
    without = _without_control(told, tried.get(control, []))
    words = f"{case.title}: {_wish(want)}; {_seen(told)}"
    remarks = list(dict.fromkeys(remark for each in told for remark in each.remarks))
    words += "".join(f"; {each.words} ({_GRADES[each.grade]}: {each.section})" for each in remarks)
    if any(_in_one_line(each, tried) for each in told):
        words += "; the same offer in one line is right, so the lines were not read as one list"
    verdict = Outcome.PASS
    if any(each.grade != "informational" for each in remarks):
        verdict = Outcome.FAIL
    elif want == "rejected" and without:
        verdict = Outcome.INCONCLUSIVE
        words += f"; but its control, {control}, was not accepted there, so this proves nothing"
    elif len(told) < len(tried[case.name]):
        verdict = Outcome.INCONCLUSIVE
        words += f"; {counted(len(tried[case.name]) - len(told), 'attempt')} told nothing"
    shown = f"{control} is accepted" if not without else f"failed: {control} is not accepted"
    return Check(
        name, view.name, required, verdict, "witness", len(told), words,
        control="none" if case.name == control else shown,
    )  # fmt: skip


def _without_control(told: list[_Tried], controls: list[_Tried]) -> bool:
    """Whether any of these was tried where the good request is not accepted."""
    good = {each.endpoint for each in controls if each.answer.way == "accepted"}
    return not {each.endpoint for each in told} <= good


def _wish(want: str) -> str:
    return "either answer is right" if want == "either" else f"ought to be {want}"


def _seen(told: list[_Tried]) -> str:
    """`4 x 400 "…"`, the most frequent first; times are of the first of each."""
    kinds = Counter(_kind(each.answer) for each in told)
    firsts = {_kind(each.answer): outcome(each.answer) for each in reversed(told)}
    most = sorted(kinds.items(), key=lambda pair: (-pair[1], str(pair[0])))
    return ", ".join(f"{number} x {firsts[kind]}" for kind, number in most[:3])


def _kind(answer: Answer) -> tuple[Any, ...]:
    return answer.way, answer.status, answer.protocols, answer.body, answer.code, answer.reason


def _in_one_line(one: _Tried, tried: dict[str, list[_Tried]]) -> bool:
    """Whether a row with several lines went wrong, and all with the same offer in one did not."""
    if len(one.case.offers) < 2 or not _wrong(one):  # noqa: PLR2004 -- several
        return False
    others = [
        each
        for name in _with_one_line(one.case)
        for each in tried.get(name, [])
        if each.endpoint == one.endpoint
    ]
    return bool(others) and all(o.answer.way == "accepted" and not _wrong(o) for o in others)


def _with_one_line(case: HandshakeCase) -> list[str]:
    """The rows that differ from this one in nothing but that their offer is one line."""
    joined = ", ".join(case.offers).replace("{first}, {rest}", "{default}")
    alike = (case.lines, case.shown, case.behind, case.sent)
    return [
        name
        for name, each in HANDSHAKES.items()
        if each.offers == (joined,) and (each.lines, each.shown, each.behind, each.sent) == alike
    ]


def _wrong(one: _Tried) -> bool:
    return any(each.grade != "informational" for each in one.remarks)


def _findings(
    view: StageView, repertoire: Repertoire, tried: dict[str, list[_Tried]]
) -> list[Finding]:
    """One for each code, over all rows that show it; lines that were not read are another."""
    every = [each for several in tried.values() for each in several]
    found: dict[tuple[str, str], list[tuple[_Tried, Remark]]] = {}
    for each in every:
        lines = "lines" if _in_one_line(each, tried) else ""
        for remark in {one.code: one for one in reversed(each.remarks)}.values():
            if remark.grade != "informational":
                found.setdefault((remark.code, lines), []).append((each, remark))
    return [
        _finding(view, repertoire, code, cases, len(every), lines)
        for (code, lines), cases in found.items()
    ]


def _finding(
    view: StageView,
    repertoire: Repertoire,
    code: str,
    cases: list[tuple[_Tried, Remark]],
    n: int,
    lines: str,
) -> Finding:
    first, remark = cases[0]
    names = list(dict.fromkeys(each.case.name for each, _ in cases))
    listed = ", ".join(names[:_NAMED_MAX])
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    words = (
        f"{of(len(cases), n, 'handshake')}: {plain(remark.words.encode(), 400)} "
        f"({_GRADES[remark.grade]}: {remark.section}); seen with {listed}{more}"
    )
    rows: Rows = view.attempts[[each.place for each, _ in cases]]
    pattern = lines or ("auth" if first.answer.status in _UNAUTHORIZED else "")
    made = finding(
        code, f"{view.name}.negotiation.{first.case.name}", len(cases), words,
        witness=_whole(view, witnesses(view, rows)), pattern=pattern,
    )  # fmt: skip
    return replace(made, reproduce=_again(view, repertoire, names))


def _again(view: StageView, repertoire: Repertoire, names: list[str]) -> str:
    """The options that try these rows alone, behind those that they are held against."""
    rows = [repertoire.control(HANDSHAKES[name]) for name in names]
    for case in (HANDSHAKES[name] for name in names):
        others = _with_one_line(case) if len(case.offers) > 1 else []
        rows += [] if {*others} & {*rows} else others[:1]
    return only_cases(view.name, (*rows, *names))


def _whole(view: StageView, cases: tuple[Witness, ...]) -> tuple[Witness, ...]:
    """The same with all lines of each request, since any of them may be what it is about."""
    attempts = view.attempts
    out = []
    for case in cases:
        mine = (attempts["session"] == case.session) & (attempts["attempt"] == case.attempt)
        head = request_of(view.history, attempts[mine][0]).partition(b"\r\n\r\n")[0]
        lines = " | ".join(plain(line) for line in head.split(b"\r\n"))
        first = lines.partition(" | ")[0]
        steps = [
            replace(step, what=lines)
            if step.who == "probe" and step.what.startswith(first)
            else step
            for step in case.steps
        ]
        out.append(replace(case, steps=tuple(steps)) if first else case)
    return tuple(out)


def _table(
    view: StageView, repertoire: Repertoire, tried: dict[str, list[_Tried]]
) -> list[dict[str, Any]]:
    """The matrix as it came out, a row each: for reports and docs/negotiation.md."""
    origins = view.resolved.dialect.promises.origins
    return [
        {
            "case": name,
            "title": HANDSHAKES[name].title,
            "wanted": wanted(HANDSHAKES[name], repertoire, origins=origins),
            "section": HANDSHAKES[name].section,
            "skipped": repertoire.lacking(HANDSHAKES[name]),
            "answers": [
                {
                    "endpoint": view.endpoint(each.endpoint),
                    "answer": outcome(each.answer),
                    "remarks": [
                        {"code": one.code, "grade": one.grade, "words": one.words}
                        for one in each.remarks
                    ],
                }
                for each in several
            ],
        }
        for name, several in tried.items()
    ]
