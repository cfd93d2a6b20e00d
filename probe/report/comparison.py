"""A comparison in words: its headline, its table, and what is said beside it.

The rule: what is shown is the stored document (`comparison.json`), so that every view says the
same, also of a comparison whose other side is gone. No change without its interval; a figure
that was not judged says why. Text of findings came from servers: each view makes it visible or
escapes it, as it does everything else.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from probe.check.comparing.rows import UNKNOWN
from probe.report import figures
from probe.report.document import settled
from probe.stats.compare import PAIRS_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.check.comparing.comparison import Comparison

Told = dict[str, Any]
NAME: Final = "comparison.json"
SCHEMA: Final = 1
HEADER: Final = ("figure", "before", "now", "change (95 %)", "A/A", "verdict")
MEANS: Final = {
    "the same run": "the same run: there is nothing to compare",
    "better": "better",
    "same": "same",
    "worse": "worse",
    "undecided": "undecided",
    "nothing compared": "nothing was compared",
}
_LARGE: Final = 10.0
_NAMED_MAX: Final = 3


def comparison_document(comparison: Comparison) -> Told:
    """What comparison.json holds: plain data, sorted as it was judged."""
    whole: Told = settled({"schema": SCHEMA, **asdict(comparison)})
    return whole


def headline(told: Told) -> str:
    """`worse: 2 figures worse, 1 same, 3 undecided; 1 new finding`."""
    counts = Counter(row["said"] for row in told["rows"] if not row["why"])
    parts = [f"{counts[said]} {said}" for said in ("worse", "better", "same", "undecided")
             if counts[said]]  # fmt: skip
    states = Counter(each["state"] for each in told["findings"])
    more = [f"findings: {', '.join(f'{n} {state}' for state, n in states.items())}"] * bool(states)
    text = "; ".join([", ".join(parts), *more] if parts else more)
    means = MEANS[told["said"]]
    if told["said"] == "nothing compared" and states:
        means = "no figure could be compared"
    return f"{means}{f': {text}' if text else ''}"


def unsettled(told: Told) -> bool:
    """Whether anything was left undecided or uncompared, whatever the rest came to."""
    heads = [row for row in told["rows"] if not row["head"]]
    return bool(told["refused"]) or any(row["why"] or row["said"] == "undecided" for row in heads)


def smallest(told: Told) -> str:
    """From which change on every judged head would have been told, by unit; "" where none was."""
    reach: dict[str, float] = {}
    for row in told["rows"]:
        if row["head"] or row["why"]:
            continue
        unit, known = row["change_unit"], [row["margin"], row["change"], *row["interval"]]
        far = math.inf
        if None not in known:
            log = unit == "relative"
            margin, change, low, high = map(math.log1p, known) if log else known
            far = margin + max(change - low, high - change)
            far = math.expm1(far) if log else far
        reach[unit] = max(far, reach.get(unit, 0.0))
    words = {"relative": "of a time or a rate", "points": "of a share", "s": "of a span"}
    return "; ".join(
        f"a change {words[unit]}: "
        + (_signed({"change_unit": unit}, far).lstrip("+") if far < math.inf else "no bound")
        for unit, far in reach.items()
    )


def worst(told: Told) -> str:
    """The heads that are worse, in words: `users.connect p50 +30 % [+24, +35]`; "" for none."""
    rows = [row for row in told["rows"] if row["said"] == "worse" and not row["head"]]
    return _some([f"{row['stage']}.{row['name']} {change_words(row)}" for row in rows])


def arms(told: Told) -> str:
    """Which runs: `20261122-…-9f31 against 20261121-…-cbbb`."""
    return f"{_runs(told['now'])} against {_runs(told['before'])}"


def cells(told: Told) -> list[tuple[str, ...]]:
    """The table by HEADER: each stage's name stands before its figures' names."""
    return [
        (
            f"{row['stage']}.{row['name']}",
            _value(row, "before"),
            _value(row, "now"),
            change_words(row),
            noise_words(row),
            verdict_words(row),
        )
        for row in told["rows"]
        if not row["why"]
    ]


def remarks(told: Told) -> list[str]:
    """What is said beside the table, a sentence each."""
    out = [f"not comparable: {each}" for each in told["refused"]]
    out += told["notes"]
    missing: dict[str, list[str]] = {}
    for row in told["rows"]:
        if row["why"] and not row["head"]:
            missing.setdefault(row["why"], []).append(f"{row['stage']}.{row['name']}")
    for why, names in missing.items():
        out.append(f"not judged: {_some(names)}: {why}")
    timed = [row for row in told["rows"] if row["change_unit"] != "points" and not row["why"]]
    unsure = [f"{row['stage']}.{row['name']}" for row in timed if row["how"] == "blocks"]
    if unsure:
        why = "of single runs, too few came in each"
        if len(told["known"]) <= PAIRS_MIN:
            why = "one run of each, and fewer than four of the same thing up to the one before"
        out.append(
            f"how much runs of the same thing differ is not known of {_some(unsure)} ({why}): "
            f"none of it is called the same, and its margin is {100 * UNKNOWN:.0f} %"
        )
    if told["known"] and any(row["how"] == "spread" for row in timed):
        out.append(f"runs of the same thing are known from {_runs(told['known'])}")
    return out


def finding_lines(told: Told) -> list[str]:
    """Findings that are new, still there, not seen now; one line each, text as it came."""
    many = max(len(told["before"]), len(told["now"])) > 1
    out = []
    for each in told["findings"]:
        runs = f" in {each['now']} of {len(told['now'])} runs" if many and each["now"] else ""
        accepted = ", accepted" if each["accepted"] else ""
        head = f"{each['state']}{runs}: {each['code']} ({each['severity']}{accepted})"
        out.append(f"{head}: {each['message']}" if each["state"] != "not seen now" else head)
    return out


def change_words(row: Told) -> str:
    """`+12 % [+9.1, +15]`; in points for a share, in time for a span, from tenfold on as x12."""
    value, ends = row["change"], row["interval"] or (None, None)
    known = [end for end in (value, *ends) if end is not None]
    factor = row["change_unit"] == "relative" and max(known, default=0.0) >= _LARGE
    shown = _signed(row, value, factor=factor)
    if ends[0] is None and ends[1] is None:
        return f"{shown} (no bound)"
    texts = [_signed(row, end, factor=factor) for end in ends]
    # The unit stands once; a time has one of its own at each end, and so has a factor.
    bare = [text.removesuffix(" %").removesuffix(" pt") for text in texts]
    return f"{shown} [{', '.join(bare)}]"


def noise_words(row: Told) -> str:
    """What two runs of the same thing differ by in 95 of 100 pairs; "-" where not known."""
    if row["noise"] is None:
        return figures.MISSING
    return f"±{_signed(row, row['noise']).lstrip('+')}"


def verdict_words(row: Told) -> str:
    """The verdict; a change for the worse or the better in capitals, as in a list of checks."""
    said = str(row["said"])
    return said.upper() if said == "worse" else said


def _value(row: Told, arm: str) -> str:
    value = row[arm]
    if value is None:
        return figures.MISSING
    end = dict(zip(("before", "now"), row.get("ends") or ("", ""), strict=True))[arm]
    return f"{end} {figures.amount(value, row['unit'])}".lstrip()


def _signed(row: Told, value: float | None, *, factor: bool = False) -> str:
    if value is None:
        return "no bound"
    if factor:
        return f"x{1 + value:,.3g}"
    match row["change_unit"]:
        case "relative":
            return f"{100 * value:+.1f} %" if abs(value) < 0.1 else f"{100 * value:+.0f} %"  # noqa: PLR2004 -- below 10 % a decimal tells
        case "points":
            return f"{100 * value:+.2f} pt" if value else "0 pt"
        case _:
            text = figures.duration(abs(value))
            return text if not value else f"{'-' if value < 0 else '+'}{text}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return f"{', '.join(names[:_NAMED_MAX])}{more}"


def _runs(ids: Sequence[str]) -> str:
    if len(ids) == 1:
        return str(ids[0])
    return f"{len(ids)} runs, {ids[0]} to {ids[-1]}" if ids else "no run"
