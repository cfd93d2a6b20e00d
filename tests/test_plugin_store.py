"""How the plugin plays a run: nothing is left behind, and nothing else is taken for the probe."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from probe.plugin import store
from probe.plugin.result import ProbeRunError
from probe.plugin.store import Store
from tests.lab_process import until

# Deaf to Ctrl-C, with a child that holds its pipes.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
time.sleep(300)
"""


def stubborn():
    return subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


def is_gone(pid):
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    return told.rpartition(")")[2].split()[0] == "Z"


def test_one_that_does_not_end_is_ended_with_its_children(monkeypatch):
    monkeypatch.setattr(store, "GRACE_S", 0.3)
    process = stubborn()
    child = int(process.stdout.readline())
    since = time.monotonic()
    store._end(process)
    assert time.monotonic() - since < 60
    assert process.returncode is not None
    until(lambda: is_gone(child), within_s=10)


def test_a_second_ctrl_c_leaves_nothing_running(monkeypatch):
    process = stubborn()
    child = int(process.stdout.readline())

    def interrupted(timeout):
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store._end(process)
    assert process.returncode is not None
    until(lambda: is_gone(child), within_s=10)


def test_a_folder_of_the_same_name_is_not_taken_for_the_probe(tmp_path):
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe/__main__.py").write_text("print('{\"exit_code\": 0}')\n")
    with pytest.raises(ProbeRunError, match="no such scenario"):
        Store(tmp_path, "results", None).run(("nothing", "--target", "lab"), 60)


@pytest.mark.parametrize("code", [5, 0])
def test_a_verdict_stands_only_if_the_command_ended_as_it_says(tmp_path, monkeypatch, code):
    program = tmp_path / "program"
    program.write_text(
        f'#!/bin/sh\necho \'{{"exit_code": 0, "run_id": "x", "findings": []}}\'; exit {code}\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    asked = Store(tmp_path, "results", None)
    if code:
        with pytest.raises(ProbeRunError, match="no verdict: exit code 5"):
            asked.run(("x", "--target", "y"), 60)
    else:
        assert asked.run(("x", "--target", "y"), 60).passed


def test_what_a_test_has_put_into_the_words_is_not_printed(tmp_path):
    words = ("nothing", "--target", "lab", "--set", "target.auth.password=s3cret-of-ours")
    with pytest.raises(ProbeRunError) as error:
        Store(tmp_path, "results", None).run(words, 60)
    assert "s3cret" not in str(error.value)


def test_where_runs_go_is_not_for_the_words(tmp_path):
    with pytest.raises(ProbeRunError, match="--probe-out says where runs go"):
        Store(tmp_path, "results", None).run(("x", "--out", os.devnull), 60)
