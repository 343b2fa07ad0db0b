"""Reads PyTorch's legacy ``.pth`` files of plain tensors, without PyTorch and without running any of their code.

The layout is five pickles (a magic number, a protocol version, facts about the writer, the state dict, the storages'
keys) and then, for each key in turn, the number of elements as int64 and the elements themselves.
Source: torch/serialization.py, ``_legacy_save`` and ``_legacy_load``.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
# Errors that a crafted pickle can make the unpickler raise; each means "corrupt" and no more.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, OverflowError, MemoryError,
    RecursionError, AssertionError,
)  # fmt: skip


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a legacy ``.pth`` file by name, in the file's order; see `parse_state_dict`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    return parse_state_dict(data, str(path))


def parse_state_dict(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """Parse the bytes of a legacy ``.pth`` file into tensors; `where` names the file in messages.

    Returns:
        name -> contiguous array of the tensor's own shape and type, a copy.

    Raises:
        ModelError: the file is truncated, is not a legacy ``.pth``, has other objects than plain tensors, or a tensor
            points outside its storage. Nothing in the file was called or imported.
    """
    stream = io.BytesIO(data)

    def load() -> Any:
        try:
            return _PlainUnpickler(stream, where).load()
        except _UNPICKLING_ERRORS as error:
            _refuse(where, f"no pickle at byte {stream.tell()}: {error}")

    if data[:2] == b"PK":
        _refuse(where, "it is in PyTorch's newer zip format")
    magic, protocol, writer = load(), load(), load()
    if magic != MAGIC or protocol != PROTOCOL:
        _refuse(where, f"it begins with {magic!r}, {protocol!r} instead of {MAGIC!r}, {PROTOCOL!r}")
    if not isinstance(writer, dict) or writer.get("little_endian") is not True:
        _refuse(where, f"it was not written little-endian: {writer!r}")
    tensors, keys = load(), load()
    if not isinstance(tensors, Mapping) or not isinstance(keys, list):
        _refuse(where, "it holds no state dict")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            _refuse(where, f"{name!r} is no tensor but {type(tensor).__name__}")
    storages = _read_storages(stream, keys, {t.storage.key: t.storage for t in tensors.values()}, where)
    return {name: _array(tensor, storages[tensor.storage.key], f"{where}: {name}") for name, tensor in tensors.items()}


@dataclass(frozen=True)
class _StorageType:
    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype[Any]
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles ordered dicts, tensors and their storages; refuses every other global before it is imported."""

    def __init__(self, stream: io.BytesIO, where: str) -> None:
        super().__init__(stream)
        self._where = where

    def find_class(self, module: str, name: str) -> Callable[..., Any] | _StorageType:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module != "torch" or name not in _DTYPES:
            _refuse(self._where, f"it asks for the global {module}.{name}, and only plain tensors are read")
        return _StorageType(name)

    def persistent_load(self, pid: Any) -> _Storage:
        # Only versions before 0.4 wrote a view's sixth field (a slice of another storage).
        kind, type_, key, _location, count, view = pid
        if kind != "storage" or not isinstance(type_, _StorageType) or view is not None:
            raise ValueError(f"unknown persistent id {pid!r}")
        if not isinstance(key, str) or not _is_size(count):
            raise ValueError(f"storage {key!r} of {count!r} elements")
        return _Storage(np.dtype(_DTYPES[type_.name]), key, count)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_unused: Any) -> _Tensor:
    """Replaces ``torch._utils._rebuild_tensor_v2``; the arguments after the strides matter to training only."""
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not all(map(_is_size, sizes)) or len(shape) != len(strides):
        raise ValueError(f"tensor of shape {shape!r}, strides {strides!r} at {offset!r}")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _read_storages(
    stream: io.BytesIO, keys: list[Any], wanted: dict[str, _Storage], where: str
) -> dict[str, NDArray[Any]]:
    if len(keys) != len(wanted) or set(keys) != set(wanted):
        _refuse(where, f"it lists {len(keys)} storages and its tensors use {len(wanted)}")
    data = stream.getbuffer()
    storages = {}
    for key in keys:
        storage, start = wanted[key], stream.tell() + 8
        count = int.from_bytes(stream.read(8), "little")
        end = start + count * storage.dtype.itemsize
        if count != storage.count or end > len(data):
            _refuse(where, f"storage {key!r} should have {storage.count} elements up to byte {end} of {len(data)}")
        storages[key] = np.frombuffer(data[start:end], storage.dtype)
        stream.seek(end)
    if stream.tell() != len(data):
        _refuse(where, f"it goes on for {len(data) - stream.tell()} bytes after its last tensor")
    return storages


def _array(tensor: _Tensor, storage: NDArray[Any], where: str) -> NDArray[Any]:
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    # The first comparison prevents that a stride of 0 makes a huge array of a few bytes.
    if count > storage.size or (count and last >= storage.size):
        _refuse(where, f"shape {tensor.shape} at {tensor.offset} is outside its storage of {storage.size} elements")
    strides = [step * storage.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.array(view, order="C")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _refuse(where: str, reason: str) -> NoReturn:
    raise ModelError(f"{where}: not a readable legacy .pth file: {reason}")
