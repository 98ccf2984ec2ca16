"""Draw a look inside (:mod:`pipeline.explain`) as one labelled picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.explain import DECODER, ENCODER, Inside, overlays
from pipeline.explain import pictures as paint
from pipeline.explain.pictures import PAPER, Picture
from pipeline.patches import TILE

WIDTH = 2400  # px: sharp on a screen twice as dense as the page it is shown on
_MARGIN = 60
_GAP = 24
_CARD = (27, 32, 40)
_INK = (236, 239, 244)
_SOFT = (150, 160, 175)
_ACCENT = (255, 176, 59)
_CHANNELS = 4  # feature maps shown one by one below the blend of them all
_CLOSE_UPS = 6


class Sheet:
    """A page on which pictures and lines of text are put from top to bottom."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (WIDTH, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, y: float, line: str, size: int, colour: tuple[int, int, int] = _INK
    ) -> None:
        self.draw.text((x, y), line, colour, _font(size))

    def card(self, x: int, y: int, w: int, h: int) -> None:
        self.draw.rounded_rectangle((x, y, x + w, y + h), 14, _CARD)

    def put(self, picture: Picture, x: int, y: int) -> None:
        mask = Image.new("L", picture.shape[1::-1], 0)
        ImageDraw.Draw(mask).rounded_rectangle(
            (0, 0, picture.shape[1] - 1, picture.shape[0] - 1), 8, 255
        )
        self.image.paste(Image.fromarray(picture), (x, y), mask)


def draw(inside: Inside, title: str = "") -> Image.Image:
    """Draw the figure.

    From top to bottom: stage 1 as the U that it is, encoder above decoder above side outputs,
    shallow on the left, deep on the right; stage 2 on the photo; the tiles that it changed most.

    Returns a PIL image in mode RGB, 2400 px wide.
    """
    sheet = Sheet(4000)
    y = _header(sheet, inside, title)
    y = _stage1(sheet, inside, y)
    y = _stage2(sheet, inside, y + 50)
    if len(inside.seconds):
        y = _close_ups(sheet, inside, y + 50)
    return sheet.image.crop((0, 0, WIDTH, y + _MARGIN))


def _header(sheet: Sheet, inside: Inside, title: str) -> int:
    height, width = inside.result.alpha.shape
    sheet.text(_MARGIN, 44, f"What Wisp saw{' in ' + title if title else ''}", 60)
    sheet.text(
        _MARGIN,
        120,
        f"{width} x {height} px  ·  stage 1: {_name(inside.model)}  ·  "
        f"stage 2: {_name(inside.refiner)}  ·  "
        + "  ".join(f"{k} {v * 1000:.0f} ms" for k, v in inside.result.timings.items()),
        26,
        _SOFT,
    )
    return 200


def _name(model: str) -> str:
    return Path(model).stem if model.endswith(".onnx") else model


