"""Reasons for which a photo gives no pixels: a small set that is stored, counted and shown."""

from __future__ import annotations

from enum import StrEnum

from autotag.errors import AutotagError


class Fate(StrEnum):
    """What becomes of a photo's event after a failure, and whether the attempt counts."""

    PERMANENT = "rejected for good"
    TRANSIENT = "tried again, after a growing wait; each try is an attempt"
    OUTAGE = "tried again, after a growing wait; uses up no attempt"


class Reason(StrEnum):
    """The reasons for which a photo gives no pixels: the stored word, its fate, its meaning, and what to do about it.

    The words are stored, so they never change. `python -m tools.write_docs` writes docs/reasons.md from this table.
    """

    fate: Fate
    meaning: str
    action: str

    def __new__(cls, word: str, fate: Fate, meaning: str, action: str) -> Reason:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.fate, reason.meaning, reason.action = fate, meaning, action
        return reason

    NOT_FOUND = (
        "not_found",
        Fate.PERMANENT,
        "No such file; HTTP 404 or 410.",
        "Push the photo again with its new address.",
    )
    FORBIDDEN = (
        "forbidden",
        Fate.PERMANENT,
        "Outside the photo roots, a private address, no permission; HTTP 401, 403, 407 or 451.",
        "Check autotag.photo.roots, autotag.photo.private.hosts, or whether a presigned URL has expired.",
    )
    NOT_A_FILE = (
        "not_a_file",
        Fate.PERMANENT,
        "A directory, pipe, socket or device.",
        "Name the photo itself.",
    )
    BAD_URI = (
        "bad_uri",
        Fate.PERMANENT,
        "Not an absolute file, http or https URI.",
        "Mend the upload pipeline's URIs.",
    )
    REFUSED = (
        "refused",
        Fate.PERMANENT,
        "The server answered with no photo: any other status.",
        "Open the URL by hand.",
    )
    TOO_MANY_REDIRECTS = (
        "too_many_redirects",
        Fate.PERMANENT,
        "More than five redirects.",
        "Push the final URL.",
    )
    TOO_LARGE = (
        "too_large",
        Fate.PERMANENT,
        "More bytes than autotag.photo.max.bytes.",
        "Raise the limit, or push a smaller rendition.",
    )
    TOO_MANY_PIXELS = (
        "too_many_pixels",
        Fate.PERMANENT,
        "More pixels than autotag.photo.max.pixels, or than fit into the decoder's memory.",
        "Raise the limit, or push a smaller rendition.",
    )
    NOT_AN_IMAGE = (
        "not_an_image",
        Fate.PERMANENT,
        "Empty, or of no photo format; the detail names a video, PDF or SVG.",
        "Nothing, or push a still of the video.",
    )
    UNSUPPORTED = (
        "unsupported",
        Fate.PERMANENT,
        "Of a format whose decoder is not installed here.",
        "Install the package that the detail names, and push the photo again.",
    )
    TRUNCATED = (
        "truncated",
        Fate.PERMANENT,
        "Ends before its end, and has less than 3/4 of its rows.",
        "Upload the photo again.",
    )
    DAMAGED = (
        "damaged",
        Fate.PERMANENT,
        "Goes to its end, but its decoder cannot make an image of it.",
        "Upload the photo again.",
    )
    TIMEOUT = (
        "timeout",
        Fate.TRANSIENT,
        "The server, the name look-up or the decoder took too long.",
        "If it is frequent: look at the photo host's load, then at autotag.photo.deadline.s.",
    )
    UNREACHABLE = (
        "unreachable",
        Fate.TRANSIENT,
        "No such host, connection refused, TLS failed.",
        "Check the photo host.",
    )
    INTERRUPTED = (
        "interrupted",
        Fate.TRANSIENT,
        "The body ended before its announced length, a read failed, or the file is still being written.",
        "Nothing; if it ends as a dead letter, upload the photo again.",
    )
    SERVER_ERROR = (
        "server_error",
        Fate.TRANSIENT,
        "HTTP 5xx, 408 or 425.",
        "Check the photo host.",
    )
    TOO_MANY_REQUESTS = (
        "too_many_requests",
        Fate.TRANSIENT,
        "HTTP 429. The wait is at least what Retry-After asks for, up to autotag.queue.backoff.max.s.",
        "Fewer taggers, or a higher limit at the photo host.",
    )
    DECODER_DIED = (
        "decoder_died",
        Fate.TRANSIENT,
        "The photo ended the process that decoded it.",
        "Keep the photo of the dead letter: it shows a fault of a decoder.",
    )
    NETWORK_DOWN = (
        "network_down",
        Fate.OUTAGE,
        "This machine reaches no host, or no name server.",
        "Mend the network; nothing is lost meanwhile.",
    )
    STORAGE_DOWN = (
        "storage_down",
        Fate.OUTAGE,
        "A photo root is not there, or this machine can open no file.",
        "Mount the storage; nothing is lost meanwhile.",
    )
    DECODERS_BUSY = (
        "decoders_busy",
        Fate.OUTAGE,
        "Other photos kept all decoders busy for too long.",
        "More decoders (autotag.photo.decoders), or more hosts.",
    )

    @property
    def transient(self) -> bool:
        """True if the same photo may work later; outages are transient too."""
        return self.fate is not Fate.PERMANENT

    @property
    def outage(self) -> bool:
        """True if the fault is this machine's or its network's, not the photo's; it uses up no attempt."""
        return self.fate is Fate.OUTAGE


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
