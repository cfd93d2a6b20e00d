"""The journal: what is written can be read, and what could not be written is told."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from probe.clock import Anchor, now_ns
from probe.errors import HistoryError
from probe.history import journal as module
from probe.history.columns import History
from probe.history.folder import find_run, new_run, point_latest
from probe.history.journal import Journal
from probe.history.records import DTYPE, NOBODY, ROW, Kind
from probe.redact import Redactor

PATIENCE_S = 30


def numbered(history):
    """The rows of the test, without what the journal notes by itself."""
    return history.of(Kind.GOT)["b"].tolist()


@contextmanager
def held(monkeypatch, journal):
    """A disk that takes nothing until it is let go; says when the thread is at it."""
    gate, reached, write = threading.Event(), threading.Event(), os.write

    def slow(fd, data):
        if fd == journal._rows_fd:
            reached.set()
            assert gate.wait(PATIENCE_S)
        return write(fd, data)

    monkeypatch.setattr(os, "write", slow)
    try:
        yield gate, reached
    finally:
        gate.set()


def test_a_pair_is_two_rows_wherever_in_the_buffer_it_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 8)
    journals = [Journal(tmp_path / name, Redactor()) for name in ("single", "paired")]
    expected = []
    for n in range(100):
        first = (n, Kind.SENT, 65535, -(2**31), -(2**63))
        second = (2**62 - n, Kind.HEAD, n, 2**31 - 1, 2**63 - 1)
        for t, *rest in (first, second):
            journals[0].row(t, n, 2**32 - 1, *rest)
            expected.append((t, n, 2**32 - 1, *rest))
        journals[1].pair(n, 2**32 - 1, *first, *second)
        if n % 7 == 0:  # so that pairs stand at odd places, the last one of a buffer too
            for journal in journals:
                journal.rows(3, n, 1, 2, Kind.GOT, 0, 0, 0)
            expected += [(n, 1, 2, Kind.GOT, 0, 0, 0)] * 3
    assert [journal.close().rows for journal in journals] == [len(expected)] * 2
    single, paired = ((tmp_path / name / "rows.bin").read_bytes() for name in ("single", "paired"))
    assert single == paired
    assert [row.tolist() for row in np.frombuffer(paired, DTYPE)] == expected


def test_rows_and_texts_read_back(tmp_path):
    journal = Journal(tmp_path / "h", Redactor("hunter2-and-more"), {"run_id": "r"})
    reference = journal.text(b"the key is hunter2-and-more")
    journal.row(5, 1, 2, Kind.KEPT, 3, -4, reference)
    journal.row(2**62, NOBODY - 1, 2**32 - 1, Kind.GOT, 65535, -(2**31), -(2**63))
    before = now_ns()
    journal.note(Kind.LAG, b=9)
    journal.note_at(8, 1, Kind.DONE, 2, 3, 4)
    totals = journal.close(ended="complete")
    assert (totals.rows, totals.rows_lost, totals.texts, totals.texts_refused) == (4, 0, 1, 0)
    history = History.open(tmp_path / "h")
    assert history.complete
    assert history.meta["run_id"] == "r"
    assert history.meta["ended"] == "complete"
    assert history.lost == 0
    assert history.rows[0].tolist() == (5, 1, 2, Kind.KEPT, 3, -4, reference)
    assert history.rows[1].tolist()[:4] == (2**62, NOBODY - 1, 2**32 - 1, Kind.GOT)
    assert history.rows[2]["session"] == NOBODY
    assert before <= history.rows[2]["t"] <= history.rows[3]["t"] <= now_ns()
    assert history.rows[3].tolist()[1:] == (8, 1, Kind.DONE, 2, 3, 4)
    assert history.text(reference) == b"the key is xxxxxx0-xxx-xxxx"
    assert history.text(0) == b""
    assert history.anchor == journal.anchor
    assert ROW.size == DTYPE.itemsize == 32
    stored = b"".join(path.read_bytes() for path in (tmp_path / "h").iterdir())
    assert b"hunter2" not in stored


def test_an_identitys_redactor_is_used_where_it_is_given(tmp_path):
    journal = Journal(tmp_path / "h", Redactor())
    own = Redactor("token-of-mine-1", parent=Redactor())
    first, second = journal.text(b"token-of-mine-1"), journal.text(b"token-of-mine-1", own)
    journal.row(1, 1, 0, Kind.KEPT, 0, 0, first)
    journal.close()
    history = History.open(tmp_path / "h")
    assert history.text(first) == b"token-of-mine-1"
    assert history.text(second) == b"xxxxx-xx-xxxx-0"


def test_a_folder_is_never_written_twice(tmp_path):
    Journal(tmp_path / "h", Redactor()).close()
    with pytest.raises(FileExistsError):
        Journal(tmp_path / "h", Redactor())


def test_buffers_go_to_the_disk_when_full_and_when_flushed(tmp_path):
    journal = Journal(tmp_path / "h", Redactor())
    for n in range(3 * module.ROWS_PER_BUFFER + 10):
        journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
    wait_for(lambda: journal.drained)
    assert len(numbered(History.open(tmp_path / "h"))) == 3 * module.ROWS_PER_BUFFER
    journal.flush()
    wait_for(lambda: journal.drained)
    history = History.open(tmp_path / "h")
    assert numbered(history) == list(range(3 * module.ROWS_PER_BUFFER + 10))
    assert not history.complete
    journal.close()
    assert History.open(tmp_path / "h").complete


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_the_same_row_many_times_is_what_one_by_one_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    draw = random.Random(5)
    at_once, alone = Journal(tmp_path / "a", Redactor()), Journal(tmp_path / "b", Redactor())
    for n in range(200):
        row = (n + 1, n, 2, Kind.GOT, 65535, -n, -(2**63) + n)
        count = draw.choice([0, 1, 3, 10, 11, 25])
        at_once.rows(count, *row)
        for _ in range(count):
            alone.row(*row)
        if n % 7 == 0:
            at_once.row(n + 1, 0, 0, Kind.LAG)
            alone.row(n + 1, 0, 0, Kind.LAG)
    assert at_once.close() == alone.close()
    first, second = (History.open(tmp_path / name).rows.tolist() for name in "ab")
    assert first == second
    assert len(first) > 1000


def test_rows_at_once_that_the_disk_does_not_take_are_counted_as_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    monkeypatch.setattr(module, "BUFFERS_WAITING", 3)
    journal = Journal(tmp_path / "h", Redactor())
    with held(monkeypatch, journal) as (gate, reached):
        journal.rows(10, 1, 0, 0, Kind.GOT, 0, 0, 7)
        assert reached.wait(PATIENCE_S)  # one buffer is being written, three may wait
        journal.rows(65, 2, 0, 0, Kind.GOT, 0, 0, 7)
        assert journal.totals.rows_lost == 30
        gate.set()
        wait_for(lambda: journal.drained)
        totals = journal.close()
    history = History.open(tmp_path / "h")
    assert len(numbered(history)) == 45
    assert [row["a"] for row in history.of(Kind.GAP)] == [30]
    assert history.lost == totals.rows_lost == 30


def test_texts_have_a_cap_each_and_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TEXT_CAP", 1000)
    monkeypatch.setattr(module, "TEXT_MAX", 300)
    journal = Journal(tmp_path / "h", Redactor())
    references = [journal.text(bytes([65 + n]) * 400) for n in range(5)]
    assert [bool(reference) for reference in references] == [True] * 3 + [False] * 2
    small = journal.text(b"s" * 20)
    totals = journal.close()
    assert (totals.texts, totals.texts_refused) == (4, 2)
    history = History.open(tmp_path / "h")
    assert history.meta["totals"]["texts_refused"] == 2
    for n, reference in enumerate(references[:3]):
        assert history.text(reference) == bytes([65 + n]) * 300
    assert history.text(small) == b"s" * 20
    assert (tmp_path / "h" / "texts.bin").stat().st_size <= 1000


def test_a_disk_that_cannot_follow_is_told_by_a_gap_with_the_right_count(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    monkeypatch.setattr(module, "BUFFERS_WAITING", 3)
    journal = Journal(tmp_path / "h", Redactor())
    with held(monkeypatch, journal) as (gate, reached):
        for n in range(10):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        assert reached.wait(PATIENCE_S)  # one buffer is being written, three may wait
        for n in range(10, 75):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        assert journal.totals.rows_lost == 30
        assert not journal.drained
        gate.set()
        wait_for(lambda: journal.drained)
        for n in range(75, 100):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        totals = journal.close()
    history = History.open(tmp_path / "h")
    assert numbered(history) == [*range(40), *range(70, 100)]
    (gap,) = history.of(Kind.GAP)
    assert (gap["a"], gap["b"], gap["session"]) == (30, 41, NOBODY)
    assert history.lost == totals.rows_lost == 30
    assert totals.rows == len(history.rows) == 71
    assert history.complete


def test_several_gaps_are_several_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    monkeypatch.setattr(module, "BUFFERS_WAITING", 2)
    journal = Journal(tmp_path / "h", Redactor())
    for turn in range(3):
        with held(monkeypatch, journal) as (_, reached):
            for n in range(60):
                journal.row(1 + turn * 1000 + n, 0, 0, Kind.GOT, 0, 0, n)
                if n == 9:
                    assert reached.wait(PATIENCE_S)
        monkeypatch.undo()
        monkeypatch.setattr(module, "BUFFERS_WAITING", 2)
        wait_for(lambda: journal.drained)
        journal.flush()
        wait_for(lambda: journal.drained)
    totals = journal.close()
    history = History.open(tmp_path / "h")
    gaps = history.of(Kind.GAP)
    assert len(gaps) == 3
    assert int(gaps["a"].sum()) == totals.rows_lost == history.lost
    assert len(numbered(history)) + totals.rows_lost == 180
    assert (np.diff(gaps["b"]) > 0).all()


def test_rows_that_wait_when_the_end_comes_are_not_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    monkeypatch.setattr(module, "BUFFERS_WAITING", 3)
    journal = Journal(tmp_path / "h", Redactor())
    with held(monkeypatch, journal) as (gate, reached):
        for n in range(10):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        assert reached.wait(PATIENCE_S)
        for n in range(10, 45):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        threading.Timer(0.1, gate.set).start()
        totals = journal.close()
    assert totals.rows_lost == 0
    assert numbered(History.open(tmp_path / "h")) == list(range(45))


def test_a_disk_that_hangs_at_the_end_is_told_and_its_files_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CLOSE_WITHIN_S", 0.05)
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    journal = Journal(tmp_path / "h", Redactor())
    with held(monkeypatch, journal) as (gate, reached):
        for n in range(10):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        assert reached.wait(PATIENCE_S)
        for n in range(10, 35):
            journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
        with pytest.raises(TimeoutError):
            journal.close()
        history = History.open(tmp_path / "h")
        assert not history.complete
        assert history.lost == 25
        os.fstat(journal._rows_fd)  # still open: its number must not become another file's
        gate.set()
        journal._thread.join(PATIENCE_S)
    os.close(journal._rows_fd)
    os.close(journal._texts_fd)


WRITER = """
import sys, threading
from pathlib import Path
from probe.history.journal import Journal
from probe.history.records import Kind
from probe.redact import Redactor