def _stage1(sheet: Sheet, inside: Inside, y: int) -> int:
    """The U: one column a depth; the first column holds the photo and the fused map."""
    y = _section(
        sheet,
        y,
        "Stage 1 finds the subject",
        "A U2-Net reads a small view of the photo, shallow to deep, and back up. Colour: the three "
        "main components of a block's feature maps. Below it: its four liveliest maps.",
    )
    columns = ENCODER + 1
    side = (WIDTH - 2 * _MARGIN - (columns - 1) * _GAP) // columns
    pad = 12
    inner = side - 2 * pad
    small = (inner - (_CHANNELS - 1) * 6) // _CHANNELS
    tall = pad + inner + 6 + small + 52
    low = pad + inner + 52
    xs = [_MARGIN + i * (side + _GAP) for i in range(columns)]
    rows = [y, y + tall + _GAP, y + 2 * (tall + _GAP)]

    def card(x: int, top: int, height: int, picture: Picture, name: str, note: str) -> None:
        sheet.card(x, top, side, height)
        sheet.put(_fit(picture, inner), x + pad, top + pad)
        sheet.text(x + pad + 2, top + height - 42, name, 25)
        sheet.text(
            x + side - pad - sheet.draw.textlength(note, _font(21)),
            top + height - 38,
            note,
            21,
            _SOFT,
        )

    def block(x: int, top: int, maps: NDArray[np.float32], name: str) -> None:
        channels, height, width = maps.shape
        card(x, top, tall, paint.blend(maps), name, f"{channels} maps, {width} x {height}")
        for i, channel in enumerate(paint.liveliest(maps, _CHANNELS)):
            picture = _fit(paint.heat(paint.stretch(maps[channel])), small)
            sheet.put(picture, x + pad + i * (small + 6), top + pad + inner + 6)

    h, w = inside.view.shape[:2]
    card(xs[0], rows[0], tall, inside.view, "the view", f"{w} x {h}")
    for depth in range(ENCODER):
        block(xs[depth + 1], rows[0], inside.encoder[depth], f"En {depth + 1}")
    for depth in range(DECODER):
        block(xs[depth + 1], rows[1], inside.decoder[depth], f"De {depth + 1}")
    origins = [*inside.decoder, inside.encoder[-1]]
    for depth, (mask, maps) in enumerate(zip(inside.sides, origins, strict=True)):
        note = f"guess from {maps.shape[2]} x {maps.shape[1]}"
        card(xs[depth + 1], rows[2], low, paint.grey(mask), f"d{depth + 1}", note)
    card(xs[0], rows[2], low, paint.grey(inside.fused), "d0", "the fused map")

    _legend(sheet, xs[0], rows[1], side, tall)
    _legend_deep(sheet, xs[-1], rows[1], side, tall)
    return rows[2] + low


def _legend(sheet: Sheet, x: int, y: int, w: int, h: int) -> None:
    """How to read the U, in the place that it leaves free below the photo."""
    lines = (
        ("En 1 to 6, encoder:", "reads on to the right; each"),
        ("", "block sees wider, less sharply"),
        ("De 5 to 1, decoder:", "comes back to the left; each"),
        ("", "adds the encoder's detail again"),
        ("d1 to d6:", "what each depth makes of it"),
        ("d0:", "all six fused, the coarse mask"),
    )
    top = y + 24
    for head, line in lines:
        if head:
            sheet.text(x + 8, top + 8, head, 24, _ACCENT)
            top += 38
        sheet.text(x + 8, top, line, 20, _SOFT)
        top += 30


def _legend_deep(sheet: Sheet, x: int, y: int, w: int, h: int) -> None:
    """Below the deepest block lies nothing: it is the turning point."""
    for i, line in enumerate(("En 6 is the turning point:", "no decoder answers it.")):
        sheet.text(x + 20, y + h // 2 - 30 + i * 32, line, 20, _SOFT)


def _stage2(sheet: Sheet, inside: Inside, y: int) -> int:
    result = inside.result
    count = len(inside.seconds)
    share = 100 * float(result.roi.mean())
    y = _section(
        sheet,
        y,
        "Stage 2 redraws the edge",
        f"ROI: {share:.1f} % of the photo, in {count} tiles of {TILE} px"
        + (f"; {inside.seconds.sum() * 1000:.0f} ms one by one." if count else ": nothing to do."),
    )
    photo = result.photo.image
    dim = (cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2) * 0.4 + 10).astype(
        np.uint8
    )
    roi = photo.copy()
    roi[~result.roi] = dim[~result.roi]
    drawn, agreed = (paint.swollen(plane) for plane in overlays.on_photo(inside))
    panels = [
        (overlays.framed(roi, inside), "ROI and tiles"),
        (
            paint.over(
                dim, paint.signed(paint.swollen(drawn)), np.abs(paint.swollen(drawn)) > 0.02
            ),
            "change of alpha",
        ),
        (
            paint.over(dim, paint.heat(paint.swollen(agreed) * 8), paint.swollen(agreed) > 0.01),
            "what it is unsure of",
        ),
        (overlays.times(dim, inside), "time"),
        (overlays.checked(result.foreground, result.alpha), "the cutout"),
    ]
    notes = ["bright: near the edge", "", "", "", "straight alpha"]
    if count:
        notes[1] = f"blue less, red more; mean {255 * inside.change.mean():.1f} of 255"
        notes[2] = f"beside its mirror image; agrees {100 * inside.confidence.mean():.1f} %"
        notes[3] = f"ms a tile; median {np.median(inside.seconds) * 1000:.0f}"
    side = (WIDTH - 2 * _MARGIN - (len(panels) - 1) * _GAP) // len(panels)
    pad = 12
    wide = side - 2 * pad
    tall = round(wide * min(max(photo.shape[0] / photo.shape[1], 0.4), 1.25))
    height = pad + tall + 92
    for i, ((picture, name), note) in enumerate(zip(panels, notes, strict=True)):
        x = _MARGIN + i * (side + _GAP)
        sheet.card(x, y, side, height)
        sheet.put(_fit(picture, wide, tall), x + pad, y + pad)
        sheet.text(x + pad + 2, y + height - 82, name, 27)
        sheet.text(x + pad + 2, y + height - 44, note, 20, _SOFT)
    return y + height


