"""The pytest plugin: a scenario as test items (`--probe NAME`), or in a test (`probe_run`).

The rule: never a green item without a PASS. A run is a process of its own, which no event loop of
the tests touches, and is made once in a session, also with pytest-xdist. This module is loaded by
every pytest where the probe is installed, and so imports nothing but pytest until it is used.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from probe.plugin.result import ProbeRun
    from probe.plugin.store import Store

SHARED: Final = "probe_shared"
TIMEOUT_S: Final = 3600.0
INCONCLUSIVE: Final = ("fail", "skip")
_STORE: Final[pytest.StashKey[Store]] = pytest.StashKey()
_FOLDER: Final[pytest.StashKey[Path]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, each with `probe` in its name."""
    group = parser.getgroup("probe", "a load and race probe of WebSocket services")
    group.addoption(
        "--probe", dest="probe_scenarios", action="append", default=[], metavar="SCENARIO",
        help="run this scenario, each check a test item (repeatable); without paths nothing else",
    )  # fmt: skip
    group.addoption("--probe-target", metavar="TARGET", help="name or file of the target")
    group.addoption(
        "--probe-args", default="", metavar="WORDS",
        help="more options of `probe run`, quoted as in a shell",
    )  # fmt: skip
    group.addoption(
        "--probe-out", default="results", metavar="FOLDER",
        help="where run directories go; default: results",
    )  # fmt: skip
    group.addoption(
        "--probe-inconclusive", choices=INCONCLUSIVE, default=INCONCLUSIVE[0],
        help="what a check is that saw too little to say: a failure (default), or skipped",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """With scenarios and without paths there are no tests but theirs."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if config.getoption("probe_scenarios") and not named:
        config.args = []


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With xdist: the folder in which workers find the runs that one of them has made."""
    stash = node.config.stash
    if _FOLDER not in stash:
        stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="probe-pytest-"))
    node.workerinput[SHARED] = str(stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    """What workers shared is needed no more; the runs are in their own folders."""
    if _FOLDER in config.stash:
        shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the items of the scenarios, which are run for it; before any are deselected."""
    names: list[str] = session.config.getoption("probe_scenarios")
    if names:
        from probe.plugin.items import collected  # noqa: PLC0415 -- see the module

        items.extend(collected(session, names, _store(session.config)))


@pytest.fixture
def probe_run(request: pytest.FixtureRequest) -> Iterator[Play]:
    """`probe_run("smoke", target="staging")`: the run and what was found; see `Play`."""
    play = Play(_store(request.config), request.node)
    yield play
    play.must_be_looked_at()


class Play:
    """Runs scenarios for one test; see `__call__`."""

    def __init__(self, store: Store, node: pytest.Item) -> None:
        self._store, self._node = store, node
        self._made: list[ProbeRun] = []

    def __call__(
        self,
        scenario: str,
        *,
        target: str,
        set: Mapping[str, object] | Sequence[str] = (),  # noqa: A002 -- as the option is called
        args: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> ProbeRun:
        """Run a scenario, or give what it gave when it was asked for in the same words before.

        `set` changes the scenario as `--set` does, `args` are any other options of `probe run`.
        The verdict is for the test to judge: `assert probe_run(…)`, or `.passed`, `.check(…)`; a
        test that does not look at a run that is no PASS fails. Raises ProbeRunError where the run
        left no verdict: a mistake in its words, an error of the probe's, or no end in `timeout_s`.
        """
        from probe.plugin.store import words_of  # noqa: PLC0415 -- see the module

        made = self._store.run(words_of(scenario, target, set, args), timeout_s)
        self._made.append(made)
        self._node.add_report_section("call", "probe", str(made))  # shown if the test fails
        return made

    def must_be_looked_at(self) -> None:
        """A run that nobody has looked at would else leave a green test."""
        for run in self._made:
            if not run.looked_at and not run.passed:
                pytest.fail("the test did not look at a run that is no PASS", pytrace=False)


def _store(config: pytest.Config) -> Store:
    if _STORE not in config.stash:
        from probe.plugin.store import Store  # noqa: PLC0415 -- see the module

        shared = getattr(config, "workerinput", {}).get(SHARED)
        config.stash[_STORE] = Store(
            config.rootpath, config.getoption("probe_out"), Path(shared) if shared else None
        )
    return config.stash[_STORE]
