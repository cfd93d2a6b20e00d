"""The healthy lab under every scenario: whatever is found there is a false alarm.

Scaled down as the cases are. Limits are only changed where so few clients or restarts could
not prove them, so that PASS can be had and INCONCLUSIVE is not the best there is.
"""

from __future__ import annotations

from typing import Final

from probe.certificate.case import Sound
from probe.certificate.cases import READERS, SECOND, SQUEEZE, USERS
from probe.certificate.cases_races import BURSTS, CAP, HERD, REVOCATION, SOON, TAIL, faster
from probe.certificate.cases_spike import SHORT

_CAPACITY: Final = "stages.climb.capacity"
# So few answers have no bound of a p99, nor of a goodput of 98 %: they would need 174 that are
# independent, and near ones hang together.
_CLIMB: Final = (
    f'{_CAPACITY}.until="p80<500ms"',
    f"{_CAPACITY}.goodput=80%",
    f"{_CAPACITY}.repeats=1",
    f"{_CAPACITY}.settle=200ms",
    f"{_CAPACITY}.lasts=2s",
    f"{_CAPACITY}.pause=100ms",
)

SOUND: Final[tuple[Sound, ...]] = (
    Sound("smoke", (f"{USERS}.shape.rate=30/s", f"{USERS}.shape.lasts=2s"), repeats=30),
    Sound("golden_path", (f"{USERS}.shape.rate=30/s", f"{USERS}.shape.lasts=2s"), repeats=30),
    Sound(
        "progressive",
        (
            "stages.safety.populations.users.shape.rate=10/s",
            "stages.safety.populations.users.shape.lasts=1s",
            'stages.full.populations.users.shape.rate_curve=[["0s","10/s"],["1s","60/s"],["2s","60/s"]]',
        ),
    ),
    Sound(
        "cold_start",
        (
            "stages.restarts.expect.recovery.rate=30%",
            "stages.restarts.expect.readiness_gap.rate=30%",
            "stages.restarts.expect.everybody_in.rate=30%",
            "stages.restarts.expect.runs.rate=90%",
        ),
        restarts=3,
    ),
    Sound(
        "reconnect_storm",
        (
            "stages.together.populations.herd.shape.clients=20",
            "stages.spread.populations.herd.shape.clients=20",
        ),
        restarts=3,
    ),
    Sound("reconnect", (f"{USERS}.shape.rate=30/s", f"{USERS}.shape.lasts=2s")),
    Sound(
        "delivery",
        (
            "stages.runs.populations.users.shape.lasts=3s",
            "stages.runs.expect.success.rate=90%",
        ),
    ),
    Sound("isolation", (f"{USERS}.shape.rate=60/s", SECOND, f"{USERS}.users=15")),
    Sound("broadcast"),
    Sound("modes", ("stages.side_by_side.populations.users.shape.lasts=2s",)),
    Sound("rate_limit", (*CAP, *BURSTS)),
    Sound("backpressure", (*SQUEEZE, f"{READERS}.shape.clients=3")),
    Sound(
        "soak",
        (
            "stages.flat.populations.users.shape.rate=30/s",
            "stages.flat.populations.users.shape.lasts=3s",
            "stages.flat.populations.idle.script.1.lasts=3s",
            "stages.flat.populations.pinging.script.1.lasts=3s",
            "stages.flat.populations.pinging.script.1.ping_every=500ms",
            "stages.flat.expect.success.rate=90%",
            "stages.flat.expect.drift.required=false",
        ),
    ),
    Sound("capacity", (*_CLIMB, f"{_CAPACITY}.begin=40/s", f"{_CAPACITY}.most=100/s")),
    Sound(
        "capacity_messages",
        (
            *_CLIMB,
            f"{_CAPACITY}.begin=50/s",
            f"{_CAPACITY}.most=200/s",
            f"{_CAPACITY}.connections=10",
        ),
    ),
    Sound(
        "capacity_connections",
        (
            *_CLIMB,
            f"{_CAPACITY}.begin=50",
            f"{_CAPACITY}.most=200",
            f"{_CAPACITY}.ping_every=500ms",
        ),
    ),
    Sound("spike", SHORT),
    Sound(
        "traffic",
        (
            "stages.day.populations.visitors.shape.lasts=5s",
            "stages.day.populations.listeners.shape.stairs.each=1s",
            "stages.day.expect.success.rate=90%",
        ),
    ),
    Sound("two_runs"),
    Sound("own_race"),
    Sound("negotiation"),
    Sound("auth_matrix"),
    Sound("first_message"),
    Sound("token_refresh"),
    Sound(
        "auth_races",
        (
            *faster("first_message", "0ms", "200ms"),
            *faster("bad_token", "0ms", "200ms"),
            *TAIL,
        ),
    ),
    Sound(
        "token_reuse",
        (
            *faster("pair", "-200ms", "200ms"),
            "stages.five.race.trials=20",
            "stages.five.race.confirm=10",
        ),
    ),
    Sound(
        "session_races",
        (
            *faster("refresh", "0ms", "200ms"),
            *faster("subscribe", "0ms", "200ms"),
            *faster("double_run", "0ms", "200ms"),
            *faster("reconnect", "0ms", "400ms"),
            *faster("overlap", "-60ms", "60ms"),
            *faster("close", "-60ms", "60ms"),
            "stages.overlap.race.trials=40",
        ),
    ),
    Sound("revocation", REVOCATION),
    Sound("circuit_breaker", (*SOON, *HERD)),
)
