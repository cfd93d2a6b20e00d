"""The matrix as JSON and as a Markdown page: pure.

The rule: no share without its n and its interval, and nothing that did not count is left
out. A cell of the matrix says in how many of the runs a code was found; what was expected
there stands in bold.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from probe.certificate.sight import Sight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from probe.certificate.matrix import Calm, Matrix, Row, Share

SCHEMA: Final = 1
_COUNTED: Final = {Sight.SEEN, Sight.MISSED, Sight.QUIET}
WRONG_MAX: Final = 100
_SEEN: Final = (
    "`told / ledger`: what the findings counted, and the hits in the ledger, over all runs in "
    "which the defect was seen."
)
_MATRIX: Final = (
    "In how many runs at full dose each code was found; bold where it is expected. Columns:"
)
_HELD: Final = (
    "How the count of the finding compares with the hits in the ledger, and which other codes "
    "may come with the defect."
)
_AGAIN: Final = (
    "`make certificate` makes this page; `probe selftest` is the quick form of it, and "
    "`probe selftest --only NAME` one defect, or one scenario on the healthy lab."
)


def as_json(matrix: Matrix, made: str) -> dict[str, Any]:
    """The whole matrix in plain JSON types; `made` is when, as ISO 8601."""
    return {
        "schema": SCHEMA,
        "made": made,
        "version": matrix.version,
        "complete": not matrix.missing,
        "missing": matrix.missing,
        "seen": _share(matrix.seen),
        "least_seen": _share(matrix.least_seen),
        "false_alarms": _share(matrix.alarms),
        "ledger_agrees": _share(matrix.agrees),
        "codes": list(matrix.codes),
        "defects": [_plain(row) for row in matrix.rows],
        "healthy": [_plain(each) for each in matrix.calm],
        "wrong": list(matrix.wrong),
        "open": list(matrix.open_),
    }


def _plain(row: Row | Calm) -> dict[str, Any]:
    shares = {"seen", "agrees", "alarms"}
    return {
        key: _share(getattr(row, key)) if key in shares else _listed(value)
        for key, value in asdict(row).items()
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {"k": share.k, "n": share.n, "low": round(low, 6), "high": round(high, 6)}


def percent(share: Share) -> str:
    """The interval in words; "-" where there is nothing."""
    if not share.n:
        return "-"
    low, high = share.interval
    return f"{_down(low)} to {_up(high)} %"


def _down(rate: float) -> str:
    """To a tenth of a per cent, never more than it is."""
    return f"{math.floor(rate * 1000) / 10:g}"


def _up(rate: float) -> str:
    return f"{math.ceil(rate * 1000) / 10:g}"


def k_of_n(share: Share) -> str:
    """Such as "10 of 10"."""
    return f"{share.k} of {share.n}"


def uncounted(sights: Mapping[str, int]) -> str:
    """What did not count, such as "2 idle, 1 unfit"; "" where everything did."""
    rest = {kind: n for kind, n in sights.items() if kind not in _COUNTED}
    return ", ".join(f"{n} {kind}" for kind, n in rest.items())


def ledger(row: Row) -> str:
    """How the finding's count compares with the ledger's, over the runs that were seen."""
    if not row.agrees.n:
        return "-"
    return f"{row.told:,} / {row.hits:,}"


def others(row: Row) -> dict[str, int]:
    """Codes that stood beside the expected ones, by runs."""
    return {code: n for code, n in row.codes.items() if code not in row.expected}


def conclusion(matrix: Matrix) -> str:
    """The certificate in one line."""
    parts = []
    if matrix.seen.n:
        parts.append(f"defects seen in full in {k_of_n(matrix.seen)} runs ({percent(matrix.seen)})")
    if matrix.least_seen.n:
        parts.append(
            f"at their least in {k_of_n(matrix.least_seen)} ({percent(matrix.least_seen)})"
        )
    if matrix.alarms.n:
        parts.append(f"false alarms in {k_of_n(matrix.alarms)} ({percent(matrix.alarms)})")
    if matrix.agrees.n:
        parts.append(f"the ledger agrees in {k_of_n(matrix.agrees)}")
    return "; ".join(parts) or "nothing was run"


def markdown(matrix: Matrix, made: str) -> str:
    """docs/certificate.md: what was run, what came of it, the whole matrix."""
    parts = [
        "# Certificate",
        _opening(matrix, made),
        *(_defects(matrix) if matrix.rows else ()),
        *(_healthy(matrix) if matrix.calm else ()),
        *(_crossing(matrix) if matrix.rows else ()),
        *(_relations(matrix) if matrix.rows else ()),
        *_not_as_expected(matrix),
        *_again(),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(matrix: Matrix, made: str) -> str:
    broken = len(matrix.wrong)
    lines = [
        "The probe against its own lab: every defect that the lab can have, under the scenario",
        "that ought to see it, in full and at the least that the scenario claims to see; and the",
        "healthy lab under every scenario. Each line of the tables is a number of whole",
        "`probe run` processes, compared with what the lab's ledger says it did.",
        "",
        f"- made {made}, version {matrix.version}, {matrix.runs:,} runs",
        f"- {conclusion(matrix)}",
    ]
    if matrix.missing:
        lines.append(f"- **not complete**: {matrix.missing:,} runs are still to be made")
    if matrix.wrong or matrix.open_:
        lines.append(f"- **not as expected**: {broken}, not judged: {len(matrix.open_)}; see below")
    return "\n".join(lines)


def _defects(matrix: Matrix) -> list[str]:
    rows = [
        (
            _code(row.defect),
            _code(row.value),
            row.scenario,
            ", ".join(map(_code, row.expected)),
            f"{k_of_n(row.seen)}",
            percent(row.seen),
            ledger(row),
            row.sees,
            uncounted(row.sights) or "",
        )
        for row in matrix.rows
    ]
    heads = (
        "defect", "value", "scenario", "expected", "seen", "95 % interval", "told / ledger",
        "why this many", "did not count",
    )  # fmt: skip
    return [
        "## Seen",
        _SEEN,
        _table(heads, rows),
    ]


def _healthy(matrix: Matrix) -> list[str]:
    rows = [
        (
            each.scenario,
            k_of_n(each.alarms),
            percent(each.alarms),
            f"{each.passed} of {each.runs}",
            ", ".join(f"{_code(code)} {n}" for code, n in each.codes.items()),
            uncounted(each.sights) or "",
        )
        for each in matrix.calm
    ]
    heads = ("scenario", "false alarms", "95 % interval", "PASS", "findings", "did not count")
    return ["## False alarms", "Any finding on the healthy lab is one.", _table(heads, rows)]


def _crossing(matrix: Matrix) -> list[str]:
    """The matrix itself: defect x code, in how many of the runs at full dose."""
    rows = [row for row in matrix.rows if row.level == "full"] or list(matrix.rows)
    there = {code for row in rows for code in row.codes}
    there |= {code for each in matrix.calm for code in each.codes}
    codes = [code for code in matrix.codes if code in there]
    number = {code: place for place, code in enumerate(codes, 1)}
    heads = ("defect", *(str(number[code]) for code in codes), "runs")
    cells = [
        (_code(row.defect), *(_cell(row, code) for code in codes), str(row.runs)) for row in rows
    ]
    if matrix.calm:
        runs = sum(each.runs for each in matrix.calm)
        found = {code: sum(each.codes.get(code, 0) for each in matrix.calm) for code in codes}
        cells.append(("*none*", *(str(found[code] or "") for code in codes), str(runs)))
    legend = ", ".join(f"{place} {_code(code)}" for code, place in number.items())
    return [
        "## Matrix",
        f"{_MATRIX} {legend or 'no code was found'}.",
        _table(heads, cells),
    ]


def _cell(row: Row, code: str) -> str:
    found = row.codes.get(code, 0)
    return f"**{found}**" if code in row.expected and found else str(found or "")


def _relations(matrix: Matrix) -> list[str]:
    """What the counts were held to; once per defect."""
    rows = {row.defect: (_code(row.defect), row.relation, row.why) for row in matrix.rows}
    beside = {row.defect: ", ".join(map(_code, row.beside)) for row in matrix.rows if row.beside}
    return [
        "## What the counts are held to",
        _HELD,
        _table(
            ("defect", "count to ledger", "because", "may come with it"),
            [(*row, beside.get(defect, "")) for defect, row in rows.items()],
        ),
    ]


def _not_as_expected(matrix: Matrix) -> list[str]:
    parts = []
    for title, each in (("Not as expected", matrix.wrong), ("Not judged", matrix.open_)):
        if each:
            rest = [f"- and {len(each) - WRONG_MAX:,} more"] if len(each) > WRONG_MAX else []
            lines = [f"- {_escaped(words)}" for words in each[:WRONG_MAX]]
            parts += [f"## {title}", "\n".join((*lines, *rest))]
    return parts


def _again() -> list[str]:
    return [
        "## Again",
        _AGAIN,
    ]


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = tuple(heads)
    lines = [titles, ("---",) * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def _escaped(text: str) -> str:
    """Words that quote a run, as part of a line."""
    for mark in "\\`*_<|[]":
        text = text.replace(mark, f"\\{mark}")
    return text
