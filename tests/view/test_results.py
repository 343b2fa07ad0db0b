"""A model's version is printed, and read back from what was printed."""

from __future__ import annotations

import pytest

from autotag.view.results import ModelVersion

MODEL = ModelVersion("small/nets", "0123456789ab" + "f" * 52, 7)


def test_a_printed_model_version_is_read_back_with_the_version_shortened() -> None:
    assert str(MODEL) == "small/nets/000007-0123456789ab"
    assert MODEL.folder == "000007-0123456789ab"
    assert ModelVersion.parse(str(MODEL)) == ModelVersion("small/nets", "0123456789ab", 7)


def test_a_folders_name_alone_is_a_model_version_without_a_name() -> None:
    parsed = ModelVersion.parse(MODEL.folder)
    assert parsed == ModelVersion("", "0123456789ab", 7)
    assert parsed.folder == MODEL.folder


@pytest.mark.parametrize(
    "text", ["", "small", "small/7", "small/000007-0123456789a", "000007-0123456789ab/", "candidate/x"]
)
def test_other_text_is_no_model_version(text: str) -> None:
    assert ModelVersion.parse(text) is None
