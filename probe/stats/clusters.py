"""A rate over events that come in clusters: its bounds, when a session loses many at once.

Events of one session share its fate, so that their number says too much. The ratio estimate
p = sum(hits) / sum(trials) has the linearised variance

    v = m / (m - 1) * sum((hits_i - p trials_i)^2) / (sum trials)^2,    over m clusters,

and n_eff = p (1 - p) / v independent trials would have the same, shortened by the quotient
of the t quantiles at n - 1 and m - 1 degrees of freedom. Exact binomial bounds of p n_eff
of n_eff keep their coverage near 0 and 1, where p +- t sqrt(v) does not (Korn and Graubard,
Survey Methodology 24 (1998)). Fewer than 5 clusters on the rarer side say nothing of how
cases cluster: then a whole cluster counts as one trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scipy import special

from probe.stats.binomial import ALPHA

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TELLING_MIN: Final = 5
"""Clusters with a case, and without a clean sheet, that a variance is estimated from."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """A ratio of `hits` in `trials` over `clusters`, worth `n_eff` independent trials.

    `low` and `high` are one-sided 1 - alpha bounds, each by itself; 0 and 1 of no trials.
    """

    hits: int
    trials: int
    clusters: int
    n_eff: float
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The estimate; 0 of no trials."""
        return self.hits / self.trials if self.trials else 0.0

    def p_at_least(self, limit: float) -> float:
        """P-value against "the rate is at least `limit`", limit in (0, 1)."""
        if not self.trials:
            return 1.0
        x = self.rate * self.n_eff
        if x >= self.n_eff:
            return 1.0
        return float(special.betainc(self.n_eff - x, x + 1, 1 - limit))


def clustered(
    hits: NDArray[np.int64], trials: NDArray[np.int64], *, alpha: float = ALPHA
) -> Clustered:
    """Bounds of sum(hits) / sum(trials), int64[clusters] each, 0 <= hits <= trials."""
    if ((hits < 0) | (hits > trials)).any():
        raise ValueError("hits do not fit into trials")
    used = trials > 0
    hits, trials = hits[used], trials[used]
    m, n, k = len(trials), int(trials.sum()), int(hits.sum())
    if not n:
        return Clustered(0, 0, 0, 0.0, 0.0, 1.0)
    p = k / n
    n_eff = float(m)
    if min(int((hits < trials).sum()), int((hits > 0).sum())) >= TELLING_MIN:
        v = m / (m - 1) * float(((hits - p * trials) ** 2).sum()) / n**2
        shorter = special.stdtrit(n - 1, 1 - alpha) / special.stdtrit(m - 1, 1 - alpha)
        # Where all clusters are alike the estimate of v is 0, and n trials are all there are.
        n_eff = min(float(n), p * (1 - p) / v * shorter**2 if v > 0 else float(n))
    x = p * n_eff
    low = float(special.betaincinv(x, n_eff - x + 1, alpha)) if k else 0.0
    high = float(special.betaincinv(x + 1, n_eff - x, 1 - alpha)) if k < n else 1.0
    return Clustered(k, n, m, n_eff, low, high)
