"""Tsung, from Debian's package, on Erlang of the same; controller and users in one virtual machine.

Arrivals are open, and its timer has whole milliseconds: at 2,000 a second it launches as fast as
it can. A session that ends drops its connection. Messages that come unasked its WebSocket module
does not read: they are counted as bytes, so the works about messages are not put to it. It tells no
quantiles: its figures are the means of `connect` (TCP) and of `request` (the upgrade).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import install
from benchmarks.peers.work import HELD_S, Command, Kind, Reported, Work

SCRIPT = Path(__file__).parent / "tsung.xml"
RATE = 2_000
AT_ONCE_RATE = 1_000_000
THINK = f'      <thinktime value="{HELD_S}"/>'
EPMD_PORT = 14_369
COOKIE = "tsung"


@dataclass(frozen=True, slots=True)
class Tsung:
    """See the module."""

    name: str = "tsung"

    def prepare(self) -> str:
        """See `Tool`."""
        (found,) = (install.debian() / "usr/lib/x86_64-linux-gnu/tsung").glob("tsung-*")
        (erts,) = (install.debian() / "usr/lib/erlang").glob("erts-*")
        return f"{found.name.partition('-')[2]}, Erlang {erts.name}"

    def cannot(self, kind: Kind) -> str | None:
        """See `Tool`."""
        if kind in {"burst", "single"}:
            return "it counts the bytes of messages that come unasked, and reads none"
        return None

    def command(self, work: Work) -> Command:
        """See `Tool`."""
        root = install.debian()
        (work.folder / "tsung.xml").write_text(_filled(work, root), encoding="utf-8")
        (work.folder / "log").mkdir()
        (erts,) = (root / "usr/lib/erlang").glob("erts-*")
        paths = sorted((root / "usr/lib/x86_64-linux-gnu/tsung").glob("tsung*-1*/ebin"))
        # What the script /usr/bin/tsung starts, but on loopback alone and with its own epmd, which
        # is a child and ends with it.
        erl = (
            str(erts / "bin/erlexec"), "+A", "8", "+K", "true", "-noshell", "-start_epmd", "false",
            "-name", "tsung_controller@127.0.0.1", "-setcookie", COOKIE, "+P", "250000",
            "-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-s", "tsung_controller",
            *(part for path in paths for part in ("-pa", str(path))),
            "-ssl", "session_cb", "ts_ssl_session_cache", "-ssl", "session_lifetime", "600",
            "-sasl", "sasl_error_logger", "false", "-tsung_controller", "web_gui", "false",
            "-tsung_controller", "keep_web_gui", "false", "-tsung_controller", "smp_disable",
            "true", "-tsung_controller", "debug_level", "5", "-tsung_controller", "warm_time", "1",
            "-tsung_controller", "exclude_tag", '""', "-tsung_controller", "config_file",
            f'"{work.folder}/tsung.xml"', "-tsung_controller", "log_dir", f'"{work.folder}/log/"',
            "-tsung_controller", "mon_file", '"tsung.log"',
        )  # fmt: skip
        epmd = (str(erts / "bin/epmd"), "-address", "127.0.0.1", "-port", str(EPMD_PORT))
        env = {
            "ROOTDIR": str(root / "usr/lib/erlang"),
            "BINDIR": str(erts / "bin"),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_EPMD_PORT": str(EPMD_PORT),
            "LD_LIBRARY_PATH": str(root / "usr/lib/x86_64-linux-gnu"),
        }
        script = f"{shlex.join(epmd)} & sleep 0.2; exec {shlex.join(erl)}"
        return Command(("/bin/sh", "-c", script), env)

    def reported(self, work: Work, printed: str) -> Reported | None:
        """See `Tool`."""
        del printed
        (log,) = (work.folder / "log").glob("*/tsung.log")
        lines = log.read_text(encoding="utf-8").splitlines()
        connect, request = _mean(lines, "connect"), _mean(lines, "request")
        if connect is None or request is None:
            return None
        return Reported("connect + request", {"mean": connect + request})


def _mean(lines: list[str], name: str) -> float | None:
    """Of the whole run, from the last line of a name.

    Its numbers: of the last 10 s count, mean, deviation; highest, lowest; before them mean, count.
    """
    for line in reversed(lines):
        if line.startswith(f"stats: {name} "):
            count, mean, _, _, _, mean_before, count_before = map(float, line.split()[2:])
            whole = count + count_before
            return (count * mean + count_before * mean_before) / whole if whole else None
    return None


def _filled(work: Work, root: Path) -> str:
    words = {
        "dtd": f"{root}/usr/share/tsung/tsung-1.0.dtd",
        "port": str(work.port),
        "users": str(work.n),
        "rate": str(AT_ONCE_RATE if work.kind == "upgrade" else RATE),
        "steps": THINK if work.kind == "hold" else "",
    }
    text = SCRIPT.read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text
