"""`probe lab`: the lab by itself, for a person to try things on.

It becomes the lab's own process; nothing of the probe stays behind it. Its address is told only
where its port was free, since what answers there would be another's. Its secret is the
variable's, or one that everybody may know, since it guards nothing but this machine's lab.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import Annotated

import typer

from probe.engine.lab import SECRET_VARIABLE
from probe.errors import ConfigError, Problem

HOST = "127.0.0.1"
OPEN_SECRET = "open-secret-of-the-lab-on-this-machine"  # noqa: S105 -- open by intent


def command(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8765,
    defect: Annotated[
        list[str] | None, typer.Option(help="NAME[=VALUE], repeatable; `--list-defects` lists.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="So many serve, behind one that listens.")
    ] = 1,
    list_defects: Annotated[
        bool, typer.Option("--list-defects", help="Print the defects as JSON.")
    ] = False,
    tls: Annotated[
        str | None, typer.Option(metavar="CA_OUT.pem", help="Serve TLS; write the CA here.")
    ] = None,
) -> None:
    """Start the lab: a real WebSocket service on 127.0.0.1 with switchable defects."""
    if not list_defects:
        port = free_port(port)
    words = [sys.executable, "-m", "probe.lab", "--port", str(port)]
    for each in defect or []:
        words += ["--defect", each]
    if processes > 1:
        words += ["--processes", str(processes)]
    if list_defects:
        words.append("--list-defects")
    if tls:
        words += ["--tls", tls]
    if not list_defects and not os.environ.get(SECRET_VARIABLE):
        os.environ[SECRET_VARIABLE] = OPEN_SECRET
        sys.stderr.write(
            f"{SECRET_VARIABLE} is not set; the lab uses the open one. To speak to it:\n"
            f"  PROBE_WS_URL=ws://127.0.0.1:{port}/ws "
            f"PROBE_HEALTH_URL=http://127.0.0.1:{port}/health "
            f"PROBE_JWT_KEY={OPEN_SECRET} probe run smoke --target local\n"
        )
    sys.stderr.flush()
    os.execv(sys.executable, words)  # noqa: S606 -- our own interpreter, our own words


def free_port(port: int) -> int:
    """The port if the lab can have it, for 0 one that is free; ConfigError."""
    with socket.socket() as sock:
        # As the lab binds: old connections may linger.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken" if taken else f"cannot be had ({error.strerror})"
            allowed = "another port, or 0 for a free one"
            raise ConfigError(Problem("--port", "", why, str(port), allowed)) from None
        return int(sock.getsockname()[1])
