"""The report of a training: a page with plots, tables and pictures, for any browser.

index.html       everything but the pictures; it loads no script, style or font from elsewhere
findings.json    `findings.Findings.to_dict`
photos/          thumbnails of the worst mistakes
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined

from autotag.progress import Progress, silent
from autotag.storage.folder import Folder
from autotag.training.report import plots
from autotag.training.report.findings import ClassFindings, Findings, Mistake
from autotag.training.report.thumbnails import Thumbnail, thumbnailer, write_thumbnails
from models.compare import WORSE

__all__ = ["thumbnailer", "write_report"]

TEMPLATE, STYLE, SCRIPT = (Path(__file__).with_name(f"report.{ending}") for ending in ("html.j2", "css", "js"))
PICTURED_CLASSES, PICTURES = 300, 2_000
"""Maximum number of classes whose worst mistakes are shown as pictures, and of pictures."""
LISTED = 200
"""Maximum number of classes in each list above the table of all classes."""
NOTHING = "\N{EN DASH}"
"""Shown in place of a missing figure."""


def write_report(findings: Findings, folder: Path, thumbnail: Thumbnail, progress: Progress = silent) -> Path:
    """Write a training's report over an earlier one in the folder, the page last; return the path of ``index.html``.

    After an interruption, call it again. The same findings and photos make the same bytes.

    Args:
        thumbnail: see `thumbnailer`.

    Raises:
        InputError, OSError: the folder cannot be written.
    """
    classes = sorted(findings.classes, key=lambda one: (_precision_or(one, 2.0), one.name, one.id))
    photos = _pictured(classes)
    names = write_thumbnails(photos, folder / "photos", thumbnail, progress)
    target = Folder(str(folder))
    target.write("findings.json", json.dumps(findings.to_dict(), indent=1, allow_nan=False).encode() + b"\n")
    target.write("index.html", _page(findings, classes, photos, names).encode())
    return folder / "index.html"


def _rise(one: ClassFindings) -> float:
    return one.difference or 0.0


def _precision_or(one: ClassFindings, otherwise: float) -> float:
    return otherwise if one.average_precision is None else one.average_precision


# Pictures


def _pictured(classes: Sequence[ClassFindings]) -> dict[str, str]:
    """Return the URIs, by photo id, of the photos that are shown as pictures."""
    photos: dict[str, str] = {}
    for one in _most_telling(classes)[:PICTURED_CLASSES]:
        wanted = {photo.photo_id: photo.uri for photo in one.mistakes}
        if len(photos.keys() | wanted.keys()) > PICTURES:
            break
        photos |= wanted
    return photos


def _most_telling(classes: Sequence[ClassFindings]) -> list[ClassFindings]:
    """Return the classes that got worse, then left-out and kept ones by turns; the worst of each kind first."""
    fell = sorted((one for one in classes if one.change in ("lost", "worse")), key=_rise)
    others = [one for one in classes if one.change not in ("lost", "worse") and one.mistakes]
    left_out, kept = ([one for one in others if bool(one.left_out) is wanted] for wanted in (True, False))
    return fell + [one for one in chain.from_iterable(zip_longest(left_out, kept)) if one is not None]


def _is_pictured(one: ClassFindings, names: Mapping[str, str]) -> bool:
    """Return True if each of the class's mistakes is shown, or counted as unreadable."""
    return bool(one.mistakes) and all(photo.photo_id in names for photo in one.mistakes)


# The page


def _page(
    findings: Findings, classes: Sequence[ClassFindings], photos: Mapping[str, str], names: Mapping[str, str]
) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "signed": _signed, "counted": _counted}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=STYLE.read_text(encoding="utf-8"),
        script=SCRIPT.read_text(encoding="utf-8"),
        findings=findings,
        classes=classes,
        groups=_groups(classes),
        listed=LISTED,
        compared=any(one.before is not None for one in classes) or bool(findings.gone),
        both=_both(classes),
        below_wanted=sum(
            not one.left_out and (one.quality.precision or 0) < findings.wanted.precision for one in classes
        ),
        plots=_plots(findings, classes),
        pictured_classes=sum(_is_pictured(one, names) for one in classes),
        pictures=sum(map(bool, names.values())),
        unreadable=sum(not name for name in names.values()),
        worse_by=WORSE,
        details=_details(classes, photos, names),
    )


def _groups(classes: Sequence[ClassFindings]) -> dict[str, list[ClassFindings]]:
    """Return the classes in the lists above the table, each list in its order."""
    by_change = {
        change: [one for one in classes if one.change == change]
        for change in ("lost", "worse", "better", "same", "new")
    }
    for change, some in by_change.items():
        some.sort(key=_rise, reverse=change == "better")
    left_out = [one for one in classes if one.left_out]
    return {**by_change, "left_out": sorted(left_out, key=lambda one: -_precision_or(one, -1.0))}


def _both(classes: Sequence[ClassFindings]) -> dict[str, Any]:
    """Return the number of classes with an average precision before and now, and both means."""
    pairs = [
        (one.average_precision, one.difference)
        for one in classes
        if one.average_precision is not None and one.difference is not None
    ]
    if not pairs:
        return {"count": 0}
    now, difference = (fmean(values) for values in zip(*pairs, strict=True))
    return {"count": len(pairs), "before": now - difference, "now": now}


def _plots(findings: Findings, classes: Sequence[ClassFindings]) -> dict[str, str]:
    in_use = [*(one.before for one in classes if one.before), *(one.quality for one in findings.gone)]
    before = [one.average_precision for one in in_use if one.average_precision is not None]
    return {
        "reliability": plots.reliability_plot(findings.reliability),
        "positives": plots.positives_plot(classes),
        "precision_recall": plots.precision_recall_plot(classes, findings.wanted),
        "distribution": plots.distribution_plot(classes, before),
    }


def _details(classes: Sequence[ClassFindings], photos: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the data that the page's script shows of an opened class; it refers to photos by their numbers."""
    ids = list(dict.fromkeys(photo.photo_id for one in classes for photo in one.mistakes))
    numbers = {id_: number for number, id_ in enumerate(ids)}

    def places(mistakes: Iterable[Mistake]) -> list[list[Any]]:
        return [[numbers[photo.photo_id], _rounded(photo.probability)] for photo in mistakes]

    return {
        "photos": [[id_, names[id_], _link(photos[id_])] if id_ in names else [id_] for id_ in ids],
        "classes": [
            {
                "threshold": _rounded(one.quality.threshold),
                "bins": [[_rounded(value) for value in bin_] for bin_ in one.reliability],
                "false": places(one.false),
                "missed": places(one.missed),
                **({"before": one.before.to_dict()} if one.before else {}),
            }
            for one in classes
        ],
    }


def _link(uri: str) -> str:
    """Return the photo's address for a browser; empty if a browser cannot open it."""
    return uri if uri.lower().startswith(("file:", "http:", "https:")) else ""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _figure(value: float | None, digits: int = 3) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _counted(count: int, noun: str, plural: str = "") -> str:
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
