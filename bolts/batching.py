"""NaturalBatchingBolt: base class of bolts that load long and work in batches, and always answer Storm meanwhile.

pystorm reads tuples, answers heartbeats and catches exceptions in one thread. Here that thread only queues the tuples.
A worker thread takes all tuples that wait, up to a limit, at once: single tuples in an idle stream, batches under load.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pystorm.exceptions import StormWentAwayError
from streamparse import Bolt

from autotag.settings import Settings

KEEP_ALIVE_S = 5.0
"""Seconds between signs of life while loading; without them Storm ends the worker after
`topology.subprocess.timeout.secs`."""


class NaturalBatchingBolt(Bolt):
    """Subclasses implement `load` and `process_batch`; both may take any time."""

    # pystorm would ack in the reading thread. Here the worker thread acks a tuple, once, when its batch is done.
    auto_anchor = auto_ack = auto_fail = False

    def __init__(self, input_stream: Any = sys.stdin, output_stream: Any = None, **options: Any) -> None:
        super().__init__(input_stream, output_stream or _take_stdout(), **options)
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._batch_limit = 1
        self._held = threading.local()

    def load(self, settings: Settings) -> int:
        """Build the collaborators; return the largest batch."""
        raise NotImplementedError

    def process_batch(self, batch: list[Any]) -> None:
        """Process the items that `hand_over` queued (tuples, by default), and ack or fail each tuple."""
        raise NotImplementedError

    def initialize(self, storm_conf: dict[str, Any], context: dict[str, Any]) -> None:
        with self._kept_alive():
            self.guarded(self._load, storm_conf)
        self.start_thread(self._work, "batches")

    def _load(self, storm_conf: dict[str, Any]) -> None:
        self._batch_limit = self.load(Settings.from_storm(storm_conf))
        # The loaded objects stay, so the garbage collector need not visit them again and again.
        gc.collect()
        gc.freeze()

    def process(self, tup: Any) -> None:
        self.hand_over(tup)

    def hand_over(self, item: Any) -> None:
        """Queue `item` for the next batch of the worker thread."""
        self._waiting.put(item)

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < self._batch_limit and not self._waiting.empty():
                batch.append(self._waiting.get())  # does not wait: this thread is the only taker
            with self._sent_together():
                self.process_batch(batch)

    def start_thread(self, work: Callable[[], None], name: str) -> None:
        """Run `work` in a thread, as long as this process lives."""
        threading.Thread(target=self.guarded, args=(work,), name=name, daemon=True).start()

    def tell(self, what: str) -> None:
        """Log an error that this process survives, and report it to Storm, so that `autotag status` shows it."""
        self.logger.error("%s", what)
        self.send_message({"command": "error", "msg": what})

    def guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Run `work` in any thread. An exception is reported to Storm and ends this process; Storm starts it again."""
        try:
            work(*args)
        except StormWentAwayError:
            os._exit(2)
        except BaseException as error:
            self.logger.exception("ending this process: %s", error)
            try:
                self.raise_exception(error)
            finally:
                os._exit(1)  # sys.exit would end only this thread

    @contextmanager
    def _kept_alive(self) -> Iterator[None]:
        done = threading.Event()

        def sign_of_life() -> None:
            while not done.wait(KEEP_ALIVE_S):
                self.send_message({"command": "sync"})

        thread = threading.Thread(target=self.guarded, args=(sign_of_life,), name="keep-alive", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def send_message(self, message: dict[str, Any]) -> None:
        """Send `message` or raise. pystorm's own method logs a failure and goes on; then the next ack loses a photo."""
        text = f"{json.dumps(message, allow_nan=False)}\nend\n"
        held: list[str] | None = getattr(self._held, "messages", None)
        if held is None:
            self._write(text)
        else:
            held.append(text)

    @contextmanager
    def _sent_together(self) -> Iterator[None]:
        """Collect the messages of this thread, and send them together at the end: each write wakes Storm's worker."""
        self._held.messages = []
        try:
            yield
            self._write("".join(self._held.messages))
        finally:
            self._held.messages = None

    def _write(self, text: str) -> None:
        stream = self.serializer.output_stream
        with self._writer_lock:
            try:
                stream.write(text)
                stream.flush()
            except OSError as error:
                raise StormWentAwayError from error


def _take_stdout() -> Any:
    """Return a copy of file descriptor 1 for the protocol, and point 1 to 2: native libraries then print to the log."""
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return private
