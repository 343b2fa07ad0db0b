"""ObjectStore: an S3 server (moto's) as a process of its own on 127.0.0.1, and the environment that leads to it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import fsspec.config
import pytest

from autotag.storage.folder import Folder
from tests.conftest import free_ports

START_TIMEOUT_S = 60


@dataclass(frozen=True)
class ObjectStore:
    """A server with one empty bucket."""

    url: str
    """Of the bucket."""
    environment: dict[str, str]
    """For processes that use it."""


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """The server, up, and this process set to use it for ``s3``."""
    port = free_ports(1)[0]
    endpoint = f"http://127.0.0.1:{port}"
    environment = {
        "FSSPEC_S3_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "s3", {"endpoint_url": endpoint})
        try:
            _wait(server, port)
            fsspec.filesystem("s3").mkdir("photos")
            yield ObjectStore("s3://photos", environment)
        finally:
            server.terminate()
            server.wait()


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert server.poll() is None, "moto's server ended"
        assert time.monotonic() < deadline, "moto's server does not answer"
        time.sleep(0.05)


def emptied(store: ObjectStore) -> Folder:
    """Its bucket, with nothing in it."""
    folder = Folder(store.url)
    for name in folder.files():
        folder.remove(name)
    return folder
