"""Sessions as CSV, as JSON lines, and as Parquet.

The rule: what is missing is an empty cell in CSV and null elsewhere. CSV is that of RFC 4180,
with a cell that a spreadsheet would take for a formula marked by an apostrophe; JSON lines are
one object a line; Parquet needs the extra `parquet`. Instants are UTC, to the microsecond.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import msgspec

from probe.report.export.sessions import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probe.report.export.sessions import Sessions

_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
_MS_DIGITS: Final = 6


def csv_bytes(sessions: Sessions) -> Iterator[bytes]:
    """The file in pieces; the header comes first, also where there is no row."""
    yield _written([[field.name for field in FIELDS]])
    for rows in sessions.rows():
        yield _written([[_cell(value) for value in row] for row in rows])


def jsonl_bytes(sessions: Sessions) -> Iterator[bytes]:
    """The file in pieces, a line for each session."""
    names = [field.name for field in FIELDS]
    encode = msgspec.json.Encoder().encode
    for rows in sessions.rows():
        yield b"".join(
            encode(dict(zip(names, map(_rounded, row), strict=True))) + b"\n" for row in rows
        )


def parquet_bytes(sessions: Sessions) -> bytes:
    """The file; ImportError without the extra `parquet`."""
    import pyarrow as pa  # noqa: PLC0415 -- of an extra, and slow to load
    from pyarrow import parquet  # noqa: PLC0415 -- the same

    types = {
        "text": pa.string(),
        "number": pa.int64(),
        "ms": pa.float64(),
        "time": pa.timestamp("us", tz="UTC"),
    }
    arrays = [
        pa.array(column.values, mask=~column.known, type=types[column.field.sort])
        for column in sessions.columns
    ]
    told = [
        pa.field(field.name, types[field.sort], metadata={"description": field.told})
        for field in FIELDS
    ]
    sink = io.BytesIO()
    parquet.write_table(pa.table(arrays, schema=pa.schema(told)), sink)
    return sink.getvalue()


def _written(rows: list[list[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerows(rows)
    return stream.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULAS) else value
    if value is not None and hasattr(value, "isoformat"):
        return value.isoformat(timespec="microseconds")
    return _rounded(value)


def _rounded(value: Any) -> Any:
    """Nanoseconds are as fine as it gets: no digit more of a millisecond."""
    return round(value, _MS_DIGITS) if isinstance(value, float) else value
