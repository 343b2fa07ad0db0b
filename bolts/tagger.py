"""TaggerBolt: turns events into tags, or into a rejection with its reason, with the current model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from streamparse import Stream

from autotag.errors import QueueError
from autotag.events import PhotoEvent
from autotag.events.times import now_us
from autotag.photos.reader import PhotoError
from autotag.queues import open_queue
from autotag.queues.retry import Verdict
from autotag.settings import Settings
from autotag.tagging.hot_swap import TaggerSwap
from autotag.tagging.tagger import Tagger
from autotag.view import results
from autotag.view.results import Rejected, Result, Tagged
from bolts.batching import NaturalBatchingBolt

FIELDS = ["photo_id", "key", "result"]


class TaggerBolt(NaturalBatchingBolt):
    """Has a Tagger of the current model, and replaces it when the model changes.

    A small pool of threads reads photos ahead; they are scored in natural batches, each by the Tagger that read it.
    """

    outputs: ClassVar = [Stream(fields=FIELDS, name="tagged"), Stream(fields=FIELDS, name="rejected")]

    def load(self, settings: Settings) -> int:
        self.queue = open_queue(settings)
        self.swap = TaggerSwap(settings, self.topology_name, self.task_id, self.tell)
        self.readers = ThreadPoolExecutor(settings.photo_fetch_threads, thread_name_prefix="read")
        self.start_thread(self.swap.follow, "models")
        return settings.tagger_batch_photos

    def process(self, tup: Any) -> None:
        self.readers.submit(self.guarded, self._read, tup)

    def _read(self, tup: Any) -> None:
        event = PhotoEvent.from_dict(tup.values.event, accepted=True)
        tagger = self.swap.begin()
        try:
            photo = tagger.read(event.uri)
        except PhotoError as error:
            self.swap.end(tagger)
            self._give_up(tup, event, error)
        else:
            self.hand_over((tup, event, photo, tagger))

    def _give_up(self, tup: Any, event: PhotoEvent, error: PhotoError) -> None:
        self.logger.info("%s: %s", event.photo_id, error)
        if not error.transient:
            rejected = Rejected.of(event, reason=error.reason, detail=error.detail, computed_us=now_us())
            self._emit(tup, "rejected", rejected)
            return
        try:
            verdict = Verdict(error.reason, error.detail, uses_attempt=not error.outage, wait_s=error.wait_s)
            self.queue.record_verdict(tup.values.key, verdict)
        except QueueError as away:
            self.logger.error("%s: %s; the reason was not recorded: %s", event.photo_id, error, away)
        self.fail(tup)

    def process_batch(self, batch: list[Any]) -> None:
        for tagger in dict.fromkeys(tagger for _, _, _, tagger in batch):
            self._score(tagger, [(tup, event, photo) for tup, event, photo, its in batch if its is tagger])

    def _score(self, tagger: Tagger, photos: list[Any]) -> None:
        scored = tagger.score([photo for _, _, photo in photos])
        for (tup, event, _), tags in zip(photos, scored, strict=True):
            tagged = Tagged.of(
                event,
                model=tagger.model,
                tags=tuple(tags),
                computed_us=now_us(),
                partial=tags.partial,
                colours=tags.colours,
            )
            self._emit(tup, "tagged", tagged)
            self.swap.end(tagger)

    def _emit(self, tup: Any, stream: str, result: Result) -> None:
        self.emit([result.photo_id, tup.values.key, results.to_dict(result)], stream=stream, anchors=[tup])
        self.ack(tup)
