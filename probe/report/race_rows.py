"""The figures of a race as rows for people: (what, value).

The rule: a number is rounded here as it is in the finding, and each row says what it is; what is
not known has no row. The keys as they are stand in `windows.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from probe.check.race_words import offset, told
from probe.report import figures
from probe.stats.window import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Row = tuple[str, str]
_PLAIN: Final = (
    "shape", "noun", "anomaly", "since", "range_s", "trials", "anomalies", "void", "unplaced",
)  # fmt: skip
_LABELS: Final = {
    "since": "offsets count from",
    "anomalies": "trials that went wrong",
    "void": "trials that told nothing",
    "unplaced": "wrong before both were let go",
    "ln_bayes_factor": "ln of the Bayes factor for it",
    "localised": "localised within the goal",
    "exposure": "exposure (width times probability)",
    "exposure_most_s": "exposure at most (95 %)",
    "rate": "rate where it goes wrong, jitter and all",
    "rising": "goes wrong from the edge on",
}
_FITTED: Final = ("ln_bayes_factor", "found", "localised")


def race_rows(race: Mapping[str, Any]) -> list[Row]:
    """A race's figures in the order in which they are read."""
    rows = [*_named(race, _PLAIN), *_synchrony(race), *_named(race, _FITTED)]
    centre = "the edge" if race.get("shape") == "step" else "the centre"
    spans = ((centre, "centre"), ("the width", "width"), (_LABELS["exposure"], "exposure"))
    for label, key in spans:
        if race.get(key):
            rows.append((label, _span(race[key])))
            rows += _alone(race, label) if key == "centre" else []
    rows += [*_named(race, ("exposure_most_s", "rate", "rising")), *_acting(race), *_fresh(race)]
    return rows


def _named(race: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[Row]:
    for key in keys:
        if race.get(key) is not None:
            yield _LABELS.get(key, figures.words(key)), figures.cell(key, race[key])


def _span(value: Mapping[str, float]) -> str:
    return told(Span(*(float(value[key]) * 1e9 for key in ("value_s", "low_s", "high_s"))))


def _synchrony(race: Mapping[str, Any]) -> Iterator[Row]:
    if race.get("jitter_s") is not None:
        by = race.get("jitter_by", "unknown")
        yield "jitter (sd)", f"{figures.duration(race['jitter_s'])}, {by}"
    middle, most = race.get("release_spread_median_ms"), race.get("release_spread_max_ms")
    if middle is not None and most is not None:
        words = f"{figures.amount(middle, 'ms')} (median), {figures.amount(most, 'ms')} at most"
        yield "release spread: earliest to latest of one release, against their instants", words
    first = race.get("first_response_spread_median_ms")
    if first is not None:
        label = "first response spread: the same of the first answers"
        yield label, f"{figures.amount(first, 'ms')} (median)"


def _alone(race: Mapping[str, Any], label: str) -> list[Row]:
    """The same interval without the time in which the service acts."""
    alone = race.get("centre_statistics")
    return [(f"{label}, by the trials alone", _span({**race["centre"], **alone}))] if alone else []


def _acting(race: Mapping[str, Any]) -> Iterator[Row]:
    """What an interval allows for the time in which the service acts."""
    acting = race.get("acting") or {}
    for key, what in (("first", str(race.get("since", "the first"))), ("swept", "the swept one")):
        if key in acting:
            each = acting[key]
            told_by = f"by {each['by']}" + (f", n {each['n']:,}" if each["n"] else "")
            yield f"the service acts on {what} within", f"{_within(each['most_s'])}, {told_by}"


def _within(seconds: float) -> str:
    return figures.duration(seconds) if seconds else "0 ms"


def _fresh(race: Mapping[str, Any]) -> Iterator[Row]:
    sure, tried = race.get("confirmation") or {}, race.get("tried") or {}
    for place, start, name in (("at_s", "", "fresh trials"), ("control_s", "control_", "control")):
        rate = sure.get(f"{start}rate")
        if rate and tried.get(place) is not None:
            ends = figures.interval(rate[1:], "rate")
            words = f"{sure[f'{start}hits']} of {sure[f'{start}trials']}"
            at = offset(float(tried[place]) * 1e9)
            yield f"{name}, {at}", f"{words}, {figures.percent(rate[0])} (95 %: {ends})"
    if sure:
        yes = "confirmed" if sure["confirmed"] else "not confirmed"
        yield "Fisher, one-sided", f"p = {sure['p_value']:.2g}, {yes}"
