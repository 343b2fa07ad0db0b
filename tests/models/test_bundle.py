"""Bundle: what is opened is what was published, newer means a higher number, and banks' tags are merged."""

from __future__ import annotations

import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.bundle import MANIFEST, Bundle, Tag, install
from models.bundle_folder import CURRENT, make_current
from models.errors import ModelError
from models.manifest import parse_manifest
from tests.model_files import PREPROCESSING, write_small_bundle


def test_a_bundle_says_what_it_is(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b", precision="bf16", made={"command": "by hand"})
    assert Bundle.open(tmp_path / "b").version == bundle.version
    assert (bundle.name, bundle.sequence, bundle.precision) == ("small", 0, "bf16")
    assert (bundle.preprocessing, bundle.made) == (PREPROCESSING, {"command": "by hand"})
    assert (len(bundle.version), len(bundle.network_key)) == (64, 64)
    assert bundle.network_path.read_bytes() == b"a network that nobody runs"
    assert [bank.name for bank in bundle.banks] == ["imagenet"]


def test_the_version_is_the_contents_and_not_how_it_was_made(tmp_path: Path) -> None:
    first = write_small_bundle(tmp_path / "first", made={"at": "noon"})
    again = write_small_bundle(tmp_path / "again", made={"at": "midnight"})
    assert first.version == again.version
    others = [
        write_small_bundle(tmp_path / "precision", precision="bf16"),
        write_small_bundle(tmp_path / "network", network=b"another"),
        write_small_bundle(tmp_path / "banks", banks=["imagenet", "more"]),
    ]
    assert len({bundle.version for bundle in (first, *others)}) == 4
    # What features depend on has a key of its own, which outlives the classifiers.
    assert [bundle.network_key == first.network_key for bundle in others] == [False, False, True]


def test_where_a_bundle_was_built_changes_its_probe_and_not_its_version(tmp_path: Path) -> None:
    here = write_small_bundle(tmp_path / "here")
    there = write_small_bundle(tmp_path / "there", probe=here.probe * np.float32(1.01))
    assert there.version == here.version
    assert (there.probe != here.probe).all()


def test_publishing_gives_the_next_number_and_what_is_current_is_opened(tmp_path: Path) -> None:
    root = tmp_path / "published"
    for number, precision in enumerate(("f32", "bf16", "int8"), 1):
        write_small_bundle(tmp_path / "b", precision=precision)
        bundle = install(tmp_path / "b", root)
        assert (bundle.sequence, bundle.precision) == (number, precision)
        assert bundle.folder == root / f"{number:06d}-{bundle.version[:12]}"
        assert not (tmp_path / "b").exists()
        assert Bundle.open(root).sequence == 1  # published is not in use
    make_current(root, bundle.folder.name)
    assert Bundle.open(root).sequence == 3
    assert (root / CURRENT).read_text() == f"{bundle.folder.name}\n"
    (root / CURRENT).unlink()
    assert Bundle.open(root).sequence == 3  # the newest, where nobody has said which
    assert Bundle.open(root / bundle.folder.name).sequence == 3
    first = min(folder for folder in root.iterdir() if folder.name.startswith("000001"))
    assert Bundle.open(first).precision == "f32"


def test_publishing_what_is_newest_already_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "published"
    write_small_bundle(tmp_path / "a", made={"at": "noon"})
    first = install(tmp_path / "a", root)
    write_small_bundle(tmp_path / "b", made={"at": "midnight"})
    assert install(tmp_path / "b", root).folder == first.folder
    # Going back to an older version is news again, and so is what got its number elsewhere.
    write_small_bundle(tmp_path / "c", precision="bf16")
    install(tmp_path / "c", root)
    assert install(tmp_path / "b", root).sequence == 3
    write_small_bundle(tmp_path / "b")
    assert install(tmp_path / "b", root, at_least=3).sequence == 4
    write_small_bundle(tmp_path / "b")
    assert install(tmp_path / "b", root, at_least=3).sequence == 4
    write_small_bundle(tmp_path / "d", precision="int8")
    assert install(tmp_path / "d", root, at_least=41).sequence == 42


@pytest.mark.parametrize("text", ["", "000009-0123456789ab", "../elsewhere", "a\0b"])
def test_a_current_that_is_not_there_is_named(tmp_path: Path, text: str) -> None:
    write_small_bundle(tmp_path / "b")
    bundle = install(tmp_path / "b", tmp_path)
    (tmp_path / CURRENT).write_text(text)
    with pytest.raises(ModelError, match=rf"{tmp_path}/CURRENT: names .*there are \['{bundle.folder.name}'\]"):
        Bundle.open(tmp_path)


def test_publishers_at_once_get_a_number_each(tmp_path: Path) -> None:
    names = [f"b{number}" for number in range(8)]
    for name in names:
        write_small_bundle(tmp_path / name, network=name.encode())
    with ThreadPoolExecutor(8) as pool:
        bundles = list(pool.map(lambda name: install(tmp_path / name, tmp_path / "published"), names))
    assert sorted(bundle.sequence for bundle in bundles) == list(range(1, 9))
    assert [bundle.network_path.read_text() for bundle in bundles] == names


def test_unfinished_builds_beside_the_published_are_not_seen(tmp_path: Path) -> None:
    write_small_bundle(tmp_path / "b")
    install(tmp_path / "b", tmp_path / "published")
    (tmp_path / "published" / ".building-x").mkdir()
    (tmp_path / "published" / "000009-unfinished").mkdir()
    assert Bundle.open(tmp_path / "published").sequence == 1


def test_where_there_is_no_bundle_the_message_says_how_to_build_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match=rf"{path}.*autotag model build"):
            Bundle.open(path)


