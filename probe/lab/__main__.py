"""`python -m probe.lab`: options, then one life of the lab.

Exit codes: 0 stopped by a signal or with its parent, 2 a wrong option, 3 the port is
taken, 4 the ledger cannot be written, 5 one of several processes is lost. The secret comes
from the environment, so that it stands in no process list.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from probe.lab.boot import BootPlan, parse_boot
from probe.lab.capacity import Capacity, parse_capacity, parse_queue, parse_works
from probe.lab.defects import DefectError, Defects
from probe.lab.durations import parse_duration
from probe.lab.ledger import Ledger
from probe.lab.limits import Limit, parse_limit
from probe.lab.share import FRONT, PROCESSES_MAX
from probe.lab.table import table_json

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Sequence

    from probe.lab.fleet import Fleet
    from probe.lab.state import Settings
    from probe.lab.tokens import Keys

EXIT_OPTIONS: Final = 2
EXIT_PORT_TAKEN: Final = 3
EXIT_PROCESS_LOST: Final = 5
SECRET_VARIABLE: Final = "PROBE_LAB_SECRET"  # noqa: S105 -- the name of the variable
SECRET_BYTES_MIN: Final = 32
_PORT_MAX: Final = 65_535
_LIFE_MAX: Final = 1_000_000_000


class _Parser(argparse.ArgumentParser):
    """argparse, but an error is one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; python -m probe.lab --help lists the options")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the lab; returns the exit code, or raises SystemExit with it."""
    options = _parser().parse_args(arguments)
    try:
        settings = [_setting(text) for text in options.defect]
        defects = Defects(options.seed, options.life, settings, options.processes)
    except DefectError as error:
        _fail(f"--defect: {error}; --list-defects shows them all")
    if options.list_defects:
        sys.stdout.write(json.dumps(table_json(), indent=2) + "\n")
        return 0
    capacity = _capacity(options)
    if options.processes > 1 and options.tls is not None:
        _fail("--tls cannot be handed from process to process; leave --processes out")
    secret = _secret()
    try:
        ledger = Ledger(options.ledger, options.life)
    except OSError as error:
        _fail(f"--ledger {options.ledger}: {error.strerror}; name a file that can be written")
    return _live(options, secret, defects, ledger, capacity)


def _live(
    options: argparse.Namespace,
    secret: str,
    defects: Defects,
    ledger: Ledger,
    capacity: Capacity | None,
) -> int:
    """Load what takes long, then start the clock of the boot, then serve."""
    from probe.lab.fleet import LostError  # noqa: PLC0415 -- see above
    from probe.lab.front import live_in_front  # noqa: PLC0415
    from probe.lab.server import live, raise_descriptor_limit  # noqa: PLC0415
    from probe.lab.state import Settings, State  # noqa: PLC0415
    from probe.lab.tokens import Keys  # noqa: PLC0415

    keys = Keys(secret)
    context = _tls(options, secret)
    raise_descriptor_limit()
    draws = f"{options.seed}.{options.life}.capacity"
    settings = Settings(options.pace, options.limit, options.idle, capacity, draws)
    fleet: Fleet | None = None
    more: dict[str, object] = {} if capacity is None else {"capacity": capacity.as_json()}
    if options.processes > 1:
        fleet = _fork(options, keys, ledger, defects, settings)
        more["processes"] = fleet.pids
    up_ns = ledger.phase(
        "up", pid=os.getpid(), seed=options.seed, defects=defects.as_json(), **more
    )
    state = State(keys, ledger, defects, settings, up_ns, fleet)
    announce = {
        "pid": os.getpid(),
        "life": options.life,
        "defects": defects.as_json(),
        "tls": context is not None,
        **more,
    }
    plan: BootPlan = options.boot
    life = live_in_front if options.processes > 1 else partial(live, context=context)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(
                life(
                    state,
                    plan.with_defects(defects),
                    (options.host, options.port),
                    announce=announce,
                    exit_with_parent=options.exit_with_parent,
                )
            )
        except LostError as error:
            _fail(str(error), EXIT_PROCESS_LOST)
        except OSError as error:
            where = f"port {options.port} on {options.host}"
            if error.errno == errno.EADDRINUSE:
                _fail(
                    f"{where} is taken; give another --port, or --port 0 for a free one",
                    EXIT_PORT_TAKEN,
                )
            _fail(f"{where} cannot be had ({error.strerror}); mend --host or --port")
    return 0


