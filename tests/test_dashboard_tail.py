"""Journals read while they are written: whole rows, each once, and bounded."""

import numpy as np

from probe.dashboard import tail
from probe.dashboard.tail import Tail
from probe.history.journal import Journal
from probe.history.records import DTYPE, Kind
from probe.redact import Redactor
from tests.lab_process import until


def flushed(journal):
    journal.flush()
    until(lambda: journal.drained)


def test_every_row_comes_once_with_its_text(tmp_path):
    journal = Journal(tmp_path / "history", Redactor("hidden-secret"))
    following = Tail(tmp_path / "history")
    told, texts = [], []
    for k in range(30):
        journal.row(k, k, 0, Kind.END, b=journal.text(f"number {k} hidden-secret".encode()))
        if k % 7 == 0:
            flushed(journal)
        for piece in following.new():
            told += piece.rows["session"].tolist()
            texts += [piece.journal.text(row["b"]) for row in piece.rows]
    journal.close()
    for piece in following.new():
        told += piece.rows["session"].tolist()
        texts += [piece.journal.text(row["b"]) for row in piece.rows]
    following.close()
    assert told == list(range(30))
    assert texts[12].startswith("number 12 ")
    assert not any("hidden-secret" in text for text in texts)


def test_workers_are_read_as_they_appear_after_the_driver(tmp_path):
    following = Tail(tmp_path / "history")
    assert following.new() == []
    folder = tmp_path / "history"
    journals = [
        Journal(each, Redactor()) for each in (folder, folder / "worker-1", folder / "worker-2")
    ]
    for journal in reversed(journals):
        journal.note(Kind.LAG)
        flushed(journal)
    assert [piece.journal.name for piece in following.new()] == ["", "worker-1", "worker-2"]
    for journal in journals:
        journal.close()
    following.close()


def test_a_torn_row_is_waited_for(tmp_path):
    folder = tmp_path / "history"
    folder.mkdir()
    row = np.zeros(2, DTYPE).tobytes()
    (folder / "rows.bin").write_bytes(row[:40])
    following = Tail(folder)
    assert [len(piece.rows) for piece in following.new()] == [1]
    (folder / "rows.bin").write_bytes(row)
    assert [len(piece.rows) for piece in following.new()] == [1]
    following.close()


def test_what_comes_too_fast_is_passed_over_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tail, "PIECE_ROWS", 10)
    monkeypatch.setattr(tail, "BEHIND_MAX", 40)
    folder = tmp_path / "history"
    folder.mkdir()
    (folder / "rows.bin").write_bytes(np.zeros(100, DTYPE).tobytes())
    following = Tail(folder)
    (piece,) = following.new()
    assert (piece.passed, len(piece.rows)) == (90, 10)
    assert following.new() == []
    following.close()


def test_a_reference_into_nothing_is_no_text(tmp_path):
    journal = Journal(tmp_path / "history", Redactor())
    journal.note(Kind.LAG)
    flushed(journal)
    following = Tail(tmp_path / "history")
    (piece,) = following.new()
    assert [piece.journal.text(at) for at in (0, -1, 10**9)] == ["", "", ""]
    journal.close()
    following.close()
