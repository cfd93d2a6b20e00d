"""The command `probe`, and `python -m probe`: ready for Ctrl-C before the heavy imports."""

import gc
import sys

EXIT_INTERRUPTED = 130


def main() -> None:
    """Import the command line, then run it."""
    gc.disable()  # what is imported stays: to look through it again and again takes 0.2 s
    try:
        from probe.cli import command_line  # noqa: PLC0415 -- see the module
        from probe.cli import main as run  # noqa: PLC0415 -- see the module

        app = command_line(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    gc.freeze()
    gc.enable()
    run(app)


if __name__ == "__main__":
    main()
