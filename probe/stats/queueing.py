"""What queueing theory says of a service, against which a measured capacity can be held.

M/M/c: Poisson arrivals at rate lambda, c servers with exponential service times of mean
1/mu, one queue without a bound, first come, first served. With a = lambda/mu and load
rho = a/c < 1, an arrival waits with Erlang's probability

    B(0) = 1,  B(k) = a B(k-1) / (k + a B(k-1)),  C = B(c) / (1 - rho (1 - B(c)))

and then for a time that is exponential at rate theta = c mu - lambda (Kleinrock, Queueing
Systems I (1975), sections 3.5 and 5.9; Cooper, Introduction to Queueing Theory, 2nd ed.,
section 3.4). The response is wait plus service, which are independent:

    P(T > t) = (1 - C) e^(-mu t) + C (theta e^(-mu t) - mu e^(-theta t)) / (theta - mu)

All of this holds in the steady state. It is reached after some relaxation times of about
1 / (c mu (1 - sqrt(rho))^2) (Cohen, The Single Server Queue, III.7.3), which grow without
bound towards saturation.

Little's law, L = lambda W, holds for any system (Little, Operations Research 9 (1961)).
Where it fails, the accounting is wrong and not the service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from probe.stats.binomial import first_true

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

LITTLE_GAP_MAX: Final = 0.05
SERVERS_MAX: Final = 100_000
_NS_PER_S: Final = 1_000_000_000
_QUANTILE_NS_MAX: Final = 1 << 62
_HALVINGS: Final = 80


@dataclass(frozen=True, slots=True)
class Station:
    """M/M/c: `servers` of mean service time `service_ns` behind one queue.

    Rates are arrivals per second. Raises ValueError for a rate that is negative or not
    below `capacity_per_s`, where there is no steady state.
    """

    servers: int
    service_ns: int

    def __post_init__(self) -> None:
        if not 1 <= self.servers <= SERVERS_MAX or self.service_ns <= 0:
            raise ValueError(
                f"{self.servers} servers of {self.service_ns} ns; allowed: 1 to {SERVERS_MAX}, "
                "and a positive time"
            )

    @property
    def capacity_per_s(self) -> float:
        """The rate that no steady state reaches, c mu."""
        return self.servers * _NS_PER_S / self.service_ns

    def waits(self, rate_per_s: float) -> float:
        """Erlang's C: the probability that an arrival has to wait."""
        load = self._load(rate_per_s)
        offered = load * self.servers
        blocked = 1.0
        for k in range(1, self.servers + 1):
            blocked = offered * blocked / (k + offered * blocked)
        return blocked / (1 - load * (1 - blocked))

    def wait_mean_ns(self, rate_per_s: float) -> float:
        """Mean wait of all arrivals, those who do not wait included; ns."""
        return self.waits(rate_per_s) / (self.capacity_per_s - rate_per_s) * _NS_PER_S

    def wait_beyond(self, rate_per_s: float, t_ns: float) -> float:
        """P(wait > t) for t >= 0."""
        freed = (self.capacity_per_s - rate_per_s) / _NS_PER_S
        return self.waits(rate_per_s) * math.exp(-freed * max(t_ns, 0.0))

    def response_beyond(self, rate_per_s: float, t_ns: float) -> float:
        """P(wait + service > t), exact."""
        return self._beyond(self.waits(rate_per_s), rate_per_s, t_ns)

    def response_ns(self, rate_per_s: float, q: float) -> int:
        """The q-quantile of the response: the smallest t with P(T > t) <= 1 - q; whole ns.

        Raises ValueError for q outside (0, 1).
        """
        if not 0 < q < 1:
            raise ValueError(f"q is {q}; allowed: above 0, below 1, such as 0.99")
        waits = self.waits(rate_per_s)
        return first_true(
            lambda t_ns: self._beyond(waits, rate_per_s, t_ns) <= 1 - q, 0, _QUANTILE_NS_MAX
        )

    def rate_at(self, limit_ns: float, q: float) -> float | None:
        """The rate at which the q-quantile of the response crosses `limit_ns`, per second.

        None where even an idle service is not that fast.
        """
        if self.response_beyond(0.0, limit_ns) > 1 - q:
            return None
        # P(T > t) grows with the rate, from the service time alone to 1 at capacity.
        low, high = 0.0, self.capacity_per_s
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if middle in {low, high}:
                break
            if self.response_beyond(middle, limit_ns) <= 1 - q:
                low = middle
            else:
                high = middle
        return low

    def relaxation_ns(self, rate_per_s: float) -> float:
        """How long the past is felt: of a series this long the ends are hardly related; ns."""
        return _NS_PER_S / (self.capacity_per_s * (1 - math.sqrt(self._load(rate_per_s))) ** 2)

    def _load(self, rate_per_s: float) -> float:
        if not 0 <= rate_per_s < self.capacity_per_s:
            raise ValueError(
                f"{rate_per_s} per second has no steady state; allowed: 0 to under "
                f"{self.capacity_per_s}"
            )
        return rate_per_s / self.capacity_per_s

    def _beyond(self, waits: float, rate_per_s: float, t_ns: float) -> float:
        if t_ns <= 0:
            return 1.0
        mu = 1 / self.service_ns
        theta = (self.capacity_per_s - rate_per_s) / _NS_PER_S
        serving = math.exp(-mu * t_ns)
        # (theta e^-mu t - mu e^-theta t) / (theta - mu), in a form that is well behaved where
        # both rates are nearly the same: e^-mu t (1 + mu (1 - e^-(theta - mu) t) / (theta - mu)).
        apart = (theta - mu) * t_ns
        if apart < 0:  # the same with the roles changed, so that nothing overflows
            slow = math.exp(-theta * t_ns)
            both = slow * (-math.expm1(apart)) / -apart * mu * t_ns + serving
            return (1 - waits) * serving + waits * both
        ramp = -math.expm1(-apart) / apart if apart else 1.0
        return (1 - waits) * serving + waits * serving * (1 + mu * t_ns * ramp)


