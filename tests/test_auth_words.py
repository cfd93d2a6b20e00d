"""A bad token that is taken back after the 101: said as it was seen."""

from typing import Any

import pytest

from tests.test_auth_matrix import judged, matrix

CLOSED: tuple[str, Any] = ("closed", {"code": 1008})
DROPPED: tuple[str, Any] = ("dropped", {})


@pytest.mark.parametrize(
    ("fates", "words"),
    [
        ({"expired": CLOSED}, "got a 101 first and then a Close, so that"),
        ({"expired": DROPPED}, "got a 101 first, and then TCP ended without a Close, so that"),
        (
            {"expired": DROPPED, "malformed": CLOSED, "tampered": DROPPED},
            "got a 101 first, and then 1 a Close and 2 the end of TCP without one, so that",
        ),
    ],
)
def test_whether_a_close_came(fates, words):
    judgement, _ = judged(matrix(fates))
    (finding,) = judgement.findings
    assert finding.code == "negotiation.closed_after_accept"
    assert words in finding.message
    assert "the token is judged after the upgrade" in finding.cause
    assert "offer" not in finding.cause


def test_a_finding_is_tried_again_by_its_rows_alone():
    judgement, _ = judged(matrix({"expired": CLOSED, "malformed": CLOSED}))
    (finding,) = judgement.findings
    rows = "['expired', 'malformed']"
    assert finding.reproduce.endswith(f'--stage tokens --set "stages.tokens.cases={rows}"')