@pytest.mark.parametrize(
    "path", ["network.onnx", "probe.npy", "classes.tsv", "banks/imagenet/weights.npy", "banks/imagenet/bank.json"]
)
def test_a_changed_and_a_missing_file_are_named(tmp_path: Path, path: str) -> None:
    write_small_bundle(tmp_path / "b")
    file = tmp_path / "b" / path
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match=rf"{file}: is not what the manifest says.*autotag model build"):
        Bundle.open(tmp_path / "b")
    file.unlink()
    with pytest.raises(ModelError, match=rf"{file}: is missing.*autotag model build"):
        Bundle.open(tmp_path / "b")


def test_a_file_too_many_is_named(tmp_path: Path) -> None:
    write_small_bundle(tmp_path / "b")
    (tmp_path / "b" / "banks" / "stray.txt").write_text("?")
    with pytest.raises(ModelError, match=r"banks/stray\.txt: is not in the bundle's manifest"):
        Bundle.open(tmp_path / "b")


def test_a_manifest_that_was_edited_is_refused(tmp_path: Path) -> None:
    write_small_bundle(tmp_path / "b", precision="bf16")
    path = tmp_path / "b" / MANIFEST
    text = path.read_text()
    path.write_text(text.replace("bf16", "int8"))
    with pytest.raises(ModelError, match=r"manifest\.json.*digest"):
        Bundle.open(tmp_path / "b")
    for wrong in ("", "[]", "{}", text.replace("autotag-bundle", "other"), '{"format": "autotag-bundle"}'):
        path.write_text(wrong)
        with pytest.raises(ModelError, match=r"manifest\.json.*autotag model build"):
            Bundle.open(tmp_path / "b")


@pytest.mark.parametrize("path", ["../stray", "/etc/passwd", "banks/../../stray", ".hidden", "a//b", "a b"])
def test_a_manifest_that_names_files_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    write_small_bundle(tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / MANIFEST).read_text())
    manifest["files"][path] = manifest["files"]["network.onnx"]
    with pytest.raises(ModelError, match=rf"b/manifest.json: '{path}' is not an allowed path of a file"):
        parse_manifest(json.dumps(manifest).encode(), str(tmp_path / "b" / MANIFEST))


def test_a_folder_whose_name_is_another_version_is_refused(tmp_path: Path) -> None:
    write_small_bundle(tmp_path / "b")
    bundle = install(tmp_path / "b", tmp_path)
    bundle.folder.rename(tmp_path / "000001-0123456789ab")
    with pytest.raises(ModelError, match=f"000001-0123456789ab: holds version {bundle.version[:12]}"):
        Bundle.open(tmp_path)


