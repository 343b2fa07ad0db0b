"""The report of a training: it shows every class, escapes every name, and its size is bounded."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from autotag.errors import InputError
from autotag.settings import Settings
from autotag.training.fit.candidate import ClassQuality
from autotag.training.fit.fit import Wanted
from autotag.training.fit.thresholds import MovedClass, Threshold
from autotag.training.report import page as page_module
from autotag.training.report.findings import (
    CalibrationErrors,
    ChangedPhotos,
    ClassFindings,
    Findings,
    GoneClass,
    LabelCounts,
    LikePhotos,
    MeanQuality,
    Mistake,
    ReliabilityBin,
)
from autotag.training.report.page import thumbnailer, write_report
from autotag.training.report.plots import Axis, Plot
from autotag.training.report.thumbnails import Thumbnail
from models.preprocessing import Preprocessing
from tests.training_sets import GREEN, RED, write_photo

HOSTILE = """</script></style><script>alert(1)</script><img src=x onerror='alert("2")'> & {{ 7 * 7 }} -->"""
VOID = ("meta", "input", "img", "br", "link")


def jpeg(uri: str) -> bytes:
    """Return some bytes for a photo; the page does not look into them."""
    return b"\xff\xd8" + uri.encode()


def photo(name: str, probability: float = 0.4) -> Mistake:
    return Mistake(name, f"file:///photos/{name}", probability)


def one_class(name: str, **changes: Any) -> ClassFindings:
    """Return the findings about a class; `changes` are fields of it and of its quality."""
    measured = {
        "positives": 30,
        "negatives": 970,
        "average_precision": 0.8,
        "threshold": 0.35,
        "precision": 0.91,
        "recall": 0.7,
        "calibration_error": 0.002,
    }
    of_quality = {key: changes.pop(key) for key in measured if key in changes}
    usual: dict[str, Any] = {
        "id": f"id-{name}",
        "name": name,
        "quality": ClassQuality(**{**measured, **of_quality}),
        "left_out": None,
        "reliability": [ReliabilityBin(0.01, 0.02, 900.0), ReliabilityBin(0.85, 0.9, 100.0)],
        "false": [photo(f"{name}-false.jpg")],
        "missed": [photo(f"{name}-missed.jpg", 0.1)],
        "before": None,
    }
    return ClassFindings(**{**usual, **changes})


def left_out(name: str, **changes: Any) -> ClassFindings:
    nothing = {"threshold": None, "precision": None, "recall": 0.0, "left_out": f"{name} is not good enough"}
    return one_class(name, **{**nothing, **changes})


def quality(average_precision: float | None, recall: float | None = 0.5) -> ClassQuality:
    """Return the quality of a class in the bundle in use."""
    return ClassQuality(
        positives=20,
        negatives=900,
        average_precision=average_precision,
        threshold=0.5,
        precision=0.5,
        recall=recall,
        calibration_error=0.5,
    )


def gone(name: str, average_precision: float | None) -> GoneClass:
    return GoneClass(f"id-{name}", name, quality(average_precision))


def findings(classes: Sequence[ClassFindings], **changes: Any) -> Findings:
    """Return the findings of a training with these classes."""
    mean = 0.75 if any(one.left_out is None for one in classes) else None
    usual: dict[str, Any] = {
        "made": "2026-11-21T16:50:22.716331Z",
        "bank": "trained",
        "training_set": "/sets/birds",
        "network": "50ba2019",
        "base": "default/000003-037a7f46bf50",
        "photos": 1000,
        "exhaustive": 1000,
        "changed": ChangedPhotos(added=7, taken_away=1),
        "labels": LabelCounts(true=60, false=5, unknown=2),
        "wanted": Wanted(precision=0.9, least_recall=0.1),
        "strength": 0.03,
        "strengths": {0.01: 0.941, 0.03: 0.9415, 0.1: None},
        "seconds": {"statistics": 0.3, "solve": 1.2},
        "calibration_error": CalibrationErrors(before=0.0021, after=0.0012),
        "reliability": [ReliabilityBin(0.001, 0.0007, 291038.0), ReliabilityBin(0.9, 0.8, 21.0)],
        "mean": MeanQuality(mean, mean, mean),
        "classes": list(classes),
        "gone": [],
    }
    return Findings(**{**usual, **changes})


class Page(HTMLParser):
    """A page as a browser parses it; fails at a tag that is not closed, or closed twice."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.source = (folder / "index.html").read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._shown: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)
            if self._open[-1] not in ("script", "style"):
                self._shown.append(data)

    @property
    def text(self) -> str:
        """The visible text, with single blanks."""
        return " ".join("".join(self._shown).split())

    @property
    def details(self) -> dict[str, Any]:
        """The data about the classes for the page's script."""
        return dict(json.loads(self.texts["script"][0]))


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Page]:
    """Return a function that writes a report of classes and parses its page."""

    def write(classes: Sequence[ClassFindings], thumbnail: Thumbnail = jpeg, **changes: Any) -> Page:
        write_report(findings(classes, **changes), tmp_path / "report", thumbnail)
        return Page(tmp_path / "report")

    return write