journal = Journal(Path(sys.argv[1]), Redactor(), {"run_id": "r"})
print("on", flush=True)
n = 0
while True:
    n += 1
    reference = journal.text(b"text %d " % n * (1 + n % 40)) if n % 5 == 0 else 0
    journal.row(n, n % 100, 0, Kind.KEPT if reference else Kind.GOT, 0, n % 1000, reference or n)
    if n % 700 == 0:
        journal.flush()
"""


@pytest.mark.parametrize("turn", range(6))
def test_a_kill_at_any_moment_leaves_what_was_written(tmp_path, turn):
    folder = tmp_path / "h"
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        rows = folder / "rows.bin"
        wait_for(lambda: rows.stat().st_size > 0)
        time.sleep(random.Random(turn).uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    history = History.open(folder)
    assert not history.complete
    assert history.meta["run_id"] == "r"
    assert history.anchor.mono_ns > 0
    lost_before = history.of(Kind.GAP)
    mine = history.of(Kind.GOT, Kind.KEPT)
    assert len(mine)
    steps = np.diff(mine["t"])
    if not len(lost_before):
        assert mine["t"].tolist() == list(range(1, len(mine) + 1))
    assert (steps >= 1).all()
    assert (mine["a"] == mine["t"] % 1000).all()
    kept = mine[mine["kind"] == Kind.KEPT]
    assert len(kept)
    for row in kept.tolist():
        n = row[0]
        assert history.text(row[6]) == b"text %d " % n * (1 + n % 40)


FILLER = """
import json, resource, sys
from pathlib import Path
from probe.history.journal import Journal
from probe.history.records import Kind
from probe.redact import Redactor

