"""``wisp explain``: a look inside, as a picture."""

from __future__ import annotations

import io
import os
from pathlib import Path

import click

from pipeline import image_io
from pipeline.settings import Settings


@click.command()
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("-o", "--out", metavar="FILE", type=Path, help="Default: PHOTO-inside.png beside it.")
@click.option("--model", metavar="NAME|FILE", default=Settings.model, help="Stage 1: any U²-Net.")
@click.option("--refiner", metavar="NAME|FILE", default=Settings.refiner, help="Stage 2.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def explain(photo: Path, out: Path | None, overwrite: bool, model: str, refiner: str) -> None:
    """Show what happens inside the networks, as a labelled picture (PNG).

    Feature maps of stage 1, block by block, its side outputs and the map they are fused to; then
    where stage 2 may change the alpha, what it changed, how sure it was, and how long it took.
    """
    from pipeline.cutout import Cutout
    from pipeline.explain import inspect
    from pipeline.explain.figure import draw

    target = out or photo.with_name(f"{photo.stem}-inside.png")
    if os.path.realpath(target) == os.path.realpath(photo):
        raise click.UsageError(f"{click.format_filename(target)} is the photo itself")
    if target.suffix.lower() != ".png":
        raise click.UsageError(f"{click.format_filename(target)} is a PNG: name it .png")
    if os.path.exists(target) and not overwrite:
        raise click.UsageError(
            f"{click.format_filename(target)} is there already: --overwrite replaces it"
        )
    inside = inspect(photo, Cutout(Settings(model=model, refiner=refiner)))
    buffer = io.BytesIO()
    draw(inside, photo.name).save(buffer, "PNG", optimize=True)
    image_io.write(target, buffer.getvalue())
    click.echo(f"{click.format_filename(photo)} → {click.format_filename(target)}", err=True)
