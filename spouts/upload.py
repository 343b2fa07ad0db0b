"""UploadSpout: leases photo events from the queue; ack ends a lease, fail gives the event back."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from streamparse import Spout, Stream

from autotag.errors import QueueError
from autotag.events import EventType
from autotag.queues import Lease, open_queue
from autotag.settings import Settings
from autotag.view import results
from autotag.view.results import Deleted

POLL_S = 0.01
"""Seconds between two looks at an empty queue."""
AWAY_S = 1.0
"""Seconds between two attempts while the queue is unavailable."""


class UploadSpout(Spout):
    """Emits each event as a tuple whose id is the event's key. Acks and fails are written before the next lease."""

    outputs: ClassVar = [
        Stream(fields=["key", "event"], name="default"),
        Stream(fields=["photo_id", "key", "result"], name="deleted"),
    ]

    def initialize(self, storm_conf: dict[str, Any], context: dict[str, Any]) -> None:
        settings = Settings.from_storm(storm_conf)
        self.queue = open_queue(settings)
        self.lease_events = settings.tagger_batch_photos
        # The holder is the same after a restart, so that the leases of the process before are released at once.
        # A LocalCluster (`sparse run`), maybe beside a deployed topology of the same name, is another holder.
        self.holder = f"{self.topology_name}/{self.task_id}/{storm_conf.get('storm.cluster.mode', 'distributed')}"
        self.active = True
        self.acked: list[str] = []
        self.failed: list[str] = []
        self.released = False

    def next_tuple(self) -> None:
        try:
            leases = self._lease()
        except QueueError as error:
            self.logger.error("%s", error)
            time.sleep(AWAY_S)
            return
        for lease in leases:
            self._emit(lease)
        if not leases:
            time.sleep(POLL_S)

    def _lease(self) -> list[Lease]:
        if not self.released:
            self.queue.release(self.holder)
            self.released = True
        self._flush()
        return self.queue.lease(self.lease_events, self.holder)

    def _emit(self, lease: Lease) -> None:
        event = lease.event
        if event.type is EventType.DELETED:
            deleted = Deleted.of(event)
            self.emit([event.photo_id, lease.key, results.to_dict(deleted)], tup_id=lease.key, stream="deleted")
        else:
            self.emit([lease.key, event.to_dict()], tup_id=lease.key)

    def _flush(self) -> None:
        """Write acks and fails to the queue; while it is unavailable, they wait here."""
        if self.acked:
            self.queue.ack(self.acked, self.holder)
            self.acked = []
        if self.failed:
            self.queue.fail(self.failed, self.holder)
            self.failed = []

    def _flush_if_last(self) -> None:
        # A deactivated spout gets no next_tuple, but acks and fails of the tuples in flight.
        if not self.active:
            try:
                self._flush()
            except QueueError as error:
                self.logger.error("%s", error)

    def ack(self, tup_id: str) -> None:
        self.acked.append(tup_id)
        self._flush_if_last()

    def fail(self, tup_id: str) -> None:
        self.failed.append(tup_id)
        self._flush_if_last()

    def activate(self) -> None:
        self.active = True

    def deactivate(self) -> None:
        self.active = False
        self._flush_if_last()
