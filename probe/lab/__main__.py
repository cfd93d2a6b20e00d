"""`python -m probe.lab`: options, then one life of the lab.

Exit codes: 0 stopped by a signal or with its parent, 2 a wrong option, 3 the port is
taken, 4 the ledger cannot be written. The secret comes from the environment, so that it
stands in no process list.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from probe.lab.boot import BootPlan, parse_boot
from probe.lab.defects import DefectError, Defects, table_json
from probe.lab.durations import parse_duration
from probe.lab.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_OPTIONS: Final = 2
EXIT_PORT_TAKEN: Final = 3
SECRET_VARIABLE: Final = "PROBE_LAB_SECRET"  # noqa: S105 -- the name of the variable
SECRET_BYTES_MIN: Final = 32
_PORT_MAX: Final = 65_535
_PARENT_GRACE_S: Final = 3.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; see python -m probe.lab --help")


def _fail(message: str, code: int = EXIT_OPTIONS) -> NoReturn:
    sys.stderr.write(f"probe.lab: {' '.join(message.split())}\n")
    raise SystemExit(code)


def _checked[T](parse: Callable[[str], T]) -> Callable[[str], T]: ...
