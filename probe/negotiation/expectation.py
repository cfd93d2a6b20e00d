"""What a row of the matrix wants, held against what came back.

The rule: what the dialect promises and the RFC demands is wanted, nothing else. To refuse
what is no handshake is right, in whatever HTTP words; that TCP was ended where an HTTP error
is due is told and not held against a server, since our request was illegal first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from probe.model.handshakes import NO_OFFER
from probe.negotiation.diagnosis import Remark, diagnose, listed, outcome, quoted
from probe.negotiation.head import PROTOCOL, read_head
from probe.negotiation.repertoire import PADDING, PLACE, TOKEN, UNKNOWN

if TYPE_CHECKING:
    from probe.model.handshake import Grade, HandshakeCase, Wanted
    from probe.negotiation.answer import Answer
    from probe.negotiation.repertoire import Repertoire

_ORIGIN: Final = "negotiation.origin_ignored"
_UNSUPPORTED: Final = "negotiation.accepted_unsupported"
_POLICY: Final = "the dialect's presentations"
_USUAL: Final = {"default", "reversed", "blanks", "first"}
_WHOLE: Final = _USUAL | {"all", "one"}
_ABOUT_CHOICE: Final = {
    "negotiation.unoffered", "negotiation.empty_value", "negotiation.several_values",
    "negotiation.case_folded", "negotiation.none_selected",
}  # fmt: skip


def wanted(case: HandshakeCase, repertoire: Repertoire, *, origins: bool) -> Wanted:
    """What is right for this row, with this dialect; `origins` is what it promises of them."""
    if case.code == _UNSUPPORTED and not repertoire.strict:
        return "either"  # legal: accept with none chosen, or refuse (section 4.2.2)
    if case.code == _ORIGIN and not origins:
        return "either"
    if case.name == NO_OFFER and not repertoire.bare:
        return "either"
    return case.expect


def judge(
    case: HandshakeCase, repertoire: Repertoire, request: bytes, answer: Answer, *, origins: bool
) -> tuple[Remark, ...]:
    """The remarks on one answer; those that are not informational are deviations."""
    want = wanted(case, repertoire, origins=origins)
    generic = diagnose(request, answer)
    if answer.way in ("ours", "unreached"):
        return generic
    if want == "rejected":
        return _unwelcome(case, generic, answer)
    made = list(_welcome(case, answer) if want == "accepted" else _either(case, answer))
    codes = {each.code for each in generic}
    if answer.let_in and not codes & _ABOUT_CHOICE:
        made += _selected(case, repertoire, request, answer)
    known = _supported(case, repertoire) and repertoire.offering.selects != ""
    softened = [
        _as_information(each) if each.code == "negotiation.none_selected" and not known else each
        for each in generic
        if each.code != "negotiation.closed_after_accept" or want != "accepted"
    ]
    return (*made, *softened)


def _unwelcome(
    case: HandshakeCase, generic: tuple[Remark, ...], answer: Answer
) -> tuple[Remark, ...]:
    if not answer.let_in:
        return (*generic, *_mute(case, answer, ours=case.grade == "rfc"))
    rest = [each for each in generic if each.code != "negotiation.closed_after_accept"]
    # Who is let in with what nobody may choose has chosen wrongly whatever it is.
    rest = [each for each in rest if each.code != "negotiation.none_selected"]
    who = "the RFC demands" if case.grade == "rfc" else "the dialect wants"
    due = f"{who} an HTTP error before the upgrade"
    if answer.way in ("closed", "lost"):
        words = f"{case.title}: {_late(generic)}; {due}"
        late = Remark("negotiation.closed_after_accept", case.grade, case.section, words)
        return (late, *rest)
    if case.grade == "policy" and {each.code for each in rest} & _ABOUT_CHOICE:
        return tuple(rest)  # the answer is wrong by itself
    words = f"{case.title}: let in ({outcome(answer)}); {due}"
    return (Remark(case.code, case.grade, case.section, words), *rest)


def _late(generic: tuple[Remark, ...]) -> str:
    return next(r.words for r in generic if r.code == "negotiation.closed_after_accept")


def _welcome(case: HandshakeCase, answer: Answer) -> list[Remark]:
    if answer.way == "status":
        body = f" {quoted(answer.body)}" if answer.body else ""
        words = f"{case.title}: refused with {answer.status}{body}"
        return [Remark("negotiation.rejected_supported", case.grade, case.section, words)]
    if answer.way in ("closed", "lost"):
        words = f"{case.title}: {outcome(answer)}: a browser sees an open socket first"
        return [Remark("negotiation.closed_after_accept", "policy", case.section, words)]
    if answer.way == "accepted" and not answer.ready:
        words = f"{case.title}: {outcome(answer)}, and then it never became ready"
        return [Remark("connect.accepted_then_silent", "policy", case.section, words)]
    return _mute(case, answer, ours=False)


def _either(case: HandshakeCase, answer: Answer) -> list[Remark]:
    return _mute(case, answer, ours=True)


def _mute(case: HandshakeCase, answer: Answer, *, ours: bool) -> list[Remark]:
    """Neither a yes nor a no; `ours`: the request was such that an answer is not owed."""
    if answer.way not in ("dropped", "silent", "garbled"):
        return []
    grade: Grade = "informational" if ours else "policy"
    words = f"{case.title}: {outcome(answer)}"
    return [Remark("negotiation.no_answer", grade, case.section, words)]


def _selected(
    case: HandshakeCase, repertoire: Repertoire, request: bytes, answer: Answer
) -> list[Remark]:
    """What was chosen is one that the dialect supports, and the one that it promises."""
    offered = read_head(request).elements(PROTOCOL)
    if not answer.protocols or not offered:
        return []
    (one,) = answer.protocols
    stranger = one == UNKNOWN.encode() or one.startswith(PADDING.encode())
    stranger |= bool(_supported(case, repertoire)) and not any(
        _fits(one, each) for each in repertoire.every
    )
    if stranger:
        words = f"the server chose {quoted(one)}, which no presentation of the dialect offers"
        return [Remark("negotiation.wrong_selection", "policy", _POLICY, words)]
    selects = repertoire.offering.selects
    if selects and _used(case) & _USUAL and not _fits(one, selects):
        words = f"the server chose {quoted(one)} of {listed(offered)}, not {selects}"
        return [Remark("negotiation.wrong_selection", "policy", _POLICY, words)]
    return []


def _supported(case: HandshakeCase, repertoire: Repertoire) -> bool:
    """Whether the row offers something that the dialect supports as a whole."""
    return bool(_used(case) & _WHOLE) and bool(repertoire.every)


def _used(case: HandshakeCase) -> set[str]:
    return {name for each in case.offers for name, _ in PLACE.findall(each)}


def _fits(value: bytes, template: str) -> bool:
    """Whether a (masked) value may be this template, filled in."""
    start, found, _ = template.partition(TOKEN)
    return value.startswith(start.encode()) if found else value == template.encode()


def _as_information(remark: Remark) -> Remark:
    return Remark(remark.code, "informational", remark.section, remark.words)