def _fork(
    options: argparse.Namespace,
    keys: Keys,
    ledger: Ledger,
    defects: Defects,
    settings: Settings,
) -> Fleet:
    """The processes behind this one, which becomes their front."""
    from probe.lab.behind import live_behind  # noqa: PLC0415 -- as in `_live`
    from probe.lab.fleet import LostError, fork  # noqa: PLC0415

    factory = _loop_factory()

    def serve(number: int, end: socket.socket) -> None:
        ledger.of_process(number)
        defects.of_process(number)
        serving = live_behind(
            number,
            options.processes,
            end,
            keys=keys,
            ledger=ledger,
            defects=defects,
            settings=settings,
        )
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serving)

    try:
        fleet = fork(options.processes, serve)
    except LostError as error:
        _fail(str(error), EXIT_PROCESS_LOST)
    ledger.of_process(FRONT)
    return fleet


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m probe.lab",
        description="A WebSocket service on loopback with switchable defects.",
        epilog=f"The secret is read from {SECRET_VARIABLE}.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=partial(_whole, "port", _PORT_MAX), default=0, help="0: any free port"
    )
    parser.add_argument(
        "--defect", action="append", default=[], metavar="NAME[=VALUE]", help="may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws of the defects")
    parser.add_argument(
        "--boot",
        type=partial(_value, parse_boot),
        default=BootPlan(),
        metavar="PHASE=TIME,...",
        help="listening=50ms,healthy=300ms,ready=300ms after the process is up",
    )
    parser.add_argument(
        "--pace", type=partial(_value, parse_duration), default="1ms", help="between two events"
    )
    parser.add_argument(
        "--limit",
        type=partial(_value, parse_limit),
        default=Limit(),
        metavar="RATE/BURST",
        help="messages per second of one user, and at once (200/400)",
    )
    parser.add_argument(
        "--idle",
        type=partial(_value, parse_duration),
        metavar="DURATION",
        help="close with 1001 after so long without a frame from the client (never)",
    )
    parser.add_argument(
        "--capacity",
        type=partial(_value, parse_capacity),
        metavar="SERVERS/SERVICE",
        help="a true capacity: 4/20ms are 4 servers of exponential service times, one queue (none)",
    )
    parser.add_argument(
        "--capacity-of",
        type=partial(_value, parse_works),
        metavar="WORK,...",
        help="what has to pass it: connects, runs, messages (connects)",
    )
    parser.add_argument(
        "--capacity-queue",
        type=partial(_value, parse_queue),
        metavar="PLACES/WAIT",
        help="how many may wait for it, and how long (1000/10s)",
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="append what is done, NDJSON")
    parser.add_argument("--tls", type=Path, metavar="CA_OUT.pem", help="serve TLS; write the CA")
    parser.add_argument(
        "--processes",
        type=partial(_whole, "number of processes", PROCESSES_MAX, least=1),
        default=1,
        help="serve with so many, each user in one of them, behind one that listens (1)",
    )
    parser.add_argument(
        "--life",
        type=partial(_whole, "life", _LIFE_MAX),
        default=1,
        help="which life this is, for a parent that restarts the lab",
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="exit when standard input ends"
    )
    parser.add_argument("--list-defects", action="store_true", help="print them as JSON and exit")
    return parser


def _capacity(options: argparse.Namespace) -> Capacity | None:
    """The capacity that is asked for, None for none."""
    if options.capacity is None:
        if options.capacity_of or options.capacity_queue:
            _fail("--capacity-of and --capacity-queue are of --capacity; give that too")
        return None
    capacity = Capacity(*options.capacity)
    if options.capacity_of is not None:
        capacity = replace(capacity, works=options.capacity_of)
    if options.capacity_queue is not None:
        waiting_max, deadline_ns = options.capacity_queue
        capacity = replace(capacity, waiting_max=waiting_max, deadline_ns=deadline_ns)
    return capacity


def _fail(message: str, code: int = EXIT_OPTIONS) -> NoReturn:
    sys.stderr.write(f"probe.lab: {' '.join(message.split())}\n")
    raise SystemExit(code)


def _value(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(name: str, most: int, text: str, least: int = 0) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no {name}; give {least} to {most}")
    return int(text)


def _setting(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None


def _secret() -> str:
    secret = os.environ.get(SECRET_VARIABLE, "")
    if len(secret.encode("utf-8", "surrogateescape")) < SECRET_BYTES_MIN:
        state = "is too short" if secret else "is not set"
        _fail(f"{SECRET_VARIABLE} {state}; set it to at least {SECRET_BYTES_MIN} random bytes")
    return secret


def _tls(options: argparse.Namespace, secret: str) -> ssl.SSLContext | None:
    if options.tls is None:
        return None
    from probe.lab.tls import server_context  # noqa: PLC0415 -- x509 is slow to load

    try:
        return server_context(secret, options.host, options.tls)
    except OSError as error:
        _fail(f"--tls {options.tls}: {error.strerror}; name a file that can be written")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 -- the lab runs without it, only slower
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


if __name__ == "__main__":
    raise SystemExit(main())
