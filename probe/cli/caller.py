"""Who calls the probe, and on what: for the command to run again, and for the run's meta file."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def called_by() -> str:
    """The command as the user can type it again from here."""
    path = Path(sys.argv[0])
    if path.name != "probe" or shutil.which("probe") or not path.exists():
        return "probe"
    return os.path.relpath(path)


def host() -> dict[str, Any]:
    """This machine, and the versions of what measures on it."""
    names = ("probe", "websockets", "aiohttp", "uvloop", "numpy", "pyjwt")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "versions": {name: version(name) for name in names},
    }