def _close_ups(sheet: Sheet, inside: Inside, y: int) -> int:
    """The tiles that changed most: photo, before, after."""
    y = _section(
        sheet,
        y,
        "Where it changed most",
        "Mean change of alpha in the tile's ROI, in levels of 255  ·  how far stage 2 agrees with "
        "itself on the mirrored tile  ·  time.",
    )
    names = ("photo", "coarse", "refined", "change")
    order = overlays.apart(inside)[:_CLOSE_UPS]
    side = (WIDTH - 2 * _MARGIN - (_CLOSE_UPS - 1) * _GAP) // _CLOSE_UPS
    pad = 12
    cell = (side - 2 * pad - 6) // 2
    height = pad + 2 * cell + 6 + 52
    photo = inside.result.photo.image
    for i, tile in enumerate(order):
        x = _MARGIN + i * (side + _GAP)
        top, left = inside.result.tiles[tile]
        crop = photo[top : top + TILE, left : left + TILE]
        before, after = inside.before[tile], inside.after[tile]
        before, after = (a[: crop.shape[0], : crop.shape[1]] for a in (before, after))
        moved = np.where(inside.inside[tile][: crop.shape[0], : crop.shape[1]], after - before, 0)
        sheet.card(x, y, side, height)
        pictures = (crop, paint.grey(before), paint.grey(before + moved), paint.signed(moved))
        for j, (picture, name) in enumerate(zip(pictures, names, strict=True)):
            left, top = x + pad + j % 2 * (cell + 6), y + pad + j // 2 * (cell + 6)
            sheet.put(_fit(picture, cell), left, top)
            length = sheet.draw.textlength(name, _font(17))
            spot = (left + 6, top + cell - 30, left + 18 + length, top + cell - 6)
            sheet.draw.rounded_rectangle(spot, 6, PAPER)
            sheet.text(left + 12, top + cell - 29, name, 17, _SOFT)
        facts = (
            f"{255 * inside.change[tile]:.0f} levels  ·  {100 * inside.confidence[tile]:.1f} %  ·  "
            f"{1000 * inside.seconds[tile]:.0f} ms"
        )
        sheet.text(x + pad + 2, y + height - 42, facts, 22, _SOFT)
    return y + height


def _section(sheet: Sheet, y: int, head: str, text: str) -> int:
    sheet.draw.rectangle((_MARGIN, y + 8, _MARGIN + 6, y + 78), _ACCENT)
    sheet.text(_MARGIN + 24, y, head, 38)
    sheet.text(_MARGIN + 24, y + 54, text, 22, _SOFT)
    return y + 104


def _fit(picture: Picture, wide: int, tall: int = 0) -> Picture:
    """Scale into a box, the rest of it dark; what has few pixels shows them."""
    tall = tall or wide
    height, width = picture.shape[:2]
    scale = min(wide / width, tall / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale > 3 else cv2.INTER_CUBIC
    box = np.full((tall, wide, 3), PAPER, np.uint8)
    top, left = (tall - size[1]) // 2, (wide - size[0]) // 2
    box[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=how)
    return box


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
