"""TextFormat: the encoding and the field separator of a table of text.

Spreadsheets write the format usual in their country: semicolons, tabs, UTF-16 ("Unicode text"), Windows-1252. It is
detected once per file, from its beginning, and holds for all its lines.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UTF8, WINDOWS = "utf-8", "cp1252"
MARKS = {codecs.BOM_UTF8: UTF8, codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
"""Encodings by the byte order mark at a file's beginning."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""Stands for bytes that are not of the encoding."""
SAMPLE_BYTES, SAMPLE_LINES = 64 * 1024, 200
"""Size of the part at a file's beginning from which its format is detected."""
BLANKS = " "
"""The separator of lists: tabs in a line that has some, else any number of blanks."""
NAMES = {"\t": "tabs", ";": "';'", ",": "','", BLANKS: "tabs or blanks"}
_WINDOWS_WORD = re.compile(rb"[A-Za-z][\xc0-\xff]|[\xc0-\xff][A-Za-z]")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
ENCODING_NAMES = {UTF8: "UTF-8", WINDOWS: "Windows-1252", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}


@dataclass(frozen=True)
class TextFormat:
    """The format of one file."""

    encoding: str = UTF8
    mark: bytes = b""
    """The byte order mark; it is no part of the first line."""
    separator: str = ","
    says_so: bool = False
    """True if the first line is ``sep=;``: it names the separator and is no record."""

    def __str__(self) -> str:
        return f"separated by {NAMES.get(self.separator, repr(self.separator))}, {ENCODING_NAMES[self.encoding]}"

    def fields(self, line: str) -> list[str]:
        """Return the fields of a line, without the quotes around them.

        Raises:
            csv.Error: a quote is not closed, or text follows it.
        """
        if self.separator == BLANKS:
            return line.split("\t") if "\t" in line else line.split()
        if '"' not in line:
            return line.split(self.separator)
        return next(csv.reader([line], delimiter=self.separator, strict=True))


def detect_encoding(sample: bytes) -> tuple[str, bytes]:
    """Return a file's encoding and byte order mark, from its beginning.

    A file without a mark is Windows-1252 if most of its lines that are not ASCII are not UTF-8 either, and one of them
    has a word with a letter of Windows-1252. Single bad lines do not change the encoding of a file; nor do single lines
    of Windows-1252 that happen to be UTF-8.
    """
    for mark, encoding in MARKS.items():
        if sample.startswith(mark):
            return encoding, mark
    lines = [line for line in sample.split(b"\n")[:-1] or [sample] if not line.isascii()]
    good = sum(map(_is_utf8, lines))
    is_windows = 2 * good < len(lines) and b"\0" not in sample and any(map(_WINDOWS_WORD.search, lines))
    return (WINDOWS if is_windows else UTF8), b""


def detect(sample: bytes, separators: Sequence[str], columns: range) -> TextFormat:
    """Return the format of a table, from its beginning.

    Args:
        sample: `SAMPLE_BYTES` of the file; less only if the file has less.
        separators: the candidates, the likeliest first.
        columns: the numbers of fields that a line may have; other lines count against a separator.
    """
    encoding, mark = detect_encoding(sample)
    text = sample[len(mark) :].decode(encoding, "replace")
    lines = [line for line in text.splitlines()[:SAMPLE_LINES] if line.strip()]
    if lines and (named := _SEPARATOR_LINE.fullmatch(lines[0].strip(" "))):
        return TextFormat(encoding, mark, named[1], says_so=True)
    best = max(separators, key=lambda separator: _lines_that_fit(lines, separator, columns)) if lines else ""
    return TextFormat(encoding, mark, best or separators[0])


def _lines_that_fit(lines: Sequence[str], separator: str, columns: range) -> int:
    """Count the lines that have the most frequent number of fields, if a line may have that many."""
    counts: Counter[int] = Counter()
    for line in lines:
        if separator == BLANKS and not _begins_with_blanks(line):
            continue
        try:
            fields = TextFormat(separator=separator).fields(line)
        except csv.Error:
            continue
        while len(fields) > columns.start and not fields[-1].strip():
            fields.pop()  # a spreadsheet's empty columns
        counts[len(fields)] += 1
    return max((count for fields, count in counts.items() if fields in columns), default=0)


def _begins_with_blanks(line: str) -> bool:
    """Return False if the first field of a list's line is followed by ``;`` or ``,``, and blanks come later.

    ``p1;/my photos/a.jpg`` is such a line. In ``a,b https://example.org/c.jpg`` the comma is part of the photo's ID,
    because an absolute place follows the blank.
    """
    first, *rest = line.split(None, 1) or [""]
    if "\t" in line or not re.search("[;,]", first):
        return True
    return not first.endswith((";", ",")) and bool(rest and re.match(r"\w[\w+.-]*:|/", rest[0]))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


class Recoded(io.RawIOBase):
    """Recodes a file of another encoding as UTF-8; bytes that cannot be decoded become U+FFFD."""

    def __init__(self, file: Any, encoding: str, chunk_bytes: int = 1 << 20) -> None:
        super().__init__()
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._chunk_bytes = chunk_bytes
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; 0 at the end."""
        while not self._ready:
            chunk = self._file.read(self._chunk_bytes)
            self._ready = memoryview(self._decoder.decode(chunk, final=not chunk).encode("utf-8", "replace"))
            if not chunk:
                break
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
