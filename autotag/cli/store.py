"""``autotag store``: creates and checks the store's tables."""

from __future__ import annotations

import sys

import click

from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.stores import open_store
from autotag.view.results import ModelVersion
from models.bundle import Bundle


@click.group()
def store() -> None:
    """Create the store's tables, or check them."""


@store.command()
@with_json
@with_settings
def init(line: CommandLine, as_json: bool) -> None:
    """Create the missing tables, and add the current model and its classes to the store."""
    found = open_store(line.settings)
    created = found.tables.create()
    bundle = Bundle.open(line.settings.path(line.settings.model))
    model = ModelVersion.of(bundle)
    found.runs.add_model(model, bundle.classes)
    if as_json:
        print_json({"created": created, "model": str(model)})
    else:
        made = f"created {', '.join(created) or 'nothing: all tables are there'}"
        click.echo(f"{'the tables come with the file' if found.tables.embedded else made}; has model {model}")


@store.command()
@with_json
@with_settings
def check(line: CommandLine, as_json: bool) -> None:
    """Print how the tables differ from what they should be; exit code 1 if they do."""
    differences = open_store(line.settings).tables.check()
    if as_json:
        print_json({"differences": differences})
    else:
        click.echo("\n".join(differences) or "all tables are as they should be")
    sys.exit(1 if differences else 0)
