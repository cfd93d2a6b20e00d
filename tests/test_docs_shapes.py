"""docs/shapes.md: every scenario on it plans, and looks in a dry run as the page shows it."""

import re
import tomllib
from pathlib import Path

import pytest

from probe.model.artillery import Phase
from probe.model.forms import Ramp, Sine, Soak, Spike, Stairs
from probe.model.gatling import Injection
from probe.model.k6 import K6
from probe.model.replay import Replay
from probe.model.shape import FORMS

PAGE = Path("docs/shapes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"^```toml\n(.*?)^```\n(?:^```text\n(.*?)^```$)?", PAGE, re.MULTILINE | re.DOTALL
)


def shapes(block):
    """The forms that a block shows."""
    found = set()
    for stage in tomllib.loads(block)["stages"].values():
        for population in stage.get("populations", {}).values():
            found |= population["shape"].keys()
    return found


@pytest.mark.parametrize(("block", "shown"), BLOCKS, ids=lambda part: part.splitlines()[-1][:24])
def test_what_is_on_the_page_plans_and_looks_like_that(probe, block, shown):
    title = "" if block.startswith("title") else 'title = "shown"\n'
    probe.write("scenarios/shown.toml", title + block)
    done = probe.inside("run", "shown", "--dry-run", "--seed", 1)
    assert done.code == 0, done.told
    lines = [line.strip() for line in done.out.splitlines()]
    assert shown, "a picture goes with it"
    for line in shown.splitlines():
        assert line in lines
    pictures = [line for line in lines if re.match(r"load\.\w+ +[.▁▂▃▄▅▆▇█]{48} ", line)]
    assert pictures == shown.splitlines()


def test_every_form_is_shown():
    shown = set().union(*(shapes(block) for block, _ in BLOCKS))
    assert set(FORMS) <= shown


@pytest.mark.parametrize("model", [Ramp, Stairs, Spike, Sine, Soak, Replay, K6, Phase, Injection])
def test_every_word_is_told(model):
    words = [field.alias or name for name, field in model.model_fields.items()]
    missing = [word for word in words if not re.search(rf"\b{word}\b", PAGE)]
    assert not missing, missing
