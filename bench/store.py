"""`make bench-store`: the store on a real HBase of its own, every figure beside its alternative from the same run."""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import happybase

from autotag.events.times import now_us
from autotag.localcluster.cluster import Cluster
from autotag.settings import PROJECT, Settings
from autotag.stores import PhotoStore, layout, open_store
from autotag.stores.owner_index import OwnerIndex
from autotag.stores.tables import OWNERS, PHOTOS, Cell
from autotag.view.decisions import Action, Decision
from autotag.view.merge import Write, merge
from autotag.view.results import ModelVersion, Tagged
from autotag.view.visibility import Visibility
from bench.table import Table
from models.bundle import Bundle, Tag

ROUNDS, WARMING = 5, 3
PHOTOS_A_ROUND = int(os.environ.get("BENCH_ROUND_PHOTOS", "20000"))
RUN_PHOTOS = int(os.environ.get("BENCH_RUN_PHOTOS", "100000"))
THRIFT_PORT = 29090
"""The port of the bench's own HBase; its other ports are beside it."""
BATCH = Settings().writer_batch_results


def photos(count: int, label: str, owner: str | None = None, run: str | None = None) -> list[Tagged]:
    """Return made results like the default bundle's on real photos: one or two leaves and all classes above them, some
    seven tags."""
    bundle = Bundle.open(PROJECT / "build/bundles/default")
    model = ModelVersion.of(bundle)
    picked = random.Random(label)
    leaves = [id_ for bank in bundle.banks for id_ in bank.ids]
    made = []
    began_us = now_us() - 86400 * 1_000_000
    for number in range(count):
        shown = {picked.choice(leaves) for _ in range(picked.choice([1, 2]))}
        tags = tuple(
            Tag(id_, bundle.classes.name(id_), round(picked.uniform(0.5, 1), 4), "imagenet")
            for id_ in shown.union(*map(bundle.classes.ancestors, shown))
        )
        made.append(
            Tagged(
                photo_id=f"{label}/{number}",
                content_us=began_us + number,
                owner=owner or f"{label}-{number % 100}",
                uri=f"https://photos.example.org/{label}/{number}.jpg",
                model=model,
                tags=tags,
                computed_us=began_us + number,
                run=run,
            )
        )
    return made


