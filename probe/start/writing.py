"""The folder `scenarios` of a start: which files there are, and writing them all or none.

The rule: what a person has written is never lost. A file that is there stops everything before
the service is touched, unless `--force` was said.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from probe.errors import ConfigError, Problem
from probe.model.target import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT: Final = Path("scenarios")
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def paths_of(name: str) -> dict[str, Path]:
    """Target, dialect and scenario of a name."""
    return {
        "dialect": ROOT / "dialects" / f"{name}.toml",
        "target": ROOT / "targets" / f"{name}.toml",
        "scenario": ROOT / f"{name}.toml",
    }


def name_of(url: str) -> str:
    """A name for the service at a URL: its host's, or `mine` on this machine."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        host = ""
    if not host or is_loopback(host) or re.fullmatch(r"[\d.:a-f]+", host):
        return "mine"
    label = max(host.split(".")[:-1] or [host], key=len)
    name = re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
    return name if NAME.fullmatch(name) else f"at_{name}"[:64]


def check_name(name: str, shipped: Mapping[str, Path]) -> None:
    """ConfigError for what is no name, or is that of a scenario that came with the package."""
    if not NAME.fullmatch(name):
        allowed = "small letters, digits and _, such as my_service"
        raise ConfigError(Problem("--name", "", "no such name can be used", repr(name), allowed))
    if name in shipped and shipped[name].resolve() != paths_of(name)["scenario"].resolve():
        message = "is a scenario that came with the package, which yours would hide"
        raise ConfigError(Problem("--name", "", message, repr(name), hint="take another name"))


def check_free(paths: Mapping[str, Path], *, force: bool) -> None:
    """ConfigError where any of the files is there."""
    there = [str(path) for path in paths.values() if path.exists() or path.is_symlink()]
    if there and not force:
        hint = "take another --name, or overwrite what is there with --force"
        raise ConfigError(Problem(", ".join(there), "", "is there already", hint=hint))


def write(texts: Mapping[Path, str]) -> None:
    """Every file, whole; ConfigError where one cannot be written."""
    for path, text in texts.items():
        beside = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            message = f"cannot be written: {error.strerror}"
            raise ConfigError(Problem(str(path), "", message)) from None
