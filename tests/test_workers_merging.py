"""Journals of several processes, merged: the same tables as one journal gives, and no more."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.errors import HistoryError
from probe.history import records
from probe.history.columns import History
from probe.history.journal import HEADS_PER_KIND, Journal
from probe.history.merging import TEXT_IN_B
from probe.history.records import (
    DTYPE,
    NOBODY,
    ROW,
    Credential,
    Kind,
    Odd,
    Outcome,
    Phase,
    run_key,
)
from probe.redact import Redactor

K = Kind
T0 = 1_000


def client(session, at):
    """The rows of one session that begins at `at`, with texts as words in place of references."""
    key = run_key(session, 0)
    return [
        (at, session, 0, K.INTENDED, 0, 1, session),
        (at + 1, session, 0, K.DIAL, 0, 0, 0),
        (at + 3, session, 0, K.SENT, 0, 30, f"request {session}"),
        (at + 5, session, 0, K.HEAD, 0, 101, f"answer {session}"),
        (at + 6, session, 0, K.READY, 0, 0, 0),
        (at + 7, session, 0, K.CREDENTIAL, Credential.RENEWED, f"fresh {session}", 99),
        (at + 8, session, 0, K.CREDENTIAL, Credential.NOT_MADE, 1, f"why not {session}"),
        (at + 9, session, 0, K.RUN, 0, 1, key),
        (at + 10, session, 0, K.GOT, 1, 1, key),
        (at + 10, session, 0, K.FOREIGN, 0, 1, run_key(session + 1, 0)),
        (at + 10, session, 0, K.ODD, Odd.IDS, 1, f"odd {session}"),
        (at + 12, session, 0, K.END, Phase.READY, Outcome.NORMAL, f"end {session}"),
        (at + 13, session, 1, K.DONE, 0, 0, f"done {session}"),
    ]


def write(folder, rows, *, close=True, **meta):
    journal = Journal(folder, Redactor(), {"types": ["event"], **meta})
    for t, session, op, kind, flag, a, b in rows:
        refs = [journal.text(each.encode()) if isinstance(each, str) else each for each in (a, b)]
        journal.row(t, session, op, kind, flag, *refs)
    if close:
        journal.close(ended="complete")
        return
    journal.flush()
    while not journal.drained:
        pass


def words(history, row):
    """A row with its texts in the place of references."""
    out = list(row.tolist())
    kind, flag = row["kind"], row["flag"]
    if kind in TEXT_IN_B or (kind == K.CREDENTIAL and flag == Credential.NOT_MADE):
        out[6] = history.text(row["b"])
    elif kind == K.CREDENTIAL:
        out[5] = history.text(row["a"])
    return tuple(out)


def told(history, rows=None):
    return [words(history, row) for row in (history.rows if rows is None else rows)]


def test_the_columns_that_hold_texts_are_those_that_the_table_of_records_names():
    assert records.__doc__
    found = set()
    for line in records.__doc__.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if line.startswith("| ") and re.fullmatch("[A-Z]+", cells[0]):
            assert not any("text" in cell for cell in cells[1:4]), line
            if cells[-1].startswith("text"):
                found.add(Kind[cells[0]])
    assert found == set(TEXT_IN_B)


@settings(max_examples=30, deadline=None)
@given(
    starts=st.lists(st.integers(0, 60), min_size=1, max_size=9),
    of=st.lists(st.integers(0, 3), min_size=9, max_size=9),
)
def test_several_journals_give_the_tables_of_one(tmp_path_factory, starts, of):
    folder = tmp_path_factory.mktemp("merged")
    clients = [client(session, T0 + at) for session, at in enumerate(starts)]
    every = sorted((row for rows in clients for row in rows), key=lambda row: row[0])
    write(folder / "one", every)
    one = History.open(folder / "one")
    parts = [[row for row in every if of[row[1]] == number] for number in range(4)]
    write(folder / "many", parts[0], workers=3)
    for number in (1, 2, 3):
        write(folder / "many" / f"worker-{number}", parts[number])
    many = History.open(folder / "many")
    assert many.complete
    assert len(many.rows) == len(every)
    assert sorted(told(many)) == sorted(told(one))
    assert (np.diff(many.rows["t"]) >= 0).all()
    for name in ("sessions", "attempts", "runs", "coverage"):
        first, second = getattr(one, name).copy(), getattr(many, name).copy()
        for column in first.dtype.names:
            if column.endswith("_text") or column == "why":
                texts = [[h.text(each) for each in rows[column]] for h, rows in
                         ((one, first), (many, second))]  # fmt: skip
                assert texts[0] == texts[1], (name, column)
                first[column] = second[column] = 0
        assert (first == second).all(), name
    for session in range(len(starts)):
        assert told(many, many.frames(session)) == told(one, one.frames(session))


def test_each_journal_keeps_its_own_order_whatever_the_stamps_say(tmp_path):
    # What is written late may be stamped early: a due time, an answer.
    mine = [
        (50, 1, 0, K.GOT, 1, 0, -1),
        (20, 1, 0, K.INTENDED, 0, 0, 0),
        (60, 1, 0, K.GOT, 2, 0, -1),
    ]
    theirs = [(t, 2, 0, K.GOT, 3, 0, -1) for t in (30, 55, 58)]
    write(tmp_path / "h", mine, workers=1)
    write(tmp_path / "h" / "worker-1", theirs)
    rows = History.open(tmp_path / "h").rows
    assert rows[rows["session"] == 1]["t"].tolist() == [50, 20, 60]
    assert rows["t"].tolist() == [30, 50, 20, 55, 58, 60]


def test_a_text_that_a_kill_cut_off_is_none_and_never_another_journals(tmp_path):
    write(tmp_path / "h", [(1, 1, 0, K.DONE, 0, 0, "the driver's")], workers=2)
    torn = [(2, 2, 0, K.DONE, 0, 0, "first"), (3, 3, 0, K.DONE, 0, 0, "cut off")]
    write(tmp_path / "h" / "worker-1", torn, close=False)
    write(tmp_path / "h" / "worker-2", [(4, 4, 0, K.DONE, 0, 0, "of another")])
    whole = (tmp_path / "h" / "worker-1" / "texts.bin").read_bytes()
    expected = [b"the driver's", b"first", b"cut off", b"of another"]
    for cut in range(len(whole), 0, -1):
        (tmp_path / "h" / "worker-1" / "texts.bin").write_bytes(whole[:cut])
        history = History.open(tmp_path / "h")
        found = [history.text(row["b"]) for row in history.of(K.DONE)]
        assert all(text in (b"", want) for text, want in zip(found, expected, strict=True)), cut
        assert found[0] == b"the driver's"
        assert found[3] == b"of another"
    assert found[1:3] == [b"", b""]


def test_a_worker_that_did_not_close_its_journal_leaves_the_run_open(tmp_path):
    write(tmp_path / "h", [], workers=2)
    write(tmp_path / "h" / "worker-1", [(2, 2, 0, K.DONE, 0, 0, 0)])
    assert not History.open(tmp_path / "h").complete  # the second is not there at all
    write(tmp_path / "h" / "worker-2", [(3, 3, 0, K.DONE, 0, 0, 0)], close=False)
    history = History.open(tmp_path / "h")
    assert not history.complete
    assert len(history.rows) == 2


def test_a_torn_row_and_a_gap_of_one_worker_are_those_of_the_run(tmp_path):
    write(tmp_path / "h", [(1, NOBODY, 0, K.GAP, 0, 5, 1)], workers=2)
    for number, lost in ((1, 7), (2, 0)):
        folder = tmp_path / "h" / f"worker-{number}"
        write(folder, [(2, number, 0, K.DONE, 0, 0, 0)])
        meta = json.loads((folder / "meta.json").read_text())
        meta["totals"]["rows_lost"] = lost  # never written, so that no GAP row tells it
        (folder / "meta.json").write_text(json.dumps(meta))
    history = History.open(tmp_path / "h")
    assert history.lost == 12
    assert history.complete
    with (tmp_path / "h" / "worker-2" / "rows.bin").open("ab") as rows:
        rows.write(b"\0" * (ROW.size - 1))
    history = History.open(tmp_path / "h")
    assert history.torn
    assert not history.complete
    assert len(history.rows) == 3


def test_a_worker_of_another_schema_is_refused(tmp_path):
    write(tmp_path / "h", [], workers=1)
    write(tmp_path / "h" / "worker-1", [])
    path = tmp_path / "h" / "worker-1" / "meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 1}))
    with pytest.raises(HistoryError, match="worker-1"):
        History.open(tmp_path / "h")


def test_a_folder_beside_that_is_no_workers_is_left_alone(tmp_path):
    write(tmp_path / "h", [(1, 1, 0, K.DONE, 0, 0, 0)])
    (tmp_path / "h" / "worker-x").mkdir()
    (tmp_path / "h" / "worker-1").mkdir()  # made, and killed before its first file
    history = History.open(tmp_path / "h")
    assert history.complete
    assert history.rows.dtype == DTYPE
    assert len(history.rows) == 1


def test_what_is_kept_whole_is_divided(tmp_path, monkeypatch):
    monkeypatch.setattr("probe.history.journal.TEXT_CAP", 900)
    journal = Journal(tmp_path / "h", Redactor(), share=3)
    kept = [bool(journal.text(b"x" * 96)) for _ in range(5)]
    assert kept == [True, True, False, False, False]
    heads = [journal.wants(503) for _ in range(HEADS_PER_KIND)]
    assert sum(heads) == -(-HEADS_PER_KIND // 3)
    journal.close()
