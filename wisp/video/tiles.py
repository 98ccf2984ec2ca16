"""A tile whose pixels and mask have not changed keeps its answer.

Most of a clip's edge stands still from one frame to the next, and stage 2 costs by the tile. What
is remembered is compared with the patch that the answer was made of, not with the frame before: so
what creeps is noticed in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline import generator, patches
from pipeline.models import Session
from pipeline.patches import TILE

#: How much the mean of a block of 8×8 px may change, in shares of the full range. The photo's noise
#: averages out in it (2.8 levels at most in a still clip with a deviation of 2, coded as JPEG), a
#: strand that moves by a pixel does not (7 and more in a talking head). Where the photo stays as it
#: is, stage 1 still wavers by up to 0.2 for what changes elsewhere, and means nothing by it.
PHOTO, MASK = 4 / 255, 0.25
_BLOCK = 8
#: Tiles are placed anew when there are so many times more than are needed.
_WASTE = 1.25
#: Keeping tiles where they are takes more of them. After so many frames in which less than this
#: share kept its answer it is done in every eighth frame alone, which may find a rest.
_PATIENCE, _WORTH, _AGAIN = 3, 0.2, 8

Origin = tuple[int, int]


@dataclass
class TileMemory:
    """What stage 2 said of the tiles of the frame before."""

    reused: int = 0  #: tiles that kept their answer so far
    redrawn: int = 0  #: tiles that did not
    _vain: int = 0  # frames in a row in which hardly a tile kept its answer
    _seen: dict[Origin, NDArray[np.float32]] = field(default_factory=dict)
    _said: dict[Origin, NDArray[np.float16]] = field(default_factory=dict)

    def place(self, roi: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Cover the ROI as :func:`pipeline.patches.tile_origins` does, with the tiles of the frame
        before where they still do: only the same tile can keep its answer."""
        fresh = patches.tile_origins(roi)
        if self._vain >= _PATIENCE and self._vain % _AGAIN:
            return fresh
        rest = roi.copy()
        kept = []
        for y, x in self._seen:
            inner = patches.inner(y, x, *roi.shape)
            if rest[inner].any():
                rest[inner] = False
                kept.append((y, x))
        origins = np.array(kept, np.intp).reshape(-1, 2)
        origins = np.unique(np.concatenate([origins, patches.tile_origins(rest)]), axis=0)
        return fresh if len(origins) > _WASTE * len(fresh) else origins

    def redraw(
        self,
        session: Session,
        image: NDArray[np.uint8],
        mask: NDArray[np.float32],
        origins: NDArray[np.intp],
        batch: int,
        on_progress: Callable[[float], None] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Redraw what has changed, and yield an answer for each tile.

        Parameters and answers are those of :func:`pipeline.generator.redraw`.
        """
        tiles = [(int(y), int(x)) for y, x in origins]
        seen = {tile: _blocks(image, mask, tile) for tile in tiles}
        same = {tile for tile in tiles if self._unchanged(tile, seen[tile])}
        changed = [tile for tile in tiles if tile not in same]
        self.reused, self.redrawn = self.reused + len(same), self.redrawn + len(changed)
        self._vain = 0 if len(same) >= _WORTH * len(tiles) else self._vain + 1
        self._said = {tile: self._said[tile] for tile in same}
        self._seen = {tile: self._seen[tile] if tile in same else seen[tile] for tile in tiles}
        again = np.array(changed, np.intp).reshape(-1, 2)
        answers = generator.redraw(session, image, mask, again, batch, on_progress)
        for tile in tiles:
            if tile not in same:
                self._said[tile] = next(answers).astype(np.float16)
            yield self._said[tile].astype(np.float32)

    def _unchanged(self, tile: Origin, now: NDArray[np.float32]) -> bool:
        before = self._seen.get(tile)
        if before is None or tile not in self._said:
            return False
        change = np.abs(now - before)
        return bool(change[:3].max() < PHOTO and change[3].max() < MASK)


def _blocks(
    image: NDArray[np.uint8], mask: NDArray[np.float32], tile: Origin
) -> NDArray[np.float32]:
    """Means of a patch's blocks, (4, 16, 16) float32 in 0..1: R, G, B, mask."""
    (patch,) = patches.extract(image, mask, np.array([tile], np.intp))
    side = TILE // _BLOCK
    means = patch.reshape(4, side, _BLOCK, side, _BLOCK).mean((2, 4))
    return np.asarray(means, np.float32)
