"""ResultWriter: writes the stream's results, each after the classes of its model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from autotag.stores.photo_store import PhotoStore
from autotag.view.results import Deleted, ModelVersion, Rejected, Tagged
from models.bundle import Bundle
from models.errors import ModelError


class UnwrittenResult(NamedTuple):
    """The reason why a result was not written."""

    reason: str
    detail: str
    is_outage: bool
    """True if the same result can be written later; False if it never can."""


class ResultWriter:
    """Writes results in batches.

    People's decisions and searches use the classes of a model, so the store must have them before the first of its
    tags. Publishing adds them. For a model that was built or published on this host only, this writer adds them.

    Args:
        store: the store to write to.
        bundles: the bundle in use; the others lie beside it.
    """

    def __init__(self, store: PhotoStore, bundles: Path) -> None:
        self._store = store
        self._bundles = bundles
        self._stored_models: set[ModelVersion] = set()

    def write(self, results: Sequence[Tagged | Rejected | Deleted]) -> dict[int, UnwrittenResult]:
        """Write results durably; return the reason for each that is not written, by its index in `results`.

        Raises:
            StoreError: the store cannot be reached.
        """
        unknown = self._add_models({result.model for result in results if isinstance(result, Tagged)})
        unwritten: dict[int, UnwrittenResult] = {}
        writable: list[int] = []
        for index, result in enumerate(results):
            if isinstance(result, Tagged) and result.model in unknown:
                unwritten[index] = UnwrittenResult("model_unknown", unknown[result.model], is_outage=True)
            else:
                writable.append(index)
        reasons = self._store.write([results[index] for index in writable])
        unwritten |= {
            writable[at]: UnwrittenResult("store_refused", why, is_outage=False) for at, why in reasons.items()
        }
        return unwritten

    def _add_models(self, models: Iterable[ModelVersion]) -> dict[ModelVersion, str]:
        """Add the classes of models to the store; return the reason for each whose bundle is not on this host."""
        unknown = {}
        for model in set(models) - self._stored_models:
            try:
                if model not in self._store.runs.read().models:
                    bundle = Bundle.find(self._bundles, model.sequence, model.version)
                    self._store.runs.add_model(model, bundle.classes)
                self._stored_models.add(model)
            except ModelError as error:
                unknown[model] = (
                    f"the store has no classes of model {model}, and {error}; publish it again: autotag model publish"
                )
        return unknown
