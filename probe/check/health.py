"""Health: every service says that it is well, none of its parts is ill, and it says so soon.

The rule: the last answer counts. What a service tells of its parts is believed where it uses
a word that can only mean ill; a service that calls itself degraded has its parts named that
are not called well. A slow answer is no finding of its own beside that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.check.bound import Part, unmeasured
from probe.check.catalogue import finding
from probe.check.verdict import Check, Outcome
from probe.check.view import decided, good, labels
from probe.check.words import counted, duration, escaped, seconds
from probe.history.records import Kind

if TYPE_CHECKING:
    from probe.check.view import StageView

SLOW_NS: Final = 2_000_000_000
_UNHEALTHY, _HEALTHY, _DEGRADED = range(3)
_STATES: Final = ("unhealthy", "healthy", "degraded")
_OK: Final = 200
_WELL: Final = frozenset(
    {"healthy", "ok", "okay", "up", "pass", "passed", "ready", "connected", "available", "true"}
)
_ILL: Final = frozenset(
    {
        "critical", "degraded", "disconnected", "down", "error", "fail", "failed", "failing",
        "not_ready", "offline", "out_of_service", "timeout", "unavailable", "unhealthy",
        "unreachable", "warn", "warning",
    }
)  # fmt: skip
_PARTS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Said:
    """The last answer of one service. `took` in ns; `parts` are all that it named, by name."""

    name: str
    url: str
    state: int
    status: int
    took: int
    parts: dict[str, str]
    revision: str

    @property
    def ill(self) -> dict[str, str]:
        """The parts that are not well, with what is said of them."""
        if self.state == _DEGRADED:
            return {n: word for n, word in self.parts.items() if word.lower() not in _WELL}
        return {n: word for n, word in self.parts.items() if word.lower() in _ILL}

    @property
    def named(self) -> str:
        """`: postgres degraded, redis unreachable`, or "" where all parts are well."""
        ill = sorted(self.ill.items())
        shown = ", ".join(f"{escaped(name)} {escaped(word)}" for name, word in ill[:_PARTS_SHOWN])
        more = f" and {len(ill) - _PARTS_SHOWN:,} more" if len(ill) > _PARTS_SHOWN else ""
        return f": {shown}{more}" if shown else ""


def health(view: StageView) -> Part:
    """`<stage>.health`, and summary["health"]: services, endpoints and tokens in a preflight."""
    part = Part()
    expected = view.stage.expect.health
    if not expected and view.stage.activity != "preflight":
        return part
    said, mute = _said(view)
    table = {
        "services": [_row(each) for each in said] + [_never(name) for name in mute],
        "endpoints": _endpoints(view),
        "tokens": _tokens(view),
    }
    if any(table.values()):
        part.summary["health"] = {view.name: table}
    if not expected:
        return part
    if not said:
        names = view.history.names("services")
        why = "no service was asked for its health" if names else "the target declares no services"
        part.checks.append(unmeasured(view, "health", "witness", why))
        return part
    _judge(view, part, said, mute)
    return part


def _judge(view: StageView, part: Part, said: list[Said], mute: list[str]) -> None:
    check = f"{view.name}.health"
    bad = [each for each in said if each.state == _UNHEALTHY]
    ill = [each for each in said if each not in bad and (each.state == _DEGRADED or each.ill)]
    slow = [each for each in said if each not in bad + ill and each.took > SLOW_NS]
    sentences = []
    if bad:
        sentences.append("; ".join(_unhealthy(each) for each in bad))
        pattern = "mute" if all(each.status != _OK for each in bad) else ""
        part.findings.append(
            finding("health.unhealthy", check, len(bad), sentences[-1], pattern=pattern)
        )
    if ill:
        sentences.append("; ".join(_degraded(each) for each in ill))
        part.findings.append(finding("health.degraded", check, len(ill), sentences[-1]))
    if slow:
        sentences.append(
            "; ".join(
                f"{each.name} ({each.url}) took {duration(each.took)} to say that it is healthy, "
                f"over {duration(SLOW_NS)}"
                for each in slow
            )
        )
        part.findings.append(finding("health.slow", check, len(slow), sentences[-1]))
    verdict, message = Outcome.PASS, f"{counted(len(said), 'service')} last said healthy"
    if sentences:
        verdict, message = Outcome.FAIL, "; ".join(sentences)
    elif mute:
        verdict, message = Outcome.INCONCLUSIVE, f"never asked: {', '.join(mute)}"
    part.checks.append(Check(check, view.name, True, verdict, "witness", len(said), message))


def _unhealthy(each: Said) -> str:
    if not each.status:
        return f"{each.name} ({each.url}) gave no answer when asked for its health"
    return f"{each.name} ({each.url}) last said unhealthy (HTTP status {each.status}){each.named}"


def _degraded(each: Said) -> str:
    own = "degraded" if each.state == _DEGRADED else "healthy, though a part of it is not"
    late = f", after {duration(each.took)}" if each.took > SLOW_NS else ""
    return f"{each.name} ({each.url}) says {own} (HTTP status {each.status}{late}){each.named}"


def _said(view: StageView) -> tuple[list[Said], list[str]]:
    """The last answer of every service, and the names of those that were never asked."""
    last = {int(row["op"]): row for row in view.health}
    told = view.history.of(Kind.TOLD)
    told = told[told["t"] <= view.ended]
    latest = {int(row["op"]): row for row in told[np.argsort(told["t"], kind="stable")]}
    said, mute = [], []
    for index, name in enumerate(view.history.names("services")):
        row = last.get(index)
        if row is None:
            mute.append(name)
            continue
        parts: dict[str, str] = {}
        revision = ""
        words = latest.get(index)
        # What was told before an answer of another kind is not what it says now.
        if words is not None and (words["flag"], words["a"]) == (row["flag"], row["a"]):
            parts, revision = _read(view.text(words["b"]))
        said.append(
            Said(
                name,
                view.services.get(name, ""),
                int(row["flag"]),
                int(row["a"]),
                int(row["t"] - row["b"]),
                parts,
                revision,
            )
        )
    return said, mute


def _read(text: str) -> tuple[dict[str, str], str]:
    try:
        told = json.loads(text)
        parts = told.get("parts") or {}
        return {str(n): str(word) for n, word in parts.items()}, str(told.get("revision") or "")
    except (ValueError, AttributeError):
        return {}, ""


def _row(each: Said) -> dict[str, Any]:
    return {
        "service": each.name,
        "url": each.url,
        "state": _STATES[each.state] if each.status else "no answer",
        "status": each.status,
        "took_s": seconds(each.took),
        "parts": each.parts,
        "ill": each.ill,
        "revision": each.revision,
    }


def _never(name: str) -> dict[str, Any]:
    return {
        "service": name, "url": "", "state": "never asked", "status": 0, "took_s": None,
        "parts": {}, "ill": {}, "revision": "",
    }  # fmt: skip


def _endpoints(view: StageView) -> list[dict[str, Any]]:
    """How attempts went at each endpoint, and how long the good ones took (median)."""
    rows = view.welcome[decided(view.welcome)]
    out = []
    for endpoint in np.unique(rows["endpoint"]).tolist():
        mine = rows[rows["endpoint"] == endpoint]
        fine = mine[good(mine)]
        took = float(np.median(fine["ready"] - fine["intended"])) if len(fine) else None
        out.append(
            {
                "endpoint": view.endpoint(endpoint),
                "url": view.url(endpoint),
                "attempts": len(mine),
                "good": len(fine),
                "outcomes": dict(labels(mine)),
                "connect_s": seconds(took),
            }
        )
    return out


def _tokens(view: StageView) -> list[dict[str, Any]]:
    """Whether the token endpoint gave tokens, up to the end of this stage."""
    rows = view.history.of(Kind.TOKEN)
    rows = rows[rows["t"] <= view.ended]
    if not len(rows):
        return []
    given = rows[rows["flag"] == 1]
    return [
        {
            "requests": len(rows),
            "refused": len(rows) - len(given),
            "tokens": int(given["a"].sum()),
            "median_s": seconds(float(np.median(rows["b"]))),
            "longest_s": seconds(float(rows["b"].max())),
        }
    ]
