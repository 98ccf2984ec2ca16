"""Cut out real photos and lay each on a contact sheet that shows the way from photo to cutout.

    python examples/demo.py [-o demo] [photo.jpg ...]

Without photos it takes four that scikit-image bundles, one of which is hard. Per photo it writes
NAME.png, the cutout, and NAME-sheet.png: photo, coarse mask, ROI with its tiles, refined alpha,
cutout on green; below it an edge, magnified, before and after: of a photo of yours the one that
stage 2 changed most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline import Cutout, Result
from pipeline.cli.command import Command
from pipeline.compose import over
from pipeline.detail import enlarged
from pipeline.foreground import estimate
from pipeline.patches import TILE

Picture = NDArray[np.uint8]

GREEN, BLACK, WHITE = (0, 177, 64), (0, 0, 0), (255, 255, 255)
PAPER, INK, FAINT, ACCENT = (24, 26, 31), (236, 238, 242), (150, 156, 168), (255, 196, 61)
CELL, GAP, LABEL, TITLE = 360, 14, 30, 64  # px
ZOOM = 96  # px of the photo shown in a magnified cell: hair is seen strand by strand


def grey(alpha: NDArray[np.float32]) -> Picture:
    return np.repeat((alpha[..., None] * 255 + 0.5).astype(np.uint8), 3, axis=2)


def tinted_roi(result: Result) -> Picture:
    """The photo in grey, the ROI in colour over it, and a frame around each tile."""
    photo = np.asarray(Image.fromarray(result.photo.image).convert("L"), np.float32) * 0.5
    shown = np.repeat(photo[..., None], 3, axis=2)
    region = enlarged(result.roi, result.alpha.shape)
    shown[region] = 0.45 * shown[region] + 0.55 * np.array(ACCENT)
    picture = Image.fromarray(shown.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    line = max(1, round(max(picture.size) / 500))
    scale = result.alpha.shape[0] / result.coarse.shape[0]
    for y, x in result.tiles * scale:
        end = TILE * scale - 1
        draw.rectangle((x, y, x + end, y + end), outline=(120, 180, 255), width=line)
    return np.asarray(picture)


def before_stage_2(result: Result) -> NDArray[np.float32]:
    """The coarse mask at the photo's size."""
    size = result.alpha.shape[::-1]
    return np.asarray(cv2.resize(result.coarse, size, interpolation=cv2.INTER_LINEAR), np.float32)


def busiest(result: Result) -> tuple[int, int]:
    """Top-left corner of the ZOOM square that shows the subject's border being redrawn.

    Change counts as much as there is of both subject and background, so that it is a border.
    """
    change, inside, outside = (
        cv2.blur(layer.astype(np.float32), (ZOOM, ZOOM), anchor=(0, 0))
        for layer in (
            np.abs(result.alpha - before_stage_2(result)),
            result.alpha > 0.95,
            result.alpha < 0.05,
        )
    )
    height, width = (max(side - ZOOM, 0) + 1 for side in change.shape)
    score = (change * np.minimum(inside, outside))[:height, :width]
    y, x = np.unravel_index(int(score.argmax()), score.shape)
    return int(y), int(x)


def fit(picture: Picture, magnify: bool = False) -> Image.Image:
    image = Image.fromarray(picture)
    scale = CELL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if magnify else Image.Resampling.LANCZOS)


def sheet(result: Result, name: str, corner: tuple[int, int] | None = None) -> Image.Image:
    """Draw the contact sheet of one cutout; ``corner`` (y, x) is where it is magnified."""
    photo = result.photo.image
    coarse = before_stage_2(result)
    plain = estimate(photo, coarse)  # what stage 1 alone would give, colours cleaned too
    y, x = corner or busiest(result)
    zoom = np.s_[y : y + ZOOM, x : x + ZOOM]

    def on(colour: tuple[int, int, int]) -> tuple[Picture, Picture]:
        before = over(plain[zoom], coarse[zoom], colour)
        return before, over(result.foreground[zoom], result.alpha[zoom], colour)

    rows = [
        [
            ("photo", fit(photo)),
            ("stage 1: coarse mask", fit(grey(coarse))),
            (f"ROI, {len(result.tiles)} tiles", fit(tinted_roi(result))),
            ("stage 2: refined alpha", fit(grey(result.alpha))),
            ("cutout on green", fit(over(result.foreground, result.alpha, GREEN))),
        ],
        [
            ("the edge, magnified", fit(photo[zoom], magnify=True)),
            ("alpha before", fit(grey(coarse[zoom]), magnify=True)),
            ("alpha after", fit(grey(result.alpha[zoom]), magnify=True)),
            ("before, on green", fit(on(GREEN)[0], magnify=True)),
            ("after, on green", fit(on(GREEN)[1], magnify=True)),
        ],
        [
            ("colours, background taken out", fit(result.foreground[zoom], magnify=True)),
            ("before, on white", fit(on(WHITE)[0], magnify=True)),
            ("after, on white", fit(on(WHITE)[1], magnify=True)),
            ("before, on black", fit(on(BLACK)[0], magnify=True)),
            ("after, on black", fit(on(BLACK)[1], magnify=True)),
        ],
    ]
    heights = [LABEL + max(cell.height for _, cell in row) + GAP for row in rows]
    width = 5 * CELL + 6 * GAP
    page = Image.new("RGB", (width, TITLE + sum(heights) + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, 16), name, INK, ImageFont.load_default(26))
    seconds = sum(result.timings.values())
    facts = f"{photo.shape[1]} x {photo.shape[0]} px   {seconds:.2f} s"
    draw.text((width - GAP, 24), facts, FAINT, ImageFont.load_default(17), anchor="ra")
    top = TITLE
    for row, height in zip(rows, heights, strict=True):
        for column, (label, cell) in enumerate(row):
            left = GAP + column * (CELL + GAP)
            draw.text((left, top + 4), label, FAINT, ImageFont.load_default(16))
            page.paste(cell, (left, top + LABEL))
        top += height
    return page


@dataclass(frozen=True)
class Shown:
    """A photo of the demo, what its sheet is called, and the corner (y, x) of what is magnified."""

    name: str
    photo: Path | Picture
    title: str = ""
    corner: tuple[int, int] | None = None


def bundled() -> list[Shown]:
    """Return photos that scikit-image brings, which says of each whose it is."""
    from skimage import data  # a development extra: only the demo's own photos need it

    camera = np.repeat(data.camera()[..., None], 3, axis=2)
    return [
        Shown("portrait", data.astronaut()[:300, 80:440], corner=(8, 130)),
        Shown("coffee", data.coffee()),
        Shown("rocket", data.rocket()),
        Shown("hard", camera, "a hard case: a grey camera in front of a grey sky"),
    ]


@click.command(cls=Command, help="Cut out photos and lay each on a contact sheet.")
@click.argument("photos", nargs=-1, type=click.Path(path_type=Path))
@click.option("-o", "--out", default="demo", type=click.Path(path_type=Path), show_default=True)
def main(photos: tuple[Path, ...], out: Path) -> None:
    shown = [Shown(photo.stem, photo) for photo in photos] or bundled()
    out.mkdir(parents=True, exist_ok=True)
    cutout = Cutout()
    for one in shown:
        result = cutout(one.photo)
        result.save(out / f"{one.name}.png")
        sheet(result, one.title or one.name, one.corner).save(out / f"{one.name}-sheet.png")
        click.echo(f"{out / one.name}.png   {out / one.name}-sheet.png")


if __name__ == "__main__":
    main()
