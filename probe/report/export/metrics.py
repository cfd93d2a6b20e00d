"""The metrics of one run: what each is called, what it means, and its samples.

The rule: one run is told by gauges, since none of its figures goes on counting. A figure that
the probe's fitness vetoes is absent, and `probe_fit` is 0 then; a figure that was never
measured is absent too, and never 0. Every sample carries the labels of COMMON, so that the lab
is marked as the lab everywhere. After the naming rules of Prometheus (base units, unit last)
and OpenMetrics 1.0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from probe.check.verdict import Outcome
from probe.report.facts import facts_of
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.check.verdict import Check, Judgement

COMMON: Final = ("scenario", "target", "embedded")
WAYS_MAX: Final = 50
LABEL_CHARS_MAX: Final = 200
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` ends in `unit`, where it has one; `labels` beside those of COMMON.

    `k6` is the name of k6's metric that means the same, or "".
    """

    name: str
    unit: str
    told: str
    labels: tuple[str, ...] = ()
    k6: str = ""


class Sample(NamedTuple):
    """One value of a family, with all its labels."""

    family: Family
    labels: dict[str, str]
    value: float


_CHECK: Final = ("stage", "check")
FAMILIES: Final = {
    family.name: family
    for family in (
        Family(
            "probe_run_info", "", "Always 1; the labels tell which run this is.",
            ("run_id", "seed", "plan", "version"),
        ),
        Family("probe_run_start_timestamp_seconds", "seconds", "When the run began (Unix time)."),
        Family("probe_run_duration_seconds", "seconds", "From the first row to the last."),
        Family("probe_run_complete", "", "1 where the run came to its planned end."),
        Family(
            "probe_verdict", "", "1 for the verdict of the run, 0 for each of the others.",
            ("verdict",),
        ),
        Family(
            "probe_fit", "",
            "1 where the machine of the probe was fit to judge. At 0 timings, rates and what "
            "rests on them are absent.",
        ),
        Family(
            "probe_unfit_reason", "", "Always 1; why the probe was not fit, a series for each.",
            ("kind", "reason"),
        ),
        Family(
            "probe_check_verdict", "", "Always 1; the verdict of each check.",
            (*_CHECK, "required", "verdict"),
        ),
        Family("probe_check_n", "", "Units of replication that a check has seen.", _CHECK),
        Family(
            "probe_check_seconds", "seconds",
            "What a check has found, its 95 % interval and its limit, of times and offsets.",
            (*_CHECK, "figure"),
        ),
        Family(
            "probe_check_ratio", "ratio",
            "What a check has found, its 95 % interval and its limit, of shares.",
            (*_CHECK, "figure"),
        ),
        Family(
            "probe_check_per_second", "per_second",
            "What a check has found, its 95 % interval and its limit, of rates.",
            (*_CHECK, "figure"),
        ),
        Family(
            "probe_check_number", "",
            "What a check has found, its 95 % interval and its limit, of whole numbers.",
            (*_CHECK, "figure"),
        ),
        Family("probe_findings", "", "How many findings, by severity; 0 is told.", ("severity",)),
        Family(
            "probe_findings_accepted", "",
            "How many of them somebody has accepted, also where that is over.",
        ),
        Family(
            "probe_finding_cases", "", "How often a finding was seen.",
            ("code", "severity", "check"),
        ),
        Family("probe_clients", "", "Clients that were planned, by how they ended.", ("end",)),
        Family("probe_attempts", "", "Connections that were dialled, by how they went.", ("way",)),
        Family("probe_client_runs", "", "Runs that clients began, by how they ended.", ("end",)),
        Family(
            "probe_ws_sessions", "", "Connections that were dialled, also those that failed.",
            k6="ws_sessions",
        ),
        Family(
            "probe_ws_msgs_sent", "", "Messages that were sent, without pings and closes.",
            k6="ws_msgs_sent",
        ),
        Family(
            "probe_ws_msgs_received", "", "Messages that came, without pongs and closes.",
            k6="ws_msgs_received",
        ),
        Family("probe_sent_bytes", "bytes", "Payload and requests that were sent."),
        Family("probe_received_bytes", "bytes", "Payload that came."),
        Family(
            "probe_ws_ping_seconds", "seconds", "From a ping to its pong.", ("figure",),
            k6="ws_ping",
        ),
        Family(
            "probe_latency_seconds", "seconds",
            "Quantiles of a phase of connecting, with their two-sided 95 % interval. Absent "
            "where there are too few samples, and where the quantile is a timeout or a failure.",
            ("stage", "phase", "quantile", "figure"),
        ),
        Family(
            "probe_latency_samples", "", "What quantiles rest on: seen, censored or failed.",
            ("stage", "phase", "kind"),
        ),
        Family(
            "probe_delivery_events", "", "Events of runs by type and by what became of them.",
            ("stage", "type", "class"),
        ),
        Family(
            "probe_service_state", "", "Always 1; what each service last said of its health.",
            ("stage", "service", "state"),
        ),
        Family(
            "probe_capacity_state", "",
            "Always 1; whether the knee was found, or is at least or at most so much.",
            ("stage", "state"),
        ),
        Family(
            "probe_capacity_per_second", "per_second",
            "The highest rate proven within the limits (low), the lowest proven beyond (high).",
            ("stage", "of", "figure"),
        ),
        Family(
            "probe_capacity_connections", "connections",
            "The most open connections proven within the limits (low), the fewest beyond (high).",
            ("stage", "figure"),
        ),
        Family(
            "probe_heartbeat_lag_seconds", "seconds",
            "How late the probe's own heartbeat was: of the probe, not of the service.",
            ("figure",),
        ),
        Family(
            "probe_schedule_lag_seconds", "seconds",
            "How late clients were let go: of the probe, not of the service.", ("figure",),
        ),
        Family("probe_cpu_ratio", "ratio", "Share of a core that the probe used.", ("figure",)),
        Family("probe_memory_peak_bytes", "bytes", "The most memory that the probe held."),
    )
}  # fmt: skip
"""Every family there is, by name, in the order in which they are written."""

