"""The columns of the tables that `columns` makes from rows.

Stamps are monotonic ns; 0 stands for "never happened" (the clock never reads 0).
"""

from __future__ import annotations

from typing import Final

import numpy as np

FOREVER: Final = 2**63 - 1
SESSION: Final = np.dtype(
    [
        ("session", "<u4"),
        ("trial", "<i4"),
        ("population", "<i4"),
        ("endpoint", "<i4"),
        ("identity", "<i4"),
        ("intended", "<i8"),
        ("dial", "<i8"),  # first dial
        ("ready", "<i8"),  # first time ready
        ("done", "<i8"),
        ("outcome", "<i4"),  # DONE.flag: 0 complete, 1 failed, 2 stopped; -1 no end recorded
        ("step", "<i4"),  # step at which it failed
        ("attempts", "<i4"),
        ("why", "<i8"),
    ]
)
ATTEMPT: Final = np.dtype(
    [
        ("session", "<u4"),
        ("attempt", "<u4"),
        ("trial", "<i4"),
        ("population", "<i4"),
        ("endpoint", "<i4"),
        ("intended", "<i8"),  # of the session for attempt 0, else the dial itself
        ("dial", "<i8"),
        ("resolved", "<i8"),
        ("tcp", "<i8"),
        ("tls", "<i8"),
        ("sent", "<i8"),
        ("head", "<i8"),
        ("first", "<i8"),
        ("ready", "<i8"),
        ("event", "<i8"),  # first message after ready
        ("served", "<i8"),  # first event of a run, whoever's
        ("end", "<i8"),
        ("status", "<i4"),
        ("violations", "<i4"),
        ("outcome", "<i4"),  # Outcome; -1 when no END was recorded
        ("phase", "<i4"),  # Phase reached at the end
        ("close_code", "<i4"),  # received from the peer; 0 none
        ("close_at", "<i8"),
        ("request_text", "<i8"),
        ("response_text", "<i8"),
        ("reason_text", "<i8"),
        ("detail_text", "<i8"),
    ]
)
RUN: Final = np.dtype(
    [
        ("key", "<i8"),  # see records.run_key
        ("session", "<u4"),
        ("attempt", "<u4"),  # on which it was begun
        ("run", "<i4"),  # its number within the session, from 0
        ("size", "<i4"),  # how many repeated events were asked for
        ("population", "<i4"),
        ("trial", "<i4"),
        ("begun", "<i8"),
        ("ended", "<i8"),  # when the event that ends it came
        ("outcome", "<i4"),  # the last Run flag that is not BEGUN; 0 unknown
        ("over", "<i8"),  # stamp of that flag
    ]
)
COVERAGE: Final = np.dtype(
    [
        ("session", "<u4"),
        ("attempt", "<u4"),
        ("ready", "<i8"),
        ("alive", "<i8"),  # last proof of life: pong, sentinel, or any message
    ]
)
STALLED: Final = np.dtype(
    [
        ("session", "<u4"),
        ("attempt", "<u4"),
        ("since", "<i8"),
        ("until", "<i8"),  # FOREVER where reading never began again
    ]
)
