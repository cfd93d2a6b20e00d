"""The authentication matrix against servers that none of us wrote, as the tables of a page.

    python -m benchmarks.authentication [--write docs/authentication.md]

Starts each server of `benchmarks/servers` on loopback with a public key of RS256, runs the
scenarios `auth_matrix`, `first_message` and `token_refresh` against it, and prints two tables:
a row a token and a row a sequence, a column a server; then what was found, in words. With
--write it replaces what stands between the marks of that page.

The rule: the tables hold what the probe found and nothing else. Whatever a check said that was
no PASS is below them, whoever's check it was.
"""

from __future__ import annotations

import re
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from benchmarks.foreign import Server, Speaking, interpreter, judged, publish, servers, told
from probe.model.bad_tokens import TOKEN_CASES
from probe.model.matrix import CONTROL

SCENARIOS: Final = ("auth_matrix", "first_message", "token_refresh")
# The user beside the token is for the row `another_user`; none of the servers looks at it.
# `probe.v2` is offered with each, since `websockets` refuses who offers nothing it knows.
DIALECT: Final = """
title = "three servers"
[present.default]
subprotocols = ["jwt-auth", "jwt.{token}"]
[present.header]
subprotocols = ["probe.v2"]
headers = { Authorization = "Bearer {token}" }
[present.query]
subprotocols = ["probe.v2"]
query = { token = "{token}", user = "{user}" }
[present.first_message]
optional = true
subprotocols = ["probe.v2"]
query = { auth = "message" }
first_message = '{"type":"authenticate","token":"{token}"}'
[ready]
event = "connection_ready"
within = "2s"
[run]
start = '{"type":"start_agent","run_id":"{run}","thread_id":"{thread}","thoughts":{size}}'
events = ["agent_started", { type = "agent_thinking", times = "1..*" }, "agent_completed"]
within = "2s"
quiet = "2s"
[paths]
thread = "thread_id"
user = "user_id"
[refresh]
send = '{"type":"refresh","token":"{token}"}'
answer = "refreshed"
[sentinel]
send = '{"type":"ping","id":"{n}"}'
event = "pong"
[promises]
"""
SEQUENCES: Final = {
    "auth_matrix.early_message": "a message in one segment with the request, before the 101",
    "auth_matrix.early_run": "a run is begun at the 101, before ready",
    "auth_matrix.early_run_of_a_bad_token": "the same before the 101, with a tampered token",
    "auth_matrix.closes_while_validating": "gone before ready, twice, then back",
    "auth_matrix.second_user": "another user's token in a refresh",
    "first_message.good": "the token in the first message",
    "first_message.bad": "a tampered one there",
    "first_message.early_run": "a run right behind it",
    "first_message.late": "the token after a second of silence",
    "first_message.never": "no token at all: is the connection ended?",
    "first_message.twice": "the first message twice",
    "first_message.second_user": "another user's token in a second one",
    "token_refresh.refreshes": "a new token, and beyond the expiry of the old one",
    "token_refresh.refreshes_while_it_runs": "a new token in the midst of a run",
    "token_refresh.expires": "no new token: is the connection ended?",
    "token_refresh.refreshes_with_a_bad_one": "an expired token in a refresh",
    "token_refresh.clients": "the token expires in a run: is the connection ended?",
}
Runs = dict[str, dict[str, Any]]
"""The verdict.json of each scenario."""


