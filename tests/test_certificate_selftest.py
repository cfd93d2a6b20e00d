"""`probe selftest`: what it does of its own with made-up runs, and a small matrix for real."""

import json
import os
import signal
from dataclasses import replace
from threading import Event

import pytest

from probe.certificate.case import HEALTHY, orders
from probe.certificate.cases import CASES
from probe.certificate.result import Result
from probe.certificate.runner import Stopped, run
from probe.certificate.store import Store
from probe.cli import selftest

pytestmark = pytest.mark.alone

ONE = ("--only", "drop_event", "--only", "golden_path")


def made_up(order, folder, version, stop, **fields):
    """A run that comes to what the table expects; it leaves a folder, as a real one does."""
    folder.mkdir(parents=True)
    if stop.is_set():
        raise Stopped
    result = Result(version, order.case, order.level, order.seed, order.command, "PASS")
    if order.level != HEALTHY:
        result = replace(result, verdict="FAIL", codes={"delivery.lost": 2}, hits={"drop_event": 2})
    return replace(result, **fields)


@pytest.fixture
def runs(monkeypatch):
    """Stands in for `run`, and notes the names; `answer` can be changed."""

    class Runs:
        names: list[str] = []  # noqa: RUF012 -- one per test
        answer = staticmethod(made_up)

        def __call__(self, order, *rest):
            self.names.append(order.name)
            return type(self).answer(order, *rest)

    standing = Runs()
    Runs.names, Runs.answer = [], staticmethod(made_up)
    monkeypatch.setattr(selftest, "run", standing)
    monkeypatch.setattr(selftest, "version_of", lambda _: "v1")
    return standing


def lines(probe):
    return (probe.cwd / "results/certificate/runs.ndjson").read_text().splitlines()


def data(probe):
    return json.loads((probe.cwd / "results/certificate/matrix.json").read_text())


def test_quick_is_once_in_full_and_once_healthy(probe, runs):
    done = probe.inside("selftest", *ONE)
    assert done.code == 0, done.told
    assert runs.names == ["drop_event-full-1", "golden_path-healthy-1"]
    assert "1/2  drop_event-full-1" in done.out
    assert "seen  FAIL  delivery.lost 2  (ledger 2)" in done.out
    assert "false alarms in 0 of 1" in done.out
    assert data(probe)["complete"]
    page = (probe.cwd / "results/certificate/certificate.md").read_text()
    assert page.startswith("# Certificate\n")
    assert not list((probe.cwd / "results/certificate/runs").iterdir())


def test_full_is_ten_times_at_each_dose_and_more_of_some_scenarios(probe, runs):
    done = probe.inside("selftest", "--full", *ONE)
    assert done.code == 0, done.told
    levels = [name.rsplit("-", 2)[1] for name in runs.names]
    assert [levels.count(each) for each in ("full", "least", "healthy")] == [10, 10, 30]


def test_what_is_there_is_not_run_again(probe, runs):
    probe.inside("selftest", *ONE, "--repeats", "2")
    runs.names.clear()
    done = probe.inside("selftest", *ONE, "--repeats", "3", "--jobs", "2")
    assert done.code == 0, done.told
    assert sorted(runs.names) == ["drop_event-full-3", "golden_path-healthy-3"]
    assert "6 runs, 4 of them are there" in done.out
    assert len(lines(probe)) == 6


def test_a_miss_is_told_and_its_run_kept(probe, runs):
    def missed(order, *rest):
        blind = (
            {} if order.level == HEALTHY else {"verdict": "PASS", "codes": {}, "why": "all kept"}
        )
        return made_up(order, *rest, **blind)

    type(runs).answer = staticmethod(missed)
    done = probe.inside("selftest", *ONE)
    assert done.code == 1, done.told
    assert "drop_event: missed: done 2 times; PASS, all kept" in done.out
    assert data(probe)["wrong"]
    kept = list((probe.cwd / "results/certificate/runs").iterdir())
    assert [path.name for path in kept] == ["drop_event-full-1"]


