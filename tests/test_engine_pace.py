"""The settling of a crowd: pure state, played without a socket."""

from types import SimpleNamespace
from typing import Any

import pytest

from probe.engine.pace import Crowd


def client(word) -> Any:
    return SimpleNamespace(is_ready="r" in word, over="o" in word)


@pytest.mark.parametrize(
    ("once", "retrying", "good", "settled"),
    [
        ("", "", 1, False),
        ("", "r", 3, True),
        ("", "r .", 3, False),
        ("r r r", "", 3, True),
        ("o r r r", "", 3, True),
        ("r r", "", 3, False),
        ("r r r .", "", 3, True),  # the newest are still under way
        ("r r r o", "", 3, False),
        ("r o r r", "", 3, False),
        ("r . r r", "", 3, False),
        ("r r r", ".", 3, False),
        ("r r ro", "r", 3, True),
    ],
)
def test_a_target_has_settled_when_the_newest_were_let_in_and_all_who_retry(
    once, retrying, good, settled
):
    nowhere: Any = SimpleNamespace()
    crowd = Crowd(nowhere, {})
    crowd._newest.extend(client(word) for word in once.split())
    crowd._retrying.extend(client(word) for word in retrying.split())
    assert crowd.settled(good) is settled
