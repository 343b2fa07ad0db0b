"""Lists of photos and files of labels: every format, every kind of bad line, and the resulting labels."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from autotag.errors import InputError
from autotag.storage.parquet import cells as cells_of
from autotag.storage.text_format import detect_encoding
from autotag.storage.text_lines import MAX_LINE_BYTES, BadLine, Fault, FaultError
from autotag.training.dataset.label_files import (
    GROUP_ROWS,
    Label,
    TrainingPhoto,
    folder_labels,
    is_photo_folder,
    labels_in,
    photos_in,
    row_place,
    row_uri,
)
from autotag.training.dataset.labels import FALSE, TRUE, UNKNOWN, ClassNames, LabelCollector, label_value
from models.classes import ClassTable
from tests.model_files import CLASS_ROWS
from tests.training_sets import label_table, write_photo

Write = Callable[[str, bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, compressed if its name ends in ``.gz``; return its path."""

    def written(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return written


def parquet(path: Path, **columns: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return str(path)


def good(lines: Iterable[Label | BadLine]) -> list[tuple[str, str, int]]:
    return [line[1:] for line in lines if isinstance(line, Label)]  # type: ignore[misc]


def bad(lines: Iterable[Label | TrainingPhoto | BadLine]) -> list[tuple[int, Fault]]:
    return [(line.number, line.reason) for line in lines if isinstance(line, BadLine)]


# Labels


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz", "labels.txt", "labels.tsv", "labels.tsv.gz", "labels"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"class;photo_id;label\n", b"\n \n"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_labels_are_read_from_text_of_every_form(write: Write, name: str, start: bytes, end: bytes) -> None:
    text = start + b"dog;a/1.jpg;TRUE\ncat; b ;false\n\ndog;b;"
    delimiter = b"\t" if ".tsv" in name or name == "labels" else b","
    url = write(name, text.replace(b";", delimiter).replace(b"\n", end))
    assert good(labels_in(url)) == [("dog", "a/1.jpg", TRUE), ("cat", "b", FALSE), ("dog", "b", UNKNOWN)]


def test_a_header_says_where_the_columns_are(write: Write) -> None:
    url = write("labels.csv", b"LABEL,note,photo_id,Class\n1,x,a,dog\n0,y,b\n")
    assert good(labels_in(url)) == [("dog", "a", TRUE)]
    assert bad(labels_in(url)) == [(3, Fault.FIELDS)]


def test_a_header_without_all_columns_is_refused(write: Write) -> None:
    with pytest.raises(
        InputError, match=r"labels need the columns class, photo_id, label\. Its header is 'class, photo"
    ):
        list(labels_in(write("labels.csv", b"class,photo_id,value\ndog,a,1\n")))


def test_quotes_are_as_in_csv(write: Write) -> None:
    url = write("labels.csv", b'"dog, hot","a ""b"".jpg",TRUE\n"dog,a,TRUE\ndog,"a"x,TRUE\ndog,a,FALSE\n')
    assert good(labels_in(url)) == [("dog, hot", 'a "b".jpg', TRUE), ("dog", "a", FALSE)]
    assert bad(labels_in(url)) == [(2, Fault.QUOTES), (3, Fault.QUOTES)]


def test_every_bad_line_has_its_number_and_reason_and_the_others_are_used(write: Write) -> None:
    lines = [
        b"dog,a,TRUE",
        b"dog,\xff,TRUE",
        b"d\0o\0g\0,a,TRUE",
        b"dog,a",
        b"dog,a,TRUE,more",
        b"dog,a,maybe",
        b"dog,,TRUE",
        b"dog," + b"x" * MAX_LINE_BYTES + b",TRUE",
        b"dog,a,TRUE",
    ]
    told = list(labels_in(write("labels.csv", b"\n".join(lines))))
    assert good(told) == [("dog", "a", TRUE)] * 2
    assert bad(told) == [
        (2, Fault.NOT_UTF8),
        (3, Fault.NUL),
        (4, Fault.FIELDS),
        (5, Fault.FIELDS),
        (6, Fault.LABEL),
        (7, Fault.PHOTO_ID),
        (8, Fault.TOO_LONG),
    ]


def test_a_very_long_line_is_one_bad_line(write: Write) -> None:
    url = write("labels.csv", b"x" * (5 * MAX_LINE_BYTES) + b"\ndog,a,1\n")
    assert bad(labels_in(url)) == [(1, Fault.TOO_LONG)]
    assert good(labels_in(url)) == [("dog", "a", TRUE)]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("TRUE true True t yes Y 1 +1 positive POSITIVE", TRUE),
        ("FALSE false F no N 0 -1 negative", FALSE),
        ("unknown Unknown ? null NULL none na", UNKNOWN),
    ],
)
def test_the_words_for_labels_are_known_in_any_case(words: str, value: int) -> None:
    assert {label_value(f" {word} ") for word in words.split()} == {value}


