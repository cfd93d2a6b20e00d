"""The pages of docs/: each is in the navigation, each link leads somewhere, guides hold."""

import re
import shlex
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from docs.making.commands import ELSEWHERE, commands, pages
from probe.certificate.cases import CASES
from probe.check.catalogue import CATALOGUE
from probe.cli import VERBS
from probe.cli.files import load

DOCS = Path("docs")
GUIDES = DOCS / "guides"
SCENARIOS = sorted(
    path.stem for path in Path("scenarios").iterdir() if path.suffix in {".toml", ".py"}
)
VARIABLES = {"PROBE_LAB_SECRET": "a secret of at least thirty-two characters"}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def navigation(part):
    for each in part:
        for value in each.values() if isinstance(each, dict) else [each]:
            yield from navigation(value) if isinstance(value, list) else [value]


def anchors(page):
    """Of headings, as the site and GitHub make them."""
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).lower()
        yield re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def test_the_navigation_has_every_page_and_no_other():
    told = yaml.safe_load((DOCS / "making/mkdocs.yml").read_text(encoding="utf-8"))
    listed = list(navigation(told["nav"]))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert set(listed) == there
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), link
        if anchor and there.suffix == ".md":
            assert anchor in set(anchors(there)), link


def test_every_scenario_has_a_guide():
    assert sorted(path.stem for path in GUIDES.glob("*.md")) == SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_guide_names_what_is_there(name):
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    for case in CASES:
        if case.scenario == name:
            assert f"`{case.defect}`" in text
            for code in case.codes:
                assert f"`{code}`" in text
    for told in re.findall(r"\(((?:`[a-z_]+\.[a-z_.]+`(?:,\s+)?)+)\)", text):
        for code in re.findall(r"`(.*?)`", told):
            assert code in CATALOGUE


@pytest.mark.parametrize(
    "name", [name for name in SCENARIOS if name not in {"own_race", "two_runs"}]
)
def test_a_guide_names_every_stage(name):
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    scenario = Path(f"scenarios/{name}.toml").read_text(encoding="utf-8")
    stages = set(re.findall(r"^\[stages\.(\w+)\]", scenario, re.MULTILINE))
    told = text.partition("| stages |")[2].partition("\n")[0]
    assert stages == set(re.findall(r"`(\w+)`", told))


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_a_guide_sets_can_be_set(name):
    text = " ".join((GUIDES / f"{name}.md").read_text(encoding="utf-8").split())
    for one in re.findall(r"`([^`]*--set [^`]*)`", text):
        words = shlex.split(one)
        sets = [word for word, before in zip(words[1:], words, strict=False) if before == "--set"]
        load(name, "lab", sets, VARIABLES)


def test_every_command_of_the_docs_is_one_that_there_is():
    found = [each for page in pages() for each in commands(page) if not each.file]
    assert sum(not each.why for each in found) > 40, "there are commands, and they are found"
    assert {each.why for each in found} <= {"", *ELSEWHERE}
    for each in found:
        verb = re.search(r"(?:^|/)probe (\w+)", each.line)
        assert verb is None or verb[1] in VERBS or each.why == "pattern", each.line
