"""PhotoSource: the places that photos may be read from."""

from __future__ import annotations

from dataclasses import dataclass

WEB_AND_FILE_SCHEMES = ("file", "http", "https")
OBJECT_STORE_SCHEMES = (
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"),
    *("hdfs", "webhdfs", "sftp", "ssh", "ftp"),
)
"""Not all schemes of fsspec: some of the others (local, generic, filecache) lead around `photo_roots`."""


@dataclass(frozen=True)
class PhotoSource:
    """The places that photos may be read from, beside web servers: by default the files below `photo_roots`.

    The default is for URIs that arrive in events. The code that knows where its URIs come from makes another.
    """

    any_file: bool = False
    """True: all files of this machine, not only those below `photo_roots`, for URIs named by this process's user."""
    object_stores: bool = False
    """True: URIs of `OBJECT_STORE_SCHEMES` too, read with this process's credentials. Needs fsspec."""

    @property
    def schemes(self) -> tuple[str, ...]:
        """The URI schemes that are read."""
        return WEB_AND_FILE_SCHEMES + OBJECT_STORE_SCHEMES * self.object_stores


EVENT_SOURCE = PhotoSource()
"""The source for URIs that arrive in events."""