def test_a_bank_of_another_network_or_of_unknown_classes_is_refused(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    other = write_small_bundle(tmp_path / "other", precision="bf16")
    facts = (bundle.network_key, bundle.precision, PREPROCESSING, {})
    path = tmp_path / "b" / "banks" / "imagenet"
    shutil.rmtree(path)
    shutil.copytree(other.folder / "banks" / "imagenet", path)
    with pytest.raises(ModelError, match="banks/imagenet: was trained on network"):
        Bundle.seal(tmp_path / "b", "small", *facts)
    header = json.loads((path / "bank.json").read_text())
    header |= {"network": bundle.network_key, "classes": ["n1", "n2", "n77"]}
    (path / "bank.json").write_text(json.dumps(header))
    with pytest.raises(ModelError, match=r"classes\.tsv has no class 'n77'"):
        Bundle.seal(tmp_path / "b", "small", *facts)


def test_tags_come_best_first_and_equal_ones_by_name(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    # e^z = 7, 2, 1: spaniel 0.7, wolf 0.2, teapot 0.1; dog and pet have only the spaniel, animal the wolf as well.
    tags = bundle.tags(np.log(np.array([[7, 2, 1]], np.float32)))[0]
    assert tags == [
        Tag("n10", "animal", 0.9, "imagenet"),
        Tag("n11", "dog", 0.7, "imagenet"),
        Tag("n12", "pet", 0.7, "imagenet"),
        Tag("n1", "spaniel", 0.7, "imagenet"),
    ]
    assert all(type(tag.score) is float for tag in tags)
    json.dumps([vars(tag) for tag in tags], allow_nan=False)


def test_min_score_chooses_among_them(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    features = np.log(np.array([[7, 2, 1], [1, 1, 98]], np.float32))
    assert [len(tags) for tags in bundle.tags(features, min_score=0)] == [6, 6]
    assert [tag.name for tag in bundle.tags(features, min_score=0.15)[0]] == ["animal", "dog", "pet", "spaniel", "wolf"]
    assert [[tag.name for tag in tags] for tags in bundle.tags(features, min_score=0.99)] == [[], []]


def test_classes_that_the_pixels_show_are_tags_with_their_parents_unless_the_bundle_lacks_them(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    features = np.zeros((2, 3), np.float32)
    shown: list[dict[str, float]] = [{"n2": 0.9, "unknown": 1.0}, {}]
    first, second = bundle.tags(features, 0.8, shown)
    assert {(tag.name, tag.score, tag.bank) for tag in first} >= {("wolf", 0.9, "pixels"), ("animal", 0.9, "pixels")}
    assert "pixels" not in {tag.bank for tag in second}
    assert "pixels" not in {tag.bank for tag in bundle.tags(features, 0.95, shown)[0]}


def test_where_two_banks_give_one_tag_the_higher_stands_with_its_bank(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "b", banks=["imagenet", "more"])
    # "more" scores dogs by the first feature and teapots by the third: at ln 3 each is 0.75. The softmax says 3 of 9,
    # 3 of 9 and 3 of 9, and then 81 of 85, 1 of 85 and 3 of 85.
    even, clear = np.log(np.array([[3, 3, 3], [81, 1, 3]], np.float32))
    tags = {tag.name: (tag.score, tag.bank) for tag in bundle.tags(even[None])[0]}
    # A class that contains a tag is at least as probable.
    assert tags == {"dog": (0.75, "more"), "Teapot": (0.75, "more"), "animal": (0.75, "more")}
    tags = {tag.name: (tag.score, tag.bank) for tag in bundle.tags(clear[None])[0]}
    assert tags["dog"] == (round(81 / 82, 4), "more")
    tags = {tag.name: (tag.score, tag.bank) for tag in bundle.tags(np.array([[-9, -30, -30]], np.float32))[0]}
    assert tags["dog"] == (1.0, "imagenet")


def test_features_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not finite"):
        write_small_bundle(tmp_path / "b").tags(np.array([[math.nan, 0, 0]], np.float32))
