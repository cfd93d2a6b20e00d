"""The only room of the judging wing that touches the disk.

The rule: a reader never sees half a file. Each report is written beside its place and then
renamed over it; verdict.json comes last, so that where it stands, the others do too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from probe.report.annotations import summary_of
from probe.report.comparison import NAME as COMPARISON
from probe.report.curve import curve_name, curves_of
from probe.report.curve_picture import curve_svg
from probe.report.document import document, json_bytes, settled, summary
from probe.report.junit import junit_xml
from probe.report.markdown import markdown
from probe.report.page.document import page
from probe.report.page.recorded import Recorded
from probe.report.picture import svg
from probe.report.plots import picture_name, plots_of, spike_plots
from probe.report.races import SHRUNK, shrunk_toml, trials_csv, windows

if TYPE_CHECKING:
    from probe.check.verdict import Judgement

SUMMARY: Final = "summary.json"
JUNIT: Final = "junit.xml"
REPORT: Final = "report.md"
PAGE: Final = "report.html"
VERDICT: Final = "verdict.json"
WINDOWS: Final = "windows.json"


def write_reports(
    judgement: Judgement, folder: Path, *, step_summary: Path | None = None
) -> tuple[Path, ...]:
    """Write the five reports into `folder`, which exists, and tell their paths.

    The page draws what the folder's history holds; without one it has words and tables alone.
    Where there are races or restarts, their windows, plots and trials come before, and the scenario
    of a race that was made smaller; and the comparison with another run, where there was one.

    `step_summary` is a file that the Markdown is appended to (a CI system's summary page), as
    far as there is room in it.
    All is rendered before the first byte is written. Raises OSError, and ProbeError where the
    folder's files cannot be read.
    """
    report = markdown(judgement).encode()
    summed = judgement.summary
    plots = (*plots_of(summed), *spike_plots(summed))
    shown = {picture_name(plot): svg(plot) for plot in plots}
    shown |= {curve_name(curve): curve_svg(curve) for curve in curves_of(summed)}
    found = windows(judgement.summary)
    small = shrunk_toml(judgement.summary)
    files = {
        **shown,
        **({WINDOWS: json_bytes(settled(found))} if found else {}),
        **{name: text.encode() for name, text in trials_csv(judgement.summary).items()},
        **({SHRUNK: small.encode()} if small else {}),
        **({COMPARISON: json_bytes(settled(told))} if (told := summed.get("comparison")) else {}),
        SUMMARY: json_bytes(summary(judgement)),
        JUNIT: junit_xml(judgement),
        REPORT: report,
        PAGE: page(judgement, Recorded.of(folder)),
        VERDICT: json_bytes(document(judgement)),
    }
    paths = tuple(_replace(folder / name, data) for name, data in files.items())
    if step_summary is not None:
        with step_summary.open("ab") as stream:
            stream.write(summary_of(report, stream.tell()))
    return paths


def _replace(path: Path, data: bytes) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)  # mkstemp leaves it to the owner alone; reports are for everybody
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path
