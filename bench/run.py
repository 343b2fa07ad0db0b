"""`make bench`: measures tagging beside its alternatives in one run, and writes the table to bench/results.md.

Other programs may use the machine meanwhile. So the two sides of a comparison take turns, several rounds long, and the
round with the median ratio is reported.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from autotag.bundles.build import build_bundle
from autotag.photos.reader import PhotoReader, find_photos
from autotag.settings import PROJECT
from autotag.storage.uri import photo_uri
from autotag.tagging.evaluate import Evaluation, evaluate
from bench import naive, processes, stages, stream
from bench.corpus import with_classifiers
from bench.table import Table, median_round
from models.bundle import Bundle
from models.network import FeatureNetwork

ROUNDS = 3
PHOTOS = PROJECT.parent / "shared/data/photos"


def in_process(table: Table, bundle: Path, photos: list[Path]) -> None:
    """Compare two processes with the sum of the stages, and with the naive way, in turns."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    rounds = []
    for _ in range(ROUNDS):
        both, one = (stages.measure(bundle, photos, processes=cores) for cores in (2, 1))
        rounds.append((both, one, processes.images_per_s(bundle, uris), naive.images_per_s(bundle, photos[:60])))
    (both, one, ours, _), ratio = median_round(rounds, lambda round: round[2] / round[0].allowed_per_s)
    table.add(
        "tagging in 2 processes, 5,000 classifiers: share of what its stages allow",
        f"{ratio}, {ours:.0f} images/s",
        "0.85",
        f"{both.allowed_per_s:.0f} images/s if nothing were lost between the stages, each timed alone on both cores: "
        f"decode {both.decode_ms:.2f}, network {both.network_ms:.2f}, bank {both.bank_ms:.2f} ms. Timed on one core "
        f"while the other rests, the stages allow {one.allowed_per_s:.0f}: {ours / one.allowed_per_s:.2f}",
    )
    (_, _, ours, slow), ratio = median_round(rounds, lambda round: round[2] / round[3])
    table.add(
        "tagging in 2 processes against the naive way",
        f"{ratio} times, {ours:.0f} images/s",
        "4.5 times",
        f"{slow:.0f} images/s: Pillow's full decode, ONNX Runtime's defaults at batch 1, a loop over the classifiers",
    )


def storm(table: Table, bundle: Path, photos: list[Path], folder: Path) -> None:
    """Compare the topology with two processes without Storm, in turns; then measure the latency of an idle topology."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    with stream.topology(bundle, folder) as cluster:
        stream.images_per_s(cluster.settings, uris[:200], "warm")
        rounds = []
        for number in range(ROUNDS):
            plain = processes.images_per_s(bundle, uris)
            rounds.append((stream.images_per_s(cluster.settings, uris, f"round {number}"), plain))
        (ours, plain), ratio = median_round(rounds, lambda round: round[0] / round[1])
        table.add(
            "the real topology with 2 tagger bolts against 2 processes without Storm",
            f"{ratio}, {ours:.0f} images/s",
            "0.80",
            f"{plain:.0f} images/s",
        )
        latencies = stream.latencies_ms(cluster.settings, uris[:200], "idle")
    p50, p95, p99 = (latencies[int(len(latencies) * part)] for part in (0.5, 0.95, 0.99))
    table.add(
        "from push to stored, idle topology, a local file",
        f"p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms",
        "p50 under 100 ms",
        f"{len(latencies)} photos, one at a time",
    )


def growth(table: Table, bundle: Bundle, photos: list[Path], root: Path) -> None:
    """Measure what more classifiers cost: throughput, time to load and memory."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    few, some, many = counts = (1000, 5000, 20_000)
    folders = {count: with_classifiers(bundle, count, root) for count in counts}
    rounds = [{count: processes.images_per_s(folders[count], uris) for count in counts} for _ in range(ROUNDS)]
    rates, ratio = median_round(rounds, lambda round: round[many] / round[few])
    table.add(
        "images/s with 1,000, 5,000 and 20,000 classifiers, 2 processes",
        ", ".join(f"{rates[count]:.0f}" for count in counts),
        "-",
        f"of the rate with 1,000: {rates[some] / rates[few]:.2f} with 5,000, {ratio} with 20,000",
    )
    for count in (few, many):
        alone = processes.footprints(folders[count], 1)[0]
        four = processes.footprints(folders[count], 4)
        table.add(
            f"a bolt's Tagger with {count:,} classifiers: time to load, time to open the bank, memory",
            f"{alone.ready_s:.2f} s, {alone.bank_ms:.1f} ms, {alone.rss_mib:.0f} MiB",
            "bank under 50 ms",
            f"4 processes at once: {sum(one.pss_mib for one in four):.0f} MiB in all (PSS), of which they share much: "
            f"without sharing {sum(one.rss_mib for one in four):.0f} MiB (RSS)",
        )


def precisions(table: Table, bundles: dict[str, Bundle], photos: list[Path], folder: Path, root: Path) -> None:
    """Compare the networks' precisions: accuracy, and throughput of 2 processes with 5,000 classifiers."""
    uris = [photo_uri(str(path)) for path in photos] * 4
    folders = {name: with_classifiers(bundle, 5000, root) for name, bundle in bundles.items()}
    rounds = [{name: processes.images_per_s(folders[name], uris) for name in bundles} for _ in range(ROUNDS)]
    for name, bundle in bundles.items():
        right = accuracy(bundle, folder)
        rates, ratio = median_round(rounds, partial(_ratio, name=name))
        table.add(
            f"{name}: top-1, top-5, and images/s against bf16",
            f"{right.top1:.1%}, {right.top5:.1%}, {ratio} times",
            "90 %, 97 %" if name == "bf16" else "-",
            f"{rates[name]:.0f} against {rates['bf16']:.0f} images/s; the accuracy is optimistic: the photos are like "
            "those that the network was trained on",
        )


def _ratio(rates: dict[str, float], name: str) -> float:
    return rates[name] / rates["bf16"]


def accuracy(bundle: Bundle, folder: Path) -> Evaluation:
    """Return top-1 and top-5 accuracy of a bundle on the labelled photos in `folder`."""
    network = FeatureNetwork.open(bundle.network_path, bundle.precision)
    with PhotoReader(processes.settings_for(bundle.folder), bundle.preprocessing) as reader:
        return evaluate(bundle, network, folder, lambda path: reader.read(photo_uri(str(path))).pixels)


def int8(bundle: Bundle, photos: list[Path], root: Path) -> Bundle:
    """Build the same network in int8, calibrated with a third of the photos."""
    with PhotoReader(processes.settings_for(root), bundle.preprocessing) as reader:
        pixels = (reader.read(photo_uri(str(path))).pixels for path in photos[::3])
        wheels = PROJECT / "build/wheels"
        return build_bundle(precision="int8", root=root / "int8", wheels=wheels, calibration_photos=pixels)


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
    table.write(PROJECT / "bench/results.md", "make bench", f"{len(photos)} photos, {ROUNDS} rounds")


if __name__ == "__main__":
    main()
