"""Identities read from a CSV file: one in each row.

The rule: a row that could not serve is a mistake, told with its line, all at once, and
no message quotes a cell or a heading (a file without headings has a token there).
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probe.auth.describe import looks_like_jwt
from probe.errors import ConfigError, Problem
from probe.model.auth import token_fault

if TYPE_CHECKING:
    from _csv import Reader  # the type of what csv.reader returns has no public name
    from pathlib import Path

    from probe.model.auth import CsvAuth

_FILE_BYTES_MAX = 64 * 1024 * 1024
_ROWS_MAX = 1_000_000
_PROBLEMS_MAX = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the file."""

    user: str
    token: str = field(repr=False)


def read(auth: CsvAuth, origin: str, folder: Path) -> tuple[Row, ...]:
    """The rows in their order; `file` is relative to `folder`. Raises ConfigError."""
    path = folder / auth.file
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror or type(error).__name__}"
        raise ConfigError(Problem(origin, "auth.file", message, str(path))) from None
    if len(data) > _FILE_BYTES_MAX:
        message = f"the file is longer than {_FILE_BYTES_MAX} bytes"
        raise ConfigError(Problem(origin, "auth.file", message, str(path)))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(Problem(str(path), "", f"line {line} is not UTF-8")) from None
    return parse(text, auth, str(path))


def parse(text: str, auth: CsvAuth, origin: str) -> tuple[Row, ...]:
    """The rows of CSV text; `origin` names it in messages. Raises ConfigError."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        headings = next(reader, [])
        columns = _columns(headings, auth, origin)
        rows, problems = _rows(reader, columns, origin)
    except csv.Error:
        message = f"line {reader.line_num} is not CSV: a quote or a line break stands wrong"
        raise ConfigError(Problem(origin, "", message)) from None
    if not rows and not problems:
        problems.append(Problem(origin, "", "there are headings, but no rows"))
    if problems:
        raise ConfigError(*problems[:_PROBLEMS_MAX])
    return tuple(rows)


def _columns(headings: list[str], auth: CsvAuth, origin: str) -> tuple[int, int]:
    names = [name.strip() for name in headings]
    problems = [
        Problem(
            origin,
            "",
            f"the first line names {names.count(column)} columns `{column}`, not one",
            f"{len(names)} columns",
            hint=f"name it in the file, or set `auth.{key}` to the heading that it has",
        )
        for key, column in (("user", auth.user), ("token", auth.token))
        if names.count(column) != 1
    ]
    if problems:
        raise ConfigError(*problems)
    return names.index(auth.user), names.index(auth.token)


def _rows(reader: Reader, columns: tuple[int, int], origin: str) -> tuple[list[Row], list[Problem]]:
    rows: list[Row] = []
    problems: list[Problem] = []
    lines: dict[tuple[str, str], int] = {}
    for cells in reader:
        if not cells:
            continue  # an empty line, as at the end of the file
        if len(problems) >= _PROBLEMS_MAX:
            break
        if len(rows) >= _ROWS_MAX:
            problems.append(Problem(origin, "", f"more than {_ROWS_MAX} rows"))
            break
        found = [cells[c].strip() if c < len(cells) else "" for c in columns]
        user, token = found
        line = reader.line_num
        if not user or not token:
            missing = "user" if not user else "token"
            problems.append(Problem(origin, "", f"line {line} has no {missing}"))
        elif fault := token_fault(token):
            problems.append(Problem(origin, "", f"the token in line {line} {fault}"))
        # Users may well have one password; a JWT is one identity, whoever is named beside it.
        elif (key := ("" if looks_like_jwt(token) else user, token)) in lines:
            message = f"lines {lines[key]} and {line} are the same identity"
            hint = "list it once and set `identities` to share it on purpose"
            problems.append(Problem(origin, "", message, hint=hint))
        else:
            lines[key] = line
            rows.append(Row(user, token))
    return rows, problems
