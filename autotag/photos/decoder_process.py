"""DecoderChild: the parent's end of one process that runs `decode_main`."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotag.photos import decode_main
from autotag.photos.errors import PhotoError, Reason
from models.preprocessing import Preprocessing

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", str(Path(decode_main.__file__).resolve()))
"""Run by its path: an import through its package would load all of ours, and may not find it on a Storm worker."""

_PIPE_BYTES = 1 << 20
"""The limit of Linux for any user (fs.pipe-max-size); at a pipe's default, each 64 KiB cost a switch of processes."""
_START_TIMEOUT_S = 30.0
_MAX_COMPLAINT_BYTES = 65536


class PhotoPixels(NamedTuple):
    """A photo at a network's size.

    Attributes:
        pixels: uint8 [size, size, 3], RGB: the middle of the photo.
        width: of the whole photo as shown, in pixels.
        height: of the whole photo as shown, in pixels.
        partial: True if the photo is damaged, and up to a quarter of its rows may be missing.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    partial: bool


class DecoderChild:
    """A process that speaks the protocol of `decode_main`, and the parent's ends of its two pipes."""

    def __init__(self, command: Sequence[str], timeout_s: float, max_pixels: int) -> None:
        self.photos = 0
        request_source, self._requests = os.pipe()
        self._answers, answer_sink = os.pipe()
        for pipe in (self._requests, self._answers):
            os.set_blocking(pipe, False)
            try:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            except OSError:
                log.debug("a pipe to the decoder keeps its size")
        try:
            self._process = subprocess.Popen(  # noqa: S603 (nothing of the photo is in the command)
                [*command, str(answer_sink), str(timeout_s), str(max_pixels)],
                stdin=request_source,
                stdout=subprocess.DEVNULL,  # Ours is how a Storm worker talks to Storm.
                pass_fds=(answer_sink,),
                process_group=0,  # A Ctrl-C is for us; the child ends when its requests do.
            )
        except BaseException:
            os.close(self._requests)
            os.close(self._answers)
            raise
        finally:
            os.close(request_source)
            os.close(answer_sink)

    def is_running(self) -> bool:
        """Return True until the process has ended."""
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Wait for its READY answer. Raises the errors of `decode`."""
        status, _ = self._receive_answer(time.monotonic() + _START_TIMEOUT_S, 0)
        if status != decode_main.READY:
            raise EOFError(f"it began with status {status}")

    def decode(self, data: bytes, preprocessing: Preprocessing, timeout_s: float) -> PhotoPixels:
        """Return the pixels of a photo.

        Raises:
            PhotoError: the bytes give no pixels.
            MemoryError: the child had not enough.
            TimeoutError: the answer did not come in time.
            OSError, EOFError: the child is gone, or its answer breaks the protocol.
        """
        deadline = time.monotonic() + timeout_s
        self.photos += 1
        size = preprocessing.size
        facts = (size, preprocessing.resize_short_side, preprocessing.interpolation)
        self._send(decode_main.request_header(len(data), *facts), deadline)  # It wakes while the photo is on its way.
        self._send(data, deadline)
        status, content = self._receive_answer(deadline, decode_main.SIDES.size + size * size * 3)
        if status in (decode_main.PIXELS, decode_main.PARTIAL):
            width, height = decode_main.SIDES.unpack_from(content)
            if not width or not height:
                raise EOFError(f"it answered with a photo of {width} x {height} pixels")
            pixels = np.frombuffer(content, np.uint8, offset=decode_main.SIDES.size).reshape(size, size, 3)
            return PhotoPixels(pixels, width, height, status == decode_main.PARTIAL)
        if status == decode_main.NO_MEMORY:
            raise MemoryError
        raise _complaint(content)

    def _receive_answer(self, deadline: float, photo_bytes: int) -> tuple[int, bytearray]:
        """Return status and content. A hostile photo may have taken the child over, so neither is trusted."""
        status, length = decode_main.ANSWER.unpack(self._receive(decode_main.ANSWER.size, deadline))
        fits = {
            decode_main.READY: length == 0,
            decode_main.PIXELS: length == photo_bytes,
            decode_main.PARTIAL: length == photo_bytes,
            decode_main.UNDECODABLE: length <= _MAX_COMPLAINT_BYTES,
            decode_main.NO_MEMORY: length == 0,
        }
        if not fits.get(status, False):
            raise EOFError(f"it answered with status {status} and {length} bytes")
        return status, self._receive(length, deadline)

    def _send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _wait(self._requests, select.POLLOUT, deadline)
            rest = rest[os.write(self._requests, rest) :]

    def _receive(self, length: int, deadline: float) -> bytearray:
        received = bytearray(length)
        rest = memoryview(received)
        while rest:
            _wait(self._answers, select.POLLIN, deadline)
            count = os.readv(self._answers, [rest])
            if count == 0:
                raise EOFError("it closed its answers")
            rest = rest[count:]
        return received

    def end(self) -> str:
        """End the process if it still runs, wait for it, and return how it ended."""
        os.close(self._requests)
        os.close(self._answers)
        try:
            status = self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        names = {-number.value: number.name for number in signal.Signals}
        return f"ended by {names.get(status, -status)}" if status < 0 else f"ended with status {status}"


def _complaint(content: bytearray) -> PhotoError:
    try:
        answer = json.loads(content)
        reason = Reason(answer["reason"])  # type: ignore[call-arg]
        detail = " ".join(str(answer["detail"]).split())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EOFError(f"it answered {bytes(content[:80])!r}") from error
    if reason.transient:  # The child judges bytes only.
        raise EOFError(f"it answered {reason}")
    return PhotoError(reason, detail)


def _wait(fd: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError("the decoder does not answer")
