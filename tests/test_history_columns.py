"""From rows to tables: by hand, in any order, and from files cut off anywhere."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import HistoryError
from probe.history.columns import History, succeeded
from probe.history.journal import Journal
from probe.history.records import (
    DTYPE,
    NOBODY,
    ROW,
    SCHEMA,
    Credential,
    Kind,
    Odd,
    Outcome,
    Phase,
    Put,
    Run,
    Sought,
    Trial,
    Violation,
    run_key,
)
from probe.history.tables import FOREVER
from probe.redact import Redactor

META = {"schema": SCHEMA, "anchor": {"mono_ns": 5, "wall_ns": 1_000_000_000}}
K = Kind
# Two sessions with their connections: one that is refused, comes again and plays two runs,
# one that is still dialling when the story ends; and a dial of nobody's intention.
ROWS = [
    (100, 4, 1, K.INTENDED, 1, 2, 40),
    (200, 9, 0, K.INTENDED, 0, 3, 90),
    (101, 4, 0, K.DIAL, 0, 0, 0),
    (102, 4, 0, K.RESOLVED, 0, 1, 0),
    (103, 4, 0, K.TCP, 0, 5000, 0),
    (104, 4, 0, K.SENT, 0, 300, 8),
    (105, 4, 0, K.HEAD, 0, 503, 20),
    (106, 4, 0, K.END, Phase.UPGRADE, Outcome.STATUS, 30),
    (150, 4, 1, K.DIAL, 0, 0, 0),
    (151, 4, 1, K.RESOLVED, 0, 1, 0),
    (152, 4, 1, K.TCP, 0, 5001, 0),
    (153, 4, 1, K.TLS, 0, 0, 0),
    (154, 4, 1, K.SENT, 0, 300, 0),
    (155, 4, 1, K.HEAD, Violation.ACCEPT, 101, 0),
    (156, 4, 1, K.FIRST, 0, 17, 0),
    (157, 4, 1, K.GOT, 1, 0, -1),
    (157, 4, 1, K.READY, 0, 0, 0),
    (158, 4, 1, K.SENTINEL, 0, 0, 1),
    (159, 4, 1, K.SENTINEL, 1, 0, 1),
    (160, 4, 1, K.RUN, Run.BEGUN, 7, run_key(4, 0)),
    (161, 4, 1, K.RUN, Run.BEGUN, 1, run_key(4, 1)),
    (162, 4, 1, K.GOT, 2, 1, run_key(4, 0)),
    (163, 4, 1, K.GOT, 3, 2, run_key(4, 0)),
    (164, 4, 1, K.RUN, Run.ENDED, 2, run_key(4, 0)),
    (165, 4, 1, K.RUN, Run.CUT_OFF, 1, run_key(4, 1)),
    (166, 4, 1, K.RUN, Run.BEGUN, 1, run_key(4, 2)),
    (167, 4, 1, K.STALL, 0, 0, 0),
    (168, 4, 1, K.STALL, 1, 0, 0),
    (169, 4, 1, K.STALL, 0, 0, 0),
    (170, 4, 1, K.CLOSE, 0, 1000, 0),
    (171, 4, 1, K.CLOSE, 1, 1011, 50),
    (172, 4, 1, K.END, Phase.READY, Outcome.CLOSED, 60),
    (173, 4, 2, K.DONE, 1, 3, 70),
    (201, 9, 0, K.DIAL, 0, 0, 0),
    (300, 77, 0, K.DIAL, 0, 0, 0),
    (310, NOBODY, 0, K.LAG, 0, 0, 9),
]


def history(rows, meta=None, texts=b""):
    return History(np.array(rows, dtype=DTYPE), META | (meta or {}), texts)


def as_dicts(table):
    return [dict(zip(table.dtype.names, row.tolist(), strict=True)) for row in table]


def test_sessions():
    first, second = as_dicts(history(ROWS).sessions)
    assert first == {
        "session": 4, "trial": 1, "population": 2, "endpoint": 1, "identity": 40,
        "intended": 100, "dial": 101, "ready": 157, "done": 173, "outcome": 1, "step": 3,
        "attempts": 2, "why": 70,
    }  # fmt: skip
    assert second == {
        "session": 9, "trial": 0, "population": 3, "endpoint": 0, "identity": 90,
        "intended": 200, "dial": 201, "ready": 0, "done": 0, "outcome": -1, "step": 0,
        "attempts": 1, "why": 0,
    }  # fmt: skip


def test_attempts():
    attempts = history(ROWS).attempts
    refused, ended, open_one, stray = as_dicts(attempts)
    assert refused == {
        "session": 4, "attempt": 0, "trial": 1, "population": 2, "endpoint": 1,
        "intended": 100, "dial": 101, "resolved": 102, "tcp": 103, "tls": 0, "sent": 104,
        "head": 105, "first": 0, "ready": 0, "event": 0, "served": 0, "end": 106, "status": 503,
        "violations": 0, "outcome": Outcome.STATUS, "phase": Phase.UPGRADE, "close_code": 0,
        "close_at": 0, "request_text": 8, "response_text": 20, "reason_text": 0,
        "detail_text": 30,
    }  # fmt: skip
    assert ended == {
        "session": 4, "attempt": 1, "trial": 1, "population": 2, "endpoint": 1,
        "intended": 150, "dial": 150, "resolved": 151, "tcp": 152, "tls": 153, "sent": 154,
        "head": 155, "first": 156, "ready": 157, "event": 162, "served": 162, "end": 172,
        "status": 101,
        "violations": Violation.ACCEPT, "outcome": Outcome.CLOSED, "phase": Phase.READY,
        "close_code": 1011, "close_at": 171, "request_text": 0, "response_text": 0,
        "reason_text": 50, "detail_text": 60,
    }  # fmt: skip
    assert open_one["intended"] == 200
    assert (open_one["outcome"], open_one["end"]) == (-1, 0)
    assert (stray["session"], stray["population"], stray["intended"]) == (77, -1, 300)
    assert succeeded(attempts).tolist() == [False, True, False, False]


def test_runs():
    names = ("key", "session", "attempt", "run", "size", "population", "trial", "begun", "ended",
             "outcome", "over")  # fmt: skip
    found = [tuple(row[name] for name in names) for row in as_dicts(history(ROWS).runs)]
    assert found == [
        (run_key(4, 0), 4, 1, 0, 7, 2, 1, 160, 164, Run.ENDED, 164),
        (run_key(4, 1), 4, 1, 1, 1, 2, 1, 161, 0, Run.CUT_OFF, 165),
        (run_key(4, 2), 4, 1, 2, 1, 2, 1, 166, 0, 0, 0),
    ]


def test_a_run_that_ended_after_it_was_given_up_has_both():
    key = run_key(4, 0)
    rows = [
        (1, 4, 0, K.RUN, Run.BEGUN, 1, key),
        (9, 4, 0, K.RUN, Run.ENDED, 1, key),
        (7, 4, 0, K.RUN, Run.GIVEN_UP, 0, key),
        (3, 4, 1, K.RUN, Run.BEGUN, 5, key),
    ]
    for order in (rows, rows[::-1]):
        (run,) = as_dicts(history(order).runs)
        assert (run["begun"], run["size"], run["attempt"]) == (1, 1, 0)
        assert (run["ended"], run["outcome"], run["over"]) == (9, Run.ENDED, 9)


def test_coverage_ends_with_the_last_proof_of_life():
    story = history(ROWS)
    assert as_dicts(story.coverage) == [{"session": 4, "attempt": 1, "ready": 157, "alive": 163}]
    more = [
        (175, 4, 1, K.SENTINEL, 0, 0, 2),  # sent, and never answered
        (176, 4, 1, K.PUT, 0, 9, -1),
        (177, 4, 1, K.PONG, 0, 0, 3),
    ]
    assert history(ROWS + more[:2]).coverage["alive"].tolist() == [163]
    assert history(ROWS + more).coverage["alive"].tolist() == [177]


def test_stalls():
    assert [tuple(row.values()) for row in as_dicts(history(ROWS).stalls)] == [
        (4, 1, 167, 168),
        (4, 1, 169, FOREVER),
    ]


def test_frames_of_one_session_are_its_witness():
    story = history(ROWS)
    assert len(story.frames(4)) == 32
    assert story.frames(4, 0)["t"].tolist() == [101, 102, 103, 104, 105, 106]
    assert story.frames(4, 1)["kind"][0] == K.DIAL
    assert len(story.frames(5)) == 0


@settings(deadline=None, max_examples=60)
@given(st.permutations(ROWS))
def test_tables_do_not_depend_on_the_order_of_rows(rows):
    shuffled, written = history(rows), history(ROWS)
    for table in ("sessions", "attempts", "runs", "coverage", "stalls"):
        assert getattr(shuffled, table).tobytes() == getattr(written, table).tobytes()


def test_the_first_of_several_counts_in_whatever_order_they_were_written():
    rows = [
        (1, 4, 0, K.INTENDED, 0, 0, 0),
        (3, 4, 0, K.DIAL, 0, 0, 0),
        (4, 4, 0, K.READY, 0, 0, 0),
        (7, 4, 0, K.GOT, 1, 0, -1),
        (5, 4, 0, K.GOT, 1, 0, -1),
        (12, 4, 1, K.READY, 0, 0, 0),
        (10, 4, 1, K.DIAL, 0, 0, 0),
    ]
    for order in (rows, rows[::-1]):
        (session,) = as_dicts(history(order).sessions)
        assert (session["dial"], session["ready"]) == (3, 4)
        assert history(order).attempts["event"].tolist() == [5, 0]


def test_many_sessions_at_once():
    count = 20_000
    rows = np.zeros(3 * count, dtype=DTYPE)
    for k, kind in enumerate((K.INTENDED, K.DIAL, K.READY)):
        part = rows[k * count : (k + 1) * count]
        part["session"], part["kind"] = np.arange(count), kind
        part["t"] = 1 + np.arange(count) + k
    story = History(np.random.default_rng(1).permutation(rows), META)
    assert (story.sessions["session"] == np.arange(count)).all()
    assert (story.attempts["ready"] - story.attempts["intended"] == 2).all()


@pytest.mark.parametrize(
    "rows", [[], [(1, NOBODY, 0, K.LAG, 0, 0, 5)], [(1, 2, 0, K.GOT, 0, 0, 0)]]
)
def test_an_empty_history_has_empty_tables(rows):
    story = history(rows)
    assert [len(table) for table in (story.sessions, story.attempts, story.runs)] == [0, 0, 0]
    assert story.lost == 0
    assert not story.complete
    assert len(succeeded(story.attempts)) == 0


def test_only_dials_or_only_ends():
    dials = history([row for row in ROWS if row[3] == K.DIAL])
    assert len(dials.sessions) == 0
    assert dials.attempts["intended"].tolist() == dials.attempts["dial"].tolist()
    ends = history([row for row in ROWS if row[3] not in {K.DIAL, K.INTENDED}])
    assert len(ends.attempts) == 0
    assert ends.runs["population"].tolist() == [-1, -1, -1]


def test_what_was_lost_is_the_greater_of_both_counts():
    gaps = [(1, NOBODY, 0, K.GAP, 0, 5, 1), (2, NOBODY, 0, K.GAP, 0, 7, 1)]
    assert history(gaps).lost == 12
    assert history(gaps, {"totals": {"rows_lost": 20}}).lost == 20


def test_texts_are_whole_or_none():
    texts = b"probetxt" + struct.pack("<I", 5) + b"hello" + struct.pack("<I", 3) + b"you"
    story = history([], texts=texts)
    assert story.text(8) == b"hello"
    assert story.text(17) == b"you"
    for cut in range(len(texts)):
        short = history([], texts=texts[:cut])
        assert short.text(8) == (b"hello" if cut >= 17 else b"")
        assert short.text(17) == b""
    for reference in (0, -1, 10**12):
        assert story.text(reference) == b""


def written(folder):
    journal = Journal(folder, Redactor(), {"run_id": "r"})
    for row in ROWS[:8]:
        journal.row(*row)
    reference = journal.text(b"some text")
    journal.row(400, 4, 0, K.KEPT, 0, 0, reference)
    journal.close()
    return reference


@pytest.mark.parametrize("name", ["rows.bin", "texts.bin", "meta.json"])
def test_a_file_cut_off_anywhere_is_read_as_far_as_it_goes_or_refused(tmp_path, name):
    folder = tmp_path / "h"
    reference = written(folder)
    path = folder / name
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        if name == "meta.json" and cut < len(whole.rstrip()):
            with pytest.raises(HistoryError):
                History.open(folder)
            continue
        story = History.open(folder)
        rows = cut // ROW.size if name == "rows.bin" else 9
        assert len(story.rows) == rows
        assert story.torn == (name == "rows.bin" and cut % ROW.size > 0)
        assert story.complete != story.torn
        assert len(story.attempts) == int(rows >= 3)
        assert len(story.sessions) == min(rows, 2)
        assert story.text(reference) == (b"" if name == "texts.bin" else b"some text")


@pytest.mark.parametrize(
    "meta", ["[]", "null", "{}", '{"schema": 0}', '{"schema": 2}', '{"schema": 5}', "\xff"]
)
def test_what_is_no_history_of_ours_is_refused(tmp_path, meta):
    folder = tmp_path / "h"
    written(folder)
    (folder / "meta.json").write_bytes(meta.encode("latin-1"))
    with pytest.raises(HistoryError):
        History.open(folder)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(HistoryError, match="no readable history"):
        History.open(tmp_path)


def test_an_unfinished_run_is_not_complete(tmp_path):
    written(tmp_path / "h")
    path = tmp_path / "h" / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    assert History.open(tmp_path / "h").complete
    path.write_text(json.dumps(meta | {"complete": False}), encoding="utf-8")
    story = History.open(tmp_path / "h")
    assert not story.complete
    assert story.names("types") == []
    assert story.anchor.wall(story.anchor.mono_ns).timestamp() > 1_600_000_000


def test_rows_of_other_kinds_and_wild_values_do_no_harm():
    rng = np.random.default_rng(5)
    noise = np.frombuffer(rng.bytes(32 * 500), dtype=DTYPE)
    story = History(np.concatenate([np.array(ROWS, dtype=DTYPE), noise]), META)
    assert len(story.sessions) == 2
    assert len(story.attempts) == 4
    assert len(story.runs) == 3


def test_the_stored_numbers_never_change():
    assert {kind.name: kind.value for kind in Kind} == {
        "STAGE": 1, "ANCHOR": 2, "SETTLED": 3, "HEALTH": 4, "LAG": 5, "CPU": 6, "STEAL": 7,
        "GC": 8, "GAP": 9, "PEER": 10, "LIMIT": 11, "TOLD": 12, "TOKEN": 13, "TRIAL": 14,
        "RELEASE": 15, "JITTER": 16, "VARIANT": 17, "MEMORY": 18, "LEVEL": 19,
        "INTENDED": 20,
        "DIAL": 21, "RESOLVED": 22, "TCP": 23, "TLS": 24, "SENT": 25, "HEAD": 26, "FIRST": 27,
        "READY": 28, "PUT": 30, "GOT": 31, "KEPT": 32, "PING": 33, "PONG": 34, "RUN": 35,
        "ODD": 36, "FOREIGN": 37, "STALL": 38, "SENTINEL": 39, "CLOSE": 40, "END": 41, "DONE": 42,
        "VANISH": 43, "TRAFFIC": 44, "ACTION": 45, "CREDENTIAL": 50,
    }  # fmt: skip
    assert [run.value for run in Run] == list(range(5))
    assert [put.value for put in Put] == list(range(7))
    assert [trial.value for trial in Trial] == list(range(4))
    assert [sought.value for sought in Sought] == list(range(4))
    assert [what.value for what in Credential] == list(range(5))
    assert [odd.value for odd in Odd] == list(range(1, 8))
    assert [outcome.value for outcome in Outcome] == list(range(18))
    assert [phase.value for phase in Phase] == list(range(7))
