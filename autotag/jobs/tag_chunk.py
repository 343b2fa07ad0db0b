"""Tags the photos of one chunk of a backfill, in a worker, and writes the tags and failures to the job's folder.

The names of a chunk's files begin with its number. The first try writes ``failed/000012.jsonl``, if any photo failed,
and then ``tags/000012.jsonl.gz``. The second try is of the photos whose failure is transient; it writes
``failed/000012-1.jsonl`` and ``tags/000012-1.jsonl.gz``, and so on. A try counts once its tags file exists. Its
failures are then all failures of the chunk, the permanent ones of earlier tries included.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from autotag.errors import InputError, JobError
from autotag.events.checks import SCHEMES
from autotag.events.times import iso_time, now_us
from autotag.jobs.photo_list import BadEntry, CorpusPhoto, Entry, packed, read_entry
from autotag.jobs.worker_tagger import PACKAGED, worker_tagger
from autotag.photos.errors import PhotoError
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.storage.folder import Folder, split_url
from autotag.tagging.tagger import PhotoTags, Tagger

PHOTOS, TAGS, FAILED = "photos", "tags", "failed"
BAD_LINE = "bad_line"
"""Reason of a line of the list that names no photo."""
OUTPUT_FAILED = "output_failed"
"""Reason of a photo that was tagged, but whose JSON document could not be written."""


@dataclass(frozen=True)
class ChunkTry:
    """A try at one chunk, the piece of work of a backfill's worker."""

    job: Folder
    number: int
    attempt: int
    """0 for the first."""
    settings: Settings
    model: str
    """The model of the job, which must tag the photos."""


class FailureKind(NamedTuple):
    """The reason why photos have no tags; permanent if another try cannot help."""

    reason: str
    permanent: bool


class ChunkResult(NamedTuple):
    """The outcome of a try, written to the job's folder."""

    number: int
    attempt: int
    failures: Counter[FailureKind]
    """All failures of the chunk."""


def file_name(number: int, attempt: int) -> str:
    """Return the name of a try's files, without their endings."""
    return f"{number:06d}-{attempt}" if attempt else f"{number:06d}"


def tag_chunk(piece: ChunkTry) -> ChunkResult:
    """Tag the photos of a chunk, or those whose failure is transient, and write tags and failures.

    If this try was made before (by a task that Spark took for lost, or by another driver), its outcome is read.

    Raises:
        JobError: this process has another model than the job's.
        ModelError: no model can be loaded.
        InputError: the job's folder cannot be read or written.
    """
    name = file_name(piece.number, piece.attempt)
    if piece.job.exists(f"{TAGS}/{name}.jsonl.gz"):
        there = piece.job.exists(f"{FAILED}/{name}.jsonl")
        kept = read_failures(piece.job, piece.number, piece.attempt) if there else []
        return ChunkResult(piece.number, piece.attempt, count_failures(kept))
    tagger = _tagger(piece.settings, piece.model)
    entries, failed = _left(piece)
    photos = [one for one in entries if isinstance(one, CorpusPhoto)]
    failed += [_failed(one, BAD_LINE, one.detail) for one in entries if isinstance(one, BadEntry)]
    records = []
    for photo, (_, tags) in zip(photos, tagger.tag(photo.uri for photo in photos), strict=True):
        if isinstance(tags, PhotoError):
            failed.append(_failed(photo, tags.reason, tags.detail, permanent=not tags.transient))
        else:
            records.append((photo, _record(photo, str(tagger.model), tags)))
    refused = _write_outputs(records, piece.settings.photo_fetch_threads)
    failed += [_failed(photo, OUTPUT_FAILED, detail, permanent=False) for photo, detail in refused.items()]
    _keep(piece, [record for photo, record in records if photo not in refused], failed)
    return ChunkResult(piece.number, piece.attempt, count_failures(failed))