_OF_UNIT: Final = {
    "s": "probe_check_seconds",
    "rate": "probe_check_ratio",
    "/s": "probe_check_per_second",
    "messages/s": "probe_check_per_second",
}
_FITNESS: Final = (
    ("probe_heartbeat_lag_seconds", "heartbeat_lag_p50_ms", "p50", 1e-3),
    ("probe_heartbeat_lag_seconds", "heartbeat_lag_p99_ms", "p99", 1e-3),
    ("probe_heartbeat_lag_seconds", "heartbeat_lag_max_ms", "max", 1e-3),
    ("probe_schedule_lag_seconds", "schedule_lag_p99_ms", "p99", 1e-3),
    ("probe_cpu_ratio", "cpu_mean_percent_of_core", "mean", 1e-2),
    ("probe_cpu_ratio", "cpu_max_percent_of_core", "max", 1e-2),
)


def metrics_of(judgement: Judgement) -> list[Sample]:
    """All samples of a run, families in the order of FAMILIES, each with its labels."""
    common = common_labels(judgement)
    order = {name: place for place, name in enumerate(FAMILIES)}
    found = [
        Sample(FAMILIES[name], common | _labels(FAMILIES[name].labels, labels), float(value))
        for name, labels, value in _told(judgement)
        if value is not None and math.isfinite(value)
    ]
    return sorted(found, key=lambda sample: order[sample.family.name])


def common_labels(judgement: Judgement) -> dict[str, str]:
    """The labels that every sample has."""
    facts = facts_of(judgement)
    return _labels(COMMON, (facts.scenario, facts.target, str(facts.embedded).lower()))


_Row = tuple[str, tuple[object, ...], float | None]


def _labels(names: tuple[str, ...], values: tuple[object, ...]) -> dict[str, str]:
    shown = (visible(value, chars_max=LABEL_CHARS_MAX) for value in values)
    return dict(zip(names, shown, strict=True))


def _told(judgement: Judgement) -> Iterator[_Row]:
    yield from _of_run(judgement)
    yield from _of_fitness(judgement)
    for check in judgement.checks:
        yield from _of_check(check, judgement)
    yield from _of_findings(judgement)
    yield from _of_counts(judgement)
    yield from _of_latency(judgement)
    yield from _of_delivery(judgement)
    yield from _of_health(judgement)
    yield from _of_capacity(judgement)


def _of_run(judgement: Judgement) -> Iterator[_Row]:
    facts = facts_of(judgement)
    host = judgement.run.get("host")
    versions = host.get("versions", {}) if isinstance(host, Mapping) else {}
    seed = "" if facts.seed is None else facts.seed
    about = (facts.run_id, seed, facts.plan[:16], versions.get("probe", ""))
    yield "probe_run_info", about, 1
    yield "probe_run_start_timestamp_seconds", (), started_s(facts.started)
    yield "probe_run_duration_seconds", (), facts.duration_s
    yield "probe_run_complete", (), facts.complete
    for verdict in Outcome:
        yield "probe_verdict", (verdict,), verdict is judgement.verdict