class TestPage:
    def test_every_class_is_in_the_table_with_its_figures(self, written: Callable[..., Page]) -> None:
        page = written([one_class("heron", average_precision=0.8125, positives=1234), left_out("owl")])
        cells = page.texts["td"]
        assert {"heron", "owl"} <= set(page.texts["a"])
        assert {"0.812", "1,234", "970", "0.350", "0.910", "0.700", "0.0020"} <= set(cells)
        assert "owl is not good enough" in page.texts["span"]
        assert "1 of 2 classes is good enough." in page.text

    def test_names_are_text_wherever_they_stand(self, written: Callable[..., Page]) -> None:
        usual = written([one_class("a", before=quality(0.9)), left_out("b")], gone=[])
        classes = [
            one_class(HOSTILE, before=quality(0.9), false=[photo(HOSTILE)]),
            left_out("b", left_out=HOSTILE),
        ]
        places = dict.fromkeys(("bank", "training_set", "network", "base"), HOSTILE)
        page = written(classes, gone=[], **places)
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in usual.tags]
        assert page.texts["a"].count(HOSTILE) == 2  # of those that got worse, and of all
        assert HOSTILE in page.texts["td"]  # why it is left out
        assert f"id-{HOSTILE}" in page.texts["span"]
        assert page.details["photos"][0][0] == HOSTILE
        assert not [attributes for _, attributes in page.tags if "onerror" in attributes]

    def test_a_photo_is_a_link_only_where_a_browser_may_go(self, written: Callable[..., Page]) -> None:
        uris = ["javascript:alert(1)", "s3://bucket/a.jpg", "parquet-row:/rows.parquet#row=3", "https://host/a.jpg"]
        photos = [Mistake(uri, uri, 0.5) for uri in uris]
        found = {id_: link for id_, _, link in written([one_class("a", false=photos, missed=[])]).details["photos"]}
        assert found == {**dict.fromkeys(uris, ""), "https://host/a.jpg": "https://host/a.jpg"}

    def test_figures_that_there_are_none_of_are_dashes(self, written: Callable[..., Page]) -> None:
        names = ("average_precision", "threshold", "precision", "recall", "calibration_error")
        nothing: dict[str, Any] = dict.fromkeys(names)
        page = written(
            [
                one_class("kept", before=quality(None, recall=None)),
                left_out("empty", positives=0, reliability=[], false=[], missed=[], **nothing),
            ],
            gone=[gone("old", None)],
            reliability=[],
        )
        in_lists, changes, in_strengths = 1, 2, 1
        assert page.texts["td"].count(page_module.NOTHING) == len(names) + in_lists + changes + in_strengths
        assert page.details["classes"][1]["bins"] == []

    def test_where_no_class_is_kept_the_page_says_so(self, written: Callable[..., Page]) -> None:
        page = written([left_out("a"), left_out("b")])
        assert "No class is good enough. There is nothing to publish" in page.text
        assert {"a is not good enough", "b is not good enough"} <= set(page.texts["td"])

    def test_without_a_bank_to_compare_with_the_page_says_so(self, written: Callable[..., Page]) -> None:
        page = written([one_class("a")])
        assert "to compare with. All classes that are kept are new." in page.text
        assert "Change" not in page.texts["th"]

    def test_what_got_worse_is_listed_by_how_much(self, written: Callable[..., Page]) -> None:
        classes = [
            one_class("worse", average_precision=0.8, before=quality(0.85)),
            one_class("much worse", average_precision=0.85, before=quality(0.99)),
            left_out("out of use", before=quality(0.8)),
            one_class("better", before=quality(0.7)),
            one_class("same", before=quality(0.79)),
            one_class("new"),
        ]
        page = written(classes, gone=[gone("forgotten", 0.66)])
        assert page.texts["a"][: page.texts["a"].index("better")][-3:] == ["out of use", "much worse", "worse"]
        assert "3 worse, 1 better, 1 about the same, 1 new, 1 gone." in page.text
        assert "3 classes got worse than in the bundle in use." in page.text
        assert "forgotten" in page.texts["span"]
        assert "(0.660)" in page.text
        rows = {attributes["id"]: attributes["class"] for tag, attributes in page.tags if tag == "tr" and attributes}
        assert sorted(map(str, rows.values())) == [
            "kept better",
            "kept fell",
            "kept fell",
            "kept new",
            "kept same",
            "left-out fell",
        ]

    def test_nothing_is_loaded_from_elsewhere(self, written: Callable[..., Page]) -> None:
        page = written([one_class("a")])
        assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "form"} == set()
        assert not [attributes["src"] for _, attributes in page.tags if "src" in attributes]
        links = {str(attributes["href"]) for _, attributes in page.tags if "href" in attributes}
        assert all(link.startswith("#") or link == "findings.json" for link in links)
        assert "default-src 'none'" in page.source
        assert {str(a["href"])[1:] for t, a in page.tags if t == "a" and str(a["href"]).startswith("#")} <= {
            str(attributes.get("id")) for _, attributes in page.tags
        }

    def test_five_thousand_classes_are_all_there_in_a_page_of_bounded_size(self, tmp_path: Path) -> None:
        def mistakes(kind: str, at: int) -> list[Mistake]:
            return [photo(f"some-folder/{kind}-{at}-{number}.jpg") for number in range(6)]

        bins = [ReliabilityBin(round(n / 10 + 0.0123, 6), round(n / 11, 6), 1000.5) for n in range(10)]
        classes = [
            (left_out if at % 5 == 0 else one_class)(
                f"class {at}",
                average_precision=at / 5000,
                reliability=bins,
                false=mistakes("false", at),
                missed=mistakes("missed", at),
                before=quality(0.5) if at % 2 else None,
            )
            for at in range(5000)
        ]
        write_report(
            findings(classes, gone=[gone(f"gone {n}", 0.5) for n in range(1000)]),
            tmp_path,
            jpeg,
        )
        page = Page(tmp_path)
        assert {one.name for one in classes} <= set(page.texts["a"])
        assert {f"gone {n}" for n in range(1000)} <= set(page.texts["span"])
        assert len(page.source) < 10_000_000
        pictures = len(list((tmp_path / "photos").iterdir()))
        assert page_module.PICTURES - 12 < pictures <= page_module.PICTURES
        assert f"{pictures:,} photos are shown as pictures, those of the {pictures // 12} classes" in page.text
        assert len(page.details["classes"]) == 5000


