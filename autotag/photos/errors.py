"""Reasons for which a photo gives no pixels: a small set that is stored, counted and shown."""

from __future__ import annotations

from enum import StrEnum

from autotag.errors import AutotagError


class Reason(StrEnum):
    """The reason for which a photo gives no pixels. Permanent unless `transient`.

    The values are stored, so they never change.
    """

    NOT_FOUND = "not_found"
    """No such file; HTTP 404 or 410."""
    FORBIDDEN = "forbidden"
    """Outside the photo roots, a private address, no permission; HTTP 401, 403, 407 or 451."""
    NOT_A_FILE = "not_a_file"
    """A directory, pipe, socket or device."""
    BAD_URI = "bad_uri"
    """Not an absolute file, http or https URI."""
    REFUSED = "refused"
    """The server answered, but with no photo: any other status, or an encoded body."""
    TOO_MANY_REDIRECTS = "too_many_redirects"
    TOO_LARGE = "too_large"
    """More bytes than `photo_max_bytes`."""
    TOO_MANY_PIXELS = "too_many_pixels"
    """More pixels than `photo_max_pixels`, or than fit into the decoder's memory."""
    NOT_AN_IMAGE = "not_an_image"
    """Empty, or of no photo format; the detail names a video, PDF or SVG."""
    UNSUPPORTED = "unsupported"
    """Of a format whose decoder is not installed here; the detail names the package."""
    TRUNCATED = "truncated"
    """Begins like an image, ends before its end, and has less than 3/4 of its rows."""
    DAMAGED = "damaged"
    """Goes to its end, but its decoder cannot make an image of it."""

    TIMEOUT = "timeout"
    """The server, the name look-up or the decoder took too long."""
    UNREACHABLE = "unreachable"
    """No such host, connection refused, TLS failed."""
    INTERRUPTED = "interrupted"
    """The body ended before its announced length, a read failed, or the file is still being written."""
    SERVER_ERROR = "server_error"
    """HTTP 5xx, 408 or 425."""
    TOO_MANY_REQUESTS = "too_many_requests"
    """HTTP 429. The server may say how long to wait."""
    DECODER_DIED = "decoder_died"
    """The photo ended the process that decoded it."""

    NETWORK_DOWN = "network_down"
    """This machine reaches no host, or no name server."""
    STORAGE_DOWN = "storage_down"
    """A photo root is not there, or this machine can open no file."""

    DECODERS_BUSY = "decoders_busy"
    """Other photos kept all decoders busy for too long."""

    @property
    def transient(self) -> bool:
        """True if the same photo may work later; outages are transient too."""
        return self in _TRANSIENT or self in _OUTAGES

    @property
    def outage(self) -> bool:
        """True if the fault is this machine's or its network's, not the photo's; it uses up no attempt."""
        return self in _OUTAGES


_TRANSIENT = {
    Reason.TIMEOUT,
    Reason.UNREACHABLE,
    Reason.INTERRUPTED,
    Reason.SERVER_ERROR,
    Reason.TOO_MANY_REQUESTS,
    Reason.DECODER_DIED,
}
_OUTAGES = {Reason.NETWORK_DOWN, Reason.STORAGE_DOWN, Reason.DECODERS_BUSY}


class PhotoError(AutotagError):
    """A photo gave no pixels. A result about this photo, not a fault of the process.

    Attributes:
        reason: one of a small set, for stores and counters.
        detail: one line for people, with the photo's URI where it is known.
        wait_s: seconds that the server asked to wait before the next attempt; 0 if it asked for nothing.
    """

    def __init__(self, reason: Reason, detail: str, wait_s: float = 0.0) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.wait_s = wait_s

    def about(self, photo: str) -> PhotoError:
        """Return the same error with the photo named in its detail."""
        return PhotoError(self.reason, f"{photo}: {self.detail}", self.wait_s)

    @property
    def transient(self) -> bool:
        """True if the same photo may work later; outages are transient too."""
        return self.reason.transient

    @property
    def outage(self) -> bool:
        """True if the fault is this machine's or its network's, not the photo's; it uses up no attempt."""
        return self.reason.outage
