"""A finding as the text of an issue: what stands in it, and what cannot get out of its place."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from probe.check.verdict import Acceptance, Check, Outcome
from probe.report.issue_text import TITLE_CHARS_MAX, issue_text, issue_title
from tests.test_report_judgements import (
    HOSTILE,
    JUDGEMENTS,
    finding,
    hidden,
    judged,
    outside_fences,
)

CODE = "boot.accepted_then_closed"
PEERS = {"peers": [{"kind": "endpoint", "name": "main", "url": "ws://h/", "server": HOSTILE}]}
MENTION = "@everybody see evil/repo#1, GH-2, https://evil.example and ``` <b>"


def failed(text: str = "17 clients were let in and then closed", **more: Any) -> Check:
    return replace(Check("boot.definite", "boot", True, Outcome.FAIL, "bound", 1220, text), **more)


def told(text: str, *checks: Check, **more: Any) -> str:
    each = replace(finding(text), **more)
    return issue_text(judged(*checks, findings=(each,), authenticity=PEERS), CODE)


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", outside_fences(text), re.MULTILINE)


def test_it_says_what_a_tracker_needs_in_this_order():
    text = told("17 were closed", failed())
    assert headings(text) == [
        f"{CODE}: 17 were closed (embedded lab)", "Expected", "Seen",
        "A case, as it was on the wire", "Likely cause", "Run just this again", "Environment",
    ]  # fmt: skip
    assert "probe run 17 were closed" in text
    for part in ("scenario: cold_start", "target: lab (embedded)", "seed: 7", "verdict: FAIL"):
        assert part in text
    assert "in the service's log: endpoint 17 were closed, from 2025-09-11T10:15:04Z" in text
    assert text.count("0.0 ms probe  GET /ws") == 2


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (failed(evidence="witness"), "Not once: a single case breaks the check"),
        (failed(limit=0.85, unit="rate"), "The check `boot.definite` has the limit 85 %."),
        (None, "Not once, whatever is asked for."),
    ],
)
def test_what_was_expected_is_what_the_check_asks_for(check, words):
    assert words in told("x", *([check] if check else []))


@pytest.mark.parametrize("text", [HOSTILE, MENTION, f"{HOSTILE}\n{MENTION}"])
def test_nothing_that_a_server_said_stands_in_prose(text):
    shown = told(text, failed(text), cause="our own words")
    assert not hidden(shown)
    head, *prose = outside_fences(shown).splitlines()
    assert not [line for line in prose if "evil" in line or "script" in line or "@" in line]
    assert not re.search(r"@(?!<!-- -->)|://", head)
    assert not re.search(r"#(?!<!-- -->)", head.removeprefix("# "))
    assert not re.search(r"<(?!!-- -->)|(?<!\\)(?:\\\\)*`", head)
    assert len(headings(shown)) == 7


@pytest.mark.parametrize("judgement", [JUDGEMENTS["hostile"], JUDGEMENTS["crowd"]])
def test_whatever_the_judgement_every_fence_is_closed(judgement):
    text = issue_text(judgement, CODE)
    assert outside_fences(text)
    assert not hidden(text)
    title = issue_title(judgement, CODE)
    assert not hidden(title)
    assert "\n" not in title
    assert len(title) <= TITLE_CHARS_MAX + len(" (embedded lab)") + 2


def test_the_same_finding_elsewhere_is_told_once_each():
    judgement = judged(failed(), findings=tuple(finding("x", check=f"s{k}.c") for k in range(30)))
    text = issue_text(judgement, CODE)
    assert text.count("A case, as it was on the wire") == 1
    assert "s1.c, seen 17 times: x" in text
    assert "9 more in verdict.json" in text


def test_an_accepted_finding_says_who_lives_with_it():
    accepted = Acceptance("ann", "2026-01-01", "until the pool is mended")
    text = told("x", failed(), accepted=accepted)
    assert "accepted until 2026-01-01, owner ann\nuntil the pool is mended" in text


def test_a_code_that_the_run_does_not_have_is_none():
    with pytest.raises(KeyError):
        issue_text(judged(failed()), CODE)


# -- the verb --------------------------------------------------------------------------------


@pytest.fixture(name="run")
def _run(probe):
    """A stored run with one finding, made by hand: no lab is needed for its text."""
    (probe.cwd / "results").mkdir()
    (probe.cwd / "scenarios").mkdir()
    probe.target("ws://127.0.0.1:1/")
    name = probe.scenario(
        '[stages.all]\nexpect.success = { rate = "50%" }\n'
        "[stages.all.populations.clients]\n"
        'shape = { rate = "20/s", lasts = "500ms", arrivals = "even" }\n'
    )
    done = probe.run(name, target="service", env={"PROBE_TOKEN": "unused"})
    assert done.code == 1, done.told
    return probe, done


def test_the_verb_prints_it_or_says_which_there_are(run):
    probe, done = run
    codes = sorted(done.codes)
    told_ = probe.inside("issue", "latest", codes[0])
    assert told_.code == 0, told_.told
    assert told_.out.startswith(f"# {codes[0]}: ")
    title = probe.inside("issue", "latest", codes[0], "--title")
    assert title.out.startswith(f"{codes[0]}: ")
    assert len(title.out.splitlines()) == 1
    wrong = probe.inside("issue", "latest", codes[0][:-1])
    assert wrong.code == 2
    assert codes[0] in wrong.err
    if len(codes) > 1:
        which = probe.inside("issue", "latest")
        assert which.code == 2
        assert all(code in which.err for code in codes)
