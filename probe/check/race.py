"""Races: whether any trial went wrong, at which offsets, and how surely that is known.

The rule (docs/methods.md, Race windows): one anomaly fails, wherever it was; where it lies and
how wide it is is told with a calibrated interval, or not at all; what was found is confirmed on
fresh trials against a control offset, or said not to be. No anomaly is never "no race": a PASS
has made all its trials and says how small a window they could have missed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.check.bound import Part, absence, unmeasured
from probe.check.catalogue import finding
from probe.check.race_acting import at_the_service, between
from probe.check.race_figures import figures
from probe.check.race_made import made
from probe.check.race_shape import at_the_edge, rather, space_of
from probe.check.race_trials import trials_of
from probe.check.race_witness import race_witnesses
from probe.check.race_words import (
    apart,
    beside,
    confirmation,
    exposure,
    offset,
    share,
    some,
    told,
    trials,
)
from probe.check.shrunk import shrunk, tell
from probe.check.verdict import Check, Outcome
from probe.check.words import duration, of, plain
from probe.stats.rates import zero_bound
from probe.stats.trials import confirmed
from probe.stats.window_fit import fit

if TYPE_CHECKING:
    from probe.check.race_acting import Between
    from probe.check.race_trials import Trial, Trials
    from probe.check.verdict import Finding
    from probe.check.view import StageView
    from probe.model.race import Race
    from probe.stats.window import Fit

REPRODUCE: Final = 30
_ASSUMED: Final = 2  # JITTER.flag
_LATE: Final = ("it was not over in time", ": deadline")
_NOTHING: Final = "no trial told anything"
_STOPPED: Final = "stopped"


def race(view: StageView) -> Part:
    """`<stage>.race`: no trial of the race went wrong."""
    part = Part()
    rule = view.stage.race
    if rule is None:
        return part
    small = shrunk(view, rule)
    found = trials_of(view, rule) if small is None else small.whole
    statistics = _fit(view, found)
    acting = between(view, found)
    shown = figures(view, found, statistics, acting) | {"made": made(view, found)}
    part.summary["races"] = {view.name: shown}
    fitted = None if statistics is None else at_the_service(statistics, acting)
    if not view.stage.expect.race:
        return part
    bad = [trial for trial in found.of("anomaly", "unplaced") if not found.tolerated(trial)]
    if not found.of("fine", "anomaly", "unplaced") and not found.beside:
        why = "; ".join(each for each in (view.why, _void(view, found)) if each) or _NOTHING
        part.checks.append(unmeasured(view, "race", "witness", why))
    elif bad or found.beside:
        _fails(view, part, found, fitted, bad, acting)
    else:
        part.checks.append(_held(view, found, fitted))
    if small is not None:
        tell(view, part, small)
    return part


def _fit(view: StageView, found: Trials) -> Fit | None:
    """What the rows say of a window; None where nothing was searched."""
    space = space_of(view, found)
    return None if space is None else fit(found.offsets_ns, found.anomalies, found.whys, space)


def _void(view: StageView, found: Trials) -> str:
    """How many trials told nothing, and the most frequent reason that an actor had."""
    void = [trial.number for trial in found.of("void")]
    if not void:
        return ""
    rows = view.sessions[np.isin(view.sessions["trial"], void) & (view.sessions["outcome"] > 0)]
    # Who is stopped because another one has fallen out is told no reason of its own.
    whys = Counter(why for row in rows if (why := view.text(row["why"])) not in ("", _STOPPED))
    why = f" ({plain(whys.most_common(1)[0][0].encode())})" if whys else ""
    told = of(len(void), len(found.every), "trial")
    return f"in {told} an actor did not come to its gate, or was stopped{why}"


def _fails(
    view: StageView, part: Part, found: Trials, fitted: Fit | None, bad: list[Trial],
    acting: Between,
) -> None:  # fmt: skip
    """The check and its findings where anything went wrong beyond what is tolerated."""
    rule = found.race
    n = len(found.of("fine", "anomaly", "unplaced"))
    proven = fitted is not None and fitted.found and bool(found.of("fine"))
    if rule.at is not None:
        proven = confirmed(*_counts(found, "confirm"), *_counts(found, "control"))[0]
    words, estimate, interval = "", None, None
    if bad:
        words = _told(rule, found, fitted, bad, acting) + rather(view, found, acting)
        words += at_the_edge(found) if rule.at is None else ""
        if proven and fitted is not None and fitted.localised and fitted.centre_ns is not None:
            centre = fitted.centre_ns
            estimate, interval = centre.value / 1e9, (centre.low / 1e9, centre.high / 1e9)
    lonely = [_lonely(view, found, name) for name in found.beside]
    message = "; ".join([*([words] if words else []), *(each for each, _ in lonely)])
    check = Check(
        id=f"{view.name}.race",
        stage=view.name,
        required=True,
        verdict=Outcome.FAIL,
        evidence="witness",
        n=n or found.releases,
        message=message,
        estimate=estimate,
        interval=interval,
        unit="s" if estimate is not None else "",
        # Of lateness a probe that was too slow may itself be the cause, unless there is a place
        # where it happens and places where it does not.
        load_sensitive=not proven and not lonely and _all_late(view, bad),
        control=_control(found),
    )
    part.checks.append(check)
    if bad:
        one = _finding(view, found, check.id, words, bad, fitted)
        part.findings.append(replace(one, reproduce=_again(view, found, fitted, bad)))
    for name, (words_, sessions) in zip(found.beside, lonely, strict=True):
        code = _code(rule.actors[name].finding or "actor", rule)
        shown = race_witnesses(view, found, sessions)
        one = finding(code, check.id, len(sessions), words_, witness=shown, pattern=rule.shape)
        part.findings.append(replace(one, reproduce=f"--stage {view.name}"))


def _code(name: str | None, rule: Race) -> str:
    return f"race.{name or rule.shape}"


def _told(rule: Race, found: Trials, fitted: Fit | None, bad: list[Trial], acting: Between) -> str:
    """What went wrong, and where, in one sentence."""
    n = len(found.of("fine", "anomaly", "unplaced"))
    what = f"{some(rule.noun)} {rule.anomaly}"
    unplaced = sum(trial.told == "unplaced" for trial in bad)
    more = (
        f"; in {trials(unplaced)} it went wrong before both actions were let go" if unplaced else ""
    )
    if rule.at is not None:
        return f"{what}: {_at(found)}{more}"
    offsets = [t.offset_ns for t in bad if t.offset_ns is not None]
    if offsets and not found.of("fine"):
        ends = f"{offset(min(offsets))} to {offset(max(offsets))}"
        return f"{what} in all {trials(n)}, from {ends}: it does not hang on the offset"
    if fitted is None or not fitted.found or fitted.centre_ns is None:
        where = "no offset stands out from the others"
        if offsets:
            where += f"; it was seen from {offset(min(offsets))} to {offset(max(offsets))}"
        bound = exposure(fitted, *rule.range) if fitted is not None else ""
        tail = f"; {bound}" if bound else ""
        return f"{what} in {of(len(bad), n, 'trial')}: not localised, {where}{tail}{more}"
    if rule.shape == "step":
        centre = f"{told(fitted.centre_ns)} after {rule.against}"
        head = f"{what}{share(fitted)} {'from' if fitted.rising else 'until'} {centre}"
        head += f"{' on' if fitted.rising else ''}{_held_there(found, fitted)}"
    else:
        where = beside(fitted.centre_ns, rule.against)
        head = f"{some(rule.noun)} {where} {rule.anomaly}{share(fitted)}"
    if not fitted.localised:
        bound = exposure(fitted, *rule.range)
        tail = f"; {acting.words()}" + (f"; {bound}" if bound else "")
        return f"{head}, seen in {of(len(bad), n, 'trial')}; not localised any closer{tail}{more}"
    sure = confirmation(fitted, *_tried_at(found, fitted.centre_ns.value, 0.0))
    return f"{head}: {sure}{_width(rule, fitted)}; {acting.words()}{more}"


def _held_there(found: Trials, fitted: Fit) -> str:
    """Trials that held on the side of a step where it goes wrong: it may be a window."""
    assert fitted.centre_ns is not None
    low, high, rising = fitted.centre_ns.low, fitted.centre_ns.high, fitted.rising
    there = [
        (trial.offset_ns, trial.told)
        for trial in found.placed
        if trial.offset_ns is not None
        and (trial.offset_ns > high if rising else trial.offset_ns < low)
    ]
    held = [at for at, fate in there if fate == "fine"]
    if not held:
        return ""
    ends = f"from {offset(min(held))} to {offset(max(held))}"
    return f" (but {of(len(held), len(there), 'trial')} on that side held, {ends})"


def _width(rule: Race, fitted: Fit) -> str:
    if rule.shape == "step":
        return ""
    if fitted.width_ns is not None:
        return f"; the window is {told(fitted.width_ns)} wide"
    bound = exposure(fitted, *rule.range)
    return f"; how wide the window is does not show above the jitter and the time to act, {bound}"


def _at(found: Trials) -> str:
    """With `at`: how often at the one offset and at its control, as they were measured."""
    rule = found.race
    assert rule.at is not None
    k1, n1 = _counts(found, "confirm")
    k0, n0 = _counts(found, "control")
    here, there = apart(*_tried_at(found, rule.at, rule.kept_against))
    words = f"{k1} of {n1} at {here}, {k0} of {n0} at {there}"
    if not k1:
        wrong = ", where it went wrong all the same" if k0 else ""
        return f"not reproduced: {words}{wrong}"
    sure, p_value = confirmed(k1, n1, k0, n0)
    tail = "" if sure else f" (Fisher, one-sided: p = {p_value:.2g}, which is no proof)"
    return f"reproduced {words}{tail}"


def _counts(found: Trials, why: str) -> tuple[int, int]:
    mine = [t for t in found.of("fine", "anomaly", "unplaced") if t.why == why]
    return sum(t.told != "fine" for t in mine), len(mine)


def _tried_at(found: Trials, here: float, there: float) -> tuple[float, float]:
    """Where fresh trials were made, as measured: at the window, and at the control."""
    own = [t.offset_ns for t in found.placed if t.why == "confirm" and t.offset_ns is not None]
    other = [t.offset_ns for t in found.placed if t.why == "control" and t.offset_ns is not None]
    return median(own) if own else here, median(other) if other else there


def _held(view: StageView, found: Trials, fitted: Fit | None) -> Check:
    """Nothing went wrong beyond what is tolerated: a PASS where that was looked for to the end."""
    rule, told_ = found.race, found.of("fine", "anomaly")
    n = len(told_)
    tolerated = sum(trial.told == "anomaly" for trial in told_)
    low, high = rule.range
    message = f"{trials(n)} from {offset(low)} to {offset(high)} held"
    if rule.at is not None:
        message = _at(found)
    elif tolerated:
        message = (
            f"{_within(rule, found, fitted)}, which is promised up to {offset(rule.tolerated or 0)}"
        )
    elif fitted is not None:
        bound = exposure(fitted, low, high)
        bound = bound or f"it lasts under {duration(_gap(rule, found))} or does not always fail"
        message += f": if there is a race here, {bound}"
    void = _void(view, found)
    message += f"; {void}" if void else ""
    check = absence(
        view, "race", message, rule.noun, bad=0, n=n, missing=True, load_sensitive=True,
        control=_control(found),
    )  # fmt: skip
    check = replace(
        check,
        interval=None if tolerated else (0.0, zero_bound(n)),
        estimate=tolerated / n,
        smallest=_smallest(rule, found),
    )
    short = _short(view, rule, found)
    if short and check.verdict is Outcome.PASS:
        return replace(check, verdict=Outcome.INCONCLUSIVE, message=f"{message}; but {short}")
    return check


def _within(rule: Race, found: Trials, fitted: Fit | None) -> str:
    """What was seen and is tolerated."""
    if fitted is not None and fitted.found and fitted.centre_ns is not None:
        edge = "from" if fitted.rising else "until"
        where = f"{edge} {told(fitted.centre_ns)} after {rule.against}"
        return f"{some(rule.noun)} {rule.anomaly}{share(fitted)} {where}"
    seen = [t.offset_ns for t in found.of("anomaly") if t.offset_ns is not None]
    return (
        f"{some(rule.noun)} {rule.anomaly} in {trials(len(seen))}, at most at {offset(max(seen))}"
    )


def _short(view: StageView, rule: Race, found: Trials) -> str:
    """Why it was not looked for to the end, or ""."""
    if view.stopped_early:
        return f"the race was ended early: {view.why or 'no reason was told'}"
    n = len(found.placed)
    hits = any(found.anomalies)
    wanted = rule.confirm if rule.at is not None else rule.trials
    if not hits and n < wanted:
        return f"only {n} of {wanted} trials told anything"
    return ""


def _smallest(rule: Race, found: Trials) -> str:
    """The widest window that always fails and would have been missed."""
    if rule.at is not None or not found.placed:
        return f"a rate of {zero_bound(len(found.placed)):.2g} at these offsets (95 %)"
    gap = duration(_gap(rule, found))
    return f"a window of {gap} that always fails, anywhere in the range"


def _gap(rule: Race, found: Trials) -> int:
    """The widest stretch of the range in which there was no trial, ns."""
    low, high = rule.range
    x = np.sort(found.offsets_ns[(found.offsets_ns >= low) & (found.offsets_ns <= high)])
    return int(np.diff(np.concatenate([[low], x, [high]])).max())


def _control(found: Trials) -> str:
    """What shows that a trial can go well, far from where others go wrong."""
    fine = [t.offset_ns for t in found.of("fine") if t.offset_ns is not None]
    control = [t for t in found.placed if t.why == "control"]
    if control:
        held = sum(t.told == "fine" for t in control)
        return f"{held} of {trials(len(control))} at the control offset held"
    if not fine:
        return "none: no trial at any offset held"
    return f"{trials(len(fine))} from {offset(min(fine))} to {offset(max(fine))} held"


def _all_late(view: StageView, bad: list[Trial]) -> bool:
    """Whether all that went wrong is that something took too long."""
    sessions = {session for trial in bad for session in trial.bad}
    rows = view.sessions[np.isin(view.sessions["session"], list(sessions))]
    whys = [view.text(row["why"]) for row in rows if int(row["outcome"]) == 1]
    return bool(whys) and all(why.endswith(_LATE) for why in whys)


def _lonely(view: StageView, found: Trials, name: str) -> tuple[str, tuple[int, ...]]:
    """An actor that belongs to no one trial, and did not come to its end."""
    sessions = found.beside[name]
    rows = view.sessions[np.isin(view.sessions["session"], sessions)]
    why = next((view.text(row["why"]) for row in rows if row["why"]), "an odd message")
    words = f"{name} did not come to the end of its script in "
    return (
        f"{words}{of(len(sessions), found.releases, 'release')} ({plain(why.encode())})",
        sessions,
    )


def _finding(
    view: StageView, found: Trials, check: str, words: str, bad: list[Trial], fitted: Fit | None
) -> Finding:
    """Witnesses: the first one, the one nearest to the centre, the last one."""
    rule = found.race
    centre = fitted.centre_ns.value if fitted and fitted.centre_ns else 0.0
    near = {s: abs(t.offset_ns - centre) for t in bad for s in t.bad if t.offset_ns is not None}
    shown = race_witnesses(view, found, {s for t in bad for s in t.bad}, near)
    code = _code(rule.finding, rule)
    return finding(code, check, len(bad), words, witness=shown, pattern=rule.shape)


def _again(view: StageView, found: Trials, fitted: Fit | None, bad: list[Trial]) -> str:
    """The options that try just this again."""
    rule = found.race
    words = f"--stage {view.name}"
    offsets = [t.offset_ns for t in bad if t.offset_ns is not None]
    if rule.at is not None or not offsets or not found.of("fine"):
        return words
    at = float(median(offsets))
    if fitted is not None and fitted.centre_ns is not None:
        at = fitted.centre_ns.value
        if rule.shape == "step":  # well on the side where it goes wrong
            low, high = rule.range
            at = (at + high) / 2 if fitted.rising else (at + low) / 2
    # A centre may lie where no trial could be made, as before the first action of one script.
    at = at if min(offsets) <= at <= max(offsets) else float(median(offsets))
    return f"{words} --at {at / 1e6:+.1f}ms --trials {REPRODUCE}"