def test_no_word_at_all_is_unknown() -> None:
    assert label_value("") == UNKNOWN


@pytest.mark.parametrize("word", ["2", "maybe", "TRUE FALSE", "tru", "0.5", "-"])
def test_other_words_are_no_labels(word: str) -> None:
    with pytest.raises(FaultError, match=r"empty or one of TRUE: true, t, .*; FALSE: false, f, .*; unknown: "):
        label_value(word)


fields = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(fields, fields, st.sampled_from(["TRUE", "0", ""])), max_size=20), st.booleans())
def test_what_csv_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], tabs: bool) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if tabs else ",", lineterminator="\n").writerows(
        [("label", "class", "photo_id"), *((label, class_text, photo_id) for class_text, photo_id, label in rows)]
    )
    path = tmp_path_factory.getbasetemp() / ("rows.tsv" if tabs else "rows.csv")
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    told = list(labels_in(str(path)))
    assert good(told) == [(one.strip(), id_.strip(), label_value(label)) for one, id_, label in rows if id_.strip()]
    assert {reason for _, reason in bad(told)} <= {Fault.PHOTO_ID}


@given(st.binary(max_size=300))
def test_of_any_bytes_every_line_is_a_label_or_bad(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    assume(not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)))  # its lines end in other bytes
    path.write_bytes(data)
    told = []
    with contextlib.suppress(InputError):  # at the end, if no line was a label
        told.extend(labels_in(str(path)))
        assert good(told) or not told
    numbers = [number for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    assert [line.number for line in told if line.number > 1] == [number for number in numbers if number > 1]


def test_labels_are_read_from_parquet_of_every_type(tmp_path: Path) -> None:
    for number, labels in enumerate(
        [[True, False, None], [1, 0, None], [1.0, -1.0, None], ["TRUE", "no", ""], pa.array([1, -1, None], pa.int8())]
    ):
        classes = pa.array(["dog", "dog", "cat"]).dictionary_encode()
        url = parquet(tmp_path / f"{number}.parquet", photo_id=["a", "b", "c"], label=labels, **{"class": classes})
        assert good(labels_in(url)) == [("dog", "a", TRUE), ("dog", "b", FALSE), ("cat", "c", UNKNOWN)]


def test_bad_rows_of_parquet_are_told_and_the_others_are_used(tmp_path: Path) -> None:
    ids = pa.Array.from_buffers(
        pa.string(), 4, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"a\xffcd")]
    )
    url = parquet(tmp_path / "l.parquet", photo_id=ids, label=["1", "1", "x", "0"], **{"class": ["dog"] * 4})
    assert good(labels_in(url)) == [("dog", "a", TRUE), ("dog", "d", FALSE)]
    assert bad(labels_in(url)) == [(2, Fault.NOT_UTF8), (3, Fault.LABEL)]


def test_parquet_without_the_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class, label is missing"):
        list(labels_in(parquet(tmp_path / "l.parquet", photo_id=["a"])))


def test_a_folder_is_read_as_spark_writes_it(write: Write, tmp_path: Path) -> None:
    write("out.parquet/_SUCCESS", b"")
    write("out.parquet/.hidden.csv", b"rubbish")
    write("out.parquet/part-1.csv", b"cat,b,0\n")
    parquet(tmp_path / "out.parquet/part-0.parquet", photo_id=["a"], label=["1"], **{"class": ["dog"]})
    assert good(labels_in(str(tmp_path / "out.parquet"))) == [("dog", "a", TRUE), ("cat", "b", FALSE)]


