"""Joining: photos, labels and people's corrections into a training set.

First the labels, which are quick and tell what is wrong of the input; then the features of the photos that the set does
not have yet. Ended at any moment, the same join asked again goes on where it was.
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
"""Bad lines, or photos, that are listed of an input, at most; all are counted."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The input of a join.

    Args:
        photos: see `inputs.photos_in`; empty for none but those that the set has.
        labels: see `inputs.labels_in`; later ones win.
        by_folder: each photo's class is its folder's name; such labels are exhaustive.
        exhaustive: a photo in `labels` is FALSE for every class that it is not labelled with there.
        retry_failed: try photos again that were found to be bad for good.
        restore: take in photos again that were removed; else they stay out, though they are listed.
        by: who says so.
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
    """Join what is named into a training set; see this module's docstring.

    Args:
        bundle: of the training set's network.
        store: people's corrections are taken from there, if given.

    Raises:
        InputError: an input is not there, or cannot be read to its end; what was joined before that stays.
        JobError: the bundle is of another network, or a worker was ended.
    """
    training_set.check(bundle)
    remove_leftovers(training_set)
    return _Join(settings, bundle, training_set, inputs, workers, progress).run(store)


class _Join:
    """One join, from its beginning on."""

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
        """Inputs of labels that are still to be read."""
        self.summary = JoinSummary()

    def run(self, store: PhotoStore | None) -> JoinSummary:
        if self._inputs.photos:
            self._list_photos()
        source = self._inputs.photos
        named = [source, *self._inputs.labels] if self._inputs.by_folder else self._inputs.labels
        self._coming = [Folder(one).url for one in named]  # the same input, from wherever it is named
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
        told = LabelSummary(self._coming.pop(0), "labels")
        collector = LabelCollector()
        for line in lines:
            told.lines += 1
            if told.lines % 10_000 == 0:
                self._progress("reading labels", told.lines)
            if isinstance(line, BadLine):
                self._tell_bad(told, line)
            elif not self._is_in_set(line.photo_id):
                told.add_unknown(line.photo_id)
            else:
                try:
                    collector.add(line.photo_id, self._names.id(line.class_text), line.value, line.number)
                except FaultError as error:
                    self._tell_bad(told, BadLine(told.source, line.number, error.reason, error.detail))
        self._keep(told, collector, exhaustive=exhaustive)

    def _is_in_set(self, photo_id: str) -> bool:
        state = self._states.get(photo_id)
        return photo_id in self._photos or (state is not None and state.state is not State.REMOVED)

    def _tell_bad(self, told: LabelSummary, line: BadLine) -> None:
        told.bad[line.reason] += 1
        if told.bad.total() <= LISTED:
            self._bad_lines.append(line._asdict())

    def _keep(self, told: LabelSummary, collector: LabelCollector, *, exhaustive: bool) -> None:
        """Add an input's labels to the set's log, if there are any."""
        labels, contradictions = collector.table()
        told.contradictions = len(contradictions)
        for one in contradictions[:LISTED]:
            detail = f"photo {one.photo_id!r:.200} is TRUE and FALSE for {self._names.names[one.class_id]!r}"
            facts = {"source": told.source, "number": one.lines[0], "reason": "contradiction", "detail": detail}
            self._bad_lines.append({**facts, "lines": one.lines})
        told.kept = len(labels.values)
        self._named.update(labels.class_ids)
        if told.kept or (told.kind == "corrections" and self._were_corrected):
            told.file, told.is_new = self._set.add_labels(
                labels,
                {
                    "kind": told.kind,
                    "exhaustive": exhaustive,
                    "names": {id_: self._names.names[id_] for id_ in labels.class_ids},
                    "source": told.source,
                    "by": self._inputs.by,
                },
                self._coming,
            )
        self.summary.labels.append(told)

    def _join_corrections(self, store: PhotoStore) -> list[TrainingPhoto]:
        """Keep people's decisions as labels; the photos that only the store knows of."""
        told = LabelSummary(self._settings.store, "corrections")
        collector = LabelCollector()
        photos: list[TrainingPhoto] = []
        called = self._ids_by_uri()
        for one in corrections(store, self._progress):
            told.lines += len(one.values)
            if one.uri in called and not self._is_in_set(one.photo_id):
                one = one._replace(photo_id=called[one.uri])
            if one.photo_id not in self._photos:
                # The URI came with an event, from anybody.
                if one.uri and not row_place(one.uri)[0] and not self._stays_out(one.photo_id):
                    photos.append(TrainingPhoto(one.photo_id, one.uri))
                elif not self._is_in_set(one.photo_id):
                    for _ in one.values:
                        told.add_unknown(one.photo_id)
                    continue
            for tag_id, value in one.values.items():
                collector.add(one.photo_id, self._names.of_tag(tag_id, one.names.get(tag_id, tag_id)), value)
        self._keep(told, collector, exhaustive=False)
        return photos

    def _ids_by_uri(self) -> dict[str, str]:
        """Return the set's ids by address: a pushed photo has another id than the same photo in a folder."""
        state = ((one.uri, id_) for id_, one in self._states.items() if one.state is State.FEATURES)
        listed = ((photo.uri, photo.id) for photo in self._photos.values())
        return {uri: id_ for uri, id_ in (*state, *listed) if uri != id_}

    # Features

    def _extract(self, photos: list[TrainingPhoto], source: PhotoSource) -> None:
        """Compute the features that are not there yet, and count what became of each photo."""
        pieces = features.pieces(photos, self._states, retry_failed=self._inputs.retry_failed)
        random.shuffle(pieces)  # two joins at once then find much of each other's work done
        extraction = Extraction(self._settings, self._set.folder, self._begun_us, source)
        named = {piece.name: piece.photos for piece in pieces}
        done, total = 0, sum(map(len, named.values()))
        try:
            for one in self._workers.map(extraction, pieces) if pieces else ():
                self._learn(named[one.name], one)
                done += len(named[one.name])
                self._progress("computing features", done, total)
        finally:
            close_tagger()
        self._count(photos)

    def _learn(self, photos: Sequence[TrainingPhoto], done: PieceResult) -> None:
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
    """Refuse what cannot be joined, before anything is begun.

    Raises:
        InputError: photos or labels are not there, or `by_folder` is asked for without a folder of photos.
    """
    if inputs.by_folder and not (inputs.photos and is_photo_folder(inputs.photos)):
        raise InputError(f"--by-folder needs --photos to be a folder of photos. Given: {inputs.photos!r}")
    if inputs.photos:
        next(photos_in(inputs.photos), None)
    for source in inputs.labels:
        next(labels_in(source), None)
