"""Which offset to try next: a policy over the posterior of a race window.

    searching    sweep until a window is found (ln BF > 3); once there is a hit, every other
                 trial goes where the posterior suspects the window
    searching    then localise: the offset whose outcome is expected to tell most about the centre;
                 one in ten (a step: one in twenty) stays with the sweep
    localised    found, 8 hits, the centre within the goal for 8 trials: fresh trials at the
                 centre and at a control offset, in shuffled pairs, as many as the fitted rates
                 ask for
    confirmed, not_confirmed, none_found, not_localised    over

Expected to tell most: over draws from the posterior, the mutual information between the outcome
at x and the centre (Lindley, Ann. Math. Statist. 27 (1956); MacKay, Neural Computation 4
(1992)). For a clean step that is the posterior median, that is, probabilistic bisection
(Waeber, Frazier, Henderson, SIAM J. Control Optim. 51 (2013)).

The rule: deterministic for a seed and what is told. Where a search stops is decided by `fit`
on the rows, never by the grid that was kept on the way; and what is located when its trials are
used up is confirmed as well, with the trials that are set apart for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from probe.stats.trials import golden
from probe.stats.window import HITS_MIN, LN_BF_FOUND, Try
from probe.stats.window_fit import Columns, centre_of, narrowed, planned, posterior, told
from probe.stats.window_grid import Grid, Pairs, coarse
from probe.stats.window_zoom import around

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.stats.window import Fit, Space, Stage, State
    from probe.stats.window_fit import Posterior
    from probe.stats.window_zoom import Local, Rows

TRIALS_MAX: Final = 1000
CONFIRM_MAX: Final = 1200
SWEEP_SHARE: Final = {"window": 0.1, "step": 0.05}
DRAWS: Final = 256
GROUPS: Final = 16
CANDIDATES: Final = np.linspace(0.02, 0.98, 17)
STALE: Final = 40  # trials after which the fine grid is cut anew from all rows
LASTING: Final = 8  # trials through which the goal is kept: not one lucky moment
PATIENCE: Final = 4  # trials between two looks by `fit`


class Search:
    """One search in `space`, from `seed`; at most `trials_max` trials, `confirm_max` to confirm.

    Ask `next` for a trial, run it, `tell` its measured offset and outcome with the stage of the
    `Try`. Several may be asked before any is told (a comb). A trial without an outcome is not
    told; twice the maxima are asked at most. The measured offset is what counts, but trials that
    all fall beside their plan by more than the goal teach little: a constant lag is the
    caller's to correct.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        *,
        trials_max: int = TRIALS_MAX,
        confirm_max: int = CONFIRM_MAX,
    ) -> None:
        self.space = space
        self.state: State = "searching"
        self.fitted: Fit | None = None
        self._trials_max, self._confirm_max = trials_max, confirm_max
        self._rng = np.random.default_rng(seed)
        self._start = float(self._rng.random())
        self._rows: list[tuple[int, bool, Stage]] = []
        self._asked = self._swept = 0
        self._coarse = Grid(coarse(space), Pairs.of(space))
        self._local: Local | None = None
        self._ln_bf = (0, 0.0)
        self._known: tuple[int, Posterior] | None = None
        self._stale = self._patience = self._within_goal = 0
        self._arms: tuple[int, int] = (0, 0)
        self._arm_n = 0
        self._arm_asked: list[Try] = []

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self.state not in {"searching", "localised"}

    @property
    def ln_bf(self) -> float:
        """Of a window (a step) against one constant rate, so far."""
        if self._ln_bf[0] != self._coarse.n:
            _, evidence = self._coarse.mass()
            self._ln_bf = self._coarse.n, evidence - self._coarse.log_null()
        return self._ln_bf[1]

    def next(self) -> Try | None:
        """The next trial; None when it is over."""
        # Here and not when it is told: a comb is all in by now, and none of its rows comes late.
        if self.state == "searching":
            self._decide()
        if self.done:
            return None
        self._asked += 1
        return self._confirming() if self.state == "localised" else self._searching()

    def tell(self, offset_ns: int, anomaly: bool, stage: Stage) -> None:
        """The outcome of a trial: its measured offset in ns, and whether the anomaly was seen.

        Late outcomes of a stage that is over still are rows of it, and change no decision.
        `stage` is what `kept` says of the trial.
        """
        self._rows.append((offset_ns, anomaly, stage))
        if stage in {"confirm", "control"}:
            if self.state == "localised":
                self._judge()
            return
        if self.state != "searching":
            return
        self._coarse.tell(offset_ns, anomaly)
        if self._local is not None:
            self._local.grid.tell(offset_ns, anomaly)
        self._stale += 1
        self._patience -= 1
        self._look()

    def kept(self, asked: Try, offset_ns: int) -> Stage:
        """What a trial that was asked for counts as, where it was measured at `offset_ns`.

        One that was meant to confirm, or to be its control, and fell where it can do neither, is
        one of the search.
        """
        fitted = self.fitted
        if asked.stage not in {"confirm", "control"} or fitted is None or not fitted.centre_ns:
            return asked.stage
        centre = fitted.centre_ns
        if self.space.kind == "step" or asked.stage == "control":
            reach = fitted.width_ns.high / 2 if fitted.width_ns is not None else 0.0
            arm = self._arms[0 if asked.stage == "confirm" else 1]
            above, below = offset_ns > centre.high + reach, offset_ns < centre.low - reach
            good = above if arm > centre.value else below
        else:
            reach = fitted.width_ns.low / 2 if fitted.width_ns is not None else 0.0
            good = abs(offset_ns - centre.value) <= max(reach, self.space.goal_ns)
        return asked.stage if good else "localise"

    def _searching(self) -> Try:
        if not self._coarse.hits or self._rng.random() < self._sweep_share():
            self._swept += 1
            at = golden(self._start, self._swept)
            return Try(round(self.space.lo_ns + self.space.range_ns * at), "sweep")
        x = self._suspect() if self._local is None else self._informative(self._local.grid)
        return Try(round(min(max(x, self.space.lo_ns), self.space.hi_ns)), "localise")

    def _sweep_share(self) -> float:
        return SWEEP_SHARE[self.space.kind] if self._local is not None else 0.5

    def _suspect(self) -> float:
        """The centre of a window drawn from the coarse posterior (Thompson sampling)."""
        mass, _ = self._coarse.mass()
        summed = np.cumsum(mass)
        at = int(np.searchsorted(summed, self._rng.random() * summed[-1], side="right"))
        return float(self._coarse.cells.centre[min(at, len(mass) - 1)])

    def _informative(self, grid: Grid) -> float:
        """The offset whose outcome tells most about the centre."""
        cells, pairs = grid.cells, grid.pairs
        pair, cell = grid.draw(self._rng, DRAWS)
        a, b, centre = cells.a[cell], cells.b[cell], cells.centre[cell]
        edges = [a] if self.space.kind == "step" else [a, b, centre]
        x = np.concatenate([np.quantile(edge, CANDIDATES) for edge in edges])
        inside = special.ndtr((x - a[:, None]) / cells.smear_a[cell][:, None])
        inside -= special.ndtr((x - b[:, None]) / cells.smear_b[cell][:, None])
        inside = np.maximum(inside, 0.0)
        base, top = pairs.base[pair][:, None], pairs.top[pair][:, None]
        rate = base + (top - base) * inside
        # Draws in the order of their centres, in equal groups: one centre each.
        grouped = rate[np.argsort(centre, kind="stable")].reshape(GROUPS, -1, len(x)).mean(axis=1)
        gain = _entropy(grouped.mean(axis=0)) - _entropy(grouped).mean(axis=0)
        return float(x[int(np.argmax(gain))])

    def _look(self) -> None:
        """Keep the fine grid on the mass, and see whether the centre is known well enough."""
        if not self._coarse.hits:
            return
        if self._local is None:
            if self._patience <= 0 and self._suspected():
                self._cut()
        elif self._stale >= STALE or around(self.space, self._local.box, self._local.grid):
            self._cut()
        local, space = self._local, self.space
        within = local is not None and centre_of(local.grid, space).half <= space.goal_ns
        self._within_goal = self._within_goal + 1 if within else 0

    def _suspected(self) -> bool:
        """Whether a fine grid is worth it: a window is found, or both sides of a step are seen."""
        if self.space.kind == "step":
            return self._coarse.hits < self._coarse.n
        return self.ln_bf > LN_BF_FOUND

    def _cut(self) -> None:
        """Cut the fine grid anew from all rows."""
        self._local = narrowed(self.space, self._searched(), self._coarse).local
        self._stale = 0

    def _searched(self) -> Rows:
        offsets, anomalies, stages = zip(*self._rows, strict=True)
        return Columns.of(offsets, anomalies, stages).searched()

    def _fit(self) -> Fit:
        """What `fit` says of the rows; the posterior is kept while no searched row is added."""
        offsets, anomalies, stages = zip(*self._rows, strict=True) if self._rows else ((), (), ())
        columns = Columns.of(offsets, anomalies, stages)
        rows = columns.searched()
        if self._known is None or self._known[0] != len(rows.x):
            self._known = len(rows.x), posterior(self.space, rows)
        return told(columns, rows, self._known[1], self.space)

    def _decide(self) -> None:
        """Whether to go on, to confirm what is located, or to end with nothing to confirm."""
        lasting = self._within_goal >= LASTING and self._coarse.hits >= HITS_MIN
        used_up = self._coarse.n >= self._trials_max or self._asked >= 2 * self._trials_max
        if not used_up and (not lasting or self._patience > 0):
            return
        fitted = self._fit()
        if fitted.localised:
            self.fitted, self.state = fitted, "localised"
            needed = planned(fitted.p0, fitted.rate)
            self._arm_n = min(needed or self._confirm_max, self._confirm_max // 2)
            self._arms = self._offsets(fitted)
            self._asked = 0
        elif used_up:
            self.fitted = fitted
            self.state = "not_localised" if fitted.found else "none_found"
        else:
            self._patience = PATIENCE

    def _offsets(self, fitted: Fit) -> tuple[int, int]:
        """Where to confirm, and the control: outside whatever the window may be.

        The control is half-way from the window's edge to the further end of the range. Of a step
        the two offsets lie on both sides of it, at the same distance.
        """
        space, centre = self.space, fitted.centre_ns
        assert centre is not None
        if space.kind == "step":
            away = centre.half + 5 * space.jitter_ns + 3 * space.goal_ns
            away = away if fitted.rising else -away
            return self._within(centre.value + away), self._within(centre.value - away)
        half = fitted.width_ns.high / 2 if fitted.width_ns is not None else 0.0
        end, half = (
            (space.lo_ns, -half)
            if 2 * centre.value > space.lo_ns + space.hi_ns
            else (space.hi_ns, half)
        )
        return self._within(centre.value), self._within((centre.value + half + end) / 2)

    def _within(self, x: float) -> int:
        return round(min(max(x, self.space.lo_ns), self.space.hi_ns))

    def _confirming(self) -> Try | None:
        if self._asked > 2 * self._confirm_max:
            self._judge(last=True)
            return None
        if not self._arm_asked:
            confirm, control = self._arms
            if self.space.kind == "step":
                # Somewhere beyond the edge: trials of one comb at one instant meet each other.
                beyond = (confirm - control) / 2 * self._rng.random(2)
                confirm, control = (
                    self._within(confirm + beyond[0]),
                    self._within(control - beyond[1]),
                )
            pair = [Try(confirm, "confirm"), Try(control, "control")]
            self._rng.shuffle(pair)
            self._arm_asked = pair
        return self._arm_asked.pop()

    def _judge(self, *, last: bool = False) -> None:
        stages = [stage for _, _, stage in self._rows]
        if not last and min(stages.count("confirm"), stages.count("control")) < self._arm_n:
            return
        self.fitted = self._fit()
        test = self.fitted.confirm
        self.state = "confirmed" if test is not None and test.confirmed else "not_confirmed"


def _entropy(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of an outcome with this rate, in nats."""
    rate = np.clip(rate, 0.0, 1.0)  # rounding
    return np.asarray(special.entr(rate) + special.entr(1 - rate), dtype=np.float64)