class TestPictures:
    def test_each_photo_is_asked_for_once(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def thumbnail(uri: str) -> bytes:
            asked.append(uri)
            return jpeg(uri)

        shared = [photo("shared.jpg"), photo("b.jpg")]
        classes = [one_class("a", false=shared), one_class("b", false=shared, missed=[photo("shared.jpg")])]
        write_report(findings(classes), tmp_path, thumbnail)
        assert sorted(asked) == [f"file:///photos/{name}" for name in ("a-missed.jpg", "b.jpg", "shared.jpg")]
        named = {id_: file for id_, file, _ in Page(tmp_path).details["photos"]}
        assert set(named) == {"a-missed.jpg", "b.jpg", "shared.jpg"}
        for id_, file in named.items():
            assert (tmp_path / "photos" / file).read_bytes() == jpeg(f"file:///photos/{id_}")

    def test_a_photo_that_cannot_be_read_any_more_is_said_to_be_so(self, written: Callable[..., Page]) -> None:
        page = written([one_class("a")], lambda uri: None if "false" in uri else jpeg(uri))
        assert "1 photo could not be read any more." in page.text
        assert {id_: bool(file) for id_, file, _ in page.details["photos"]} == {
            "a-false.jpg": False,
            "a-missed.jpg": True,
        }

    def test_the_worst_classes_have_the_pictures(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page_module, "PICTURED_CLASSES", 3)
        classes = [
            one_class("good", average_precision=0.99),
            one_class("poor", average_precision=0.6),
            left_out("hopeless", average_precision=0.2),
            left_out("nearly", average_precision=0.5),
            one_class("fell", average_precision=0.9, before=quality(0.95)),
        ]
        write_report(findings(classes), tmp_path, jpeg)
        shown = {one[0].partition("-")[0] for one in Page(tmp_path).details["photos"] if len(one) == 3}
        assert shown == {"fell", "hopeless", "poor"}

    def test_how_many_are_done_is_told(self, tmp_path: Path) -> None:
        told: list[tuple[str, int, int | None]] = []
        write_report(findings([one_class("a")]), tmp_path, jpeg, lambda *one: told.append(one))
        assert told == [("thumbnails", 0, 2), ("thumbnails", 1, 2), ("thumbnails", 2, 2)]


class TestFolder:
    def test_the_same_findings_make_the_same_bytes(self, tmp_path: Path) -> None:
        classes = [one_class(f"c{at}", positives=at + 1, before=quality(0.1 + at / 100)) for at in range(80)]
        written = []
        for folder in (tmp_path / "one", tmp_path / "other"):
            assert write_report(findings(classes), folder, jpeg) == folder / "index.html"
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            written.append([(str(path.relative_to(folder)), path.read_bytes()) for path in paths])
        assert written[0] == written[1]
        assert [name for name, _ in written[0]][:2] == ["findings.json", "index.html"]

    def test_the_findings_are_beside_the_page(self, tmp_path: Path) -> None:
        found = findings([one_class(HOSTILE)], version="037a7f46")
        write_report(found, tmp_path, jpeg)
        assert json.loads((tmp_path / "findings.json").read_text()) == json.loads(json.dumps(found.to_dict()))
        assert json.loads((tmp_path / "findings.json").read_text())["classes"][0] == {
            "id": f"id-{HOSTILE}",
            "name": HOSTILE,
            "positives": 30,
            "negatives": 970,
            "average_precision": 0.8,
            "threshold": 0.35,
            "precision": 0.91,
            "recall": 0.7,
            "calibration_error": 0.002,
            "frequency": None,
            "trained_frequency": None,
            "left_out": None,
            "reliability": [[0.01, 0.02, 900.0], [0.85, 0.9, 100.0]],
            "false": [asdict(photo(f"{HOSTILE}-false.jpg"))],
            "missed": [asdict(photo(f"{HOSTILE}-missed.jpg", 0.1))],
            "before": None,
            "worse": False,
        }

    def test_classes_whose_threshold_moved_are_listed_with_what_it_gives(self, tmp_path: Path) -> None:
        before, after = Threshold(0.44, 0.31, 0.524, 0.93), Threshold(0.045, None, None, 0.0)
        moved = [MovedClass(f"id-{HOSTILE}", HOSTILE, before, after)]
        like = LikePhotos(HOSTILE, 1000, moved)
        found = findings([one_class(HOSTILE, trained_frequency=0.44)], like=like)
        page = write_report(found, tmp_path, jpeg).read_text()
        assert "Thresholds for your photos" in page
        assert HOSTILE not in page
        assert "<td>0.4400</td><td>0.0450</td><td>0.310</td>" in page
        assert json.loads((tmp_path / "findings.json").read_text())["like"] == like.to_dict()
        usual = write_report(findings([one_class("a")]), tmp_path, jpeg).read_text()
        assert "Thresholds for your photos" not in usual

    def test_a_report_that_was_not_finished_is_just_written_again(self, tmp_path: Path) -> None:
        def killed(uri: str) -> bytes:
            if "missed" in uri:
                raise KeyboardInterrupt
            return jpeg(uri)

        with pytest.raises(KeyboardInterrupt):
            write_report(findings([one_class("old")]), tmp_path, killed)
        assert not (tmp_path / "index.html").exists()
        write_report(findings([one_class("new")]), tmp_path, jpeg)
        assert {path.name for path in (tmp_path / "photos").iterdir()} == {
            hashlib.sha256(f"new-{kind}.jpg".encode()).hexdigest()[:32] + ".jpg" for kind in ("false", "missed")
        }

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises((InputError, OSError), match="file"):
            write_report(findings([one_class("a")]), tmp_path / "file", jpeg)


class TestThumbnailer:
    PREPROCESSING = Preprocessing(size=224, resize_short_side=256, interpolation="hamming")

    def test_photos_become_small_jpegs_wherever_they_are(self, tmp_path: Path, settings: Settings) -> None:
        green = write_photo(tmp_path / "green.png", GREEN)
        rows = [b"no photo", write_photo(tmp_path / "red.png", RED).read_bytes()]
        pq.write_table(pa.table({"photo_id": ["a", "b"], "bytes": rows}), tmp_path / "rows.parquet")
        with thumbnailer(settings, self.PREPROCESSING) as thumbnail:
            made = [thumbnail(green.as_uri()), thumbnail(f"parquet-row:{tmp_path}/rows.parquet#row=2")]
        for data, colour in zip(made, (GREEN, RED), strict=True):
            assert data is not None
            with Image.open(io.BytesIO(data)) as picture:
                assert (picture.format, picture.size) == ("JPEG", (112, 112))
                assert math.dist(picture.getpixel((56, 56)), colour) < 10  # type: ignore[arg-type]

    def test_what_cannot_be_read_is_no_picture(self, tmp_path: Path, settings: Settings) -> None:
        pq.write_table(pa.table({"photo_id": ["a"], "bytes": [b"no photo"]}), tmp_path / "rows.parquet")
        (tmp_path / "text.jpg").write_text("no photo")
        rows = tmp_path / "rows.parquet"
        uris = ["", "file:///nowhere.jpg", (tmp_path / "text.jpg").as_uri(), "gopher://host/a", "s3n://host/a.jpg"]
        uris += [f"parquet-row:{rows}#row={row}" for row in (1, 2)] + [f"parquet-row:{tmp_path}/none.parquet#row=1"]
        with thumbnailer(settings, self.PREPROCESSING) as thumbnail:
            assert [thumbnail(uri) for uri in uris] == [None] * len(uris)


class TestPlot:
    def test_a_logarithmic_axis_has_its_powers_at_equal_distances(self) -> None:
        axis = Axis("positives", 1, 10_000, (1, 100, 10_000), logarithmic=True)
        assert [axis.place(value) for value in (0, 1, 10, 100, 10_000, 10**6)] == [0, 0, 0.25, 0.5, 1, 1]

    def test_dots_that_fall_together_are_one_stronger_dot(self) -> None:
        plot = Plot("dots", Axis("x"), Axis("y"))
        plot.dots([(0.5, 0.5)] * 7 + [(0.1, 0.1)], "kept")
        assert [mark.count("h0") for mark in plot.marks] == [1, 1]
        assert ["many" in mark for mark in plot.marks] == [False, True]

    def test_the_bars_of_a_histogram_count_the_classes(self, written: Callable[..., Page]) -> None:
        page = written([one_class("a", average_precision=1.0), one_class("b", average_precision=0.99), left_out("c")])
        bars = [attributes for tag, attributes in page.tags if tag == "rect"]
        assert sorted(str(bar["class"]) for bar in bars) == ["kept", "left-out"]
        heights = {str(bar["class"]): float(str(bar["height"])) for bar in bars}
        assert heights["kept"] == pytest.approx(2 * heights["left-out"], abs=0.2)
