"""`probe` as a fixture: the command line as its own process, in a folder of the test; and a lab.

Every call has a deadline, an environment without what a developer's or CI's machine sets,
and its own results folder; what it left running is killed and fails the test.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from probe.cli import main
from tests.lab_process import Lab, check_ledger, until

if TYPE_CHECKING:
    from pathlib import Path

CLEARED = ("CI", "GITHUB_STEP_SUMMARY", "NO_COLOR", "COLUMNS", "FORCE_COLOR")
DEADLINE_S = 60.0


@dataclass
class Done:
    """One finished command; `folder` is the run directory, where there is one."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def verdict(self) -> Any:
        return json.loads((self.folder / "verdict.json").read_text())

    @property
    def summary(self) -> Any:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def codes(self) -> set[str]:
        """Codes of the findings."""
        return {each["code"] for each in self.verdict["findings"]}

    def check(self, name: str) -> Any:
        """The check of that id."""
        return next(each for each in self.verdict["checks"] if each["id"] == name)

    def ledger(self) -> list[dict[str, Any]]:
        lines = (self.folder / "lab.ledger.ndjson").read_text().splitlines()
        return [json.loads(line) for line in lines]

    @property
    def told(self) -> str:
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Probe:
    """`probe(*words)` runs a command; `probe.run(...)` a scenario, into `results`."""

    def __init__(self, cwd: Path):
        self.cwd = cwd
        self.results = cwd / "results"
        self.started: list[subprocess.Popen[bytes]] = []

    def environment(self, extra=None):
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in CLEARED and not name.startswith("PROBE_")
        }
        return {**kept, **(extra or {})}

    def start(self, *words, env=None, stdin=None):
        process = subprocess.Popen(
            [sys.executable, "-m", "probe", *map(str, words)],
            cwd=self.cwd,
            env=self.environment(env),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that a test can do what a terminal does at Ctrl-C
        )
        self.started.append(process)
        return process

    def finish(self, process, *, within_s=DEADLINE_S):
        try:
            out, err = process.communicate(timeout=within_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"not within {within_s} s\n{out.decode()}\n{err.decode()}")
        return Done(process.returncode, out.decode(), err.decode(), self.newest())

    def newest(self):
        link = self.results / "latest"
        return link.resolve() if link.exists() else self.results

    def __call__(self, *words, env=None, within_s=DEADLINE_S):
        return self.finish(self.start(*words, env=env), within_s=within_s)

    def inside(self, *words, env=None):
        """The same within this process, for what opens no socket: starting one takes longer."""
        raw_out, raw_err = io.BytesIO(), io.BytesIO()
        with (
            mock.patch.dict(os.environ, self.environment(env), clear=True),
            mock.patch.object(sys, "argv", ["probe", *map(str, words)]),
            contextlib.chdir(self.cwd),
            io.TextIOWrapper(raw_out, "utf-8", write_through=True) as out_stream,
            io.TextIOWrapper(raw_err, "utf-8", write_through=True) as err_stream,
            contextlib.redirect_stdout(out_stream),
            contextlib.redirect_stderr(err_stream),
        ):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
            out, err = raw_out.getvalue().decode(), raw_err.getvalue().decode()
        return Done(code, out, err, self.newest())

    def run(self, scenario, *words, target=None, env=None, within_s=DEADLINE_S):
        chosen = () if target is None else ("--target", target)
        words = ("run", scenario, *chosen, "--out", self.results, *words)
        return self(*words, env=env, within_s=within_s)

    def fit_run(self, scenario, *words, **options):
        """A run on which the machine was fit to judge; a busy one is given a few tries."""
        for _ in range(5):
            done = self.run(scenario, *words, **options)
            if not done.folder.joinpath("verdict.json").exists() or done.verdict["fitness"]["fit"]:
                return done
        pytest.skip(f"this machine is too busy to judge: {done.verdict['fitness']}")

    def write(self, name, body):
        """A file in the folder of the test."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)
        return path

    def target(self, url, *, name="service", dialect="plain", more=""):
        """A target file for one endpoint."""
        body = f'title = "{name}"\ndialect = "{dialect}"\n[endpoints.main]\nurl = "{url}"\n{more}'
        self.write(f"scenarios/targets/{name}.toml", body)
        return name

    def scenario(self, body, name="small"):
        """A scenario file; `body` without its title."""
        self.write(f"scenarios/{name}.toml", f'title = "{name}"\n{body}')
        return name

    def runs(self):
        return [path for path in self.results.glob("*/history") if not path.parent.is_symlink()]


@pytest.fixture
def probe(tmp_path):
    made = Probe(tmp_path)
    yield made
    left = [process for process in made.started if process.poll() is None]
    for process in left:
        process.kill()
        process.communicate()
    assert not left, "a command was left running"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The healthy lab as a process of its own, whose ledger in the end tells of no defect."""
    with Lab(tmp_path_factory.mktemp("lab")) as started:
        until(lambda: "healthy" in started.phases())
        yield started
        check_ledger(started)
        assert started.lines("hit") == []
    assert started.process.returncode == 0


@pytest.fixture(scope="module")
def defective(tmp_path_factory):
    """A lab that is healthy until a test sets a defect."""
    with Lab(tmp_path_factory.mktemp("defective"), "--seed", "5") as started:
        until(lambda: "healthy" in started.phases())
        yield started
        check_ledger(started)
    assert started.process.returncode == 0
