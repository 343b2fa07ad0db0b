"""WriterBolt: writes tags, rejections and deletions through a PhotoStore, and acks after they are durable."""

from __future__ import annotations

from typing import Any

from autotag import results
from autotag.errors import QueueError, StoreError
from autotag.queues import open_queue
from autotag.results import ModelVersion
from autotag.settings import Settings
from autotag.stores import open_store
from bolts.batching import NaturalBatchingBolt
from models.bundle import Bundle


class WriterBolt(NaturalBatchingBolt):
    """One write a natural batch. A store that is away fails the tuples and uses up none of their attempts; a result
    that the store can never take fails alone, and its event ends in the dead letters.
    """

    def load(self, settings: Settings) -> int:
        self.queue = open_queue(settings)
        self.store = open_store(settings)
        self.bundle: Bundle | None = Bundle.open(settings.path(settings.model))
        self.away = False
        return settings.batch_writes

    def process_batch(self, batch: list[Any]) -> None:
        try:
            self._announce_model()
            refused = self.store.write([results.from_dict(tup.values.result) for tup in batch])
        except StoreError as error:
            self._tell_away(f"{len(batch)} results not written, to be tried again: {error}")
            for tup in batch:
                self._give_back(tup, "store_unavailable", str(error), counts=False)
            return
        self.away = False
        for index, tup in enumerate(batch):
            if index in refused:
                self.logger.error("%s: refused: %s", tup.values.photo_id, refused[index])
                self._give_back(tup, "store_refused", refused[index], counts=True)
            else:
                self.ack(tup)

    def _announce_model(self) -> None:
        """Once: let the store know the model's classes, which people's decisions and searches go by."""
        if self.bundle:
            self.store.registry.add_model(ModelVersion.of(self.bundle), self.bundle.classes)
            self.bundle = None

    def _tell_away(self, what: str) -> None:
        """Log it; the first time also to Storm, where `autotag status` finds it."""
        self.logger.error("%s", what)
        if not self.away:
            self.send_message({"command": "error", "msg": what})
        self.away = True

    def _give_back(self, tup: Any, reason: str, detail: str, *, counts: bool) -> None:
        try:
            self.queue.note(tup.values.key, reason, detail, counts=counts)
        except QueueError as away:
            self.logger.error("%s: the reason was not noted: %s", tup.values.photo_id, away)
        self.fail(tup)
