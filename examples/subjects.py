"""Lay cutouts of many photos side by side on green, to see what stage 1 takes for the subject.

    python examples/subjects.py DATA [--model old.onnx --model wisp] [-o subjects.png]

Takes photos below DATA that stage 1's training holds out (``u2net.prepare``), evenly over those
whose names match. Beside each photo stands its cutout by each model, and how sure it is.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from pipeline import Cutout, Result
from pipeline.cli.command import Command
from u2net.dataset import evenly
from u2net.prepare import find_held

GREEN = "#00b140"
CELL, GAP, LABEL = 200, 6, 16  # px
PHOTOS_A_ROW = 4


def chosen(root: Path, names: str, count: int) -> list[Path]:
    """Return ``count`` held-out photos below ``root`` whose names match, evenly spread."""
    items, _, _ = find_held(root)
    fits = [item.path for item in items if re.search(names, item.path.stem)]
    fits.sort(key=lambda path: path.stem)
    return [fits[k] for k in evenly(len(fits), count)]


def cell(picture: Image.Image | NDArray[np.uint8]) -> Image.Image:
    """Fit a picture into a square cell, its proportions kept."""
    square = Image.new("RGB", (CELL, CELL), "white")
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image = image.convert("RGB")
    image.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    square.paste(image, ((CELL - image.width) // 2, (CELL - image.height) // 2))
    return square


def sheet(rows: list[list[Result]]) -> Image.Image:
    """Draw the sheet: for each photo its results, one of each model."""
    wide, high = (1 + len(rows[0])) * (CELL + GAP) + GAP, CELL + LABEL + GAP
    across = min(len(rows), PHOTOS_A_ROW)
    page = Image.new("RGB", (across * wide, -(-len(rows) // across) * high), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for number, results in enumerate(rows):
        left, top = number % across * wide, number // across * high
        page.paste(cell(results[0].photo.image), (left, top + LABEL))
        for place, result in enumerate(results, 1):
            at = left + place * (CELL + GAP)
            page.paste(cell(result.composite(GREEN)), (at, top + LABEL))
            label = f"{result.confidence:.2f}" + (" unsure" if result.unsure else "")
            draw.text((at, top + 2), "nothing found" if result.empty else label, "black", font)
    return page


@click.command(cls=Command, context_settings={"show_default": True})
@click.argument("root", metavar="DATA", type=click.Path(path_type=Path, exists=True))
@click.option("--model", "names", multiple=True, default=["wisp"], help="Stage 1; repeatable.")
@click.option("--match", default="^(caltech101|things|mst|mm)", help="Regular expression of names.")
@click.option("--count", default=60, help="Photos.")
@click.option("-o", "--out", default="subjects.png", type=click.Path(path_type=Path))
def main(root: Path, names: tuple[str, ...], match: str, count: int, out: Path) -> None:
    """Lay cutouts of held-out photos of DATA on one sheet."""
    photos = chosen(root, match, count)
    if not photos:
        raise click.UsageError(f"no held-out photo below {root} matches {match}")
    cutouts = [Cutout(model=name) for name in names]
    rows = [[cutout(path) for cutout in cutouts] for path in tqdm(photos, disable=None)]
    sheet(rows).save(out)
    click.echo(str(out))


if __name__ == "__main__":
    main()
