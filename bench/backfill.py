"""Backfill against as many processes without it, in turns, on this machine and on Spark; and what going on costs."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autotag.jobs.backfill import CHUNK_PHOTOS, Backfill, JobSummary
from autotag.jobs.photo_list import ListedPhotos
from autotag.jobs.spark import SparkWorkers
from autotag.jobs.workers import LocalWorkers, Workers
from autotag.storage.folder import Folder
from autotag.storage.uri import photo_uri
from autotag.stores import open_store
from autotag.view.results import ModelVersion
from bench import processes
from bench.table import Table
from models.bundle import Bundle

ROUNDS = 7
"""Short ones: what else the machine does is then more often the same for what is compared."""
MEASURED = 2048
"""Photos of each round: whole chunks, as many for each process."""
PROCESSES = 2
LISTED = 1_000_000
"""Photos of the list that is only cut, and opened again."""


class Bench:
    """A list of photos, and jobs that tag it."""

    def __init__(self, bundle: Bundle, uris: Sequence[str], folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.photos = len(uris)
        self._model = str(ModelVersion.of(bundle))
        self._settings = replace(processes.settings_for(bundle.folder), store=f"sqlite:{folder}/store.db")
        self._list = folder / "list.txt"
        self._list.write_text("".join(f"p{number} {uri}\n" for number, uri in enumerate(uris)))

    def job(self, name: str) -> Backfill:
        """The job in a folder of this name, begun or opened."""
        corpus = ListedPhotos(str(self._list), open_store(self._settings), "bench", "2026-01-31T12:00:00Z")
        return Backfill(Folder(str(self.folder / name)), corpus, self._model)

    def run(self, name: str, workers: Workers) -> JobSummary:
        """Do what is left of a job; where it stands."""
        job = self.job(name)
        states = list(job.run(workers, self._settings))  # each is the same one, kept up to date
        summary = states[-1] if states else job.summary()
        if summary.failures.total():
            raise ValueError(f"photos failed: {summary.failures}")
        return summary


def measure(table: Table, bundle: Bundle, photos: Sequence[Path], root: Path) -> None:
    """Add backfill's rates and the costs of going on to the table; some minutes.

    Args:
        photos: of which `MEASURED` are tagged, evenly spread, if there are so many; all of them good.
        root: an empty folder for the jobs, or one that is not there yet.
    """
    spread = photos if len(photos) <= MEASURED else [photos[at * len(photos) // MEASURED] for at in range(MEASURED)]
    uris = [photo_uri(str(path)) for path in spread]
    bench = Bench(bundle, uris, root / "backfill")
    warm = Bench(bundle, uris[: PROCESSES * CHUNK_PHOTOS], root / "backfill-warm")
    local, spark = LocalWorkers(PROCESSES), SparkWorkers(f"local[{PROCESSES}]")
    try:
        for name, workers in (("local", local), ("spark", spark)):
            start = time.monotonic()
            summary = warm.run(f"warm-{name}", workers)
            alone_s = time.monotonic() - start
            table.add(
                f"backfill, {name}: the first {summary.photos} photos, networks loaded", f"{alone_s:.1f} s", "-", ""
            )
        rounds = []
        for number in range(ROUNDS):
            without = processes.images_per_s(bundle.folder, uris, PROCESSES)
            with_local = bench.run(f"local-{number}", local).photos_per_s
            rounds.append((without, with_local, bench.run(f"spark-{number}", spark).photos_per_s))
        _rates(table, rounds, bench.photos)
        _going_on(table, bench, local, bench.photos / statistics.median(rate for _, rate, _ in rounds))
    finally:
        local.close()
        spark.close()
    _cutting(table, bundle, root)


def _rates(table: Table, rounds: Sequence[tuple[float, float, float]], photos: int) -> None:
    without = statistics.median(rate for rate, _, _ in rounds)
    for name, place in ((f"{PROCESSES} processes", 1), (f"Spark local[{PROCESSES}]", 2)):
        rate = statistics.median(one[place] for one in rounds) / PROCESSES
        table.add(
            f"backfill, {name}: photos/s per core against as many processes without it",
            f"{statistics.median(one[place] / one[0] for one in rounds):.2f} ({rate:.0f} photos/s per core)",
            "0.85",
            f"{without / PROCESSES:.0f} photos/s per core without it; {photos:,} photos, all warm, "
            f"median of {len(rounds)} rounds in turns, their ratios from "
            f"{min(one[place] / one[0] for one in rounds):.2f} to {max(one[place] / one[0] for one in rounds):.2f}",
        )


def _going_on(table: Table, bench: Bench, workers: Workers, whole_s: float) -> None:
    """What it costs to begin again a job that is done, and one that is half done."""
    start = time.monotonic()
    bench.run("local-0", workers)
    table.add(
        "backfill: a job that is done, begun again",
        f"{(time.monotonic() - start) * 1000:.0f} ms",
        "-",
        "nothing is done",
    )
    half = bench.folder / "half"
    shutil.copytree(bench.folder / "local-0", half)
    done = sorted((half / "tags").iterdir())
    for path in done[len(done) // 2 :]:
        path.unlink()
    start = time.monotonic()
    summary = bench.run("half", workers)
    seconds = time.monotonic() - start
    table.add(
        "backfill: a job that is half done, begun again",
        f"{seconds:.1f} s for {summary.tried:,} photos",
        "-",
        f"{whole_s * summary.tried / summary.photos:.1f} s is their share of the whole job's {whole_s:.1f} s",
    )


def _cutting(table: Table, bundle: Bundle, root: Path) -> None:
    """What a large list costs before the first photo, and when the job is opened again."""
    listed = Bench(bundle, [f"http://photos.example.org/{number:08d}.jpg" for number in range(LISTED)], root / "listed")
    start = time.monotonic()
    listed.job("job")
    cut_s = time.monotonic() - start
    tags = Folder(str(listed.folder / "job/tags"))
    for number in range(-(-LISTED // CHUNK_PHOTOS)):
        Path(tags.url).mkdir(exist_ok=True)
        Path(tags.url, f"{number:06d}.jsonl.gz").touch()
    start = time.monotonic()
    listed.job("job").to_do()
    table.add(
        f"backfill: a list of {LISTED:,} photos is cut; its finished job is opened again",
        f"{cut_s:.1f} s; {time.monotonic() - start:.2f} s",
        "-",
        f"chunks of {CHUNK_PHOTOS}, a local folder",
    )
