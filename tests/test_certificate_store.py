"""What is kept of finished runs: torn ends, other versions, and going on."""

import subprocess
from importlib.metadata import version as installed

import pytest

from probe.certificate import store
from probe.certificate.case import Order
from probe.certificate.result import Result
from probe.certificate.runner import hits_of
from probe.certificate.store import Store, version_of

ONE = Order("drop_event", "full", "golden_path", 1, "drop_event=1")
TWO = Order("drop_event", "full", "golden_path", 2, "drop_event=1")


def result(order, version="v1", **more):
    return Result(version, order.case, order.level, order.seed, order.command, "PASS", **more)


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / "new" / "runs.ndjson"
    kept = Store(path, "v1")
    one = result(ONE, codes={"a.b": 2}, hits={"x": 1}, unfit=("lag",), wall_s=1.5)
    kept.add(one)
    assert kept.get(ONE) == one
    again = Store(path, "v1")
    assert again.get(ONE) == one
    assert again.get(TWO) is None


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_last_line_is_cut_away_and_that_run_made_again(tmp_path, cut):
    path = tmp_path / "runs.ndjson"
    kept = Store(path, "v1")
    kept.add(result(ONE))
    whole = path.read_bytes()
    kept.add(result(TWO))
    path.write_bytes(path.read_bytes()[:-cut])
    again = Store(path, "v1")
    assert again.get(ONE) is not None
    assert again.get(TWO) is None
    assert path.read_bytes() == whole
    again.add(result(TWO))
    assert Store(path, "v1").get(TWO) is not None


def test_a_damaged_line_is_as_if_that_run_had_never_been(tmp_path):
    path = tmp_path / "runs.ndjson"
    kept = Store(path, "v1")
    kept.add(result(ONE))
    path.write_bytes(b'{"version": 7}\n\xff\xfe\n[]\n' + path.read_bytes())
    again = Store(path, "v1")
    assert again.get(ONE) == result(ONE)


def test_another_version_or_another_command_is_another_run(tmp_path):
    path = tmp_path / "runs.ndjson"
    Store(path, "v1").add(result(ONE))
    assert Store(path, "v2").get(ONE) is None
    Store(path, "v2").add(result(ONE, "v2", wall_s=2.0))
    assert Store(path, "v1").get(ONE) == result(ONE)
    longer = Order("drop_event", "full", "golden_path", 1, "drop_event=1", ("a.b=1",))
    assert Store(path, "v1").get(longer) is None


def test_without_a_commit_the_files_are_the_version(tmp_path):
    module = tmp_path / "probe" / "one.py"
    module.parent.mkdir()
    module.write_text("a = 1\n")
    first = version_of(tmp_path)
    assert version_of(tmp_path) == first
    module.write_text("a = 2\n")
    assert version_of(tmp_path) != first
    (tmp_path / "scenarios").mkdir()
    second = version_of(tmp_path)
    (tmp_path / "scenarios" / "a.toml").write_text("")
    assert version_of(tmp_path) != second
    (tmp_path / "notes.md").write_text("nothing that runs")
    assert version_of(tmp_path) != first


def test_the_commit_is_the_version_where_the_files_are_as_committed(tmp_path, monkeypatch):
    module = tmp_path / "probe" / "one.py"
    module.parent.mkdir()
    module.write_text("a = 1\n")
    says = {"log": "0123456789abcdef", "status": ""}
    monkeypatch.setattr(store, "_git", lambda _root, word, *_: says[word])
    assert version_of(tmp_path).startswith(f"{installed('probe')}+"), "no work tree of its own"
    (tmp_path / ".git").mkdir()
    assert version_of(tmp_path) == "0123456789ab"
    says["status"] = "M probe/one.py"
    changed = version_of(tmp_path)
    assert changed.startswith("0123456789ab+")
    module.write_text("a = 2\n")
    assert version_of(tmp_path) != changed


def test_git_is_asked_without_taking_a_lock(tmp_path, monkeypatch):
    asked = []

    def answer(command, **_):
        asked.append(command)
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", answer)
    (tmp_path / ".git").mkdir()
    assert version_of(tmp_path).startswith(f"{installed('probe')}+"), "without git, its files"
    assert [each[:5] for each in asked] == [
        ["git", "--no-optional-locks", "-C", str(tmp_path), "log"]
    ]


def test_a_commit_of_other_files_is_no_other_version(tmp_path):
    def git(*words):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    def commit(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        git("add", ".")
        git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "one")
        return version_of(tmp_path)

    git("init")
    first = commit("probe/one.py", "a = 1\n")
    assert "+" not in first
    assert commit("notes.md", "nothing that runs") == first
    assert commit("probe/one.py", "a = 2\n") != first


def test_hits_are_lines_of_their_own_and_of_a_cold_start_its_handshakes():
    lines = [
        {"event": "hit", "defect": "drop_event"},
        {"event": "hit", "defect": "drop_event"},
        {"event": "handshake", "outcome": "closed_1011"},
        {"event": "handshake", "outcome": "accepted"},
        {"event": "handshake", "outcome": "hung"},
        {"event": "phase", "phase": "up"},
    ]
    assert hits_of(lines) == {"cold_start_1011": 1, "cold_start_hang": 1, "drop_event": 2}
