"""The pictures in the docs, from runs of the lab: `python -m docs.making.pictures`.

The rule: a picture is of a run that took place, on a machine that was fit for it, and came to
the verdict that is shown; any other run leaves the old picture, and is told. The terminal is drawn
by rich from what `probe report` prints, the page by a headless chromium.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

FOLDER: Final = Path(__file__).parent.parent / "pictures"
PROBE: Final = (sys.executable, "-m", "probe")
COLUMNS: Final = 100
RUN_S: Final = 300
BROWSER_S: Final = 60
BYTES_MAX: Final = 150_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A run, the verdict it has to have, and what is shown of it.

    `lines` are the first lines of the terminal that are drawn, 0 for none; `page` is the part of
    the page (an id, "" for its top), and None for none; `high` is in pixels.
    """

    name: str
    order: tuple[str, ...]
    verdict: str
    lines: int = 0
    page: str | None = None
    high: int = 1250


_REFRESH: Final = ("session_races", "--stage", "refresh", "--defect", "refresh_race=150ms")
PICTURES: Final = (
    Picture("smoke", ("smoke",), "PASS", lines=30),
    Picture("race", _REFRESH, "FAIL", lines=24, page=""),
    Picture("cold_start", ("cold_start",), "PASS", page=""),
    Picture("lost", ("golden_path", "--defect", "drop_event=0.05@tool_completed"), "FAIL", page=""),
)


def played(order: tuple[str, ...], folder: Path) -> tuple[Path, str]:
    """The run's directory, and its verdict; "unfit" where the machine was not fit for it."""
    command = [*PROBE, "run", *order, "--target", "lab"]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=RUN_S, check=False)
    run = (folder / "results" / "latest").resolve()
    told = json.loads((run / "verdict.json").read_text())
    return run, told["verdict"] if told["fitness"]["fit"] else "unfit"


def terminal(run: Path, lines: int, path: Path) -> None:
    """What `probe report` prints, as SVG without a font of anybody's."""
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    command = [*PROBE, "report", str(run)]
    told = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=True
    ).stdout
    told = told.replace(f"{run.parent.parent}/", "")  # as one who stands there sees it
    shown = [*told.splitlines()[:lines], *(["…"] if told.count("\n") > lines else [])]
    screen = Console(record=True, width=COLUMNS, file=StringIO())
    screen.print(Text.from_ansi("\n".join(shown)))
    drawn = screen.export_svg(title="probe")
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    path.write_text(drawn.replace("Fira Code, monospace", "monospace"), encoding="utf-8")


def page(run: Path, part: str, high: int, path: Path) -> None:
    """The report's page, as a browser shows it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("chromium is needed for the pictures of the page")
    address = f"{(run / 'report.html').resolve().as_uri()}{part and '#'}{part}"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--virtual-time-budget=3000", f"--window-size=1100,{high}", f"--screenshot={path}", address,
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=BROWSER_S, check=True)


def main() -> None:
    """Make each picture anew; exit code 1 where one was left."""
    FOLDER.mkdir(exist_ok=True)
    wanted = set(sys.argv[1:])
    left = 0
    for picture in PICTURES:
        if wanted and picture.name not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            run, verdict = played(picture.order, Path(folder))
            if verdict != picture.verdict:
                print(f"{picture.name}: {verdict}, wanted {picture.verdict}; left as it was")
                left += 1
                continue
            made = []
            if picture.lines:
                made.append(FOLDER / f"{picture.name}-terminal.svg")
                terminal(run, picture.lines, made[-1])
            if picture.page is not None:
                made.append(FOLDER / f"{picture.name}-page.webp")
                page(run, picture.page, picture.high, made[-1])
        for path in made:
            size = path.stat().st_size
            print(f"{path.name}: {size:,} bytes{' (too large)' if size > BYTES_MAX else ''}")
    sys.exit(min(left, 1))


if __name__ == "__main__":
    main()