def test_labels_are_read_from_wherever_fsspec_reaches() -> None:
    with fsspec.open("memory://inputs/labels.csv.gz", "wb", compression="gzip") as file:
        file.write(b"dog,a,TRUE\n")
    assert good(labels_in("memory://inputs/labels.csv.gz")) == [("dog", "a", TRUE)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.csv.gz", gzip.compress(b"dog,a,TRUE\n" * 10_000)[:-30]),
        ("none.csv.gz", b"dog,a,TRUE\n"),
        ("none.parquet", b"dog,a,TRUE\n"),
        ("empty.parquet", b""),
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}: cannot be read"):
        list(labels_in(str(tmp_path / name)))


@pytest.mark.parametrize("read", [labels_in, photos_in])
def test_an_input_that_is_not_there_is_named(tmp_path: Path, read: Callable[[str], Iterable[Any]]) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv: does not exist"):
        list(read(str(tmp_path / "nothing.csv")))


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file there ends in \.parquet, \.tsv"):
        list(labels_in(str(tmp_path)))


# Photos


def test_a_folders_photos_have_their_paths_as_ids(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "a/x y#%.png", "top.webp", ".hidden/3.jpg", "a/.4.jpg", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert is_photo_folder(str(tmp_path))
    found = list(photos_in(str(tmp_path)))
    assert found == [
        TrainingPhoto("top.webp", (tmp_path / "top.webp").as_uri()),
        TrainingPhoto("a/x y#%.png", (tmp_path / "a").as_uri() + "/x%20y%23%25.png"),
        TrainingPhoto("b/2.JPG", (tmp_path / "b/2.JPG").as_uri()),
    ]


def test_a_photo_whose_name_is_no_text_is_told(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).touch()
    assert bad(photos_in(str(tmp_path))) == [(0, Fault.PHOTO_ID)]


def test_a_folder_elsewhere_is_listed_too() -> None:
    for name in ("dog/1.jpg", "dog/_2.PNG", ".hidden/3.jpg", "notes.txt"):
        with fsspec.open(f"memory://album/{name}", "wb") as file:
            file.write(b"x")
    assert list(photos_in("memory://album")) == [
        TrainingPhoto("dog/1.jpg", "memory://album/dog/1.jpg"),
        TrainingPhoto("dog/_2.PNG", "memory://album/dog/_2.PNG"),
    ]


@pytest.mark.parametrize("name", ["photos.txt", "photos.tsv.gz"])
def test_a_list_names_photos_by_uri_or_path(write: Write, tmp_path: Path, name: str) -> None:
    text = (
        "photo_id uri\n"
        "1 http://example.org/a%20b.jpg\n"
        "a b\tsub/c d.jpg\n"
        "  3   /tmp/x.jpg  \n"
        "\n"
        "4 s3://bucket/x.jpg\n"
        "5\n"
        "\tnothing.jpg\n"
        "6\tc d.jpg\ts3://out/6.json\n"
        "7 e.jpg s3://out/7.json\n"
        "8 with blanks in.jpg\n"
        "9\t\n"
    )
    found = list(photos_in(write(name, text.encode())))
    assert [one for one in found if isinstance(one, TrainingPhoto)] == [
        TrainingPhoto("1", "http://example.org/a%20b.jpg"),
        TrainingPhoto("a b", (tmp_path / "sub/c d.jpg").as_uri()),
        TrainingPhoto("3", "file:///tmp/x.jpg"),
        TrainingPhoto("4", "s3://bucket/x.jpg"),
        TrainingPhoto("6", (tmp_path / "c d.jpg").as_uri()),
        TrainingPhoto("7", (tmp_path / "e.jpg").as_uri()),
    ]
    assert bad(found) == [(7, Fault.FIELDS), (8, Fault.PHOTO_ID), (11, Fault.FIELDS), (12, Fault.URI)]


def test_rubbish_in_a_list_is_told(write: Write) -> None:
    url = write("photos.txt", b"a file:///a.jpg\n\xff\xfe\nb\x01 file:///b.jpg\n" + b"x" * 5000 + b" file:///c.jpg\n")
    assert bad(photos_in(url)) == [(2, Fault.NOT_UTF8), (3, Fault.PHOTO_ID), (4, Fault.PHOTO_ID)]


def test_photos_in_parquet_are_known_by_their_row(tmp_path: Path) -> None:
    url = parquet(tmp_path / "photos.parquet", photo_id=["a", None, "c"], bytes=[b"1", b"2", b"3"])
    found = list(photos_in(url))
    assert [one for one in found if isinstance(one, TrainingPhoto)] == [
        TrainingPhoto("a", row_uri(url, 1)),
        TrainingPhoto("c", row_uri(url, 3)),
    ]
    assert bad(found) == [(2, Fault.PHOTO_ID)]
    assert row_place(row_uri(url, 3)) == (url, 3)


@pytest.mark.parametrize("uri", ["file:///a.jpg", "http://host/a#row=2", "s3://b/a.parquet#row=1"])
def test_what_others_write_is_no_row(uri: str) -> None:
    assert row_place(uri) == ("", 0)


@pytest.mark.parametrize("place", ["parquet-row://tmp/a.parquet#row=1", "parquet-row:/tmp/a.parquet#row=1"])
def test_a_list_cannot_name_a_row(write: Write, tmp_path: Path, place: str) -> None:
    for url in (
        write("list.txt", f"a {place}\n".encode()),
        parquet(tmp_path / "p.parquet", photo_id=["a"], uri=[place]),
    ):
        (found,) = photos_in(url)
        assert isinstance(found, BadLine) or not row_place(found.uri)[0]


def test_a_folder_of_parquet_lists_photos_by_uri(tmp_path: Path) -> None:
    parquet(tmp_path / "out/part-0.parquet", photo_id=[1, 2, 3], uri=["http://x/1", None, "sub/3.jpg"])
    write_photo(tmp_path / "out/4.jpg")
    found = list(photos_in(str(tmp_path / "out")))
    assert found[0] == TrainingPhoto("1", "http://x/1")
    assert found[2] == TrainingPhoto("3", (tmp_path / "out/sub/3.jpg").as_uri())
    assert bad(found) == [(2, Fault.URI)]
    assert not is_photo_folder(str(tmp_path / "out"))


def test_row_groups_with_more_photos_than_can_be_read_are_refused(tmp_path: Path) -> None:
    ids = [str(number) for number in range(GROUP_ROWS + 1)]
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"photo_id": ids, "bytes": [b""] * len(ids)}), path)
    with pytest.raises(InputError, match=f"p.parquet: has a row group of {len(ids)} .*row_group_size of {GROUP_ROWS}"):
        list(photos_in(str(path)))
    pq.write_table(pa.table({"photo_id": ids, "bytes": [b""] * len(ids)}), path, row_group_size=GROUP_ROWS)
    assert len(list(photos_in(str(path)))) == len(ids)


