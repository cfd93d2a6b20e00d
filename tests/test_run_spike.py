"""A spike on the lab with a true capacity: a bounded queue comes back, an endless one does not.

The load, its times and the lab's capacity are those of the certificate. Whether the machine was
fit to judge is another matter: what is looked at is what the rows say.
"""

import pytest

from probe.certificate.cases_spike import SHORT
from probe.check.spike import after_spike
from probe.check.verdict import Outcome
from probe.check.view import views
from probe.history.columns import History
from probe.history.folder import HISTORY, RESOLVED
from probe.model.resolved import Resolved

pytestmark = pytest.mark.alone


def played(probe, *words):
    sets = [word for each in SHORT for word in ("--set", each)]
    done = probe.run("spike", *sets, "--seed", "1", *words, target="lab", within_s=90)
    resolved = Resolved.from_toml((done.folder / RESOLVED).read_text(), RESOLVED)
    (view,) = views(History.open(done.folder / HISTORY), resolved)
    part = after_spike(view)
    (check,) = part.checks
    return done, check, part.summary["after_spike"]["spike"]


@pytest.mark.long
def test_with_a_bounded_queue_the_lab_finds_its_way_back(probe):
    done, check, (before, during, after) = played(probe)
    assert check.verdict is Outcome.PASS, check.message
    assert "spike.metastable" not in done.codes
    assert before["goodput_rate"] > 0.9
    assert during["goodput_rate"] < before["goodput_rate"]
    assert after["amplification"] < 10
    assert (done.folder / "spike-spike.svg").exists()


@pytest.mark.long
def test_with_an_endless_queue_it_stays_broken_under_the_load_it_bore(probe):
    done, check, (before, _, after) = played(probe, "--defect", "endless_queue")
    assert check.verdict is Outcome.FAIL, check.message
    assert "spike.metastable" in done.codes
    assert before["goodput_rate"] > 0.9
    assert after["goodput_rate"] < 0.5
    assert after["amplification"] > 2 * before["amplification"]
