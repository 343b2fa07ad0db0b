"""TextFormat: tables as people's programs write them are read, whatever they are called."""

from __future__ import annotations

import codecs
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotag.storage.text_format import BLANKS, Recoded, TextFormat, detect, detect_encoding

ROWS = "class,photo_id,label\nTulpe rot,p 1,TRUE\nÄrmel,p2,falsch\n"
SEPARATORS = (",", ";", "\t")


def form(data: bytes, columns: range = range(3, 100)) -> TextFormat:
    return detect(data, SEPARATORS, columns)


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize(
    ("encoding", "mark", "name"),
    [
        ("utf-8", b"", "UTF-8"),
        ("utf-8", codecs.BOM_UTF8, "UTF-8"),
        ("utf-16-le", codecs.BOM_UTF16_LE, "UTF-16"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "UTF-16"),
        ("cp1252", b"", "Windows-1252"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separator_and_encoding_are_detected(separator: str, encoding: str, mark: bytes, name: str, end: str) -> None:
    text = ROWS.replace(",", separator).replace("\n", end)
    found = form(mark + text.encode(encoding))
    assert (found.separator, found.encoding, found.mark) == (separator, encoding, mark)
    assert str(found).endswith(name)


def test_a_line_may_name_the_separator() -> None:
    found = form(b"sep=;\r\na;b,c;1\r\n")
    assert (found.separator, found.says_so) == (";", True)
    assert form(b"sep=|\na|b|c\n").separator == "|"
    tabs = form("sep=\t\r\na\tb\tc\r\n".encode("utf-16"))
    assert (tabs.separator, tabs.says_so) == ("\t", True)


def test_the_separator_is_the_one_that_gives_the_columns_though_others_are_more_frequent() -> None:
    assert form(b"a,b,c,d;p1;TRUE\na,b;p2;TRUE\na;p3;TRUE\n").separator == ";"
    assert form(b'"a;b;c;d",p1,TRUE\n"x",p2,FALSE\n').separator == ","


def test_empty_columns_of_a_spreadsheet_do_not_count() -> None:
    assert detect(b"p1;file:///a,b;;;\np2;file:///b;;;\n", (BLANKS, ";", ","), range(2, 4)).separator == ";"


def test_one_bad_line_is_no_other_encoding() -> None:
    assert detect_encoding("ä,p1,1\nö,p2,1\n".encode() + b"\xff,p3,1\n")[0] == "utf-8"
    assert detect_encoding(b"\xe4hre,p1,1\nb\xf6,p2,1\n")[0] == "cp1252"
    assert detect_encoding(b"a,p1,1\n")[0] == "utf-8"
    assert detect_encoding(b"")[0] == "utf-8"


def test_a_line_that_happens_to_be_utf8_is_no_other_encoding() -> None:
    happens = "Ü€,p3,1\n".encode("cp1252")
    assert happens.decode() != "Ü€,p3,1\n"
    assert detect_encoding("Ärmel,p1,1\nÖl,p2,1\n".encode("cp1252") + happens)[0] == "cp1252"


@pytest.mark.parametrize(
    ("line", "separator"),
    [
        ("p1;/my photos/a.jpg", ";"),
        ("p1,my photos/a.jpg", ","),
        ("p1, /my photos/a.jpg", ","),
        ('"p 1";"/my photos/a b.jpg"', ";"),
        ("p1;/my photos/a.jpg;s3://out/1.json", ";"),
        ("p1 https://example.org/a,b.jpg", BLANKS),
        ("p1 photos/a;b.jpg", BLANKS),
        ("a,b https://example.org/c.jpg", BLANKS),
        ("a;b\t/my photos/a.jpg", BLANKS),
    ],
)
def test_a_list_is_separated_by_what_follows_the_photos_id(line: str, separator: str) -> None:
    assert detect(f"{line}\n{line}\n".encode(), (BLANKS, ";", ","), range(2, 4)).separator == separator


def test_quotes_are_csvs() -> None:
    assert form(b"").fields('"a ""b"", c",p1,TRUE') == ['a "b", c', "p1", "TRUE"]


@given(st.text(), st.sampled_from(["utf-16-le", "utf-16-be", "cp1252"]), st.integers(1, 7))
def test_a_recoded_file_has_the_same_text(text: str, encoding: str, chunk_bytes: int) -> None:
    data = text.encode(encoding, "ignore")
    read = io.BufferedReader(Recoded(io.BytesIO(data), encoding, chunk_bytes)).read()
    assert read.decode() == data.decode(encoding, "replace")
