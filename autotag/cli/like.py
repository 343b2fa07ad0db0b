"""The photos that thresholds are to hold for: `train`, `retrain` and `model fit-thresholds` share the options."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.typing import NDArray

from autotag.cli import counted, print_table
from autotag.cli.interrupts import NOTHING, interruptible
from autotag.cli.join import needs_training
from autotag.cli.options import OptionSet, option
from autotag.cli.progress import ProgressBars
from autotag.errors import InputError, JobError
from autotag.photos.reader import PhotoError
from autotag.photos.source import PhotoSource
from autotag.settings import Settings
from autotag.stores import open_store
from autotag.tagging.tagger import Tagger
from models.bundle import Bundle

if TYPE_CHECKING:  # Only training needs the packages of these modules.
    from autotag.training.dataset.label_files import TrainingPhoto
    from autotag.training.fit.thresholds import MovedClass

FEWEST, MOST = 100, 5_000
"""Bounds of the number of photos: with fewer, chance decides; more make an estimate little better."""
NEWEST = 1_000
"""Photos of the store where no number is given."""
NAMED = 10
"""Maximum number of unreadable photos that are named."""


@dataclass(frozen=True, kw_only=True)
class LikeOptions(OptionSet):
    """The options that name the unlabelled photos that thresholds are to hold for."""

    like: str = option(
        "--like",
        default="",
        metavar="LIST|FOLDER",
        help=f"Thresholds for photos like these, unlabelled and as they come, {FEWEST} or more; "
        f"of more than {MOST} that many are taken.",
    )
    like_store: int | None = option(
        "--like-store",
        metavar="[N]",
        type=click.IntRange(FEWEST, MOST),
        is_flag=False,
        flag_value=NEWEST,
        help=f"Thresholds for photos like the store's newest N.  [{NEWEST} if N is not given]",
    )

    def check(self) -> None:
        """Raise UsageError where the options contradict one another."""
        super().check()
        if self.like and self.like_store:
            raise click.UsageError("give --like LIST|FOLDER or --like-store [N], one of the two")

    @property
    def source(self) -> str:
        """Return the list, folder or store of the photos, for people; empty without such photos."""
        return f"the store's newest {self.like_store}" if self.like_store else self.like

    def photos(self, settings: Settings) -> LikePhotos | None:
        """Return the photos to read; None if the options name none.

        Raises:
            UsageError: list or folder cannot be read.
            JobError: there are too few.
            StoreError: the store does not answer.
        """
        if not self.source:
            return None
        with needs_training():
            from autotag.storage.text_lines import BadLine
            from autotag.training.dataset.label_files import TrainingPhoto, photos_in, row_place
        if self.like_store:
            with interruptible(NOTHING), ProgressBars() as bars:
                stored = open_store(settings).newest_photos(self.like_store, bars)
            # The URIs came with events and cannot be trusted.
            listed = [TrainingPhoto(one.photo_id, one.uri) for one in stored if not row_place(one.uri)[0]]
            source = PhotoSource(object_stores=True)
        else:
            try:
                found = list(photos_in(self.like))
            except InputError as error:
                raise click.UsageError(f"--like: {error}") from error
            listed = [one for one in found if isinstance(one, TrainingPhoto)]
            _print_left_out([f"line {one.number}: {one.detail}" for one in found if isinstance(one, BadLine)])
            source = PhotoSource(any_file=True, object_stores=True)
        by_id = {one.id: one for one in listed}
        chosen = set(sorted(by_id, key=_digest)[:MOST])
        _check_count(len(chosen), f"{self.source}: has {counted(len(chosen), 'photo')}")
        return LikePhotos(self.source, [one for id_, one in by_id.items() if id_ in chosen], source)


@dataclass(frozen=True)
class LikePhotos:
    """Unlabelled photos as they come, each once; of more than `MOST` those whose id has the lowest hash."""

    name: str
    """Their list, folder or store, for people."""
    photos: Sequence[TrainingPhoto]
    source: PhotoSource

    def features(self, settings: Settings, bundle: Bundle) -> NDArray[np.float32]:
        """Return the features of those that can be read, float32 [n, d]; print the others as left out.

        Raises:
            JobError: too few can be read.
        """
        from autotag.training.dataset.features import features_of

        readable: list[NDArray[np.float32]] = []
        failed: list[str] = []
        with Tagger.load(bundle, settings, self.source) as tagger, ProgressBars() as bars:
            for done, (photo, features) in enumerate(features_of(tagger, settings, self.photos), 1):
                if not isinstance(features, PhotoError):
                    readable.append(features)
                else:
                    failed.append(f"{photo.id}: {features}")
                bars("reading photos", done, len(self.photos))
        _print_left_out(failed)
        _check_count(len(readable), f"{self.name}: {len(readable)} of {len(self.photos)} photos can be read")
        return np.stack(readable)


def print_moved(moved: Sequence[MovedClass]) -> None:
    """Print a table of classes: what their threshold was chosen for and gives, before and after."""
    rows = [
        [
            one.name,
            _change(one.before.frequency, one.after.frequency, 4),
            _change(one.before.threshold, one.after.threshold),
            _change(one.before.precision, one.after.precision),
            _change(one.before.recall, one.after.recall),
        ]
        for one in moved
    ]
    print_table(rows, ["class", "frequency", "threshold", "precision here", "recall"])


def _change(before: float | None, after: float | None, digits: int = 3) -> str:
    return " -> ".join("none" if value is None else f"{value:.{digits}f}" for value in (before, after))


def _digest(photo_id: str) -> bytes:
    return hashlib.sha256(photo_id.encode()).digest()


def _print_left_out(reasons: Sequence[str]) -> None:
    for one in reasons[:NAMED]:
        click.echo(f"left out: {one}", err=True)
    if len(reasons) > NAMED:
        click.echo(f"left out: {len(reasons) - NAMED} more", err=True)


def _check_count(count: int, found: str) -> None:
    if count < FEWEST:
        raise JobError(
            f"{found}; from fewer than {FEWEST} it cannot be told how often a class occurs: give more, unlabelled and "
            "as they come"
        )
