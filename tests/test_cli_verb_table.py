"""The table of verbs: it says of each verb what the verb says of itself, and loads only one."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from probe.cli import VERBS, command_line


@pytest.mark.parametrize("verb", VERBS)
def test_the_table_tells_of_a_verb_what_it_tells_of_itself(verb):
    module, told = VERBS[verb]
    own = inspect.getdoc(import_module(f"probe.cli.{module}").command)
    assert own is not None
    assert own.splitlines()[0] == told


@pytest.mark.parametrize("words", [["schema", "scenario"], ["--", "schema", "scenario"]])
def test_the_verb_that_is_asked_for_is_the_one_that_is_called(words, capsys):
    command_line(words)(words, standalone_mode=False)
    assert '"properties"' in capsys.readouterr().out


def loaded(code):
    """The modules that are loaded once `code` has run in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return set(told.stdout.split())


ACTING = {"probe.engine", "probe.wire", "probe.auth"}
HEAVY = {"aiohttp", "jwt", "cryptography"}


@pytest.mark.parametrize(
    ("verb", "never"),
    [
        ("nothing", ACTING | HEAVY | {"probe.check", "probe.report", "probe.model", "numpy"}),
        ("list", ACTING | HEAVY | {"probe.check", "scipy"}),
        ("validate", ACTING | HEAVY | {"probe.check", "scipy"}),
        ("check", ACTING | HEAVY),
        ("run", HEAVY),
    ],
)
def test_a_verb_loads_nothing_that_it_may_not_need(verb, never):
    modules = loaded(f"from probe.cli import command_line; command_line([{verb!r}])")
    assert "probe.cli" in modules
    assert not never & modules


def test_a_worker_loads_no_library_that_its_clients_may_not_need():
    modules = loaded("import probe.engine.worker")
    assert "probe.engine.worker" in modules
    assert not HEAVY & modules