def test_a_row_is_read_without_what_comes_after_it(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    rows = [bytes([number]) * 1000 for number in range(200)]
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(pa.table({"bytes": rows}), path, data_page_size=1000, write_batch_size=10, **options)
    path.write_bytes(path.read_bytes().replace(rows[190], rows[189]))
    cells = list(cells_of(path.open("rb"), str(path), "bytes", [1, 3]))
    assert cells == [rows[0], rows[2]]
    with pytest.raises(InputError, match=r"p\.parquet: cannot be read"):
        list(cells_of(path.open("rb"), str(path), "bytes", [1, 191]))


def test_parquet_that_names_no_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"need the columns photo_id, and bytes or uri\. It has photo_id, name"):
        list(photos_in(parquet(tmp_path / "p.parquet", photo_id=["a"], name=["b"])))


def test_a_photos_folder_names_its_class() -> None:
    photos = [TrainingPhoto("dog/1.jpg", ""), TrainingPhoto("animals/cat/2.jpg", ""), TrainingPhoto("3.jpg", "")]
    told = list(folder_labels(photos, "album"))
    assert good(told) == [("dog", "dog/1.jpg", TRUE), ("cat", "animals/cat/2.jpg", TRUE)]
    assert bad(told) == [(0, Fault.NO_FOLDER)]


# Classes


@pytest.fixture
def names() -> ClassNames:
    table = ClassTable([*CLASS_ROWS, ("n9", "golden retriever", [])])
    return ClassNames(table, {"rex": "Rex", "n3": "Tea pot"})


