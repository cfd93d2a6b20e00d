"""The command `probe`: one module per verb, and the exit code for whatever happens.

Only the verb that is asked for is loaded, since to load all of them takes a second; of the
others the help is told from `VERBS`.

0 PASS, 1 FAIL, 2 usage or configuration, 3 INCONCLUSIVE, 4 INVALID, 5 our own error,
130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

import typer

from probe.errors import ConfigError, HistoryError, ProbeError

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_USAGE = 2
EXIT_INTERNAL = 5
EXIT_INTERRUPTED = 130
# Typer brings its own click in newer versions and takes the installed one in older; either
# way BadParameter is a UsageError is a ClickException, and all of them can show themselves.
_Usage = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

VERBS: Final = {
    "init": (
        "init",
        "Write target, dialect and a smoke scenario for a service, trying each answer on it.",
    ),
    "record": (
        "record",
        "Listen to a session, or read a browser's HAR file, and draft the dialect.",
    ),
    "run": ("run", "Run a scenario against a target and judge it."),
    "check": (
        "check", "Judge a stored run again; no socket is opened and nothing it stored is run.",
    ),
    "report": ("report", "Print a report of a stored run, or write them all again."),
    "export": (
        "exporting",
        "Export a stored run: metrics for Prometheus or OTLP, sessions as CSV, JSON, Parquet.",
    ),
    "issue": ("issue", "Print a finding of a stored run as the text of an issue, in Markdown."),
    "compare": (
        "comparing",
        "Compare stored runs: before and now, figure by figure, with what runs differ by anyhow.",
    ),
    "duet": (
        "duet", "Play two targets in turn, in blocks of random order, and compare them by blocks.",
    ),
    "history": (
        "history", "List the stored runs, newest first, with their verdicts and main figures.",
    ),
    "prune": ("prune", "Remove old runs, or tell which would go; never the latest or a baseline."),
    "list": ("listing", "List scenarios, targets and dialects."),
    "validate": (
        "validate",
        "Check scenario, target and dialect files; variables need not be set for it.",
    ),
    "schema": ("schema", "Print a JSON Schema."),
    "token": (
        "token",
        "Mint or fetch the token of one identity and tell of it; for a script, with --show.",
    ),
    "connect": ("connect", "Open one WebSocket connection and tell everything about it."),
    "lab": (
        "lab", "Start the lab: a real WebSocket service on 127.0.0.1 with switchable defects.",
    ),
    "calibrate": (
        "calibrate",
        "Find out what this machine can honestly measure (a minute); later runs quote it.",
    ),
    "selftest": (
        "selftest",
        "Run every defect of the lab, and the healthy lab, and tell what the probe saw.",
    ),
}  # fmt: skip
"""The module of each verb, and the first sentence of what it does."""


def command_line(words: Sequence[str]) -> typer.Typer:
    """The command with the verb that `words` ask for; the others are there for the help."""
    app = typer.Typer(
        name="probe",
        help="Async load and race-condition probe for WebSocket services.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # their frames would show tokens
        rich_markup_mode=None,
    )
    asked = next((word for word in words if word in VERBS), None)
    for verb, (module, told) in VERBS.items():
        if verb == asked:
            app.command(verb)(import_module(f"probe.cli.{module}").command)
        else:
            app.command(verb, help=told)(_not_asked_for)
    return app


def _not_asked_for() -> None:
    raise AssertionError("the first verb among the words is the one that is called")


def main(app: typer.Typer | None = None) -> None:
    """Run the command line and exit with its code; `app` where its verb is loaded already."""
    try:
        app = app or command_line(sys.argv[1:])
        code = app(_filled(sys.argv[1:]), standalone_mode=False)
    except typer.Exit as leaving:
        code = leaving.exit_code
    except _Usage as error:
        error.show()
        code = EXIT_USAGE
    except (typer.Abort, KeyboardInterrupt):
        code = EXIT_INTERRUPTED
    except ConfigError as error:
        for problem in error.problems:
            _say(str(problem))
        code = EXIT_USAGE
    except HistoryError as error:
        _say(str(error))
        code = EXIT_USAGE
    except BrokenPipeError:
        sys.stderr.close()
        code = EXIT_INTERNAL
    except ProbeError as error:
        _say(str(error))
        code = EXIT_INTERNAL
    except Exception as error:  # noqa: BLE001 -- the last stop: whatever it is, it is ours
        _say(f"an error of the probe's own, please report it: {type(error).__name__}")
        traceback.print_exc(limit=-8)
        code = EXIT_INTERNAL
    sys.exit(code if isinstance(code, int) else 0)


def _filled(words: Sequence[str]) -> list[str]:
    """The words with 0 behind a `--dashboard` that names no port, which Typer cannot leave out."""
    after = [*words[1:], ""]
    return [
        f"{word}=0" if word == "--dashboard" and not after[k].isdecimal() else word
        for k, word in enumerate(words)
    ]


def _say(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