@contextmanager
def hbase(folder: Path) -> Iterator[Settings]:
    """Start a cluster with HBase, with the tables and the model of the bench."""
    config = json.loads((PROJECT / "config.json").read_text())
    config["envs"]["local"]["nimbus"] = "127.0.0.1:26627"
    config["envs"]["local"]["options"] |= {
        "autotag.cluster.home": str(folder / "home"),
        "autotag.cluster.zookeeper.port": 22181,
        "autotag.cluster.nimbus.port": 26627,
        "autotag.cluster.worker.ports": [26700],
        "autotag.cluster.hbase.ports": [29000, 29020],
        "autotag.cluster.thrift.port": THRIFT_PORT,
        "autotag.store": f"hbase://127.0.0.1:{THRIFT_PORT}/bench",
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    settings = Settings.from_config("local", path)
    cluster = Cluster(settings)
    try:
        cluster.up()
        store = open_store(settings)
        store.tables.create()
        bundle = Bundle.open(PROJECT / "build/bundles/default")
        store.runs.add_model(ModelVersion.of(bundle), bundle.classes)
        yield settings
    finally:
        cluster.down()


# Writing


def cells_of(results: Sequence[Tagged]) -> list[tuple[list[Cell], list[Cell]]]:
    """Return the cells that the writer's path writes, by batch: table photos, table owners."""
    index = OwnerIndex(all_owners=False)
    return [
        (
            [layout.fact_cell(result) for result in batch],
            [cell for result in batch for cell in index.cells(result)],
        )
        for batch in batched_list(results)
    ]


def batched_list(results: Sequence[Tagged]) -> Iterator[list[Tagged]]:
    for start in range(0, len(results), BATCH):
        yield list(results[start : start + BATCH])


def write_ours(settings: Settings, results: list[Tagged], ready: Any, go: Any) -> float:
    """Return the seconds that the writer's path takes."""
    store = open_store(settings)
    store.status()  # connects, and reads the table of runs
    gc.freeze()  # as the bolts do
    ready.release()
    go.wait()
    began = time.perf_counter()
    for batch in batched_list(results):
        store.write(batch)
    return time.perf_counter() - began


def write_blind(settings: Settings, results: list[Tagged], ready: Any, go: Any) -> float:
    """Return the seconds that the writer's path takes without the read of decisions and deletions after each batch."""
    store = open_store(settings)
    store.status()
    gc.freeze()
    ready.release()
    go.wait()
    began = time.perf_counter()
    for batch in batched_list(results):
        ((facts, entries),) = cells_of(batch)
        store.tables.put(PHOTOS, facts)
        store.tables.put(OWNERS, entries)
    return time.perf_counter() - began


def write_bare(_: Settings, results: list[Tagged], ready: Any, go: Any) -> float:
    """Return the seconds that happybase's own batches of the same cells take."""
    connection = happybase.Connection("127.0.0.1", THRIFT_PORT, table_prefix="bench")
    tables = connection.table(PHOTOS), connection.table(OWNERS)
    prepared = cells_of(results)
    gc.freeze()
    ready.release()
    go.wait()
    began = time.perf_counter()
    for parts in prepared:
        for table, cells in zip(tables, parts, strict=True):
            with table.batch() as batch:
                for cell in cells:
                    batch.put(cell.row, {cell.column: cell.value})
    return time.perf_counter() - began


def _child(write: Any, settings: Settings, label: str, count: int, ready: Any, go: Any, answers: Any) -> None:
    answers.put(write(settings, photos(count, label), ready, go))


def photos_per_s(write: Callable[..., float], settings: Settings, processes: int, label: str) -> float:
    """Return the photos a second that `processes` write together; each makes its photos before the start."""
    context = multiprocessing.get_context("spawn")
    ready, go, answers = context.Semaphore(0), context.Event(), context.Queue()
    children = [
        context.Process(
            target=_child, args=(write, settings, f"{label}-{n}", PHOTOS_A_ROUND // processes, ready, go, answers)
        )
        for n in range(processes)
    ]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    go.set()
    slowest = max(answers.get() for _ in children)
    for child in children:
        child.join()
    return PHOTOS_A_ROUND / slowest


def writing(table: Table, settings: Settings) -> None:
    """Compare the writer's path with bare batches of the same cells, in turns.

    The servers are warmed up before: the first rounds are several times slower for both.
    """
    for number in range(WARMING):
        for write in (write_ours, write_bare):
            photos_per_s(write, settings, 2, f"warm-{write.__name__}-{number}")
    facts, entries = cells_of(photos(BATCH, "count"))[0]
    cells = (len(facts) + len(entries)) / BATCH
    size = sum(len(cell.row) + len(cell.column) + len(cell.value) for cell in facts + entries) / BATCH
    for processes in (1, 2):
        rounds = []
        for number in range(ROUNDS):
            rounds.append(
                tuple(
                    photos_per_s(write, settings, processes, f"{write.__name__}-{processes}-{number}")
                    for write in (write_ours, write_bare, write_blind)
                )
            )
        ours, bare, _ = (statistics.median(one[at] for one in rounds) for at in (0, 1, 2))
        ratio, blind = (statistics.median(one[at] / one[1] for one in rounds) for at in (0, 2))
        table.add(
            f"written through the writer's path, {processes} process{'es'[: 2 * processes - 2]}, batches of {BATCH}",
            f"{ratio:.2f} of bare ({ours:.0f} photos/s = {ours * cells:.0f} rows/s = cells/s)",
            "0.8",
            f"{bare:.0f} photos/s, {bare * cells:.0f} rows/s: happybase batches of the same cells, made beforehand; "
            f"{cells:.1f} cells, each a row, and {size:.0f} bytes a photo. Without the look at people's decisions and "
            f"deletions after each batch it would be {blind:.2f}",
        )


# Reading


def percentiles_ms(ask: Callable[[], object], count: int) -> tuple[float, float, float]:
    """Return calls a second, and the median and 99th percentile of a call in milliseconds."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        ask()
        times.append(time.perf_counter() - began)
    times.sort()
    return count / sum(times), 1000 * times[count // 2], 1000 * times[int(count * 0.99)]


def reading(table: Table, store: PhotoStore, small: list[Tagged], large: list[Tagged]) -> None:
    """Time views, pages and counts, of owners of very different sizes."""
    picked = random.Random(0)
    rate, p50, p99 = percentiles_ms(lambda: store.get(picked.choice(large).photo_id), 2000)
    bare_rate, bare_p50, bare_p99 = percentiles_ms(
        lambda: store.tables.get(PHOTOS, [layout.photo_row(picked.choice(large).photo_id)]), 2000
    )
    table.add(
        "views of photos, one client",
        f"{rate:.0f} a second, p50 {p50:.2f}, p99 {p99:.2f} ms",
        "-",
        f"the bare row alone, unread: {bare_rate:.0f} a second, p50 {bare_p50:.2f}, p99 {bare_p99:.2f} ms",
    )
    figures = []
    for owner, found in (("one", 1), ("hundred", 50), ("many", 50)):
        page = store.search("entity of the bench", owner)
        assert not page.photos
        tag = small[0].tags[-1].name if owner == "one" else "animal"
        rate, p50, p99 = percentiles_ms(lambda owner=owner, tag=tag: store.search(tag, owner), 200)
        figures.append(f"p50 {p50:.1f}, p99 {p99:.1f} ms ({len(store.search(tag, owner).photos)} of {found} at most)")
    table.add("a page of 50 of an owner's photos by tag", "; ".join(figures), "-", "owners of 1; 100; 100,000 photos")
    figures = []
    for owner in ("one", "hundred", "many"):
        _, p50, p99 = percentiles_ms(lambda owner=owner: store.owner(owner), 10)
        figures.append(f"{p50:.0f} ms")
    began = time.perf_counter()
    exact = store.owner("many", exact=True)
    took_s = time.perf_counter() - began
    estimate = {tag.id: tag.photos for tag in store.owner("many").tags}
    errors = {
        part: statistics.median(
            abs(estimate.get(tag.id, 0) / tag.photos - 1) for tag in exact.tags if tag.photos > RUN_PHOTOS * part
        )
        for part in (0.1, 0.01)
    }
    table.add(
        "an owner's tags with their counts (p50)",
        "; ".join(figures),
        "-",
        f"owners of 1; 100; 100,000 photos. All {exact.photos:,} looked at: {took_s:.0f} s. The estimate of a tag "
        f"on more than 10 % of them is off by {errors[0.1]:.1%}, on more than 1 % by {errors[0.01]:.1%} (medians)",
    )


def publishing(table: Table, settings: Settings, store: PhotoStore, large: list[Tagged]) -> None:
    """Load a bulk run over all of an owner's photos, and publish it."""
    run = [tagged_again(result) for result in large]
    store.runs.begin("again", "made here", "bench")
    began = time.perf_counter()
    for batch in batched_list(run):
        store.write(batch)
    loaded_s = time.perf_counter() - began
    store.runs.finish("again", len(run), 0)
    watcher = Watcher(settings, [run[0].photo_id, run[len(run) // 2].photo_id, run[-1].photo_id])
    began = time.perf_counter()
    store.runs.publish("again", "bench")
    publish_ms = 1000 * (time.perf_counter() - began)
    began = time.perf_counter()
    found, cursor = 0, None
    while True:
        page = store.search("tag of the run", "many", 1000, cursor)
        found, cursor = found + len(page.photos), page.cursor
        if cursor is None:
            break
    walk_s = time.perf_counter() - began
    mixed, changes = watcher.stop()
    table.add(
        f"publishing a run of {len(run):,} photos",
        f"{publish_ms:.1f} ms, one cell; views of 3 photos, asked all the time, changed {changes} time each, "
        f"{mixed} answers of before came after one of after",
        "one moment",
        f"loading it before: {loaded_s:.0f} s, {len(run) / loaded_s:.0f} photos/s, so 1,000,000 take "
        f"{1e6 / (len(run) / loaded_s) / 60:.0f} minutes, in which readers see none of it",
    )
    table.add(
        "the index after publishing",
        f"complete at once: {found:,} of {len(run):,} photos found by a tag that only the run has",
        "-",
        f"its entries are written when the run is loaded, and skipped until it is published; walking all pages: "
        f"{walk_s:.0f} s",
    )


def tagged_again(result: Tagged) -> Tagged:
    """Return the result of a newer computation: the same tags and one more."""
    extra = Tag("tag of the run", "tag of the run", 0.9, "bench")
    values = {**vars(result), "run": "again", "computed_us": result.computed_us + 1}
    return Tagged(**{**values, "tags": (*result.tags, extra)})


class Watcher:
    """A thread that reads some photos again and again."""

    def __init__(self, settings: Settings, ids: list[str]) -> None:
        self._settings, self._ids = settings, ids
        self._seen: dict[str, list[bool]] = {id_: [] for id_ in ids}
        self._began, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._began.wait()

    def _watch(self) -> None:
        store = open_store(self._settings)
        while not self._done.is_set():
            for id_ in self._ids:
                photo = store.get(id_)
                assert photo
                self._seen[id_].append(any(tag.id == "tag of the run" for tag in photo.view.tags))
            self._began.set()
        store.close()

    def stop(self) -> tuple[int, int]:
        """Return the old answers that came after a new one, and the most changes of one photo."""
        self._done.set()
        self._thread.join()
        mixed = changes = 0
        for seen in self._seen.values():
            mixed += sum(earlier and not later for earlier, later in itertools.pairwise(seen))
            changes = max(changes, sum(a != b for a, b in itertools.pairwise(seen)))
        return mixed, changes


# Merging


def merging(table: Table) -> None:
    """Time the merge rule alone, and with the reading of cells before it."""
    (result,) = photos(1, "merge")
    bundle = Bundle.open(PROJECT / "build/bundles/default")
    visibility = Visibility(published=frozenset({"again"}), models={result.model: bundle.classes})
    person = Decision(
        photo_id=result.photo_id,
        tag_id=bundle.classes.find("beagle") or "",
        name="beagle",
        action=Action.ADD,
        by="ann",
        decided_us=1,
        content_us=result.content_us,
    )
    worlds: dict[str, list[Write]] = {
        "realtime": [result],
        "realtime and bulk": [result, tagged_again(result)],
        "realtime, bulk and a person": [result, tagged_again(result), person],
    }
    figures, read = [], []
    for name, writes in worlds.items():
        cells = [layout.fact_cell(write) for write in writes]
        figures.append(f"{name} {per_s(lambda w=writes: merge(w, visibility)):,.0f}")
        read.append(
            f"{per_s(lambda c=cells: merge([layout.read_fact(one.column, one.value) for one in c], visibility)):,.0f}"
        )
    table.add(
        "views merged a second, in Python", ", ".join(figures), "-", f"read from their cells too: {', '.join(read)}"
    )


def per_s(work: Callable[[], object], seconds: float = 1.0) -> float:
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        work()
        count += 1
    return count / (time.perf_counter() - began)


def main() -> None:
    table = Table()
    merging(table)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=PROJECT / "build") as scratch,
        hbase(Path(scratch)) as settings,
    ):
        writing(table, settings)
        store = open_store(settings)
        small, large = photos(1, "one", "one"), photos(RUN_PHOTOS, "many", "many")
        for results in (small, photos(100, "hundred", "hundred"), large):
            for batch in batched_list(results):
                store.write(batch)
        reading(table, store, small, large)
        publishing(table, settings, store, large)
        store.close()
    table.write(PROJECT / "bench/store.md", "make bench-store", f"HBase 2.6.1, ratios are medians of {ROUNDS} rounds")


if __name__ == "__main__":
    main()
