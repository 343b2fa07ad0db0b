"""Parquet files of a bulk run, read by pyarrow, which is imported only when there are such files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotag.bulk.records import FIELDS, TIMES, Micros, Record
from autotag.errors import InputError, ResultError

PARQUET = ".parquet"
ROWS = 500
"""Rows that are turned into Python's values at once."""


def require_pyarrow() -> None:
    """Raise InputError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"Parquet files need pyarrow, which cannot be loaded ({error}): pip install pyarrow"
        ) from error


def rows(path: Path, name: str, start: int) -> Iterator[Record]:
    """Yield the rows after the first `start`; row groups before them are not read, nor are columns not in `FIELDS`.

    Args:
        name: the file's name in messages.

    Raises:
        InputError: the file cannot be read, or not to its end.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        size = path.stat().st_size
        # Spark's own timestamps (INT96) are nanoseconds to pyarrow, which do not reach beyond the year 2262.
        with pq.ParquetFile(path, coerce_int96_timestamp_unit="us") as file:
            names = file.schema_arrow.names
            columns = [one for one in names if one in FIELDS] or names[:1]
            groups, before = _groups(file, start)
            for batch in file.iter_batches(ROWS, groups, columns) if groups else ():
                late = batch.slice(max(0, start - before))
                before += batch.num_rows
                done_bytes = size * before // file.metadata.num_rows
                for number, fields in enumerate(_fields(late), before - late.num_rows + 1):
                    yield Record(number, number, done_bytes, fields)
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{name}: cannot be read: {said:.300}") from error


def _groups(file: Any, start: int) -> tuple[list[int], int]:
    """Return the row groups that hold rows after the first `start`, and the number of rows before those groups."""
    before = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if before + count > start:
            return list(range(group, file.num_row_groups)), before
        before += count
    return [], before


def _fields(batch: Any) -> list[Any]:
    """Return the fields of each row; a ResultError for a row whose text is not UTF-8."""
    try:
        columns = [_values(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [ResultError(f"not UTF-8: {error.reason}")]
        return [fields for row in range(batch.num_rows) for fields in _fields(batch.slice(row, 1))]
    return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(name: str, column: Any) -> list[Any]:
    """Return a column as Python's values; timestamps as Micros, in UTC where they have no time zone, as Spark's."""
    import pyarrow as pa

    if name in TIMES and pa.types.is_timestamp(column.type):
        micros = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_pylist()
        return [None if value is None else Micros(value) for value in micros]
    return list(column.to_pylist())
