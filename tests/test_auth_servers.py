"""The tables of docs/authentication.md, and that a server of them can fail a row."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.authentication import (
    SCENARIOS,
    SEQUENCES,
    cell,
    explained,
    how_it_went,
    page,
    runs,
    said,
    sequence_table,
    short,
    spoken,
    token_table,
)
from benchmarks.foreign import BEGIN, END, Server, judged, publish, servers
from probe.model.bad_tokens import TOKEN_CASES

PAGE = Path(__file__).parent.parent / "docs" / "authentication.md"
FEW = "stages.tokens.cases=['expired', 'wrong_audience', 'missing_subject']"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_page_says_what_is_measured():
    installed, speaking = servers(), spoken()
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    made_with = [f"{server.versions}, {server.tokens}" for server in installed]
    if "; ".join(made_with) not in text:
        pytest.skip(f"the page was made with other versions than {made_with}")
    found = {server: runs(server, speaking) for server in installed}
    assert [line for line in page(found).splitlines()[2:] if line not in text] == []


def tokens_at(server, speaking):
    """A few tokens in one presentation at a real server: its checks by case, and the codes."""
    asked = ("--stage", "tokens", "--set", FEW, "--set", "stages.tokens.presents=['header']")
    verdict = judged(server, speaking, "auth_matrix", asked)["verdict"]
    cells = {each["id"].rpartition(".")[2]: short(each) for each in verdict["checks"]}
    return cells, {f["code"] for f in verdict["findings"] if f["severity"] != "info"}


LATE = [pytest.param(name, marks=pytest.mark.long) for name in ("uvicorn", "ws")]


@pytest.mark.parametrize("name", ["websockets", *LATE])
def test_a_row_fails_where_a_token_gets_in_that_ought_not(name):
    server = next((each for each in servers() if each.name == name), None)
    if server is None:
        pytest.skip(f"{name} is not installed: make node_modules")
    speaking = spoken()
    # The dialect ends with its promises: one that these servers do not keep.
    promised = dataclasses.replace(speaking, dialect=speaking.dialect + 'recipients = "user"\n')
    cells, codes = tokens_at(server, promised)
    refused = "403" if name == "uvicorn" else "401"
    assert cells["control"] == "let in"
    assert cells["expired"] == cells["wrong_audience"] == refused
    assert cells["missing_subject"] == "let in **FAIL**"
    assert codes == {"auth.missing_subject"}


def test_where_good_tokens_are_refused_no_refusal_counts():
    speaking = spoken()
    target = speaking.target.replace('audience = "probe"', 'audience = "elsewhere"')
    cells, codes = tokens_at(servers()[0], dataclasses.replace(speaking, target=target))
    assert cells["control"] == "401 **FAIL**"
    assert cells["expired"] == "401 **INCONCLUSIVE**"
    assert codes == {"auth.rejected_good"}


# What the tables make of checks.


def check(name, verdict, message, *, n=1):
    return {"id": name, "verdict": verdict, "message": message, "n": n}


@pytest.mark.parametrize(
    ("verdict", "message", "words"),
    [
        ("PASS", "a (b): ought to be rejected; of 1: 1 status 401", "401"),
        ("PASS", "a (b): may be accepted or not; of 1: 1 let in", "let in"),
        ("PASS", "a: ought to be rejected; of 1: 1 accepted, then closed 1008", "101, close 1008"),
        ("PASS", "a: ought to be rejected; of 1: 1 accepted, then silent", "101, silent"),
        ("PASS", "a: ought to be rejected; of 1: 1 let in; as its user: not as another", "let in"),
        ("FAIL", "a: ought to be rejected; of 1: 1 let in", "let in **FAIL**"),
        ("FAIL", "a: ought to be accepted; of 1: 1 status 401", "401 **FAIL**"),
        ("INCONCLUSIVE", "a: ought to be rejected; of 1: 1 status 429", "429 **INCONCLUSIVE**"),
        ("INCONCLUSIVE", "nothing was measured: why", "nobody tried **INCONCLUSIVE**"),
        ("SKIPPED", "skipped: why", "not tried"),
    ],
)
def test_a_check_is_a_short_cell(verdict, message, words):
    assert short(check("tokens.authentication.default.a", verdict, message)) == words


def test_a_cell_names_the_presentations_that_differ():
    assert cell({"default": "401", "query": "401"}) == "401"
    assert cell({"a": "101, silent", "b": "401", "c": "401"}) == "401; a: 101, silent"


def test_a_sequence_says_how_many_came_to_its_end_and_what_was_found():
    done = "5 of 5 clients came to the end of this sequence"
    assert how_it_went(check("s.authentication.a", "PASS", done), []) == "5 of 5"
    failed = check("s.authentication.a", "FAIL", "1 of 5 clients came to the end; more")
    assert how_it_went(failed, ["auth.sequence"]) == "1 of 5, auth.sequence **FAIL**"


def test_what_was_found_is_told_without_times_and_with_names():
    title = TOKEN_CASES["not_yet_valid"].title
    both = f"2 of 2 attempts got in: {TOKEN_CASES['expired'].title} (as a); {title} (as a)"
    assert said({"message": both}) == "2 of 2 attempts got in: `expired`, `not_yet_valid` (as a)"
    late = "2 of 2 lived on, the longest for 3.1 s or more; nothing is promised"
    assert said({"message": late}) == "2 of 2 lived on; nothing is promised"


def found_at(name, verdict):
    """One server at which every row has this verdict."""
    tokens = [
        check(f"tokens.authentication.default.{case}", verdict, "a: ought to be rejected; of 1: x")
        for case in ("control", *TOKEN_CASES)
    ]
    populations: dict[str, list[dict[str, Any]]] = {name: [] for name in SCENARIOS}
    for each in SEQUENCES:
        scenario, _, population = each.partition(".")
        message = "1 of 1 client came to the end"
        populations[scenario].append(check(f"s.authentication.{population}", verdict, message))
    found: dict[str, dict[str, Any]] = {
        name: {"checks": mine, "findings": []} for name, mine in populations.items()
    }
    found["auth_matrix"]["checks"] += tokens
    return {Server(name, (), f"{name} 1.0", "jwt 1.0"): found}


def test_the_tables_have_a_row_for_every_token_and_sequence(tmp_path):
    found = found_at("good", "PASS") | found_at("bad", "FAIL")
    text = token_table(found)
    assert [line.split("`")[1] for line in text.splitlines()[2:]] == ["control", *TOKEN_CASES]
    assert all(row.section in text for row in TOKEN_CASES.values())
    assert all("| x | x **FAIL** |" in line for line in text.splitlines()[3:])
    rows = sequence_table(found).splitlines()[2:]
    assert [line.split("`")[1] for line in rows] == list(SEQUENCES)
    assert all(line.endswith("| 1 of 1 | 1 of 1 **FAIL** |") for line in rows)
    assert explained(found).count("- bad, ") == len(TOKEN_CASES) + 1 + len(SEQUENCES)
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nan earlier table\n{END}\nafter\n")
    publish(page(found), path)
    written = path.read_text()
    assert written.startswith(f"before\n{BEGIN}\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "an earlier table" not in written
    assert "good 1.0, jwt 1.0; bad 1.0, jwt 1.0" in written
