"""``autotag model``: build a bundle, tell what it is, and how right it is."""

from __future__ import annotations

from pathlib import Path

import click

from autotag.cli import CommandLine, print_json, progress, with_json, with_settings
from autotag.cli.reading import model_facts
from models.bundle import Bundle


def register(group: click.Group) -> None:
    group.add_command(model)


@click.group()
def model() -> None:
    """The bundle: network, preprocessing, classifier banks and classes."""
