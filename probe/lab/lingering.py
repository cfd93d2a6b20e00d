"""Lingering: a revoked token that is still taken for a while, the defect `revoked_lingers`.

Judged here for the door; what an open session does with it is told in `tenure`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from probe.lab.state import State

LINGERS: Final = "revoked_lingers"


def lingers(state: State, token_id: str, revoked_ns: int) -> bool:
    """Whether a token that was revoked at `revoked_ns` (perf_counter_ns) is let in now.

    The ledger is not told: the session does that, which has an id by then.
    """
    window = state.defects.window(LINGERS)
    if window is None:
        return False
    state.firsts.begin(window, token_id, revoked_ns)
    return state.firsts.since(window, token_id, time.perf_counter_ns()) is not None
