"""The pages of settings and commands say what the program does."""

from __future__ import annotations

import dataclasses

import pytest

from autotag.settings import PROJECT, Settings, key_of
from tools.write_docs import PAGES, commands_page, settings_page


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    page = PROJECT / "docs" / name
    assert page.read_text(encoding="utf-8") == PAGES[name](), "write it again: python -m tools.write_docs"


def test_every_setting_has_a_meaning_and_is_on_its_page() -> None:
    page = settings_page()
    for field in dataclasses.fields(Settings):
        assert field.metadata["meaning"].endswith("."), field.name
        assert f"| `{key_of(field.name)}` |" in page


def test_a_command_is_told_with_its_usage_its_options_and_their_defaults() -> None:
    page = commands_page()
    assert "## autotag dead replay\n\n    autotag dead replay [OPTIONS] KEY...\n" in page
    assert "| `--limit NUMBER` | Photos on a page. [default: 50; 1<=x<=1000] |" in page
    assert "| `-o, --option KEY=VALUE` |" in page
