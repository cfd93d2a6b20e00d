"""Test items of a scenario: one for each check, and one for the verdict of the run.

The rule: an item is green only for a PASS. A FAIL fails; what somebody has accepted is an expected
failure; what saw too little fails, or is skipped where `--probe-inconclusive=skip` asks for it; an
unfit machine and an error of the probe are errors, not failures of the service.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Final

import pytest

from probe.plugin.result import ProbeRunError
from probe.plugin.store import words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from probe.plugin.result import ProbeCheck, ProbeRun
    from probe.plugin.store import Store

TIMEOUT_S: Final = 4 * 3600.0
VERDICT: Final = "verdict"


def collected(session: pytest.Session, names: Sequence[str], store: Store) -> Iterator[pytest.Item]:
    """The items of all scenarios that were asked for; each is run as it is collected."""
    for name in dict.fromkeys(names):
        node = ProbeScenario.from_parent(
            session, name=f"probe:{name}", nodeid=f"probe:{name}", scenario=name, store=store
        )
        yield from (each for each in session.genitems(node) if isinstance(each, pytest.Item))


class ProbeScenario(pytest.Collector):
    """One scenario; collecting it is running it, since the run tells which checks there are."""

    def __init__(self, *, scenario: str, store: Store, **more: Any) -> None:
        super().__init__(**more)
        self.scenario, self.store = scenario, store

    def collect(self) -> Iterator[pytest.Item]:
        """The items; `--collect-only` runs nothing, and so knows only that there is a verdict."""
        if self.config.getoption("collectonly"):
            yield VerdictItem.from_parent(self, name=VERDICT, run=None)
            return
        words = self._words()
        self._say(f"probe run {shlex.join(words)}")
        try:
            run = self.store.run(words, TIMEOUT_S)
        except ProbeRunError as error:
            raise self.CollectError(str(error)) from None
        self._say(f"{run.headline}  {_shown(self.config, run.folder)}")
        for check in run.checks:
            yield CheckItem.from_parent(self, name=check.id, run=run, check=check)
        yield VerdictItem.from_parent(self, name=VERDICT, run=run)

    def _words(self) -> tuple[str, ...]:
        asked = self.config.getoption
        try:
            args = shlex.split(asked("probe_args"))
        except ValueError as error:
            raise self.CollectError(f"--probe-args: {error}") from None
        return words_of(self.scenario, asked("probe_target"), (), args)

    def _say(self, text: str) -> None:
        """On the terminal; a worker of xdist has none."""
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(text)


def _shown(config: pytest.Config, folder: Path) -> str:
    inside = folder.is_relative_to(config.rootpath)
    return f"{folder.relative_to(config.rootpath) if inside else folder}/report.html"


class _ProbeItem(pytest.Item):
    """What the items of a run share."""

    def __init__(self, *, run: ProbeRun | None, **more: Any) -> None:
        super().__init__(**more)
        self.run = run
        if run is not None:
            self.user_properties.append(("probe_run", _shown(self.config, run.folder)))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """No file: the run is what failed."""
        return self.config.rootpath, None, f"{self.name} of {self.nodeid.partition('::')[0]}"

    def told(self, text: object) -> str:
        """The text with the run it is from."""
        assert self.run is not None
        return f"{text}\nrun: {_shown(self.config, self.run.folder)}"

    def left_open(self, text: str) -> None:
        """Too little was seen: as was asked for, and never green."""
        if self.config.getoption("probe_inconclusive") == "skip":
            pytest.skip(text)
        pytest.fail(text, pytrace=False)


class CheckItem(_ProbeItem):
    """One check of a run."""

    def __init__(self, *, check: ProbeCheck, **more: Any) -> None:
        super().__init__(**more)
        self.check = check

    def setup(self) -> None:
        """What nobody could judge is an error: raised here it is counted as one."""
        assert self.run is not None
        if self.check.required and self.check.verdict == "ERROR":
            pytest.fail(self.told(self.check), pytrace=False)
        if self.run.verdict == "INVALID" and self.check.verdict in {"INCONCLUSIVE", "SKIPPED"}:
            pytest.fail(f"{self.check}\n{self.run}", pytrace=False)

    def runtest(self) -> None:
        """Green for a PASS alone."""
        if self.check.passed:
            return
        if self.check.accepted:
            pytest.xfail(self.told(self.check))
        if self.check.verdict == "FAIL":
            pytest.fail(self.told(self.check), pytrace=False)
        if not self.check.required:
            pytest.skip(self.told(f"not required; {self.check}"))
        self.left_open(self.told(self.check))


class VerdictItem(_ProbeItem):
    """The verdict of the whole run: what no check tells, such as an end in the middle."""

    def setup(self) -> None:
        """An unfit machine, an error of the probe, an interruption."""
        if self.run is not None and self.run.exit_code not in {0, 1, 3}:
            pytest.fail(str(self.run), pytrace=False)

    def runtest(self) -> None:
        """Green for a PASS alone."""
        assert self.run is not None, "collected without being run"
        if self.run.exit_code == 1:
            pytest.fail(str(self.run), pytrace=False)
        if not self.run.passed:
            self.left_open(str(self.run))
