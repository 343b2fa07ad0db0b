"""WriterBolt: writes tags, rejections and deletions through a ResultWriter, and acks after they are durable."""

from __future__ import annotations

from typing import Any

from autotag.errors import QueueError, StoreError
from autotag.queues import open_queue
from autotag.queues.retry import Verdict
from autotag.settings import Settings
from autotag.stores import open_store
from autotag.stores.result_writer import ResultWriter
from autotag.view import results
from bolts.batching import NaturalBatchingBolt


class WriterBolt(NaturalBatchingBolt):
    """Writes one natural batch at a time.

    A store that cannot be reached fails the tuples and uses none of their attempts. A result that the store can never
    take fails alone, and its event ends as a dead letter.
    """

    def load(self, settings: Settings) -> int:
        self.queue = open_queue(settings)
        self.writer = ResultWriter(open_store(settings), settings.path(settings.model))
        self.has_outage = False
        return settings.writer_batch_results

    def process_batch(self, batch: list[Any]) -> None:
        try:
            unwritten = self.writer.write([results.from_dict(tup.values.result) for tup in batch])
        except StoreError as error:
            self._report_outage(f"{len(batch)} results not written, to be tried again: {error}")
            for tup in batch:
                self._give_back(tup, Verdict("store_unavailable", str(error), uses_attempt=False))
            return
        outages = {one.detail for one in unwritten.values() if one.is_outage}
        for detail in outages:
            self._report_outage(detail)
        self.has_outage = bool(outages)
        for index, tup in enumerate(batch):
            if (failure := unwritten.get(index)) is None:
                self.ack(tup)
                continue
            if not failure.is_outage:
                self.logger.error("%s: refused: %s", tup.values.photo_id, failure.detail)
            self._give_back(tup, Verdict(failure.reason, failure.detail, uses_attempt=not failure.is_outage))

    def _report_outage(self, detail: str) -> None:
        """Log an outage, and report its beginning to Storm."""
        self.logger.error("%s", detail) if self.has_outage else self.tell(detail)
        self.has_outage = True

    def _give_back(self, tup: Any, verdict: Verdict) -> None:
        try:
            self.queue.record_verdict(tup.values.key, verdict)
        except QueueError as error:
            self.logger.error("%s: the reason was not recorded: %s", tup.values.photo_id, error)
        self.fail(tup)
