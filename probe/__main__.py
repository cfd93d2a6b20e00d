"""The command `probe`, and `python -m probe`: ready for Ctrl-C before the heavy imports."""

import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Import the command line, then run it."""
    try:
        from probe.cli import main as run  # noqa: PLC0415 -- see the module
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
