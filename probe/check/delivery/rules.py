"""The dialect's rule for runs as arrays, by the columns that all tables of this room share.

Column k < T is the k-th event type of a run; column T is any other numbered message that
names a run. Such a message is nobody's loss, though it takes up a number of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probe.model.dialect import Dialect, Promises

OTHER: Final = "another event"


@dataclass(frozen=True)
class Rules:
    """See the module. `column` int64[flags]: column by GOT.flag.

    `once` bool[T+1]: comes at most once; `least` int64[T+1]: needed in any case; `sized`
    bool[T+1]: needed as often as the run's size says; `before` bool[T+1, T+1]: row comes
    before column, also by way of others; `end`: column of the event that ends a run.
    """

    names: tuple[str, ...]
    column: NDArray[np.int64]
    once: NDArray[np.bool_]
    least: NDArray[np.int64]
    sized: NDArray[np.bool_]
    before: NDArray[np.bool_]
    end: int
    repeated: int
    """Column of the first repeated event, T where there is none."""
    within: int
    quiet: int
    names_runs: bool
    """Whether we name the runs, so that an id that is not ours is nobody's."""
    promises: Promises

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names)


def rules_of(dialect: Dialect) -> Rules | None:
    """The rules; None where the dialect has no runs."""
    run = dialect.run
    if run is None:
        return None
    types, steps = run.types, run.steps
    width = len(types) + 1
    # One more than there are types: what a row of another dialect may hold.
    column = np.full(len(dialect.types) + 2, width - 1, dtype=np.int64)
    before = np.zeros((width, width), dtype=np.bool_)
    for k, step in enumerate(steps):
        column[dialect.types.index(step.type) + 1] = k
        for name in step.after or ():
            earlier = types.index(name)
            before[earlier, k] = True
            before[:, k] |= before[:, earlier]  # listed before, so its own are complete
    times = [step.times for step in steps]
    repeated = [k for k, each in enumerate(times) if each.endswith("*")]
    asked = "{size}" in run.start
    return Rules(
        names=(*types, OTHER),
        column=column,
        once=np.array([not each.endswith("*") for each in times] + [False]),
        least=np.array([int(each.startswith("1")) for each in times] + [0]),
        sized=np.array([asked and each == "1..*" for each in times] + [False]),
        before=before,
        end=types.index(run.last),
        repeated=repeated[0] if repeated else width - 1,
        within=run.within,
        quiet=run.quiet,
        names_runs="{run}" in run.start,
        promises=dialect.promises,
    )
