"""`make bench`: every figure beside its alternative from the same run, as one table; bench/results.md keeps the last.

The machines are shared: what is compared is measured in turn, several times over, and the median of the rounds' ratios
is what counts.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from autotag.bundles.build import build_bundle
from autotag.photos.reader import PhotoReader, find_photos, photo_uri
from autotag.settings import PROJECT
from autotag.tagging.evaluate import Evaluation, evaluate
from bench import naive, processes, stages, stream
from bench.corpus import with_classifiers
from bench.table import Table
from models.bundle import Bundle
from models.network import FeatureNetwork

ROUNDS = 3
PHOTOS = PROJECT.parent / "shared/data/photos"


def in_process(table: Table, bundle: Path, photos: list[Path]) -> None:
    """Two processes against what the stages allow and against the naive way, in turns."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    rounds = []
    for _ in range(ROUNDS):
        both, one = (stages.measure(bundle, photos, processes=cores) for cores in (2, 1))
        rounds.append((both, one, processes.images_per_s(bundle, uris), naive.images_per_s(bundle, photos[:60])))
    both, one, ours, slow = rounds[-1]
    table.add(
        "in process, 2 processes, 5,000 classifiers, against what the stages allow",
        f"{_median(ours / both.allowed_per_s for both, _, ours, _ in rounds):.2f} ({ours:.0f} images/s)",
        "0.85",
        f"{both.allowed_per_s:.0f} images/s allowed, each stage alone on both cores at once: "
        f"decode {both.decode_ms:.2f}, network {both.network_ms:.2f}, bank {both.bank_ms:.2f} ms; "
        f"timed on one core only they allow {one.allowed_per_s:.0f}: "
        f"{_median(ours / one.allowed_per_s for _, one, ours, _ in rounds):.2f}",
    )
    table.add(
        "in process against the naive way",
        f"{_median(ours / slow for _, _, ours, slow in rounds):.1f} times",
        "4.5 times",
        f"{slow:.0f} images/s: Pillow's full decode, ONNX Runtime's defaults at batch 1, a loop over the classifiers",
    )


def storm(table: Table, bundle: Path, photos: list[Path], folder: Path) -> None:
    """The topology against two processes without it, in turns; then the latency at idle."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    with stream.topology(bundle, folder) as cluster:
        stream.images_per_s(cluster.settings, uris[:200], "warm")
        rounds = []
        for number in range(ROUNDS):
            plain = processes.images_per_s(bundle, uris)
            rounds.append((stream.images_per_s(cluster.settings, uris, f"round {number}"), plain))
        table.add(
            "through the real topology, 2 autotag bolts, against 2 processes without Storm",
            f"{_median(ours / plain for ours, plain in rounds):.2f} ({rounds[-1][0]:.0f} images/s)",
            "0.80",
            f"{rounds[-1][1]:.0f} images/s",
        )
        found = stream.latencies_ms(cluster.settings, uris[:200], "idle")
    p50, p95, p99 = (found[int(len(found) * part)] for part in (0.5, 0.95, 0.99))
    table.add(
        "from push to stored at idle, a local file",
        f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms",
        "p50 under 100 ms",
        f"{len(found)} photos, one at a time",
    )


def growth(table: Table, bundle: Bundle, photos: list[Path], root: Path) -> None:
    """What more classifiers cost: throughput, ready time and memory."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    counts = (1000, 5000, 20_000)
    folders = {count: with_classifiers(bundle, count, root) for count in counts}
    rates: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(ROUNDS):
        for count, folder in folders.items():
            rates[count].append(processes.images_per_s(folder, uris))
    base = rates[1000]
    table.add(
        "images/s with 1,000, 5,000 and 20,000 classifiers, 2 processes",
        ", ".join(f"{statistics.median(rates[count]):.0f}" for count in counts),
        "-",
        "of the rate with 1,000: "
        + ", ".join(f"{_median(a / b for a, b in zip(rates[count], base, strict=True)):.2f}" for count in counts),
    )
    for count in (1000, 20_000):
        alone = processes.footprints(folders[count], 1)[0]
        four = processes.footprints(folders[count], 4)
        table.add(
            f"a bolt's Tagger with {count:,} classifiers: ready, bank open, memory",
            f"{alone.ready_s:.2f} s, {alone.bank_ms:.1f} ms, {alone.rss_mib:.0f} MiB",
            "bank open under 50 ms",
            f"4 processes at once: {sum(one.pss_mib for one in four):.0f} MiB together (PSS), "
            f"{sum(one.rss_mib for one in four):.0f} MiB if nothing were shared (RSS)",
        )


def precisions(table: Table, bundles: dict[str, Bundle], photos: list[Path], folder: Path, root: Path) -> None:
    """int8 beside bf16: accuracy and throughput, 2 processes, 5,000 classifiers."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    rates: dict[str, list[float]] = {name: [] for name in bundles}
    for _ in range(ROUNDS):
        for name, bundle in bundles.items():
            rates[name].append(processes.images_per_s(with_classifiers(bundle, 5000, root), uris))
    for name, bundle in bundles.items():
        right = accuracy(bundle, folder)
        table.add(
            f"{name}: top-1, top-5, and images/s against bf16",
            f"{right.top1:.1%}, {right.top5:.1%}, "
            f"{_median(a / b for a, b in zip(rates[name], rates['bf16'], strict=True)):.2f} times",
            "90 %, 97 %" if name == "bf16" else "-",
            f"{statistics.median(rates[name]):.0f} images/s; optimistic: photos like the network's training set",
        )


def accuracy(bundle: Bundle, folder: Path) -> Evaluation:
    """Top-1 and top-5 of a bundle on labelled photos."""
    network = FeatureNetwork.open(bundle.network_path, bundle.precision)
    with PhotoReader(processes.settings_for(bundle.folder), bundle.preprocessing) as reader:
        return evaluate(bundle, network, folder, lambda path: reader.read(photo_uri(str(path))).pixels)


def int8(bundle: Bundle, photos: list[Path], root: Path) -> Bundle:
    """The same network in int8, calibrated with a third of the photos."""
    with PhotoReader(processes.settings_for(root), bundle.preprocessing) as reader:
        pixels = (reader.read(photo_uri(str(path))).pixels for path in photos[::3])
        wheels = PROJECT / "build/wheels"
        return build_bundle(precision="int8", root=root / "int8", wheels=wheels, calibration_photos=pixels)


def _median(ratios: Iterable[float]) -> float:
    return statistics.median(ratios)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else PHOTOS).resolve()
    photos = list(find_photos(folder))
    if len(photos) < 60:
        sys.exit(f"{folder}: {len(photos)} photos; give a folder with at least 60: make bench PHOTOS=FOLDER")
    table = Table()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=PROJECT / "build") as scratch:
        root = Path(scratch)
        bundle = Bundle.open(PROJECT / "build/bundles/default")
        large = with_classifiers(bundle, 5000, root)
        in_process(table, large, photos)
        storm(table, large, photos, root / "stream")
        growth(table, bundle, photos, root)
        precisions(table, {"bf16": bundle, "int8": int8(bundle, photos, root)}, photos, folder, root)
    table.write(
        PROJECT / "bench/results.md", "make bench", f"{len(photos)} photos, ratios are medians of {ROUNDS} rounds"
    )


if __name__ == "__main__":
    main()
