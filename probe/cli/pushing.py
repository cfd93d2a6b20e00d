"""Metrics over the network: to a Pushgateway, or to a collector that speaks OTLP over HTTP.

The rule: each push has a deadline, goes to the address that was named and to no other (no
redirect is followed), and where it fails says why in the words of whoever refused it. The path
of a Pushgateway groups by scenario and target, so that runs of others stay. Sources: the
Pushgateway's README (API), OTLP 1.x (HTTP, binary protobuf) by OpenTelemetry's own exporter.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp

from probe.report.export.metrics import common_labels, started_s
from probe.report.facts import facts_of
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.metrics.export import MetricsData

    from probe.check.verdict import Judgement
    from probe.report.export.metrics import Sample

DEADLINE_S: Final = 10.0
JOB: Final = "probe"
SAID_MAX: Final = 300
REDIRECTED: Final = 3
SPARE_S: Final = 2.0  # to load what it takes
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_UNITS: Final = {"seconds": "s", "bytes": "By", "ratio": "1", "per_second": "1/s"}
_METRICS: Final = "/v1/metrics"


def push_prometheus(address: str, text: bytes, judgement: Judgement, authorization: str) -> None:
    """PUT it to the Pushgateway at `address`; OSError where it was not taken."""
    labels = common_labels(judgement)
    group = {"job": JOB} | {name: labels[name] for name in ("scenario", "target")}
    headers = {"Content-Type": _TEXT} | _sent_as(authorization)
    asyncio.run(_put(f"{address.rstrip('/')}/metrics{grouping(group)}", text, headers))


def grouping(labels: Mapping[str, str]) -> str:
    """The path that names a group; a value with a slash, or none, goes in base64."""
    parts = []
    for name, value in labels.items():
        if value and "/" not in value:
            parts.append(f"/{name}/{quote(value, safe='')}")
        else:
            coded = base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")
            parts.append(f"/{name}@base64/{coded or '='}")
    return "".join(parts)


def push_otlp(address: str, samples: Sequence[Sample], judgement: Judgement, auth: str) -> None:
    """Export it to the collector at `address` ("": as its variables say); OSError if not taken."""
    told: list[str] = []

    def export() -> None:
        told.append(_exported(address, samples, judgement, auth))

    # Its own deadline is one for each read: an answer that drips would have none.
    thread = threading.Thread(target=export, daemon=True)
    thread.start()
    thread.join(DEADLINE_S + SPARE_S)
    if not told:
        raise OSError(f"no answer within {DEADLINE_S:g} s")
    if told[0]:
        raise OSError(visible(told[0], chars_max=SAID_MAX))


def _exported(address: str, samples: Sequence[Sample], judgement: Judgement, auth: str) -> str:
    """What went wrong, "" for nothing."""
    # Of an extra, and slow to load.
    import requests  # noqa: PLC0415 -- as told
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415 -- as told
        OTLPMetricExporter,
    )
    from opentelemetry.sdk.metrics.export import MetricExportResult  # noqa: PLC0415 -- the same

    said, session, codes = _Said(), requests.Session(), []

    def answered(response: Any, *_: Any, **__: Any) -> None:
        # The exporter takes a redirect for success, whether or not there is anybody behind it.
        codes.append(int(response.status_code))
        response.headers.pop("Location", None)

    session.hooks["response"].append(answered)
    log = logging.getLogger("opentelemetry")
    log.addHandler(said)
    passed_on, log.propagate = log.propagate, False
    try:
        exporter = OTLPMetricExporter(
            endpoint=_endpoint(address),
            headers=_sent_as(auth) or None,
            timeout=DEADLINE_S,
            session=session,
        )
        result = exporter.export(_otlp(samples, judgement), timeout_millis=DEADLINE_S * 1000)
        exporter.shutdown()
    except Exception as error:  # noqa: BLE001 -- whatever its variables or its peer made of it
        return f"{type(error).__name__}: {error}"
    finally:
        log.removeHandler(said)
        log.propagate = passed_on
    if codes[-1:] and codes[-1] // 100 == REDIRECTED:
        return f"the answer was {codes[-1]}, and no redirect is followed"
    return "" if result is MetricExportResult.SUCCESS else said.words


def _sent_as(authorization: str) -> dict[str, str]:
    return {"Authorization": authorization} if authorization else {}


async def _put(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.put(url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status in {200, 202}:
                return
            said = (await answer.content.read(SAID_MAX)).decode("utf-8", "replace").strip()
            words = f": {visible(said)}" if said else ""
            raise OSError(f"the answer was {answer.status} {visible(answer.reason or '')}{words}")
    except TimeoutError:
        raise OSError(f"no answer within {DEADLINE_S:g} s") from None
    except aiohttp.ClientConnectorError as error:
        raise OSError(f"no connection: {error.strerror or error.os_error}") from None
    except aiohttp.ClientError as error:
        raise OSError(visible(str(error) or type(error).__name__)) from None


def _endpoint(address: str) -> str | None:
    """The whole address: a collector's own path is added where none is given."""
    if not address:
        return None
    base = address.rstrip("/")
    return base if base.partition("://")[2].count("/") else f"{base}{_METRICS}"


def _otlp(samples: Sequence[Sample], judgement: Judgement) -> MetricsData:
    """The samples as the exporter takes them: gauges, stamped with the end of the run."""
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415 -- of an extra
        Gauge,
        Metric,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 -- the same
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 -- same

    facts = facts_of(judgement)
    began = started_s(facts.started) or 0.0
    start, end = (round(each * 1e6) * 1000 for each in (began, began + (facts.duration_s or 0.0)))
    metrics = []
    for family, group in itertools.groupby(samples, key=lambda sample: sample.family):
        points = [NumberDataPoint(each.labels, start, end, each.value) for each in group]
        unit = _UNITS.get(family.unit, f"{{{family.unit}}}" if family.unit else "")
        metrics.append(Metric(family.name, family.told, unit, Gauge(points)))
    resource = Resource({"service.name": JOB, "service.instance.id": facts.run_id})
    scope = ScopeMetrics(InstrumentationScope(JOB), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


class _Said(logging.Handler):
    """What the exporter logs of its failure, which it tells nobody else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        # What it tries again comes as a warning, with its cause, and the last word as an error.
        cause = record.getMessage().partition(" encountered while exporting")[0]
        self._said.setdefault(record.levelname, cause)

    @property
    def words(self) -> str:
        """The first of each kind, the last word first."""
        return "; ".join(reversed(self._said.values())) or "it was not taken"
