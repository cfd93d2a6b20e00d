"""Who answers the questions of a start: a person at a terminal, or the command line alone.

The rule: without a terminal nothing is guessed. What is missing is told all at once, each by the
option that gives it.
"""

from __future__ import annotations

import getpass
import textwrap
from typing import TYPE_CHECKING, Final, Protocol

from probe.errors import ConfigError, Problem
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

TRIES_MAX: Final = 20
SHOWN_MAX: Final = 300
INDENT: Final = " " * 9  # behind the word that says what a line is of


class Person(Protocol):
    """Answers, and is told what was seen."""

    @property
    def present(self) -> bool:
        """Whether somebody is there to answer."""

    @property
    def width(self) -> int:
        """Characters of a line."""

    def say(self, text: str) -> None:
        """One line; what is in it from a server is made visible here."""

    def ask(self, question: str, option: str, default: str | None = None) -> str:
        """A line of text; "" only where that is the default."""

    def choose(self, question: str, option: str, allowed: Sequence[str], default: str) -> str:
        """One of `allowed`."""

    def secret(self, question: str, option: str) -> str:
        """A line that is not shown as it is typed."""

    def agrees(self, question: str) -> bool:
        """Yes or no; no where nobody is there."""


class Nobody:
    """No terminal: a default holds, and what has none is missing."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen

    @property
    def present(self) -> bool:
        """Nobody is."""
        return False

    @property
    def width(self) -> int:
        """Characters of a line; plenty where it is no terminal."""
        return self._screen.width if self._screen.is_terminal else SHOWN_MAX

    def say(self, text: str) -> None:
        """One line, or on a terminal as many as it takes, behind the first word."""
        line = visible(text, chars_max=SHOWN_MAX)
        if self._screen.is_terminal:
            line = textwrap.fill(
                line, self.width, subsequent_indent=INDENT, drop_whitespace=True,
                break_on_hyphens=False, initial_indent="",
            )  # fmt: skip
        self._screen.print(line, markup=False, soft_wrap=True)

    def ask(self, question: str, option: str, default: str | None = None) -> str:
        """The default."""
        if default is None:
            raise ConfigError(missing(option, question))
        return default

    def choose(self, question: str, option: str, allowed: Sequence[str], default: str) -> str:
        """The default."""
        if default not in allowed:
            raise ConfigError(missing(option, f"{question}: {', '.join(allowed)}"))
        return default

    def secret(self, question: str, option: str) -> str:
        """Nobody can type it."""
        raise ConfigError(missing(option, question))

    def agrees(self, question: str) -> bool:  # noqa: ARG002 -- nobody hears it
        """Nobody agrees."""
        return False


class Terminal(Nobody):
    """A person who is asked line by line; the end of the input is an end (EOFError)."""

    @property
    def present(self) -> bool:
        """Somebody is."""
        return True

    def ask(self, question: str, option: str, default: str | None = None) -> str:
        """Asked again until there is an answer."""
        shown = f" [{default}]" if default else ""
        for _ in range(TRIES_MAX):
            answer = input(f"? {question}{shown}: ").strip()
            if answer or default is not None:
                return answer or default or ""
        raise ConfigError(missing(option, question))

    def choose(self, question: str, option: str, allowed: Sequence[str], default: str) -> str:
        """Asked again until it is one of them."""
        for _ in range(TRIES_MAX):
            usual = default if default in allowed else None
            answer = self.ask(f"{question} ({', '.join(allowed)})", option, usual)
            if answer in allowed:
                return answer
            self.say(f"  one of: {', '.join(allowed)}")
        raise ConfigError(missing(option, question))

    def secret(self, question: str, option: str) -> str:
        """Typed without being shown."""
        for _ in range(TRIES_MAX):
            if answer := getpass.getpass(f"? {question}: ").strip():
                return answer
        raise ConfigError(missing(option, question))

    def agrees(self, question: str) -> bool:
        """Yes unless the answer begins with n."""
        return not input(f"? {question} [Y/n]: ").strip().lower().startswith("n")


def missing(option: str, question: str) -> Problem:
    """What is missing, and what it would say."""
    return Problem(option, "", "is missing", hint=f"it says: {question}")
