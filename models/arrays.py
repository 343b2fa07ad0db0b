"""NumPy's files of arrays, read by one thread at a time.

NumPy reads the header of a file with `ast.literal_eval`, which counts its depth in one place for all threads of the
interpreter: on Python 3.11 it fails with "AST constructor recursion depth mismatch" in a thread that another one
interrupts there.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_one_at_a_time = threading.Lock()


def map_array(path: Path) -> NDArray[Any]:
    """Return the array of a `.npy` file, mapped: its pages are read when they are used.

    Raises:
        OSError, ValueError, EOFError: it is missing, or not such a file.
    """
    with _one_at_a_time:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def array_from(data: bytes) -> NDArray[Any]:
    """Return the array whose `.npy` file holds `data`.

    Raises:
        ValueError, EOFError: it is not such a file.
    """
    with _one_at_a_time:
        array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def arrays_from(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays by name of the `.npz` file that holds `data`.

    Raises:
        ValueError, EOFError, zipfile.BadZipFile: it is not such a file.
    """
    with _one_at_a_time, np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
