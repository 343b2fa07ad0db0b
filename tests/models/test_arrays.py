"""NumPy's files of arrays: read by several threads at once."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.arrays import array_from, arrays_from, map_array


@pytest.fixture
def switching() -> Iterator[None]:
    """Other threads come to run whenever memory is collected, which happens in the midst of anything."""

    def switch(_phase: str, _info: dict[str, int]) -> None:
        time.sleep(0)

    before = gc.get_threshold()
    gc.callbacks.append(switch)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(switch)


def test_threads_read_arrays_at_once(tmp_path: Path, switching: None) -> None:
    path = tmp_path / "array.npy"
    wanted = np.arange(6.0).reshape(2, 3)
    np.save(path, wanted)
    archive = io.BytesIO()
    np.savez(archive, wanted=wanted)

    def read(_round: int) -> list[Any]:
        return [map_array(path), array_from(path.read_bytes()), arrays_from(archive.getvalue())["wanted"]]

    with ThreadPoolExecutor(8) as pool:
        for arrays in pool.map(read, range(300)):
            for array in arrays:
                np.testing.assert_array_equal(array, wanted)
