"""docs/reference/ is what the code makes, and says something of every key."""

import re
from pathlib import Path

import pytest

from docs.making.reference import FOLDER, pages
from probe.check.catalogue import CATALOGUE

PAGES = pages()


def test_what_is_stored_is_what_the_code_makes():
    stored = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    stale = [name for name in PAGES.keys() | stored.keys() if PAGES.get(name) != stored.get(name)]
    assert not stale, f"`make reference` makes them anew: {sorted(stale)}"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_no_key_is_left_untold(name):
    rows = re.findall(r"^\| `.*\|$", PAGES[name], re.MULTILINE)
    assert not [row for row in rows if re.search(r"\|\s*\|$", row)]
    assert name == "findings.md" or len(rows) > 10


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_table_is_told_once(name):
    headings = re.findall(r"^#+ (.*)$", PAGES[name], re.MULTILINE)
    assert len(headings) == len(set(headings))


def test_every_finding_is_there_with_a_source_that_is():
    for code, entry in CATALOGUE.items():
        assert f"### `{code}`\n" in PAGES["findings.md"]
        for page in re.findall(r"docs/[\w.]+\.md", entry.source):
            assert Path(page).is_file(), f"{code}: {page}"
