"""Lines are read within their bound, and from any line's end on."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from autotag.storage.bounded_lines import BOM, bounded_lines

BOUND = 8
PIECES = st.sampled_from([b"a", b"bcd", b" ", b"\t", b"\r", b"\n", b"\n\n", b"longer than the bound"])


@given(st.lists(PIECES).map(b"".join), st.sampled_from([b"", BOM]))
def test_all_lines_are_read_and_the_rest_is_read_from_each_end(data: bytes, mark: bytes) -> None:
    lines = list(bounded_lines(io.BytesIO(mark + data), BOUND))
    wanted = [
        (number, None if len(line) > BOUND else line)
        for number, line in enumerate(io.BytesIO(data), 1)
        if line.strip() or len(line) > BOUND
    ]
    assert [(number, text) for number, _, text in lines] == wanted
    for count, (number, end, _) in enumerate(lines, 1):
        file = io.BytesIO(mark + data)
        file.seek(end)
        assert list(bounded_lines(file, BOUND, end, number)) == lines[count:]


@given(st.lists(PIECES).map(b"".join), st.sampled_from([b"", BOM]))
def test_a_line_whose_beginning_was_read_already_is_read_on(data: bytes, mark: bytes) -> None:
    data = mark + data
    file = io.BytesIO(data)
    start = file.readline(BOUND + 1)
    assert list(bounded_lines(file, BOUND, start=start)) == list(bounded_lines(io.BytesIO(data), BOUND))


def test_no_more_of_a_line_than_its_bound_is_read_at_once() -> None:
    asked: list[int] = []

    class File(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            asked.append(size or -1)
            return super().readline(size)

    assert [text for _, _, text in bounded_lines(File(b"x" * 100 + b"\nok\n"), BOUND)] == [None, b"ok\n"]
    assert set(asked) == {BOUND, BOUND + 1}


def test_a_file_of_only_a_byte_order_mark_has_no_line() -> None:
    assert list(bounded_lines(io.BytesIO(BOM), BOUND)) == []
