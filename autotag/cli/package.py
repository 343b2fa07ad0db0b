"""``autotag package``: packs an archive for machines that have no autotag."""

from __future__ import annotations

from pathlib import Path

import click

from autotag.cli import CommandLine, print_json, with_json, with_settings
from autotag.view.results import ModelVersion
from models.bundle import Bundle


@click.command()
@click.argument("archive", metavar="OUT.tar.gz", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of a bundle.  [default: the current one]",
)
@with_json
@with_settings
def package(line: CommandLine, archive: Path, model: Path | None, as_json: bool) -> None:
    """Pack Python, packages, autotag and the bundle into one archive, for machines that have none of them.

    Spark unpacks it with `autotag backfill --spark MASTER --archive OUT.tar.gz`. Unpacked by hand, it is run by its
    bin/python.
    """
    from autotag.jobs.archive import package as write_package

    bundle = Bundle.open(model.absolute() if model else line.settings.path(line.settings.model))
    made = write_package(archive, bundle.folder)
    if as_json:
        print_json({**made, "model": str(ModelVersion.of(bundle))})
    else:
        size = f"{made['bytes'] / 1e6:.0f} MB, {made['unpacked_bytes'] / 1e6:.0f} MB unpacked"
        click.echo(f"{archive}: {size}; {', '.join(made['packages'])}; model {ModelVersion.of(bundle)}")
