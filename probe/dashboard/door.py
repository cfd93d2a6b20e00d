"""Where the live page is served: a port on loopback that is ours, and the key of its stop button.

The rule: the port is taken before the run begins, so that one that cannot be had is told at once;
the key is drawn anew for each run, is passed on through a pipe, and is written nowhere.
"""

from __future__ import annotations

import secrets
import socket
from dataclasses import dataclass, field
from typing import Final

from probe.errors import ConfigError, Problem

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Door:
    """A socket that listens, and what opens the stop button."""

    sock: socket.socket = field(repr=False)
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        """The page, to look at only."""
        return f"http://{HOST}:{self.sock.getsockname()[1]}/"

    @property
    def url_with_key(self) -> str:
        """The same with the stop button, for the eyes of who started the run."""
        return f"{self.url}#{self.token}"


def open_door(port: int) -> Door:
    """Take that port, 0 for any that is free; ConfigError where it cannot be had."""
    try:
        sock = socket.create_server((HOST, port), backlog=16)
    except OSError as error:
        raise ConfigError(
            Problem(
                "--dashboard", "", f"the port cannot be had: {error.strerror}", str(port),
                hint="name another one, or none: then any free one is taken",
            )
        ) from None  # fmt: skip
    return Door(sock, secrets.token_urlsafe(32))