@dataclass(frozen=True, slots=True)
class Little:
    """Little's law at one level: L as it was counted, lambda W as it was timed.

    `gap` is |L - lambda W| / L, NaN where nothing was in flight or nothing came; `holds` is
    None then, for nothing was checked.
    """

    in_flight: float
    rate_per_s: float
    response_ns: float
    gap: float
    holds: bool | None


def littles_law(in_flight: float, rate_per_s: float, response_ns: float) -> Little:
    """Check that `in_flight`, a mean over time, is `rate_per_s` times the mean response.

    L must have been counted by itself (a gauge, read at even times, or `mean_in_flight` of
    other stamps): from the same two stamps of each row the law is an identity and proves
    nothing. Raises ValueError for a negative or infinite number; NaN is unknown.
    """
    for number in (in_flight, rate_per_s, response_ns):
        if number < 0 or math.isinf(number):
            raise ValueError(f"{number} is no mean; allowed: 0 and more")
    expected = rate_per_s * response_ns / _NS_PER_S
    gap = abs(in_flight - expected) / in_flight if in_flight and rate_per_s else math.nan
    holds = None if math.isnan(gap) else gap <= LITTLE_GAP_MAX
    return Little(in_flight, rate_per_s, response_ns, gap, holds)


def mean_in_flight(began_ns: ArrayLike, ended_ns: ArrayLike, from_ns: int, to_ns: int) -> float:
    """Mean number open over [from, to): the time each was open inside it, over its length.

    `began_ns` and `ended_ns` int64[n]; one that is still open ends at `to_ns` or later.
    Raises ValueError for an empty span, or for an end before its beginning.
    """
    began = np.asarray(began_ns, dtype=np.int64)
    ended = np.asarray(ended_ns, dtype=np.int64)
    if to_ns <= from_ns or began.shape != ended.shape or np.any(ended < began):
        raise ValueError("a span has a length, and an end is not before its beginning")
    inside = np.clip(ended, from_ns, to_ns) - np.clip(began, from_ns, to_ns)
    return float(inside.sum()) / (to_ns - from_ns)