journal = Journal(Path(sys.argv[1]), Redactor())
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
for n in range(20000):
    journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
    if n % 1000 == 999:
        journal.flush()
try:
    journal.close(ended="complete")
except OSError as error:
    print(json.dumps([error.errno, journal.totals.rows, journal.totals.rows_lost]))
else:
    print("null")
"""


@pytest.mark.parametrize("limit", [100_000, 100_001, 320_000, 5000])
def test_a_full_disk_is_told_and_not_hidden(tmp_path, limit):
    folder = tmp_path / "h"
    command = [sys.executable, "-c", FILLER, str(folder), str(limit)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S)
    told = json.loads(done.stdout)
    assert told is not None
    number, rows, lost = told
    assert os.strerror(number) == "File too large"
    history = History.open(folder)
    assert not history.complete
    assert rows == 20_000
    # Not one row is out of step, though the last one may be torn.
    assert numbered(history) == list(range(limit // 32))
    assert history.torn == bool(limit % 32)
    assert history.lost == lost == 20_000 - limit // 32


def test_after_a_failed_write_nothing_follows_out_of_step(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_BUFFER", 10)
    journal = Journal(tmp_path / "h", Redactor())
    write, calls = os.write, []

    def torn(fd, data):
        if fd != journal._rows_fd:
            return write(fd, data)
        calls.append(len(data))
        if len(calls) == 2:
            return write(fd, bytes(data)[:45])
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", torn)
    for n in range(40):
        journal.row(n + 1, 0, 0, Kind.GOT, 0, 0, n)
    with pytest.raises(OSError, match="No space left"):
        journal.close()
    history = History.open(tmp_path / "h")
    assert numbered(history) == list(range(11))
    assert history.torn
    assert not history.complete
    assert history.lost == 29


def test_heads_of_one_kind_are_wanted_until_there_are_enough(tmp_path):
    journal = Journal(tmp_path / "h", Redactor())
    wanted = [journal.wants(503) for _ in range(module.HEADS_PER_KIND + 5)]
    assert wanted == [True] * module.HEADS_PER_KIND + [False] * 5
    assert journal.wants(504)
    journal.close()


def test_run_folders(tmp_path, monkeypatch):
    now = Anchor(0, 0).wall(0)
    results = tmp_path / "results"
    with pytest.raises(HistoryError, match="no run of that name"):
        find_run(results, "latest")
    first, second = new_run(results, "smoke", now), new_run(results, "smoke", now)
    assert first != second
    assert first.name.startswith("19700101-000000-smoke-")
    for folder in (first, second):
        (folder / "history").mkdir()
        point_latest(folder)
        assert find_run(results, "latest") == folder.resolve()
    assert find_run(results, first.name) == first.resolve()
    assert find_run(results, str(first)) == first.resolve()
    monkeypatch.chdir(tmp_path)
    assert find_run(results.relative_to(tmp_path), f"results/{first.name}") == first.resolve()
    with pytest.raises(HistoryError) as caught:
        find_run(results, "nothing")
    newest = ", ".join(sorted((first.name, second.name)))
    assert str(caught.value).endswith(f"the newest are {newest}")
