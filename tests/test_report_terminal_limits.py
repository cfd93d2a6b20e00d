"""What a narrow screen leaves out is never the limit, a number's unit, or what went wrong."""

from dataclasses import replace

import pytest

from probe.check.verdict import Outcome
from tests.test_report_judgements import PASSED, judged, printed

LONG = "20 of 20 restarts, at least 86 % (95 %), had WebSockets working at most 100 ms after health"


@pytest.mark.parametrize("width", [50, 60, 80, 120])
@pytest.mark.parametrize("message", [LONG, f"{LONG} said that all was well, and more than once"])
def test_a_check_that_is_cut_keeps_its_limit(width, message):
    checks = [
        replace(PASSED, id=f"boot.check_{k}", message=f"{message}; limit 85 %") for k in range(12)
    ]
    text = printed(judged(*checks), width=width)
    shown = " ".join(text.split())
    lines = text.splitlines()
    assert shown.count("limit 85 %") == sum(line.startswith("PASS  ") for line in lines) > 1
    assert max(map(len, lines)) <= width
    assert len(lines) <= 30


def test_what_is_not_cut_is_as_it_was():
    text = printed(judged(replace(PASSED, message="all of them; limit 85 %")))
    assert "all of them; limit 85 %" in text


TELLING = "20 of 20 restarts, at least 86 % (95 %), let the first client in within 5 s of the spawn"


@pytest.mark.parametrize("verdict", [Outcome.FAIL, Outcome.INCONCLUSIVE])
@pytest.mark.parametrize("width", [50, 60, 80, 120])
def test_what_did_not_pass_is_never_cut(verdict, width):
    checks = [
        replace(PASSED, id=f"boot.{k}", verdict=verdict, message=f"{TELLING}, {LONG}; limit 85 %")
        for k in range(12)
    ]
    text = printed(judged(*checks), width=width)
    begun = sum(line.startswith(f"{verdict}  ") for line in text.splitlines())
    words = " ".join(text.split())
    assert begun > 0
    assert words.count(f"{TELLING}, {LONG}; limit 85 %") == begun
    assert len(text.splitlines()) <= 40


@pytest.mark.parametrize("width", range(46, 76))
def test_a_pass_is_cut_between_words_and_never_within_a_number(width):
    checks = [
        replace(PASSED, id=f"boot.check_{k}", message=f"{TELLING}, {LONG}; limit 85 %")
        for k in range(12)
    ]
    words = " ".join(printed(judged(*checks), width=width).split())
    cuts = [part.rpartition("boot.check_")[2][2:] for part in words.split("...; limit 85 %")[:-1]]
    assert cuts
    for kept in (cut.strip() for cut in cuts):
        whole = f"{TELLING}, {LONG}"
        assert whole.startswith(kept)
        assert whole[len(kept)] in " ,"
        assert not kept[-1].isdigit()
        assert not kept.endswith((" of", " within", " at least", " most"))
