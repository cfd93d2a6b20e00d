"""The table of cases: each defect of the lab, where it ought to be seen, and as what.

The rule: the codes come from the lab's table of defects and the catalogue of findings. Doses,
times (scaled down, so that a run takes seconds) and how counts compare with the ledger were
settled on first runs: from then on a run that differs is told and never explained away, which
makes this a guard against change more than an independent prediction. `sound` has the healthy
lab.
"""

from __future__ import annotations

from typing import Final

from probe.certificate.case import Case, Count, Dose
from probe.certificate.cases_doors import DOORS
from probe.certificate.cases_races import RACES
from probe.certificate.cases_spike import SPIKES

_EQUAL: Final = Count(1.0, 1.0, "each hit is one event, one message or one connection of its own")
_TIME: Final = Count(None, None, "a time, not a number of hits; the limits judge each restart")

USERS: Final = "stages.users.populations.users"
SECOND: Final = f"{USERS}.shape.lasts=1s"
_MANY: Final = (f"{USERS}.script.1.count=20",)
_FEW: Final = "400 runs: P(no hit) < 0.1 %"
_FAILED: Final = ("session.failed",)

_RESTARTS: Final = ("dialect.ready.within=600ms",)


def _golden(
    defect: str,
    code: str,
    *,
    beside: tuple[str, ...] = (),
    count: Count = _EQUAL,
    within: str = "1500ms",
    quiet: str = "1s",
    sets: tuple[str, ...] = (),
    least: Dose | None = None,
) -> Case:
    """A case under golden_path: `within` and `quiet` are the deadlines of its runs."""
    return Case(
        defect,
        "golden_path",
        (code,),
        Dose("1", "20 runs, every one of them hit"),
        least or Dose("0.02", f"0.02 of runs; {_FEW}", _MANY),
        count,
        (SECOND, f"dialect.run.within={within}", f"dialect.run.quiet={quiet}", *sets),
        beside,
    )


_COLD: Final = (
    *(
        Case(
            defect,
            "cold_start",
            (code,),
            Dose("1", "3 restarts, each with some 40 attempts while it boots"),
            Dose("0.1", "0.1 of attempts; some 110 of them while it boots: P(no hit) < 0.1 %"),
            Count(1.0, 1.0, "each such answer is one connection attempt"),
            _RESTARTS,
            ("retry.left_out",),
            restarts=3,
        )
        for defect, code in (
            ("cold_start_1011", "connect.accepted_then_closed"),
            ("cold_start_hang", "connect.accepted_then_silent"),
            ("cold_start_drop", "connect.dropped"),
        )
    ),
    Case(
        "health_lies",
        "cold_start",
        ("restart.health_lies",),
        Dose("400ms", "3 restarts of 3: P(that many) < 0.4 % where 85 % of them are good"),
        Dose("200ms", "3 restarts of 3; the limit is 100 ms, and the gap is known within 20 ms"),
        _TIME,
        _RESTARTS,
        restarts=3,
        drawn=False,
    ),
    Case(
        "slow_boot",
        "cold_start",
        ("restart.slow",),
        Dose("1s", "3 restarts of 3: P(that many) < 0.4 % where 85 % of them are good"),
        Dose("600ms", "3 restarts of 3; the limit is 1 s, and a boot takes 0.6 s by itself"),
        _TIME,
        (*_RESTARTS, "stages.restarts.expect.recovery.within=1s"),
        ("retry.left_out",),
        restarts=3,
        drawn=False,
    ),
)

_EVENTS: Final = (
    _golden("drop_event", "delivery.lost", beside=_FAILED),
    _golden(
        "drop_first_event",
        "delivery.lost",
        least=Dose(
            "0.1",
            "0.1 of connections; 80 connections: P(no hit) < 0.1 %",
            (f"{USERS}.shape.rate=80/s",),
        ),
    ),
    _golden("duplicate_event", "delivery.duplicated"),
    _golden("reorder_event", "delivery.reordered"),
    _golden(
        "late_event",
        "delivery.late",
        count=Count(1.0, 4.0, "the event behind the pause is late, and so is all that follows"),
        within="1s",
        quiet="2500ms",
    ),
    *(
        _golden(
            defect,
            code,
            least=Dose("0.02", "0.02 of messages; 2,000 of them: P(a shape unseen) < 0.1 %", _MANY),
        )
        for defect, code in (
            ("nested_payload", "contract.shape.nested"),
            ("data_payload", "contract.shape.data"),
            ("mixed_shapes", "contract.shape.mixed"),
        )
    ),
    _golden("missing_field", "contract.missing_field"),
    _golden("wrong_type", "contract.wrong_type"),
    _golden("inconsistent_ids", "contract.ids_disagree"),
    _golden(
        "hung_run",
        "run.hung",
        beside=_FAILED,
        within="500ms",
        quiet="500ms",
    ),
    _golden("event_after_end", "delivery.unexpected"),
    Case(
        "cross_user_leak",
        "isolation",
        ("isolation.foreign",),
        Dose("1", "600 events, every one of them leaked"),
        Dose("0.01", "0.01 of events; 1,000 events: P(no hit) < 0.1 %",
             (f"{USERS}.shape.rate=40/s", f"{USERS}.users=10")),
        _EQUAL,
        (
            f"{USERS}.shape.rate=24/s", SECOND, f"{USERS}.users=6",
            f"{USERS}.script.1.lasts=1s", f"{USERS}.script.3.lasts=1200ms",
        ),
    ),
    Case(
        "mode_differs",
        "modes",
        ("modes.differ",),
        Dose("1", "20 runs at each of 4 endpoints"),
        Dose("0.3", "0.3 of runs; 50 runs at each endpoint: P(fewer than 6 differ) < 0.1 %",
             ("stages.side_by_side.populations.users.shape.rate=100/s",)),
        Count(1.0, 1.0, "each run that differs is counted"),
        ("stages.side_by_side.populations.users.shape.lasts=2s",),
    ),
)  # fmt: skip

