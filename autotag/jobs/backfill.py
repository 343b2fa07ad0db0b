"""Tags a whole corpus chunk by chunk, by any workers. A job that was stopped goes on with the chunks that are left.

The job's folder, anywhere that fsspec reaches:

    job.json                     the job's list, model and chunk size; written once the list is cut, never changed
    photos/000012.jsonl.gz       the list, cut into chunks in its own order
    tags/000012.jsonl.gz         a chunk's tags, as `autotag bulk load` reads them; the chunk is done
    failed/000012.jsonl          the chunk's photos without tags, each with the reason; see tag_chunk.py

One process at a time may drive a job: see storage/locks.py.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotag.bulk.source import Source
from autotag.errors import JobError
from autotag.jobs.photo_list import Corpus, Entry, entry_line, packed
from autotag.jobs.tag_chunk import (
    FAILED,
    PHOTOS,
    TAGS,
    ChunkResult,
    ChunkTry,
    FailureKind,
    count_failures,
    file_name,
    read_failures,
    tag_chunk,
)
from autotag.jobs.worker_tagger import close_tagger
from autotag.jobs.workers import Workers
from autotag.settings import Settings
from autotag.storage.folder import Folder

FORMAT, FORMAT_VERSION = "autotag-backfill", 1
JOB = "job.json"
CHUNK_PHOTOS = 256
"""Photos of a chunk: some seconds of work, the most that is lost when a worker is killed."""
READ_AT_ONCE = 16
"""Small files of the job's folder that are read at the same time."""
TRIES = 3
"""Tries until a failure counts as permanent. Without a limit, one dead address would keep a job from its end."""

_NAME = re.compile(r"(\d{6,})(?:-(\d+))?\.jsonl(?:\.gz)?")


@dataclass
class JobSummary:
    """The state of a job, and what this run of it has done."""

    photos: int
    """Lines of the list, those that name no photo included."""
    done: int = 0
    """Tagged or failed."""
    failures: Counter[FailureKind] = field(default_factory=Counter)
    """Counts by kind, of the photos that are done."""
    done_before: int = 0
    """Photos that were done before this run."""
    tried: int = 0
    """Photos tried in this run, those that failed before included."""
    seconds: float = 0.0
    """Duration of this run, from the start of its first chunk."""

    @property
    def tagged(self) -> int:
        return self.done - self.failures.total()

    @property
    def left(self) -> int:
        """Photos that were never tried."""
        return self.photos - self.done

    @property
    def transient(self) -> int:
        """Photos that failed and may work at another try."""
        return sum(count for failure, count in self.failures.items() if not failure.permanent)

    @property
    def is_useful(self) -> bool:
        """True if at least one photo has tags, or the list is empty."""
        return self.tagged > 0 or not self.photos

    @property
    def photos_per_s(self) -> float:
        return self.tried / self.seconds if self.seconds else 0.0


