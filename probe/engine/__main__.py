"""A worker as a process, `python -m probe.engine`: bound to its driver before the heavy imports.

Started by the driver alone (`workers`), and by nobody at a keyboard.
"""

import ctypes
import gc
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Arguments: index, number of workers, the counters' descriptor, the driver's process."""
    index, count, shared, driver = map(int, sys.argv[1:])
    # The system ends us with the driver, also when we are stopped or hang.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != driver:
        sys.exit(1)
    # Ctrl-C is for the driver, who ends us in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is printed by mistake must not stand between messages.
    out = os.dup(1)
    os.dup2(2, 1)
    gc.disable()  # as in the command itself: what is imported stays
    from probe.engine.worker import main as work  # noqa: PLC0415 -- see the module

    gc.freeze()
    gc.enable()
    sys.exit(work(index, count, shared, out))


if __name__ == "__main__":
    main()