READERS: Final = "stages.slow_reader.populations.readers"
SQUEEZE: Final = (
    f"{READERS}.script.1.repeats=1",
    f"{READERS}.script.1.upto=1500",
    "target.lab.pace=0s",
)
_FLOODER: Final = "stages.flood.populations.flooder.script"
# One flood: after each that is dropped in silence the probe waits for two seconds.
_ONE_FLOOD: Final = (
    '[{do="connect"},{do="flood",count=1000},{do="hold",lasts="1s"},{do="run"},{do="settle"},'
    '{do="close"}]'
)
# So slow an emission that some events of a run fall into the few milliseconds of a gap.
_GAP: Final = (f"{USERS}.script.1.size=400", "target.lab.pace=200us")
_CONNECTIONS: Final = (
    Case(
        "queue_overflow",
        "backpressure",
        ("pressure.queue_small",),
        Dose("100", "each overflow loses what the queue did not hold",
             (f"{READERS}.script.1.upto=400",)),
        Dose("800", "a fifth less than promised; sizes a tenth apart are told from each other",
             (f"{READERS}.script.1.upto=1000",)),
        Count(None, 1.0, "each overflow is a hit; runs of more than was promised are not counted"),
        (*SQUEEZE, f"{READERS}.shape.clients=1"),
    ),
    Case(
        "silent_drop_under_backpressure",
        "backpressure",
        ("pressure.silent_drop",),
        Dose("1", "every overflow is left untold"),
        Dose("0.5", "0.5 of overflows; 10 of them at least: P(no hit) < 0.1 %",
             (f"{READERS}.shape.clients=2", f"{READERS}.script.1.repeats=2")),
        _EQUAL,
        (*SQUEEZE, f"{READERS}.shape.clients=1"),
    ),
    *(
        Case(
            defect,
            "reconnect",
            (code,),
            Dose("1", "20 reconnects, most of them with something to replay"),
            Dose("0.1", "0.1 of reconnects; 80 of them: P(no hit) < 0.1 %",
                 (f"{USERS}.shape.rate=40/s", f"{USERS}.shape.lasts=2s")),
            count,
            (SECOND, *_GAP),
            beside,
        )
        for defect, code, count, beside in (
            ("lost_on_reconnect", "replay.lost", _EQUAL, ("replay.none",)),
            (
                "no_replay",
                "replay.none",
                Count(1.0, None, "each resume is a hit, and each event of its gap is counted"),
                ("replay.lost",),
            ),
        )
    ),
    Case(
        "broadcast_misses_one",
        "broadcast",
        ("broadcast.missed",),
        Dose("1", "50 runs, each missed by one of four connections"),
        Dose("0.05", "0.05 of runs; 200 runs: P(no hit) < 0.1 %",
             ("stages.clients.populations.speakers.script.1.count=20",)),
        Count(5.0, 5.0, "each run has five events, and each of them is missed"),
    ),
    Case(
        "rate_limit_silent",
        "rate_limit",
        ("rate_limit.silent",),
        Dose("1", "some 600 messages over the limit"),
        Dose("0.02", "0.02 of some 600 limited messages: P(no hit) < 0.1 %"),
        _EQUAL,
        (f"{_FLOODER}={_ONE_FLOOD}",),
        stage="flood",
    ),
    Case(
        "rate_limit_global",
        "rate_limit",
        ("rate_limit.global",),
        Dose("1", "a switch; 5 users beside one who floods"),
        None,
        Count(None, 1.0, "each message of another user is a hit, and the users are counted"),
        (f"{_FLOODER}.13.lasts=1s",),
        _FAILED,
        stage="flood",
    ),
    _golden(
        "close_1011_midrun",
        "session.closed",
        beside=_FAILED,
    ),
    _golden(
        "drop_tcp_midrun",
        "session.dropped",
        beside=_FAILED,
    ),
    _golden(
        "no_pong",
        "ping.unanswered",
        beside=_FAILED,
        least=Dose(
            "0.1",
            "0.1 of pings; 80 of them: P(no hit) < 0.1 %",
            (f"{USERS}.shape.rate=80/s",),
        ),
    ),
)  # fmt: skip

_HEALTH: Final = (
    Case(
        "slow_dependency",
        "smoke",
        ("health.degraded",),
        Dose("1s", "the first answer says so"),
        Dose("10ms", "the first answer says so, however soon it comes"),
        Count(None, 1.0, "each answer is a hit, and the services are counted"),
    ),
    Case(
        "health_503",
        "smoke",
        ("health.unhealthy",),
        Dose("1", "a service is asked once before all else: a rarer one may pass unseen"),
        None,
        Count(None, 1.0, "each answer is a hit, and the services are counted"),
    ),
)

CASES: Final[tuple[Case, ...]] = (
    *_COLD, *_EVENTS, *_CONNECTIONS, *SPIKES, *_HEALTH, *DOORS, *RACES,
)  # fmt: skip