class Backfill:
    """A job in its folder. An existing job is opened; a new one reads the whole list and cuts it into chunks.

    Args:
        model: the model to tag with, as `ModelVersion` is printed.
        chunk_photos: photos of a chunk of a new job; None for `CHUNK_PHOTOS`.
        tries: a photo that failed this often has failed for good. A later run with more tries it again.

    Raises:
        JobError: the folder holds another job; the message says what differs.
        InputError: the list or the folder cannot be read or written.
    """

    def __init__(
        self, folder: Folder, corpus: Corpus, model: str, chunk_photos: int | None = None, tries: int = TRIES
    ) -> None:
        self.folder = folder
        self.model = model
        self._most_tries = tries
        wanted: dict[str, Any] = {"list": corpus.fingerprint, "model": model}
        if folder.exists(JOB):
            facts = self._opened({**wanted, **({"chunk_photos": chunk_photos} if chunk_photos else {})})
        else:
            facts = self._begun({**wanted, "chunk_photos": chunk_photos or CHUNK_PHOTOS}, corpus)
        self.photos: int = facts["photos"]
        self._chunk_photos: int = facts["chunk_photos"]
        self._attempts: dict[int, int] = {}
        """The number of the last try, by chunk that is done."""
        self._failures: dict[int, Counter[FailureKind]] = {}
        """The failures of each chunk that is done."""
        self._look()

    def summary(self) -> JobSummary:
        """Return the state of the job."""
        failures = sum(self._failures.values(), Counter[FailureKind]())
        return JobSummary(self.photos, sum(map(self._size, self._attempts)), failures)

    def to_do(self, *, only_failed: bool = False) -> int:
        """Return the number of photos that a run would try."""
        return sum(self._photos_of(number, attempt) for number, attempt in self._tries(only_failed))

    def run(self, workers: Workers, settings: Settings, *, only_failed: bool = False) -> Iterator[JobSummary]:
        """Tag the photos that are left; if none is, those whose failure is transient. Yield the state after each chunk.

        Args:
            settings: the workers' settings; their `model` must be the job's.

        Raises:
            JobError, ModelError, InputError: see `tag_chunk` and `Workers.map`. Chunks that are done stay done.
        """
        now = self.summary()
        now.done_before = now.done
        tries = self._tries(only_failed)
        pieces = [ChunkTry(self.folder, number, attempt, settings, self.model) for number, attempt in tries]
        start = time.monotonic()
        try:
            for done in workers.map(tag_chunk, pieces):
                self._note(done, now)
                now.seconds = time.monotonic() - start
                yield now
        finally:
            close_tagger()
        self._remove_outlived()

    @contextmanager
    def tags(self) -> Iterator[Source]:
        """Give the tags as the input of a bulk run; if the folder is not on this machine, temporary copies.

        Raises:
            JobError: photos are left, or failed and may work at another try, or none has tags. Once a bulk run has
                begun, its files cannot change and its name is taken.
        """
        now = self.summary()
        if now.left or now.transient:
            raise JobError(
                f"{now.left} photos are left and {now.transient} may work at another try, so no bulk run is loaded; "
                f"go on, or load what is there: autotag bulk load RUN {self.folder.folder(TAGS)}"
            )
        if not now.is_useful:
            raise JobError(
                f"none of the {now.photos} photos has tags, so no bulk run is loaded; why is in "
                f"{self.folder.folder(FAILED)}: mend the list and give it another --job folder"
            )
        tags = self.folder.folder(TAGS)
        if tags.is_local:
            yield Source.find(tags.path)
            return
        with tempfile.TemporaryDirectory(prefix="autotag-tags-") as scratch:
            copies = Path(scratch, TAGS)
            copies.mkdir()
            with ThreadPoolExecutor(READ_AT_ONCE) as pool:
                list(pool.map(lambda name: tags.fetch(name, copies / name), tags.names()))
            yield Source.find(copies)

    def _opened(self, wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = json.loads(self.folder.read(JOB))
            known = (facts["format"], facts["format_version"]) == (FORMAT, FORMAT_VERSION)
            differing = [name for name, value in wanted.items() if facts[name] != value]
            if not known or not all(type(facts[name]) is int for name in ("photos", "chunk_photos")):
                raise ValueError("another format")
        except (ValueError, KeyError, TypeError) as error:
            raise JobError(f"{self.folder}/{JOB}: is no backfill's ({error!r}); give another --job folder") from error
        if differing:
            told = "; ".join(f"its {name} is {facts[name]!r}, not {wanted[name]!r}" for name in differing)
            raise JobError(
                f"{self.folder}: another job was begun there: {told}. Go on with what it was begun with (--model names "
                "an older bundle's folder), or give another --job folder"
            )
        return facts

    def _begun(self, facts: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
        if self.folder.folder(TAGS).names():
            raise JobError(f"{self.folder}: has tags but no {JOB}: it was begun as something else; give another --job")
        facts["photos"] = self._cut(corpus, facts["chunk_photos"])
        facts = {"format": FORMAT, "format_version": FORMAT_VERSION, **facts}
        # Last: a job that is killed before is begun anew.
        self.folder.write(JOB, json.dumps(facts, indent=1, ensure_ascii=False).encode() + b"\n")
        return facts

    def _cut(self, corpus: Corpus, chunk_photos: int) -> int:
        """Write the list's chunks; return the number of its lines."""
        photos = 0
        for number, entries in enumerate(_batches(corpus.entries(), chunk_photos)):
            lines = packed(entry_line(entry) for entry in entries)
            self.folder.write(f"{PHOTOS}/{file_name(number, 0)}.jsonl.gz", lines)
            photos += len(entries)
        return photos

    def _look(self) -> None:
        """Read from the folder which tries are done."""
        for number, attempt in _tries_named(self.folder.folder(TAGS)):
            self._attempts[number] = max(attempt, self._attempts.get(number, 0))
        self._remove_outlived()
        there = set(_tries_named(self.folder.folder(FAILED)))
        with_failures = [one for one in self._attempts.items() if one in there]
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            found = pool.map(lambda one: count_failures(read_failures(self.folder, *one)), with_failures)
            for (number, attempt), failures in zip(with_failures, found, strict=True):
                self._failures[number] = self._settled(failures, attempt)

    def _remove_outlived(self) -> None:
        """Remove failures that a later try has replaced."""
        for number, attempt in _tries_named(self.folder.folder(FAILED)):
            if attempt < self._attempts.get(number, 0):
                self.folder.remove(f"{FAILED}/{file_name(number, attempt)}.jsonl")

    def _settled(self, failures: Counter[FailureKind], attempt: int) -> Counter[FailureKind]:
        """Return the failures after a try. After the last try all are permanent: a transient one failed in each."""
        settled: Counter[FailureKind] = Counter()
        for failure, count in failures.items():
            settled[failure._replace(permanent=failure.permanent or attempt + 1 >= self._most_tries)] += count
        return settled

    def _tries(self, only_failed: bool) -> list[tuple[int, int]]:
        """Return chunk and number of each try that a run makes."""
        chunks = range(-(-self.photos // self._chunk_photos))
        untried = [(number, 0) for number in chunks if number not in self._attempts]
        if untried and not only_failed:
            return untried
        done = sorted(self._attempts.items())
        return [(number, attempt + 1) for number, attempt in done if _transient(self._failures.get(number))]

    def _photos_of(self, number: int, attempt: int) -> int:
        return _transient(self._failures[number]) if attempt else self._size(number)

    def _size(self, number: int) -> int:
        return min(self._chunk_photos, self.photos - number * self._chunk_photos)

    def _note(self, done: ChunkResult, now: JobSummary) -> None:
        """Count the outcome of a try."""
        now.tried += self._photos_of(done.number, done.attempt)
        now.done += 0 if done.attempt else self._size(done.number)
        failures = self._settled(done.failures, done.attempt)
        now.failures.update(failures)
        now.failures.subtract(self._failures.get(done.number, Counter()))
        self._attempts[done.number] = done.attempt
        self._failures[done.number] = failures


def _transient(failures: Counter[FailureKind] | None) -> int:
    return sum(count for failure, count in (failures or {}).items() if not failure.permanent)


def _batches(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _tries_named(folder: Folder) -> list[tuple[int, int]]:
    """Return chunk and number of each try that has a file in the folder."""
    found = (_NAME.fullmatch(name) for name in folder.names())
    return [(int(match[1]), int(match[2] or 0)) for match in found if match]
