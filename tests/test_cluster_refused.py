"""`--engine ray`: what is refused before anything is started, and what is told."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from probe.engine import relay
from probe.engine.counters import Counters
from probe.engine.relay import Relay
from probe.history.records import ROW
from tests.test_run_workers import HOLDING


@pytest.fixture
def there(monkeypatch):
    """Ray is found, as far as anybody looks."""

    def found(known):
        real = importlib.util.find_spec
        monkeypatch.setattr(
            "probe.cli.spread.find_spec", lambda name: known if name == "ray" else real(name)
        )

    return found


def asked(probe, *words, more=""):
    probe.scenario(HOLDING)
    name = probe.target("ws://127.0.0.1:1/", more=more)
    return probe.inside("run", "small", "-t", name, "--out", probe.results, *words)


def test_without_ray_it_is_refused_with_how_to_install_it(probe, there):
    there(None)
    done = asked(probe, "--engine", "ray", "--workers", "2")
    assert done.code == 2
    assert "pip install -e '.[cluster]'" in done.err
    assert not probe.runs()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--engine", "dask"), "no such engine"),
        (("--address", "10.0.0.1:6379"), "only --engine ray"),
        (("--engine", "ray", "--address", "ray://head:10001"), "--address HOST:6379"),
    ],
)
def test_what_makes_no_sense_is_refused(probe, there, words, told):
    there(object())
    done = asked(probe, *words)
    assert done.code == 2
    assert told in done.err
    assert not probe.runs()


def test_addresses_of_one_machine_are_not_those_of_many(probe, there):
    there(object())
    done = asked(probe, "--engine", "ray", more='[network]\nsources = ["127.0.0.7"]\n')
    assert done.code == 2
    assert "network.sources" in done.err


def test_what_a_cluster_would_play_is_told_beforehand(probe, there):
    there(object())
    done = asked(probe, "--engine", "ray", "--workers", "1", "--dry-run")
    assert done.code == 0, done.told
    assert "1 worker plays load on a Ray of our own, here" in done.out
    done = asked(probe, "--engine", "ray", "--address", "auto", "--workers", "3", "--dry-run")
    assert "3 workers play load on the Ray cluster at auto" in done.out


def test_ray_is_not_imported_where_nobody_asks_for_it():
    words = "import sys, probe.cli.run; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False, timeout=60).returncode == 0


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A relay whose worker has written a journal; how many rows and bytes of texts it has."""
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: str(tmp_path))
    made = Relay(0, 1)
    folder = tmp_path / "worker-1"
    folder.mkdir()

    def write(rows, texts, *, complete=False):
        (folder / "rows.bin").write_bytes(os.urandom(rows * ROW.size + 5 * (not complete)))
        (folder / "texts.bin").write_bytes(os.urandom(texts))
        (folder / "meta.json").write_text("complete" if complete else "open")

    yield made, folder, write
    made._counters.close()


def test_pieces_are_bounded_texts_go_first_and_the_last_word_last(journal, monkeypatch):
    monkeypatch.setattr(relay, "PIECE_BYTES", 640)
    made, folder, write = journal
    write(100, 2_000, complete=True)
    pieces = []
    while True:
        rows, texts, meta, more = made._new()
        assert max(len(rows), len(texts)) <= 640
        pieces.append((rows, texts, meta))
        if not more:
            break
    rows, texts, metas = (b"".join(part) for part in zip(*pieces, strict=True))
    assert rows == (folder / "rows.bin").read_bytes()
    assert texts == (folder / "texts.bin").read_bytes()
    with_rows = [k for k, piece in enumerate(pieces) if piece[0]]
    with_texts = [k for k, piece in enumerate(pieces) if piece[1]]
    assert max(with_texts) <= min(with_rows)
    assert made._new() == (b"", b"", b"", False)
    assert pieces[-1][2] or metas == b"complete"


def test_a_torn_row_waits_for_its_other_half_and_completeness_for_all_rows(journal, monkeypatch):
    made, folder, write = journal
    write(3, 10)
    rows, _, meta, more = made._new()
    assert (len(rows), meta, more) == (3 * ROW.size, b"open", False)
    monkeypatch.setattr(relay, "PIECE_BYTES", ROW.size)
    with (folder / "rows.bin").open("ab") as file:
        file.write(bytes(2 * ROW.size - 5))
    (folder / "meta.json").write_text("complete")
    told = [made._new() for _ in range(4)]
    assert [len(rows) // ROW.size for rows, *_ in told] == [1, 1, 0, 0]
    assert [meta for _, _, meta, _ in told] == [b"", b"complete", b"", b""]


def test_counters_of_another_host_are_put_beside_ours():
    ours, theirs = Counters(3), Counters(3)
    try:
        theirs._lines[1] = np.arange(64)
        ours.put(1, theirs.line(1))
        assert ours.beat(1) == 0
        assert ours._lines[1].tolist() == list(range(64))
        assert ours.named
        fresh = Counters(2)
        assert not fresh.named
        fresh.tell_named(0)
        assert fresh._lines[:, 1].tolist() == [0, 1]  # a worker's own line is its own
        fresh.close()
    finally:
        ours.close()
        theirs.close()
