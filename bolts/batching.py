"""NaturalBatchingBolt: what a bolt needs that loads long, works in batches, and must never stop answering Storm.

pystorm reads tuples, answers heartbeats and catches exceptions in one thread. Here that thread only hands tuples on,
and a worker thread takes whatever waits, up to a limit, at once: alone when the stream is idle, in batches under load.
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
"""Between signs of life while loading; Storm ends the worker after `topology.subprocess.timeout.secs` without one."""


class NaturalBatchingBolt(Bolt):
    """Subclasses give `load` and `process_batch`; both may take as long as they need."""

    # They belong to the reading thread: a tuple is acked when its batch is done, by the thread that did it, once.
    auto_anchor = auto_ack = auto_fail = False

    def __init__(self, input_stream: Any = sys.stdin, output_stream: Any = None, **options: Any) -> None:
        super().__init__(input_stream, output_stream or _take_stdout(), **options)
        self._waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._batch_limit = 1
        self._held = threading.local()

    def load(self, settings: Settings) -> int:
        """Build the collaborators; returns the batch limit."""
        raise NotImplementedError

    def process_batch(self, batch: list[Any]) -> None:
        """Work on what was handed over with `hand_over` (tuples, by default), and ack or fail every tuple of it."""
        raise NotImplementedError

    def initialize(self, storm_conf: dict[str, Any], context: dict[str, Any]) -> None:
        with self._kept_alive():
            self.guarded(self._load, storm_conf)
        self.start_thread(self._work, "batches")

    def _load(self, storm_conf: dict[str, Any]) -> None:
        self._batch_limit = self.load(Settings.from_storm(storm_conf))
        # What is loaded stays: the garbage collector need not look through all of it again and again.
        gc.collect()
        gc.freeze()

    def process(self, tup: Any) -> None:
        self.hand_over(tup)

    def hand_over(self, item: Any) -> None:
        """Let the worker thread have `item` in its next batch."""
        self._waiting.put(item)

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < self._batch_limit and not self._waiting.empty():
                batch.append(self._waiting.get())  # does not wait: this thread is the only taker
            with self._sent_together():
                self.process_batch(batch)

    def start_thread(self, work: Callable[[], None], name: str) -> None:
        """Run `work` beside, for as long as this process lives."""
        threading.Thread(target=self.guarded, args=(work,), name=name, daemon=True).start()

    def tell(self, what: str) -> None:
        """Log an error that this process survives, and let Storm know, where `autotag status` finds it."""
        self.logger.error("%s", what)
        self.send_message({"command": "error", "msg": what})

    def guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Run `work` in any thread; an exception of ours is reported to Storm and ends this process, loudly."""
        try:
            work(*args)
        except StormWentAwayError:
            os._exit(2)
        except BaseException as error:
            self.logger.exception("ending this process: %s", error)
            try:
                self.raise_exception(error)
            finally:
                os._exit(1)  # sys.exit would end this thread only

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
        """Send, or raise: pystorm's own logs what it cannot serialise and goes on; the next ack then loses a photo."""
        text = f"{json.dumps(message, allow_nan=False)}\nend\n"
        held: list[str] | None = getattr(self._held, "messages", None)
        if held is None:
            self._write(text)
        else:
            held.append(text)

    @contextmanager
    def _sent_together(self) -> Iterator[None]:
        """Send what this thread has to say at the end, at once: each message alone would wake Storm's worker."""
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
    """A private copy of file descriptor 1, which then points to 2: what a native library prints is not the protocol."""
    private = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return private
