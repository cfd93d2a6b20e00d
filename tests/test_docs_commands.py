"""Every command that the docs show, run as a reader would: `make test-docs` (half an hour).

A page is one reader in a folder of its own, which has the repository's files and its virtual
environment. What a page leaves running is ended with it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from docs.making.commands import commands, pages

pytestmark = [pytest.mark.docs, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parent.parent
LINE_S = 900
SHELL = {"export", "mkdir", "cp", "cd", "echo", "cat", "for", "if", "."}
RUN = [page for page in pages() if any(not each.why and not each.file for each in commands(page))]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """A run that a reader has made before, since pages speak of `latest`."""
    folder = tmp_path_factory.mktemp("earlier") / "results"
    order = ["golden_path", "--target", "lab", "--defect", "drop_event=0.1@tool_completed"]
    probe = [sys.executable, "-m", "probe", "run", *order, "--quiet", "--out", str(folder)]
    subprocess.run(probe, cwd=ROOT, check=False, timeout=LINE_S)
    return folder


@pytest.fixture
def reader(tmp_path, earlier):
    """A folder as after `git clone`, `make` and a run; scenarios and results are its own."""
    shutil.copytree(earlier, tmp_path / "results", symlinks=True)
    for name in ("Makefile", "pyproject.toml", "README.md", "docs", "tests", "benchmarks", "probe"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "scenarios", tmp_path / "scenarios")
    venv = tmp_path / ".venv"
    venv.mkdir()
    for path in (ROOT / ".venv").iterdir():
        if path.name not in {".run", ".dev", ".bench"}:
            (venv / path.name).symlink_to(path)
    for stamp in (".run", ".dev"):  # newer than pyproject.toml, so that make installs nothing
        (venv / stamp).touch()
    return tmp_path


def starved(reader):
    """Whether the latest run says that its machine was not fit: then its lab was not, either."""
    verdict = reader / "results/latest/verdict.json"
    return verdict.exists() and not json.loads(verdict.read_text())["fitness"]["fit"]


def ended(groups):
    for group in groups:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(group, kind)
            except ProcessLookupError:
                break
            time.sleep(0.5)


def run(line, reader, groups):
    """The exit code of one line and what it said; what it exports is there for the next."""
    kept = reader / ".exported"
    script = f"[ ! -f {kept} ] || . {kept}\n{line}\ncode=$?\nexport -p > {kept}\nexit $code\n"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment["PATH"] = f"{reader}/.venv/bin:{environment['PATH']}"
    with (reader / ".said").open("w+") as said:
        started = subprocess.Popen(
            ["bash", "-c", script], cwd=reader, env=environment, stdin=subprocess.DEVNULL,
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        groups.append(started.pid)
        code = started.wait(LINE_S)
        if line.endswith("&"):
            time.sleep(2)  # as long as a reader takes to go on
        said.seek(0)
        return code, said.read()


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_page_shows_runs(page, reader):
    groups: list[int] = []
    missing: dict[str, str] = {}
    try:
        for each in commands(page):
            if each.section in missing:
                continue
            if each.file:
                path = reader / each.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(each.line)
                continue
            there = each.program in SHELL or shutil.which(
                each.program, path=f"{reader}/.venv/bin:{os.environ['PATH']}"
            )
            if "/" in each.program:
                there = (reader / each.program).exists()
            if not there:
                missing[each.section] = each.program
            if each.why or not there:
                continue
            code, said = run(each.line, reader, groups)
            if code == 1 and 3 in each.exits and starved(reader):
                continue
            assert code in each.exits, f"{each.line}\nexit {code}, wanted {each.exits}\n{said}"
    finally:
        ended(groups)
    if missing:
        told = ", ".join(f"{program} ({section})" for section, program in missing.items())
        pytest.skip(f"the rest ran; not on this machine: {told}")
