"""The climbs of the certificate come to an answer, in a time that a selftest has for one run."""

import numpy as np
import pytest

from probe.certificate.case import TARGET
from probe.certificate.sound import SOUND
from probe.cli.files import load
from probe.engine.lab import SECRET_VARIABLE
from probe.stats.knee import Course, Search
from probe.stats.levels import Limits, Measured

S = 1_000_000_000
WITHIN_S = 60
STARTED_S = 0.3  # of a level: its tokens, and its last clients
CLIMBS = [each for each in SOUND if each.scenario.startswith("capacity")]


@pytest.mark.parametrize("sound", CLIMBS, ids=lambda each: each.scenario)
@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_lab_is_within_up_to_the_ceiling_soon_enough(sound, seed):
    loaded = load(sound.scenario, TARGET, list(sound.sets), {SECRET_VARIABLE: "s" * 40})
    (rule,) = [stage.capacity for stage in loaded.scenario.stages.values() if stage.capacity]
    search = Search(
        Limits(rule.within, rule.quantile, rule.goodput),
        Course(
            rule.begin, rule.most, rule.factor, rule.closeness, repeats_min=rule.repeats,
            repeats_max=2 * rule.repeats + 2,
        ),
    )  # fmt: skip
    rng, spent_s = np.random.default_rng(seed), 0.0
    while (level := search.next()) is not None:
        span_s = rule.span_ns(level) / S
        n = rng.poisson(rule.asks_per_s(level) * (span_s - rule.settle / S))
        took = rng.exponential(3e6, max(n, 1)).astype(np.int64) + 1_000_000
        search.tell(Measured(level, took))
        spent_s += span_s + rule.pause / S + STARTED_S
    knee = search.knee()
    assert (knee.state, knee.why, knee.low_per_s) == ("at_least", "ceiling", rule.most)
    assert spent_s < WITHIN_S
    assert len(search.levels) >= 6
