"""The table of cases, continued: what goes wrong only when two things come close together.

Rows of the table of `cases`; its rule holds here, too. A window is looked for in its own
stage alone; in full it is wide and the range is narrow, at the least it is narrow and the
range and the number of trials are those of the scenario.
"""

from __future__ import annotations

from typing import Final

from probe.certificate.case import Case, Count, Dose

_TRIAL: Final = Count(1.0, 1.0, "each hit is one trial of its own, and each such trial is counted")
_EVENTS: Final = Count(None, 1.0, "each event is a hit, and the trials are counted")


def faster(stage: str, low: str, high: str) -> tuple[str, ...]:
    """A race of fewer trials over a narrower range, whose failures do not wait for long."""
    race = f"stages.{stage}.race"
    return (
        f'{race}.range=["{low}","{high}"]',
        f"{race}.trials=40",
        f"{race}.confirm=20",
        f"{race}.within=1s",
    )


def _window(
    defect: str,
    place: tuple[str, str],
    code: str,
    *,
    range_ms: int = 400,
    width_ms: int = 50,
    least_ms: int = 25,
    count: Count = _TRIAL,
) -> Case:
    """A window from 0 on, in that stage of that scenario: 120 trials over `range_ms`."""
    scenario, stage = place
    return Case(
        defect,
        scenario,
        (code,),
        Dose(
            f"{width_ms}ms",
            "40 trials, every fourth of them within the window",
            faster(stage, "0ms", f"{4 * width_ms}ms"),
        ),
        Dose(f"{least_ms}ms", f"120 trials over {range_ms} ms: P(no hit) < 0.1 %"),
        count,
        stage=stage,
    )


_WINDOWS: Final = (
    _window("auth_drops_early_frames", ("auth_races", "first_message"), "race.early_frames_lost"),
    _window("auth_after_accept", ("auth_races", "bad_token"), "race.early_frames_served"),
    _window("refresh_race", ("session_races", "refresh"), "race.refresh_loses"),
    _window("subscribe_race", ("session_races", "subscribe"), "race.subscribe", range_ms=300),
    _window("double_run_mixup", ("session_races", "double_run"), "race.double_run"),
    _window(
        "reconnect_ghost",
        ("session_races", "reconnect"),
        "race.reconnect_ghost",
        range_ms=800,
        width_ms=100,
        least_ms=50,
        count=_EVENTS,
    ),
    Case(
        "token_reuse_race",
        "token_reuse",
        ("race.token_reuse",),
        Dose(
            "50ms",
            "40 trials, every fourth of them within the window",
            faster("pair", "-200ms", "200ms"),
        ),
        Dose("20ms", "150 trials over 800 ms, the window on both sides: P(no hit) < 0.1 %"),
        _TRIAL,
        stage="pair",
    ),
    Case(
        "takeover_race",
        "session_races",
        ("race.window",),
        Dose(
            "50ms",
            "40 trials, every fourth of them within the window",
            faster("overlap", "-100ms", "100ms"),
        ),
        Dose("30ms", "60 trials over 200 ms: P(no hit) < 0.1 %"),
        _TRIAL,
        stage="overlap",
    ),
)

