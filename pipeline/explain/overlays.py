"""What is laid over the photo in a figure: tiles, changes, times."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import compose
from pipeline.explain import Inside
from pipeline.explain import pictures as paint
from pipeline.explain.pictures import Picture
from pipeline.patches import TILE

_LINE = (255, 255, 255)
_INK = (236, 239, 244)


def checked(foreground: Picture, alpha: NDArray[np.float32]) -> Picture:
    height, width = alpha.shape
    square = max(8, max(height, width) // 32)
    y, x = np.ogrid[:height, :width]
    board = np.where((y // square + x // square) % 2, 235, 205).astype(np.uint8)
    return compose.over(foreground, alpha, np.repeat(board[..., None], 3, 2))


def on_photo(inside: Inside) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lay the change of alpha, and the disagreement with the mirror, over the whole photo."""
    alpha = inside.result.alpha
    unsure = np.zeros(alpha.shape, np.float32)
    spread = np.abs(inside.after - inside.mirrored) * inside.inside
    for (y, x), tile in zip(inside.result.tiles, spread, strict=True):
        piece = unsure[y : y + TILE, x : x + TILE]
        np.maximum(piece, tile[: piece.shape[0], : piece.shape[1]], out=piece)
    return alpha - inside.result.coarse, unsure


def framed(picture: Picture, inside: Inside) -> Picture:
    picture = picture.copy()
    line = max(1, round(max(picture.shape) / 400))
    for y, x in inside.result.tiles:
        bottom, right = min(y + TILE, picture.shape[0]) - 1, min(x + TILE, picture.shape[1]) - 1
        cv2.rectangle(picture, (int(x), int(y)), (int(right), int(bottom)), _LINE, line)
    return picture


def times(below: Picture, inside: Inside) -> Picture:
    """Tint each tile by its time; the median is the middle of the scale."""
    heat = np.zeros(below.shape[:2], np.float32)
    if len(inside.seconds):
        middle = float(np.median(inside.seconds))
        for (y, x), seconds in zip(inside.result.tiles, inside.seconds, strict=True):
            piece = heat[y : y + TILE, x : x + TILE]
            np.maximum(piece, min(1.0, 0.5 * seconds / middle), out=piece)
    grey = compose.levels(heat)
    colour = np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1], np.uint8)
    mixed = (0.45 * below + 0.55 * colour).astype(np.uint8)
    picture = framed(paint.over(below, mixed, heat > 0), inside)
    scale = max(picture.shape) / 900
    for (y, x), seconds in zip(inside.result.tiles, inside.seconds, strict=True):
        text = f"{1000 * seconds:.0f}"
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
        spot = (int(x) + (TILE - w) // 2, int(y) + (TILE + h) // 2)
        cv2.putText(picture, text, spot, cv2.FONT_HERSHEY_DUPLEX, scale, _INK, 1, cv2.LINE_AA)
    return picture


def apart(inside: Inside) -> list[int]:
    """Order the tiles by their change, leaving out those that lie upon an earlier one."""
    chosen: list[int] = []
    for tile in np.argsort(-inside.change, kind="stable"):
        corner = inside.result.tiles[tile]
        if all(np.abs(corner - inside.result.tiles[c]).max() >= TILE // 2 for c in chosen):
            chosen.append(int(tile))
    return chosen
