"""House rules that no linter knows."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from probe.check.catalogue import CATALOGUE

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "probe").rglob("*.py"))
LINES_MAX = 400
FUNCTION_LINES_MAX = 90
VAGUE = {"utils", "util", "manager", "helper", "helpers", "handler", "handlers", "common", "misc"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_small_named_for_what_it_is_and_says_what_it_is(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_MAX
    assert path.stem not in VAGUE
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES_MAX, node.name


def test_every_finding_stands_in_the_catalogue_with_cause_and_source():
    for code, entry in CATALOGUE.items():
        assert code == code.lower()
        assert "." in code
        assert entry.source
        assert all(entry.causes.values())
        assert "" in entry.causes


def test_the_wheel_brings_the_scenarios_and_the_command(tmp_path):
    """What is installed is the wheel: it must work far from this folder."""
    for command in (
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target",
         str(tmp_path / "site"), "--disable-pip-version-check"],
    ):  # fmt: skip
        wheels = [str(path) for path in (tmp_path / "dist").glob("*.whl")]
        subprocess.run([*command, *wheels], cwd=ROOT, check=True, timeout=90, capture_output=True)
    away = tmp_path / "away"
    away.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from probe.cli import main; import probe;"
        "assert 'site' in probe.__file__, probe.__file__; main()"
    )
    listed = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site"), "list", "--no-color"],
        cwd=away, check=False, timeout=60, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "400"},
    )  # fmt: skip
    assert listed.returncode == 0, listed.stderr
    for name in ("cold_start", "smoke", "lab", "staging", "agent_events", "plain"):
        assert name in listed.stdout
    assert "_scenarios" in listed.stdout