def spoken() -> Speaking:
    """RS256 with a key made for this once: the servers have its public half."""
    key = rsa.generate_private_key(65_537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return Speaking(public.decode(), "RS256", DIALECT, {"PROBE_TABLE_KEY": private})


def runs(server: Server, speaking: Speaking) -> Runs:
    """All of it at one server."""
    return {name: judged(server, speaking, name)["verdict"] for name in SCENARIOS}


# What came back, from the checks.


def answers(found: Runs) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """How the attempts of each case went in each presentation, and the check of it."""
    out = {}
    for name in ("auth_matrix", "first_message"):
        for check in found[name]["checks"]:
            stage, topic, *rest = check["id"].split(".")
            if (stage, topic) == ("tokens", "authentication"):
                present, case = rest
                out[case, present] = (short(check), check)
    return out


def short(check: dict[str, Any]) -> str:
    """`401`, `let in`, `101, close 1008`; with a mark where the row is no PASS."""
    if check["verdict"] == "SKIPPED":
        return "not tried"
    went = re.search(r"; of \d+: ([^;]*)", check["message"])
    words = went[1] if went else "nobody tried"
    for long, brief in (
        (r"\b\d+ (?=status|accepted|let in)", ""), ("status ", ""),
        ("accepted, then closed", "101, close"), ("accepted, then", "101,"),
    ):  # fmt: skip
        words = re.sub(long, brief, words)
    return words + graded(check)


def graded(check: dict[str, Any]) -> str:
    """The verdict of a check that is no PASS, as the end of its cell."""
    return "" if check["verdict"] == "PASS" else f" **{check['verdict']}**"


def cell(mine: dict[str, str]) -> str:
    """The answers of all presentations; those of most of them first and without their names."""
    words = list(mine.values())
    most = max(dict.fromkeys(words), key=words.count)
    rest = [f"{present}: {word}" for present, word in mine.items() if word != most]
    return "; ".join([most, *rest])


def token_table(found: dict[Server, Runs]) -> str:
    """A row a case."""
    tables = {server: answers(mine) for server, mine in found.items()}
    first = next(iter(tables.values()))
    out = _head("token", "ought to be", *(server.name for server in found))
    for case in (CONTROL, *TOKEN_CASES):
        presents = [present for name, present in first if name == case]
        cells = [
            cell({each: table[case, each][0] for each in presents}) for table in tables.values()
        ]
        messages = [first[case, each][1]["message"] for each in presents]
        out.append(f"| {_title(case)} | {_ought(messages)} | {' | '.join(cells)} |")
    return "\n".join(out)


def _title(case: str) -> str:
    row = TOKEN_CASES.get(case)
    if row is None:
        return f"`{case}`: a good token, before all others and after them"
    return f"`{case}`: {row.title} ({row.section})"


def _ought(messages: list[str]) -> str:
    """What is right, as the checks say it; `-` where nobody tried."""
    for words in messages:
        wanted = re.search(r"ought to (?:be (accepted|rejected)|get in)|may be accepted", words)
        if wanted is not None:
            return wanted[1] or ("either" if wanted[0].startswith("may") else "accepted")
    return "-"


def sequence_table(found: dict[Server, Runs]) -> str:
    """A row a sequence: how many of its clients came to the end, and what was found."""
    out = _head("sequence", *(server.name for server in found))
    cells = {server: _sequences(mine) for server, mine in found.items()}
    for name, title in SEQUENCES.items():
        out.append(f"| `{name}`: {title} | {' | '.join(mine[name] for mine in cells.values())} |")
    return "\n".join(out)


def _sequences(found: Runs) -> dict[str, str]:
    """How each sequence went: by scenario and population."""
    out = {}
    for name, verdict in found.items():
        for check in verdict["checks"]:
            stage, topic, *rest = check["id"].split(".")
            if topic == "authentication" and stage != "tokens":
                (population,) = rest
                codes = [f["code"] for f in verdict["findings"] if f["check"] == check["id"]]
                out[f"{name}.{population}"] = how_it_went(check, codes)
    return out


def how_it_went(check: dict[str, Any], codes: list[str]) -> str:
    """`5 of 5`, or `0 of 5, auth.never_closed`; with the verdict where it is no PASS."""
    done = re.match(r"(\d+ of \d+) clients? came to the end", check["message"])
    words = [done[1] if done else "nobody tried", *codes]
    return ", ".join(words) + graded(check)


def _head(*names: str) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]


# What was found, in words.


def explained(found: dict[Server, Runs]) -> str:
    """Every finding, every check of any kind that is no PASS, and what was not tried."""
    grave, others = list[str](), list[str]()
    known: dict[tuple[str, str], list[str]] = {}
    skipped: dict[str, str] = {}
    for server, mine in found.items():
        for name, verdict in mine.items():
            for each in verdict["findings"]:
                if each["severity"] == "info":
                    known.setdefault((each["code"], said(each)), []).append(server.name)
                else:
                    line = f"- {server.name}, {each['code']}, {each['severity']} ({name}): "
                    grave.append(line + said(each))
            for check in verdict["checks"]:
                if check["verdict"] == "SKIPPED":
                    case = check["id"].rpartition(".")[2]
                    skipped[case] = check["message"].removeprefix("skipped: ")
                elif check["verdict"] != "PASS":
                    others.append(f"- {server.name}, {name}, `{check['id']}`: {check['verdict']}")
    told_of = [f"- {code} ({', '.join(who)}): {words}" for (code, words), who in known.items()]
    left_out = [f"- `{case}`: {why}" for case, why in skipped.items()]
    parts = [
        ("Deviations:", grave), ("For information:", sorted(told_of)),
        ("Checks that are no PASS:", others), ("Not tried:", left_out),
    ]  # fmt: skip
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in parts if lines)


def said(finding: dict[str, Any]) -> str:
    """A finding's words without times, and with the names of cases for their titles."""
    words = re.sub(r", the longest for [^;]*", "", str(finding["message"]))
    start, _, which = words.partition(": ")
    cases = re.findall(r"(.+?) \(as ([^)]+)\)(?:; |$)", which)
    names = {row.title: case for case, row in TOKEN_CASES.items()}
    if not cases or any(title not in names for title, _ in cases):
        return words
    shown = {presents for _, presents in cases}
    if len(shown) == 1:
        return f"{start}: {', '.join(f'`{names[t]}`' for t, _ in cases)} (as {shown.pop()})"
    return f"{start}: " + "; ".join(f"`{names[t]}` (as {presents})" for t, presents in cases)


def page(found: dict[Server, Runs]) -> str:
    """All of it in Markdown."""
    versions = "; ".join(f"{server.versions}, {server.tokens}" for server in found)
    tables = [token_table(found), sequence_table(found), explained(found)]
    return "\n\n".join([f"{interpreter()}; {versions}.", *tables])


def main() -> None:
    """Print the tables, and put them into the page that was named."""
    path, speaking = told(__doc__), spoken()
    publish(page({server: runs(server, speaking) for server in servers()}), path)


if __name__ == "__main__":
    main()
