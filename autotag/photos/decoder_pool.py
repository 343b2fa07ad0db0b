"""Decoder and DecoderPool: decode in child processes, so that no photo can end or block the process that reads it."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Sequence
from types import TracebackType

from autotag.photos import decode_main
from autotag.photos.decoder_process import COMMAND, DecoderChild, PhotoPixels
from autotag.photos.errors import PhotoError, Reason
from models.preprocessing import Preprocessing

log = logging.getLogger(__name__)

_GRACE_S = 5.0
"""The child ends itself when a photo's time is over; if it cannot even do that, it is killed this much later."""


class Decoder:
    """One child process that decodes, started when first needed and again after it died; a context manager.

    Safe for many threads, one photo at a time.

    Args:
        timeout_s: for one photo.
        max_pixels: of one photo; also sets how much memory the child may use.
        command: a program with the protocol of `decode_main`, to run instead of it.
    """

    def __init__(self, *, timeout_s: float, max_pixels: int, command: Sequence[str] = COMMAND) -> None:
        self._timeout_s = timeout_s
        self._max_pixels = max_pixels
        self._command = command
        self._lock = threading.Lock()
        self._child: DecoderChild | None = None

    def start(self) -> None:
        """Start the child if none runs, and wait until it is ready; some 50 ms.

        Raises:
            RuntimeError: it ends before it is ready, twice.
        """
        with self._lock:
            self._running()

    def decode(self, data: bytes, preprocessing: Preprocessing) -> PhotoPixels:
        """Return the upright middle of a photo; see `decode_main.decode_photo`.

        Raises:
            PhotoError: the bytes give no pixels, or the child died of them or ran out of time. The next photo gets a
                new child.
            RuntimeError: no child can be started.
        """
        with self._lock:
            while True:
                child = self._running()
                fresh = child.photos == 0
                try:
                    return self._ask(child, data, preprocessing)
                except MemoryError as error:
                    self._end()
                    if fresh:  # A child that is not fresh may lack room because of earlier photos: try a fresh one.
                        limit_mib = decode_main.memory_limit_bytes(self._max_pixels) >> 20
                        detail = f"does not fit into the decoder's {limit_mib} MiB"
                        raise PhotoError(Reason.TOO_MANY_PIXELS, detail) from error

    def close(self) -> None:
        """End the child, after its current photo."""
        with self._lock:
            self._end()

    def _running(self) -> DecoderChild:
        if self._child is not None and not self._child.is_running():
            self._end()  # It died between two photos: that is no photo's fault.
        if self._child is None:
            for last in (False, True):
                child = DecoderChild(self._command, self._timeout_s, self._max_pixels)
                try:
                    child.wait_until_ready()
                except (OSError, EOFError) as error:
                    how = child.end()
                    if last:
                        raise RuntimeError(f"the decoder {how} before it was ready: {self._command}") from error
                except BaseException:
                    child.end()
                    raise
                else:
                    self._child = child
                    break
        assert self._child is not None  # noqa: S101
        return self._child

    def _ask(self, child: DecoderChild, data: bytes, preprocessing: Preprocessing) -> PhotoPixels:
        try:
            return child.decode(data, preprocessing, self._timeout_s + _GRACE_S)
        except (PhotoError, MemoryError):
            raise
        except TimeoutError:
            self._end()
        except (OSError, EOFError) as error:
            how = self._end()
            if how != "ended by SIGALRM":
                log.warning("the decoder %s at a photo of %d bytes (%s)", how, len(data), error)
                raise PhotoError(Reason.DECODER_DIED, f"the decoder {how}") from error
        except BaseException:  # Half a request or an answer would be left in the pipes.
            self._end()
            raise
        raise PhotoError(Reason.TIMEOUT, f"was not decoded within {self._timeout_s:g} s")

    def _end(self) -> str:
        child, self._child = self._child, None
        return child.end() if child else ""

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DecoderPool:
    """Several decoders behind one `decode`; a context manager.

    Args:
        count: child processes.
        preprocessing: the network's.
        wait_s: the longest wait of a photo for a free child.
        timeout_s, max_pixels, command: as for `Decoder`.
    """

    def __init__(
        self,
        count: int,
        preprocessing: Preprocessing,
        *,
        timeout_s: float,
        wait_s: float,
        max_pixels: int,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._preprocessing = preprocessing
        self._wait_s = wait_s
        self._decoders = [Decoder(timeout_s=timeout_s, max_pixels=max_pixels, command=command) for _ in range(count)]
        # The last one used is taken first: the others are not even started while one is enough.
        self._idle: queue.LifoQueue[Decoder] = queue.LifoQueue()
        for decoder in self._decoders:
            self._idle.put(decoder)

    def start(self) -> None:
        """Start all children now, so that no photo waits for one."""
        for decoder in self._decoders:
            decoder.start()

    def decode(self, data: bytes) -> PhotoPixels:
        """Return the upright middle of a photo. Safe for many threads; waits for an idle child.

        Raises:
            PhotoError, RuntimeError: as `Decoder.decode`; also when no child was free within `wait_s`.
        """
        try:
            decoder = self._idle.get(timeout=self._wait_s)
        except queue.Empty:
            detail = f"no decoder was free within {self._wait_s:g} s: others' photos kept them all busy"
            raise PhotoError(Reason.DECODERS_BUSY, detail) from None
        try:
            return decoder.decode(data, self._preprocessing)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        """End the children, each after its current photo."""
        for decoder in self._decoders:
            decoder.close()

    def __enter__(self) -> DecoderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
