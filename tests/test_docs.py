"""The pages: their links lead somewhere, the files that they name are there, and the first one is one screen."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from autotag.settings import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
FOLDERS = {
    "autotag",
    "models",
    "spouts",
    "bolts",
    "topologies",
    "cluster",
    "tests",
    "bench",
    "tools",
    "docs",
    "virtualenvs",
}
PACKAGES = ("autotag", "models", "spouts", "bolts", "topologies", "tools")
HEADLESS = re.compile(r"(What|Of|Whether|How|Who|Whose|Whoever|That|Those|Is told|By|As|Where|Which) ")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:\w[\w.-]*/)+[\w.-]*)`", page.read_text())
    missing = [name for name in named if name.split("/")[0] in FOLDERS and not (PROJECT / name).exists()]
    assert missing == []


def test_the_first_page_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 120


def test_every_setting_that_a_page_names_exists() -> None:
    from autotag.settings import Settings

    keys = {f"autotag.{name.replace('_', '.')}" for name in Settings.__dataclass_fields__}
    for page in PAGES:
        for key in re.findall(r"`(autotag\.[a-z0-9.]+)`", page.read_text()):
            assert key in keys or any(one.startswith(f"{key}.") for one in keys), f"{page.name}: {key}"


def test_a_docstring_begins_with_its_subject_or_its_verb() -> None:
    headless = []
    for path in (path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            if documented and HEADLESS.match(ast.get_docstring(node) or ""):
                headless.append(f"{path.relative_to(PROJECT)}:{getattr(node, 'lineno', 1)}")
    assert headless == []
