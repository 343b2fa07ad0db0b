"""`make bench-train`: training, backfill and swap, each beside its alternative; bench/train.md keeps the last."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier

from autotag.jobs.workers import LocalWorkers, Workers
from autotag.photos.reader import find_photos
from autotag.settings import PROJECT, Settings
from autotag.storage.folder import Folder
from autotag.training.dataset.join import Inputs, join
from autotag.training.dataset.snapshot import Snapshot
from autotag.training.dataset.training_set import TrainingSet
from autotag.training.fit.fit import Training, Wanted, train
from autotag.training.fit.update_sums import part_rows, read_features, update
from bench import backfill, swap
from bench.made_set import Maker, make
from bench.memory import peak_mib
from bench.table import Table
from models.bundle import Bundle
from models.calibration import reliability, uncalibrated
from models.fixed_point import from_fixed
from models.moments import Labels, Statistics
from models.ridge import Solver

CALTECH = PROJECT.parent / "shared/data/caltech101"
CLASSES = 5000
SMALL, LARGE = 200_000, 1_000_000
RIVAL_CLASSES = (10, 300, 1500)
"""Positions in the made set, by frequency, of the classes that one-vs-rest is tried on."""


def nothing(_: str) -> frozenset[str]:
    """Return the classes that contain a class: none."""
    return frozenset()


def joined_set(photos: Path, bundle: Bundle, folder: Path, workers: Workers) -> TrainingSet:
    """Return a training set of photos in folders that are named by their classes."""
    training_set = TrainingSet.open_or_create(Folder(str(folder)), bundle)
    inputs = Inputs(photos=str(photos), labels=(), by_folder=True, exhaustive=False, retry_failed=False, by="bench")
    join(Settings(), bundle, training_set, inputs, workers)
    return training_set


def features_of(training_set: TrainingSet, snapshot: Snapshot) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return all features, int16 [n, d], and the positions of their photos."""
    rows = list(part_rows(snapshot, np.arange(len(snapshot))))
    return np.concatenate([read_features(training_set, one) for one in rows]), np.concatenate([r.places for r in rows])


def caltech(table: Table, bundle: Bundle, folder: Path, root: Path) -> None:
    """Measure on real photos: calibration, and recall and time against logistic regression on the same features."""
    workers = LocalWorkers(2)
    start = time.perf_counter()
    training_set = joined_set(folder / "train", bundle, root / "caltech", workers)
    seconds = time.perf_counter() - start
    test_set = joined_set(folder / "test", bundle, root / "caltech-test", workers)
    test = update(test_set, nothing, workers).sums.snapshot
    done = train(training_set, nothing, Wanted(), workers)
    workers.close()
    photos = len(done.snapshot)
    table.add(
        "Caltech-101, JOIN with the network's features, 2 processes",
        f"{photos / seconds:.0f} photos/s",
        "-",
        f"{photos} photos, {seconds:.1f} s with the start of the processes",
    )
    fixed, places = features_of(training_set, done.snapshot)
    test_fixed, test_places = features_of(test_set, test)
    truth = only_class(done.snapshot)[places]
    test_truth = only_class(test)[test_places]
    test_features = from_fixed(test_fixed, test_set.scale)
    scores = test_features @ done.classifiers.weights + done.classifiers.biases
    ours_s = min(fit_seconds(training_set, done, fixed, places) for _ in range(3))
    features = from_fixed(fixed, training_set.scale)
    rival, rival_s = logistic_regression(features, truth, test_features)
    _, wide_s = logistic_regression(features.astype(np.float64), truth, test_features)
    ours, theirs = mean_recall(scores, test_truth), mean_recall(rival, test_truth)
    table.add(
        "Caltech-101, mean class recall on the test photos, against scikit-learn's logistic regression",
        f"{ours:.4f} against {theirs:.4f}",
        "0.91, and within 0.01",
        f"{photos} photos to train on, {len(test)} to test; C = 0.01, standardised features. "
        "What a refining pass could gain is this difference, so there is none",
    )
    table.add(
        "Caltech-101, statistics and solve against that fit",
        f"{wide_s / ours_s:.1f} times as fast, in float64 as ours; {rival_s / ours_s:.1f} times in float32",
        "10 times",
        f"{ours_s:.2f} s against {wide_s:.2f} and {rival_s:.2f} s, from features in memory; the whole training, "
        f"with regulariser, calibration and quality: {sum(done.seconds.values()):.1f} s",
    )
    calibration(table, done, scores, test_truth)


def only_class(snapshot: Snapshot) -> NDArray[np.int64]:
    """Return the one class of each photo."""
    found = np.empty(len(snapshot), np.int64)
    found[snapshot.rows[snapshot.values == 1]] = snapshot.classes[snapshot.values == 1]
    return found


