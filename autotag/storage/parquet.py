"""Parquet files of jobs: read row by row, or written as a whole, with our facts in their schema's metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from autotag.errors import InputError

FACTS = b"autotag"
"""The key of our facts, JSON, in a schema's metadata."""
ROWS = 1000
"""Rows made into Python's values at once."""


@contextmanager
def _opened(file: BinaryIO, where: str) -> Iterator[pq.ParquetFile]:
    """An opened file, of which wrong bytes are told wherever its writer has kept checksums."""
    try:
        with file, pq.ParquetFile(file, page_checksum_verification=True) as opened:
            yield opened
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{where}: cannot be read: {' '.join(str(error).split()):.300}") from error


def read_table(file: BinaryIO, where: str, columns: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """A file's table, or some columns of it, and our facts about it.

    Raises:
        InputError: it cannot be read, or holds no facts of ours.
    """
    with _opened(file, where) as opened:
        return opened.read(columns=columns), _facts(opened.schema_arrow, where)


def read_facts(file: BinaryIO, where: str) -> dict[str, Any]:
    """Our facts about a file, of which nothing else is read; raises InputError as `read_table`."""
    with _opened(file, where) as opened:
        return _facts(opened.schema_arrow, where)


def _facts(schema: pa.Schema, where: str) -> dict[str, Any]:
    try:
        return dict(json.loads((schema.metadata or {})[FACTS]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{where}: is no Parquet file of ours: its schema has no facts under {FACTS!r}") from error


def write_table(batches: Iterator[pa.RecordBatch], schema: pa.Schema, facts: Mapping[str, Any]) -> bytes:
    """A file of these batches, each a row group. Text is kept by dictionaries, features as they are."""
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    described = schema.with_metadata({FACTS: json.dumps(facts).encode()})
    data = io.BytesIO()
    options = {"compression": "zstd", "use_dictionary": text, "write_page_checksum": True}
    with pq.ParquetWriter(data, described, **options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return data.getvalue()


def largest_group(file: BinaryIO, where: str) -> int:
    """The rows of a file's largest row group; raises InputError where it cannot be read."""
    with _opened(file, where) as opened:
        return max((opened.metadata.row_group(at).num_rows for at in range(opened.num_row_groups)), default=0)


def column_names(file: BinaryIO, where: str) -> list[str]:
    """The names of a file's columns; raises InputError where it cannot be read."""
    with _opened(file, where) as opened:
        return list(opened.schema_arrow.names)


def rows(file: BinaryIO, where: str, columns: Sequence[str]) -> Iterator[tuple[int, tuple[Any, ...] | str]]:
    """Each row's number, from 1, and its values of these columns, in their order; or what is wrong with its text.

    Raises:
        InputError: the file cannot be read, or not to its end.
    """
    number = 0
    with _opened(file, where) as opened:
        for batch in opened.iter_batches(ROWS, columns=list(columns)):
            for values in _values(batch, columns):
                number += 1
                yield number, values


def _values(batch: pa.RecordBatch, columns: Sequence[str]) -> list[tuple[Any, ...] | str]:
    try:
        return list(zip(*(batch.column(name).to_pylist() for name in columns), strict=True))
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [f"not UTF-8: {error.reason}"]
        return [values for row in range(batch.num_rows) for values in _values(batch.slice(row, 1), columns)]


def cells(file: BinaryIO, where: str, column: str, numbers: Sequence[int]) -> Iterator[Any]:
    """One column's values in the rows of these numbers, from 1 and ascending; row groups without one are not read.

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
