"""Write docs/settings.md, docs/commands.md and docs/reasons.md from Settings, the command line and Reason.

Run ``make docs`` after a change of a setting, a command, an option or a reason; tests/tools/test_write_docs.py
fails while a page is out of date.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click

from autotag.cli import PROGRAM, cli
from autotag.photos.errors import Fate, Reason
from autotag.settings import PROJECT, Settings, key_of

NOTE = "<!-- Written by python -m tools.write_docs; do not edit. -->"
SETTINGS_INTRO = """\
A setting is a flat key in config.json, under `envs.ENVIRONMENT.options` beside Storm's own. `autotag -e ENVIRONMENT`
chooses the environment (`local` by default), and `-o KEY=VALUE` replaces one setting for one command:

    autotag -o autotag.tagger.batch.photos=8 tag photos/

In config.json numbers, true, false and lists are JSON's; after `-o` a list is separated by commas (`7000,7001`).
A topology gets its settings when it is submitted, so a change reaches it with the next submission. Relative paths
start at `autotag.home`. A wrong key or value is refused before anything is done, with the key, the value and what is
accepted. A number must be more than 0 where no bounds are given.
"""
COMMANDS_INTRO = """\
`autotag COMMAND --help` prints the same. Exit codes: 0; 1 for a failure; 2 for wrong use. With `--json` a command
prints JSON on standard output, one object a line; messages and progress are on standard error.
"""
REASONS_INTRO = """\
Each photo that gives no pixels has a reason. `autotag show` prints it for a rejected photo, `autotag status` counts
rejected photos and retries by reason, and `autotag dead list` shows the last one of each dead letter. Four more reasons
are the stream's own: `lost` (the process or the tuple ended without a verdict), `store_unavailable` and `model_unknown`
(tried again; use up no attempt), and `store_refused` (the store can never take this result; a fault to report).
"""
SUBJECTS = {
    "home": "Home folder",
    "photo": "Reading photos",
    "upload": "Upload spout",
    "tagger": "Tagger bolt",
    "writer": "Writer bolt",
    "cluster": "Local cluster",
}
"""The headings of settings whose subject, the first word of their keys, is no heading."""
TYPES = {str: "text", bool: "true or false", int: "whole number", float: "number"}


def settings_page() -> str:
    """Return docs/settings.md."""
    rows: dict[str, list[str]] = {}
    for field in dataclasses.fields(Settings):
        rows.setdefault(field.name.partition("_")[0], []).append(_setting_row(field))
    parts = [f"# Settings\n\n{NOTE}\n\n{SETTINGS_INTRO}"]
    for subject, lines in rows.items():
        heading = SUBJECTS.get(subject, subject.capitalize())
        parts.append(f"## {heading}\n\n| key | default | type or unit | meaning |\n|---|---|---|---|\n{''.join(lines)}")
    return "\n".join(parts)


def _setting_row(field: dataclasses.Field[Any]) -> str:
    about = field.metadata
    kind = get_type_hints(Settings)[field.name]
    unit = about["unit"] or TYPES.get(kind, "list")
    if about["bounds"]:
        unit += ", {} to {}".format(*about["bounds"])
    return f"| `{key_of(field.name)}` | {_default(field)} | {unit} | {about['meaning']} |\n"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default == str(PROJECT):
        return "the project's folder"
    if field.default in ("", ()):
        return "none"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def reasons_page() -> str:
    """Return docs/reasons.md."""
    parts = [f"# Reasons\n\n{NOTE}\n\n{REASONS_INTRO}"]
    for fate in Fate:
        rows = [f"| `{one}` | {one.meaning} | {one.action} |" for one in Reason if one.fate is fate]
        heading = fate.value[0].upper() + fate.value[1:]
        parts.append(f"## {heading}\n\n| reason | meaning | what to do |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def commands_page() -> str:
    """Return docs/commands.md."""
    root = cli
    context = click.Context(root, info_name=PROGRAM)
    found = list(_commands(root, PROGRAM))
    lines = [f"# Commands\n\n{NOTE}\n\n{COMMANDS_INTRO}", "| command | what it does |\n|---|---|"]
    for path, command in found:
        anchor = path.replace(" ", "-")
        lines.append(f"| [`{path}`](#{anchor}) | {_cell(command.get_short_help_str(200))} |")
    lines += ["\n## Options of every command\n", f"They stand before the command: `{PROGRAM} -e hbase status`.\n"]
    lines += [*_options(root, context), ""]
    for path, command in found:
        context = click.Context(command, info_name=path)
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f"## {path}\n", f"    {path} {usage}\n", *_help(command), *_options(command, context), ""]
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Return all commands below a group, each with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        elif command is not None:
            yield f"{path} {name}", command


def _help(command: click.Command) -> Iterator[str]:
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield " ".join(paragraph.split()).replace("<", "&lt;") + "\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    options = (option for option in command.params if isinstance(option, click.Option))
    records = [record for option in options if (record := option.get_help_record(context))]
    if records:
        yield "| option | meaning |\n|---|---|"
    for names, meaning in records:
        names = names.replace("INTEGER RANGE", "NUMBER").replace("FLOAT RANGE", "NUMBER")
        yield f"| `{_cell(names)}` | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "reasons.md": reasons_page,
}


def main(folder: Path = PROJECT / "docs") -> None:
    """Write the pages into a folder."""
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
