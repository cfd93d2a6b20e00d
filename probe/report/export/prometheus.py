"""The metrics as text that Prometheus reads: one file for its textfile collector, or a push.

The rule: what is written is the text format 0.0.4 and OpenMetrics 1.0 at once: gauges alone,
no stamps (the textfile collector refuses them), and a last line that the older one takes for a
comment. Sources: prometheus.io/docs/instrumenting/exposition_formats, and the OpenMetrics
specification, section "Text format".
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probe.report.export.metrics import Sample


def exposition(samples: Sequence[Sample]) -> bytes:
    """The text, UTF-8; samples of a family stand together, as they come from `metrics_of`."""
    lines: list[str] = []
    for family, group in itertools.groupby(samples, key=lambda sample: sample.family):
        lines += [f"# HELP {family.name} {_escaped(family.told)}", f"# TYPE {family.name} gauge"]
        if family.unit:
            lines.append(f"# UNIT {family.name} {family.unit}")
        lines += [_line(sample) for sample in group]
    return ("\n".join([*lines, "# EOF"]) + "\n").encode()


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
    return f"{sample.family.name}{{{labels}}} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)  # noqa: PLR2004 -- up to there a float is exact