def fit_seconds(
    training_set: TrainingSet, done: Training, fixed: NDArray[np.int16], places: NDArray[np.int64]
) -> float:
    """Return the seconds of sums and solution, from features in memory."""
    snapshot = done.snapshot
    labels, folds, exhaustive = snapshot.labels_of(places), snapshot.folds(places), snapshot.exhaustive[places]
    start = time.perf_counter()
    statistics = Statistics(training_set.dim, snapshot.class_ids)
    statistics.add(fixed, folds, exhaustive, labels)
    Solver(statistics.moments(training_set.scale, snapshot.closed)).classifiers(done.strength)
    return time.perf_counter() - start


def logistic_regression(
    features: NDArray[np.floating], truth: NDArray[np.int64], test: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float]:
    """Return the scores of the test photos, and the seconds of the fit."""
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - mean) / deviation
    start = time.perf_counter()
    fitted = LogisticRegression(C=0.01, max_iter=1000).fit(standard, truth)
    return fitted.decision_function((test - mean) / deviation), time.perf_counter() - start


def mean_recall(scores: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    best = scores.argmax(axis=1)
    return float(np.mean([(best[truth == class_] == class_).mean() for class_ in np.unique(truth)]))


def calibration(table: Table, done: Training, scores: NDArray[np.float32], truth: NDArray[np.int64]) -> None:
    """Measure calibration and precision at the thresholds on the test photos, which are not in the training set."""
    positive = np.eye(scores.shape[1])[truth].T
    prior = done.positives / np.maximum(done.positives + done.negatives, 1)
    wide = scores.T.astype(np.float64)
    before = uncalibrated(done.classifiers.positive_scores, prior).probabilities(wide)
    after = done.calibration.probabilities(wide)
    errors = [expected_error(each, positive) for each in (before, after)]
    sure = [expected_error(each, positive, least=0.05) for each in (before, after)]
    table.add(
        "Caltech-101, expected calibration error on the test photos, all classes, before and after",
        f"{errors[0]:.5f}, {errors[1]:.5f}",
        "-",
        f"of probabilities of 0.05 and more only: {sure[0]:.3f}, {sure[1]:.3f}; before: what the moments alone say",
    )
    kept = done.kept_classes
    said = after[kept] >= done.calibration.thresholds[kept, None]
    right = said & (positive[kept] == 1)
    table.add(
        "Caltech-101, precision and recall at the thresholds on the test photos",
        f"{right.sum() / said.sum():.3f}, {right.sum() / positive[kept].sum():.3f}",
        f"precision {done.wanted.precision}",
        f"{len(kept)} of {scores.shape[1]} classes are good enough; expected in training: precision "
        f"{np.nanmean(done.quality.precision[kept]):.3f}, recall {done.quality.recall[kept].mean():.3f}",
    )


def expected_error(probabilities: NDArray[np.float64], positive: NDArray[np.float64], least: float = 0.0) -> float:
    chosen = (probabilities >= least).astype(np.float64)
    many, sums, true = reliability(probabilities, positive * chosen, (1 - positive) * chosen).sum(axis=1)
    return float(np.abs(sums - true).sum() / many.sum())


def made(table: Table, bundle: Bundle, root: Path) -> None:
    """Measure time, speed of the arithmetic and memory on large synthetic sets, with one process and with Spark."""
    maker = Maker(CLASSES)
    speed = product_gflops()
    for photos in (SMALL, LARGE):
        folder = Folder(str(root / f"made-{photos}"))
        training_set = make(folder, bundle, maker, photos)
        for name in ("1 process", "Spark local[2]"):
            folder.remove("statistics")
            seconds, peak = peak_mib(name, training_set)
            whole = seconds["statistics"] + seconds["solve"]
            gflops = 2 * photos * training_set.dim**2 / seconds["statistics"] / 1e9
            table.add(
                f"{photos:,} photos, {CLASSES:,} classes: statistics and solve, {name}",
                f"{whole:.1f} s, {peak:.0f} MiB",
                "90 s" if photos == LARGE else "-",
                f"statistics {seconds['statistics']:.1f} s with reading and saving, solve {seconds['solve']:.1f} s; "
                f"{gflops:.0f} GFLOP/s against {speed:.0f} of numpy's X'X in float64 (2 d^2 a photo)",
            )
        if photos == SMALL:
            rest_of_training(table, training_set)
            growing(table, training_set, bundle, maker)
            one_vs_rest(table, training_set)
        shutil.rmtree(root / f"made-{photos}")


def rest_of_training(table: Table, training_set: TrainingSet) -> None:
    """Measure the rest of a training: regulariser, calibration and quality, which score the features again."""
    workers = LocalWorkers(2)
    seconds = train(training_set, nothing, Wanted(), workers).seconds
    workers.close()
    table.add(
        f"{SMALL:,} photos, {CLASSES:,} classes: the rest of a training, statistics being up to date, 2 processes",
        f"{sum(seconds.values()):.0f} s",
        "-",
        ", ".join(f"{name} {each:.1f} s" for name, each in seconds.items()),
    )


def product_gflops() -> float:
    """Return the GFLOP/s of numpy's product of a matrix with itself, counted as 2 n d^2."""
    block = np.random.default_rng(0).integers(0, 3000, (8192, 1280)).astype(np.float64)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        block.T @ block
        seconds.append(time.perf_counter() - start)
    return 2 * block.size * block.shape[1] / min(seconds) / 1e9


def growing(table: Table, training_set: TrainingSet, bundle: Bundle, maker: Maker) -> None:
    """Measure the update of the sums after 1 % more photos."""
    workers = LocalWorkers(1)
    training_set.folder.remove("statistics")
    whole_s = timed(lambda: update(training_set, nothing, workers))
    nothing_s = timed(lambda: update(training_set, nothing, workers))
    make(training_set.folder, bundle, maker, SMALL // 100, SMALL)
    more_s = timed(lambda: update(training_set, nothing, workers))
    table.add(
        f"1 % more photos than {SMALL:,}: of the pass over all",
        f"{(more_s - nothing_s) / (whole_s - nothing_s):.3f}",
        "about 0.01",
        f"{more_s:.1f} s against {whole_s:.1f} s; with no change at all {nothing_s:.1f} s, to read the saved sums",
    )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def one_vs_rest(table: Table, training_set: TrainingSet) -> None:
    """Compare with scikit-learn, one class at a time, on the same photos; a fold that neither saw measures both."""
    snapshot = update(training_set, nothing, LocalWorkers(1)).sums.snapshot
    fixed, places = features_of(training_set, snapshot)
    features = from_fixed(fixed, training_set.scale)
    unseen = snapshot.folds(places) == 0
    statistics = Statistics(training_set.dim, snapshot.class_ids)
    labels = snapshot.labels_of(places)
    statistics.add(fixed, snapshot.folds(places), snapshot.exhaustive[places], labels)
    made = Solver(statistics.moments(training_set.scale, snapshot.closed, without=0)).classifiers(0.1)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    standard = (features - mean) / deviation
    told = []
    seconds: dict[str, list[float]] = {"SGD, 5 epochs": [], "LogisticRegression, 20 iterations": []}
    for class_ in RIVAL_CLASSES:
        truth = labelled(labels, class_, len(places))
        ours = average_precision(features[unseen] @ made.weights[:, class_] + made.biases[class_], truth[unseen])
        theirs = []
        for name, rival in (
            ("SGD, 5 epochs", SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=0)),
            ("LogisticRegression, 20 iterations", LogisticRegression(C=0.01, max_iter=20)),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                seconds[name].append(
                    timed(lambda rival=rival, truth=truth: rival.fit(standard[~unseen], truth[~unseen]))
                )
            theirs.append(average_precision(rival.decision_function(standard[unseen]), truth[unseen]))
        told.append(f"{int(truth.sum())} positives: {ours:.3f} against {theirs[0]:.3f} and {theirs[1]:.3f}")
    hours = {name: np.mean(each) * CLASSES / 3600 for name, each in seconds.items()}
    table.add(
        f"scikit-learn, one class against the rest, {SMALL:,} photos, extrapolated to {CLASSES:,} classes",
        ", ".join(f"{name}: {each:.1f} h" for name, each in hours.items()),
        "-",
        f"average precision on photos not seen, ours first: {'; '.join(told)}",
    )


def labelled(labels: Labels, class_: int, photos: int) -> NDArray[np.bool_]:
    truth = np.zeros(photos, np.bool_)
    truth[labels.rows[(labels.classes == class_) & (labels.values == 1)]] = True
    return truth


def average_precision(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    right = truth[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(right) / np.arange(1, len(right) + 1))[right].mean())


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else CALTECH).resolve()
    if not (folder / "train").is_dir() or not (folder / "test").is_dir():
        sys.exit(f"{folder}: has no train and test with a folder a class: make bench-train TRAIN=FOLDER")
    table = Table()
    bundle = Bundle.open(PROJECT / "build/bundles/default")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PROJECT / "build") as scratch:
        root = Path(scratch)
        caltech(table, bundle, folder, root)
        made(table, bundle, root)
        backfill.measure(table, bundle, list(find_photos(folder)), root)
        swap.measure(table, bundle, list(find_photos(folder)), root)
    table.write(PROJECT / "bench/train.md", "make bench-train", "made data as in bench/made_set.py, Caltech-101 as is")


if __name__ == "__main__":
    main()
