"""Makes the bank "everyday" from the photos that tools/everyday/photos.tsv lists, and docs/everyday.md about it.

    python -m tools.make_everyday SETS

SETS is a folder with the repositories of tools/everyday/sets.tsv, each in a folder named owner+name, at its commit. The
bank is what `autotag join --exhaustive` and `autotag train` make of them, five minutes a network.
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from autotag.bundles.build import RECIPES, build_bundle
from autotag.cli.progress import ProgressBars
from autotag.jobs.workers import open_workers
from autotag.settings import PROJECT, Settings
from autotag.storage.folder import Folder
from autotag.training.dataset.join import Inputs, join
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.fit import Training, Wanted, train
from autotag.training.report.findings import ClassFindings, make_findings
from autotag.training.report.page import thumbnailer, write_report
from models.bank import Sigmoid
from models.classes import CLASSES, ClassTable, is_category
from models.everyday_bank import EVERYDAY, EverydayBank
from models.score_counts import ScoreHistogram
from tools.make_classes import EVERYDAY as FOLDER
from tools.make_classes import read_everyday, read_rows

SETS = FOLDER / "sets.tsv"
PAGE = PROJECT / "docs" / "everyday.md"
TRIES = ((0.97, 0.25), (0.95, 0.1), (0.9, 0.1), (0.8, 0.1))
"""Minimum precision and recall of each class: the first pair that it reaches."""


@dataclass(frozen=True)
class LookedAt:
    """A photo, and what it shows."""

    id: str
    """Its path below the folder of the sets."""
    random: bool
    shows: tuple[str, ...]
    """Names of everyday classes, without those that contain them."""
    arguable: tuple[str, ...]
    """Names of classes that it may be said to show."""


def looked_at() -> Iterator[LookedAt]:
    """Yield the photos of tools/everyday/photos.tsv."""
    folder = ""
    for line in (FOLDER / "photos.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            folder = line.strip("[]")
        elif not line.startswith("#"):
            path, drawn, shows, arguable = line.split("\t")
            names = (tuple(filter(None, text.split(","))) for text in (shows, arguable))
            yield LookedAt(f"{folder}/{path}", drawn == "random", *names)


def learned_classes(classes: ClassTable) -> list[str]:
    """Return the ids of the classes to learn: the everyday classes, and the categories that contain some of them."""
    ids = [one.id for one in read_everyday() if one.learned]
    return ids + sorted({above for id_ in ids for above in classes.ancestors(id_) if is_category(above)} - set(ids))


def write_labels(photos: Sequence[LookedAt], sets: Path, classes: ClassTable, folder: Path) -> tuple[Path, Path]:
    """Write the list of photos and the table of labels that a join reads.

    A photo shows a class, too, if it shows one that the class contains. What is arguable is unknown.
    """
    ids = {one.name: one.id for one in read_everyday()}
    learned = learned_classes(classes)
    listed, labels = folder / "photos.csv", folder / "labels.csv"
    with listed.open("w", newline="") as photo_stream, labels.open("w", newline="") as label_stream:
        photo_table, label_table = csv.writer(photo_stream), csv.writer(label_stream)
        photo_table.writerow(["photo_id", "uri"])
        label_table.writerow(["class", "photo_id", "label"])
        for photo in photos:
            photo_table.writerow([photo.id, (sets / photo.id).as_uri()])
            shown, arguable = (
                {ids[name] for name in names}.union(*(classes.ancestors(ids[name]) for name in names))
                for names in (photo.shows, photo.arguable)
            )
            for id_ in learned:
                label = "TRUE" if id_ in shown else "unknown" if id_ in arguable else "FALSE"
                label_table.writerow([id_, photo.id, label])
    return listed, labels


Chosen = Mapping[str, tuple[Training, ClassFindings]]
"""By class id: the training that the class is taken from, and its findings."""


def learn(network: str, photos: Sequence[LookedAt], sets: Path, scratch: Path, report: Path | None) -> Chosen:
    """Train all classes for a network; with `report`, write a report of the training into that folder."""
    bundle = build_bundle(network, root=scratch / "bundles", wheels=PROJECT / "build/wheels", without=(EVERYDAY,))
    settings = Settings(model=str(scratch / "bundles"), tagger_network_threads=1)
    listed, labels = write_labels(photos, sets, bundle.classes, scratch)
    training_set = TrainingSet.open_or_create(Folder(str(scratch / "training")), bundle)
    inputs = Inputs(photos=str(listed), labels=(str(labels),), by="tools.make_everyday")
    chosen: dict[str, tuple[Training, ClassFindings]] = {}
    with closing(open_workers()) as workers, ProgressBars() as bars:
        join(settings, bundle, training_set, inputs, workers, progress=bars)
        for precision, least_recall in TRIES:
            wanted = Wanted(precision=precision, least_recall=least_recall)
            done = train(training_set, bundle.classes.ancestors, wanted, workers, bars)
            findings = make_findings(done, bundle, EVERYDAY)
            if report and not chosen:
                with thumbnailer(settings, bundle.preprocessing) as thumbnail:
                    write_report(findings, report, thumbnail, bars)
            for one in findings.classes:
                if one.id not in chosen or chosen[one.id][1].left_out:
                    chosen[one.id] = done, one
    return chosen


def bank_of(chosen: Chosen) -> EverydayBank:
    """Return the bank of the classes that are good enough."""
    kept = {id_: (done, one) for id_, (done, one) in chosen.items() if one.left_out is None}
    places = {id_: done.snapshot.class_ids.index(id_) for id_, (done, _) in kept.items()}
    columns = [(done, places[id_]) for id_, (done, _) in kept.items()]
    return EverydayBank(
        class_ids=list(kept),
        weights=np.stack([done.classifiers.weights[:, at] for done, at in columns], axis=1),
        biases=np.array([done.classifiers.biases[at] for done, at in columns], np.float32),
        rule=Sigmoid(
            *(
                np.array([getattr(done.calibration, name)[at] for done, at in columns], np.float32)
                for name in ("slopes", "offsets", "thresholds")
            )
        ),
        quality={id_: one.quality.to_dict() for id_, (_, one) in kept.items()},
        histogram=ScoreHistogram.concatenated([done.histogram.take([at]) for done, at in columns]),
    )


def page(results: Mapping[str, Chosen], photos: Sequence[LookedAt], names: Mapping[str, str]) -> str:
    """Return docs/everyday.md.

    Args:
        results: by network.
        names: display names by class id.
    """
    first, *others = results
    sources = _sources(photos)
    header = ["class", "photos that show it", "do not", "average precision", *(f"{other}" for other in others)]
    header += ["wanted", "threshold", "precision", "recall", "most of its photos are from"]
    kept, left_out = [], []
    for id_ in sorted(results[first], key=lambda id_: (is_category(id_), names[id_].casefold())):
        one = results[first][id_][1]
        quality = one.quality
        row = [names[id_], f"{quality.positives}", f"{quality.negatives}", _figure(quality.average_precision)]
        row += [_figure(results[other][id_][1].average_precision) for other in others]
        if one.left_out:
            left_out.append([*row, one.left_out])
        else:
            wanted = results[first][id_][0].wanted.precision
            row += [f"{wanted:g}", *map(_figure, (quality.threshold, quality.precision, quality.recall))]
            kept.append([*row, sources.get(id_, "")])
    sets = [[row[0].replace("+", "/", 1), *row[1:]] for row in read_rows(SETS)]
    return (
        (FOLDER / "page.md")
        .read_text(encoding="utf-8")
        .format(
            photos=len(photos),
            random=sum(photo.random for photo in photos),
            first=first,
            kept=len(kept),
            all=len(kept) + len(left_out),
            table=_table(header, kept),
            left_out=_table([*header[: 4 + len(others)], "why"], left_out),
            sets=_table(["repository", "commit", "licence that it states", "what it holds", "photos"], sets),
        )
    )


def _sources(photos: Sequence[LookedAt]) -> dict[str, str]:
    """Return the three sets with the most photos of each class, by id."""
    ids = {one.name: one.id for one in read_everyday()}
    counts: dict[str, Counter[str]] = {}
    for photo in photos:
        for name in photo.shows:
            counts.setdefault(ids[name], Counter())[photo.id.partition("/")[0].partition("+")[2]] += 1
    return {id_: ", ".join(f"{name} {count}" for name, count in found.most_common(3)) for id_, found in counts.items()}


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *rows])


@click.command()
@click.argument("sets", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--network", "networks", multiple=True, type=click.Choice(sorted(RECIPES)), default=sorted(RECIPES))
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Folder for reports of the trainings.")
def main(sets: Path, networks: Sequence[str], report: Path | None) -> None:
    """Make the bank for each network from the photos in SETS; for all networks, also the page about it."""
    photos = list(looked_at())
    there = [photo for photo in photos if (sets / photo.id).exists()]
    if len(there) < len(photos):
        raise click.UsageError(f"{sets}: {len(photos) - len(there)} of {len(photos)} photos are missing, see {SETS}")
    results: dict[str, Chosen] = {}
    for network in sorted(networks):
        with tempfile.TemporaryDirectory(prefix="everyday-", dir=PROJECT / "build") as scratch:
            pages = report and report / network
            results[network] = learn(network, photos, sets.resolve(), Path(scratch), pages)
        bank_of(results[network]).write(network)
        kept = sum(not one.left_out for _, one in results[network].values())
        click.echo(f"{network}: {kept} of {len(results[network])} classes")
    if results.keys() == RECIPES.keys():
        classes = ClassTable.open(CLASSES)
        PAGE.write_text(page(results, photos, {id_: classes.name(id_) for id_ in classes.ids}), encoding="utf-8")


if __name__ == "__main__":
    main()
