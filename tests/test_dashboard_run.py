"""Real runs, watched: on a real terminal, in a log, and by a client of the live page."""

import fcntl
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import termios
import threading
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.lab_process import until

pytestmark = pytest.mark.alone

LOAD = """
[stages.load]
patience = "2s"
expect.success = { rate = "50%" }
[stages.load.populations.clients]
shape = { rate = "40/s", lasts = "SPANs", arrivals = "even" }
"""
URL = re.compile(r"live: (http://127\.0\.0\.1:\d+/)#?(\S*)")
WITHIN_S = 60.0


class Terminal:
    """A probe on a terminal of its own; `seen` is all that was written to it."""

    def __init__(self, probe, *words, size=(24, 80), env=None):
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.seen = ""
        environment = probe.environment({"TERM": "xterm", **(env or {})})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "probe", "run", "small", "--out", str(probe.results), *words],
            cwd=probe.cwd, env=environment, stdin=slave, stdout=slave, stderr=slave,
            start_new_session=True,
        )  # fmt: skip
        probe.started.append(self.process)
        os.close(slave)
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self):
        try:
            while data := os.read(self.master, 65536):
                self.seen += data.decode()
        except OSError:
            pass  # the last one has closed it

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def address(self):
        found = until(lambda: URL.search(self.seen.replace("\r\n", "")), within_s=WITHIN_S)
        return found[1], found[2]

    def end(self):
        code = self.process.wait(WITHIN_S)
        self.reading.join(10)
        os.close(self.master)
        return code

    @property
    def plain(self):
        """All of it without colours, and without where it was wrapped."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.seen).replace("\r\n", "\n")


@contextmanager
def views(url):
    """Views as they come; each wait has a deadline."""
    with urlopen(f"{url}events", timeout=WITHIN_S) as events:

        def told():
            for line in events:
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

        yield told()


def post(url, token):
    request = Request(f"{url}stop", method="POST", headers={"X-Probe-Token": token})
    with urlopen(request, timeout=10) as answer:
        return answer.status


def scenario(probe, seconds):
    return probe.scenario(LOAD.replace("SPAN", str(seconds)))


def test_a_watched_run_tells_the_sum_of_its_workers_as_its_report_does_and_its_verdict(probe):
    scenario(probe, 3)
    terminal = Terminal(probe, "-t", "lab", "--dashboard", "--workers", "2")
    url, token = terminal.address()
    assert token
    with views(url) as told:
        seen = list(told)
    code = terminal.end()
    done = json.loads((probe.newest() / "verdict.json").read_text())
    last, running = seen[-1], [each for each in seen if each["state"] == "running"]
    assert running
    assert {each["stage"] for each in running} <= {"", "load"}
    assert any("messages/s" in " ".join(each["rates"]) for each in running)
    assert last["state"] == "judged"
    assert last["verdict"] == done["verdict"]
    assert last["report"] == str((probe.newest() / "report.html").resolve())
    summary = json.loads((probe.newest() / "summary.json").read_text())
    assert f"of {summary['latency']['load']['connect']['n']} connects" in last["connect_on"][0]
    assert last["clients"][0] == "120 of 120 let go"
    assert code == done["exit_code"]
    assert "\x1b[J" in terminal.seen
    assert terminal.plain.rstrip().endswith("(report.html, verdict.json)")
    for path in probe.newest().rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), path


def test_the_stop_button_ends_a_run_as_ctrl_c_does(probe):
    scenario(probe, 60)
    terminal = Terminal(probe, "-t", "lab", "--dashboard")
    url, token = terminal.address()
    with views(url) as told:
        next(each for each in told if each["stage"] == "load")
        with pytest.raises(HTTPError) as refused:
            post(url, token + "x")
        assert refused.value.code == 403
        assert post(url, token) == 200
        assert post(url, token) == 200  # a second one is no second Ctrl-C
        seen = list(told)
    assert terminal.end() == 130
    done = json.loads((probe.newest() / "verdict.json").read_text())
    assert done["interrupted"] is True
    assert any(each["state"] == "stopping" for each in seen)
    assert seen[-1]["ended"] == "interrupted"
    again = probe.inside("check", probe.newest(), "--json")
    assert again.code == 130


def test_a_block_follows_its_terminal_and_ctrl_c_leaves_the_verdict(probe):
    scenario(probe, 60)
    terminal = Terminal(probe, "-t", "lab", size=(30, 100))
    until(lambda: "messages/s" in terminal.seen, within_s=WITHIN_S)
    terminal.resize(30, 40)
    mark = len(terminal.seen)
    until(lambda: terminal.seen.count("\x1b[J", mark) > 3, within_s=WITHIN_S)
    frames = re.split(r"\r\x1b\[\d+A\x1b\[J", terminal.seen[mark:])[2:-1]
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for frame in frames for line in frame.split("\r\n")]
    assert lines
    assert max(map(len, lines)) <= 40
    os.killpg(terminal.process.pid, 2)  # what a terminal does at Ctrl-C: all of its group hear it
    assert terminal.end() == 130
    assert "the live view has ended" not in terminal.seen
    last = re.split(r"\x1b\[J", terminal.seen)[-1]
    assert "run.complete" in re.sub(r"\x1b\[[\d;]*m", "", last)
    assert "let go" not in last  # nothing of the block is left


def test_a_terminal_that_takes_nothing_holds_up_no_run(probe):
    scenario(probe, 2)
    terminal = Terminal(probe, "-t", "lab", "--json")
    until(lambda: "clients" in terminal.seen, within_s=WITHIN_S)
    termios.tcflow(terminal.master, termios.TCOOFF)  # as Ctrl-S does
    folder = probe.newest()
    until((folder / "verdict.json").exists, within_s=WITHIN_S)
    termios.tcflow(terminal.master, termios.TCOON)
    terminal.end()
    told = json.loads((folder / "history" / "meta.json").read_text())
    assert told["ended"] == "complete"


def test_a_log_gets_lines_and_no_key(probe):
    scenario(probe, 6)
    done = probe("run", "small", "-t", "lab", "--out", probe.results, "--dashboard")
    assert [line for line in done.out.splitlines() if "let go" in line], done.told
    assert "\x1b" not in done.out + done.err
    assert "the stop button's key is told on a terminal only" in done.err
    assert "#" not in done.err


def test_a_taken_port_is_told_before_anything_is_run(probe):
    scenario(probe, 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("run", "small", "-t", "lab", "--out", probe.results, "--dashboard", port)
        done = probe.inside(*words)
    assert done.code == 2, done.told
    assert str(port) in done.err
    assert not probe.runs()


def test_nobody_is_left_when_the_probe_is_killed(probe):
    scenario(probe, 60)
    terminal = Terminal(probe, "-t", "lab", "--dashboard")
    url, _ = terminal.address()
    with views(url) as told:
        next(each for each in told if each["stage"] == "load")
        terminal.process.kill()
        terminal.end()
        seen = list(told)  # the stream ends, by itself
    assert not seen or seen[-1]["verdict"] == ""
    until(lambda: not answers(url), within_s=WITHIN_S)


def answers(url):
    try:
        urlopen(url, timeout=2).close()
    except OSError:
        return False
    return True


def test_it_is_served_where_nothing_is_printed(probe):
    scenario(probe, 1)
    terminal = Terminal(probe, "-t", "lab", "--quiet", "--dashboard")
    url, token = terminal.address()
    assert token
    with views(url) as told:
        assert list(told)[-1]["state"] == "judged"
    terminal.end()
    assert "\x1b[J" not in terminal.seen
