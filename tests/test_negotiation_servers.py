"""The table of docs/negotiation.md, and the steps of the matrix in a script of one's own."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.foreign import BEGIN, END, servers
from benchmarks.negotiation import (
    cell,
    explained,
    masked,
    matrix,
    short,
    table,
)
from probe.history.records import Kind
from tests.engine_sites import spoken, talk

PAGE = Path(__file__).parent.parent / "docs" / "negotiation.md"
NO_LONGER_THAN = 60.0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_page_says_what_is_measured():
    installed = servers()
    versions = "; ".join(server.versions for server in installed)
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    if versions not in text:
        pytest.skip(f"the page was made with other versions than {versions}")
    found = {server: matrix(server) for server in installed}
    lines = table(found).splitlines()[2:]
    assert [line for line in lines if line not in text] == []
    for line in explained(found).splitlines():
        assert line in text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('101, subprotocol "jwt-auth"', "101 jwt-auth"),
        ("101, no subprotocol", "101 none"),
        ('101, subprotocol "a"; close 1003 (unsupported data) after 3 ms', "101 a, close 1003"),
        ('400 "no"', "400"),
        ("403", "403"),
        ("101 that no client may use: why", "101, unusable"),
        ("TCP ended without an answer", "dropped"),
        ("no HTTP: why", "no HTTP"),
        ("no answer until the deadline", "no answer until the deadline"),
    ],
)
def test_a_cell_is_short(answer, said):
    assert short(answer) == said


def test_a_cell_says_how_bad_it_is():
    remarks = [{"grade": "rfc"}, {"grade": "informational"}, {"grade": "rfc"}]
    row = {"skipped": "", "answers": [{"answer": "403", "remarks": remarks}]}
    assert cell(row) == "403 **RFC**"
    assert cell({"skipped": "why", "answers": []}) == "not sent"
    assert masked("jwt.xxXX00xxXX00xxXX00xx.xx") == "jwt.<token>"


# --- the step in a script ---


async def stays(websocket):
    async for _ in websocket:
        pass


def test_a_handshake_is_a_step_like_any_other(tmp_path):
    script = [{"do": "handshake", "case": case} for case in ("plain", "key_missing", "no_offer")]
    dialect = spoken(ready={})
    found = talk(tmp_path, stays, script, dialect=dialect, within_s=NO_LONGER_THAN)
    assert found.done() == (0, "")
    assert [int(row["status"]) for row in found.history.attempts] == [101, 400, 101]
    assert len(found.of(Kind.READY)) == 2
    assert len(found.of(Kind.END)) == 3


def test_a_row_without_material_ends_the_session_with_the_reason(tmp_path):
    script = [{"do": "handshake", "case": "several"}]
    found = talk(tmp_path, stays, script, within_s=NO_LONGER_THAN)
    assert found.done() == (
        1, "several cannot be sent: the dialect offers fewer than two subprotocols"
    )  # fmt: skip
    assert len(found.history.attempts) == 0


def test_a_row_that_there_is_not_ends_the_session(tmp_path):
    found = talk(tmp_path, stays, [{"do": "handshake", "case": "plane"}])
    assert found.done() == (1, "there is no handshake case 'plane'")


def test_a_service_that_never_gets_ready_is_closed_by_us(tmp_path):
    dialect = spoken(ready={"event": "hello", "within": "200ms"})
    found = talk(tmp_path, stays, [{"do": "handshake", "case": "plain"}], dialect=dialect)
    assert found.done() == (0, "")
    assert found.of(Kind.READY) == []
    assert [flag for _, flag, *_ in found.of(Kind.CLOSE)] == [0, 1]


def test_a_late_rejection_is_seen(tmp_path):
    async def rejects(websocket):
        await asyncio.sleep(0.05)
        await websocket.close(1003, "no")

    dialect = spoken(ready={})
    script = [{"do": "handshake", "case": "plain"}]
    found = talk(tmp_path, rejects, script, dialect=dialect, within_s=NO_LONGER_THAN)
    (attempt,) = found.history.attempts
    assert int(attempt["close_code"]) == 1003
    assert found.history.text(int(attempt["reason_text"])) == b"no"
