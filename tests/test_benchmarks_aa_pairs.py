"""The benchmark of false and missed differences: what its rows come to."""

import numpy as np
import pytest

from benchmarks.aa_pairs import tell, ways, whole


def row(slow, said, *, timed=True):
    rows = {"run p50": [0.0, said]} if timed else {"success": [0.0, "undecided"]}
    return {"slow": slow, "said": said, "rows": rows, "alone": {"undecided": 3, "worse": 1}}


GOOD = [*[row(0, "undecided")] * 10, row(0, "worse"), row(10, "undecided"), row(30, "worse")]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row(0, "same"), row(10, "worse"), row(30, "worse")], 0),
        (GOOD, 1),  # one of eleven is more than 9 in 100
        ([*GOOD, *[row(0, "same")]], 0),
        ([row(0, "same"), row(10, "same"), row(30, "worse")], 1),
        ([row(0, "same"), row(10, "better"), row(30, "worse")], 1),
        ([row(0, "same"), row(10, "undecided"), row(30, "undecided")], 1),
        ([row(0, "same"), row(10, "undecided"), row(30, "undecided", timed=False)], 1),
        ([], 1),
    ],
)
def test_the_rows_come_to(rows, code, capsys):
    assert tell(rows) == code
    assert "vetoed" in capsys.readouterr().out


def test_a_much_slower_service_is_seen_in_every_way_that_knows_how_much_runs_differ():
    rng = np.random.Generator(np.random.PCG64(1))
    said = {way: whole(arms) for way, arms in ways(rng, 400, 3.0, 0.02).items()}
    assert {word for way, word in said.items() if way != "single"} == {"worse"}
