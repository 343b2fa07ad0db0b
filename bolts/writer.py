"""WriterBolt: writes tags, rejections and deletions through a PhotoStore, and acks after they are durable."""

from __future__ import annotations

from typing import Any

from autotag import results
from autotag.errors import QueueError, StoreError
from autotag.queues import open_queue
from autotag.settings import Settings
from autotag.stores import open_store
from bolts.batching import NaturalBatchingBolt


class WriterBolt(NaturalBatchingBolt):
    """One transaction a natural batch. A store that is away fails the tuples and uses up none of their attempts."""

    def load(self, settings: Settings) -> int:
        self.queue = open_queue(settings)
        self.store = open_store(settings)
        return settings.batch_writes

    def process_batch(self, batch: list[Any]) -> None:
        try:
            self.store.write([results.from_dict(tup.values.result) for tup in batch])
        except StoreError as error:
            self.logger.error("%d results not written, to be tried again: %s", len(batch), error)
            for tup in batch:
                self._give_back(tup, error)
        else:
            for tup in batch:
                self.ack(tup)

    def _give_back(self, tup: Any, error: StoreError) -> None:
        try:
            self.queue.note(tup.values.key, "store_unavailable", str(error), counts=False)
        except QueueError as away:
            self.logger.error("%s: the reason was not noted: %s", tup.values.photo_id, away)
        self.fail(tup)
