"""Consoles: what people read, with or without colour, on a terminal or in a log."""

from __future__ import annotations

import os
import sys

from rich.console import Console


def console(*, no_color: bool = False, stderr: bool = False) -> Console:
    """Rich on stdout or stderr; NO_COLOR and `--no-color` leave plain text.

    Plain means no escape code at all: without colours nothing is bold either, and progress
    comes as lines instead of a block that is rewritten in place.

    Where it is no terminal, lines are as wide as they are and never wrapped at 80.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 100
    plain = no_color or bool(os.environ.get("NO_COLOR"))
    return Console(
        file=stream,
        force_terminal=False if plain else None,
        no_color=plain or None,
        width=width,
        highlight=False,
        soft_wrap=False,
    )
