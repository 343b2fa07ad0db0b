"""`make bench-tags`: how good the tags of ordinary photos are, before and after, and what they cost; bench/tags.md.

"Before" is the same bundle without the bank "everyday" (`autotag model build --without everyday`); the two take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from autotag.bundles.build import build_bundle
from autotag.photos.reader import PhotoError, find_photos
from autotag.photos.source import PhotoSource
from autotag.settings import PROJECT
from autotag.storage.uri import photo_uri
from autotag.tagging.tagger import Tagger
from bench import processes
from bench.run import accuracy
from bench.table import Table, median_round
from models.bundle import Bundle, Tag
from models.classes import ClassTable, is_category
from models.everyday_bank import EVERYDAY

ROUNDS = 5
DATA = PROJECT.parent / "shared/data"
BEFORE, AFTER = "without everyday", "with everyday"
MARKS = {"covered_%": "92", "without_tags_%": "at most 4", "tags_right_%": "90", "helpful_tags_a_photo": "2.2"}
"""Figures of grade.py, and what they are to reach."""
MIXED = {
    "airplane": ("airplanes",),
    "motorcycle": ("Motorbikes",),
    "boat": ("ferry", "ketch", "schooner"),
    "chair": ("chair", "windsor_chair"),
    "flower": ("sunflower", "water_lilly", "lotus"),
}
"""Everyday classes, and the folders of Caltech-101 whose photos show them."""


def tagged(bundle: Path, photos: Sequence[Path]) -> list[tuple[Tag, ...]]:
    """Return the tags of each photo; none for one that cannot be read."""
    with Tagger.open(processes.settings_for(bundle), PhotoSource(any_file=True)) as tagger:
        answers = tagger.tag(photo_uri(str(path)) for path in photos)
        return [() if isinstance(tags, PhotoError) else tuple(tags) for _, tags in answers]


def graded(bundle: Path, everyday: Path) -> dict[str, float]:
    """Return what grade.py in the folder says of the tags of its photos."""
    photos = list(find_photos(everyday / "photos"))
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as lines:
        for path, tags in zip(photos, tagged(bundle, photos), strict=True):
            named = [{"name": tag.name, "score": tag.score} for tag in tags if not is_category(tag.id)]
            lines.write(json.dumps({"photo": str(path), "tags": named}) + "\n")
        lines.flush()
        command = [sys.executable, everyday / "grade.py", lines.name]
        return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def ordinary(table: Table, bundles: Mapping[str, Path], everyday: Path) -> None:
    """Grade the tags of ordinary photos."""
    before, after = (graded(bundles[name], everyday) for name in (BEFORE, AFTER))
    for figure, mark in MARKS.items():
        about = "grade.py's list of what each photo shows is not complete" if figure == "tags_right_%" else ""
        subject = f"{after['photos']} ordinary photos: {figure.replace('_', ' ')}"
        table.add(subject, f"{after[figure]}", mark, f"{before[figure]} {BEFORE}. {about}".strip())


def classes_kept(table: Table, bundles: Mapping[str, Path], photos: Path, caltech: Path) -> None:
    """Compare top-1 and top-5 on ImageNet photos, and the share of photos that get the tag of their label."""
    before, after = (accuracy(Bundle.open(bundles[name]), photos) for name in (BEFORE, AFTER))
    was = f"{before.top1:.1%}, {before.top5:.1%} {BEFORE}"
    table.add(f"{after.photos} ImageNet photos: top-1, top-5", f"{after.top1:.1%}, {after.top5:.1%}", "no worse", was)
    for folder, name in ((photos, "ImageNet"), (caltech, "Caltech-101")):
        was_found, found = (_share_found(bundles[one], folder) for one in (BEFORE, AFTER))
        table.add(
            f"{name} photos that get the tag of their label", f"{found:.1%}", "no worse", f"{was_found:.1%} {BEFORE}"
        )


def _share_found(bundle: Path, folder: Path) -> float:
    """Return the share of photos with a tag that is their label, or that the label contains or is contained in."""
    classes = Bundle.open(bundle).classes
    labels = {path: _label(path, classes) for path in find_photos(folder)}
    photos = [path for path, label in labels.items() if label]
    found = 0
    for path, tags in zip(photos, tagged(bundle, photos), strict=True):
        label = str(labels[path])
        found += any(tag.id == label or label in classes.ancestors(tag.id) for tag in tags)
    return found / len(photos)


def _label(path: Path, classes: ClassTable) -> str | None:
    wnid = path.name.partition("_")[0]
    return wnid if wnid in classes else classes.find(path.parent.name.replace("_", " "))


def other_mix(table: Table, bundle: Path, caltech: Path) -> None:
    """Show what `autotag model fit-thresholds` does where classes are as frequent as nowhere in the training photos."""
    with tempfile.TemporaryDirectory(prefix="fit-", dir=PROJECT / "build") as scratch:
        command = [PROJECT / ".venv/bin/autotag", "-o", f"autotag.model={bundle}", "model", "fit-thresholds", "--json"]
        command += ["--like", caltech / "train", "--out", scratch]
        answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        photos = list(find_photos(caltech / "test"))
        rows = [_precision(one, photos) for one in (bundle, Path(answer["bundle"]))]
    (precision, recall), (fitted_precision, fitted_recall) = rows
    table.add(
        f"{len(MIXED)} everyday classes on {len(photos)} Caltech-101 photos: precision, recall after fit-thresholds",
        f"{fitted_precision:.1%}, {fitted_recall:.1%}",
        "-",
        f"{precision:.1%}, {recall:.1%} before. {', '.join(MIXED)}; fitted on the unlabelled photos of its other half",
    )


def _precision(bundle: Path, photos: Sequence[Path]) -> tuple[float, float]:
    said = right = there = 0
    for path, tags in zip(photos, tagged(bundle, photos), strict=True):
        names = {tag.name for tag in tags}
        for name, folders in MIXED.items():
            shows = path.parent.name in folders
            there += shows
            said += name in names
            right += shows and name in names
    return right / max(said, 1), right / there


def rubbish(folder: Path) -> dict[str, list[Path]]:
    """Make pictures that show nothing, and return them by kind."""
    rng = np.random.default_rng(1)

    def noise(_: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, (480, 640, 3), np.uint8)

    def flat(number: int) -> NDArray[np.uint8]:
        return np.full((480, 640, 3), (0, 255, 128, 30, 220)[number % 5], np.uint8)

    def gradient(number: int) -> NDArray[np.uint8]:
        ramp = np.linspace(0, 255, 640)[None, :, None] * np.array([number % 3, 1, (number + 1) % 2])
        return np.broadcast_to(ramp.clip(0, 255), (480, 640, 3)).astype(np.uint8)

    def text(number: int) -> NDArray[np.uint8]:
        image = Image.new("RGB", (640, 480), "white" if number % 2 else "black")
        draw = ImageDraw.Draw(image)
        for line in range(6):
            draw.text((40, 40 + 60 * line), f"WHEN LINE {line} OF {number} ENDS", "black" if number % 2 else "white")
        return np.asarray(image)

    def shapes(number: int) -> NDArray[np.uint8]:
        image = Image.new("RGB", (640, 480), "white")
        draw = ImageDraw.Draw(image)
        for _ in range(4 + number):
            x, y = (int(one) for one in rng.integers(0, 400, 2))
            draw.ellipse((x, y, x + 150, y + 100), outline="black", width=3)
        return np.asarray(image)

    def clouds(_: int) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(noise(0)).filter(ImageFilter.GaussianBlur(24)))

    kinds: dict[str, Callable[[int], NDArray[np.uint8]]] = {
        "noise": noise,
        "one colour": flat,
        "gradients": gradient,
        "lines of text": text,
        "drawn ellipses": shapes,
        "blurred noise": clouds,
    }
    made: dict[str, list[Path]] = {}
    for kind, make in kinds.items():
        for number in range(10):
            path = folder / f"{kind} {number}.png"
            Image.fromarray(make(number)).save(path)
            made.setdefault(kind, []).append(path)
    return made


def nonsense(table: Table, bundles: Mapping[str, Path], folder: Path) -> None:
    """Count the tags of pictures that show nothing."""
    for kind, pictures in rubbish(folder).items():
        counts = {
            name: [[tag.name for tag in tags if not is_category(tag.id)] for tags in tagged(bundles[name], pictures)]
            for name in (BEFORE, AFTER)
        }
        before, after = (sum(map(len, counts[name])) / len(pictures) for name in (BEFORE, AFTER))
        names = sorted({name for tags in counts[AFTER] for name in tags})
        table.add(f"tags a picture: {kind}", f"{after:.1f}", "few", f"{before:.1f} {BEFORE}. {', '.join(names)}")


def speed(table: Table, bundles: Mapping[str, Path], photos: Sequence[Path]) -> None:
    """Compare the throughput of two processes."""
    uris = [photo_uri(str(path)) for path in photos] * 3
    rounds = []
    for number in range(ROUNDS):
        order = (BEFORE, AFTER) if number % 2 else (AFTER, BEFORE)
        rates = {name: processes.images_per_s(bundles[name], uris) for name in order}
        rounds.append((rates[AFTER], rates[BEFORE]))
    (after, before), ratio = median_round(rounds, lambda rates: rates[0] / rates[1])
    table.add("images/s in 2 processes", f"{ratio}, {after:.0f}", "0.98", f"{before:.0f} {BEFORE}")


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else DATA).resolve()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PROJECT / "build") as scratch:
        bundles = {}
        for name, without in ((BEFORE, (EVERYDAY,)), (AFTER, ())):
            root = Path(scratch, name.replace(" ", "-"))
            bundles[name] = build_bundle(root=root, wheels=PROJECT / "build/wheels", without=without).folder
        ordinary(table, bundles, data / "everyday")
        classes_kept(table, bundles, data / "photos", data / "caltech101/test")
        other_mix(table, bundles[AFTER], data / "caltech101")
        pictures = Path(scratch, "pictures")
        pictures.mkdir()
        nonsense(table, bundles, pictures)
        speed(table, bundles, list(find_photos(data / "photos")))
    table.write(PROJECT / "bench/tags.md", "make bench-tags", f"{ROUNDS} rounds")


if __name__ == "__main__":
    main()
