"""`python -m probe.dashboard WORDS [LISTENING]`: the onlooker; numbers of inherited descriptors.

Little is loaded before it is clear that there is something to show: a run that nobody watches on
a terminal is mostly over by the time its first line is due.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Final

from probe.dashboard.told import READ, Facts, Over

_PIECE: Final = 65536
_KEPT: Final = 2
_NICER: Final = 5


def main() -> None:
    """Until the run's end of the pipe is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # they are for the run, which ends us
    os.nice(_NICER)
    words, *listening = map(int, sys.argv[1:])
    told = more = os.read(0, _PIECE)
    while more and b"\n" not in told:
        more = os.read(0, _PIECE)
        told += more
    first, ended, rest = told.partition(b"\n")
    if not ended:
        return
    facts = READ.decode(first)
    assert isinstance(facts, Facts)
    if facts.mode == "lines" and not listening:
        waited = _waited(rest, facts.every_s)
        if waited is None:
            return
        rest = waited
    from probe.dashboard.onlooker import look_on  # noqa: PLC0415 -- see the module

    look_on(facts, rest, words, listening[0] if listening else None)


def _waited(told: bytes, seconds: float) -> bytes | None:
    """What was told meanwhile, as much of it as still counts; None where the run is over."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        *whole, torn = told.split(b"\n")
        if any(isinstance(READ.decode(each), Over) for each in whole):
            return None
        told = b"\n".join([*whole[-_KEPT:], torn])
        if not select.select([0], [], [], left)[0]:
            break
        more = os.read(0, _PIECE)
        if not more:
            return None
        told += more
    return told


if __name__ == "__main__":
    main()
