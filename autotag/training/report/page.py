"""The report of a training: a page with plots, tables and pictures that opens in any browser, from any folder.

index.html       everything but the pictures: no script, style or font comes from elsewhere
findings.json    what `findings.findings` gave
photos/          thumbnails of the photos that the classifiers were most wrong about
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
from autotag.training.report.thumbnails import Thumbnail, thumbnailer, write_thumbnails
from models.compare import WORSE

__all__ = ["thumbnailer", "write_report"]

TEMPLATE, STYLE, SCRIPT = (Path(__file__).with_name(f"report.{ending}") for ending in ("html.j2", "css", "js"))
PICTURED_CLASSES, PICTURES = 300, 2_000
"""Classes whose worst mistakes are shown as pictures, and pictures, at most."""
LISTED = 200
"""Classes in one of the lists above the table of all classes, at most."""
NOTHING = "\N{EN DASH}"
"""In place of a figure that there is none of."""

Class = Mapping[str, Any]


def write_report(found: Mapping[str, Any], folder: Path, thumbnail: Thumbnail, progress: Progress = silent) -> Path:
    """Write a training's report over what stands in the folder, the page last: its path, that of ``index.html``.

    Ended at any moment, it is just written again. The same findings and photos make the same bytes.

    Args:
        found: what `findings.findings` gave, and what else is to stand in ``findings.json``.
        thumbnail: see `thumbnailer`.

    Raises:
        InputError, OSError: the folder cannot be written.
    """
    classes = _judged(found["classes"])
    photos = _pictured(classes)
    names = write_thumbnails(photos, folder / "photos", thumbnail, progress)
    target = Folder(str(folder))
    target.write("findings.json", json.dumps(found, indent=1, allow_nan=False).encode() + b"\n")
    target.write("index.html", _page(found, classes, photos, names).encode())
    return folder / "index.html"


# What changed


def _judged(classes: Iterable[Class]) -> list[dict[str, Any]]:
    """Each class with its change against the bundle in use, the lowest average precision first."""
    judged = [{**one, "change": _change(one), "difference": _difference(one)} for one in classes]
    return sorted(judged, key=lambda one: (_precision_or(one, 2.0), one["name"], one["id"]))


def _change(one: Class) -> str:
    """In a word; empty for a class that is left out and was in no bank."""
    if one["before"] is None:
        return "" if one["left_out"] else "new"
    if one["left_out"]:
        return "lost"
    if one["worse"]:
        return "worse"
    difference = _difference(one)
    return "better" if difference is not None and difference > WORSE else "same"


def _difference(one: Class) -> float | None:
    """Return the gain in average precision; None if one of the two is missing."""
    now, before = one["average_precision"], (one["before"] or {}).get("average_precision")
    return None if now is None or before is None else float(now - before)


def _rise(one: Class) -> float:
    return float(one["difference"] or 0)


def _precision_or(one: Class, otherwise: float) -> float:
    value = one["average_precision"]
    return otherwise if value is None else float(value)


# Pictures


def _pictured(classes: Sequence[Class]) -> dict[str, str]:
    """The photos that become pictures, each once: their URIs by id."""
    photos: dict[str, str] = {}
    for one in _most_telling(classes)[:PICTURED_CLASSES]:
        wanted = {photo["photo_id"]: photo["uri"] for photo in _mistakes(one)}
        if len(photos.keys() | wanted.keys()) > PICTURES:
            break
        photos |= wanted
    return photos


def _most_telling(classes: Sequence[Class]) -> list[Class]:
    """Classes that got worse, then of those left out and those kept one each in turn; always the worst first."""
    fell = sorted((one for one in classes if one["change"] in ("lost", "worse")), key=_rise)
    others = [one for one in classes if one["change"] not in ("lost", "worse") and _mistakes(one)]
    left_out, kept = ([one for one in others if bool(one["left_out"]) is wanted] for wanted in (True, False))
    return fell + [one for one in chain.from_iterable(zip_longest(left_out, kept)) if one is not None]


def _is_pictured(one: Class, names: Mapping[str, str]) -> bool:
    """Return True if each of its mistakes is shown, or listed as unreadable."""
    return bool(_mistakes(one)) and all(photo["photo_id"] in names for photo in _mistakes(one))


def _mistakes(one: Class) -> list[Mapping[str, Any]]:
    return [*one["false"], *one["missed"]]


# The page


def _page(
    found: Mapping[str, Any], classes: Sequence[Class], photos: Mapping[str, str], names: Mapping[str, str]
) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "signed": _signed, "counted": _counted}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=STYLE.read_text(encoding="utf-8"),
        script=SCRIPT.read_text(encoding="utf-8"),
        found=found,
        classes=classes,
        groups=_groups(classes),
        listed=LISTED,
        compared=any(one["before"] is not None for one in classes) or bool(found["gone"]),
        both=_both(classes),
        below_wanted=sum(
            not one["left_out"] and (one["precision"] or 0) < found["wanted"]["precision"] for one in classes
        ),
        plots=_plots(found, classes),
        pictured_classes=sum(_is_pictured(one, names) for one in classes),
        pictures=sum(map(bool, names.values())),
        unreadable=sum(not name for name in names.values()),
        worse_by=WORSE,
        details=_details(classes, photos, names),
    )


def _groups(classes: Sequence[Class]) -> dict[str, list[Class]]:
    """Return the classes in the lists above the table, each list in its order."""
    by_change = {
        change: [one for one in classes if one["change"] == change]
        for change in ("lost", "worse", "better", "same", "new")
    }
    for change, some in by_change.items():
        some.sort(key=_rise, reverse=change == "better")
    left_out = [one for one in classes if one["left_out"]]
    return {**by_change, "left_out": sorted(left_out, key=lambda one: -_precision_or(one, -1.0))}


def _both(classes: Sequence[Class]) -> dict[str, Any]:
    """Return the number of classes with an average precision before and now, and both means."""
    some = [one for one in classes if one["difference"] is not None]
    if not some:
        return {"count": 0}
    now, difference = fmean(one["average_precision"] for one in some), fmean(one["difference"] for one in some)
    return {"count": len(some), "before": now - difference, "now": now}


def _plots(found: Mapping[str, Any], classes: Sequence[Class]) -> dict[str, str]:
    in_use = [*(one["before"] for one in classes if one["before"]), *found["gone"]]
    before = [one["average_precision"] for one in in_use if one.get("average_precision") is not None]
    return {
        "reliability": plots.reliability_plot(found["reliability"]),
        "positives": plots.positives_plot(classes),
        "precision_recall": plots.precision_recall_plot(classes, found["wanted"]),
        "distribution": plots.distribution_plot(classes, before),
    }


def _details(classes: Sequence[Class], photos: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page's script shows of an opened class; photos are listed once and referred to by number."""
    ids = list(dict.fromkeys(photo["photo_id"] for one in classes for photo in _mistakes(one)))
    numbers = {id_: number for number, id_ in enumerate(ids)}

    def places(some: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
        return [[numbers[photo["photo_id"]], _rounded(photo["probability"])] for photo in some]

    return {
        "photos": [[id_, names[id_], _link(photos[id_])] if id_ in names else [id_] for id_ in ids],
        "classes": [
            {
                "threshold": _rounded(one["threshold"]),
                "bins": [[_rounded(value) for value in bin_] for bin_ in one["reliability"]],
                "false": places(one["false"]),
                "missed": places(one["missed"]),
                **({"before": one["before"]} if one["before"] else {}),
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
