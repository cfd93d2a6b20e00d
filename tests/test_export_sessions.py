"""A row for each client: phases, ends, vetoes, and the same in every form."""

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import parquet

from probe.check.judge import judge
from probe.check.verdict import Fitness
from probe.history.records import Kind
from probe.report.export.rows import csv_bytes, jsonl_bytes, parquet_bytes
from probe.report.export.sessions import FIELDS, MEASURED, VETOED, sessions_of
from tests.histories import LOAD, RESTART, Story
from tests.test_report_judgements import HOSTILE

PAGE = Path(__file__).parent.parent / "docs" / "outputs.md"
FIT = Fitness()
TIMES = [field.name for field in FIELDS if field.sort == "ms"]


def rows_of(story, fitness=FIT):
    sessions = sessions_of(story.history(), story.resolved, fitness)
    return [json.loads(line) for part in jsonl_bytes(sessions) for line in part.splitlines()]


def load(**more):
    return Story({"users": LOAD}, **more).stage().fit()


def test_a_client_that_came_and_left_has_its_phases():
    story = load()
    story.client(100, "good", took=3, lasts=2000)
    (row,) = rows_of(story)
    assert row["session"] == 0
    assert (row["stage"], row["population"], row["endpoint"]) == ("users", "users", "main")
    assert (row["outcome"], row["attempts"], row["attempt"]) == ("complete", 1, 0)
    assert (row["status"], row["close_code"], row["ended_as"]) == (101, None, "normal")
    assert row["failed_step"] is row["why"] is row["trial"] is None
    assert row["timings"] == MEASURED
    wanted = {
        "lag_ms": 0.1, "resolve_ms": 0.0, "tcp_ms": 0.1, "tls_ms": None, "upgrade_ms": 0.8,
        "ws_connecting": 1.0, "ready_ms": 3.0, "connect_ms": 3.1, "first_event_ms": None,
        "ws_session_duration": 2003.0,
    }  # fmt: skip
    assert {name: row[name] for name in TIMES} == pytest.approx(wanted)
    assert (row["ws_msgs_sent"], row["ws_msgs_received"]) == (0, 1)
    assert row["intended"] == "2023-11-14T22:13:20.100000Z"


def test_a_client_that_was_refused_has_no_time_that_did_not_come_about():
    story = load()
    story.client(100, "status", status=503, why="HTTP 503", step=0)
    story.client(200, "refused")
    story.client(300, "hung")
    refused, shut, hung = rows_of(story)
    assert (refused["outcome"], refused["failed_step"]) == ("failed", 1)
    assert (refused["status"], refused["why"]) == (503, "HTTP 503")
    assert refused["upgrade_ms"] == pytest.approx(0.8)
    assert refused["ws_connecting"] is refused["ws_session_duration"] is None
    assert (shut["status"], shut["tcp_ms"]) == (None, None)
    assert hung["ws_connecting"] == pytest.approx(1.0)
    assert hung["ready_ms"] is hung["connect_ms"] is None


def test_a_client_that_retried_shows_the_attempt_that_got_in():
    story = Story({"boot": RESTART}).stage().fit().trial(0, 10, 5000)
    story.client(20, "refused", "status", "good", population=1, took=4, pause=50)
    story.client(30, "refused", "refused", population=1)
    story.client(40, population=0, done=2)
    came, never, unasked = rows_of(story)
    assert (came["attempts"], came["attempt"], came["status"]) == (3, 2, 101)
    assert (came["population"], came["trial"]) == ("herd", 0)
    # A later attempt was intended when it was dialled.
    assert came["connect_ms"] == came["ready_ms"] == pytest.approx(4.0)
    assert (never["attempts"], never["attempt"], never["ready_ms"]) == (2, 1, None)
    assert (unasked["attempts"], unasked["attempt"]) == (0, None)
    assert unasked["outcome"] == "stopped"
    assert all(unasked[name] is None for name in TIMES)


def test_messages_and_runs_are_those_of_the_client():
    story = load()
    first, second = story.open(100), story.open(120)
    for client, events in ((first, ("started", "tool", "completed")), (second, ("started",))):
        key = story.begin(client, 130)
        for event in events:
            story.got(client, 140, event, key)
    rows = rows_of(story)
    assert [row["ws_msgs_sent"] for row in rows] == [1, 1]
    assert [row["ws_msgs_received"] for row in rows] == [4, 2]
    assert [row["runs"] for row in rows] == [1, 1]


