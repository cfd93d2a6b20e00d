"""Servers that none of us wrote: how they are started, and how a scenario is run against them.

The rule: a run is what `probe run` makes of a target file, in a process of its own, and the
table of a page holds what its result files say. What is not installed is left out by name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parent.parent
HERE = ROOT / "benchmarks" / "servers"
MODULES = Path(sys.prefix) / ".node"
DEADLINE_S = 300
TARGET = """
title = "{name}"
dialect = "foreign"
[endpoints.main]
url = "ws://{address}/"
[auth]
source = "mint"
algorithm = "{algorithm}"
key = "${{PROBE_TABLE_KEY}}"
issuer = "probe"
audience = "probe"
"""
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the table: how it is started, and of which versions it is made.

    `tokens` says what checks its tokens.
    """

    name: str
    command: tuple[str, ...]
    versions: str
    tokens: str


@dataclass(frozen=True, slots=True)
class Speaking:
    """What a server is started with, and what the probe is told of it.

    `target` is the text of a target file but for `{name}`, `{address}` and `{algorithm}`, `env`
    what it names.
    """

    key: str
    algorithm: str
    dialect: str
    env: Mapping[str, str]
    target: str = TARGET


def servers() -> list[Server]:
    """Those that are installed; of the others one line is printed."""
    found = []
    for name, module, parts in (
        ("websockets", "websockets_server", ("websockets",)),
        ("uvicorn", "uvicorn_server", ("uvicorn", "h11", "wsproto")),
    ):
        python = (sys.executable, "-m", f"benchmarks.servers.{module}")
        found.append(Server(name, python, _versions(*parts), _versions("PyJWT")))
    node = shutil.which("node")
    if node and all(_module(name).exists() for name in ("ws", "jose")):
        shown = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
        versions = f"ws {_packaged('ws')}, Node {shown.stdout.strip()[1:]}"
        command = (node, str(HERE / "ws_server.mjs"), "--modules", str(MODULES))
        found.append(Server("ws", command, versions, f"jose {_packaged('jose')}"))
    else:
        print("ws is left out: `make node_modules` installs it", file=sys.stderr)
    return found


def _versions(*parts: str) -> str:
    return ", ".join(f"{part} {metadata.version(part)}" for part in parts)


def _module(name: str) -> Path:
    return MODULES / "node_modules" / name / "package.json"


def _packaged(name: str) -> str:
    return str(json.loads(_module(name).read_text())["version"])


@contextlib.contextmanager
def started(server: Server, spoken: Speaking) -> Iterator[str]:
    """The address of a running server; it is ended at the end."""
    process = subprocess.Popen(
        # With =, since a PEM begins as an option does.
        [*server.command, "0", f"--key={spoken.key}", f"--algorithm={spoken.algorithm}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            heard = selector.select(DEADLINE_S)
        line = process.stdout.readline().decode() if heard else ""
        match = re.fullmatch(r"listening on (\S+)\n", line)
        if match is None:
            raise RuntimeError(f"{server.name} did not start: {line!r}")
        yield match[1]
    finally:
        process.kill()
        process.communicate()


def judged(
    server: Server, spoken: Speaking, scenario: str, words: Iterable[str] = ()
) -> dict[str, Any]:
    """One run against this server: its `verdict` and `summary`, as their files have them."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder, started(server, spoken) as at:
        target = spoken.target.format(name=server.name, address=at, algorithm=spoken.algorithm)
        for kind, name, text in (
            ("dialects", "foreign", spoken.dialect),
            ("targets", "server", target),
        ):
            path = Path(folder, "scenarios", kind, f"{name}.toml")
            path.parent.mkdir(parents=True)
            path.write_text(text)
        command = [sys.executable, "-m", "probe", "run", scenario, "--target", "server", *words]
        env = {**os.environ, **spoken.env, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*command, "--out", f"{folder}/results"], cwd=folder, check=False, timeout=DEADLINE_S,
            capture_output=True, text=True, env=env,
        )  # fmt: skip
        files = {name: Path(folder, "results", "latest", f"{name}.json") for name in FILES}
        if not all(each.exists() for each in files.values()):
            raise RuntimeError(f"{server.name}: {done.stdout}{done.stderr}")
        return {name: json.loads(each.read_text()) for name, each in files.items()}


FILES = ("verdict", "summary")


def interpreter() -> str:
    """Which Python the servers run on."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def told(doc: str | None) -> Path | None:
    """The page that --write names, as the arguments of this process have it."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--write", type=Path)
    page: Path | None = parser.parse_args().write
    return page


def publish(text: str, page: Path | None) -> None:
    """Print the table, and put it between the marks of the page, if one was named."""
    print(text)
    if page is not None:
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
