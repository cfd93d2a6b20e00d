"""What `benchmarks.clean_runs` calls clean; the runs themselves are for a quiet machine."""

import pytest

from benchmarks import clean_runs

STEAL = "the host took 2.3 % of the machine of the probe (steal); run on one that nobody shares"


def row(number, *raised, steal=()):
    return {"run": number, "scenario": "clean", "raised": list(raised), "steal": list(steal)}


def test_steal_is_told_apart_and_every_other_veto_counts():
    fitness = {"invalid": ["cpu"], "taints": [STEAL, "lag"]}
    assert clean_runs.vetoes(fitness) == (["cpu", "lag"], [STEAL])
    told = clean_runs.summary([row(0), row(1, steal=[STEAL]), row(2, "lag", "cpu")])
    assert "run 2 (clean): lag; cpu" in told
    assert "2 of 3 runs raised no veto; in 1 the host took" in told


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(clean_runs, "STORE", tmp_path / "clean_runs.jsonl")

    def runs(*words, raised=()):
        played = []

        def measured(number):
            played.append(number)
            return row(number, *(raised if number == 2 else ()))

        monkeypatch.setattr(clean_runs, "measured", measured)
        monkeypatch.setattr("sys.argv", ["clean_runs", *words])
        with pytest.raises(SystemExit) as ended:
            clean_runs.main()
        return played, bool(ended.value.code)

    return runs


def test_what_was_cut_off_goes_on_and_one_veto_is_the_answer(stored):
    assert stored("--runs", "2") == ([0, 1], False)
    assert stored("--runs", "4", raised=["lag"]) == ([2, 3], True)
    assert stored("--runs", "4") == ([], True)  # it is remembered
    assert stored("--runs", "1") == ([], False)
    assert stored("--runs", "3", "--again") == ([0, 1, 2], False)


def test_a_run_without_a_verdict_is_not_clean(tmp_path):
    made = clean_runs._run(tmp_path, "there-is-none", "lab")
    assert made["exit"] == 2
    assert made["raised"]
