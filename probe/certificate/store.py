"""Finished runs, one JSON line each: a certificate that was broken off goes on from here.

The rule: a run is kept under its command and the version of the code, and only a whole line
counts. A line is written and synced at once; what a crash has torn off at the end of the
file is cut away, and that run is made again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import asdict
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Final

import msgspec

from probe.certificate.result import Result

if TYPE_CHECKING:
    from pathlib import Path

    from probe.certificate.case import Order

_DIGITS: Final = 12
_FILES: Final = (
    "probe/**/*.py",
    "scenarios/**/*.toml",
    "scenarios/**/*.py",
    "scenarios/**/*.csv",
    "probe/**/*.toml",
)


class Store:
    """The file at `path`, for one version of the code; other versions' lines stay as they are.

    Opening makes the folder and mends the file; OSError where that cannot be done.
    """

    def __init__(self, path: Path, version: str) -> None:
        self.path = path
        self.version = version
        self._found: dict[str, Result] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        whole = _whole_lines(path)
        for line in whole:
            try:
                result = msgspec.json.decode(line, type=Result)
            except msgspec.MsgspecError:
                continue  # of an older form, or damaged: as if that run had never been
            if result.version == version:
                self._found[result.command] = result

    def get(self, order: Order) -> Result | None:
        """What that order came to, None where it is still to be done."""
        return self._found.get(order.command)

    def add(self, result: Result) -> None:
        """Keep a finished run; on the disk before this returns."""
        with self.path.open("ab") as stream:
            stream.write(msgspec.json.encode(asdict(result)) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._found[result.command] = result


def _whole_lines(path: Path) -> list[bytes]:
    """The lines that end; what comes after the last line end is cut off the file."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return whole.splitlines()


def version_of(root: Path) -> str:
    """The version of the code under `root`, the folder that holds the package `probe`.

    The last commit that changed what runs, where `root` is a git work tree of its own, with a
    hash of the files where they differ from it; else the package's version and that hash.
    """
    what = ("--", "probe", "scenarios")
    commit = _git(root, "log", "-1", "--format=%H", *what) if (root / ".git").exists() else None
    changed = _git(root, "status", "--porcelain", *what) if commit else None
    if commit and changed == "":
        return commit[:_DIGITS]
    digest = hashlib.sha256()
    for pattern in _FILES:
        for path in sorted(root.glob(pattern)):
            digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return f"{commit[:_DIGITS] if commit else installed('probe')}+{digest.hexdigest()[:_DIGITS]}"


def _git(root: Path, *words: str) -> str | None:
    """What git says, None where there is no git or it fails; takes no lock and writes nothing."""
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=30, text=True)  # noqa: S603 -- our own words
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
