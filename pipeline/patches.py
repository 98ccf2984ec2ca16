"""Cut the photo into the patches that stage 2 redraws.

Few edge pixels can touch many tiles of a fixed grid (a 1 % ROI of a 1080p photo touches 19–55 % of
its 128-px tiles), and the cost of stage 2 is the number of tiles. So tiles are placed on the edge.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 128
# A tile answers for its inner 112 px; the rim is context, and where neighbours blend. Twice the rim
# is no better on whole held-out scenes, and takes a quarter more tiles.
MARGIN = 8
_BLOCK = 16  # Placement works on blocks of this many pixels: fine enough, and 256 times cheaper.


def tile_origins(roi: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Cover the ROI with few 128-px tiles.

    Every ROI pixel lies in the inner 112×112 px of some tile, or in a tile's rim where that rim is
    the border of the image. Greedy, from each side and corner: of the eight coverings the one with
    the fewest tiles is taken, which are 6 % fewer than from the top left corner alone.

    Parameters
    ----------
    roi
        (H, W) bool.

    Returns
    -------
    (N, 2) intp, the top-left corners (y, x), all inside the image: 0 ≤ y ≤ max(H − 128, 0).
    N is 0 for an empty ROI.
    """
    height, width = roi.shape
    inner = (TILE - 2 * MARGIN) // _BLOCK
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.zeros((rows * _BLOCK, columns * _BLOCK), bool)
    padded[:height, :width] = roi
    across = padded.reshape(rows, _BLOCK, -1).any(1)  # one axis by one: a tenth of the time
    blocks = np.asarray(across.reshape(rows, columns, _BLOCK).any(2))
    coverings = [
        _turned(_covering(turned, inner), turned.shape, inner, flips, transposed)
        for transposed in (False, True)
        for flips in ((1, 1), (1, -1), (-1, 1), (-1, -1))
        for turned in [(blocks.T if transposed else blocks)[:: flips[0], :: flips[1]]]
    ]
    corners = min(coverings, key=len) * _BLOCK - MARGIN
    limit = np.array([max(height - TILE, 0), max(width - TILE, 0)])
    return distinct(np.clip(corners, 0, limit))


def distinct(corners: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return corners of tiles, (N, 2), each once and in order: NumPy's own way loads ``numpy.ma``,
    which takes a command 6 ms."""
    return np.array(sorted(set(map(tuple, corners.tolist()))), np.intp).reshape(-1, 2)


def _covering(blocks: NDArray[np.bool_], inner: int) -> NDArray[np.intp]:
    """Cover blocks, (h, w), by squares of ``inner`` blocks a side; return their corners, (N, 2).

    The topmost uncovered block fixes a square's top, and of the positions that cover it the one
    with the most uncovered blocks wins. Squares may lie beyond the sides.
    """
    # Each row is a number with a bit a block, the leftmost lowest: a fifth of the time. Zeros
    # around keep every square inside.
    packed = np.packbits(np.pad(blocks, ((0, inner), (inner, inner))), axis=1, bitorder="little")
    open_ = [int.from_bytes(row.tobytes(), "little") for row in packed]
    side, reach = (1 << inner) - 1, 2 * inner - 1
    square = sum(side << reach * row for row in range(inner))
    corners = []
    for top in range(len(blocks)):
        while open_[top]:
            first = (open_[top] & -open_[top]).bit_length() - inner  # so far left it may lie
            near = 0  # what a square may cover there, row behind row
            for row in reversed(open_[top : top + inner]):
                near = near << reach | (row >> first & (1 << reach) - 1)
            gains = [(near & square << k).bit_count() for k in range(inner)]
            left = first + max(range(inner), key=lambda k: (gains[k], k))
            for row in range(top, top + inner):
                open_[row] &= ~(side << left)
            corners.append((top, left - inner))
    return np.array(corners, np.intp).reshape(-1, 2)


def _turned(
    corners: NDArray[np.intp],
    shape: tuple[int, ...],
    inner: int,
    flips: tuple[int, int],
    transposed: bool,
) -> NDArray[np.intp]:
    """Turn the corners of squares back, of blocks that were transposed and then flipped."""
    for axis, flip in enumerate(flips):
        if flip < 0:
            corners[:, axis] = shape[axis] - inner - corners[:, axis]
    return corners[:, ::-1] if transposed else corners


def inner(y: int, x: int, height: int, width: int) -> tuple[slice, slice]:
    """Return what a tile at (y, x) answers for, in an image of a size: not its rim, but where that
    is the image's own border."""

    def side(start: int, length: int) -> slice:
        first = 0 if start == 0 else start + MARGIN
        return slice(first, length if start + TILE >= length else start + TILE - MARGIN)

    return side(y, height), side(x, width)


def extract(
    image: NDArray[np.uint8], coarse: NDArray[np.float32], origins: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Cut the patches that the generator sees.

    Parameters
    ----------
    image, coarse
        The photo, (H, W, 3) uint8 RGB, and the stage-1 mask, (H, W) float32 in 0..1.
    origins
        Top-left corners (y, x) from :func:`tile_origins`, (N, 2).

    Returns
    -------
    (N, 4, 128, 128) float32 in 0..1: R, G, B, coarse, in that order. An image smaller than a tile
    is continued by reflection to the right and below.
    """
    patches = np.empty((len(origins), 4, TILE, TILE), np.float32)
    for patch, (y, x) in zip(patches, origins, strict=True):
        rgb = pad(image[y : y + TILE, x : x + TILE])
        patch[:3] = rgb.transpose(2, 0, 1)
        patch[3] = pad(coarse[y : y + TILE, x : x + TILE])
    patches[:, :3] *= np.float32(1 / 255)
    return patches


def fitted(height: int, width: int, side: int = TILE) -> tuple[int, int]:
    """Return the size (width, height) at which a picture's longer side is ``side``, in px."""
    scale = side / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def pad(piece: NDArray[Any]) -> NDArray[Any]:
    """Continue what is smaller than a tile, (h, w[, C]), by reflection to the right and below."""
    below, right = TILE - piece.shape[0], TILE - piece.shape[1]
    if not below and not right:
        return piece
    # Reflection needs a neighbour to reflect; a one-pixel side has none, and is repeated.
    border = cv2.BORDER_REFLECT if min(piece.shape[:2]) > 1 else cv2.BORDER_REPLICATE
    return cv2.copyMakeBorder(piece, 0, below, 0, right, border)
