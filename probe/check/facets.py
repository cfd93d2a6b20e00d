"""What endpoints can be compared by: facets of connections and of runs, with their values.

The rule: only clients that do the same are compared (the same script and presentation), and
only what they did without being pressed: no runs of clients that stopped reading or vanished,
and no runs that were cut off or refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.rows import Ints, among, of_stage, place
from probe.check.view import accepted, decided, labels
from probe.check.witness import headers_of
from probe.check.words import escaped
from probe.history.records import Kind, Run

if TYPE_CHECKING:
    from probe.check.view import StageView
    from probe.history.columns import Rows

HEADS_MAX: Final = 5_000
_LABEL: Final = ("outcome", "phase", "status", "close_code", "ready")


@dataclass(frozen=True)
class Facet:
    """One facet of what one kind of clients met; arrays hold one entry per unit (`noun`).

    `value` is an index into `words`, which say it as in "30 of 30 runs <words>".
    """

    noun: str
    session: Ints
    endpoint: Ints
    value: Ints
    words: tuple[str, ...]


def facets(view: StageView) -> list[Facet]:
    """All facets of a stage, kind of clients by kind of clients."""
    kinds: dict[str, list[int]] = {}
    for index, group in view.groups.items():
        part = group.population
        kinds.setdefault(f"{part.script!r} {part.present} {part.retry}", []).append(index)
    out = []
    for populations in kinds.values():
        attempts = view.welcome[np.isin(view.welcome["population"], populations)]
        out += [_subprotocols(view, attempts), _outcomes(attempts)]
        out += _events(view, view.runs[np.isin(view.runs["population"], populations)])
    return [facet for facet in out if len(facet.value)]


def _facet(noun: str, rows: Rows, endpoint: Ints, values: list[str]) -> Facet:
    words, value = np.unique(np.array(values, dtype=np.str_), return_inverse=True)
    session = rows["session"].astype(np.int64)
    return Facet(noun, session, endpoint, value.reshape(-1), tuple(words.tolist()))


def _subprotocols(view: StageView, attempts: Rows) -> Facet:
    """What was chosen, of the heads that were kept."""
    rows = attempts[accepted(attempts) & (attempts["response_text"] > 0)][:HEADS_MAX]
    heads, place_ = np.unique(rows["response_text"], return_inverse=True)
    said = []
    for head in heads.tolist():
        chosen = headers_of(view.history.text(head), b"sec-websocket-protocol")
        word = escaped(chosen[0].decode("utf-8", "backslashreplace")) if chosen else ""
        said.append(f"had the subprotocol {word} chosen" if chosen else "had no subprotocol chosen")
    values = [said[k] for k in place_.reshape(-1).tolist()]
    return _facet("connection", rows, rows["endpoint"].astype(np.int64), values)


def _outcomes(attempts: Rows) -> Facet:
    """How attempts went, in the words of `labels`."""
    rows = attempts[decided(attempts)]
    columns = [rows[name].astype(np.int64) for name in _LABEL[:-1]] + [rows["ready"] > 0]
    # A good connection that ended early or late is told apart by its stay alone.
    stay = (np.where(rows["close_at"] > 0, rows["close_at"], rows["end"]) - rows["ready"]) // 10**9
    columns.append(np.where(rows["ready"] > 0, np.minimum(stay, 1), 0))
    if not len(rows):
        return _facet("attempt", rows, rows["endpoint"].astype(np.int64), [])
    _, first, kind = np.unique(
        np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True
    )
    said = [f"ended as: {labels(rows[k : k + 1])[0][0]}" for k in first.tolist()]
    values = [said[k] for k in kind.reshape(-1).tolist()]
    return _facet("attempt", rows, rows["endpoint"].astype(np.int64), values)


def _events(view: StageView, runs: Rows) -> list[Facet]:
    """How often each type of event came in a run; of a repeated one, beyond what was asked."""
    rule = view.resolved.dialect.run
    if rule is None:
        return []
    odd = of_stage(view, Kind.STALL, Kind.VANISH)["session"]
    runs = runs[np.isin(runs["outcome"], (Run.ENDED, Run.GIVEN_UP)) & ~among(runs["session"], odd)]
    got = of_stage(view, Kind.GOT)
    at, found = place(runs["key"], got["b"])
    if len(runs):
        found &= runs["session"][at] == got["session"]
    at, flag = at[found], got["flag"][found]
    sessions = view.sessions
    where, _ = place(sessions["session"].astype(np.int64), runs["session"].astype(np.int64))
    endpoint = sessions["endpoint"][where].astype(np.int64)
    session, size = runs["session"].astype(np.int64), runs["size"].astype(np.int64)
    out = []
    for step in rule.steps:
        mine = at[flag == view.resolved.dialect.types.index(step.type) + 1]
        times = np.bincount(mine, minlength=len(runs))
        asked = size if step.times.endswith("*") else np.zeros_like(size)
        beyond, value = np.unique(times - asked, return_inverse=True)
        one = int(asked[0]) if len(asked) and asked.min() == asked.max() else None
        words = tuple(_times(step.type, count, one) for count in beyond.tolist())
        out.append(Facet("run", session, endpoint, value.reshape(-1), words))
    return out


def _times(event: str, beyond: int, asked: int | None) -> str:
    if asked is not None:
        return (
            f"had {event} {beyond + asked:,} times" if beyond + asked != 1 else f"had {event} once"
        )
    if not beyond:
        return f"had {event} as often as was asked for"
    more = "more" if beyond > 0 else "fewer"
    return f"had {event} {abs(beyond):,} times {more} than was asked for"
