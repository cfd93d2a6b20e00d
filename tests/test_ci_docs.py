"""What docs/ci.md and docs/pytest.md say is there."""

import re
from pathlib import Path

import pytest

from probe.check.accepted import Entry, read_accepted
from probe.plugin import Play
from probe.plugin.result import ProbeRun

ROOT = Path(__file__).parent.parent
CI = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
PYTEST = (ROOT / "docs/pytest.md").read_text(encoding="utf-8")
PLUGIN = (ROOT / "probe/plugin/__init__.py").read_text(encoding="utf-8")


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_file_of_known_findings_reads_as_it_is_shown():
    (text,) = blocks(CI, "toml")
    (entry,) = read_accepted(text, "docs/ci.md").accepted
    assert entry.code == "delivery.lost"
    for name in ("scenario", "target", "stage", "check"):
        assert name in Entry.model_fields
        assert name in CI


@pytest.mark.parametrize("page", ["ci.md", "pytest.md"])
def test_what_is_linked_is_there(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / "docs" / link).exists(), link


def test_the_workflow_is_that_of_the_example():
    (shown,) = blocks(CI, "yaml")
    example = (ROOT / "docs/ci/github.yml").read_text(encoding="utf-8")
    for line in shown.splitlines():
        assert line.strip().removeprefix("- ") in example


def test_options_and_attributes_are_those_of_the_plugin():
    assert set(re.findall(r"--probe-?[a-z]*", PYTEST)) == set(
        re.findall(r'"(--probe-?[a-z]*)"', PLUGIN)
    )
    for name in (
        "passed",
        "verdict",
        "headline",
        "exit_code",
        "checks",
        "findings",
        "codes",
        "check",
    ):
        assert hasattr(ProbeRun, name)
        assert f"`{name}" in PYTEST
    for name in ("folder", "document"):
        assert f"`{name}`" in PYTEST
    assert Play.__call__.__kwdefaults__ == {"set": (), "args": (), "timeout_s": 3600.0}
