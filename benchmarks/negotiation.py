"""The negotiation matrix against servers that none of us wrote, as the table of a page.

    python -m benchmarks.negotiation [--write docs/negotiation.md]

Starts each server of `benchmarks/servers` on loopback, runs the scenario `negotiation` against
it, and prints one table: a row a case, a column a server. With --write it replaces what stands
between the marks of that page. What is not installed is left out by name.

The rule: the table holds what the probe found and nothing else; what it says is for
information is marked as that.
"""

from __future__ import annotations

import re
from typing import Any

from benchmarks.foreign import Server, Speaking, interpreter, judged, publish, servers, told

KEY = "a-key-of-the-table-0123456789abcdef"
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


SPOKEN = Speaking(KEY, "HS256", DIALECT, {"PROBE_TABLE_KEY": KEY})


def matrix(server: Server) -> list[dict[str, Any]]:
    """The rows of the matrix as they came out at this server."""
    run = judged(server, SPOKEN, "negotiation")
    rows: list[dict[str, Any]] = run["summary"]["negotiation"]["matrix"]
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
    out = [f"{interpreter()}; {versions}.", ""]
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
    page = told(__doc__)
    found = {server: matrix(server) for server in servers()}
    publish(f"{table(found)}\n\n{explained(found)}", page)


if __name__ == "__main__":
    main()
