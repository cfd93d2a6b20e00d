"""What is searched by a race, and whether its rows have the shape that was declared.

The rule: a declared step is reported as one. Where a window explains the same trials better, by
more than a ln Bayes factor of 3, that is said beside it, with both edges as they were found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probe.check.race_words import told
from probe.history.records import Kind
from probe.stats.window import Space
from probe.stats.window_shape import rather_a_window

if TYPE_CHECKING:
    from probe.check.race_acting import Between
    from probe.check.race_trials import Trials
    from probe.check.view import StageView


def space_of(view: StageView, found: Trials) -> Space | None:
    """What was searched, with its jitter; None where nothing was."""
    rule = found.race
    rows = view.history.of(Kind.JITTER)
    rows = rows[rows["op"] == view.index]
    if rule.at is not None or not found.placed or not len(rows):
        return None
    low, high = rule.range
    return Space(low, high, int(rows["b"][0]), rule.shape, rule.goal)


def at_the_edge(found: Trials) -> str:
    """The end of a sentence where a window was declared and reaches an end of the range, or ""."""
    wrong = [t.offset_ns for t in found.of("anomaly") if t.offset_ns is not None]
    fine = [t.offset_ns for t in found.of("fine") if t.offset_ns is not None]
    if found.race.shape != "window" or not wrong or not fine:
        return ""
    if min(fine) > min(wrong):
        side, end = "before", "ends"
    elif max(fine) < max(wrong):
        side, end = "behind", "begins"
    else:
        return ""
    return (
        f"; no trial held {side} it: where no offset can be there, or it is wrong at all of them, "
        f'shape = "step" tells where it {end}'
    )


def rather(view: StageView, found: Trials, acting: Between) -> str:
    """The end of a sentence where a step was declared and a window fits better, or ""."""
    space = space_of(view, found)
    if space is None or space.kind != "step":
        return ""
    window = rather_a_window(found.offsets_ns, found.anomalies, found.whys, space)
    if window is None:
        return ""
    begins, ends = (told(acting.around(edge)) for edge in (window.begins_ns, window.ends_ns))
    return (
        f"; it was declared a step, but a window from {begins} to {ends} explains the same trials "
        f"better (ln Bayes factor {window.ln_bf:.1f})"
    )
