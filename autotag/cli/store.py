"""``autotag store``: the tables, and the cleaning of what no reader can reach."""

from __future__ import annotations

import sys

import click

from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.stores import open_store
from autotag.view.results import ModelVersion
from models.bundle import Bundle


def register(group: click.Group) -> None:
    group.add_command(store)


@click.group()
def store() -> None:
    """The store's tables: create them, or compare them with what they should be."""


@store.command()
@with_json
@with_settings
def init(line: CommandLine, as_json: bool) -> None:
    """Create the tables that are missing, and let the store know the model in use."""
    found = open_store(line.settings)
    created = found.tables.create()
    bundle = Bundle.open(line.settings.path(line.settings.model))
    model = ModelVersion.of(bundle)
    found.runs.add_model(model, bundle.classes)
    if as_json:
        print_json({"created": created, "model": str(model)})
    else:
        made = f"created {', '.join(created) or 'nothing: all tables are there'}"
        click.echo(f"{'the tables come with the file' if found.tables.embedded else made}; knows model {model}")


@store.command()
@with_json
@with_settings
def check(line: CommandLine, as_json: bool) -> None:
    """Say what differs from how the tables should be."""
    differences = open_store(line.settings).tables.check()
    if as_json:
        print_json({"differences": differences})
    else:
        click.echo("\n".join(differences) or "all tables are as they should be")
    sys.exit(1 if differences else 0)
