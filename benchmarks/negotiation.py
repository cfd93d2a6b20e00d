"""The negotiation matrix against servers that none of us wrote, as the table of a page.

    python -m benchmarks.negotiation [--write docs/negotiation.md]

Starts each server of `benchmarks/servers` on loopback, runs the scenario `negotiation` against
it, and prints one table: a row a case, a column a server. With --write it replaces what stands
between the marks of that page. What is not installed is left out by name.

The rule: the table holds what the probe found and nothing else; what it says is for
information is marked as that.
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
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
HERE = ROOT / "benchmarks" / "servers"
MODULES = Path(sys.prefix) / ".node"
KEY = "a-key-of-the-table-0123456789abcdef"
DEADLINE_S = 120
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
MARKS = {"rfc": "**RFC**", "browsers": "**browsers**", "policy": "*dialect*", "informational": ""}
DIALECT = """
title = "jwt-auth"
[present.default]
subprotocols = ["jwt-auth", "jwt.{token}"]
selects = "jwt-auth"
[present.alone]
subprotocols = ["probe.v2"]
headers = { Authorization = "Bearer {token}" }
selects = "probe.v2"
[present.header]
headers = { Authorization = "Bearer {token}" }
selects = ""
[present.unsupported]
subprotocols = ["chat.v0"]
headers = { Authorization = "Bearer {token}" }
expect = "rejected"
[promises]
"""
TARGET = """
title = "{name}"
dialect = "jwt_auth"
[endpoints.main]
url = "ws://{address}/"
[auth]
source = "mint"
algorithm = "HS256"
key = "{key}"
issuer = "probe"
audience = "probe"
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the table: how it is started, and of which versions it is made."""

    name: str
    command: tuple[str, ...]
    versions: str


def servers() -> list[Server]:
    """Those that are installed; of the others one line is printed."""
    python = (sys.executable, "-m")
    found = []
    for name, module, parts in (
        ("websockets", "websockets_server", ("websockets",)),
        ("uvicorn", "uvicorn_server", ("uvicorn", "h11", "wsproto")),
    ):
        versions = ", ".join(f"{part} {metadata.version(part)}" for part in parts)
        found.append(Server(name, (*python, f"benchmarks.servers.{module}"), versions))
    package = MODULES / "node_modules" / "ws" / "package.json"
    node = shutil.which("node")
    if node and package.exists():
        version = json.loads(package.read_text())["version"]
        shown = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
        command = (node, str(HERE / "ws_server.mjs"), "--modules", str(MODULES))
        found.append(Server("ws", command, f"ws {version}, Node {shown.stdout.strip()[1:]}"))
    else:
        print("ws is left out: `make node_modules` installs it", file=sys.stderr)
    return found


@contextlib.contextmanager
def started(server: Server) -> Iterator[str]:
    """The address of a running server; it is ended at the end."""
    process = subprocess.Popen(
        [*server.command, "0", "--key", KEY],
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


def matrix(server: Server) -> list[dict[str, Any]]:
    """The rows of the matrix as they came out at this server."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder, started(server) as address:
        for kind, name, text in (
            ("dialects", "jwt_auth", DIALECT),
            ("targets", "server", TARGET.format(name=server.name, address=address, key=KEY)),
        ):
            path = Path(folder, "scenarios", kind, f"{name}.toml")
            path.parent.mkdir(parents=True)
            path.write_text(text)
        command = [sys.executable, "-m", "probe", "run", "negotiation", "--target", "server"]
        done = subprocess.run(
            [*command, "--out", f"{folder}/results"], cwd=folder, check=False, timeout=DEADLINE_S,
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        summary = Path(folder, "results", "latest", "summary.json")
        if not summary.exists():
            raise RuntimeError(f"{server.name}: {done.stdout}{done.stderr}")
        rows: list[dict[str, Any]] = json.loads(summary.read_text())["negotiation"]["matrix"]
        return rows


def cell(row: dict[str, Any]) -> str:
    """What came back, and how bad that is."""
    if row["skipped"]:
        return "not sent"
    (answer,) = row["answers"]
    marks = dict.fromkeys(
        MARKS[each["grade"]] for each in answer["remarks"] if MARKS[each["grade"]]
    )
    return " ".join([short(answer["answer"]), *marks])


def short(text: str) -> str:
    """`101 jwt-auth`, `400`, `101 none, close 1002`: without bodies, reasons, times, tokens."""
    chosen = re.match(r'101, (?:no subprotocol|subprotocol "([^"]*)")(?:; (close \d+))?', text)
    if chosen is None:
        status = re.match(r"\d{3}(?= \"|$)", text)
        words = {"101 that": "101, unusable", "TCP ende": "dropped", "no HTTP:": "no HTTP"}
        return status[0] if status else words.get(text[:8], text)
    then = f", {chosen[2]}" if chosen[2] else ""
    return f"101 {masked(chosen[1] or 'none')}{then}"


def masked(text: str) -> str:
    """The same with `<token>` in place of what was masked."""
    return re.sub(r"[xX0._\-#]{20,}…?", ".<token>", text)


def table(found: dict[Server, list[dict[str, Any]]]) -> str:
    """All of it in Markdown."""
    versions = "; ".join(server.versions for server in found)
    names = [server.name for server in found]
    out = [f"{platform.python_implementation()} {platform.python_version()}; {versions}.", ""]
    out += ["| case | ought to be | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for rows in zip(*found.values(), strict=True):
        cells = " | ".join(cell(row) for row in rows)
        out.append(f"| `{rows[0]['case']}`: {rows[0]['title']} | {rows[0]['wanted']} | {cells} |")
    return "\n".join(out)


def explained(found: dict[Server, list[dict[str, Any]]]) -> str:
    """Every remark, once for each server and code, with the words of its first row."""
    grave: list[str] = []
    known: list[str] = []
    for server, rows in found.items():
        by_code: dict[tuple[str, str], list[tuple[dict[str, Any], str]]] = {}
        for row in rows:
            for each in (one for answer in row["answers"] for one in answer["remarks"]):
                key = (each["code"], each["grade"])
                by_code.setdefault(key, []).append((row, each["words"]))
        for (code, grade), cases in by_code.items():
            names = ", ".join(f"`{row['case']}`" for row, _ in cases)
            row, words = cases[0]
            said = masked(re.sub(r" (?:after [\d.]+ \S+|at once)(?=:)", "", words))
            line = f"- {server.name}, {code} ({names}): {said} ({row['section']})"
            (known if grade == "informational" else grave).append(line)
    skipped = {
        row["case"]: row["skipped"] for rows in found.values() for row in rows if row["skipped"]
    }
    left_out = [f"- `{case}`: {why}" for case, why in skipped.items()]
    parts = [("Deviations:", grave), ("For information:", known), ("Not sent:", left_out)]
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in parts if lines)


def main() -> None:
    """Print the table, and put it into the page that was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    found = {server: matrix(server) for server in servers()}
    text = f"{table(found)}\n\n{explained(found)}"
    print(text)
    if options.write is not None:
        before, _, rest = options.write.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        page = f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"
        options.write.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