def read_failures(job: Folder, number: int, attempt: int) -> list[dict[str, Any]]:
    """Return the failures after a try, each with line, photo_id, uri, reason, detail and permanent."""
    data = job.read(f"{FAILED}/{file_name(number, attempt)}.jsonl")
    return [json.loads(line) for line in data.splitlines()]


def count_failures(failed: Iterable[dict[str, Any]]) -> Counter[FailureKind]:
    """Count failures by kind."""
    return Counter(FailureKind(one["reason"], one["permanent"]) for one in failed)


def _tagger(settings: Settings, model: str) -> Tagger:
    tagger = worker_tagger(settings, PhotoSource(object_stores=True))
    if str(tagger.model) != model:
        where = f"the archive has {tagger.model}" if PACKAGED.exists() else f"{settings.model} is {tagger.model} here"
        raise JobError(f"the job's tags are by model {model}, and {where}; give every worker the same bundle")
    return tagger


def _left(piece: ChunkTry) -> tuple[list[Entry], list[dict[str, Any]]]:
    """Return the entries to try, and the permanent failures before."""
    data = gzip.decompress(piece.job.read(f"{PHOTOS}/{file_name(piece.number, 0)}.jsonl.gz"))
    entries = [read_entry(line) for line in data.splitlines()]
    if piece.attempt == 0:
        return entries, []
    failed = read_failures(piece.job, piece.number, piece.attempt - 1)
    again = {one["line"] for one in failed if not one["permanent"]}
    return [one for one in entries if one.line in again], [one for one in failed if one["permanent"]]


def _failed(entry: Entry, reason: str, detail: str, permanent: bool = True) -> dict[str, Any]:
    about = {"photo_id": entry.photo_id, "uri": entry.uri} if isinstance(entry, CorpusPhoto) else {}
    return {"line": entry.line, **about, "reason": str(reason), "detail": detail, "permanent": permanent}


def _record(photo: CorpusPhoto, model: str, tags: PhotoTags) -> dict[str, Any]:
    """Return a photo's tags as `autotag bulk load` reads them."""
    # The store keeps only URIs that the stream could have fetched.
    uri = photo.uri if photo.uri.lower().startswith(SCHEMES) else ""
    about = {"owner": photo.owner, "uri": uri, "content_time": photo.content_time, "taken": photo.taken}
    return {
        "photo_id": photo.photo_id,
        **{name: value for name, value in about.items() if value},
        "computed_time": iso_time(now_us()),
        "model": model,
        **({"partial": True} if tags.partial else {}),
        "tags": [asdict(tag) for tag in tags],
        "colours": [asdict(colour) for colour in tags.colours],
    }


def _write_outputs(records: list[tuple[CorpusPhoto, dict[str, Any]]], threads: int) -> dict[CorpusPhoto, str]:
    """Write the documents of photos that have an output URI; return the errors of those that could not be written."""

    def write(record: tuple[CorpusPhoto, dict[str, Any]]) -> str | None:
        try:
            folder, name = split_url(record[0].output_uri)
            folder.write(name, (json.dumps(record[1], ensure_ascii=False) + "\n").encode())
        except InputError as error:
            return str(error)
        return None

    wanted = [record for record in records if record[0].output_uri]
    if not wanted:
        return {}
    with ThreadPoolExecutor(threads, thread_name_prefix="write") as pool:
        said = list(pool.map(write, wanted))
    return {photo: detail for (photo, _), detail in zip(wanted, said, strict=True) if detail is not None}


def _keep(piece: ChunkTry, records: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
    """Write a try's files; the tags last, since they make the try count."""
    name = file_name(piece.number, piece.attempt)
    failures = f"{FAILED}/{name}.jsonl"
    if failed:
        lines = [json.dumps(one, ensure_ascii=False) for one in sorted(failed, key=lambda one: int(one["line"]))]
        piece.job.write(failures, "".join(f"{line}\n" for line in lines).encode())
    else:
        piece.job.remove(failures)  # of a try that was killed before its tags were written
    piece.job.write(f"{TAGS}/{name}.jsonl.gz", packed(json.dumps(one, ensure_ascii=False) for one in records))