def test_a_busy_machine_is_given_three_tries_and_then_left_open(probe, runs):
    def busy(order, *rest):
        fields = {"verdict": "INVALID", "unfit": ("lag",)} if order.level == HEALTHY else {}
        return made_up(order, *rest, **fields)

    type(runs).answer = staticmethod(busy)
    done = probe.inside("selftest", *ONE)
    assert done.code == 3, done.told
    assert runs.names.count("golden_path-healthy-1") == 3
    assert json.loads(lines(probe)[-1])["tries"] == 3
    assert "the machine was not fit: lag" in done.out
    type(runs).answer = staticmethod(made_up)
    runs.names.clear()
    done = probe.inside("selftest", *ONE)
    assert done.code == 0, done.told
    assert runs.names == ["golden_path-healthy-1"], "the next one tries again, that alone"


def test_an_error_of_our_own_ends_it_and_keeps_what_is_done(probe, runs):
    def broken(order, *rest):
        if order.level == HEALTHY:
            raise OSError("no more room")
        return made_up(order, *rest)

    type(runs).answer = staticmethod(broken)
    done = probe.inside("selftest", *ONE)
    assert done.code == 5, done.told
    assert len(lines(probe)) == 1


def test_ctrl_c_leaves_what_is_done_and_says_how_to_go_on(probe, runs):
    def interrupted(order, folder, version, stop):
        if order.name == "drop_event-full-2":
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(10)
        return made_up(order, folder, version, stop)

    type(runs).answer = staticmethod(interrupted)
    before = signal.getsignal(signal.SIGINT)
    words = ("selftest", "--only", "drop_event", "--repeats", "3")
    done = probe.inside(*words)
    assert done.code == 130, done.told
    assert "stopped with 2 of 3 runs to be made" in done.out
    assert len(lines(probe)) == 1
    assert not data(probe)["complete"]
    assert signal.getsignal(signal.SIGINT) is before
    type(runs).answer = staticmethod(made_up)
    runs.names.clear()
    done = probe.inside(*words)
    assert done.code == 0, done.told
    assert runs.names == ["drop_event-full-2", "drop_event-full-3"]


def test_a_name_that_is_none_is_told_with_the_nearest(probe, runs):
    done = probe.inside("selftest", "--only", "drop_events")
    assert done.code == 2
    assert "did you mean 'drop_event'?" in done.err
    assert runs.names == []


def test_a_folder_that_cannot_be_made_is_a_mistake_of_the_user(probe, runs):
    probe.write("taken", "a file")
    done = probe.inside("selftest", *ONE, "--out", "taken/here")
    assert done.code == 2
    assert "--out: cannot be written" in done.err


@pytest.mark.timeout(90)
def test_a_small_matrix_for_real(probe):
    """Two defects and the healthy lab, as whole processes; then nothing is left to be done."""
    words = ("selftest", "--only", "drop_event", "--only", "health_503", "--only", "golden_path")
    done = probe(*words, within_s=85)
    if done.code == 3:
        pytest.skip(f"this machine is too busy to judge: {data(probe)['open']}")
    assert done.code == 0, done.told
    found = data(probe)
    assert (found["wrong"], found["open"], found["missing"]) == ([], [], 0)
    assert found["seen"]["k"] == found["seen"]["n"] == 2
    assert found["false_alarms"]["n"] == 1
    by = {row["defect"]: row for row in found["defects"]}
    assert by["drop_event"]["told"] == by["drop_event"]["hits"] == 20
    assert by["drop_event"]["codes"]["delivery.lost"] == 1
    assert by["health_503"]["codes"] == {"health.unhealthy": 1}
    assert not list((probe.cwd / "results/certificate/runs").iterdir())


def test_a_run_that_has_no_end_is_stopped_at_its_deadline(tmp_path):
    order = orders(CASES, (), levels=("full",), repeats=1)[0]
    result = run(order, tmp_path / "run", "v1", Event(), deadline_s=0.5)
    assert result.error == "no end within 0.5 s"
    assert result.name == order.name


def test_a_command_that_cannot_run_says_why(tmp_path):
    order = replace(orders(CASES, (), levels=("full",), repeats=1)[0], sets=("no.such=1",))
    result = run(order, tmp_path / "run", "v1", Event())
    assert (result.verdict, result.exit_code) == ("", 2)
    assert "exit 2 without a verdict" in result.error
    assert "no such key" in result.error
    store = Store(tmp_path / "runs.ndjson", "v1")
    store.add(result)
    assert Store(store.path, "v1").get(order) == result