@pytest.mark.parametrize(
    ("text", "class_id", "name"),
    [
        ("n11", "n11", "dog"),
        ("DOG", "n11", "dog"),
        (" Golden_Retriever ", "n9", "golden retriever"),
        ("teapot", "n3", "Teapot"),
        ("REX", "rex", "Rex"),
        ("Straße", "strasse", "Straße"),
        ("Cafe\u0301", "caf\u00e9", "Caf\u00e9"),
        ("my_cat", "my_cat", "my_cat"),
    ],
)
def test_a_class_is_found_by_id_or_name_or_is_peoples_own(
    names: ClassNames, text: str, class_id: str, name: str
) -> None:
    assert names.id(text) == class_id
    assert names.names[class_id] == name


def test_spellings_of_a_class_are_put_together_and_the_first_is_its_name(names: ClassNames) -> None:
    assert {names.id(text) for text in ("My Cat", "my cat", "MY CAT", "my cat")} == {"my cat"}
    assert names.names["my cat"] == "My Cat"
    assert {names.id(text) for text in ("dog", "n11")} == {"n11"}
    names.id("wolf")
    assert names.spellings == {"my cat": ["MY CAT", "My Cat", "my cat"], "n11": ["dog", "n11"]}


@pytest.mark.parametrize("text", ["", "  ", "x" * 101, "a\tb", "a\x07"])
def test_a_text_that_can_be_no_name_is_refused(names: ClassNames, text: str) -> None:
    with pytest.raises(FaultError, match="a class's name has 1 to 100 printable characters"):
        names.id(text)


def test_a_tag_of_peoples_own_is_the_class_that_has_got_its_name(names: ClassNames) -> None:
    assert names.of_tag("teapot", "teapot") == "n3"
    assert names.of_tag("n-other", "Other") == "n-other"
    assert names.names["n-other"] == "Other"


# What labels come to


def test_contradictions_become_unknown_and_say_their_lines() -> None:
    collector = LabelCollector()
    for number, row in enumerate(
        [("b", "dog", TRUE), ("a", "dog", TRUE), ("b", "dog", UNKNOWN), ("b", "dog", FALSE), ("b", "cat", FALSE)], 1
    ):
        collector.add(*row, number)
    table, contradictions = collector.table()
    assert table.photo_ids == ["a", "b"]
    assert table.class_ids == ["cat", "dog"]
    assert table.photos.tolist() == [0, 1, 1]
    assert table.classes.tolist() == [1, 0, 1]
    assert table.values.tolist() == [TRUE, FALSE, UNKNOWN]
    assert [(one.photo_id, one.class_id, one.lines) for one in contradictions] == [("b", "dog", [1, 3, 4])]


rows = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["dog", "cat", "x"]), st.sampled_from([TRUE, FALSE, UNKNOWN]))
)


@given(rows)
def test_labels_come_to_what_a_plain_loop_says(given_rows: list[tuple[str, str, int]]) -> None:
    said: dict[tuple[str, str], set[int]] = {}
    for photo_id, class_id, value in given_rows:
        said.setdefault((photo_id, class_id), set()).add(value)
    expected = {key: sum(values) for key, values in said.items()}
    table = label_table(*given_rows)
    found = {
        (table.photo_ids[photo], table.class_ids[one]): value
        for photo, one, value in zip(table.photos, table.classes, table.values.tolist(), strict=True)
    }
    assert found == expected
    assert list(found) == sorted(found)


@given(rows, st.randoms())
def test_the_order_of_labels_changes_nothing(given_rows: list[tuple[str, str, int]], random: Any) -> None:
    shuffled = list(given_rows)
    random.shuffle(shuffled)
    assert label_table(*given_rows).digest == label_table(*shuffled).digest


def test_other_labels_have_another_digest() -> None:
    tables = [
        label_table(),
        label_table(("a", "dog", TRUE)),
        label_table(("a", "dog", FALSE)),
        label_table(("a", "cat", TRUE)),
        label_table(("b", "dog", TRUE)),
        label_table(("a", "dog", TRUE), ("b", "dog", TRUE)),
    ]
    assert len({table.digest for table in tables}) == len(tables)