_BREAKER: Final = "stages.breaker.race"
SOON: Final = (
    f'{_BREAKER}.range=["50ms","1s"]',
    f"{_BREAKER}.goal=20ms",
    f"{_BREAKER}.spacing=20ms",
    f"{_BREAKER}.trials=48",
    f"{_BREAKER}.confirm=32",
    f"{_BREAKER}.actors.last.script.0.offset=1500ms",
)
_HERD: Final = "stages.herd.race"
HERD: Final = (
    f"{_HERD}.actors.failing.script.3.offset=-1500ms",
    f"{_HERD}.trials=40",
    f"{_HERD}.confirm=20",
    f"{_HERD}.within=2s",
)
CAP: Final = faster("cap", "1ms", "200ms")
REVOCATION: Final = (
    *faster("connects", "20ms", "1s"),
    *faster("open_sessions", "20ms", "1s"),
    *faster("logout", "20ms", "1s"),
)
_STEPS: Final = (
    Case(
        "revoked_lingers",
        "revocation",
        ("race.revoked_connects", "race.revoked_stays"),
        Dose("500ms", "40 trials in each of three stages; 100 ms are tolerated", REVOCATION),
        Dose("250ms", "100 trials over 2.5 s in each of three stages; 100 ms are tolerated"),
        Count(None, 1.0, "a hit is any connection, those that are no trial or tolerated, too"),
    ),
    Case(
        "breaker_global",
        "circuit_breaker",
        ("race.breaker",),
        Dose("500ms", "48 users over 1 s, every other one refused", SOON),
        Dose("200ms", "48 users over 1 s: none of their gaps is wider than 100 ms", SOON),
        Count(1.0, 1.0, "each hit is one user refused, and each of them is counted"),
        stage="breaker",
    ),
    Case(
        "breaker_sticks",
        "circuit_breaker",
        ("race.breaker_sticks",),
        Dose("1", "a switch; 3 releases", SOON),
        None,
        Count(None, 1.0, "each refusal is a hit, and the last one of each release is counted"),
        beside=("race.breaker",),
        stage="breaker",
    ),
)

BURSTS: Final = ("stages.bursts.race.trials=20", "stages.bursts.race.confirm=10")
_EDGES: Final = (
    Case(
        "limit_resets_at_edge",
        "rate_limit",
        ("race.limit_edge",),
        Dose("1", "a switch; 20 trials, two of three of them beyond the edge", BURSTS),
        None,
        Count(None, 1.0, "each message beyond the limit is a hit, and the trials are counted"),
        stage="bursts",
    ),
    Case(
        "breaker_half_open",
        "circuit_breaker",
        ("race.half_open",),
        Dose("100ms", "40 users of herds over 398 ms, every fourth of them refused", HERD),
        Dose("20ms", "40 users of herds over 398 ms: none of their gaps is wider than 17 ms", HERD),
        Count(1.0, 1.0, "each hit is one user refused, and each of them is counted"),
        stage="herd",
    ),
    Case(
        "cap_race",
        "rate_limit",
        ("race.cap",),
        Dose("50ms", "40 trials, every fourth of them within the gap", CAP),
        Dose("25ms", "120 trials over 399 ms: P(no hit) < 0.1 %"),
        _TRIAL,
        stage="cap",
    ),
)

TAIL: Final = ("stages.tail.populations.logins.shape.lasts=6s",)
_BLOCKS: Final = (
    Case(
        "validation_blocks_loop",
        "auth_races",
        ("loop.blocked",),
        Dose("200ms", "12 logins beside 4 clients who ping every 20 ms"),
        Dose("120ms", "12 logins beside 4 clients who ping every 20 ms; 80 ms are allowed"),
        Count(None, 1.0, "each login is a hit, and of those before there are pings nobody knows"),
        stage="logins",
    ),
    Case(
        "blocking_dependency",
        "auth_races",
        ("loop.blocked",),
        Dose("200ms", "6 runs beside 4 clients who ping every 20 ms"),
        Dose("120ms", "6 runs beside 4 clients who ping every 20 ms; 80 ms are allowed"),
        Count(1.0, 1.0, "each run is a hit, and each of them is a pause of its own"),
        stage="runs",
    ),
    Case(
        "slow_accept_tail",
        "auth_races",
        ("latency.over_limit",),
        Dose("0.2", "720 connections, every fifth of them slow; 0.5 % may be", TAIL),
        Dose("0.02", "1,440 connections: P(too few to tell 2 % from 0.5 %) < 0.1 %"),
        Count(1.0, 1.0, "each hit is one connection, and each connection is counted"),
        stage="tail",
    ),
)

RACES: Final[tuple[Case, ...]] = (*_WINDOWS, *_STEPS, *_EDGES, *_BLOCKS)
