"""Which token a client showed when: the CREDENTIAL rows of a stage, by session.

The rule: a token counts from the row that chose it; at a connection it is in force what was
shown when it was dialled. A case that was not made was not tried, and its reason is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probe.check.rows import of_stage
from probe.check.verdict import Check, Outcome
from probe.history.records import Credential, Kind

if TYPE_CHECKING:
    from probe.check.view import StageView


@dataclass(frozen=True, slots=True)
class Shown:
    """One token of a session from `since` on, ns; `expiry` is 0 where it is not known.

    `case` is a row of `TOKEN_CASES` or `fresh`; `renewed`: it was sent on the open connection.
    """

    since: int
    case: str
    expiry: int
    renewed: bool


@dataclass(frozen=True, slots=True)
class Unmade:
    """Why a session could not show what it was to show; `forbidden` by the target."""

    why: str
    forbidden: bool


def shown(view: StageView) -> dict[int, list[Shown]]:
    """The tokens of each session that chose any, in order."""
    out: dict[int, list[Shown]] = {}
    for row in of_stage(view, Kind.CREDENTIAL):
        flag = int(row["flag"])
        if flag in (Credential.SHOWN, Credential.RENEWED):
            mine = out.setdefault(int(row["session"]), [])
            case = view.text(row["a"]) or (mine[-1].case if mine else "")
            renewed = flag == Credential.RENEWED
            mine.append(Shown(int(row["t"]), case, int(row["b"]), renewed))
    return out


def untried(view: StageView, what: str, why: Unmade, *, required: bool = True) -> Check:
    """What nobody tried: left open where the target forbids it, skipped where it cannot be."""
    verdict = Outcome.INCONCLUSIVE if why.forbidden else Outcome.SKIPPED
    message = why.why if why.forbidden else f"skipped: {why.why}"
    needed = required and why.forbidden
    return Check(f"{view.name}.{what}", view.name, needed, verdict, "witness", 0, message)


def unmade(view: StageView) -> dict[int, Unmade]:
    """The sessions whose token was not made."""
    rows = of_stage(view, Kind.CREDENTIAL)
    rows = rows[rows["flag"] == Credential.NOT_MADE]
    return {
        int(row["session"]): Unmade(view.text(row["b"]), forbidden=bool(row["a"])) for row in rows
    }
