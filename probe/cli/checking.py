"""What is looked at before a run has a folder: defects, addresses, TLS files, programs.

The rule: a run that cannot be is refused with what to write instead, before anything is sent.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from probe.engine.limits import own_addresses
from probe.engine.routes import make_routes, tls_options
from probe.errors import ConfigError, Problem
from probe.model.reading import nearest
from probe.wire.route import make_context

if TYPE_CHECKING:
    from probe.cli.files import Loaded

LAB_ADDRESS: Final = "127.0.0.1:1"
"""Stands for the embedded lab's, while its port is not known yet."""


def check_defects(defects: list[str]) -> None:
    """ConfigError for a defect that the lab does not have; the lab itself is asked."""
    if not defects:
        return
    words = [sys.executable, "-m", "probe.lab", "--list-defects"]
    told = subprocess.run(words, check=True, capture_output=True, timeout=30)  # noqa: S603 -- ours
    known = [str(row["name"]) for row in json.loads(told.stdout)]
    problems = [
        Problem("--defect", "", "the lab has no such defect", name, ", ".join(known),
                nearest(name, known))
        for name in (defect.partition("=")[0] for defect in defects) if name not in known
    ]  # fmt: skip
    if not problems:
        words += [word for defect in defects for word in ("--defect", defect)]
        asked = subprocess.run(words, check=False, capture_output=True, timeout=30)  # noqa: S603 -- ours
        if asked.returncode:
            why = (
                asked.stderr.decode(errors="replace").strip().removeprefix("probe.lab: --defect: ")
            )
            problems = [Problem("--defect", "", why)]
    if problems:
        raise ConfigError(*problems)


def check_ways(loaded: Loaded) -> None:
    """ConfigError for addresses, TLS files and programs that cannot be used, before a folder."""
    restart = loaded.target.restart
    if restart.by == "command" and shutil.which(restart.command[0]) is None:
        raise ConfigError(
            Problem(
                str(loaded.target_path),
                "restart.command",
                "there is no such program, seen from here",
                Path(restart.command[0]).name,
                hint="a program and its arguments are items of a list, and no shell reads them",
            )
        )
    make_routes(loaded.target, LAB_ADDRESS)
    own_addresses(loaded.target.network.sources)
    try:
        make_context(tls_options(loaded.target.tls))
    except ValueError as error:
        raise ConfigError(Problem(str(loaded.target_path), "tls", str(error))) from None
