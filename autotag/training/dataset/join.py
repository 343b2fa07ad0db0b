"""Join photos, labels and people's corrections into a training set.

The labels come first: reading them is quick and shows what is wrong with the input. Then the features are computed of
the photos that the set does not have yet. After an interruption, the same join continues where it stopped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autotag.errors import InputError
from autotag.events.times import now_us
from autotag.jobs.worker_tagger import close_tagger
from autotag.jobs.workers import Workers
from autotag.photos.source import PhotoSource
from autotag.progress import Progress, silent
from autotag.settings import Settings
from autotag.storage.folder import Folder
from autotag.storage.text_lines import BadLine, Fault, FaultError
from autotag.stores import PhotoStore
from autotag.training.dataset import features
from autotag.training.dataset.corrections import corrections
from autotag.training.dataset.features import Extraction, PieceResult
from autotag.training.dataset.join_summary import JoinSummary, LabelSummary
from autotag.training.dataset.label_files import (
    Label,
    TrainingPhoto,
    folder_labels,
    is_photo_folder,
    labels_in,
    photos_in,
    row_place,
)
from autotag.training.dataset.labels import ClassNames, LabelCollector
from autotag.training.dataset.photo_states import PhotoState, State, read_photo_states, remove_leftovers
from autotag.training.dataset.training_set import TrainingSet
from models.bundle import Bundle

LISTED = 10_000
"""Maximum number of bad lines, and of bad photos, that are listed for an input; all are counted."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The input of a join.

    Args:
        photos: see `label_files.photos_in`; empty to use only photos that the set has.
        labels: see `label_files.labels_in`; later files win.
        by_folder: True to take the name of each photo's folder as its class; these labels are exhaustive.
        exhaustive: True if a photo in `labels` is FALSE for every class that it has no label for there.
        retry_failed: True to read photos again that failed permanently.
        restore: True to take removed photos in again; otherwise they stay out, even if they are listed.
        by: the name of the person who gives the labels.
    """

    photos: str = ""
    labels: tuple[str, ...] = ()
    by_folder: bool = False
    exhaustive: bool = False
    retry_failed: bool = False
    restore: bool = False
    by: str = ""


def join(
    settings: Settings,
    bundle: Bundle,
    training_set: TrainingSet,
    inputs: Inputs,
    workers: Workers,
    store: PhotoStore | None = None,
    progress: Progress = silent,
) -> JoinSummary:
    """Join the inputs into a training set; see this module's docstring.

    Args:
        bundle: any bundle with the training set's network.
        store: its corrections by people are joined as labels; None for no corrections.

    Raises:
        InputError: an input is missing or cannot be read to its end; labels and features written before that stay.
        JobError: the bundle has another network, or a worker was killed.
    """
    training_set.check(bundle)
    remove_leftovers(training_set)
    return _Join(settings, bundle, training_set, inputs, workers, progress).run(store)


class _Join:
    """One join and its state."""

    def __init__(
        self,
        settings: Settings,
        bundle: Bundle,
        training_set: TrainingSet,
        inputs: Inputs,
        workers: Workers,
        progress: Progress,
    ) -> None:
        self._settings = replace(settings, model=str(bundle.folder.resolve()))
        self._set = training_set
        self._inputs = inputs
        self._workers = workers
        self._progress = progress
        log = training_set.log()
        self._begun_us = max([now_us(), *(facts["at_us"] + 1 for facts in log)])
        self._states = read_photo_states(training_set)
        self._photos: dict[str, TrainingPhoto] = {}
        self._were_corrected = any(facts["kind"] == "corrections" for facts in log)
        own = {id_: name for facts in reversed(log) for id_, name in facts["names"].items()}
        self._names = ClassNames(bundle.classes, own)
        self._bad_lines: list[dict[str, Any]] = []
        self._bad_photos: list[dict[str, Any]] = []
        self._named: set[str] = set()
        self._coming: list[str] = []
        """Inputs of labels that have not been read yet."""
        self.summary = JoinSummary()

    def run(self, store: PhotoStore | None) -> JoinSummary:
        if self._inputs.photos:
            self._list_photos()
        source = self._inputs.photos
        named = [source, *self._inputs.labels] if self._inputs.by_folder else self._inputs.labels
        self._coming = [Folder(one).url for one in named]  # one name for an input, whatever the working folder
        if self._inputs.by_folder:
            self._join_labels(folder_labels(list(self._photos.values()), source), exhaustive=True)
        for source in self._inputs.labels:
            formats: list[str] = []
            self._join_labels(labels_in(source, formats), exhaustive=self._inputs.exhaustive)
            self.summary.labels[-1].formats = formats
        listed = list(self._photos.values())
        corrected = self._join_corrections(store) if store else []
        self._extract(listed, PhotoSource(any_file=True, object_stores=True))
        self._extract(corrected, PhotoSource(object_stores=True))  # Their URIs come from events.
        self.summary.reused = self.summary.photos - self.summary.failed.total() - self.summary.new
        self.summary.classes = len(self._named)
        self.summary.spellings = self._names.spellings
        self._report()
        return self.summary

    def _list_photos(self) -> None:
        for count, photo in enumerate(photos_in(self._inputs.photos)):
            if count % 1000 == 0:
                self._progress("listing photos", count)
            if isinstance(photo, TrainingPhoto):
                if self._stays_out(photo.id):
                    self.summary.left_out += 1
                    continue
                state = self._states.get(photo.id)
                if state and state.state is State.FEATURES and state.uri != photo.uri:
                    self.summary.replaced += 1
                before = self._photos.setdefault(photo.id, photo)
                if before.uri == photo.uri:
                    continue
                photo = BadLine(self._inputs.photos, 0, Fault.TWICE, f"photo {photo.id!r:.100} is also {before.uri}")
            self.summary.bad_photos[photo.reason] += 1
            if self.summary.bad_photos.total() <= LISTED:
                self._bad_photos.append(photo._asdict())

    def _stays_out(self, photo_id: str) -> bool:
        state = self._states.get(photo_id)
        return state is not None and state.state is State.REMOVED and not self._inputs.restore

    # Labels

    def _join_labels(self, lines: Iterator[Label | BadLine], *, exhaustive: bool) -> None:
        summary = LabelSummary(self._coming.pop(0), "labels")
        collector = LabelCollector()
        for line in lines:
            summary.lines += 1
            if summary.lines % 10_000 == 0:
                self._progress("reading labels", summary.lines)
            if isinstance(line, BadLine):
                self._count_bad(summary, line)
            elif not self._is_in_set(line.photo_id):
                summary.add_unknown(line.photo_id)
            else:
                try:
                    collector.add(line.photo_id, self._names.id(line.class_text), line.value, line.number)
                except FaultError as error:
                    self._count_bad(summary, BadLine(summary.source, line.number, error.reason, error.detail))
        self._keep(summary, collector, exhaustive=exhaustive)

    def _is_in_set(self, photo_id: str) -> bool:
        state = self._states.get(photo_id)
        return photo_id in self._photos or (state is not None and state.state is not State.REMOVED)

    def _count_bad(self, summary: LabelSummary, line: BadLine) -> None:
        summary.bad[line.reason] += 1
        if summary.bad.total() <= LISTED:
            self._bad_lines.append(line._asdict())

    def _keep(self, summary: LabelSummary, collector: LabelCollector, *, exhaustive: bool) -> None:
        """Append the labels of an input to the log, if there are any."""
        labels, contradictions = collector.table()
        summary.contradictions = len(contradictions)
        for one in contradictions[:LISTED]:
            detail = f"photo {one.photo_id!r:.200} is TRUE and FALSE for {self._names.names[one.class_id]!r}"
            facts = {"source": summary.source, "number": one.lines[0], "reason": "contradiction", "detail": detail}
            self._bad_lines.append({**facts, "lines": one.lines})
        summary.kept = len(labels.values)
        self._named.update(labels.class_ids)
        if summary.kept or (summary.kind == "corrections" and self._were_corrected):
            summary.file, summary.is_new = self._set.add_labels(
                labels,
                {
                    "kind": summary.kind,
                    "exhaustive": exhaustive,
                    "names": {id_: self._names.names[id_] for id_ in labels.class_ids},
                    "source": summary.source,
                    "by": self._inputs.by,
                },
                self._coming,
            )
        self.summary.labels.append(summary)

    def _join_corrections(self, store: PhotoStore) -> list[TrainingPhoto]:
        """Append people's decisions to the log as labels; return the photos that are only in the store."""
        summary = LabelSummary(self._settings.store, "corrections")
        collector = LabelCollector()
        photos: list[TrainingPhoto] = []
        called = self._ids_by_uri()
        for one in corrections(store, self._progress):
            summary.lines += len(one.values)
            if one.uri in called and not self._is_in_set(one.photo_id):
                one = one._replace(photo_id=called[one.uri])
            if one.photo_id not in self._photos:
                # The URI came with an event and cannot be trusted.
                if one.uri and not row_place(one.uri)[0] and not self._stays_out(one.photo_id):
                    photos.append(TrainingPhoto(one.photo_id, one.uri))
                elif not self._is_in_set(one.photo_id):
                    for _ in one.values:
                        summary.add_unknown(one.photo_id)
                    continue
            for tag_id, value in one.values.items():
                collector.add(one.photo_id, self._names.of_tag(tag_id, one.names.get(tag_id, tag_id)), value)
        self._keep(summary, collector, exhaustive=False)
        return photos

    def _ids_by_uri(self) -> dict[str, str]:
        """Return the set's photo ids by URI: a pushed photo has another id than the same photo in a folder."""
        state = ((one.uri, id_) for id_, one in self._states.items() if one.state is State.FEATURES)
        listed = ((photo.uri, photo.id) for photo in self._photos.values())
        return {uri: id_ for uri, id_ in (*state, *listed) if uri != id_}

    # Features

    def _extract(self, photos: list[TrainingPhoto], source: PhotoSource) -> None:
        """Compute the missing features, and count the photos with and without features."""
        pieces = features.pieces(photos, self._states, retry_failed=self._inputs.retry_failed)
        random.shuffle(pieces)  # two joins at once then seldom compute the same piece
        extraction = Extraction(self._settings, self._set.folder, self._begun_us, source)
        named = {piece.name: piece.photos for piece in pieces}
        done, total = 0, sum(map(len, named.values()))
        try:
            for one in self._workers.map(extraction, pieces) if pieces else ():
                self._take_result(named[one.name], one)
                done += len(named[one.name])
                self._progress("computing features", done, total)
        finally:
            close_tagger()
        self._count(photos)

    def _take_result(self, photos: Sequence[TrainingPhoto], done: PieceResult) -> None:
        self._states |= {photo.id: PhotoState(self._begun_us, State.FEATURES, photo.uri) for photo in photos}
        self._states |= {failure.photo_id: PhotoState.failed(failure) for failure in done.failures}
        self.summary.clipped += done.clipped
        self.summary.new += 0 if done.was_done else len(photos) - len(done.failures)

    def _count(self, photos: list[TrainingPhoto]) -> None:
        failures = [failure for photo in photos if (failure := self._states[photo.id].failure)]
        self.summary.photos += len(photos)
        self.summary.failed.update(failure.reason for failure in failures)
        self._bad_photos += [failure._asdict() for failure in failures[:LISTED]]

    def _report(self) -> None:
        files = {"bad_lines.jsonl": self._bad_lines, "bad_photos.jsonl": self._bad_photos}
        lists = {name: "".join(f"{json.dumps(one)}\n" for one in rows).encode() for name, rows in files.items()}
        summary = json.dumps(
            {**self.summary.to_dict(), "inputs": asdict(self._inputs), "begun_us": self._begun_us}, indent=1
        )
        self.summary.report = self._set.add_report({"summary.json": summary.encode(), **lists})


def check_inputs(inputs: Inputs) -> None:
    """Check the inputs before the join starts.

    Raises:
        InputError: photos or labels are missing, or `by_folder` is set and `photos` is no folder of photos.
    """
    if inputs.by_folder and not (inputs.photos and is_photo_folder(inputs.photos)):
        raise InputError(f"--by-folder needs --photos to be a folder of photos. Given: {inputs.photos!r}")
    if inputs.photos:
        next(photos_in(inputs.photos), None)
    for source in inputs.labels:
        next(labels_in(source), None)