def started_s(text: str) -> float | None:
    """Unix time of an ISO 8601 stamp with its zone; None where there is none to be read."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if told.tzinfo is None else told.timestamp()


def _of_fitness(judgement: Judgement) -> Iterator[_Row]:
    fitness = judgement.fitness
    yield "probe_fit", (), fitness.fit
    for kind, reasons in (("invalid", fitness.invalid), ("tainted", fitness.taints)):
        for reason in dict.fromkeys(reasons):
            yield "probe_unfit_reason", (kind, reason), 1
    for name, key, figure, factor in _FITNESS:
        yield name, (figure,), _number(fitness.figures.get(key), factor)
    peak = _number(judgement.authenticity.get("memory_peak_mib"), _MIB)
    yield "probe_memory_peak_bytes", (), peak


def _of_check(check: Check, judgement: Judgement) -> Iterator[_Row]:
    of = (check.stage, check.id)
    required = str(check.required).lower()
    yield "probe_check_verdict", (*of, required, check.verdict), 1
    yield "probe_check_n", of, check.n
    name = _OF_UNIT.get(check.unit, "probe_check_number")
    # The limit was asked for, and is no measurement that a veto could touch.
    yield name, (*of, "limit"), check.limit
    if check.load_sensitive and vetoed(judgement, check.stage):
        return
    low, high = check.interval or (None, None)
    for figure, value in (("estimate", check.estimate), ("low", low), ("high", high)):
        yield name, (*of, figure), value


def vetoed(judgement: Judgement, stage: str) -> bool:
    """Whether timings of a stage are none; of levels that are judged one by one, never by this."""
    return not judgement.fitness.fit and stage not in judgement.fitness.by_level


def _of_findings(judgement: Judgement) -> Iterator[_Row]:
    severities = [finding.severity for finding in judgement.findings]
    for severity in ("critical", "major", "minor", "info"):
        yield "probe_findings", (severity,), severities.count(severity)
    lived_with = sum(finding.accepted is not None for finding in judgement.findings)
    yield "probe_findings_accepted", (), lived_with
    cases: dict[tuple[object, ...], int] = {}
    for each in judgement.findings:
        key = (each.code, each.severity, each.check)
        cases[key] = cases.get(key, 0) + each.count
    for labels, count in cases.items():
        yield "probe_finding_cases", labels, count


def _of_counts(judgement: Judgement) -> Iterator[_Row]:
    counts, seen = _map(judgement.summary.get("counts")), judgement.authenticity
    for name, key in (("probe_clients", "clients_by_end"), ("probe_client_runs", "runs_by_end")):
        for end, count in _map(counts.get(key)).items():
            yield name, (end,), count
    ways = list(_map(counts.get("ways")).items())
    for way, count in ways[:WAYS_MAX]:
        yield "probe_attempts", (way,), count
    if ways[WAYS_MAX:]:
        yield "probe_attempts", ("all other ways",), sum(count for _, count in ways[WAYS_MAX:])
    yield "probe_ws_sessions", (), _number(counts.get("attempts"))
    for name, key in (
        ("probe_ws_msgs_sent", "messages_sent"),
        ("probe_ws_msgs_received", "messages_received"),
        ("probe_sent_bytes", "bytes_sent"),
        ("probe_received_bytes", "bytes_received"),
    ):
        yield name, (), _number(seen.get(key))
    if judgement.fitness.fit:
        pings = _map(seen.get("ping_round_trip"))
        for figure in ("min", "median", "max"):
            yield "probe_ws_ping_seconds", (figure,), _number(pings.get(f"{figure}_s"))


def _of_latency(judgement: Judgement) -> Iterator[_Row]:
    for stage, phases in _map(judgement.summary.get("latency")).items():
        # Over all levels of a climb, those that were too much too, a quantile tells nothing.
        silent = vetoed(judgement, stage) or stage in judgement.fitness.by_level
        for phase, row in _map(phases).items():
            lost = {kind: int(row.get(kind) or 0) for kind in ("censored", "failed")}
            seen = int(row.get("n") or 0) - sum(lost.values())
            for kind, count in ({"seen": seen} | lost).items():
                yield "probe_latency_samples", (stage, phase, kind), count
            for key, entry in {} if silent else row.items():
                if key.startswith("p") and isinstance(entry, Mapping):
                    quantile = f"{float(key[1:]) / 100:.10g}"
                    for figure in ("estimate", "low", "high"):
                        value = _number(entry.get(f"{figure}_s"))
                        yield "probe_latency_seconds", (stage, phase, quantile, figure), value


def _of_delivery(judgement: Judgement) -> Iterator[_Row]:
    for stage, parts in _map(judgement.summary.get("delivery")).items():
        for kind, row in _map(_map(parts).get("types")).items():
            for became, count in _map(row).items():
                # Whether an event was late is a timing.
                if became != "late" or not vetoed(judgement, stage):
                    yield "probe_delivery_events", (stage, kind, became), count


def _of_health(judgement: Judgement) -> Iterator[_Row]:
    for stage, parts in _map(judgement.summary.get("health")).items():
        for row in _map(parts).get("services") or ():
            yield "probe_service_state", (stage, row.get("service"), row.get("state")), 1


def _of_capacity(judgement: Judgement) -> Iterator[_Row]:
    for stage, told in _map(judgement.summary.get("capacity")).items():
        yield "probe_capacity_state", (stage, told.get("state")), 1
        of = told.get("of", "connects")
        for figure in ("low", "high"):
            value = _number(told.get(figure, told.get(f"{figure}_per_s")))
            if of == "connections":
                yield "probe_capacity_connections", (stage, figure), value
            else:
                yield "probe_capacity_per_second", (stage, of, figure), value


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object, factor: float = 1) -> float | None:
    return value * factor if isinstance(value, int | float) else None
