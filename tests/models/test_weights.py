"""Reading legacy ``.pth`` files: every plain tensor comes back, and nothing else is ever run."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ModelError
from models.weights import parse_state_dict, read_state_dict
from tests.model_files import legacy_pth

TENSORS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(7, np.int64),
    "halves": np.array([0.5, -2], np.float16),
    # TensorFlow's layout, as converted weights have it: the strides are not the shape's own.
    "transposed": np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 1, 0),
    "empty": np.empty((0, 3), np.float32),
}


def test_every_tensor_comes_back_with_its_name_shape_type_and_order(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(legacy_pth(TENSORS))
    read = read_state_dict(path)
    assert list(read) == list(TENSORS)
    for name, wanted in TENSORS.items():
        assert read[name].dtype == wanted.dtype
        assert read[name].shape == wanted.shape
        np.testing.assert_array_equal(read[name], wanted)
        assert read[name].flags.c_contiguous
        assert read[name].flags.writeable


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_any_pickle_protocol_is_read(protocol: int) -> None:
    assert parse_state_dict(legacy_pth(TENSORS, protocol), "x.pth").keys() == TENSORS.keys()


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("was-run",)


def test_any_other_global_is_refused_by_name_and_never_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"evil\.pth.*posix\.mkdir"):
        parse_state_dict(legacy_pth({"a": TENSORS["matrix"], "b": _Evil()}), "evil.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [3, "text", [1.0], OrderedDict()])
def test_a_state_dict_of_anything_but_tensors_is_refused(value: object) -> None:
    with pytest.raises(ModelError, match="'other' is no tensor"):
        parse_state_dict(legacy_pth({"other": value}), "x.pth")


@given(st.integers(0, len(legacy_pth(TENSORS)) - 1))
def test_a_file_cut_anywhere_is_a_model_error(length: int) -> None:
    with pytest.raises(ModelError, match=r"cut\.pth"):
        parse_state_dict(legacy_pth(TENSORS)[:length], "cut.pth")


@given(st.integers(0, len(legacy_pth(TENSORS)) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_a_model_error_or_other_numbers_but_nothing_else(place: int, change: int) -> None:
    data = bytearray(legacy_pth(TENSORS))
    data[place] ^= change
    try:
        read = parse_state_dict(bytes(data), "bad.pth")
    except ModelError:
        return
    assert len(read) == len(TENSORS)


def test_bytes_after_the_last_tensor_are_refused() -> None:
    with pytest.raises(ModelError, match="3 bytes after"):
        parse_state_dict(legacy_pth(TENSORS) + b"abc", "x.pth")


@pytest.mark.parametrize(
    ("shape", "strides", "reason"), [((2, 4), (4, 1), "outside"), ((3, 3), (3, 1), "outside"), ((9,), (0,), "outside")]
)
def test_a_tensor_outside_its_storage_is_refused(shape: tuple[int, ...], strides: tuple[int, ...], reason: str) -> None:
    storage = np.arange(6, dtype=np.float32)
    liar = np.lib.stride_tricks.as_strided(storage, shape, [step * 4 for step in strides])
    data = legacy_pth({"liar": _Sized(liar, 6)})
    with pytest.raises(ModelError, match=reason):
        parse_state_dict(data, "x.pth")


class _Sized(np.ndarray):
    """An array whose storage claims another number of elements than the array's shape needs."""

    def __new__(cls, array: np.ndarray, size: int) -> _Sized:
        view = array.view(cls)
        view.claimed = size
        return view

    def __array_finalize__(self, array: np.ndarray | None) -> None:
        self.claimed = getattr(array, "claimed", 0)

    @property
    def size(self) -> int:
        return self.claimed

    def tobytes(self, order: str | None = "C") -> bytes:
        return np.arange(self.claimed, dtype=np.float32).tobytes()


def test_the_newer_zip_format_is_named() -> None:
    with pytest.raises(ModelError, match="zip"):
        parse_state_dict(b"PK\x03\x04", "new.pth")


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pth"):
        read_state_dict(tmp_path / "none.pth")