def test_of_an_unfit_probe_every_time_is_missing_and_what_was_counted_is_not():
    story = load()
    story.client(100, "good")
    (fit,), (unfit,) = rows_of(story), rows_of(story, Fitness(taints=("lag",)))
    assert unfit["timings"] == VETOED
    assert {name: unfit[name] for name in TIMES} == dict.fromkeys(TIMES)
    same = fit.keys() - {*TIMES, "timings"}
    assert {name: fit[name] for name in same} == {name: unfit[name] for name in same}


def test_of_a_climb_each_level_is_vetoed_by_itself():
    story = Story({"climb": {"activity": "capacity", "capacity": {
        "begin": "10/s", "most": "20/s", "settle": "0ms", "lasts": "1s",
    }}}).stage()  # fmt: skip
    for number, late in ((0, 0.1), (1, 400.0)):
        since = 100 + number * 60_000
        story.row(since, Kind.LEVEL, op=number, flag=0, a=0, b=10_000_000)
        story.row(since, Kind.ANCHOR, op=number, a=0, b=story.rows[-1][0])
        for beat in range(100):
            story.row(since + beat * 10, Kind.LAG, b=round(late * 1e6))
        for k in range(20):
            story.client(since + 10 + k * 20, "good", trial=number, lasts=20)
        story.row(since + 50_000, Kind.SETTLED, op=number, flag=0, a=0)
    judgement = judge(story.history(), story.resolved)
    rows = rows_of(story, judgement.fitness)
    assert {(row["trial"], row["timings"]) for row in rows} == {(0, MEASURED), (1, VETOED)}


def test_a_history_without_a_client_has_a_header_and_no_row():
    sessions = sessions_of(load().history(), load().resolved, FIT)
    text = b"".join(csv_bytes(sessions)).decode()
    assert text == ",".join(field.name for field in FIELDS) + "\r\n"
    assert b"".join(jsonl_bytes(sessions)) == b""
    assert parquet.read_table(io.BytesIO(parquet_bytes(sessions))).num_rows == 0


def several(why=""):
    story = load()
    story.client(100, "good")
    story.client(200, "status", why=why)
    story.client(300, done=2)
    return sessions_of(story.history(), story.resolved, FIT)


def test_every_form_says_the_same():
    sessions = several('a, "quoted" why')
    lines = [json.loads(x) for part in jsonl_bytes(sessions) for x in part.splitlines()]
    text = b"".join(csv_bytes(sessions)).decode()
    cells = list(csv.DictReader(io.StringIO(text)))
    table = parquet.read_table(io.BytesIO(parquet_bytes(sessions)))
    assert table.column_names == list(cells[0]) == list(lines[0]) == [f.name for f in FIELDS]
    for field in FIELDS:
        column = table.column(field.name).to_pylist()
        assert table.schema.field(field.name).metadata[b"description"].decode() == field.told
        for line, row, value in zip(lines, cells, column, strict=True):
            said = line[field.name]
            if field.sort == "time":
                assert (
                    value == datetime.fromisoformat(said) == datetime.fromisoformat(row["intended"])
                )
                assert value.tzinfo is not None
            elif said is None:
                assert value is None
                assert row[field.name] == ""
            elif field.sort == "ms":
                assert float(row[field.name]) == said == pytest.approx(value)
            else:
                assert row[field.name] == str(said) == str(value)


def test_what_a_service_said_leaves_no_cell_and_calls_no_formula():
    said = f"=HYPERLINK(1)\n{HOSTILE}".encode("utf-8", "surrogatepass")
    text = b"".join(csv_bytes(several(said))).decode()
    row = list(csv.DictReader(io.StringIO(text)))[1]
    assert row["why"].startswith("'=HYPERLINK(1)\\n")
    assert len(text.splitlines()) == 4
    assert not {c for c in text if ord(c) < 0x20 or c in "\u202e\u2066\u200b\x9b"} - {"\r", "\n"}


def test_the_page_lists_every_column_as_the_code_has_it():
    rows = [f"| `{f.name}` | {f.sort} | {f.told}{' (as k6)' if f.k6 else ''} |" for f in FIELDS]
    assert "\n".join(rows) in PAGE.read_text(), "\n" + "\n".join(rows)


def test_instants_are_those_of_the_wall():
    (row,) = [r for rows in several().rows() for r in rows][:1]
    assert row[[f.name for f in FIELDS].index("intended")] == datetime.fromtimestamp(
        1_700_000_000.1, UTC
    )
