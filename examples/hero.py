"""Draw the picture that leads the README: photo, cutout on new backgrounds, magnified edge.

    python examples/hero.py photo.jpg -o docs/images/hero.jpg [--crop X,Y,SIDE]

Above: the photo, and the cutout on green and on white. Below: a square of the photo, stage 1
alone on green, and Wisp on green, magnified; without --crop, the one that stage 2 changed most.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from demo import GREEN, WHITE, ZOOM, Picture, before_stage_2, busiest
from PIL import Image

from pipeline.cli.command import Command
from pipeline.compose import over
from pipeline.foreground import estimate
from wisp import Cutout

WIDTH, GAP = 420, 8  # px of a cell


def cell(picture: Picture, magnify: bool = False) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(picture))
    height = round(image.height * WIDTH / image.width)
    way = Image.Resampling.BICUBIC if magnify else Image.Resampling.LANCZOS
    return image.resize((WIDTH, height), way)


@click.command(cls=Command, help="Draw the picture that leads the README.")
@click.argument("photo", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--crop", metavar="X,Y,SIDE", help="The magnified square, in pixels.")
def main(photo: Path, out: Path, crop: str | None) -> None:
    result = Cutout()(photo)
    image, alpha, colours = result.photo.image, result.alpha, result.foreground
    y, x = busiest(result)
    side = ZOOM
    if crop:
        x, y, side = (int(number) for number in crop.split(","))
    zoom = np.s_[y : y + side, x : x + side]
    coarse = before_stage_2(result)
    plain = estimate(image, coarse)
    rows = [
        [cell(image), cell(over(colours, alpha, GREEN)), cell(over(colours, alpha, WHITE))],
        [
            cell(image[zoom], magnify=True),
            cell(over(plain[zoom], coarse[zoom], GREEN), magnify=True),
            cell(over(colours[zoom], alpha[zoom], GREEN), magnify=True),
        ],
    ]
    heights = [row[0].height for row in rows]
    page = Image.new("RGB", (3 * WIDTH + 2 * GAP, sum(heights) + GAP), WHITE)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            page.paste(picture, (column * (WIDTH + GAP), top))
        top += height + GAP
    page.save(out, quality=88)
    click.echo(out)


if __name__ == "__main__":
    main()
