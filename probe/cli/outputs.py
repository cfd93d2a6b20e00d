"""Where a judged run is sent: FORM=WHERE, read, looked at before the run, and done after it.

The rule: what cannot be is refused before anything is opened; what fails after the verdict is
told, and changes no verdict. Files are written beside their place and renamed over it, so that
no reader ever sees half of one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlsplit

import typer

from probe.cli.files import read, variables
from probe.errors import ConfigError, Problem
from probe.history.columns import History
from probe.history.folder import HISTORY, RESOLVED
from probe.model.reading import nearest
from probe.model.resolved import Resolved
from probe.redact import Redactor
from probe.report.export.metrics import metrics_of
from probe.report.export.prometheus import exposition
from probe.report.export.rows import csv_bytes, jsonl_bytes, parquet_bytes
from probe.report.export.sessions import sessions_of
from probe.report.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from probe.check.verdict import Judgement

FORMS: Final = ("prometheus", "otlp", "csv", "jsonl", "parquet")
AUTHORIZATION: Final = "PROBE_EXPORT_AUTHORIZATION"
OTLP_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
STDOUT: Final = "-"
ExportOption = Annotated[
    list[str] | None,
    typer.Option(help="Also to FORM=FILE or FORM=http://…, as `probe export` (repeatable)."),
]
_PUSHED: Final = ("prometheus", "otlp")
_NEEDS: Final = {"parquet": ("pyarrow", "parquet"), "otlp": ("opentelemetry", "otel")}


@dataclass(frozen=True, slots=True)
class Output:
    """A form, and where it goes: a file, an address to push to, or `-` for stdout.

    Of `otlp` it may be "", where the variables of OpenTelemetry say it.
    """

    form: str
    where: str

    @property
    def pushed(self) -> bool:
        """Whether it goes over the network."""
        return self.form == "otlp" or self.where.startswith(("http://", "https://"))

    def __str__(self) -> str:
        return f"{self.form}={self.where}" if self.where else self.form


def outputs(words: Sequence[str], option: str, *, stdout: bool) -> list[Output]:
    """Read and looked at; ConfigError with every mistake. `stdout`: whether it may be that."""
    found, problems = [], []
    for word in words:
        form, _, where = word.partition("=")
        one = Output(form, where or (STDOUT if stdout and form != "otlp" else ""))
        wrong = _wrong(one, option, stdout=stdout)
        problems += [wrong] if wrong else []
        found.append(one)
    if sum(one.where == STDOUT for one in found) > 1:
        problems.append(Problem(option, "", "only one of them can go to stdout"))
    if problems:
        raise ConfigError(*problems)
    return found


def deliver(chosen: Sequence[Output], judgement: Judgement, folder: Path) -> list[str]:
    """Write and push all of them; what failed and why, a line each, never an exception of it."""
    failed, header = [], _header() if any(one.pushed for one in chosen) else ""
    # Who refuses a push may quote what it was sent.
    redactor = Redactor(header, *header.split())
    for one in chosen:
        try:
            _deliver(one, judgement, folder, header)
        except BrokenPipeError:
            raise
        except OSError as error:
            failed.append(redactor.text(f"not exported to {one}: {error.strerror or error}"))
        except Exception as error:  # noqa: BLE001 -- the verdict stands, whatever this is
            told = visible(f"{type(error).__name__}: {error}")
            told = f"not exported to {one}: an error of the probe's own, {told}"
            failed.append(redactor.text(told))
    return failed


def export_all(chosen: Sequence[Output], judgement: Judgement, folder: Path) -> bool:
    """The same, with what failed told on stderr; whether nothing did."""
    failed = deliver(chosen, judgement, folder)
    for line in failed:
        sys.stderr.write(f"probe: {line}\n")
    return not failed


def _wrong(one: Output, option: str, *, stdout: bool) -> Problem | None:
    """What is wrong with an output, if anything is."""
    if one.form not in FORMS:
        return Problem(
            option, "", "there is no such form", one.form, ", ".join(FORMS),
            nearest(one.form, FORMS),
        )  # fmt: skip
    module, extra = _NEEDS.get(one.form, ("", ""))
    if module and find_spec(module) is None:
        hint = f"in the project's folder: .venv/bin/python -m pip install -e '.[{extra}]'"
        return Problem(option, "", f"{one.form} needs the extra `{extra}`", hint=hint)
    if one.pushed:
        return _wrong_address(one, option) or _wrong_header()
    return _wrong_file(one, option, stdout=stdout)


def _wrong_file(one: Output, option: str, *, stdout: bool) -> Problem | None:
    if one.where == STDOUT and stdout:
        if one.form == "parquet" and sys.stdout.isatty():
            return Problem(option, "", "parquet is no text: name a file, parquet=FILE")
        return None
    if one.where in {"", STDOUT}:
        return Problem(option, "", "where to?", one.form, hint=f"write {one.form}=FILE")
    path = Path(one.where)
    if path.is_dir() or not path.parent.is_dir():
        why = "is a directory" if path.is_dir() else "its directory is not there"
        return Problem(option, "", why, one.where)
    return None


def _wrong_address(one: Output, option: str) -> Problem | None:
    if one.form not in _PUSHED:
        why = f"{one.form} is written to a file; pushed is {' or '.join(_PUSHED)}"
        return Problem(option, "", why, one.form)
    if not one.where:
        if any(os.environ.get(name) for name in OTLP_VARIABLES):
            return None
        return Problem(option, "", "where to?", "otlp", hint="write otlp=http://HOST:4318")
    try:
        parts = urlsplit(one.where)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        known = None
    if not known:
        return Problem(option, "", "no address to push to", hint=f"write {one.form}=http://HOST:…")
    if parts.username is not None or parts.query or parts.fragment:
        # What stands on a command line stands in logs and in the run's files, too.
        why = "an address to push to has no user, no query and no fragment"
        hint = f"set {AUTHORIZATION}, which is sent as the header Authorization"
        return Problem(option, "", why, hint=hint)
    return None


def _wrong_header() -> Problem | None:
    header = _header()
    if header.isascii() and header.isprintable():
        return None
    return Problem(AUTHORIZATION, "", "is no value of a header: it holds what cannot be printed")


def _header() -> str:
    """The header Authorization of a push; a file that it was read from may end in a line end."""
    return variables().get(AUTHORIZATION, "").strip()


def _deliver(one: Output, judgement: Judgement, folder: Path, header: str) -> None:
    """OSError where it could not be."""
    if one.pushed:
        # It loads what most runs have no use for.
        from probe.cli.pushing import push_otlp, push_prometheus  # noqa: PLC0415 -- as told

        samples = metrics_of(judgement)
        if one.form == "otlp":
            push_otlp(one.where, samples, judgement, header)
        else:
            push_prometheus(one.where, exposition(samples), judgement, header)
        return
    parts = _bytes(one.form, judgement, folder)
    if one.where == STDOUT:
        for part in parts:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
    else:
        _write(Path(one.where), parts)


def _bytes(form: str, judgement: Judgement, folder: Path) -> Iterator[bytes]:
    if form == "prometheus":
        yield exposition(metrics_of(judgement))
        return
    resolved = Resolved.from_toml(read(folder / RESOLVED), str(folder / RESOLVED))
    sessions = sessions_of(History.open(folder / HISTORY), resolved, judgement.fitness)
    match form:
        case "csv":
            yield from csv_bytes(sessions)
        case "jsonl":
            yield from jsonl_bytes(sessions)
        case _:
            yield parquet_bytes(sessions)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """Beside its place first: a collector that reads the folder meets the old file or the new."""
    # Its name ends in nothing that a collector of `*.prom` would read.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part_of = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
        part_of.chmod(0o644)  # a collector runs as somebody else
        part_of.replace(path)
    except BaseException:
        part_of.unlink(missing_ok=True)
        raise
