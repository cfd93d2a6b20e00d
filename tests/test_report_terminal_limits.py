"""What a narrow screen leaves out is never the limit that a check is held to."""

from dataclasses import replace

import pytest

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
