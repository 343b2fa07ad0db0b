"""WriterBolt: writes tags, rejections and deletions through a PhotoStore, and acks after they are durable."""

from __future__ import annotations

from typing import Any

from autotag.errors import QueueError, StoreError
from autotag.queues import open_queue
from autotag.settings import Settings
from autotag.stores import open_store
from autotag.view import results
from autotag.view.results import ModelVersion, Tagged
from bolts.batching import NaturalBatchingBolt
from models.bundle import Bundle
from models.errors import ModelError


class WriterBolt(NaturalBatchingBolt):
    """One write a natural batch. A store that is away fails the tuples and uses up none of their attempts; a result
    that the store can never take fails alone, and its event ends in the dead letters.

    The store knows a model's classes, which people's decisions and searches go by, before it has a tag of that model.
    Publishing lets it know them; for what was published or built on this host only, this bolt does.
    """

    def load(self, settings: Settings) -> int:
        self.queue = open_queue(settings)
        self.store = open_store(settings)
        self.bundles = settings.path(settings.model)
        self.known: set[ModelVersion] = set()
        self.away = False
        return settings.writer_batch_results

    def process_batch(self, batch: list[Any]) -> None:
        written = [(tup, results.from_dict(tup.values.result)) for tup in batch]
        try:
            unknown = self._announce({result.model for _, result in written if isinstance(result, Tagged)})
            waiting = [(tup, unknown.get(getattr(result, "model", None))) for tup, result in written]
            written = [pair for pair, (_, why) in zip(written, waiting, strict=True) if why is None]
            refused = self.store.write([result for _, result in written])
        except StoreError as error:
            self._tell_away(f"{len(batch)} results not written, to be tried again: {error}")
            for tup in batch:
                self._give_back(tup, "store_unavailable", str(error), counts=False)
            return
        self.away = bool(unknown)
        for tup, why in waiting:
            if why is not None:
                self._give_back(tup, "model_unknown", why, counts=False)
        for index, (tup, _) in enumerate(written):
            if index in refused:
                self.logger.error("%s: refused: %s", tup.values.photo_id, refused[index])
                self._give_back(tup, "store_refused", refused[index], counts=True)
            else:
                self.ack(tup)

    def _announce(self, models: set[ModelVersion]) -> dict[ModelVersion, str]:
        """Let the store know models; returns those that it cannot be told of, because they are not here, and why."""
        unknown = {}
        for model in models - self.known:
            try:
                if model not in self.store.runs.read().models:
                    found = Bundle.find(self.bundles, model.sequence, model.version)
                    self.store.runs.add_model(model, found.classes)
                self.known.add(model)
            except ModelError as error:
                unknown[model] = f"the store does not know model {model}, and {error}"
                self._tell_away(f"{unknown[model]}; publish it again: autotag model publish")
        return unknown

    def _tell_away(self, what: str) -> None:
        """Log it, and the first time let Storm know."""
        self.logger.error("%s", what) if self.away else self.tell(what)
        self.away = True

    def _give_back(self, tup: Any, reason: str, detail: str, *, counts: bool) -> None:
        try:
            self.queue.note(tup.values.key, reason, detail, counts=counts)
        except QueueError as away:
            self.logger.error("%s: the reason was not noted: %s", tup.values.photo_id, away)
        self.fail(tup)
