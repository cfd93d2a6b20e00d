"""The command `probe`: one module per verb, and the exit code for whatever happens.

0 PASS, 1 FAIL, 2 usage or configuration, 3 INCONCLUSIVE, 4 INVALID, 5 our own error,
130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from typing import cast

import typer

from probe.cli import (
    calibrate,
    check,
    connect,
    lab,
    listing,
    report,
    run,
    schema,
    selftest,
    token,
    validate,
)
from probe.errors import ConfigError, HistoryError, ProbeError

EXIT_USAGE = 2
EXIT_INTERNAL = 5
EXIT_INTERRUPTED = 130
# Typer brings its own click in newer versions and takes the installed one in older; either
# way BadParameter is a UsageError is a ClickException, and all of them can show themselves.
_Usage = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

app = typer.Typer(
    name="probe",
    help="Async load and race-condition probe for WebSocket services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # their frames would show tokens
    rich_markup_mode=None,
)
for verb, module in {
    "run": run,
    "check": check,
    "report": report,
    "list": listing,
    "validate": validate,
    "schema": schema,
    "token": token,
    "connect": connect,
    "lab": lab,
    "calibrate": calibrate,
    "selftest": selftest,
}.items():
    app.command(verb)(module.command)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        code = app(standalone_mode=False)
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


def _say(text: str) -> None:
    sys.stderr.write(f"probe: {text}\n")
