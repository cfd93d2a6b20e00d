"""What two runs have in common: which stages played the same, and in words what differs.

The rule: numbers of different loads, against different targets, in different words or from
another number of processes are never set against each other. Seeds may differ: they draw other
arrivals of the same load. What an expectation allows says nothing of what was played.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from probe.check.comparing.taken import Taken

QUOTED_MAX: Final = 60
TARGET: Final = ("name", "kind", "endpoints", "services")


def differs(before: Taken, now: Taken, *, across: bool = False) -> str:
    """What keeps any figure of these runs apart; "" for nothing. `across`: targets may differ."""
    if not across:
        for key in TARGET:
            if before.target.get(key) != now.target.get(key):
                found = _first(before.target.get(key), now.target.get(key), f"target.{key}")
                return f"the targets differ: {found}"
    if found := _first(before.dialect, now.dialect, "dialect"):
        return f"the dialects differ: {found}"
    workers = [each.played_by["workers"] or 1 for each in (before, now)]
    if workers[0] != workers[1]:
        return f"one was played by {workers[0]} process(es), the other by {workers[1]}"
    return ""


def stage_differs(before: Taken, now: Taken, stage: str) -> str:
    """What keeps the figures of one stage apart; "" for nothing."""
    for each, word in ((before, "before"), (now, "now")):
        if stage not in each.stages:
            return f"there is no stage {stage} {word}"
    return _first(before.stages[stage], now.stages[stage], f"stages.{stage}")


def remarks(before: Taken, now: Taken) -> list[str]:
    """What else differs, and a reader should know beside the numbers."""
    out = []
    if before.scenario != now.scenario:
        out.append(f"the scenario was {before.scenario} and is {now.scenario}")
    for key, name in (("platform", "machines"), ("cpu_count", "numbers of CPUs")):
        if before.played_by[key] != now.played_by[key]:
            told = f"{before.played_by[key]} and {now.played_by[key]}"
            out.append(f"played from different {name} ({told}): a change can be theirs")
    for key, name in (("defects", "defects of the lab"), ("settings", "set of the target")):
        lists = [", ".join(each.played_by[key]) or "none" for each in (before, now)]
        if lists[0] != lists[1]:
            out.append(f"{name}: {lists[0]} before, {lists[1]} now")
    return out


def same_thing(before: Taken, other: Taken) -> bool:
    """Whether a run was of the same thing, as far as a run tells: of it, spreads are learnt."""
    keys = ("defects", "settings", "platform")
    same = all(before.played_by[key] == other.played_by[key] for key in keys)
    return same and not other.why_not and not differs(before, other)


def _first(before: Any, now: Any, path: str) -> str:
    """The first place at which two nested values differ, with both; "" where they are alike."""
    if before == now:
        return ""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            if before.get(key) != now.get(key):
                return _first(before.get(key), now.get(key), f"{path}.{key}")
    return f"{path} was {_quoted(before)} and is {_quoted(now)}"


def _quoted(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= QUOTED_MAX else f"{text[: QUOTED_MAX - 3]}..."