FORMATS = {
    "semicolons.csv": ('class;photo_id;label\r\n"Berg; See";p1;TRUE\r\nÄrmel;p2;nein\r\n', "cp1252"),
    "unicode text.txt": ("class\tphoto_id\tlabel\r\nBerg; See\tp1\tTRUE\r\nÄrmel\tp2\tnein\r\n", "utf-16"),
    "named.csv": ("sep=;\r\nclass;photo_id;label\r\nBerg, See;p1;TRUE\r\nÄrmel;p2;nein\r\n", "utf-8-sig"),
    "wide.tsv": ("class,photo_id,label,,\r\nBerg,p1,TRUE,,\r\nÄrmel,p2,nein,,\r\n", "utf-8"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_labels_are_read_as_spreadsheets_write_them_and_the_format_is_told(name: str, tmp_path: Path) -> None:
    text, encoding = FORMATS[name]
    (tmp_path / name).write_bytes(text.encode(encoding))
    formats: list[str] = []
    told = list(labels_in(str(tmp_path / name), formats))
    assert [(id_, value) for _, id_, value in good(told)] == [("p1", TRUE)]
    assert [reason for _, reason in bad(told)] == [Fault.LABEL]  # "nein" is no word for FALSE
    assert len(formats) == (name != "wide.tsv")


def test_a_file_of_which_nothing_can_be_read_is_refused_with_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "prose.txt").write_text("Regards,\nwe send you all photos of this week.\n")
    for read, wanted in ((labels_in, "class, photo_id, label"), (photos_in, "photo_id uri")):
        with pytest.raises(InputError, match=rf"prose\.txt: no line of it .*{wanted}.*Its first line is 'Regards,'"):
            list(read(str(tmp_path / "prose.txt")))


def test_bytes_that_are_not_of_the_encoding_are_a_bad_line(write: Write) -> None:
    windows = write("windows.csv", b"T\xfclpe;p1;TRUE\r\nT\x81lpe;p2;TRUE\r\n")
    assert good(labels_in(windows)) == [("Tülpe", "p1", TRUE)]
    assert bad(labels_in(windows)) == [(2, Fault.NOT_UTF8)]
    unicode_text = "Tülpe\tp1\tTRUE\r\nT\udc00lpe\tp2\tTRUE\r\n".encode("utf-16", "surrogatepass")
    assert bad(labels_in(write("unicode.txt", unicode_text))) == [(2, Fault.NOT_UTF8)]


def test_a_file_that_is_no_text_is_refused(write: Write) -> None:
    with pytest.raises(
        InputError, match="Its first line cannot be read: has a NUL: the file is not text, or is UTF-16"
    ):
        list(labels_in(write("labels.xlsx", b"PK\3\4" + bytes(range(256)))))


def test_a_list_with_semicolons_has_paths_with_blanks(tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text("p1;/my photos/a.jpg\r\np2;/my photos/b c.jpg\r\n")
    assert list(photos_in(str(tmp_path / "photos.csv"))) == [
        TrainingPhoto("p1", "file:///my%20photos/a.jpg"),
        TrainingPhoto("p2", "file:///my%20photos/b%20c.jpg"),
    ]


# Without control characters, which no table has, and without blanks at the ends, which are not read.
WORD = st.text(st.sampled_from("abzÄöß€ ,;'\""), min_size=1, max_size=10).map(str.strip).filter(bool)


@given(
    st.lists(st.tuples(WORD, WORD), min_size=3, max_size=20),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_table_is_read_back_whatever_program_wrote_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    separator: str,
    encoding: str,
    end: str,
    quotes: bool,
    empty_columns: int,
) -> None:
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quotes else csv.QUOTE_MINIMAL
    table = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    table.writerow(["class", "photo_id", "label", *[""] * empty_columns])
    table.writerows([*row, "TRUE", *[""] * empty_columns] for row in rows)
    data = text.getvalue().encode(encoding)
    if encoding == "cp1252":
        assume(detect_encoding(data)[0] == "cp1252" or data.isascii())
    path = tmp_path_factory.getbasetemp() / "table.txt"
    path.write_bytes(data)
    assert good(labels_in(str(path))) == [(*row, TRUE) for row in rows]


@pytest.mark.parametrize("separator", [";", ",", "\t", " "])
def test_lists_of_photos_may_be_separated_as_tables_are(separator: str, tmp_path: Path) -> None:
    (tmp_path / "photos.csv").write_text(f"photo_id{separator}uri\r\np1{separator}file:///a.jpg\r\n")
    assert list(photos_in(str(tmp_path / "photos.csv"))) == [TrainingPhoto("p1", "file:///a.jpg")]
