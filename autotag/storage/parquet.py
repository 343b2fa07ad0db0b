"""Parquet files: read row by row, or written as a whole, with our facts in their schema's metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from autotag.errors import InputError

FACTS = b"autotag"
"""The key of our facts, JSON, in a schema's metadata."""
ROWS = 1000
"""Rows that are turned into Python's values at once."""

Times = Mapping[str, Callable[[int], Any]]
"""Functions by column name. Each is applied to a timestamp column's values, in microseconds since 1970."""


@contextmanager
def _opened(file: BinaryIO, where: str) -> Iterator[pq.ParquetFile]:
    """Open a file; report its errors as InputError. Wrong bytes are an error if the writer has stored checksums."""
    # Spark's own timestamps (INT96) are nanoseconds to pyarrow, which do not reach beyond the year 2262.
    options = {"page_checksum_verification": True, "coerce_int96_timestamp_unit": "us"}
    try:
        with file, pq.ParquetFile(file, **options) as opened:
            yield opened
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{where}: cannot be read: {' '.join(str(error).split()):.300}") from error


def read_table(file: BinaryIO, where: str, columns: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Return a file's table, or some columns of it, and our facts about it.

    Raises:
        InputError: the file cannot be read, or holds no facts of ours.
    """
    with _opened(file, where) as opened:
        return opened.read(columns=columns), _facts(opened.schema_arrow, where)


def read_facts(file: BinaryIO, where: str) -> dict[str, Any]:
    """Return our facts about a file, and read nothing else of it. Raises InputError as `read_table` does."""
    with _opened(file, where) as opened:
        return _facts(opened.schema_arrow, where)


def _facts(schema: pa.Schema, where: str) -> dict[str, Any]:
    try:
        return dict(json.loads((schema.metadata or {})[FACTS]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where}: is no Parquet file of ours: its schema has no facts under {FACTS!r}") from error


def write_table(batches: Iterator[pa.RecordBatch], schema: pa.Schema, facts: Mapping[str, Any]) -> bytes:
    """Return a file of these batches, each one row group. Text columns are encoded by dictionaries."""
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    described = schema.with_metadata({FACTS: json.dumps(facts).encode()})
    data = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": text, "write_page_checksum": True}
    with pq.ParquetWriter(data, described, **options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return data.getvalue()


def largest_group(file: BinaryIO, where: str) -> int:
    """Return the number of rows in a file's largest row group. Raises InputError if the file cannot be read."""
    with _opened(file, where) as opened:
        return max((opened.metadata.row_group(at).num_rows for at in range(opened.num_row_groups)), default=0)


def column_names(file: BinaryIO, where: str) -> list[str]:
    """Return the names of a file's columns. Raises InputError if the file cannot be read."""
    with _opened(file, where) as opened:
        return list(opened.schema_arrow.names)


def rows(file: BinaryIO, where: str, columns: Sequence[str]) -> Iterator[tuple[int, tuple[Any, ...] | str]]:
    """Yield each row's number, from 1, and its values of these columns in this order, or the fault of its text.

    Raises:
        InputError: the file cannot be read, or not to its end.
    """
    number = 0
    with _opened(file, where) as opened:
        for batch in opened.iter_batches(ROWS, columns=list(columns)):
            for values in _values(batch):
                number += 1
                yield number, values if isinstance(values, str) else tuple(values[name] for name in columns)


def rows_after(
    file: BinaryIO, where: str, start: int, columns: Sequence[str], times: Times
) -> Iterator[tuple[int, float, dict[str, Any] | str]]:
    """Yield the rows after the first `start`; row groups before them are not read, nor are other columns.

    Args:
        columns: the columns to read, of which a file may lack some.
        times: the timestamp columns to convert. Timestamps without a time zone are in UTC, as Spark's.

    Yields:
        The row's number, from 1; the share of the file that has been read; and the row's values by column, or the fault
        of its text.

    Raises:
        InputError: the file cannot be read, or not to its end.
    """
    with _opened(file, where) as opened:
        names = opened.schema_arrow.names
        present = [name for name in names if name in columns] or names[:1]
        groups, before = _groups_after(opened, start)
        for batch in opened.iter_batches(ROWS, groups, present) if groups else ():
            late = batch.slice(max(0, start - before))
            before += batch.num_rows
            share = before / opened.metadata.num_rows
            for number, values in enumerate(_values(late, times), before - late.num_rows + 1):
                yield number, share, values


def _groups_after(opened: pq.ParquetFile, start: int) -> tuple[list[int], int]:
    """Return the row groups that hold rows after the first `start`, and the number of rows before those groups."""
    before = 0
    for group in range(opened.num_row_groups):
        count = opened.metadata.row_group(group).num_rows
        if before + count > start:
            return list(range(group, opened.num_row_groups)), before
        before += count
    return [], before


def _values(batch: pa.RecordBatch, times: Times | None = None) -> list[dict[str, Any] | str]:
    """Return the values of each row by column; the fault of a row whose text is not UTF-8."""
    names = batch.schema.names
    try:
        columns = [_column(column, (times or {}).get(name)) for name, column in zip(names, batch.columns, strict=True)]
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [f"not UTF-8: {error.reason}"]
        return [values for row in range(batch.num_rows) for values in _values(batch.slice(row, 1), times)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _column(column: pa.Array, time: Callable[[int], Any] | None) -> list[Any]:
    if time and pa.types.is_timestamp(column.type):
        micros = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.int64()).to_pylist()
        return [None if value is None else time(value) for value in micros]
    return list(column.to_pylist())


def cells(file: BinaryIO, where: str, column: str, numbers: Sequence[int]) -> Iterator[Any]:
    """Yield one column's values in the rows of these numbers, from 1 and ascending; read only their row groups.

    Raises:
        InputError: the file cannot be read, or has no such row.
    """
    wanted = iter(numbers)
    number = next(wanted, None)
    with _opened(file, where) as opened:
        if column not in opened.schema_arrow.names:
            raise InputError(f"{where}: has no column {column}: it was changed while it was read")
        before = 0
        for group in range(opened.num_row_groups):
            count = opened.metadata.row_group(group).num_rows
            if number is not None and number <= before + count:
                at = before
                for batch in opened.iter_batches(64, [group], [column]):
                    while number is not None and number <= at + batch.num_rows:
                        yield batch.column(0)[number - at - 1].as_py()
                        number = next(wanted, None)
                    if number is None:
                        return
                    at += batch.num_rows
            before += count
    if number is not None:
        raise InputError(f"{where}: has {before} rows, no row {number}: it was changed while it was read")
